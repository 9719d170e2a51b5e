/* SPDX-License-Identifier: MIT */
/*
 * A peer that does not use Beam. It encodes frames by hand from docs/protocol.md alone, sends bytes
 * and descriptors as a test demands, and takes apart what comes back.
 */
#ifndef HOSTILE_RAW_PEER_H
#define HOSTILE_RAW_PEER_H

#include <harness/harness.h>
#include <kernel/raw.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>

enum raw_kind {
	RAW_HELLO = 1,
	RAW_OPEN = 2,
	RAW_DATA = 3,
	RAW_REPLY = 4,
	RAW_CREDIT = 5,
	RAW_CLOSE = 6,
	RAW_RESET = 7,
	RAW_GOODBYE = 8,
};

enum raw_flag { RAW_MORE = 1, RAW_SIZED = 2, RAW_ABORT = 4, RAW_END = 8, RAW_ERROR = 16 };

/* The limits in HELLO, in order. */
enum raw_limit {
	RAW_TOPICS,
	RAW_CALLS,
	RAW_MESSAGE_BYTES,
	RAW_MESSAGE_ATTACHMENTS,
	RAW_TOPIC_BYTES,
	RAW_TOPIC_ATTACHMENTS,
	RAW_POOL_BYTES,
	RAW_ATTACHMENTS,
	RAW_LIMITS
};

enum {
	RAW_HEADER = 16,
	RAW_HELLO_FRAME = 64,
	RAW_FRAME_MAX = 65552,
	RAW_MESSAGE_COST = 64,
	/* What Beam always accepts, before the peer's HELLO has been read. */
	RAW_BASE_TOPIC_BYTES = 64 << 10,
};

/* ---- Bytes to be sent ------------------------------------------------------------------------ */

struct raw_out {
	size_t size;
	unsigned char bytes[1 << 18];
};

static inline void raw_u32_at(struct raw_out *out, size_t at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		out->bytes[at + (size_t)i] = (unsigned char)(value >> (24 - 8 * i));
}

static inline void raw_append(struct raw_out *out, const void *data, size_t size)
{
	require(out->size + size <= sizeof out->bytes);
	if (size)
		memcpy(out->bytes + out->size, data, size);
	out->size += size;
}

static inline void raw_append_u32(struct raw_out *out, uint32_t value)
{
	require(out->size + 4 <= sizeof out->bytes);
	raw_u32_at(out, out->size, value);
	out->size += 4;
}

/*
 * Appends a correct frame that carries nothing. Returns the offset of its first byte, so that a
 * test can change it.
 */
static inline size_t raw_frame(struct raw_out *out, unsigned kind, unsigned flags, unsigned claimed, uint32_t id,
			       uint32_t argument, const void *payload, size_t size)
{
	static const unsigned char zero[8];
	size_t at = out->size, padding = (size_t)-size & 7;
	const unsigned char small[4] = {(unsigned char)kind, (unsigned char)(flags | padding << 5),
					(unsigned char)claimed, 0};

	raw_append_u32(out, (uint32_t)(RAW_HEADER - 4 + size + padding));
	raw_append(out, small, sizeof small);
	raw_append_u32(out, id);
	raw_append_u32(out, argument);
	raw_append(out, payload, size);
	raw_append(out, zero, padding);
	return at;
}

/* Changes the frame at an offset so that it says that it carries `n` descriptors. */
static inline void raw_carry(struct raw_out *out, size_t at, unsigned n)
{
	out->bytes[at] = (unsigned char)((out->bytes[at] & 0x7f) | (n ? 0x80 : 0));
	out->bytes[at + 7] = (unsigned char)n;
}

/* Appends hexadecimal frames, as in the examples of docs/protocol.md. Spaces are ignored. */
static inline void raw_hex(struct raw_out *out, const char *text)
{
	int digits = 0;
	unsigned char byte = 0;

	for (; *text; text++) {
		const char *digit = strchr("0123456789abcdef", *text);

		if (*text == ' ')
			continue;
		require(digit != NULL);
		byte = (unsigned char)(byte << 4 | (digit - "0123456789abcdef"));
		if (++digits % 2 == 0)
			raw_append(out, &byte, 1);
	}
	require(digits % 2 == 0);
}

/* HELLO with the base values. */
static inline size_t raw_hello(struct raw_out *out)
{
	size_t at = out->size;

	raw_hex(out, "0000003c 01 80 00 00 00000000 00000000"
		     "4265616d 01 000000 00000000 00000040 00000040 00100000 00000010 00010000 00000010 00100000 "
		     "00000040 00000000");
	return at;
}

/* HELLO with one limit changed. */
static inline void raw_hello_with(struct raw_out *out, enum raw_limit limit, uint32_t value)
{
	size_t at = raw_hello(out);

	raw_u32_at(out, at + RAW_HEADER + 12 + 4 * (size_t)limit, value);
}

static inline size_t raw_open(struct raw_out *out, uint32_t id, const char *name)
{
	return raw_frame(out, RAW_OPEN, 0, 0, id, 0, name, strlen(name));
}

/* A message in one frame. */
static inline size_t raw_data(struct raw_out *out, uint32_t id, const void *payload, size_t size)
{
	return raw_frame(out, RAW_DATA, 0, 0, id, 0, payload, size);
}

static inline size_t raw_text(struct raw_out *out, uint32_t id, const char *text)
{
	return raw_data(out, id, text, strlen(text));
}

/* A message in one frame that carries and claims `n` descriptors. */
static inline size_t raw_text_with_fds(struct raw_out *out, uint32_t id, const char *text, unsigned n)
{
	size_t at = raw_frame(out, RAW_DATA, 0, n, id, 0, text, strlen(text));

	raw_carry(out, at, n);
	return at;
}

/* The first frame of a message in several frames: total size, overdraft, and the first part. */
static inline size_t raw_begin(struct raw_out *out, uint32_t id, uint32_t total, uint32_t overdraft, const void *part,
			       size_t size)
{
	size_t at = raw_frame(out, RAW_DATA, RAW_MORE | RAW_SIZED, 0, id, 0, NULL, 0);

	out->size = at + RAW_HEADER;
	raw_append_u32(out, total);
	raw_append_u32(out, overdraft);
	raw_append(out, part, size);
	size_t padding = (size_t)-size & 7;
	raw_append(out, "\0\0\0\0\0\0\0", padding);
	raw_u32_at(out, at, (uint32_t)(RAW_HEADER - 4 + 8 + size + padding));
	out->bytes[at + 5] = (unsigned char)(RAW_MORE | RAW_SIZED | padding << 5);
	return at;
}

static inline size_t raw_credit(struct raw_out *out, uint32_t id, uint32_t bytes, uint32_t attachments)
{
	size_t at = raw_frame(out, RAW_CREDIT, 0, 0, id, 0, NULL, 0);

	raw_append_u32(out, bytes);
	raw_append_u32(out, attachments);
	raw_u32_at(out, at, RAW_HEADER - 4 + 8);
	return at;
}

static inline void raw_goodbye(struct raw_out *out)
{
	raw_frame(out, RAW_GOODBYE, 0, 0, 0, 0, NULL, 0);
}

/* ---- The peer -------------------------------------------------------------------------------- */

struct raw_peer {
	int socket;
	bool goodbye;
	/* Bytes and descriptors that were read and not yet taken. */
	size_t low, high;
	unsigned n_fds;
	int fds[1024];
	unsigned char bytes[1 << 18];
};

/*
 * A whole frame that was received. The payload belongs to the peer and is valid until the next
 * frame.
 */
struct raw_frame {
	unsigned kind, flags, claimed, carried;
	uint32_t id, argument;
	const unsigned char *payload;
	size_t size;
};

static inline void raw_peer_init(struct raw_peer *peer, int socket)
{
	peer->socket = socket;
	peer->goodbye = false;
	peer->low = peer->high = peer->n_fds = 0;
}

static inline void raw_peer_close(struct raw_peer *peer)
{
	while (peer->n_fds)
		close(peer->fds[--peer->n_fds]);
	if (peer->socket >= 0)
		close(peer->socket);
	peer->socket = -1;
}

/*
 * Sends everything and empties `out`; the descriptors are sent with the first byte. Waits for room.
 * Returns false if the other side has closed the socket.
 */
static inline bool raw_peer_send_fds(struct raw_peer *peer, struct raw_out *out, const int *fds, size_t n_fds)
{
	struct harness_wait wait = harness_wait_begin(20000);
	size_t at = 0;
	ssize_t n = 0;

	while (at < out->size) {
		n = raw_send(peer->socket, out->bytes + at, out->size - at, fds, n_fds, 0);
		/* Descriptors in flight of other processes of this user count as well. */
		if (n == -ETOOMANYREFS && harness_wait_more(&wait))
			continue;
		if (n < 0)
			break;
		at += (size_t)n;
		n_fds = 0;
	}
	out->size = 0;
	check(n >= 0 || n == -EPIPE || n == -ECONNRESET);
	return n >= 0;
}

static inline bool raw_peer_send(struct raw_peer *peer, struct raw_out *out)
{
	return raw_peer_send_fds(peer, out, NULL, 0);
}

/* True if the other side has read everything that was sent. */
static inline bool raw_peer_drained(const struct raw_peer *peer)
{
	int queued = 1;

	return ioctl(peer->socket, SIOCOUTQ, &queued) == 0 && queued == 0;
}

static inline uint32_t raw_u32(const unsigned char *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Takes a whole frame from what was read. False if there is none. */
static inline bool raw_peer_parse(struct raw_peer *peer, struct raw_frame *ret)
{
	const unsigned char *at = peer->bytes + peer->low;
	size_t size;

	if (peer->high - peer->low < RAW_HEADER)
		return false;
	size = 4 + (raw_u32(at) & 0x7fffffff);
	require(size >= RAW_HEADER && size <= RAW_FRAME_MAX);
	if (peer->high - peer->low < size)
		return false;
	*ret = (struct raw_frame){
	    .kind = at[4],
	    .flags = at[5] & 0x1f,
	    .claimed = at[6],
	    .carried = at[7],
	    .id = raw_u32(at + 8),
	    .argument = raw_u32(at + 12),
	    .payload = at + RAW_HEADER,
	    .size = size - RAW_HEADER - (at[5] >> 5),
	};
	peer->low += size;
	peer->goodbye = peer->goodbye || ret->kind == RAW_GOODBYE;
	return true;
}

/* Reads once. Returns what recvmsg() returns. */
static inline ssize_t raw_peer_read(struct raw_peer *peer)
{
	struct raw_group group;
	ssize_t n;

	memmove(peer->bytes, peer->bytes + peer->low, peer->high - peer->low);
	peer->high -= peer->low;
	peer->low = 0;
	n = raw_receive(peer->socket, peer->bytes + peer->high, sizeof peer->bytes - peer->high, &group, MSG_DONTWAIT);
	if (n > 0)
		peer->high += (size_t)n;
	require(peer->n_fds + (unsigned)group.n_fds <= sizeof peer->fds / sizeof peer->fds[0]);
	memcpy(peer->fds + peer->n_fds, group.fds, (size_t)group.n_fds * sizeof(int));
	peer->n_fds += (unsigned)group.n_fds;
	return n;
}

/* The next frame. Returns 1, 0 at the end of the stream, or -ETIMEDOUT if none came in time. */
static inline int raw_peer_next_within(struct raw_peer *peer, struct raw_frame *ret, int milliseconds)
{
	struct pollfd ready = {.fd = peer->socket, .events = POLLIN};
	ssize_t n;

	*ret = (struct raw_frame){0}; /* an optimising compiler does not see that the callers check the result */
	while (!raw_peer_parse(peer, ret)) {
		if (poll(&ready, 1, milliseconds) == 0)
			return -ETIMEDOUT;
		n = raw_peer_read(peer);
		if (n == 0 || n == -ECONNRESET)
			return 0;
		require(n > 0 || n == -EAGAIN);
	}
	return 1;
}

static inline int raw_peer_next(struct raw_peer *peer, struct raw_frame *ret)
{
	return raw_peer_next_within(peer, ret, stretch(20000));
}

/* Skips frames until one of this kind arrives, which must happen. */
static inline struct raw_frame raw_peer_expect(struct raw_peer *peer, unsigned kind)
{
	struct raw_frame frame = {0};

	do
		require_int(raw_peer_next(peer, &frame), 1);
	while (frame.kind != kind);
	return frame;
}

/* Reads until the end of the stream, which must come. */
static inline void raw_peer_expect_end(struct raw_peer *peer)
{
	struct raw_frame frame;
	int r;

	while ((r = raw_peer_next(peer, &frame)) == 1)
		;
	check_int(r, 0);
}

/* The oldest descriptor that was received and not yet taken. The caller closes it. */
static inline int raw_peer_take_fd(struct raw_peer *peer)
{
	int fd;

	require(peer->n_fds > 0);
	fd = peer->fds[0];
	memmove(peer->fds, peer->fds + 1, --peer->n_fds * sizeof(int));
	return fd;
}

#endif
