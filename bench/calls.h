/* SPDX-License-Identifier: MIT */
/*
 * System calls, counted by the kernel's own tracepoint (perf_event_open(2) of
 * raw_syscalls:sys_enter). Unlike strace it hardly slows the processes down, so the number of calls
 * is that of an ordinary run. It needs root, and a kernel that has the tracepoint.
 */
#ifndef BENCH_CALLS_H
#define BENCH_CALLS_H

/* Returns NULL, or why system calls cannot be counted here. */
const char *calls_impossible(void);

/*
 * Count the system calls of this process, and of all that it starts, from calls_begin() to
 * calls_end().
 */
void calls_begin(void);
double calls_end(void);

#endif
