/* SPDX-License-Identifier: MIT */
/* What happens beside the work that is measured, on the same Beam channel. */
#ifndef BENCH_BESIDE_H
#define BENCH_BESIDE_H

#include "peer.h"
#include <beam/beam.h>

enum { LARGE_SIZE = 100 << 20 };

/* Starts it, and returns when it has begun. */
void beside_begin(beam_channel *channel, enum side side, enum beside beside);

/* Ends what can be ended while the channel is open. */
void beside_end(enum side side);

/* Called after the channel was closed. Ends the rest. */
void beside_join(void);

#endif
