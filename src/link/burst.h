/* SPDX-License-Identifier: MIT */
/*
 * Bursts. The cost of a system call for each message would limit the rate of small messages. So
 * when sends have followed each other closely for a while, senders only append to the buffer, and
 * the link's thread writes what accumulates. All functions except burst_follow() are called with
 * the writer's lock held.
 */
#ifndef LINK_BURST_H
#define LINK_BURST_H

#include <link/link.h>
#include <link/tuning.h>

/*
 * Called by a sender when no other thread writes. Returns true if sends have followed each other so
 * closely that the sender leaves the writing to the link's thread.
 */
static inline bool burst_enter(struct link *link)
{
	struct link_writer *writer = &link->writer;

	/* In loop mode there is no thread that would write the buffer. */
	if (link->options.loop)
		return false;
	writer->in_a_row = clock_now() - writer->sent_at < BURST_GAP_NS ? writer->in_a_row + 1 : 0;
	if (writer->in_a_row < BURST_SENDS)
		return false;
	writer->burst = true;
	return true;
}

/* A sender has written its message itself. */
static inline void burst_note_sent(struct link *link)
{
	link->writer.sent_at = clock_now();
}

/*
 * Called by the link's thread. If nothing is left to be written in a burst, it lets the senders
 * run, and ends the burst when nothing has come for a while.
 */
void burst_follow(struct link *link);

#endif
