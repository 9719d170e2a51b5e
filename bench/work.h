/* SPDX-License-Identifier: MIT */
/*
 * The workloads, and what one side does in each (load.c); run.c runs both sides, placed on cores.
 */
#ifndef BENCH_WORK_H
#define BENCH_WORK_H

#include "peer.h"

/* Where the two processes run. */
enum place { PLACE_SAME, PLACE_SPLIT, PLACE_FREE, PLACES };

enum kind { KIND_ONE_WAY, KIND_ROUND_TRIP, KIND_IDLE, KIND_MEMORY };

/* Which peers take part. */
enum field { FIELD_ALL, FIELD_RAW_AND_BEAM, FIELD_BEAM };

struct work {
	const char *name;  /* for the command line */
	const char *title; /* for people */
	/*
	 * The works of a group follow each other in the table, and their rounds are interleaved.
	 * They are compared with the first one of the group.
	 */
	const char *group;
	enum kind kind;
	enum field field;
	size_t size;
	bool fd;          /* a descriptor with each message */
	unsigned threads; /* that send */
	unsigned lanes;
	bool rotate;  /* one thread uses all lanes in turn */
	bool busy;    /* a process computes on each core */
	bool blocked; /* idle: a thread waits for a message */
	bool calls;   /* the system calls are counted, too */
	enum beside beside;
};

extern const struct work works[];
extern const size_t n_works;

enum { PERCENTILES = 12 };
extern const double percentiles[PERCENTILES];
enum { PERCENTILE_50 = 4, PERCENTILE_99 = 8 }; /* their places in the array */

struct outcome {
	double seconds;
	double latency[PERCENTILES]; /* of a round trip, in µs */
	double calls;                /* system calls of both processes, from fork to end; only if asked for */
	double wakeups, cpu;         /* idle: of both processes' threads; cpu is in µs */
	double channel, stack;       /* memory: resident bytes of a channel, and of its thread's stack */
};

/* Runs one side. Dies if not everything arrives. */
void load_run(const struct work *work, const struct peer *peer, enum side side, uint64_t count, struct outcome *ret);

/* How many messages are sent in one direction for a count, including those that warm up. */
uint64_t load_messages(const struct work *work, uint64_t count);

#endif
