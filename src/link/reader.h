/* SPDX-License-Identifier: MIT */
/*
 * The reading right of a link. Its holder reads from the socket, for itself and for the others, and
 * owns rx.
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

/*
 * NONE: nothing has been read since memory was released. PAST: nothing has been read since the last
 * check. NOW: something has.
 */
enum activity { ACTIVITY_NONE, ACTIVITY_PAST, ACTIVITY_NOW };

/*
 * Which threads the input of the last look woke: none; one or more, none of which waits again yet;
 * one or more, of which one waits again already.
 */
enum woke { WOKE_NOBODY, WOKE_SOMEBODY, WOKE_AND_BACK };

/* What the link's thread does about input (baton.c). */
enum standby { STANDBY_WATCH, STANDBY_TICK, STANDBY_REST };

/*
 * The threads that wait for something, such as a message. The lock of that thing guards them.
 * `changes` is increased whenever they may have to look again.
 */
struct sleepers {
	struct list list;
	uint64_t changes;
};

struct baton {
	pthread_mutex_t lock;
	pthread_cond_t left;
	/* `taken`: a thread holds the right. `over`: no thread will get it again. */
	bool taken, over;
	struct list waiters;
	enum standby mode;
	/*
	 * How many parties must learn of input even if no thread waits. While there are any, TICK
	 * is not used.
	 */
	unsigned dependents;
	/*
	 * How often a thread has begun to lead: `led` in total, `led_at_tick` at the last tick.
	 * `counted` is how often since `counted_since`, while the link's thread was watching
	 * (WATCH).
	 */
	uint64_t led, led_at_tick;
	unsigned counted;
	int64_t counted_since;
	beam_deadline tick_at;
	/*
	 * When a thread last stopped waiting; how many times in a row a thread has returned soon
	 * after that; how many times it takes until one is expected.
	 */
	int64_t left_at;
	unsigned returns, relied_from;
};

/*
 * Polling before sleeping. `fails`: failures in a row. `skip`: how many waits do not poll until the
 * next trial. `interval`, `penalty`: how many waits were skipped last, after a failure and after a
 * yield that took long. `worth`: how often polling has paid since such a yield. `patient`: how many
 * more waits yield before they read.
 */
struct busy_poll {
	unsigned fails, skip, interval, penalty, worth, patient;
};

struct link_reader {
	struct baton baton;
	/*
	 * Wakes the leading thread, and senders that poll for room. A link without a thread creates
	 * it when it is needed. Once `kicked` is true, the kick stays set.
	 */
	atomic_int kick;
	atomic_bool kicked;
	/* When something last arrived, if there is an idle timeout. */
	_Atomic int64_t heard_at;
	/* An enum activity; an enum woke. */
	atomic_uint activity, woke;

	/* Owned by the holder of the right. */
	struct rx rx;
	bool reset_seen;
	struct busy_poll busy_poll;
	uint64_t stalled_frame;
	beam_deadline stalled_until;

	/*
	 * Set by the holder of the right, under the writer's lock. `over`: reading has ended,
	 * because the peer said goodbye (`peer_goodbye`) or because the link failed. `breach`: the
	 * rule that the peer broke, if it broke one.
	 */
	bool over, peer_goodbye;
	const char *breach;
};

/* ---- baton.c: the right. */
void baton_init(struct baton *baton);
void baton_end(struct baton *baton);
/*
 * Waits, or leads, until `sleepers` changes or reading ends. Returns 0 or deadline_error(). If the
 * deadline has passed already and the right is free, it still looks once. `lock`, which guards
 * `sleepers`, is held before and after the call, and no change in between is missed.
 */
int baton_wait(struct link *link, pthread_mutex_t *lock, struct sleepers *sleepers, beam_deadline deadline);
/* For the link's thread. baton_take() returns false if a thread leads, or if reading is over. */
bool baton_take(struct link *link);
void baton_leave(struct link *link);
void baton_tick(struct link *link);
/*
 * baton_depend(): from now on one more party must learn of input even if no thread waits, so input
 * must be read at once. baton_independ(): one fewer.
 */
void baton_depend(struct link *link);
void baton_independ(struct link *link);
/* Sets the kick for good: from now on the leading thread checks whether the link is closed. */
void baton_kick_for_good(struct link *link);
/*
 * Returns the kick, to be waited for. -1: there is none, and a waiting thread must look again after
 * KICKLESS_NS.
 */
int baton_kick(struct link *link);
/*
 * Makes sure that input is read even if no thread waits, from now on and not only from the next
 * tick.
 */
void baton_attend(struct link *link);
/* Ends the right. When it returns, no thread reads any more. */
void baton_close(struct link *link);

/* ---- sleepers.c */
void sleepers_init(struct sleepers *sleepers);
/* Called by the holder of the reading right: something arrived that `n` of the threads may take. */
void sleepers_wake(struct link *link, struct sleepers *sleepers, size_t n);
/* Wakes all threads, so that they look again. Any thread may call it. */
void sleepers_wake_all(struct link *link, struct sleepers *sleepers);

/* ---- read.c: by the right's holder. */
/* Reads what is there, up to a bound. Returns true if anything arrived, including the end. */
bool read_some(struct link *link);
/* The link has failed: reading is over and nothing more is sent. No lock is held. */
void read_fail(struct link *link, int error, const char *breach);
/*
 * The peer has said goodbye: reading is over, and no more messages are accepted. No lock is held.
 */
void read_goodbye(struct link *link);
/* Releases memory, because nothing has arrived for a while. */
void read_trim(struct link *link);

/* ---- poll.c: by the right's holder. */
/*
 * Tries to read, again and again for at most `busy_poll_us`, and lets other threads run in between.
 * The default is a little longer than it takes to wake a thread. Returns true if something arrived.
 */
bool poll_busily(struct link *link);

#endif
