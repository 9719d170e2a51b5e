/* SPDX-License-Identifier: MIT */
/*
 * Frames and HELLO. What is decoded and encoded again has the same bytes. What is encoded and
 * decoded again has the same fields. What is accepted follows the rules of docs/protocol.md, which
 * are repeated here.
 *
 * The input consists of frames, as on a socket. Each header also provides the fields of a frame to
 * encode.
 */
#include <fuzz/fuzz.h>
#include <string.h>
#include <wire/breach.h>
#include <wire/frame.h>

static bool has(const struct frame *frame, uint8_t flags)
{
	return frame->flags & flags;
}

static bool is_message(const struct frame *frame)
{
	return frame->kind == FRAME_DATA || frame->kind == FRAME_REPLY;
}

/* The rules of docs/protocol.md for headers. */
static void check_rules(const struct frame *frame)
{
	size_t payload = frame_payload(frame);

	must(frame->length >= FRAME_LENGTH_MIN && frame->length <= FRAME_LENGTH_MAX && frame->length % 8 == 4);
	must((frame->kind >= FRAME_HELLO && frame->kind <= FRAME_GOODBYE) ||
	     (frame->kind >= FRAME_WANT && frame->kind <= FRAME_PING));
	must(payload <= frame_body(frame));
	must(frame->padding == frame_padding(payload));
	must(frame->carried <= FRAME_CARRIED_MAX);
	if (!is_message(frame))
		must(!(frame->flags & ~(frame->kind == FRAME_CREDIT ? FRAME_OVERDRAFT : 0)) && !frame->claimed);
	must(!has(frame, FRAME_END | FRAME_ERROR) || frame->kind == FRAME_REPLY);
	must(!has(frame, FRAME_ERROR) || has(frame, FRAME_END));
	if (has(frame, FRAME_ABORT))
		must(frame->flags == FRAME_ABORT && payload == 0);
	if (has(frame, FRAME_SIZED))
		must(payload >= FRAME_SIZED_PREFIX);
	switch (frame->kind) {
	case FRAME_HELLO:
		must(!frame->id && !frame->argument && !frame->carried && payload >= HELLO_PAYLOAD &&
		     payload <= HELLO_PAYLOAD_MAX);
		break;
	case FRAME_OPEN: must(!frame->argument); break;
	case FRAME_REPLY: must(!frame->id); break;
	case FRAME_CREDIT: must(payload == FRAME_CREDIT_BODY); break;
	case FRAME_CLOSE: must(!frame->argument && payload == 0); break;
	case FRAME_RESET: must(payload == 0); break;
	case FRAME_GOODBYE: must(!frame->id && !frame->argument && payload == 0); break;
	case FRAME_WANT:
	case FRAME_RETURN:
	case FRAME_PING: must(!frame->id && payload == 0); break;
	default: break;
	}
}

/* Encoding the frame again gives the same header. */
static void check_decoded(const struct frame *frame, const unsigned char header[FRAME_HEADER])
{
	unsigned char again[FRAME_HEADER];
	size_t size = frame_encode(again, frame->kind, frame->flags, frame->claimed, frame->id, frame->argument,
				   frame_payload(frame));

	frame_set_carried(again, frame->carried);
	must(size == (size_t)frame->length + 4);
	must(memcmp(again, header, FRAME_HEADER) == 0);
}

/*
 * Encodes fields taken from the bytes of a header, valid or not. Decoding must return the same
 * fields.
 */
static void check_encoded(const unsigned char bytes[FRAME_HEADER])
{
	unsigned char header[FRAME_HEADER];
	struct reader reader = reader_over(bytes, FRAME_HEADER);
	size_t payload = reader_u32(&reader) % (FRAME_BODY_MAX + 1);
	uint8_t kind = reader_u8(&reader), flags = reader_u8(&reader) & FRAME_FLAGS, claimed = reader_u8(&reader);
	uint8_t carried = reader_u8(&reader);
	uint32_t id = reader_u32(&reader), argument = reader_u32(&reader);
	size_t size = frame_encode(header, kind, flags, claimed, id, argument, payload);
	struct frame frame;
	const char *rule;

	frame_set_carried(header, carried);
	rule = frame_decode(&frame, header);
	must(frame.kind == kind && frame.flags == flags && frame.claimed == claimed && frame.carried == carried);
	must(frame.id == id && frame.argument == argument);
	must((size_t)frame.length + 4 == size && size % 8 == 0 && frame_payload(&frame) == payload);
	must(!rule || (strcmp(rule, BREACH_LENGTH) != 0 && strcmp(rule, BREACH_PADDING) != 0));
	if (!rule)
		check_rules(&frame);
}

static void check_hello(const unsigned char *payload, size_t size)
{
	unsigned char frame[HELLO_FRAME];
	struct hello hello;

	if (hello_decode(&hello, payload, size))
		return;
	must(size >= HELLO_PAYLOAD && hello.version > 0);
	must(hello.limits.topics >= limits_base.topics && hello.limits.calls >= limits_base.calls);
	must(hello.limits.message_bytes >= limits_base.message_bytes && hello.limits.message_bytes <= CREDIT_MAX);
	must(hello.limits.pool_bytes >= limits_base.pool_bytes && hello.limits.pool_bytes <= CREDIT_MAX);
	hello_encode(frame, &hello);
	/* Fields of a later version, which follow, are not included. */
	must(memcmp(frame + FRAME_HEADER, payload, HELLO_PAYLOAD) == 0);
	must(!hello_decode(&hello, frame + FRAME_HEADER, HELLO_PAYLOAD));
	/* A payload that is too short is refused. */
	must(hello_decode(&hello, payload, size % HELLO_PAYLOAD));
}

static void check_message(const struct frame *frame, const unsigned char *bytes)
{
	uint32_t size, overdraft;

	frame_message(bytes, &size, &overdraft);
	if (has(frame, FRAME_SIZED)) {
		struct reader prefix = reader_over(bytes + FRAME_HEADER, FRAME_SIZED_PREFIX);

		must(size == reader_u32(&prefix));
		must(overdraft == reader_u32(&prefix));
	} else {
		must(size == frame_payload(frame) && overdraft == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader input = reader_over(data, size);

	while (input.left >= FRAME_HEADER) {
		const unsigned char *bytes = reader_bytes(&input, FRAME_HEADER);
		struct frame frame;

		check_encoded(bytes);
		if (frame_decode(&frame, bytes)) {
			check_hello(input.at, input.left);
			continue;
		}
		check_rules(&frame);
		check_decoded(&frame, bytes);
		if (frame_body(&frame) > input.left)
			break;
		if (frame.kind == FRAME_HELLO)
			check_hello(input.at, frame_payload(&frame));
		if (is_message(&frame))
			check_message(&frame, bytes);
		reader_bytes(&input, frame_body(&frame));
	}
	return 0;
}
