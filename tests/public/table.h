/* SPDX-License-Identifier: MIT */
/*
 * The table of descriptors of a process, made small; and how much of it Beam may fill with
 * attachments. For spawned children: the limit stays.
 */
#ifndef PUBLIC_TABLE_H
#define PUBLIC_TABLE_H

#include <dirent.h>
#include <fcntl.h>
#include <harness/harness.h>
#include <sys/resource.h>

/* What a topic can always have of so much. */
static inline size_t little_of(size_t total)
{
	return total * 3 / 64;
}

/* What one channel of a process with such a table may have at most: a fifth of the table is lent,
 * three quarters of it to one. */
static inline size_t lent_at_most(size_t table)
{
	size_t most = table / 5 * 3 / 4;

	return most < 512 ? most : 512;
}

/* False: this user may not have so many. */
static inline bool table_may_be(rlim_t n)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 && n <= limit.rlim_max;
}

/* n, or as many as this user may have. */
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

/* What the rest of the program sees: something can still be opened. */
static inline bool table_has_room(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

/* Threads of this process; 0: that cannot be told now. */
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
