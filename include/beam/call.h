/* SPDX-License-Identifier: MIT */
/**
 * @file call.h
 * Calls: messages that get replies.
 *
 * A call is a message that is sent on a topic and gets replies. The peer receives it from the topic
 * like any other message, except that beam_message_is_call() returns true. The peer replies at once
 * or later, from any thread. It sends one reply or several (BEAM_REPLY_MORE), or a failure. Each
 * call ends exactly once. If a call is freed before its last reply, it fails with the code
 * BEAM_FAILURE_DROPPED.
 *
 * Calls from any number of threads can be in flight at once, up to the number that the peer accepts
 * (its option `calls`). Replies go directly to the thread that waits for them. Replies to one call
 * keep their order.
 *
 * While replies to a call wait to be received, they have at most 16 attachments in all, and at most
 * 64 KiB in addition to what the channel's pool provides. If the callee sends more, its replies to
 * this call block. A caller that does not receive its replies therefore delays others no more than
 * a topic that nobody drains (FLOW CONTROL in beam(7)).
 *
 * A call continues when its topic is closed, and ends with the channel. The rules about threads and
 * fork and the common errors are those of channel.h.
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
 * Why a call failed: beam_call_failure(). Codes below BEAM_FAILURE_APPLICATION belong to the
 * library.
 */
enum beam_failure {
	/** The callee freed the call before its last reply, or the last reply was lost. */
	BEAM_FAILURE_DROPPED = 1,
	/** The callee closed the topic before it had received the call. */
	BEAM_FAILURE_CLOSED = 2,
	/** Codes from here on mean what both sides have agreed on. */
	BEAM_FAILURE_APPLICATION = 256,
};

/** The maximum number of attachments of one reply. */
#define BEAM_REPLY_ATTACHMENTS_MAX 16

/* ---- The caller ------------------------------------------------------------------------------ */

/**
 * Makes a call and waits for the reply. This is beam_call_begin(), beam_call_receive() and
 * beam_call_unref() in one. If the deadline passes, the call is cancelled. If the callee sends more
 * than one reply, the first is returned and the call is cancelled.
 *
 * @param data      the request, borrowed; may be NULL if `size` is 0
 * @param size      the request's size in bytes
 * @param ret       receives the reply, which the caller frees; untouched unless the result is 1
 * @param flags     0
 * @param deadline  how long to wait, for sending and for the reply together
 * @retval 1              The reply was received.
 * @retval -EREMOTEIO     The callee failed the call. beam_topic_callv() reports how.
 * @retval -EINVAL        `topic` or `ret` is NULL, or `data` is NULL and `size` is not 0, or a flag
 *                        is unknown.
 * @retval -EIO, -EMSGSIZE, -EFAULT, -ECONNREFUSED  as for beam_topic_send()
 * @retval -EPIPE         The topic was closed before the request was sent, or the channel before
 *                        the reply arrived, by either side.
 * @retval -ECONNRESET    The peer died, or the channel was aborted.
 * @retval -EAGAIN, -ETIMEDOUT, -EPROTO, -ENOMEM, -ECHILD  as listed at the top of channel.h
 */
BEAM_API int beam_topic_call(beam_topic *topic, const void *data, size_t size, beam_message **ret, unsigned flags,
			     beam_deadline deadline) BEAM_CHECKED;

/**
 * Makes a call with several buffers and attachments, waits for the reply as beam_topic_call() does,
 * and reports how a call failed.
 *
 * @param iov          the buffers, which together are one request; borrowed, like their bytes
 * @param n_iov        how many buffers, at most IOV_MAX; 0 sends an empty request
 * @param fds          the attachments, borrowed. They are duplicated if the request has to wait in
 *                     the outgoing buffer.
 * @param n_fds        how many attachments; at most the peer's message_attachments
 * @param ret          receives the reply. With -EREMOTEIO it receives a message that contains the
 *                     callee's data about the failure, which may be empty. The caller frees the
 *                     message in both cases. Untouched with any other result.
 * @param ret_failure  receives the code of the failure (enum beam_failure) with -EREMOTEIO, and is
 *                     untouched otherwise; may be NULL
 * @param flags        0, or BEAM_SEND_GIVE_FDS. The descriptors then belong to the library once the
 *                     request has been sent, whatever the result of the call. An error does not
 *                     show whether the request was sent. If you need to know, use
 *                     beam_call_begin().
 * @param deadline     how long to wait, for sending and for the reply together
 * @retval 1           The reply was received.
 * @retval -EREMOTEIO  The callee failed the call: see `ret` and `ret_failure`.
 * @retval -EINVAL     `topic` or `ret` is NULL; or `iov` or `fds` is NULL and its number is not 0;
 *                     or there are more than IOV_MAX buffers; or a flag is unknown.
 * @retval others      as for beam_call_begin() and beam_call_receive()
 */
BEAM_API int beam_topic_callv(beam_topic *topic, const struct iovec *iov, size_t n_iov, const int *fds, size_t n_fds,
			      beam_message **ret, uint32_t *ret_failure, unsigned flags,
			      beam_deadline deadline) BEAM_CHECKED;

/**
 * Makes a call with a message, as beam_call_begin_message() does, and waits for the reply as
 * beam_topic_callv() does.
 *
 * @param message  the request. If it was sent, `*message` is NULL when the function returns,
 *                 whatever the result of the call. Otherwise it still belongs to the caller.
 *                 `beam_message_free(*message)` is therefore correct after any result.
 * @param ret, ret_failure, deadline  as for beam_topic_callv()
 * @param flags    0
 * @retval 1           The reply was received.
 * @retval -EREMOTEIO  The callee failed the call: see `ret` and `ret_failure`.
 * @retval -EINVAL     `topic`, `message`, `*message` or `ret` is NULL, or a flag is unknown.
 * @retval others      as for beam_call_begin_message() and beam_call_receive()
 */
BEAM_API int beam_topic_call_message(beam_topic *topic, beam_message **message, beam_message **ret,
				     uint32_t *ret_failure, unsigned flags, beam_deadline deadline) BEAM_CHECKED;

/**
 * Makes a call with several buffers and attachments, and does not wait for replies. Waits for
 * credit and for room, and, if the peer accepts no more calls at the moment, for another call to
 * end.
 *
 * @param ret       receives the call, as a handle to be released by beam_call_unref(); untouched on
 *                  failure
 * @param topic     need not stay open
 * @param iov       the buffers, which together are one request; borrowed, like their bytes
 * @param n_iov     how many buffers, at most IOV_MAX; 0 sends an empty request
 * @param fds       the attachments, borrowed. They are duplicated if the request has to wait in the
 *                  outgoing buffer.
 * @param n_fds     how many attachments; at most the peer's message_attachments
 * @param flags     0, or BEAM_SEND_GIVE_FDS
 * @param deadline  how long to wait
 * @retval 0        The request was sent. If the kernel refuses one of its descriptors later,
 *                  beam_call_receive() reports that.
 * @retval -EINVAL  `ret` or `topic` is NULL.
 * @retval others   as for beam_topic_sendv(), -EINVAL included
 */
BEAM_API int beam_call_begin(beam_call **ret, beam_topic *topic, const struct iovec *iov, size_t n_iov, const int *fds,
			     size_t n_fds, unsigned flags, beam_deadline deadline) BEAM_CHECKED;

/**
 * Makes a call with a message, and does not wait for replies. A message that was received can be
 * passed on in this way without copying it.
 *
 * @param ret       as for beam_call_begin()
 * @param topic     need not stay open
 * @param message   belongs to the library on success. Its attachments are sent with it, and not
 *                  duplicated. On failure it still belongs to the caller, and is unchanged.
 * @param flags     0
 * @param deadline  how long to wait
 * @retval 0            The request was sent.
 * @retval -EINVAL      `ret`, `topic` or `message` is NULL, or a flag is unknown.
 * @retval -ENOENT      An attachment of `message` was taken or lost.
 * @retval -EOPNOTSUPP  `message` is itself a call that was received. It cannot be sent on, because
 *                      its replies could not be passed back.
 * @retval others       as for beam_call_begin()
 */
BEAM_API int beam_call_begin_message(beam_call **ret, beam_topic *topic, beam_message *message, unsigned flags,
				     beam_deadline deadline) BEAM_CHECKED;

/**
 * Receives the next reply. Replies that arrived whole are received before a failure or the end of
 * the channel is reported.
 *
 * @param ret       receives the reply, which the caller frees; untouched unless the result is 1
 * @param flags     0
 * @param deadline  how long to wait. The call continues if the deadline passes.
 * @retval 1            A reply was received.
 * @retval 0            The last reply has been received. No more will come.
 * @retval -EREMOTEIO   The callee failed the call. beam_call_failure() reports how.
 * @retval -ECANCELED   The call was cancelled.
 * @retval -EPIPE       The channel was closed, by either side, before the last reply arrived.
 * @retval -ECONNRESET  The peer died, or the channel was aborted, before the last reply arrived.
 * @retval -EBADF, -EPERM, -EINVAL  The request was accepted, and then lost, because the kernel
 *                      refused to pass one of its descriptors.
 * @retval -EINVAL      Also: `call` or `ret` is NULL, or a flag is unknown.
 * @retval -EAGAIN, -ETIMEDOUT, -EPROTO, -ENOMEM, -ECHILD  as listed at the top of channel.h
 */
BEAM_API int beam_call_receive(beam_call *call, beam_message **ret, unsigned flags,
			       beam_deadline deadline) BEAM_CHECKED;

/**
 * Returns how a call failed, after beam_call_receive() has returned -EREMOTEIO for it.
 *
 * @param ret_code  receives the code; may be NULL
 * @param ret_data  receives the callee's data about the failure, which belongs to the call and is
 *                  valid until its last handle is released; may be NULL
 * @param ret_size  receives the size of the data in bytes; may be NULL
 * @retval 0        The results were stored.
 * @retval -ENOENT  The call has not failed, or its failure has not been received.
 * @retval -EINVAL, -ECHILD  as listed at the top of channel.h
 */
BEAM_API int beam_call_failure(beam_call *call, uint32_t *ret_code, const void **ret_data, size_t *ret_size);

/**
 * Cancels a call. Replies that wait to be received or arrive later are discarded. A
 * beam_call_receive() that is waiting returns -ECANCELED, and the callee is informed. A call whose
 * last reply has arrived is not affected. Never waits. Can be called any number of times.
 *
 * @retval 0                 The call was cancelled, or had ended.
 * @retval -EINVAL, -ECHILD  as listed at the top of channel.h
 */
BEAM_API int beam_call_cancel(beam_call *call);

/** Takes another handle. @return `call` */
BEAM_API beam_call *beam_call_ref(beam_call *call);

/**
 * Releases a handle. With the last one the call is cancelled, unless it has ended.
 *
 * @param call  NULL is allowed and does nothing
 * @return NULL, which can be assigned to the variable that held the handle
 */
BEAM_API beam_call *beam_call_unref(beam_call *call);

/* ---- The callee ------------------------------------------------------------------------------ */

/**
 * @return true if the message is a call that was received, also after it has been replied to; false
 *         if it is a plain message or NULL
 */
BEAM_API bool beam_message_is_call(const beam_message *message);

/**
 * Returns a descriptor that becomes readable when nobody wants replies to a call any more, and then
 * stays readable. This is the case if the caller has cancelled or released the call, or if the
 * channel was closed by either side or has failed. A callee that works for long can poll the
 * descriptor (POLLIN) or add the call to a selector (BEAM_SELECT_CANCELLED), and need not try to
 * reply to find out.
 *
 * After the last reply has been sent, a cancellation has no effect, and the descriptor need not
 * show it. It still shows the end of the channel.
 *
 * The descriptor belongs to the library, like those of event.h: poll it, but do not read, write or
 * close it. It is closed when the message is freed. A thread that is waiting for it in poll(2) at
 * this moment is not woken. The first call creates the descriptor. From then on, until the message
 * is freed, the channel's thread reads input as soon as it arrives, even if no thread waits.
 *
 * @param request  a call that was received. Any thread can wait for the descriptor.
 * @return the descriptor, the same each time, or
 * @retval -EINVAL  `request` is NULL or not a call.
 * @retval -ECHILD  as listed at the top of channel.h
 * @retval -EMFILE, -ENFILE, -ENOMEM  There is no free descriptor or no memory for it.
 */
BEAM_API int beam_message_cancelled_fd(beam_message *request) BEAM_CHECKED;

/**
 * Returns a descriptor that is readable (not writable) while a reply of up to 4 KiB without
 * attachments can be sent without waiting. It is also readable while such a reply would fail at
 * once, because the call was cancelled or has had its last reply, earlier replies were lost, or the
 * channel has ended. Another thread may use up the room first, so reply with BEAM_NOWAIT. For a
 * selector, use BEAM_SELECT_SEND.
 *
 * Every send on the channel updates all descriptors of this kind, so ask for one only when a reply
 * has returned -EAGAIN.
 *
 * @return as for beam_message_cancelled_fd(), whose rules apply here too
 */
BEAM_API int beam_message_reply_fd(beam_message *request) BEAM_CHECKED;

/** Flags of beam_message_reply(), beam_message_replyv() and beam_message_reply_message(). */
enum beam_reply_flags {
	/** More replies follow. */
	BEAM_REPLY_MORE = 1,
};

/**
 * Replies to a call. The reply is the call's only reply or its last one, unless `flags` says that
 * more follow. Replying does not free the call. Like any message, a call belongs to one thread at a
 * time.
 *
 * @param request   a call that was received
 * @param data      the payload, borrowed; may be NULL if `size` is 0
 * @param size      the payload's size in bytes; at most the peer's message_bytes
 * @param flags     0, or BEAM_REPLY_MORE if more replies follow
 * @param deadline  how long to wait for credit and room
 * @retval 0           The reply was sent.
 * @retval -EINVAL     `request` is NULL or not a call, or `data` is NULL and `size` is not 0, or a
 *                     flag is unknown.
 * @retval -EMSGSIZE   The reply is larger than the peer accepts.
 * @retval -EFAULT     Part of the payload is not in memory (PAYLOADS in beam(7)).
 * @retval -ECANCELED  The caller wants no more replies.
 * @retval -EALREADY   The last reply to the call, or its failure, has already been sent.
 * @retval -EIO        Earlier replies to this call were accepted and then lost, because the kernel
 *                     refused one of their descriptors. Each loss is reported once. This reply was
 *                     not sent.
 * @retval -EPIPE, -EAGAIN, -ETIMEDOUT, -ECONNRESET, -EPROTO, -ENOMEM, -ECHILD  as listed at the top
 *                     of channel.h
 *
 * If a reply was not sent, the call is unchanged. It can be replied to again unless the error is
 * -ECANCELED, -EALREADY, or one that shows the end of the channel.
 */
BEAM_API int beam_message_reply(beam_message *request, const void *data, size_t size, unsigned flags,
				beam_deadline deadline) BEAM_CHECKED;

/**
 * Replies to a call with several buffers and attachments.
 *
 * @param request   a call that was received
 * @param iov       the buffers, which together are one payload; borrowed, like their bytes
 * @param n_iov     how many buffers, at most IOV_MAX; 0 sends an empty payload
 * @param fds       the attachments, borrowed. They are duplicated if the reply has to wait in the
 *                  outgoing buffer.
 * @param n_fds     how many attachments; at most BEAM_REPLY_ATTACHMENTS_MAX and the peer's
 *                  message_attachments
 * @param flags     0, or a combination of BEAM_REPLY_MORE and BEAM_SEND_GIVE_FDS
 * @param deadline  how long to wait for credit and room
 *
 * The results are those of beam_message_reply(), and
 * @retval -EINVAL  Also: `iov` or `fds` is NULL and its number is not 0; or there are more than
 *                  IOV_MAX buffers; or a descriptor is given away twice.
 * @retval -E2BIG   The reply has more attachments than a reply can have, or than the peer accepts.
 * @retval -EBADF, -EMFILE, -EPERM, -EINVAL, -EAGAIN, -ETIMEDOUT  as for beam_topic_sendv(). If the
 *                  kernel refuses a descriptor of the last reply after that reply was accepted, the
 *                  call fails with the code BEAM_FAILURE_DROPPED.
 */
BEAM_API int beam_message_replyv(beam_message *request, const struct iovec *iov, size_t n_iov, const int *fds,
				 size_t n_fds, unsigned flags, beam_deadline deadline) BEAM_CHECKED;

/**
 * Replies to a call with a message. For example, a reply from another process can be passed on
 * without copying it.
 *
 * @param request   a call that was received
 * @param message   belongs to the library on success. Its attachments are sent with it, and not
 *                  duplicated. On failure it still belongs to the caller, and is unchanged. It can
 *                  have as many attachments as a reply of beam_message_replyv().
 * @param flags     0, or BEAM_REPLY_MORE
 * @param deadline  how long to wait for credit and room
 *
 * The results are those of beam_message_replyv(), and
 * @retval -EINVAL      Also: `message` is NULL.
 * @retval -ENOENT      An attachment of `message` was taken or lost.
 * @retval -EOPNOTSUPP  `message` is itself a call that was received. It cannot be sent on, because
 *                      its replies could not be passed back.
 */
BEAM_API int beam_message_reply_message(beam_message *request, beam_message *message, unsigned flags,
					beam_deadline deadline) BEAM_CHECKED;

/**
 * Ends a call with a failure. If `size` is 0, this needs no credit and never waits.
 *
 * @param request   a call that was received
 * @param code      BEAM_FAILURE_APPLICATION or more
 * @param data      data about the failure, borrowed; may be NULL if `size` is 0
 * @param size      the data's size in bytes
 * @param flags     0
 * @param deadline  how long to wait for credit and room
 *
 * The results are those of beam_message_reply(), and
 * @retval -EINVAL  Also: `code` belongs to the library.
 */
BEAM_API int beam_message_reply_failure(beam_message *request, uint32_t code, const void *data, size_t size,
					unsigned flags, beam_deadline deadline) BEAM_CHECKED;

BEAM_END

#endif
