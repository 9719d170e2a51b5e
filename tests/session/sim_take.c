/* SPDX-License-Identifier: MIT */
/*
 * What a side does with messages: it takes them, keeps some descriptors, lends attachments, resets
 * topics and cancels calls.
 */
#include <session/sim_messages.h>

void sim_close_kept(struct sim_side *side, size_t n)
{
	for (; n; n--)
		close_charged(side, side->kept[--side->n_kept]);
}

void sim_unstick(struct sim_side *side)
{
	settled(side, side->n_stuck);
	side->n_stuck = 0;
}

static void keep(struct sim_side *side, int fd)
{
	if (side->n_kept == side->capacity_kept) {
		side->capacity_kept = 2 * side->capacity_kept + 64;
		side->kept = realloc(side->kept, side->capacity_kept * sizeof *side->kept);
		require(side->kept != NULL);
	}
	side->kept[side->n_kept++] = fd;
	sim_event(side, SIM_KEEPS, "keeps a descriptor");
}

/* The program has a message. It frees the message, and may keep its descriptors. */
static void use_message(struct sim_side *side, struct beam_message *message)
{
	bool keeps = side->keeps && sim_chance(side->sim, 50);

	for (unsigned i = 0; keeps && i < message->n_fds; i++) {
		if (message->fds[i] >= 0)
			keep(side, message->fds[i]);
		message->fds[i] = -ENOENT;
	}
	free_message(side, message);
}

void sim_lend(struct sim_side *side)
{
	uint32_t missing = tx_short_of(&side->tx);
	uint64_t can = side->most > sim_granted(side) ? side->most - sim_granted(side) : 0;
	uint32_t n = missing < can ? missing : (uint32_t)can;

	if (!side->sim->calm)
		n = sim_chance(side->sim, 50) ? n : (uint32_t)sim_size(side->sim, n);
	else if (!side->generous)
		n = 0;
	if (!n)
		return;
	sim_event(side, SIM_LENDS, "lends %u attachments of %u that are wanted", n, missing);
	side->sim->moved = true;
	side->lent += n;
	tx_lend(&side->tx, n);
}

void sim_take(struct sim_side *side, struct sim_stream *stream)
{
	struct beam_message *message = message_queue_take(&stream->queue);
	struct inlet *inlet = stream->inlet;

	if (!message)
		return;
	side->sim->moved = true;
	sim_event(side, SIM_TAKES, "takes %zu bytes and %u descriptors of %s", message->size, message->n_fds,
		  stream->name);
	inlet->queued--;
	stream->queued_cost -= message->cost - message->overdraft;
	side->queued_overdraft -= message->overdraft;
	stream->gone_cost += message->cost - message->overdraft;
	stream->gone_fds += message->n_fds;
	side->gone_overdraft += message->overdraft;
	inlet->withheld_bytes += sim_breaks(side->sim, SIM_BREAK_GRANT);
	if (inlet_took(inlet, message))
		tx_return_withheld(&side->tx, inlet);
	if (inlet->closed && !inlet->queued)
		inlet_done(side, inlet);
	if (message->call)
		list_entry(message->call, struct sim_call, handle)->open = true;
	use_message(side, message);
}

/* Ends a request that was not taken. */
static void refuse(struct sim_side *side, const struct beam_message *message)
{
	if (message->call)
		sim_end_call(side, list_entry(message->call, struct sim_call, handle), REPLY_CLOSED);
}

void sim_reset(struct sim_side *side, struct sim_stream *stream)
{
	struct inlet *inlet = stream->inlet;
	struct beam_message *message;

	/* Only while the inlet belongs to this stream. */
	if (!stream->opened || (stream->ended && !stream->queue.n) || inlet->discard)
		return;
	sim_event(side, inlet->replies ? SIM_CANCELS : SIM_RESETS, "resets %s, id %u", stream->name, inlet->id);
	side->sim->moved = true;
	if (inlet->replies)
		stream->replies_to->cancelled = true;
	inlet->discard = true;
	inlet->queued = 0;
	tx_reset_inlet(&side->tx, inlet, inlet->closed ? RESET_DONE : RESET_UNWANTED);
	stream->queued_cost = 0;
	while ((message = message_queue_take(&stream->queue))) {
		side->queued_overdraft -= message->overdraft;
		refuse(side, message);
		throw_away(side, message);
	}
}

void sim_cancel(struct sim_side *side, struct sim_call *call)
{
	if (call->replies) {
		sim_reset(side, call->replies);
	} else if (call->asked && !call->over && !call->cancelled) {
		sim_event(side, SIM_CANCELS_EARLY, "cancels call %u, of which nobody has heard", call->inlet.id);
		call->cancelled = call->inlet.discard = true;
		tx_reset_inlet(&side->tx, &call->inlet, RESET_UNWANTED);
	}
}
