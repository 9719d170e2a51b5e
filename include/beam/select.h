/* SPDX-License-Identifier: MIT */
/**
 * @file select.h
 * Waiting for any of many: messages on topics of any channels, replies, room to send or to reply,
 * calls that are cancelled, topics that the other side opens, connections to listeners, plain
 * descriptors.
 *
 * A selector has members, each with a tag of the caller's. Members are added and removed at any
 * time, also while other threads wait; what is ready when it is added shows at once. Selecting is
 * level-triggered: a member is told again and again until what made it ready has been taken. And it
 * is fair: of members that stay ready none is told a second time before each of the others has been
 * told.
 *
 * What a member was told for may be gone when it is looked at, taken by another thread: receive,
 * send and accept with BEAM_NOWAIT then.
 *
 * A selector holds a handle of each topic, channel, listener and call among its members: they stay
 * open until they are removed. Handles are counted; every function may be called from any thread at
 * any time, but for using a handle that was released. In a forked child all give -ECHILD.
 *
 * A message has no handles. It leaves its selectors when it is freed, in whatever thread: they do
 * not report it any more, and nothing of it is left behind. Only a thread that waits may have been
 * told of it just before.
 *
 * A channel that a loop runs (event.h) is not run by waiting for its topics: its
 * beam_channel_loop_fd() must be a member too.
 */
#ifndef BEAM_SELECT_H
#define BEAM_SELECT_H

#include <beam/call.h>
#include <beam/common.h>
#include <beam/deadline.h>
#include <beam/listener.h>
#include <beam/topic.h>

BEAM_BEGIN

typedef struct beam_select beam_select;

/** What a member waits for, or is ready for. */
enum beam_select_for {
	/** A topic: beam_topic_receive() would not wait. */
	BEAM_SELECT_RECEIVE = 1,
	/** A topic: a small message would not wait (beam_topic_send_fd()). A call that was
	 * received: a small reply would not (beam_message_reply_fd()). */
	BEAM_SELECT_SEND = 2,
	/** A channel or a listener: accept would not wait. */
	BEAM_SELECT_ACCEPT = 4,
	/** A descriptor: its events. */
	BEAM_SELECT_FD = 8,
	/** A call: beam_call_receive() would not wait. */
	BEAM_SELECT_REPLY = 16,
	/** A call that was received: nobody wants its replies any more
	 * (beam_message_cancelled_fd()). */
	BEAM_SELECT_CANCELLED = 32,
};

/**
 * Makes a selector without members.
 *
 * @param ret  takes it, one handle; untouched on failure
 * @retval 0  done
 * @retval -EINVAL  `ret` is NULL
 * @retval -EMFILE, -ENFILE, -ENOMEM  no descriptor or memory for it
 */
BEAM_API int beam_select_new(beam_select **ret) BEAM_CHECKED;

/** Takes another handle. @return `select` */
BEAM_API beam_select *beam_select_ref(beam_select *select);

/**
 * Releases a handle; with the last one the members are released too. Threads that wait
 * have handles of their own.
 *
 * @param select  NULL is allowed and does nothing
 * @return NULL
 */
BEAM_API beam_select *beam_select_unref(beam_select *select);

/**
 * Adds a topic.
 *
 * @param what  BEAM_SELECT_RECEIVE, BEAM_SELECT_SEND, or both, which are told apart
 * @param tag   the caller's, given back by beam_select_wait()
 * @retval 0        done
 * @retval -EINVAL  a NULL, or another `what`
 * @retval -EEXIST  it is a member already, for one of these; nothing was added
 * @retval -EMFILE, -ENFILE, -ENOMEM, -ENOSPC  no descriptor or memory for it (ENOSPC:
 *                                             /proc/sys/fs/epoll/max_user_watches)
 * @retval -ECHILD  in a forked child
 */
BEAM_API int beam_select_add_topic(beam_select *select, beam_topic *topic, unsigned what, void *tag) BEAM_CHECKED;

/**
 * Adds a channel, for the topics that the other side opens (BEAM_SELECT_ACCEPT).
 *
 * Results as of beam_select_add_topic(), and
 * @retval -EPIPE  the channel has no handle any more
 */
BEAM_API int beam_select_add_channel(beam_select *select, beam_channel *channel, void *tag) BEAM_CHECKED;

/**
 * Adds a listener, for those who connect and for its end (BEAM_SELECT_ACCEPT). Accept with
 * beam_listener_accept() and BEAM_NOWAIT: whoever has connected may be refused.
 *
 * Results as of beam_select_add_topic().
 */
BEAM_API int beam_select_add_listener(beam_select *select, beam_listener *listener, void *tag) BEAM_CHECKED;

/**
 * Adds a call, for its replies and its end (BEAM_SELECT_REPLY).
 *
 * Results as of beam_select_add_topic().
 */
BEAM_API int beam_select_add_call(beam_select *select, beam_call *call, void *tag) BEAM_CHECKED;

/**
 * Adds a call that was received and is to be answered.
 *
 * @param request  the caller's; it leaves the selector when it is freed
 * @param what     BEAM_SELECT_CANCELLED, BEAM_SELECT_SEND, or both, which are told apart
 *
 * Results as of beam_select_add_topic(), and
 * @retval -EINVAL  `request` is no call
 * @retval -ECHILD  in a forked child, of the selector or of the call
 */
BEAM_API int beam_select_add_message(beam_select *select, beam_message *request, unsigned what, void *tag) BEAM_CHECKED;

/**
 * Adds a descriptor of the caller's, to be removed before it is closed.
 *
 * @param events  what to wait for, as poll(2) names it; POLLERR and POLLHUP are told always
 *
 * Results as of beam_select_add_topic(); besides
 * @retval -EBADF  it is not open
 * @retval -EPERM  it cannot be waited for: a plain file or a directory
 * @retval -ELOOP  it is a selector's or an epoll descriptor that waits for this one
 */
BEAM_API int beam_select_add_fd(beam_select *select, int fd, short events, void *tag) BEAM_CHECKED;

/**
 * Removes a member. A thread that waits may have been told of it just before.
 *
 * @retval 0        done
 * @retval -ENOENT  it is no member (of a topic or a message: for one of these; the other was
 *                  removed)
 * @retval -EINVAL, -ECHILD  as above
 */
BEAM_API int beam_select_remove_topic(beam_select *select, beam_topic *topic, unsigned what);
BEAM_API int beam_select_remove_channel(beam_select *select, beam_channel *channel);
BEAM_API int beam_select_remove_listener(beam_select *select, beam_listener *listener);
BEAM_API int beam_select_remove_call(beam_select *select, beam_call *call);
BEAM_API int beam_select_remove_message(beam_select *select, beam_message *request, unsigned what);
BEAM_API int beam_select_remove_fd(beam_select *select, int fd);

/** A member that is ready. */
struct beam_select_ready {
	void *tag;
	/** One of enum beam_select_for. */
	unsigned what;
	/** Of a descriptor: its events, as poll(2) names them. */
	short events;
};

/**
 * Waits until a member is ready.
 *
 * @param ret       takes up to `n` members that are
 * @param n         room in `ret`, at least 1
 * @param deadline  until when to wait; members that are ready are told even if it has passed
 * @return how many, at least 1; or
 * @retval -EAGAIN, -ETIMEDOUT  none is, with BEAM_NOWAIT or before the deadline
 * @retval -EINVAL  a NULL, or `n` is 0
 * @retval -ECHILD  in a forked child
 */
BEAM_API ssize_t beam_select_wait(beam_select *select, struct beam_select_ready *ret, size_t n,
				  beam_deadline deadline) BEAM_CHECKED;

/**
 * The descriptor that is readable while a member is ready: for event loops, and for other
 * selectors. It belongs to the selector.
 *
 * @return a descriptor, or -EINVAL, -ECHILD
 */
BEAM_API int beam_select_fd(beam_select *select) BEAM_CHECKED;

BEAM_END

#endif
