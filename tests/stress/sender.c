/* SPDX-License-Identifier: MIT */
/*
 * A sending thread: it sends the next messages of its topics in random order, with random functions
 * and deadlines.
 */
#include "stress.h"
#include <fcntl.h>

enum { FLAT_MAX = 64 * 1024 };

struct sender {
	struct side *side;
	unsigned index;
	struct rng rng;
	struct stream *streams;            /* [TOPICS] */
	unsigned topics[TOPICS], n_topics; /* those that can still be sent to */
	unsigned char flat[FLAT_MAX];      /* for a payload in one piece */
};

static beam_deadline random_deadline(struct sender *s)
{
	uint64_t draw = rng_below(&s->rng, 100);

	if (draw < 25)
		return BEAM_NOWAIT;
	if (draw < 75)
		return beam_in_ms((int64_t)rng_below(&s->rng, 10));
	return draw < 90 ? beam_in_ms(1000) : BEAM_FOREVER;
}

/* ---- Ways to send. They return the number of messages, or an error. ---- */

static ssize_t one(int result)
{
	return result < 0 ? result : 1;
}

/* Sends bytes without attachments, in one buffer. */
static ssize_t send_plain(struct sender *s, beam_topic *topic, const struct content *content, beam_deadline deadline)
{
	size_t size = content_size(content);

	if (content->head_size == 0)
		return one(beam_topic_send(topic, content->body, size, 0, deadline));
	content_copy(content, s->flat);
	return one(beam_topic_send(topic, s->flat, size, 0, deadline));
}

/* Sends several buffers, cut at random positions. */
static ssize_t send_pieces(struct sender *s, beam_topic *topic, const struct content *content, beam_deadline deadline)
{
	struct iovec iov[6];
	size_t n = 0, at = 0;

	if (content->head_size)
		iov[n++] = (struct iovec){(void *)(uintptr_t)&content->head, content->head_size};
	while (at < content->body_size || (n == 0 && rng_chance(&s->rng, 50))) {
		size_t left = content->body_size - at, piece = n == 5 ? left : rng_below(&s->rng, left + 1);
		iov[n++] = (struct iovec){(void *)(uintptr_t)(content->body + at), piece};
		at += piece;
	}
	return one(beam_topic_sendv(topic, iov, n, content->fds, content->n_fds, 0, deadline));
}

/* Sends a message object whose attachments are given or borrowed. */
static ssize_t send_message(struct sender *s, beam_topic *topic, const struct content *content, beam_deadline deadline)
{
	beam_message *message;
	int r = beam_message_new(&message, NULL, content_size(content));

	require_int(r, 0);
	content_copy(content, beam_message_writable(message));
	for (unsigned i = 0; i < content->n_fds; i++) {
		if (rng_chance(&s->rng, 50))
			require_int(beam_message_add_fd(message, content->fds[i]), 0);
		else
			require_int(beam_message_give_fd(message, fcntl(content->fds[i], F_DUPFD_CLOEXEC, 0)), 0);
	}
	r = beam_topic_send_message(topic, message, 0, deadline);
	if (r < 0) {
		side_check(s->side, beam_message_attachments(message) == content->n_fds,
			   "a message not sent lost attachments");
		beam_message_free(message);
	}
	return one(r);
}

/*
 * Sends at most `n` messages with one call. A message with a head is copied to a buffer, and the
 * first one that does not fit ends the batch. Returns 0 if the batch is empty.
 */
static ssize_t send_many(struct sender *s, unsigned topic, uint64_t number, size_t n, beam_deadline deadline)
{
	struct content contents[MANY];
	struct beam_send_item items[MANY];
	size_t used = 0, i;

	for (i = 0; i < n; i++) {
		content_of(&contents[i], &s->side->journal->plan, s->side->index, s->index, topic, number + i);
		size_t size = content_size(&contents[i]);
		items[i] = (struct beam_send_item){contents[i].body, size, contents[i].fds, contents[i].n_fds};
		if (contents[i].head_size) {
			if (used + size > sizeof s->flat)
				break;
			content_copy(&contents[i], s->flat + used);
			items[i].data = s->flat + used;
			used += size;
		}
	}
	return beam_topic_send_many(s->side->topics[topic], items, i, 0, deadline);
}

/* Sends at least one message and at most `n`, beginning with `number`. */
static ssize_t send_some(struct sender *s, unsigned topic, uint64_t number, size_t n, beam_deadline deadline)
{
	struct content content;
	beam_topic *handle = s->side->topics[topic];
	ssize_t r;

	content_of(&content, &s->side->journal->plan, s->side->index, s->index, topic, number);
	switch (rng_below(&s->rng, 4)) {
	case 0:
		if (content.n_fds == 0 && (content.head_size == 0 || content_size(&content) <= FLAT_MAX))
			return send_plain(s, handle, &content, deadline);
		return send_pieces(s, handle, &content, deadline);
	case 1: return send_pieces(s, handle, &content, deadline);
	case 2: return send_message(s, handle, &content, deadline);
	default:
		r = send_many(s, topic, number, n, deadline);
		return r != 0 ? r : send_pieces(s, handle, &content, deadline);
	}
}

/* ---- The thread ---- */

static void drop_topic(struct sender *s, unsigned at)
{
	s->topics[at] = s->topics[--s->n_topics];
}

static bool channel_closed(const struct side *side)
{
	return atomic_load(&side->mine->channel_closed) || atomic_load(&side->theirs->channel_closed);
}

static void sent(struct sender *s, unsigned topic, uint64_t number, size_t n)
{
	struct content content;

	for (uint64_t i = number; i < number + n; i++) {
		content_of(&content, &s->side->journal->plan, s->side->index, s->index, topic, i);
		atomic_fetch_add(&s->side->mine->sent_bytes, content_size(&content));
		atomic_fetch_add(&s->side->mine->sent_attachments, content.n_fds);
	}
	atomic_fetch_add(&s->side->mine->sent, n);
	side_turn(s->side, n);
}

/* Checks an error. Returns false if the thread must end. */
static bool not_sent(struct sender *s, unsigned at, ssize_t error, beam_deadline deadline)
{
	struct side *side = s->side;
	unsigned topic = s->topics[at];

	switch (error) {
	case -EAGAIN:
	case -ETIMEDOUT:
		atomic_fetch_add(&side->mine->timeouts, 1);
		return side_check(side,
				  error == (deadline.ns == BEAM_NOWAIT.ns ? -EAGAIN : -ETIMEDOUT) &&
				      deadline.ns != BEAM_FOREVER.ns,
				  "send: %s for another deadline", errno_name((int)-error));
	case -EPIPE:
		drop_topic(s, at);
		atomic_fetch_add(&side->mine->pipes, 1);
		return side_check(side,
				  atomic_load(&side->mine->topic_closed[topic]) ||
				      atomic_load(&side->theirs->topic_reset[topic]) || channel_closed(side),
				  "send: EPIPE on topic %u, which nobody closed", topic);
	case -ECONNRESET:
		side_check(side, atomic_load(&side->theirs->killed), "send: ECONNRESET of a peer that lives");
		return false;
	default: return side_failed(side, "send on topic %u: %zd (%s)", topic, error, strerror((int)-error));
	}
}

/* Makes one call. Returns false if the thread must end. */
static bool turn(struct sender *s)
{
	unsigned at = (unsigned)rng_below(&s->rng, s->n_topics), topic = s->topics[at];
	struct stream *stream = &s->streams[topic];
	uint64_t number = atomic_load(&stream->accepted);
	size_t n = 1 + rng_below(&s->rng, MANY);

	if (number + n >= STREAM_MAX) {
		drop_topic(s, at);
		return true;
	}
	atomic_store(&stream->started, number + n);
	beam_deadline deadline = random_deadline(s);
	ssize_t r = send_some(s, topic, number, n, deadline);
	if (r < 0)
		return not_sent(s, at, r, deadline);
	if (!side_check(s->side, r >= 1 && (size_t)r <= n, "send: %zd of %zu", r, n))
		return false;
	atomic_store(&stream->accepted, number + (size_t)r);
	sent(s, topic, number, (size_t)r);
	atomic_fetch_sub(&s->side->mine->left, r);
	return true;
}

/*
 * After a reset, sends fail at the latest when the topic's credit is used up. Nobody receives these
 * messages.
 */
static void probe_reset_topics(struct side *side)
{
	static const char bytes[4096];

	for (unsigned topic = 0; topic < TOPICS; topic++) {
		int r = 0;
		if (!atomic_load(&side->theirs->topic_reset_done[topic]) ||
		    atomic_load(&side->mine->topic_closed[topic]))
			continue;
		for (int i = 0; i < 512 && r == 0; i++)
			r = beam_topic_send(side->topics[topic], bytes, sizeof bytes, 0, beam_in_ms(stretch(10000)));
		side_check(side, r == -EPIPE || (r == -ECONNRESET && atomic_load(&side->theirs->killed)),
			   "send on topic %u, which was reset: %d, not EPIPE", topic, r);
	}
}

/* The last sender of a side closes the topics. */
static void finish(struct side *side)
{
	if (atomic_fetch_sub(&side->mine->senders_working, 1) > 1)
		return;
	probe_reset_topics(side);
	for (unsigned topic = 0; topic < TOPICS; topic++)
		side_close_topic(side, topic);
}

void *sender_run(void *argument)
{
	struct worker *worker = argument;
	struct side *side = worker->side;
	unsigned senders = side->journal->plan.senders[side->index];
	struct sender s = {.side = side, .index = worker->index, .streams = side->mine->streams[worker->index]};

	s.rng = rng_new(side->journal->plan.seed + 16 * side->index + worker->index);
	for (unsigned topic = 0; topic < TOPICS; topic++)
		if (!topic_is_solo(topic) || topic % senders == worker->index)
			s.topics[s.n_topics++] = topic;
	while (s.n_topics > 0 && atomic_load(&side->mine->left) > 0 && !atomic_load(&side->journal->broken) && turn(&s))
		;
	finish(side);
	return NULL;
}
