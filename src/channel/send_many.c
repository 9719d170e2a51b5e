/* SPDX-License-Identifier: MIT */
/*
 * Sending several messages with as few writes as possible. Messages with descriptors are sent in
 * *runs*: many in one write from the caller's descriptors, so that none is duplicated. Other
 * messages are collected in the buffer.
 */
#include <base/sys.h>
#include <channel/sending.h>

/*
 * Puts a message into the buffer if that needs no waiting. Returns 0, -EAGAIN if the message must
 * be sent in the ordinary way, or an error.
 */
static int send_buffered(struct sending *s)
{
	int r = s->message.size > TX_SMALL ? -EAGAIN : sending_charge_now(s);

	if (r < 0)
		return r;
	tx_message_frame(&s->message, deadline_waits(s->deadline));
	r = sending_may_append(s) ? sending_append(s) : -EAGAIN;
	return sending_end(s, s->unkept ? -EAGAIN : r);
}

/* Charges an item and adds it to the run, if it fits and needs neither waiting nor the pool. */
static bool add_to_run(struct tx_run *run, beam_topic *topic, const struct beam_send_item *item, beam_deadline deadline)
{
	struct iovec iov = {(void *)(uintptr_t)item->data, item->size};
	struct sending s;

	if (sending_prepare(&s, topic->channel, &topic->outbox, &iov, 1, item->fds, item->n_fds, deadline) < 0 ||
	    !tx_run_fits(run, s.message.size, s.message.n_fds) || topic->outbox.outlet.losses.untold ||
	    sending_charge_now(&s) < 0)
		return false;
	if (s.message.overdraft) {
		sending_end(&s, -EAGAIN);
		return false;
	}
	tx_run_add(run, &s.message);
	return true;
}

/*
 * Closes given descriptors of messages that have been sent. The lock is released meanwhile, because
 * a close may block.
 */
static void reap_given(struct beam_channel *channel, const int *fds, size_t n)
{
	pthread_mutex_unlock(&channel->link.writer.lock);
	reaper_close(fds, n);
	pthread_mutex_lock(&channel->link.writer.lock);
}

/*
 * Sends as many of the items as fit into one write. Returns how many. If that is 0, the caller
 * sends them one by one, which also reports errors.
 */
static size_t send_run(beam_topic *topic, const struct beam_send_item *items, size_t n, bool give,
		       beam_deadline deadline, unsigned char *bytes)
{
	struct beam_channel *channel = topic->channel;
	struct tx_run run = {.bytes = bytes};
	struct sending s = {.channel = channel, .outbox = &topic->outbox, .deadline = deadline};
	size_t sent = 0, n_given = 0;

	if (channel->link.writer.taken || channel->link.writer.full || channel->link.writer.broken)
		return 0;
	while (run.n < n && add_to_run(&run, topic, &items[run.n], deadline))
		;
	if (run.n > 1) {
		tx_run_own(&run, &s.message.own, &topic->outbox.outlet);
		channel->link.writer.taken = true;
		if (sending_write(&s) == 0)
			sent = run.n;
		else if (s.message.own.begun) /* the connection broke in the middle */
			sent = tx_run_whole(&run, run.size - channel->link.writer.tx.batch.own_left);
		write_release(&channel->link);
	}
	for (unsigned i = 0; i < run.n; i++) {
		s.message.size = items[i].size;
		s.message.n_fds = (unsigned)items[i].n_fds;
		sending_end(&s, i < sent ? 0 : -EAGAIN);
		n_given += i < sent ? items[i].n_fds : 0;
	}
	if (give)
		reap_given(channel, run.fds, n_given);
	return sent;
}

/* Writes the buffer, as far as the socket accepts it. */
static void write_buffered(struct beam_channel *channel)
{
	if (channel->link.writer.taken || channel->link.writer.broken)
		return;
	channel->link.writer.taken = true;
	while (write_batch(&channel->link, NULL, NULL) == WRITTEN)
		;
	write_release(&channel->link);
}

/*
 * Returns -EINVAL if a descriptor is given twice, by one item or by two, and -ENOMEM if there is no
 * memory. Items after one that cannot be sent are not checked.
 */
static int check_given(const struct beam_send_item *items, size_t n)
{
	size_t n_items = 0, n_fds = 0;
	int *fds, r;

	while (n_items < n && items[n_items].n_fds <= TX_ATTACHMENTS_MAX &&
	       (items[n_items].fds || !items[n_items].n_fds))
		n_fds += items[n_items++].n_fds;
	fds = sys_malloc((n_fds + 1) * sizeof *fds);
	if (!fds)
		return -ENOMEM;
	n_fds = 0;
	for (size_t i = 0; i < n_items; i++) {
		for (size_t k = 0; k < items[i].n_fds; k++)
			fds[n_fds++] = items[i].fds[k];
	}
	r = sending_repeats(fds, n_fds) ? -EINVAL : 0;
	free(fds);
	return r;
}

ssize_t beam_topic_send_many(beam_topic *topic, const struct beam_send_item *items, size_t n, unsigned flags,
			     beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	unsigned char *bytes = NULL;
	struct sending s;
	size_t sent = 0, run;
	int r = 0;

	if (!topic || (n && !items) || (flags & ~(unsigned)BEAM_SEND_GIVE_FDS))
		return -EINVAL;
	if (channel_foreign(topic->channel))
		return -ECHILD;
	if (flags)
		r = check_given(items, n);
	if (r < 0)
		return r;
	/* Without memory the messages are sent one by one. */
	if (n > 1 && items[0].n_fds)
		bytes = sys_malloc(TX_RUN);
	pthread_mutex_lock(&topic->channel->link.writer.lock);
	while (bytes && sent < n && (run = send_run(topic, items + sent, n - sent, flags, deadline, bytes)))
		sent += run;
	while (sent < n) {
		const struct beam_send_item *item = &items[sent];
		struct iovec iov = {(void *)(uintptr_t)item->data, item->size};

		r = sending_prepare(&s, topic->channel, &topic->outbox, &iov, 1, item->fds, item->n_fds, deadline);
		s.given = s.loose = flags;
		if (!r)
			r = send_buffered(&s);
		if (r == -EAGAIN) {
			write_buffered(topic->channel);
			sending_rewind(&s);
			r = sending_charge(&s);
			if (!r)
				r = sending_frames(&s);
		}
		if (r < 0)
			break;
		if (flags && !s.taken)
			reap_given(topic->channel, item->fds, item->n_fds);
		sent++;
	}
	/*
	 * The result is the number of messages that were sent, so the next send reports the loss.
	 */
	if (r == -EIO && sent)
		topic->outbox.outlet.losses.untold = true;
	write_buffered(topic->channel);
	rooms_show(topic->channel);
	pthread_mutex_unlock(&topic->channel->link.writer.lock);
	free(bytes);
	return sent ? (ssize_t)sent : r;
}
