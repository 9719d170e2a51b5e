/* SPDX-License-Identifier: MIT */
/*
 * Credit decides whether a message may be sent, which senders wait, and which of them go on when
 * credit comes.
 *
 * A message is charged to its topic and to two shares of all topics: the pool, for the bytes that
 * its topic's window has no room for, and the channel's attachments. Topics that nobody drains must
 * not take what the others need. So three quarters of each share are kept for topics that hold
 * little of it. Little means at most 3/64. Then even sixteen topics that are never drained leave
 * that much to the next one. Any topic may use the last quarter. A message that needs more than
 * that is sent when nobody holds anything, and until it has been taken the others have only what it
 * leaves.
 *
 * Claims that wait form one queue, in the order in which they came. A claim keeps its turn if it
 * waits for the last quarter and its topic holds nothing of the share: those behind it may take
 * only little, so that small messages do not keep a large one waiting for ever. A claim that waits
 * for its own topic, or until what its topic sent has been taken, does not delay other topics.
 *
 * Only claims that can go on are woken. What they are about to take is reserved for them until they
 * have tried again.
 */
#include <base/sys.h>
#include <errno.h>
#include <session/tx.h>
#include <wire/breach.h>

enum {
	/*
	 * Of PARTS parts of a share, KEPT are kept for topics that hold little of it. Up to LITTLE
	 * parts count as little.
	 */
	PARTS = 64,
	KEPT = 48,
	LITTLE = KEPT / 16,
	/* The shares for which a claim keeps its turn. */
	TURN_POOL = 1,
	TURN_ATTACHMENTS = 2,
};

/* What claims before another in the queue are about to take, and for which shares they keep their
 * turns. */
struct before {
	uint64_t pool, attachments;
	uint32_t calls;
	unsigned turns;
};

int tx_fits(const struct tx *tx, const struct outlet *outlet, size_t size, size_t n_fds)
{
	const struct limits *peer = &tx->peer, *window = outlet->kind == FRAME_REPLY ? &limits_base : peer;
	bool small =
	    size <= peer->message_bytes && size + MESSAGE_COST <= (size_t)window->topic_bytes + peer->pool_bytes;
	bool few =
	    n_fds <= FRAME_CARRIED_MAX && n_fds <= peer->message_attachments && n_fds <= window->topic_attachments;

	/* Only HELLO tells whether attachments are accepted at all. */
	if (small && few && (tx->hello_came || !n_fds))
		return 0;
	if (!tx->hello_came && size <= CREDIT_MAX && n_fds <= FRAME_CARRIED_MAX)
		return -EAGAIN;
	return small ? -E2BIG : -EMSGSIZE;
}

/* ---- What is shared -------------------------------------------------------------------------- */

static uint64_t held_of(const struct tx_shared *shared)
{
	return shared->held + (shared->unowned > 0 ? (uint64_t)shared->unowned : 0);
}

static uint64_t total_of(const struct tx_shared *shared)
{
	return tx_room_of(shared) + held_of(shared);
}

/* A single byte or attachment always counts as little. */
static bool is_little(const struct tx_shared *shared, uint64_t n)
{
	return n <= 1 || n <= total_of(shared) * LITTLE / PARTS;
}

/* How much must be free for a topic that holds `held` to take `n`, after others have taken what is
 * reserved for them. */
static uint64_t room_needed(const struct tx_shared *shared, uint64_t held, uint64_t n, uint64_t reserved)
{
	if (is_little(shared, held + n) || (!held_of(shared) && !reserved))
		return n;
	return n + (total_of(shared) * KEPT + PARTS - 1) / PARTS;
}

/* True if a topic that holds `held` may take `n`, after others have taken what is reserved for
 * them. */
static bool shared_lets(const struct tx_shared *shared, uint64_t held, uint64_t n, uint64_t reserved, bool has_turn)
{
	uint64_t room = tx_room_of(shared);

	if (!n)
		return true;
	if (!has_turn && !is_little(shared, held + n))
		return false;
	return room >= reserved && room - reserved >= room_needed(shared, held, n, reserved);
}

static void take_shared(struct tx_shared *shared, uint64_t *held, uint64_t n)
{
	shared->used += n;
	shared->held += n;
	*held += n;
}

/* The topic no longer holds `n`. A reader may grant more, so more may come back than it held. */
static void credit_let_go(struct tx_shared *shared, uint64_t *held, uint64_t n)
{
	if (n > *held)
		n = *held;
	*held -= n;
	shared->held -= n;
}

/* ---- Who may go ------------------------------------------------------------------------------ */

static uint32_t most_calls(const struct tx *tx)
{
	return tx->peer.calls < TX_CALLS ? tx->peer.calls : TX_CALLS;
}

static uint64_t bytes_left(const struct outlet *outlet)
{
	return outlet->limit_bytes - outlet->used_bytes;
}

static uint64_t overdraft_of(const struct outlet *outlet, size_t size)
{
	uint64_t cost = size + MESSAGE_COST, left = bytes_left(outlet);

	return cost > left ? cost - left : 0;
}

/* On one topic, messages of several frames and others do not mix, and those of one frame do not
 * keep the larger ones waiting for ever. */
static bool topic_lets(const struct outlet *outlet, const struct tx_claim *claim)
{
	return outlet->id && bytes_left(outlet) && !outlet->busy &&
	       !(claim->large ? outlet->n_sending : outlet->n_large) &&
	       outlet->limit_attachments - outlet->used_attachments >= claim->n_fds;
}

/* Whether no id is free for the call, after others have taken what is reserved for them. */
static bool lacks_call_id(const struct tx *tx, const struct tx_claim *claim, const struct before *before)
{
	return claim->call && tx->n_calls + before->calls >= most_calls(tx);
}

/* Returns true if the claim may be charged. Otherwise notes for which shares it keeps its turn. */
static bool lets_go(const struct tx *tx, struct tx_claim *claim, const struct before *before)
{
	const struct outlet *outlet = claim->outlet;
	uint64_t over = overdraft_of(outlet, claim->size);
	bool pool, attachments;

	claim->turns = 0;
	if (!topic_lets(outlet, claim) || lacks_call_id(tx, claim, before))
		return false;
	pool = shared_lets(&tx->pool, outlet->held_pool, over, before->pool, !(before->turns & TURN_POOL));
	attachments = shared_lets(&tx->attachments, outlet->held_attachments, claim->n_fds, before->attachments,
				  !(before->turns & TURN_ATTACHMENTS));
	if (!pool && !outlet->held_pool && over <= tx_room_of(&tx->pool) + held_of(&tx->pool))
		claim->turns |= TURN_POOL;
	if (!attachments && !outlet->held_attachments)
		claim->turns |= TURN_ATTACHMENTS;
	return pool && attachments;
}

/* Returns true if the claim waits for attachments of the channel. Then WANT is due, unless the
 * other side has yet to grant what it was asked for last. */
static bool want_attachments(struct tx *tx, const struct tx_claim *claim)
{
	struct tx_shared *shared = &tx->attachments;
	uint64_t needed = room_needed(shared, claim->outlet->held_attachments, claim->n_fds, 0), until;

	if (!claim->n_fds || !tx->hello_came || !topic_lets(claim->outlet, claim) || tx_room_of(shared) >= needed)
		return false;
	/* With this much more, the last quarter is enough for the message. */
	until = shared->limit + PARTS / (PARTS - KEPT) * (needed - tx_room_of(shared));
	if ((int32_t)(tx->want - (uint32_t)shared->limit) <= 0) {
		tx->want = (uint32_t)until;
		tx->want_due = true;
	}
	return true;
}

/* Counts a claim as one that is before those that are examined next. */
static void stands_before(struct before *before, const struct tx_claim *claim)
{
	if (claim->woken) {
		before->pool += overdraft_of(claim->outlet, claim->size);
		before->attachments += claim->n_fds;
		before->calls += claim->call != NULL;
	}
	before->turns |= claim->turns;
}

/* Sums up what the claims before `claim` are about to take and wait for. NULL: all claims. */
static struct before all_before(const struct tx *tx, const struct tx_claim *claim)
{
	struct before before = {0};

	for (struct list *link = tx->claims.next; link != &tx->claims; link = link->next) {
		const struct tx_claim *other = list_entry(link, struct tx_claim, link);

		if (other == claim)
			break;
		stands_before(&before, other);
	}
	return before;
}

/* Whether a claim for this outlet keeps its turn. */
static bool has_turn(const struct tx *tx, const struct outlet *outlet)
{
	for (struct list *link = tx->claims.next; link != &tx->claims; link = link->next) {
		const struct tx_claim *claim = list_entry(link, struct tx_claim, link);

		if (claim->turns && claim->outlet == outlet)
			return true;
	}
	return false;
}

/* ---- Waiting --------------------------------------------------------------------------------- */

static void credit_wake(struct tx *tx, struct tx_claim *claim)
{
	claim->woken = true;
	claim->outlet->n_woken++;
	tx->events->wake(tx->owner, claim);
}

static void wake_up(struct tx_claim *claim)
{
	claim->outlet->n_woken -= claim->woken;
	claim->woken = false;
}

/* Whether a claim should try again. If it waited for HELLO, its sender may have to learn that the
 * message is too large. */
static bool is_to_look(const struct tx *tx, struct tx_claim *claim, const struct before *before)
{
	int r = tx_fits(tx, claim->outlet, claim->size, claim->n_fds);

	if (r)
		return r != -EAGAIN;
	return !claim->outlet->n_woken && lets_go(tx, claim, before);
}

void tx_wake_ready(struct tx *tx)
{
	struct before before = {0};
	bool wanted = false;

	for (struct list *link = tx->claims.next; link != &tx->claims; link = link->next) {
		struct tx_claim *claim = list_entry(link, struct tx_claim, link);

		if (!claim->woken && is_to_look(tx, claim, &before))
			credit_wake(tx, claim);
		if (!claim->woken && !wanted)
			wanted = want_attachments(tx, claim);
		stands_before(&before, claim);
	}
	tx->events->changed(tx->owner, NULL);
}

void tx_wake_outlet(struct tx *tx, struct outlet *outlet)
{
	for (struct list *link = tx->claims.next; link != &tx->claims; link = link->next) {
		struct tx_claim *claim = list_entry(link, struct tx_claim, link);

		if (!claim->woken && (!outlet || claim->outlet == outlet))
			credit_wake(tx, claim);
	}
	tx->events->changed(tx->owner, outlet);
}

void tx_wait(struct tx *tx, struct outlet *outlet, struct tx_claim *claim)
{
	/* What was reserved for the claim is free for others now. */
	bool changes = claim->woken;

	claim->outlet = outlet;
	wake_up(claim);
	if (claim->large && !claim->waits) {
		claim->waits = true;
		outlet->n_large++;
		/*
		 * Smaller claims of its topic wait for it from now on, and so delay no other
		 * topics.
		 */
		changes |= has_turn(tx, outlet);
	}
	if (!list_linked(&claim->link))
		list_append(&tx->claims, &claim->link);
	want_attachments(tx, claim);
	if (changes)
		tx_wake_ready(tx);
}

void tx_unclaim(struct tx *tx, struct outlet *outlet, struct tx_claim *claim)
{
	bool stood = list_linked(&claim->link);

	if (stood) {
		wake_up(claim);
		outlet->n_large -= claim->waits;
		claim->waits = false;
		list_remove(&claim->link);
	}
	/* A claim that was not in the queue may have ended the turn of another, because its topic
	 * holds something now. */
	if (!list_empty(&tx->claims) && (stood || has_turn(tx, outlet)))
		tx_wake_ready(tx);
}

void tx_count_waiting(const struct tx *tx, const struct outlet *outlet, uint64_t *ret_for_credit,
		      uint64_t *ret_for_call)
{
	struct before before = {0};

	*ret_for_credit = *ret_for_call = 0;
	for (struct list *link = tx->claims.next; link != &tx->claims; link = link->next) {
		const struct tx_claim *claim = list_entry(link, struct tx_claim, link);

		if (!outlet || claim->outlet == outlet)
			++*(lacks_call_id(tx, claim, &before) ? ret_for_call : ret_for_credit);
		stands_before(&before, claim);
	}
}

/* ---- Charging -------------------------------------------------------------------------------- */

/* Makes room for one more call. Returns 0 or -ENOMEM. */
static int room_for_call(struct tx *tx)
{
	struct inlet **calls;

	if (tx->n_calls < tx->capacity_calls)
		return 0;
	calls = table_grow(tx->calls, &tx->capacity_calls, tx->n_calls + 1, most_calls(tx));
	if (!calls)
		return -ENOMEM;
	tx->calls = calls;
	return 0;
}

/* Begins a call, for which there is room. It gets the lowest free id, because the other side keeps
 * memory for each id that was used. */
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

int tx_charge(struct tx *tx, struct outlet *outlet, struct tx_claim *claim, uint32_t *ret_overdraft)
{
	struct before before = {0};
	uint64_t over;

	claim->outlet = outlet;
	if (!list_empty(&tx->claims))
		before = all_before(tx, claim);
	if (!lets_go(tx, claim, &before)) {
		tx_wait(tx, outlet, claim);
		return -EAGAIN;
	}
	if (claim->call && room_for_call(tx) < 0)
		return -ENOMEM;
	over = overdraft_of(outlet, claim->size);
	if (claim->call)
		begin_call(tx, claim->call);
	outlet->used_bytes += claim->size + MESSAGE_COST - over;
	outlet->used_attachments += claim->n_fds;
	take_shared(&tx->pool, &outlet->held_pool, over);
	take_shared(&tx->attachments, &outlet->held_attachments, claim->n_fds);
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
	const struct tx_claim claim = {.size = size};
	const struct before before = all_before(tx, NULL);

	return topic_lets(outlet, &claim) && shared_lets(&tx->pool, outlet->held_pool, overdraft_of(outlet, size),
							 before.pool, !(before.turns & TURN_POOL));
}

void tx_uncharge(struct tx *tx, struct outlet *outlet, size_t size, size_t n_fds, uint32_t overdraft)
{
	outlet->used_bytes -= size + MESSAGE_COST - overdraft;
	outlet->used_attachments -= n_fds;
	tx->pool.used -= overdraft;
	tx->attachments.used -= n_fds;
	/* If the outlet has been forgotten meanwhile, what its message held is unowned. */
	if (overdraft > outlet->held_pool)
		tx->pool.unowned -= (int64_t)(overdraft - outlet->held_pool);
	credit_let_go(&tx->pool, &outlet->held_pool, overdraft);
	credit_let_go(&tx->attachments, &outlet->held_attachments, n_fds);
	tx_wake_ready(tx);
}

void tx_forget_held(struct tx *tx, struct outlet *outlet)
{
	bool held = outlet->held_pool || outlet->held_attachments;

	tx->pool.unowned += (int64_t)outlet->held_pool;
	credit_let_go(&tx->pool, &outlet->held_pool, outlet->held_pool);
	credit_let_go(&tx->attachments, &outlet->held_attachments, outlet->held_attachments);
	if (held && !list_empty(&tx->claims))
		tx_wake_ready(tx);
}

/* ---- What the peer sent ---------------------------------------------------------------------- */

/* A grant that breaks the rule is not counted, because senders still use the limit until they learn
 * that the channel has ended. */
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
	credit_let_go(&tx->attachments, &outlet->held_attachments, attachments);
	tx_wake_ready(tx);
	return NULL;
}

/* Grants credit of the shares. The bytes were held by messages of `outlet`. If it is NULL, the
 * frame does not name the outlet, or it is no longer known. */
static const char *grant_shared(struct tx *tx, struct outlet *outlet, uint32_t bytes, uint32_t attachments)
{
	if (!grant(&tx->pool.limit, tx->pool.used, bytes) ||
	    !grant(&tx->attachments.limit, tx->attachments.used, attachments))
		return BREACH_GRANT;
	if (outlet)
		credit_let_go(&tx->pool, &outlet->held_pool, bytes);
	else
		tx->pool.unowned -= bytes;
	tx_wake_ready(tx);
	return NULL;
}

const char *tx_credit(struct tx *tx, uint32_t id, uint32_t bytes, uint32_t attachments, bool overdraft)
{
	struct outlet *outlet;

	if (!id)
		return grant_shared(tx, NULL, bytes, attachments);
	outlet = id <= tx->capacity_outlets ? tx->outlets[id] : NULL;
	if (!outlet || outlet->open_due)
		return BREACH_TOPIC_ID;
	if (outlet->reset)
		return BREACH_CLOSED;
	return overdraft ? grant_shared(tx, outlet, bytes, attachments) : grant_outlet(tx, outlet, bytes, attachments);
}

const char *tx_credit_call(struct tx *tx, uint32_t call, uint32_t bytes, uint32_t attachments, bool overdraft)
{
	struct outlet *outlet = tx_find_replies(tx, call);

	if (overdraft)
		return grant_shared(tx, outlet, bytes, attachments);
	return outlet ? grant_outlet(tx, outlet, bytes, attachments) : NULL;
}
