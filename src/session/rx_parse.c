/* SPDX-License-Identifier: MIT */
/*
 * How bytes become frames, and frames become messages. A frame is judged in two steps: its header
 * as soon as it has arrived, and the rest when it is complete. So a length is never believed
 * unchecked, and a large payload can be read straight to its place.
 *
 * The descriptors of a read are carried by exactly one frame, which begins among the bytes of that
 * read. If its header ends in a later read, the group waits in `before` until the header is
 * complete.
 */
#include <errno.h>
#include <session/rx_parse.h>
#include <string.h>
#include <wire/breach.h>

/* ---- Descriptors ----------------------------------------------------------------------------- */

/*
 * The frame at `low` has just been decoded. If it carries, it takes the group that came with its
 * first byte.
 */
static int take_carried(struct rx *rx)
{
	bool now = rx->low >= rx->fresh;
	struct rx_pending *group = now ? &rx->now : &rx->before;
	size_t carried = rx->frame.carried, n_lost = 0;

	if (!carried) {
		/*
		 * If the frame began in this read, a later frame may still carry the group. If it
		 * began in an earlier read, no other frame can carry the group of that read.
		 */
		if (!now && group->n)
			return rx_breach(rx, BREACH_DESCRIPTORS);
		if (!now)
			group->present = false;
		return 0;
	}
	if (!group->present || group->n > carried || (group->n < carried && !group->loss))
		return rx_breach(rx, BREACH_DESCRIPTORS);
	if (rx->slot_low != rx->slot_high)
		return rx_breach(rx, BREACH_UNCLAIMED);
	/* They are charged from now on, whether or not a message claims them. */
	if (carried > atomic_load_explicit(rx->granted_attachments, memory_order_acquire) - rx->used_attachments)
		return rx_breach(rx, BREACH_CREDIT);
	rx->used_attachments += carried;
	for (size_t i = 0; i < carried; i++) {
		rx->slots[i] = i < group->n ? group->fds[i] : group->loss;
		n_lost += rx->slots[i] < 0;
	}
	rx->events->charged(rx->owner, carried - n_lost);
	if (n_lost)
		rx->events->lost(rx->owner, n_lost);
	rx->slot_low = 0;
	rx->slot_high = carried;
	group->present = false;
	group->n = 0;
	return 0;
}

/*
 * All that could be parsed has been parsed. A group that no frame of its read can carry any more is
 * a breach. If this read ends within the header of a frame, the group waits in `before`.
 */
static int keep_group(struct rx *rx)
{
	size_t left = rx->high - rx->low;
	bool undecided = !rx->direct && !rx->in_frame && left > 0;

	if (undecided && rx->low >= rx->fresh) {
		if (rx->now.present) {
			rx->before.present = true;
			rx->before.n = rx->now.n;
			rx->before.loss = rx->now.loss;
			memcpy(rx->before.fds, rx->now.fds, rx->now.n * sizeof(int));
			rx->now.present = false;
			rx->now.n = 0;
		}
		return 0;
	}
	if (rx->now.n)
		return rx_breach(rx, BREACH_DESCRIPTORS);
	rx->now.present = false;
	return 0;
}

/* ---- Data ------------------------------------------------------------------------------------ */

struct data {
	struct inlet *inlet;
	/* Of the whole message, if this is its first frame. */
	uint32_t total, overdraft;
	bool first, last;
	/* An error reply that consists of its code alone. It costs nothing. */
	bool gratis;
	/* This frame's part of the payload. */
	const unsigned char *part;
	size_t size;
};

/* Returns the inlet that a message's frame is for, or NULL after a breach. */
static inline struct inlet *message_inlet(struct rx *rx)
{
	struct inlet *inlet;

	if (rx->frame.kind == FRAME_DATA)
		return rx_open_inlet(rx, rx->frame.id);
	inlet = rx->events->reply(rx->owner, rx->frame.argument);
	if (!inlet)
		rx_breach(rx, BREACH_CALL_ID);
	return inlet;
}

static int check_continuation(struct rx *rx, struct data *data)
{
	const struct frame *frame = &rx->frame;
	size_t missing = data->inlet->building->size - data->inlet->built;

	if ((frame->flags & (FRAME_SIZED | FRAME_END | FRAME_ERROR)) || frame->argument != data->inlet->building_call ||
	    !data->size)
		return rx_breach(rx, BREACH_FRAGMENT);
	if (frame->claimed)
		return rx_breach(rx, BREACH_CLAIM);
	if (data->last ? data->size != missing : data->size >= missing)
		return rx_breach(rx, BREACH_MESSAGE_SIZE);
	return 0;
}

/*
 * Checks the first frame, which says what the message costs. `payload` must contain SIZED's prefix.
 */
static int check_first(struct rx *rx, struct data *data, struct reader *payload)
{
	const struct frame *frame = &rx->frame;

	data->total = (uint32_t)data->size;
	if (frame->flags & FRAME_SIZED) {
		data->total = reader_u32(payload);
		data->overdraft = reader_u32(payload);
		data->part = payload->at;
		data->size -= FRAME_SIZED_PREFIX;
		if (data->last ? !data->overdraft : !data->size)
			return rx_breach(rx, BREACH_FRAGMENT);
		if (data->last ? data->total != data->size : data->total <= data->size)
			return rx_breach(rx, BREACH_MESSAGE_SIZE);
	} else if (!data->last) {
		return rx_breach(rx, BREACH_FRAGMENT);
	}
	if (data->total > rx->limits->message_bytes)
		return rx_breach(rx, BREACH_MESSAGE_SIZE);
	if (frame->claimed > rx->limits->message_attachments)
		return rx_breach(rx, BREACH_ATTACHMENTS);
	if (data->overdraft >= data->total + MESSAGE_COST)
		return rx_breach(rx, BREACH_CREDIT);
	if (frame->kind == FRAME_DATA && frame->argument > rx->limits->calls)
		return rx_breach(rx, BREACH_CALL_ID);
	if (rx->slot_high - rx->slot_low < frame->claimed)
		return rx_breach(rx, BREACH_CLAIM);
	return 0;
}

/*
 * Charges the message's whole cost. tx may raise what was granted meanwhile, but always before it
 * announces that.
 */
static int charge(struct rx *rx, const struct data *data)
{
	struct inlet *inlet = data->inlet;
	unsigned n = rx->frame.claimed;

	inlet->used_bytes += data->total + MESSAGE_COST - data->overdraft;
	inlet->used_attachments += n;
	rx->used_pool += data->overdraft;
	if (inlet->used_bytes > atomic_load_explicit(&inlet->granted_bytes, memory_order_acquire) ||
	    (n && inlet->used_attachments > atomic_load_explicit(&inlet->granted_attachments, memory_order_acquire)) ||
	    (data->overdraft && rx->used_pool > atomic_load_explicit(rx->granted_pool, memory_order_acquire)))
		return rx_breach(rx, BREACH_CREDIT);
	return 0;
}

/* Fills in what the first frame says about a message. */
static int begin_message(struct rx *rx, const struct data *data, struct beam_message *message)
{
	const struct frame *frame = &rx->frame;
	int r = 0;

	if (message_reserve_fds(message, rx->frame.claimed) < 0)
		return rx_out_of_memory(rx);
	if (frame->kind == FRAME_DATA && frame->argument)
		r = rx->events->called(rx->owner, frame->argument, &message->call);
	if (r < 0)
		return r == -ENOMEM ? rx_out_of_memory(rx) : rx_breach(rx, BREACH_CALL_ID);
	message->origin = data->inlet;
	message->account = rx->account;
	message->n_charged = rx->frame.claimed;
	message->cost = data->gratis ? 0 : data->total + MESSAGE_COST;
	message->overdraft = data->overdraft;
	message->last = frame->flags & FRAME_END;
	message->failed = frame->flags & FRAME_ERROR;
	for (unsigned i = 0; i < rx->frame.claimed; i++)
		message_put_fd(message, rx->slots[rx->slot_low++]);
	return 0;
}

static inline void rx_deliver(struct rx *rx, struct inlet *inlet, struct beam_message *message)
{
	message_queue_append(&inlet->arrived, message);
	inlet->calls_arrived |= message->call != NULL;
	if (message->last) {
		list_remove(&inlet->touched);
		rx->events->ended(rx->owner, inlet, &inlet->arrived);
	} else if (!list_linked(&inlet->touched)) {
		list_append(&rx->touched, &inlet->touched);
	}
}

/*
 * Judges a frame of a message, of which at least SIZED's prefix has arrived. Charges the message if
 * the frame is its first.
 */
static int judge_data(struct rx *rx, struct data *data, const unsigned char *body)
{
	const struct frame *frame = &rx->frame;
	struct reader payload = reader_over(body, frame_payload(frame));

	*data = (struct data){.part = body, .size = frame_payload(frame), .last = !(frame->flags & FRAME_MORE)};
	data->inlet = message_inlet(rx);
	if (!data->inlet)
		return rx->error;
	data->first = !data->inlet->building;
	if (!data->first)
		return check_continuation(rx, data);
	if (check_first(rx, data, &payload) < 0)
		return rx->error;
	data->gratis = frame->flags == (FRAME_END | FRAME_ERROR) && !frame->claimed && data->size == 4;
	return data->gratis ? 0 : charge(rx, data);
}

/* Begins a message with memory of its own. */
static int begin_building(struct rx *rx, const struct data *data)
{
	struct beam_message *message = message_allocate_in(rx->pool, data->total);

	if (!message)
		return rx_out_of_memory(rx);
	if (begin_message(rx, data, message) < 0) {
		message_free_shell(message);
		return rx->error;
	}
	rx->n_building++;
	rx->n_holding += message->n_fds > 0;
	data->inlet->building = message;
	data->inlet->built = 0;
	data->inlet->building_call = rx->frame.argument;
	return 0;
}

static void no_more_building(struct rx *rx, struct inlet *inlet)
{
	rx->n_building--;
	rx->n_holding -= inlet->building->n_fds > 0;
	inlet->building = NULL;
}

static void build(struct rx *rx, struct inlet *inlet, const unsigned char *bytes, size_t size, bool last)
{
	struct beam_message *message = inlet->building;

	if (size)
		memcpy(message_room(message) + inlet->built, bytes, size);
	inlet->built += size;
	if (last) {
		no_more_building(rx, inlet);
		rx_deliver(rx, inlet, message);
	}
}

/*
 * Takes a whole message in one frame that is in the chunk. It becomes a view if the chunk has a
 * message left, and not too many chunks are in use.
 */
static int take_whole(struct rx *rx, const struct data *data)
{
	struct beam_message *message = rx->views ? message_view(rx->chunk, data->part, data->size) : NULL;

	if (!message) {
		if (begin_building(rx, data) < 0)
			return rx->error;
		build(rx, data->inlet, data->part, data->size, true);
		return 0;
	}
	if (begin_message(rx, data, message) < 0) {
		message_free_shell(message);
		return rx->error;
	}
	rx_deliver(rx, data->inlet, message);
	return 0;
}

static int take_abort(struct rx *rx)
{
	struct inlet *inlet = message_inlet(rx);
	struct beam_message *message;

	if (!inlet)
		return rx->error;
	message = inlet->building;
	if (!message || rx->frame.argument != inlet->building_call)
		return rx_breach(rx, BREACH_FRAGMENT);
	if (rx->frame.claimed)
		return rx_breach(rx, BREACH_CLAIM);
	no_more_building(rx, inlet);
	rx->events->aborted(rx->owner, inlet, message);
	rx_discard_message(rx, message);
	return 0;
}

static int take_message(struct rx *rx, const unsigned char *body)
{
	struct data data;

	if (rx->frame.flags & FRAME_ABORT)
		return take_abort(rx);
	if (judge_data(rx, &data, body) < 0)
		return rx->error;
	if (data.first && data.last)
		return take_whole(rx, &data);
	if (data.first && begin_building(rx, &data) < 0)
		return rx->error;
	build(rx, data.inlet, data.part, data.size, data.last);
	return 0;
}

/* ---- Parsing --------------------------------------------------------------------------------- */

/* Judges the header at `low`. */
static int judge_header(struct rx *rx)
{
	const char *rule = frame_decode(&rx->frame, rx->chunk->bytes + rx->low);
	const struct frame *frame = &rx->frame;

	rx->frames++;
	if (rule)
		return rx_breach(rx, rule);
	if ((frame->kind == FRAME_HELLO) == rx->hello_seen)
		return rx_breach(rx, BREACH_FIRST);
	if (rx->goodbye_seen)
		return rx_breach(rx, BREACH_GOODBYE);
	rx->hello_seen = true;
	if (take_carried(rx) < 0)
		return rx->error;
	if (frame->kind == FRAME_OPEN && frame_payload(frame) > NAME_MAX_BYTES)
		return rx_breach(rx, BREACH_NAME);
	rx->in_frame = true;
	return 0;
}

/* Takes the frame at `low`, which is complete. */
static int take_frame(struct rx *rx)
{
	const unsigned char *body = rx->chunk->bytes + rx->low + FRAME_HEADER;
	size_t payload = frame_payload(&rx->frame);

	for (size_t i = 0; i < rx->frame.padding; i++) {
		if (body[payload + i])
			return rx_breach(rx, BREACH_PADDING);
	}
	rx->low += FRAME_HEADER + frame_body(&rx->frame);
	rx->in_frame = false;
	switch ((enum frame_kind)rx->frame.kind) {
	case FRAME_DATA:
	case FRAME_REPLY: return take_message(rx, body);
	case FRAME_CREDIT: return rx_take_credit(rx, body);
	case FRAME_OPEN: return rx_take_open(rx, body);
	case FRAME_CLOSE: return rx_take_close(rx);
	case FRAME_RESET: return rx_take_reset(rx);
	case FRAME_WANT: rx->events->want(rx->owner, rx->frame.argument); return 0;
	case FRAME_RETURN: return rx_take_return(rx);
	case FRAME_PING: rx->events->ping(rx->owner, rx->frame.argument == PING_ASKS); return 0;
	case FRAME_HELLO: return rx_take_hello(rx, body);
	case FRAME_GOODBYE:
	default: return rx_take_goodbye(rx); /* frame_decode() accepts no other kind */
	}
}

/*
 * If the frame has a large payload, copies what has arrived of it, lets the rest be read straight
 * to its place, and returns true. Also returns true after an error.
 */
static bool go_direct(struct rx *rx)
{
	const unsigned char *body = rx->chunk->bytes + rx->low + FRAME_HEADER;
	size_t have = rx->high - rx->low - FRAME_HEADER,
	       prefix = rx->frame.flags & FRAME_SIZED ? FRAME_SIZED_PREFIX : 0;
	struct data data;
	size_t part;

	if ((rx->frame.kind != FRAME_DATA && rx->frame.kind != FRAME_REPLY) || frame_body(&rx->frame) < RX_DIRECT_MIN ||
	    have < prefix)
		return false;
	if (judge_data(rx, &data, body) < 0 || (data.first && begin_building(rx, &data) < 0))
		return true;
	part = have - prefix < data.size ? have - prefix : data.size;
	build(rx, data.inlet, data.part, part, false);
	rx->direct = data.inlet;
	rx->direct_left = data.size - part;
	rx->direct_more = !data.last;
	rx->padding_left = rx->frame.padding;
	rx->low += FRAME_HEADER + prefix + part;
	rx->in_frame = false;
	return true;
}

/*
 * Takes the rest of a frame that is read straight to its place. Returns 1 when it is complete, 0 if
 * more must come, or rx->error.
 */
static int go_on_direct(struct rx *rx)
{
	struct inlet *inlet = rx->direct;

	if (rx->direct_left)
		return 0;
	for (; rx->padding_left && rx->low < rx->high; rx->padding_left--) {
		if (rx->chunk->bytes[rx->low++])
			return rx_breach(rx, BREACH_PADDING);
	}
	if (rx->padding_left)
		return 0;
	rx->direct = NULL;
	build(rx, inlet, NULL, 0, !rx->direct_more);
	return 1;
}

static int rx_parse(struct rx *rx)
{
	int r = 0;

	while (!rx->error) {
		if (rx->direct) {
			r = go_on_direct(rx);
			if (r <= 0)
				break;
			continue;
		}
		if (!rx->in_frame && rx->high - rx->low < FRAME_HEADER)
			break;
		if (!rx->in_frame && judge_header(rx) < 0)
			break;
		if (rx->high - rx->low < FRAME_HEADER + frame_body(&rx->frame)) {
			if (!go_direct(rx))
				break;
			continue;
		}
		take_frame(rx);
	}
	return rx->error;
}

int rx_took(struct rx *rx, size_t n, const struct rx_group *group)
{
	size_t direct = n < rx->direct_left ? n : rx->direct_left;

	if (rx->error) {
		rx->events->discard(rx->owner, group->fds, group->n, false);
		return rx->error;
	}
	rx->now.present = group->n || group->loss;
	rx->now.n = group->n;
	rx->now.loss = group->loss;
	if (group->n)
		memcpy(rx->now.fds, group->fds, group->n * sizeof(int));
	if (direct) {
		rx->direct_left -= direct;
		rx->direct->built += direct;
	}
	rx->fresh = rx->high;
	rx->high += n - direct;
	if (!rx_parse(rx))
		keep_group(rx);
	while (!list_empty(&rx->touched))
		rx_flush(rx, list_entry(rx->touched.next, struct inlet, touched));
	return rx->error;
}
