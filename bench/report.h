/* SPDX-License-Identifier: MIT */
/*
 * What the rounds gave. A figure is a rate (messages a second; more is better) or a time (µs; less is better). Absolute
 * figures drift from run to run; the ratios to the raw program are taken within a round, and only they are held against
 * the goals.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "work.h"
#include <stdio.h>

enum { ROUNDS_MAX = 64 };

enum figure { FIGURE_RATE, FIGURE_P50, FIGURE_P99 };

/* One figure of one peer at one work and place, in all rounds. */
struct series {
	const struct work *work;
	const struct peer *peer;
	enum place place;
	enum figure figure;
	unsigned rounds;
	double values[ROUNDS_MAX];
	double ratios[ROUNDS_MAX]; /* to raw's, round by round; all 0 for raw itself, or without it */
};

void report_heading(FILE *out);

/* A line of the table. False if a goal was missed. */
bool report_line(FILE *out, const struct series *series);

/* The same as an object of a JSON array. */
void report_json(FILE *out, const struct series *series, bool first);

#endif
