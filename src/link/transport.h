/* SPDX-License-Identifier: MIT */
/*
 * How a link moves bytes and descriptors: through a socket today. The link uses nothing but these
 * functions, so that another transport can take its place, such as a ring in shared memory, with
 * the socket kept for descriptors.
 */
#ifndef LINK_TRANSPORT_H
#define LINK_TRANSPORT_H

#include <beam/deadline.h>
#include <socket/socket.h>

struct transport {
	int fd;
	/* Where the link's thread waits for the socket, and for which events. */
	int epoll;
	uint32_t watched;
};

/*
 * Makes a transport of a connected Unix socket, which belongs to the transport on success. It is
 * watched through `epoll`, or by others if that is -1. Returns 0 or -errno.
 */
int transport_of_socket(struct transport *ret, int fd, int epoll);
/* The descriptor that a loop waits for. */
static inline int transport_fd(const struct transport *transport)
{
	return transport->fd;
}

/* These do not wait. The results are those of socket_read() and socket_write(). */
ssize_t transport_read(struct transport *transport, const struct iovec *iov, size_t n, struct fd_group *group);
ssize_t transport_write(struct transport *transport, const struct iovec *iov, size_t n, const int *fds, size_t n_fds);
/* Like socket_wait(). */
int transport_wait(struct transport *transport, short events, int kick, beam_deadline deadline);
/*
 * Sets what wakes the link's thread from now on: EPOLLIN and the like, or 0 for nothing. Returns 0
 * or -errno.
 */
int transport_watch(struct transport *transport, uint32_t events);
/* What was watched for has happened. A watch with EPOLLONESHOT is over. */
void transport_fired(struct transport *transport);
/* Ends both directions. */
void transport_shutdown(struct transport *transport);
/* Closes the transport. No thread uses it any more. */
void transport_release(struct transport *transport);

#endif
