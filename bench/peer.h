/* SPDX-License-Identifier: MIT */
/*
 * One messaging system behind a small interface, one file each. Everything a workload needs is
 * here, so that all systems do the same work in the same processes; work.c runs it.
 *
 * A run is two processes: SIDE_A sends (and asks), SIDE_B receives (and answers). Anything that
 * goes wrong ends the process by die(), and with it the whole benchmark: a number that comes out is
 * one of messages that all arrived.
 *
 * A system is used as its documentation recommends, with its defaults. Where those hand a
 * message to a function of the program's, it has dispatch(); where the program fetches
 * one, receive() and release().
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum side { SIDE_A, SIDE_B };

/*
 * The most lanes: independent streams of messages over the one connection, where a system has such.
 */
enum { LANES_MAX = 256 };

/* What else goes on at the same connection meanwhile. */
enum beside {
	BESIDE_NOTHING,
	BESIDE_SLOW,    /* A sends on a lane that B never receives from */
	BESIDE_LARGE,   /* A sends 100 MiB messages on a lane of their own */
	BESIDE_BLOCKED, /* three threads a side wait for messages on lanes of their own */
};

struct received {
	const unsigned char *data;
	size_t size;
	int fd;      /* as long as the bytes, or -1 */
	void *owner; /* for release() */
};

typedef void take_function(void *context, const struct received *received);

struct settings {
	size_t size;    /* of each message */
	bool fds;       /* each message brings a descriptor */
	unsigned lanes; /* how many are used */
	enum beside beside;
	const char *folder; /* a fresh one, for sockets that need a name; it is removed with what is in it */
};

struct peer {
	const char *name;
	const char *what; /* one line for --help */
	bool passes_fds;
	bool has_lanes;  /* else every lane is the same stream, with one receiver */
	bool one_thread; /* only one thread may send */
	bool one_way;    /* not fit for round trips */
	size_t size_max; /* of a message; 0: enough for all workloads */
	/* Descriptors that it sends before they are received, and it fails if the user may not; 0:
	 * few. */
	size_t in_flight;

	/* Once, before the two processes part. */
	void (*prepare)(const struct settings *settings);
	/* In B, before either opens; may be NULL. */
	void (*listen)(void);
	/* Once in each process, at the same time. */
	void (*open)(enum side side);
	/* Starts and ends what goes on beside; NULL if the system has no lanes for it. */
	void (*begin_beside)(enum side side);
	void (*end_beside)(enum side side);
	/* Nothing is on its way any more. */
	void (*close)(enum side side);

	/*
	 * `fd` is borrowed, until flush(), or -1 for none. What is sent may stay here until
	 * flush().
	 */
	void (*send)(unsigned lane, const void *data, size_t size, int fd);
	/* Sends what a thread sent on a lane; may be NULL. */
	void (*flush)(unsigned lane);

	/* One thread a lane. Blocks; what it gives is good until release(). */
	void (*receive)(unsigned lane, struct received *ret);
	void (*release)(struct received *received);
	/*
	 * Or: blocks until `n` messages have come, and hands each to take(). No more
	 * than `n` are on their way.
	 */
	void (*dispatch)(uint64_t n, take_function *take, void *context);
};

/* A peer, or why there is none. The first is raw, which all are compared with. */
struct entry {
	const char *name, *package; /* Debian's, if it needs one */
	const struct peer *peer;    /* NULL: its library was not there when this was built */
	bool named;                 /* takes part only if it is asked for by name */
};

extern const struct entry entries[];
extern const size_t n_entries;

extern const struct peer peer_raw, peer_raw_batched, peer_beam, peer_beam_watched, peer_beam_many;
extern const struct peer peer_zmq, peer_nng, peer_nanomsg, peer_uv, peer_sdbus, peer_wayland, peer_qb;

#endif
