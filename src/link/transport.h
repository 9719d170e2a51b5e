/* SPDX-License-Identifier: MIT */
/*
 * What a link moves its bytes and descriptors with: a socket today. The link knows no more of
 * it than this, so that another way (a ring in shared memory, with the socket kept for
 * descriptors) can take its place.
 */
#ifndef LINK_TRANSPORT_H
#define LINK_TRANSPORT_H

#include <beam/deadline.h>
#include <socket/socket.h>

struct transport {
	int fd;
	/* Where the link's thread waits for it, and for what. */
	int epoll;
	uint32_t watched;
};

/*
 * A transport of a connected unix socket, which it owns from now on, watched through `epoll`, or
 * with -1 by somebody else. 0 or -errno.
 */
int transport_of_socket(struct transport *ret, int fd, int epoll);
/* What a loop waits by. */
static inline int transport_fd(const struct transport *transport)
{
	return transport->fd;
}

/* Never block. Results as of socket_read() and socket_write(). */
ssize_t transport_read(struct transport *transport, const struct iovec *iov, size_t n, struct fd_group *group);
ssize_t transport_write(struct transport *transport, const struct iovec *iov, size_t n, const int *fds, size_t n_fds);
/* As socket_wait(). */
int transport_wait(struct transport *transport, short events, int kick, beam_deadline deadline);
/*
 * What the link's thread is to be woken for from now on: a set of EPOLLIN and its like or,
 * with 0, nothing. 0 or -errno.
 */
int transport_watch(struct transport *transport, uint32_t events);
/* What was watched has come: a watch for once (EPOLLONESHOT) is over. */
void transport_fired(struct transport *transport);
/* No more either way. */
void transport_shutdown(struct transport *transport);
/* Nobody uses it any more. */
void transport_release(struct transport *transport);

#endif
