/* SPDX-License-Identifier: MIT */
/**
 * @file router.h
 * Forwarding messages: from one topic to another, or by the routes of a router.
 *
 * A message is forwarded with its attachments. Its bytes are written to the target's socket
 * directly from the memory into which they were received. The exception is a message that has to
 * wait in the target channel's outgoing buffer. Its bytes are copied once, into that buffer.
 * Attachments are sent without being duplicated.
 *
 * The rules about threads and fork and the common errors are those of channel.h.
 */
#ifndef BEAM_ROUTER_H
#define BEAM_ROUTER_H

#include <beam/common.h>
#include <beam/deadline.h>
#include <beam/listener.h>
#include <beam/message.h>
#include <beam/topic.h>

BEAM_BEGIN

/**
 * Receives messages from the topic `from` and sends them on the topic `to`, which can belong to
 * another channel, in order and with their attachments (Go's Copy). If `to` has no credit or no
 * room, nothing more is received, so that the senders on `from` have to wait as well. A topic can
 * be forwarded to itself, which makes an echo.
 *
 * The function holds at most one message at a time that it has received and not yet sent. If that
 * message cannot be sent, it is in `*held` when the function returns. A message that is in `*held`
 * when the function is called is sent first. Therefore a caller that calls again with the same
 * `held` loses no message, and keeps the order.
 *
 * The end of `from` is not passed on. To do that, call beam_topic_close_send() on `to`. If `to` has
 * ended, the function notices it only when it sends the next message.
 *
 * @param held      a message to be sent first, or NULL; receives the message that could not be
 *                  sent, which belongs to the caller, or NULL
 * @param n         how many messages to forward at most, at least 1; SIZE_MAX: no limit
 * @param ret_n     receives the number of messages that were sent, whatever the result; may be NULL
 * @param flags     0
 * @param deadline  how long to forward, and to wait for messages, credit and room
 * @retval 1            `n` messages were sent. More may come.
 * @retval 0            No more messages will come, and all were sent.
 * @retval -EINVAL      `from`, `to` or `held` is NULL, or `n` is 0, or a flag is unknown.
 * @retval -EAGAIN      There is no message, or no credit or room to send it, with BEAM_NOWAIT.
 * @retval -ETIMEDOUT   The deadline passed.
 *
 * If there is a message in `*held`, the error is one of beam_topic_send_message(), for example:
 * @retval -ENOENT      An attachment of the message was lost when it arrived here.
 * @retval -EMSGSIZE, -E2BIG  The message is larger, or has more attachments, than the peer of `to`
 *                      accepts.
 * @retval -EOPNOTSUPP  The message is a call. To forward calls, use a router, which passes the
 *                      replies back.
 *
 * Otherwise the error is one of beam_topic_receive().
 */
BEAM_API int beam_topic_forward(beam_topic *from, beam_topic *to, beam_message **held, size_t n, size_t *ret_n,
				unsigned flags, beam_deadline deadline) BEAM_CHECKED;

/* ---- The router ------------------------------------------------------------------------------ */

/**
 * A router receives messages from its sources, and forwards each message with its attachments. The
 * first route that matches the message decides where it goes (Go's Router).
 *
 * Sources are topics, channels and listeners. All topics that the peer of a source channel opens,
 * and all channels that a source listener accepts, become sources too. The messages of one topic
 * are delivered one after another, in order. If a target has no room for a message, the message
 * waits in the router. Until it has been sent, nothing more is received from its topic, so that the
 * senders of that topic have to wait too. Other topics are not affected. A message of more than 64
 * KiB is sent only when there is room. Sending it then occupies the thread until the socket has all
 * of it, or until the deadline of beam_router_run() passes.
 *
 * A call is forwarded like any other message, and the router passes back what the callee answers:
 * one or more replies with their attachments, or a failure with its code and data. If the caller
 * cancels the call or is gone, the call is cancelled at the callee. If the call ends in any other
 * way, for example because the callee drops it, closes the topic or is gone, it fails with the code
 * BEAM_FAILURE_DROPPED at the caller. Each call is independent of the others. If a caller does not
 * receive its replies, at most two of them wait in the router. Then the callee has to wait, and
 * other calls continue. The exception is a reply of more than 64 KiB. It occupies the thread that
 * sends it until the caller has received it or until the deadline of beam_router_run() passes. The
 * `calls` options of the channels on both sides limit how many calls are in flight. If the target
 * accepts no more calls at the moment, the call waits in the router like a message without room. A
 * call that was forwarded continues when its topic ends or is removed. The router keeps the
 * request, without its attachments, until the call ends.
 *
 * The router works in the threads that run it. Routes and sources can be added and removed at any
 * time. The router holds handles of its sources until they have ended or were removed, and of the
 * targets of its routes until the routes were removed. beam_channel_close() ends a channel
 * nevertheless. A router needs two descriptors. Each source needs one more, and so does each target
 * that has no room. Each call that was forwarded needs two or three.
 *
 * Handles are counted. In a forked child every function on a router of the parent returns -ECHILD,
 * and releasing handles does nothing.
 */
typedef struct beam_router beam_router;

/**
 * Which messages a route matches, and where they go. Start from BEAM_ROUTE, and set exactly one
 * target and the other fields that you need. A message must meet all conditions that the route
 * sets.
 */
struct beam_route {
	/** sizeof(struct beam_route) */
	size_t size;

	/* The conditions. A route that sets none of them matches every message. */

	/** Matches messages of the topic of this name; NULL: any name. */
	const char *name;
	/** Matches messages of topics whose names begin with this prefix; NULL: any name. Not
	 *  together with `name`. */
	const char *prefix;
	/** Matches messages for which this function returns nonzero; NULL: all messages. It must
	 *  not change the message. It can be called more than once for a message that has to wait.
	 *  What is said below about the threads of `handle` applies to it as well. */
	int (*match)(void *argument, const char *topic, const beam_message *message);

	/* The targets. */

	/** The message is sent on this topic. The route takes its own handle. */
	beam_topic *topic;
	/** The message is sent on this channel, on the topic of the same name. That topic is opened
	 *  when it is first needed. It is released when the source ends, or some time after the
	 *  route was removed. The route takes its own handle of the channel. */
	beam_channel *channel;
	/** The message is given to this function. It returns 0 if it has taken the message. It then
	 *  owns the message, and frees it or passes it on. If it returns -EAGAIN, the source waits,
	 *  and the function is called again with the same message a few milliseconds later. If it
	 *  returns any other negative errno, beam_router_run() returns that error, and stores the
	 *  message for its caller.
	 *
	 *  It is called with no lock held, in the threads that run the router. If messages come
	 *  from several sources, it can run in several threads at once. Thread cancellation is
	 *  disabled. */
	int (*handle)(void *argument, const char *topic, beam_message *message);

	/** Is passed to `match`, `handle` and `release`. */
	void *argument;
	/** If the route was removed, this is called when its functions are not running in any
	 *  thread any more. Otherwise it is called when the router is released. May be NULL. */
	void (*release)(void *argument);
	/** If 1, the route is a fallback, which is tried only if no ordinary route matches. If 0,
	 *  it is an ordinary route. */
	unsigned sink;
};

/** A route that matches every message and has no target yet. */
#define BEAM_ROUTE                                                                                                     \
	{                                                                                                              \
		sizeof(struct beam_route), /* size */                                                                  \
		    NULL,                  /* name */                                                                  \
		    NULL,                  /* prefix */                                                                \
		    NULL,                  /* match */                                                                 \
		    NULL,                  /* topic */                                                                 \
		    NULL,                  /* channel */                                                               \
		    NULL,                  /* handle */                                                                \
		    NULL,                  /* argument */                                                              \
		    NULL,                  /* release */                                                               \
		    0,                     /* sink */                                                                  \
	}

/**
 * Creates a router without routes and sources.
 *
 * @param ret  receives the router, as one handle; untouched on failure
 * @retval 0        The router was created.
 * @retval -EINVAL  `ret` is NULL.
 * @retval -EMFILE, -ENFILE, -ENOMEM  There are no free descriptors or no memory for the router.
 */
BEAM_API int beam_router_new(beam_router **ret) BEAM_CHECKED;

/** Takes another handle. @return `router` */
BEAM_API beam_router *beam_router_ref(beam_router *router);

/**
 * Releases a handle. With the last one the routes and sources are released, and messages that wait
 * for room are freed. Calls that were forwarded are cancelled at their callees, and fail with the
 * code BEAM_FAILURE_DROPPED at their callers. No thread may be inside beam_router_run() then, so a
 * thread that runs the router should have a handle of its own.
 *
 * @param router  NULL is allowed and does nothing
 * @return NULL, which can be assigned to the variable that held the handle
 */
BEAM_API beam_router *beam_router_unref(beam_router *router);

/**
 * Adds a route after those that were added before. If several routes match a message, the first one
 * gets it, even if a later one is more specific. The router cannot determine how specific a `match`
 * function is. A fallback is always tried after all ordinary routes. The new route also applies to
 * messages that have been received and not delivered yet.
 *
 * @param route   borrowed; its strings are copied
 * @param ret_id  receives the number that beam_router_remove_route() needs to remove the route;
 *                untouched on failure; may be NULL
 * @retval 0              The route was added. Its `release` will be called.
 * @retval -EINVAL        `router` or `route` is NULL, or the route has no target or several, or
 *                        both `name` and `prefix`, or an empty `name`, or a `size` that was never
 *                        set, or a `sink` other than 0 and 1.
 * @retval -ENAMETOOLONG  `name` or `prefix` is longer than BEAM_TOPIC_NAME_MAX.
 * @retval -E2BIG         The route comes from a newer library, and sets a field that this library
 *                        does not know.
 * @retval -EPIPE         `channel` has no handle any more.
 * @retval -ENOMEM        There is no memory for the route.
 * @retval -ECHILD        This is a forked child.
 */
BEAM_API int beam_router_add_route(beam_router *router, const struct beam_route *route, uint64_t *ret_id) BEAM_CHECKED;

/**
 * Removes a route. Messages that wait for room at its target are routed again. The functions of the
 * route can still be running in other threads when this function returns. Its `release` is called
 * when none of them is running any more.
 *
 * @retval 0        The route was removed.
 * @retval -ENOENT  There is no route with this number.
 * @retval -EINVAL  `router` is NULL.
 * @retval -ECHILD  This is a forked child.
 */
BEAM_API int beam_router_remove_route(beam_router *router, uint64_t id);

/**
 * Adds a topic. It is a source until no more messages will come from it.
 *
 * @param tag  stored with every failure of the source
 * @retval 0        The source was added.
 * @retval -EINVAL  A parameter other than `tag` is NULL.
 * @retval -EEXIST  It is already a source, or it was removed and is not gone yet.
 * @retval -EMFILE, -ENFILE, -ENOMEM  There is no free descriptor or no memory for the source.
 * @retval -ENOSPC  The user has as many watches as /proc/sys/fs/epoll/max_user_watches allows.
 * @retval -ECHILD  This is a forked child.
 */
BEAM_API int beam_router_add_topic(beam_router *router, beam_topic *topic, void *tag) BEAM_CHECKED;

/**
 * Adds a channel as a source. Each topic that the peer has opened or will open, and that nobody has
 * opened here, becomes a source until it ends.
 *
 * @param tag  stored with every failure of the channel and of its topics
 *
 * The results are those of beam_router_add_topic(), and also:
 * @retval -EPIPE  The channel has no handle any more.
 */
BEAM_API int beam_router_add_channel(beam_router *router, beam_channel *channel, void *tag) BEAM_CHECKED;

/**
 * Adds a listener as a source. The router accepts its clients. Each accepted channel is a source
 * until it ends, as if it had been added by beam_router_add_channel(). The router holds the only
 * handle of such a channel. When the listener is closed, it is no longer a source, but the channels
 * that were accepted stay.
 *
 * The listener's policy is called in the threads that run the router. It may add and remove routes
 * and sources.
 *
 * @param tag  stored with every failure of the listener, of its channels and of their topics
 *
 * The results are those of beam_router_add_topic().
 */
BEAM_API int beam_router_add_listener(beam_router *router, beam_listener *listener, void *tag) BEAM_CHECKED;

/**
 * Removes a source. Nothing more is received or accepted from it. Topics that the router accepted
 * from a channel are removed with it. They are closed, and messages that are waiting in them are
 * discarded. Channels that were accepted from a listener stay, but a client that is being accepted
 * at this moment is disconnected. Calls that were forwarded before continue.
 *
 * A message that the router has already received is not lost. It is delivered, after waiting for
 * room if necessary, or beam_router_run() returns it with its error and the source's tag. After
 * that the source is gone, and can be added again. The function waits for this. If a message of the
 * source still has to be delivered, another thread must be running the router meanwhile. After
 * -EAGAIN or -ETIMEDOUT the function can be called again to continue waiting. It then returns
 * -ENOENT if the source is gone already.
 *
 * In a `handle` or `match` function and in the policy of a listener, use BEAM_NOWAIT, because the
 * source may be the one that this thread is serving.
 *
 * @param deadline  how long to wait for the source to be gone
 * @retval 0        The source is gone: no thread uses it, and its tag is not stored any more.
 * @retval -EAGAIN, -ETIMEDOUT  The source was removed, but a message of it has not been delivered
 *                  yet, with BEAM_NOWAIT or at the deadline.
 * @retval -ENOENT  It is not a source.
 * @retval -EINVAL  A parameter is NULL.
 * @retval -ECHILD  This is a forked child.
 */
BEAM_API int beam_router_remove_topic(beam_router *router, beam_topic *topic, beam_deadline deadline);
BEAM_API int beam_router_remove_channel(beam_router *router, beam_channel *channel, beam_deadline deadline);
BEAM_API int beam_router_remove_listener(beam_router *router, beam_listener *listener, beam_deadline deadline);

/** What failed in a router. */
struct beam_router_failure {
	/** The message that could not be delivered. It belongs to the caller of beam_router_run(),
	 *  who can send it elsewhere and frees it. NULL: a source has ended with the error. */
	beam_message *message;
	/** The topic that the message was received from, or that has ended: a handle, which the
	 *  caller of beam_router_run() releases. */
	beam_topic *topic;
	/** The channel that has ended: a handle, which the caller of beam_router_run() releases. If
	 *  `message`, `topic` and `channel` are NULL, a listener has ended. */
	beam_channel *channel;
	/** The tag of the source; NULL with `request`. */
	void *tag;
	/** If this is not NULL, `message` is a reply to a call that was forwarded, and could not be
	 *  passed back. `request` is the call, without its attachments. It belongs to the caller of
	 *  beam_router_run(), who answers it, best with beam_message_reply_failure(), and frees it.
	 *  If it is freed without an answer, the call fails with the code BEAM_FAILURE_DROPPED. At
	 *  the callee the call is cancelled. `topic` and `channel` are NULL. */
	beam_message *request;
};

/** Flags of beam_router_run(). */
enum beam_router_flags {
	/** Also return when there are no more sources and no more calls that were forwarded. */
	BEAM_ROUTER_UNTIL_ENDED = 1,
};

/**
 * Runs a router in this thread, until the router is stopped, something fails, or the deadline
 * passes. Without sources it waits until some are added. Any number of threads can run a router.
 * Each source is served by one of them at a time. After a failure the function can be called again,
 * and continues with everything else. A source that ends in an orderly way is not reported.
 *
 * @param ret       receives what failed; all fields are NULL if nothing has
 * @param flags     0, or BEAM_ROUTER_UNTIL_ENDED
 * @param deadline  how long to run. After it the function serves at most one more source, and at
 *                  most 64 of that source's messages.
 * @retval 0  The router was stopped. Or, with BEAM_ROUTER_UNTIL_ENDED, all sources have ended or
 *            were removed and everything was delivered.
 *
 * If nothing has failed:
 * @retval -EAGAIN, -ETIMEDOUT  The deadline is BEAM_NOWAIT, or has passed.
 * @retval -EINVAL        `router` or `ret` is NULL, or a flag is unknown.
 * @retval -ECHILD        This is a forked child.
 *
 * If `message` could not be delivered:
 * @retval -EHOSTUNREACH  No route matches the message.
 * @retval -ENOENT        The message had lost an attachment on arrival.
 * @retval -EIO           Messages that were forwarded to this target earlier were lost. This
 *                        message was not sent, and can be sent again.
 * @retval -EPIPE, -ECONNREFUSED, -EMSGSIZE, -E2BIG, others  The target does not accept the message.
 *                        The error is one of beam_topic_send_message(), or for a call one of
 *                        beam_call_begin(). For a route to a channel it can also be one of
 *                        beam_topic_open(). For a route to a function it is what the function
 *                        returned.
 *
 * If `request` is not NULL:
 * @retval -EMSGSIZE, -E2BIG  The caller's side does not accept such a reply.
 * @retval -ENOENT        The reply had lost an attachment on arrival.
 * @retval -EIO           Replies that were passed back to this call earlier were lost.
 * @retval others         Any other error of beam_message_reply_message(), except -EPIPE,
 *                        -ECONNRESET and -ECANCELED, which are not reported because the caller is
 *                        gone.
 *
 * If a source has ended:
 * @retval -ECONNRESET, -EPROTO, -ENOMEM  as listed at the top of channel.h. If a channel is a
 *                        source, the end of the channel is reported, but not the ends of its
 *                        topics.
 * @retval -EINVAL, -ENOMEM, others  A listener has ended, with this error of
 *                        beam_listener_accept().
 */
BEAM_API int beam_router_run(beam_router *router, struct beam_router_failure *ret, unsigned flags,
			     beam_deadline deadline) BEAM_CHECKED;

/**
 * Stops a router permanently. Each thread in beam_router_run() finishes the message that it is
 * handling, and returns 0, unless that message fails. Every later call returns 0 at once. The
 * function never waits. It can be called any number of times, also from `handle` and `match`
 * functions and from the policy of a listener.
 *
 * Routes and sources stay until the last handle of the router is released, and sources can still be
 * removed. Messages that wait for room are freed with the router.
 *
 * @retval 0        The router was stopped.
 * @retval -EINVAL  `router` is NULL.
 * @retval -ECHILD  This is a forked child.
 */
BEAM_API int beam_router_stop(beam_router *router);

BEAM_END

#endif
