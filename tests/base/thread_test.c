/* SPDX-License-Identifier: MIT */
/* Library threads, the number of the process, and both over forks. */
#include <base/clock.h>
#include <base/thread.h>
#include <harness/fault.h>
#include <harness/harness.h>
#include <harness/sanitizer.h>

#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* The checker's own thread among them, if it has one. */
static int threads_here(void)
{
	DIR *tasks = opendir("/proc/self/task");
	int n = 0;

	while (tasks && readdir(tasks))
		n++;
	if (tasks)
		closedir(tasks);
	return n;
}

static void wait_for_eof(void *argument)
{
	const int *fd = argument;
	char byte;

	check_int(read(*fd, &byte, 1), 0);
}

static void count(void *argument)
{
	atomic_uint *n = argument;

	atomic_fetch_add(n, 1);
}

static void test_every_thread_runs_once_and_is_joined(void)
{
	int before;
	atomic_uint n = 0;

	/* A sanitizer may start a thread of its own with the first of ours. What has been joined may be seen for a moment still. */
	require_int(thread_start(count, &n, "beam-test"), 0);
	check(thread_end_all(BEAM_FOREVER));
	before = threads_here();
	for (int i = 1; i < 100; i++)
		require_int(thread_start(count, &n, "beam-test"), 0);
	check(thread_end_all(BEAM_FOREVER));
	check_int(atomic_load(&n), 100);
	check_within(20000, threads_here() <= before);
}

static void test_it_can_be_waited_again_for_threads_started_later(void)
{
	atomic_uint n = 0;

	for (int i = 0; i < 3; i++) {
		require_int(thread_start(count, &n, "beam-test"), 0);
		check(thread_end_all(BEAM_FOREVER));
		check(thread_end_all(BEAM_NOWAIT));
	}
	check_int(atomic_load(&n), 3);
}

static void test_waiting_for_threads_is_bounded(void)
{
	int pipe_fds[2];

	require_int(pipe2(pipe_fds, O_CLOEXEC), 0);
	require_int(thread_start(wait_for_eof, &pipe_fds[0], "beam-test"), 0);
	check(!thread_end_all(BEAM_NOWAIT));
	check(!thread_end_all(beam_in_ms(20)));
	close(pipe_fds[1]);
	check(thread_end_all(BEAM_FOREVER));
	close(pipe_fds[0]);
}

struct seen {
	sigset_t mask;
	char name[16];
};

static void look(void *argument)
{
	struct seen *seen = argument;

	pthread_sigmask(SIG_SETMASK, NULL, &seen->mask);
	pthread_getname_np(pthread_self(), seen->name, sizeof seen->name);
}

/* A thread raises these by what it does itself, and a blocked one would end the process. */
static bool raised_by_itself(int sig)
{
	return sig == SIGSYS || sig == SIGSEGV || sig == SIGBUS || sig == SIGILL || sig == SIGFPE || sig == SIGTRAP;
}

static void test_a_thread_blocks_what_others_send_and_has_a_name(void)
{
	struct seen seen;
	sigset_t before, after;

	sigemptyset(&before);
	sigaddset(&before, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	require_int(thread_start(look, &seen, "beam-test"), 0);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	check(sigismember(&after, SIGUSR2) && !sigismember(&after, SIGUSR1));
	check(thread_end_all(BEAM_FOREVER));
	for (int sig = 1; sig < 32; sig++) {
		harness_context("signal %d", sig);
		if (sig != SIGKILL && sig != SIGSTOP)
			check_int(sigismember(&seen.mask, sig), !raised_by_itself(sig));
	}
	harness_context("%s", "");
	check_string(seen.name, "beam-test");
	sigdelset(&before, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void test_a_thread_does_not_inherit_that_its_own_faults_are_blocked(void)
{
	sigset_t all, before;
	struct seen seen;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	require_int(thread_start(look, &seen, "beam-test"), 0);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	check(thread_end_all(BEAM_FOREVER));
	check(!sigismember(&seen.mask, SIGSEGV) && !sigismember(&seen.mask, SIGSYS) && sigismember(&seen.mask, SIGTERM));
}

static void test_a_thread_that_cannot_start_leaves_its_creators_signals_as_they_were(void)
{
	sigset_t mask, before, after;

	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	sigaddset(&mask, SIGFPE);
	pthread_sigmask(SIG_SETMASK, &mask, &before);
	fault_only(FAULT(SYS_PTHREAD_CREATE));
	fault_at(1, 0, FAULT_STICKY);
	check_int(thread_start(look, NULL, "beam-test"), -EAGAIN);
	fault_off();
	pthread_sigmask(SIG_SETMASK, &before, &after);
	for (int sig = 1; sig < 32; sig++) {
		harness_context("signal %d", sig);
		check_int(sigismember(&after, sig), sigismember(&mask, sig));
	}
	harness_context("%s", "");
}

/* What a program may have, and glibc puts into each thread's stack. */
static _Thread_local volatile unsigned char of_the_program[250 << 10];

enum { STACK_LEAST = 200 << 10, STACK_MOST = 1 << 20 };

struct stack {
	size_t bytes, below;
};

static void measure_stack(void *argument)
{
	struct stack *stack = argument;
	pthread_attr_t attributes;
	void *lowest;

	of_the_program[0] = 1;
	require_int(pthread_getattr_np(pthread_self(), &attributes), 0);
	pthread_attr_getstack(&attributes, &lowest, &stack->bytes);
	pthread_attr_destroy(&attributes);
	stack->below = (size_t)((char *)__builtin_frame_address(0) - (char *)lowest);
}

static void test_a_threads_stack_is_small_whatever_the_limit_and_large_enough_whatever_the_program_puts_there(void)
{
	struct stack stack = {0, 0};

	require_int(thread_start(measure_stack, &stack, "beam-test"), 0);
	check(thread_end_all(BEAM_FOREVER));
	check(stack.below >= STACK_LEAST);
	/* A sanitizer has thread-local variables, too, which are larger than all else. */
	check(stack.bytes <= STACK_MOST || under_sanitizer());
}

static void test_a_thread_has_the_c_librarys_own_stack_where_that_is_too_small(void)
{
	struct stack stack = {0, 0};

	fault_only(FAULT(SYS_PTHREAD_CREATE));
	fault_at(1, EINVAL, FAULT_ONCE);
	check_int(thread_start(measure_stack, &stack, "beam-test"), 0);
	check(thread_end_all(BEAM_FOREVER));
	check(stack.below >= STACK_LEAST);
	fault_at(1, EINVAL, FAULT_STICKY);
	check_int(thread_start(measure_stack, &stack, "beam-test"), -EINVAL);
	fault_off();
}

static void start_and_end(void)
{
	atomic_uint n = 0;
	int r = thread_start(count, &n, "beam-test");

	check(r == 0 || r == -ENOMEM || r == -EAGAIN);
	check(thread_end_all(BEAM_FOREVER));
	check_int(atomic_load(&n), r == 0);
}

static void test_a_thread_that_cannot_start_is_not_waited_for(void)
{
	check_int(fault_sweep(start_and_end), 2);
}

static void test_a_thread_that_cannot_start_leaves_others_to_be_waited_for(void)
{
	int pipe_fds[2];

	require_int(pipe2(pipe_fds, O_CLOEXEC), 0);
	require_int(thread_start(wait_for_eof, &pipe_fds[0], "beam-test"), 0);
	fault_only(FAULT(SYS_PTHREAD_CREATE));
	fault_at(1, 0, false);
	check_int(thread_start(wait_for_eof, &pipe_fds[0], "beam-test"), -EAGAIN);
	check(!thread_end_all(BEAM_NOWAIT));
	close(pipe_fds[1]);
	check(thread_end_all(BEAM_FOREVER));
	close(pipe_fds[0]);
}

static void test_a_process_has_a_number_and_keeps_it(void)
{
	uint32_t number;

	check_int(process_prepare(), 0);
	number = process_id();
	check(number != 0);
	check_int(process_prepare(), 0);
	check_int(process_id(), number);
}

static int take_another_number(void *argument)
{
	uint32_t parent = *(uint32_t *)argument, own;

	check_int(process_id(), 0);
	check_int(process_prepare(), 0);
	own = process_id();
	check(own != 0 && own != parent);
	return 0;
}

static int take_another_number_twice(void *argument)
{
	uint32_t number;

	take_another_number(argument);
	number = process_id();
	check_int(process_wait(process_spawn(take_another_number, &number)), 0);
	return 0;
}

static void test_a_forked_child_has_no_number_until_it_takes_another(void)
{
	uint32_t number;

	check_int(process_prepare(), 0);
	number = process_id();
	check_int(process_wait(process_spawn(take_another_number, &number)), 0);
	check_int(process_wait(process_spawn(take_another_number_twice, &number)), 0);
	check_int(process_id(), number);
}

static void test_a_child_that_fork_handlers_do_not_see_has_no_number_either(void)
{
	uint32_t number;
	pid_t child;
	int status = 0;

	if (under_valgrind())
		skip("Valgrind does not know this clone()");
	check_int(process_prepare(), 0);
	number = process_id();
	child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	if (child == 0)
		_exit(process_id() == 0 ? 7 : 8);
	require(child > 0);
	check_int(waitpid(child, &status, 0), child);
	check_int(WEXITSTATUS(status), 7);
	check_int(process_id(), number);
}

static int use_threads(void *argument)
{
	atomic_uint n = 0;

	(void)argument;
	check(thread_end_all(BEAM_FOREVER));
	if (THREAD_SANITIZER)
		return 0;
	check_int(thread_start(count, &n, "beam-test"), 0);
	check(thread_end_all(BEAM_FOREVER));
	check_int(atomic_load(&n), 1);
	return 0;
}

static void test_a_forked_child_neither_waits_for_the_parents_threads_nor_lacks_its_own(void)
{
	int pipe_fds[2];

	require_int(pipe2(pipe_fds, O_CLOEXEC), 0);
	require_int(thread_start(wait_for_eof, &pipe_fds[0], "beam-test"), 0);
	check_int(process_wait(process_spawn(use_threads, NULL)), 0);
	close(pipe_fds[1]);
	check(thread_end_all(BEAM_FOREVER));
	close(pipe_fds[0]);
}

static int leave(void *argument)
{
	(void)argument;
	exit(7);
}

static void test_a_forked_child_ends_though_the_parents_threads_run(void)
{
	int pipe_fds[2];
	int64_t begin = now_ns();

	if (under_valgrind())
		skip("the child's exit would be judged by its parent's memory");
	require_int(pipe2(pipe_fds, O_CLOEXEC), 0);
	require_int(thread_start(wait_for_eof, &pipe_fds[0], "beam-test"), 0);
	check_int(process_wait(process_spawn(leave, NULL)), 7);
	check(now_ns() - begin < (int64_t)stretch(2000) * 1000000);
	close(pipe_fds[1]);
	check(thread_end_all(BEAM_FOREVER));
	close(pipe_fds[0]);
}

static void hang(void *unused)
{
	for (;;)
		pause();
	(void)unused;
}

static void write_after_a_while(void *argument)
{
	const int *fd = argument;

	poll(NULL, 0, 200);
	check_int(write(*fd, "x", 1), 1);
}

static int leave_those_that_may_hang(void *argument)
{
	check_int(thread_start_expendable(hang, NULL, "beam-test"), 0);
	check_int(thread_start(write_after_a_while, argument, "beam-test"), 0);
	check(!thread_end_all(BEAM_NOWAIT));
	exit(7);
}

static int leave_after_one_that_did_not_start(void *argument)
{
	fault_only(FAULT(SYS_PTHREAD_CREATE));
	fault_at(1, EAGAIN, FAULT_ONCE);
	check_int(thread_start_expendable(hang, NULL, "beam-test"), -EAGAIN);
	fault_off();
	check_int(thread_start(write_after_a_while, argument, "beam-test"), 0);
	exit(7);
}

static void test_a_thread_that_did_not_start_is_not_taken_for_one_that_may_hang(void)
{
	int pipe_fds[2];

	needs_threads_in_children();
	if (under_valgrind())
		skip("the child's exit would be judged by its parent's memory");
	require_int(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	check_int(process_wait(process_spawn(leave_after_one_that_did_not_start, &pipe_fds[1])), 7);
	check_int(read(pipe_fds[0], &(char){0}, 1), 1);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static void test_the_end_of_the_process_waits_for_threads_but_not_for_those_that_may_hang(void)
{
	int64_t begin = now_ns();
	int pipe_fds[2];

	needs_threads_in_children();
	if (under_valgrind())
		skip("the child's exit would be judged by its parent's memory");
	require_int(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	check_int(process_wait(process_spawn(leave_those_that_may_hang, &pipe_fds[1])), 7);
	check(now_ns() - begin < (int64_t)stretch(2000) * 1000000);
	check_int(read(pipe_fds[0], &(char){0}, 1), 1);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static int ask_for_the_end(void *argument)
{
	int64_t before = now_ns(), end = process_end_within(1000).ns;

	(void)argument;
	check(end >= before + INT64_C(1000000000) && end <= now_ns() + INT64_C(1000000000));
	check_within(20000, now_ns() > before + 1000000);
	check_int(process_end_within(1000).ns, end);
	check_int(process_end_within(1500).ns, end + 500 * 1000000);
	return 0;
}

static void test_the_end_of_the_process_has_one_time_for_all_who_wait_then(void)
{
	check_int(process_wait(process_spawn(ask_for_the_end, NULL)), 0);
}

static void test_those_that_may_hang_are_waited_for_when_all_are(void)
{
	int pipe_fds[2];

	require_int(pipe2(pipe_fds, O_CLOEXEC), 0);
	require_int(thread_start_expendable(wait_for_eof, &pipe_fds[0], "beam-test"), 0);
	check(!thread_end_all(beam_in_ms(20)));
	close(pipe_fds[1]);
	check(thread_end_all(BEAM_FOREVER));
	close(pipe_fds[0]);
}

static atomic_bool enough;

static void *start_threads(void *unused)
{
	atomic_uint n = 0;

	while (!atomic_load(&enough)) {
		check_int(thread_start(count, &n, "beam-test"), 0);
		sched_yield();
	}
	check(thread_end_all(BEAM_FOREVER));
	return unused;
}

static void test_a_fork_never_leaves_the_lock_locked(void)
{
	pthread_t thread;

	if (under_sanitizer())
		skip("a sanitizer's own locks are left locked by a fork");
	atomic_store(&enough, false);
	thread = thread_spawn(start_threads, NULL);
	for (size_t i = 0; i < scale(200); i++)
		check_int(process_wait(process_spawn(use_threads, NULL)), 0);
	atomic_store(&enough, true);
	thread_wait(thread);
}

struct cancelled {
	atomic_bool waiting, told, passed;
};

/* Not inlined: of a frame that cancellation unwinds the address sanitizer of gcc 12 forgets to clear the bounds. */
__attribute__((noinline)) static void outlive_a_cancellation(struct cancelled *cancelled)
{
	WITHOUT_CANCELLATION;

	atomic_store(&cancelled->waiting, true);
	check_within(20000, atomic_load(&cancelled->told));
	pthread_testcancel();
	atomic_store(&cancelled->passed, true);
}

static void *be_cancelled(void *argument)
{
	outlive_a_cancellation(argument);
	pause();
	return NULL;
}

static void test_without_cancellation_lasts_to_the_end_of_its_block(void)
{
	struct cancelled cancelled = {false, false, false};
	pthread_t thread;
	void *result;

	require_int(pthread_create(&thread, NULL, be_cancelled, &cancelled), 0);
	check_within(20000, atomic_load(&cancelled.waiting));
	pthread_cancel(thread);
	atomic_store(&cancelled.told, true);
	pthread_join(thread, &result);
	check(result == PTHREAD_CANCELED);
	check(atomic_load(&cancelled.passed));
}

enum { STARTERS = 4, STARTS = 1000 };

static atomic_long about;

static void run_briefly(void *argument)
{
	(void)argument;
	atomic_fetch_sub(&about, 1);
}

static void *start_often(void *argument)
{
	size_t *peak = argument;
	struct stat status;

	for (size_t i = 0; i < scale(STARTS); i++) {
		/* Those that have not come to run yet are not meant. */
		while (atomic_load(&about) > 20)
			sched_yield();
		atomic_fetch_add(&about, 1);
		check_int(thread_start(run_briefly, NULL, "test"), 0);
		if (i % 16 == 0 && stat("/proc/self/task", &status) == 0 && status.st_nlink > *peak)
			*peak = status.st_nlink;
	}
	return NULL;
}

static void test_threads_that_end_quickly_after_one_another_do_not_pile_up(void)
{
	size_t peaks[STARTERS] = {0};
	pthread_t starters[STARTERS];

	for (int i = 0; i < STARTERS; i++)
		starters[i] = thread_spawn(start_often, &peaks[i]);
	for (int i = 0; i < STARTERS; i++) {
		thread_wait(starters[i]);
		/* Those that wait to be joined, and those that are about to end. */
		check(peaks[i] < 300);
	}
	check(thread_end_all(beam_in_ms(stretch(20000))));
}

/* Threads that end when they are told, and linger then until they are let go: so they cannot be joined yet. */
struct lingering {
	sem_t end, go;
	atomic_bool leaving, ended;
	pid_t number;
};

static pthread_key_t lingering_key;

static void linger(void *argument)
{
	struct lingering *lingering = argument;

	atomic_store(&lingering->ended, true);
	sem_wait(&lingering->go);
}

static void end_when_told(void *argument)
{
	struct lingering *lingering = argument;

	pthread_setspecific(lingering_key, lingering);
	lingering->number = thread_number();
	sem_wait(&lingering->end);
	atomic_store(&lingering->leaving, true);
}

static void start_lingering(struct lingering *lingering)
{
	*lingering = (struct lingering){.number = 0};
	sem_init(&lingering->end, 0, 0);
	sem_init(&lingering->go, 0, 0);
	require_int(thread_start(end_when_told, lingering, "beam-test"), 0);
}

static void end_and_linger(struct lingering *lingering)
{
	start_lingering(lingering);
	sem_post(&lingering->end);
	check_within(20000, atomic_load(&lingering->ended));
}

static void test_a_child_that_fork_handlers_do_not_see_does_not_wait_for_threads_of_the_parent(void)
{
	static struct lingering ended;
	int status = 0;
	pid_t child;

	if (under_valgrind())
		skip("Valgrind does not know this clone()");
	require_int(pthread_key_create(&lingering_key, linger), 0);
	end_and_linger(&ended);
	child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	if (child == 0) {
		alarm((unsigned)stretch(10));
		_exit(process_prepare() == 0 && thread_end_all(BEAM_FOREVER) ? 7 : 8);
	}
	require(child > 0);
	check_int(waitpid(child, &status, 0), child);
	check_int(status, 7 << 8);
	sem_post(&ended.go);
	check(thread_end_all(BEAM_FOREVER));
	pthread_key_delete(lingering_key);
}

/* On its way out it joins another, which lingers: so it sleeps. */
static bool joins(struct lingering *lingering)
{
	return atomic_load(&lingering->leaving) && !atomic_load(&lingering->ended) && thread_asleep(lingering->number);
}

enum { JOINERS = 65 }; /* one more than may wait to be joined: ENDED_MAX in thread.c */

static void test_however_many_end_at_once_each_is_joined(void)
{
	static struct lingering joiners[JOINERS], seconds[JOINERS], first;

	if (under_valgrind())
		skip("Valgrind runs one thread at a time: who sleeps may wait for his turn");
	check(thread_end_all(BEAM_FOREVER));
	require_int(pthread_key_create(&lingering_key, linger), 0);
	/* Each joins the two that it has to, and is held up by the second. */
	for (int i = 0; i < JOINERS; i++) {
		end_and_linger(&first);
		start_lingering(&joiners[i]);
		sem_post(&joiners[i].end);
		check_within(20000, joins(&joiners[i]));
		end_and_linger(&seconds[i]);
		sem_post(&first.go);
		check_within(20000, thread_state(first.number) == 0 && joins(&joiners[i]));
	}
	/* All but one end, without anybody that they could join. */
	for (int i = 1; i < JOINERS; i++) {
		sem_post(&seconds[i].go);
		check_within(20000, atomic_load(&joiners[i].ended));
	}
	/* There is no place for the last: it joins a third. */
	sem_post(&seconds[0].go);
	check_within(20000, thread_state(seconds[0].number) == 0 && joins(&joiners[0]));
	for (int i = 0; i < JOINERS; i++)
		sem_post(&joiners[i].go);
	check(thread_end_all(BEAM_FOREVER));
	check(atomic_load(&joiners[0].ended));
	pthread_key_delete(lingering_key);
}

static const struct test tests[] = {
    TEST(test_every_thread_runs_once_and_is_joined),
    TEST(test_it_can_be_waited_again_for_threads_started_later),
    TEST(test_waiting_for_threads_is_bounded),
    TEST(test_a_thread_blocks_what_others_send_and_has_a_name),
    TEST(test_a_thread_does_not_inherit_that_its_own_faults_are_blocked),
    TEST(test_a_thread_that_cannot_start_leaves_its_creators_signals_as_they_were),
    TEST(test_a_threads_stack_is_small_whatever_the_limit_and_large_enough_whatever_the_program_puts_there),
    TEST(test_a_thread_has_the_c_librarys_own_stack_where_that_is_too_small),
    TEST(test_a_thread_that_cannot_start_is_not_waited_for),
    TEST(test_a_thread_that_cannot_start_leaves_others_to_be_waited_for),
    TEST(test_a_process_has_a_number_and_keeps_it),
    TEST(test_a_forked_child_has_no_number_until_it_takes_another),
    TEST(test_a_child_that_fork_handlers_do_not_see_has_no_number_either),
    TEST(test_a_child_that_fork_handlers_do_not_see_does_not_wait_for_threads_of_the_parent),
    TEST(test_a_forked_child_neither_waits_for_the_parents_threads_nor_lacks_its_own),
    TEST(test_a_forked_child_ends_though_the_parents_threads_run),
    TEST(test_a_thread_that_did_not_start_is_not_taken_for_one_that_may_hang),
    TEST(test_the_end_of_the_process_waits_for_threads_but_not_for_those_that_may_hang),
    TEST(test_the_end_of_the_process_has_one_time_for_all_who_wait_then),
    TEST(test_those_that_may_hang_are_waited_for_when_all_are),
    TEST(test_a_fork_never_leaves_the_lock_locked),
    TEST(test_without_cancellation_lasts_to_the_end_of_its_block),
    TEST(test_threads_that_end_quickly_after_one_another_do_not_pile_up),
    TEST(test_however_many_end_at_once_each_is_joined),
};
HARNESS_MAIN("thread", tests)
