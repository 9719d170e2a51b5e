/* SPDX-License-Identifier: MIT */
/*
 * Limits the descriptor table of a process, and computes how much of it Beam may use for
 * attachments. To be used in child processes, because the limit is not restored.
 */
#ifndef PUBLIC_TABLE_H
#define PUBLIC_TABLE_H

#include <dirent.h>
#include <fcntl.h>
#include <harness/harness.h>
#include <sys/resource.h>

/* The share that every topic keeps of `total`. */
static inline size_t little_of(size_t total)
{
	return total * 3 / 64;
}

/*
 * What one channel may get in a process with such a table. A fifth of the table is lent, at most
 * three quarters of that to one channel, and at most 512.
 */
static inline size_t lent_at_most(size_t table)
{
	size_t most = table / 5 * 3 / 4;

	return most < 512 ? most : 512;
}

/* False if this user may not have so large a table. */
static inline bool table_may_be(rlim_t n)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 && n <= limit.rlim_max;
}

/* `n`, or as many descriptors as this user may have. */
static inline rlim_t table_at_most(rlim_t n)
{
	struct rlimit limit;

	require_int(getrlimit(RLIMIT_NOFILE, &limit), 0);
	return n < limit.rlim_max ? n : limit.rlim_max;
}

static inline void table_limit(rlim_t n)
{
	struct rlimit limit;

	require_int(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = n;
	require_int(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* True if the program can still open a file. */
static inline bool table_has_room(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

/* The number of threads of this process, or 0 if it cannot be determined now. */
static inline size_t open_threads(void)
{
	DIR *folder = opendir("/proc/self/task");
	struct dirent *task;
	size_t n = 0;

	if (!folder)
		return 0;
	while ((task = readdir(folder)))
		n += task->d_name[0] != '.';
	closedir(folder);
	return n;
}

#endif
