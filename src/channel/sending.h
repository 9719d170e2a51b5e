/* SPDX-License-Identifier: MIT */
/*
 * Sending a message. It first needs credit, and then each of its frames needs the writing right or
 * room in the buffer.
 *
 * These functions are called with the writer's lock held. Exceptions are those that only prepare a
 * message, which need no lock, and sending_send() and sending_send_message(), which take it.
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
	 * `given`: the descriptors are taken and not duplicated. `loose`: the caller gave them by
	 * number, they do not belong to a message. `taken`: the buffer has taken them.
	 */
	bool given, loose, taken;
	/* The message may take several frames. */
	bool large;
	/*
	 * No descriptor is free for a duplicate. So the frame is not put into the buffer, but
	 * written from the caller's own descriptors.
	 */
	bool unkept;
};

/* Why nothing can be sent through an outlet; 0 if it can. */
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

/* The same for a message that is about to begin. The first sender after a loss gets -EIO. */
static inline int sending_begin(const struct beam_channel *channel, struct outlet *outlet)
{
	if (outlet->losses.untold && !channel->link.writer.send_error) {
		outlet->losses.untold = false;
		return -EIO;
	}
	return sending_state(channel, outlet);
}

/* ---- send.c */
/* Checks what does not depend on the peer, and adds up the size of the payload. */
int sending_prepare(struct sending *s, struct beam_channel *channel, struct outbox *outbox, const struct iovec *iov,
		    size_t n_iov, const int *fds, size_t n_fds, beam_deadline deadline);
/* Starts again with the first byte of the payload. */
void sending_rewind(struct sending *s);
/*
 * Charges the message if there is credit for it. Returns 0, -EAGAIN if the message must wait for
 * credit, or the reason why it cannot be sent.
 */
int sending_charge_now(struct sending *s);
/* The same, but waits for credit until the deadline. */
int sending_charge(struct sending *s);
/* Sends all frames of a message that has been charged. */
int sending_frames(struct sending *s);
/*
 * Completes a message that was charged. It has been sent, or, if `result` is negative, it has not
 * begun and its credit is returned. Returns `result`.
 */
int sending_end(struct sending *s, int result);
/*
 * Notes that the caller gives the descriptors by number. They belong to the library if the message
 * is sent, and otherwise still to the caller. Returns -EINVAL if a descriptor occurs twice.
 */
int sending_give(struct sending *s);
/* Returns true if a descriptor occurs twice. Sorts them. */
bool sending_repeats(int *fds, size_t n);
/* Charges the message and sends it. Takes the writer's lock. */
int sending_send(struct sending *s);
/*
 * The same for a beam_message, which is freed if it was sent. `iov` is memory for the description
 * of its payload. The attachments are sent without being duplicated. Returns -EOPNOTSUPP if the
 * message is a call, and -ENOENT if one of its attachments was taken or lost.
 */
int sending_prepare_message(struct sending *s, struct beam_channel *channel, struct outbox *outbox,
			    const struct beam_message *message, struct iovec *iov, beam_deadline deadline);
int sending_send_message(struct sending *s, struct beam_message *message);

/* ---- send_frame.c */
/* Sends a frame. Returns 0 when it has been accepted. */
int sending_frame(struct sending *s);
/*
 * Returns true if the frame may be put into the buffer, and fits. Large frames bypass the buffer,
 * unless their sender must not wait.
 */
bool sending_may_append(const struct sending *s);
/*
 * Puts the frame into the buffer, which has room for it. Returns 0, or the error with which one of
 * its descriptors could not be used. If that is because no descriptor is free for a duplicate,
 * `unkept` is set.
 */
int sending_append(struct sending *s);
/*
 * Writes a frame. The caller holds the writing right. Returns 0 when the frame has been accepted,
 * or -EINPROGRESS if it must be tried again later.
 */
int sending_write(struct sending *s);

#endif
