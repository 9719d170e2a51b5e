/* SPDX-License-Identifier: MIT */
/**
 * @file topic.h
 * Topics: named queues of a channel, in both directions.
 *
 * Two sides that open the same name share a topic. Messages of one thread on one topic arrive in
 * order; a message is delivered whole, once, to one receiver. A slow topic holds up only its own
 * senders, and sixteen topics that are never drained leave every other one its share of the pool
 * and of the attachments (struct beam_channel_options).
 *
 * Threads, fork and the shared errors are those of channel.h. A send has one of three outcomes:
 *
 *  - sent (0, or the number of messages): accepted, in order. Outside a burst, with nobody
 *    else writing, it is in the kernel; otherwise it is in the channel's outgoing buffer,
 *    which the library empties.
 *  - not sent (-EIO, -EINVAL, -EBADF, -ENOENT, -EMFILE, -EMSGSIZE, -E2BIG, -EFAULT, -EAGAIN,
 *    -ETIMEDOUT, -EPIPE, -ECONNREFUSED, -ENOMEM, -ECHILD, or an error of a descriptor):
 *    nothing of it is delivered.
 *  - broken (-ECONNRESET, -EPROTO): the connection is dead; a part of the message, and its
 *    descriptors, may have gone.
 *
 * -EIO is about messages accepted earlier on the same topic: the kernel refused a descriptor when
 * their turn came, and they were dropped. The next send on the topic, of whatever thread, returns
 * it once, also one that waits for credit. That send's own message is not sent, and can be sent
 * again. All other errors are about the message itself. beam_topic_losses() tells how many were
 * lost and why, to everyone and for good.
 */
#ifndef BEAM_TOPIC_H
#define BEAM_TOPIC_H

#include <beam/channel.h>
#include <beam/common.h>
#include <beam/deadline.h>
#include <beam/message.h>
#include <sys/uio.h>

BEAM_BEGIN

/** The longest name of a topic in bytes. */
#define BEAM_TOPIC_NAME_MAX 255

/**
 * Opens a topic. Never waits: the other side is told when there is room. Opening a name that is
 * open gives another handle of the same topic.
 *
 * @param ret      takes the handle; untouched on failure
 * @param channel  the channel
 * @param name     1 to BEAM_TOPIC_NAME_MAX bytes
 * @retval 0              done
 * @retval -EINVAL        a NULL, or an empty name
 * @retval -ENAMETOOLONG  the name is longer than BEAM_TOPIC_NAME_MAX
 * @retval -EPIPE, -ECONNRESET, -EPROTO, -ENOMEM, -ECHILD  as in channel.h. Of a
 *                        channel that has ended, topics that have messages waiting can
 *                        still be opened, to receive them.
 */
BEAM_API int beam_topic_open(beam_topic **ret, beam_channel *channel, const char *name) BEAM_CHECKED;

/** Takes another handle. @return `topic` */
BEAM_API beam_topic *beam_topic_ref(beam_topic *topic);

/**
 * Releases a handle. With the last one the topic is closed both ways, as by beam_topic_close().
 *
 * @param topic  NULL is allowed and does nothing
 * @return NULL
 */
BEAM_API beam_topic *beam_topic_unref(beam_topic *topic);

/** @return the topic's name, the topic's own; NULL for NULL */
BEAM_API const char *beam_topic_name(const beam_topic *topic);

/**
 * The channel of a topic.
 *
 * @return the channel, without a handle: it is there as long as the topic is. beam_channel_ref()
 *         takes a handle if the channel still has any. NULL for NULL
 */
BEAM_API beam_channel *beam_topic_channel(const beam_topic *topic);

/**
 * Keeps a pointer of the program's with a topic, for all who hold it, until another one is set.
 * The library does nothing with it. Safe from any thread.
 *
 * @param topic  NULL is allowed and does nothing
 * @param data   the caller's: it is neither followed nor freed
 */
BEAM_API void beam_topic_set_user_data(beam_topic *topic, void *data);

/** @return the pointer that was set last; NULL if none was, and for NULL. Also in a forked child */
BEAM_API void *beam_topic_user_data(const beam_topic *topic);

/**
 * Flags of the functions that send attachments by their numbers:
 * beam_topic_sendv(), beam_topic_send_many(), beam_call_begin() and
 * beam_message_replyv(), which has a flag of its own besides.
 */
enum beam_send_flags {
	/**
	 * The descriptors are given away: on success they are the library's, which closes them when
	 * they have gone; on any error all of them are still the caller's. Nothing is duplicated.
	 * Closing may last, and takes place in a thread of the library. A descriptor that the
	 * library holds is close-on-exec, and may have become so if the send fails. One that is
	 * given twice by one call is -EINVAL.
	 */
	BEAM_SEND_GIVE_FDS = 2,
};

/**
 * Sends a message of bytes.
 *
 * @param data      borrowed; may be NULL if `size` is 0
 * @param size      bytes; at most the other side's message_bytes
 * @param flags     0; others are for what may come
 * @param deadline  until when to wait for credit and room
 * @retval 0              sent
 * @retval -EINVAL        `topic` is NULL, or `data` with `size` > 0, or unknown flags
 * @retval -EMSGSIZE      over what the other side accepts
 * @retval -EFAULT        the payload is not in memory ("Payloads" in beam(7))
 * @retval -EPIPE         the topic or the channel was closed, by either side
 * @retval -ECONNREFUSED  the other side refuses this topic
 * @retval -EAGAIN, -ETIMEDOUT, -ECONNRESET, -EPROTO, -ENOMEM, -ECHILD  as in channel.h
 */
BEAM_API int beam_topic_send(beam_topic *topic, const void *data, size_t size, unsigned flags,
			     beam_deadline deadline) BEAM_CHECKED;

/**
 * Sends a message of several buffers with attachments.
 *
 * @param iov       borrowed, as their bytes are; together one payload. At most IOV_MAX of them.
 * @param n_iov     how many; 0 is an empty payload
 * @param fds       borrowed: duplicated if the message has to wait in the buffer;
 *                  where no descriptor is free for that, the call itself waits
 *                  until it is the message's turn
 * @param n_fds     how many; at most the other side's message_attachments
 * @param flags     0, or BEAM_SEND_GIVE_FDS
 *
 * As beam_topic_send(); besides
 * @retval -EINVAL  a NULL with a count, more than IOV_MAX buffers, a descriptor that is given twice
 * @retval -E2BIG   more attachments than the other side accepts
 * @retval -EBADF   a descriptor is not open
 * @retval -EMFILE  with BEAM_NOWAIT: it had to wait in the buffer, and no descriptor
 *                  is free for the duplicate
 * @retval -EPERM, -EINVAL  the kernel refuses to pass a descriptor
 * @retval -ETIMEDOUT  also: too many descriptors of this user are in flight
 *                     (ETOOMANYREFS) until the deadline
 */
BEAM_API int beam_topic_sendv(beam_topic *topic, const struct iovec *iov, size_t n_iov, const int *fds, size_t n_fds,
			      unsigned flags, beam_deadline deadline) BEAM_CHECKED;

/**
 * Sends a message with its attachments and gives it away.
 *
 * @param message  the library's on success; on failure still the caller's, untouched. All its
 *                 attachments must be there.
 *
 * As beam_topic_sendv(); besides
 * @retval -ENOENT  an attachment was taken or lost
 * @retval -EOPNOTSUPP  it is a call that was received: its replies would find no way back
 */
BEAM_API int beam_topic_send_message(beam_topic *topic, beam_message *message, unsigned flags,
				     beam_deadline deadline) BEAM_CHECKED;

/** One message of beam_topic_send_many(). Everything is borrowed. */
struct beam_send_item {
	const void *data;
	size_t size;
	const int *fds;
	size_t n_fds;
};

/**
 * Sends several messages in order, with as few system calls and locks as possible.
 *
 * @param items  borrowed
 * @param n      how many; 0 does nothing and gives 0
 * @param flags  0, or BEAM_SEND_GIVE_FDS: the descriptors of the messages that were sent are the
 *               library's, those of the others still the caller's. If one is given twice, by one
 *               item or by two, nothing is sent
 * @return how many were sent, from the first on: less than `n` if the deadline passed or the next
 *         one failed; the errors of beam_topic_sendv() if the first was not sent
 */
BEAM_API ssize_t beam_topic_send_many(beam_topic *topic, const struct beam_send_item *items, size_t n, unsigned flags,
				      beam_deadline deadline) BEAM_CHECKED;

/**
 * Receives the next message.
 *
 * @param ret       takes the message, the caller's to free; untouched unless the result is 1
 * @param flags     0; others are for what may come
 * @param deadline  until when to wait; a message that is there is received even if it has passed
 * @retval 1  a message
 * @retval 0  there will be no more: the other side closed the topic or said goodbye, or
 *            the topic or the channel was closed here. If the other side opens the name
 *            again, receiving goes on.
 * @retval -EINVAL  `topic` or `ret` is NULL, or unknown flags
 * @retval -EAGAIN, -ETIMEDOUT, -ECONNRESET, -EPROTO, -ENOMEM, -ECHILD  as in channel.h; what
 *                                                                      arrived whole comes first
 */
BEAM_API int beam_topic_receive(beam_topic *topic, beam_message **ret, unsigned flags,
				beam_deadline deadline) BEAM_CHECKED;

/**
 * Waits for a first message and receives all that are there, at most `n`, under one lock.
 *
 * @param ret  takes the messages, the caller's to free
 * @param n    room in `ret`, at least 1
 * @return how many (1 to `n`), 0, or an error, as for beam_topic_receive(); besides
 * @retval -EINVAL  `n` is 0
 */
BEAM_API ssize_t beam_topic_receive_many(beam_topic *topic, beam_message **ret, size_t n, unsigned flags,
					 beam_deadline deadline) BEAM_CHECKED;

/**
 * Receives the next message into the caller's buffer. Its attachments go to `ret_fds`.
 *
 * @param buffer    takes the payload; may be NULL if `capacity` is 0
 * @param capacity  bytes
 * @param ret_size  takes the payload's size
 * @param ret_fds   takes the attachments, the caller's to close (a lost one as its negative errno);
 *                  NULL if `capacity_fds` is 0
 * @param capacity_fds  how many fit
 * @param ret_n_fds takes their number; may be NULL if `capacity_fds` is 0
 * @retval 1  a message
 * @retval 0, errors  as for beam_topic_receive(); besides
 * @retval -EMSGSIZE  the next message does not fit: it stays in the queue, `ret_size` and
 *                    `ret_n_fds` tell what it needs
 */
BEAM_API int beam_topic_receive_into(beam_topic *topic, void *buffer, size_t capacity, size_t *ret_size, int *ret_fds,
				     size_t capacity_fds, size_t *ret_n_fds, unsigned flags,
				     beam_deadline deadline) BEAM_CHECKED;

/**
 * Sends no more on this topic: after what was accepted the other side's receivers get 0. Senders
 * that wait here get -EPIPE. Never waits; any number of times.
 *
 * @retval 0  done
 * @retval -EINVAL, -ECHILD  as in channel.h
 */
BEAM_API int beam_topic_close_send(beam_topic *topic);

/**
 * Takes no more from this topic: what waits in the queue and what comes is thrown away, receivers
 * here get 0, the other side's senders get -EPIPE. Never waits; any number of times.
 *
 * @retval 0  done
 * @retval -EINVAL, -ECHILD  as in channel.h
 */
BEAM_API int beam_topic_close_receive(beam_topic *topic);

/**
 * Both: sends no more, and takes no more. Never waits; any number of times. The
 * handle stays to be released.
 *
 * @retval 0  done
 * @retval -EINVAL, -ECHILD  as in channel.h
 */
BEAM_API int beam_topic_close(beam_topic *topic);

/**
 * Turns a topic away that should not have been opened: as beam_topic_close(), but the other side's
 * sends give -ECONNREFUSED. That holds for its name, too, until the last handle is released.
 * Of a topic that was closed before, sends go on giving what they gave.
 *
 * @retval 0  done
 * @retval -EINVAL, -ECHILD  as in channel.h
 */
BEAM_API int beam_topic_refuse(beam_topic *topic);

/**
 * The counters of a topic.
 *
 * @param ret   takes as many counters as fit
 * @param size  sizeof(struct beam_statistics)
 * @retval 0  done
 * @retval -EINVAL, -ECHILD  as in channel.h
 */
BEAM_API int beam_topic_statistics(beam_topic *topic, struct beam_statistics *ret, size_t size) BEAM_CHECKED;

/**
 * What was accepted for sending on a topic and then lost, calls included. Asking changes nothing:
 * any number of times, from any thread, also when the topic or the channel has ended.
 *
 * @param ret   takes as many fields as fit
 * @param size  sizeof(struct beam_losses)
 * @retval 0  done
 * @retval -EINVAL, -ECHILD  as in channel.h
 */
BEAM_API int beam_topic_losses(beam_topic *topic, struct beam_losses *ret, size_t size) BEAM_CHECKED;

BEAM_END

#endif
