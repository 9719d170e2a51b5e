/* SPDX-License-Identifier: MIT */
/*
 * Raw Unix sockets for tests without Beam: sending and receiving descriptors with one system call,
 * and files that can be told apart. The functions return a negative errno on failure.
 */
#ifndef KERNEL_RAW_H
#define KERNEL_RAW_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* The most descriptors that one sendmsg() can send: SCM_MAX_FD. */
enum { RAW_FDS_MAX = 253 };

/* Calls sendmsg() once. */
static inline ssize_t raw_sendv(int socket, const struct iovec *iov, size_t n_iov, const int *fds, size_t n_fds,
				int flags)
{
	union {
		char bytes[CMSG_SPACE((RAW_FDS_MAX + 1) * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = n_iov};
	ssize_t n;

	if (fds && n_fds > 0) {
		memset(&control, 0, sizeof control);
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof(int));
	}
	do
#ifdef __GLIBC__
		n = sendmsg(socket, &message, flags | MSG_NOSIGNAL);
#else
		/* musl's own function has no room for 253 descriptors. */
		n = syscall(SYS_sendmsg, socket, &message, flags | MSG_NOSIGNAL);
#endif
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static inline ssize_t raw_send(int socket, const void *data, size_t size, const int *fds, size_t n_fds, int flags)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};

	return raw_sendv(socket, &iov, 1, fds, n_fds, flags);
}

/* What arrived with one recvmsg(). */
struct raw_group {
	int n_fds;
	/* All control messages. */
	int n_cmsgs;
	bool truncated;
	bool credentials;
	/* A pidfd that arrived in its own control message, or -1. */
	int pidfd;
	int fds[RAW_FDS_MAX];
};

/* SCM_PIDFD of linux/socket.h, which the C library's headers may not know. */
enum { RAW_SCM_PIDFD = 4 };

static inline void raw_group_add(struct raw_group *group, const struct cmsghdr *cmsg)
{
	size_t n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	group->n_cmsgs++;
	if (cmsg->cmsg_type == SCM_RIGHTS) {
		memcpy(group->fds + group->n_fds, CMSG_DATA(cmsg), n * sizeof(int));
		group->n_fds += (int)n;
	} else if (cmsg->cmsg_type == SCM_CREDENTIALS) {
		group->credentials = true;
	} else if (cmsg->cmsg_type == RAW_SCM_PIDFD) {
		memcpy(&group->pidfd, CMSG_DATA(cmsg), sizeof(int));
	}
}

/* Calls recvmsg() once. Always sets `group`. */
static inline ssize_t raw_receivev(int socket, struct iovec *iov, size_t n_iov, struct raw_group *group, int flags)
{
	union {
		char bytes[CMSG_SPACE(RAW_FDS_MAX * sizeof(int)) + 256];
		struct cmsghdr align;
	} control;
	struct msghdr message = {
	    .msg_iov = iov, .msg_iovlen = n_iov, .msg_control = &control, .msg_controllen = sizeof control};
	ssize_t n;

	*group = (struct raw_group){.pidfd = -1};
	do
		n = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message); cmsg; cmsg = CMSG_NXTHDR(&message, cmsg))
		raw_group_add(group, cmsg);
	group->truncated = message.msg_flags & MSG_CTRUNC;
	return n;
}

static inline ssize_t raw_receive(int socket, void *data, size_t size, struct raw_group *group, int flags)
{
	struct iovec iov = {.iov_base = data, .iov_len = size};

	return raw_receivev(socket, &iov, 1, group, flags);
}

static inline void raw_group_close(struct raw_group *group)
{
	for (int i = 0; i < group->n_fds; i++)
		close(group->fds[i]);
	if (group->pidfd >= 0)
		close(group->pidfd);
	group->n_fds = 0;
	group->pidfd = -1;
}

/* A new file. It can be recognized by its inode, wherever its descriptor has been sent. */
static inline int raw_file(void)
{
	return memfd_create("beam-test", MFD_CLOEXEC);
}

static inline ino_t raw_inode(int fd)
{
	struct stat status;

	return fd >= 0 && fstat(fd, &status) == 0 ? status.st_ino : 0;
}

#endif
