/* SPDX-License-Identifier: MIT */
/*
 * Deadlines from the inside: what a beam_deadline means to poll, epoll and condition variables.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <beam/deadline.h>
#include <pthread.h>
#include <stdbool.h>
#include <time.h>

/* CLOCK_MONOTONIC in nanoseconds. */
int64_t clock_now(void);

/* -EAGAIN for BEAM_NOWAIT, else -ETIMEDOUT: what a call says that has waited until its deadline. */
int deadline_error(beam_deadline deadline);

/* True if nothing may be waited for any more. */
bool deadline_passed(beam_deadline deadline);

/* The time left, for ppoll; NULL stands for no limit. `storage` holds the result. */
struct timespec *deadline_timeout(beam_deadline deadline, struct timespec *storage);

/* False for BEAM_NOWAIT alone: a time that has passed is one that was waited for. */
static inline bool deadline_waits(beam_deadline deadline)
{
	return deadline.ns != 0;
}

/* True for BEAM_FOREVER alone. */
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
 * A condition variable that counts time by CLOCK_MONOTONIC. Needs no freeing on Linux, but
 * condition_end() keeps the checkers exact.
 */
void condition_init(pthread_cond_t *condition);
void condition_end(pthread_cond_t *condition);

/* Waits for a signal: 0, or deadline_error() once the deadline has passed. May wake for nothing. */
int condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock, beam_deadline deadline);

#endif
