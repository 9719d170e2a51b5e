/* SPDX-License-Identifier: MIT */
/**
 * @file pair.h
 * Channels over channels: a channel whose other end is sent as an attachment.
 *
 * One end of a new socket pair is kept as an open channel. The other end is sent in a message, and
 * whoever receives the message creates a channel from the attachment. The two channels are then
 * connected directly. Their messages do not pass through the channel over which the end was sent,
 * and they stay connected when that channel closes. An end can be sent on any number of times
 * before it is taken.
 *
 * If the end is never taken, because its message is freed or lost or because its receiver dies, the
 * kept channel ends with -ECONNRESET. For a socket pair the kernel knows only the process that
 * created it, so beam_channel_peer() returns -ENODATA.
 *
 * The rules about threads and fork and the common errors are those of channel.h.
 */
#ifndef BEAM_PAIR_H
#define BEAM_PAIR_H

#include <beam/channel.h>
#include <beam/common.h>
#include <beam/deadline.h>
#include <beam/message.h>

BEAM_BEGIN

/**
 * Creates two channels in this process that are connected to each other.
 *
 * @param ret_a    receives a handle of one channel; untouched on failure
 * @param ret_b    receives a handle of the other channel; untouched on failure
 * @param options  the options of both channels; NULL: the defaults
 * @retval 0        The channels were created.
 * @retval -EINVAL  `ret_a` or `ret_b` is NULL, or an option is out of its range.
 * @retval -E2BIG, -EMFILE, -ENFILE, -ENOMEM, -EAGAIN  as for beam_channel_from_fd()
 */
BEAM_API int beam_channel_pair(beam_channel **ret_a, beam_channel **ret_b,
			       const struct beam_channel_options *options) BEAM_CHECKED;

/**
 * Attaches one end of a new socket pair to a message, and creates a channel from the other end.
 * Messages that are sent on this channel before the attached end is taken wait in the socket,
 * within the credit that each topic starts with.
 *
 * @param message  was created or received here, and will be sent. If it is freed instead, the
 *                 channel ends.
 * @param ret      receives a handle of the channel; untouched on failure
 * @param options  the options of the channel; NULL: the defaults
 * @retval 0        The channel was created. The other end is the last attachment of the message.
 * @retval -EINVAL  `message` or `ret` is NULL, or an option is out of its range.
 * @retval -E2BIG   The message already has BEAM_MESSAGE_ATTACHMENTS_MAX attachments, or as for
 *                  beam_channel_from_fd().
 * @retval -EMFILE, -ENFILE, -ENOMEM, -EAGAIN  as for beam_channel_from_fd()
 */
BEAM_API int beam_message_add_channel(beam_message *message, beam_channel **ret,
				      const struct beam_channel_options *options) BEAM_CHECKED;

/**
 * Takes an attachment out of a message and creates a channel from it. The descriptor then belongs
 * to the channel.
 *
 * @param message  is unchanged on failure. The descriptor can then be taken, or is closed with the
 *                 message.
 * @param index    the attachment, counted from 0
 * @param ret      receives a handle of the channel; untouched on failure
 * @param options  the options of the channel; NULL: the defaults
 * @retval 0            The channel was created.
 * @retval -EINVAL      `message` or `ret` is NULL, or an option is out of its range.
 * @retval -ENOENT      There is no such attachment, or it has been taken.
 * @retval -EMFILE      The attachment was lost on arrival, or the process has no free descriptors
 *                      for a channel.
 * @retval -EACCES      The attachment was lost on arrival.
 * @retval -ENOTSOCK    The attachment is not a socket.
 * @retval -EBADF       The attachment was opened with O_PATH.
 * @retval -EPROTOTYPE  The attachment is not a Unix socket, or not SOCK_STREAM.
 * @retval -ENOTCONN    The socket is not connected. It may be a listening socket.
 * @retval -E2BIG, -ENFILE, -ENOMEM, -EAGAIN  as for beam_channel_from_fd()
 *
 * A socket whose other end has been closed is accepted. Its channel receives what was sent, and
 * then ends. Whoever sent the attachment may have kept a duplicate of it, or may hold the other
 * end. Trust what comes over the channel no more than you trust the process that sent the
 * attachment.
 */
BEAM_API int beam_message_take_channel(beam_message *message, size_t index, beam_channel **ret,
				       const struct beam_channel_options *options) BEAM_CHECKED;

/**
 * Sends one end of a new socket pair as the only attachment of a message, and creates a channel
 * from the other end. (SendPipe and SendConn of Go's beam.)
 *
 * @param topic     the topic on which the message is sent
 * @param data      the payload, borrowed; may be NULL if `size` is 0
 * @param size      the payload's size in bytes
 * @param ret       receives a handle of the channel. On failure it is untouched, and nothing is
 *                  left of the pair.
 * @param options   the options of the channel; NULL: the defaults
 * @param flags     0
 * @param deadline  how long to wait for credit and room
 *
 * The errors are those of beam_topic_sendv() and beam_channel_from_fd().
 */
BEAM_API int beam_topic_send_channel(beam_topic *topic, const void *data, size_t size, beam_channel **ret,
				     const struct beam_channel_options *options, unsigned flags,
				     beam_deadline deadline) BEAM_CHECKED;

BEAM_END

#endif
