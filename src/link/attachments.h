/* SPDX-License-Identifier: MIT */
/*
 * The attachments of a link: what is charged, settled and lent (attachments.c).
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
	 * Whom attachments that came are charged to until they have been taken or closed, each of
	 * which keeps the owner's memory; how many there are; how many the link may have at most.
	 */
	struct reaper_account account;
	atomic_uint charged;
	uint32_t most;
	/*
	 * Under the writer's lock: when to try again to lend what the other side wants and the
	 * process does not have; how long to wait then.
	 */
	beam_deadline lend_at;
	int64_t lend_after;
};

/*
 * Begins with what may be lent at once, which goes into `own`; ends, which the
 * writer's lock is held for.
 */
void attachments_begin(struct link *link, struct limits *own, int fd);
void attachments_end(struct link *link);
/* So many came, each of which keeps the owner's memory from now on: the caller has seen to that. */
void attachments_charge(struct link *link, size_t n);
/* Lends what the other side wants, if there is any. The writer's lock is held. */
void attachments_lend(struct link *link);
/* The other side has given back so many that were lent to it. No lock is held. */
void attachments_came_back(struct link *link, uint32_t n);
/*
 * Nothing goes on: attachments that the other side lends and nobody here needs are of use
 * elsewhere. No lock is held.
 */
void attachments_give_back(struct link *link);
/* Tries again, if it is time. The writer's lock is held. */
void attachments_lend_again(struct link *link);

#endif
