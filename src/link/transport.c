/* SPDX-License-Identifier: MIT */
#include <base/sys.h>
#include <errno.h>
#include <link/transport.h>
#include <socket/reaper.h>

ssize_t transport_read(struct transport *transport, const struct iovec *iov, size_t n, struct fd_group *group)
{
	return socket_read(transport->fd, iov, n, group);
}

ssize_t transport_write(struct transport *transport, const struct iovec *iov, size_t n, const int *fds, size_t n_fds)
{
	return socket_write(transport->fd, iov, n, fds, n_fds);
}

int transport_wait(struct transport *transport, short events, int kick, beam_deadline deadline)
{
	return socket_wait(transport->fd, events, kick, deadline);
}

int transport_watch(struct transport *transport, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.fd = transport->fd};
	/*
	 * A socket whose other end is closed is always ready (EPOLLHUP). So the thread is woken for
	 * nothing unless the socket is removed.
	 */
	int operation = !events ? EPOLL_CTL_DEL : transport->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (events == transport->watched)
		return 0;
	if (transport->epoll < 0) {
		transport->watched = events;
		return 0;
	}
	if (sys_epoll_ctl(transport->epoll, operation, transport->fd, &event) < 0)
		return -errno;
	transport->watched = events;
	return 0;
}

void transport_fired(struct transport *transport)
{
	/* The socket is still in the epoll, but nothing is watched for. */
	if (transport->watched & EPOLLONESHOT)
		transport->watched = EPOLLONESHOT;
}

void transport_shutdown(struct transport *transport)
{
	socket_shutdown(transport->fd);
}

void transport_release(struct transport *transport)
{
	/* There may be unread descriptors in it, and closing those may block. */
	reaper_close(&transport->fd, 1);
	transport->fd = -1;
}

int transport_of_socket(struct transport *ret, int fd, int epoll)
{
	*ret = (struct transport){.fd = fd, .epoll = epoll};
	return transport_watch(ret, EPOLLIN);
}
