/* SPDX-License-Identifier: MIT */
/*
 * The reading right of a link: who reads from its socket, for himself and for the others. rx
 * belongs to the right's holder.
 */
#ifndef LINK_READER_H
#define LINK_READER_H

#include <base/list.h>
#include <beam/deadline.h>
#include <pthread.h>
#include <session/rx.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct link;

/* Memory has been let go of; nothing has come since the last look; something has. */
enum activity { ACTIVITY_NONE, ACTIVITY_PAST, ACTIVITY_NOW };

/* Whom the input of the last look woke: nobody; somebody, who is not waiting again yet; who is. */
enum woke { WOKE_NOBODY, WOKE_SOMEBODY, WOKE_AND_BACK };

/* What the link's thread does about input (baton.c). */
enum standby { STANDBY_WATCH, STANDBY_TICK, STANDBY_REST };

/*
 * Those who wait for something, under its lock; how often it has changed so
 * that they may want to look.
 */
struct sleepers {
	struct list list;
	uint64_t changes;
};

struct baton {
	pthread_mutex_t lock;
	pthread_cond_t left;
	/* Somebody has it; nobody will have it again. */
	bool taken, over;
	struct list waiters;
	enum standby mode;
	/* Those who must hear of input though no thread waits: with them there are no ticks. */
	unsigned dependents;
	/* How often a thread began to lead: ever, at the last tick, and lately from WATCH. */
	uint64_t led, led_at_tick;
	unsigned counted;
	int64_t counted_since;
	beam_deadline tick_at;
	/*
	 * When a thread last stopped waiting; how often running one was back soon after that, and
	 * how often it must be to be relied on.
	 */
	int64_t left_at;
	unsigned returns, relied_from;
};

/*
 * Polling before sleeping: fails running; waits until the next trial, and after it; the same
 * after a yield that took long, and how often polling has been worth it since; how many more
 * waits yield before they look.
 */
struct busy_poll {
	unsigned fails, skip, interval, penalty, worth, patient;
};

struct link_reader {
	struct baton baton;
	/*
	 * Wakes who leads, and those who poll for room; without a thread it is made when it is
	 * needed. It stays set from now on.
	 */
	atomic_int kick;
	atomic_bool kicked;
	/* When something last came, if anybody asks. */
	_Atomic int64_t heard_at;
	/* An enum activity; an enum woke. */
	atomic_uint activity, woke;

	/* The right's holder's. */
	struct rx rx;
	bool reset_seen;
	struct busy_poll busy_poll;
	uint64_t stalled_frame;
	beam_deadline stalled_until;

	/*
	 * Set by the right's holder, under the writer's lock: reading is over, because the other
	 * side said goodbye, or because it will not; then which rule it broke, if it did.
	 */
	bool over, peer_goodbye;
	const char *breach;
};

/* ---- baton.c: the right. */
void baton_init(struct baton *baton);
void baton_end(struct baton *baton);
/*
 * Waits, or leads, until something has changed: 0, or deadline_error(). With a deadline that has
 * passed it still looks once. `lock`, which guards the sleepers, is held before and after; nobody
 * can miss a change between.
 */
int baton_wait(struct link *link, pthread_mutex_t *lock, struct sleepers *sleepers, beam_deadline deadline);
/* For the link's thread: false if somebody leads. */
bool baton_take(struct link *link);
void baton_leave(struct link *link);
void baton_tick(struct link *link);
/*
 * Input must be read at once though no thread waits, from now on: there is one more who hears
 * of it otherwise. One fewer.
 */
void baton_depend(struct link *link);
void baton_independ(struct link *link);
/* Whoever leads is to look whether the link is closed, from now on. */
void baton_kick_for_good(struct link *link);
/*
 * The kick, to be waited for. -1: there is none, and whoever waits looks again after KICKLESS_NS.
 */
int baton_kick(struct link *link);
/* Sees to it that input is read though no thread waits: now, not at the next tick. */
void baton_attend(struct link *link);
/* The last of all: nobody reads any more when it returns. */
void baton_close(struct link *link);

/* ---- sleepers.c */
void sleepers_init(struct sleepers *sleepers);
/* By the holder of the reading right: something came that `n` of them may take. */
void sleepers_wake(struct link *link, struct sleepers *sleepers, size_t n);
/* By anyone: all are to look. */
void sleepers_wake_all(struct link *link, struct sleepers *sleepers);

/* ---- read.c: by the right's holder. */
/* Reads what there is, up to a bound. True if something came, be it the end. */
bool read_some(struct link *link);
/* The link has failed: reading is over and nothing more is sent. No lock is held. */
void read_fail(struct link *link, int error, const char *breach);
/*
 * The other side has said goodbye: reading is over, and nothing more is accepted. No lock is held.
 */
void read_goodbye(struct link *link);
/* Nothing has come for a while: lets go of memory. */
void read_trim(struct link *link);

/* ---- poll.c: by the right's holder. */
/*
 * Looks again and again for a little longer than it takes to be woken, and lets others run
 * meanwhile. True: something came.
 */
bool poll_busily(struct link *link);

#endif
