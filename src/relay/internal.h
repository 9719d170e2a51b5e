/* SPDX-License-Identifier: MIT */
/*
 * The internals of the router: routes (route.c), sources (source.c), the threads that run them
 * (router.c), and what a thread does with a source (turn.c).
 *
 * A route that is removed stays in the list until no thread looks at it or is in its handler. So a
 * thread that holds a route can go on to the next one, and no lock is held while the user's code
 * runs.
 *
 * A source is in one state at a time. It is a member of the selector only in the state IDLE. Only
 * one thread at a time waits on the selector, when nothing is ready, and it takes out what the
 * selector reported before another thread may wait. So a source that was reported belongs to that
 * thread alone, and a source that has ended can be freed, because no other thread has a report of
 * it. The states change like this:
 *
 *     IDLE  --something to do-->  READY  --a thread takes it-->  in its turn
 *     in its turn  -->  IDLE, READY (a call), STALLED, or it has ended
 *     STALLED  --room at the target, or time-->  READY
 *
 * A source whose target has no room keeps one message and waits for that room. Other sources go on.
 *
 * A source that is removed is freed at once, unless it is in its turn or keeps a message. Then it
 * is freed after its turn, as soon as it keeps no message. A source that was removed while it was
 * IDLE may have been reported to the thread on the selector, which then has its address. So its
 * memory is kept in `gone` until that thread has returned from the selector.
 *
 * A call that was sent on is a source too, of its replies (call.c). It is not removed with the
 * topic on which it arrived, and holds no handle of that topic, because the peer may close the
 * topic and open another of that name. It is also IDLE while it waits for room for a reply. That
 * room has a descriptor of its own.
 */
#ifndef RELAY_INTERNAL_H
#define RELAY_INTERNAL_H

#include <base/list.h>
#include <beam/router.h>
#include <beam/select.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct route {
	struct list link;
	uint64_t id;
	/* How many threads look at it or are in its handler. */
	unsigned uses;
	bool removed;
	/* `text` is the name or prefix. A handle of the target is held. */
	struct beam_route to;
	char text[];
};

enum {
	/* The most messages, replies, topics or channels that are handled in one turn. */
	TURN = 64,
	/*
	 * Larger messages are not tried with BEAM_NOWAIT, but sent with the caller's deadline once
	 * there is room. Otherwise, what had been sent of one would have to be taken back.
	 */
	LARGE = 64 << 10,
};

enum source_state { SOURCE_IDLE, SOURCE_READY, SOURCE_STALLED, SOURCE_ENDED };

struct source {
	struct list of_router;
	/* In `ready` or `stalled`. */
	struct list link;
	enum source_state state;
	/*
	 * A topic; a channel whose topics are accepted; a listener whose channels are accepted; or
	 * a call that was sent on, with the request that it answers.
	 */
	beam_topic *topic;
	beam_channel *channel;
	beam_listener *listener;
	beam_call *call;
	beam_message *request;
	void *tag;
	/* A thread runs its turn. Only that thread looks at `state` and `held`. */
	bool running;
	/* Set with the lock held. Nothing more is taken from the source. */
	atomic_bool removed;
	/*
	 * The topic was accepted from a channel. How it ended is reported by the channel's source.
	 */
	bool accepted;
	/*
	 * `held`: received, and not delivered yet. `next`: the reply that comes after it, if the
	 * source is a call.
	 */
	beam_message *held, *next;
	/* While STALLED: the topic for whose room it waits, or NULL if it waits for the timer. */
	beam_topic *target;
	/* It was woken because there was room, and has sent nothing since. */
	bool by_room;
	/*
	 * Of a call. `for_room`: it waits for room for a reply, and not for a reply. `cancelled`:
	 * nobody wants its replies any more.
	 */
	bool for_room, cancelled;
	/*
	 * The topics of its name that were opened on the channels of routes (struct way). Topics of
	 * routes that were removed before `generation` have been released.
	 */
	struct list ways;
	uint64_t generation;
};

/* A topic that was opened on the channel of a route. */
struct way {
	struct list link;
	uint64_t route;
	beam_topic *topic;
};

struct beam_router {
	uint32_t process;
	unsigned handles;
	pthread_mutex_t lock;
	beam_select *select;
	/*
	 * The routes, in the order in which they are tried: sinks last. `generation` is incremented
	 * when one is removed.
	 */
	struct list routes;
	uint64_t last_id, generation;
	/*
	 * All sources; those that have something to do; those that wait for room; those that were
	 * removed, of which only the memory is left.
	 */
	struct list sources, ready, stalled, gone;
	/* `leading`: a thread waits on the selector. The other threads wait for `changed`. */
	bool leading;
	pthread_cond_t changed;
	/* `timer` expires when stalled sources are to try again. `timed`: it is set. */
	int timer;
	bool timed;
	/* Set with the lock held, and never cleared. */
	atomic_bool stopped;
};

/* Returns 0, -EINVAL or -ECHILD. */
int router_check(const struct beam_router *router);
/*
 * Routes have changed. Sources that wait for room try again, because their messages may take
 * another route now. The lock is held.
 */
void router_reconsider(struct beam_router *router);
/* Sets the timer, which expires after this time. The lock is held. */
void router_set_timer(struct beam_router *router, long ms);
/*
 * What threads wait for may have changed. All of them look again, including the one on the
 * selector. The lock is held.
 */
void router_changed(struct beam_router *router);

/* ---- Routes ---------------------------------------------------------------------------------- */

/*
 * Returns the first route that matches a message which arrived on this topic, or NULL. The caller
 * releases it with route_done(). Calls predicates.
 */
struct route *route_find(struct beam_router *router, const char *topic, const beam_message *message);
void route_done(struct beam_router *router, struct route *route);
/* Returns true if the route with this id still exists. The lock is held. */
bool route_stands(const struct beam_router *router, uint64_t id);
/* Called at the end of the router, when nobody has a handle of it. */
void routes_free(struct beam_router *router);

/* ---- Sources --------------------------------------------------------------------------------- */

struct source *source_new(void *tag);
void source_free(struct source *source);
/* Stops waiting for the source. The lock is held. */
void source_unwatch(struct beam_router *router, struct source *source);
/*
 * After the source's turn, or when it is new: makes it wait for what its state says. Returns true
 * if it has ended. Then the caller frees it without the lock, which is held here.
 */
bool source_settle(struct beam_router *router, struct source *source);
/*
 * Adds a new source to the router. `of` is the source that it was made from, or NULL. If that has
 * been removed, the new one is removed too.
 */
void source_join(struct beam_router *router, struct source *made, const struct source *of);
/*
 * Frees the memory of sources that were removed. The lock is held, and no thread is on the
 * selector.
 */
void sources_free_gone(struct beam_router *router);

/*
 * Run a turn of a topic, which has messages, or of a channel or listener, which has topics or
 * channels. They set the next state. They return 0 or what failed.
 */
int turn_of_topic(struct beam_router *router, struct source *source, beam_deadline deadline);
int turn_accept(struct beam_router *router, struct source *source);

/* ---- Calls ----------------------------------------------------------------------------------- */

/*
 * Sends on the message that the source holds, which is a call. A new source, for its replies, takes
 * the message. Returns what sending returns.
 */
int call_send_on(struct beam_router *router, struct source *source, beam_topic *topic, beam_deadline deadline);
/* Start and stop waiting for a call. The lock is held. */
int call_watch(struct beam_router *router, struct source *source);
void call_unwatch(struct beam_router *router, struct source *source);
/* Runs a turn of a call: its replies are passed on. */
int turn_of_call(struct source *source, beam_deadline deadline);

/*
 * ways_forget() releases the ways of routes that were removed. The lock is held. ways_free()
 * releases all ways.
 */
void ways_forget(struct beam_router *router, struct source *source);
void ways_free(struct source *source);

#endif
