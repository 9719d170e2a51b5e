/* SPDX-License-Identifier: MIT */
/* Eventfds that wake a thread, and eventfds that show a condition. */
#include <base/level.h>
#include <harness/fault.h>
#include <harness/harness.h>

static bool readable(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	return poll(&poll_fd, 1, 0) == 1;
}

static int open_level(struct level *level)
{
	bool new;
	int fd;

	level_init(level);
	fd = level_open(level, &new);
	require(fd >= 0 && new);
	return fd;
}

static void test_a_level_is_readable_exactly_while_it_holds(void)
{
	struct level level;
	int fd = open_level(&level);

	check(!readable(fd));
	for (int i = 0; i < 3; i++) {
		level_put(&level, true);
		level_put(&level, true);
		check(readable(fd));
		level_put(&level, false);
		level_put(&level, false);
		check(!readable(fd));
	}
	check(level_close(&level));
}

static void test_a_level_has_one_descriptor_until_it_is_closed(void)
{
	struct level level;
	bool new;
	int fd = open_level(&level);

	check_int(level_open(&level, &new), fd);
	check(!new);
	check_int(fcntl(fd, F_GETFD), FD_CLOEXEC);
	check(level_close(&level));
	check(!level_close(&level));
	/* A level without a descriptor does nothing. */
	level_put(&level, true);
	fault_only(FAULT(SYS_EVENTFD));
	fault_at(1, 0, false);
	check_int(level_open(&level, &new), -EMFILE);
	check(!new);
}

static void test_a_level_that_somebody_else_has_read_goes_on(void)
{
	struct level level;
	uint64_t count;
	int fd = open_level(&level);

	level_put(&level, true);
	check_int(read(fd, &count, sizeof count), sizeof count);
	level_put(&level, false);
	check(!readable(fd));
	level_put(&level, true);
	check(readable(fd));
	level_close(&level);
}

static void test_who_has_a_duplicate_of_a_level_that_was_closed_sees_nothing(void)
{
	struct level level;
	int duplicate = dup(open_level(&level));

	level_put(&level, true);
	check(readable(duplicate));
	check(level_close(&level));
	check(!readable(duplicate));
	close(duplicate);
}

/* The next calls fail, this many in a row. */
static void fail_next(enum sys_call call, unsigned long times)
{
	fault_only(FAULT(call));
	fault_times(times);
	fault_at(1, EINTR, false);
}

static void test_a_wake_up_is_tried_twice(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	fail_next(SYS_WRITE, 1);
	check(event_set(fd));
	fault_off();
	check(readable(fd));
	fail_next(SYS_WRITE, 2);
	check(!event_set(fd));
	fault_off();
	close(fd);
}

static void test_a_change_that_failed_is_made_with_the_next(void)
{
	struct level level;
	int fd = open_level(&level);

	fail_next(SYS_WRITE, 2);
	level_put(&level, true);
	check(!readable(fd));
	level_put(&level, true);
	check(readable(fd));
	fault_off();
	fail_next(SYS_READ, 1);
	level_put(&level, false);
	check(readable(fd));
	level_put(&level, false);
	check(!readable(fd));
	level_close(&level);
}

static const struct test tests[] = {
    TEST(test_a_level_is_readable_exactly_while_it_holds),
    TEST(test_a_level_has_one_descriptor_until_it_is_closed),
    TEST(test_a_level_that_somebody_else_has_read_goes_on),
    TEST(test_who_has_a_duplicate_of_a_level_that_was_closed_sees_nothing),
    TEST(test_a_wake_up_is_tried_twice),
    TEST(test_a_change_that_failed_is_made_with_the_next),
};
HARNESS_MAIN("level", tests)
