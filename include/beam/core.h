/* SPDX-License-Identifier: MIT */
/**
 * @file core.h
 * The five functions of Docker's pkg/beam, for any connected unix socket.
 *
 * Nothing is kept between calls: no buffer, no thread, no state. The framing follows from the socket's type:
 *
 *  - SOCK_STREAM: four bytes big-endian (bit 31: a descriptor came with the first byte of this message; bits 0-30: the
 *    payload's length), then the payload. This is what the Go code speaks.
 *  - SOCK_SEQPACKET: a packet is a message, without a header.
 *  - The bare form of the first Go version, by the functions whose names end in `_bare`: a stream of payload without boundaries.
 *
 * A message carries at most one attachment; if more than one arrives the first is kept and the others are closed. The
 * socket may be in blocking mode or not. Several threads may use one socket only if at most one sends and one receives at a time.
 *
 * A deadline that passes in mid-message on a stream leaves the stream out of step: that is -ECONNABORTED, and the socket is
 * good for nothing but closing.
 */
#ifndef BEAM_CORE_H
#define BEAM_CORE_H

#include <beam/common.h>
#include <beam/deadline.h>
#include <beam/message.h>
#include <sys/socket.h>

BEAM_BEGIN

/**
 * Sends one message.
 *
 * @param socket    a connected unix socket, SOCK_STREAM or SOCK_SEQPACKET
 * @param data      the payload, borrowed; may be NULL if `size` is 0
 * @param size      bytes: at most 2^31 - 1 on a stream, what a packet holds on SOCK_SEQPACKET
 * @param fd        the attachment, borrowed, or -1 for none
 * @param deadline  until when to wait for room
 * @retval 0              sent: the kernel has all of it
 * @retval -EINVAL        `data` is NULL with `size` > 0, `fd` is below -1, or of a kind that cannot be passed (io_uring)
 * @retval -EBADF         `socket` or `fd` is not open
 * @retval -ENOTSOCK      `socket` is not a socket
 * @retval -EPROTOTYPE    not a unix socket, or of another type
 * @retval -ENOTCONN      not connected
 * @retval -EMSGSIZE      too large
 * @retval -EFAULT        the payload is not in memory: nothing was sent
 * @retval -EAGAIN, -ETIMEDOUT  no room, with BEAM_NOWAIT or at the deadline: nothing was sent. Too many descriptors in flight
 *                        for this user (ETOOMANYREFS) ends the same way.
 * @retval -ECONNABORTED  the deadline passed, or the kernel failed (as for memory that is not there), when a part had been sent; the attachment may have gone
 * @retval -EPIPE, -ECONNRESET  the other end is closed
 * @retval -EPERM         the other end takes no descriptors (SO_PASSRIGHTS)
 */
BEAM_API int beam_send(int socket, const void *data, size_t size, int fd, beam_deadline deadline) BEAM_CHECKED;

/**
 * Receives one message.
 *
 * @param socket    as above
 * @param ret       takes the message, the caller's to free; untouched unless the result is 1
 * @param limit     the largest payload to accept, in bytes; memory is spent as bytes arrive, never by the announced length
 * @param deadline  until when to wait
 * @retval 1              a message
 * @retval 0              the other end closed, between messages
 * @retval -EINVAL        `ret` is NULL
 * @retval -EBADF, -ENOTSOCK, -EPROTOTYPE, -ENOTCONN  as for beam_send()
 * @retval -EAGAIN, -ETIMEDOUT  nothing came, with BEAM_NOWAIT or before the deadline
 * @retval -ECONNABORTED  the deadline passed in mid-message
 * @retval -ECONNRESET    the other end died, or closed in mid-message
 * @retval -EMSGSIZE      the payload is over `limit`; a packet is consumed, a stream is out of step
 * @retval -EPROTO        the header and the descriptors that came do not agree; a stream is out of step
 * @retval -ENOMEM        no memory; a stream is out of step
 *
 * An attachment that was lost on arrival is a property of the message: beam_message_peek_fd(). No error leaves a descriptor behind.
 */
BEAM_API int beam_receive(int socket, beam_message **ret, size_t limit, beam_deadline deadline) BEAM_CHECKED;

/**
 * Sends payload, and at most one descriptor with its first byte, without any framing.
 *
 * As beam_send(), for SOCK_STREAM only; besides
 * @retval -EINVAL  `size` is 0: the bare form has no empty messages
 */
BEAM_API int beam_send_bare(int socket, const void *data, size_t size, int fd, beam_deadline deadline) BEAM_CHECKED;

/**
 * Receives what there is, at most `limit` bytes and 64 KiB: the bare form has no boundaries.
 *
 * As beam_receive(), for SOCK_STREAM only; besides
 * @retval -EINVAL  `limit` is 0
 */
BEAM_API int beam_receive_bare(int socket, beam_message **ret, size_t limit, beam_deadline deadline) BEAM_CHECKED;

/**
 * Sends a message with one end of a new stream socket pair, and keeps the other.
 *
 * @param ret_fd  takes the end that is kept, close-on-exec, the caller's to close; untouched on failure
 *
 * The other parameters and the errors are those of beam_send(); besides
 * @retval -EINVAL  `ret_fd` is NULL
 * @retval -EMFILE, -ENFILE, -ENOMEM  no pair can be made
 */
BEAM_API int beam_send_pipe(int socket, const void *data, size_t size, int *ret_fd, beam_deadline deadline) BEAM_CHECKED;

/**
 * Makes a pair of connected unix sockets, close-on-exec, in blocking mode.
 *
 * @param type     SOCK_STREAM or SOCK_SEQPACKET (the latter with SO_PASSCRED, which tells an empty packet from the end)
 * @param ret_fds  takes both ends, the caller's to close; untouched on failure
 * @retval 0            done
 * @retval -EINVAL      `ret_fds` is NULL, or another type
 * @retval -EMFILE, -ENFILE, -ENOMEM  no pair can be made
 */
BEAM_API int beam_socket_pair(int type, int ret_fds[2]) BEAM_CHECKED;

/**
 * Checks that a descriptor from elsewhere is fit for these functions, and makes it so: close-on-exec, without O_ASYNC and
 * SO_PASSPIDFD; SO_PASSCRED and no SO_PEEK_OFF for SOCK_SEQPACKET. Other options do no harm.
 *
 * @param fd  stays the caller's, whatever the result
 * @retval 0            a connected unix socket, SOCK_STREAM or SOCK_SEQPACKET
 * @retval -EBADF       not open
 * @retval -ENOTSOCK    not a socket
 * @retval -EPROTOTYPE  not a unix socket, or of another type
 * @retval -ENOTCONN    not connected
 */
BEAM_API int beam_fd_conn(int fd) BEAM_CHECKED;

BEAM_END

#endif
