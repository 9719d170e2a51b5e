/* SPDX-License-Identifier: MIT */
/*
 * The session's receiving half: its memory, and where to read to. rx_parse.c makes frames of bytes,
 * and messages of frames. rx_control.c takes the frames that carry no message.
 */
#include <base/sys.h>
#include <errno.h>
#include <session/rx_parse.h>
#include <string.h>

/*
 * If a payload is read straight to its place, and another frame of the same message follows, this
 * is the most that is read behind the payload. It is enough for the next header, and leaves little
 * that must be copied. There is always this much room.
 */
enum { DIRECT_ALONG = RX_DIRECT_MIN };

int rx_breach(struct rx *rx, const char *rule)
{
	rx->breach = rule;
	return rx->error = -EPROTO;
}

int rx_out_of_memory(struct rx *rx)
{
	return rx->error = -ENOMEM;
}

/* ---- Beginning and end ----------------------------------------------------------------------- */

int rx_init(struct rx *rx, const struct limits *limits, const struct rx_events *events, void *owner,
	    _Atomic uint64_t *granted_pool, _Atomic uint64_t *granted_attachments)
{
	memset(rx, 0, sizeof *rx);
	rx->limits = limits;
	rx->events = events;
	rx->owner = owner;
	rx->granted_pool = granted_pool;
	rx->granted_attachments = granted_attachments;
	list_init(&rx->touched);
	rx->pool = chunk_pool_new();
	return rx->pool ? 0 : -ENOMEM;
}

void rx_discard_message(struct rx *rx, struct beam_message *message)
{
	if (message->call)
		message->call->dropped(message->call);
	rx->events->discard(rx->owner, message->fds, message->n_fds, true);
	message_free_shell(message);
}

static void no_free(void *name)
{
	(void)name;
}

static void discard_pending(struct rx *rx, struct rx_pending *group)
{
	if (group->n)
		rx->events->discard(rx->owner, group->fds, group->n, false);
	group->present = false;
	group->n = 0;
}

void rx_finish(struct rx *rx)
{
	for (uint32_t i = 1; i <= rx->capacity_inlets; i++) {
		struct inlet *inlet = rx->inlets[i];

		if (inlet && inlet->building)
			rx_discard_message(rx, inlet->building);
		if (inlet)
			inlet->building = NULL;
	}
	if (rx->slot_high > rx->slot_low)
		rx->events->discard(rx->owner, rx->slots + rx->slot_low, rx->slot_high - rx->slot_low, true);
	rx->slot_low = rx->slot_high = 0;
	discard_pending(rx, &rx->now);
	discard_pending(rx, &rx->before);
}

void rx_end(struct rx *rx)
{
	tdestroy(rx->names, no_free);
	for (uint32_t i = 1; i <= rx->capacity_inlets; i++)
		free(rx->inlets[i]);
	if (rx->chunk)
		chunk_unref(rx->chunk);
	if (rx->pool)
		chunk_pool_release(rx->pool);
	free(rx->inlets);
	rx->chunk = NULL;
	rx->pool = NULL;
	rx->inlets = NULL;
	rx->capacity_inlets = 0;
}

/* ---- Where to read to ------------------------------------------------------------------------ */

/* Provides a chunk with room at its end. What is unparsed is moved to its front. */
static int rx_make_room(struct rx *rx)
{
	size_t left = rx->high - rx->low;
	struct chunk *chunk = rx->chunk;

	if (!chunk || !chunk_alone(chunk)) {
		chunk = chunk_new(rx->pool);
		if (!chunk)
			return rx_out_of_memory(rx);
	}
	if (rx->chunk && left)
		memmove(chunk->bytes, rx->chunk->bytes + rx->low, left);
	if (chunk != rx->chunk) {
		if (rx->chunk)
			chunk_unref(rx->chunk);
		rx->chunk = chunk;
	}
	rx->low = 0;
	rx->high = left;
	rx->views = chunk_pool_open(rx->pool);
	return 0;
}

void rx_trim(struct rx *rx)
{
	if (rx->chunk && rx->low == rx->high) {
		chunk_unref(rx->chunk);
		rx->chunk = NULL;
		rx->low = rx->high = rx->fresh = 0;
	}
	chunk_pool_trim(rx->pool);
}

int rx_offer(struct rx *rx, struct iovec iov[RX_IOV])
{
	size_t need = RX_DIRECT_MIN, room = rx->chunk ? CHUNK_BYTES - rx->high : 0;
	int n = 0;

	if (rx->error)
		return rx->error;
	if (rx->in_frame && FRAME_HEADER + frame_body(&rx->frame) > need)
		need = FRAME_HEADER + frame_body(&rx->frame);
	if (room < need || (rx->low == rx->high && rx->high && chunk_alone(rx->chunk))) {
		if (rx_make_room(rx) < 0)
			return rx->error;
		room = CHUNK_BYTES - rx->high;
	}
	if (rx->direct && rx->direct_left) {
		struct inlet *inlet = rx->direct;

		iov[n++] = (struct iovec){message_room(inlet->building) + inlet->built, rx->direct_left};
		if (rx->direct_more)
			room = DIRECT_ALONG;
	}
	iov[n++] = (struct iovec){rx->chunk->bytes + rx->high, room};
	return n;
}

/* ---- What is incomplete ---------------------------------------------------------------------- */

bool rx_unfinished(const struct rx *rx)
{
	return rx->direct || rx->in_frame || rx->high > rx->low;
}

uint64_t rx_frame_number(const struct rx *rx)
{
	return rx->frames + (!rx->direct && !rx->in_frame);
}
