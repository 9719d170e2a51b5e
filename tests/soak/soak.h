/* SPDX-License-Identifier: MIT */
/*
 * The soak's inside. Processes under a mixed load, some of which are killed at random, all over
 * channels that they connect to listeners:
 *
 *   server       is there all the time, and accepts
 *   resident     a client of the server, over one channel all the time
 *   traveller    a client that connects again and again, to servers that are killed
 *   mortals      clients of the server, and servers of the traveller, that are killed and replaced
 *
 * The first three are looked at: what they have in memory, open, and running must not grow. When
 * all is quiet in the end they look themselves whether they are as they began.
 */
#ifndef SOAK_H
#define SOAK_H

#include <beam/beam.h>
#include <harness/harness.h>
#include <stdatomic.h>

enum role { SERVER, RESIDENT, TRAVELLER, OBSERVED, MORTAL_CLIENT = OBSERVED, MORTAL_SERVER };

/* What is counted, in all processes together. */
#define SOAK_COUNTS(X)                                                                                                 \
	X(KILLED, "processes killed")                                                                                  \
	X(CHANNELS, "channels accepted")                                                                               \
	X(BROKEN, "channels broken")                                                                                   \
	X(SENT, "messages sent")                                                                                       \
	X(RECEIVED, "messages received")                                                                               \
	X(ATTACHED, "attachments received")                                                                            \
	X(BUFFERS, "shared buffers mapped")                                                                            \
	X(CALLS, "calls")                                                                                              \
	X(ANSWERED, "replies")                                                                                         \
	X(TOPICS, "topics accepted")

enum soak_count {
#define SOAK_COUNT(name, text) name,
	SOAK_COUNTS(SOAK_COUNT)
#undef SOAK_COUNT
	    N_COUNTS
};

/* In memory that all processes share. */
struct soak {
	char server[40], mortal_server[40]; /* addresses */
	atomic_bool enough;
	/* Servers forget a descriptor now and then. */
	bool leak;
	_Atomic uint64_t counts[N_COUNTS];
	/*
	 * What malloc() has given out in those that are observed, told by themselves; in the end,
	 * how much more than at the beginning.
	 */
	_Atomic uint64_t allocated[OBSERVED];
};

static inline void count(struct soak *soak, enum soak_count what)
{
	atomic_fetch_add_explicit(&soak->counts[what], 1, memory_order_relaxed);
}

/* ---- load.c ---- */

/*
 * What two threads do on a channel until it is over, or there have been so many turns of each, or
 * it is enough; then lets go of it.
 */
void load_run(struct soak *soak, beam_channel *channel, struct rng *rng, unsigned turns);

/* ---- roles.c ---- */

/* A process's life; for process_spawn(). */
struct life {
	struct soak *soak;
	enum role role;
	unsigned number;
};
int life_run(void *life);

/* ---- samples.c ---- */

enum { SAMPLES = 240, MEASURES = 4 };

/*
 * Of one process: KiB of memory of its own, and of that what is allocated; open descriptors;
 * threads.
 */
struct samples {
	size_t n;
	uint64_t values[SAMPLES][MEASURES];
};

extern const char *const measure_names[MEASURES];
/* False if the process is not there. */
bool samples_take(struct samples *samples, pid_t process, uint64_t allocated);
/* Which measure grew from the second third of the time to the last; -1: none. */
int samples_growth(const struct samples *samples, bool with_memory);
void samples_tell(const struct samples *samples, const char *name);
/* Columns: seconds, then each measure of each process. */
bool samples_write(const struct samples *samples, size_t n, const char *const *names, unsigned seconds,
		   const char *path);

#endif
