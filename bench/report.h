/* SPDX-License-Identifier: MIT */
/*
 * The results of the rounds, as lines for people and as JSON for report.py. Absolute figures drift
 * from run to run. So a ratio is taken within a round, and the goals of speed are ratios.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "run.h"
#include <stdio.h>

enum { ROUNDS_MAX = 64 };

enum figure {
	FIGURE_RATE, /* messages a second: more is better; for all other figures, less is */
	FIGURE_P50,  /* µs */
	FIGURE_P99,
	FIGURE_CALLS, /* system calls a message, or a round trip */
	FIGURE_WAKEUPS,
	FIGURE_CPU,     /* µs */
	FIGURE_CHANNEL, /* bytes */
	FIGURE_STACK,
};

/* One figure of one peer at one work and place, in all rounds. */
struct series {
	const struct work *work;
	const struct peer *peer;
	enum place place;
	enum figure figure;
	unsigned rounds;
	double values[ROUNDS_MAX];
	/*
	 * What the figure is divided by, round by round: the same figure of raw, or of the first
	 * work of the group. NULL if this is already raw, or the first work.
	 */
	const struct series *against;
};

void report_heading(FILE *out);
void report_line(FILE *out, const struct series *series);

/*
 * Shows the progress on stderr: in a line that is rewritten on a terminal, otherwise in one line
 * for each group of works and place.
 */
void report_progress(unsigned done, unsigned all, const struct work *work, enum place place, const char *what);
void report_progress_end(void);

/* Collect the results, and write them. */
void results_begin(unsigned rounds, double seconds);
void results_note(const char *name, const char *text); /* what could not be measured, and why */
void results_cannot(const struct work *work, const struct peer *peer, const char *why);
void results_add(const struct series *series);
void results_add_latency(const struct work *work, const struct peer *peer, enum place place,
			 const double latency[PERCENTILES]); /* medians of the rounds */
void results_write(const char *path);

#endif
