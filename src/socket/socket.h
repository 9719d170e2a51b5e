/* SPDX-License-Identifier: MIT */
/*
 * Unix sockets and the descriptors that travel through them: the one room that knows control
 * messages. Nothing here blocks but socket_wait() and socket_connect(); nothing keeps state.
 * Results are 0 or more, or -errno; EINTR never shows.
 */
#ifndef SOCKET_SOCKET_H
#define SOCKET_SOCKET_H

#include <beam/deadline.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

/* The most descriptors that one sendmsg can carry (SCM_MAX_FD). */
#define SOCKET_FDS_MAX 253

/*
 * The descriptors that came with one read: the receiver's, close-on-exec. One that was
 * lost may be there as -errno.
 */
struct fd_group {
	int n;
	/* The kernel dropped some: no free descriptor, or a security module. */
	bool truncated;
	/* SO_PASSCRED is on and the packet bore credentials: it is a packet, not the end. */
	bool credentials;
	int fds[SOCKET_FDS_MAX];
};

/*
 * One recvmsg: bytes read, 0 at the end of the stream (or an empty packet), -EAGAIN if nothing is
 * there. `group` is always filled in; it may hold descriptors with any result.
 */
ssize_t socket_read(int fd, const struct iovec *iov, size_t n_iov, struct fd_group *group);

/*
 * The size of the packet that a SOCK_SEQPACKET socket_read() would give next: 0 also at the end;
 * -EAGAIN if nothing is there.
 */
ssize_t socket_peek(int fd);

/*
 * One sendmsg, with MSG_NOSIGNAL: bytes written (all descriptors went), or -errno (none did). With
 * descriptors on a stream there must be a byte: -EINVAL.
 */
ssize_t socket_write(int fd, const struct iovec *iov, size_t n_iov, const int *fds, size_t n_fds);

/*
 * True if a write failed, with this -errno, for a reason that passes without any event to wait for.
 */
bool socket_retry_later(int error);

/* True if a write failed, with this -errno, because of a descriptor in it. */
bool socket_refused_fd(int error);

/*
 * Waits for POLLIN or POLLOUT in `events` on a socket, or for a kick (an eventfd that becomes
 * readable; -1: none). 1: the socket is ready, in error or hung up. 0: kicked.
 * deadline_error(): neither.
 */
int socket_wait(int fd, short events, int kick, beam_deadline deadline);

/*
 * The same, after a look that found nothing: when the deadline has passed it is over, without
 * asking. Of a socket that others read from too, or that has an out-of-band byte, the kernel can
 * say that it is ready, and the next look find nothing, any number of times.
 */
int socket_wait_more(int fd, short events, int kick, beam_deadline deadline);

/* True if nothing will come of a socket any more: it was shut down, by whoever, or is broken. */
bool socket_hung_up(int fd);

/* A connected pair, close-on-exec. SOCK_SEQPACKET gets SO_PASSCRED. */
int socket_pair(int type, int ret_fds[2]);

/* SOCK_STREAM or SOCK_SEQPACKET, of a unix socket: else -EBADF, -ENOTSOCK, -EPROTOTYPE. */
int socket_type(int fd);

/*
 * Checks that `fd` is a connected unix socket, and tells its type: -EBADF,
 * -ENOTSOCK, -EPROTOTYPE, -ENOTCONN.
 */
int socket_check(int fd, int *ret_type);

int socket_close_on_exec(int fd);

/*
 * Makes a socket that comes from elsewhere fit to be used here: close-on-exec, without
 * the options that it could not be used with (O_ASYNC, SO_PASSPIDFD, SO_PEEK_OFF);
 * SO_PASSCRED for SOCK_SEQPACKET.
 */
int socket_prepare(int fd, int type);

/* Turns SO_PEEK_OFF off: socket_peek() looks at the next packet from its first byte. */
void socket_peek_from_start(int fd);

/* SO_PASSCRED: packets bear credentials from now on, those that wait to be read included. */
int socket_pass_credentials(int fd);

/* What the kernel calls a path or, after '@', an abstract name: 0, -EINVAL or -ENAMETOOLONG. */
int socket_address(const char *address, struct sockaddr_un *ret, socklen_t *ret_size);

/*
 * A connection to a path or, after '@', an abstract name: the descriptor, in blocking mode
 * unless the deadline had passed.
 */
int socket_connect(const char *address, int type, beam_deadline deadline);

/*
 * The pid of a process that has none in the pid namespace of this one. The kernel says 0,
 * with which kill(2) means the caller's group. This is no process's number, for there are
 * 2^22 at most: kill(2) fails.
 */
#define SOCKET_NO_PID INT32_MAX

/* SO_PEERCRED; -ENODATA where it would name the creator of a pair. */
int socket_credentials(int fd, struct ucred *ret);

/*
 * Asks for an SO_SNDBUF of `least` bytes as getsockopt() counts them, unless it is as large
 * already.
 */
void socket_widen_buffer(int fd, unsigned least);

/* Asks for an SO_SNDBUF; what the kernel grants is enough. */
void socket_set_buffer(int fd, unsigned bytes);

/* A close-on-exec duplicate, or -errno. */
int socket_duplicate(int fd);

/* Why descriptors were lost: -EMFILE if there is no free one, else -EACCES. */
int socket_loss_reason(void);

/* No more bytes either way; wakes who waits for them. */
void socket_shutdown(int fd);

#endif
