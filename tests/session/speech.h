/* SPDX-License-Identifier: MIT */
/*
 * What a peer says, by hand: frames as bytes, in the sendmsg calls that bring them, and how a
 * kernel gives that to a reader.
 */
#ifndef SESSION_SPEECH_H
#define SESSION_SPEECH_H

#include <harness/harness.h>
#include <sys/uio.h>
#include <wire/frame.h>

enum { SPEECH_FDS = 253 };

/*
 * One sendmsg: what of the bytes it was the first to bring, and with how many descriptors, of which
 * the last `lost` are dropped on arrival.
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

/* Descriptors are numbers from here on: nobody's, so that closing one by mistake does no harm. */
enum { SPEECH_FIRST_FD = 100000 };

void speech_init(struct speech *speech);
void speech_end(struct speech *speech);

/* The next sendmsg begins here; without this all is one. */
void speech_send(struct speech *speech);
/* The same with descriptors: the frame that follows carries them. */
void speech_send_fds(struct speech *speech, unsigned n, unsigned lost);

/* Bytes as they are; the offset of the first. */
size_t speech_put(struct speech *speech, const void *bytes, size_t size);

/*
 * A frame as it should be, carrying what its sendmsg brings if it is the first in it; the offset of
 * its first byte, to be tampered with.
 */
size_t speech_frame(struct speech *speech, uint8_t kind, uint8_t flags, uint8_t claimed, uint32_t id, uint32_t argument,
		    const void *payload, size_t size);

size_t speech_hello(struct speech *speech, const struct limits *limits);
size_t speech_open(struct speech *speech, uint32_t id, const char *name);
size_t speech_data(struct speech *speech, uint32_t id, const char *text);
/* `size` bytes of a pattern. */
size_t speech_bulk(struct speech *speech, uint32_t id, uint8_t flags, size_t size);
/* A frame of a message that says its total. */
size_t speech_sized(struct speech *speech, uint8_t flags, uint8_t claimed, uint32_t id, uint32_t argument,
		    uint32_t total, uint32_t overdraft, const char *text);
size_t speech_abort(struct speech *speech, uint32_t id, uint32_t argument);
size_t speech_credit(struct speech *speech, uint32_t id, uint32_t argument, uint32_t bytes, uint32_t attachments);
size_t speech_close(struct speech *speech, uint32_t id);
size_t speech_reset(struct speech *speech, uint32_t id, uint32_t argument);
size_t speech_goodbye(struct speech *speech);

/* HELLO with the base values, then OPEN 1 "log". */
void speech_begin(struct speech *speech);

/* A reader's place in it. */
struct hearing {
	const struct speech *speech;
	size_t at;
};

/* What one read brings. */
struct heard {
	size_t n;
	unsigned n_fds;
	bool truncated;
	int fds[SPEECH_FDS];
};

/*
 * One read into some room, of at most `most` bytes: never the descriptors of two
 * sendmsg, and none of the bytes behind the sendmsg whose descriptors it brings; but it
 * may bring bytes from before it.
 */
struct heard hear(struct hearing *hearing, const struct iovec *iov, int n_iov, size_t most);

#endif
