/* SPDX-License-Identifier: MIT */
/*
 * Bursts. A system call for each message would cap small messages at its price, so senders that
 * have followed each other closely for a while only append to the buffer, and the link's thread
 * writes what piles up. The writer's lock is held but for burst_follow().
 */
#ifndef LINK_BURST_H
#define LINK_BURST_H

#include <link/link.h>
#include <link/tuning.h>

/*
 * A sender with nobody else writing: true if senders have been quick for so long that it leaves the
 * writing to the link's thread.
 */
static inline bool burst_enter(struct link *link)
{
	struct link_writer *writer = &link->writer;

	/* A loop is not there to write them. */
	if (link->options.loop)
		return false;
	writer->in_a_row = clock_now() - writer->sent_at < BURST_GAP_NS ? writer->in_a_row + 1 : 0;
	if (writer->in_a_row < BURST_SENDS)
		return false;
	writer->burst = true;
	return true;
}

/* A sender has written itself. */
static inline void burst_note_sent(struct link *link)
{
	link->writer.sent_at = clock_now();
}

/*
 * By the link's thread, which looks for more until nothing has come for a while; it lets
 * the senders run meanwhile.
 */
void burst_follow(struct link *link);

#endif
