/* SPDX-License-Identifier: MIT */
/*
 * The receiving half of the session: bytes and descriptors in, events out. It parses frames, gives
 * each descriptor to the message that claims it, puts fragments together and judges the peer by
 * every rule of the protocol. It belongs to one thread at a time, the holder of the reading right.
 * It takes no lock, makes no system call and reads no clock.
 *
 * To read, call rx_offer(), which returns where to read to, and then rx_took() with what came. The
 * events are reported before rx_took() returns.
 */
#ifndef SESSION_RX_H
#define SESSION_RX_H

#include <session/inlet.h>
#include <sys/uio.h>

enum { RX_IOV = 2, RX_SLOTS = FRAME_CARRIED_MAX };

/*
 * The events that rx reports. Those that return a string return the rule that the peer broke, or
 * NULL.
 */
struct rx_events {
	/* 0 or -ENOMEM. */
	int (*hello)(void *owner, const struct hello *hello);
	/* A topic was opened. The owner sets inlet->owner. 0 or -ENOMEM. */
	int (*opened)(void *owner, struct inlet *inlet);
	/* Whole messages of one inlet, in order. The owner takes them out of the queue. */
	void (*messages)(void *owner, struct inlet *inlet, struct message_queue *queue);
	/* The inlet was closed. All its messages have been reported before. */
	void (*closed)(void *owner, struct inlet *inlet);
	/*
	 * The sender aborted the message that it had begun on an inlet. Its credit is to be
	 * returned.
	 */
	void (*aborted)(void *owner, struct inlet *inlet, const struct beam_message *message);
	/*
	 * A call began. `ret` becomes part of its message, and is notified when that is freed.
	 * Returns 0, -EALREADY if the id is in use, or -ENOMEM.
	 */
	int (*called)(void *owner, uint32_t id, struct message_call **ret);
	/*
	 * Returns the inlet of the replies to a call of this side. NULL: there is no such call, or
	 * its request was not sent to its end.
	 */
	struct inlet *(*reply)(void *owner, uint32_t id);
	/*
	 * The last reply to a call has come. It is the last in the queue, and rx has forgotten the
	 * inlet.
	 */
	void (*ended)(void *owner, struct inlet *inlet, struct message_queue *queue);
	/*
	 * Credit for a topic, for the replies to a call, or for the channel if both are 0. With
	 * `overdraft` the bytes are the pool's, and were held by that topic or call.
	 */
	const char *(*credit)(void *owner, uint32_t id, uint32_t call, uint32_t bytes, uint32_t attachments,
			      bool overdraft);
	/*
	 * want(): the other side is short of attachments until `until` have been granted, modulo
	 * 2^32. returned(): it gives some back unused.
	 */
	void (*want)(void *owner, uint32_t until);
	void (*returned)(void *owner, uint32_t attachments);
	/* The other side asks whether anybody is there, or answers. */
	void (*ping)(void *owner, bool asks);
	/* A topic was reset, for the reason `argument`, or the call `argument` if `id` is 0. */
	const char *(*reset)(void *owner, uint32_t id, uint32_t argument);
	void (*goodbye)(void *owner);
	/*
	 * Descriptors were charged to the channel's attachments. The owner counts each as settled
	 * when the program has taken it or when it has been closed.
	 */
	void (*charged)(void *owner, size_t n);
	/*
	 * Nobody will take these descriptors, so the owner closes them. `charged`: charged()
	 * reported them before.
	 */
	void (*discard)(void *owner, const int *fds, size_t n, bool charged);
	/*
	 * The kernel could not install attachments. They count against the credit, and are settled
	 * already. charged() does not report them.
	 */
	void (*lost)(void *owner, size_t n);
};

/* What one read brought besides bytes. */
struct rx_group {
	size_t n;
	const int *fds;
	/* If the kernel dropped some: why (-EMFILE or -EACCES). Otherwise 0. */
	int loss;
};

struct rx_pending {
	bool present;
	size_t n;
	int loss;
	int fds[RX_SLOTS];
};

struct rx {
	const struct rx_events *events;
	void *owner;
	const struct limits *limits;
	/* What was granted. Written by tx, as in an inlet. */
	_Atomic uint64_t *granted_pool, *granted_attachments;
	uint64_t used_pool, used_attachments;

	/* The account to which attachments of messages are charged. NULL: nobody is notified. */
	struct reaper_account *account;

	struct chunk_pool *pool;
	struct chunk *chunk;
	/*
	 * In the chunk: parsed up to `low`, filled up to `high`. The bytes from `fresh` on came
	 * with the last read.
	 */
	size_t low, high, fresh;
	bool views;

	/* A frame whose header has been judged and the rest of which is still to come. */
	bool in_frame;
	struct frame frame;
	/*
	 * The inlet of a message whose payload is read straight to its place, how much of the
	 * frame's payload is missing, how much padding follows, and whether the message has another
	 * frame.
	 */
	struct inlet *direct;
	size_t direct_left, padding_left;
	bool direct_more;

	/*
	 * Descriptors: those of the last read, those of the read in which the frame at `low` began,
	 * and those that frames may claim.
	 */
	struct rx_pending now, before;
	int slots[RX_SLOTS];
	size_t slot_low, slot_high;

	/* By id, up to the highest that has been used, or a few more. */
	struct inlet **inlets;
	uint32_t capacity_inlets;
	/*
	 * How many messages of several frames have begun to arrive, and how many of these have
	 * attachments.
	 */
	unsigned n_building, n_holding;
	void *names; /* the open inlets by name: a tree (tsearch(3)), which no choice of names can make slow */
	struct list touched;
	uint64_t frames;
	bool hello_seen, goodbye_seen;
	const char *breach;
	int error;
};

/*
 * Initialises rx. Returns 0 or -ENOMEM. The limits must outlive it. The last two arguments are tx's
 * counters of what was granted: of the pool, and of the channel's attachments.
 */
int rx_init(struct rx *rx, const struct limits *limits, const struct rx_events *events, void *owner,
	    _Atomic uint64_t *granted_pool, _Atomic uint64_t *granted_attachments);

/*
 * Nothing more comes. Descriptors that no message claims, and those of incomplete messages, are
 * passed to discard().
 */
void rx_finish(struct rx *rx);

/*
 * To be called after rx_finish(). Frees everything but what was passed to the owner and what
 * belongs to calls.
 */
void rx_end(struct rx *rx);

/*
 * Stores where to read to. Returns the number of buffers (1 or 2), or -ENOMEM, or the error that rx
 * has returned before.
 */
int rx_offer(struct rx *rx, struct iovec iov[RX_IOV]);

/*
 * Takes what came. Returns 0, -EPROTO (rx->breach names the rule) or -ENOMEM. After an error rx
 * takes nothing more.
 */
int rx_took(struct rx *rx, size_t n, const struct rx_group *group);

/* Nothing has come for a while. Frees memory that is not in use. */
void rx_trim(struct rx *rx);

/* Whether a frame has begun and is incomplete. */
bool rx_unfinished(const struct rx *rx);

/* Whether descriptors are held for messages that are incomplete. */
static inline bool rx_holds_descriptors(const struct rx *rx)
{
	return rx->n_holding || rx->slot_low != rx->slot_high || rx->before.n;
}

/*
 * The number of the frame that is incomplete, or of the next one. It shows whether there was any
 * progress.
 */
uint64_t rx_frame_number(const struct rx *rx);

#endif
