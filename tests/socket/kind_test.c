/* SPDX-License-Identifier: MIT */
/* What a descriptor is: which ones are connected Unix sockets, and which can become a channel. */
#include <harness/fault.h>
#include <socket/sockets.h>

static void test_a_pair_is_close_on_exec_and_may_block(void)
{
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};

	for (size_t i = 0; i < 2; i++) {
		int pair[2], type, on;
		socklen_t size = sizeof on;

		pair_of(types[i], pair);
		for (size_t j = 0; j < 2; j++) {
			check_int(fcntl(pair[j], F_GETFD), FD_CLOEXEC);
			check_int(fcntl(pair[j], F_GETFL) & O_NONBLOCK, 0);
			check_int(getsockopt(pair[j], SOL_SOCKET, SO_PASSCRED, &on, &size), 0);
			check_int(on, types[i] == SOCK_SEQPACKET);
			check_int(socket_check(pair[j], &type), 0);
			check_int(type, types[i]);
		}
		close_both(pair);
	}
}

static void check_refused(int fd, int error)
{
	int type = 77;

	check_int(socket_check(fd, &type), error);
	check_int(type, 77);
	if (fd >= 0)
		close(fd);
}

static void test_what_is_no_connected_unix_socket_is_refused_each_for_its_reason(void)
{
	int pair[2];

	check_refused(-1, -EBADF);
	check_refused(raw_file(), -ENOTSOCK);
	check_refused(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), -EPROTOTYPE);
	require_int(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
	check_refused(pair[0], -EPROTOTYPE);
	check_refused(pair[1], -EPROTOTYPE);
	check_refused(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), -ENOTCONN);
	check_refused(listening(SOCK_STREAM, address_of("listening")), -ENOTCONN);
}

static void test_a_socket_whose_peer_has_gone_is_still_connected(void)
{
	int pair[2], type;

	pair_of(SOCK_STREAM, pair);
	close(pair[0]);
	check_int(socket_check(pair[1], &type), 0);
	close(pair[1]);
}

static void test_preparing_makes_a_socket_fit(void)
{
	int pair[2], on = 0;
	socklen_t size = sizeof on;

	require_int(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	check_int(socket_prepare(pair[0], SOCK_SEQPACKET), 0);
	check_int(fcntl(pair[0], F_GETFD), FD_CLOEXEC);
	check_int(getsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, &size), 0);
	check_int(on, 1);
	check_int(socket_prepare(-1, SOCK_STREAM), -EBADF);
	close_both(pair);
}

static void test_a_socket_that_cannot_be_made_close_on_exec_is_not_fit(void)
{
	int pair[2];

	require_int(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	for (unsigned long n = 1; n <= 2; n++) {
		fault_only(FAULT(SYS_FCNTL));
		fault_at(n, EINVAL, false);
		check_int(socket_prepare(pair[0], SOCK_STREAM), -EINVAL);
		check(fault_hit());
	}
	close_both(pair);
}

static void test_a_socket_from_elsewhere_sends_no_signal(void)
{
	int pair[2];

	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	require_int(fcntl(pair[0], F_SETFL, O_ASYNC | O_NONBLOCK), 0);
	for (unsigned long n = 2; n <= 3; n++) {
		fault_only(FAULT(SYS_FCNTL));
		fault_at(n, EINVAL, false);
		check_int(socket_prepare(pair[0], SOCK_STREAM), -EINVAL);
		check(fault_hit());
		fault_off();
	}
	check_int(socket_prepare(pair[0], SOCK_STREAM), 0);
	check_int(fcntl(pair[0], F_GETFL) & (O_ASYNC | O_NONBLOCK), O_NONBLOCK);
	close_both(pair);
}

static int buffer_of(int fd)
{
	int bytes = 0;
	socklen_t size = sizeof bytes;

	require_int(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &size), 0);
	return bytes;
}

static void test_a_small_buffer_is_widened_and_a_large_one_left(void)
{
	int pair[2], before;

	require_int(socket_pair(SOCK_STREAM, pair), 0);
	socket_set_buffer(pair[0], 1);
	fault_only(FAULT(SYS_GETSOCKOPT));
	fault_at(1, ENOBUFS, false);
	before = buffer_of(pair[0]);
	socket_widen_buffer(pair[0], 20000);
	fault_off();
	check_int(buffer_of(pair[0]), before);
	socket_widen_buffer(pair[0], 20000);
	check(buffer_of(pair[0]) >= 20000);
	before = buffer_of(pair[0]);
	socket_widen_buffer(pair[0], 20000);
	check_int(buffer_of(pair[0]), before);
	close_both(pair);
}

static void test_a_duplicate_is_close_on_exec(void)
{
	int file = raw_file(), duplicate = socket_duplicate(file);

	check(duplicate >= 0 && duplicate != file);
	check(raw_inode(duplicate) == raw_inode(file));
	check_int(fcntl(duplicate, F_GETFD), FD_CLOEXEC);
	close(duplicate);
	close(file);
	check_int(socket_duplicate(-1), -EBADF);
}

static void test_a_larger_buffer_takes_more(void)
{
	int pair[2], before = 0, after = 0;
	socklen_t size = sizeof before;

	pair_of(SOCK_STREAM, pair);
	socket_set_buffer(pair[0], 1 << 14);
	getsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &before, &size);
	socket_set_buffer(pair[0], 1 << 16);
	getsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &after, &size);
	check(after > before);
	close_both(pair);
}

static const struct test tests[] = {
    TEST(test_a_pair_is_close_on_exec_and_may_block),
    TEST(test_what_is_no_connected_unix_socket_is_refused_each_for_its_reason),
    TEST(test_a_socket_whose_peer_has_gone_is_still_connected),
    TEST(test_preparing_makes_a_socket_fit),
    TEST(test_a_socket_that_cannot_be_made_close_on_exec_is_not_fit),
    TEST(test_a_socket_from_elsewhere_sends_no_signal),
    TEST(test_a_small_buffer_is_widened_and_a_large_one_left),
    TEST(test_a_duplicate_is_close_on_exec),
    TEST(test_a_larger_buffer_takes_more),
};
HARNESS_MAIN("kind", tests)
