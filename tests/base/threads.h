/* SPDX-License-Identifier: MIT */
/*
 * What tests of library threads share: threads that are counted, and threads that linger when they
 * end.
 */
#ifndef BASE_THREADS_H
#define BASE_THREADS_H

#include <base/thread.h>
#include <harness/harness.h>
#include <semaphore.h>
#include <stdatomic.h>

static inline void wait_for_eof(void *argument)
{
	const int *fd = argument;
	char byte;

	check_int(read(*fd, &byte, 1), 0);
}

static inline void count(void *argument)
{
	atomic_uint *n = argument;

	atomic_fetch_add(n, 1);
}

/*
 * Threads that end when they are told to, and then linger until they are released. Before that they
 * cannot be joined.
 */
struct lingering {
	sem_t end, go;
	atomic_bool leaving, ended;
	pid_t number;
};

static pthread_key_t lingering_key;

static inline void linger(void *argument)
{
	struct lingering *lingering = argument;

	atomic_store(&lingering->ended, true);
	sem_wait(&lingering->go);
}

static inline void end_when_told(void *argument)
{
	struct lingering *lingering = argument;

	pthread_setspecific(lingering_key, lingering);
	lingering->number = thread_number();
	sem_wait(&lingering->end);
	atomic_store(&lingering->leaving, true);
}

static inline void start_lingering(struct lingering *lingering)
{
	*lingering = (struct lingering){.number = 0};
	sem_init(&lingering->end, 0, 0);
	sem_init(&lingering->go, 0, 0);
	require_int(thread_start(end_when_told, lingering, "beam-test"), 0);
}

static inline void end_and_linger(struct lingering *lingering)
{
	start_lingering(lingering);
	sem_post(&lingering->end);
	check_within(20000, atomic_load(&lingering->ended));
}

#endif
