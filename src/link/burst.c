/* SPDX-License-Identifier: MIT */
#include <link/burst.h>
#include <sched.h>

void burst_follow(struct link *link)
{
	bool dry;
	int64_t now;

	pthread_mutex_lock(&link->writer.lock);
	dry = link->writer.burst && !tx_pending(&link->writer.tx);
	if (!dry) {
		link->thread.dry_since = 0;
	} else {
		now = clock_now();
		if (!link->thread.dry_since)
			link->thread.dry_since = now;
		if (now - link->thread.dry_since > BURST_OVER_NS || link->writer.send_error) {
			link->writer.burst = false;
			link->writer.in_a_row = 0;
			link->thread.dry_since = 0;
		}
	}
	pthread_mutex_unlock(&link->writer.lock);
	if (dry)
		sched_yield();
}
