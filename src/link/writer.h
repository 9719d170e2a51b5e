/* SPDX-License-Identifier: MIT */
/*
 * The writing right of a link: who writes to its socket, and who does so next. All of it, and tx,
 * lies under one lock, which is given up only around the writing itself.
 */
#ifndef LINK_WRITER_H
#define LINK_WRITER_H

#include <base/list.h>
#include <beam/deadline.h>
#include <pthread.h>
#include <session/tx.h>
#include <stdbool.h>
#include <stdint.h>

struct link;

struct link_writer {
	pthread_mutex_t lock;
	struct tx tx;
	/* The right is taken; those who wait for it or for room. */
	bool taken;
	struct list waiting;
	/* The kernel took no more: the link's thread watches for room. */
	bool full;
	/*
	 * Whoever wants to hear whether a frame would be written at once: the owner's, which is
	 * told while there are any.
	 */
	struct list watchers;
	/*
	 * Sends that followed each other closely, and when the last one was done. Many make
	 * a burst: then senders leave the writing to the link's thread, which does not
	 * sleep until the burst is over.
	 */
	unsigned in_a_row;
	int64_t sent_at;
	bool burst;
	/* Why nothing is accepted any more; why nothing can be written any more. 0: it can. */
	int send_error, broken;
	/* The connection broke with messages on their way that had been accepted. */
	bool truncated;
	/* Callers have given descriptors that stood in the buffer: their last close may be ours. */
	bool was_given;
	/*
	 * When the thread is to try again what failed for want of memory or descriptors in
	 * flight; how long it waits then.
	 */
	beam_deadline retry_at;
	int64_t retry_after;
	beam_deadline linger_until;
	bool finished;
};

/* ---- write.c. The lock is held by the caller. */
/*
 * The right is the caller's: makes and writes one batch. `ret_error` is set with WRITTEN_REFUSED:
 * the descriptor of `own` is to blame.
 */
enum written write_batch(struct link *link, struct tx_own *own, int *ret_error);
/* Gives the right back, or on; on a broken link, after dropping what is pending. */
void write_release(struct link *link);
/* Waits for the right: 1, or 0 when there is room or the state has changed, or deadline_error(). */
int write_wait(struct link *link, bool for_room, beam_deadline deadline);
/*
 * Waits for the socket to have room, with the right, for KICKLESS_NS at most: as socket_wait(), and
 * 0 when it is time to look whether the owner's state has changed meanwhile.
 */
int write_poll(struct link *link, int kick, beam_deadline deadline);
/* Writes what is pending if nobody else does, without waiting. */
void write_pending(struct link *link);
/* Writes until `done`, or the connection breaks (then its error), or the deadline. */
int write_until(struct link *link, bool (*done)(struct link *, const void *), const void *argument,
		beam_deadline deadline);
/* Writes until everything that has been accepted so far has gone, as write_until(). */
int write_flush(struct link *link, beam_deadline deadline);
/*
 * Nothing can be sent any more: everybody who waits is woken, what was accepted is counted as lost.
 */
void write_break(struct link *link, int error);
/*
 * Nothing more is to go by an outlet: who waits for the right, or for room in the buffer, looks
 * again.
 */
void write_wake_waiting(struct link *link);
/* Wakes those who wait for room in the buffer. */
void write_wake_for_room(struct link *link);
/* Wakes everybody who waits to send. */
void write_wake_all(struct link *link);
/*
 * Something failed, or waits, for a reason that passes without an event: the link's thread
 * tries again after a while.
 */
void write_retry(struct link *link);
/* What failed for a while is tried again, if it is time. */
void write_try_again(struct link *link);
/* Wakes the link's thread, if it is not awake. */
void write_nudge(struct link *link);

#endif
