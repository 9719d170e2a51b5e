/* SPDX-License-Identifier: MIT */
/*
 * A thread that waits for something of a link: among the sleepers of what it waits for, and
 * among the baton's waiters.
 */
#ifndef LINK_WAITER_H
#define LINK_WAITER_H

#include <link/link.h>

struct waiter {
	struct list link, of_baton;
	pthread_t thread;
	pthread_mutex_t *lock;
	pthread_cond_t wake;
	beam_deadline deadline;
	/* Reads instead of sleeping; has been woken; with the reading right; is on its way out. */
	bool leading, woken, granted, passed_over;
};

static inline void waiter_wake(struct waiter *waiter)
{
	list_remove(&waiter->link);
	waiter->woken = true;
	pthread_cond_signal(&waiter->wake);
}

/* Someone wanted a leader to look at what it waits for. A kick for good stays. */
void baton_drain_kick(struct link *link);

#endif
