/* SPDX-License-Identifier: MIT */
/* How the scenarios of this room are put through faults. */
#ifndef RELAY_SWEEP_H
#define RELAY_SWEEP_H

#include <beam/beam.h>
#include <harness/fault.h>
#include <harness/harness.h>

/* Every call of a scenario fails in turn, once and from then on. How many there were. */
unsigned long sweep(void (*scenario)(void));

/*
 * What a sweep that is worth its name returns: `n`, but half of it with a checker,
 * where messages are smaller.
 */
unsigned long at_least(unsigned long n);

/* So short that a sweep can afford it. */
static inline beam_deadline shortly(void)
{
	return beam_in_ms(stretch(5));
}

/* Options with which nothing lingers. */
static inline struct beam_channel_options options_of_sweeps(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.linger_ms = 5;
	return options;
}

#endif
