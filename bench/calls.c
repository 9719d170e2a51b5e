/* SPDX-License-Identifier: MIT */
#include "calls.h"
#include "util.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const folders[] = {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"};

static long number; /* the tracepoint's; 0: not looked for yet, -1: not there */
static int counter = -1;

static long read_number(const char *folder)
{
	char path[128], text[32] = "";

	snprintf(path, sizeof path, "%s/events/raw_syscalls/sys_enter/id", folder);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	return n > 0 ? strtol(text, NULL, 10) : -1;
}

/* If tracefs is not mounted, a child mounts it for itself only, and reads the number there. */
static long look_in_private(void)
{
	int ends[2];
	long found = -1;

	must_sys(pipe2(ends, O_CLOEXEC), "pipe");
	pid_t child = (pid_t)must_sys(fork(), "fork");
	if (child == 0) {
		if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		    mount("tracefs", folders[0], "tracefs", 0, NULL) == 0)
			found = read_number(folders[0]);
		_exit(write(ends[1], &found, sizeof found) < 0 ? 1 : 0);
	}
	close(ends[1]);
	if (read(ends[0], &found, sizeof found) != sizeof found)
		found = -1;
	close(ends[0]);
	waitpid(child, NULL, 0);
	return found;
}

static int open_counter(void)
{
	struct perf_event_attr what = {
	    .type = PERF_TYPE_TRACEPOINT, .size = sizeof what, .config = (uint64_t)number, .inherit = 1};

	return (int)syscall(SYS_perf_event_open, &what, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

const char *calls_impossible(void)
{
	static char reason[128];

	for (size_t i = 0; i < sizeof folders / sizeof folders[0] && number <= 0; i++)
		number = read_number(folders[i]);
	if (number <= 0)
		number = look_in_private();
	if (number <= 0)
		return "the tracepoint raw_syscalls:sys_enter is missing, or access to it is denied";
	int fd = open_counter();
	if (fd < 0) {
		snprintf(reason, sizeof reason, "perf_event_open: %s", strerror(errno));
		return reason;
	}
	close(fd);
	return NULL;
}

void calls_begin(void)
{
	counter = (int)must_sys(open_counter(), "perf_event_open");
}

double calls_end(void)
{
	uint64_t count;

	if (read(counter, &count, sizeof count) != sizeof count)
		die("perf_event_open: no count");
	close(counter);
	return (double)count;
}
