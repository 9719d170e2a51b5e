/* SPDX-License-Identifier: MIT */
/*
 * A run of a workload: two new processes, placed on cores, and the processes that keep these cores
 * busy.
 */
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include "work.h"

extern const char *const place_names[PLACES];

/* Returns NULL, or why the peer cannot do this work in this place. */
const char *run_impossible(const struct work *work, const struct peer *peer, enum place place);

/*
 * Makes a run of `count` messages or round trips, or, for KIND_IDLE, of `count` seconds. Dies if
 * anything goes wrong in any of the processes.
 */
struct outcome run(const struct work *work, const struct peer *peer, enum place place, uint64_t count, bool calls);

#endif
