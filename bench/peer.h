/* SPDX-License-Identifier: MIT */
/*
 * A messaging system behind a small interface. Each system has a file of its own. The interface
 * contains everything that a workload needs (load.c), so that all systems do the same work in the
 * same processes (run.c).
 *
 * A run has two processes: SIDE_A sends (and asks), SIDE_B receives (and answers). If anything goes
 * wrong, die() ends the process, and with it the whole benchmark. So there is no figure of a run in
 * which a message was lost.
 *
 * A system is used as its documentation recommends, with its defaults. If the system calls a
 * function of the program for each message, it has dispatch(). If the program fetches messages, it
 * has receive() and release().
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum side { SIDE_A, SIDE_B };

/*
 * The maximum number of lanes. Lanes are independent streams of messages on the same connection.
 * Not every system has them.
 */
enum { LANES_MAX = 256 };

/* What else happens on the same connection meanwhile. */
enum beside {
	BESIDE_NOTHING,
	BESIDE_SLOW,    /* A sends on a lane that B never receives from */
	BESIDE_LARGE,   /* A sends 100 MiB messages on a lane of their own */
	BESIDE_BLOCKED, /* on each side three threads wait for messages on lanes of their own */
};

struct received {
	const unsigned char *data;
	size_t size;
	int fd;      /* valid as long as the bytes, or -1 */
	void *owner; /* for release() */
};

typedef void take_function(void *context, const struct received *received);

struct settings {
	size_t size;    /* of each message */
	bool fds;       /* each message has a descriptor */
	unsigned lanes; /* how many are used */
	enum beside beside;
	const char *folder; /* a new folder for sockets that need a name; it is removed with its contents */
};

struct peer {
	const char *name;
	const char *what; /* one line for --help */
	bool passes_fds;
	bool has_lanes;  /* else every lane is the same stream, with one receiver */
	bool one_thread; /* only one thread may send */
	bool one_way;    /* not fit for round trips */
	size_t size_max; /* of a message; 0: enough for all workloads */
	/*
	 * How many descriptors the system can have in flight at a time; 0: only a few. If the
	 * kernel does not allow the user so many, the system would fail, and is not measured.
	 */
	size_t in_flight;

	/* Called once, before the second process is forked. */
	void (*prepare)(const struct settings *settings);
	/* Called in B, before either side opens; may be NULL. */
	void (*listen)(void);
	/* Called once in each process, at the same time. */
	void (*open)(enum side side);
	/* Start and end what settings.beside asks for; NULL if the system has no lanes for it. */
	void (*begin_beside)(enum side side);
	void (*end_beside)(enum side side);
	/* Called when nothing is on its way any more. */
	void (*close)(enum side side);

	/* `fd` is borrowed until flush(); -1: none. The message may be kept back until flush(). */
	void (*send)(unsigned lane, const void *data, size_t size, int fd);
	/* Sends the messages that this thread's sends on the lane have kept back; may be NULL. */
	void (*flush)(unsigned lane);

	/* Called by one thread for each lane. Blocks. The result is valid until release(). */
	void (*receive)(unsigned lane, struct received *ret);
	void (*release)(struct received *received);
	/*
	 * Instead of receive(): blocks until `n` messages have arrived, and passes each to take().
	 * No more than `n` are on their way.
	 */
	void (*dispatch)(uint64_t n, take_function *take, void *context);
};

/* A peer, or why there is none. The first one is raw, with which all others are compared. */
struct entry {
	const char *name, *package; /* the package of Debian that it needs, or NULL */
	const struct peer *peer;    /* NULL: its library was not there when this was built */
	bool named;                 /* takes part only if it is asked for by name */
};

extern const struct entry entries[];
extern const size_t n_entries;

extern const struct peer peer_raw, peer_raw_batched, peer_beam, peer_beam_watched, peer_beam_many;
extern const struct peer peer_zmq, peer_nng, peer_nanomsg, peer_uv, peer_sdbus, peer_wayland, peer_qb;

#endif
