/* SPDX-License-Identifier: MIT */
/*
 * An outlet: where messages leave, and what all outlets share. They are owned by tx.
 */
#ifndef SESSION_OUTLET_H
#define SESSION_OUTLET_H

#include <session/inlet.h>

/*
 * Messages that were accepted and are lost: how many, why the first and the last of them are, and
 * whether somebody has yet to be told.
 */
struct losses {
	uint64_t messages;
	int first_error, last_error;
	bool untold;
};

/*
 * Where messages leave: one topic id of this side's, or the replies to one call of the other
 * side's. What ends a topic is CLOSE; a call ends with its last reply, or, if there is to be
 * none, with END and an error.
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
	 * What its messages hold, of the pool and of attachments, until the other side returns it.
	 */
	uint64_t held_pool, held_attachments;
	bool open_due, abort_due, close_wanted, close_sent, reset;
	/* The call's request is still coming: nothing is said before it has come. */
	bool asking;
	/*
	 * A message of several frames is being sent: nothing else may go out on this topic.
	 * Messages of one frame that are charged and not accepted yet: such a message must wait for
	 * them; and how many such wait.
	 */
	bool busy;
	unsigned n_sending, n_large;
	/* Claims that have been woken and have not looked yet. */
	unsigned n_woken;
	/* The call that the message of several frames is. */
	struct inlet *calling;
	uint32_t reset_reason;
	/* How a call ends that gets no last reply. */
	uint32_t end_error;
	/*
	 * The generation of the buffer that holds its last frame there; its last with descriptors.
	 */
	uint64_t buffered, buffered_fds;
	uint64_t messages, bytes, attachments;
	struct losses losses;
};

/*
 * What all topics share: granted by the other side, charged, and of that what topics still hold.
 * What topics held that are forgotten comes back without a name, and perhaps earlier than they are
 * forgotten: then `unowned` is below 0.
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
