/* SPDX-License-Identifier: MIT */
/* Sending a message: checks, credit, one frame after the other, completion. */
#include <base/sys.h>
#include <channel/sending.h>
#include <limits.h>
#include <string.h>

/* ---- Credit ---------------------------------------------------------------------------------- */

/*
 * The fast path for plain messages. Returns true if the message has been charged. It does not
 * report why sending has ended; that is left to the other functions.
 */
static inline bool charge_plainly(struct sending *s)
{
	s->large = s->message.size > TX_WHOLE || s->message.n_iov > TX_OWN_PARTS;
	return !s->large && !s->message.n_fds && !s->message.call && !s->outbox->outlet.losses.untold &&
	       !sending_state(s->channel, &s->outbox->outlet) && tx_charge_plain(&s->outbox->outlet, s->message.size);
}

static void begin_claim(struct sending *s, struct claimant *claimant)
{
	claimant->claim = (struct tx_claim){
	    .size = s->message.size, .n_fds = s->message.n_fds, .large = s->large, .call = s->message.call};
	list_init(&claimant->claim.link);
	sleepers_init(&claimant->woken);
}

static inline int try_charge(struct sending *s, struct tx_claim *claim)
{
	struct tx *tx = &s->channel->link.writer.tx;
	struct outlet *outlet = &s->outbox->outlet;
	int r = sending_begin(s->channel, outlet);

	if (r)
		return r;
	r = tx_fits(tx, outlet, s->message.size, s->message.n_fds);
	if (!r)
		return tx_charge(tx, outlet, claim, &s->message.overdraft);
	if (r == -EAGAIN)
		tx_wait(tx, outlet, claim);
	return r;
}

int sending_charge_now(struct sending *s)
{
	struct claimant claimant;
	int r;

	if (charge_plainly(s))
		return 0;
	begin_claim(s, &claimant);
	r = try_charge(s, &claimant.claim);
	tx_unclaim(&s->channel->link.writer.tx, &s->outbox->outlet, &claimant.claim);
	return r;
}

int sending_charge(struct sending *s)
{
	struct beam_channel *channel = s->channel;
	struct claimant claimant;
	int r, waited = 0;

	if (charge_plainly(s))
		return 0;
	begin_claim(s, &claimant);
	while ((r = try_charge(s, &claimant.claim)) == -EAGAIN) {
		r = waited;
		if (r < 0)
			break;
		/* The claim may have made WANT due. */
		write_pending(&channel->link);
		/* The lock was released meanwhile, so the claim may have been woken already. */
		waited = claimant.claim.woken
			     ? 0
			     : baton_wait(&channel->link, &channel->link.writer.lock, &claimant.woken, s->deadline);
	}
	tx_unclaim(&channel->link.writer.tx, &s->outbox->outlet, &claimant.claim);
	return r;
}

/* ---- Messages -------------------------------------------------------------------------------- */

int sending_end(struct sending *s, int result)
{
	struct tx *tx = &s->channel->link.writer.tx;
	struct outlet *outlet = &s->outbox->outlet;

	if (result < 0) {
		tx_uncharge(tx, outlet, s->message.size, s->message.n_fds, s->message.overdraft);
		/* At the end of the channel the session may have forgotten the call before. */
		if (s->message.call && tx_call_undone(tx, s->message.call)) /* GCOVR_EXCL_BR_LINE: a race */
			s->message.call = NULL;
	} else {
		if (s->message.flags & TX_LAST)
			tx_ended(outlet);
		outlet->messages++;
		outlet->bytes += s->message.size;
		outlet->attachments += s->message.n_fds;
	}
	tx_complete(tx, outlet, s->large);
	return result;
}

int sending_frames(struct sending *s)
{
	bool begun = false;
	int r;

	do {
		tx_message_frame(&s->message, deadline_waits(s->deadline));
		r = sending_frame(s);
		if (r < 0)
			break;
		begun = begun || s->message.left;
	} while (s->message.left);
	if (r < 0)
		tx_give_up(&s->channel->link.writer.tx, &s->message.own);
	if (r >= 0 || (!begun && !s->message.own.sent_some))
		return sending_end(s, r);
	tx_abort(&s->channel->link.writer.tx, &s->outbox->outlet);
	write_pending(&s->channel->link);
	return r;
}

int sending_send(struct sending *s)
{
	int r;

	pthread_mutex_lock(&s->channel->link.writer.lock);
	r = sending_charge(s);
	if (!r)
		r = sending_frames(s);
	/* Senders that waited for this message may be short of attachments now. */
	if (s->channel->link.writer.tx.want_due)
		write_pending(&s->channel->link);
	rooms_show(s->channel);
	pthread_mutex_unlock(&s->channel->link.writer.lock);
	/* The descriptors were sent, so the given ones, or the message's, are no longer of use. */
	if (!r && s->given && !s->taken)
		reaper_close(s->message.fds, s->message.n_fds);
	return r;
}

static int by_number(const void *a, const void *b)
{
	int first = *(const int *)a, second = *(const int *)b;

	return (first > second) - (first < second);
}

bool sending_repeats(int *fds, size_t n)
{
	size_t i = 1;

	qsort(fds, n, sizeof *fds, by_number);
	while (i < n && fds[i] != fds[i - 1])
		i++;
	return i < n;
}

int sending_give(struct sending *s)
{
	int sorted[TX_ATTACHMENTS_MAX];

	if (s->message.n_fds) {
		memcpy(sorted, s->message.fds, s->message.n_fds * sizeof *sorted);
		if (sending_repeats(sorted, s->message.n_fds))
			return -EINVAL;
	}
	s->given = s->loose = true;
	return 0;
}

void sending_rewind(struct sending *s)
{
	s->message.at_iov = s->message.at_byte = 0;
	s->message.left = s->message.size;
}

int sending_prepare(struct sending *s, struct beam_channel *channel, struct outbox *outbox, const struct iovec *iov,
		    size_t n_iov, const int *fds, size_t n_fds, beam_deadline deadline)
{
	if ((n_iov && !iov) || n_iov > IOV_MAX || (n_fds && !fds))
		return -EINVAL;
	if (channel_foreign(channel))
		return -ECHILD;
	if (n_fds > TX_ATTACHMENTS_MAX)
		return -E2BIG;
	s->channel = channel;
	s->outbox = outbox;
	s->message.outlet = &outbox->outlet;
	s->deadline = deadline;
	s->message.iov = iov;
	s->message.n_iov = n_iov;
	s->message.size = 0;
	for (size_t i = 0; i < n_iov; i++) {
		if (iov[i].iov_len && !iov[i].iov_base)
			return -EINVAL;
		if (iov[i].iov_len > (size_t)INT32_MAX - s->message.size)
			return -EMSGSIZE;
		s->message.size += iov[i].iov_len;
	}
	for (size_t i = 0; i < n_fds; i++) {
		if (fds[i] < 0)
			return -EBADF;
	}
	sending_rewind(s);
	s->message.fds = fds;
	s->message.n_fds = (unsigned)n_fds;
	s->given = s->loose = s->taken = false;
	s->message.overdraft = 0;
	s->unkept = false;
	s->message.call = NULL;
	s->message.flags = 0;
	s->message.own.outlet = &outbox->outlet;
	s->message.own.done = false;
	return 0;
}

int sending_prepare_message(struct sending *s, struct beam_channel *channel, struct outbox *outbox,
			    const struct beam_message *message, struct iovec *iov, beam_deadline deadline)
{
	int r;

	/* Its replies would not find their way back to the caller. */
	if (message->call)
		return -EOPNOTSUPP;
	for (unsigned i = 0; i < message->n_fds; i++) {
		if (message->fds[i] < 0)
			return -ENOENT;
	}
	*iov = (struct iovec){(void *)(uintptr_t)message->data, message->size};
	r = sending_prepare(s, channel, outbox, iov, 1, message->fds, message->n_fds, deadline);
	s->given = true;
	return r;
}

int sending_send_message(struct sending *s, struct beam_message *message)
{
	int r = sending_send(s);

	if (r < 0)
		return r;
	message_disown_fds(message);
	beam_message_free(message);
	return 0;
}

/* ---- Topics ---------------------------------------------------------------------------------- */

int beam_topic_sendv(beam_topic *topic, const struct iovec *iov, size_t n_iov, const int *fds, size_t n_fds,
		     unsigned flags, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	struct sending s;
	int r;

	if (!topic || (flags & ~(unsigned)BEAM_SEND_GIVE_FDS))
		return -EINVAL;
	r = sending_prepare(&s, topic->channel, &topic->outbox, iov, n_iov, fds, n_fds, deadline);
	if (!r && flags)
		r = sending_give(&s);
	return r < 0 ? r : sending_send(&s);
}

int beam_topic_send(beam_topic *topic, const void *data, size_t size, unsigned flags, beam_deadline deadline)
{
	struct iovec iov = {(void *)(uintptr_t)data, size};

	return flags ? -EINVAL : beam_topic_sendv(topic, &iov, 1, NULL, 0, 0, deadline);
}

int beam_topic_send_message(beam_topic *topic, beam_message *message, unsigned flags, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	struct iovec iov;
	struct sending s;
	int r;

	if (!topic || !message || flags)
		return -EINVAL;
	r = sending_prepare_message(&s, topic->channel, &topic->outbox, message, &iov, deadline);
	return r < 0 ? r : sending_send_message(&s, message);
}
