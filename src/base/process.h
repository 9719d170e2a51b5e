/* SPDX-License-Identifier: MIT */
/*
 * What the rooms (docs/architecture.md) do when the process forks and when it ends. There is one
 * registry, so that their order is defined in one place.
 */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include <stdbool.h>

/*
 * The order is from bottom to top. Before a fork and at the end of the process the upper rooms come
 * first. So locks are taken from top to bottom, and a lower room still accepts what the upper rooms
 * hand to it at the end. After a fork the lower rooms come first.
 */
enum process_rank {
	PROCESS_THREADS,
	PROCESS_REAPER,
	PROCESS_LINKS,
	PROCESS_CHANNELS,
	PROCESS_LISTENERS,
	PROCESS_RANKS
};

/* Functions may be NULL. */
struct process_events {
	/* Called in the thread that forks. What the first one locks, the other two unlock. */
	void (*fork_begins)(void), (*fork_ends_in_parent)(void), (*fork_ends_in_child)(void);
	/* Called by exit(3). */
	void (*ends)(void);
};

/*
 * Registers the events of a room. Must be called by a constructor with a priority above 101, which
 * is the registry's. So there can be no fork between the first use of a room's lock and this call.
 * Returns false if there was no memory for the fork handlers: then no room learns of forks.
 * `events` must remain valid.
 */
bool process_heed(enum process_rank rank, const struct process_events *events);

#endif
