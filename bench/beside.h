/* SPDX-License-Identifier: MIT */
/* What goes on beside the work that is measured, on the same channel of Beam's. */
#ifndef BENCH_BESIDE_H
#define BENCH_BESIDE_H

#include "peer.h"
#include <beam/beam.h>

enum { LARGE_SIZE = 100 << 20 };

/* When it is going on. */
void beside_begin(beam_channel *channel, enum side side, enum beside beside);

/* What can end before the channel does. */
void beside_end(enum side side);

/* After the channel was closed: what only that ends. */
void beside_join(void);

#endif
