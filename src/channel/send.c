/* SPDX-License-Identifier: MIT */
/*
 * Sending a message: checks, credit, the frames one after the other, the end.
 */
#include <base/sys.h>
#include <channel/sending.h>
#include <limits.h>
#include <string.h>

/* ---- Credit -------------------------------------------------------------------------------------------------------------- */

/* Waits until something that senders here wait for has changed. */
static int wait_for_credit(struct sending *s)
{
	struct outbox *outbox = s->outbox;
	int r;

	if (!outbox->senders++)
		list_append(&s->channel->blocked, &outbox->blocked);
	r = baton_wait(s->channel, &s->channel->tx_lock, &outbox->sendable, s->deadline);
	if (!--outbox->senders)
		list_remove(&outbox->blocked);
	return r;
}

static struct tx_claim claim_for(struct sending *s)
{
	s->large = s->size > FRAME_BODY_MAX - FRAME_SIZED_PREFIX || s->n_iov > TX_OWN_PARTS;
	return (struct tx_claim){.size = s->size, .n_fds = s->n_fds, .large = s->large, .call = s->call};
}

static inline int try_charge(struct sending *s, struct tx_claim *claim)
{
	struct tx *tx = &s->channel->tx;
	struct outlet *outlet = &s->outbox->outlet;
	int r = sending_tell(s->channel, outlet);

	if (!r)
		r = tx_fits(tx, outlet, s->size, s->n_fds);
	if (!r)
		r = tx_charge(tx, outlet, claim, &s->overdraft);
	return r;
}

/* Most have never stood in a queue. */
static inline void unclaim(struct sending *s, struct tx_claim *claim)
{
	if (claim->waits || list_linked(&claim->link))
		tx_unclaim(&s->channel->tx, &s->outbox->outlet, claim);
}

int sending_charge_now(struct sending *s)
{
	struct tx_claim claim = claim_for(s);
	int r;

	list_init(&claim.link);
	r = try_charge(s, &claim);
	unclaim(s, &claim);
	return r;
}

int sending_charge(struct sending *s)
{
	struct tx_claim claim = claim_for(s);
	int r, waited = 0;

	list_init(&claim.link);
	while ((r = try_charge(s, &claim)) == -EAGAIN) {
		r = waited;
		if (r < 0)
			break;
		waited = wait_for_credit(s);
	}
	unclaim(s, &claim);
	return r;
}

/* ---- Messages ------------------------------------------------------------------------------------------------------------------ */

int sending_end(struct sending *s, int result)
{
	struct tx *tx = &s->channel->tx;
	struct outlet *outlet = &s->outbox->outlet;

	if (result < 0) {
		tx_uncharge(tx, outlet, s->size, s->n_fds, s->overdraft);
		/* The channel's end may have forgotten it first. */
		if (s->call && tx_call_undone(tx, s->call)) /* GCOVR_EXCL_BR_LINE: a race */
			s->call = NULL;
	} else {
		if (s->flags & FRAME_END)
			tx_ended(outlet);
		outlet->messages++;
		outlet->bytes += s->size;
		outlet->attachments += s->n_fds;
	}
	tx_complete(tx, outlet, s->large);
	return result;
}

int sending_frames(struct sending *s)
{
	bool begun = false;
	int r;

	do {
		sending_make_frame(s);
		r = sending_frame(s);
		if (r < 0)
			break;
		begun = begun || s->left;
	} while (s->left);
	if (r < 0)
		tx_give_up(&s->channel->tx, &s->own);
	if (r >= 0 || (!begun && !s->own.sent_some))
		return sending_end(s, r);
	tx_abort(&s->channel->tx, &s->outbox->outlet);
	write_pending(s->channel);
	return r;
}

int sending_send(struct sending *s)
{
	int r;

	pthread_mutex_lock(&s->channel->tx_lock);
	r = sending_charge(s);
	if (!r)
		r = sending_frames(s);
	rooms_show(s->channel);
	pthread_mutex_unlock(&s->channel->tx_lock);
	return r;
}

void sending_rewind(struct sending *s)
{
	s->at_iov = s->at_byte = 0;
	s->left = s->size;
}

int sending_prepare(struct sending *s, struct beam_channel *channel, struct outbox *outbox, const struct iovec *iov,
		    size_t n_iov, const int *fds, size_t n_fds, beam_deadline deadline)
{
	if ((n_iov && !iov) || n_iov > IOV_MAX || (n_fds && !fds))
		return -EINVAL;
	if (channel_foreign(channel))
		return -ECHILD;
	if (n_fds > FRAME_CARRIED_MAX)
		return -E2BIG;
	s->channel = channel;
	s->outbox = outbox;
	s->deadline = deadline;
	s->iov = iov;
	s->n_iov = n_iov;
	s->size = 0;
	for (size_t i = 0; i < n_iov; i++) {
		if (iov[i].iov_len && !iov[i].iov_base)
			return -EINVAL;
		if (iov[i].iov_len > (size_t)INT32_MAX - s->size)
			return -EMSGSIZE;
		s->size += iov[i].iov_len;
	}
	for (size_t i = 0; i < n_fds; i++) {
		if (fds[i] < 0)
			return -EBADF;
	}
	sending_rewind(s);
	s->fds = fds;
	s->n_fds = (unsigned)n_fds;
	s->given = s->taken = false;
	s->overdraft = 0;
	s->call = NULL;
	s->flags = 0;
	s->own.outlet = &outbox->outlet;
	s->own.done = false;
	return 0;
}

/* ---- Of a topic ---------------------------------------------------------------------------------------------------------------- */

int beam_topic_sendv(beam_topic *topic, const struct iovec *iov, size_t n_iov, const int *fds, size_t n_fds,
		     beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	struct sending s;
	int r;

	if (!topic)
		return -EINVAL;
	r = sending_prepare(&s, topic->channel, &topic->outbox, iov, n_iov, fds, n_fds, deadline);
	return r < 0 ? r : sending_send(&s);
}

int beam_topic_send(beam_topic *topic, const void *data, size_t size, beam_deadline deadline)
{
	struct iovec iov = {(void *)(uintptr_t)data, size};

	return beam_topic_sendv(topic, &iov, 1, NULL, 0, deadline);
}

int beam_topic_send_message(beam_topic *topic, beam_message *message, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	struct iovec iov;
	struct sending s;
	int r;

	if (!topic || !message)
		return -EINVAL;
	/* Its replies would find no way back. */
	if (message->call)
		return -EOPNOTSUPP;
	for (unsigned i = 0; i < message->n_fds; i++) {
		if (message->fds[i] < 0)
			return -ENOENT;
	}
	iov = (struct iovec){(void *)(uintptr_t)message->data, message->size};
	r = sending_prepare(&s, topic->channel, &topic->outbox, &iov, 1, message->fds, message->n_fds, deadline);
	if (r < 0)
		return r;
	s.given = true;
	r = sending_send(&s);
	if (r < 0)
		return r;
	if (!s.taken) {
		/* They went with the message: what is left here are ours, and their last close is the receiver's. */
		for (unsigned i = 0; i < message->n_fds; i++)
			close(message->fds[i]);
	}
	message->n_fds = 0;
	beam_message_free(message);
	return 0;
}
