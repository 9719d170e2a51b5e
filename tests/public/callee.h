/* SPDX-License-Identifier: MIT */
/*
 * A callee and its caller, which is the first of the ends, for the suites about what a callee waits
 * for.
 */
#ifndef PUBLIC_CALLEE_H
#define PUBLIC_CALLEE_H

#include <poll.h>
#include <public/replies.h>

static struct ends ends;

static inline beam_call *begin_call(void)
{
	beam_call *call = NULL;

	require_int(beam_call_begin(&call, ends.topic[0], NULL, 0, NULL, 0, 0, soon()), 0);
	return call;
}

/* Replies with `size` bytes. Returns -EAGAIN if there is no room. */
static inline int reply(beam_message *request, size_t size, unsigned flags)
{
	static char bulk[32000];
	struct iovec iov = {bulk, size};

	return beam_message_replyv(request, &iov, 1, NULL, 0, flags, BEAM_NOWAIT);
}

static inline bool polls(int fd, int milliseconds)
{
	struct pollfd item = {.fd = fd, .events = POLLIN};

	return poll(&item, 1, milliseconds) == 1 && item.revents == POLLIN;
}

static inline bool shows(int fd)
{
	return polls(fd, 0);
}

#endif
