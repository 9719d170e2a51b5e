/* SPDX-License-Identifier: MIT */
/*
 * Descriptors for the reaper. A test sees when they are closed, they may belong to an account, and
 * some of them hang.
 */
#ifndef SOCKET_REAPING_H
#define SOCKET_REAPING_H

#include <dirent.h>
#include <fcntl.h>
#include <harness/harness.h>
#include <hostile/lingering.h>
#include <poll.h>
#include <socket/reaper.h>
#include <stdatomic.h>

/* The limits in reaper.c, and how long a test waits for others. */
enum { TURN = 64, LATE_MAX = 64, WAIT_MS = 20000 };

static inline void need_threads_beside_a_close(void)
{
	if (under_valgrind())
		skip("Valgrind lets no thread run while another is in close()");
}

/* Returns the writing end of a pipe. `*ret_reader` shows when it is closed. */
static inline int watched(int *ret_reader)
{
	int fds[2];

	require_int(pipe2(fds, O_CLOEXEC), 0);
	*ret_reader = fds[0];
	return fds[1];
}

static inline bool closed(int reader)
{
	struct pollfd fd = {.fd = reader};

	return poll(&fd, 1, 0) == 1 && (fd.revents & POLLHUP);
}

static inline int any_fd(void)
{
	int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);

	require(fd >= 0);
	return fd;
}

/* How many threads the reaper has. */
static inline unsigned reapers(void)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *task;
	unsigned n = 0;

	require(tasks != NULL);
	while ((task = readdir(tasks))) {
		char path[300], name[16] = "";
		int fd;

		snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (read(fd, name, sizeof name - 1) > 0)
			n += strncmp(name, "beam-reaper", 11) == 0;
		close(fd);
	}
	closedir(tasks);
	return n;
}

/* An account that counts what is reported. */
struct owner {
	struct reaper_account account;
	atomic_size_t reported, reports;
};

static inline void on_settled(struct reaper_account *account, size_t n)
{
	struct owner *owner = list_entry(account, struct owner, account);

	check(n > 0);
	atomic_fetch_add(&owner->reports, 1);
	atomic_fetch_add(&owner->reported, n);
}

static inline void owner_begin(struct owner *owner)
{
	atomic_init(&owner->reported, 0);
	atomic_init(&owner->reports, 0);
	reaper_account_init(&owner->account, on_settled);
}

/* Checks that this many descriptors were reported in total. */
static inline void owner_end(struct owner *owner, size_t given)
{
	check(reaper_drain(BEAM_FOREVER));
	check_int(atomic_load(&owner->reported), given);
	reaper_account_end(&owner->account);
}

static inline void give_one(struct owner *owner, int fd)
{
	reaper_close_for(&owner->account, &fd, 1);
}

/*
 * Gives a descriptor whose close hangs when this returns, of the owner's account, or (NULL) of
 * none.
 */
static inline struct lingering hang(struct owner *owner)
{
	struct lingering lingering = lingering_open();

	if (owner)
		give_one(owner, lingering.fd);
	else
		reaper_close(&lingering.fd, 1);
	check_within(WAIT_MS, !fd_open(lingering.fd));
	return lingering;
}

/* A descriptor that is given now is closed soon, for the owner's account, or (NULL) for none. */
static inline void check_goes_on(struct owner *owner)
{
	int reader, fd = watched(&reader);

	if (owner)
		give_one(owner, fd);
	else
		reaper_close(&fd, 1);
	check_within(WAIT_MS, closed(reader));
	close(reader);
}

static struct lingering late[LATE_MAX];

static inline void begin_all_late(void)
{
	need_threads_beside_a_close();
	for (int i = 0; i < LATE_MAX; i++)
		late[i] = lingering_open();
	for (int i = 0; i < LATE_MAX; i++)
		reaper_close(&late[i].fd, 1);
	for (int i = 0; i < LATE_MAX; i++)
		check_within(WAIT_MS, !fd_open(late[i].fd));
}

#endif
