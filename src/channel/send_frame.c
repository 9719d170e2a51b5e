/* SPDX-License-Identifier: MIT */
/*
 * Sending the frames of a message. A frame is written from the caller's memory, or put into the
 * buffer.
 */
#include <base/sys.h>
#include <channel/sending.h>
#include <link/burst.h>
#include <socket/socket.h>
#include <string.h>

/* ---- Waiting --------------------------------------------------------------------------------- */

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
	r = write_wait(&s->channel->link, for_room, deadline);
	count_waiting(s, false);
	return r;
}

static int wait_for_socket(struct sending *s)
{
	int r;

	count_waiting(s, true);
	r = write_poll(&s->channel->link, baton_kick(&s->channel->link), s->deadline);
	count_waiting(s, false);
	return r;
}

/* ---- Sending --------------------------------------------------------------------------------- */

int sending_append(struct sending *s)
{
	struct tx_own *own = &s->message.own;
	int duplicates[TX_ATTACHMENTS_MAX];

	/*
	 * Every descriptor that the library holds is close-on-exec. If one is not open, this
	 * reports the caller's mistake.
	 */
	for (unsigned i = 0; s->loose && i < own->n_fds; i++) {
		int r = socket_close_on_exec(own->fds[i]);

		if (r < 0)
			return r;
	}
	if (s->given || !own->n_fds) {
		tx_append(&s->channel->link.writer.tx, own, own->fds);
		s->taken = s->given && own->n_fds;
		s->channel->link.writer.was_given |= s->taken;
		return 0;
	}
	for (unsigned i = 0; i < own->n_fds; i++) {
		duplicates[i] = socket_duplicate(own->fds[i]);
		if (duplicates[i] < 0) {
			int error = duplicates[i];

			reaper_close(duplicates, i);
			s->unkept = error == -EMFILE;
			return error;
		}
	}
	tx_append(&s->channel->link.writer.tx, own, duplicates);
	return 0;
}

bool sending_may_append(const struct sending *s)
{
	const struct tx *tx = &s->channel->link.writer.tx;

	/*
	 * If the kernel refuses the descriptors of a message in the buffer, that message alone is
	 * dropped. So it must be a single frame.
	 */
	if (s->message.own.n_more || (s->message.own.n_fds && s->message.left) || s->unkept)
		return false;
	if (tx->held && (s->message.own.n_fds || s->message.own.outlet->buffered > tx->drained) &&
	    deadline_waits(s->deadline))
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
		switch (write_batch(&channel->link, own, &error)) {
		case WRITTEN_REFUSED: return error;
		case WRITTEN_BROKEN: return channel->link.writer.broken;
		case WRITTEN_LATER:
		case WRITTEN_NOTHING: tx_leave(&channel->link.writer.tx, own); return own->done ? 0 : -EINPROGRESS;
		case WRITTEN:
			if (own->done)
				return 0;
			/*
			 * The frame was not part of what was written. The lock was released
			 * meanwhile, so the state may have changed.
			 */
			r = sending_state(channel, own->outlet);
			if (r < 0)
				return r;
			continue;
		default: break;
		}
		/* The messages of a run can be sent one by one instead. */
		if (!own->begun && own->n_messages > 1) {
			tx_leave(&channel->link.writer.tx, own);
			return -EAGAIN;
		}
		if (!own->begun && sending_may_append(s)) {
			tx_leave(&channel->link.writer.tx, own);
			r = sending_append(s);
			if (s->unkept)
				continue;
			return r;
		}
		r = deadline_passed(s->deadline) ? deadline_error(s->deadline) : wait_for_socket(s);
		if (r == 1 || (r == 0 && !sending_state(channel, own->outlet)) || channel->link.writer.broken)
			continue;
		/*
		 * The deadline has passed, or the outlet was closed. A message whose last frame has
		 * begun will be completed from the reserve, and counts as sent.
		 */
		if (!tx_abandon(&channel->link.writer.tx, own))
			tx_leave(&channel->link.writer.tx, own);
		if (own->done)
			return 0;
		return r < 0 ? r : sending_state(channel, own->outlet);
	}
}

/* Only small frames may wait in the buffer until the burst is over. */
static bool enters_burst(struct sending *s)
{
	return tx_own_size(&s->message.own) <= TX_LARGE && burst_enter(&s->channel->link);
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
		/*
		 * If the socket is known to be full, the frame is left to whoever watches for room.
		 */
		if ((channel->link.writer.taken || channel->link.writer.full || channel->link.writer.burst ||
		     enters_burst(s)) &&
		    sending_may_append(s)) {
			r = sending_append(s);
			if (s->unkept)
				continue;
			/*
			 * The frame is written by the thread that is writing, or by whoever watches
			 * for room. If there is neither, as in a burst, the link's thread writes
			 * it.
			 */
			if (!channel->link.writer.taken && !channel->link.writer.full)
				write_nudge(&channel->link);
			return r;
		}
		if (channel->link.writer.taken) {
			r = wait_for_turn(s, tx_own_size(&s->message.own) <= TX_LARGE && !s->unkept, s->deadline);
			if (r < 0)
				return r;
			if (!r)
				continue;
		}
		channel->link.writer.taken = true;
		r = sending_write(s);
		write_release(&channel->link);
		burst_note_sent(&channel->link);
		if (r != -EINPROGRESS)
			return r;
		until = deadline_earlier(
		    s->deadline,
		    deadline_in(channel->link.writer.retry_after ? channel->link.writer.retry_after : 1000 * 1000));
		r = wait_for_turn(s, false, until);
		if (r == 1)
			write_release(&channel->link);
		write_try_again(&channel->link);
		if (r < 0 && deadline_passed(s->deadline))
			return deadline_error(s->deadline);
	}
}

int sending_frame(struct sending *s)
{
	int r = send_frame(s);

	/*
	 * A sender that does not wait gets -EMFILE. With -EAGAIN it would wait for room, which does
	 * not show when a descriptor is free.
	 */
	return r == -EAGAIN && s->unkept ? -EMFILE : r;
}
