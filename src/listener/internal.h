/* SPDX-License-Identifier: MIT */
/*
 * The internals of a listener: a socket in its place, the threads that accept, and the accepted
 * channels, counted by user.
 *
 * There is one lock. It is not held over anything that blocks, nor while the user's code runs.
 * `users` is the number of threads that use the socket at the moment. A close waits until there are
 * none. `kick` is set at close, and never cleared. Memory is counted separately from handles: each
 * accepted channel holds a reference to it, because the channel is counted there.
 */
#ifndef LISTENER_INTERNAL_H
#define LISTENER_INTERNAL_H

#include <base/clock.h>
#include <base/list.h>
#include <base/sys.h>
#include <base/thread.h>
#include <beam/listener.h>
#include <errno.h>
#include <listener/place.h>

/* How long a close waits for the socket to be closed. */
enum { CLOSE_MS = 100 };

struct beam_listener {
	uint32_t process;
	struct list of_process;
	/* options.channel is &channel. */
	struct beam_listener_options options;
	struct beam_channel_options channel;
	struct place place;
	int kick;

	pthread_mutex_t lock;
	pthread_cond_t left;
	unsigned handles;
	uint64_t memory;
	unsigned users;
	bool closed;
	/*
	 * The socket; the descriptor for event loops; the reserve, which is closed when no other
	 * descriptor is free. -1: there is none.
	 */
	int fd, epoll, reserve;
	struct list uids;
	struct beam_listener_counters statistics;
};

/* The channels of one user. It exists as long as there are some. */
struct uid_count {
	struct list link;
	struct beam_listener *listener;
	uid_t uid;
	uint32_t connections;
};

/* True in a forked child of the process that made the listener. */
static inline bool listener_foreign(const struct beam_listener *listener)
{
	return listener->process != process_id();
}

/* ---- listener.c */
void listener_memory_unref(struct beam_listener *listener);
/*
 * Closes the listener, whose memory the caller holds. Waits for the socket to be closed until the
 * deadline, which is usually CLOSE_MS from now. That can take long if a peer has put something into
 * the socket whose close blocks.
 */
void listener_close(struct beam_listener *listener, beam_deadline deadline);

/* ---- process.c: the listeners of this process, for fork and exit. */
void listener_process_add(struct beam_listener *listener);
void listener_process_remove(struct beam_listener *listener);

#endif
