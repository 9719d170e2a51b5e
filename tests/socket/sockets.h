/* SPDX-License-Identifier: MIT */
/* Pairs, addresses, and the reads and writes that tests of sockets use. */
#ifndef SOCKET_SOCKETS_H
#define SOCKET_SOCKETS_H

#include <harness/harness.h>
#include <kernel/raw.h>
#include <socket/socket.h>
#include <sys/un.h>

static inline void close_both(const int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

static inline void pair_of(int type, int pair[2])
{
	pair[0] = pair[1] = -1;
	require_int(socket_pair(type, pair), 0);
}

static inline ssize_t write_from(int fd, const void *data, size_t size, const int *fds, size_t n_fds)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};

	return socket_write(fd, &iov, 1, fds, n_fds);
}

/* An abstract address that no other process uses. It is valid until the next call. */
static inline const char *address_of(const char *name)
{
	static char address[64];

	snprintf(address, sizeof address, "@beam-test-%s-%d", name, (int)getpid());
	return address;
}

static inline int listening(int type, const char *address)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	memcpy(name.sun_path + 1, address + 1, strlen(address) - 1);
	require_int(
	    bind(fd, (struct sockaddr *)&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(address))),
	    0);
	require_int(listen(fd, 0), 0);
	return fd;
}

#endif
