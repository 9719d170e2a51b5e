/* SPDX-License-Identifier: MIT */
/*
 * If a member has been removed before the kernel's report of it is passed on, it is not reported.
 */
#include <beam/select.h>
#include <harness/harness.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

/* Run once, between the kernel's report to this thread and what the thread does with it. */
static _Thread_local void (*meanwhile)(void);

/* Replaces the C library's function. */
int epoll_wait(int fd, struct epoll_event *events, int n, int timeout)
{
	int told = epoll_pwait(fd, events, n, timeout, NULL);
	void (*run)(void) = meanwhile;

	meanwhile = NULL;
	if (run)
		run();
	return told;
}

static beam_select *selector;
static int ready, silent;

static void begin(void)
{
	require_int(beam_select_new(&selector), 0);
	ready = eventfd(1, EFD_CLOEXEC);
	silent = eventfd(0, EFD_CLOEXEC);
	require(ready >= 0 && silent >= 0);
	require_int(beam_select_add_fd(selector, ready, POLLIN, &ready), 0);
}

static void end(void)
{
	beam_select_unref(selector);
	close(ready);
	close(silent);
}

static void remove_it(void)
{
	check_int(beam_select_remove_fd(selector, ready), 0);
}

static void replace_it(void)
{
	remove_it();
	check_int(beam_select_add_fd(selector, silent, POLLIN, &silent), 0);
}

/* Another file gets the same number. */
static void replace_file(void)
{
	remove_it();
	check_int(dup2(silent, ready), ready);
	check_int(beam_select_add_fd(selector, ready, POLLIN, &silent), 0);
}

static void expect_nothing_told(void (*run)(void))
{
	struct beam_select_ready told;

	begin();
	check_int(beam_select_wait(selector, &told, 1, BEAM_NOWAIT), 1);
	check(told.tag == &ready);
	meanwhile = run;
	check_int(beam_select_wait(selector, &told, 1, BEAM_NOWAIT), -EAGAIN);
	end();
}

static void test_a_member_that_was_removed_meanwhile_is_not_told(void)
{
	expect_nothing_told(remove_it);
}

static void test_nor_is_another_one_told_in_its_place(void)
{
	expect_nothing_told(replace_it);
	expect_nothing_told(replace_file);
}

static beam_deadline deadline;
static bool was_late;

static bool is_past(void)
{
	return now_ns() >= deadline.ns;
}

/* The member that was reported is removed, another one becomes ready, and the deadline passes. */
static void replace_at_the_deadline(void)
{
	was_late = is_past();
	remove_it();
	check_int(write(silent, &(uint64_t){1}, sizeof(uint64_t)), sizeof(uint64_t));
	check_within(20000, is_past());
}

static void test_a_look_that_began_in_time_is_followed_by_another(void)
{
	struct beam_select_ready told = {0};
	ssize_t r;

	do {
		begin();
		check_int(beam_select_add_fd(selector, silent, POLLIN, &silent), 0);
		deadline = beam_in_ms(50);
		meanwhile = replace_at_the_deadline;
		r = beam_select_wait(selector, &told, 1, deadline);
		end();
		/* If the machine stood still, the wait began too late. */
	} while (was_late);
	check_int(r, 1);
	check(told.tag == &silent);
}

static const struct test tests[] = {
    TEST(test_a_member_that_was_removed_meanwhile_is_not_told),
    TEST(test_nor_is_another_one_told_in_its_place),
    TEST(test_a_look_that_began_in_time_is_followed_by_another),
};

HARNESS_MAIN("select/stale", tests)
