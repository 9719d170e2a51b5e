/* SPDX-License-Identifier: MIT */
/* How the scenarios of this folder are run with faults. */
#ifndef RELAY_SWEEP_H
#define RELAY_SWEEP_H

#include <beam/beam.h>
#include <harness/fault.h>
#include <harness/harness.h>

/*
 * Fails every call of a scenario in turn, once and from then on. Returns how many calls there were.
 */
unsigned long sweep(void (*scenario)(void));

/*
 * What a useful sweep returns at least: `n`, or half of it with a checker, where messages are
 * smaller.
 */
unsigned long at_least(unsigned long n);

/* A deadline so short that a sweep can afford it. */
static inline beam_deadline shortly(void)
{
	return beam_in_ms(stretch(5));
}

/* Options with which no channel lingers. */
static inline struct beam_channel_options options_of_sweeps(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.linger_ms = 5;
	return options;
}

#endif
