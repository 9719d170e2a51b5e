/* SPDX-License-Identifier: MIT */
#include <base/level.h>
#include <errno.h>

bool event_set(int fd)
{
	const uint64_t one = 1;

	for (int tries = 0; tries < 2; tries++) {
		if (sys_write(fd, &one, sizeof one) == sizeof one)
			return true;
	}
	return false;
}

int level_open(struct level *level, bool *ret_new)
{
	int fd = level->fd;

	*ret_new = false;
	if (fd >= 0)
		return fd;
	fd = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	*level = (struct level){.fd = fd};
	*ret_new = true;
	return fd;
}

bool level_close(struct level *level)
{
	if (level->fd < 0)
		return false;
	level_put(level, false);
	close(level->fd);
	level->fd = -1;
	return true;
}

void level_change(struct level *level, bool ready)
{
	uint64_t count;

	if (ready)
		level->set = event_set(level->fd);
	else
		level->set = sys_read(level->fd, &count, sizeof count) < 0 && errno != EAGAIN;
}
