/* SPDX-License-Identifier: MIT */
/*
 * An inlet: where messages arrive, either those of one topic id of the other side, or the replies
 * to one call of this side's. The two halves of the session meet in it: rx owns what arrives, tx
 * owns what is to be answered, and what they share has one writer each.
 */
#ifndef SESSION_INLET_H
#define SESSION_INLET_H

#include <base/list.h>
#include <message/message.h>
#include <stdatomic.h>
#include <wire/frame.h>

enum inlet_state { INLET_FREE, INLET_OPEN, INLET_CLOSED };

struct inlet {
	/* The topic's, or the call's. */
	uint32_t id;
	bool replies;

	/* Owned by rx. */
	enum inlet_state state;
	uint64_t used_bytes, used_attachments;
	struct beam_message *building; /* a message whose fragments have begun to come */
	size_t built;
	uint32_t building_call;
	struct list touched;          /* among the inlets with something in `arrived` */
	struct message_queue arrived; /* whole messages since the last delivery */
	bool calls_arrived;           /* some of them are calls; cleared by the owner */

	/*
	 * Written by tx, read by rx: how much was ever granted, and whether the id's RESET went
	 * out.
	 */
	_Atomic uint64_t granted_bytes, granted_attachments;
	atomic_bool reset_sent;

	/*
	 * Owned by tx: what is due to be sent; whether a call's request went to its end and whether
	 * replies have begun to come; the generation of the buffer that the request is in.
	 */
	struct list due;
	bool asked, answered;
	uint64_t buffered;
	/* Why the request was dropped after it had been accepted. */
	int error;
	uint32_t due_bytes, due_attachments, due_pool;
	/* What is due may wait: it is among tx's late inlets, if it is among any. */
	bool late, reset_due;
	enum reset_reason reason;

	/* The owner's: rx and tx pass it on. */
	void *owner;
	struct list of_topic;
	size_t queued;
	bool closed, discard;

	/* Credit for what was taken, which is returned in lots; under the owner's lock. */
	uint32_t withheld_bytes, withheld_attachments, withheld_pool, withhold_bytes, withhold_attachments;

	/* A topic's; the memory is rx's. */
	char *name;
};

/* Of memory that is zero. */
void inlet_init(struct inlet *inlet, uint32_t id);
/* Begins to take messages, for so much credit. */
void inlet_open(struct inlet *inlet, uint32_t bytes, uint32_t attachments);

/*
 * Begins to withhold: half of a window at most, and less where a message with as many attachments
 * as it may have might not fit into what is left.
 */
void inlet_withhold(struct inlet *inlet, uint32_t bytes, uint32_t attachments, uint32_t message_attachments);

/*
 * A message was taken. True if tx_return_withheld() is to be called, which decides when it goes.
 *
 * Only the topic's own senders can need its bytes and its attachments, and what may be
 * withheld is never all that they need. Other topics can need the pool's bytes, so these
 * never wait. Attachments never wait here: they must be back with their topic when they
 * are back with the channel.
 */
static inline bool inlet_took(struct inlet *inlet, const struct beam_message *message)
{
	/* Of a topic that is closed nobody needs the bytes. */
	if (!inlet->closed)
		inlet->withheld_bytes += message->cost - message->overdraft;
	inlet->withheld_attachments += message->n_fds;
	inlet->withheld_pool += message->overdraft;
	return inlet->withheld_pool || inlet->withheld_bytes >= inlet->withhold_bytes || inlet->withheld_attachments;
}

/* What is due of it is so little that no sender of its topic can need it yet. */
static inline bool inlet_owes_little(const struct inlet *inlet)
{
	return !inlet->due_pool && inlet->due_bytes < inlet->withhold_bytes &&
	       inlet->due_attachments <= inlet->withhold_attachments;
}

/*
 * Tables of objects by id, from 1 on: makes room up to `id`, which is within `most`, and for some
 * more. Returns where the table is now; NULL: no memory, and it is as it was.
 */
void *table_grow(void *table, uint32_t *capacity, uint32_t id, uint32_t most);

#endif
