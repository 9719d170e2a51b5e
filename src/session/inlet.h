/* SPDX-License-Identifier: MIT */
/*
 * An inlet: one topic id of the other side, seen from here. The two halves of the session meet in it: rx owns what arrives, tx owns
 * what is to be answered, and what they share has one writer each.
 */
#ifndef SESSION_INLET_H
#define SESSION_INLET_H

#include <base/list.h>
#include <message/message.h>
#include <stdatomic.h>
#include <wire/frame.h>

enum inlet_state { INLET_FREE, INLET_OPEN, INLET_CLOSED };

struct inlet {
	uint32_t id;

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

	/* Owned by tx: what is due to be sent. */
	struct list due;
	uint32_t due_bytes, due_attachments;
	bool reset_due;
	enum reset_reason reason;

	/* The owner's: rx and tx pass it on. Credit is withheld up to so much. */
	void *owner;
	struct list of_topic;
	size_t queued;
	uint32_t withheld_bytes, withheld_attachments, withhold_bytes, withhold_attachments;
	bool closed, discard;

	char name[NAME_MAX_BYTES + 1];
};

/* A call of the other side's that was received and not yet answered with END. */
struct inbound_call {
	struct message_call handle;
	void *channel;
	uint32_t id;
	/* Set by rx when it arrives, cleared by tx when END goes out. */
	atomic_bool busy;
	/* Owned by tx. */
	struct list due;
	uint32_t error;
};

#endif
