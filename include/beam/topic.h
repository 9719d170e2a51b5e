/* SPDX-License-Identifier: MIT */
/**
 * @file topic.h
 * Topics: named queues of a channel, one in each direction.
 *
 * Two sides that open the same name share a topic. Messages that one thread sends on one topic
 * arrive in order. Each message is delivered whole, once, to one receiver.
 *
 * A send waits for credit, which receivers return by receiving messages, and for room in the socket
 * or in the outgoing buffer. A slow topic delays its own senders. On other topics it can delay only
 * messages that need much of what the topics share. Even if up to sixteen topics are not drained,
 * every other topic still gets a share of the memory and of the attachments that the channel's
 * options allow (FLOW CONTROL in beam(7)).
 *
 * The rules about threads and fork and the common errors are those of channel.h. A send has one of
 * three outcomes:
 *
 *  - Sent: the call returns 0, or the number of messages. The message was accepted, in order.
 *    Usually the message is in the kernel when the call returns. If the socket was full, if another
 *    thread was writing, or if many messages are being sent in quick succession, it is in the
 *    channel's outgoing buffer instead, which the library drains.
 *  - Not sent: the call returns -EIO, -EINVAL, -EBADF, -ENOENT, -EOPNOTSUPP, -EMFILE, -EPERM,
 *    -EMSGSIZE, -E2BIG, -EFAULT, -EAGAIN, -ETIMEDOUT, -EPIPE, -ECONNREFUSED, -ENOMEM or -ECHILD.
 *    Nothing of the message will be delivered.
 *  - Broken: the call returns -ECONNRESET or -EPROTO, or -ENOMEM because there was no memory to
 *    continue reading. The connection is dead. Part of the message may have been transmitted, and
 *    so may its descriptors.
 *
 * -EIO means that earlier messages on the same topic were accepted and then lost, because the
 * kernel refused one of their descriptors. The next send on the topic, in any thread, returns -EIO
 * once, even if it was already waiting for credit. The message of that send was not sent, and can
 * be sent again. All other errors concern the send that returns them. At any time
 * beam_topic_losses() reports how many messages were lost and why.
 */
#ifndef BEAM_TOPIC_H
#define BEAM_TOPIC_H

#include <beam/channel.h>
#include <beam/common.h>
#include <beam/deadline.h>
#include <beam/message.h>
#include <sys/uio.h>

BEAM_BEGIN

/** The maximum length of a topic's name in bytes. */
#define BEAM_TOPIC_NAME_MAX 255

/**
 * Opens a topic. Never waits. The peer is told of the topic as soon as there is room in the socket.
 * If the peer accepts no more topics at the moment (its option `topics`), it is told when another
 * topic has been closed, and sends on the new topic wait until then. If the topic is already open
 * here, the call returns another handle of it.
 *
 * @param ret      receives the topic, as one handle; untouched on failure
 * @param channel  the channel
 * @param name     1 to BEAM_TOPIC_NAME_MAX bytes
 * @retval 0              The topic was opened.
 * @retval -EINVAL        A parameter is NULL, or the name is empty.
 * @retval -ENAMETOOLONG  The name is longer than BEAM_TOPIC_NAME_MAX bytes.
 * @retval -EPIPE, -ECONNRESET, -EPROTO, -ENOMEM, -ECHILD  as listed at the top of channel.h. On a
 *                        channel that has ended, a topic can still be opened if messages are
 *                        waiting in it.
 */
BEAM_API int beam_topic_open(beam_topic **ret, beam_channel *channel, const char *name) BEAM_CHECKED;

/** Takes another handle. @return `topic` */
BEAM_API beam_topic *beam_topic_ref(beam_topic *topic);

/**
 * Releases a handle. With the last one the topic is closed in both directions, as by
 * beam_topic_close().
 *
 * @param topic  NULL is allowed and does nothing
 * @return NULL, which can be assigned to the variable that held the handle
 */
BEAM_API beam_topic *beam_topic_unref(beam_topic *topic);

/** @return the topic's name, which belongs to the topic; NULL if `topic` is NULL */
BEAM_API const char *beam_topic_name(const beam_topic *topic);

/**
 * Returns the channel of a topic.
 *
 * @return the channel; NULL if `topic` is NULL. It is not a new handle, and is valid as long as the
 *         topic is. beam_channel_ref() takes a handle of it, or returns NULL if the channel has no
 *         handles left.
 */
BEAM_API beam_channel *beam_topic_channel(const beam_topic *topic);

/**
 * Stores a pointer in a topic, for the program's own use. All holders of the topic share the
 * pointer. Can be called from any thread.
 *
 * @param topic  NULL is allowed and does nothing
 * @param data   belongs to the caller
 */
BEAM_API void beam_topic_set_user_data(beam_topic *topic, void *data);

/**
 * @return the pointer that was set last; NULL if none was set or `topic` is NULL. Works in a forked
 *         child
 */
BEAM_API void *beam_topic_user_data(const beam_topic *topic);

/**
 * Flags of the functions that send an array of descriptors: beam_topic_sendv(),
 * beam_topic_send_many(), beam_call_begin(), beam_topic_callv() and beam_message_replyv(). The last
 * one also accepts a flag of enum beam_reply_flags.
 */
enum beam_send_flags {
	/**
	 * The descriptors are given away. On success they belong to the library, which closes them
	 * when they have been sent or cannot be sent, in a thread of its own because a close can
	 * block. On any error all of them still belong to the caller, but may have become
	 * close-on-exec. (For beam_topic_callv() the success of the send decides, not the result of
	 * the call.) No duplicates are made. If a descriptor is given twice in one call, the call
	 * returns -EINVAL.
	 */
	BEAM_SEND_GIVE_FDS = 2,
};

/**
 * Sends a message of bytes.
 *
 * @param data      the payload, borrowed; may be NULL if `size` is 0
 * @param size      the payload's size in bytes; at most the peer's message_bytes
 * @param flags     0
 * @param deadline  how long to wait for credit and room
 * @retval 0              The message was sent.
 * @retval -EINVAL        `topic` is NULL, or `data` is NULL and `size` is not 0, or a flag is
 *                        unknown.
 * @retval -EIO           Earlier messages on the topic were lost, as described above. This one was
 *                        not sent.
 * @retval -EMSGSIZE      The message is larger than the peer accepts.
 * @retval -EFAULT        Part of the payload is not in memory (PAYLOADS in beam(7)).
 * @retval -EPIPE         The topic or the channel was closed, here or by the peer.
 * @retval -ECONNREFUSED  The peer refused the topic.
 * @retval -EAGAIN, -ETIMEDOUT, -ECONNRESET, -EPROTO, -ENOMEM, -ECHILD  as listed at the top of
 *                        channel.h
 */
BEAM_API int beam_topic_send(beam_topic *topic, const void *data, size_t size, unsigned flags,
			     beam_deadline deadline) BEAM_CHECKED;

/**
 * Sends a message of several buffers and with attachments.
 *
 * @param iov       the buffers, which together are one payload; borrowed, like their bytes
 * @param n_iov     how many buffers, at most IOV_MAX; 0 sends an empty payload
 * @param fds       the attachments, borrowed. They are duplicated if the message has to wait in the
 *                  outgoing buffer. If no descriptor is free for a duplicate, the call waits until
 *                  it can write the message itself.
 * @param n_fds     how many attachments; at most the peer's message_attachments
 * @param flags     0, or BEAM_SEND_GIVE_FDS
 * @param deadline  how long to wait for credit and room
 *
 * The results are those of beam_topic_send(), and
 * @retval -EINVAL  Also: `iov` or `fds` is NULL and its number is not 0; or there are more than
 *                  IOV_MAX buffers; or a descriptor is given away twice.
 * @retval -E2BIG   The message has more attachments than the peer accepts.
 * @retval -EBADF   A descriptor is not open.
 * @retval -EMFILE  With BEAM_NOWAIT: the message had to wait in the outgoing buffer, and no
 *                  descriptor is free for a duplicate.
 * @retval -EPERM, -EINVAL  The kernel refused to pass a descriptor.
 * @retval -EAGAIN, -ETIMEDOUT  Also: too many descriptors of this user are in flight
 *                  (ETOOMANYREFS).
 */
BEAM_API int beam_topic_sendv(beam_topic *topic, const struct iovec *iov, size_t n_iov, const int *fds, size_t n_fds,
			      unsigned flags, beam_deadline deadline) BEAM_CHECKED;

/**
 * Sends a message with its attachments.
 *
 * @param message   belongs to the library on success. On failure it still belongs to the caller,
 *                  and is unchanged. None of its attachments may have been taken or lost.
 * @param flags     0
 * @param deadline  how long to wait for credit and room
 *
 * The results are those of beam_topic_sendv(), and
 * @retval -EINVAL      Also: `message` is NULL.
 * @retval -ENOENT      An attachment was taken or lost.
 * @retval -EOPNOTSUPP  The message is a call that was received. It cannot be sent on, because its
 *                      replies could not be passed back.
 */
BEAM_API int beam_topic_send_message(beam_topic *topic, beam_message *message, unsigned flags,
				     beam_deadline deadline) BEAM_CHECKED;

/** One message of beam_topic_send_many(). Everything in it is borrowed. */
struct beam_send_item {
	const void *data;
	size_t size;
	const int *fds;
	size_t n_fds;
};

/**
 * Sends several messages in order, with as few system calls and locks as possible.
 *
 * @param items     the messages, borrowed
 * @param n         how many messages; with 0 the call does nothing and returns 0
 * @param flags     0, or BEAM_SEND_GIVE_FDS. The descriptors of the messages that were sent then
 *                  belong to the library, and those of the others still belong to the caller. If a
 *                  descriptor is given twice, in one item or in two, nothing is sent.
 * @param deadline  how long to wait for credit and room
 * @return how many messages were sent, from the first on. This is less than `n` if the deadline
 *         passed or if the next message failed. If the first message was not sent, the result is an
 *         error of beam_topic_sendv().
 */
BEAM_API ssize_t beam_topic_send_many(beam_topic *topic, const struct beam_send_item *items, size_t n, unsigned flags,
				      beam_deadline deadline) BEAM_CHECKED;

/**
 * Receives the next message, and waits for it until the deadline. A message that is in the queue is
 * received even if the deadline has passed.
 *
 * @param ret       receives the message, which the caller frees; untouched unless the result is 1
 * @param flags     0
 * @param deadline  how long to wait
 * @retval 1        A message was received.
 * @retval 0        No more messages will come: the topic was closed, by the peer for sending or
 *                  here for receiving, or the channel was closed by either side. If the peer opens
 *                  a topic again that it had closed, its messages can be received again.
 * @retval -EINVAL  `topic` or `ret` is NULL, or a flag is unknown.
 * @retval -EAGAIN, -ETIMEDOUT, -ECONNRESET, -EPROTO, -ENOMEM, -ECHILD  as listed at the top of
 *                  channel.h. Messages that arrived whole are received before the end of a channel
 *                  is reported.
 */
BEAM_API int beam_topic_receive(beam_topic *topic, beam_message **ret, unsigned flags,
				beam_deadline deadline) BEAM_CHECKED;

/**
 * Waits for the first message, and then receives all messages that are in the queue, at most `n`.
 * Takes the topic's lock only once for all of them.
 *
 * @param ret       receives the messages, which the caller frees
 * @param n         how many messages fit into `ret`, at least 1
 * @param flags     0
 * @param deadline  how long to wait for the first message
 * @return the number of messages, 1 to `n`; otherwise 0 or an error, as for beam_topic_receive(),
 *         and
 * @retval -EINVAL  Also: `n` is 0.
 */
BEAM_API ssize_t beam_topic_receive_many(beam_topic *topic, beam_message **ret, size_t n, unsigned flags,
					 beam_deadline deadline) BEAM_CHECKED;

/**
 * Receives the next message into the caller's memory. A message that does not fit stays in the
 * queue.
 *
 * @param buffer        receives the payload; may be NULL if `capacity` is 0
 * @param capacity      the size of `buffer` in bytes
 * @param ret_size      receives the payload's size
 * @param ret_fds       receives the attachments, which the caller closes. In the place of an
 *                      attachment that was lost on arrival there is a negative errno. May be NULL
 *                      if `capacity_fds` is 0.
 * @param capacity_fds  how many attachments fit
 * @param ret_n_fds     receives the number of attachments; may be NULL if `capacity_fds` is 0
 * @param flags         0
 * @param deadline      how long to wait
 * @retval 1          A message was received.
 * @retval 0, errors  as for beam_topic_receive(), and
 * @retval -EMSGSIZE  The next message does not fit. `ret_size` and `ret_n_fds` contain the
 *                    message's size and number of attachments.
 */
BEAM_API int beam_topic_receive_into(beam_topic *topic, void *buffer, size_t capacity, size_t *ret_size, int *ret_fds,
				     size_t capacity_fds, size_t *ret_n_fds, unsigned flags,
				     beam_deadline deadline) BEAM_CHECKED;

/**
 * Closes the direction to the peer. Messages that were accepted are still sent. When the peer has
 * received them, its receives return 0. Sends here return -EPIPE, including those that are waiting.
 * Never waits. Can be called any number of times.
 *
 * @retval 0                 The direction is closed.
 * @retval -EINVAL, -ECHILD  as listed at the top of channel.h
 */
BEAM_API int beam_topic_close_send(beam_topic *topic);

/**
 * Closes the direction from the peer. Messages that are in the queue or arrive later are discarded.
 * Receives here return 0, and the peer's sends return -EPIPE. Never waits. Can be called any number
 * of times.
 *
 * @retval 0                 The direction is closed.
 * @retval -EINVAL, -ECHILD  as listed at the top of channel.h
 */
BEAM_API int beam_topic_close_receive(beam_topic *topic);

/**
 * Closes both directions. Never waits. Can be called any number of times. The handle must still be
 * released.
 *
 * @retval 0                 The topic is closed.
 * @retval -EINVAL, -ECHILD  as listed at the top of channel.h
 */
BEAM_API int beam_topic_close(beam_topic *topic);

/**
 * Refuses a topic: closes both directions, but the peer's sends return -ECONNREFUSED. If the peer
 * opens the topic again before the last handle here is released, the topic is refused again. If the
 * topic had already been closed for receiving, the peer's sends continue to return -EPIPE. Never
 * waits. Can be called any number of times.
 *
 * @retval 0                 The topic is refused.
 * @retval -EINVAL, -ECHILD  as listed at the top of channel.h
 */
BEAM_API int beam_topic_refuse(beam_topic *topic);

/**
 * Returns the counters of a topic.
 *
 * @param ret   receives as many counters as fit
 * @param size  sizeof(struct beam_statistics)
 * @retval 0                 The counters were stored.
 * @retval -EINVAL, -ECHILD  as listed at the top of channel.h
 */
BEAM_API int beam_topic_statistics(beam_topic *topic, struct beam_statistics *ret, size_t size) BEAM_CHECKED;

/**
 * Returns what was accepted for sending on a topic and then lost, including calls. It can be called
 * any number of times, from any thread, and also when the topic or the channel has ended.
 *
 * @param ret   receives as many fields as fit
 * @param size  sizeof(struct beam_losses)
 * @retval 0                 The losses were stored.
 * @retval -EINVAL, -ECHILD  as listed at the top of channel.h
 */
BEAM_API int beam_topic_losses(beam_topic *topic, struct beam_losses *ret, size_t size) BEAM_CHECKED;

BEAM_END

#endif
