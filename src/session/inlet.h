/* SPDX-License-Identifier: MIT */
/*
 * An inlet: where messages arrive, either those of one topic id of the other side, or the replies to one call of this side's. The two
 * halves of the session meet in it: rx owns what arrives, tx owns what is to be answered, and what they share has one writer each.
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

	/* Written by tx, read by rx: how much was ever granted, and whether the id's RESET went out. */
	_Atomic uint64_t granted_bytes, granted_attachments;
	atomic_bool reset_sent;

	/* Owned by tx: what is due to be sent; whether a call's request went to its end and whether replies have begun to come; the generation of the
	 * buffer that the request is in. */
	struct list due;
	bool asked, answered;
	uint64_t buffered;
	/* Why the request was dropped after it had been accepted. */
	int error;
	uint32_t due_bytes, due_attachments;
	bool reset_due;
	enum reset_reason reason;

	/* The owner's: rx and tx pass it on. Credit is withheld up to so much. */
	void *owner;
	struct list of_topic;
	size_t queued;
	uint32_t withheld_bytes, withheld_attachments, withhold_bytes, withhold_attachments;
	bool closed, discard;

	/* A topic's; the memory is rx's. */
	char *name;
};

/* Of memory that is zero. */
void inlet_init(struct inlet *inlet, uint32_t id);
/* Begins to take messages, for so much credit. */
void inlet_open(struct inlet *inlet, uint32_t bytes, uint32_t attachments);

/* Tables of objects by id, from 1 on: makes room up to `id`, which is within `most`, and for some more. Returns where the table is now;
 * NULL: no memory, and it is as it was. */
void *table_grow(void *table, uint32_t *capacity, uint32_t id, uint32_t most);

#endif
