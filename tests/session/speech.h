/* SPDX-License-Identifier: MIT */
/*
 * What a peer sends, composed by hand: the bytes of frames, the sendmsg calls that send them, and
 * how a kernel passes both to a reader.
 */
#ifndef SESSION_SPEECH_H
#define SESSION_SPEECH_H

#include <harness/harness.h>
#include <sys/uio.h>
#include <wire/frame.h>

enum { SPEECH_FDS = 253 };

/*
 * One sendmsg: the offset of its first byte, and how many descriptors it has, of which the last
 * `lost` are dropped on arrival.
 */
struct saying {
	size_t at;
	unsigned n_fds, lost;
	/* The number of its first descriptor. */
	int first_fd;
};

struct speech {
	unsigned char *bytes;
	size_t size, capacity;
	struct saying *sayings;
	size_t n_sayings, capacity_sayings;
	int next_fd;
};

/*
 * Descriptors have numbers from here on. These are never open, so closing one by mistake is
 * harmless.
 */
enum { SPEECH_FIRST_FD = 100000 };

void speech_init(struct speech *speech);
void speech_end(struct speech *speech);

/* Begins another sendmsg. Without this, everything is one sendmsg. */
void speech_send(struct speech *speech);
/* The same with descriptors, which the next frame carries. */
void speech_send_fds(struct speech *speech, unsigned n, unsigned lost);

/* Adds bytes as they are. Returns the offset of the first. */
size_t speech_put(struct speech *speech, const void *bytes, size_t size);

/*
 * Adds a correct frame, which carries the descriptors of its sendmsg if it is the first frame
 * there. Returns the offset of its first byte, so that it can be changed.
 */
size_t speech_frame(struct speech *speech, uint8_t kind, uint8_t flags, uint8_t claimed, uint32_t id, uint32_t argument,
		    const void *payload, size_t size);

size_t speech_hello(struct speech *speech, const struct limits *limits);
size_t speech_open(struct speech *speech, uint32_t id, const char *name);
size_t speech_data(struct speech *speech, uint32_t id, const char *text);
/* Adds a frame with `size` bytes of a pattern. */
size_t speech_bulk(struct speech *speech, uint32_t id, uint8_t flags, size_t size);
/* Adds a frame that states the total of its message. */
size_t speech_sized(struct speech *speech, uint8_t flags, uint8_t claimed, uint32_t id, uint32_t argument,
		    uint32_t total, uint32_t overdraft, const char *text);
size_t speech_abort(struct speech *speech, uint32_t id, uint32_t argument);
size_t speech_credit(struct speech *speech, uint32_t id, uint32_t argument, uint32_t bytes, uint32_t attachments);
size_t speech_close(struct speech *speech, uint32_t id);
size_t speech_reset(struct speech *speech, uint32_t id, uint32_t argument);
size_t speech_goodbye(struct speech *speech);

/* Adds HELLO with the base values, then OPEN 1 "log". */
void speech_begin(struct speech *speech);

/* How far a reader has read. */
struct hearing {
	const struct speech *speech;
	size_t at;
};

/* What one read receives. */
struct heard {
	size_t n;
	unsigned n_fds;
	bool truncated;
	int fds[SPEECH_FDS];
};

/*
 * Reads once, at most `most` bytes. A read never receives the descriptors of two sendmsg, and no
 * bytes behind the sendmsg whose descriptors it receives. But it may receive bytes from before that
 * sendmsg.
 */
struct heard hear(struct hearing *hearing, const struct iovec *iov, int n_iov, size_t most);

#endif
