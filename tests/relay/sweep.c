/* SPDX-License-Identifier: MIT */
#include <base/thread.h>
#include <relay/sweep.h>
#include <socket/reaper.h>

enum { STEP_CHECKED = 23, STEP_SANITIZED = 3 };

static void run_and_settle(void *argument)
{
	void (*const *scenario)(void) = argument;

	(*scenario)();
	check(reaper_drain(BEAM_FOREVER));
	/* To Valgrind a thread that is there at the end of one run and not of another looks like lost memory. */
	if (under_valgrind())
		check(thread_end_all(BEAM_FOREVER));
}

/* Every fault is injected without a checker; with one, which takes its time for each, some. */
static unsigned long step(void)
{
	return under_valgrind() ? STEP_CHECKED : under_sanitizer() ? STEP_SANITIZED : 1;
}

unsigned long sweep(void (*scenario)(void))
{
	struct fault_sweep plan = {
	    .scenario = run_and_settle,
	    .argument = &scenario,
	    /* How often it returns is another number each time. */
	    .only = FAULT_ALL & ~FAULT(SYS_EPOLL_WAIT),
	    .step = step(),
	};

	return fault_sweep_with(&plan);
}

unsigned long at_least(unsigned long n)
{
	return n > step() ? n - (step() - 1) : 1;
}
