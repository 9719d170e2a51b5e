/* SPDX-License-Identifier: MIT */
/*
 * Waiting where ppoll() accepts no descriptors, because the limit of descriptors is below their
 * number. All waits work as usual, and make few calls.
 */
#include <base/clock.h>
#include <harness/fault.h>
#include <harness/harness.h>
#include <poll.h>
#include <socket/socket.h>

#include <sys/eventfd.h>
#include <sys/resource.h>

enum { LOOK_MS = 50 }; /* as in wait.c */

static struct rlimit limit_before;
static int pair[2], kick;

/* From here on the process can open nothing. */
static void begin(rlim_t most)
{
	struct rlimit limit;

	if (under_valgrind())
		skip("Valgrind does not lower the kernel's limit of descriptors");
	require_int(socket_pair(SOCK_STREAM, pair), 0);
	kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	require(kick >= 0);
	require_int(getrlimit(RLIMIT_NOFILE, &limit_before), 0);
	limit = (struct rlimit){.rlim_cur = most, .rlim_max = limit_before.rlim_max};
	require_int(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void end(void)
{
	fault_off();
	require_int(setrlimit(RLIMIT_NOFILE, &limit_before), 0);
	close(pair[0]);
	close(pair[1]);
	close(kick);
}

static void count_waits(void)
{
	fault_only(FAULT(SYS_PPOLL) | FAULT(SYS_PSELECT));
	fault_at(1000000, 0, FAULT_ONCE);
}

static void fill(int fd)
{
	static const char bytes[1 << 16];

	while (send(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
		;
}

static void test_waiting_ends_with_what_is_ready_the_kick_or_the_deadline(void)
{
	/* With a limit of 1, ppoll() can wait for one descriptor, but not for two. */
	for (rlim_t most = 0; most < 2; most++) {
		begin(most);
		check_int(socket_wait(pair[1], POLLIN, -1, BEAM_NOWAIT), -EAGAIN);
		check_int(socket_wait(pair[1], POLLIN, kick, BEAM_NOWAIT), -EAGAIN);
		check_int(socket_wait(pair[1], POLLIN, kick, beam_in_ms(20)), -ETIMEDOUT);
		check_int(socket_wait(pair[1], 0, -1, beam_in_ms(20)), -ETIMEDOUT);
		check_int(socket_wait(-1, 0, -1, beam_in_ms(20)), -ETIMEDOUT);
		check_int(socket_wait(pair[1], POLLOUT, kick, BEAM_FOREVER), 1);
		check_int(send(pair[0], "x", 1, 0), 1);
		check_int(socket_wait(pair[1], POLLIN, -1, BEAM_FOREVER), 1);
		check_int(socket_wait(pair[1], POLLIN, kick, BEAM_FOREVER), 1);
		check_int(socket_wait(pair[1], POLLIN | POLLOUT, kick, BEAM_FOREVER), 1);
		check_int(eventfd_write(kick, 1), 0);
		check_int(socket_wait(pair[1], POLLIN, kick, BEAM_FOREVER), 0);
		check_int(socket_wait(pair[1], 0, kick, BEAM_NOWAIT), 0);
		check_int(socket_wait(kick, POLLIN, -1, BEAM_FOREVER), 1);
		end();
	}
}

static void test_the_end_of_a_connection_ends_a_wait(void)
{
	begin(0);
	close(pair[0]);
	check_int(socket_wait(pair[1], POLLIN, kick, BEAM_FOREVER), 1);
	check_int(socket_wait(pair[1], POLLOUT, kick, BEAM_FOREVER), 1);
	pair[0] = dup(pair[1]);
	end();
}

static void test_one_that_is_not_open_is_ready_for_its_error(void)
{
	int fd;

	begin(0);
	fd = pair[1];
	close(fd);
	check_int(socket_wait(fd, POLLIN, kick, BEAM_FOREVER), 1);
	end();
}

static void test_numbers_beyond_an_fd_set_are_waited_for(void)
{
	int high;

	begin(0);
	require_int(setrlimit(RLIMIT_NOFILE, &(struct rlimit){limit_before.rlim_max, limit_before.rlim_max}), 0);
	high = fcntl(pair[1], F_DUPFD_CLOEXEC, 3000);
	require_int(setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, limit_before.rlim_max}), 0);
	if (high < 0) {
		end();
		skip("no descriptor can have that number here");
	}
	check_int(socket_wait(high, POLLIN, kick, beam_in_ms(20)), -ETIMEDOUT);
	check_int(socket_wait(high, POLLOUT, kick, BEAM_FOREVER), 1);
	check_int(send(pair[0], "x", 1, 0), 1);
	check_int(socket_wait(high, POLLIN, kick, BEAM_FOREVER), 1);
	check_int(socket_wait(pair[0], POLLIN, high, BEAM_FOREVER), 0);
	close(high);
	end();
}

static void test_a_wait_for_input_is_one_wait(void)
{
	begin(0);
	count_waits();
	check_int(socket_wait(pair[1], POLLIN, kick, beam_in_ms(4 * LOOK_MS)), -ETIMEDOUT);
	check_int(fault_calls(), 2);
	end();
}

static void test_a_full_socket_is_looked_at_rarely(void)
{
	beam_deadline deadline;
	unsigned looks = 0;
	int r;

	begin(0);
	fill(pair[1]);
	count_waits();
	deadline = beam_in_ms(4 * LOOK_MS);
	do {
		r = socket_wait(pair[1], POLLOUT, kick, deadline);
		looks++;
	} while (r == 1);
	check_int(r, -ETIMEDOUT);
	check(looks <= 5);
	check_int(fault_calls(), 2 * looks);
	end();
}

static void test_a_full_socket_that_is_shut_down_is_noticed(void)
{
	begin(0);
	fill(pair[1]);
	check_int(socket_wait(pair[1], POLLOUT, -1, BEAM_NOWAIT), -EAGAIN);
	shutdown(pair[1], SHUT_RDWR);
	check_int(socket_wait(pair[1], POLLOUT, -1, BEAM_FOREVER), 1);
	end();
}

static void test_without_memory_it_looks_rarely(void)
{
	beam_deadline deadline;
	unsigned looks = 0;
	int r;

	begin(0);
	fault_only(FAULT(SYS_CALLOC));
	fault_at(1, 0, FAULT_STICKY);
	deadline = beam_in_ms(4 * LOOK_MS);
	do {
		r = socket_wait(pair[1], POLLIN, kick, deadline);
		looks++;
	} while (r == 1);
	check_int(r, -ETIMEDOUT);
	check(looks <= 5);
	check(fault_hit());
	end();
}

static void test_an_interrupted_wait_goes_on(void)
{
	begin(0);
	fault_only(FAULT(SYS_PSELECT));
	fault_at(1, EINTR, FAULT_ONCE);
	check_int(socket_wait(pair[1], POLLIN, kick, beam_in_ms(20)), -ETIMEDOUT);
	check_int(fault_calls(), 2);
	fault_at(1, ENOMEM, FAULT_ONCE);
	check_int(socket_wait(pair[1], POLLIN, kick, BEAM_FOREVER), -ENOMEM);
	end();
}

static const struct test tests[] = {
    TEST(test_waiting_ends_with_what_is_ready_the_kick_or_the_deadline),
    TEST(test_the_end_of_a_connection_ends_a_wait),
    TEST(test_one_that_is_not_open_is_ready_for_its_error),
    TEST(test_numbers_beyond_an_fd_set_are_waited_for),
    TEST(test_a_wait_for_input_is_one_wait),
    TEST(test_a_full_socket_is_looked_at_rarely),
    TEST(test_a_full_socket_that_is_shut_down_is_noticed),
    TEST(test_without_memory_it_looks_rarely),
    TEST(test_an_interrupted_wait_goes_on),
};

HARNESS_MAIN("socket/wait", tests)
