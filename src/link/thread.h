/* SPDX-License-Identifier: MIT */
/*
 * Who drives a link while no thread of the program's does: a thread of its own, or the program's
 * loop.
 */
#ifndef LINK_THREAD_H
#define LINK_THREAD_H

#include <base/list.h>
#include <beam/deadline.h>
#include <stdbool.h>
#include <stdint.h>

struct link;

/* Under the writer's lock, but for the last two. */
struct link_thread {
	/*
	 * What the thread waits by, and what wakes it. Without a thread there is no epoll, and the
	 * nudge is made if the loop asks for it: it is woken by it then.
	 */
	int epoll, nudge;
	/* The thread watches for input; has seen that the other side has closed. */
	bool armed, hung_up;
	/*
	 * The thread is awake, or has been woken: it looks at what is pending before it sleeps
	 * again.
	 */
	bool awake;
	/* The program's loop is at it, or a thread is that has taken over from it. */
	bool dispatching;
	/* When the other side was asked whether it is there, and had last been heard by then. */
	int64_t asked_at, asked_since;
	/*
	 * Written by the thread alone: when to look whether the link is idle; its own:
	 * since when a burst is dry.
	 */
	beam_deadline idle_at;
	int64_t dry_since;
};

/* ---- standby.c: the thread. */
void standby_run(void *argument);
/* What is to be slept for, and until when; when a frame that nobody reads takes too long. */
struct rest {
	beam_deadline until, stalled;
	bool over;
};
/*
 * Looks whether there is something to do. Who `sleeps` then is nudged by whoever
 * finds something from now on.
 */
struct rest standby_look(struct link *link, bool sleeps);
/* Does it. */
void standby_work(struct link *link, bool input, beam_deadline stalled);
/*
 * Whoever has been silent for half of the time is asked whether it is there, and has died if
 * it does not answer in the other half. Returns when to look again. No lock is held; whoever
 * reads has the reading right.
 */
beam_deadline standby_end_silence(struct link *link, bool reads);
/*
 * It is over. `keeps`: the socket is kept open for a loop that has it, and may be waiting for it.
 */
void standby_finish(struct link *link, bool keeps);
/* What it is to be woken for, from now on. The writer's lock is held. 0 or -errno. */
int standby_watch(struct link *link);

/* ---- loop.c: links without a thread, which the program's loop drives. */
/*
 * Waits, and does a turn of what only the loop would do; the writer's lock is held before and
 * after. 0 or deadline_error().
 */
int loop_help(struct link *link, beam_deadline deadline);
/* What to wait for on the socket. The writer's lock is held. */
short loop_events(const struct link *link);
/* A turn, if nobody else is at it. The writer's lock is held before and after. */
void loop_turn(struct link *link, int shown);
/* The nudge, made if there is none, or -errno. The writer's lock is held. */
int loop_nudge(struct link *link);
/* No loop has it any more. */
void loop_let_go(struct link *link);

/* ---- process.c: the links of this process. */
/* The link stands: 0, or why it has no thread. */
int process_add(struct link *link);
/* Its descriptors are about to be closed. */
void process_finished(struct link *link);
void process_remove(struct link *link);
/*
 * At the end of the process: all but those whose owners hold() refuses, as other threads are about
 * to free them. They are not taken out by process_finished() any more.
 */
void process_take_all(struct list *ret, bool (*hold)(void *owner));
/* Puts one that was taken so into another list, whence process_remove() may take it at any time. */
void process_keep(struct list *list, struct link *link);

#endif
