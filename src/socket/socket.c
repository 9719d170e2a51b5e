/* SPDX-License-Identifier: MIT */
/*
 * Unix sockets. Each fact about the kernel is written where the code depends on it. The tests in
 * tests/socket check these facts.
 */
#include <base/clock.h>
#include <base/sys.h>
#include <errno.h>
#include <socket/reaper.h>
#include <socket/socket.h>
#include <stddef.h>
#include <string.h>

#ifndef SCM_PIDFD
#define SCM_PIDFD 0x04
#endif
#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif

/* Larger than the label of any security module. */
enum { LABEL_MAX = 1024 };

/*
 * Room for every control message that can come with one read, whether or not it was asked for,
 * because what has no room is lost: descriptors, credentials, a pidfd, a label, the times of a
 * packet (SO_TIMESTAMPING), how much is left to read (SO_INQ).
 */
union control_in {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(SOCKET_FDS_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred)) +
		   CMSG_SPACE(sizeof(int)) + CMSG_SPACE(LABEL_MAX) + 2 * CMSG_SPACE(3 * sizeof(struct timespec)) +
		   CMSG_SPACE(sizeof(int))];
};

union control_out {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(SOCKET_FDS_MAX * sizeof(int))];
};

/* The pointer in struct msghdr is not const. */
static struct iovec *for_msghdr(const struct iovec *iov)
{
	union {
		const struct iovec *in;
		struct iovec *out;
	} pointer = {.in = iov};

	return pointer.out;
}

static size_t iov_bytes(const struct iovec *iov, size_t n_iov)
{
	size_t bytes = 0;

	for (size_t i = 0; i < n_iov; i++)
		bytes += iov[i].iov_len;
	return bytes;
}

static void group_add(struct fd_group *group, struct cmsghdr *control)
{
	size_t n = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	for (size_t i = 0; i < n; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(control) + i * sizeof fd, sizeof fd);
		/*
		 * In place of a descriptor the kernel can pass -errno: for a pidfd, and with
		 * SO_RIGHTS_NOTRUNC for any descriptor. So a lost descriptor keeps its place.
		 */
		if (control->cmsg_type == SCM_RIGHTS &&
		    group->n < SOCKET_FDS_MAX) /* GCOVR_EXCL_BR_LINE: a later kernel passes more */
			group->fds[group->n++] = fd;
		else
			reaper_close(&fd, 1);
	}
}

static void group_fill(struct fd_group *group, struct msghdr *message)
{
	for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control)) {
		if (control->cmsg_level != SOL_SOCKET)
			continue;
		/*
		 * A pidfd comes without having been asked for if the process that created the
		 * socket set SO_PASSPIDFD, which is inherited.
		 */
		if (control->cmsg_type == SCM_RIGHTS || control->cmsg_type == SCM_PIDFD)
			group_add(group, control);
		if (control->cmsg_type == SCM_CREDENTIALS)
			group->credentials = true;
	}
	group->truncated = message->msg_flags & MSG_CTRUNC;
}

/*
 * A read of a stream stops after a segment with descriptors, but may include plain bytes before it.
 * So the descriptors of a read belong to some byte of it, which is not always the first. A ready
 * socket may still fail with EAGAIN (an out-of-band byte), hence MSG_DONTWAIT. recvmsg can block
 * nevertheless: if no descriptor is free, it drops those that arrive, and the close of one may
 * block (SO_LINGER, FUSE). Nothing helps against that.
 */
ssize_t socket_read(int fd, const struct iovec *iov, size_t n_iov, struct fd_group *group)
{
	union control_in control;
	struct msghdr message = {
	    .msg_iov = for_msghdr(iov), .msg_iovlen = n_iov, .msg_control = &control, .msg_controllen = sizeof control};
	ssize_t n;

	group->n = 0;
	group->truncated = group->credentials = false;
	do
		n = sys_recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	group_fill(group, &message);
	return n;
}

ssize_t socket_peek(int fd)
{
	struct msghdr message = {0};
	ssize_t n;

	/*
	 * With MSG_TRUNC the result is the packet's size although nothing of it is read. No
	 * descriptor is installed, because there is no room for control messages.
	 */
	do
		n = sys_recvmsg(fd, &message, MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static void control_set_fds(struct msghdr *message, union control_out *control, const int *fds, size_t n_fds)
{
	struct cmsghdr *header = &control->align;

	*header = (struct cmsghdr){
	    .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(n_fds * sizeof *fds)};
	memcpy(CMSG_DATA(header), fds, n_fds * sizeof *fds);
	memset(CMSG_DATA(header) + n_fds * sizeof *fds, 0,
	       CMSG_SPACE(n_fds * sizeof *fds) - CMSG_LEN(n_fds * sizeof *fds));
	message->msg_control = control;
	message->msg_controllen = CMSG_SPACE(n_fds * sizeof *fds);
}

static bool is_stream(int fd)
{
	int type = 0;
	socklen_t size = sizeof type;

	return sys_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type == SOCK_STREAM;
}

/*
 * Descriptors are sent with the first byte of a sendmsg. If that returns n > 0, all of them were
 * sent, whatever n is. If it fails, with EAGAIN or another error, none was. Up to SCM_MAX_FD (253)
 * can be sent at once.
 */
ssize_t socket_write(int fd, const struct iovec *iov, size_t n_iov, const int *fds, size_t n_fds)
{
	union control_out control;
	struct msghdr message = {.msg_iov = for_msghdr(iov), .msg_iovlen = n_iov};
	ssize_t n;

	if (n_fds > SOCKET_FDS_MAX)
		return -EINVAL;
	if (n_fds > 0) {
		/* On a stream the kernel would silently drop them. */
		if (iov_bytes(iov, n_iov) == 0 && is_stream(fd))
			return -EINVAL;
		control_set_fds(&message, &control, fds, n_fds);
	}
	do
		n = sys_sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

bool socket_retry_later(int error)
{
	/*
	 * Descriptors in flight are counted per user, over all processes. No event tells when there
	 * are fewer, or when there is more memory.
	 */
	return error == -ETOOMANYREFS || error == -ENOBUFS || error == -ENOMEM;
}

bool socket_refused_fd(int error)
{
	/*
	 * EBADF: it is not open. EINVAL: it cannot be sent (io_uring). EPERM: the other end accepts
	 * none (SO_PASSRIGHTS).
	 */
	return error == -EBADF || error == -EINVAL || error == -EPERM;
}

int socket_pair(int type, int ret_fds[2])
{
	int fds[2], r;

	if (sys_socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	r = type == SOCK_SEQPACKET ? socket_pass_credentials(fds[0]) : 0;
	if (r == 0 && type == SOCK_SEQPACKET)
		r = socket_pass_credentials(fds[1]);
	if (r < 0) {
		close(fds[0]);
		close(fds[1]);
		return r;
	}
	ret_fds[0] = fds[0];
	ret_fds[1] = fds[1];
	return 0;
}

int socket_type(int fd)
{
	int domain, type;
	socklen_t size = sizeof domain;

	if (sys_getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0)
		return -errno;
	size = sizeof type;
	if (sys_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
		return -errno;
	return domain == AF_UNIX && (type == SOCK_STREAM || type == SOCK_SEQPACKET) ? type : -EPROTOTYPE;
}

int socket_check(int fd, int *ret_type)
{
	int type = socket_type(fd);
	struct sockaddr_un peer;
	socklen_t size = sizeof peer;

	if (type < 0)
		return type;
	/* -ENOTCONN, also for a listening socket, but not if the peer has left. */
	if (sys_getpeername(fd, (struct sockaddr *)&peer, &size) < 0)
		return -errno;
	*ret_type = type;
	return 0;
}

int socket_pass_credentials(int fd)
{
	int on = 1;

	/*
	 * The kernel also checks the option when a packet is read. So a packet that was sent before
	 * carries credentials as well, although they name no process.
	 */
	return sys_setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0 ? -errno : 0;
}

int socket_close_on_exec(int fd)
{
	int flags = sys_fcntl(fd, F_GETFD, 0);

	if (flags < 0 || (!(flags & FD_CLOEXEC) && sys_fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0))
		return -errno;
	return 0;
}

void socket_peek_from_start(int fd)
{
	int off = -1;

	/*
	 * With SO_PEEK_OFF a peek may begin in the middle of a packet. Kernels that do not know the
	 * option have nothing to turn off.
	 */
	sys_setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof off);
}

int socket_prepare(int fd, int type)
{
	int off = 0, flags, r = socket_close_on_exec(fd);

	if (r < 0)
		return r;
	/* With O_ASYNC whatever arrives would send SIGIO to the owner that F_SETOWN names. */
	flags = sys_fcntl(fd, F_GETFL, 0);
	if (flags < 0 || (flags & O_ASYNC && sys_fcntl(fd, F_SETFL, flags & ~O_ASYNC) < 0))
		return -errno;
	/*
	 * With SO_PASSPIDFD each read would put a pidfd into the table. Older kernels do not know
	 * the option.
	 */
	sys_setsockopt(fd, SOL_SOCKET, SO_PASSPIDFD, &off, sizeof off);
	if (type != SOCK_SEQPACKET)
		return 0;
	socket_peek_from_start(fd);
	return socket_pass_credentials(fd);
}

int socket_address(const char *address, struct sockaddr_un *ret, socklen_t *ret_size)
{
	size_t length = strlen(address);

	if (length == 0)
		return -EINVAL;
	if (length >= sizeof ret->sun_path)
		return -ENAMETOOLONG;
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(ret->sun_path, address, length);
	/*
	 * The size of a path includes its NUL. An abstract name begins with a NUL, and its size
	 * ends it.
	 */
	if (address[0] == '@')
		ret->sun_path[0] = '\0';
	else
		length++;
	*ret_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
	return 0;
}

/* Rounded up, because {0, 0} means no limit. */
static int set_send_timeout(int fd, beam_deadline deadline)
{
	struct timespec storage, *left = deadline_timeout(deadline, &storage);
	int64_t us = left ? left->tv_sec * INT64_C(1000000) + left->tv_nsec / 1000 + 1 : 0;
	struct timeval timeout = {.tv_sec = us / 1000000, .tv_usec = us % 1000000};

	return sys_setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) < 0 ? -errno : 0;
}

/*
 * If the listener's backlog is full, a non-blocking connect fails with EAGAIN, and poll does not
 * report when there is room. So a connect that may wait is a blocking one, bounded by SO_SNDTIMEO.
 * A connect that a signal interrupts has not begun.
 */
static int connect_until(int fd, const struct sockaddr_un *address, socklen_t size, beam_deadline deadline, bool waits)
{
	bool timed = waits && !deadline_never(deadline);
	int r;

	for (;;) {
		r = timed ? set_send_timeout(fd, deadline) : 0;
		if (r < 0)
			return r;
		if (sys_connect(fd, (const struct sockaddr *)address, size) == 0)
			break;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		/*
		 * The kernel counts the limit in ticks. It may end a tick early, and if signals
		 * interrupted the call again and again, it would never end. So the deadline is
		 * checked here.
		 */
		if (waits ? deadline_passed(deadline) : errno == EAGAIN)
			return deadline_error(deadline);
	}
	return timed ? set_send_timeout(fd, BEAM_FOREVER) : 0;
}

int socket_connect(const char *address, int type, beam_deadline deadline)
{
	bool waits = !deadline_passed(deadline);
	struct sockaddr_un name;
	socklen_t size;
	int fd, r;

	r = socket_address(address, &name, &size);
	if (r < 0)
		return r;
	fd = sys_socket(AF_UNIX, type | SOCK_CLOEXEC | (waits ? 0 : SOCK_NONBLOCK), 0);
	if (fd < 0)
		return -errno;
	r = type == SOCK_SEQPACKET ? socket_pass_credentials(fd) : 0;
	if (r == 0)
		r = connect_until(fd, &name, size, deadline, waits);
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

/* Both ends of a pair are unnamed. Of a connection at least the server's end has a name. */
static int is_pair(int fd)
{
	struct sockaddr_un name;
	socklen_t here = sizeof name, there = sizeof name;

	if (sys_getsockname(fd, (struct sockaddr *)&name, &here) < 0 ||
	    sys_getpeername(fd, (struct sockaddr *)&name, &there) < 0)
		return -errno;
	return here == sizeof name.sun_family && there == sizeof name.sun_family;
}

int socket_credentials(int fd, struct ucred *ret)
{
	struct ucred credentials;
	socklen_t size = sizeof credentials;
	int pair = is_pair(fd);

	if (pair < 0)
		return pair;
	/* SO_PEERCRED of a pair is its creator, whichever process has the other end now. */
	if (pair)
		return -ENODATA;
	if (sys_getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
		return -errno;
	if (credentials.pid <= 0)
		credentials.pid = SOCKET_NO_PID;
	*ret = credentials;
	return 0;
}

void socket_widen_buffer(int fd, unsigned least)
{
	int bytes = 0;
	socklen_t size = sizeof bytes;

	if (sys_getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &size) == 0 && (unsigned)bytes < least)
		socket_set_buffer(fd, least / 2);
}

void socket_set_buffer(int fd, unsigned bytes)
{
	/* The kernel doubles and caps it by itself (net.core.wmem_max, socket(7)). */
	sys_setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

int socket_duplicate(int fd)
{
	int duplicate = fd_duplicate_above_standard(fd);

	return duplicate < 0 ? -errno : duplicate;
}

int socket_loss_reason(void)
{
	/* recvmsg does not report why. If a descriptor can be created, the table was not full. */
	int probe = sys_eventfd(0, EFD_CLOEXEC);

	if (probe < 0)
		return -EMFILE;
	close(probe);
	return -EACCES;
}

void socket_shutdown(int fd)
{
	/* close() does not wake other threads that wait for the socket. This does. */
	sys_shutdown(fd, SHUT_RDWR);
}
