/* SPDX-License-Identifier: MIT */
/**
 * @file call.h
 * Calls: messages that are answered.
 *
 * A call is a message on a topic. The other side receives it there as any other, sees by
 * beam_message_is_call() that it is to be answered, and does so at once or later, from any thread:
 * with one reply, with several (BEAM_REPLY_MORE), or with a failure. Each call has one end,
 * whatever happens: a call that is freed without an answer fails as *dropped*. Any number may be in
 * flight, from any threads, as many as the other side takes (its option `calls`); replies go
 * straight to the thread that waits for them, and those to one call keep their order.
 *
 * Replies wait for their receiver, at most 64 KiB and 16 attachments of each call besides
 * what the channel's pool takes: then the callee waits. So a caller that leaves its replies
 * lying holds up nobody else.
 *
 * Threads, fork and the shared errors are those of channel.h. A call goes on when its topic is
 * closed, and ends with the channel.
 */
#ifndef BEAM_CALL_H
#define BEAM_CALL_H

#include <beam/common.h>
#include <beam/deadline.h>
#include <beam/message.h>
#include <beam/topic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

BEAM_BEGIN

/** A call that was made. */
typedef struct beam_call beam_call;

/**
 * Why a call failed: beam_call_failure(). Codes below BEAM_FAILURE_APPLICATION are the library's.
 */
enum beam_failure {
	/** The callee threw the call away. */
	BEAM_FAILURE_DROPPED = 1,
	/** The callee closed the topic before anybody had taken the call. */
	BEAM_FAILURE_CLOSED = 2,
	/** From here on codes are what both sides agree on. */
	BEAM_FAILURE_APPLICATION = 256,
};

/** The most attachments of one reply. */
#define BEAM_REPLY_ATTACHMENTS_MAX 16

/* ---- The caller ------------------------------------------------------------------------------ */

/**
 * Calls, and waits for the reply: beam_call_begin(), beam_call_receive() and beam_call_unref() in
 * one. If the callee sends more than one reply the first is taken and the call is cancelled; if
 * the deadline passes, too.
 *
 * @param data      the request, borrowed; may be NULL if `size` is 0
 * @param size      bytes
 * @param ret       takes the reply, the caller's to free; untouched unless the result is 1
 * @param flags     0; others are for what may come
 * @param deadline  until when to wait for all of it
 * @retval 1              the reply
 * @retval -EREMOTEIO     the callee failed the call; beam_topic_callv() reports how
 * @retval -EINVAL        `topic` or `ret` is NULL, or `data` with `size` > 0, or unknown flags
 * @retval -EMSGSIZE, -EFAULT, -ECONNREFUSED  as for beam_topic_send()
 * @retval -EPIPE         the topic was closed, or the channel before the reply came, by either side
 * @retval -ECONNRESET    the other side died
 * @retval -EAGAIN, -ETIMEDOUT, -EPROTO, -ENOMEM, -ECHILD  as in channel.h
 */
BEAM_API int beam_topic_call(beam_topic *topic, const void *data, size_t size, beam_message **ret, unsigned flags,
			     beam_deadline deadline) BEAM_CHECKED;

/**
 * Calls with several buffers and attachments, waits for the reply as beam_topic_call() does, and
 * reports how a call failed.
 *
 * @param iov          borrowed, as their bytes are; together one request. At most IOV_MAX of them.
 * @param n_iov        how many; 0 is an empty request
 * @param fds          borrowed: duplicated if the request has to wait in the buffer
 * @param n_fds        how many; at most the other side's message_attachments
 * @param ret          takes the reply, or with -EREMOTEIO a message that holds what the callee says
 *                     of the failure (empty if it says nothing). The caller's to free; untouched
 *                     with any other result.
 * @param ret_failure  takes the failure's code (enum beam_failure) with -EREMOTEIO, else untouched;
 *                     may be NULL
 * @param flags        0
 * @param deadline     until when to wait for all of it
 * @retval 1           the reply
 * @retval -EREMOTEIO  the callee failed the call: `ret` and `ret_failure` say how
 * @retval -EINVAL     `topic` or `ret` is NULL, a NULL with a count, more than IOV_MAX buffers,
 *                     unknown flags
 * @retval others      as by beam_call_begin() and beam_call_receive()
 */
BEAM_API int beam_topic_callv(beam_topic *topic, const struct iovec *iov, size_t n_iov, const int *fds, size_t n_fds,
			      beam_message **ret, uint32_t *ret_failure, unsigned flags,
			      beam_deadline deadline) BEAM_CHECKED;

/**
 * Calls with a message, as beam_call_begin_message(), and waits for the reply as beam_topic_callv()
 * does.
 *
 * @param message  the request. When it has been sent, `*message` is NULL: it was taken, whatever
 *                 becomes of the call. Until then it stays the caller's, so that
 *                 `beam_message_free(*message)` is right after any result.
 * @param ret, ret_failure, flags, deadline  as for beam_topic_callv()
 * @retval 1           the reply
 * @retval -EREMOTEIO  the callee failed the call: `ret` and `ret_failure` say how
 * @retval -EINVAL     `topic`, `message`, `*message` or `ret` is NULL, unknown flags
 * @retval others      as by beam_call_begin_message() and beam_call_receive()
 */
BEAM_API int beam_topic_call_message(beam_topic *topic, beam_message **message, beam_message **ret,
				     uint32_t *ret_failure, unsigned flags, beam_deadline deadline) BEAM_CHECKED;

/**
 * Calls, with several buffers and attachments, and does not wait for replies. Waits for a free call
 * id, if the other side takes no more calls now, for credit and for room.
 *
 * @param ret       takes the call, a handle to be released by
 *                  beam_call_unref(); untouched on failure
 * @param topic     need not stay open
 * @param iov       borrowed, as their bytes are; together one request. At most IOV_MAX of them.
 * @param n_iov     how many; 0 is an empty request
 * @param fds       borrowed: duplicated if the request has to wait in the buffer
 * @param n_fds     how many; at most the other side's message_attachments
 * @param flags     0, or BEAM_SEND_GIVE_FDS
 * @retval 0        sent; a request whose descriptor the kernel refuses later is
 *                  told by beam_call_receive()
 * @retval -EINVAL  `ret` or `topic` is NULL; and all other errors of
 *                  beam_topic_sendv(), with their meaning
 */
BEAM_API int beam_call_begin(beam_call **ret, beam_topic *topic, const struct iovec *iov, size_t n_iov, const int *fds,
			     size_t n_fds, unsigned flags, beam_deadline deadline) BEAM_CHECKED;

/**
 * Calls with a message, and does not wait for replies. A message that was received can be passed on
 * this way, without a copy.
 *
 * @param ret      as for beam_call_begin()
 * @param message  taken on success: its attachments go with it, without duplicates. Still the
 *                 caller's, whole, on failure.
 * @param flags    0
 * @retval 0            sent
 * @retval -EINVAL      `ret`, `topic` or `message` is NULL, unknown flags
 * @retval -ENOENT      an attachment of `message` was taken or lost
 * @retval -EOPNOTSUPP  `message` is a call that was received: replies to it would have no way back
 * @retval others       as by beam_call_begin()
 */
BEAM_API int beam_call_begin_message(beam_call **ret, beam_topic *topic, beam_message *message, unsigned flags,
				     beam_deadline deadline) BEAM_CHECKED;

/**
 * Receives the next reply.
 *
 * @param ret       takes the reply, the caller's to free; untouched unless the result is 1
 * @param flags     0; others are for what may come
 * @param deadline  until when to wait; the call goes on if it passes
 * @retval 1            a reply
 * @retval 0            there will be no more: the last has been received
 * @retval -EREMOTEIO   the callee failed the call: beam_call_failure() tells how. The
 *                      replies before come first.
 * @retval -ECANCELED   the call was cancelled
 * @retval -EPIPE       the channel was closed, by either side, before the last reply had come
 * @retval -ECONNRESET  the other side died before that
 * @retval -EPERM, -EBADF, …  the kernel refused to pass a descriptor of the request when its
 *                            turn came; it was not sent
 * @retval -EINVAL      `call` or `ret` is NULL, or unknown flags
 * @retval -EAGAIN, -ETIMEDOUT, -EPROTO, -ENOMEM, -ECHILD  as in channel.h; what
 *                                                         arrived whole comes first
 */
BEAM_API int beam_call_receive(beam_call *call, beam_message **ret, unsigned flags,
			       beam_deadline deadline) BEAM_CHECKED;

/**
 * How a call failed of which beam_call_receive() said -EREMOTEIO.
 *
 * @param ret_code  takes the code; may be NULL
 * @param ret_data  takes what the callee says besides, the call's own until its last
 *                  handle is released; may be NULL
 * @param ret_size  takes its size in bytes; may be NULL
 * @retval 0        told
 * @retval -ENOENT  it has not failed, or its failure has not been received
 * @retval -EINVAL, -ECHILD  as in channel.h
 */
BEAM_API int beam_call_failure(beam_call *call, uint32_t *ret_code, const void **ret_data, size_t *ret_size);

/**
 * Cancels a call: what waits to be received and what comes is thrown away, those who wait get
 * -ECANCELED, and the callee is told. A call that is over, its last reply having come, stays as it
 * is. Never waits; any number of times.
 *
 * @retval 0  done
 * @retval -EINVAL, -ECHILD  as in channel.h
 */
BEAM_API int beam_call_cancel(beam_call *call);

/** Takes another handle. @return `call` */
BEAM_API beam_call *beam_call_ref(beam_call *call);

/**
 * Releases a handle. With the last one the call is cancelled, if it is not over.
 *
 * @param call  NULL is allowed and does nothing
 * @return NULL
 */
BEAM_API beam_call *beam_call_unref(beam_call *call);

/* ---- The callee ------------------------------------------------------------------------------ */

/**
 * @return true if the message was received and its sender waits for replies; false for NULL. Stays
 *         true when it has been answered.
 */
BEAM_API bool beam_message_is_call(const beam_message *message);

/**
 * The descriptor that is readable once nobody wants replies to a call any more: the caller has
 * cancelled it or is gone, or the channel has ended, by either side. It stays so. A callee that has
 * much to do waits for it (POLLIN), or adds the call to a selector (BEAM_SELECT_CANCELLED), and
 * need not try to reply in order to find out.
 *
 * When the last reply has been sent cancelling makes no difference any more, and need not show; the
 * channel's end does.
 *
 * It belongs to the library, as those of event.h do: never read, write or close it, and take it out
 * of the loop before the message is freed, which closes it. It costs nothing before it is first
 * asked for, and from then on, until the message is freed, input is read as it comes though no
 * thread waits.
 *
 * @param request  a call that was received; any thread may wait for the descriptor
 * @return a descriptor of the library's, the same each time; or
 * @retval -EINVAL  `request` is NULL or no call
 * @retval -ECHILD  in a forked child
 * @retval -EMFILE, -ENFILE, -ENOMEM  no descriptor for it
 */
BEAM_API int beam_message_cancelled_fd(beam_message *request) BEAM_CHECKED;

/**
 * The descriptor that is readable (not: writable) while a reply of up to 4 KiB without attachments
 * could be sent without waiting, or would fail at once: because the call was cancelled, or has been
 * answered in full, or because the channel has ended. Other threads may be quicker: reply with
 * BEAM_NOWAIT. BEAM_SELECT_SEND of a selector.
 *
 * What it costs grows with the number of calls that have one: ask for it when a reply gave -EAGAIN.
 *
 * @return as beam_message_cancelled_fd(), whose rules are those of this one too
 */
BEAM_API int beam_message_reply_fd(beam_message *request) BEAM_CHECKED;

/** Flags of beam_message_replyv() and beam_message_reply_message(). */
enum beam_reply_flags {
	/** More replies follow. */
	BEAM_REPLY_MORE = 1,
};

/**
 * Answers a call: the only reply, or the last. The call stays the caller's to free; a message
 * belongs to one thread at a time, also to answer it.
 *
 * @param request   a call that was received
 * @param data      borrowed; may be NULL if `size` is 0
 * @param size      bytes; at most the other side's message_bytes
 * @param flags     0, or BEAM_REPLY_MORE
 * @param deadline  until when to wait for credit and room
 * @retval 0           sent
 * @retval -EINVAL     `request` is NULL or no call, or `data` is NULL with
 *                     `size` > 0, or unknown flags
 * @retval -EMSGSIZE   over what the other side accepts
 * @retval -EFAULT     the payload is not in memory; the call can still be answered
 * @retval -ECANCELED  the caller wants no replies any more
 * @retval -EALREADY   the call has been answered
 * @retval -EIO        replies to this call that were accepted before were lost, because the kernel
 *                     refused a descriptor when their turn came; told once. This one was not sent,
 *                     and the call can still be answered
 * @retval -EPIPE, -EAGAIN, -ETIMEDOUT, -ECONNRESET, -EPROTO, -ENOMEM, -ECHILD  as in
 *                     channel.h; after the first three that pass the call is as it was,
 *                     and can be answered again
 */
BEAM_API int beam_message_reply(beam_message *request, const void *data, size_t size, unsigned flags,
				beam_deadline deadline) BEAM_CHECKED;

/**
 * Answers a call with several buffers and attachments, or with one of several replies.
 *
 * @param iov    borrowed, as their bytes are; together one payload. At most IOV_MAX of them.
 * @param n_iov  how many; 0 is an empty payload
 * @param fds    borrowed: duplicated if the reply has to wait in the buffer
 * @param n_fds  how many; at most BEAM_REPLY_ATTACHMENTS_MAX, and the other
 *               side's message_attachments
 * @param flags  0, or BEAM_REPLY_MORE and BEAM_SEND_GIVE_FDS
 *
 * As beam_message_reply(); besides
 * @retval -EINVAL  a NULL with a count, more than IOV_MAX buffers, unknown flags
 * @retval -E2BIG   more attachments than the other side accepts
 * @retval -EBADF, -EMFILE, -EPERM, -ETIMEDOUT  as for beam_topic_sendv(). A last reply
 *                  whose descriptor the kernel refuses when its turn comes is replaced
 *                  by the failure *dropped*.
 */
BEAM_API int beam_message_replyv(beam_message *request, const struct iovec *iov, size_t n_iov, const int *fds,
				 size_t n_fds, unsigned flags, beam_deadline deadline) BEAM_CHECKED;

/**
 * Answers a call with a message, or with one of several replies. A reply that was received from
 * elsewhere can be passed on this way, without a copy.
 *
 * @param message  taken on success: its attachments go with it, without duplicates. Still the
 *                 caller's, whole, on failure. At most BEAM_REPLY_ATTACHMENTS_MAX attachments, and
 *                 the other side's message_attachments.
 * @param flags    0, or BEAM_REPLY_MORE
 *
 * As beam_message_replyv(); besides
 * @retval -EINVAL      `message` is NULL
 * @retval -ENOENT      an attachment of `message` was taken or lost
 * @retval -EOPNOTSUPP  `message` is itself a call that was received: replies to it would have no
 *                      way back
 */
BEAM_API int beam_message_reply_message(beam_message *request, beam_message *message, unsigned flags,
					beam_deadline deadline) BEAM_CHECKED;

/**
 * Ends a call with a failure. Without data it needs no credit, and never waits.
 *
 * @param code  BEAM_FAILURE_APPLICATION or more
 * @param data  what there is to say, borrowed; may be NULL if `size` is 0
 * @param size  bytes
 *
 * As beam_message_reply(); besides
 * @retval -EINVAL  `code` is the library's
 */
BEAM_API int beam_message_reply_failure(beam_message *request, uint32_t code, const void *data, size_t size,
					unsigned flags, beam_deadline deadline) BEAM_CHECKED;

BEAM_END

#endif
