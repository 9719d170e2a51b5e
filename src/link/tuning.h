/* SPDX-License-Identifier: MIT */
/*
 * What can be tuned: times, counts and sizes. None of it affects whether a link is correct, only
 * how fast it is, and what it costs when idle. Numbers of the protocol, and bounds that callers are
 * promised, are not here.
 */
#ifndef LINK_TUNING_H
#define LINK_TUNING_H

enum {
	/* ---- Reading: baton.c, poll.c, read.c. */
	/* How often the link's thread checks whether other threads still read. */
	TICK_NS = 10 * 1000 * 1000,
	/* The same while threads wait and the right is left free for an expected thread. */
	SHORT_TICK_NS = 2 * 1000 * 1000,
	/* A thread that waits again within this time has returned soon. */
	SOON_NS = 50 * 1000,
	/* After this many soon returns in a row a thread is expected. */
	RETURNS = 8,
	/*
	 * Each time an expected thread does not come, twice as many returns are needed, up to this
	 * number.
	 */
	RETURNS_MOST = 1 << 16,
	/* After this many more returns in a row, only half as many are needed. */
	RETURNS_PROVEN = 4096,
	/* After this many take-overs within a tick, the thread ticks instead of watching. */
	OFTEN = 3,
	/* A yield that takes longer has let another thread work, so polling does not pay. */
	YIELD_MOST_NS = 100 * 1000,
	/* After this many failures in a row, polling is given up except for trials. */
	POLL_FAILS = 3,
	/* Trials become rarer, down to one in this many waits. */
	POLL_RAREST = 1024,
	/*
	 * After a wait that found no input at once, this many waits yield before they read for the
	 * first time.
	 */
	POLL_PATIENT = 16,
	/*
	 * Each time polling has paid this often, the number of waits that are skipped after the
	 * next long yield is halved.
	 */
	POLL_WORTH = 256,
	/* How many bytes are read before other work is done. */
	READ_MOST = 256 << 10,

	/* ---- Writing: burst.h, burst.c, write.c. */
	/* This many sends in close succession make a burst. */
	BURST_SENDS = 16,
	/* Sends with less time between them are in close succession. */
	BURST_GAP_NS = 1000,
	/* A burst ends when nothing has come for this long. */
	BURST_OVER_NS = 50 * 1000,
	/* A write that failed for a temporary reason is tried again after this time. */
	RETRY_FIRST_NS = 1000 * 1000,
	/* The time becomes longer with each further try, up to this. */
	RETRY_LAST_NS = 50 * 1000 * 1000,

	/* ---- Waiting and idling: all of them. */
	/* After this long without traffic a link releases memory that it keeps for reuse. */
	IDLE_NS = 20 * 1000 * 1000,
	/* Without a kick, a waiting thread looks again after this time. */
	KICKLESS_NS = 10 * 1000 * 1000,
	/*
	 * In loop mode, a thread that waits for another thread's turn, or that cannot be woken,
	 * looks again after this time.
	 */
	HELP_NS = 10 * 1000 * 1000,
	/* If less can be lent than a peer wants, lending is tried again after this time. */
	LEND_FIRST_NS = 1000 * 1000,
	/* The time becomes longer with each further try, up to this. */
	LEND_LAST_NS = 1000 * 1000 * 1000,
};

#endif
