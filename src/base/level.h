/* SPDX-License-Identifier: MIT */
/*
 * Eventfds: events, which wake a thread, and levels, which are readable for as long as a condition
 * holds.
 */
#ifndef BASE_LEVEL_H
#define BASE_LEVEL_H

#include <base/sys.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Sets an eventfd. If that fails, it is tried once more, because a lost wakeup is lost for good.
 * Returns false if the eventfd is not set.
 */
bool event_set(int fd);

/*
 * A level is guarded by its owner's lock. It begins without a descriptor. Until it has one,
 * changing it costs one comparison.
 */
struct level {
	int fd;
	bool set;
};

static inline void level_init(struct level *level)
{
	*level = (struct level){.fd = -1};
}

/*
 * Returns the level's descriptor, or -errno. If there is none, it is created. `ret_new` tells
 * whether it was created now.
 */
int level_open(struct level *level, bool *ret_new);
/*
 * Closes the descriptor. Returns true if there was one. The level is cleared first: if there is a
 * duplicate, for example in a forked child, an epoll instance that contained the descriptor goes on
 * reporting it.
 */
bool level_close(struct level *level);
void level_change(struct level *level, bool ready);

static inline void level_put(struct level *level, bool ready)
{
	if (level->fd >= 0 && level->set != ready)
		level_change(level, ready);
}

#endif
