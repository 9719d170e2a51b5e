/* SPDX-License-Identifier: MIT */
/*
 * Attachments that came. Each takes a place in the process's table of descriptors from the moment it is read, so it is
 * charged to the channel then, whether or not a message claims it. It is settled when the program has taken it, when it
 * has been closed, or if it was lost. Then the other side may send another one. So what a channel has in the table is
 * bounded by what it grants, however long a close may last.
 *
 * A charged attachment keeps the memory of its channel: messages may be held for longer than that.
 */
#include <channel/internal.h>
#include <channel/lending.h>
#include <channel/tuning.h>

/* By whoever took them, or by the reaper. */
static void on_settled(struct reaper_account *account, size_t n)
{
	struct beam_channel *channel = list_entry(account, struct beam_channel, account);

	/* A forked child has copies, for which nobody waits. */
	if (channel_foreign(channel))
		return;
	lending_closed((uint32_t)n);
	pthread_mutex_lock(&channel->tx_lock);
	atomic_fetch_sub_explicit(&channel->charged, (unsigned)n, memory_order_relaxed);
	if (channel->finished) {
		lending_return((uint32_t)n);
	} else {
		tx_settled(&channel->tx, (uint32_t)n);
		write_pending(channel);
	}
	pthread_mutex_unlock(&channel->tx_lock);
	channel_memory_unref_many(channel, (unsigned)n);
}

void attachments_begin(struct beam_channel *channel, struct limits *own, int fd)
{
	reaper_account_init(&channel->account, on_settled);
	if (!own->message_attachments) {
		own->attachments = 0;
	} else if (own->attachments) {
		lending_reserve(own->attachments);
		channel->most_attachments = own->attachments;
	} else {
		channel->most_attachments = lending_most();
		/* One message is to leave something to others. */
		if (own->message_attachments > channel->most_attachments / 2)
			own->message_attachments = channel->most_attachments / 2;
		own->attachments = lending_take(fd, 0, channel->most_attachments / 2);
	}
}

void attachments_end(struct beam_channel *channel)
{
	lending_return(channel->tx.lent - atomic_load_explicit(&channel->charged, memory_order_relaxed));
}

void attachments_lend(struct beam_channel *channel)
{
	struct tx *tx = &channel->tx;
	uint32_t missing = tx_short_of(tx), most = channel->most_attachments - tx->lent;
	uint32_t n = missing < most ? missing : most, lent;

	channel->lend_at = BEAM_FOREVER;
	if (!n)
		return;
	lent = lending_take(transport_fd(&channel->transport), tx->lent, n);
	tx_lend(tx, lent);
	if (lent == n) {
		channel->lend_after = 0;
		return;
	}
	channel->lend_after = channel->lend_after ? channel->lend_after * 2 : LEND_FIRST_NS;
	if (channel->lend_after > LEND_LAST_NS)
		channel->lend_after = LEND_LAST_NS;
	channel->lend_at = deadline_in(channel->lend_after);
	write_nudge(channel);
}

void attachments_give_back(struct beam_channel *channel)
{
	pthread_mutex_lock(&channel->tx_lock);
	if (tx_give_back(&channel->tx))
		write_pending(channel);
	pthread_mutex_unlock(&channel->tx_lock);
}

void attachments_lend_again(struct beam_channel *channel)
{
	if (!deadline_never(channel->lend_at) && deadline_passed(channel->lend_at))
		attachments_lend(channel);
}
