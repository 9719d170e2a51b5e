/* SPDX-License-Identifier: MIT */
/*
 * A queue that owns descriptors which are to be closed: fds[first] to fds[end - 1]. Its user guards
 * it by a lock.
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

/* Makes room for `n` more at the end. Returns false if there is no memory. */
bool fd_queue_make_room(struct fd_queue *queue, size_t n);

/* Takes ownership of descriptors, except for negative ones. There must be room for them. */
static inline void fd_queue_add(struct fd_queue *queue, const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			queue->fds[queue->end++] = fds[i];
}

/* Removes the first `n`, which no longer belong to the queue. */
static inline void fd_queue_drop(struct fd_queue *queue, size_t n)
{
	queue->first += n;
	if (queue->first == queue->end)
		queue->first = queue->end = 0;
}

#endif
