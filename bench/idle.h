/* SPDX-License-Identifier: MIT */
/* W8: what connections cost that nothing happens on. */
#ifndef BENCH_IDLE_H
#define BENCH_IDLE_H

#include "work.h"
#include <sys/types.h>

/*
 * A side: a round trip, then nothing for some seconds. A counts what the threads of both did
 * meanwhile but its own first one, which counts. Where a thread waits for a message it does
 * so until the process ends.
 */
void idle_load(const struct work *work, const struct peer *peer, enum side side, pid_t other, unsigned seconds,
	       struct outcome *ret);

/* Two processes with many channels of Beam's between them; ends this process. */
__attribute__((noreturn)) void memory_run(const struct work *work, struct outcome *ret);

#endif
