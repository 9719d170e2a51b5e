/* SPDX-License-Identifier: MIT */
/*
 * A thread that waits for something of a link. It is among the sleepers of what it waits for, and
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
	/*
	 * `leading`: reads instead of sleeping. `woken`: has been woken. `granted`: was given the
	 * reading right. `passed_over`: was offered the right, and is not offered it again. If it
	 * did not get it (`granted`), it had already been woken.
	 */
	bool leading, woken, granted, passed_over;
};

static inline void waiter_wake(struct waiter *waiter)
{
	list_remove(&waiter->link);
	waiter->woken = true;
	pthread_cond_signal(&waiter->wake);
}

/*
 * Resets the kick, which woke the leading thread to make it look again. A kick for good stays set.
 */
void baton_drain_kick(struct link *link);

#endif
