/* SPDX-License-Identifier: MIT */
/*
 * Library threads: how they start, which signals and how much stack they have, and how they are
 * waited for.
 */
#include <base/threads.h>
#include <dirent.h>
#include <harness/fault.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* How many threads there are, including the checker's own if it has one. */
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

static void test_every_thread_runs_once_and_is_joined(void)
{
	int before;
	atomic_uint n = 0;

	/*
	 * A sanitizer may start a thread of its own with our first one. Threads that have been
	 * joined may still be visible for a moment.
	 */
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

/* A thread raises these signals by what it does itself. A blocked one would end the process. */
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
	check(!sigismember(&seen.mask, SIGSEGV) && !sigismember(&seen.mask, SIGSYS) &&
	      sigismember(&seen.mask, SIGTERM));
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

/* Thread-local variables of a program, which glibc puts into each thread's stack. */
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
	/* A sanitizer has thread-local variables, too, which are larger than everything else. */
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

struct cancelled {
	atomic_bool waiting, told, passed;
};

/*
 * Not inlined: the address sanitizer of gcc 12 forgets to clear the bounds of a frame that
 * cancellation unwinds.
 */
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
		/* Threads that have not run yet are not what this test is about. */
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
		/* Threads that wait to be joined, and threads that are about to end. */
		check(peaks[i] < 300);
	}
	check(thread_end_all(beam_in_ms(stretch(20000))));
}

/* On its way out it joins another thread, which lingers, so it sleeps. */
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
	/* Each of them joins the two threads that it has to join. The second one delays it. */
	for (int i = 0; i < JOINERS; i++) {
		end_and_linger(&first);
		start_lingering(&joiners[i]);
		sem_post(&joiners[i].end);
		check_within(20000, joins(&joiners[i]));
		end_and_linger(&seconds[i]);
		sem_post(&first.go);
		check_within(20000, thread_state(first.number) == 0 && joins(&joiners[i]));
	}
	/* All but one end, without another thread that they could join. */
	for (int i = 1; i < JOINERS; i++) {
		sem_post(&seconds[i].go);
		check_within(20000, atomic_load(&joiners[i].ended));
	}
	/* There is no room for the last one, so it joins a third thread. */
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
    TEST(test_without_cancellation_lasts_to_the_end_of_its_block),
    TEST(test_threads_that_end_quickly_after_one_another_do_not_pile_up),
    TEST(test_however_many_end_at_once_each_is_joined),
};
HARNESS_MAIN("thread", tests)
