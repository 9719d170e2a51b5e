/* SPDX-License-Identifier: MIT */
/*
 * Unix sockets, and the descriptors that are sent through them. Only this room knows control
 * messages. Only socket_wait(), socket_wait_more() and socket_connect() wait. No function keeps
 * state. Results are 0 or more, or -errno, which is never -EINTR.
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
 * The descriptors that came with one read. They are close-on-exec and belong to the receiver. In
 * the place of a lost one there may be -errno.
 */
struct fd_group {
	int n;
	/*
	 * The kernel dropped some, because no descriptor was free, or because of a security module.
	 */
	bool truncated;
	/*
	 * SO_PASSCRED is set and credentials came. So the read found a packet, which may be empty,
	 * and not the end.
	 */
	bool credentials;
	int fds[SOCKET_FDS_MAX];
};

/*
 * Calls recvmsg() once. Returns the number of bytes read, 0 at the end of the stream or for an
 * empty packet, or -EAGAIN if there is nothing. `group` is always filled in. It may contain
 * descriptors even if the result is 0.
 */
ssize_t socket_read(int fd, const struct iovec *iov, size_t n_iov, struct fd_group *group);

/*
 * Returns the size of the packet that socket_read() would read next from a SOCK_SEQPACKET socket.
 * That is 0 at the end, too. -EAGAIN: there is nothing.
 */
ssize_t socket_peek(int fd);

/*
 * Calls sendmsg() once, with MSG_NOSIGNAL. Returns the number of bytes written if it succeeds: then
 * all descriptors were sent. Otherwise it returns -errno, and none was sent. On a stream,
 * descriptors without any byte are refused with -EINVAL.
 */
ssize_t socket_write(int fd, const struct iovec *iov, size_t n_iov, const int *fds, size_t n_fds);

/*
 * True if a write failed with this -errno for a temporary reason, and no event tells when that has
 * passed.
 */
bool socket_retry_later(int error);

/* True if a write failed with this -errno because of one of its descriptors. */
bool socket_refused_fd(int error);

/*
 * Waits for `events` on a socket, POLLIN or POLLOUT, or for a kick, which is an eventfd that
 * becomes readable (-1: none). Returns 1 if the socket is ready, in error or hung up, 0 if it was
 * kicked, or deadline_error().
 */
int socket_wait(int fd, short events, int kick, beam_deadline deadline);

/*
 * The same, for a caller that has just found nothing. If the deadline has passed, it fails without
 * asking the kernel. Otherwise that caller might repeat its read for ever: if others read from the
 * socket too, or if it has an out-of-band byte, the kernel can report it as ready any number of
 * times although a read finds nothing.
 */
int socket_wait_more(int fd, short events, int kick, beam_deadline deadline);

/*
 * True if nothing will arrive on a socket any more, because it was shut down, by whatever process,
 * or is broken.
 */
bool socket_hung_up(int fd);

/* Creates a connected pair, which is close-on-exec. SOCK_SEQPACKET gets SO_PASSCRED. */
int socket_pair(int type, int ret_fds[2]);

/*
 * Returns the type of a Unix socket, SOCK_STREAM or SOCK_SEQPACKET, or -EBADF, -ENOTSOCK or
 * -EPROTOTYPE.
 */
int socket_type(int fd);

/*
 * Checks that `fd` is a connected Unix socket, and stores its type. Fails with -EBADF, -ENOTSOCK,
 * -EPROTOTYPE or -ENOTCONN.
 */
int socket_check(int fd, int *ret_type);

int socket_close_on_exec(int fd);

/*
 * Prepares a socket that was created elsewhere: it is made close-on-exec, and options that Beam
 * cannot work with are turned off (O_ASYNC, SO_PASSPIDFD and, for SOCK_SEQPACKET, SO_PEEK_OFF).
 * SOCK_SEQPACKET gets SO_PASSCRED.
 */
int socket_prepare(int fd, int type);

/* Turns SO_PEEK_OFF off, so that socket_peek() looks at the next packet from its first byte. */
void socket_peek_from_start(int fd);

/* Sets SO_PASSCRED. Packets carry credentials from now on, including those that wait to be read. */
int socket_pass_credentials(int fd);

/*
 * Makes the kernel's form of a path or, after '@', of an abstract name. Returns 0, -EINVAL or
 * -ENAMETOOLONG.
 */
int socket_address(const char *address, struct sockaddr_un *ret, socklen_t *ret_size);

/*
 * Connects to a path or, after '@', to an abstract name. Returns the descriptor, which is in
 * blocking mode unless the deadline had passed.
 */
int socket_connect(const char *address, int type, beam_deadline deadline);

/*
 * Stands for the pid of a process that has none in this pid namespace. The kernel reports 0, but
 * kill(2) takes 0 for the caller's process group. No process has the number used here, because pids
 * are at most 2^22, so kill(2) fails.
 */
#define SOCKET_NO_PID INT32_MAX

/* Reads SO_PEERCRED. Returns -ENODATA for a pair, because the answer would be its creator. */
int socket_credentials(int fd, struct ucred *ret);

/*
 * Requests an SO_SNDBUF of `least` bytes, as getsockopt() counts them, unless it is that large
 * already.
 */
void socket_widen_buffer(int fd, unsigned least);

/* Requests an SO_SNDBUF. Whatever the kernel grants is accepted. */
void socket_set_buffer(int fd, unsigned bytes);

/* Returns a close-on-exec duplicate, or -errno. */
int socket_duplicate(int fd);

/* Returns why descriptors were lost: -EMFILE if none is free, and -EACCES otherwise. */
int socket_loss_reason(void);

/* Ends both directions, and wakes all threads that wait for the socket. */
void socket_shutdown(int fd);

#endif
