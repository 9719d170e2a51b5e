/* SPDX-License-Identifier: MIT */
/**
 * @file deadline.h
 * Deadlines: how long a call may wait.
 *
 * Every function of Beam that can wait takes one beam_deadline. A deadline is an absolute time, so
 * that it can be passed to a sequence of calls. It is a time of CLOCK_MONOTONIC (clock_gettime(2)),
 * so that setting the system clock does not move it.
 */
#ifndef BEAM_DEADLINE_H
#define BEAM_DEADLINE_H

#include <beam/common.h>

BEAM_BEGIN

/**
 * The time until which a call may wait. It is a structure, so that a call with a number of
 * milliseconds instead of a deadline does not compile. beam_in_ms() converts milliseconds to a
 * deadline.
 */
typedef struct beam_deadline {
	/** Nanoseconds of CLOCK_MONOTONIC. 0 is BEAM_NOWAIT, and INT64_MAX is BEAM_FOREVER. */
	int64_t ns;
} beam_deadline;

/** Makes a deadline from a time of CLOCK_MONOTONIC in nanoseconds. */
#ifdef __cplusplus
#define BEAM_DEADLINE(ns) (beam_deadline{ns})
#else
#define BEAM_DEADLINE(ns) ((beam_deadline){ns})
#endif

/** Do not wait. If the call would have to wait, it returns -EAGAIN. */
#define BEAM_NOWAIT BEAM_DEADLINE(0)

/** Wait without a limit. */
#define BEAM_FOREVER BEAM_DEADLINE(INT64_MAX)

/**
 * Returns the deadline that is some milliseconds from now.
 *
 * @param milliseconds  If this is 0 or less, the deadline has already passed. A call with such a
 *                      deadline does not wait, and returns -ETIMEDOUT instead of -EAGAIN.
 * @return the deadline; BEAM_FOREVER if the sum is too large to be represented
 *
 * Never fails. Can be called from any thread, and in a forked child.
 */
BEAM_API beam_deadline beam_in_ms(int64_t milliseconds);

/**
 * Converts a deadline to a timeout for poll(2) and epoll_wait(2), for programs that wait for the
 * library's descriptors themselves.
 *
 * @return the milliseconds until the deadline, rounded up, so that it has passed when the timeout
 *         expires, but at most INT_MAX; 0 for BEAM_NOWAIT and for a time that has passed; -1 for
 *         BEAM_FOREVER
 *
 * Never fails. Can be called from any thread, and in a forked child.
 */
BEAM_API int beam_deadline_poll_ms(beam_deadline deadline);

BEAM_END

#endif
