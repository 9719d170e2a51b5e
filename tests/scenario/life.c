/* SPDX-License-Identifier: MIT */
/* Channels are made, queried and released, while all calls that can fail do so in turn. */
#include <scenario/ledger.h>
#include <scenario/scenarios.h>
#include <sys/socket.h>
#include <sys/un.h>

void a_channel_made_and_let_go_of(void)
{
	int fds[2];
	beam_channel *channel;

	ends_sockets(fds);
	channel = ends_channel(fds[0], NULL);
	beam_channel_unref(channel);
	close(fds[1]);
}

static void exchange_with_order(int order)
{
	struct ends *ends = ends_make(NULL);

	if (!ends)
		return;
	for (int i = 0; i < 2; i++) {
		flow_send(&ends->flow[i], ends->topic[i], SEND, 100, 0);
		flow_receive(&ends->flow[i], ends->topic[!i]);
		/* This message stays in the queue. */
		flow_send(&ends->flow[i], ends->topic[i], SEND, 200, 0);
	}
	ends_release(ends, order);
}

void topics_let_go_of_first(void)
{
	exchange_with_order(0);
	exchange_with_order(1);
}

void channels_let_go_of_first(void)
{
	exchange_with_order(2);
	exchange_with_order(3);
}

/* Several handles, and a message that outlives all of them. */
void a_message_that_outlives_its_channel(void)
{
	struct ends *ends = ends_make(NULL);
	beam_message *message = NULL;
	int r;

	if (!ends)
		return;
	check(beam_channel_ref(ends->channel[0]) == ends->channel[0]);
	check(beam_topic_ref(ends->topic[0]) == ends->topic[0]);
	beam_topic_unref(ends->topic[0]);
	beam_channel_unref(ends->channel[0]);
	check_string(beam_topic_name(ends->topic[0]), "topic");
	flow_send(&ends->flow[0], ends->topic[0], SEND, 300, 0);
	r = beam_topic_receive(ends->topic[1], &message, 0, soon());
	result_of(r, 1, -EAGAIN, -ETIMEDOUT, 0, -ECONNRESET, -ENOMEM);
	check((r == 1) == (message != NULL));
	/* Releasing the ends frees the flow that the message was received in. */
	if (message) {
		uint32_t head[HEAD / 4];

		flow_check(&ends->flow[0]);
		ends_release(ends, 0);
		check_int(beam_message_size(message), 300);
		memcpy(head, beam_message_data(message), HEAD);
		check_int(head[1], 300);
		beam_message_free(message);
	} else {
		ends_release(ends, 0);
	}
}

/* Queries a side. Each query succeeds, or returns a documented error. */
static void ask(const struct ends *ends, int side)
{
	struct beam_limits limits = {0};
	struct beam_statistics statistics;
	int r = beam_channel_limits(ends->channel[side], &limits, sizeof limits, soon());

	if (result_of(r, 0, -EAGAIN, -ETIMEDOUT, -EPIPE, -ECONNRESET, -ENOMEM))
		check_int(limits.message_bytes, 16 << 20);
	else
		check_int(limits.message_bytes, 0);
	check_int(beam_channel_statistics(ends->channel[side], &statistics, sizeof statistics), 0);
	check_int(beam_topic_statistics(ends->topic[side], &statistics, sizeof statistics), 0);
	check_int(statistics.messages_sent, 0);
}

/* Functions that never fail. */
static void keep_and_find(struct ends *ends, int side)
{
	beam_channel *channel = beam_topic_channel(ends->topic[side]);

	check(channel == ends->channel[side]);
	beam_channel_set_user_data(channel, &ends->flow[side]);
	beam_topic_set_user_data(ends->topic[side], channel);
	check(beam_channel_user_data(channel) == &ends->flow[side]);
	check(beam_topic_user_data(ends->topic[side]) == channel);
	check_int(beam_deadline_poll_ms(BEAM_FOREVER), -1);
	check_int(beam_channel_options_check(&(struct beam_channel_options)BEAM_CHANNEL_OPTIONS, &(const char *){NULL}),
		  0);
}

void a_channel_that_is_asked(void)
{
	struct ends *ends = ends_make(NULL);
	struct beam_peer peer;

	if (!ends)
		return;
	for (int i = 0; i < 2; i++) {
		ask(ends, i);
		keep_and_find(ends, i);
		/*
		 * A socket pair has no known peer, whether or not the kernel's answer is a fault.
		 */
		check(beam_channel_peer(ends->channel[i], &peer) < 0);
	}
	ends_finish(ends);
}

/* ---- A listener ------------------------------------------------------------------------------ */

static int listen_here(char address[64])
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int size = snprintf(address, 64, "@beam-fault-%d", (int)getpid()), listener;

	memcpy(name.sun_path + 1, address + 1, (size_t)size - 1);
	/* If nobody is in the backlog, accept4() must not wait. */
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	require(listener >= 0);
	require_int(bind(listener, (struct sockaddr *)&name,
			 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)size)),
		    0);
	require_int(listen(listener, 8), 0);
	return listener;
}

static void check_peer(beam_channel *channel)
{
	struct beam_peer peer = {0};
	int r = beam_channel_peer(channel, &peer);

	/* ENOBUFS and ENOTCONN: faults of getsockname(), getpeername() and getsockopt(). */
	if (result_of(r, 0, -ENOBUFS, -ENOTCONN)) {
		check_int(peer.pid, getpid());
		check_int(peer.uid, getuid());
		check_int(peer.gid, getgid());
	}
}

/*
 * Accepts the topic "first". If its OPEN waits in the buffer together with its first message, the
 * OPEN of "second" may arrive earlier.
 */
static bool accept_first(struct ends *ends)
{
	for (int i = 0; i < 2; i++) {
		beam_topic *topic = NULL;
		int r = beam_channel_accept(ends->channel[1], &topic, soon());

		check((r == 1) == (topic != NULL));
		if (!result_of(r, 1, 0, -EAGAIN, -ETIMEDOUT, -ECONNRESET, -ENOMEM))
			return false;
		if (strcmp(beam_topic_name(topic), "first") == 0) {
			ends->topic[1] = topic;
			return true;
		}
		check_string(beam_topic_name(topic), "second");
		beam_topic_unref(topic);
	}
	return false;
}

/* The client opens topics, and the server accepts them. */
static void open_and_accept(struct ends *ends)
{
	beam_topic *second = NULL;
	int r = beam_topic_open(&ends->topic[0], ends->channel[0], "first");

	if (!result_of(r, 0, -EPIPE, -ECONNRESET, -ENOMEM))
		return;
	r = beam_topic_open(&second, ends->channel[0], "second");
	result_of(r, 0, -EPIPE, -ECONNRESET, -ENOMEM);
	flow_send(&ends->flow[0], ends->topic[0], SEND, 50, 0);
	if (accept_first(ends)) {
		flow_receive(&ends->flow[0], ends->topic[1]);
		flow_send(&ends->flow[1], ends->topic[1], SEND, 60, 0);
		flow_receive(&ends->flow[1], ends->topic[0]);
	}
	/* The second topic may not have been accepted. */
	beam_topic_unref(second);
}

void connecting_and_accepting_topics(void)
{
	struct beam_channel_options options = ends_options();
	struct beam_connect_options with = BEAM_CONNECT_OPTIONS;
	struct ends *ends = calloc(1, sizeof *ends);
	char address[64];
	int listener = listen_here(address), r, fd;

	require(ends != NULL);
	with.channel = &options;
	r = beam_channel_connect(&ends->channel[0], address, &with, soon());
	check((r == 0) == (ends->channel[0] != NULL));
	result_of(r, 0, -EAGAIN, -ETIMEDOUT, -ECONNREFUSED, -EMFILE, -ENFILE, -ENOMEM, -ENOBUFS, -ENOTCONN);
	/* The backlog may also contain a connection that the client has given up. */
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
	if (fd >= 0 && r == 0)
		ends->channel[1] = ends_channel(fd, &options);
	else if (fd >= 0)
		close(fd);
	if (ends->channel[0] && ends->channel[1]) {
		check_peer(ends->channel[0]);
		check_peer(ends->channel[1]);
		open_and_accept(ends);
	}
	ends_release(ends, 0);
}

/*
 * Covers all calls of a channel's thread, from the first to the last, with faults that must have no
 * effect.
 */
void coming_and_going(void)
{
	struct ends *ends = ends_make(NULL);

	if (!ends)
		return;
	for (int i = 0; i < 2; i++) {
		flow_send(&ends->flow[i], ends->topic[i], SEND, 100, 0);
		flow_receive(&ends->flow[i], ends->topic[!i]);
	}
	ends_finish(ends);
}
