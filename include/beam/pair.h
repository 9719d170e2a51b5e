/* SPDX-License-Identifier: MIT */
/**
 * @file pair.h
 * Channels over channels: a channel whose other end travels as an attachment.
 *
 * One end of a fresh socket pair is kept as an open channel, the other is sent in a message; whoever receives that message takes the
 * attachment as a channel. From then on the two are connected directly: what they say does not pass through the channel that
 * introduced them, and outlives it. An end can be sent on any number of times before it is taken.
 *
 * If the end is never taken (the message is freed, lost on arrival, or its receiver dies) the kept channel ends with -ECONNRESET.
 * The kernel knows no more of a pair than who made it: beam_channel_peer() gives -ENODATA.
 *
 * Threads, fork and the shared errors are those of channel.h.
 */
#ifndef BEAM_PAIR_H
#define BEAM_PAIR_H

#include <beam/channel.h>
#include <beam/common.h>
#include <beam/deadline.h>
#include <beam/message.h>

BEAM_BEGIN

/**
 * Makes two channels that are each other's ends, in this process.
 *
 * @param ret_a    takes one, one handle; untouched on failure
 * @param ret_b    takes the other, one handle; untouched on failure
 * @param options  of both; NULL: the defaults
 * @retval 0        done
 * @retval -EINVAL  `ret_a` or `ret_b` is NULL, or an option is out of its range
 * @retval -E2BIG, -EMFILE, -ENFILE, -ENOMEM, -EAGAIN  as for beam_channel_from_fd()
 */
BEAM_API int beam_channel_pair(beam_channel **ret_a, beam_channel **ret_b,
			       const struct beam_channel_options *options) BEAM_CHECKED;

/**
 * Attaches one end of a new pair to a message and keeps the other as an open channel. What is sent on it before the other end is taken waits
 * in the socket, and in the first credit of its topics.
 *
 * @param message  one made here or received, to be sent yet; freed unsent, it ends the channel
 * @param ret      takes the channel, one handle; untouched on failure
 * @param options  of the channel that is kept; NULL: the defaults
 * @retval 0        done: the end is the message's last attachment
 * @retval -EINVAL  `message` or `ret` is NULL, or an option is out of its range
 * @retval -E2BIG   the message has BEAM_MESSAGE_ATTACHMENTS_MAX already; or as for beam_channel_from_fd()
 * @retval -EMFILE, -ENFILE, -ENOMEM, -EAGAIN  as for beam_channel_from_fd()
 */
BEAM_API int beam_message_add_channel(beam_message *message, beam_channel **ret,
				      const struct beam_channel_options *options) BEAM_CHECKED;

/**
 * Takes an attachment as a channel: the descriptor is the channel's from then on.
 *
 * @param message  on failure as it was: the descriptor is still its attachment, to be peeked at, taken or closed with it
 * @param index    of the attachment, from 0
 * @param ret      takes the channel, one handle; untouched on failure
 * @param options  NULL: the defaults
 * @retval 0            done
 * @retval -EINVAL      `message` or `ret` is NULL, or an option is out of its range
 * @retval -ENOENT      there is no such attachment, or it was taken
 * @retval -EMFILE      it was lost on arrival; or the process has no descriptors for a channel now
 * @retval -EACCES      it was lost on arrival
 * @retval -ENOTSOCK    it is no socket: a file, a FIFO, …
 * @retval -EBADF       it was opened with O_PATH
 * @retval -EPROTOTYPE  not a unix socket, or not SOCK_STREAM
 * @retval -ENOTCONN    not connected: it listens, say
 * @retval -E2BIG, -ENFILE, -ENOMEM, -EAGAIN  as for beam_channel_from_fd()
 *
 * A socket whose other end has closed is taken: its channel gives what was sent and ends. Whoever sent the end may have kept a duplicate of
 * it, or of the other: what comes over the channel is worth as much as its sender, and is judged by the same rules.
 */
BEAM_API int beam_message_take_channel(beam_message *message, size_t index, beam_channel **ret,
				       const struct beam_channel_options *options) BEAM_CHECKED;

/**
 * Sends a message with one end of a new pair as its only attachment, and keeps the other as an open channel (SendPipe and SendConn of
 * Go's beam).
 *
 * @param topic     where the end goes
 * @param data      borrowed; may be NULL if `size` is 0
 * @param size      bytes
 * @param ret       takes the channel, one handle; untouched on failure, of which nothing is left over
 * @param options   of the channel that is kept; NULL: the defaults
 * @param flags     0; others are for what may come
 * @param deadline  until when to wait for credit and room
 *
 * The errors are those of beam_topic_sendv() and beam_channel_from_fd().
 */
BEAM_API int beam_topic_send_channel(beam_topic *topic, const void *data, size_t size, beam_channel **ret,
				     const struct beam_channel_options *options, unsigned flags,
				     beam_deadline deadline) BEAM_CHECKED;

BEAM_END

#endif
