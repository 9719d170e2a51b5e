/* SPDX-License-Identifier: MIT */
/*
 * Encodes and decodes the frame header and HELLO. Breaches that show in a header alone are found
 * here. The session finds those that depend on the state of a channel.
 */
#include <string.h>
#include <wire/breach.h>
#include <wire/frame.h>

const struct limits limits_base = {
    .topics = 64,
    .calls = 64,
    .message_bytes = 1 << 20,
    .message_attachments = 16,
    .topic_bytes = 64 << 10,
    .topic_attachments = 16,
    .pool_bytes = 1 << 20,
    .attachments = 64,
};

/* What each kind of frame may have. */
struct kind {
	uint8_t flags;
	bool known, carrier, id, argument, claims;
	uint16_t payload_min;
	uint32_t payload_max;
};

static const struct kind kinds[FRAME_KIND_LAST + 1] = {
    [FRAME_HELLO] = {.known = true, .payload_min = HELLO_PAYLOAD, .payload_max = HELLO_PAYLOAD_MAX},
    [FRAME_OPEN] = {.known = true, .carrier = true, .id = true, .payload_max = FRAME_BODY_MAX},
    [FRAME_DATA] = {.known = true,
		    .carrier = true,
		    .id = true,
		    .argument = true,
		    .claims = true,
		    .flags = FRAME_MORE | FRAME_SIZED | FRAME_ABORT,
		    .payload_max = FRAME_BODY_MAX},
    [FRAME_REPLY] = {.known = true,
		     .carrier = true,
		     .argument = true,
		     .claims = true,
		     .flags = FRAME_MORE | FRAME_SIZED | FRAME_ABORT | FRAME_END | FRAME_ERROR,
		     .payload_max = FRAME_BODY_MAX},
    [FRAME_CREDIT] = {.known = true,
		      .flags = FRAME_OVERDRAFT,
		      .carrier = true,
		      .id = true,
		      .argument = true,
		      .payload_min = FRAME_CREDIT_BODY,
		      .payload_max = FRAME_CREDIT_BODY},
    [FRAME_CLOSE] = {.known = true, .carrier = true, .id = true},
    [FRAME_RESET] = {.known = true, .carrier = true, .id = true, .argument = true},
    [FRAME_GOODBYE] = {.known = true, .carrier = true},
    [FRAME_WANT] = {.known = true, .carrier = true, .argument = true},
    [FRAME_RETURN] = {.known = true, .carrier = true, .argument = true},
    [FRAME_PING] = {.known = true, .carrier = true, .argument = true},
};

/* Returns how many bytes the flags require at the beginning of the payload. */
static size_t payload_of_flags(uint8_t flags)
{
	return (flags & FRAME_SIZED ? FRAME_SIZED_PREFIX : 0u) + (flags & FRAME_ERROR ? 4u : 0u);
}

const char *frame_decode(struct frame *ret, const unsigned char header[FRAME_HEADER])
{
	struct reader reader = reader_over(header, FRAME_HEADER);
	uint32_t word = reader_u32(&reader);
	uint8_t flags;
	const struct kind *kind;

	ret->length = word & ~FRAME_CARRIES;
	ret->kind = reader_u8(&reader);
	flags = reader_u8(&reader);
	ret->flags = flags & FRAME_FLAGS;
	ret->padding = (uint8_t)(flags >> FRAME_PADDING_SHIFT);
	ret->claimed = reader_u8(&reader);
	ret->carried = reader_u8(&reader);
	ret->id = reader_u32(&reader);
	ret->argument = reader_u32(&reader);

	if (ret->length < FRAME_LENGTH_MIN || ret->length > FRAME_LENGTH_MAX || (ret->length + 4) % 8)
		return BREACH_LENGTH;
	if (ret->kind > FRAME_KIND_LAST || !kinds[ret->kind].known)
		return BREACH_KIND;
	kind = &kinds[ret->kind];
	if ((ret->flags & ~kind->flags) || ((ret->flags & FRAME_ABORT) && ret->flags != FRAME_ABORT) ||
	    ((ret->flags & FRAME_ERROR) && !(ret->flags & FRAME_END)))
		return BREACH_FLAGS;
	if (ret->padding > frame_body(ret))
		return BREACH_PADDING;
	if ((!kind->id && ret->id) || (!kind->argument && ret->argument) || (!kind->claims && ret->claimed))
		return BREACH_UNUSED;
	if (frame_payload(ret) < kind->payload_min + payload_of_flags(ret->flags) ||
	    frame_payload(ret) > kind->payload_max || ((ret->flags & FRAME_ABORT) && frame_payload(ret)))
		return BREACH_PAYLOAD;
	if ((word & FRAME_CARRIES) ? !ret->carried || ret->carried > FRAME_CARRIED_MAX || !kind->carrier : ret->carried)
		return BREACH_CARRIER;
	return NULL;
}

size_t frame_encode(unsigned char header[FRAME_HEADER], uint8_t kind, uint8_t flags, uint8_t claimed, uint32_t id,
		    uint32_t argument, size_t payload)
{
	size_t padding = frame_padding(payload);
	uint32_t length = (uint32_t)(FRAME_LENGTH_MIN + payload + padding);

	put_u32(header, length);
	header[4] = kind;
	header[5] = (unsigned char)(flags | padding << FRAME_PADDING_SHIFT);
	header[6] = claimed;
	header[7] = 0;
	put_u32(header + 8, id);
	put_u32(header + 12, argument);
	return 4 + (size_t)length;
}

void frame_set_carried(unsigned char header[FRAME_HEADER], uint8_t n)
{
	header[0] = (unsigned char)((header[0] & 0x7f) | (n ? 0x80 : 0));
	header[7] = n;
}

void frame_message(const unsigned char *bytes, uint32_t *ret_size, uint32_t *ret_overdraft)
{
	struct frame frame;
	struct reader prefix = reader_over(bytes + FRAME_HEADER, FRAME_SIZED_PREFIX);

	frame_decode(&frame, bytes);
	*ret_size = (uint32_t)frame_payload(&frame);
	*ret_overdraft = 0;
	if (frame.flags & FRAME_SIZED) {
		*ret_size = reader_u32(&prefix);
		*ret_overdraft = reader_u32(&prefix);
	}
}

/* The limits in the order of HELLO. */
static void limits_to_array(uint32_t to[8], const struct limits *limits)
{
	const uint32_t values[8] = {limits->topics,        limits->calls,
				    limits->message_bytes, limits->message_attachments,
				    limits->topic_bytes,   limits->topic_attachments,
				    limits->pool_bytes,    limits->attachments};

	memcpy(to, values, sizeof values);
}

const char *hello_decode(struct hello *ret, const unsigned char *payload, size_t size)
{
	struct reader reader = reader_over(payload, size);
	const unsigned char *magic = reader_bytes(&reader, 4);
	uint32_t base[8], v[8];

	if (!magic || memcmp(magic, "Beam", 4) != 0)
		return BREACH_HELLO;
	ret->version = reader_u8(&reader);
	if (!ret->version)
		return BREACH_HELLO;
	for (int i = 0; i < 3; i++) {
		if (reader_u8(&reader))
			return BREACH_UNUSED;
	}
	ret->features = reader_u32(&reader);
	limits_to_array(base, &limits_base);
	for (int i = 0; i < 8; i++) {
		/*
		 * Attachments are never sent before HELLO has arrived, so a limit of attachments
		 * may be below its base value.
		 */
		bool of_attachments = i == 3 || i == 5 || i == 7;

		v[i] = reader_u32(&reader);
		if (reader.failed || (v[i] < base[i] && !of_attachments) || v[i] > CREDIT_MAX)
			return BREACH_HELLO;
	}
	ret->limits = (struct limits){v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]};
	return NULL;
}

void hello_encode(unsigned char frame[HELLO_FRAME], const struct hello *hello)
{
	unsigned char *at = frame + FRAME_HEADER;
	uint32_t v[8];

	memset(frame, 0, HELLO_FRAME);
	frame_encode(frame, FRAME_HELLO, 0, 0, 0, 0, HELLO_PAYLOAD);
	memcpy(at, "Beam", 4);
	at[4] = hello->version;
	put_u32(at + 8, hello->features);
	limits_to_array(v, &hello->limits);
	for (int i = 0; i < 8; i++)
		put_u32(at + 12 + 4 * i, v[i]);
}
