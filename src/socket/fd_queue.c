/* SPDX-License-Identifier: MIT */
#include <base/sys.h>
#include <socket/fd_queue.h>
#include <string.h>

enum { QUEUE_MIN = 64 };

bool fd_queue_make_room(struct fd_queue *queue, size_t n)
{
	size_t capacity = queue->capacity ? queue->capacity : QUEUE_MIN;
	int *fds;

	if (queue->end + n <= queue->capacity)
		return true;
	/*
	 * The queue is moved to the front only if that makes much room, so that each descriptor is
	 * moved only a few times.
	 */
	if (queue->first >= queue->capacity / 2 && fd_queue_waiting(queue) + n <= queue->capacity) {
		memmove(queue->fds, queue->fds + queue->first, fd_queue_waiting(queue) * sizeof *queue->fds);
		queue->end -= queue->first;
		queue->first = 0;
		return true;
	}
	while (capacity < queue->end + n)
		capacity *= 2;
	fds = sys_realloc(queue->fds, capacity * sizeof *fds);
	if (!fds)
		return false;
	queue->fds = fds;
	queue->capacity = capacity;
	return true;
}
