/* SPDX-License-Identifier: MIT */
/*
 * Sockets that were created elsewhere, with options set by their creator. If Beam accepts a socket,
 * it works like any other.
 */
#include <fcntl.h>
#include <public/ends.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>

/* asm/socket.h; the C library's headers may not know them. */
enum { RAW_SO_PASSPIDFD = 76, RAW_SO_INQ = 84 };

/* An option that is set on both ends of a pair. */
struct option {
	const char *what;
	int name;
	const void *value;
	socklen_t size;
};

static const int on = 1, some = 5, most = INT32_MAX, least = 1;
static const struct timeval soon_over = {.tv_usec = 1};
static const struct linger lingers = {.l_onoff = 1, .l_linger = 1};

static const struct option options[] = {
    {"SO_PEEK_OFF in the packet", SO_PEEK_OFF, &some, sizeof some},
    {"SO_PEEK_OFF behind the packet", SO_PEEK_OFF, &most, sizeof most},
    {"SO_RCVLOWAT", SO_RCVLOWAT, &most, sizeof most},
    {"SO_RCVTIMEO", SO_RCVTIMEO, &soon_over, sizeof soon_over},
    {"SO_SNDTIMEO", SO_SNDTIMEO, &soon_over, sizeof soon_over},
    {"SO_PASSCRED", SO_PASSCRED, &on, sizeof on},
    {"SO_PASSSEC", SO_PASSSEC, &on, sizeof on},
    {"SO_PASSPIDFD", RAW_SO_PASSPIDFD, &on, sizeof on},
    {"SO_TIMESTAMP", SO_TIMESTAMP, &on, sizeof on},
    {"SO_TIMESTAMPNS", SO_TIMESTAMPNS, &on, sizeof on},
    {"SO_TIMESTAMPING", SO_TIMESTAMPING, &(const int){0x18}, sizeof(int)},
    {"SO_INQ", RAW_SO_INQ, &on, sizeof on},
    {"SO_BUSY_POLL", SO_BUSY_POLL, &some, sizeof some},
    {"SO_SNDBUF", SO_SNDBUF, &least, sizeof least},
    {"SO_RCVBUF", SO_RCVBUF, &least, sizeof least},
    {"SO_LINGER", SO_LINGER, &lingers, sizeof lingers},
    {"SO_OOBINLINE", SO_OOBINLINE, &on, sizeof on},
    {"SO_KEEPALIVE", SO_KEEPALIVE, &on, sizeof on},
};

/* Descriptor flags to set instead. */
static const int flags[] = {O_NONBLOCK, O_ASYNC, O_NONBLOCK | O_ASYNC};

enum {
	N_OPTIONS = sizeof options / sizeof *options,
	N_FLAGS = sizeof flags / sizeof *flags,
	N_WAYS = N_OPTIONS + N_FLAGS + 1
};

static atomic_uint signals;

static void count_signal(int signal)
{
	(void)signal;
	atomic_fetch_add(&signals, 1);
}

/*
 * Sets one of the options or flags, as far as this kernel knows it. The last way sets all of them.
 */
static void set_options(int fd, size_t way)
{
	for (size_t i = 0; i < N_OPTIONS; i++) {
		if (way == i || way == N_WAYS - 1)
			(void)setsockopt(fd, SOL_SOCKET, options[i].name, options[i].value, options[i].size);
	}
	for (size_t i = 0; i < N_FLAGS; i++) {
		if (way != N_OPTIONS + i && way != N_WAYS - 1)
			continue;
		require_int(fcntl(fd, F_SETOWN, getpid()), 0);
		require_int(fcntl(fd, F_SETFL, flags[i]), 0);
	}
}

static void make_pair(int type, size_t way, int pair[2])
{
	/* Until Beam has both ends, SIGIO may be raised. */
	signal(SIGIO, count_signal);
	require_int(socketpair(AF_UNIX, type, 0, pair), 0);
	for (int i = 0; i < 2; i++)
		set_options(pair[i], way);
}

/* ---- Channels -------------------------------------------------------------------------------- */

/* Sends as many descriptors as a message may have by default, all in one group. */
static void exchange_attachments(beam_topic *from, beam_topic *to)
{
	enum { MANY = 64 };
	beam_message *message = NULL;
	int fds[MANY];

	for (size_t i = 0; i < MANY; i++)
		fds[i] = i % 2 ? 0 : 1;
	check_int(beam_topic_sendv(from, &(struct iovec){(void *)(uintptr_t) "text", 4}, 1, fds, MANY, 0, soon()), 0);
	if (!check_int(beam_topic_receive(to, &message, 0, soon()), 1))
		return;
	check_int(beam_message_attachments(message), MANY);
	for (size_t i = 0; i < MANY; i++)
		check(beam_message_peek_fd(message, i) >= 0);
	beam_message_free(message);
}

static void *send_large(void *topic)
{
	static const char bytes[300000];

	check_int(beam_topic_send(topic, bytes, sizeof bytes, 0, soon()), 0);
	return NULL;
}

static void exchange_large(beam_topic *from, beam_topic *to)
{
	beam_message *message = NULL;
	pthread_t thread;

	require_int(pthread_create(&thread, NULL, send_large, from), 0);
	if (check_int(beam_topic_receive(to, &message, 0, soon()), 1))
		check_int(beam_message_size(message), 300000);
	pthread_join(thread, NULL);
	beam_message_free(message);
}

static void test_a_channel_serves_whatever_options_its_socket_has(void)
{
	needs_descriptors(1024);
	for (size_t way = 0; way < N_WAYS; way++) {
		struct beam_channel_options as_it_is = BEAM_CHANNEL_OPTIONS;
		struct ends ends;
		int pair[2];

		as_it_is.socket_buffer_bytes = 0;
		make_pair(SOCK_STREAM, way, pair);
		for (int i = 0; i < 2; i++) {
			require_int(beam_channel_from_fd(&ends.channel[i], pair[i], &as_it_is), 0);
			require_int(beam_topic_open(&ends.topic[i], ends.channel[i], "topic"), 0);
		}
		atomic_store(&signals, 0);
		for (int i = 0; i < 2; i++) {
			exchange_attachments(ends.topic[i], ends.topic[!i]);
			exchange_large(ends.topic[i], ends.topic[!i]);
			send_text(ends.topic[i], "small");
			expect_text(ends.topic[!i], "small");
		}
		check_int(beam_topic_receive(ends.topic[0], &(beam_message *){NULL}, 0, beam_in_ms(1)), -ETIMEDOUT);
		check_int(atomic_load(&signals), 0);
		ends_close(&ends);
	}
}

/* ---- Single messages ------------------------------------------------------------------------- */

static void expect_message(int socket, size_t size, size_t n_fds)
{
	beam_message *message = NULL;

	if (!check_int(beam_receive(socket, &message, size, soon()), 1))
		return;
	check_int(beam_message_size(message), size);
	check_int(beam_message_attachments(message), n_fds);
	if (n_fds)
		check(beam_message_peek_fd(message, 0) >= 0);
	beam_message_free(message);
}

/*
 * Messages of all sizes that fit into a socket with the smallest buffer, with and without a
 * descriptor.
 */
static void exchange_messages(int from, int to)
{
	static const char bytes[2000];
	static const size_t sizes[] = {1, 4, 5, 6, 10, 2000};
	beam_message *message = NULL;

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		check_int(beam_send(from, bytes, sizes[i], i % 2 ? 0 : -1, soon()), 0);
		expect_message(to, sizes[i], i % 2);
	}
	check_int(beam_send(from, NULL, 0, -1, soon()), 0);
	expect_message(to, 0, 0);
	check_int(beam_receive(to, &message, 100, beam_in_ms(1)), -ETIMEDOUT);
}

static void test_single_messages_pass_whatever_options_their_socket_has(void)
{
	for (size_t way = 0; way < N_WAYS; way++) {
		for (int i = 0; i < 2; i++) {
			int pair[2];

			make_pair(i ? SOCK_SEQPACKET : SOCK_STREAM, way, pair);
			check_int(beam_fd_conn(pair[0]), 0);
			check_int(beam_fd_conn(pair[1]), 0);
			atomic_store(&signals, 0);
			exchange_messages(pair[0], pair[1]);
			exchange_messages(pair[1], pair[0]);
			check_int(atomic_load(&signals), 0);
			close(pair[0]);
			close(pair[1]);
		}
	}
}

static void test_a_packet_over_the_limit_is_refused_whatever_is_set_later(void)
{
	static const int offsets[] = {0, 5, 50, 1990, 100000};
	static const char bytes[2000];

	for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
		beam_message *message = NULL;
		int pair[2];

		require_int(beam_socket_pair(SOCK_SEQPACKET, pair), 0);
		require_int(setsockopt(pair[1], SOL_SOCKET, SO_PEEK_OFF, &offsets[i], sizeof *offsets), 0);
		check_int(beam_send(pair[0], bytes, sizeof bytes, -1, soon()), 0);
		check_int(beam_receive(pair[1], &message, 100, soon()), -EMSGSIZE);
		require_int(setsockopt(pair[1], SOL_SOCKET, SO_PEEK_OFF, &offsets[i], sizeof *offsets), 0);
		check_int(beam_send(pair[0], bytes, 10, -1, soon()), 0);
		expect_message(pair[1], 10, 0);
		close(pair[0]);
		close(pair[1]);
	}
}

/* ---- Sockets that are shut down in one direction --------------------------------------------- */

static void test_a_channel_over_a_socket_that_is_shut_ends_at_once(void)
{
	static const int ways[] = {SHUT_RD, SHUT_WR, SHUT_RDWR};

	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		struct ends ends;
		int pair[2];

		require_int(beam_socket_pair(SOCK_STREAM, pair), 0);
		require_int(shutdown(pair[0], ways[i]), 0);
		for (int end = 0; end < 2; end++) {
			require_int(beam_channel_from_fd(&ends.channel[end], pair[end], NULL), 0);
			/* The channel may have ended already. */
			if (beam_topic_open(&ends.topic[end], ends.channel[end], "topic") < 0)
				ends.topic[end] = NULL;
		}
		for (int end = 0; end < 2; end++) {
			if (ends.topic[end])
				check_int(beam_topic_receive(ends.topic[end], &(beam_message *){NULL}, 0, soon()),
					  -ECONNRESET);
		}
		ends_close(&ends);
	}
}

static void test_single_messages_over_a_socket_that_is_shut_fail(void)
{
	for (int i = 0; i < 2; i++) {
		beam_message *message = NULL;
		int pair[2];

		require_int(beam_socket_pair(i ? SOCK_SEQPACKET : SOCK_STREAM, pair), 0);
		require_int(shutdown(pair[0], SHUT_RDWR), 0);
		check_int(beam_fd_conn(pair[0]), 0);
		check_int(beam_send(pair[0], "x", 1, -1, soon()), -EPIPE);
		check_int(beam_receive(pair[0], &message, 100, soon()), 0);
		close(pair[0]);
		close(pair[1]);
	}
}

static const struct test tests[] = {
    TEST(test_a_channel_serves_whatever_options_its_socket_has),
    TEST(test_single_messages_pass_whatever_options_their_socket_has),
    TEST(test_a_packet_over_the_limit_is_refused_whatever_is_set_later),
    TEST(test_a_channel_over_a_socket_that_is_shut_ends_at_once),
    TEST(test_single_messages_over_a_socket_that_is_shut_fail),
};

HARNESS_MAIN("public/foreign", tests)
