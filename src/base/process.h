/* SPDX-License-Identifier: MIT */
/*
 * What rooms do when the process forks, and at its end: one registry, so that their
 * order is told in one place.
 */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include <stdbool.h>

/*
 * Bottom to top. Before a fork and at the end of the process those above come first: so nobody
 * takes a lock of a room above, and what is given away at the end is still taken by those below.
 * After a fork those below come first.
 */
enum process_rank {
	PROCESS_THREADS,
	PROCESS_REAPER,
	PROCESS_LINKS,
	PROCESS_CHANNELS,
	PROCESS_LISTENERS,
	PROCESS_RANKS
};

/* NULL: nothing. */
struct process_events {
	/* In the thread that forks. What one locks the other two unlock. */
	void (*fork_begins)(void), (*fork_ends_in_parent)(void), (*fork_ends_in_child)(void);
	/* exit(3). */
	void (*ends)(void);
};

/*
 * By a constructor of a later priority than the registry's, 101: then no fork can fall between
 * the first use of a room's lock and this. False: there was no memory for it, and nobody will
 * hear of forks. `events` stays.
 */
bool process_heed(enum process_rank rank, const struct process_events *events);

#endif
