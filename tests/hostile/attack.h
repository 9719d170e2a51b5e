/* SPDX-License-Identifier: MIT */
/*
 * The set-up of every attack: a channel of the library whose peer writes raw bytes, and beside it a
 * channel with two honest ends, which must work whatever happens.
 */
#ifndef HOSTILE_ATTACK_H
#define HOSTILE_ATTACK_H

#include <beam/beam.h>
#include <hostile/raw_peer.h>
#include <public/ends.h>
#include <sys/resource.h>

/* More than any test sends. */
enum { RAW_PLENTY = 1 << 29 };

struct attack {
	beam_channel *channel;
	/* "log", opened by both sides. On the wire it is topic 1 in both directions. */
	beam_topic *topic;
	struct raw_peer peer;
	struct raw_out out;
	struct ends honest;
};

/* ---- The honest channel ---------------------------------------------------------------------- */

/* A message with an attachment still gets through. */
static inline void honest_goes_on(struct attack *attack)
{
	struct iovec iov = {.iov_base = (char[]){"word"}, .iov_len = 4};
	beam_message *message = NULL;
	int file = raw_file();

	check_int(beam_topic_sendv(attack->honest.topic[0], &iov, 1, &file, 1, 0, soon()), 0);
	if (check_int(beam_topic_receive(attack->honest.topic[1], &message, 0, soon()), 1)) {
		check_int(beam_message_size(message), 4);
		check_int(raw_inode(beam_message_peek_fd(message, 0)), raw_inode(file));
	}
	beam_message_free(message);
	close(file);
}

/* ---- The attacked channel -------------------------------------------------------------------- */

/*
 * Sets aside 512 attachments by default. The raw peers do not ask for more credit, and where the
 * descriptor table is small, the channel might be lent only a few.
 */
static inline struct beam_channel_options attack_options(const struct beam_channel_options *options)
{
	struct beam_channel_options taken = BEAM_CHANNEL_OPTIONS;

	if (options)
		taken = *options;
	if (!taken.attachments)
		taken.attachments = 512;
	return taken;
}

/*
 * True if there are enough free descriptors for an attack. A released channel closes its
 * descriptors only when its thread runs. On a shared core, a loop of attacks has filled a table of
 * 256 before that happened.
 */
static inline bool attack_has_room(void)
{
	struct rlimit limit;

	require_int(getrlimit(RLIMIT_NOFILE, &limit), 0);
	return open_fds() + 32 <= limit.rlim_cur;
}

/* A channel on which "log" has been opened here, and whose peer has sent nothing yet. */
static inline void attack_begin_unsaid(struct attack *attack, const struct beam_channel_options *options)
{
	const struct beam_channel_options taken = attack_options(options), honest = attack_options(NULL);
	int ends[2];

	attack->out.size = 0;
	check_within(20000, attack_has_room());
	ends_open(&attack->honest, &honest);
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	raw_peer_init(&attack->peer, ends[1]);
	require_int(beam_channel_from_fd(&attack->channel, ends[0], &taken), 0);
	require_int(beam_topic_open(&attack->topic, attack->channel, "log"), 0);
}

/* The peer reads HELLO and the OPEN of "log", which is topic 1. */
static inline void attack_read_beginning(struct attack *attack)
{
	struct raw_frame frame = {0};

	require_int(raw_peer_next(&attack->peer, &frame), 1);
	require_int(frame.kind, RAW_HELLO);
	frame = raw_peer_expect(&attack->peer, RAW_OPEN);
	require_int(frame.id, 1);
	check_bytes(frame.payload, "log", frame.size);
}

/* The same, but the peer has also sent HELLO and opened "log" as its topic 1. */
static inline void attack_begin(struct attack *attack, const struct beam_channel_options *options)
{
	attack_begin_unsaid(attack, options);
	attack_read_beginning(attack);
	raw_hello(&attack->out);
	raw_open(&attack->out, 1, "log");
	raw_peer_send(&attack->peer, &attack->out);
}

/*
 * A peer that grants more credit than any test uses, so that senders are limited only by the socket
 * and the buffer.
 */
static inline void attack_begin_generous(struct attack *attack, const struct beam_channel_options *options)
{
	size_t at;

	attack_begin_unsaid(attack, options);
	attack_read_beginning(attack);
	at = raw_hello(&attack->out);
	for (enum raw_limit limit = RAW_MESSAGE_BYTES; limit < RAW_LIMITS; limit++)
		raw_u32_at(&attack->out, at + RAW_HEADER + 12 + 4 * (size_t)limit,
			   limit == RAW_MESSAGE_ATTACHMENTS ? 253 : RAW_PLENTY);
	raw_open(&attack->out, 1, "log");
	raw_peer_send(&attack->peer, &attack->out);
	check_int(beam_channel_limits(attack->channel, &(struct beam_limits){0}, sizeof(struct beam_limits), soon()),
		  0);
}

/* Small buffers, so that senders soon block if the peer does not read. */
static inline struct beam_channel_options small_buffers(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.buffer_bytes = 64 << 10;
	options.socket_buffer_bytes = 64 << 10;
	options.linger_ms = 100;
	return options;
}

static inline void attack_end(struct attack *attack)
{
	honest_goes_on(attack);
	ends_close(&attack->honest);
	beam_topic_unref(attack->topic);
	beam_channel_unref(attack->channel);
	raw_peer_close(&attack->peer);
}

static inline bool attack_send(struct attack *attack)
{
	return raw_peer_send(&attack->peer, &attack->out);
}

/* Sends, and returns when the other side has read everything. */
static inline void attack_send_and_wait(struct attack *attack)
{
	attack_send(attack);
	check_within(20000, raw_peer_drained(&attack->peer));
}

/* True if the text begins with one of the names in "this|that", followed by a colon. */
static inline bool names_rule(const char *text, const char *rules)
{
	while (text && *rules) {
		size_t size = strcspn(rules, "|");

		if (strncmp(text, rules, size) == 0 && text[size] == ':')
			return true;
		rules += size + (rules[size] == '|');
	}
	return false;
}

/* What had ended normally before the breach. It continues to report the normal end. */
enum ended { ENDED_NOTHING, ENDED_TOPIC, ENDED_CHANNEL };

/*
 * The messages that arrived whole are received, then all functions report the breach, and the peer
 * sees the end of the stream without GOODBYE. Returns the number of messages.
 */
static inline size_t expect_breach_after(struct attack *attack, const char *rules, enum ended ended)
{
	beam_message *message = NULL;
	beam_topic *topic = NULL;
	const char *breach;
	size_t n = 0;
	int r;

	while ((r = beam_topic_receive(attack->topic, &message, 0, soon())) == 1) {
		beam_message_free(message);
		n++;
	}
	check_int(r, ended ? 0 : -EPROTO);
	check_within(20000, beam_channel_breach(attack->channel) != NULL);
	breach = beam_channel_breach(attack->channel);
	if (!names_rule(breach, rules))
		fail("the breach is \"%s\", not \"%s\"", breach ? breach : "(none)", rules);
	check_int(beam_topic_receive(attack->topic, &message, 0, BEAM_NOWAIT), ended ? 0 : -EPROTO);
	/*
	 * A topic or channel that ended before does not report the breach. Wait until the other
	 * functions do.
	 */
	if (ended)
		check_within(20000, beam_channel_flush(attack->channel, soon()) == -EPROTO);
	check_int(beam_topic_send(attack->topic, "x", 1, 0, soon()), ended == ENDED_CHANNEL ? -EPIPE : -EPROTO);
	while ((r = beam_channel_accept(attack->channel, &topic, soon())) == 1)
		beam_topic_unref(topic);
	check_int(r, ended == ENDED_CHANNEL ? 0 : -EPROTO);
	check_int(beam_channel_flush(attack->channel, soon()), -EPROTO);
	raw_peer_expect_end(&attack->peer);
	check(!attack->peer.goodbye);
	honest_goes_on(attack);
	return n;
}

static inline size_t expect_breach(struct attack *attack, const char *rules)
{
	return expect_breach_after(attack, rules, ENDED_NOTHING);
}

/*
 * The same for a breach that occurs only if no message is received: waits for the breach before
 * receiving.
 */
static inline size_t expect_breach_untaken(struct attack *attack, const char *rules)
{
	check_within(20000, beam_channel_breach(attack->channel) != NULL);
	return expect_breach(attack, rules);
}

/* The channel still works in both directions. */
static inline void expect_going_on(struct attack *attack)
{
	struct raw_frame frame;

	raw_text(&attack->out, 1, "still here");
	attack_send(attack);
	expect_text(attack->topic, "still here");
	check_int(beam_topic_send(attack->topic, "so am I", 7, 0, soon()), 0);
	frame = raw_peer_expect(&attack->peer, RAW_DATA);
	check_int(frame.size, 7);
	check_bytes(frame.payload, "so am I", 7);
	check(beam_channel_breach(attack->channel) == NULL);
}

#endif
