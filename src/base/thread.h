/* SPDX-License-Identifier: MIT */
/*
 * The library's own threads, and the number of the process.
 *
 * A library thread blocks all signals except those that a thread raises by its own actions. The
 * code that it works for never joins it. Instead, a thread that ends joins some that ended before,
 * and the last ones are joined when the process ends.
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <beam/deadline.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Starts a thread. Returns 0 or -errno. `name` is at most 15 bytes. */
int thread_start(void (*run)(void *argument), void *argument, const char *name);

/*
 * The same for a thread that may hang in a system call. When the process ends, it waits 100 ms for
 * such a thread, and not 5 s.
 */
int thread_start_expendable(void (*run)(void *argument), void *argument, const char *name);

/*
 * For the end of the process. Returns a deadline that is counted from the first call of this
 * function, so that all waits at the end share that time.
 */
beam_deadline process_end_within(int64_t milliseconds);

/*
 * For the end of the process. Waits until all library threads have ended, or until the deadline.
 * Returns true if all have ended.
 */
bool thread_end_all(beam_deadline deadline);

/*
 * process_id() returns the library's number for this process (not its pid), and costs two loads. A
 * forked child has another number, even if fork handlers did not see it, because the number is on a
 * page that the kernel wipes for children (MADV_WIPEONFORK in madvise(2)). process_prepare() sets
 * the number if there is none, and returns 0 or -ENOMEM. Until then, and in a child until its own
 * process_prepare(), the number is 0.
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

/* Used as a declaration: the thread is not cancelled until the end of the block. */
#define WITHOUT_CANCELLATION                                                                                           \
	__attribute__((cleanup(cancellation_restore), unused)) int cancellation_state = cancellation_disable()

#endif
