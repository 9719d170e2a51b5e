/* SPDX-License-Identifier: MIT */
/*
 * The listener from the inside: a socket in its place, those who accept, and those whom they
 * accepted, counted by user.
 *
 * One lock, held over nothing that waits and no code of the user's. `users` are the threads that
 * use the socket now: it is closed when there are none. The kick is set for good at close. Memory
 * is counted apart from handles: each channel that was accepted keeps it, for its count.
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
	 * The socket; the descriptor for event loops; one that is given up when no other
	 * is free. -1: there is none.
	 */
	int fd, epoll, reserve;
	struct list uids;
	struct beam_listener_counters statistics;
};

/* The channels of one user: as long as there are some. */
struct uid_count {
	struct list link;
	struct beam_listener *listener;
	uid_t uid;
	uint32_t connections;
};

/* True in a process that was forked from the listener's. */
static inline bool listener_foreign(const struct beam_listener *listener)
{
	return listener->process != process_id();
}

/* ---- listener.c */
void listener_memory_unref(struct beam_listener *listener);
/*
 * May be called by anyone who keeps the memory. Until the deadline, mostly CLOSE_MS from now, it
 * waits for the socket to be closed, in which a peer can have put what makes that last.
 */
void listener_close(struct beam_listener *listener, beam_deadline deadline);

/* ---- process.c: the listeners of this process, for fork and exit. */
void listener_process_add(struct beam_listener *listener);
void listener_process_remove(struct beam_listener *listener);

#endif
