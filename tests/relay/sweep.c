/* SPDX-License-Identifier: MIT */
#include <base/thread.h>
#include <relay/sweep.h>
#include <socket/reaper.h>

static void run_and_settle(void *argument)
{
	void (*const *scenario)(void) = argument;

	(*scenario)();
	check(reaper_drain(BEAM_FOREVER));
	/*
	 * Valgrind would report a thread that exists at the end of one run and not of another as
	 * lost memory.
	 */
	if (under_valgrind())
		check(thread_end_all(BEAM_FOREVER));
}

unsigned long sweep(void (*scenario)(void))
{
	struct fault_sweep plan = {
	    .scenario = run_and_settle,
	    .argument = &scenario,
	    /* The number of its calls varies. */
	    .only = FAULT_ALL & ~FAULT(SYS_EPOLL_WAIT),
	};

	return fault_sweep_with(&plan);
}

unsigned long at_least(unsigned long n)
{
	return under_valgrind() || under_sanitizer() ? (n + 1) / 2 : n;
}
