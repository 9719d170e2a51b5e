/* SPDX-License-Identifier: MIT */
/*
 * Eventfds: one that wakes somebody, and a level, which is readable for as long as something holds.
 */
#ifndef BASE_LEVEL_H
#define BASE_LEVEL_H

#include <base/sys.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Sets an eventfd: a wake-up that is lost is lost for good, so one that fails is tried once
 * more. False: it is not set.
 */
bool event_set(int fd);

/* Guarded by its owner's lock. Without a descriptor, as it begins, it costs nothing. */
struct level {
	int fd;
	bool set;
};

static inline void level_init(struct level *level)
{
	*level = (struct level){.fd = -1};
}

/* Its descriptor, made if it has none: that or -errno. `ret_new` tells whether it was made now. */
int level_open(struct level *level, bool *ret_new);
/* True if it had one. Whoever has a duplicate of it, as a forked child has, keeps one that is
 * not readable: the kernel goes on watching it for an epoll that it was in. */
bool level_close(struct level *level);
void level_change(struct level *level, bool ready);

static inline void level_put(struct level *level, bool ready)
{
	if (level->fd >= 0 && level->set != ready)
		level_change(level, ready);
}

#endif
