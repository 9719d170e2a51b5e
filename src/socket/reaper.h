/* SPDX-License-Identifier: MIT */
/*
 * The reaper: a thread of the process that closes descriptors whose close may block, because a peer chose them (SO_LINGER, FUSE)
 * or because such descriptors may lie unread in them. It is started when there is something to close and ends when there is nothing left.
 */
#ifndef SOCKET_REAPER_H
#define SOCKET_REAPER_H

#include <beam/deadline.h>
#include <stdbool.h>
#include <stddef.h>

/* Gives descriptors away to be closed; negative ones are passed over. Without memory or thread it closes them here.
 * Never blocks, but for 10 ms at most when more than 1024 wait to be closed. */
void reaper_close(const int *fds, size_t n);

/* True while one close has lasted for more than a second and more than 64 wait behind it: channels then accept no more descriptors. */
bool reaper_stuck(void);

/* Waits until nothing is left to close, for tests and the end of the process; false at the deadline. */
bool reaper_drain(beam_deadline deadline);

#endif
