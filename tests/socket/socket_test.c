/* SPDX-License-Identifier: MIT */
/* Unix sockets and the descriptors that travel through them, also while calls fail. */
#include <harness/fault.h>
#include <netinet/in.h>
#include <signal.h>
#include <socket/reaper.h>
#include <socket/sockets.h>
#include <sys/resource.h>

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif

static struct fd_group group;

static void close_group(void)
{
	for (int i = 0; i < group.n; i++)
		close(group.fds[i]);
	group.n = 0;
}

static ssize_t read_into(int fd, void *data, size_t size)
{
	struct iovec iov = {.iov_base = data, .iov_len = size};

	return socket_read(fd, &iov, 1, &group);
}

/* Bytes and descriptors */

static void test_bytes_and_descriptors_travel_together_and_are_close_on_exec(void)
{
	int pair[2], files[2] = {raw_file(), raw_file()};
	char data[8];

	pair_of(SOCK_STREAM, pair);
	check_int(write_from(pair[0], "hello", 5, files, 2), 5);
	check_int(read_into(pair[1], data, sizeof data), 5);
	check_bytes(data, "hello", 5);
	check_int(group.n, 2);
	check(!group.truncated && !group.credentials);
	for (int i = 0; i < 2 && i < group.n; i++) {
		check(raw_inode(group.fds[i]) == raw_inode(files[i]));
		check_int(fcntl(group.fds[i], F_GETFD), FD_CLOEXEC);
	}
	close_group();
	close_both(files);
	close_both(pair);
}

static void test_several_buffers_are_filled_and_emptied_in_order(void)
{
	struct iovec out[] = {
	    {.iov_base = (char[]){'a', 'b'}, .iov_len = 2}, {0}, {.iov_base = (char[]){'c'}, .iov_len = 1}};
	char first[1], second[4];
	struct iovec in[] = {{.iov_base = first, .iov_len = 1}, {.iov_base = second, .iov_len = 4}};
	int pair[2];

	pair_of(SOCK_STREAM, pair);
	check_int(socket_write(pair[0], out, 3, NULL, 0), 3);
	check_int(socket_read(pair[1], in, 2, &group), 3);
	check_bytes(first, "a", 1);
	check_bytes(second, "bc", 2);
	close_both(pair);
}

static void test_nothing_is_not_the_end(void)
{
	int pair[2];
	char byte;

	pair_of(SOCK_STREAM, pair);
	group.n = 7;
	group.truncated = group.credentials = true;
	check_int(read_into(pair[1], &byte, 1), -EAGAIN);
	check(group.n == 0 && !group.truncated && !group.credentials);
	close(pair[0]);
	check_int(read_into(pair[1], &byte, 1), 0);
	check_int(group.n, 0);
	close(pair[1]);
}

static void test_as_many_descriptors_as_the_kernel_takes_travel_at_once_and_no_more(void)
{
	int pair[2], fds[SOCKET_FDS_MAX + 1];
	char byte;

	pair_of(SOCK_STREAM, pair);
	for (size_t i = 0; i <= SOCKET_FDS_MAX; i++)
		fds[i] = pair[0];
	check_int(write_from(pair[0], "x", 1, fds, SOCKET_FDS_MAX + 1), -EINVAL);
	check_int(write_from(pair[0], "x", 1, fds, SOCKET_FDS_MAX), 1);
	check_int(read_into(pair[1], &byte, 1), 1);
	check_int(group.n, SOCKET_FDS_MAX);
	check(!group.truncated);
	close_group();
	close_both(pair);
}

static void test_credentials_and_all_descriptors_have_room_at_once(void)
{
	int pair[2], fds[SOCKET_FDS_MAX];
	char byte;

	pair_of(SOCK_SEQPACKET, pair);
	for (size_t i = 0; i < SOCKET_FDS_MAX; i++)
		fds[i] = pair[0];
	check_int(write_from(pair[0], "x", 1, fds, SOCKET_FDS_MAX), 1);
	check_int(read_into(pair[1], &byte, 1), 1);
	check_int(group.n, SOCKET_FDS_MAX);
	check(group.credentials && !group.truncated);
	close_group();
	close_both(pair);
}

static void test_descriptors_without_a_byte_are_refused_on_a_stream_and_pass_in_a_packet(void)
{
	int pair[2];
	char byte;

	pair_of(SOCK_STREAM, pair);
	check_int(write_from(pair[0], NULL, 0, pair, 1), -EINVAL);
	check_int(socket_write(pair[0], NULL, 0, pair, 1), -EINVAL);
	close_both(pair);

	pair_of(SOCK_SEQPACKET, pair);
	check_int(write_from(pair[0], NULL, 0, pair, 1), 0);
	check_int(read_into(pair[1], &byte, 1), 0);
	check_int(group.n, 1);
	check(group.credentials);
	close_group();
	close_both(pair);
}

static void test_descriptors_without_a_free_slot_are_truncated_not_forgotten(void)
{
	struct rlimit old, low;
	int pair[2], lowest;
	char byte;

	if (under_valgrind())
		skip("Valgrind keeps the limit to itself");
	pair_of(SOCK_STREAM, pair);
	check_int(write_from(pair[0], "x", 1, (int[]){pair[0], pair[0]}, 2), 1);
	check_int(write_from(pair[0], "y", 1, (int[]){pair[0], pair[0]}, 2), 1);
	lowest = dup(pair[0]);
	close(lowest);
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	low.rlim_cur = (rlim_t)lowest + 1;
	setrlimit(RLIMIT_NOFILE, &low);
	check_int(read_into(pair[1], &byte, 1), 1);
	check_int(group.n, 1);
	check(group.truncated);
	check_int(socket_loss_reason(), -EMFILE);
	close_group();

	low.rlim_cur = (rlim_t)lowest;
	setrlimit(RLIMIT_NOFILE, &low);
	check_int(read_into(pair[1], &byte, 1), 1);
	check_int(group.n, 0);
	check(group.truncated);
	setrlimit(RLIMIT_NOFILE, &old);
	check_int(socket_loss_reason(), -EACCES);
	close_both(pair);
}

static void test_where_only_the_standard_descriptors_may_be_open_there_is_no_duplicate(void)
{
	struct rlimit old, low;
	int pair[2];

	if (under_valgrind())
		skip("Valgrind keeps the limit to itself");
	pair_of(SOCK_STREAM, pair);
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	low.rlim_cur = 3;
	setrlimit(RLIMIT_NOFILE, &low);
	check_int(socket_duplicate(pair[0]), -EMFILE);
	setrlimit(RLIMIT_NOFILE, &old);
	close_both(pair);
}

static void test_a_pidfd_that_comes_unasked_for_is_closed(void)
{
	int pair[2], on = 1;
	char byte;

	pair_of(SOCK_STREAM, pair);
	if (setsockopt(pair[1], SOL_SOCKET, SO_PASSPIDFD, &on, sizeof on) < 0) {
		close_both(pair);
		skip("this kernel has no SO_PASSPIDFD");
	}
	check_int(write_from(pair[0], "x", 1, pair, 1), 1);
	check_int(read_into(pair[1], &byte, 1), 1);
	check_int(group.n, 1);
	close_group();
	close_both(pair);
	check(reaper_drain(BEAM_FOREVER));
}

static void test_a_packet_bears_credentials_and_the_end_does_not(void)
{
	int pair[2];
	char byte;

	pair_of(SOCK_SEQPACKET, pair);
	check_int(write_from(pair[0], "", 0, NULL, 0), 0);
	check_int(read_into(pair[1], &byte, 1), 0);
	check(group.credentials);
	close(pair[0]);
	check_int(read_into(pair[1], &byte, 1), 0);
	check(!group.credentials);
	close(pair[1]);
}

static void test_what_another_protocol_says_of_a_packet_is_not_taken_for_credentials(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1;
	socklen_t size = sizeof address;
	char byte;

	/* Among that protocol's options, IP_TTL has the number of SCM_CREDENTIALS. */
	check_int(IP_TTL, SCM_CREDENTIALS);
	require_int(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	require_int(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	require_int(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	require_int(setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &on, sizeof on), 0);
	check_int(write_from(fd, "x", 1, NULL, 0), 1);
	check_int(socket_wait(fd, POLLIN, -1, BEAM_FOREVER), 1);
	check_int(read_into(fd, &byte, 1), 1);
	check(!group.credentials && group.n == 0 && !group.truncated);
	close(fd);
}

static void test_credentials_can_be_asked_for_when_the_packet_is_there(void)
{
	int pair[2];
	char byte;

	require_int(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	check_int(write_from(pair[0], "", 0, NULL, 0), 0);
	check_int(socket_pass_credentials(pair[1]), 0);
	check_int(read_into(pair[1], &byte, 1), 0);
	check(group.credentials);
	close_both(pair);
}

static void test_a_peek_tells_the_size_of_a_packet_and_leaves_it_and_its_descriptors(void)
{
	int pair[2];
	char data[8];

	pair_of(SOCK_SEQPACKET, pair);
	check_int(socket_peek(pair[1]), -EAGAIN);
	check_int(write_from(pair[0], "hello", 5, pair, 1), 5);
	check_int(socket_peek(pair[1]), 5);
	check_int(socket_peek(pair[1]), 5);
	check_int(read_into(pair[1], data, sizeof data), 5);
	check_int(group.n, 1);
	close_group();
	close(pair[0]);
	check_int(socket_peek(pair[1]), 0);
	close(pair[1]);
}

static void test_writing_to_nobody_is_an_error_and_no_signal(void)
{
	int pair[2];

	pair_of(SOCK_STREAM, pair);
	close(pair[0]);
	signal(SIGPIPE, SIG_DFL);
	check_int(write_from(pair[1], "x", 1, NULL, 0), -EPIPE);
	close(pair[1]);
}

static void test_a_full_socket_takes_no_descriptor(void)
{
	int pair[2];
	char data[4096] = {0};

	pair_of(SOCK_STREAM, pair);
	while (write_from(pair[0], data, sizeof data, NULL, 0) > 0)
		;
	check_int(write_from(pair[0], "x", 1, pair, 1), -EAGAIN);
	while (read_into(pair[1], data, sizeof data) > 0)
		check_int(group.n, 0);
	close_both(pair);
}

static void test_errors_of_a_write_are_told_apart(void)
{
	int pair[2], r;

	check(socket_retry_later(-ETOOMANYREFS) && socket_retry_later(-ENOBUFS) && socket_retry_later(-ENOMEM));
	check(!socket_retry_later(-EAGAIN) && !socket_retry_later(-EPIPE) && !socket_retry_later(0));
	check(socket_refused_fd(-EBADF) && socket_refused_fd(-EINVAL) && socket_refused_fd(-EPERM));
	check(!socket_refused_fd(-EPIPE) && !socket_refused_fd(-ETOOMANYREFS) && !socket_refused_fd(0));

	pair_of(SOCK_STREAM, pair);
	r = (int)write_from(pair[0], "x", 1, (int[]){pair[0], 1 << 20}, 2);
	check_int(r, -EBADF);
	check(socket_refused_fd(r));
	close_both(pair);
}

/* Faults */

static void make_and_use_sockets(void)
{
	int pair[2], type, fd;
	struct ucred credentials;

	if (socket_pair(SOCK_SEQPACKET, pair) == 0) {
		if (write_from(pair[0], "x", 1, pair, 1) == 1 && read_into(pair[1], &(char){0}, 1) == 1)
			close_group();
		if (socket_check(pair[0], &type) == 0)
			check_int(type, SOCK_SEQPACKET);
		socket_set_buffer(pair[0], 1 << 16);
		socket_shutdown(pair[0]);
		close_both(pair);
	}
	fd = socket_connect(address_of("faults"), SOCK_SEQPACKET, beam_in_ms(1000));
	if (fd >= 0) {
		check(socket_credentials(fd, &credentials) <= 0);
		close(fd);
	}
	check(socket_loss_reason() < 0);
}

static void test_no_fault_leaves_a_descriptor(void)
{
	int listener = listening(SOCK_SEQPACKET, address_of("faults"));

	listen(listener, 4000);
	check(fault_sweep(make_and_use_sockets) > 10);
	close(listener);
}

static void test_interrupted_calls_are_made_again(void)
{
	static const enum sys_call calls[] = {SYS_SENDMSG, SYS_RECVMSG, SYS_PPOLL};
	int pair[2];
	char byte;

	pair_of(SOCK_SEQPACKET, pair);
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		fault_only(FAULT(calls[i]));
		fault_at(1, EINTR, false);
		check_int(write_from(pair[0], "x", 1, NULL, 0), 1);
		check_int(socket_wait(pair[1], POLLIN, -1, BEAM_FOREVER), 1);
		if (calls[i] == SYS_RECVMSG) {
			check_int(socket_peek(pair[1]), 1);
			check(fault_hit());
			fault_at(1, EINTR, false);
		}
		check_int(read_into(pair[1], &byte, 1), 1);
		check(fault_hit());
		fault_off();
	}
	close_both(pair);
}

static void test_a_poll_without_memory_is_an_error_and_not_the_deadline(void)
{
	int pair[2];

	pair_of(SOCK_STREAM, pair);
	fault_only(FAULT(SYS_PPOLL));
	fault_at(1, ENOMEM, false);
	check_int(socket_wait(pair[1], POLLIN, -1, BEAM_FOREVER), -ENOMEM);
	close_both(pair);
}

static void test_descriptors_without_a_byte_are_refused_on_what_may_be_a_stream(void)
{
	int pair[2];

	pair_of(SOCK_SEQPACKET, pair);
	fault_only(FAULT(SYS_GETSOCKOPT));
	fault_at(1, 0, false);
	check_int(write_from(pair[0], NULL, 0, pair, 1), -EINVAL);
	check(fault_hit());
	close_both(pair);
}

static const struct test tests[] = {
    TEST(test_bytes_and_descriptors_travel_together_and_are_close_on_exec),
    TEST(test_several_buffers_are_filled_and_emptied_in_order),
    TEST(test_nothing_is_not_the_end),
    TEST(test_as_many_descriptors_as_the_kernel_takes_travel_at_once_and_no_more),
    TEST(test_credentials_and_all_descriptors_have_room_at_once),
    TEST(test_descriptors_without_a_byte_are_refused_on_a_stream_and_pass_in_a_packet),
    TEST(test_descriptors_without_a_free_slot_are_truncated_not_forgotten),
    TEST(test_where_only_the_standard_descriptors_may_be_open_there_is_no_duplicate),
    TEST(test_a_pidfd_that_comes_unasked_for_is_closed),
    TEST(test_a_packet_bears_credentials_and_the_end_does_not),
    TEST(test_what_another_protocol_says_of_a_packet_is_not_taken_for_credentials),
    TEST(test_credentials_can_be_asked_for_when_the_packet_is_there),
    TEST(test_a_peek_tells_the_size_of_a_packet_and_leaves_it_and_its_descriptors),
    TEST(test_writing_to_nobody_is_an_error_and_no_signal),
    TEST(test_a_full_socket_takes_no_descriptor),
    TEST(test_errors_of_a_write_are_told_apart),
    TEST(test_no_fault_leaves_a_descriptor),
    TEST(test_interrupted_calls_are_made_again),
    TEST(test_a_poll_without_memory_is_an_error_and_not_the_deadline),
    TEST(test_descriptors_without_a_byte_are_refused_on_what_may_be_a_stream),
};
HARNESS_MAIN("socket", tests)
