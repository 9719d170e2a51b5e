/* SPDX-License-Identifier: MIT */
/*
 * The library's own threads, and the process they live in.
 *
 * A library thread blocks all signals but those that a thread raises by what it does itself. It is
 * never joined by the code that it works for, and is joined all the same: one that ends joins some
 * that ended before, and the last are joined when the process ends.
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <beam/deadline.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Starts a thread; 0 or -errno. `name` is at most 15 bytes. */
int thread_start(void (*run)(void *argument), void *argument, const char *name);

/* The same for a thread that may hang in a system call: the end of the process waits 100 ms for it,
 * and not 5 s. */
int thread_start_expendable(void (*run)(void *argument), void *argument, const char *name);

/*
 * For the end of the process: a deadline that counts from the first call of this function, so that
 * all who wait then wait for the same time together.
 */
beam_deadline process_end_within(int64_t milliseconds);

/*
 * Waits until every library thread has ended, or the deadline. For the end of the
 * process. True if all have.
 */
bool thread_end_all(beam_deadline deadline);

/*
 * Which process this is: a number that is another in a forked child, also one that fork handlers
 * did not see (a page that the kernel wiped, MADV_WIPEONFORK in madvise(2)). Costs two loads.
 * process_prepare() gives it: 0 or -ENOMEM, any number of times; until then, and in a child until
 * its own process_prepare(), it is 0.
 */
int process_prepare(void);
uint32_t process_id(void);

static inline int cancellation_disable(void)
{
	int state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	return state;
}

static inline void cancellation_restore(int *state)
{
	pthread_setcancelstate(*state, NULL);
}

/* A declaration: until the end of its block the thread is not cancelled. */
#define WITHOUT_CANCELLATION                                                                                           \
	__attribute__((cleanup(cancellation_restore), unused)) int cancellation_state = cancellation_disable()

#endif
