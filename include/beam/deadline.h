/* SPDX-License-Identifier: MIT */
/**
 * @file deadline.h
 * Deadlines: until when a call may wait.
 *
 * Every function of Beam that can wait takes one beam_deadline: an absolute time, so that one deadline serves a
 * sequence of calls. It is measured by CLOCK_MONOTONIC: setting the system's clock does not move it (clock_gettime(2)).
 */
#ifndef BEAM_DEADLINE_H
#define BEAM_DEADLINE_H

#include <beam/common.h>

BEAM_BEGIN

/**
 * Until when a call may wait. A structure, so that a number of milliseconds does not compile where
 * a deadline is meant: beam_in_ms() makes one.
 */
typedef struct beam_deadline {
	/** A time of CLOCK_MONOTONIC in nanoseconds; 0: BEAM_NOWAIT; INT64_MAX: BEAM_FOREVER. */
	int64_t ns;
} beam_deadline;

/** A deadline of a time of CLOCK_MONOTONIC in nanoseconds. */
#ifdef __cplusplus
#define BEAM_DEADLINE(ns) (beam_deadline{ns})
#else
#define BEAM_DEADLINE(ns) ((beam_deadline){ns})
#endif

/** Do not wait: what cannot be done at once gives -EAGAIN. */
#define BEAM_NOWAIT BEAM_DEADLINE(0)

/** Wait as long as it takes. */
#define BEAM_FOREVER BEAM_DEADLINE(INT64_MAX)

/**
 * A deadline some time from now.
 *
 * @param milliseconds  from now; 0 or less: a time that has passed, so that a call looks once and gives -ETIMEDOUT; a
 *                      sum past the end of time is BEAM_FOREVER
 * @return the deadline
 *
 * Never fails. Safe from any thread, and in a forked child.
 */
BEAM_API beam_deadline beam_in_ms(int64_t milliseconds);

/**
 * How long it is until a deadline, as poll(2) and epoll_wait(2) take it: for those who wait for
 * the library's descriptors by themselves.
 *
 * @return milliseconds, rounded up so that the deadline has passed when they are over; at most
 *         INT_MAX; 0 for BEAM_NOWAIT and for a time that has passed; -1 for BEAM_FOREVER
 *
 * Never fails. Safe from any thread, and in a forked child.
 */
BEAM_API int beam_deadline_poll_ms(beam_deadline deadline);

BEAM_END

#endif
