/* SPDX-License-Identifier: MIT */
/* Unix sockets and the descriptors that travel through them. */
#include <base/clock.h>
#include <harness/fault.h>
#include <harness/harness.h>
#include <kernel/raw.h>
#include <socket/reaper.h>
#include <socket/socket.h>

#include <netinet/in.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/un.h>

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif

static struct fd_group group;

static void close_both(const int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

static void pair_of(int type, int pair[2])
{
	pair[0] = pair[1] = -1;
	require_int(socket_pair(type, pair), 0);
}

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

static ssize_t write_from(int fd, const void *data, size_t size, const int *fds, size_t n_fds)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};

	return socket_write(fd, &iov, 1, fds, n_fds);
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
	struct iovec out[] = {{.iov_base = (char[]){'a', 'b'}, .iov_len = 2}, {0}, {.iov_base = (char[]){'c'}, .iov_len = 1}};
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

	/* Its number among the protocol's own is that of credentials. */
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

/* Waiting */

static void test_waiting_ends_with_what_is_ready_the_kick_or_the_deadline(void)
{
	int pair[2], kick = eventfd(0, EFD_CLOEXEC);
	beam_deadline deadline = beam_in_ms(20);

	pair_of(SOCK_STREAM, pair);
	check_int(socket_wait(pair[1], POLLIN, -1, BEAM_NOWAIT), -EAGAIN);
	check_int(socket_wait(pair[1], POLLIN, kick, deadline), -ETIMEDOUT);
	check(deadline_passed(deadline));
	check_int(socket_wait(pair[1], POLLOUT, kick, BEAM_FOREVER), 1);
	check_int(write_from(pair[0], "x", 1, NULL, 0), 1);
	check_int(socket_wait(pair[1], POLLIN, kick, BEAM_FOREVER), 1);
	check_int(eventfd_write(kick, 1), 0);
	check_int(socket_wait(pair[1], POLLIN, kick, BEAM_FOREVER), 0);
	check_int(socket_wait(pair[1], POLLIN, kick, BEAM_NOWAIT), 0);
	close_both(pair);
	close(kick);
}

static void test_a_hang_up_ends_any_wait(void)
{
	int pair[2];

	pair_of(SOCK_STREAM, pair);
	close(pair[0]);
	check_int(socket_wait(pair[1], 0, -1, BEAM_FOREVER), 1);
	close(pair[1]);
}

static void *shut_down(void *argument)
{
	/* The main thread waits. */
	check_within(20000, thread_asleep(getpid()));
	socket_shutdown(*(int *)argument);
	return NULL;
}

static void test_a_shutdown_wakes_who_waits(void)
{
	int pair[2];
	pthread_t thread;

	pair_of(SOCK_STREAM, pair);
	thread = thread_spawn(shut_down, &pair[1]);
	check_int(socket_wait(pair[1], POLLIN, -1, BEAM_FOREVER), 1);
	thread_wait(thread);
	close_both(pair);
}

static void no_op(int sig)
{
	(void)sig;
}

/* Signals every millisecond, without SA_RESTART. */
static void rain(bool on)
{
	struct sigaction action = {.sa_handler = no_op};
	struct itimerval every = {.it_interval.tv_usec = on ? 1000 : 0, .it_value.tv_usec = on ? 1000 : 0};

	if (on)
		sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
}

static int wait_in_the_rain(void *unused)
{
	beam_deadline deadline = beam_in_ms(50);
	int pair[2];

	(void)unused;
	pair_of(SOCK_STREAM, pair);
	rain(true);
	check_int(socket_wait(pair[1], POLLIN, -1, deadline), -ETIMEDOUT);
	rain(false);
	check(deadline_passed(deadline));
	return 0;
}

static void test_signals_do_not_end_a_wait(void)
{
	/* In another process: the alarm is the harness's. */
	check_int(process_wait(process_spawn(wait_in_the_rain, NULL)), 0);
}

/* What a descriptor is */

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

/* An abstract address that no other process uses; valid until the next. */
static const char *address_of(const char *name)
{
	static char address[64];

	snprintf(address, sizeof address, "@beam-test-%s-%d", name, (int)getpid());
	return address;
}

static int listening(int type, const char *address)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	memcpy(name.sun_path + 1, address + 1, strlen(address) - 1);
	require_int(bind(fd, (struct sockaddr *)&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(address))),
		    0);
	require_int(listen(fd, 0), 0);
	return fd;
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

/* Connecting */

static void *accept_later(void *argument)
{
	const int *listener = argument;
	int fd;

	/* The main thread waits. */
	check_within(20000, thread_asleep(getpid()));
	do
		fd = accept4(*listener, NULL, NULL, SOCK_CLOEXEC);
	while (fd < 0 && errno == EINTR);
	check(fd >= 0);
	close(fd);
	return NULL;
}

/* Fills the backlog of a listener; how many connections that took. */
static size_t fill(const char *address, int fds[8])
{
	size_t n = 0;

	while (n < 8 && (fds[n] = socket_connect(address, SOCK_STREAM, BEAM_NOWAIT)) >= 0)
		n++;
	check(n < 8);
	check_int(fds[n], -EAGAIN);
	return n;
}

static void wait_until_passed(void *deadline)
{
	check_within(20000, deadline_passed(*(beam_deadline *)deadline));
}

static void test_a_deadline_that_passes_on_the_way_to_the_wait_ends_it(void)
{
	const char *address = address_of("late");
	int listener = listening(SOCK_STREAM, address), fds[8];
	size_t n = fill(address, fds);
	beam_deadline deadline = beam_in_ms(200);

	fault_meanwhile(SYS_SOCKET, 1, wait_until_passed, &deadline);
	check_int(socket_connect(address, SOCK_STREAM, deadline), -ETIMEDOUT);
	fault_meanwhile(SYS_SOCKET, 1, NULL, NULL);
	while (n > 0)
		close(fds[--n]);
	close(listener);
}

static void test_a_wait_for_room_that_ends_before_its_deadline_goes_on(void)
{
	const char *address = address_of("early");
	int listener = listening(SOCK_STREAM, address), fd;

	fault_only(FAULT(SYS_CONNECT));
	fault_at(1, EAGAIN, FAULT_ONCE);
	fd = socket_connect(address, SOCK_STREAM, beam_in_ms(stretch(20000)));
	check(fault_hit());
	check(fd >= 0);
	fault_at(1, EAGAIN, FAULT_ONCE);
	check_int(socket_connect(address, SOCK_STREAM, BEAM_NOWAIT), -EAGAIN);
	fault_off();
	close(fd);
	close(listener);
}

static void test_a_connection_waits_for_room_until_the_deadline(void)
{
	const char *address = address_of("full");
	int listener = listening(SOCK_STREAM, address), fds[8], fd;
	size_t n = fill(address, fds);
	beam_deadline deadline = beam_in_ms(40);
	pthread_t thread;

	check_int(socket_connect(address, SOCK_STREAM, deadline), -ETIMEDOUT);
	check(deadline_passed(deadline));
	check_int(socket_connect(address, SOCK_STREAM, BEAM_DEADLINE(1)), -ETIMEDOUT);

	for (int i = 0; i < 2; i++) {
		thread = thread_spawn(accept_later, &listener);
		fd = socket_connect(address, SOCK_STREAM, i ? BEAM_FOREVER : beam_in_ms(stretch(10000)));
		check(fd >= 0);
		if (!i) {
			struct timeval limit;
			socklen_t size = sizeof limit;

			check_int(getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, &size), 0);
			check(limit.tv_sec == 0 && limit.tv_usec == 0);
			check_int(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
		}
		thread_wait(thread);
		close(fd);
	}
	while (n > 0)
		close(fds[--n]);
	close(listener);
}

static int connect_in_the_rain(void *unused)
{
	const char *address = address_of("rain");
	int listener = listening(SOCK_STREAM, address), fds[8];
	beam_deadline deadline;
	pthread_t thread;

	(void)unused;
	fill(address, fds);
	rain(true);
	deadline = beam_in_ms(50);
	check_int(socket_connect(address, SOCK_STREAM, deadline), -ETIMEDOUT);
	check(deadline_passed(deadline));
	thread = thread_spawn(accept_later, &listener);
	check(socket_connect(address, SOCK_STREAM, BEAM_FOREVER) >= 0);
	rain(false);
	thread_wait(thread);
	return 0;
}

static void test_signals_do_not_end_a_connect(void)
{
	check_int(process_wait(process_spawn(connect_in_the_rain, NULL)), 0);
}

static void test_where_nobody_listens_there_is_no_connection(void)
{
	char path[256], directory[] = "/tmp/beam-test-XXXXXX";
	int fd;

	check_int(socket_connect("", SOCK_STREAM, BEAM_NOWAIT), -EINVAL);
	check_int(socket_connect("/nowhere/at/all", SOCK_STREAM, BEAM_NOWAIT), -ENOENT);
	check_int(socket_connect(address_of("nobody"), SOCK_STREAM, BEAM_FOREVER), -ECONNREFUSED);
	memset(path, 'x', sizeof path);
	path[108] = '\0';
	check_int(socket_connect(path, SOCK_STREAM, BEAM_NOWAIT), -ENAMETOOLONG);
	path[107] = '\0';
	check_int(socket_connect(path, SOCK_STREAM, BEAM_NOWAIT), -ENOENT);
	path[0] = '@';
	check_int(socket_connect(path, SOCK_STREAM, BEAM_NOWAIT), -ECONNREFUSED);

	require(mkdtemp(directory) != NULL);
	snprintf(path, sizeof path, "%s/file", directory);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	check_int(socket_connect(path, SOCK_STREAM, BEAM_NOWAIT), -ECONNREFUSED);
	close(fd);
	unlink(path);
	rmdir(directory);
}

static void test_abstract_names_are_apart_for_each_type(void)
{
	const char *address = address_of("type");
	int listener = listening(SOCK_SEQPACKET, address), fd;

	check_int(socket_connect(address, SOCK_STREAM, BEAM_FOREVER), -ECONNREFUSED);
	fd = socket_connect(address, SOCK_SEQPACKET, BEAM_FOREVER);
	check(fd >= 0);
	check_int(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	close(listener);
}

static void test_a_path_is_an_address_too_of_one_type(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char directory[] = "/tmp/beam-test-XXXXXX";
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;

	require(mkdtemp(directory) != NULL);
	snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", directory);
	require_int(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
	require_int(listen(listener, 1), 0);
	fd = socket_connect(address.sun_path, SOCK_STREAM, BEAM_NOWAIT);
	check(fd >= 0);
	check_int(socket_connect(address.sun_path, SOCK_SEQPACKET, BEAM_NOWAIT), -EPROTOTYPE);
	close(fd);
	close(listener);
	check_int(socket_connect(address.sun_path, SOCK_STREAM, BEAM_NOWAIT), -ECONNREFUSED);
	unlink(address.sun_path);
	rmdir(directory);
}

static void test_each_side_of_a_connection_knows_the_other_and_a_pair_does_not(void)
{
	const char *address = address_of("who");
	int listener = listening(SOCK_STREAM, address), client, server, pair[2];
	struct ucred credentials = {.pid = 77};

	client = socket_connect(address, SOCK_STREAM, BEAM_FOREVER);
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	check_int(socket_credentials(client, &credentials), 0);
	check(credentials.pid == getpid() && credentials.uid == geteuid() && credentials.gid == getegid());
	credentials.pid = 77;
	check_int(socket_credentials(server, &credentials), 0);
	check_int(credentials.pid, getpid());
	close(client);
	close(server);
	close(listener);

	pair_of(SOCK_STREAM, pair);
	credentials.pid = 77;
	check_int(socket_credentials(pair[0], &credentials), -ENODATA);
	check_int(credentials.pid, 77);
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
    TEST(test_a_pidfd_that_comes_unasked_for_is_closed),
    TEST(test_a_packet_bears_credentials_and_the_end_does_not),
    TEST(test_what_another_protocol_says_of_a_packet_is_not_taken_for_credentials),
    TEST(test_credentials_can_be_asked_for_when_the_packet_is_there),
    TEST(test_a_peek_tells_the_size_of_a_packet_and_leaves_it_and_its_descriptors),
    TEST(test_writing_to_nobody_is_an_error_and_no_signal),
    TEST(test_a_full_socket_takes_no_descriptor),
    TEST(test_errors_of_a_write_are_told_apart),
    TEST(test_waiting_ends_with_what_is_ready_the_kick_or_the_deadline),
    TEST(test_a_hang_up_ends_any_wait),
    TEST(test_a_shutdown_wakes_who_waits),
    TEST(test_signals_do_not_end_a_wait),
    TEST(test_a_pair_is_close_on_exec_and_may_block),
    TEST(test_what_is_no_connected_unix_socket_is_refused_each_for_its_reason),
    TEST(test_a_socket_whose_peer_has_gone_is_still_connected),
    TEST(test_preparing_makes_a_socket_fit),
    TEST(test_a_socket_that_cannot_be_made_close_on_exec_is_not_fit),
    TEST(test_a_socket_from_elsewhere_sends_no_signal),
    TEST(test_a_small_buffer_is_widened_and_a_large_one_left),
    TEST(test_a_duplicate_is_close_on_exec),
    TEST(test_a_larger_buffer_takes_more),
    TEST(test_a_wait_for_room_that_ends_before_its_deadline_goes_on),
    TEST(test_a_connection_waits_for_room_until_the_deadline),
    TEST(test_a_deadline_that_passes_on_the_way_to_the_wait_ends_it),
    TEST(test_signals_do_not_end_a_connect),
    TEST(test_where_nobody_listens_there_is_no_connection),
    TEST(test_abstract_names_are_apart_for_each_type),
    TEST(test_a_path_is_an_address_too_of_one_type),
    TEST(test_each_side_of_a_connection_knows_the_other_and_a_pair_does_not),
    TEST(test_no_fault_leaves_a_descriptor),
    TEST(test_interrupted_calls_are_made_again),
    TEST(test_a_poll_without_memory_is_an_error_and_not_the_deadline),
    TEST(test_descriptors_without_a_byte_are_refused_on_what_may_be_a_stream),
};
HARNESS_MAIN("socket", tests)
