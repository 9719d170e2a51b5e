/* SPDX-License-Identifier: MIT */
/*
 * Makes frames of messages: of one message, from the caller's memory, or of several whole ones
 * together.
 */
#include <session/fragment.h>
#include <string.h>

/* ---- One message ----------------------------------------------------------------------------- */

/*
 * Puts the next bytes of the payload into the frame: `most` of them, or fewer if they are in too
 * many pieces.
 */
static void take_part(struct tx_message *message, size_t most)
{
	struct tx_own *own = &message->own;

	own->n_parts = 0;
	own->payload = 0;
	while (message->left && own->payload < most && own->n_parts < TX_OWN_PARTS) {
		const struct iovec *iov = &message->iov[message->at_iov];
		size_t size = iov->iov_len - message->at_byte, room = most - own->payload;

		if (!size) {
			message->at_iov++;
			message->at_byte = 0;
			continue;
		}
		if (size > room)
			size = room;
		own->parts[own->n_parts++] = (struct iovec){(unsigned char *)iov->iov_base + message->at_byte, size};
		own->payload += size;
		message->at_byte += size;
		message->left -= size;
	}
}

/*
 * Returns how much of what is left the next frame takes. The end of a message must not be divided
 * between writes, so it is a frame of its own.
 */
static size_t next_part(const struct tx_message *message, size_t room)
{
	if (message->left <= TX_WHOLE)
		return message->left;
	return message->left - TX_TAIL < room ? message->left - TX_TAIL : room;
}

/* Makes further frames, but never the last, as long as the payload of each is in one piece. */
static void make_more(struct tx_message *message)
{
	struct tx_own *own = &message->own;

	while (message->left > TX_WHOLE && own->n_more < TX_OWN_MORE) {
		const struct iovec *iov = &message->iov[message->at_iov];
		size_t size = next_part(message, FRAME_BODY_MAX);
		struct tx_more *more = &own->more[own->n_more];

		if (iov->iov_len - message->at_byte < size)
			return;
		more->part = (struct iovec){(unsigned char *)iov->iov_base + message->at_byte, size};
		more->padding = frame_padding(size);
		message->at_byte += size;
		message->left -= size;
		tx_frame(message->outlet, more->head, FRAME_MORE, 0, message->call ? message->call->id : 0, size);
		own->n_more++;
	}
}

void tx_message_frame(struct tx_message *message, bool several)
{
	struct tx_own *own = &message->own;
	bool first = message->left == message->size;
	size_t prefix = 0;
	uint8_t flags = first ? message->flags : 0;

	if (first && message->overdraft)
		prefix = FRAME_SIZED_PREFIX;
	take_part(message, next_part(message, FRAME_BODY_MAX - (first ? FRAME_SIZED_PREFIX : 0)));
	if (first && message->left)
		prefix = FRAME_SIZED_PREFIX;
	if (prefix) {
		flags |= FRAME_SIZED;
		put_u32(own->head + FRAME_HEADER, (uint32_t)message->size);
		put_u32(own->head + FRAME_HEADER + 4, message->overdraft);
	}
	if (message->left)
		flags |= FRAME_MORE;
	own->head_size = FRAME_HEADER + prefix;
	own->padding = frame_padding(prefix + own->payload);
	own->fds = first ? message->fds : NULL;
	own->n_fds = first ? message->n_fds : 0;
	tx_frame(own->outlet, own->head, flags, (uint8_t)own->n_fds, message->call ? message->call->id : 0,
		 prefix + own->payload);
	own->n_more = 0;
	/* A frame with further ones cannot be buffered, so only large frames get them. */
	if (own->payload > TX_WHOLE && several)
		make_more(message);
	own->n_messages = !message->left;
	own->undivided = !message->left;
	own->made_way = false;
	own->after = message->outlet->buffered;
	own->call = message->call;
	own->is_last = message->flags & FRAME_END;
	own->batched = own->begun = own->done = own->sent_some = false;
}

/* ---- Runs ------------------------------------------------------------------------------------ */

bool tx_run_fits(const struct tx_run *run, size_t size, size_t n_fds)
{
	return run->size + FRAME_HEADER + FRAME_SIZED_PREFIX + size + 8 <= TX_RUN && run->n_fds + n_fds <= TX_FDS;
}

void tx_run_add(struct tx_run *run, struct tx_message *message)
{
	tx_message_frame(message, false);
	run->size = (size_t)(tx_own_put(&message->own, run->bytes + run->size) - run->bytes);
	for (unsigned i = 0; i < message->n_fds; i++)
		run->fds[run->n_fds++] = message->fds[i];
	run->n++;
}

void tx_run_own(struct tx_run *run, struct tx_own *ret, struct outlet *outlet)
{
	*ret = (struct tx_own){
	    .outlet = outlet,
	    .parts = {{run->bytes, run->size}},
	    .n_parts = 1,
	    .payload = run->size,
	    .fds = run->fds,
	    .n_fds = run->n_fds,
	    .n_messages = run->n,
	};
}

size_t tx_run_whole(const struct tx_run *run, size_t size)
{
	struct frame frame;
	size_t end = 0;

	for (size_t n = 0;; n++) {
		frame_decode(&frame, run->bytes + end);
		end += FRAME_HEADER + frame_body(&frame);
		if (end > size)
			return n;
	}
}
