/* SPDX-License-Identifier: MIT */
/* W8: what idle connections cost. */
#ifndef BENCH_IDLE_H
#define BENCH_IDLE_H

#include "work.h"
#include <sys/types.h>

/*
 * Runs one side: a round trip, then nothing for some seconds. A counts what the threads of both
 * sides did meanwhile, except its own first thread, which does the counting. If a thread waits for
 * a message, it does so until the process ends.
 */
void idle_load(const struct work *work, const struct peer *peer, enum side side, pid_t other, unsigned seconds,
	       struct outcome *ret);

/* Runs two processes with many Beam channels between them. Ends this process. */
__attribute__((noreturn)) void memory_run(const struct work *work, struct outcome *ret);

#endif
