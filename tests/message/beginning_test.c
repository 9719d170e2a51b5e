/* SPDX-License-Identifier: MIT */
/*
 * What the library may lack when it is loaded, and what works without it. Each test runs in a
 * program of its own: this one once more, whose environment says which call fails before main().
 */
#include <base/thread.h>
#include <harness/fault.h>
#include <harness/harness.h>
#include <message/message.h>
#include <socket/reaper.h>

#include <limits.h>
#include <stdatomic.h>

/* The call, and its number among the calls of its kind. */
#define LACKS "BEAM_TEST_LACKS"

/* Runs before the constructor in base, which has the same priority, because it is linked first. */
__attribute__((constructor(101))) static void lack(void)
{
	const char *lacks = getenv(LACKS);
	char *nth;

	if (!lacks)
		return;
	fault_only(FAULT(strtoul(lacks, &nth, 10)));
	fault_at(strtoul(nth, NULL, 10), 0, false);
}

static int run_again(void *test)
{
	char path[PATH_MAX] = "";

	check(readlink("/proc/self/exe", path, sizeof path - 1) > 0);
	execl(path, path, test, (char *)NULL);
	return 127;
}

/*
 * Returns true in the program in which the call fails. Elsewhere, runs that program, which must
 * succeed.
 */
static bool lacking(enum sys_call call, unsigned nth, const char *test)
{
	char lacks[32], name[256];

	if (getenv(LACKS)) {
		check(fault_hit());
		return true;
	}
	snprintf(lacks, sizeof lacks, "%d %u", (int)call, nth);
	snprintf(name, sizeof name, "%s", test);
	setenv(LACKS, lacks, 1);
	check_int(process_wait(process_spawn(run_again, name)), 0);
	unsetenv(LACKS);
	return false;
}

static bool closed(int reader)
{
	struct pollfd fd = {.fd = reader};

	return poll(&fd, 1, 0) == 1 && (fd.revents & POLLHUP);
}

static atomic_size_t reported;

static void on_settled(struct reaper_account *account, size_t n)
{
	(void)account;
	atomic_fetch_add(&reported, n);
}

static int give_the_parents(void *account)
{
	int pipe_fds[2];

	require_int(pipe2(pipe_fds, O_CLOEXEC), 0);
	reaper_close_for(account, &pipe_fds[1], 1);
	check(closed(pipe_fds[0]));
	return 0;
}

static void check_closed_at_once(void)
{
	struct reaper_account account;
	beam_message *message;
	int pipes[3][2];

	for (int i = 0; i < 3; i++)
		require_int(pipe2(pipes[i], O_CLOEXEC), 0);
	reaper_close((int[]){-EMFILE, pipes[0][1]}, 2);
	check(closed(pipes[0][0]));
	check(reaper_drain(BEAM_NOWAIT));
	reaper_account_init(&account, on_settled);
	reaper_close_for(&account, (int[]){-EMFILE, pipes[2][1]}, 2);
	check(closed(pipes[2][0]));
	check_int(atomic_load(&reported), 1);
	check_int(process_wait(process_spawn(give_the_parents, &account)), 0);
	reaper_account_end(&account);
	require_int(beam_message_new(&message, "x", 1), 0);
	check_int(beam_message_give_fd(message, pipes[1][1]), 0);
	beam_message_free(message);
	check(closed(pipes[1][0]));
	for (int i = 0; i < 3; i++)
		close(pipes[i][0]);
}

static void set(void *argument)
{
	*(bool *)argument = true;
}

static void check_no_number(void)
{
	bool ran = false;

	check_int(process_prepare(), -ENOMEM);
	check_int(process_id(), 0);
	check_int(thread_start(set, &ran, "beam-test"), -ENOMEM);
	check(thread_end_all(BEAM_NOWAIT));
	check(!ran);
	check(chunk_pool_new() == NULL);
	check_closed_at_once();
}

static int number_anew(void *argument)
{
	const uint32_t *parent = argument;

	check_int(process_id(), 0);
	check_int(process_prepare(), 0);
	check(process_id() != 0 && process_id() != *parent);
	return 0;
}

static void check_number(void)
{
	bool ran = false;
	uint32_t number;

	check_int(process_prepare(), 0);
	number = process_id();
	check_int(process_wait(process_spawn(number_anew, &number)), 0);
	check_int(thread_start(set, &ran, "beam-test"), 0);
	check(thread_end_all(BEAM_FOREVER));
	check(ran);
}

static void check_reaper(void)
{
	int pipe_fds[2];

	require_int(pipe2(pipe_fds, O_CLOEXEC), 0);
	reaper_close(&pipe_fds[1], 1);
	check(reaper_drain(BEAM_FOREVER));
	check(closed(pipe_fds[0]));
	close(pipe_fds[0]);
}

static void test_without_a_page_for_its_number_a_process_has_neither_number_nor_threads_nor_chunks(void)
{
	if (lacking(SYS_MMAP, 1, __func__))
		check_no_number();
}

static void test_without_fork_handlers_a_process_has_none_of_them_either(void)
{
	if (lacking(SYS_PTHREAD_ATFORK, 1, __func__))
		check_no_number();
}

static void test_where_a_page_is_not_wiped_at_a_fork_the_handlers_do_it(void)
{
	if (lacking(SYS_MADVISE, 1, __func__)) {
		check_number();
		check_reaper();
	}
}

static void test_threads_that_nobody_ends_with_the_process_do_not_keep_it(void)
{
	if (lacking(SYS_ATEXIT, 1, __func__)) {
		check_number();
		check_reaper();
		/* Sanitizers report threads that nobody has joined. */
		if (under_sanitizer())
			check(thread_end_all(BEAM_FOREVER));
	}
}

static const struct test tests[] = {
    TEST(test_without_a_page_for_its_number_a_process_has_neither_number_nor_threads_nor_chunks),
    TEST(test_without_fork_handlers_a_process_has_none_of_them_either),
    TEST(test_where_a_page_is_not_wiped_at_a_fork_the_handlers_do_it),
    TEST(test_threads_that_nobody_ends_with_the_process_do_not_keep_it),
};
HARNESS_MAIN("beginning", tests)
