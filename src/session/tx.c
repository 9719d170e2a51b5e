/* SPDX-License-Identifier: MIT */
/*
 * Ids, and what is due. Credit is in credit.c; how batches are made is in batch.c,
 * control.c and outgoing.c.
 */
#include <base/annotate.h>
#include <base/sys.h>
#include <errno.h>
#include <session/tx.h>
#include <string.h>
#include <wire/breach.h>

/* No frame is larger than this, and no run. */
enum { RESERVE = FRAME_HEADER + FRAME_BODY_MAX };

/*
 * Places the parts of a buffer at `at`, one behind the other. Returns where the next buffer may
 * begin.
 */
static unsigned char *place_buffer(struct tx_buffer *buffer, unsigned char *at, size_t capacity)
{
	buffer->records = (struct tx_record *)(void *)at;
	buffer->fds = (int *)(buffer->records + TX_FDS);
	buffer->bytes = (unsigned char *)(buffer->fds + TX_FDS);
	return buffer->bytes + (capacity + 7) / 8 * 8;
}

int tx_init(struct tx *tx, const struct limits *own, size_t capacity, const struct tx_events *events, void *owner)
{
	memset(tx, 0, sizeof *tx);
	tx->events = events;
	tx->owner = owner;
	tx->own = *own;
	tx->peer = limits_base;
	tx->pool.limit = limits_base.pool_bytes;
	tx->attachments.limit = limits_base.attachments;
	list_init(&tx->claims);
	list_init(&tx->unnamed);
	list_init(&tx->due_inlets);
	list_init(&tx->late_inlets);
	list_init(&tx->due_outlets);
	list_init(&tx->unasked);
	atomic_init(&tx->granted_pool, own->pool_bytes);
	atomic_init(&tx->granted_attachments, own->attachments);
	annotate_atomic(&tx->granted_pool);
	annotate_atomic(&tx->granted_attachments);
	annotate_atomic(&tx->wanted);
	tx->lent = tx->want_until = tx->eager_until = own->attachments;
	tx->hello_due = true;
	tx->capacity = capacity;
	tx->capacity_outlets = limits_base.topics;
	tx->next_id = 1;
	tx->free_call = 1;
	tx->control =
	    sys_malloc(TX_CONTROL + 2 * (TX_FDS * (sizeof(struct tx_record) + sizeof(int)) + capacity + 8) + RESERVE);
	tx->outlets = sys_calloc((size_t)tx->capacity_outlets + 1, sizeof(struct outlet *));
	if (!tx->control || !tx->outlets) {
		tx_end(tx);
		return -ENOMEM;
	}
	tx->fill = &tx->buffers[0];
	tx->drain = &tx->buffers[1];
	tx->reserve = place_buffer(tx->drain, place_buffer(tx->fill, tx->control + TX_CONTROL, capacity), capacity);
	tx->fill->generation = 1;
	return 0;
}

static void make_due(struct list *list, struct list *link)
{
	if (!list_linked(link))
		list_append(list, link);
}

/* ---- Ids ------------------------------------------------------------------------------------- */

/* A name is open until its CLOSE is sent. */
static bool name_taken(const struct tx *tx, const struct outlet *outlet)
{
	if (!tx->n_closing)
		return false;
	for (uint32_t id = 1; id <= tx->capacity_outlets; id++) {
		const struct outlet *other = tx->outlets[id];

		if (other && !other->close_sent && other->name_size == outlet->name_size &&
		    memcmp(other->name, outlet->name, outlet->name_size) == 0)
			return true;
	}
	return false;
}

void tx_assign(struct tx *tx)
{
	struct list *link, *next;
	bool assigned = false;

	for (link = tx->unnamed.next; link != &tx->unnamed && tx->n_outlets < tx->capacity_outlets; link = next) {
		struct outlet *outlet = list_entry(link, struct outlet, unnamed);

		next = link->next;
		if (name_taken(tx, outlet))
			continue;
		list_remove(link);
		while (tx->outlets[tx->next_id])
			tx->next_id = tx->next_id < tx->capacity_outlets ? tx->next_id + 1 : 1;
		outlet->id = tx->next_id;
		tx->outlets[outlet->id] = outlet;
		tx->n_outlets++;
		outlet->limit_bytes = tx->peer.topic_bytes;
		outlet->limit_attachments = tx->peer.topic_attachments;
		outlet->open_due = true;
		make_due(&tx->due_outlets, &outlet->due);
		assigned = true;
	}
	if (assigned)
		tx_wake_ready(tx);
}

static void forget_replies(struct tx *tx, const struct outlet *outlet)
{
	if (tx->replies[outlet->id] == outlet)
		tx->replies[outlet->id] = NULL;
}

static void release_reply(struct tx *tx, struct outlet *outlet)
{
	list_remove(&outlet->due);
	if (tx->batch.reserved == outlet)
		tx->batch.reserved = NULL;
	forget_replies(tx, outlet);
	tx_forget_held(tx, outlet);
	tx->events->released(tx->owner, outlet);
}

void tx_release(struct tx *tx, struct outlet *outlet)
{
	if (outlet->kind == FRAME_REPLY) {
		release_reply(tx, outlet);
		return;
	}
	list_remove(&outlet->due);
	tx->outlets[outlet->id] = NULL;
	tx->n_outlets--;
	tx_forget_held(tx, outlet);
	tx->events->released(tx->owner, outlet);
	tx_assign(tx);
}

static void release_at_end(struct tx *tx, struct outlet *outlet)
{
	list_remove(&outlet->due);
	outlet->close_wanted = true;
	tx->events->released(tx->owner, outlet);
}

void tx_release_all(struct tx *tx)
{
	struct list *link;

	for (uint32_t id = 1; id <= tx->capacity_outlets; id++) {
		struct outlet *outlet = tx->outlets[id];

		tx->outlets[id] = NULL;
		if (outlet)
			release_at_end(tx, outlet);
	}
	while ((link = list_take_first(&tx->unnamed)))
		release_at_end(tx, list_entry(link, struct outlet, unnamed));
}

static void begin_outlet(struct outlet *outlet, uint8_t kind)
{
	memset(outlet, 0, sizeof *outlet);
	outlet->kind = kind;
	list_init(&outlet->unnamed);
	list_init(&outlet->due);
}

void tx_open(struct tx *tx, struct outlet *outlet, const char *name, size_t size)
{
	begin_outlet(outlet, FRAME_DATA);
	outlet->name = name;
	outlet->name_size = size;
	list_append(&tx->unnamed, &outlet->unnamed);
	tx_assign(tx);
}

bool tx_close(struct tx *tx, struct outlet *outlet)
{
	if (outlet->close_wanted)
		return false;
	outlet->close_wanted = true;
	tx_wake_outlet(tx, outlet);
	if (!outlet->id) {
		list_remove(&outlet->unnamed);
		return true;
	}
	tx->n_closing += outlet->kind == FRAME_DATA;
	if (!outlet->busy && !outlet->asking)
		make_due(&tx->due_outlets, &outlet->due);
	return false;
}

/* ---- Calls of this side ---------------------------------------------------------------------- */

struct inlet *tx_find_call(struct tx *tx, uint32_t id)
{
	struct inlet *call = id <= tx->capacity_calls && tx->calls ? tx->calls[id] : NULL;

	if (!call || !call->asked)
		return NULL;
	call->answered = true;
	return call;
}

void tx_call_over(struct tx *tx, struct inlet *call)
{
	tx->calls[call->id] = NULL;
	tx->n_calls--;
	if (call->id < tx->free_call)
		tx->free_call = call->id;
	list_remove(&call->due);
	tx_return_pool(tx, call->due_pool);
	call->due_pool = 0;
	/* Neither RESET nor CREDIT is sent any more. */
	call->reset_due = false;
	atomic_store_explicit(&call->reset_sent, true, memory_order_relaxed);
	tx_wake_ready(tx);
}

bool tx_call_undone(struct tx *tx, struct inlet *call)
{
	if (call->answered || tx->calls[call->id] != call)
		return false;
	tx_call_over(tx, call);
	return true;
}

/* ---- Calls of the other side ----------------------------------------------------------------- */

struct outlet *tx_find_replies(const struct tx *tx, uint32_t id)
{
	return id <= tx->capacity_replies ? tx->replies[id] : NULL;
}

int tx_open_replies(struct tx *tx, struct outlet *outlet, uint32_t id)
{
	struct outlet **replies, *before = tx_find_replies(tx, id);

	/*
	 * As soon as the END of a call is in a batch, the other side may have it, and use the id
	 * again.
	 */
	if (before && !before->close_sent)
		return -EALREADY;
	replies = table_grow(tx->replies, &tx->capacity_replies, id, tx->own.calls);
	if (!replies)
		return -ENOMEM;
	tx->replies = replies;
	begin_outlet(outlet, FRAME_REPLY);
	outlet->id = id;
	outlet->asking = true;
	outlet->limit_bytes = limits_base.topic_bytes;
	outlet->limit_attachments = limits_base.topic_attachments;
	tx->replies[id] = outlet;
	return 0;
}

void tx_asked(struct tx *tx, struct outlet *outlet)
{
	outlet->asking = false;
	if (outlet->close_wanted && !outlet->close_sent)
		make_due(&tx->due_outlets, &outlet->due);
}

void tx_end_call(struct tx *tx, struct outlet *outlet, uint32_t error)
{
	if (outlet->close_wanted)
		return;
	outlet->end_error = error;
	tx_close(tx, outlet);
}

void tx_reopen(struct tx *tx, struct outlet *outlet)
{
	if (!outlet->close_sent)
		return;
	if (tx->replies[outlet->id] != outlet) {
		/*
		 * The other side has begun a new call with the same id before it can have received
		 * the END of this one. So this one gets no END.
		 */
		outlet->close_wanted = true;
		make_due(&tx->due_outlets, &outlet->due);
		return;
	}
	outlet->close_sent = false;
	if (outlet->reset)
		tx_end_call(tx, outlet, REPLY_DROPPED);
}

void tx_ended(struct outlet *outlet)
{
	outlet->close_wanted = true;
}

void tx_let_go(struct tx *tx, struct outlet *outlet)
{
	if (!outlet->close_wanted || !outlet->close_sent || outlet->n_sending || outlet->busy)
		return;
	/* Frames in the buffer that the kernel may refuse still need the outlet. */
	if (outlet->buffered_fds > tx->drained)
		make_due(&tx->due_outlets, &outlet->due);
	else
		tx_release(tx, outlet);
}

/* ---- What the peer sent ---------------------------------------------------------------------- */

int tx_hello(struct tx *tx, const struct hello *hello)
{
	const struct limits *peer = &hello->limits;
	/*
	 * As many as the other side accepts, but bounded, so that a large number in HELLO does not
	 * cost memory by itself.
	 */
	uint32_t topics = peer->topics < TX_TOPICS ? peer->topics : TX_TOPICS;

	if (topics > tx->capacity_outlets) {
		struct outlet **outlets = sys_realloc(tx->outlets, ((size_t)topics + 1) * sizeof *outlets);

		if (!outlets)
			return -ENOMEM;
		memset(outlets + tx->capacity_outlets + 1, 0, (topics - tx->capacity_outlets) * sizeof *outlets);
		tx->outlets = outlets;
	}
	for (uint32_t id = 1; id <= tx->capacity_outlets; id++) {
		struct outlet *outlet = tx->outlets[id];

		if (!outlet)
			continue;
		outlet->limit_bytes += peer->topic_bytes - tx->peer.topic_bytes;
		outlet->limit_attachments =
		    outlet->limit_attachments + peer->topic_attachments - tx->peer.topic_attachments;
	}
	/* The result may be below the base, because no attachments were sent before HELLO came. */
	tx->pool.limit += peer->pool_bytes - tx->peer.pool_bytes;
	tx->attachments.limit = tx->attachments.limit + peer->attachments - tx->peer.attachments;
	tx->capacity_outlets = topics;
	tx->peer = *peer;
	tx->peer_features = hello->features;
	tx->hello_came = true;
	tx_assign(tx);
	tx_wake_outlet(tx, NULL);
	return 0;
}

void tx_reset_call(struct tx *tx, uint32_t call)
{
	struct outlet *outlet = tx_find_replies(tx, call);

	if (!outlet || outlet->reset)
		return;
	outlet->reset = true;
	if (!outlet->close_sent)
		tx_end_call(tx, outlet, REPLY_DROPPED);
	tx_wake_outlet(tx, outlet);
}

const char *tx_reset(struct tx *tx, uint32_t id, uint32_t reason)
{
	struct outlet *outlet = id <= tx->capacity_outlets ? tx->outlets[id] : NULL;

	if (!outlet || outlet->open_due || outlet->reset || (reason == RESET_DONE && !outlet->close_sent))
		return BREACH_RESET;
	outlet->reset = true;
	outlet->reset_reason = reason;
	if (outlet->close_sent) {
		tx_release(tx, outlet);
		return NULL;
	}
	tx_close(tx, outlet);
	tx_wake_outlet(tx, outlet);
	return NULL;
}

/* ---- The end of a message -------------------------------------------------------------------- */

/*
 * Makes an outlet due, unless the end of the channel released it while it was busy. Then it is
 * freed as soon as its topic is.
 */
static void make_outlet_due(struct tx *tx, struct outlet *outlet)
{
	if (outlet->kind != FRAME_DATA || tx->outlets[outlet->id] == outlet)
		make_due(&tx->due_outlets, &outlet->due);
}

void tx_abort(struct tx *tx, struct outlet *outlet)
{
	/* The outlet stays busy until ABORT is in a batch, because nothing may overtake it. */
	outlet->abort_due = true;
	make_outlet_due(tx, outlet);
}

void tx_not_busy(struct tx *tx, struct outlet *outlet)
{
	outlet->busy = false;
	tx->n_busy--;
	if (outlet->close_wanted && !outlet->close_sent)
		make_outlet_due(tx, outlet);
	tx_wake_ready(tx);
}

void tx_complete(struct tx *tx, struct outlet *outlet, bool large)
{
	if (!large) {
		if (!--outlet->n_sending && outlet->n_large)
			tx_wake_ready(tx);
	} else {
		tx_not_busy(tx, outlet);
	}
	if (outlet->kind == FRAME_REPLY)
		tx_let_go(tx, outlet);
}

void tx_give_up(struct tx *tx, struct tx_own *own)
{
	if (own->is_last && own->batched)
		tx_reopen(tx, own->outlet);
}

/* ---- The end --------------------------------------------------------------------------------- */

/* Releases calls that have not been answered, and those whose last reply is still in the buffer. */
static void release_replies(struct tx *tx)
{
	for (uint32_t id = 1; id <= tx->capacity_replies; id++) {
		if (tx->replies[id])
			release_reply(tx, tx->replies[id]);
	}
	for (struct list *link = tx->due_outlets.next, *next; link != &tx->due_outlets; link = next) {
		struct outlet *outlet = list_entry(link, struct outlet, due);

		next = link->next;
		if (outlet->kind == FRAME_REPLY)
			release_reply(tx, outlet);
	}
}

void tx_end(struct tx *tx)
{
	if (tx->events)
		release_replies(tx);
	free(tx->calls);
	free(tx->replies);
	tx->calls = NULL;
	tx->replies = NULL;
	tx->capacity_calls = tx->capacity_replies = 0;
	free(tx->control);
	free(tx->outlets);
	tx->control = NULL;
	tx->outlets = NULL;
}
