/* SPDX-License-Identifier: MIT */
/*
 * Ends a spawned process. process_exit() skips exit handlers. This function exits as programs do,
 * so that the library ends its threads, and a sanitizer can look for leaks. Under Valgrind it skips
 * the handlers, because Valgrind would report the parent's memory as leaked.
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
