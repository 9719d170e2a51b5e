/* SPDX-License-Identifier: MIT */
#include <base/sys.h>
#include <errno.h>
#include <limits.h>
#include <socket/peer.h>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* More bytes than NGROUPS_MAX groups take, or the label of any security module. */
enum { BYTES_MAX = 1 << 20 };

/*
 * Reads an option that has no fixed size. Returns its size in bytes. If it does not fit in `size`,
 * returns -ERANGE or, if `size` is 0, the size that it needs.
 */
static int socket_ask(int fd, int option, void *ret, size_t size)
{
	socklen_t length = (socklen_t)(size < BYTES_MAX ? size : BYTES_MAX);

	if (sys_getsockopt(fd, SOL_SOCKET, option, ret, &length) == 0)
		return (int)length;
	if (errno == ERANGE && size == 0)
		return (int)length;
	/* The kernel does not know the option, or there is no security module. */
	return errno == ENOPROTOOPT ? -ENODATA : -errno;
}

int socket_peer_groups(int fd, gid_t *ret, size_t size)
{
	int bytes = socket_ask(fd, SO_PEERGROUPS, ret, size < BYTES_MAX / sizeof *ret ? size * sizeof *ret : BYTES_MAX);

	return bytes < 0 ? bytes : bytes / (int)sizeof *ret;
}

int socket_peer_pidfd(int fd)
{
	int pidfd = -1;
	socklen_t size = sizeof pidfd;

	if (sys_getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0)
		return pidfd;
	/*
	 * Before Linux 6.5 the option does not exist. Before 6.16 there is no pidfd of a process
	 * that has been waited for.
	 */
	return errno == ENOPROTOOPT || errno == ESRCH || errno == EINVAL ? -ENODATA : -errno;
}

int socket_peer_label(int fd, char *ret, size_t size)
{
	int length = socket_ask(fd, SO_PEERSEC, ret, size);

	if (length == 0)
		return -ENODATA;
	if (length < 0 || size == 0)
		return length;
	/* Some modules count the NUL, others leave it out. */
	if (ret[length - 1] == '\0')
		return length - 1;
	if ((size_t)length == size)
		return -ERANGE;
	ret[length] = '\0';
	return length;
}
