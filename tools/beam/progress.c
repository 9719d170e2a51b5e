/* SPDX-License-Identifier: MIT */
/*
 * A line on stderr that is overwritten again and again. It is shown if stderr is a terminal, after
 * some MiB. The stream's own lock guards it, so that messages of other threads begin on a clean
 * line. It is written by the thread that moves the bytes, and by a thread of its own while nothing
 * moves. The numbers have another lock, because race checkers do not know the stream's.
 */
#include "command.h"
#include <pthread.h>
#include <semaphore.h>
#include <time.h>
#include <unistd.h>

enum { LARGE = 4 << 20, PERIOD_NS = 100000000 };

static struct {
	const char *what;
	uint64_t total, done;
	beam_deadline begun, next;
	bool active, shown;
	/* It is sent as a whole, so it is not known how much has been sent. */
	bool in_one;
	/* For the ticking thread. */
	sem_t begun_again;
	bool ticks;
} progress;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void progress_enter(void)
{
	flockfile(stderr);
	pthread_mutex_lock(&lock);
}

static void progress_leave(void)
{
	pthread_mutex_unlock(&lock);
	funlockfile(stderr);
}

static double mebibytes(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

static void show(beam_deadline now)
{
	fprintf(stderr, "\r%s: %.1f MiB", progress.what, mebibytes(progress.done));
	if (progress.in_one)
		fprintf(stderr, ", %lld s", (long long)((now.ns - progress.begun.ns) / 1000000000));
	else if (progress.total >= progress.done)
		fprintf(stderr, " of %.1f, %d%%", mebibytes(progress.total),
			(int)((double)progress.done * 100 / (double)progress.total));
	if (!progress.in_one && now.ns > progress.begun.ns)
		fprintf(stderr, ", %.1f MiB/s",
			mebibytes(progress.done) / ((double)(now.ns - progress.begun.ns) / 1e9));
	fputs("\033[K", stderr);
	fflush(stderr);
}

/* The lock is held. */
static void show_if_due(void)
{
	beam_deadline now;

	if (progress.active && progress.done >= LARGE && (now = beam_in_ms(0)).ns >= progress.next.ns) {
		progress.next.ns = now.ns + PERIOD_NS;
		progress.shown = true;
		show(now);
	}
}

static void *tick(void *unused)
{
	bool active = false;

	(void)unused;
	for (;;) {
		while (!active && sem_wait(&progress.begun_again) < 0)
			;
		nanosleep(&(struct timespec){.tv_nsec = PERIOD_NS}, NULL);
		progress_enter();
		show_if_due();
		active = progress.active;
		progress_leave();
	}
	return NULL;
}

/* The lock is held. Without the thread, the line is not updated while nothing moves. */
static void keep_ticking(void)
{
	pthread_attr_t detached;
	pthread_t thread;

	if (!progress.ticks) {
		sem_init(&progress.begun_again, 0, 0);
		pthread_attr_init(&detached);
		pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
		progress.ticks = pthread_create(&thread, &detached, tick, NULL) == 0;
		pthread_attr_destroy(&detached);
	}
	if (progress.ticks)
		sem_post(&progress.begun_again);
}

static void begin(const char *what, uint64_t total, uint64_t done)
{
	progress_enter();
	progress.what = what;
	progress.total = total;
	progress.done = done;
	progress.in_one = done > 0;
	progress.begun = beam_in_ms(0);
	progress.next.ns = progress.begun.ns + (done > 0 ? PERIOD_NS : 0);
	progress.active = isatty(STDERR_FILENO);
	progress.shown = false;
	if (progress.active)
		keep_ticking();
	progress_leave();
}

void progress_begin(const char *what, uint64_t total)
{
	begin(what, total, 0);
}

void progress_begin_in_one(const char *what, size_t size)
{
	begin(what, 0, size);
}

void progress_add(size_t bytes)
{
	progress_enter();
	progress.done += bytes;
	show_if_due();
	progress_leave();
}

void progress_end(void)
{
	progress_enter();
	if (progress.shown) {
		fputs("\r\033[K", stderr);
		fflush(stderr);
	}
	progress.active = progress.shown = false;
	progress_leave();
}
