/* SPDX-License-Identifier: MIT */
/*
 * The outgoing buffer: frames of messages that were accepted and are not yet written, and the
 * descriptors that belong to them. There are two such buffers: one is filled while the other is
 * drained.
 */
#include <session/outgoing.h>
#include <string.h>

/* Whether `size` bytes of frames fit, and the topic's OPEN if it is due. */
static bool buffer_has_space(const struct tx *tx, const struct outlet *outlet, size_t size)
{
	size_t open = outlet->open_due ? FRAME_HEADER + outlet->name_size + 8 : 0;

	return tx->fill->size + open + size <= tx->capacity;
}

bool tx_has_space(const struct tx *tx, const struct outlet *outlet, size_t size)
{
	return buffer_has_space(tx, outlet, FRAME_HEADER + size + 8);
}

bool tx_append_fits(const struct tx *tx, const struct tx_own *own)
{
	return buffer_has_space(tx, own->outlet, tx_own_size(own)) && tx->fill->n_fds + own->n_fds <= TX_FDS;
}

unsigned char *tx_own_put(const struct tx_own *own, unsigned char *to)
{
	memcpy(to, own->head, own->head_size);
	to += own->head_size;
	for (unsigned i = 0; i < own->n_parts; i++) {
		memcpy(to, own->parts[i].iov_base, own->parts[i].iov_len);
		to += own->parts[i].iov_len;
	}
	memset(to, 0, own->padding);
	return to + own->padding;
}

void tx_append(struct tx *tx, struct tx_own *own, const int *fds)
{
	struct tx_buffer *fill = tx->fill;
	struct outlet *outlet = own->outlet;
	unsigned char *to = fill->bytes + fill->size;

	if (outlet->open_due) {
		size_t padding = frame_padding(outlet->name_size);

		to += frame_encode(to, FRAME_OPEN, 0, 0, outlet->id, 0, outlet->name_size);
		memcpy(to - outlet->name_size - padding, outlet->name, outlet->name_size);
		memset(to - padding, 0, padding);
		outlet->open_due = false;
	}
	if (own->n_fds) {
		fill->records[fill->n_records++] =
		    (struct tx_record){(size_t)(to - fill->bytes), tx_own_size(own), outlet, own->n_fds};
		memcpy(fill->fds + fill->n_fds, fds, own->n_fds * sizeof(int));
		fill->n_fds += own->n_fds;
		outlet->buffered_fds = fill->generation;
	}
	fill->size = (size_t)(tx_own_put(own, to) - fill->bytes);
	outlet->buffered = fill->generation;
	if (own->call)
		own->call->buffered = fill->generation;
	outgoing_note_last(own);
	own->done = true;
}

/*
 * Counts the messages in a buffer as lost, because they will not be sent. Stores its descriptors in
 * `spent`, except the first `gone`, which have been sent. Returns how many.
 */
static unsigned drop_buffer(struct tx *tx, struct tx_buffer *buffer, unsigned gone, int error, int *spent)
{
	unsigned n = buffer->n_fds - buffer->fd_at - gone;

	while (outgoing_left(buffer) >= FRAME_HEADER) {
		struct frame frame;

		frame_decode(&frame, buffer->bytes + buffer->at);
		if ((frame.kind == FRAME_DATA || frame.kind == FRAME_REPLY) && !(frame.flags & FRAME_MORE)) {
			struct outlet *outlet = tx->outlets[frame.id]; /* NULL for id 0, which a reply has */

			losses_add(&tx->losses, 1, error);
			if (outlet)
				losses_add(&outlet->losses, 1, error);
		}
		buffer->at += 4 + frame.length;
	}
	if (n)
		memcpy(spent, buffer->fds + buffer->fd_at + gone, n * sizeof(int));
	buffer->size = buffer->at = 0;
	buffer->n_fds = buffer->fd_at = buffer->n_records = buffer->record_at = 0;
	return n;
}

unsigned tx_drop(struct tx *tx, int error, int spent[2 * TX_FDS])
{
	/*
	 * If a batch has begun, it is not known how much of it arrived, so all messages in it count
	 * as lost. Its descriptors are spent already.
	 */
	unsigned n = drop_buffer(tx, tx->drain, tx->batch.begun ? tx->batch.run_fds : 0, error, spent);

	n += drop_buffer(tx, tx->fill, 0, error, spent + n);
	tx->drained = tx->fill->generation;
	if (tx->batch.active && tx->batch.n_reserved) {
		losses_add(&tx->losses, tx->batch.n_reserved, error);
		if (tx->batch.reserved)
			losses_add(&tx->batch.reserved->losses, tx->batch.n_reserved, error);
	}
	/*
	 * GOODBYE is the last frame of its batch, so it was not sent if the batch is still active.
	 */
	tx->goodbye_sent = tx->goodbye_sent && !tx->batch.active;
	tx->batch.active = false;
	tx->batch.run = 0;
	tx->batch.run_records = tx->batch.run_fds = 0;
	return n;
}
