/* SPDX-License-Identifier: MIT */
/*
 * What is tuned: how long, how often, how much. None of it decides whether a link is right, only
 * how quick it is, and what it costs when nothing goes on. Figures of the protocol and bounds that
 * callers are promised are not here.
 */
#ifndef LINK_TUNING_H
#define LINK_TUNING_H

enum {
	/* ---- Reading: baton.c, poll.c, read.c. */
	/* How often the link's thread looks whether others go on reading. */
	TICK_NS = 10 * 1000 * 1000,
	/* The same while others wait and the right lies free for somebody who is expected back. */
	SHORT_TICK_NS = 2 * 1000 * 1000,
	/* Who comes back within so long may be expected the next time. */
	SOON_NS = 50 * 1000,
	/* Whoever has come back so many times running is expected. */
	RETURNS = 8,
	/* Each time that somebody expected did not come it takes more returns, up to so many. */
	RETURNS_MOST = 1 << 16,
	/* So many more returns running, and only half as many are asked for. */
	RETURNS_PROVEN = 4096,
	/* So many take-overs within a tick, and the thread ticks instead of watching. */
	OFTEN = 3,
	/* A yield that takes longer has let somebody else work: polling does not pay. */
	YIELD_MOST_NS = 100 * 1000,
	/* Polling that failed so many times running is given up but for trials. */
	POLL_FAILS = 3,
	/* Trials grow rarer up to one in so many. */
	POLL_RAREST = 1024,
	/*
	 * So often running nothing is expected to be there at once, before that is looked at again.
	 */
	POLL_PATIENT = 16,
	/*
	 * After so many times that polling was worth it, the next yield that takes
	 * long counts half as much.
	 */
	POLL_WORTH = 256,
	/* Bytes that are read before others have their turn. */
	READ_MOST = 256 << 10,

	/* ---- Writing: burst.h, burst.c, write.c. */
	/* So many sends running make a burst. */
	BURST_SENDS = 16,
	/* Sends with less time between them are running. */
	BURST_GAP_NS = 1000,
	/* A burst is over when nothing has come for so long. */
	BURST_OVER_NS = 50 * 1000,
	/* When a write failed for a reason that passes it is tried again after so long, */
	RETRY_FIRST_NS = 1000 * 1000,
	/* and then after ever longer, up to this. */
	RETRY_LAST_NS = 50 * 1000 * 1000,

	/* ---- Waiting and idling: all of them. */
	/* After so long without traffic a link gives up memory that it keeps for use again. */
	IDLE_NS = 20 * 1000 * 1000,
	/* Without a descriptor to be kicked by, whoever waits looks again after so long. */
	KICKLESS_NS = 10 * 1000 * 1000,
	/*
	 * In loop mode, who waits for somebody else's turn, or cannot be woken,
	 * looks again after so long.
	 */
	HELP_NS = 10 * 1000 * 1000,
	/* When less can be lent than a peer wants it is tried again after so long, */
	LEND_FIRST_NS = 1000 * 1000,
	/* and then after ever longer, up to this. */
	LEND_LAST_NS = 1000 * 1000 * 1000,
};

#endif
