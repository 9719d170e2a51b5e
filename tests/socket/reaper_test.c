/* SPDX-License-Identifier: MIT */
/* The reaper, on descriptors that close at once and on one whose close blocks. */
#include <base/clock.h>
#include <base/thread.h>
#include <harness/fault.h>
#include <harness/harness.h>
#include <socket/reaper.h>

#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>

/* What a test needs that not every checker allows. */
static void need_threads_beside_a_close(void)
{
	if (under_valgrind())
		skip("Valgrind lets no other thread run during a close");
}

static void need_an_exit_of_a_child(void)
{
	if (under_valgrind())
		skip("the child's exit would be judged by its parent's memory");
}

/* A pipe's writing end; `*ret_reader` sees when it is closed. */
static int watched(int *ret_reader)
{
	int fds[2];

	require_int(pipe2(fds, O_CLOEXEC), 0);
	*ret_reader = fds[0];
	return fds[1];
}

static bool closed(int reader)
{
	struct pollfd fd = {.fd = reader};

	return poll(&fd, 1, 0) == 1 && (fd.revents & POLLHUP);
}

/*
 * A TCP socket with data that its peer does not read: its close lingers for so many seconds (SO_LINGER, socket(7)). `*ret_peer` is to be
 * closed afterwards.
 */
static int lingering(int seconds, int *ret_peer)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct linger linger = {.l_onoff = 1, .l_linger = seconds};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	static const char data[1 << 16];
	socklen_t size = sizeof address;

	require_int(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
	require_int(listen(listener, 1), 0);
	require_int(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	require_int(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	*ret_peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	require(*ret_peer >= 0);
	close(listener);
	require_int(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
	while (send(fd, data, sizeof data, MSG_DONTWAIT) > 0)
		;
	return fd;
}

static void test_what_is_given_is_closed(void)
{
	int readers[3], fds[5] = {-EMFILE, watched(&readers[0]), -1, watched(&readers[1]), watched(&readers[2])};

	reaper_close(fds, 5);
	check(reaper_drain(BEAM_FOREVER));
	for (int i = 0; i < 3; i++) {
		check(closed(readers[i]));
		close(readers[i]);
	}
}

static void test_nothing_to_close_is_nothing_to_do(void)
{
	reaper_close(NULL, 0);
	reaper_close((int[]){-1, -EMFILE, -ENOENT}, 3);
	check(reaper_drain(BEAM_NOWAIT));
	check(!reaper_stuck());
}

static void test_many_descriptors_are_closed_in_many_turns(void)
{
	int fds[300];

	for (size_t turn = 0; turn < scale(50); turn++) {
		for (size_t i = 0; i < 300; i++)
			require((fds[i] = fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0);
		reaper_close(fds, 100);
		reaper_close(fds + 100, 1);
		reaper_close(fds + 101, 199);
	}
	check(reaper_drain(BEAM_FOREVER));
}

static void test_a_close_that_blocks_holds_up_neither_the_giver_nor_others_for_long(void)
{
	int peer, reader, fds[2];
	int64_t begin;

	need_threads_beside_a_close();
	fds[0] = lingering(1, &peer);
	fds[1] = watched(&reader);
	begin = now_ns();
	reaper_close(fds, 2);
	check(!reaper_drain(beam_in_ms(20)));
	check(now_ns() - begin < (int64_t)stretch(500) * 1000000);
	check(!reaper_stuck());
	check(reaper_drain(BEAM_FOREVER));
	check(now_ns() - begin > 900 * 1000000);
	check(closed(reader));
	close(reader);
	close(peer);
}

static void test_a_drain_waits_for_the_close_that_is_under_way(void)
{
	int peer, fd;

	need_threads_beside_a_close();
	fd = lingering(1, &peer);
	reaper_close(&fd, 1);
	check_within(900, !fd_open(fd));
	check(!reaper_drain(BEAM_NOWAIT));
	check(reaper_drain(BEAM_FOREVER));
	close(peer);
}

static void test_it_is_stuck_when_much_waits_for_one_close(void)
{
	int peer, fds[66];

	need_threads_beside_a_close();
	fds[0] = lingering(2, &peer);
	for (size_t i = 1; i < 66; i++)
		require((fds[i] = fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0);
	reaper_close(fds, 66);
	check(!reaper_stuck());
	check_within(1900, reaper_stuck());
	check(reaper_drain(BEAM_FOREVER));
	check(!reaper_stuck());
	close(peer);
}

static void test_a_queue_of_which_much_is_done_takes_more_without_growing(void)
{
	enum { QUEUE = 128, BLOCKS = 100, MORE = 32 };
	int fds[QUEUE + MORE], readers[2], peer;

	need_threads_beside_a_close();
	/* It begins anew, with as much room as it is given first. */
	check(thread_end_all(BEAM_FOREVER));
	for (size_t i = 0; i < QUEUE + MORE; i++)
		if (i != BLOCKS && i != QUEUE - 1 && i != QUEUE + MORE - 1)
			require((fds[i] = fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0);
	fds[BLOCKS] = lingering(1, &peer);
	fds[QUEUE - 1] = watched(&readers[0]);
	fds[QUEUE + MORE - 1] = watched(&readers[1]);
	reaper_close(fds, QUEUE);
	check_within(900, !fd_open(fds[BLOCKS]));
	/* What is done makes room. */
	fault_only(FAULT(SYS_REALLOC));
	fault_at(1, 0, true);
	reaper_close(fds + QUEUE, MORE);
	check(!fault_hit());
	fault_off();
	check(!closed(readers[0]) && !closed(readers[1]));
	check(reaper_drain(BEAM_FOREVER));
	for (size_t i = 0; i < 2; i++) {
		check(closed(readers[i]));
		close(readers[i]);
	}
	close(peer);
}

static void test_a_close_that_blocks_does_not_hold_back_those_who_give_more(void)
{
	enum { MANY = 1100, MORE = 400 };
	static int fds[MANY];
	struct rlimit before, limit;
	int peer, reader;

	need_threads_beside_a_close();
	require_int(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit = before;
	limit.rlim_cur = limit.rlim_max;
	require_int(setrlimit(RLIMIT_NOFILE, &limit), 0);
	fds[0] = lingering(2, &peer);
	fds[1] = watched(&reader);
	for (size_t i = 2; i < MANY; i++)
		require((fds[i] = fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0);
	reaper_close(fds, MANY);
	/* Held back for 10 ms each, they would outlast the close. */
	for (size_t i = 0; i < MORE; i++) {
		int fd = fcntl(0, F_DUPFD_CLOEXEC, 0);

		require(fd >= 0);
		reaper_close(&fd, 1);
	}
	check(!closed(reader));
	check(reaper_drain(BEAM_FOREVER));
	check(closed(reader));
	setrlimit(RLIMIT_NOFILE, &before);
	close(reader);
	close(peer);
}

static void test_without_memory_or_thread_it_closes_at_once(void)
{
	static const enum sys_call calls[] = {SYS_REALLOC, SYS_MALLOC, SYS_PTHREAD_CREATE};

	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		int reader, fd_or_not[2] = {-EMFILE, watched(&reader)};

		/* Its thread has ended, and its memory with it. */
		check(thread_end_all(BEAM_FOREVER));
		fault_only(FAULT(calls[i]));
		fault_at(1, 0, true);
		reaper_close(fd_or_not, 2);
		check(fault_hit());
		check(closed(reader));
		fault_off();
		close(reader);
	}
}

static void test_the_thread_ends_when_nothing_comes(void)
{
	int reader, fd = watched(&reader);

	reaper_close(&fd, 1);
	check(reaper_drain(BEAM_FOREVER));
	check(thread_end_all(beam_in_ms(stretch(5000))));
	fd = fcntl(reader, F_DUPFD_CLOEXEC, 0);
	reaper_close(&fd, 1);
	check(reaper_drain(BEAM_FOREVER));
	check(thread_end_all(BEAM_FOREVER));
	close(reader);
}

static atomic_bool enough;

static void *keep_closing(void *unused)
{
	while (!atomic_load(&enough)) {
		int fds[3];

		for (size_t i = 0; i < 3; i++)
			require((fds[i] = fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0);
		reaper_close(fds, 3);
	}
	return unused;
}

static void test_any_thread_may_give(void)
{
	pthread_t threads[3];

	atomic_store(&enough, false);
	for (int i = 0; i < 3; i++)
		threads[i] = thread_spawn(keep_closing, NULL);
	for (size_t i = 0; i < scale(200); i++)
		check(reaper_drain(beam_in_ms(1)) || !reaper_stuck());
	atomic_store(&enough, true);
	for (int i = 0; i < 3; i++)
		thread_wait(threads[i]);
	check(reaper_drain(BEAM_FOREVER));
}

static int close_one(void *unused)
{
	int reader, fd = watched(&reader);

	(void)unused;
	reaper_close(&fd, 1);
	check(reaper_drain(BEAM_FOREVER));
	check(closed(reader));
	return 0;
}

static void test_a_forked_child_has_a_reaper_of_its_own(void)
{
	pthread_t thread;

	if (under_sanitizer())
		skip("a sanitizer's own locks are left locked by a fork");
	atomic_store(&enough, false);
	thread = thread_spawn(keep_closing, NULL);
	for (size_t i = 0; i < scale(100); i++)
		check_int(process_wait(process_spawn(close_one, NULL)), 0);
	atomic_store(&enough, true);
	thread_wait(thread);
	check(reaper_drain(BEAM_FOREVER));
}

static int drain_what_was_inherited(void *argument)
{
	const int *reader = argument;

	check(!closed(*reader));
	check(reaper_drain(BEAM_FOREVER));
	return 0;
}

static void test_what_waits_at_a_fork_is_closed_in_the_child_too(void)
{
	int peer, reader, fds[2];
	pid_t child;

	needs_threads_in_children();
	need_threads_beside_a_close();
	fds[0] = lingering(1, &peer);
	fds[1] = watched(&reader);
	reaper_close(fds, 2);
	/* The first is being closed, and the second waits. */
	check_within(900, !fd_open(fds[0]));
	child = process_spawn(drain_what_was_inherited, &reader);
	check_int(process_wait(child), 0);
	check(reaper_drain(BEAM_FOREVER));
	check(closed(reader));
	close(reader);
	close(peer);
}

static int leave(void *argument)
{
	close_one(argument);
	exit(harness_failures() ? 1 : 7);
}

static void test_the_end_of_the_process_does_not_wait_for_an_idle_reaper(void)
{
	int64_t begin = now_ns();

	needs_threads_in_children();
	need_an_exit_of_a_child();
	for (int i = 0; i < 20; i++)
		check_int(process_wait(process_spawn(leave, NULL)), 7);
	check(now_ns() - begin < (int64_t)stretch(1500) * 1000000);
}

static int leave_while_it_blocks(void *unused)
{
	int peer, fd = lingering(1, &peer);

	(void)unused;
	reaper_close(&fd, 1);
	exit(7);
}

static void test_the_end_of_the_process_waits_for_what_is_left_to_close(void)
{
	int64_t begin = now_ns();

	needs_threads_in_children();
	need_an_exit_of_a_child();
	check_int(process_wait(process_spawn(leave_while_it_blocks, NULL)), 7);
	check(now_ns() - begin < (int64_t)stretch(3000) * 1000000);
}

static const struct test tests[] = {
    TEST(test_what_is_given_is_closed),
    TEST(test_nothing_to_close_is_nothing_to_do),
    TEST(test_many_descriptors_are_closed_in_many_turns),
    TEST(test_a_close_that_blocks_holds_up_neither_the_giver_nor_others_for_long),
    TEST(test_a_drain_waits_for_the_close_that_is_under_way),
    TEST(test_it_is_stuck_when_much_waits_for_one_close),
    TEST(test_a_queue_of_which_much_is_done_takes_more_without_growing),
    TEST(test_a_close_that_blocks_does_not_hold_back_those_who_give_more),
    TEST(test_without_memory_or_thread_it_closes_at_once),
    TEST(test_the_thread_ends_when_nothing_comes),
    TEST(test_any_thread_may_give),
    TEST(test_a_forked_child_has_a_reaper_of_its_own),
    TEST(test_what_waits_at_a_fork_is_closed_in_the_child_too),
    TEST(test_the_end_of_the_process_does_not_wait_for_an_idle_reaper),
    TEST(test_the_end_of_the_process_waits_for_what_is_left_to_close),
};
HARNESS_MAIN("reaper", tests)
