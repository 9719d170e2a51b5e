/* SPDX-License-Identifier: MIT */
/*
 * Bad input, continued: descriptors that are not what a function takes, and bad arguments to the
 * core and message functions.
 */
#include <beam/beam.h>
#include <fcntl.h>
#include <harness/harness.h>
#include <limits.h>
#include <netinet/in.h>
#include <public/ends.h>
#include <sys/un.h>

/* Results are initialized to this before a call that must not write to them. */
#define UNTOUCHED(type) ((type)(uintptr_t)0xbea3)

/* ---- Descriptors that are not what they should be -------------------------------------------- */

enum fd_kind {
	FD_MINUS_ONE,
	FD_CLOSED,
	FD_HUGE,
	FD_FILE,
	FD_PIPE,
	FD_TCP,
	FD_DATAGRAM,
	FD_LISTENING,
	FD_UNCONNECTED,
	FD_PACKETS,
	FD_KINDS
};

static const char *const fd_names[FD_KINDS] = {"-1",
					       "a closed one",
					       "INT_MAX",
					       "a file",
					       "a pipe",
					       "a TCP socket",
					       "a datagram socket",
					       "a listening socket",
					       "an unconnected socket",
					       "a packet socket"};

/* The bad descriptor, and another one that must stay open with it, or -1. */
struct bad_fd {
	int fd, kept;
};

static struct bad_fd bad_fd_open(enum fd_kind kind)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct bad_fd bad = {-1, -1};
	int ends[2] = {-1, -1};

	switch (kind) {
	case FD_MINUS_ONE: break;
	case FD_CLOSED:
		bad.fd = raw_file();
		close(bad.fd);
		break;
	case FD_HUGE: bad.fd = INT_MAX; break;
	case FD_FILE: bad.fd = raw_file(); break;
	case FD_PIPE: require_int(pipe2(ends, O_CLOEXEC), 0); break;
	case FD_TCP: bad.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); break;
	case FD_DATAGRAM: require_int(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends), 0); break;
	case FD_LISTENING:
		bad.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		require_int(bind(bad.fd, (struct sockaddr *)&address, sizeof address.sun_family), 0);
		require_int(listen(bad.fd, 1), 0);
		break;
	case FD_UNCONNECTED: bad.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); break;
	case FD_PACKETS: require_int(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0); break;
	case FD_KINDS: break;
	}
	if (ends[0] >= 0)
		bad = (struct bad_fd){ends[0], ends[1]};
	return bad;
}

static void bad_fd_close(enum fd_kind kind, struct bad_fd *bad)
{
	/* The descriptor still belongs to the caller. */
	if (kind >= FD_FILE && check(fd_open(bad->fd)))
		close(bad->fd);
	if (bad->kept >= 0)
		close(bad->kept);
}

static int call_channel_new(int fd)
{
	beam_channel *channel = UNTOUCHED(beam_channel *);
	int r = beam_channel_from_fd(&channel, fd, NULL);

	check(channel == UNTOUCHED(beam_channel *));
	return r;
}

static int call_send(int fd)
{
	return beam_send(fd, "x", 1, -1, BEAM_NOWAIT);
}

static int call_receive(int fd)
{
	beam_message *message = UNTOUCHED(beam_message *);
	int r = beam_receive(fd, &message, 100, BEAM_NOWAIT);

	check(message == UNTOUCHED(beam_message *));
	return r;
}

static int call_send_bare(int fd)
{
	return beam_send_bare(fd, "x", 1, -1, BEAM_NOWAIT);
}

static int call_receive_bare(int fd)
{
	beam_message *message = UNTOUCHED(beam_message *);
	int r = beam_receive_bare(fd, &message, 100, BEAM_NOWAIT);

	check(message == UNTOUCHED(beam_message *));
	return r;
}

static int call_send_pipe(int fd)
{
	int kept = -77, r = beam_send_pipe(fd, "x", 1, &kept, BEAM_NOWAIT);

	if (r < 0)
		check_int(kept, -77);
	else
		close(kept);
	return r;
}

/* All functions that take a socket, and their error for a packet socket. */
static const struct {
	const char *name;
	int (*call)(int fd);
	int to_packets;
} socket_calls[] = {
    {"beam_channel_from_fd", call_channel_new, -EPROTOTYPE},
    {"beam_send", call_send, 0},
    {"beam_receive", call_receive, -EAGAIN},
    {"beam_send_bare", call_send_bare, -EPROTOTYPE},
    {"beam_receive_bare", call_receive_bare, -EPROTOTYPE},
    {"beam_send_pipe", call_send_pipe, 0},
    {"beam_fd_conn", beam_fd_conn, 0},
};

static void test_descriptors_that_are_no_connected_unix_sockets_are_named_for_what_they_are(void)
{
	static const int expected[FD_KINDS] = {
	    [FD_MINUS_ONE] = -EBADF,     [FD_CLOSED] = -EBADF,       [FD_HUGE] = -EBADF,
	    [FD_FILE] = -ENOTSOCK,       [FD_PIPE] = -ENOTSOCK,      [FD_TCP] = -EPROTOTYPE,
	    [FD_DATAGRAM] = -EPROTOTYPE, [FD_LISTENING] = -ENOTCONN, [FD_UNCONNECTED] = -ENOTCONN,
	};

	for (size_t i = 0; i < sizeof socket_calls / sizeof socket_calls[0]; i++) {
		for (enum fd_kind kind = 0; kind < FD_KINDS; kind++) {
			struct bad_fd bad = bad_fd_open(kind);

			harness_context("%s(%s)", socket_calls[i].name, fd_names[kind]);
			check_int(socket_calls[i].call(bad.fd),
				  kind == FD_PACKETS ? socket_calls[i].to_packets : expected[kind]);
			bad_fd_close(kind, &bad);
		}
	}
}

/* ---- Core ------------------------------------------------------------------------------------ */

static void test_bad_arguments_to_the_core_functions(void)
{
	beam_message *message = UNTOUCHED(beam_message *);
	int ends[2], closed = raw_file(), fd = -77;

	close(closed);
	require_int(beam_socket_pair(SOCK_STREAM, ends), 0);
	check_int(beam_send(ends[0], NULL, 1, -1, soon()), -EINVAL);
	check_int(beam_send(ends[0], "x", 1, -2, soon()), -EINVAL);
	check_int(beam_send(ends[0], "x", 1, INT_MIN, soon()), -EINVAL);
	check_int(beam_send(ends[0], "x", 1, 1000000, soon()), -EBADF);
	check_int(beam_send(ends[0], "x", (size_t)INT32_MAX + 1, -1, soon()), -EMSGSIZE);
	check_int(beam_send(ends[0], "x", SIZE_MAX, -1, soon()), -EMSGSIZE);
	check_int(beam_send_bare(ends[0], NULL, 1, -1, soon()), -EINVAL);
	check_int(beam_send_bare(ends[0], "", 0, -1, soon()), -EINVAL);
	check_int(beam_send_bare(ends[0], "x", 1, -2, soon()), -EINVAL);
	check_int(beam_send_bare(ends[0], "x", 1, 1000000, soon()), -EBADF);
	check_int(beam_receive(ends[0], NULL, 1, soon()), -EINVAL);
	check_int(beam_receive_bare(ends[0], NULL, 1, soon()), -EINVAL);
	check_int(beam_receive_bare(ends[0], &message, 0, soon()), -EINVAL);
	check_int(beam_send_pipe(ends[0], "x", 1, NULL, soon()), -EINVAL);
	check_int(beam_send_pipe(ends[0], NULL, 1, &fd, soon()), -EINVAL);
	check_int(fd, -77);

	/* None of these messages was sent. */
	check_int(beam_receive(ends[1], &message, 1, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_receive(ends[1], &message, 1, beam_in_ms(-1)), -ETIMEDOUT);
	check_int(beam_receive(ends[1], &message, 1, BEAM_DEADLINE(-5)), -ETIMEDOUT);
	check_int(beam_receive_bare(ends[1], &message, 1, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_receive_bare(ends[1], &message, 1, beam_in_ms(0)), -ETIMEDOUT);
	check(message == UNTOUCHED(beam_message *));
	close(ends[0]);
	close(ends[1]);
}

static void test_a_packet_larger_than_a_packet_holds_is_not_sent(void)
{
	size_t size = 16 << 20;
	char *large = calloc(1, size);
	beam_message *message = NULL;
	int ends[2];

	require(large != NULL);
	require_int(beam_socket_pair(SOCK_SEQPACKET, ends), 0);
	check_int(beam_send(ends[0], large, size, -1, soon()), -EMSGSIZE);
	check_int(beam_receive(ends[1], &message, 1, BEAM_NOWAIT), -EAGAIN);
	close(ends[0]);
	close(ends[1]);
	free(large);
}

static void test_a_socket_pair_of_another_type_is_refused(void)
{
	int ends[2] = {-77, -78};

	check_int(beam_socket_pair(SOCK_STREAM, NULL), -EINVAL);
	check_int(beam_socket_pair(SOCK_DGRAM, ends), -EINVAL);
	check_int(beam_socket_pair(0, ends), -EINVAL);
	check_int(beam_socket_pair(-1, ends), -EINVAL);
	check_int(beam_socket_pair(SOCK_STREAM | SOCK_NONBLOCK, ends), -EINVAL);
	check_int(ends[0], -77);
	check_int(ends[1], -78);
}

/* ---- Messages -------------------------------------------------------------------------------- */

static void test_bad_arguments_to_the_message_functions(void)
{
	beam_message *message = UNTOUCHED(beam_message *);
	int closed = raw_file();

	close(closed);
	check_int(beam_message_new(NULL, "x", 1), -EINVAL);
	check_int(beam_message_new(&message, "x", (size_t)INT32_MAX + 1), -EMSGSIZE);
	check_int(beam_message_new(&message, NULL, SIZE_MAX), -EMSGSIZE);
	check(message == UNTOUCHED(beam_message *));
	beam_message_free(NULL);
	check(beam_message_data(NULL) == NULL);
	check_int(beam_message_size(NULL), 0);
	check(beam_message_writable(NULL) == NULL);
	check_int(beam_message_attachments(NULL), 0);
	check_int(beam_message_add_fd(NULL, 0), -EINVAL);
	check_int(beam_message_give_fd(NULL, 0), -EINVAL);
	check_int(beam_message_peek_fd(NULL, 0), -EINVAL);
	check_int(beam_message_take_fd(NULL, 0), -EINVAL);

	require_int(beam_message_new(&message, "x", 1), 0);
	check_int(beam_message_add_fd(message, -1), -EBADF);
	check_int(beam_message_add_fd(message, closed), -EBADF);
	check_int(beam_message_give_fd(message, -1), -EBADF);
	check_int(beam_message_give_fd(message, closed), -EBADF);
	check_int(beam_message_attachments(message), 0);
	check_int(beam_message_peek_fd(message, 0), -ENOENT);
	check_int(beam_message_take_fd(message, SIZE_MAX), -ENOENT);
	beam_message_free(message);
}

static void test_a_message_takes_253_attachments_and_not_one_more(void)
{
	beam_message *message = NULL;
	int file;

	needs_descriptors(512);
	file = raw_file();
	require_int(beam_message_new(&message, NULL, 0), 0);
	for (int i = 0; i < BEAM_MESSAGE_ATTACHMENTS_MAX; i++)
		check_int(beam_message_add_fd(message, file), 0);
	check_int(beam_message_add_fd(message, file), -E2BIG);
	check_int(beam_message_give_fd(message, file), -E2BIG);
	check(fd_open(file));
	check_int(beam_message_attachments(message), BEAM_MESSAGE_ATTACHMENTS_MAX);
	beam_message_free(message);
	close(file);
}

static void test_an_attachment_is_taken_once(void)
{
	beam_message *message = NULL;
	int fd, file = raw_file();

	require_int(beam_message_new(&message, NULL, 0), 0);
	require_int(beam_message_give_fd(message, file), 0);
	fd = beam_message_take_fd(message, 0);
	check_int(fd, file);
	check_int(beam_message_take_fd(message, 0), -ENOENT);
	check_int(beam_message_peek_fd(message, 0), -ENOENT);
	check_int(beam_message_attachments(message), 1);
	beam_message_free(message);
	check(fd_open(fd));
	close(fd);
}

static const struct test tests[] = {
    TEST(test_descriptors_that_are_no_connected_unix_sockets_are_named_for_what_they_are),
    TEST(test_bad_arguments_to_the_core_functions),
    TEST(test_a_packet_larger_than_a_packet_holds_is_not_sent),
    TEST(test_a_socket_pair_of_another_type_is_refused),
    TEST(test_bad_arguments_to_the_message_functions),
    TEST(test_a_message_takes_253_attachments_and_not_one_more),
    TEST(test_an_attachment_is_taken_once),
};

HARNESS_MAIN("public/bad-input-core", tests)
