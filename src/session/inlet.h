/* SPDX-License-Identifier: MIT */
/*
 * An inlet: where messages arrive, either those of one topic id of the other side, or the replies
 * to one call of this side. The two halves of the session meet in it. rx owns what arrives, tx owns
 * what is to be answered, and each field that they share has one writer.
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
	struct beam_message *building; /* a message whose fragments have begun to arrive */
	size_t built;
	uint32_t building_call;
	struct list touched;          /* among the inlets with something in `arrived` */
	struct message_queue arrived; /* whole messages since the last delivery */
	bool calls_arrived;           /* some of them are calls; cleared by the owner */

	/*
	 * Written by tx, read by rx: how much was ever granted, and whether the id's RESET was
	 * sent.
	 */
	_Atomic uint64_t granted_bytes, granted_attachments;
	atomic_bool reset_sent;

	/*
	 * Owned by tx. `due`: among the inlets that owe something. `asked`: a call's request was
	 * sent to its end or aborted. `answered`: replies to it have begun to come. `buffered`: the
	 * generation of the buffer that the request is in.
	 */
	struct list due;
	bool asked, answered;
	uint64_t buffered;
	/* Why the request was dropped after it had been accepted. */
	int error;
	uint32_t due_bytes, due_attachments, due_pool;
	/* What is due may wait: it was put into tx->late_inlets when it became due. */
	bool late, reset_due;
	enum reset_reason reason;

	/* These belong to the session's owner. rx and tx only pass them on. */
	void *owner;
	struct list of_topic;
	size_t queued;
	bool closed, discard;

	/*
	 * Credit of messages that were taken, collected to be returned together, and how much of it
	 * may be withheld. Guarded by the owner's lock.
	 */
	uint32_t withheld_bytes, withheld_attachments, withheld_pool, withhold_bytes, withhold_attachments;

	/* Only of a topic. The memory is rx's. */
	char *name;
};

/* Initialises an inlet whose memory is zero. */
void inlet_init(struct inlet *inlet, uint32_t id);
/* Begins to take messages, with this much credit granted. */
void inlet_open(struct inlet *inlet, uint32_t bytes, uint32_t attachments);

/*
 * Begins to withhold credit: at most half of a window, and fewer attachments if a message with the
 * most attachments might not fit into the rest.
 */
void inlet_withhold(struct inlet *inlet, uint32_t bytes, uint32_t attachments, uint32_t message_attachments);

/*
 * A message was taken. Returns true if tx_return_withheld() is to be called, which decides when the
 * credit is sent.
 *
 * Only the topic's own senders can need its bytes and attachments, and what is withheld never
 * blocks them. Other topics can need the pool's bytes, so these are never withheld. Attachments are
 * never withheld here, because they must be returned to their topic no later than to the channel.
 */
static inline bool inlet_took(struct inlet *inlet, const struct beam_message *message)
{
	/* Nobody needs the bytes of a topic that is closed. */
	if (!inlet->closed)
		inlet->withheld_bytes += message->cost - message->overdraft;
	inlet->withheld_attachments += message->n_fds;
	inlet->withheld_pool += message->overdraft;
	return inlet->withheld_pool || inlet->withheld_bytes >= inlet->withhold_bytes || inlet->withheld_attachments;
}

/* Whether so little is due that no sender of the topic can need it yet. */
static inline bool inlet_owes_little(const struct inlet *inlet)
{
	return !inlet->due_pool && inlet->due_bytes < inlet->withhold_bytes &&
	       inlet->due_attachments <= inlet->withhold_attachments;
}

/*
 * Makes room in a table of objects by id: from 1 up to `id`, and for some more, but not beyond
 * `most`. Returns where the table is now. If there is no memory, returns NULL, and the table is
 * unchanged.
 */
void *table_grow(void *table, uint32_t *capacity, uint32_t id, uint32_t most);

#endif
