/* SPDX-License-Identifier: MIT */
/*
 * One messaging system behind a small interface, one file each. Everything a workload needs is here, so that all
 * systems do the same work in the same processes; work.c runs it.
 *
 * A run is two processes: SIDE_A sends (and asks), SIDE_B receives (and answers). Anything that goes wrong ends the
 * process by die(), and with it the whole benchmark: a number that comes out is one of messages that all arrived.
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum side { SIDE_A, SIDE_B };

/* The most lanes: independent streams of messages over the one connection, where a system has such. */
enum { LANES_MAX = 4 };

struct received {
	const unsigned char *data;
	size_t size;
	int fd;      /* the receiver's to close, or -1 */
	void *owner; /* for release() */
};

struct settings {
	size_t size;    /* of each message */
	bool fds;       /* each message brings a descriptor */
	unsigned lanes; /* how many are used */
};

struct peer {
	const char *name;
	const char *what; /* one line for --help */
	bool passes_fds;
	bool has_lanes; /* else every lane is the same stream, with one receiver */
	bool batches;   /* what is sent may stay in the sender until flush(): no round trips */

	/* Once, before the two processes part. */
	void (*prepare)(const struct settings *settings);
	/* Once in each process. */
	void (*open)(enum side side);
	void (*close)(void);

	/* From any thread; `fd` is borrowed, -1 for none. */
	void (*send)(unsigned lane, const void *data, size_t size, int fd);
	/* Ends what a thread has to send on a lane; may be NULL. */
	void (*flush)(unsigned lane);

	/* One thread a lane. Blocks; what it gives is good until release(). */
	void (*receive)(unsigned lane, struct received *ret);
	void (*release)(struct received *received);
};

extern const struct peer peer_raw, peer_beam, peer_beam_many;

#endif
