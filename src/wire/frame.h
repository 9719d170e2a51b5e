/* SPDX-License-Identifier: MIT */
/*
 * Frames of the channel protocol (docs/protocol.md): their numbers, their header, and HELLO. The
 * functions convert bytes to fields and back. They have no state and make no system call.
 */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

#include <base/reader.h>

enum frame_kind {
	FRAME_HELLO = 1,
	FRAME_OPEN = 2,
	FRAME_DATA = 3,
	FRAME_REPLY = 4,
	FRAME_CREDIT = 5,
	FRAME_CLOSE = 6,
	FRAME_RESET = 7,
	FRAME_GOODBYE = 8,
	/* 9 to 14 are reserved for a ring in shared memory. */
	FRAME_WANT = 15,
	FRAME_RETURN = 16,
	FRAME_PING = 17,
	FRAME_KIND_LAST = FRAME_PING,
};

enum frame_flag {
	FRAME_MORE = 0x01,
	FRAME_SIZED = 0x02,
	FRAME_ABORT = 0x04,
	FRAME_END = 0x08,
	FRAME_ERROR = 0x10,
	/* For CREDIT only: the bytes are overdraft, and go to the pool. */
	FRAME_OVERDRAFT = 0x01,
	FRAME_FLAGS = 0x1f,
	/* Bits 5-7: how many zero bytes follow the payload. */
	FRAME_PADDING_SHIFT = 5,
};

enum ping { PING_ASKS = 0, PING_ANSWERS = 1 };

enum reset_reason {
	RESET_DONE = 0,     /* answers CLOSE: everything has been taken */
	RESET_UNWANTED = 1, /* no more messages are wanted */
	RESET_REFUSED = 2,  /* this side does not accept the topic */
};

enum reply_error {
	REPLY_DROPPED = 1, /* the callee dropped the call */
	REPLY_CLOSED = 2,  /* the call's topic was closed before it was taken */
};

enum {
	/* The header, including the four bytes of the core's framing. */
	FRAME_HEADER = 16,
	/* The length field counts what follows it. */
	FRAME_LENGTH_MIN = 12,
	FRAME_LENGTH_MAX = 65548,
	/* Payload, SIZED's prefix and padding together. */
	FRAME_BODY_MAX = FRAME_LENGTH_MAX - 12,
	FRAME_SIZED_PREFIX = 8,
	FRAME_CREDIT_BODY = 8,
	/* Descriptors with one frame: the kernel's SCM_MAX_FD. */
	FRAME_CARRIED_MAX = 253,
	/* The credit that a message costs besides its payload. */
	MESSAGE_COST = 64,
	/* The most credit that may be outstanding. */
	CREDIT_MAX = 1 << 30,
	NAME_MAX_BYTES = 255,
};

#define FRAME_CARRIES 0x80000000u

struct frame {
	uint32_t length;
	uint8_t kind, flags, padding, claimed, carried;
	uint32_t id, argument;
};

/* Bytes after the header: payload and padding. */
static inline size_t frame_body(const struct frame *frame)
{
	return frame->length - FRAME_LENGTH_MIN;
}

static inline size_t frame_payload(const struct frame *frame)
{
	return frame_body(frame) - frame->padding;
}

/*
 * Decodes a header, and checks what can be checked without the rest of the frame. Returns NULL, or
 * the rule that the header breaks (breach.h).
 */
const char *frame_decode(struct frame *ret, const unsigned char header[FRAME_HEADER]);

/*
 * Encodes the header of a frame with `payload` bytes of payload, and computes its padding. Returns
 * the size of the whole frame.
 */
size_t frame_encode(unsigned char header[FRAME_HEADER], uint8_t kind, uint8_t flags, uint8_t claimed, uint32_t id,
		    uint32_t argument, size_t payload);

/* Makes a frame the carrier of `n` descriptors, or of none. */
void frame_set_carried(unsigned char header[FRAME_HEADER], uint8_t n);

/*
 * Reads the size and the overdraft of a message from an encoded DATA or REPLY frame that holds all
 * of it.
 */
void frame_message(const unsigned char *bytes, uint32_t *ret_size, uint32_t *ret_overdraft);

static inline size_t frame_padding(size_t payload)
{
	return (size_t)-payload & 7;
}

/* What a side accepts, in the order of HELLO. */
struct limits {
	uint32_t topics, calls, message_bytes, message_attachments, topic_bytes, topic_attachments, pool_bytes,
	    attachments;
};

/*
 * The limits that apply until HELLO has arrived. No HELLO may go below them, except in the three
 * limits of attachments.
 */
extern const struct limits limits_base;

struct hello {
	uint8_t version;
	uint32_t features;
	struct limits limits;
};

/*
 * What a side announces in HELLO. FEATURE_LENDS: attachments that it grants to the channel are to
 * be given back when they are not in use. FEATURE_ANSWERS: it answers PING.
 */
enum { FEATURE_LENDS = 2, FEATURE_ANSWERS = 4 };

enum { PROTOCOL_VERSION = 1, HELLO_PAYLOAD = 44, HELLO_PAYLOAD_MAX = 256, HELLO_FRAME = 64 };

/* Returns NULL, or the rule that was broken. */
const char *hello_decode(struct hello *ret, const unsigned char *payload, size_t size);
/* Encodes the whole frame. */
void hello_encode(unsigned char frame[HELLO_FRAME], const struct hello *hello);

#endif
