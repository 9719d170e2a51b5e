/* SPDX-License-Identifier: MIT */
/**
 * @file select.h
 * Selectors: waiting for any of many topics, calls, channels, listeners and descriptors.
 *
 * The members of a selector can belong to any channels. The program gives each member a tag, which
 * beam_select_wait() stores when the member is ready. Members can be added and removed at any time,
 * even while other threads wait. A member that is ready when it is added is reported at once.
 *
 * Selecting is level-triggered: a member is reported again until what made it ready has been
 * consumed. It is also fair: among the members that stay ready, each is reported once before any is
 * reported again. After a member was reported, another thread may be faster and consume what made
 * it ready. Use BEAM_NOWAIT to receive, send or accept.
 *
 * A selector holds a handle of each topic, channel, listener and call among its members. They stay
 * open until they are removed, or until the last handle of the selector is released.
 *
 * The message of a call that was received has no handles. When any thread frees it, the call leaves
 * its selectors. However, a beam_select_wait() that is running in another thread at that moment can
 * still report it.
 *
 * Waiting for the topics of a channel that an event loop drives (event.h) does not drive the
 * channel. The program must add its beam_channel_loop_fd() too, wait no longer than
 * beam_channel_loop_deadline() allows, and call beam_channel_dispatch().
 *
 * Every function can be called from any thread at any time, on any handle that has not been
 * released. In a forked child every function on a selector of the parent returns -ECHILD, and
 * releasing handles does nothing.
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

/** What a member is waited for, and what it is ready for. */
enum beam_select_for {
	/** A topic: beam_topic_receive() would not wait. */
	BEAM_SELECT_RECEIVE = 1,
	/** A topic: a small message would be sent without waiting, or its send would fail at once
	 *  (beam_topic_send_fd()). A call that was received: the same for a small reply
	 *  (beam_message_reply_fd()). */
	BEAM_SELECT_SEND = 2,
	/** A channel: beam_channel_accept() would not wait. A listener: a client is waiting to be
	 *  accepted, or the listener is closed. */
	BEAM_SELECT_ACCEPT = 4,
	/** A descriptor: one of its events has occurred. */
	BEAM_SELECT_FD = 8,
	/** A call: beam_call_receive() would not wait. */
	BEAM_SELECT_REPLY = 16,
	/** A call that was received: nobody wants its replies any more
	 *  (beam_message_cancelled_fd()). */
	BEAM_SELECT_CANCELLED = 32,
};

/**
 * Creates a selector without members.
 *
 * @param ret  receives the selector, as one handle; untouched on failure
 * @retval 0        The selector was created.
 * @retval -EINVAL  `ret` is NULL.
 * @retval -EMFILE, -ENFILE, -ENOMEM  There is no free descriptor or no memory for the selector.
 */
BEAM_API int beam_select_new(beam_select **ret) BEAM_CHECKED;

/** Takes another handle. @return `select` */
BEAM_API beam_select *beam_select_ref(beam_select *select);

/**
 * Releases a handle. With the last one the members are released. No thread may be inside
 * beam_select_wait() then, so a thread that waits should have a handle of its own.
 *
 * @param select  NULL is allowed and does nothing
 * @return NULL, which can be assigned to the variable that held the handle
 */
BEAM_API beam_select *beam_select_unref(beam_select *select);

/**
 * Adds a topic. On failure nothing is added.
 *
 * @param what  BEAM_SELECT_RECEIVE, BEAM_SELECT_SEND, or both, each of which is reported separately
 * @param tag   stored by beam_select_wait() when the member is ready
 * @retval 0        The topic was added.
 * @retval -EINVAL  `select` or `topic` is NULL, or `what` is 0 or contains something else.
 * @retval -EEXIST  It is already a member. If `what` contains two values, this error is returned
 *                  even if it is a member for only one of them.
 * @retval -EMFILE, -ENFILE, -ENOMEM  There is no free descriptor or no memory for the member.
 * @retval -ENOSPC  The user has as many watches as /proc/sys/fs/epoll/max_user_watches allows.
 * @retval -ECHILD  This is a forked child.
 */
BEAM_API int beam_select_add_topic(beam_select *select, beam_topic *topic, unsigned what, void *tag) BEAM_CHECKED;

/**
 * Adds a channel, to accept the topics that the peer opens (BEAM_SELECT_ACCEPT).
 *
 * The results are those of beam_select_add_topic(), and also:
 * @retval -EPIPE  The channel has no handle any more.
 */
BEAM_API int beam_select_add_channel(beam_select *select, beam_channel *channel, void *tag) BEAM_CHECKED;

/**
 * Adds a listener, to accept its clients and to notice that it was closed (BEAM_SELECT_ACCEPT).
 * Call beam_listener_accept() with BEAM_NOWAIT, since the client may be refused.
 *
 * The results are those of beam_select_add_topic().
 */
BEAM_API int beam_select_add_listener(beam_select *select, beam_listener *listener, void *tag) BEAM_CHECKED;

/**
 * Adds a call, to receive its replies and to notice its end (BEAM_SELECT_REPLY).
 *
 * The results are those of beam_select_add_topic().
 */
BEAM_API int beam_select_add_call(beam_select *select, beam_call *call, void *tag) BEAM_CHECKED;

/**
 * Adds a call that was received and will be answered.
 *
 * @param request  belongs to the caller; leaves the selector when it is freed
 * @param what     BEAM_SELECT_CANCELLED, BEAM_SELECT_SEND, or both, each of which is reported
 *                 separately
 *
 * The results are those of beam_select_add_topic(), and also:
 * @retval -EINVAL  `request` is not a call.
 */
BEAM_API int beam_select_add_message(beam_select *select, beam_message *request, unsigned what, void *tag) BEAM_CHECKED;

/**
 * Adds a descriptor.
 *
 * @param fd      belongs to the caller; remove it before you close it
 * @param events  what to wait for, as in poll(2); POLLERR and POLLHUP are always reported
 *
 * The results are those of beam_select_add_topic(), and also:
 * @retval -EINVAL  `fd` is the selector's own descriptor.
 * @retval -EBADF   `fd` is not open.
 * @retval -EPERM   `fd` cannot be waited for, because it is a regular file or a directory.
 * @retval -ELOOP   `fd` belongs to a selector or an epoll(7) instance that waits for this selector,
 *                  or too many of them are nested.
 */
BEAM_API int beam_select_add_fd(beam_select *select, int fd, short events, void *tag) BEAM_CHECKED;

/**
 * Removes a member. If another thread is inside beam_select_wait() meanwhile, that call can still
 * report it.
 *
 * @retval 0        The member was removed.
 * @retval -ENOENT  It is not a member. If `what` contains two values and it was a member for one of
 *                  them, it has been removed for that one.
 * @retval -EMFILE, -ENFILE, -ENOMEM, -EPIPE  It is not a member, and this error occurred when the
 *                  library created the descriptor that it needs to look up a member (event.h).
 * @retval -EINVAL  `select` or the object is NULL, `what` is 0 or contains something else than the
 *                  object can be added for, `request` is not a call, or `fd` is negative.
 * @retval -ECHILD  This is a forked child.
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
	/** Of a descriptor: its events, as in poll(2). */
	short events;
};

/**
 * Waits until a member is ready.
 *
 * @param ret       receives the members that are ready, at most `n`
 * @param n         how many members fit in `ret`; at least 1
 * @param deadline  how long to wait. Members that are ready are reported even if it has passed.
 * @return the number of members that were stored, at least 1
 * @retval -EAGAIN, -ETIMEDOUT  No member is ready, with BEAM_NOWAIT or before the deadline.
 * @retval -EINVAL  `select` or `ret` is NULL, or `n` is 0.
 * @retval -ECHILD  This is a forked child.
 */
BEAM_API ssize_t beam_select_wait(beam_select *select, struct beam_select_ready *ret, size_t n,
				  beam_deadline deadline) BEAM_CHECKED;

/**
 * Returns a descriptor that is readable while a member is ready. With this descriptor the selector
 * can be added to an event loop, or to another selector. It belongs to the selector until its last
 * handle is released: poll it, but do not close it.
 *
 * @return the descriptor
 * @retval -EINVAL  `select` is NULL.
 * @retval -ECHILD  This is a forked child.
 */
BEAM_API int beam_select_fd(beam_select *select) BEAM_CHECKED;

BEAM_END

#endif
