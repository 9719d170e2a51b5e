/* SPDX-License-Identifier: MIT */
/* Answers to what an inlet brought: credit for what was taken, and RESET. */
#include <session/tx.h>

/*
 * Puts an inlet into the list of those whose frames go with the next batch, or of those that may
 * wait for the next attachments of the channel.
 */
static void make_inlet_due(struct tx *tx, struct inlet *inlet, bool now)
{
	if (now && inlet->late)
		list_remove(&inlet->due);
	if (list_linked(&inlet->due))
		return;
	inlet->late = !now;
	list_append(now ? &tx->due_inlets : &tx->late_inlets, &inlet->due);
}

void tx_return(struct tx *tx, struct inlet *inlet, uint32_t bytes, uint32_t attachments, uint32_t pool)
{
	if (!bytes && !attachments && !pool)
		return;
	if (inlet->reset_due || atomic_load_explicit(&inlet->reset_sent, memory_order_relaxed)) {
		tx_return_pool(tx, pool);
		return;
	}
	inlet->due_bytes += bytes;
	inlet->due_attachments += attachments;
	inlet->due_pool += pool;
	make_inlet_due(tx, inlet, !inlet_owes_little(inlet) || atomic_load_explicit(&tx->wanted, memory_order_relaxed));
}

void tx_return_withheld(struct tx *tx, struct inlet *inlet)
{
	tx_return(tx, inlet, inlet->withheld_bytes, inlet->withheld_attachments, inlet->withheld_pool);
	inlet->withheld_bytes = inlet->withheld_attachments = inlet->withheld_pool = 0;
}

void tx_return_pool(struct tx *tx, uint32_t pool)
{
	tx->due_pool += pool;
}

void tx_reset_inlet(struct tx *tx, struct inlet *inlet, enum reset_reason reason)
{
	if (inlet->reset_due || atomic_load_explicit(&inlet->reset_sent, memory_order_relaxed))
		return;
	inlet->reset_due = true;
	inlet->reason = reason;
	tx_return_pool(tx, inlet->due_pool);
	inlet->due_bytes = inlet->due_attachments = inlet->due_pool = 0;
	make_inlet_due(tx, inlet, true);
}
