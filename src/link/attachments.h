/* SPDX-License-Identifier: MIT */
/*
 * How a link accounts for its attachments: what is charged, settled and lent (attachments.c).
 */
#ifndef LINK_ATTACHMENTS_H
#define LINK_ATTACHMENTS_H

#include <beam/deadline.h>
#include <session/tx.h>
#include <socket/reaper.h>
#include <stdatomic.h>
#include <stdint.h>

struct link;

struct link_attachments {
	/*
	 * Received attachments are charged to `account` until they have been taken or closed. Until
	 * then each holds a reference to the owner's memory. `charged` is their number, and `most`
	 * the largest number that the link may hold.
	 */
	struct reaper_account account;
	atomic_uint charged;
	uint32_t most;
	/*
	 * Guarded by the writer's lock. If the peer wants more attachments than the process can
	 * lend, lending is tried again at `lend_at`; `lend_after` is the current delay.
	 */
	beam_deadline lend_at;
	int64_t lend_after;
};

/*
 * attachments_begin() stores in `own` how many attachments are granted at once. attachments_end()
 * is called with the writer's lock held.
 */
void attachments_begin(struct link *link, struct limits *own, int fd);
void attachments_end(struct link *link);
/*
 * Charges `n` attachments that were received. The caller has taken a reference to the owner's
 * memory for each of them.
 */
void attachments_charge(struct link *link, size_t n);
/*
 * Lends as many attachments as the peer wants, or as many as are available. The writer's lock is
 * held.
 */
void attachments_lend(struct link *link);
/* The peer has given back credit for `n` attachments that was lent to it. No lock is held. */
void attachments_came_back(struct link *link, uint32_t n);
/*
 * Called when the link is idle. Gives back the credit for attachments that the peer has lent and
 * that no sender needs, so that the peer can use it elsewhere. No lock is held.
 */
void attachments_give_back(struct link *link);
/* Tries to lend again if `lend_at` has passed. The writer's lock is held. */
void attachments_lend_again(struct link *link);

#endif
