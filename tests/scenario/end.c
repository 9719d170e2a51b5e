/* SPDX-License-Identifier: MIT */
/* Topics, channels and peers end in every way, while all calls that can fail do so in turn. */
#include <scenario/ledger.h>
#include <scenario/scenarios.h>
#include <stdatomic.h>
#include <sys/socket.h>

/* ---- Topics ---------------------------------------------------------------------------------- */

/*
 * The sender closes the topic, opens it again, and closes it again. Each time, the messages that
 * were accepted arrive before the end.
 */
void topics_closed_and_opened_again(void)
{
	struct ends *ends = ends_make(NULL);
	int r;

	if (!ends)
		return;
	for (int round = 0; round < 3; round++) {
		struct flow *flow = &ends->flow[0];

		flow->over = false;
		flow_send(flow, ends->topic[0], SEND, 100, 0);
		flow_send(flow, ends->topic[0], SEND, 200, 0);
		check_int(beam_topic_close_send(ends->topic[0]), 0);
		check_int(beam_topic_send(ends->topic[0], "late", 4, 0, soon()) < 0, 1);
		r = flow_drain(flow, ends->topic[1]);
		if (strict)
			check_int(r, 0);
		flow_check(flow);
		/*
		 * Messages that have not arrived yet would arrive at the next topic of this name.
		 */
		if (r)
			break;
		flow->n_accepted = flow->n_received = 0;
		ends->topic[0] = beam_topic_unref(ends->topic[0]);
		ends->topic[1] = beam_topic_unref(ends->topic[1]);
		for (int i = 0; i < 2; i++) {
			r = beam_topic_open(&ends->topic[i], ends->channel[i], "topic");
			if (!result_of(r, 0, -EPIPE, -ECONNRESET, -ENOMEM)) {
				ends_release(ends, 0);
				return;
			}
		}
	}
	ends_release(ends, 1);
}

/* The receiver closes the topic. Queued messages are dropped, and the sender gets an error. */
void a_topic_that_is_reset(void)
{
	struct ends *ends = ends_make(NULL);
	beam_message *message = NULL;
	int r = 0, rounds = 0;

	if (!ends)
		return;
	flow_send(&ends->flow[0], ends->topic[0], SEND, 100, 0);
	flow_receive(&ends->flow[0], ends->topic[1]);
	flow_send(&ends->flow[0], ends->topic[0], SEND, 100, 0);
	check_int(beam_topic_close_receive(ends->topic[1]), 0);
	check_int(beam_topic_receive(ends->topic[1], &message, 0, BEAM_FOREVER), 0);
	/* Ends at the latest when the window is full, before RESET has arrived. */
	do
		r = beam_topic_send(ends->topic[0], ends, 4000, 0, soon());
	while (r == 0 && rounds++ < 2000);
	ledger_result(r, -EPIPE, "a send after the reset",
		      (const int[]){-EAGAIN, -ETIMEDOUT, -ECONNRESET, -ENOMEM, LEDGER_LAST});
	check_int(beam_topic_close_receive(ends->topic[1]), 0);
	ends_close(ends->channel[1]);
	ends_close(ends->channel[0]);
	ends_release(ends, 3);
}

/* Sends until the topic is refused. The ledger does not know these messages. */
static void send_until_refused(beam_topic *topic)
{
	static const char payload[4000];
	int r;

	do
		r = beam_topic_send(topic, payload, sizeof payload, 0, soon());
	while (r == 0);
	ledger_result(r, -ECONNREFUSED, "a send that is refused",
		      (const int[]){-EAGAIN, -ETIMEDOUT, -ECONNRESET, -ENOMEM, LEDGER_LAST});
}

void a_topic_that_is_accepted_and_refused(void)
{
	struct ends *ends = ends_make(NULL);
	beam_topic *topics[2] = {NULL, NULL};

	if (!ends)
		return;
	for (int i = 0; i < 2; i++)
		result_of(beam_topic_open(&topics[i], ends->channel[i], "unwelcome"), 0, -EPIPE, -ECONNRESET, -ENOMEM);
	if (topics[0] && topics[1]) {
		check_int(beam_topic_refuse(topics[1]), 0);
		send_until_refused(topics[0]);
	}
	for (int i = 0; i < 2; i++)
		beam_topic_unref(topics[i]);
	ends_finish(ends);
}

void a_topic_that_is_refused(void)
{
	struct beam_channel_options options = ends_options();
	struct ends *ends;
	beam_topic *topic = NULL;
	int r;

	options.unknown_topics = BEAM_TOPICS_REFUSE;
	ends = ends_make(&options);
	if (!ends)
		return;
	r = beam_topic_open(&topic, ends->channel[0], "unknown");
	if (result_of(r, 0, -EPIPE, -ECONNRESET, -ENOMEM))
		send_until_refused(topic);
	beam_topic_unref(topic);
	ends_finish(ends);
}

/* ---- Channels -------------------------------------------------------------------------------- */

/*
 * One side closes the channel while messages are under way. The other side receives them, and then
 * the end.
 */
static void close_with_messages(int side)
{
	struct ends *ends = ends_make(NULL);
	struct flow *flow;
	int closed, r;

	if (!ends)
		return;
	flow = &ends->flow[side];
	for (int i = 0; i < 5; i++)
		flow_send(flow, ends->topic[side], SEND, 100, 0);
	flow_send(flow, ends->topic[side], SENDV, 100 << 10, 0);
	closed = ends_close(ends->channel[side]);
	r = beam_topic_send(ends->topic[side], "late", 4, 0, soon());
	result_of(r, -EPIPE, -ECONNRESET, -ENOMEM);
	r = flow_drain(flow, ends->topic[!side]);
	if (strict)
		check_int(r, 0);
	ends_close(ends->channel[!side]);
	/* Close it again, after the other side has closed it too. */
	for (int i = 0; i < 2; i++)
		r = ends_close(ends->channel[side]);
	if (!closed)
		check_int(r, 0);
	ends_release(ends, 2 * side);
}

void a_channel_closed_here(void)
{
	close_with_messages(0);
}

void a_channel_closed_there(void)
{
	close_with_messages(1);
}

/*
 * Nothing is closed explicitly. The last handle is released, and the library does the rest in the
 * background.
 */
void a_channel_that_is_left(void)
{
	struct ends *ends = ends_make(NULL);
	int r;

	if (!ends)
		return;
	flow_send(&ends->flow[0], ends->topic[0], SEND, 1000, 0);
	flow_send(&ends->flow[0], ends->topic[0], SEND, 1000, 0);
	ends->topic[0] = beam_topic_unref(ends->topic[0]);
	ends->channel[0] = beam_channel_unref(ends->channel[0]);
	r = flow_drain(&ends->flow[0], ends->topic[1]);
	if (strict)
		check_int(r, 0);
	ends_release(ends, 0);
}

/* ---- Peers ----------------------------------------------------------------------------------- */

/* A channel, and the plain socket at its other end. */
struct lone {
	int socket;
	beam_channel *channel;
	beam_topic *topic;
};

static bool lone_make(struct lone *lone)
{
	int fds[2], r;

	*lone = (struct lone){.socket = -1};
	ends_sockets(fds);
	lone->channel = ends_channel(fds[0], NULL);
	lone->socket = fds[1];
	if (!lone->channel)
		return false;
	r = beam_topic_open(&lone->topic, lone->channel, "topic");
	return result_of(r, 0, -EPIPE, -ECONNRESET, -ENOMEM);
}

static void lone_end(struct lone *lone)
{
	beam_topic_unref(lone->topic);
	beam_channel_unref(lone->channel);
	if (lone->socket >= 0)
		close(lone->socket);
}

/* Makes a channel. Only what happens after that must be strict. */
static bool lone_make_loosely(struct lone *lone)
{
	bool was_strict = strict, made;

	strict = false;
	made = lone_make(lone);
	strict = was_strict;
	return made;
}

void a_peer_that_dies(void)
{
	struct lone lone;
	beam_message *message = NULL;
	beam_topic *topic = NULL;
	int r;

	if (lone_make_loosely(&lone)) {
		r = beam_topic_send(lone.topic, "unread", 6, 0, soon());
		result_of(r, 0, -EAGAIN, -ETIMEDOUT, -ECONNRESET, -ENOMEM);
		close(lone.socket);
		lone.socket = -1;
		r = beam_topic_receive(lone.topic, &message, 0, soon());
		result_of(r, -ECONNRESET, -EAGAIN, -ETIMEDOUT, -ENOMEM);
		r = beam_channel_accept(lone.channel, &topic, soon());
		result_of(r, -ECONNRESET, -EAGAIN, -ETIMEDOUT, -ENOMEM);
		r = beam_topic_send(lone.topic, "late", 4, 0, soon());
		result_of(r, -ECONNRESET, -EAGAIN, -ETIMEDOUT, -ENOMEM);
		r = beam_channel_close(lone.channel, soon());
		result_of(r, -ECONNRESET, -EAGAIN, -ETIMEDOUT, -ENOMEM);
		check_string(beam_channel_breach(lone.channel), NULL);
	}
	lone_end(&lone);
}

void a_peer_that_breaks_the_protocol(void)
{
	struct lone lone;
	beam_message *message = NULL;
	int r;

	if (lone_make_loosely(&lone)) {
		check_int(send(lone.socket, "this is no HELLO", 16, MSG_NOSIGNAL), 16);
		r = beam_topic_receive(lone.topic, &message, 0, soon());
		result_of(r, -EPROTO, -EAGAIN, -ETIMEDOUT, -ECONNRESET, -ENOMEM);
		check(r != -EPROTO || beam_channel_breach(lone.channel));
		r = beam_channel_close(lone.channel, soon());
		result_of(r, -EPROTO, 0, -EAGAIN, -ETIMEDOUT, -ECONNRESET, -ENOMEM);
	}
	lone_end(&lone);
}

/* ---- Waiting threads ------------------------------------------------------------------------- */

struct waiter {
	struct ends *ends;
	atomic_bool waits;
	int result;
};

static void *wait_to_receive(void *argument)
{
	struct waiter *waiter = argument;

	atomic_store(&waiter->waits, true);
	waiter->result = flow_receive_until(&waiter->ends->flow[1], waiter->ends->topic[0], BEAM_FOREVER);
	return NULL;
}

/* Sends until the window is full, and then waits. */
static void *wait_to_send(void *argument)
{
	struct waiter *waiter = argument;

	atomic_store(&waiter->waits, true);
	do
		waiter->result =
		    flow_send_until(&waiter->ends->flow[0], waiter->ends->topic[0], SEND, 20 << 10, 0, BEAM_FOREVER);
	while (!waiter->result);
	return NULL;
}

static void *wait_to_accept(void *argument)
{
	struct waiter *waiter = argument;
	beam_topic *topic = NULL;

	atomic_store(&waiter->waits, true);
	waiter->result = beam_channel_accept(waiter->ends->channel[0], &topic, BEAM_FOREVER);
	beam_topic_unref(topic);
	return NULL;
}

/*
 * What wakes the waiting threads: a close on this side or on the other, an abort, or the end of the
 * topic. None of these may fail.
 */
enum waking { CLOSE_HERE, CLOSE_THERE, ABORT_HERE, TOPIC_HERE };

static void wake(struct ends *ends, enum waking waking)
{
	switch (waking) {
	case CLOSE_HERE: beam_channel_close(ends->channel[0], BEAM_NOWAIT); break;
	case CLOSE_THERE: ends->channel[1] = beam_channel_unref(ends->channel[1]); break;
	case ABORT_HERE: check_int(beam_channel_abort(ends->channel[0]), 0); break;
	case TOPIC_HERE: beam_topic_close(ends->topic[0]); break;
	}
}

static void wait_and_wake(void *(*const runs[])(void *), size_t n, enum waking waking)
{
	struct beam_channel_options options = ends_options();
	struct waiter waiters[2];
	bool was_strict = strict;
	pthread_t threads[2];
	struct ends *ends;

	options.socket_buffer_bytes = 4 << 10;
	options.topic_window_bytes = 64 << 10;
	ends = ends_make(&options);
	if (!ends)
		return;
	/* All waits end with an error, which the strict ledger would not accept. */
	strict = false;
	for (size_t i = 0; i < n; i++) {
		waiters[i].ends = ends;
		atomic_init(&waiters[i].waits, false);
		threads[i] = thread_spawn(runs[i], &waiters[i]);
	}
	for (size_t i = 0; i < n; i++)
		check_within(20000, atomic_load(&waiters[i].waits));
	wake(ends, waking);
	for (size_t i = 0; i < n; i++)
		thread_wait(threads[i]);
	strict = was_strict;
	ends->flow[0].over = ends->flow[1].over = false;
	ends_release(ends, 1);
}

/* Waits for messages and for credit. */
static void wait_for_both(enum waking waking)
{
	wait_and_wake((void *(*const[])(void *)){wait_to_receive, wait_to_send}, 2, waking);
}

void waiting_until_it_is_closed_here(void)
{
	wait_for_both(CLOSE_HERE);
}

void waiting_until_it_is_closed_there(void)
{
	wait_for_both(CLOSE_THERE);
}

void waiting_until_it_is_aborted(void)
{
	wait_for_both(ABORT_HERE);
}

void waiting_until_the_topic_ends(void)
{
	wait_for_both(TOPIC_HERE);
}

static void wait_for_topics(enum waking waking)
{
	wait_and_wake((void *(*const[])(void *)){wait_to_accept}, 1, waking);
}

void waiting_for_topics_until_it_is_closed_here(void)
{
	wait_for_topics(CLOSE_HERE);
}

void waiting_for_topics_until_it_is_closed_there(void)
{
	wait_for_topics(CLOSE_THERE);
}
