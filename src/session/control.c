/* SPDX-License-Identifier: MIT */
/*
 * Control is state, not a queue: frames are made of what is due when a batch is made. OPEN precedes
 * a topic's first message, because control precedes messages. CLOSE and ABORT wait until the topic
 * has nothing left in the buffer.
 */
#include <session/outgoing.h>
#include <string.h>

/*
 * Makes a frame whose payload of `payload` bytes is yet to be filled in. Returns NULL if there is
 * no room.
 */
static unsigned char *control_frame(struct tx *tx, size_t *size, uint8_t kind, uint8_t flags, uint32_t id,
				    uint32_t argument, size_t payload)
{
	unsigned char *frame = tx->control + *size;
	size_t whole = FRAME_HEADER + payload + frame_padding(payload);

	if (whole > TX_CONTROL - *size)
		return NULL;
	memset(frame, 0, whole);
	*size += frame_encode(frame, kind, flags, 0, id, argument, payload);
	return frame;
}

static bool control_credit(struct tx *tx, size_t *size, uint8_t flags, uint32_t id, uint32_t call, uint32_t bytes,
			   uint32_t attachments)
{
	unsigned char *frame = control_frame(tx, size, FRAME_CREDIT, flags, id, call, FRAME_CREDIT_BODY);

	if (!frame)
		return false;
	put_u32(frame + FRAME_HEADER, bytes);
	put_u32(frame + FRAME_HEADER + 4, attachments);
	return true;
}

/*
 * rx compares what was used with this counter, so it must be raised before the frame that announces
 * the credit is sent.
 */
static void granted(_Atomic uint64_t *counter, uint32_t more)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more,
			      memory_order_release);
}

/* The most bytes of frames that control_channel() makes. There must be room for them. */
enum { CHANNEL_FRAMES = 5 * FRAME_HEADER + FRAME_CREDIT_BODY };

static void control_channel(struct tx *tx, size_t *size)
{
	if (control_shared_due(tx)) {
		control_credit(tx, size, 0, 0, 0, tx->due_pool, tx->due_attachments);
		granted(&tx->granted_pool, tx->due_pool);
		granted(&tx->granted_attachments, tx->due_attachments);
		tx->due_pool = tx->due_attachments = 0;
		tx_short_of(tx);
	}
	if (tx->give_back)
		control_frame(tx, size, FRAME_RETURN, 0, 0, tx->give_back, 0);
	if (tx->want_due)
		control_frame(tx, size, FRAME_WANT, 0, 0, tx->want, 0);
	if (tx->ping_due)
		control_frame(tx, size, FRAME_PING, 0, 0, PING_ASKS, 0);
	if (tx->pong_due)
		control_frame(tx, size, FRAME_PING, 0, 0, PING_ANSWERS, 0);
	tx->give_back = 0;
	tx->want_due = tx->ping_due = tx->pong_due = false;
}

static bool control_inlet_credit(struct tx *tx, size_t *size, struct inlet *inlet, uint32_t id, uint32_t call)
{
	if (inlet->due_bytes || inlet->due_attachments) {
		if (!control_credit(tx, size, 0, id, call, inlet->due_bytes, inlet->due_attachments))
			return false;
		granted(&inlet->granted_bytes, inlet->due_bytes);
		granted(&inlet->granted_attachments, inlet->due_attachments);
		inlet->due_bytes = inlet->due_attachments = 0;
	}
	if (inlet->due_pool) {
		if (!control_credit(tx, size, FRAME_OVERDRAFT, id, call, inlet->due_pool, 0))
			return false;
		granted(&tx->granted_pool, inlet->due_pool);
		inlet->due_pool = 0;
	}
	list_remove(&inlet->due);
	return true;
}

/*
 * Makes frames of what an inlet owes. It stays in the list while the call's request is in the
 * buffer, because no call may be reset before it was made. Returns false if there is no room.
 */
static bool control_inlet(struct tx *tx, size_t *size, struct inlet *inlet)
{
	uint32_t id = inlet->replies ? 0 : inlet->id, call = inlet->replies ? inlet->id : 0;

	if (inlet->buffered > tx->drained)
		return true;
	if (inlet->reset_due) {
		if (!control_frame(tx, size, FRAME_RESET, 0, id, inlet->replies ? call : inlet->reason, 0))
			return false;
		list_remove(&inlet->due);
		inlet->reset_due = false;
		/* From here on rx may let another topic use the id. */
		atomic_store_explicit(&inlet->reset_sent, true, memory_order_release);
		return true;
	}
	return control_inlet_credit(tx, size, inlet, id, call);
}

static bool control_open(struct tx *tx, size_t *size, struct outlet *outlet)
{
	unsigned char *frame = control_frame(tx, size, FRAME_OPEN, 0, outlet->id, 0, outlet->name_size);

	if (!frame)
		return false;
	memcpy(frame + FRAME_HEADER, outlet->name, outlet->name_size);
	outlet->open_due = false;
	return true;
}

static bool control_abort(struct tx *tx, size_t *size, struct outlet *outlet)
{
	unsigned char *frame = control_frame(tx, size, outlet->kind, FRAME_ABORT, 0, 0, 0);

	if (!frame)
		return false;
	tx_frame(outlet, frame, FRAME_ABORT, 0, outlet->calling ? outlet->calling->id : 0, 0);
	if (outlet->calling)
		outlet->calling->asked = true;
	outlet->abort_due = false;
	tx_not_busy(tx, outlet);
	return true;
}

/* CLOSE, or the end of a call that gets no last reply. */
static bool control_close(struct tx *tx, size_t *size, struct outlet *outlet)
{
	bool reply = outlet->kind == FRAME_REPLY;
	unsigned char *frame = reply ? control_frame(tx, size, FRAME_REPLY, FRAME_END | FRAME_ERROR, 0, outlet->id, 4)
				     : control_frame(tx, size, FRAME_CLOSE, 0, outlet->id, 0, 0);

	if (!frame)
		return false;
	if (reply)
		put_u32(frame + FRAME_HEADER, outlet->end_error);
	else
		tx->n_closing--;
	outlet->close_sent = true;
	return true;
}

/*
 * Makes frames of what an outlet owes. It stays in the list while some of that must wait for the
 * buffer. Returns false if there is no room.
 */
static bool control_outlet(struct tx *tx, size_t *size, struct outlet *outlet)
{
	if (outlet->open_due && !control_open(tx, size, outlet))
		return false;
	if (!outlet_clear(tx, outlet))
		return true;
	if (outlet->abort_due && !control_abort(tx, size, outlet))
		return false;
	if (outlet->close_wanted && !outlet->close_sent && !outlet->busy && !control_close(tx, size, outlet))
		return false;
	list_remove(&outlet->due);
	if (outlet->kind == FRAME_REPLY)
		tx_let_go(tx, outlet);
	else if (outlet->close_sent && outlet->reset)
		tx_release(tx, outlet);
	return true;
}

size_t control_make(struct tx *tx, const struct tx_own *own)
{
	size_t size = 0;
	struct list *link, *next;
	bool settles;

	if (tx->goodbye_sent)
		return 0;
	if (own && own->outlet->open_due)
		control_open(tx, &size, own->outlet);
	settles = tx->due_attachments && control_shared_due(tx);
	if (settles)
		list_splice(&tx->due_inlets, &tx->late_inlets);
	else
		control_channel(tx, &size);
	for (link = tx->due_inlets.next; link != &tx->due_inlets; link = next) {
		next = link->next;
		if (!control_inlet(tx, &size, list_entry(link, struct inlet, due)))
			return size;
	}
	if (settles) {
		if (TX_CONTROL - size < CHANNEL_FRAMES)
			return size;
		control_channel(tx, &size);
	}
	for (link = tx->due_outlets.next; link != &tx->due_outlets; link = next) {
		next = link->next;
		if (!control_outlet(tx, &size, list_entry(link, struct outlet, due)))
			return size;
	}
	if (tx->goodbye_due && !tx->n_busy && list_empty(&tx->due_outlets) && !outgoing_left(tx->drain) &&
	    !tx->fill->size && control_frame(tx, &size, FRAME_GOODBYE, 0, 0, 0, 0))
		tx->goodbye_sent = true;
	/* Names and ids may have become free. OPEN for them goes with the next batch. */
	tx_assign(tx);
	return size;
}
