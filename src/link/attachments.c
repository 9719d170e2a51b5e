/* SPDX-License-Identifier: MIT */
/*
 * Received attachments. Each takes a place in the process's descriptor table from the moment it is
 * read, so it is charged to the link then, whether or not a message claims it. It is settled when
 * the program has taken it, when it has been closed, or when it was lost. Then the peer may send
 * another one. So the number of descriptors that a link has in the table is bounded by what it
 * grants, however long a close may take.
 *
 * A charged attachment holds a reference to the memory of the link's owner, because messages may be
 * kept for longer than the link exists.
 */
#include <link/lending.h>
#include <link/link.h>
#include <link/tuning.h>

/* Called by the thread that took them, or by the reaper. */
static void on_settled(struct reaper_account *account, size_t n)
{
	struct link *link = list_entry(account, struct link, attachments.account);

	/* A forked child has copies, which are not charged. */
	if (link_foreign(link))
		return;
	lending_closed((uint32_t)n);
	pthread_mutex_lock(&link->writer.lock);
	atomic_fetch_sub_explicit(&link->attachments.charged, (unsigned)n, memory_order_relaxed);
	if (link->writer.finished) {
		lending_return((uint32_t)n);
	} else {
		tx_settled(&link->writer.tx, (uint32_t)n);
		write_pending(link);
	}
	pthread_mutex_unlock(&link->writer.lock);
	link->events->unref(link->owner, (unsigned)n);
}

void attachments_begin(struct link *link, struct limits *own, int fd)
{
	reaper_account_init(&link->attachments.account, on_settled);
	if (!own->message_attachments) {
		own->attachments = 0;
	} else if (own->attachments) {
		lending_reserve(own->attachments);
		link->attachments.most = own->attachments;
	} else {
		link->attachments.most = lending_most();
		/* One message must leave something for others. */
		if (own->message_attachments > link->attachments.most / 2)
			own->message_attachments = link->attachments.most / 2;
		own->attachments = lending_take(fd, 0, link->attachments.most / 2);
	}
}

void attachments_end(struct link *link)
{
	lending_return(link->writer.tx.lent - atomic_load_explicit(&link->attachments.charged, memory_order_relaxed));
}

void attachments_charge(struct link *link, size_t n)
{
	lending_opened((uint32_t)n);
	atomic_fetch_add_explicit(&link->attachments.charged, (unsigned)n, memory_order_relaxed);
}

void attachments_lend(struct link *link)
{
	struct tx *tx = &link->writer.tx;
	uint32_t missing = tx_short_of(tx), most = link->attachments.most - tx->lent;
	uint32_t n = missing < most ? missing : most, lent;

	link->attachments.lend_at = BEAM_FOREVER;
	if (!n)
		return;
	lent = lending_take(transport_fd(&link->transport), tx->lent, n);
	tx_lend(tx, lent);
	if (lent == n) {
		link->attachments.lend_after = 0;
		return;
	}
	link->attachments.lend_after = link->attachments.lend_after ? link->attachments.lend_after * 2 : LEND_FIRST_NS;
	if (link->attachments.lend_after > LEND_LAST_NS)
		link->attachments.lend_after = LEND_LAST_NS;
	link->attachments.lend_at = deadline_in(link->attachments.lend_after);
	write_nudge(link);
}

void attachments_came_back(struct link *link, uint32_t n)
{
	pthread_mutex_lock(&link->writer.lock);
	tx_given_back(&link->writer.tx, n);
	pthread_mutex_unlock(&link->writer.lock);
	lending_return(n);
}

void attachments_give_back(struct link *link)
{
	pthread_mutex_lock(&link->writer.lock);
	if (tx_give_back(&link->writer.tx))
		write_pending(link);
	pthread_mutex_unlock(&link->writer.lock);
}

void attachments_lend_again(struct link *link)
{
	if (!deadline_never(link->attachments.lend_at) && deadline_passed(link->attachments.lend_at))
		attachments_lend(link);
}
