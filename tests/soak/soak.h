/* SPDX-License-Identifier: MIT */
/*
 * Definitions of the soak test. Processes run a mixed load over channels that they connect to
 * listeners, and some of them are killed at random:
 *
 *   server       accepts all the time
 *   resident     a client of the server, with one channel all the time
 *   traveller    a client that connects again and again, to servers that are killed
 *   mortals      clients of the server and servers of the traveller, killed and replaced
 *
 * The first three are observed: their memory, descriptors and threads must not grow. At the end,
 * when all is quiet, they check that they are as they were at the beginning.
 */
#ifndef SOAK_H
#define SOAK_H

#include <beam/beam.h>
#include <harness/harness.h>
#include <stdatomic.h>

enum role { SERVER, RESIDENT, TRAVELLER, OBSERVED, MORTAL_CLIENT = OBSERVED, MORTAL_SERVER };

/* What is counted, for all processes together. */
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

/* Shared by all processes. */
struct soak {
	char server[40], mortal_server[40]; /* addresses */
	atomic_bool enough;
	/* Servers leak a descriptor now and then. */
	bool leak;
	_Atomic uint64_t counts[N_COUNTS];
	/*
	 * How much memory the observed processes have allocated, as reported by themselves. At the
	 * end, how much more than at the beginning.
	 */
	_Atomic uint64_t allocated[OBSERVED];
};

static inline void count(struct soak *soak, enum soak_count what)
{
	atomic_fetch_add_explicit(&soak->counts[what], 1, memory_order_relaxed);
}

/* ---- load.c ---- */

/*
 * Two threads use a channel until it ends, until each has acted `turns` times, or until the test
 * ends. Then the channel is released.
 */
void load_run(struct soak *soak, beam_channel *channel, struct rng *rng, unsigned turns);

/* ---- roles.c ---- */

/* What a process does, for process_spawn(). */
struct life {
	struct soak *soak;
	enum role role;
	unsigned number;
};
int life_run(void *life);

/* ---- samples.c ---- */

enum { SAMPLES = 240, MEASURES = 4 };

/*
 * Of one process: its private memory in KiB, how much of that is allocated, its open descriptors,
 * and its threads.
 */
struct samples {
	size_t n;
	uint64_t values[SAMPLES][MEASURES];
};

extern const char *const measure_names[MEASURES];
/* Returns false if the process does not exist. */
bool samples_take(struct samples *samples, pid_t process, uint64_t allocated);
/* Returns which measure has grown from the second third of the time to the last, or -1. */
int samples_growth(const struct samples *samples, bool with_memory);
void samples_tell(const struct samples *samples, const char *name);
/* The columns are seconds, and then each measure of each process. */
bool samples_write(const struct samples *samples, size_t n, const char *const *names, unsigned seconds,
		   const char *path);

#endif
