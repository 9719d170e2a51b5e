/* SPDX-License-Identifier: MIT */
/*
 * Credit for attachments of the whole channel, both ways: what this side grants, lends and takes
 * back, and what it gives back itself.
 */
#include <session/tx.h>

uint32_t tx_give_back(struct tx *tx)
{
	uint64_t room = tx_room_of(&tx->attachments);

	if (!(tx->peer_features & FEATURE_LENDS) || !list_empty(&tx->claims) || tx->goodbye_due)
		return 0;
	tx->attachments.limit -= room;
	tx->want = (uint32_t)tx->attachments.limit;
	tx->give_back += (uint32_t)room;
	return (uint32_t)room;
}

void tx_settled(struct tx *tx, uint32_t attachments)
{
	tx->due_attachments += attachments;
}

bool tx_wanted(struct tx *tx, uint32_t until)
{
	uint32_t missing;

	tx->want_until = until;
	tx->eager_until = until + tx->lent / 8;
	missing = tx_short_of(tx);
	if (atomic_load_explicit(&tx->wanted, memory_order_relaxed))
		list_splice(&tx->due_inlets, &tx->late_inlets);
	return missing > 0;
}

uint32_t tx_short_of(struct tx *tx)
{
	uint32_t granted = (uint32_t)atomic_load_explicit(&tx->granted_attachments, memory_order_relaxed);
	int32_t missing = (int32_t)(tx->want_until - granted);

	atomic_store_explicit(&tx->wanted, (int32_t)(tx->eager_until - granted) > 0, memory_order_relaxed);
	return missing > (int32_t)tx->due_attachments ? (uint32_t)missing - tx->due_attachments : 0;
}

void tx_lend(struct tx *tx, uint32_t attachments)
{
	tx->lent += attachments;
	tx->due_attachments += attachments;
}

void tx_given_back(struct tx *tx, uint32_t attachments)
{
	uint64_t granted = atomic_load_explicit(&tx->granted_attachments, memory_order_relaxed);

	atomic_store_explicit(&tx->granted_attachments, granted - attachments, memory_order_release);
	/* A side that gives some back is short of nothing. */
	tx->want_until = tx->eager_until = (uint32_t)(granted - attachments);
	tx->lent -= attachments;
	tx_short_of(tx);
}
