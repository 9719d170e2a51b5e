/* SPDX-License-Identifier: MIT */
/* The workloads, and a run of one of them: two fresh processes, placed on cores, that count what arrives. */
#ifndef BENCH_WORK_H
#define BENCH_WORK_H

#include "peer.h"

/* Where the two processes run. */
enum place { PLACE_SAME, PLACE_SPLIT, PLACE_FREE, PLACES };

extern const char *const place_names[PLACES];

struct work {
	const char *name;  /* for the command line */
	const char *title; /* for people */
	bool round_trip;   /* else one way */
	size_t size;
	bool fd;          /* a descriptor with each message */
	unsigned threads; /* that send */
	unsigned lanes;
};

extern const struct work works[];
extern const size_t n_works;

struct outcome {
	double seconds;
	double p50, p99; /* of a round trip, in µs */
};

/* False if the peer cannot do this work, or the machine has too few cores. */
bool work_possible(const struct work *work, const struct peer *peer, enum place place);

/* Sends `count` messages, or makes so many round trips; dies if not all arrive. */
struct outcome work_run(const struct work *work, const struct peer *peer, enum place place, uint64_t count);

#endif
