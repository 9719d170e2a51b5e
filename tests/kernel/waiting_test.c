/* SPDX-License-Identifier: MIT */
/*
 * What the kernel promises: what readiness means, what wakes a reader, and how the end of a stream
 * is reported.
 */
#include <fcntl.h>
#include <harness/harness.h>
#include <kernel/raw.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

static void open_pair(int ends[2])
{
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
}

static void close_pair(const int ends[2])
{
	close(ends[0]);
	close(ends[1]);
}

static short poll_now(int fd, short events)
{
	struct pollfd entry = {.fd = fd, .events = events};

	return poll(&entry, 1, 0) > 0 ? entry.revents : 0;
}

/* Calls recv() once. Returns a negative errno on failure. */
static ssize_t receive(int socket, void *data, size_t size, int flags)
{
	ssize_t n = recv(socket, data, size, flags);

	return n < 0 ? -errno : n;
}

static void test_pollin_may_be_followed_by_eagain_when_an_out_of_band_byte_came(void)
{
	char byte;
	int ends[2];

	open_pair(ends);
	require_int(send(ends[0], "X", 1, MSG_OOB), 1);
	check(poll_now(ends[1], POLLIN) & POLLIN);
	check_int(receive(ends[1], &byte, 1, MSG_DONTWAIT), -EAGAIN);
	close_pair(ends);
}

static void test_an_out_of_band_byte_is_not_in_the_stream(void)
{
	char bytes[16];
	int ends[2];
	ssize_t n, total = 0;

	open_pair(ends);
	require_int(send(ends[0], "abc", 3, 0), 3);
	require_int(send(ends[0], "X", 1, MSG_OOB), 1);
	require_int(send(ends[0], "def", 3, 0), 3);
	while ((n = receive(ends[1], bytes + total, sizeof bytes - (size_t)total, MSG_DONTWAIT)) > 0)
		total += n;
	check_int(total, 6);
	check_bytes(bytes, "abcdef", 6);
	close_pair(ends);
}

/* ---- A blocked reader ------------------------------------------------------------------------ */

struct reader {
	int socket;
	_Atomic pid_t thread;
	ssize_t result;
	char byte;
};

static void *reader_run(void *argument)
{
	struct reader *reader = argument;

	reader->thread = (pid_t)syscall(SYS_gettid);
	reader->result = receive(reader->socket, &reader->byte, 1, 0);
	return NULL;
}

/* True if the reader is blocked in recv(). */
static bool reader_blocked(struct reader *reader)
{
	char path[64];
	long call = -1;
	FILE *file;

	snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)reader->thread);
	file = fopen(path, "re");
	if (!file)
		return false;
	/* The file contains "running" if the thread is not blocked. */
	if (fscanf(file, "%ld", &call) != 1)
		call = -1;
	fclose(file);
#ifdef SYS_socketcall
	if (call == SYS_socketcall)
		return true;
#endif
	return call == SYS_recvfrom;
}

static pthread_t reader_begin(struct reader *reader, int socket)
{
	pthread_t thread;

	*reader = (struct reader){.socket = socket};
	thread = thread_spawn(reader_run, reader);
	check_within(20000, reader_blocked(reader));
	return thread;
}

static void test_close_does_not_wake_a_blocked_reader(void)
{
	struct reader reader;
	pthread_t thread;
	int ends[2];

	open_pair(ends);
	thread = reader_begin(&reader, ends[1]);
	/* A plain system call, because ThreadSanitizer would report the close as a race. */
	check_int(syscall(SYS_close, ends[1]), 0);
	/* The reader still waits, although the descriptor is closed, and receives what arrives. */
	check_int(send(ends[0], "!", 1, MSG_NOSIGNAL), 1);
	thread_wait(thread);
	check_int(reader.result, 1);
	check_int(reader.byte, '!');
	close(ends[0]);
}

static void test_shutdown_wakes_a_blocked_reader(void)
{
	struct reader reader;
	pthread_t thread;
	int ends[2];

	open_pair(ends);
	thread = reader_begin(&reader, ends[1]);
	check_int(shutdown(ends[1], SHUT_RDWR), 0);
	thread_wait(thread);
	check_int(reader.result, 0);
	close_pair(ends);
}

/* ---- The end --------------------------------------------------------------------------------- */

static void test_a_peer_that_closes_with_data_unread_gives_what_it_sent_then_econnreset_once_then_the_end(void)
{
	char bytes[8];
	int ends[2];

	open_pair(ends);
	require_int(send(ends[0], "unread", 6, 0), 6);
	require_int(send(ends[1], "data", 4, 0), 4);
	close(ends[1]);
	check_int(receive(ends[0], bytes, sizeof bytes, 0), 4);
	check_int(receive(ends[0], bytes, sizeof bytes, 0), -ECONNRESET);
	check_int(receive(ends[0], bytes, sizeof bytes, 0), 0);
	close(ends[0]);
}

static void test_a_send_to_such_a_peer_is_epipe_and_takes_nothing_from_the_reader(void)
{
	char bytes[8];
	int ends[2];

	open_pair(ends);
	require_int(send(ends[0], "unread", 6, 0), 6);
	require_int(send(ends[1], "data", 4, 0), 4);
	close(ends[1]);
	check_int(raw_send(ends[0], "x", 1, NULL, 0, 0), -EPIPE);
	check_int(receive(ends[0], bytes, sizeof bytes, 0), 4);
	check_int(receive(ends[0], bytes, sizeof bytes, 0), -ECONNRESET);
	check_int(receive(ends[0], bytes, sizeof bytes, 0), 0);
	close(ends[0]);
}

static void test_what_came_before_ones_own_shutdown_can_still_be_read(void)
{
	char bytes[8];
	int ends[2];

	open_pair(ends);
	require_int(send(ends[0], "data", 4, 0), 4);
	require_int(shutdown(ends[1], SHUT_RDWR), 0);
	check_int(receive(ends[1], bytes, sizeof bytes, 0), 4);
	check_int(receive(ends[1], bytes, sizeof bytes, 0), 0);
	check_int(raw_send(ends[0], "x", 1, NULL, 0, 0), -EPIPE);
	close_pair(ends);
}

static int child_writes_to_the_dead(void *argument)
{
	int *ends = argument;

	signal(SIGPIPE, SIG_DFL);
	check_int(send(ends[0], "x", 1, MSG_NOSIGNAL), -1);
	check_int(errno, EPIPE);
	(void)!write(ends[0], "x", 1);
	return 0;
}

static void test_nosignal_keeps_sigpipe_away_which_otherwise_kills(void)
{
	int ends[2];

	open_pair(ends);
	close(ends[1]);
	check_int(process_wait(process_spawn(child_writes_to_the_dead, ends)), 128 + SIGPIPE);
	close(ends[0]);
}

static void test_the_end_of_a_stream_comes_when_its_last_descriptor_closes_in_flight_ones_included(void)
{
	struct raw_group group;
	int ends[2], carrier[2];
	char byte;

	open_pair(ends);
	open_pair(carrier);
	require_int(raw_send(carrier[0], "x", 1, &ends[1], 1, 0), 1);
	close(ends[1]);
	check_int(receive(ends[0], &byte, 1, MSG_DONTWAIT), -EAGAIN);
	check_int(raw_receive(carrier[1], &byte, 1, &group, 0), 1);
	raw_group_close(&group);
	check_int(receive(ends[0], &byte, 1, MSG_DONTWAIT), 0);
	close(ends[0]);
	close_pair(carrier);
}

/* ---- Packets --------------------------------------------------------------------------------- */

/* Reads an empty packet and then the end. Checks whether credentials came with both. */
static void expect_packet_then_end(bool passcred)
{
	struct raw_group group;
	char byte;
	int ends[2];

	require_int(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	if (passcred)
		require_int(setsockopt(ends[1], SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int)), 0);
	check_int(raw_send(ends[0], "", 0, NULL, 0, 0), 0);
	close(ends[0]);
	check_int(raw_receive(ends[1], &byte, 1, &group, 0), 0);
	check_int(group.credentials, passcred);
	check_int(raw_receive(ends[1], &byte, 1, &group, 0), 0);
	check(!group.credentials);
	close(ends[1]);
}

static void test_an_empty_packet_reads_like_the_end(void)
{
	expect_packet_then_end(false);
}

static void test_with_passcred_an_empty_packet_has_credentials_and_the_end_has_none(void)
{
	expect_packet_then_end(true);
}

/* ---- epoll ----------------------------------------------------------------------------------- */

static int epoll_now(int epoll)
{
	struct epoll_event event;

	return epoll_wait(epoll, &event, 1, 0);
}

static void test_rdhup_and_oneshot_is_silent_about_data_and_tells_a_close_once(void)
{
	struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT};
	int ends[2], epoll = epoll_create1(EPOLL_CLOEXEC);

	open_pair(ends);
	require_int(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[1], &event), 0);
	require_int(send(ends[0], "x", 1, 0), 1);
	check_int(epoll_now(epoll), 0);
	close(ends[0]);
	check_int(epoll_wait(epoll, &event, 1, 0), 1);
	check(event.events & EPOLLRDHUP);
	check_int(epoll_now(epoll), 0);
	close(ends[1]);
	close(epoll);
}

static void test_a_modified_interest_in_what_is_ready_shows_at_once(void)
{
	struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT};
	int ends[2], epoll = epoll_create1(EPOLL_CLOEXEC);

	open_pair(ends);
	require_int(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[1], &event), 0);
	require_int(send(ends[0], "x", 1, 0), 1);
	check_int(epoll_now(epoll), 0);
	event.events = EPOLLIN;
	require_int(epoll_ctl(epoll, EPOLL_CTL_MOD, ends[1], &event), 0);
	check_int(epoll_now(epoll), 1);
	close_pair(ends);
	close(epoll);
}

static void *wait_for_epoll(void *argument)
{
	struct epoll_event event;

	return epoll_wait(*(int *)argument, &event, 1, 20000) == 1 ? argument : NULL;
}

static void test_a_modified_interest_wakes_who_waits_for_an_epoll_inside_an_epoll(void)
{
	struct epoll_event event = {.events = EPOLLIN};
	int ends[2], inner = epoll_create1(EPOLL_CLOEXEC), outer = epoll_create1(EPOLL_CLOEXEC);
	pthread_t thread;

	open_pair(ends);
	require_int(epoll_ctl(inner, EPOLL_CTL_ADD, ends[1], &event), 0);
	require_int(epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event), 0);
	thread = thread_spawn(wait_for_epoll, &outer);
	event.events = EPOLLIN | EPOLLOUT;
	require_int(epoll_ctl(inner, EPOLL_CTL_MOD, ends[1], &event), 0);
	check(thread_wait(thread) == &outer);
	close_pair(ends);
	close(inner);
	close(outer);
}

static const struct test tests[] = {
    TEST(test_pollin_may_be_followed_by_eagain_when_an_out_of_band_byte_came),
    TEST(test_an_out_of_band_byte_is_not_in_the_stream),
    TEST(test_close_does_not_wake_a_blocked_reader),
    TEST(test_shutdown_wakes_a_blocked_reader),
    TEST(test_a_peer_that_closes_with_data_unread_gives_what_it_sent_then_econnreset_once_then_the_end),
    TEST(test_a_send_to_such_a_peer_is_epipe_and_takes_nothing_from_the_reader),
    TEST(test_what_came_before_ones_own_shutdown_can_still_be_read),
    TEST(test_nosignal_keeps_sigpipe_away_which_otherwise_kills),
    TEST(test_the_end_of_a_stream_comes_when_its_last_descriptor_closes_in_flight_ones_included),
    TEST(test_an_empty_packet_reads_like_the_end),
    TEST(test_with_passcred_an_empty_packet_has_credentials_and_the_end_has_none),
    TEST(test_rdhup_and_oneshot_is_silent_about_data_and_tells_a_close_once),
    TEST(test_a_modified_interest_in_what_is_ready_shows_at_once),
    TEST(test_a_modified_interest_wakes_who_waits_for_an_epoll_inside_an_epoll),
};

HARNESS_MAIN("kernel/waiting", tests)
