/* SPDX-License-Identifier: MIT */
#include "idle.h"
#include "util.h"
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SETTLE_MS = 50 };

static const struct peer *peer;

/* What threads did so far: how often they went to sleep, and how long they ran. */
struct activity {
	uint64_t sleeps, nanoseconds;
};

/*
 * Returns the number after `name` in a file of /proc, or at the beginning of the file if `name` is
 * empty.
 */
static uint64_t read_number(const char *path, const char *name)
{
	char line[256];
	FILE *file = fopen(path, "re");

	must_sys(file ? 0 : -1, path);
	while (fgets(line, sizeof line, file)) {
		if (strncmp(line, name, strlen(name)) == 0) {
			fclose(file);
			return strtoull(line + strlen(name), NULL, 10);
		}
	}
	die("%s has no %s", path, name);
}

static void add_activity(pid_t pid, struct activity *sum)
{
	char path[320];
	struct dirent *entry;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *tasks = opendir(path);
	if (!tasks)
		die("%s: %s", path, strerror(errno));
	while ((entry = readdir(tasks))) {
		if (entry->d_name[0] == '.' || strtol(entry->d_name, NULL, 10) == getpid())
			continue;
		snprintf(path, sizeof path, "/proc/%d/task/%s/status", (int)pid, entry->d_name);
		sum->sleeps += read_number(path, "voluntary_ctxt_switches:");
		snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)pid, entry->d_name);
		sum->nanoseconds += read_number(path, "");
	}
	closedir(tasks);
}

/* Sleeps, because what the threads do meanwhile is measured. */
static void pass_time(uint64_t milliseconds)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (long)(milliseconds % 1000) * 1000000;
	until.tv_sec += (time_t)(milliseconds / 1000) + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

static void watch(pid_t other, unsigned seconds, struct outcome *ret)
{
	struct activity before = {0}, after = {0};

	pass_time(SETTLE_MS);
	add_activity(getpid(), &before);
	add_activity(other, &before);
	pass_time(seconds * 1000ull);
	add_activity(getpid(), &after);
	add_activity(other, &after);
	ret->seconds = seconds;
	ret->wakeups = (double)(after.sleeps - before.sleeps);
	ret->cpu = (double)(after.nanoseconds - before.nanoseconds) / 1e3;
}

static void *wait_in_vain(void *argument)
{
	struct received received;

	(void)argument;
	peer->receive(0, &received);
	die("%s: a message arrived that nobody sent", peer->name);
}

void idle_load(const struct work *work, const struct peer *p, enum side side, pid_t other, unsigned seconds,
	       struct outcome *ret)
{
	struct outcome unused;
	pthread_t thread;

	peer = p;
	load_run(work, peer, side, 1, &unused);
	if (work->blocked) {
		must(-pthread_create(&thread, NULL, wait_in_vain, NULL), "thread");
		must(-pthread_detach(thread), "thread");
	}
	if (side == SIDE_A)
		watch(other, seconds, ret);
}
