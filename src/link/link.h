/* SPDX-License-Identifier: MIT */
/*
 * One connection, driven: a session over a transport, with who reads, who writes, and a thread
 * for when nobody does. It knows no topic, no call and no queue: its owner does, to whom the
 * session's own events go directly.
 *
 * What a link keeps is grouped by whom it belongs to: the holder of the reading right, those who
 * write, the thread. Locks, in the order in which they are taken: the reading right's
 * (`reader.baton.lock`, cold but for waiting), then, after the owner's own, the writer's
 * (`writer.lock`: everything that is sent). None is held over a read or write of the socket, a
 * poll, a close of what a peer chose, or code of the user's.
 *
 * Two rights, each held by one thread at a time: to read (`reader.baton`; rx belongs to its holder)
 * and to write (`writer.taken`). Who gives the writing right back while something is pending passes
 * it on to a sender that waits for it, or wakes the link's thread, or, if the socket is full, has
 * that thread watch for room. So pending output never waits for nobody.
 */
#ifndef LINK_LINK_H
#define LINK_LINK_H

#include <base/clock.h>
#include <base/level.h>
#include <base/sys.h>
#include <base/thread.h>
#include <errno.h>
#include <link/attachments.h>
#include <link/reader.h>
#include <link/thread.h>
#include <link/transport.h>
#include <link/writer.h>

/* As in struct beam_channel_options. */
struct link_options {
	bool loop, dedicated_reader;
	uint32_t busy_poll_us, frame_timeout_ms, idle_timeout_ms, linger_ms;
};

/* What a link tells its owner. */
struct link_events {
	/*
	 * Reading has ended so, or is not wanted any more: 0 in order, or an error. The first
	 * one counts. No lock is held.
	 */
	void (*reading_ended)(void *owner, int end);
	/*
	 * Whether a frame would be written at once may have changed. Only if `writer.watchers` has
	 * any. The writer's lock is held.
	 */
	void (*writing_changed)(void *owner);
	/*
	 * It is over: nobody reads or writes any more, and the session may be
	 * taken apart. No lock is held.
	 */
	void (*finished)(void *owner);
	/*
	 * So many references to the owner's memory are given up: the one that came with
	 * link_begin(), the last that the link does if it is finished, and those of attachments.
	 */
	void (*unref)(void *owner, unsigned n);
};

struct link {
	uint32_t process;
	/* Under the lock of process.c: the end of the process has it in a list of its own. */
	bool held_to_end;
	struct list of_process;
	struct link_options options;
	const struct link_events *events;
	void *owner;
	struct transport transport;
	struct link_attachments attachments;
	struct link_writer writer;
	struct link_thread thread;
	struct link_reader reader;
};

/* The session of a link; its events have the link's owner. */
struct link_session {
	struct limits own;
	size_t buffer_bytes;
	uint32_t features;
	const struct rx_events *rx_events;
	const struct tx_events *tx_events;
};

/*
 * All of it is zero before. link_end() frees what it has; the link is finished, or has not begun.
 */
void link_init(struct link *link, const struct link_options *options, const struct link_events *events, void *owner);
void link_end(struct link *link);
/*
 * Drives a socket, which it owns from now on, with one reference to the owner's memory. 0, or
 * -errno: neither is its own.
 */
int link_begin(struct link *link, int fd, const struct link_session *session);
/*
 * Nothing more is accepted or wanted: goodbye is due, and it lingers for that. Does
 * not wait. No lock is held.
 */
void link_close(struct link *link);
/* Waits until it has been said: 0, why it will not be, or deadline_error(). */
int link_wait_closed(struct link *link, beam_deadline deadline);
/* Ends it as the death of the process would. No lock is held. */
void link_abort(struct link *link);
/* There is no time left to linger. No lock is held. */
void link_hurry(struct link *link);

/* True in a process that was forked from the link's. */
static inline bool link_foreign(const struct link *link)
{
	return link->process != process_id();
}

/* Everything has gone that can: -EIO if something of it was dropped, which is told once. */
static inline int write_tell_losses(struct link *link)
{
	bool untold = link->writer.tx.losses.untold;

	link->writer.tx.losses.untold = false;
	return untold ? -EIO : 0;
}

/* Goodbye has been said: nothing is ever written again. */
static inline bool write_over(const struct link *link)
{
	return link->writer.tx.goodbye_sent && !link->writer.tx.batch.active;
}

/*
 * The socket took no more, and something is left for whoever watches for room: no writer waits for
 * it himself. When writing breaks it is full no more.
 */
static inline bool write_wants_room(const struct link *link)
{
	return link->writer.full && !link->writer.taken;
}

/* Whether a frame would be written at once may have changed. */
static inline void write_tell_change(struct link *link)
{
	if (!list_empty(&link->writer.watchers))
		link->events->writing_changed(link->owner);
}

#endif
