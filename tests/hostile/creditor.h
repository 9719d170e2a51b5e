/* SPDX-License-Identifier: MIT */
/*
 * A raw peer that keeps track of its credit for attachments, for its only topic "log" and for the
 * channel. So it can use all of its credit, and ask for more.
 */
#ifndef HOSTILE_CREDITOR_H
#define HOSTILE_CREDITOR_H

#include <hostile/raw_peer.h>

enum {
	KIND_WANT = 15,
	KIND_RETURN = 16,
	KIND_PING = 17,
	FLAG_OVERDRAFT = 1,
	SAYS_LENDS = 2,
	SAYS_ANSWERS = 4,
};

struct creditor {
	struct raw_peer peer;
	struct raw_out out;
	/* The other side has sent HELLO, or has closed the socket. */
	bool hello, ended;
	/* From the other side's HELLO. */
	uint32_t features, message_attachments, begin_attachments;
	/*
	 * Unused credit of the topic and of the channel. `granted` is the total that the channel
	 * was granted, modulo 2^32.
	 */
	int64_t topic_bytes, topic, channel;
	uint32_t granted;
	/* The number of PINGs that arrived. They are not answered if `silent`. */
	unsigned pings;
	bool silent;
};

static inline bool creditor_flush(struct creditor *creditor, const int *fds, size_t n_fds)
{
	if (!raw_peer_send_fds(&creditor->peer, &creditor->out, fds, n_fds))
		creditor->ended = true;
	return !creditor->ended;
}

/* Sends HELLO with these features, and opens "log". */
static inline void creditor_begin(struct creditor *creditor, int socket, uint32_t features)
{
	size_t at;

	raw_peer_init(&creditor->peer, socket);
	creditor->out.size = 0;
	creditor->hello = creditor->ended = creditor->silent = false;
	creditor->features = creditor->message_attachments = creditor->begin_attachments = creditor->granted = 0;
	creditor->topic_bytes = creditor->topic = creditor->channel = 0;
	creditor->pings = 0;
	at = raw_hello(&creditor->out);
	raw_u32_at(&creditor->out, at + RAW_HEADER + 8, features);
	raw_open(&creditor->out, 1, "log");
	creditor_flush(creditor, NULL, 0);
}

static inline void creditor_count_hello(struct creditor *creditor, const unsigned char *payload)
{
	creditor->hello = true;
	creditor->features = raw_u32(payload + 8);
	creditor->message_attachments = raw_u32(payload + 12 + 4 * RAW_MESSAGE_ATTACHMENTS);
	creditor->topic_bytes += raw_u32(payload + 12 + 4 * RAW_TOPIC_BYTES);
	creditor->topic += raw_u32(payload + 12 + 4 * RAW_TOPIC_ATTACHMENTS);
	creditor->begin_attachments = raw_u32(payload + 12 + 4 * RAW_ATTACHMENTS);
	creditor->channel += creditor->begin_attachments;
	creditor->granted += creditor->begin_attachments;
}

static inline void creditor_count(struct creditor *creditor, const struct raw_frame *frame)
{
	if (frame->kind == RAW_HELLO) {
		creditor_count_hello(creditor, frame->payload);
	} else if (frame->kind == RAW_CREDIT && !(frame->flags & FLAG_OVERDRAFT) && !frame->argument) {
		uint32_t bytes = raw_u32(frame->payload), attachments = raw_u32(frame->payload + 4);

		if (frame->id == 1) {
			creditor->topic_bytes += bytes;
			creditor->topic += attachments;
		} else if (frame->id == 0) {
			creditor->channel += attachments;
			creditor->granted += attachments;
		}
	} else if (frame->kind == KIND_PING && frame->argument == 0) {
		creditor->pings++;
		if (!creditor->silent)
			raw_frame(&creditor->out, KIND_PING, 0, 0, 0, 1, NULL, 0);
	}
}

/*
 * Waits for the first frame as long as given, and then counts all frames that are there. Returns
 * false when the other side has closed the socket.
 */
static inline bool creditor_read(struct creditor *creditor, int milliseconds)
{
	struct raw_frame frame;
	int r = 1;

	while (!creditor->ended && (r = raw_peer_next_within(&creditor->peer, &frame, milliseconds)) == 1) {
		creditor_count(creditor, &frame);
		milliseconds = 0;
	}
	if (r == 0)
		creditor->ended = true;
	else if (creditor->out.size)
		creditor_flush(creditor, NULL, 0);
	return !creditor->ended;
}

/* How many attachments the next message may have. */
static inline size_t creditor_room(const struct creditor *creditor)
{
	int64_t room = creditor->channel < creditor->topic ? creditor->channel : creditor->topic;

	if (room > creditor->message_attachments)
		room = creditor->message_attachments;
	if (room > RAW_FDS_MAX)
		room = RAW_FDS_MAX;
	return room > 0 && creditor->topic_bytes > RAW_MESSAGE_COST ? (size_t)room : 0;
}

/* Sends a message with `n` attachments, for which there must be credit. */
static inline bool creditor_send(struct creditor *creditor, const int *fds, size_t n)
{
	raw_text_with_fds(&creditor->out, 1, "x", (unsigned)n);
	creditor->topic_bytes -= RAW_MESSAGE_COST + 1;
	creditor->topic -= (int64_t)n;
	creditor->channel -= (int64_t)n;
	return creditor_flush(creditor, fds, n);
}

/* Asks for `more` attachments beyond those that have been granted. */
static inline bool creditor_want(struct creditor *creditor, uint32_t more)
{
	raw_frame(&creditor->out, KIND_WANT, 0, 0, 0, creditor->granted + more, NULL, 0);
	return creditor_flush(creditor, NULL, 0);
}

static inline bool creditor_return(struct creditor *creditor, uint32_t n)
{
	raw_frame(&creditor->out, KIND_RETURN, 0, 0, 0, n, NULL, 0);
	creditor->channel -= n;
	creditor->granted -= n;
	return creditor_flush(creditor, NULL, 0);
}

#endif
