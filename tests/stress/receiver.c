/* SPDX-License-Identifier: MIT */
/*
 * A receiving thread: it receives messages from its topics in random order, with random functions,
 * until all topics have ended.
 */
#include "stress.h"
#include <poll.h>

struct receiver {
	struct side *side;
	struct rng rng;
	unsigned topics[TOPICS], n_topics; /* those that have not ended */
	uint64_t next[THREADS][TOPICS];    /* only messages with at least these numbers may still arrive */
	unsigned char *buffer;             /* PAYLOAD_MAX */
};

/*
 * Waits forever only on the last topic. A topic from which nobody receives may use up what all
 * topics share, the pool and the channel's attachments, so that messages for the other topics
 * cannot be sent.
 */
static beam_deadline random_deadline(struct receiver *r)
{
	if (r->n_topics == 1)
		return BEAM_FOREVER;
	return rng_chance(&r->rng, 40) ? BEAM_NOWAIT : beam_in_ms((int64_t)rng_below(&r->rng, 5));
}

/* Checks a message, and that it arrives once and in order. */
static void take(struct receiver *r, unsigned topic, const struct arrival *arrival)
{
	struct side *side = r->side;
	unsigned sender;
	uint64_t number;

	if (!content_check(side, topic, arrival, &sender, &number))
		return;
	struct stream *stream = &side->theirs->streams[sender][topic];
	uint64_t bit = UINT64_C(1) << number % 64, before = atomic_fetch_or(&stream->seen[number / 64], bit);
	side_check(side, !(before & bit), "topic %u, sender %u: message %llu came twice", topic, sender,
		   (unsigned long long)number);
	side_check(side, number >= r->next[sender][topic], "topic %u, sender %u: message %llu after %llu", topic,
		   sender, (unsigned long long)number, (unsigned long long)r->next[sender][topic]);
	side_check(side, number < atomic_load(&stream->started), "topic %u, sender %u: message %llu was never sent",
		   topic, sender, (unsigned long long)number);
	r->next[sender][topic] = number + 1;
	atomic_fetch_add(&stream->received, 1);
	atomic_fetch_add(&side->mine->received_bytes, arrival->size);
	atomic_fetch_add(&side->mine->received_attachments, arrival->n_fds);
	atomic_fetch_add(&side->mine->received, 1);
}

/* Takes the attachments, or leaves them to be freed with the message. */
static void take_message(struct receiver *r, unsigned topic, beam_message *message)
{
	struct arrival arrival = {beam_message_data(message), beam_message_size(message),
				  beam_message_attachments(message), NULL};
	int fds[ATTACHMENTS_MAX];
	bool own = rng_chance(&r->rng, 50);

	for (size_t i = 0; i < arrival.n_fds && i < ATTACHMENTS_MAX; i++)
		fds[i] = own ? beam_message_take_fd(message, i) : beam_message_peek_fd(message, i);
	arrival.fds = fds;
	take(r, topic, &arrival);
	for (size_t i = 0; own && i < arrival.n_fds && i < ATTACHMENTS_MAX; i++)
		close(fds[i]);
	beam_message_free(message);
}

/* ---- Ways to receive. They return the number of messages, 0 at the end, or an error. ---- */

static ssize_t receive_one(struct receiver *r, unsigned topic, beam_deadline deadline)
{
	beam_message *message;
	int result = beam_topic_receive(r->side->topics[topic], &message, 0, deadline);

	if (result > 0)
		take_message(r, topic, message);
	return result;
}

static ssize_t receive_many(struct receiver *r, unsigned topic, beam_deadline deadline)
{
	beam_message *messages[MANY];
	ssize_t n =
	    beam_topic_receive_many(r->side->topics[topic], messages, 1 + rng_below(&r->rng, MANY), 0, deadline);

	for (ssize_t i = 0; i < n; i++)
		take_message(r, topic, messages[i]);
	return n;
}

/* Sometimes tries with too small a buffer first. Then the message must stay in the queue. */
static ssize_t receive_into(struct receiver *r, unsigned topic, beam_deadline deadline)
{
	size_t capacity = rng_chance(&r->rng, 30) ? rng_below(&r->rng, 256) : PAYLOAD_MAX, size = 0, n_fds = 0;
	int fds[ATTACHMENTS_MAX];
	int result = beam_topic_receive_into(r->side->topics[topic], r->buffer, capacity, &size, fds, ATTACHMENTS_MAX,
					     &n_fds, 0, deadline);

	if (result == -EMSGSIZE) {
		side_check(r->side, size > capacity && size <= PAYLOAD_MAX && n_fds <= ATTACHMENTS_MAX,
			   "receive_into: EMSGSIZE for %zu bytes in %zu, %zu attachments", size, capacity, n_fds);
		result = beam_topic_receive_into(r->side->topics[topic], r->buffer, PAYLOAD_MAX, &size, fds,
						 ATTACHMENTS_MAX, &n_fds, 0, deadline);
	}
	if (result <= 0)
		return result;
	take(r, topic, &(struct arrival){r->buffer, size, n_fds, fds});
	for (size_t i = 0; i < n_fds; i++)
		close(fds[i]);
	return 1;
}

/* ---- The thread ---- */

/* True if the topic or the channel has been closed. */
static bool may_end(const struct side *side, unsigned topic)
{
	return atomic_load(&side->theirs->topic_closed[topic]) || atomic_load(&side->mine->topic_reset[topic]) ||
	       atomic_load(&side->mine->channel_closed) || atomic_load(&side->theirs->channel_closed);
}

static bool not_received(struct receiver *r, unsigned at, ssize_t result, beam_deadline deadline)
{
	struct side *side = r->side;

	switch (result) {
	case 0:
		side_check(side, may_end(side, r->topics[at]), "receive: topic %u ended, but nobody closed it",
			   r->topics[at]);
		r->topics[at] = r->topics[--r->n_topics];
		return true;
	case -EAGAIN:
	case -ETIMEDOUT:
		return side_check(side,
				  result == (deadline.ns == BEAM_NOWAIT.ns ? -EAGAIN : -ETIMEDOUT) &&
				      deadline.ns != BEAM_FOREVER.ns,
				  "receive: %s for another deadline", errno_name((int)-result));
	case -ECONNRESET:
		side_check(side, atomic_load(&side->theirs->killed), "receive: ECONNRESET of a peer that lives");
		r->topics[at] = r->topics[--r->n_topics];
		return true;
	default:
		return side_failed(side, "receive on topic %u: %zd (%s)", r->topics[at], result,
				   strerror((int)-result));
	}
}

static bool turn(struct receiver *r)
{
	static ssize_t (*const ways[])(struct receiver *, unsigned, beam_deadline) = {receive_one, receive_many,
										      receive_into};
	unsigned at = (unsigned)rng_below(&r->rng, r->n_topics);
	beam_deadline deadline = random_deadline(r);
	ssize_t n;

	if (r->side->journal->plan.by_fds[r->side->index] && rng_chance(&r->rng, 50)) {
		struct pollfd item = {.fd = beam_topic_receive_fd(r->side->topics[r->topics[at]]), .events = POLLIN};

		require(item.fd >= 0);
		poll(&item, 1, deadline.ns == BEAM_FOREVER.ns ? -1 : deadline.ns == BEAM_NOWAIT.ns ? 0 : 5);
	}
	n = ways[rng_below(&r->rng, 3)](r, r->topics[at], deadline);

	if (n <= 0)
		return not_received(r, at, n, deadline);
	side_turn(r->side, (uint64_t)n);
	return true;
}

void *receiver_run(void *argument)
{
	struct worker *worker = argument;
	struct side *side = worker->side;
	unsigned receivers = side->journal->plan.receivers[side->index];
	struct receiver r = {.side = side, .buffer = malloc(PAYLOAD_MAX)};

	require(r.buffer != NULL);
	r.rng = rng_new(side->journal->plan.seed + 16 * side->index + 8 + worker->index);
	for (unsigned topic = 0; topic < TOPICS; topic++)
		if (!topic_is_solo(topic) || topic % receivers == worker->index)
			r.topics[r.n_topics++] = topic;
	while (r.n_topics > 0 && !atomic_load(&side->journal->broken) && turn(&r))
		;
	free(r.buffer);
	return NULL;
}
