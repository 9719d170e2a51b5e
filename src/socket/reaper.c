/* SPDX-License-Identifier: MIT */
/*
 * One thread of the process closes, first come first served, what may block in close. It lingers a moment when it has nothing left, so
 * that a burst of messages does not start a thread for each.
 *
 * A forked child has no reaper but may inherit its queue: copies of descriptors that the parent is about to close. The child's first
 * use of the reaper closes them, as an exec does; not the fork, which would block.
 */
#include <base/clock.h>
#include <base/sys.h>
#include <base/thread.h>
#include <socket/reaper.h>
#include <string.h>

enum {
	LINGER_MS = 100,
	QUEUE_MIN = 64,
	/* Stuck is a close that has lasted longer than this with more than that many behind it. */
	STUCK_MS = 1000,
	STUCK_WAITING = 64,
	/* With more than that many waiting the givers, who can be faster than one thread closes, are held back, but never for longer. */
	HOLD_BACK_WAITING = 1024,
	HOLD_BACK_MS = 10,
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Under the lock. */
static struct {
	/* The process that the rest, but for the queue, belongs to. */
	uint32_t process;
	bool running;
	/* The process ends: no lingering. */
	bool ending;
	/* When the close that lasts now began; 0: none. */
	int64_t since;
	pthread_cond_t work, idle;
	/* The queue: fds[first] to fds[end - 1]. */
	int *fds;
	size_t first, end, capacity;
} reaper;

static void fork_begins(void)
{
	pthread_mutex_lock(&lock);
}

static void fork_ends(void)
{
	pthread_mutex_unlock(&lock);
}

static bool fork_safe;

static size_t waiting(void)
{
	return reaper.end - reaper.first;
}

/* Takes the lock; false: there is no memory for a reaper in this process. */
static bool enter(void)
{
	if (!fork_safe || process_prepare() < 0)
		return false;
	pthread_mutex_lock(&lock);
	if (reaper.process != process_id()) {
		reaper.process = process_id();
		reaper.running = false;
		reaper.since = 0;
		/* Anew: the parent's thread, that may have waited there, never leaves them. */
		condition_init(&reaper.work);
		condition_init(&reaper.idle);
	}
	return true;
}

static bool make_room(size_t n)
{
	size_t capacity = reaper.capacity ? reaper.capacity : QUEUE_MIN;
	int *fds;

	if (reaper.end + n <= reaper.capacity)
		return true;
	/* Moved down only if that makes much room: so each descriptor is moved a few times at most. */
	if (reaper.first >= reaper.capacity / 2 && waiting() + n <= reaper.capacity) {
		memmove(reaper.fds, reaper.fds + reaper.first, waiting() * sizeof *reaper.fds);
		reaper.end -= reaper.first;
		reaper.first = 0;
		return true;
	}
	while (capacity < reaper.end + n)
		capacity *= 2;
	fds = sys_realloc(reaper.fds, capacity * sizeof *fds);
	if (!fds)
		return false;
	reaper.fds = fds;
	reaper.capacity = capacity;
	return true;
}

static void close_queued(void)
{
	while (waiting() > 0) {
		int fd = reaper.fds[reaper.first++];

		reaper.since = clock_now();
		pthread_mutex_unlock(&lock);
		close(fd);
		pthread_mutex_lock(&lock);
		reaper.since = 0;
	}
	reaper.first = reaper.end = 0;
	pthread_cond_broadcast(&reaper.idle);
}

/* True: there is work again. */
static bool linger(void)
{
	beam_deadline until = beam_in_ms(LINGER_MS);

	while (waiting() == 0 && !reaper.ending)
		if (condition_wait(&reaper.work, &lock, until) < 0)
			break;
	return waiting() > 0;
}

static void reap(bool lingers)
{
	pthread_mutex_lock(&lock);
	do
		close_queued();
	while (lingers && linger());
	reaper.running = false;
	free(reaper.fds);
	reaper.fds = NULL;
	reaper.capacity = 0;
	pthread_mutex_unlock(&lock);
}

static void reaper_run(void *unused)
{
	(void)unused;
	reap(true);
}

static bool lasts_longer_than(int64_t milliseconds)
{
	return reaper.since != 0 && clock_now() - reaper.since > milliseconds * 1000000;
}

/* Else a flood of unwanted descriptors would fill the table of the process. Not while a close blocks: that may take for ever. */
static void hold_back(void)
{
	beam_deadline until = beam_in_ms(HOLD_BACK_MS);

	while (waiting() > HOLD_BACK_WAITING && !lasts_longer_than(HOLD_BACK_MS))
		if (condition_wait(&reaper.idle, &lock, until) < 0)
			break;
}

/* Sees to it that somebody closes what is queued. Called with the lock, returns without it. */
static void summon(void)
{
	bool start = !reaper.running;

	reaper.running = true;
	pthread_cond_signal(&reaper.work);
	pthread_mutex_unlock(&lock);
	if (start && thread_start(reaper_run, NULL, "beam-reaper") < 0)
		reap(false);
}

static void close_here(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

void reaper_close(const int *fds, size_t n)
{
	WITHOUT_CANCELLATION;

	while (n > 0 && fds[n - 1] < 0)
		n--;
	if (n == 0)
		return;
	if (!enter()) {
		close_here(fds, n);
		return;
	}
	if (waiting() > HOLD_BACK_WAITING)
		hold_back();
	if (!make_room(n)) {
		pthread_mutex_unlock(&lock);
		close_here(fds, n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			reaper.fds[reaper.end++] = fds[i];
	summon();
}

bool reaper_stuck(void)
{
	bool stuck;

	if (!enter())
		return false;
	stuck = waiting() > STUCK_WAITING && lasts_longer_than(STUCK_MS);
	pthread_mutex_unlock(&lock);
	return stuck;
}

bool reaper_drain(beam_deadline deadline)
{
	bool drained;

	if (!enter())
		return true;
	if (waiting() > 0 && !reaper.running) {
		summon();
		pthread_mutex_lock(&lock);
	}
	while (waiting() > 0 || reaper.since != 0)
		if (condition_wait(&reaper.idle, &lock, deadline) < 0)
			break;
	drained = waiting() == 0 && reaper.since == 0;
	pthread_mutex_unlock(&lock);
	return drained;
}

/* At the end of the process, before base waits for the threads to end. A forked child that has not used the reaper leaves it alone. */
static void reaper_end(void)
{
	if (process_id() == 0 || !enter())
		return;
	reaper.ending = true;
	pthread_cond_signal(&reaper.work);
	pthread_mutex_unlock(&lock);
}

/* After base and before the rooms above, so that their ends come in the other order. */
__attribute__((constructor(102))) static void reaper_begin(void)
{
	fork_safe = sys_pthread_atfork(fork_begins, fork_ends, fork_ends) == 0;
	sys_atexit(reaper_end);
}
