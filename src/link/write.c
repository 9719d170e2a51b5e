/* SPDX-License-Identifier: MIT */
/*
 * The writing right: which thread writes to the socket, and which one does so next.
 */
#include <base/sys.h>
#include <link/link.h>
#include <link/tuning.h>
#include <socket/reaper.h>

/* A thread that waits for the writing right, or only for room in the buffer. */
struct writer {
	struct list link;
	pthread_cond_t wake;
	bool for_room, granted, woken;
};

/*
 * Closes descriptors that were sent. If a descriptor is a duplicate of one that the program keeps,
 * closing it is not the last close of the file, and seldom blocks. A descriptor that was given
 * away, or is sent on with a message, may have been chosen by a peer, and its close may block. The
 * lock is released meanwhile.
 */
static void close_spent(struct link *link, const int *fds, unsigned n)
{
	bool was_given = link->writer.was_given;

	pthread_mutex_unlock(&link->writer.lock);
	if (was_given)
		reaper_close(fds, n);
	for (unsigned i = 0; !was_given && i < n; i++)
		close(fds[i]);
	pthread_mutex_lock(&link->writer.lock);
}

void write_nudge(struct link *link)
{
	if (!link->thread.awake && !link->writer.finished && link->thread.nudge >= 0)
		link->thread.awake = event_set(link->thread.nudge);
}

void write_retry(struct link *link)
{
	link->writer.retry_after = link->writer.retry_after ? link->writer.retry_after * 2 : RETRY_FIRST_NS;
	if (link->writer.retry_after > RETRY_LAST_NS)
		link->writer.retry_after = RETRY_LAST_NS;
	link->writer.retry_at = deadline_in(link->writer.retry_after);
	write_nudge(link);
}

void write_try_again(struct link *link)
{
	if (deadline_never(link->writer.retry_at) || !deadline_passed(link->writer.retry_at))
		return;
	link->writer.retry_at = BEAM_FOREVER;
	link->writer.tx.held = false;
	write_wake_all(link);
}

/*
 * Nothing can be sent any more: counts what is lost. Called by the holder of the right, because a
 * write may be in progress otherwise.
 */
static void drop_pending(struct link *link)
{
	int spent[2 * TX_FDS];
	uint64_t lost = link->writer.tx.losses.messages;
	unsigned n = tx_drop(&link->writer.tx, link->writer.broken, spent);

	if (link->writer.tx.losses.messages != lost)
		link->writer.truncated = true;
	if (n)
		close_spent(link, spent, n);
}

static enum tx_failure failure_of(int error, unsigned n_fds)
{
	if (error == -EAGAIN)
		return TX_NO_ROOM;
	if (socket_retry_later(error))
		return TX_PASSES;
	if (n_fds && socket_refused_fd(error))
		return TX_REFUSED;
	return error == -EFAULT ? TX_NO_PAYLOAD : TX_DEAD;
}

static enum written write_failed(struct link *link, struct tx_own *own, int error, int spent[TX_FDS],
				 unsigned *ret_spent)
{
	enum tx_failure failure = failure_of(error, link->writer.tx.batch.n_fds);
	enum written result = tx_failed(&link->writer.tx, own, error, failure, spent, ret_spent);

	if (failure == TX_NO_ROOM)
		link->writer.full = true;
	else if (failure == TX_PASSES)
		write_retry(link);
	/*
	 * Usually this is EPIPE, because the peer has died. Other errors, such as EACCES of a
	 * security module, are reported to callers in the same way. So are errors of reading.
	 */
	if (result == WRITTEN_BROKEN)
		write_break(link, -ECONNRESET);
	return result;
}

enum written write_batch(struct link *link, struct tx_own *own, int *ret_error)
{
	struct tx *tx = &link->writer.tx;
	struct tx_batch *batch = &tx->batch;
	int spent[TX_FDS];
	unsigned n_spent = 0;
	int unwanted = 0;
	enum written result;
	ssize_t n;

	ret_error = ret_error ? ret_error : &unwanted;
	if (link->writer.broken)
		return WRITTEN_BROKEN;
	if (!tx_batch(tx, own))
		return WRITTEN_NOTHING;
	pthread_mutex_unlock(&link->writer.lock);
	n = transport_write(&link->transport, batch->iov + batch->first, batch->n - batch->first, batch->fds,
			    batch->n_fds);
	pthread_mutex_lock(&link->writer.lock);
	if (n < 0) {
		result = write_failed(link, own, (int)n, spent, &n_spent);
		if (result == WRITTEN_REFUSED)
			*ret_error = (int)n;
	} else {
		n_spent = tx_wrote(tx, own, (size_t)n, spent);
		result = tx_written(tx);
		link->writer.retry_after = 0;
		link->writer.full = result == WRITTEN_FULL;
	}
	write_tell_change(link);
	if (n_spent) {
		struct list unasked;

		list_init(&unasked);
		list_splice(&unasked, &tx->unasked);
		/* This thread still holds the right. */
		close_spent(link, spent, n_spent);
		pthread_mutex_unlock(&link->writer.lock);
		tx_tell_unasked(tx, &unasked);
		pthread_mutex_lock(&link->writer.lock);
	}
	return result;
}

static void wake_writer(struct writer *writer, bool granted)
{
	list_remove(&writer->link);
	writer->granted = granted;
	writer->woken = true;
	pthread_cond_signal(&writer->wake);
}

void write_wake_waiting(struct link *link)
{
	struct list *node;

	while ((node = link->writer.waiting.next) != &link->writer.waiting)
		wake_writer(list_entry(node, struct writer, link), false);
}

void write_release(struct link *link)
{
	struct tx *tx = &link->writer.tx;

	/*
	 * What other threads have put into the buffer meanwhile is written once. It is not
	 * repeated, because a writer must not be held up by the traffic of others.
	 */
	if (list_empty(&link->writer.waiting) && !link->writer.full && !link->writer.broken && tx_pending(tx))
		write_batch(link, NULL, NULL);
	if (link->writer.broken)
		drop_pending(link);
	if (!list_empty(&link->writer.waiting)) {
		wake_writer(list_entry(link->writer.waiting.next, struct writer, link), true);
		return;
	}
	link->writer.taken = false;
	if (link->writer.broken || !tx_pending(tx)) {
		link->writer.full = false;
		/* Both reading and writing are over: the link's thread can end. */
		if (link->reader.over && (link->writer.broken || write_over(link)))
			write_nudge(link);
		return;
	}
	if (link->writer.full) {
		if (standby_watch(link) < 0)
			write_retry(link);
		/* A loop must ask again what to wait for. */
		if (link->options.loop)
			write_nudge(link);
	} else {
		write_nudge(link);
	}
}

int write_wait(struct link *link, bool for_room, beam_deadline deadline)
{
	struct writer writer = {.for_room = for_room};
	int r = 0;

	if (deadline_passed(deadline))
		return deadline_error(deadline);
	condition_init(&writer.wake);
	list_append(&link->writer.waiting, &writer.link);
	while (!writer.woken && !r)
		r = condition_wait(&writer.wake, &link->writer.lock, deadline);
	if (!writer.woken)
		list_remove(&writer.link);
	condition_end(&writer.wake);
	return writer.granted ? 1 : writer.woken ? 0 : r;
}

int write_poll(struct link *link, int kick, beam_deadline deadline)
{
	beam_deadline until = deadline_earlier(deadline, deadline_in(KICKLESS_NS));
	int r;

	pthread_mutex_unlock(&link->writer.lock);
	r = transport_wait(&link->transport, POLLOUT, kick, until);
	pthread_mutex_lock(&link->writer.lock);
	return r < 0 && !deadline_passed(deadline) && deadline_passed(until) ? 0 : r;
}

void write_pending(struct link *link)
{
	if (link->writer.taken || link->writer.broken || !tx_pending(&link->writer.tx))
		return;
	link->writer.taken = true;
	write_batch(link, NULL, NULL);
	write_release(link);
}

int write_until(struct link *link, bool (*done)(struct link *, const void *), const void *argument,
		beam_deadline deadline)
{
	enum written written = WRITTEN;
	int r;

	for (;;) {
		if (link->writer.broken)
			return link->writer.broken;
		if (done(link, argument))
			return 0;
		if (written != WRITTEN && deadline_passed(deadline))
			return deadline_error(deadline);
		if (link->writer.taken) {
			r = write_wait(link, false, deadline);
			if (r < 0)
				return r;
			if (!r)
				continue;
		}
		link->writer.taken = true;
		written = WRITTEN;
		while (written == WRITTEN && !done(link, argument))
			written = write_batch(link, NULL, NULL);
		if (written == WRITTEN_FULL)
			write_poll(link, -1, deadline);
		write_release(link);
		if (written == WRITTEN_LATER || written == WRITTEN_NOTHING) {
			r = write_wait(link, false, deadline_earlier(deadline, deadline_in(RETRY_LAST_NS)));
			if (r == 1)
				write_release(link);
			write_try_again(link);
		}
	}
}

void write_wake_for_room(struct link *link)
{
	struct list *node, *next;

	for (node = link->writer.waiting.next; node != &link->writer.waiting; node = next) {
		struct writer *writer = list_entry(node, struct writer, link);

		next = node->next;
		if (writer->for_room)
			wake_writer(writer, false);
	}
}

void write_wake_all(struct link *link)
{
	write_wake_waiting(link);
	tx_wake_outlet(&link->writer.tx, NULL);
}

void write_break(struct link *link, int error)
{
	if (link->writer.broken)
		return;
	link->writer.broken = error;
	if (!link->writer.send_error)
		link->writer.send_error = error;
	write_wake_all(link);
	write_nudge(link);
	if (!link->writer.taken) {
		link->writer.taken = true;
		write_release(link);
	}
}

/* ---- Flush ----------------------------------------------------------------------------------- */

struct flushed {
	uint64_t generation, batch;
};

static bool is_flushed(struct link *link, const void *argument)
{
	const struct flushed *flushed = argument;
	const struct tx *tx = &link->writer.tx;

	/* `batch.number` counts the active batch too, which has not been written yet. */
	return tx->drained >= flushed->generation && tx->batch.number - tx->batch.active >= flushed->batch;
}

int write_flush(struct link *link, beam_deadline deadline)
{
	struct tx *tx = &link->writer.tx;
	struct flushed flushed;
	int r;

	flushed.generation = tx->fill->size ? tx->fill->generation : tx->fill->generation - 1;
	flushed.batch = tx->batch.number;
	r = write_until(link, is_flushed, &flushed, deadline);
	return r ? r : write_tell_losses(link);
}
