/* SPDX-License-Identifier: MIT */
/* What the files that make batches share: control, the outgoing buffer, and the batch itself. */
#ifndef SESSION_OUTGOING_H
#define SESSION_OUTGOING_H

#include <session/tx.h>

/* Whether nothing of this topic waits in a buffer. */
static inline bool outlet_clear(const struct tx *tx, const struct outlet *outlet)
{
	return outlet->buffered <= tx->drained;
}

static inline size_t outgoing_left(const struct tx_buffer *buffer)
{
	return buffer->size - buffer->at;
}

/*
 * Credit for the channel's attachments is collected before it is returned, but not while the other
 * side is short of it.
 */
static inline bool control_shared_due(const struct tx *tx)
{
	bool wanted = atomic_load_explicit(&tx->wanted, memory_order_relaxed);

	return tx->due_pool || tx->due_attachments > (wanted ? 0 : tx->lent / 8);
}

static inline void losses_add(struct losses *losses, uint64_t messages, int error)
{
	if (!losses->messages)
		losses->first_error = error;
	losses->messages += messages;
	losses->last_error = error;
}

/* Whether something is due that concerns the channel and no topic or call. */
static inline bool control_channel_due(const struct tx *tx)
{
	return control_shared_due(tx) || tx->give_back || tx->want_due || tx->ping_due || tx->pong_due;
}

/* Whether control frames may have to be made. */
static inline bool control_due(const struct tx *tx)
{
	return control_channel_due(tx) || !list_empty(&tx->due_inlets) || !list_empty(&tx->due_outlets) ||
	       !list_empty(&tx->unnamed) || tx->goodbye_due;
}

/*
 * Makes frames of what is due, as far as there is room, beginning with OPEN of the topic of the
 * writer's own frame. Returns their size.
 */
size_t control_make(struct tx *tx, const struct tx_own *own);
/*
 * Notes that the last frame of a request, or of the last reply to a call, is about to be sent. Must
 * be called before that, because the answer may come as soon as the frame is sent.
 */
static inline void outgoing_note_last(const struct tx_own *own)
{
	if (own->call && own->n_messages)
		own->call->asked = true;
	if (own->is_last && own->n_messages)
		own->outlet->close_sent = true;
}

#endif
