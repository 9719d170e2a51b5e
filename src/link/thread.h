/* SPDX-License-Identifier: MIT */
/*
 * What drives a link while no thread of the program does: the link's own thread, or the program's
 * loop.
 */
#ifndef LINK_THREAD_H
#define LINK_THREAD_H

#include <base/list.h>
#include <beam/deadline.h>
#include <stdbool.h>
#include <stdint.h>

struct link;

/* Guarded by the writer's lock, except for the last two members. */
struct link_thread {
	/*
	 * The thread waits on `epoll`, and `nudge` wakes it. A link without a thread has no epoll,
	 * and has a nudge only if the loop asks for it. Then the nudge wakes the loop.
	 */
	int epoll, nudge;
	/*
	 * `armed`: the thread watches for input. `hung_up`: it has seen that the peer has closed.
	 */
	bool armed, hung_up;
	/*
	 * The thread is awake or has been woken. It looks at what is pending before it sleeps
	 * again.
	 */
	bool awake;
	/* The program's loop, or a thread that has taken over from it, is working on the link. */
	bool dispatching;
	/*
	 * When the peer was last asked whether it is alive, and what `heard_at` was at that time.
	 */
	int64_t asked_at, asked_since;
	/*
	 * `idle_at`: when to check whether the link is idle; only the thread writes it.
	 * `dry_since`: since when nothing has come in a burst; only the thread uses it.
	 */
	beam_deadline idle_at;
	int64_t dry_since;
};

/* ---- standby.c: the thread. */
void standby_run(void *argument);
/*
 * How long the thread may sleep; when an unfinished frame that no thread reads takes too long;
 * whether the link is over.
 */
struct rest {
	beam_deadline until, stalled;
	bool over;
};
/*
 * Checks what is to be done. If `sleeps`, the caller is about to sleep, and whichever thread finds
 * something to do from then on nudges it.
 */
struct rest standby_look(struct link *link, bool sleeps);
/* Does what is to be done. */
void standby_work(struct link *link, bool input, beam_deadline stalled);
/*
 * If the peer has been silent for half of the idle timeout, it is asked whether it is alive. If it
 * does not answer within the other half, the link fails. Returns when to check again. No lock is
 * held. `reads`: the caller holds the reading right.
 */
beam_deadline standby_end_silence(struct link *link, bool reads);
/*
 * Finishes the link. If `keeps`, the socket is kept open, because a loop has it and may be waiting
 * for it.
 */
void standby_finish(struct link *link, bool keeps);
/* Sets what wakes the thread from now on. The writer's lock is held. Returns 0 or -errno. */
int standby_watch(struct link *link);

/* ---- loop.c: links without a thread, which the program's loop drives. */
/*
 * Waits for the socket, and does one turn of the work that otherwise only the loop would do. The
 * writer's lock is held before and after. Returns 0 or deadline_error().
 */
int loop_help(struct link *link, beam_deadline deadline);
/* Returns what to wait for on the socket. The writer's lock is held. */
short loop_events(const struct link *link);
/*
 * Does one turn of work, if no other thread does. `shown` is what the socket is ready for. The
 * writer's lock is held before and after.
 */
void loop_turn(struct link *link, int shown);
/* Returns the nudge, which is created if there is none, or -errno. The writer's lock is held. */
int loop_nudge(struct link *link);
/* The loop has released the link. */
void loop_let_go(struct link *link);

/* ---- process.c: the links of this process. */
/* Adds a link that is complete, and starts its thread. Returns 0, or why there is no thread. */
int process_add(struct link *link);
/* The link's descriptors are about to be closed. */
void process_finished(struct link *link);
void process_remove(struct link *link);
/*
 * At the end of the process: moves the links to `ret`, except those that hold() refuses because
 * another thread is about to free them. process_finished() no longer removes those that were moved.
 */
void process_take_all(struct list *ret, bool (*hold)(void *owner));
/*
 * Appends a link that was moved by process_take_all() to another list, from which process_remove()
 * may remove it at any time.
 */
void process_keep(struct list *list, struct link *link);

#endif
