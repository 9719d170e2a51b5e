/* SPDX-License-Identifier: MIT */
/* Library threads and their process: its number, its forks, and its exit. */
#include <base/threads.h>
#include <harness/fault.h>
#include <harness/sanitizer.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

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

static const struct test tests[] = {
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
};
HARNESS_MAIN("thread_process", tests)
