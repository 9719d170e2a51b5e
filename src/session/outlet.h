/* SPDX-License-Identifier: MIT */
/* An outlet: where messages leave, and what all outlets share. Both belong to tx. */
#ifndef SESSION_OUTLET_H
#define SESSION_OUTLET_H

#include <session/inlet.h>

/*
 * Messages that were accepted and then lost: how many, the errors of the first and the last one,
 * and whether the loss is yet to be reported.
 */
struct losses {
	uint64_t messages;
	int first_error, last_error;
	bool untold;
};

/*
 * Where messages leave: one topic id of this side, or the replies to one call of the other side. A
 * topic ends with CLOSE. A call ends with its last reply, or with END and an error if there is
 * none.
 */
struct outlet {
	uint32_t id;  /* the topic's, 0: none yet; or the call's */
	uint8_t kind; /* of its messages' frames: FRAME_DATA or FRAME_REPLY */
	const char *name;
	size_t name_size;
	struct list unnamed; /* among those that wait for an id */
	struct list due;     /* among those that owe OPEN, ABORT or CLOSE */
	uint64_t limit_bytes, used_bytes, limit_attachments, used_attachments;
	/*
	 * What its messages hold of the pool and of the channel's attachments, until the other side
	 * returns it.
	 */
	uint64_t held_pool, held_attachments;
	bool open_due, abort_due, close_wanted, close_sent, reset;
	/*
	 * The call's request is still arriving. Until it is complete or given up, the call is not
	 * ended.
	 */
	bool asking;
	/*
	 * `busy`: a message of several frames is being sent, so nothing else may be sent on this
	 * topic. `n_sending`: how many messages of one frame are charged and not accepted yet. A
	 * message of several frames must wait for them. `n_large`: how many of several frames wait.
	 */
	bool busy;
	unsigned n_sending, n_large;
	/* How many claims have been woken and have not tried again yet. */
	unsigned n_woken;
	/* The call that the message of several frames begins, or NULL. */
	struct inlet *calling;
	uint32_t reset_reason;
	/* The error with which a call ends if it gets no last reply. */
	uint32_t end_error;
	/*
	 * The generation of the buffer into which its last frame was put; the same for its last
	 * frame with descriptors.
	 */
	uint64_t buffered, buffered_fds;
	uint64_t messages, bytes, attachments;
	struct losses losses;
};

/*
 * A share that all topics have in common: what the other side granted, what was charged, and how
 * much of that the topics still hold. When a topic is forgotten, what it held becomes unowned until
 * it is returned, in a frame that names no topic. If it is returned before the topic is forgotten,
 * `unowned` is below 0.
 */
struct tx_shared {
	uint64_t limit, used, held;
	int64_t unowned;
};

static inline uint64_t tx_room_of(const struct tx_shared *shared)
{
	return shared->limit - shared->used;
}

#endif
