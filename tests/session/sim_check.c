/* SPDX-License-Identifier: MIT */
/*
 * What must always be true of a side: its counters, the credit between the sides, and where its
 * descriptors are.
 */
#include <session/sim.h>

static void check_counters(const struct sim_side *side)
{
	const struct tx *tx = &side->tx;
	uint64_t pool = 0, attachments = 0;
	unsigned busy = 0;

	check(tx->pool.used <= tx->pool.limit && tx->pool.limit - tx->pool.used <= CREDIT_MAX);
	check(tx->attachments.used <= tx->attachments.limit &&
	      tx->attachments.limit - tx->attachments.used <= CREDIT_MAX);
	check(tx->fill->size <= tx->capacity && tx->drain->at <= tx->drain->size);
	check(tx->fill->n_fds <= TX_FDS && tx->drain->n_fds <= TX_FDS);
	for (const struct sim_stream *stream = side->streams; stream; stream = stream->next) {
		const struct outlet *outlet = &stream->outlet;

		check(outlet->used_bytes <= outlet->limit_bytes &&
		      outlet->used_attachments <= outlet->limit_attachments);
		busy += outlet->busy;
		pool += stream->released ? 0 : outlet->held_pool;
		attachments += stream->released ? 0 : outlet->held_attachments;
	}
	check_int(tx->pool.held, pool);
	check_int(tx->attachments.held, attachments);
	for (unsigned i = 0; i < SIM_SENDERS; i++) {
		const struct sim_sender *sender = &side->senders[i];

		check(!sender->asleep || (list_linked(&sender->claim.link) && !sender->claim.woken));
	}
	check_int(tx->n_busy, busy);
}

/*
 * What the reader's messages have freed is at least what it granted, and that is at least what the
 * writer believes to have.
 */
static void check_credit_of(struct sim_side *reader, struct sim_stream *stream)
{
	const struct outlet *outlet = &stream->outlet;
	struct inlet *inlet = stream->inlet;
	const struct limits *window = inlet->replies ? &limits_base : &reader->limits;
	uint64_t bytes = inlet->granted_bytes, fds = inlet->granted_attachments;

	check(bytes + inlet->due_bytes <= window->topic_bytes + stream->gone_cost);
	check(fds + inlet->due_attachments <= window->topic_attachments + stream->gone_fds);
	/* Before HELLO arrives, a sender does not know that there may be fewer attachments. */
	check(outlet->limit_bytes <= bytes && (!sim_other(reader)->hello_came || outlet->limit_attachments <= fds));
	check(inlet->used_bytes <= outlet->used_bytes && inlet->used_attachments <= outlet->used_attachments);
}

static void check_credit_from(struct sim_side *reader)
{
	struct sim_side *writer = sim_other(reader);
	const struct tx *tx = &reader->tx;
	uint64_t pool = tx->granted_pool, fds = tx->granted_attachments;

	for (uint32_t id = 1; id <= reader->rx.capacity_inlets; id++)
		pool +=
		    reader->rx.inlets[id] ? reader->rx.inlets[id]->due_pool + reader->rx.inlets[id]->withheld_pool : 0;
	for (const struct sim_call *call = reader->calls; call; call = call->next)
		pool += call->over ? 0 : call->inlet.due_pool + call->inlet.withheld_pool;
	check_int(pool + tx->due_pool, reader->limits.pool_bytes + reader->gone_overdraft);
	check_int(fds + tx->due_attachments, sim_granted(reader) + reader->gone_fds);
	check(writer->tx.pool.limit <= pool && (!writer->hello_came || writer->tx.attachments.limit <= fds));
	check(reader->rx.used_pool <= writer->tx.pool.used &&
	      reader->rx.used_attachments <= writer->tx.attachments.used);
	for (struct sim_stream *stream = writer->streams; stream; stream = stream->next) {
		/* Only while the inlet belongs to this stream. */
		if (stream->opened && !stream->ended && stream->inlet->owner == stream)
			check_credit_of(reader, stream);
	}
}

static unsigned count_fds(const int *fds, size_t n)
{
	unsigned open = 0;

	for (size_t i = 0; i < n; i++)
		open += fds[i] >= 0;
	return open;
}

static unsigned message_fds(const struct beam_message *message)
{
	return message ? count_fds(message->fds, message->n_fds) : 0;
}

/*
 * Each open descriptor of a side belongs to a sender, or to the session (to be sent, or just
 * received), or to a message that waits to be taken, or is kept by the program.
 */
static void check_fds_of(const struct sim_side *side)
{
	const struct sim_side *other = &side->sim->sides[1 - side->index];
	const struct tx_batch *batch = &side->tx.batch;
	const struct rx *rx = &side->rx;
	uint64_t n = side->n_kept;

	for (unsigned i = 0; i < SIM_SENDERS; i++)
		n += side->senders[i].n_fds;
	n += side->tx.fill->n_fds - side->tx.fill->fd_at + side->tx.drain->n_fds - side->tx.drain->fd_at;
	/* These have been sent and given back. */
	n -= batch->active && batch->begun ? batch->run_fds : 0;
	n += count_fds(rx->slots + rx->slot_low, rx->slot_high - rx->slot_low);
	n += count_fds(rx->now.fds, rx->now.n) + count_fds(rx->before.fds, rx->before.n);
	for (uint32_t id = 1; id <= rx->capacity_inlets; id++)
		n += rx->inlets[id] ? message_fds(rx->inlets[id]->building) : 0;
	for (const struct sim_call *call = side->calls; call; call = call->next)
		n += message_fds(call->inlet.building);
	for (const struct sim_stream *stream = other->streams; stream; stream = stream->next) {
		for (const struct beam_message *message = stream->queue.first; message; message = message->next)
			n += message_fds(message);
	}
	check_int(side->n_fds, n);
}

void sim_check_side(struct sim_side *side)
{
	struct sim *sim = side->sim;

	check_counters(side);
	if (sim->sides[0].hostile || sim->sides[1].hostile || side->broken)
		return;
	check_credit_from(side);
	check_credit_from(sim_other(side));
	check_fds_of(side);
}
