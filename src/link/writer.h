/* SPDX-License-Identifier: MIT */
/*
 * The writing right of a link: which thread writes to the socket, and which one does so next. One
 * lock guards all of it, and tx. It is released for the write itself.
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
	/* A thread holds the right; the threads that wait for it or for room. */
	bool taken;
	struct list waiting;
	/*
	 * The socket is full. Unless a thread holds the right, the link's thread watches for room.
	 */
	bool full;
	/*
	 * A list of the owner's. While it is not empty, writing_changed() is called when it may
	 * have changed whether a frame would be written at once.
	 */
	struct list watchers;
	/*
	 * How many sends have followed each other closely, and when the last one ended. Many of
	 * them make a burst: then senders leave the writing to the link's thread, which does not
	 * sleep until the burst is over.
	 */
	unsigned in_a_row;
	int64_t sent_at;
	bool burst;
	/*
	 * `send_error`: why no more messages are accepted. `broken`: why nothing can be written any
	 * more. Both are 0 if there is no reason.
	 */
	int send_error, broken;
	/* The connection broke, and messages that had been accepted were lost. */
	bool truncated;
	/*
	 * Descriptors that callers gave away, or those of messages that are sent on, were put into
	 * the buffer. So when the link closes a descriptor, that may be the last close of the file.
	 */
	bool was_given;
	/*
	 * When the thread is to try again what failed because there was no memory, or because too
	 * many descriptors were in flight; and the current delay.
	 */
	beam_deadline retry_at;
	int64_t retry_after;
	beam_deadline linger_until;
	bool finished;
};

/* ---- write.c. The lock is held by the caller. */
/*
 * Makes and writes one batch. The caller holds the right. With WRITTEN_REFUSED a descriptor of
 * `own` was refused, or its payload cannot be read, and `ret_error` is set.
 */
enum written write_batch(struct link *link, struct tx_own *own, int *ret_error);
/* Releases the right, or passes it on. If the link is broken, what is pending is dropped first. */
void write_release(struct link *link);
/*
 * Waits for the right. Returns 1 if the caller holds it now, 0 if there is room or the state has
 * changed, or deadline_error().
 */
int write_wait(struct link *link, bool for_room, beam_deadline deadline);
/*
 * Waits until the socket has room, for KICKLESS_NS at most. The caller holds the right. Returns
 * what socket_wait() returns, and also 0 when the caller should check whether the owner's state has
 * changed.
 */
int write_poll(struct link *link, int kick, beam_deadline deadline);
/* Writes what is pending if no other thread writes. Does not wait. */
void write_pending(struct link *link);
/*
 * Writes until done() returns true, and returns 0. Returns the connection's error if it breaks, or
 * deadline_error().
 */
int write_until(struct link *link, bool (*done)(struct link *, const void *), const void *argument,
		beam_deadline deadline);
/*
 * Writes until everything that was accepted before the call has been sent. Returns what
 * write_until() returns, or -EIO if messages were lost (write_tell_losses()).
 */
int write_flush(struct link *link, beam_deadline deadline);
/*
 * Nothing can be sent any more, because of `error`. All waiting threads are woken, and accepted
 * messages that were not sent are counted as lost.
 */
void write_break(struct link *link, int error);
/*
 * Wakes the threads that wait for the right, or for room in the buffer, so that they look again.
 * Used when nothing more is to be sent on an outlet.
 */
void write_wake_waiting(struct link *link);
/* Wakes the threads that wait for room in the buffer. */
void write_wake_for_room(struct link *link);
/* Wakes all threads that wait to send. */
void write_wake_all(struct link *link);
/*
 * Something failed, or waits, for a temporary reason, and no event will tell when that has passed.
 * So the link's thread tries again after a while.
 */
void write_retry(struct link *link);
/* If it is time, what failed for a temporary reason is tried again. */
void write_try_again(struct link *link);
/* Wakes the link's thread, if it is not awake. */
void write_nudge(struct link *link);

#endif
