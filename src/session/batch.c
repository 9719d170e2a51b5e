/* SPDX-License-Identifier: MIT */
/*
 * How a batch is made: of control, the outgoing buffer and the writer's own frame, in this order.
 * So everything on one topic is sent in the order in which it was accepted. OPEN precedes a topic's
 * first message, because control does. CLOSE and ABORT wait until the topic has nothing left in the
 * buffer.
 *
 * If a batch has descriptors, its first frame is their carrier (docs/protocol.md). The carrier's
 * header may be changed until a byte of the batch has been written, and never after.
 */
#include <errno.h>
#include <session/outgoing.h>
#include <string.h>

static void batch_add(struct tx_batch *batch, const void *bytes, size_t size)
{
	if (size)
		batch->iov[batch->n++] = (struct iovec){(void *)(uintptr_t)bytes, size};
}

static void swap_buffers(struct tx *tx)
{
	struct tx_buffer *empty = tx->drain;

	tx->drain = tx->fill;
	tx->fill = empty;
	empty->size = empty->at = 0;
	empty->n_records = empty->record_at = empty->n_fds = empty->fd_at = 0;
	empty->generation = tx->drain->generation + 1;
	tx->events->room(tx->owner);
}

/* Decides how much of the draining buffer goes into this batch. */
static void choose_run(struct tx *tx)
{
	struct tx_batch *batch = &tx->batch;
	struct tx_buffer *drain = tx->drain;
	const struct tx_record *record = drain->record_at < drain->n_records ? &drain->records[drain->record_at] : NULL;

	batch->run = outgoing_left(drain);
	batch->run_records = drain->n_records - drain->record_at;
	batch->run_fds = drain->n_fds - drain->fd_at;
	if (!record || (!tx->careful && !tx->held))
		return;
	if (record->offset > drain->at || tx->held) {
		/* Up to the next frame with descriptors. */
		batch->run = record->offset - drain->at;
		batch->run_records = batch->run_fds = 0;
	} else {
		/* That frame alone. */
		batch->run = record->size;
		batch->run_records = 1;
		batch->run_fds = record->n_fds;
	}
}

/* ---- Batches --------------------------------------------------------------------------------- */

bool tx_pending(const struct tx *tx)
{
	if (tx->batch.active || tx->hello_due)
		return true;
	if (tx->goodbye_sent)
		return false;
	if (control_channel_due(tx))
		return true;
	if (!tx->held)
		return outgoing_left(tx->drain) || tx->fill->size || !list_empty(&tx->due_inlets) ||
		       !list_empty(&tx->due_outlets) || (tx->goodbye_due && !tx->n_busy);
	/*
	 * Nothing of the buffer can be written: what was before the held frame went into the batch
	 * from which the held frame was taken out.
	 */
	for (struct list *link = tx->due_inlets.next; link != &tx->due_inlets; link = link->next) {
		if (list_entry(link, struct inlet, due)->buffered <= tx->drained)
			return true;
	}
	for (struct list *link = tx->due_outlets.next; link != &tx->due_outlets; link = link->next) {
		const struct outlet *outlet = list_entry(link, struct outlet, due);

		if (outlet->open_due || outlet_clear(tx, outlet))
			return true;
	}
	return false;
}

/*
 * Whether the writer's frame may join the batch: only behind everything that must precede it, and
 * only if its descriptors fit too.
 */
static bool own_allowed(const struct tx *tx, const struct tx_own *own)
{
	const struct tx_batch *batch = &tx->batch;

	if (own->n_fds && (tx->held || (tx->careful && batch->run_fds)))
		return false;
	if (batch->run_fds + own->n_fds > FRAME_CARRIED_MAX)
		return false;
	/* The topic or the channel may have been closed while other batches were written. */
	if (tx->goodbye_sent || own->outlet->close_sent)
		return false;
	if (outlet_clear(tx, own->outlet) || (own->made_way && own->after <= tx->drained))
		return true;
	return batch->run == outgoing_left(tx->drain) && !tx->fill->size;
}

_Static_assert(TX_CONTROL + FRAME_HEADER + FRAME_SIZED_PREFIX + TX_WHOLE <= TX_UNDIVIDED,
	       "control and a message in one piece");

/*
 * A frame that must not be divided goes behind the buffer's part only if the kernel takes both in
 * one piece. Otherwise the frame waits once, until that part is written, and then goes before the
 * next part. Returns true if it waits.
 */
static bool makes_way(struct tx *tx, struct tx_own *own, size_t control)
{
	struct tx_batch *batch = &tx->batch;

	if (!own->undivided || control + batch->run + tx_own_size(own) <= TX_UNDIVIDED)
		return false;
	if (!own->made_way || own->after > tx->drained) {
		own->made_way = true;
		return true;
	}
	batch->run = 0;
	batch->run_records = batch->run_fds = 0;
	return false;
}

/* Writes the number of the batch's descriptors into its first frame, the carrier. */
static void set_carrier(struct tx_batch *batch, unsigned n_fds)
{
	batch->n_fds = n_fds;
	if (batch->n)
		frame_set_carried(batch->iov[0].iov_base, (uint8_t)n_fds);
}

static size_t more_size(const struct tx_more *more)
{
	return FRAME_HEADER + more->part.iov_len + more->padding;
}

static void add_own(struct tx *tx, struct tx_own *own)
{
	static const unsigned char zero[8];
	struct tx_batch *batch = &tx->batch;

	batch->own_at = batch->n;
	batch_add(batch, own->head, own->head_size);
	for (unsigned i = 0; i < own->n_parts; i++)
		batch_add(batch, own->parts[i].iov_base, own->parts[i].iov_len);
	batch_add(batch, zero, own->padding);
	batch->own_left = tx_own_size(own);
	for (const struct tx_more *more = own->more; more < own->more + own->n_more; more++) {
		batch_add(batch, more->head, FRAME_HEADER);
		batch_add(batch, more->part.iov_base, more->part.iov_len);
		batch_add(batch, zero, more->padding);
		batch->own_left += more_size(more);
	}
	if (own->n_fds)
		memcpy(batch->fds + batch->n_fds, own->fds, own->n_fds * sizeof(int));
	batch->n_fds += own->n_fds;
	own->batched = true;
	outgoing_note_last(own);
}

bool tx_batch(struct tx *tx, struct tx_own *own)
{
	struct tx_batch *batch = &tx->batch;
	size_t control;
	bool later;

	if (batch->active)
		return true;
	batch->begun = false;
	batch->reserved = NULL;
	batch->n_reserved = 0;
	batch->first = batch->n = 0;
	batch->left = batch->own_left = 0;
	batch->run = 0;
	batch->run_records = batch->run_fds = batch->n_fds = 0;
	batch->number++;
	if (tx->hello_due) {
		/* HELLO carries nothing, so it goes alone. */
		hello_encode(tx->control,
			     &(struct hello){.version = PROTOCOL_VERSION, .features = tx->features, .limits = tx->own});
		tx->hello_due = false;
		batch_add(batch, tx->control, HELLO_FRAME);
		batch->left = HELLO_FRAME;
		return batch->active = true;
	}
	control = control_due(tx) ? control_make(tx, own) : 0;
	batch_add(batch, tx->control, control);
	if (!outgoing_left(tx->drain) && tx->fill->size)
		swap_buffers(tx);
	choose_run(tx);
	later = !own || own->done || makes_way(tx, own, control);
	batch_add(batch, tx->drain->bytes + tx->drain->at, batch->run);
	if (batch->run_fds)
		memcpy(batch->fds, tx->drain->fds + tx->drain->fd_at, batch->run_fds * sizeof(int));
	batch->n_fds = batch->run_fds;
	batch->left = control + batch->run;
	batch->own_at = batch->n;
	if (!later && own_allowed(tx, own))
		add_own(tx, own);
	if (!batch->n)
		return false;
	set_carrier(batch, batch->n_fds);
	return batch->active = true;
}

/* The buffer's part was written or dropped. */
static void finish_run(struct tx *tx)
{
	struct tx_buffer *drain = tx->drain;

	drain->at += tx->batch.run;
	drain->record_at += tx->batch.run_records;
	drain->fd_at += tx->batch.run_fds;
	tx->batch.run = 0;
	tx->batch.run_records = tx->batch.run_fds = 0;
	if (!outgoing_left(drain)) {
		tx->drained = drain->generation;
		drain->size = drain->at = 0;
		tx->careful = false;
	}
}

unsigned tx_wrote(struct tx *tx, struct tx_own *own, size_t n, int spent[TX_FDS])
{
	struct tx_batch *batch = &tx->batch;
	unsigned n_spent = 0;
	size_t session = n < batch->left ? n : batch->left;

	if (!batch->begun) {
		batch->begun = true;
		n_spent = batch->run_fds;
		if (n_spent)
			memcpy(spent, tx->drain->fds + tx->drain->fd_at, n_spent * sizeof(int));
		/* All descriptors were sent, the writer's too, so its frame must follow. */
		if (own && own->batched && own->n_fds)
			own->begun = true;
		batch->n_fds = 0;
	}
	batch->left -= session;
	batch->own_left -= n - session;
	if (own && n > session)
		own->begun = true;
	while (n && n >= batch->iov[batch->first].iov_len)
		n -= batch->iov[batch->first++].iov_len;
	if (n) {
		struct iovec *iov = &batch->iov[batch->first];

		iov->iov_base = (unsigned char *)iov->iov_base + n;
		iov->iov_len -= n;
	}
	if (!batch->left && batch->run)
		finish_run(tx);
	if (!batch->left && !batch->own_left) {
		batch->active = false;
		if (own && own->batched)
			own->done = true;
	}
	return n_spent;
}

/* Takes the writer's frame, of which nothing was written, out of the batch. */
static void take_own_out(struct tx *tx, struct tx_own *own)
{
	struct tx_batch *batch = &tx->batch;

	/* The first frame may be the one that is taken out, and must not remain a carrier. */
	if (!batch->begun)
		set_carrier(batch, 0);
	batch->n = batch->own_at;
	batch->own_left = 0;
	own->batched = false;
	if (own->is_last)
		tx_reopen(tx, own->outlet);
	if (!batch->begun)
		set_carrier(batch, batch->run_fds);
	if (!batch->left)
		batch->active = false;
}

/* Of the writer's frames only the last `n` are left to be sent. */
static void keep_last(struct tx_own *own, unsigned n)
{
	const struct tx_more *next = &own->more[own->n_more - n];

	own->sent_some = true;
	own->batched = own->begun = false;
	memcpy(own->head, next->head, FRAME_HEADER);
	own->head_size = FRAME_HEADER;
	own->parts[0] = next->part;
	own->n_parts = 1;
	own->payload = next->part.iov_len;
	own->padding = next->padding;
	own->fds = NULL;
	own->n_fds = 0;
	own->n_more = n - 1;
	memmove(own->more, next + 1, own->n_more * sizeof *next);
}

/* Whether a piece is a header of the writer's frames. Otherwise it is payload or padding. */
static bool is_head(const struct tx_own *own, const struct iovec *iov)
{
	uintptr_t at = (uintptr_t)iov->iov_base;

	return at >= (uintptr_t)own && at < (uintptr_t)(own + 1);
}

/*
 * Puts the rest of the frame that has begun into the reserve, with zeros as its payload if it is
 * `blank`. Returns how many frames follow it, none of which has begun.
 */
static unsigned reserve_rest(struct tx *tx, const struct tx_own *own, bool blank)
{
	struct tx_batch *batch = &tx->batch;
	size_t size = 0, most = batch->own_left;
	unsigned later = 0;

	while (later < own->n_more && more_size(&own->more[own->n_more - later - 1]) <= most)
		most -= more_size(&own->more[own->n_more - ++later]);
	for (unsigned i = batch->first > batch->own_at ? batch->first : batch->own_at; size < most; i++) {
		const struct iovec *iov = &batch->iov[i];

		if (blank && !is_head(own, iov))
			memset(tx->reserve + size, 0, iov->iov_len);
		else
			memcpy(tx->reserve + size, iov->iov_base, iov->iov_len);
		size += iov->iov_len;
	}
	if (batch->first > batch->own_at)
		batch->first = batch->own_at;
	batch->n = batch->own_at;
	batch_add(batch, tx->reserve, size);
	batch->left += size;
	batch->own_left = 0;
	batch->active = batch->left > 0;
	return later;
}

void tx_leave(struct tx *tx, struct tx_own *own)
{
	struct tx_batch *batch = &tx->batch;
	unsigned later;

	if (!own->batched)
		return;
	if (!own->begun) {
		take_own_out(tx, own);
		return;
	}
	/* Only the writer's own part, and perhaps the end of the session's, is left. */
	later = reserve_rest(tx, own, false);
	own->done = !later;
	if (later) {
		keep_last(own, later);
		if (own->is_last)
			tx_reopen(tx, own->outlet);
		return;
	}
	batch->reserved = own->outlet;
	batch->n_reserved = own->n_messages;
}

bool tx_abandon(struct tx *tx, struct tx_own *own)
{
	if (!own->batched)
		return true;
	if (!own->begun) {
		take_own_out(tx, own);
		return true;
	}
	if (own->n_messages)
		return false;
	reserve_rest(tx, own, true);
	own->batched = false;
	own->sent_some = true;
	return true;
}

/* Decides again how much of the buffer goes into the batch, of which nothing was written. */
static void shorten(struct tx *tx)
{
	struct tx_batch *batch = &tx->batch;
	size_t control = batch->left - batch->run;

	set_carrier(batch, 0);
	batch->n = control ? 1 : 0;
	choose_run(tx);
	batch_add(batch, tx->drain->bytes + tx->drain->at, batch->run);
	batch->left = control + batch->run;
	batch->own_at = batch->n;
	set_carrier(batch, batch->run_fds);
	batch->active = batch->n > 0;
}

bool tx_hold(struct tx *tx, struct tx_own *own)
{
	bool held = tx->batch.run_fds > 0;

	if (tx->batch.begun)
		return false;
	if (own && own->batched && (held || own->n_fds))
		take_own_out(tx, own);
	if (held) {
		tx->held = true;
		shorten(tx);
	}
	return held;
}

/*
 * Drops a whole message of the buffer. If it is a call, the call is reported as never sent. If it
 * is a last reply, its call ends with an error instead. Any other loss is reported to the topic's
 * next sender, which may be one that waits already.
 */
static void drop_message(struct tx *tx, const struct tx_record *record, int error)
{
	struct outlet *outlet = record->outlet;
	struct frame frame;
	struct inlet *call;

	frame_decode(&frame, tx->drain->bytes + record->offset);
	call = frame.kind == FRAME_DATA && frame.argument ? tx->calls[frame.argument] : NULL;
	losses_add(&outlet->losses, 1, error);
	losses_add(&tx->losses, 1, error);
	tx->losses.untold = true;
	if (call && tx_call_undone(tx, call)) {
		call->error = error;
		list_append(&tx->unasked, &call->due);
	} else if (frame.kind == FRAME_REPLY && (frame.flags & FRAME_END)) {
		outlet->end_error = REPLY_DROPPED;
		tx_reopen(tx, outlet);
	} else {
		outlet->losses.untold = true;
		tx_wake_outlet(tx, outlet);
	}
}

bool tx_refused(struct tx *tx, struct tx_own *own, int error, int spent[TX_FDS], unsigned *ret_spent)
{
	struct tx_batch *batch = &tx->batch;
	struct tx_buffer *drain = tx->drain;
	struct tx_record *record;
	uint32_t size, overdraft;

	*ret_spent = 0;
	if (own && own->batched) {
		take_own_out(tx, own);
		/* No other frame had descriptors. */
		if (!batch->run_fds)
			return true;
	}
	if (!tx->careful) {
		tx->careful = true;
		shorten(tx);
		return false;
	}
	record = &drain->records[drain->record_at];
	memcpy(spent, drain->fds + drain->fd_at, record->n_fds * sizeof(int));
	*ret_spent = record->n_fds;
	/* The frame leaves the batch. Its credit was never used. */
	frame_message(drain->bytes + record->offset, &size, &overdraft);
	tx_uncharge(tx, record->outlet, size, record->n_fds, overdraft);
	drop_message(tx, record, error);
	set_carrier(batch, 0);
	batch->left -= batch->run;
	batch->n -= 1;
	finish_run(tx);
	batch->active = batch->n > 0;
	return false;
}

enum written tx_failed(struct tx *tx, struct tx_own *own, int error, enum tx_failure failure, int spent[TX_FDS],
		       unsigned *ret_spent)
{
	bool own_fds = own && own->batched && own->n_fds;

	*ret_spent = 0;
	switch (failure) {
	case TX_NO_ROOM: return WRITTEN_FULL;
	/* A writer's frame without descriptors passes what is held. */
	case TX_PASSES: return tx_hold(tx, own) && !own_fds ? WRITTEN : WRITTEN_LATER;
	case TX_REFUSED: return tx_refused(tx, own, error, spent, ret_spent) ? WRITTEN_REFUSED : WRITTEN;
	/* Only the writer's payload can be unreadable. All else is memory of the library. */
	case TX_NO_PAYLOAD: return own && own->batched && tx_abandon(tx, own) ? WRITTEN_REFUSED : WRITTEN_BROKEN;
	default: return WRITTEN_BROKEN;
	}
}
