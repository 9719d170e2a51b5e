/* SPDX-License-Identifier: MIT */
/*
 * The writing right: who writes to the socket, and who does so next.
 */
#include <base/sys.h>
#include <channel/internal.h>
#include <channel/tuning.h>

/* Of a duplicate the close is seldom the last, and so does not last. Of what was given it may well be. The lock is given up meanwhile. */
static void close_spent(struct beam_channel *channel, const int *fds, unsigned n)
{
	bool was_given = channel->was_given;

	pthread_mutex_unlock(&channel->tx_lock);
	if (was_given)
		reaper_close(fds, n);
	for (unsigned i = 0; !was_given && i < n; i++)
		close(fds[i]);
	pthread_mutex_lock(&channel->tx_lock);
}

void write_nudge(struct beam_channel *channel)
{
	if (!channel->awake && !channel->finished && channel->nudge >= 0)
		channel->awake = event_set(channel->nudge);
}

void write_retry(struct beam_channel *channel)
{
	channel->retry_after = channel->retry_after ? channel->retry_after * 2 : RETRY_FIRST_NS;
	if (channel->retry_after > RETRY_LAST_NS)
		channel->retry_after = RETRY_LAST_NS;
	channel->retry_at = deadline_in(channel->retry_after);
	write_nudge(channel);
}

void write_try_again(struct beam_channel *channel)
{
	if (deadline_never(channel->retry_at) || !deadline_passed(channel->retry_at))
		return;
	channel->retry_at = BEAM_FOREVER;
	channel->tx.held = false;
	write_wake_all(channel);
}

/* Nothing more goes: counts what is lost. By the holder of the right, since a write may be under way. */
static void drop_pending(struct beam_channel *channel)
{
	int spent[2 * TX_FDS];
	uint64_t lost = channel->tx.losses.messages;
	unsigned n = tx_drop(&channel->tx, channel->broken, spent);

	if (channel->tx.losses.messages != lost)
		channel->truncated = true;
	if (n)
		close_spent(channel, spent, n);
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

static enum written write_failed(struct beam_channel *channel, struct tx_own *own, int error, int spent[TX_FDS],
				 unsigned *ret_spent)
{
	enum tx_failure failure = failure_of(error, channel->tx.batch.n_fds);
	enum written result = tx_failed(&channel->tx, own, error, failure, spent, ret_spent);

	if (failure == TX_NO_ROOM)
		channel->full = true;
	else if (failure == TX_PASSES)
		write_retry(channel);
	/* Mostly EPIPE: the other side died. The rest has no name of its own for callers, as when reading fails: a security module's
	 * EACCES. */
	if (result == WRITTEN_BROKEN)
		write_break(channel, -ECONNRESET);
	return result;
}

enum written write_batch(struct beam_channel *channel, struct tx_own *own, int *ret_error)
{
	struct tx *tx = &channel->tx;
	struct tx_batch *batch = &tx->batch;
	int spent[TX_FDS];
	unsigned n_spent = 0;
	int unwanted = 0;
	enum written result;
	ssize_t n;

	ret_error = ret_error ? ret_error : &unwanted;
	if (channel->broken)
		return WRITTEN_BROKEN;
	if (!tx_batch(tx, own))
		return WRITTEN_NOTHING;
	pthread_mutex_unlock(&channel->tx_lock);
	n = transport_write(&channel->transport, batch->iov + batch->first, batch->n - batch->first, batch->fds, batch->n_fds);
	pthread_mutex_lock(&channel->tx_lock);
	if (n < 0) {
		result = write_failed(channel, own, (int)n, spent, &n_spent);
		if (result == WRITTEN_REFUSED)
			*ret_error = (int)n;
	} else {
		n_spent = tx_wrote(tx, own, (size_t)n, spent);
		result = tx_written(tx);
		channel->retry_after = 0;
		channel->full = result == WRITTEN_FULL;
	}
	rooms_show(channel);
	if (n_spent) {
		struct list unasked;

		list_init(&unasked);
		list_splice(&unasked, &tx->unasked);
		/* The right is still ours. */
		close_spent(channel, spent, n_spent);
		pthread_mutex_unlock(&channel->tx_lock);
		calls_unasked(&unasked);
		pthread_mutex_lock(&channel->tx_lock);
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

void write_wake_waiting(struct beam_channel *channel)
{
	struct list *link;

	while ((link = channel->writers.next) != &channel->writers)
		wake_writer(list_entry(link, struct writer, link), false);
}

void write_release(struct beam_channel *channel)
{
	struct tx *tx = &channel->tx;

	/* What others put into the buffer meanwhile is taken along once; a writer must not be kept by the traffic of others. */
	if (list_empty(&channel->writers) && !channel->full && !channel->broken && tx_pending(tx))
		write_batch(channel, NULL, NULL);
	if (channel->broken)
		drop_pending(channel);
	if (!list_empty(&channel->writers)) {
		wake_writer(list_entry(channel->writers.next, struct writer, link), true);
		return;
	}
	channel->writing = false;
	if (channel->broken || !tx_pending(tx)) {
		channel->full = false;
		/* Both have said goodbye: the channel's thread may go. */
		if (channel->read_over && (channel->broken || write_over(channel)))
			write_nudge(channel);
		return;
	}
	if (channel->full) {
		if (standby_watch(channel) < 0)
			write_retry(channel);
		/* A loop has to ask what to wait for. */
		if (channel->options.loop)
			write_nudge(channel);
	} else {
		write_nudge(channel);
	}
}

int write_wait(struct beam_channel *channel, bool for_room, beam_deadline deadline)
{
	struct writer writer = {.for_room = for_room};
	int r = 0;

	if (deadline_passed(deadline))
		return deadline_error(deadline);
	condition_init(&writer.wake);
	list_append(&channel->writers, &writer.link);
	while (!writer.woken && !r)
		r = condition_wait(&writer.wake, &channel->tx_lock, deadline);
	if (!writer.woken)
		list_remove(&writer.link);
	condition_end(&writer.wake);
	return writer.granted ? 1 : writer.woken ? 0 : r;
}

int write_poll(struct beam_channel *channel, int kick, beam_deadline deadline)
{
	beam_deadline until = deadline_earlier(deadline, deadline_in(KICKLESS_NS));
	int r;

	pthread_mutex_unlock(&channel->tx_lock);
	r = transport_wait(&channel->transport, POLLOUT, kick, until);
	pthread_mutex_lock(&channel->tx_lock);
	return r < 0 && !deadline_passed(deadline) && deadline_passed(until) ? 0 : r;
}

void write_pending(struct beam_channel *channel)
{
	if (channel->writing || channel->broken || !tx_pending(&channel->tx))
		return;
	channel->writing = true;
	write_batch(channel, NULL, NULL);
	write_release(channel);
}

int write_until(struct beam_channel *channel, bool (*done)(struct beam_channel *, const void *), const void *argument,
		beam_deadline deadline)
{
	enum written written = WRITTEN;
	int r;

	for (;;) {
		if (channel->broken)
			return channel->broken;
		if (done(channel, argument))
			return 0;
		if (written != WRITTEN && deadline_passed(deadline))
			return deadline_error(deadline);
		if (channel->writing) {
			r = write_wait(channel, false, deadline);
			if (r < 0)
				return r;
			if (!r)
				continue;
		}
		channel->writing = true;
		written = WRITTEN;
		while (written == WRITTEN && !done(channel, argument))
			written = write_batch(channel, NULL, NULL);
		if (written == WRITTEN_FULL)
			write_poll(channel, -1, deadline);
		write_release(channel);
		if (written == WRITTEN_LATER || written == WRITTEN_NOTHING) {
			r = write_wait(channel, false, deadline_earlier(deadline, deadline_in(RETRY_LAST_NS)));
			if (r == 1)
				write_release(channel);
			write_try_again(channel);
		}
	}
}

void write_wake_for_room(struct beam_channel *channel)
{
	struct list *link, *next;

	for (link = channel->writers.next; link != &channel->writers; link = next) {
		struct writer *writer = list_entry(link, struct writer, link);

		next = link->next;
		if (writer->for_room)
			wake_writer(writer, false);
	}
}

void write_wake_all(struct beam_channel *channel)
{
	write_wake_waiting(channel);
	tx_wake_outlet(&channel->tx, NULL);
}

void write_break(struct beam_channel *channel, int error)
{
	if (channel->broken)
		return;
	channel->broken = error;
	if (!channel->send_error)
		channel->send_error = error;
	write_wake_all(channel);
	write_nudge(channel);
	if (!channel->writing) {
		channel->writing = true;
		write_release(channel);
	}
}

/* ---- Flush -------------------------------------------------------------------------------------------------------------------------- */

struct flushed {
	uint64_t generation, batch;
};

static bool is_flushed(struct beam_channel *channel, const void *argument)
{
	const struct flushed *flushed = argument;
	const struct tx *tx = &channel->tx;

	/* All batches have gone but for one that is under way. */
	return tx->drained >= flushed->generation && tx->batch.number - tx->batch.active >= flushed->batch;
}

int beam_channel_flush(beam_channel *channel, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	struct flushed flushed;
	struct tx *tx;
	int r;

	if (!channel)
		return -EINVAL;
	if (channel_foreign(channel))
		return -ECHILD;
	tx = &channel->tx;
	pthread_mutex_lock(&channel->tx_lock);
	flushed.generation = tx->fill->size ? tx->fill->generation : tx->fill->generation - 1;
	flushed.batch = tx->batch.number;
	r = write_until(channel, is_flushed, &flushed, deadline);
	if (!r)
		r = write_tell_losses(channel);
	pthread_mutex_unlock(&channel->tx_lock);
	return r;
}
