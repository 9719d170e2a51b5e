/* SPDX-License-Identifier: MIT */
/*
 * Beam, with default options. "beam" sends and receives one message in each call. "beam-many"
 * collects messages for beam_topic_send_many(), and receives what is there with
 * beam_topic_receive_many(). "beam-watched" also has a topic's descriptor, a selector and a blocked
 * call open on the channel. A lane is a topic.
 */
#include "beside.h"
#include "util.h"
#include <beam/beam.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MANY = 64, MANY_BYTES = 256 * 1024, TAKE = 256 };

static struct settings with;
static int pair[2];
static beam_channel *channel;
static beam_topic *topics[LANES_MAX];

static void prepare(const struct settings *settings)
{
	with = *settings;
	must(beam_socket_pair(SOCK_STREAM, pair), "socket pair");
}

static void open_side(enum side side)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	char name[16];

	if (with.beside == BESIDE_LARGE)
		options.message_bytes = options.pool_bytes = LARGE_SIZE;
	close(pair[side == SIDE_A ? SIDE_B : SIDE_A]);
	must(beam_channel_from_fd(&channel, pair[side], &options), "channel");
	for (unsigned i = 0; i < with.lanes; i++) {
		snprintf(name, sizeof name, "lane %u", i);
		must(beam_topic_open(&topics[i], channel, name), "topic");
	}
}

/* ---- Watched ---- */

static struct {
	beam_topic *topic;
	beam_select *select;
	pthread_t caller;
} watched;

/* The peer never answers. */
static void *call_in_vain(void *topic)
{
	beam_message *reply;

	if (beam_topic_call(topic, NULL, 0, &reply, 0, BEAM_FOREVER) == 1)
		die("an answer arrived that nobody sent");
	return NULL;
}

static void open_watched(enum side side)
{
	open_side(side);
	must(beam_topic_open(&watched.topic, channel, "watched"), "topic");
	must(beam_topic_receive_fd(watched.topic), "descriptor");
	must(beam_select_new(&watched.select), "selector");
	must(beam_select_add_topic(watched.select, watched.topic, BEAM_SELECT_RECEIVE | BEAM_SELECT_SEND, NULL),
	     "selector");
	must(-pthread_create(&watched.caller, NULL, call_in_vain, watched.topic), "thread");
}

static void begin_beside(enum side side)
{
	beside_begin(channel, side, with.beside);
}

/*
 * The side that closes second finds the other one gone, so errors are ignored. Everything that is
 * counted has arrived by then.
 */
static void close_side(enum side side)
{
	(void)side;
	beam_channel_close(channel, beam_in_ms(5000));
	beside_join();
	for (unsigned i = 0; i < with.lanes; i++)
		beam_topic_unref(topics[i]);
	beam_channel_unref(channel);
}

static void send_one(unsigned lane, const void *data, size_t size, int fd)
{
	struct iovec iov = {(void *)(uintptr_t)data, size};

	if (fd < 0)
		must(beam_topic_send(topics[lane], data, size, 0, BEAM_FOREVER), "send");
	else
		must(beam_topic_sendv(topics[lane], &iov, 1, &fd, 1, 0, BEAM_FOREVER), "send");
}

static void give(beam_message *message, struct received *ret)
{
	ret->data = beam_message_data(message);
	ret->size = beam_message_size(message);
	ret->fd = with.fds && beam_message_attachments(message)
		      ? (int)must(beam_message_take_fd(message, 0), "attachment")
		      : -1;
	ret->owner = message;
}

static void receive_one(unsigned lane, struct received *ret)
{
	beam_message *message;

	if (must(beam_topic_receive(topics[lane], &message, 0, BEAM_FOREVER), "receive") == 0)
		die("the other process closed");
	give(message, ret);
}

static void release(struct received *received)
{
	if (received->fd >= 0)
		close(received->fd);
	beam_message_free(received->owner);
}

/* ---- Many at once ---- */

/* Each thread collects its own messages. */
static _Thread_local struct {
	unsigned char *bytes;
	struct beam_send_item items[MANY];
	int fds[MANY];
	size_t n;
} out;

static struct {
	beam_message *messages[TAKE];
	size_t next, n;
} in[LANES_MAX];

static size_t many(void)
{
	size_t n = with.size ? MANY_BYTES / with.size : MANY;

	return n < 1 ? 1 : n > MANY ? MANY : n;
}

static void flush_many(unsigned lane)
{
	for (size_t sent = 0; sent < out.n;)
		sent += (size_t)must(
		    beam_topic_send_many(topics[lane], out.items + sent, out.n - sent, 0, BEAM_FOREVER), "send");
	out.n = 0;
}

static void send_many(unsigned lane, const void *data, size_t size, int fd)
{
	if (size > with.size)
		die("a message is larger than the setting");
	if (!out.bytes)
		out.bytes = must_allocate(many() * with.size);
	unsigned char *copy = out.bytes + out.n * with.size;
	memcpy(copy, data, size);
	out.fds[out.n] = fd;
	out.items[out.n] =
	    (struct beam_send_item){.data = copy, .size = size, .fds = &out.fds[out.n], .n_fds = fd >= 0};
	if (++out.n == many())
		flush_many(lane);
}

static void receive_many(unsigned lane, struct received *ret)
{
	if (in[lane].next == in[lane].n) {
		in[lane].n = (size_t)must(
		    beam_topic_receive_many(topics[lane], in[lane].messages, TAKE, 0, BEAM_FOREVER), "receive");
		in[lane].next = 0;
		if (in[lane].n == 0)
			die("the other process closed");
	}
	give(in[lane].messages[in[lane].next++], ret);
}

const struct peer peer_beam = {
    .name = "beam",
    .what = "Beam, one message a call",
    .passes_fds = true,
    .has_lanes = true,
    .prepare = prepare,
    .open = open_side,
    .begin_beside = begin_beside,
    .end_beside = beside_end,
    .close = close_side,
    .send = send_one,
    .receive = receive_one,
    .release = release,
};

static void close_watched(enum side side)
{
	/* This ends the call. */
	beam_channel_close(channel, beam_in_ms(5000));
	must(-pthread_join(watched.caller, NULL), "join");
	beam_select_unref(watched.select);
	beam_topic_unref(watched.topic);
	close_side(side);
}

const struct peer peer_beam_watched = {
    .name = "beam-watched",
    .what = "Beam with a topic's descriptor, a selector and a blocked call open",
    .passes_fds = true,
    .has_lanes = true,
    .prepare = prepare,
    .open = open_watched,
    .begin_beside = begin_beside,
    .end_beside = beside_end,
    .close = close_watched,
    .send = send_one,
    .receive = receive_one,
    .release = release,
};

const struct peer peer_beam_many = {
    .name = "beam-many",
    .what = "Beam by send_many and receive_many",
    .passes_fds = true,
    .has_lanes = true,
    .one_way = true,
    .prepare = prepare,
    .open = open_side,
    .begin_beside = begin_beside,
    .end_beside = beside_end,
    .close = close_side,
    .send = send_many,
    .flush = flush_many,
    .receive = receive_many,
    .release = release,
};
