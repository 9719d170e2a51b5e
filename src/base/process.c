/* SPDX-License-Identifier: MIT */
#include <base/process.h>
#include <base/sys.h>

static const struct process_events *heeded[PROCESS_RANKS];
static bool heeds_forks;

static void do_if_any(void (*event)(void))
{
	if (event)
		event();
}

static void before_fork(void)
{
	for (int rank = PROCESS_RANKS - 1; rank >= 0; rank--)
		if (heeded[rank])
			do_if_any(heeded[rank]->fork_begins);
}

static void after_fork_in_parent(void)
{
	for (int rank = 0; rank < PROCESS_RANKS; rank++)
		if (heeded[rank])
			do_if_any(heeded[rank]->fork_ends_in_parent);
}

static void after_fork_in_child(void)
{
	for (int rank = 0; rank < PROCESS_RANKS; rank++)
		if (heeded[rank])
			do_if_any(heeded[rank]->fork_ends_in_child);
}

static void at_end(void)
{
	for (int rank = PROCESS_RANKS - 1; rank >= 0; rank--)
		if (heeded[rank])
			do_if_any(heeded[rank]->ends);
}

bool process_heed(enum process_rank rank, const struct process_events *events)
{
	heeded[rank] = events;
	return heeds_forks;
}

/*
 * The first constructor of the library. If there is no memory to register at_end(), the process
 * ends without waiting for the library's threads.
 */
__attribute__((constructor(101))) static void registry_begin(void)
{
	sys_atexit(at_end);
	heeds_forks = sys_pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0;
}
