/* SPDX-License-Identifier: MIT */
/*
 * Frames of a message on its way out: written from the caller's memory, or put into the buffer.
 */
#include <base/sys.h>
#include <channel/sending.h>
#include <channel/tuning.h>
#include <socket/socket.h>
#include <string.h>

/* ---- Waiting ------------------------------------------------------------------------------------------------------ */

static void count_waiting(struct sending *s, bool waits)
{
	unsigned change = waits ? 1 : (unsigned)-1;

	s->outbox->waiting_for_room += change;
	s->channel->waiting_for_room += change;
}

static int wait_for_turn(struct sending *s, bool for_room, beam_deadline deadline)
{
	int r;

	count_waiting(s, true);
	r = write_wait(s->channel, for_room, deadline);
	count_waiting(s, false);
	return r;
}

static int wait_for_socket(struct sending *s)
{
	int r;

	count_waiting(s, true);
	r = write_poll(s->channel, baton_kick(s->channel), s->deadline);
	count_waiting(s, false);
	return r;
}

/* ---- Sending ------------------------------------------------------------------------------------------------------------------- */

int sending_append(struct sending *s)
{
	struct tx_own *own = &s->message.own;
	int duplicates[TX_ATTACHMENTS_MAX];

	/* Every descriptor that the library holds is close-on-exec; and one that is not open is the caller's mistake. */
	for (unsigned i = 0; s->loose && i < own->n_fds; i++) {
		int r = socket_close_on_exec(own->fds[i]);

		if (r < 0)
			return r;
	}
	s->channel->was_given |= s->loose;
	if (s->given || !own->n_fds) {
		tx_append(&s->channel->tx, own, own->fds);
		s->taken = s->given && own->n_fds;
		return 0;
	}
	for (unsigned i = 0; i < own->n_fds; i++) {
		duplicates[i] = socket_duplicate(own->fds[i]);
		if (duplicates[i] < 0) {
			int error = duplicates[i];

			while (i--)
				close(duplicates[i]);
			s->unkept = error == -EMFILE;
			return error;
		}
	}
	tx_append(&s->channel->tx, own, duplicates);
	return 0;
}

bool sending_may_append(const struct sending *s)
{
	const struct tx *tx = &s->channel->tx;

	/* A message with descriptors may have to be dropped alone, if the kernel refuses them: it must be one frame. */
	if (s->message.own.n_more || (s->message.own.n_fds && s->message.left) || s->unkept)
		return false;
	if (tx->held && (s->message.own.n_fds || s->message.own.outlet->buffered > tx->drained) && deadline_waits(s->deadline))
		return false;
	return (tx_own_size(&s->message.own) <= TX_LARGE || !deadline_waits(s->deadline)) &&
	       tx_append_fits(tx, &s->message.own);
}

int sending_write(struct sending *s)
{
	struct beam_channel *channel = s->channel;
	struct tx_own *own = &s->message.own;
	int error = 0, r;

	for (;;) {
		switch (write_batch(channel, own, &error)) {
		case WRITTEN_REFUSED: return error;
		case WRITTEN_BROKEN: return channel->broken;
		case WRITTEN_LATER:
		case WRITTEN_NOTHING: tx_leave(&channel->tx, own); return own->done ? 0 : -EINPROGRESS;
		case WRITTEN:
			if (own->done)
				return 0;
			/* It was not among what went. The lock was given up meanwhile. */
			r = sending_state(channel, own->outlet);
			if (r < 0)
				return r;
			continue;
		default: break;
		}
		/* A run can be sent one by one. */
		if (!own->begun && own->n_messages > 1) {
			tx_leave(&channel->tx, own);
			return -EAGAIN;
		}
		if (!own->begun && sending_may_append(s)) {
			tx_leave(&channel->tx, own);
			r = sending_append(s);
			if (s->unkept)
				continue;
			return r;
		}
		r = deadline_passed(s->deadline) ? deadline_error(s->deadline) : wait_for_socket(s);
		if (r == 1 || (r == 0 && !sending_state(channel, own->outlet)) || channel->broken)
			continue;
		/* The deadline, or a close. A message whose last frame has begun will be completed from the reserve: it counts as sent. */
		if (!tx_abandon(&channel->tx, own))
			tx_leave(&channel->tx, own);
		if (own->done)
			return 0;
		return r < 0 ? r : sending_state(channel, own->outlet);
	}
}

/* A sender with nobody else writing: true if it has been quick for so long that it leaves the writing to the channel's thread. */
static bool enters_burst(struct sending *s)
{
	struct beam_channel *channel = s->channel;

	if (tx_own_size(&s->message.own) > TX_LARGE || channel->options.loop)
		return false;
	channel->in_a_row = clock_now() - channel->sent_at < BURST_GAP_NS ? channel->in_a_row + 1 : 0;
	if (channel->in_a_row < BURST_SENDS)
		return false;
	channel->burst = true;
	return true;
}

static int send_frame(struct sending *s)
{
	struct beam_channel *channel = s->channel;
	beam_deadline until;
	int r;

	for (;;) {
		r = sending_state(channel, &s->outbox->outlet);
		if (r < 0)
			return r;
		/* A socket that is known to be full is left to whoever watches it. */
		if ((channel->writing || channel->full || channel->burst || enters_burst(s)) && sending_may_append(s)) {
			r = sending_append(s);
			if (s->unkept)
				continue;
			/* A writer takes it along, or whoever watches for room; in a burst, the channel's thread. */
			if (!channel->writing && !channel->full)
				write_nudge(channel);
			return r;
		}
		if (channel->writing) {
			r = wait_for_turn(s, tx_own_size(&s->message.own) <= TX_LARGE && !s->unkept, s->deadline);
			if (r < 0)
				return r;
			if (!r)
				continue;
		}
		channel->writing = true;
		r = sending_write(s);
		write_release(channel);
		channel->sent_at = clock_now();
		if (r != -EINPROGRESS)
			return r;
		until = deadline_earlier(s->deadline, deadline_in(channel->retry_after ? channel->retry_after : 1000 * 1000));
		r = wait_for_turn(s, false, until);
		if (r == 1)
			write_release(channel);
		write_try_again(channel);
		if (r < 0 && deadline_passed(s->deadline))
			return deadline_error(s->deadline);
	}
}

int sending_frame(struct sending *s)
{
	int r = send_frame(s);

	/* Who does not wait is told what is missing: room in the socket would not show it. */
	return r == -EAGAIN && s->unkept ? -EMFILE : r;
}
