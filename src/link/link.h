/* SPDX-License-Identifier: MIT */
/*
 * A link drives one connection. It runs a session over a transport, decides which thread reads and
 * which one writes, and has a thread of its own for when no other thread does. It knows no topics,
 * no calls and no queues. They belong to its owner, which receives the session's events directly.
 *
 * The state of a link is grouped by what uses it: the holder of the reading right, the threads that
 * write, the link's own thread. The locks are taken in this order: the lock of the reading right
 * (`reader.baton.lock`, which threads rarely take unless they wait), the owner's own locks, and the
 * writer's lock (`writer.lock`, which guards everything that is sent). No lock is held during a
 * read or write of the socket, a poll, the close of a descriptor that a peer chose, or a call of
 * user code.
 *
 * There are two rights, each held by one thread at a time: to read (`reader.baton`; rx belongs to
 * its holder) and to write (`writer.taken`). If output is pending, a thread that releases the
 * writing right passes it to a sender that waits for it, or wakes the link's thread, or, if the
 * socket is full, has that thread watch for room. Whenever output is pending, some thread is
 * responsible for writing it.
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

/* The events that a link reports to its owner. */
struct link_events {
	/*
	 * Reading has ended, or no more input is wanted. `end` is 0 after an orderly end, or an
	 * error. Only the first call counts. No lock is held.
	 */
	void (*reading_ended)(void *owner, int end);
	/*
	 * Whether a frame would be written at once may have changed. Called only if there are
	 * `writer.watchers`, with the writer's lock held.
	 */
	void (*writing_changed)(void *owner);
	/*
	 * The link is finished. No thread reads or writes any more, and the session can be taken
	 * apart. No lock is held.
	 */
	void (*finished)(void *owner);
	/*
	 * The link releases `n` references to the owner's memory: those of attachments, or the one
	 * that came with link_begin(). Releasing the latter is the last thing that a finished link
	 * does.
	 */
	void (*unref)(void *owner, unsigned n);
};

struct link {
	uint32_t process;
	/*
	 * Guarded by the lock of process.c. `held_to_end` means that process_take_all() has moved
	 * the link to another list.
	 */
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

/* The session of a link. Its events are called with the link's owner. */
struct link_session {
	struct limits own;
	size_t buffer_bytes;
	uint32_t features;
	const struct rx_events *rx_events;
	const struct tx_events *tx_events;
};

/*
 * The memory of a link is zero before link_init(). link_end() frees what the link has. The link
 * must be finished, or not begun.
 */
void link_init(struct link *link, const struct link_options *options, const struct link_events *events, void *owner);
void link_end(struct link *link);
/*
 * Begins to drive a socket. On success it returns 0, and the link owns the socket and one reference
 * to the owner's memory. On failure it returns -errno and owns neither.
 */
int link_begin(struct link *link, int fd, const struct link_session *session);
/*
 * Closes the link. No more messages are accepted, and no more input is wanted. GOODBYE becomes due,
 * and the link lingers for at most `linger_ms`, until both sides have said goodbye. Does not wait.
 * No lock is held.
 */
void link_close(struct link *link);
/*
 * Waits until GOODBYE has been sent. Returns 0, the reason why it will not be sent, -EIO if
 * messages were lost (write_tell_losses()), or deadline_error().
 */
int link_wait_closed(struct link *link, beam_deadline deadline);
/* Ends the link as the death of the process would. No lock is held. */
void link_abort(struct link *link);
/* Ends the linger time now. No lock is held. */
void link_hurry(struct link *link);

/* True in a process that was forked from the link's. */
static inline bool link_foreign(const struct link *link)
{
	return link->process != process_id();
}

/*
 * Called when everything that can be sent has been sent. If some of it was dropped, it returns
 * -EIO, but only once. Otherwise it returns 0.
 */
static inline int write_tell_losses(struct link *link)
{
	bool untold = link->writer.tx.losses.untold;

	link->writer.tx.losses.untold = false;
	return untold ? -EIO : 0;
}

/* GOODBYE has been sent. Nothing will be written any more. */
static inline bool write_over(const struct link *link)
{
	return link->writer.tx.goodbye_sent && !link->writer.tx.batch.active;
}

/*
 * The socket is full, something is left to be written, and no thread holds the writing right to
 * wait for room. So the link's thread or the loop must watch for room. When writing breaks, `full`
 * is cleared.
 */
static inline bool write_wants_room(const struct link *link)
{
	return link->writer.full && !link->writer.taken;
}

/* Called when it may have changed whether a frame would be written at once. */
static inline void write_tell_change(struct link *link)
{
	if (!list_empty(&link->writer.watchers))
		link->events->writing_changed(link->owner);
}

#endif
