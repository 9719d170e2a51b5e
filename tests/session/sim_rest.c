/* SPDX-License-Identifier: MIT */
/*
 * When nothing can happen any more, each sender that waits must have a reason. The reason is
 * derived from what lies in the queues that nobody drains and from the descriptors that are still
 * open, not from what the session has counted.
 */
#include <session/sim.h>

/*
 * A share of topics and calls: the part that is free, and what is held by messages in queues. The
 * attachments of those that have ended do not count.
 */
struct share {
	uint64_t free, held, largest;
	unsigned holders;
};

/* The shares for which earlier claims in the line have the turn. */
struct turns {
	bool pool, attachments;
};

static uint64_t overdraft_in(const struct sim_stream *stream)
{
	uint64_t n = 0;

	for (const struct beam_message *message = stream->queue.first; message; message = message->next)
		n += message->overdraft;
	return n;
}

static uint64_t attachments_in(const struct sim_stream *stream)
{
	uint64_t n = 0;

	for (const struct beam_message *message = stream->queue.first; message; message = message->next)
		n += message->n_fds;
	return n;
}

static void add_stream(struct share *share, uint64_t n)
{
	share->held += n;
	share->holders += n > 0;
}

static struct share pool_of(const struct sim_side *side)
{
	const struct sim_side *reader = &side->sim->sides[1 - side->index];
	struct share share = {.free = reader->limits.pool_bytes};

	for (const struct sim_stream *stream = side->streams; stream; stream = stream->next) {
		share.free -= overdraft_in(stream);
		add_stream(&share, overdraft_in(stream));
		for (const struct beam_message *message = stream->queue.first; message; message = message->next)
			share.largest = message->overdraft > share.largest ? message->overdraft : share.largest;
	}
	return share;
}

static struct share attachments_of(const struct sim_side *side)
{
	const struct sim_side *reader = &side->sim->sides[1 - side->index];
	struct share share = {.free = sim_granted(reader) - reader->charged};

	for (const struct sim_stream *stream = side->streams; stream; stream = stream->next) {
		add_stream(&share, stream->released ? 0 : attachments_in(stream));
		for (const struct beam_message *message = stream->queue.first; message; message = message->next)
			share.largest = message->n_fds > share.largest ? message->n_fds : share.largest;
	}
	return share;
}

/* The rule of a fair sender in docs/protocol.md. */
static bool lets(const struct share *share, uint64_t holds, uint64_t n, bool others_turn)
{
	uint64_t total = share->free + share->held;
	bool little = holds + n <= 1 || 64 * (holds + n) <= 3 * total;

	if (!n)
		return true;
	if (n > share->free || (others_turn && !little))
		return false;
	return little || !share->held || 4 * (share->free - n) >= 3 * total;
}

/* What a topic that holds nothing is promised, if it needs little. */
static bool is_promised(const struct share *share, uint64_t n)
{
	uint64_t total = share->free + share->held;

	return 64 * n <= 3 * total && share->holders <= 16 && 4 * share->largest <= total;
}

/* What is left of the window. The reader may withhold at most half. */
static uint64_t bytes_left(const struct sim_side *side, const struct sim_stream *stream)
{
	const struct sim_side *reader = &side->sim->sides[1 - side->index];
	const struct inlet *inlet = stream->inlet;
	uint64_t window = inlet->replies ? limits_base.topic_bytes : reader->limits.topic_bytes;
	uint64_t withheld = window + stream->gone_cost - inlet->granted_bytes;

	check(2 * withheld <= window);
	return window - stream->queued_cost - withheld;
}

static uint64_t attachments_left(const struct sim_side *side, const struct sim_stream *stream)
{
	const struct sim_side *reader = &side->sim->sides[1 - side->index];
	const struct inlet *inlet = stream->inlet;
	uint64_t window = inlet->replies ? limits_base.topic_attachments : reader->limits.topic_attachments;
	uint64_t withheld = window + stream->gone_fds - inlet->granted_attachments;

	check(2 * withheld <= window);
	check(inlet->replies ? !withheld : withheld + reader->limits.message_attachments <= window);
	return window - attachments_in(stream) - withheld;
}

/* Waits for a message of several frames on its topic, which has begun or waits. */
static bool waits_for_large(const struct sim_side *side, const struct sim_sender *sender)
{
	for (unsigned i = 0; i < SIM_SENDERS && !sender->claim.large; i++) {
		const struct sim_sender *other = &side->senders[i];

		if (other->message && other->message->stream == sender->message->stream && other->claim.large)
			return true;
	}
	return false;
}

/* Waits for something of its own topic: an id, a call's id, or room in the window. */
static bool waits_for_its_own(const struct sim_side *side, const struct sim_sender *sender)
{
	const struct sim_message *message = sender->message;
	const struct sim_stream *stream = message->stream;

	if (!stream->outlet.id || (message->call && side->tx.n_calls >= side->tx.peer.calls))
		return true;
	require(stream->opened && stream->inlet->owner == stream);
	return waits_for_large(side, sender) || !bytes_left(side, stream) ||
	       attachments_left(side, stream) < message->n_fds;
}

/* A sender that waits must have a reason to wait. */
static void check_waits(struct sim_side *side, const struct sim_sender *sender, struct turns *turns)
{
	const struct sim_side *reader = sim_other(side);
	const struct sim_message *message = sender->message;
	const struct share pool = pool_of(side), attachments = attachments_of(side);
	uint64_t overdraft, left, holds_pool = overdraft_in(message->stream), holds = attachments_in(message->stream);
	bool pool_lets, attachments_let;

	check(sender->asleep && !sender->charged);
	sim_event(side, SIM_WAITS_RIGHTLY, NULL);
	if (waits_for_its_own(side, sender))
		return;
	left = bytes_left(side, message->stream);
	overdraft = message->size + MESSAGE_COST > left ? message->size + MESSAGE_COST - left : 0;
	pool_lets = lets(&pool, holds_pool, overdraft, turns->pool);
	attachments_let = lets(&attachments, holds, message->n_fds, turns->attachments);
	if (pool_lets && attachments_let)
		fail("side %c: sender %td of %s could go on, and waits: %zu bytes and %u descriptors",
		     'A' + (int)side->index, sender - side->senders, message->stream->name, message->size,
		     message->n_fds);
	/* The promise holds if only messages in queues hold parts of the share. */
	if (!pool_lets && !holds_pool)
		check(!is_promised(&pool, overdraft));
	if (!attachments_let && !holds && attachments.free + attachments.held == reader->limits.attachments &&
	    !reader->lent && !reader->returned && !reader->keeps && !reader->sticky)
		check(!is_promised(&attachments, message->n_fds));
	/*
	 * The sender has asked for what it lacks, and has got what there is. If it also waits for
	 * the pool, it asks only when it has got that.
	 */
	if (pool_lets && !lets(&attachments, holds, message->n_fds, false) && reader->generous)
		check(sim_granted(reader) >= reader->most);
	turns->pool |= !pool_lets && !holds_pool && overdraft <= pool.free + pool.held;
	turns->attachments |= !attachments_let && !holds;
}

/* The next sender in the line. */
static const struct sim_sender *next_in_line(const struct sim_side *side, uint64_t after)
{
	const struct sim_sender *next = NULL;

	for (unsigned i = 0; i < SIM_SENDERS; i++) {
		const struct sim_sender *sender = &side->senders[i];

		if (sender->message && sender->since > after && (!next || sender->since < next->since))
			next = sender;
	}
	return next;
}

void sim_check_rest(struct sim_side *side)
{
	struct turns turns = {0};
	uint64_t after = 0;
	const struct sim_sender *sender;

	sim_event(side, SIM_RESTS, NULL);
	while (!harness_failures() && (sender = next_in_line(side, after))) {
		after = sender->since;
		check_waits(side, sender, &turns);
	}
	for (unsigned i = 0; i < SIM_SENDERS; i++)
		check(!side->senders[i].message || side->senders[i].since);
	/* Everything that was charged has arrived. */
	check_int(sim_other(side)->rx.used_pool, side->tx.pool.used);
	check_int(sim_other(side)->rx.used_attachments, side->tx.attachments.used);
}
