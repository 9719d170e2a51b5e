/* SPDX-License-Identifier: MIT */
/*
 * Messages on their way into frames. What the caller gave is borrowed until the message
 * has gone, or was given up.
 */
#ifndef SESSION_FRAGMENT_H
#define SESSION_FRAGMENT_H

#include <session/tx.h>

enum {
	/* What a message says of itself: it is the last reply to its call; it is a failure. */
	TX_LAST = FRAME_END,
	TX_FAILED = FRAME_ERROR,
	/* The most attachments of one message. */
	TX_ATTACHMENTS_MAX = FRAME_CARRIED_MAX,
	/* A payload up to this size makes a frame that may go into the buffer whoever sends it. */
	TX_SMALL = TX_LARGE - FRAME_HEADER - 16,
};

struct tx_message {
	struct outlet *outlet;
	/* The payload, and how far it has been put into frames. */
	const struct iovec *iov;
	size_t n_iov, at_iov, at_byte, size, left;
	const int *fds;
	unsigned n_fds;
	/* What it was charged to the pool. */
	uint32_t overdraft;
	/* TX_LAST, TX_FAILED. */
	uint8_t flags;
	/* The call that the message is, until it has been undone. */
	struct inlet *call;
	struct tx_own own;
};

/* Makes the next frame of the message, and of a large one several if that is wanted. */
void tx_message_frame(struct tx_message *message, bool several);

/* Whole messages of one topic that go in one write, from their senders' descriptors. */
struct tx_run {
	unsigned char *bytes; /* TX_RUN of them */
	size_t size;
	int fds[TX_FDS];
	unsigned n_fds, n;
};

/* A message of so many bytes and descriptors fits too. */
bool tx_run_fits(const struct tx_run *run, size_t size, size_t n_fds);
/* Adds one that fits. */
void tx_run_add(struct tx_run *run, struct tx_message *message);
/* What its writer sends. */
void tx_run_own(struct tx_run *run, struct tx_own *ret, struct outlet *outlet);
/* How many whole messages are among its first `size` bytes, which are not all of it. */
size_t tx_run_whole(const struct tx_run *run, size_t size);

#endif
