/* SPDX-License-Identifier: MIT */
/*
 * Deadlines. All use CLOCK_MONOTONIC, so that no wait becomes longer or shorter when the system's
 * clock is set.
 */
#include <base/clock.h>
#include <errno.h>
#include <limits.h>

enum { NS_PER_MS = 1000000, NS_PER_S = 1000000000 };

int64_t clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

beam_deadline beam_in_ms(int64_t milliseconds)
{
	int64_t now = clock_now();

	if (milliseconds <= 0)
		return BEAM_DEADLINE(now);
	if (milliseconds > (INT64_MAX - now) / NS_PER_MS)
		return BEAM_FOREVER;
	return BEAM_DEADLINE(now + milliseconds * NS_PER_MS);
}

int deadline_error(beam_deadline deadline)
{
	return deadline_waits(deadline) ? -ETIMEDOUT : -EAGAIN;
}

/* Returns nanoseconds, at least 0. BEAM_NOWAIT and negative times need no clock. */
static int64_t time_left(beam_deadline deadline)
{
	int64_t now;

	if (deadline.ns <= 0 || deadline_never(deadline))
		return deadline.ns <= 0 ? 0 : INT64_MAX;
	now = clock_now();
	return deadline.ns > now ? deadline.ns - now : 0;
}

bool deadline_passed(beam_deadline deadline)
{
	return time_left(deadline) == 0;
}

struct timespec *deadline_timeout(beam_deadline deadline, struct timespec *storage)
{
	int64_t left = time_left(deadline);

	if (deadline_never(deadline))
		return NULL;
	*storage = (struct timespec){.tv_sec = left / NS_PER_S, .tv_nsec = (long)(left % NS_PER_S)};
	return storage;
}

int beam_deadline_poll_ms(beam_deadline deadline)
{
	int64_t left = time_left(deadline);

	if (deadline_never(deadline))
		return -1;
	/* Rounded up. Otherwise the caller would poll without sleeping in the last millisecond. */
	left = left / NS_PER_MS + (left % NS_PER_MS != 0);
	return left < INT_MAX ? (int)left : INT_MAX;
}

void condition_init(pthread_cond_t *condition)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(condition, &attributes);
	pthread_condattr_destroy(&attributes);
}

void condition_end(pthread_cond_t *condition)
{
	pthread_cond_destroy(condition);
}

int condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock, beam_deadline deadline)
{
	struct timespec until = {.tv_sec = deadline.ns / NS_PER_S, .tv_nsec = (long)(deadline.ns % NS_PER_S)};

	if (deadline_never(deadline))
		return -pthread_cond_wait(condition, lock);
	if (deadline.ns <= 0)
		return deadline_error(deadline);
	return -pthread_cond_timedwait(condition, lock, &until);
}
