/* SPDX-License-Identifier: MIT */
/*
 * What a beam_deadline means to poll, epoll and condition variables.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <beam/deadline.h>
#include <pthread.h>
#include <stdbool.h>
#include <time.h>

/* CLOCK_MONOTONIC in nanoseconds. */
int64_t clock_now(void);

/*
 * The error of a call that has waited until its deadline: -EAGAIN for BEAM_NOWAIT, otherwise
 * -ETIMEDOUT.
 */
int deadline_error(beam_deadline deadline);

/* True if no more waiting is allowed, which is always so for BEAM_NOWAIT. */
bool deadline_passed(beam_deadline deadline);

/*
 * Stores the time left in `storage`, for ppoll, and returns `storage`. Returns NULL if there is no
 * limit.
 */
struct timespec *deadline_timeout(beam_deadline deadline, struct timespec *storage);

/* False only for BEAM_NOWAIT. A deadline that has passed counts as one that allowed waiting. */
static inline bool deadline_waits(beam_deadline deadline)
{
	return deadline.ns != 0;
}

/* True only for BEAM_FOREVER. */
static inline bool deadline_never(beam_deadline deadline)
{
	return deadline.ns == INT64_MAX;
}

/* A deadline some nanoseconds from now. */
static inline beam_deadline deadline_in(int64_t ns)
{
	return BEAM_DEADLINE(clock_now() + ns);
}

/* The earlier of two. */
static inline beam_deadline deadline_earlier(beam_deadline a, beam_deadline b)
{
	return a.ns < b.ns ? a : b;
}

/*
 * A condition variable that measures time by CLOCK_MONOTONIC. On Linux it need not be destroyed,
 * but condition_end() keeps checkers accurate.
 */
void condition_init(pthread_cond_t *condition);
void condition_end(pthread_cond_t *condition);

/*
 * Waits for a signal. Returns 0, or deadline_error() if the deadline has passed. There can be
 * spurious wakeups.
 */
int condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock, beam_deadline deadline);

#endif
