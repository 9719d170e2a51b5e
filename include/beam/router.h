/* SPDX-License-Identifier: MIT */
/**
 * @file router.h
 * Messages moved on: from one topic to another, and by routes to wherever they belong.
 *
 * A message that is moved on goes as it came, with its attachments: its bytes are written to the
 * other socket from where they were read to, and its descriptors are passed on without a
 * duplicate. Only where a channel gathers small messages, to write them together, are their bytes
 * copied, once, into its buffer.
 *
 * Threads, fork and the shared errors are those of channel.h.
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
 * Moves messages from one topic to another, of any channel, in order (Go's Copy). When the other
 * side does not take them, nothing more is received: its sender waits in turn. A topic may be
 * forwarded to itself, which makes an echo.
 *
 * At most one message is in hand between the two. If it cannot be sent it is in `held` when the
 * call returns, and if the next call finds it there it sends it first: whoever calls again with the
 * same `held` loses nothing and keeps the order.
 *
 * @param from      where to receive
 * @param to        where to send
 * @param held      a message that is sent first, or NULL in it; takes the one that could not be
 *                  sent, the caller's to send or free, else NULL
 * @param n         at most so many messages, at least 1; SIZE_MAX: any number
 * @param ret_n     takes how many were sent, whatever the result; may be NULL
 * @param flags     0; others are for what may come
 * @param deadline  until when to wait, for messages and for room, and to go on
 * @retval 1  `n` were sent; there may be more
 * @retval 0  there will be no more, and all were sent; beam_topic_close_send() tells it on
 * @retval -EINVAL      `from`, `to` or `held` is NULL, or `n` is 0, or unknown flags
 * @retval -EAGAIN      no message or no room, with BEAM_NOWAIT
 * @retval -ETIMEDOUT   the deadline passed
 *
 * With `held` set the error is that of beam_topic_send_message(), of which
 * @retval -ENOENT      the message had lost an attachment when it arrived
 * @retval -EMSGSIZE, -E2BIG  the target accepts no such message
 * @retval -EOPNOTSUPP  it is a call. Calls need a router: somebody has to pass the replies back.
 *
 * Otherwise it is that of beam_topic_receive(). A target that ends is noticed with the next
 * message.
 */
BEAM_API int beam_topic_forward(beam_topic *from, beam_topic *to, beam_message **held, size_t n, size_t *ret_n,
				unsigned flags, beam_deadline deadline) BEAM_CHECKED;

/* ---- The router ------------------------------------------------------------------------------ */

/**
 * A router takes messages from its sources, and sends each on by the first of its routes
 * that wants it (Go's Router).
 *
 * Sources are topics; channels, of which all topics are sources that the other side opens; and
 * listeners, of which all channels are that they accept. The messages of one source topic are
 * sent on one after another, in order. If a target has no room for one it waits in the router,
 * and its source with it: others go on. A message of more than 64 KiB keeps the thread that sends
 * it until the socket has it.
 *
 * A call is sent on as any other message is, with its attachments, and the router passes back
 * what comes of it: one reply or several, or a failure with its code and text. If the caller
 * cancels its call or goes, the call is cancelled at the callee. If the callee drops the call,
 * closes the topic or goes, the call fails at the caller as *dropped*. Each call is on its own.
 * If a caller does not take its replies, at most two of them wait in the router, then the callee
 * waits, and other calls go on. A reply of more than 64 KiB is the exception: it keeps the thread
 * that sends it until the caller has taken it or the deadline of beam_router_run() passes. The
 * options `calls` of the channels on both sides limit how many calls are in flight. If a target
 * takes no more now, the source waits.
 *
 * A call that was sent on goes on when its topic ends or is removed. Its request is kept until the
 * call ends, without its attachments.
 *
 * It works in the threads that run it, any number; routes and sources may be added and
 * removed meanwhile, by handlers too. A router holds handles of its sources until they have
 * ended or are removed, and of the targets of its routes until they are removed:
 * beam_channel_close() ends a channel all the same. Each source costs a descriptor, a call
 * that was sent on two or three, and a router two.
 *
 * Handles are counted. In a forked child all functions give -ECHILD.
 */
typedef struct beam_router beam_router;

/** Where messages go. Begin with BEAM_ROUTE and set what you need. */
struct beam_route {
	/** sizeof(struct beam_route) */
	size_t size;

	/* Which messages: those for which all hold that are set. */

	/** Of the topic of this name; or NULL. */
	const char *name;
	/** Of topics whose names begin so; or NULL. Not together with `name`. */
	const char *prefix;
	/**
	 * Those for which this returns other than 0; or NULL. It must not change the message, and
	 * may be asked more than once about one that has to wait. Called as `handle` is.
	 */
	int (*match)(void *argument, const char *topic, const beam_message *message);

	/* Where to: one of these. */

	/** A topic. The route takes a handle of its own. */
	beam_topic *topic;
	/**
	 * The topic of the same name of a channel, which is opened when it is first
	 * needed and released when the source ends or the route is removed. The route
	 * takes a handle of its own.
	 */
	beam_channel *channel;
	/**
	 * A function, called without any lock from the threads that run the router, several at once
	 * for messages of several sources. Thread cancellation is disabled.
	 *
	 * 0: it has taken the message, and frees it. -EAGAIN: not now; it is called again with the
	 * same message in a few milliseconds. Any other negative errno: it has not, and
	 * beam_router_run() hands message and error to its caller.
	 */
	int (*handle)(void *argument, const char *topic, beam_message *message);

	/** For `match`, `handle` and `release`. */
	void *argument;
	/**
	 * Called once the route was removed and no thread is in its functions any more, or the
	 * router was released; or NULL.
	 */
	void (*release)(void *argument);
	/** 1: a sink, asked only when no route that is none wants the message; 0: none. */
	unsigned sink;
};

/** A route of all messages to nowhere yet. */
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
 * Makes a router without routes and sources.
 *
 * @param ret  takes it, one handle; untouched on failure
 * @retval 0  done
 * @retval -EINVAL  `ret` is NULL
 * @retval -EMFILE, -ENFILE, -ENOMEM  no descriptors or memory for it
 */
BEAM_API int beam_router_new(beam_router **ret) BEAM_CHECKED;

/** Takes another handle. @return `router` */
BEAM_API beam_router *beam_router_ref(beam_router *router);

/**
 * Releases a handle. With the last one routes and sources are released. A message that waits for
 * room is freed. Calls that were sent on are cancelled at their callees and fail as *dropped* at
 * their callers. No thread may be in beam_router_run() then but with a handle of its own.
 *
 * @param router  NULL is allowed and does nothing
 * @return NULL
 */
BEAM_API beam_router *beam_router_unref(beam_router *router);

/**
 * Adds a route, behind those that are there: of several that want a message the one that was added
 * first gets it, sinks after all others. Order decides, not how specific a route is: for
 * predicates that could not be told.
 *
 * @param route   borrowed, as its strings are
 * @param ret_id  takes a number to remove it by, untouched on failure; may be NULL
 * @retval 0              done: `release` will be called. It holds for messages that
 *                        are not yet on their way.
 * @retval -EINVAL        a NULL, no or several targets, both `name` and `prefix`, an
 *                        empty name, or another `sink`
 * @retval -ENAMETOOLONG  the name or prefix is longer than BEAM_TOPIC_NAME_MAX
 * @retval -E2BIG         the route is from a newer library and sets what this one does not know
 * @retval -EPIPE         the channel has no handle any more
 * @retval -ENOMEM        no memory
 * @retval -ECHILD        in a forked child
 */
BEAM_API int beam_router_add_route(beam_router *router, const struct beam_route *route, uint64_t *ret_id) BEAM_CHECKED;

/**
 * Removes a route. A thread may still be in its functions: `release` tells when none is. Messages
 * that wait for room go the next way.
 *
 * @retval 0        done
 * @retval -ENOENT  there is none of this number
 * @retval -EINVAL, -ECHILD  as above
 */
BEAM_API int beam_router_remove_route(beam_router *router, uint64_t id);

/**
 * Adds a topic, until there will be no more messages of it.
 *
 * @param tag  given back with what fails of it
 * @retval 0        done
 * @retval -EINVAL  a NULL
 * @retval -EEXIST  it is a source already
 * @retval -EMFILE, -ENFILE, -ENOMEM, -ENOSPC  no descriptor or memory for it
 * @retval -ECHILD  in a forked child
 */
BEAM_API int beam_router_add_topic(beam_router *router, beam_topic *topic, void *tag) BEAM_CHECKED;

/**
 * Adds a channel: the topics that its other side opens, and nobody here has opened,
 * are sources until they end.
 *
 * Results as of beam_router_add_topic(), and
 * @retval -EPIPE  the channel has no handle any more
 */
BEAM_API int beam_router_add_channel(beam_router *router, beam_channel *channel, void *tag) BEAM_CHECKED;

/**
 * Adds a listener: it is accepted from, and the channels are sources, as by
 * beam_router_add_channel(), until they end. The router holds the only handle of each, and releases
 * it then. A listener that is closed is no source any more; the channels that were accepted stay.
 *
 * Its policy is called from the threads that run the router, and may change the router.
 *
 * @param tag  given back with what fails of it, and of its channels and their topics
 *
 * Results as of beam_router_add_topic().
 */
BEAM_API int beam_router_add_listener(beam_router *router, beam_listener *listener, void *tag) BEAM_CHECKED;

/**
 * Removes a source: nothing more is received of it, or accepted. With a channel go the
 * topics that the router accepted of it; what they had not delivered is thrown away as these
 * are closed. Channels that were accepted from a listener stay; whoever is being accepted at
 * this moment is disconnected.
 *
 * A message that the router had received already is not lost. It is delivered, after it has
 * waited for room if need be, or comes out of beam_router_run() with its error and the source's
 * tag. Only then is the source gone, and until then it cannot be added again (-EEXIST). The
 * removal waits for that until the deadline, and may be repeated to go on waiting. Some thread
 * has to run the router meanwhile.
 *
 * Calls that were sent on before go on; what fails of them comes without the tag.
 *
 * Call it from a handler, a predicate or a policy only with BEAM_NOWAIT: the source may be the one
 * whose message the thread has in hand.
 *
 * @param deadline  until when to wait
 * @retval 0        it is gone: no thread is in it, and its tag does not come back
 * @retval -EAGAIN, -ETIMEDOUT  it is removed, but a message of it is still on its way, with
 *                  BEAM_NOWAIT or at the deadline
 * @retval -ENOENT  it is no source
 * @retval -EINVAL, -ECHILD  as above
 */
BEAM_API int beam_router_remove_topic(beam_router *router, beam_topic *topic, beam_deadline deadline);
BEAM_API int beam_router_remove_channel(beam_router *router, beam_channel *channel, beam_deadline deadline);
BEAM_API int beam_router_remove_listener(beam_router *router, beam_listener *listener, beam_deadline deadline);

/** What a router could not do. */
struct beam_router_failure {
	/**
	 * The message that could not be delivered, the caller's to send elsewhere or free; NULL: a
	 * source has ended with the error.
	 */
	beam_message *message;
	/** The topic that it came on, or that has ended: a handle, the caller's to release. */
	beam_topic *topic;
	/**
	 * The channel that has ended: a handle, the caller's to release. With NULL here and in
	 * `topic` it is a listener.
	 */
	beam_channel *channel;
	/** That of the source; NULL with `request`. */
	void *tag;
	/** If this is not NULL, `message` is a reply to a call that was sent on, and could not
	 *  be passed back. This is the call's request, without its attachments, and the
	 *  caller's: to be answered, best by beam_message_reply_failure(), and freed. If it is
	 *  freed without an answer the call fails as *dropped*. `topic` and `channel` are NULL.
	 *  At the callee the call is cancelled. */
	beam_message *request;
};

/** Flags of beam_router_run(). */
enum beam_router_flags {
	/** Return also when there are no sources left, and no calls that were sent on. */
	BEAM_ROUTER_UNTIL_ENDED = 1,
};

/**
 * Sends messages on, in this thread, until the router is stopped, something fails or the
 * deadline passes. Without sources it waits for some. After a failure it may be called
 * again: nothing else is lost.
 *
 * @param ret       takes what failed, or NULLs
 * @param flags     0, or BEAM_ROUTER_UNTIL_ENDED
 * @param deadline  past it at most one source has its turn, of at most 64 messages
 * @retval 0  the router was stopped; or, with BEAM_ROUTER_UNTIL_ENDED, all sources have ended or
 *            were removed, and everything was delivered
 * @retval -EAGAIN, -ETIMEDOUT  the deadline, if `ret` is empty
 * @retval -EINVAL  a NULL, or unknown flags
 * @retval -ECHILD  in a forked child
 *
 * With a message in `ret` that could not be delivered
 * @retval -EHOSTUNREACH  no route wants it
 * @retval others         those of beam_topic_send_message() (-EPIPE, -ECONNREFUSED, -EMSGSIZE,
 *                        -ENOENT: it lost an attachment on arrival; -EIO: messages sent on before
 *                        were lost, and this one can be sent again), of a call those of
 *                        beam_call_begin(), those of beam_topic_open(), or what the handler said
 *
 * With a reply in `ret`, and the call in `request`
 * @retval -EMSGSIZE, -E2BIG  the caller's side accepts no such reply
 * @retval -ENOENT        the reply had lost an attachment when it arrived
 * @retval -EIO           replies that were passed back before were lost
 * @retval others         those of beam_message_reply_message(), but for -ECANCELED, -EPIPE and
 *                        -ECONNRESET: the caller is gone then, and nothing is reported
 *
 * With a source that has ended
 * @retval -ECONNRESET, -EPROTO, -ENOMEM  as in channel.h. Topics of a source channel end without a
 *                        word; the channel's own end tells why.
 * @retval -EINVAL, -ENOMEM, others  of a listener: as by beam_listener_accept()
 */
BEAM_API int beam_router_run(beam_router *router, struct beam_router_failure *ret, unsigned flags,
			     beam_deadline deadline) BEAM_CHECKED;

/**
 * Stops a router for good: each thread in beam_router_run() finishes the message that it has in
 * hand, and returns 0, as every later call does at once. From any thread at any time, also from a
 * handler, a predicate or a policy; any number of times. Never waits.
 *
 * Routes and sources stay until the last handle of the router is released, and
 * messages that wait for room are freed then, and calls that were sent on dropped.
 * Sources can still be removed before.
 *
 * @retval 0  done
 * @retval -EINVAL, -ECHILD  as above
 */
BEAM_API int beam_router_stop(beam_router *router);

BEAM_END

#endif
