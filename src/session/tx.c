/* SPDX-License-Identifier: MIT */
/*
 * Credit, ids and what is due. How batches are made of it is in batch.c.
 */
#include <base/annotate.h>
#include <base/sys.h>
#include <errno.h>
#include <session/tx.h>
#include <string.h>
#include <wire/breach.h>

/* A whole frame with OPEN is never larger. */
enum { RESERVE = FRAME_HEADER + FRAME_BODY_MAX };

/* Where the parts of a buffer lie, one behind the other. Returns where the next may begin. */
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
	tx->limit_pool = limits_base.pool_bytes;
	tx->limit_attachments = limits_base.attachments;
	list_init(&tx->claims);
	list_init(&tx->unnamed);
	list_init(&tx->due_inlets);
	list_init(&tx->due_outlets);
	list_init(&tx->unasked);
	atomic_init(&tx->granted_pool, own->pool_bytes);
	atomic_init(&tx->granted_attachments, own->attachments);
	annotate_atomic(&tx->granted_pool);
	annotate_atomic(&tx->granted_attachments);
	tx->hello_due = true;
	tx->capacity = capacity;
	tx->capacity_outlets = limits_base.topics;
	tx->next_id = 1;
	tx->free_call = 1;
	tx->control = sys_malloc(TX_CONTROL + 2 * (TX_FDS * (sizeof(struct tx_record) + sizeof(int)) + capacity + 8) + RESERVE);
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

/* ---- Ids ------------------------------------------------------------------------------------------------------------- */

/* A name is open until its CLOSE goes out. */
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
		tx->events->wake(tx->owner, outlet);
	}
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
	tx->events->released(tx->owner, outlet);
	tx_assign(tx);
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
	tx->events->wake(tx->owner, outlet);
	if (!outlet->id) {
		list_remove(&outlet->unnamed);
		return true;
	}
	tx->n_closing += outlet->kind == FRAME_DATA;
	if (!outlet->busy && !outlet->asking)
		make_due(&tx->due_outlets, &outlet->due);
	return false;
}

/* ---- Calls of this side's --------------------------------------------------------------------------------------------- */

/* Room for one more call: 0, -EAGAIN: the other side takes no more at once, or -ENOMEM. */
static int room_for_call(struct tx *tx)
{
	uint32_t most = tx->peer.calls < TX_CALLS ? tx->peer.calls : TX_CALLS;
	struct inlet **calls;

	if (tx->n_calls < tx->capacity_calls)
		return 0;
	if (tx->n_calls >= most)
		return -EAGAIN;
	calls = table_grow(tx->calls, &tx->capacity_calls, tx->n_calls + 1, most);
	if (!calls)
		return -ENOMEM;
	tx->calls = calls;
	return 0;
}

/* There is room. The lowest free id: the other side keeps memory for each that was used. */
static void begin_call(struct tx *tx, struct inlet *call)
{
	while (tx->calls[tx->free_call])
		tx->free_call++;
	inlet_init(call, tx->free_call);
	inlet_open(call, limits_base.topic_bytes, limits_base.topic_attachments);
	call->replies = true;
	tx->calls[call->id] = call;
	tx->n_calls++;
}

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
	bool waited_for = tx->n_calls == tx->capacity_calls;

	tx->calls[call->id] = NULL;
	tx->n_calls--;
	if (call->id < tx->free_call)
		tx->free_call = call->id;
	list_remove(&call->due);
	/* Neither RESET nor CREDIT is sent any more. */
	call->reset_due = false;
	atomic_store_explicit(&call->reset_sent, true, memory_order_relaxed);
	if (waited_for)
		tx->events->wake_all(tx->owner);
}

bool tx_call_undone(struct tx *tx, struct inlet *call)
{
	if (call->answered || tx->calls[call->id] != call)
		return false;
	tx_call_over(tx, call);
	return true;
}

/* ---- Calls of the other side's ---------------------------------------------------------------------------------------- */

/* Also one whose END is in a batch, which may yet be taken out: what comes for it meanwhile counts then. */
static struct outlet *find_replies(const struct tx *tx, uint32_t id)
{
	return id <= tx->capacity_replies ? tx->replies[id] : NULL;
}

int tx_open_replies(struct tx *tx, struct outlet *outlet, uint32_t id)
{
	struct outlet **replies, *before = find_replies(tx, id);

	/* The id of a call is free, as far as the other side can know, as soon as its END is in a batch. */
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
		/* The other side has begun a new call before it can have had this one's END: this one gets none. */
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
	/* Frames in the buffer that the kernel may refuse need it still. */
	if (outlet->buffered_fds > tx->drained)
		make_due(&tx->due_outlets, &outlet->due);
	else
		tx_release(tx, outlet);
}

/* ---- What the peer says ------------------------------------------------------------------------------------------------- */

int tx_hello(struct tx *tx, const struct limits *peer)
{
	/* As many as the other side takes, but memory is not spent by its word alone. */
	uint32_t topics = peer->topics < TX_TOPICS ? peer->topics : TX_TOPICS;

	if (topics > tx->capacity_outlets) {
		struct outlet **outlets = sys_realloc(tx->outlets, ((size_t)topics + 1) * sizeof *outlets);

		if (!outlets)
			return -ENOMEM;
		memset(outlets + tx->capacity_outlets + 1, 0, (topics - tx->capacity_outlets) * sizeof *outlets);
		tx->outlets = outlets;
	}
	for (uint32_t id = 1; id <= tx->capacity_outlets; id++) {
		if (!tx->outlets[id])
			continue;
		tx->outlets[id]->limit_bytes += peer->topic_bytes - tx->peer.topic_bytes;
		tx->outlets[id]->limit_attachments += peer->topic_attachments - tx->peer.topic_attachments;
	}
	tx->limit_pool += peer->pool_bytes - tx->peer.pool_bytes;
	tx->limit_attachments += peer->attachments - tx->peer.attachments;
	tx->capacity_outlets = topics;
	tx->peer = *peer;
	tx->hello_came = true;
	tx_assign(tx);
	tx->events->wake_all(tx->owner);
	return 0;
}

/* What is refused is not kept: senders go on until the channel's end is known to them. */
static bool grant(uint64_t *limit, uint64_t used, uint32_t more)
{
	if (*limit - used + more > CREDIT_MAX)
		return false;
	*limit += more;
	return true;
}

static const char *grant_outlet(struct tx *tx, struct outlet *outlet, uint32_t bytes, uint32_t attachments)
{
	if (!grant(&outlet->limit_bytes, outlet->used_bytes, bytes) ||
	    !grant(&outlet->limit_attachments, outlet->used_attachments, attachments))
		return BREACH_GRANT;
	tx->events->wake(tx->owner, outlet);
	return NULL;
}

const char *tx_credit(struct tx *tx, uint32_t id, uint32_t bytes, uint32_t attachments)
{
	struct outlet *outlet;

	if (!id) {
		if (!grant(&tx->limit_pool, tx->used_pool, bytes) ||
		    !grant(&tx->limit_attachments, tx->used_attachments, attachments))
			return BREACH_GRANT;
		tx->events->wake_all(tx->owner);
		return NULL;
	}
	outlet = id <= tx->capacity_outlets ? tx->outlets[id] : NULL;
	if (!outlet || outlet->open_due)
		return BREACH_TOPIC_ID;
	if (outlet->reset)
		return BREACH_CLOSED;
	return grant_outlet(tx, outlet, bytes, attachments);
}

const char *tx_credit_call(struct tx *tx, uint32_t call, uint32_t bytes, uint32_t attachments)
{
	struct outlet *outlet = find_replies(tx, call);

	return outlet ? grant_outlet(tx, outlet, bytes, attachments) : NULL;
}

void tx_reset_call(struct tx *tx, uint32_t call)
{
	struct outlet *outlet = find_replies(tx, call);

	if (!outlet || outlet->reset)
		return;
	outlet->reset = true;
	if (!outlet->close_sent)
		tx_end_call(tx, outlet, REPLY_DROPPED);
	tx->events->wake(tx->owner, outlet);
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
	tx->events->wake(tx->owner, outlet);
	return NULL;
}

/* ---- Answers -------------------------------------------------------------------------------------------------------------- */

void tx_return(struct tx *tx, struct inlet *inlet, uint32_t bytes, uint32_t attachments)
{
	if ((!bytes && !attachments) || inlet->reset_due || atomic_load_explicit(&inlet->reset_sent, memory_order_relaxed))
		return;
	inlet->due_bytes += bytes;
	inlet->due_attachments += attachments;
	make_due(&tx->due_inlets, &inlet->due);
}

void tx_return_shared(struct tx *tx, uint32_t pool, uint32_t attachments)
{
	tx->due_pool += pool;
	tx->due_attachments += attachments;
}

void tx_reset_inlet(struct tx *tx, struct inlet *inlet, enum reset_reason reason)
{
	if (inlet->reset_due || atomic_load_explicit(&inlet->reset_sent, memory_order_relaxed))
		return;
	inlet->reset_due = true;
	inlet->reason = reason;
	inlet->due_bytes = inlet->due_attachments = 0;
	make_due(&tx->due_inlets, &inlet->due);
}

/* ---- Credit ----------------------------------------------------------------------------------------------------------------- */

int tx_fits(const struct tx *tx, const struct outlet *outlet, size_t size, size_t n_fds)
{
	const struct limits *peer = &tx->peer, *window = outlet->kind == FRAME_REPLY ? &limits_base : peer;
	bool small = size <= peer->message_bytes && size + MESSAGE_COST <= (size_t)window->topic_bytes + peer->pool_bytes;
	bool few = n_fds <= FRAME_CARRIED_MAX && n_fds <= peer->message_attachments && n_fds <= window->topic_attachments &&
		   n_fds <= peer->attachments;

	/* Whether attachments are wanted at all only HELLO tells. */
	if (small && few && (tx->hello_came || !n_fds))
		return 0;
	if (!tx->hello_came && size <= CREDIT_MAX && n_fds <= FRAME_CARRIED_MAX)
		return -EAGAIN;
	return small ? -E2BIG : -EMSGSIZE;
}

/* Only those whose topic has credit stand in the queue for the pool: a slow topic must not hold it. */
static void leave_queue(struct tx *tx, struct tx_claim *claim)
{
	if (!list_linked(&claim->link))
		return;
	list_remove(&claim->link);
	if (!list_empty(&tx->claims))
		tx->events->wake_all(tx->owner);
}

void tx_unclaim(struct tx *tx, struct outlet *outlet, struct tx_claim *claim)
{
	if (claim->waits && !--outlet->n_large)
		tx->events->wake(tx->owner, outlet);
	claim->waits = false;
	leave_queue(tx, claim);
}

/* On one topic messages of several frames and others do not mix, and those of one frame do not keep the larger ones waiting for ever. */
static bool must_queue(struct outlet *outlet, struct tx_claim *claim)
{
	if (claim->large && !claim->waits) {
		claim->waits = true;
		outlet->n_large++;
	}
	return outlet->busy || (claim->large ? outlet->n_sending : outlet->n_large);
}

int tx_charge(struct tx *tx, struct outlet *outlet, struct tx_claim *claim, uint32_t *ret_overdraft)
{
	uint64_t cost = claim->size + MESSAGE_COST, left = outlet->limit_bytes - outlet->used_bytes;
	uint64_t over = cost > left ? cost - left : 0;
	int room = 0;

	if (claim->call && (room = room_for_call(tx)) == -ENOMEM)
		return room;
	if (room || !outlet->id || must_queue(outlet, claim) || !left ||
	    outlet->limit_attachments - outlet->used_attachments < claim->n_fds ||
	    tx->limit_attachments - tx->used_attachments < claim->n_fds || over > tx->peer.pool_bytes) {
		leave_queue(tx, claim);
		return -EAGAIN;
	}
	if (over) {
		if (!list_linked(&claim->link))
			list_append(&tx->claims, &claim->link);
		if (tx->claims.next != &claim->link || tx->limit_pool - tx->used_pool < over)
			return -EAGAIN;
	}
	if (claim->call)
		begin_call(tx, claim->call);
	outlet->used_bytes += cost - over;
	outlet->used_attachments += claim->n_fds;
	tx->used_pool += over;
	tx->used_attachments += claim->n_fds;
	if (claim->large) {
		outlet->busy = true;
		outlet->calling = claim->call;
		tx->n_busy++;
	} else {
		outlet->n_sending++;
	}
	*ret_overdraft = (uint32_t)over;
	return 0;
}

bool tx_has_credit(const struct tx *tx, const struct outlet *outlet, size_t size)
{
	uint64_t left = outlet->limit_bytes - outlet->used_bytes, pool = tx->limit_pool - tx->used_pool;

	return outlet->id && !outlet->busy && !outlet->n_large && left &&
	       (left >= size + MESSAGE_COST || (list_empty(&tx->claims) && left + pool >= size + MESSAGE_COST));
}

void tx_uncharge(struct tx *tx, struct outlet *outlet, size_t size, size_t n_fds, uint32_t overdraft)
{
	outlet->used_bytes -= size + MESSAGE_COST - overdraft;
	outlet->used_attachments -= n_fds;
	tx->used_pool -= overdraft;
	tx->used_attachments -= n_fds;
	if (overdraft || n_fds)
		tx->events->wake_all(tx->owner);
	else
		tx->events->wake(tx->owner, outlet);
}

/* Not of one that the end of the channel has let go of while it was busy: it is freed as soon as its topic is. */
static void make_outlet_due(struct tx *tx, struct outlet *outlet)
{
	if (outlet->kind != FRAME_DATA || tx->outlets[outlet->id] == outlet)
		make_due(&tx->due_outlets, &outlet->due);
}

void tx_abort(struct tx *tx, struct outlet *outlet)
{
	/* The outlet stays busy until ABORT is in a batch: nothing may overtake it. */
	outlet->abort_due = true;
	make_outlet_due(tx, outlet);
}

void tx_not_busy(struct tx *tx, struct outlet *outlet)
{
	outlet->busy = false;
	tx->n_busy--;
	if (outlet->close_wanted && !outlet->close_sent)
		make_outlet_due(tx, outlet);
	tx->events->wake(tx->owner, outlet);
}

void tx_complete(struct tx *tx, struct outlet *outlet, bool large)
{
	if (!large) {
		if (!--outlet->n_sending && outlet->n_large)
			tx->events->wake(tx->owner, outlet);
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

/* ---- The end ------------------------------------------------------------------------------------------------------------------ */

/* Calls that have not been answered; those whose last reply had not got out of the buffer. */
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
