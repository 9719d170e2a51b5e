/* SPDX-License-Identifier: MIT */
/*
 * The sending half of the session: what may be sent, what is due, and in which order it goes. It
 * keeps the credit that the other side gave, makes frames and puts them into batches, one batch a
 * write. All of it lies under one lock of the owner's; it takes none itself, makes no system call
 * and does not look at a clock.
 *
 * A batch is: control that is due, what stands in the outgoing buffer, and the frame of the thread
 * that writes, straight from its memory. Control is state and not a queue: a few words for each
 * topic and call, written down when a batch is made. So it takes no memory to owe something,
 * however often the peer asks.
 *
 * A batch that has begun must be completed before anything else. Whoever holds the
 * writing right goes on with it; the part that lies in a caller's memory is copied to a
 * reserve when that caller leaves.
 */
#ifndef SESSION_TX_H
#define SESSION_TX_H

#include <session/inlet.h>
#include <session/outlet.h>
#include <sys/uio.h>

enum {
	/* The most topics open at once, and calls in flight, whatever the other side would take. */
	TX_TOPICS = 65535,
	TX_CALLS = 65535,
	/*
	 * Descriptors in the buffer at once: what one batch can carry, with
	 * room for the writer's own.
	 */
	TX_FDS = 250,
	TX_CONTROL = 3072,
	TX_OWN_PARTS = 64,
	/*
	 * Frames of a large message that may go along with one; they are
	 * header, payload and padding.
	 */
	TX_OWN_MORE = 4,
	TX_IOV = TX_OWN_PARTS + 6 + 3 * TX_OWN_MORE,
	/* Frames larger than this go past the buffer when their sender may wait. */
	TX_LARGE = 32768,
	/*
	 * Bytes of whole messages that may go as one frame would: no more than the reserve holds.
	 */
	TX_RUN = 24576,
	/*
	 * The first bytes of one sendmsg, which the kernel puts into one piece of its memory: it
	 * takes all of them or none, from 72,128 bytes of SO_SNDBUF on.
	 */
	TX_UNDIVIDED = 36000,
	TX_SOCKET_BUFFER = 128 << 10,
	/*
	 * Larger messages take several frames. The last frame of a message is not divided. What is
	 * before it may be: if the payload cannot be read in the middle of a frame, the rest of the
	 * frame is zeros, and the message is aborted.
	 */
	TX_WHOLE = 32 << 10,
	/* How much a full frame leaves for the last one at least. */
	TX_TAIL = 4 << 10,
};

/* A further frame of a message; its payload lies in one piece. */
struct tx_more {
	unsigned char head[FRAME_HEADER];
	struct iovec part;
	size_t padding;
};

/* The frame that a thread is sending, and more of the same message if its payload is large. */
struct tx_own {
	struct outlet *outlet;
	unsigned char head[FRAME_HEADER + FRAME_SIZED_PREFIX];
	size_t head_size;
	/* The payload of this frame, and the padding. */
	struct iovec parts[TX_OWN_PARTS];
	unsigned n_parts;
	size_t payload, padding;
	const int *fds;
	unsigned n_fds;
	struct tx_more more[TX_OWN_MORE];
	unsigned n_more;
	/*
	 * How many messages end with them: more than one only if the only part holds whole
	 * frames, of TX_RUN bytes at most.
	 */
	unsigned n_messages;
	/* The call that the message is; the message is the last reply. */
	struct inlet *call;
	bool is_last;
	/*
	 * The frame ends a message, and its payload is read from the caller's memory: it must not
	 * be divided. Everything of its topic up to this generation of the buffer goes before it;
	 * it has made way for the buffer once.
	 */
	bool undivided, made_way;
	uint64_t after;
	/*
	 * Set by the writer: they are in the batch; a part of them is in the kernel; all of them
	 * are; some are, and these are what is left.
	 */
	bool batched, begun, done, sent_some;
};

struct tx_record {
	size_t offset, size;
	struct outlet *outlet;
	unsigned n_fds;
};

struct tx_buffer {
	unsigned char *bytes;
	size_t size, at;
	uint64_t generation;
	struct tx_record *records; /* TX_FDS of them, and of descriptors */
	unsigned n_records, record_at;
	int *fds;
	unsigned n_fds, fd_at;
};

struct tx_batch {
	bool active, begun;
	uint64_t number;
	struct iovec iov[TX_IOV];
	unsigned first, n;
	/* Bytes that belong to the session, then those of the writer's frame. */
	size_t left, own_left;
	unsigned own_at;
	/* How much of the draining buffer it takes. */
	size_t run;
	unsigned run_records, run_fds;
	int fds[FRAME_CARRIED_MAX];
	unsigned n_fds;
	/* Whose accepted messages end in the reserve, and how many. */
	struct outlet *reserved;
	unsigned n_reserved;
};

struct tx_claim;

struct tx_events {
	/* Whoever waits with this claim is to look again. */
	void (*wake)(void *owner, struct tx_claim *claim);
	/* What may be sent on this outlet has changed; NULL: on any of them. */
	void (*changed)(void *owner, struct outlet *outlet);
	/* There is room in the buffer. */
	void (*room)(void *owner);
	/* The outlet's id has been given back, or the session ends: it forgets the outlet. */
	void (*released)(void *owner, struct outlet *outlet);
	/*
	 * Those calls, of tx->unasked, were refused by the kernel after they had been
	 * accepted. From tx_tell_unasked().
	 */
	void (*unasked)(void *owner, struct list *calls);
};

struct tx {
	const struct tx_events *events;
	void *owner;
	struct limits own;  /* what this side accepts */
	struct limits peer; /* what the other side does */
	uint32_t peer_features;
	bool hello_came;

	/*
	 * Credit that the other side gave for all topics together; the claims that wait, in the
	 * order in which they came.
	 */
	struct tx_shared pool, attachments;
	struct list claims;
	/*
	 * Up to where the other side was asked to grant attachments, modulo 2^32; that is yet to be
	 * told; how many are given back unused.
	 */
	uint32_t want;
	bool want_due;
	uint32_t give_back;

	struct outlet **outlets; /* by id */
	uint32_t n_outlets, capacity_outlets, next_id;
	struct list unnamed;
	/*
	 * Outlets that are to be closed and whose CLOSE has not gone: until
	 * then their names are taken.
	 */
	unsigned n_closing;

	/*
	 * By call id: where the replies to this side's calls arrive, and whence those to the other
	 * side's leave. No id below the first of `free_call` is free.
	 */
	struct inlet **calls;
	uint32_t n_calls, capacity_calls, free_call;
	struct outlet **replies;
	uint32_t capacity_replies;

	/* What is due. */
	struct list due_inlets, due_outlets;
	/*
	 * Inlets whose credit may wait, but not for longer than attachments of the channel do. A
	 * sender takes what its topics hold and what is free for all that was lent. If an
	 * attachment went back to the channel before its topic had it back, it would count twice,
	 * and topics that nobody drains would get more than their share.
	 */
	struct list late_inlets;
	/*
	 * Calls whose request was accepted and then refused by the kernel, with the error; told by
	 * tx_tell_unasked(). Their ids are free.
	 */
	struct list unasked;
	uint32_t due_pool, due_attachments;
	/*
	 * Attachments that the other side may use now, or has used and that are not settled. Up to
	 * where it wants them to be granted, and up to where none are withheld because of that: it
	 * would soon be short again. `wanted` says that none are, and anybody may read it.
	 */
	uint32_t lent, want_until, eager_until;
	atomic_bool wanted;
	_Atomic uint64_t granted_pool, granted_attachments;
	/* What HELLO is to say besides the limits. */
	uint32_t features;
	bool hello_due, ping_due, pong_due, goodbye_due, goodbye_sent;
	/* Outlets with a message begun. */
	unsigned n_busy;

	/* One piece of memory: what an idle channel has touched of it lies at its beginning. */
	unsigned char *control;
	unsigned char *reserve;
	size_t capacity;
	struct tx_buffer *fill, *drain;
	struct tx_buffer buffers[2];
	uint64_t drained; /* the generation of the last buffer that was written whole */
	struct tx_batch batch;
	/* A descriptor in a batch was refused: one at a time until it is found. */
	bool careful;
	/*
	 * The descriptors in flight are too many: the buffer waits, what needs no
	 * descriptor goes round it.
	 */
	bool held;
	struct losses losses;
};

/* Begins, with HELLO due; 0 or -ENOMEM. `capacity` is that of the outgoing buffer. */
int tx_init(struct tx *tx, const struct limits *own, size_t capacity, const struct tx_events *events, void *owner);
void tx_end(struct tx *tx);
/* Nothing goes on, and no batch is under way: all outlets of topics are released. */
void tx_release_all(struct tx *tx);

/* ---- What the peer says. A text is the rule it broke. */
int tx_hello(struct tx *tx, const struct hello *hello);
const char *tx_credit(struct tx *tx, uint32_t id, uint32_t bytes, uint32_t attachments, bool overdraft);
const char *tx_reset(struct tx *tx, uint32_t id, uint32_t reason);
/* For the replies to a call; what comes for one that has ended has crossed its END. */
const char *tx_credit_call(struct tx *tx, uint32_t call, uint32_t bytes, uint32_t attachments, bool overdraft);
void tx_reset_call(struct tx *tx, uint32_t call);

/* ---- Topics. */
void tx_open(struct tx *tx, struct outlet *outlet, const char *name, size_t size);
/*
 * CLOSE is due, after what was accepted. True if the outlet was never named,
 * and is forgotten at once.
 */
bool tx_close(struct tx *tx, struct outlet *outlet);

/* ---- Answers to what came. */
/*
 * What messages of an inlet were charged, once they have been taken; the pool's bytes are
 * returned as this inlet's.
 */
void tx_return(struct tx *tx, struct inlet *inlet, uint32_t bytes, uint32_t attachments, uint32_t pool);
/* All that an inlet withholds. */
void tx_return_withheld(struct tx *tx, struct inlet *inlet);
/* The pool's bytes that belong to no inlet any more. */
void tx_return_pool(struct tx *tx, uint32_t pool);
void tx_reset_inlet(struct tx *tx, struct inlet *inlet, enum reset_reason reason);

/* ---- Attachments of the whole channel (lent.c). */
/* So many have been taken by the program, or closed, or were lost: they may be used again. */
void tx_settled(struct tx *tx, uint32_t attachments);
/*
 * The other side is short of attachments until so many have been granted. True if that
 * takes more than is due to it.
 */
bool tx_wanted(struct tx *tx, uint32_t until);
/* How many more it wants than are due to it. */
uint32_t tx_short_of(struct tx *tx);
/* So many more are lent to it; it has given back so many. */
void tx_lend(struct tx *tx, uint32_t attachments);
void tx_given_back(struct tx *tx, uint32_t attachments);
/* Gives back to the other side what is not in use, if it lends: how many. */
uint32_t tx_give_back(struct tx *tx);

/* ---- Calls of this side's: tx_charge() gives one its id. */
/*
 * The inlet of a call to which a reply comes, for rx: it stays until the last one has
 * come. NULL: there is none.
 */
struct inlet *tx_find_call(struct tx *tx, uint32_t id);
/* The last reply has come: the id is free. */
void tx_call_over(struct tx *tx, struct inlet *call);
/*
 * Nothing of its request has gone: the id is free, and true is returned. False: it is over already,
 * or replies have come all the same, and it ends with the last of them.
 */
bool tx_call_undone(struct tx *tx, struct inlet *call);

/* ---- Calls of the other side's. */
/* One came: its replies leave by the outlet. 0, -EALREADY: the id is in use, or -ENOMEM. */
int tx_open_replies(struct tx *tx, struct outlet *outlet, uint32_t id);
/* Its request has come, or was given up. */
void tx_asked(struct tx *tx, struct outlet *outlet);
/* It gets no last reply: END and this error are due, after what was accepted. */
void tx_end_call(struct tx *tx, struct outlet *outlet, uint32_t error);
/* The last reply was accepted: to be said before tx_complete(), which may let go of the outlet. */
void tx_ended(struct outlet *outlet);

/* ---- Sending. */
/* What a sender wants to send; `large` if it may take several frames. */
struct tx_claim {
	/* Its place among those who wait. */
	struct list link;
	struct outlet *outlet;
	size_t size, n_fds;
	bool large, waits, woken;
	/* For which shares those behind it must wait (credit.c). */
	uint8_t turns;
	/* The message is this call, which needs an id besides. */
	struct inlet *call;
};

/*
 * Charges a message: 0 and its overdraft, or -EAGAIN: it stands in the line, and is told
 * when to look again. After 0 the message is in progress until tx_complete(), or, if it is
 * large and a frame of it went, tx_abort(). The claim must be given up by tx_unclaim() at
 * the end, whatever the result.
 */
int tx_charge(struct tx *tx, struct outlet *outlet, struct tx_claim *claim, uint32_t *ret_overdraft);
/*
 * The same for most messages: of one frame, so that they fit every limit, without attachments, and
 * no call. They need nothing but room on their topic. False: try tx_charge().
 */
static inline bool tx_charge_plain(struct outlet *outlet, size_t size)
{
	/* By a large message, or for one that waits. */
	bool is_taken = outlet->busy | (outlet->n_large > 0);

	if (!outlet->id || is_taken || outlet->limit_bytes - outlet->used_bytes < size + MESSAGE_COST)
		return false;
	outlet->used_bytes += size + MESSAGE_COST;
	outlet->n_sending++;
	return true;
}
/* Stands in the line for another reason: HELLO has not come. */
void tx_wait(struct tx *tx, struct outlet *outlet, struct tx_claim *claim);
void tx_unclaim(struct tx *tx, struct outlet *outlet, struct tx_claim *claim);
/*
 * How many stand in the line to send on an outlet, or in all, if it is NULL: those who wait for the
 * id of a call, and the others.
 */
void tx_count_waiting(const struct tx *tx, const struct outlet *outlet, uint64_t *ret_for_credit,
		      uint64_t *ret_for_call);
/* Wakes those who can go on. */
void tx_wake_ready(struct tx *tx);
/* Wakes all who wait to send on an outlet, or all, if it is NULL. */
void tx_wake_outlet(struct tx *tx, struct outlet *outlet);
/* Takes the charge back: nothing was sent, or will be. */
void tx_uncharge(struct tx *tx, struct outlet *outlet, size_t size, size_t n_fds, uint32_t overdraft);
/* 0, or -EMSGSIZE or -E2BIG: this can never be sent. -EAGAIN: the peer's HELLO may yet allow it. */
int tx_fits(const struct tx *tx, const struct outlet *outlet, size_t size, size_t n_fds);
/* Its messages are replies. */
static inline bool outlet_replies(const struct outlet *outlet)
{
	return outlet->kind == FRAME_REPLY;
}

/* The header of a frame of a message; `call` is the id of the call that it is, or 0. */
static inline void tx_frame(const struct outlet *outlet, unsigned char head[FRAME_HEADER], uint8_t flags,
			    uint8_t claimed, uint32_t call, size_t payload)
{
	bool reply = outlet_replies(outlet);

	frame_encode(head, outlet->kind, flags, claimed, reply ? 0 : outlet->id, reply ? outlet->id : call, payload);
}
/*
 * True if a message of `size` bytes without attachments would find credit now; if its frame
 * would fit into the buffer.
 */
bool tx_has_credit(const struct tx *tx, const struct outlet *outlet, size_t size);
bool tx_has_space(const struct tx *tx, const struct outlet *outlet, size_t size);
/* The large message of which a frame went is given up. */
void tx_abort(struct tx *tx, struct outlet *outlet);
/* The frames will not go, though they may be in a batch: the connection broke. */
void tx_give_up(struct tx *tx, struct tx_own *own);
/* The message in progress is accepted, or was not begun. */
void tx_complete(struct tx *tx, struct outlet *outlet, bool large);

/* The size of a frame with its padding. */
static inline size_t tx_own_size(const struct tx_own *own)
{
	return own->head_size + own->payload + own->padding;
}
/* Writes the frame down; returns where it ends. */
unsigned char *tx_own_put(const struct tx_own *own, unsigned char *to);
/* True if the frame fits into the buffer now. */
bool tx_append_fits(const struct tx *tx, const struct tx_own *own);
/*
 * Puts the frame into the buffer; `fds` are duplicates, which the session now holds. A frame with
 * descriptors must be a whole message, and none may go along.
 */
void tx_append(struct tx *tx, struct tx_own *own, const int *fds);

/* ---- Writing, by the holder of the writing right. */
bool tx_pending(const struct tx *tx);
/* Makes a batch, or goes on with the one that has begun. False: there is nothing to write. */
bool tx_batch(struct tx *tx, struct tx_own *own);
/*
 * Why nothing of a batch went: there is no room; a reason that passes; a descriptor was refused; a
 * payload is not in memory; the connection is dead.
 */
enum tx_failure { TX_NO_ROOM, TX_PASSES, TX_REFUSED, TX_NO_PAYLOAD, TX_DEAD };
/*
 * What became of a batch: there was none; it went, or what is left of it can be tried at
 * once; there is no room for the rest; it must be tried later; the writer's message was
 * refused; nothing goes any more.
 */
enum written { WRITTEN_NOTHING, WRITTEN, WRITTEN_FULL, WRITTEN_LATER, WRITTEN_REFUSED, WRITTEN_BROKEN };
/*
 * Bytes of a batch that went, all descriptors with them. The duplicates that are done with go to
 * `spent`; returns how many.
 */
unsigned tx_wrote(struct tx *tx, struct tx_own *own, size_t n, int spent[TX_FDS]);
static inline enum written tx_written(const struct tx *tx)
{
	return tx->batch.active ? WRITTEN_FULL : WRITTEN;
}
/* Nothing went, because of `failure`; `error` is what the kernel said. */
enum written tx_failed(struct tx *tx, struct tx_own *own, int error, enum tx_failure failure, int spent[TX_FDS],
		       unsigned *ret_spent);
/* Its parts. */
/*
 * The writer leaves: its frames are taken out of the batch. One that has begun will be completed
 * from the reserve; the writer is done if it was the last.
 */
void tx_leave(struct tx *tx, struct tx_own *own);
/*
 * The same, and the writer's message will not be completed: zeros take the place of the payload
 * that is left of a frame that has begun. The caller's memory is not read. The message must be
 * aborted then, unless nothing of it has gone. False: the frame that has begun ends its message,
 * and cannot be completed so.
 */
bool tx_abandon(struct tx *tx, struct tx_own *own);
/*
 * The kernel refused a descriptor of the batch, nothing went. True: it was the writer's. Otherwise
 * the session looks for it and drops its frame, whose duplicates go to `spent`.
 */
bool tx_refused(struct tx *tx, struct tx_own *own, int error, int spent[TX_FDS], unsigned *ret_spent);
/*
 * The write failed for a reason that passes: nothing went. The writer's frame is taken out if it
 * has descriptors; the buffer is held if it has, and true is returned: what needs none can go on.
 */
bool tx_hold(struct tx *tx, struct tx_own *own);

/*
 * By whoever holds the writing right, with no lock held: those calls, which the caller took out of
 * tx->unasked under the lock.
 */
static inline void tx_tell_unasked(const struct tx *tx, struct list *calls)
{
	tx->events->unasked(tx->owner, calls);
}

/*
 * Nothing more can be written, because of `error`: counts what is lost; the duplicates still held
 * go to `spent`; returns how many.
 */
unsigned tx_drop(struct tx *tx, int error, int spent[2 * TX_FDS]);

/*
 * For the session itself. Whence replies to a call of the other side's leave; also one whose END is
 * in a batch, which may yet be taken out: what comes for it meanwhile counts then.
 */
struct outlet *tx_find_replies(const struct tx *tx, uint32_t id);
/* An outlet's messages hold nothing any more: it is about to be forgotten. */
void tx_forget_held(struct tx *tx, struct outlet *outlet);
/* Gives an id back that has both its CLOSE and its RESET; gives ids to those that wait. */
void tx_release(struct tx *tx, struct outlet *outlet);
void tx_assign(struct tx *tx);
/* The large message is over. */
void tx_not_busy(struct tx *tx, struct outlet *outlet);
/* CLOSE, or END, is in no batch and not in the buffer after all. */
void tx_reopen(struct tx *tx, struct outlet *outlet);
/* Lets go of a call's outlet, if END has gone and nobody needs it any more. */
void tx_let_go(struct tx *tx, struct outlet *outlet);

#endif
