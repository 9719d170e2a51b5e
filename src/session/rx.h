/* SPDX-License-Identifier: MIT */
/*
 * The receiving half of the session: bytes and descriptors in, events out. It parses frames, gives
 * each descriptor to the message that claims it, puts fragments together and judges the peer by
 * every rule of the protocol. It belongs to one thread at a time, the holder of the reading right,
 * and takes no lock, makes no system call and does not look at a clock.
 *
 * Reading goes: rx_offer() says where to read to, rx_took() what came; the events are given
 * before rx_took() returns.
 */
#ifndef SESSION_RX_H
#define SESSION_RX_H

#include <session/inlet.h>
#include <sys/uio.h>

enum { RX_IOV = 2, RX_SLOTS = FRAME_CARRIED_MAX };

/*
 * Whom rx tells. Those that return a text may find that the peer broke a rule: the text is the
 * rule.
 */
struct rx_events {
	/* 0 or -ENOMEM. */
	int (*hello)(void *owner, const struct hello *hello);
	/* A topic was opened; the owner sets inlet->owner. 0 or -ENOMEM. */
	int (*opened)(void *owner, struct inlet *inlet);
	/* Whole messages of one inlet, in order; the owner takes them out of the queue. */
	void (*messages)(void *owner, struct inlet *inlet, struct message_queue *queue);
	/* The inlet brings no more. All its messages have been given before. */
	void (*closed)(void *owner, struct inlet *inlet);
	/*
	 * The message that was begun on an inlet was given up by its sender: its
	 * credit is to be returned.
	 */
	void (*aborted)(void *owner, struct inlet *inlet, const struct beam_message *message);
	/*
	 * A call began: `ret` goes to its message, and is told if that is given up. 0, -EALREADY:
	 * the id is in use, or -ENOMEM.
	 */
	int (*called)(void *owner, uint32_t id, struct message_call **ret);
	/*
	 * Where replies to a call of this side's arrive; NULL: there is no such call, or it has
	 * not been asked to its end.
	 */
	struct inlet *(*reply)(void *owner, uint32_t id);
	/* The last reply to a call has come: it ends the queue, and rx has forgotten the inlet. */
	void (*ended)(void *owner, struct inlet *inlet, struct message_queue *queue);
	/*
	 * Credit for a topic, for the replies to a call, or for all, if both are 0. With
	 * `overdraft` the bytes are the pool's, and come back from that topic or call.
	 */
	const char *(*credit)(void *owner, uint32_t id, uint32_t call, uint32_t bytes, uint32_t attachments,
			      bool overdraft);
	/*
	 * The other side is short of attachments until so many have been granted, modulo 2^32;
	 * it gives some back unused.
	 */
	void (*want)(void *owner, uint32_t until);
	void (*returned)(void *owner, uint32_t attachments);
	/* The other side asks whether anybody is there, or answers. */
	void (*ping)(void *owner, bool asks);
	/* Of a topic for a reason; of the call `argument` if `id` is 0. */
	const char *(*reset)(void *owner, uint32_t id, uint32_t argument);
	void (*goodbye)(void *owner);
	/*
	 * Descriptors were charged to the channel's attachments. Each is the owner's to count as
	 * settled, when the program has taken it or when it has been closed.
	 */
	void (*charged)(void *owner, size_t n);
	/* Descriptors that nobody will take: the owner's to close. They were charged, or not. */
	void (*discard)(void *owner, const int *fds, size_t n, bool charged);
	/*
	 * Attachments that were charged could not be installed by the kernel:
	 * they are settled already.
	 */
	void (*lost)(void *owner, size_t n);
};

/* What one read brought besides bytes. */
struct rx_group {
	size_t n;
	const int *fds;
	/* Some were dropped by the kernel, for this reason (-EMFILE or -EACCES); 0: none. */
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
	/* Written by tx, like an inlet's. */
	_Atomic uint64_t *granted_pool, *granted_attachments;
	uint64_t used_pool, used_attachments;

	/* Whom the attachments of messages are charged to; NULL: nobody hears of it. */
	struct reaper_account *account;

	struct chunk_pool *pool;
	struct chunk *chunk;
	/*
	 * In the chunk: parsed up to `low`, filled up to `high`; bytes from `fresh`
	 * on came with the last read.
	 */
	size_t low, high, fresh;
	bool views;

	/* A frame whose header has been judged and whose rest is still coming. */
	bool in_frame;
	struct frame frame;
	/*
	 * Payload that is read straight into a message: how much is missing, then
	 * how much padding follows.
	 */
	struct inlet *direct;
	size_t direct_left, padding_left;
	bool direct_more;

	/*
	 * Descriptors: of the last read, of the one in which the frame at `low` began, and
	 * those that frames may claim.
	 */
	struct rx_pending now, before;
	int slots[RX_SLOTS];
	size_t slot_low, slot_high;

	/* By id, up to the highest that has been used, or a few more. */
	struct inlet **inlets;
	uint32_t capacity_inlets;
	/* Messages of several frames that have begun to come; those of them with attachments. */
	unsigned n_building, n_holding;
	void *names; /* the open inlets by name: a tree (tsearch(3)), which no choice of names can make slow */
	struct list touched;
	uint64_t frames;
	bool hello_seen, goodbye_seen;
	const char *breach;
	int error;
};

/*
 * Begins; 0 or -ENOMEM. The limits stay. The counters of what was granted to the pool and to
 * all attachments are tx's.
 */
int rx_init(struct rx *rx, const struct limits *limits, const struct rx_events *events, void *owner,
	    _Atomic uint64_t *granted_pool, _Atomic uint64_t *granted_attachments);

/*
 * Nothing more comes: descriptors that no message claims, and messages that are
 * not whole, go to discard().
 */
void rx_finish(struct rx *rx);

/*
 * After rx_finish(): frees everything but what was given to the owner, and what belongs to calls.
 */
void rx_end(struct rx *rx);

/* Where to read to: the number of buffers (1 or 2), or -ENOMEM. */
int rx_offer(struct rx *rx, struct iovec iov[RX_IOV]);

/* What came: 0, -EPROTO (rx->breach tells the rule) or -ENOMEM. After an error rx takes no more. */
int rx_took(struct rx *rx, size_t n, const struct rx_group *group);

/* Nothing has come for a while: lets go of memory that is not in use. */
void rx_trim(struct rx *rx);

/* A frame has begun and is not complete. */
bool rx_unfinished(const struct rx *rx);

/* Descriptors are held for messages that are not whole. */
static inline bool rx_holds_descriptors(const struct rx *rx)
{
	return rx->n_holding || rx->slot_low != rx->slot_high || rx->before.n;
}

/*
 * The number of the frame that is unfinished, or of the next one, to tell
 * whether anything has gone on.
 */
uint64_t rx_frame_number(const struct rx *rx);

#endif
