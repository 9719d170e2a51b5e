/* SPDX-License-Identifier: MIT */
/*
 * System calls, counted by the kernel's own tracepoint (perf_event_open(2) of
 * raw_syscalls:sys_enter): unlike strace it costs nearly nothing, so that what depends on time is
 * as it is without. It takes root, and a kernel that has it.
 */
#ifndef BENCH_CALLS_H
#define BENCH_CALLS_H

/* NULL, or why they cannot be counted here. */
const char *calls_impossible(void);

/* From here on, of this process and of all that it starts; until the end. */
void calls_begin(void);
double calls_end(void);

#endif
