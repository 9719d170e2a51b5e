/* SPDX-License-Identifier: MIT */
/*
 * A message on its way out: credit first, then the writing right or a place in the buffer, frame by
 * frame. All of it under the writer's lock, but for sending_prepare() and sending_send().
 */
#ifndef CHANNEL_SENDING_H
#define CHANNEL_SENDING_H

#include <channel/internal.h>
#include <session/fragment.h>

/* A sender that may have to wait for credit. */
struct claimant {
	struct tx_claim claim;
	struct sleepers woken;
};

struct sending {
	struct beam_channel *channel;
	struct outbox *outbox;
	beam_deadline deadline;
	struct tx_message message;
	/*
	 * The descriptors are to be taken rather than duplicated: they are a message's, or `loose`,
	 * given by their numbers; taken.
	 */
	bool given, loose, taken;
	/* It may take several frames. */
	bool large;
	/*
	 * There is no descriptor for a duplicate: the frame is not put into the buffer, but
	 * written from the caller's own.
	 */
	bool unkept;
};

/* Why nothing can be sent by an outlet; 0: it can. */
static inline int sending_state(const struct beam_channel *channel, const struct outlet *outlet)
{
	if (channel->link.writer.send_error)
		return channel->link.writer.send_error;
	if (!outlet->reset && !outlet->close_wanted)
		return 0;
	if (outlet_replies(outlet))
		return outlet->reset ? -ECANCELED : -EALREADY;
	return outlet->reset && outlet->reset_reason == RESET_REFUSED ? -ECONNREFUSED : -EPIPE;
}

/* The same for a message that is about to begin: whoever asks first after a loss is told of it. */
static inline int sending_begin(const struct beam_channel *channel, struct outlet *outlet)
{
	if (outlet->losses.untold && !channel->link.writer.send_error) {
		outlet->losses.untold = false;
		return -EIO;
	}
	return sending_state(channel, outlet);
}

/* ---- send.c */
/* Checks what does not depend on the other side, and adds up the payload. */
int sending_prepare(struct sending *s, struct beam_channel *channel, struct outbox *outbox, const struct iovec *iov,
		    size_t n_iov, const int *fds, size_t n_fds, beam_deadline deadline);
/* Back to the first byte of the payload. */
void sending_rewind(struct sending *s);
/*
 * Charges the message if there is credit for it: 0; -EAGAIN: it must wait; or why it cannot be
 * sent.
 */
int sending_charge_now(struct sending *s);
/* Charges the message, once there is credit for it. */
int sending_charge(struct sending *s);
/* The message is charged: all its frames. */
int sending_frames(struct sending *s);
/*
 * The end of a message that was charged: sent, or, with a negative result, not
 * begun. Returns the result.
 */
int sending_end(struct sending *s, int result);
/*
 * The descriptors are given by their numbers: they are the library's if the message goes, and else
 * the caller's as before. -EINVAL: one of them stands there twice.
 */
int sending_give(struct sending *s);
/* True if one of these descriptors stands there twice. They are put in order. */
bool sending_repeats(int *fds, size_t n);
/* From credit to the last frame, with its lock. */
int sending_send(struct sending *s);
/* The same for a whole message, which is freed if it was sent; `iov` is the room for its
 * payload. Its attachments go without duplicates. -EOPNOTSUPP: it is a call. -ENOENT: an
 * attachment of it was taken or lost. */
int sending_prepare_message(struct sending *s, struct beam_channel *channel, struct outbox *outbox,
			    const struct beam_message *message, struct iovec *iov, beam_deadline deadline);
int sending_send_message(struct sending *s, struct beam_message *message);

/* ---- send_frame.c */
/* Sends it: 0 when it is accepted. */
int sending_frame(struct sending *s);
/*
 * True if the frame may go into the buffer, and fits. Large ones go past it, but for
 * those that must not wait.
 */
bool sending_may_append(const struct sending *s);
/*
 * Puts the frame into the buffer, where there is room: 0, or an error of duplicating its
 * descriptors, with -EMFILE as `unkept`.
 */
int sending_append(struct sending *s);
/* The writing right is ours: writes the frame. 0: it is accepted. -EINPROGRESS: try again later. */
int sending_write(struct sending *s);

#endif
