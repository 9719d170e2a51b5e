/* SPDX-License-Identifier: MIT */
/*
 * The router from the inside: routes (route.c), sources (source.c), the threads that run them
 * (router.c), and what a thread does with a source (turn.c).
 *
 * A route that is removed stays in its place until nobody looks at it or is in its handler; so
 * whoever holds one can go on to the next, and no lock is held over code of the user's.
 *
 * A source is in one state at a time, and only in the first, IDLE, a member of the selector. Only
 * one thread waits on the selector at a time, while nothing is ready, and takes what is out of it
 * before another may wait. So a source that was told is nobody else's, and one that has ended is
 * freed without anybody having heard of it:
 *
 *     IDLE  --something there-->  READY  --a thread takes it-->  in its turn
 *     in its turn  -->  IDLE, STALLED, or it has ended
 *     STALLED  --room at the target, or time-->  READY
 *
 * A source of which the target has no room keeps one message and waits for that room, by itself:
 * others go on.
 *
 * A source that is removed goes at once, unless a thread is in its turn or it keeps a message: then
 * it goes when that message has gone. One that goes from IDLE may have been told to the thread on
 * the selector, which has its address: so its memory stays, in `gone`, until that thread has
 * looked.
 *
 * A call that was sent on is a source too, of its replies (call.c). It is not removed with the
 * topic that it came on, and holds no handle of that: the other side may close the topic, and open
 * another of its name. It is IDLE too while it waits for room for a reply, which has a descriptor
 * of its own.
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
	/* Threads that look at it or are in its handler. */
	unsigned uses;
	bool removed;
	/* The name or prefix is `text`; of the target a handle is held. */
	struct beam_route to;
	char text[];
};

enum {
	/* Messages, topics or replies of one turn. */
	TURN = 64,
	/* Beyond this a message is not tried without waiting: what of it went would have to be
	 * taken back. */
	LARGE = 64 << 10,
};

enum source_state { SOURCE_IDLE, SOURCE_READY, SOURCE_STALLED, SOURCE_ENDED };

struct source {
	struct list of_router;
	/* In `ready` or `stalled`. */
	struct list link;
	enum source_state state;
	/* A topic; a channel whose topics are accepted; a listener whose channels are; or a call
	 * that was sent on, of the message that asked. */
	beam_topic *topic;
	beam_channel *channel;
	beam_listener *listener;
	beam_call *call;
	beam_message *request;
	void *tag;
	/* A thread has it in its turn, and is the only one that looks at `state` and `held`. */
	bool running;
	/* Set with the lock: nothing more is taken of it. */
	atomic_bool removed;
	/* The topic was accepted: its channel tells how it ended. */
	bool accepted;
	/* Received, and not delivered yet; and of a call the reply behind that. */
	beam_message *held, *next;
	/* Stalled: whose room it waits for; NULL: for a while to pass. */
	beam_topic *target;
	/* It was woken because there was room, and has sent nothing since. */
	bool by_room;
	/* Of a call: it waits for room for a reply, not for one; and nobody wants its replies
	 * any more. */
	bool for_room, cancelled;
	/* Topics of its name that were opened on routes' channels, as of this generation. */
	struct list ways;
	uint64_t generation;
};

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
	 * Routes, in the order in which they are asked: sinks last. The generation is
	 * counted up when one is removed.
	 */
	struct list routes;
	uint64_t last_id, generation;
	/*
	 * All sources; those in which there is something to do; those that wait for room; the
	 * memory of some that were removed.
	 */
	struct list sources, ready, stalled, gone;
	/* A thread waits on the selector; the others wait here. */
	bool leading;
	pthread_cond_t changed;
	/* Fires when stalled sources are to try again; set. */
	int timer;
	bool timed;
	/* Set with the lock, for good. */
	atomic_bool stopped;
};

/* 0, -EINVAL or -ECHILD. */
int router_check(const struct beam_router *router);
/*
 * Routes have changed: sources that wait for room try again, as they may go another
 * way now. The lock is held.
 */
void router_reconsider(struct beam_router *router);
/* After this time the timer's descriptor shows. The lock is held. */
void router_set_timer(struct beam_router *router, long ms);
/*
 * What those who wait ask for may have changed: all of them look again, the one on the
 * selector too. The lock is held.
 */
void router_changed(struct beam_router *router);

/* ---- Routes ---------------------------------------------------------------------------------- */

/*
 * The first route that wants a message that came on this topic, to be given back; NULL:
 * none does. Calls predicates.
 */
struct route *route_find(struct beam_router *router, const char *topic, const beam_message *message);
void route_done(struct beam_router *router, struct route *route);
/* True if there is still a route of this number. The lock is held. */
bool route_stands(const struct beam_router *router, uint64_t id);
/* At the end of the router, of which nobody has a handle. */
void routes_free(struct beam_router *router);

/* ---- Sources --------------------------------------------------------------------------------- */

struct source *source_new(void *tag);
void source_free(struct source *source);
/* It is not waited for any more. The lock is held. */
void source_unwatch(struct beam_router *router, struct source *source);
/*
 * After its turn, or when it is new, it waits for what its state says. True: it has ended, and is
 * the caller's to free without the lock, which is held.
 */
bool source_settle(struct beam_router *router, struct source *source);
/* A new one is among the router's from now on. If that of which it was made has been removed, it
 * goes with it; NULL: of none. */
void source_join(struct beam_router *router, struct source *made, const struct source *of);
/* Frees the memory of those that were removed. The lock is held, and nobody is on the selector. */
void sources_free_gone(struct beam_router *router);

/*
 * A turn of a topic, which has messages, and of a channel or listener, which have topics or
 * channels: sets the next state, and tells what failed.
 */
int turn_of_topic(struct beam_router *router, struct source *source, beam_deadline deadline);
int turn_accept(struct beam_router *router, struct source *source);

/* ---- Calls ----------------------------------------------------------------------------------- */

/* Sends the message in hand on, a call: its replies are a source from now on, which has the
 * message. Results as of sending. */
int call_send_on(struct beam_router *router, struct source *source, beam_topic *topic, beam_deadline deadline);
/* As for other sources; the lock is held. */
int call_watch(struct beam_router *router, struct source *source);
void call_unwatch(struct beam_router *router, struct source *source);
/* Its turn: replies are passed on. */
int turn_of_call(struct source *source, beam_deadline deadline);

/* Lets go of the ways of routes that were removed, the lock is held; of all. */
void ways_forget(struct beam_router *router, struct source *source);
void ways_free(struct source *source);

#endif
