/* SPDX-License-Identifier: MIT */
/*
 * What the makers of batches share: control, the outgoing buffer, and the batch itself.
 */
#ifndef SESSION_OUTGOING_H
#define SESSION_OUTGOING_H

#include <session/tx.h>

/* Nothing of this topic waits in the buffer. */
static inline bool outlet_clear(const struct tx *tx, const struct outlet *outlet)
{
	return outlet->buffered <= tx->drained;
}

static inline size_t outgoing_left(const struct tx_buffer *buffer)
{
	return buffer->size - buffer->at;
}

/* Something is due that is of the channel and nothing else. */
bool control_channel_due(const struct tx *tx);
/* Writes down what is due, as much as there is room for; the topic of the writer's own frame first. Returns the size. */
size_t control_make(struct tx *tx, const struct tx_own *own);
/* The last frame of a request, or of the last reply, is about to go: what answers it may come as soon as it has. */
void outgoing_note_last(const struct tx_own *own);

#endif
