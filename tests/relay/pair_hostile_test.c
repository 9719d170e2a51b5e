/* SPDX-License-Identifier: MIT */
/* Channels over channels: what a hostile peer sends in place of an end. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <relay/pairs.h>
#include <sys/eventfd.h>
#include <sys/un.h>

static int fifo(void)
{
	int fds[2];

	require_int(pipe2(fds, O_CLOEXEC), 0);
	close(fds[1]);
	return fds[0];
}

static int zero(void)
{
	return open("/dev/zero", O_RDWR | O_CLOEXEC);
}

static int event(void)
{
	return eventfd(0, EFD_CLOEXEC);
}

static int path_only(void)
{
	return open("/dev/null", O_PATH | O_CLOEXEC);
}

static int half_of(int type)
{
	int fds[2];

	require_int(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds), 0);
	close(fds[1]);
	return fds[0];
}

static int datagrams(void)
{
	return half_of(SOCK_DGRAM);
}

static int packets(void)
{
	return half_of(SOCK_SEQPACKET);
}

static int not_connected(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int listening(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = not_connected();

	/* Without a name, so that the kernel chooses one. */
	require_int(bind(fd, (struct sockaddr *)&address, sizeof address.sun_family), 0);
	require_int(listen(fd, 1), 0);
	return fd;
}

static int internet(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
	    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	require_int(bind(listener, (struct sockaddr *)&address, size), 0);
	require_int(listen(listener, 1), 0);
	require_int(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	require_int(connect(fd, (struct sockaddr *)&address, size), 0);
	close(listener);
	return fd;
}

static void test_what_is_no_connected_unix_stream_is_not_taken_and_stays_an_attachment(void)
{
	static const struct {
		const char *what;
		int (*open)(void);
		int error;
	} hostile[] = {
	    {"a FIFO", fifo, -ENOTSOCK},
	    {"/dev/zero", zero, -ENOTSOCK},
	    {"a memfd", raw_file, -ENOTSOCK},
	    {"an eventfd", event, -ENOTSOCK},
	    {"an O_PATH descriptor", path_only, -EBADF},
	    {"a datagram socket", datagrams, -EPROTOTYPE},
	    {"a packet socket", packets, -EPROTOTYPE},
	    {"a TCP connection", internet, -EPROTOTYPE},
	    {"an unconnected socket", not_connected, -ENOTCONN},
	    {"a listening socket", listening, -ENOTCONN},
	};
	struct ends outer;

	ends_open(&outer, NULL);
	for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
		int fd = hostile[i].open();
		beam_channel *channel = NULL;
		beam_message *message;

		harness_context("%s", hostile[i].what);
		require(fd >= 0);
		check_int(beam_topic_sendv(outer.topic[0], NULL, 0, &fd, 1, 0, soon()), 0);
		message = receive(outer.topic[1]);
		check_int(beam_message_take_channel(message, 0, &channel, NULL), hostile[i].error);
		check(channel == NULL);
		check_int(raw_inode(beam_message_peek_fd(message, 0)), raw_inode(fd));
		close(fd);
		fd = beam_message_take_fd(message, 0);
		check(fd >= 0);
		close(fd);
		beam_message_free(message);
	}
	harness_context("%s", "");
	expect_exchange(&outer);
	ends_close(&outer);
}

/* Sends one end of a raw pair. Returns the channel that the receiver makes of it. */
static beam_channel *pass_raw(const struct ends *outer, int *ret_other)
{
	int fds[2];

	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	check_int(beam_topic_sendv(outer->topic[0], NULL, 0, &fds[0], 1, 0, soon()), 0);
	close(fds[0]);
	*ret_other = fds[1];
	return take_next(outer->topic[1]);
}

static void test_a_socket_whose_other_end_is_closed_makes_a_channel_that_has_ended(void)
{
	struct ends outer;
	beam_message *message;
	beam_channel *channel = NULL;
	int fd = half_of(SOCK_STREAM);

	ends_open(&outer, NULL);
	check_int(beam_topic_sendv(outer.topic[0], NULL, 0, &fd, 1, 0, soon()), 0);
	close(fd);
	message = receive(outer.topic[1]);
	require_int(beam_message_take_channel(message, 0, &channel, NULL), 0);
	beam_message_free(message);
	expect_end(channel, -ECONNRESET);
	expect_exchange(&outer);
	ends_close(&outer);
}

static void test_an_end_that_speaks_something_else_is_a_breach_of_its_own_channel_alone(void)
{
	static const char text[] = "GET / HTTP/1.1\r\n\r\n";
	struct ends outer;
	beam_channel *channel;
	int other;

	ends_open(&outer, NULL);
	channel = pass_raw(&outer, &other);
	check_int(raw_send(other, text, sizeof text - 1, NULL, 0, 0), sizeof text - 1);
	expect_end(channel, -EPROTO);
	close(other);
	expect_exchange(&outer);
	ends_close(&outer);
}

static void test_a_channel_sent_through_itself_ends_and_nothing_else_does(void)
{
	struct ends outer, self = {0};
	beam_message *message;
	beam_channel *again = NULL;
	int fds[2], duplicate;

	ends_open(&outer, NULL);
	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	duplicate = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
	for (int i = 0; i < 2; i++)
		require_int(beam_channel_from_fd(&self.channel[i], fds[i], NULL), 0);
	self.topic[0] = open_topic(self.channel[0]);
	self.topic[1] = open_topic(self.channel[1]);
	expect_exchange(&self);
	/*
	 * Both sides have received everything. So what the second channel over the same socket
	 * sends is a second HELLO.
	 */
	check_int(beam_topic_sendv(self.topic[0], NULL, 0, &duplicate, 1, 0, soon()), 0);
	close(duplicate);
	message = receive(self.topic[1]);
	require_int(beam_message_take_channel(message, 0, &again, NULL), 0);
	beam_message_free(message);
	check_int(beam_topic_receive(self.topic[1], &message, 0, soon()), -EPROTO);
	check(beam_topic_receive(self.topic[0], &message, 0, soon()) <= 0);
	check(beam_channel_accept(again, &(beam_topic *){NULL}, soon()) <= 0);
	beam_channel_unref(again);
	ends_close(&self);
	expect_exchange(&outer);
	ends_close(&outer);
}

/* The kernel searches for such cycles whenever a Unix socket is closed. */
static int receive_after_a_search(beam_topic *topic)
{
	close(half_of(SOCK_STREAM));
	return beam_topic_receive(topic, &(beam_message *){NULL}, 0, BEAM_NOWAIT);
}

static void test_an_end_that_lies_unread_in_itself_keeps_nothing_alive(void)
{
	static struct raw_out out;
	static struct raw_peer peer;
	beam_channel *channel = NULL;
	beam_topic *topic;
	int fds[2];

	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	require_int(beam_channel_from_fd(&channel, fds[0], NULL), 0);
	topic = open_topic(channel);
	raw_peer_init(&peer, fds[1]);
	raw_hello(&out);
	require(raw_peer_send(&peer, &out));
	check_int(beam_topic_sendv(topic, NULL, 0, &fds[1], 1, 0, soon()), 0);
	/* From here on the only reference to it is in its own queue. */
	raw_peer_close(&peer);
	check_within(20000, receive_after_a_search(topic) == -ECONNRESET);
	beam_topic_unref(topic);
	beam_channel_unref(channel);
}

static const struct test tests[] = {
    TEST(test_what_is_no_connected_unix_stream_is_not_taken_and_stays_an_attachment),
    TEST(test_a_socket_whose_other_end_is_closed_makes_a_channel_that_has_ended),
    TEST(test_an_end_that_speaks_something_else_is_a_breach_of_its_own_channel_alone),
    TEST(test_a_channel_sent_through_itself_ends_and_nothing_else_does),
    TEST(test_an_end_that_lies_unread_in_itself_keeps_nothing_alive),
};
HARNESS_MAIN("relay-pair_hostile", tests)
