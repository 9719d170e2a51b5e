/* SPDX-License-Identifier: MIT */
/*
 * The sending half of the session. It decides what may be sent, what is due, and in which order it
 * is sent. It keeps the credit that the other side granted, makes frames, and puts them into
 * batches, one for each write. The owner guards all of it with one lock. tx takes no lock itself,
 * makes no system call and reads no clock.
 *
 * A batch consists of the control frames that are due, the contents of the outgoing buffer, and the
 * frame of the writing thread, straight from its caller's memory. Control is state and not a queue:
 * a few words for each topic and call, which become frames when a batch is made. So a frame that is
 * due takes no further memory, however often the peer asks for one.
 *
 * Once a byte of a batch has been written, the batch must be completed before anything else is
 * sent. Each holder of the writing right continues it. If the caller whose memory holds a part of
 * it leaves, that part is copied to a reserve.
 */
#ifndef SESSION_TX_H
#define SESSION_TX_H

#include <session/inlet.h>
#include <session/outlet.h>
#include <sys/uio.h>

enum {
	/* The most topics that are open at once, and calls in flight, even if the other side
	 * accepts more. */
	TX_TOPICS = 65535,
	TX_CALLS = 65535,
	/* The most descriptors in one buffer. One batch can carry them all and a few of the
	 * writer's own. */
	TX_FDS = 250,
	TX_CONTROL = 3072,
	TX_OWN_PARTS = 64,
	/* How many further frames of a large message one batch can hold. Each takes three parts:
	 * header, payload and padding. */
	TX_OWN_MORE = 4,
	TX_IOV = TX_OWN_PARTS + 6 + 3 * TX_OWN_MORE,
	/* Larger frames are not buffered if their sender may wait. */
	TX_LARGE = 32768,
	/* The most bytes of a run, which is whole messages that are written together like one
	 * frame. The reserve has room for them. */
	TX_RUN = 24576,
	/* The kernel puts this many first bytes of a sendmsg into one piece of its memory. If
	 * SO_SNDBUF is at least 72,128 bytes, it takes all of them or none. */
	TX_UNDIVIDED = 36000,
	TX_SOCKET_BUFFER = 128 << 10,
	/* Larger messages take several frames. The last frame of a message is not divided between
	 * writes. The frames before it may be. If the payload cannot be read in the middle of such
	 * a frame, the rest of the frame is zeros, and the message is aborted. */
	TX_WHOLE = 32 << 10,
	/* How much of the payload is left at least for the last frame. */
	TX_TAIL = 4 << 10,
};

/* A further frame of a message. Its payload is in one piece. */
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
	/* How many messages end with these frames. Only a run can end several: its only part holds
	 * whole frames, of at most TX_RUN bytes. */
	unsigned n_messages;
	/* `call`: the call that the message begins, or NULL. `is_last`: the message is the last
	 * reply to a call. */
	struct inlet *call;
	bool is_last;
	/* `undivided`: the frame ends a message, and its payload is read from the caller's memory,
	 * so it must not be divided. `made_way`: it has waited once until a part of the buffer was
	 * written. `after`: everything of its topic up to this generation of the buffer goes before
	 * it. */
	bool undivided, made_way;
	uint64_t after;
	/* `batched`: the frames are in the batch. `begun`: a part of them is in the kernel. `done`:
	 * all of them are, or are in the buffer or the reserve. `sent_some`: earlier frames of the
	 * message were sent or have begun. */
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
	struct tx_record *records; /* room for TX_FDS of them, and in `fds` for as many descriptors */
	unsigned n_records, record_at;
	int *fds;
	unsigned n_fds, fd_at;
};

struct tx_batch {
	bool active, begun;
	uint64_t number;
	struct iovec iov[TX_IOV];
	unsigned first, n;
	/* How many bytes are left: first those of the session, then those of the writer's
	 * frames. */
	size_t left, own_left;
	unsigned own_at;
	/* How much of the draining buffer it takes. */
	size_t run;
	unsigned run_records, run_fds;
	int fds[FRAME_CARRIED_MAX];
	unsigned n_fds;
	/* The outlet whose accepted messages end in the reserve, and how many do. */
	struct outlet *reserved;
	unsigned n_reserved;
};

struct tx_claim;

struct tx_events {
	/* The sender that waits with this claim should try again. */
	void (*wake)(void *owner, struct tx_claim *claim);
	/* What may be sent on this outlet has changed, or on any outlet if it is NULL. */
	void (*changed)(void *owner, struct outlet *outlet);
	/* There is room in the buffer. */
	void (*room)(void *owner);
	/* The outlet's id is free, or the session ends. The session forgets the outlet. */
	void (*released)(void *owner, struct outlet *outlet);
	/* The kernel refused these calls, which were in tx->unasked, after they had been accepted.
	 * Called by tx_tell_unasked(). */
	void (*unasked)(void *owner, struct list *calls);
};

struct tx {
	const struct tx_events *events;
	void *owner;
	struct limits own;  /* what this side accepts */
	struct limits peer; /* what the other side accepts */
	uint32_t peer_features;
	bool hello_came;

	/* Credit that the other side granted for all topics together, and the claims that wait, in
	 * the order in which they came. */
	struct tx_shared pool, attachments;
	struct list claims;
	/* `want`: the total up to which the other side was asked to grant attachments, modulo 2^32.
	 * `want_due`: WANT is yet to be sent. `give_back`: how many unused attachments RETURN gives
	 * back. */
	uint32_t want;
	bool want_due;
	uint32_t give_back;

	struct outlet **outlets; /* by id */
	uint32_t n_outlets, capacity_outlets, next_id;
	struct list unnamed;
	/* How many outlets are to be closed and have not sent CLOSE. Their names are taken until
	 * then. */
	unsigned n_closing;

	/* Both by call id. `calls`: the inlets of the replies to this side's calls. `replies`: the
	 * outlets of the replies to the other side's calls. No id below `free_call` is free. */
	struct inlet **calls;
	uint32_t n_calls, capacity_calls, free_call;
	struct outlet **replies;
	uint32_t capacity_replies;

	/* What is due. */
	struct list due_inlets, due_outlets;
	/* Inlets whose credit may wait, but only until attachments are returned to the channel. A
	 * sender computes the total of all attachments as the sum of what its topics hold and what
	 * is free. If an attachment were returned to the channel before it was returned to its
	 * topic, the sender would count it twice, and topics that nobody drains would get more than
	 * their share. */
	struct list late_inlets;
	/* Calls whose request was accepted and then refused by the kernel, with the error.
	 * tx_tell_unasked() reports them. Their ids are free. */
	struct list unasked;
	uint32_t due_pool, due_attachments;
	/* `lent`: how many attachments the other side may use now, or has used without their being
	 * settled yet. `want_until`: how many it wants to have been granted in total.
	 * `eager_until`: until this many have been granted in total, none are withheld. It is
	 * higher than `want_until`, because the other side would soon be short again. `wanted`:
	 * none are withheld now. Any thread may read it. */
	uint32_t lent, want_until, eager_until;
	atomic_bool wanted;
	_Atomic uint64_t granted_pool, granted_attachments;
	/* What HELLO announces besides the limits. */
	uint32_t features;
	bool hello_due, ping_due, pong_due, goodbye_due, goodbye_sent;
	/* How many outlets are busy. */
	unsigned n_busy;

	/* Control frames, the buffers and the reserve are in one piece of memory. What an idle
	 * channel touches of it is at its beginning. */
	unsigned char *control;
	unsigned char *reserve;
	size_t capacity;
	struct tx_buffer *fill, *drain;
	struct tx_buffer buffers[2];
	uint64_t drained; /* the generation of the last buffer that was written completely */
	struct tx_batch batch;
	/* The kernel refused a descriptor of a batch. Frames with descriptors go one at a time
	 * until it is found. */
	bool careful;
	/* Too many descriptors are in flight. The buffer waits from its first frame with
	 * descriptors on. Frames outside it that have no descriptors can still be sent. */
	bool held;
	struct losses losses;
};

/* Initialises tx, with HELLO due. `capacity` is that of each outgoing buffer. 0 or -ENOMEM. */
int tx_init(struct tx *tx, const struct limits *own, size_t capacity, const struct tx_events *events, void *owner);
void tx_end(struct tx *tx);
/* Releases all outlets of topics. No batch is active, and nothing more is sent or received. */
void tx_release_all(struct tx *tx);

/* ---- What the peer sent. A string that is returned names the rule that the peer broke. */
int tx_hello(struct tx *tx, const struct hello *hello);
const char *tx_credit(struct tx *tx, uint32_t id, uint32_t bytes, uint32_t attachments, bool overdraft);
const char *tx_reset(struct tx *tx, uint32_t id, uint32_t reason);
/* For the replies to a call. If the call has ended, the frame has crossed its END, and is no
 * breach. */
const char *tx_credit_call(struct tx *tx, uint32_t call, uint32_t bytes, uint32_t attachments, bool overdraft);
void tx_reset_call(struct tx *tx, uint32_t call);

/* ---- Topics. */
void tx_open(struct tx *tx, struct outlet *outlet, const char *name, size_t size);
/* Makes CLOSE due, after the messages that were accepted. Returns true if the outlet never had an
 * id. Then it is forgotten at once. */
bool tx_close(struct tx *tx, struct outlet *outlet);

/* ---- Answers to what came. */
/* Returns to the other side what messages of an inlet were charged, once they have been taken. The
 * pool's bytes are returned in the name of this inlet. */
void tx_return(struct tx *tx, struct inlet *inlet, uint32_t bytes, uint32_t attachments, uint32_t pool);
/* Returns to the other side all that an inlet withholds. */
void tx_return_withheld(struct tx *tx, struct inlet *inlet);
/* Returns to the other side bytes of the pool that belong to no inlet any more. */
void tx_return_pool(struct tx *tx, uint32_t pool);
void tx_reset_inlet(struct tx *tx, struct inlet *inlet, enum reset_reason reason);

/* ---- Attachments of the whole channel (lent.c). */
/* The program took these attachments, or they were closed or lost. They may be granted again. */
void tx_settled(struct tx *tx, uint32_t attachments);
/* The other side is short of attachments until `until` have been granted. Returns true if what is
 * due to it is not enough for that. */
bool tx_wanted(struct tx *tx, uint32_t until);
/* Returns how many more it wants than are due to it, and updates `wanted`. */
uint32_t tx_short_of(struct tx *tx);
/* Lends it more; takes note of what it has given back. */
void tx_lend(struct tx *tx, uint32_t attachments);
void tx_given_back(struct tx *tx, uint32_t attachments);
/* If the other side lends and no claim waits, gives back what is not in use. Returns how many. */
uint32_t tx_give_back(struct tx *tx);

/* ---- Calls of this side. tx_charge() gives a call its id. */
/* For rx: returns the inlet of a call to which a reply comes. It stays until the last reply has
 * come. NULL: there is no such call, or its request was not sent to its end. */
struct inlet *tx_find_call(struct tx *tx, uint32_t id);
/* The call is over, usually because its last reply has come. Its id is free. */
void tx_call_over(struct tx *tx, struct inlet *call);
/* Nothing of the call's request was sent. Frees its id and returns true. Returns false if the call
 * is over already, or if replies have come all the same. Then it ends with the last of them. */
bool tx_call_undone(struct tx *tx, struct inlet *call);

/* ---- Calls of the other side. */
/* A call came, and its replies leave by the outlet. 0, -EALREADY if the id is in use, or
 * -ENOMEM. */
int tx_open_replies(struct tx *tx, struct outlet *outlet, uint32_t id);
/* Its request has come completely, or was given up. */
void tx_asked(struct tx *tx, struct outlet *outlet);
/* The call gets no last reply. Makes END with this error due, after what was accepted. */
void tx_end_call(struct tx *tx, struct outlet *outlet, uint32_t error);
/* The last reply was accepted. To be called before tx_complete(), which may release the outlet. */
void tx_ended(struct outlet *outlet);

/* ---- Sending. */
/* What a sender wants to send; `large` if it may take several frames. */
struct tx_claim {
	/* In tx->claims while it waits. */
	struct list link;
	struct outlet *outlet;
	size_t size, n_fds;
	bool large, waits, woken;
	/* The shares for which claims behind it must wait (credit.c). */
	uint8_t turns;
	/* The call that the message begins, which also needs an id; or NULL. */
	struct inlet *call;
};

/* Charges a message. Returns 0 and its overdraft, or -ENOMEM, or -EAGAIN: the claim is in the queue
 * and is woken when it should try again. After 0 the message is in progress until tx_complete(), or
 * until tx_abort() if it is large and a frame of it was sent. At the end tx_unclaim() must be
 * called, whatever the result. */
int tx_charge(struct tx *tx, struct outlet *outlet, struct tx_claim *claim, uint32_t *ret_overdraft);
/* The same for most messages, which need only room in their topic's window: they have one frame and
 * no attachments, fit every limit, and are not calls. If it returns false, tx_charge() must be
 * tried. */
static inline bool tx_charge_plain(struct outlet *outlet, size_t size)
{
	/* The outlet is used by a large message, or reserved for one that waits. */
	bool is_taken = outlet->busy | (outlet->n_large > 0);

	if (!outlet->id || is_taken || outlet->limit_bytes - outlet->used_bytes < size + MESSAGE_COST)
		return false;
	outlet->used_bytes += size + MESSAGE_COST;
	outlet->n_sending++;
	return true;
}
/* Puts the claim into the queue for another reason: HELLO has not come. */
void tx_wait(struct tx *tx, struct outlet *outlet, struct tx_claim *claim);
void tx_unclaim(struct tx *tx, struct outlet *outlet, struct tx_claim *claim);
/* Counts the claims that wait to send on an outlet, or all of them if it is NULL: those that wait
 * for the id of a call, and the others. */
void tx_count_waiting(const struct tx *tx, const struct outlet *outlet, uint64_t *ret_for_credit,
		      uint64_t *ret_for_call);
/* Wakes the claims that can go on. */
void tx_wake_ready(struct tx *tx);
/* Wakes all claims that wait to send on an outlet, or all claims if it is NULL. */
void tx_wake_outlet(struct tx *tx, struct outlet *outlet);
/* Takes the charge back, because nothing was sent or will be. */
void tx_uncharge(struct tx *tx, struct outlet *outlet, size_t size, size_t n_fds, uint32_t overdraft);
/* Returns 0, -EMSGSIZE or -E2BIG if this can never be sent, or -EAGAIN if the peer's HELLO may yet
 * allow it. */
int tx_fits(const struct tx *tx, const struct outlet *outlet, size_t size, size_t n_fds);
/* True if the messages of the outlet are replies. */
static inline bool outlet_replies(const struct outlet *outlet)
{
	return outlet->kind == FRAME_REPLY;
}

/* Encodes the header of a frame of a message. `call` is the id of the call that the message begins,
 * or 0. */
static inline void tx_frame(const struct outlet *outlet, unsigned char head[FRAME_HEADER], uint8_t flags,
			    uint8_t claimed, uint32_t call, size_t payload)
{
	bool reply = outlet_replies(outlet);

	frame_encode(head, outlet->kind, flags, claimed, reply ? 0 : outlet->id, reply ? outlet->id : call, payload);
}
/* Whether a message of `size` bytes without attachments would get credit now, and whether its frame
 * would fit into the buffer. */
bool tx_has_credit(const struct tx *tx, const struct outlet *outlet, size_t size);
bool tx_has_space(const struct tx *tx, const struct outlet *outlet, size_t size);
/* Gives up a large message of which a frame was sent. ABORT is due. */
void tx_abort(struct tx *tx, struct outlet *outlet);
/* The frames will not be sent. If the connection broke, they may still be in a batch. */
void tx_give_up(struct tx *tx, struct tx_own *own);
/* The message in progress was accepted, or was not begun. */
void tx_complete(struct tx *tx, struct outlet *outlet, bool large);

/* The size of a frame with its padding. */
static inline size_t tx_own_size(const struct tx_own *own)
{
	return own->head_size + own->payload + own->padding;
}
/* Copies the frame to `to`. Returns where it ends. */
unsigned char *tx_own_put(const struct tx_own *own, unsigned char *to);
/* True if the frame fits into the buffer now. */
bool tx_append_fits(const struct tx *tx, const struct tx_own *own);
/* Puts the frame into the buffer. `fds` belong to the session from then on. A frame with
 * descriptors must be a whole message, and `own` must have no further frames. */
void tx_append(struct tx *tx, struct tx_own *own, const int *fds);

/* ---- Writing, by the holder of the writing right. */
bool tx_pending(const struct tx *tx);
/* Makes a batch, or continues the active one. Returns false if there is nothing to write. */
bool tx_batch(struct tx *tx, struct tx_own *own);
/* Why nothing of a batch was written, in this order: there is no room; for a temporary reason; a
 * descriptor was refused; a payload cannot be read; the connection is dead. */
enum tx_failure { TX_NO_ROOM, TX_PASSES, TX_REFUSED, TX_NO_PAYLOAD, TX_DEAD };
/* What became of a batch, in this order: there was none; it was written, or what is left of it can
 * be tried at once; there is no room for the rest; it must be tried later; the writer's message was
 * refused; nothing can be written any more. */
enum written { WRITTEN_NOTHING, WRITTEN, WRITTEN_FULL, WRITTEN_LATER, WRITTEN_REFUSED, WRITTEN_BROKEN };
/* `n` bytes of a batch were written, and all its descriptors. Those of the session are stored in
 * `spent`, to be closed. Returns how many. */
unsigned tx_wrote(struct tx *tx, struct tx_own *own, size_t n, int spent[TX_FDS]);
static inline enum written tx_written(const struct tx *tx)
{
	return tx->batch.active ? WRITTEN_FULL : WRITTEN;
}
/* Nothing was written, because of `failure`. `error` is the error of the kernel. */
enum written tx_failed(struct tx *tx, struct tx_own *own, int error, enum tx_failure failure, int spent[TX_FDS],
		       unsigned *ret_spent);
/* The writer leaves. Its frames are taken out of the batch. A frame that has begun will be
 * completed from the reserve. If it was the last, the writer is done. */
void tx_leave(struct tx *tx, struct tx_own *own);
/* The same, but the writer's message will not be completed. If a frame has begun, zeros take the
 * place of the rest of its payload. The caller's memory is not read. Afterwards the message must be
 * aborted, unless nothing of it was sent. Returns false if the frame that has begun is the last of
 * its message, because such a frame cannot be completed with zeros. */
bool tx_abandon(struct tx *tx, struct tx_own *own);
/* For tx_failed(). The kernel refused a descriptor of the batch, and nothing was written. Returns
 * true if it was the writer's. Otherwise the session searches for the descriptor's frame and drops
 * that frame. The frame's descriptors are stored in `spent`. */
bool tx_refused(struct tx *tx, struct tx_own *own, int error, int spent[TX_FDS], unsigned *ret_spent);
/* For tx_failed(). The write failed for a temporary reason, and nothing was written. If the
 * buffer's part has descriptors, the buffer is held and true is returned, because what needs none
 * can go on. The writer's frame is taken out if it or that part has descriptors. */
bool tx_hold(struct tx *tx, struct tx_own *own);

/* Reports calls that the caller took out of tx->unasked under the lock. Called by the holder of the
 * writing right, with no lock held. */
static inline void tx_tell_unasked(const struct tx *tx, struct list *calls)
{
	tx->events->unasked(tx->owner, calls);
}

/* Nothing more can be written, because of `error`. Counts what is lost. The descriptors that are
 * still held are stored in `spent`. Returns how many. */
unsigned tx_drop(struct tx *tx, int error, int spent[2 * TX_FDS]);

/* For the session itself. Returns the outlet of the replies to a call of the other side. It is
 * found even while its END is in a batch. If END is taken out again, what came for the call
 * meanwhile counts. */
struct outlet *tx_find_replies(const struct tx *tx, uint32_t id);
/* The outlet is about to be forgotten, so its messages no longer count as holding credit. */
void tx_forget_held(struct tx *tx, struct outlet *outlet);
/* Frees an id for which CLOSE and RESET have passed; assigns ids to outlets that wait for one. */
void tx_release(struct tx *tx, struct outlet *outlet);
void tx_assign(struct tx *tx);
/* The outlet's large message is over. */
void tx_not_busy(struct tx *tx, struct outlet *outlet);
/* The END of a call counted as sent, but was taken out of the batch or the buffer again. */
void tx_reopen(struct tx *tx, struct outlet *outlet);
/* Releases a call's outlet if END was sent and nobody needs it any more. */
void tx_let_go(struct tx *tx, struct outlet *outlet);

#endif
