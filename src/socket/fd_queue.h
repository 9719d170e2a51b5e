/* SPDX-License-Identifier: MIT */
/*
 * A queue of descriptors that somebody owns who is done with them: fds[first] to fds[end
 * - 1]. Its user has a lock.
 */
#ifndef SOCKET_FD_QUEUE_H
#define SOCKET_FD_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

struct fd_queue {
	int *fds;
	size_t first, end, capacity;
};

static inline size_t fd_queue_waiting(const struct fd_queue *queue)
{
	return queue->end - queue->first;
}

/* Room for so many more at its end. False: there is no memory. */
bool fd_queue_make_room(struct fd_queue *queue, size_t n);

/* Takes them over, but for negative ones; there is room. */
static inline void fd_queue_add(struct fd_queue *queue, const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			queue->fds[queue->end++] = fds[i];
}

/* The first n are somebody else's now. */
static inline void fd_queue_drop(struct fd_queue *queue, size_t n)
{
	queue->first += n;
	if (queue->first == queue->end)
		queue->first = queue->end = 0;
}

#endif
