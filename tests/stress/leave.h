/* SPDX-License-Identifier: MIT */
/*
 * The end of a spawned process. process_exit() skips exit handlers; here a process ends as programs
 * do, so that the library ends its threads and a sanitizer can look for what was left behind.
 * Valgrind would take the parent's memory for such.
 */
#ifndef STRESS_LEAVE_H
#define STRESS_LEAVE_H

#include <harness/harness.h>

__attribute__((noreturn)) static inline void leave_process(void)
{
	if (under_valgrind())
		process_exit(0);
	fflush(stdout);
	exit(harness_failures() ? 1 : 0);
}

#endif
