/* SPDX-License-Identifier: MIT */
/*
 * How messages become frames. The caller's memory is borrowed until the message has been sent or
 * given up.
 */
#ifndef SESSION_FRAGMENT_H
#define SESSION_FRAGMENT_H

#include <session/tx.h>

enum {
	/* Flags of a message: it is the last reply to its call; it is a failure. */
	TX_LAST = FRAME_END,
	TX_FAILED = FRAME_ERROR,
	/* The most attachments of one message. */
	TX_ATTACHMENTS_MAX = FRAME_CARRIED_MAX,
	/*
	 * A payload of up to this size makes a frame of at most TX_LARGE bytes, which may be
	 * buffered whether or not its sender waits.
	 */
	TX_SMALL = TX_LARGE - FRAME_HEADER - 16,
};

struct tx_message {
	struct outlet *outlet;
	/* The payload, and how far it has been put into frames. */
	const struct iovec *iov;
	size_t n_iov, at_iov, at_byte, size, left;
	const int *fds;
	unsigned n_fds;
	/* How much of it was charged to the pool. */
	uint32_t overdraft;
	/* TX_LAST, TX_FAILED. */
	uint8_t flags;
	/* The call that the message begins, unless the call was undone; or NULL. */
	struct inlet *call;
	struct tx_own own;
};

/* Makes the next frame of the message, or several frames of a large one if `several` is true. */
void tx_message_frame(struct tx_message *message, bool several);

/*
 * A run: whole messages of one topic that are sent in one write. The descriptors are their
 * senders', so none is duplicated.
 */
struct tx_run {
	unsigned char *bytes; /* TX_RUN of them */
	size_t size;
	int fds[TX_FDS];
	unsigned n_fds, n;
};

/* Whether a message of `size` bytes and `n_fds` descriptors fits too. */
bool tx_run_fits(const struct tx_run *run, size_t size, size_t n_fds);
/* Adds a message that fits. */
void tx_run_add(struct tx_run *run, struct tx_message *message);
/* Stores in `ret` what the writer of the run sends. */
void tx_run_own(struct tx_run *run, struct tx_own *ret, struct outlet *outlet);
/*
 * Returns how many whole messages are in the first `size` bytes of the run. `size` must be less
 * than that of the run.
 */
size_t tx_run_whole(const struct tx_run *run, size_t size);

#endif
