/* SPDX-License-Identifier: MIT */
/**
 * @file core.h
 * The five functions of Docker's pkg/beam, for any connected Unix socket.
 *
 * Nothing is kept between calls: no buffer, no thread, no state. The type of the socket determines
 * the framing:
 *
 * - SOCK_STREAM: four bytes in big-endian order, then the payload. Bits 0 to 30 are the length of
 *   the payload. Bit 31 is set if a descriptor comes with the first byte of the message. The Go
 *   code speaks this form.
 * - SOCK_SEQPACKET: each packet is a message, without a header.
 *
 * The functions whose names end in `_bare` use no framing, like the first Go version. They send and
 * receive a stream of payload without message boundaries, and support only SOCK_STREAM.
 *
 * A message carries at most one attachment. If more arrive, the first is kept and the others are
 * closed. The socket may be in blocking or non-blocking mode. On one socket, at most one thread may
 * send and at most one may receive at a time.
 *
 * If the deadline passes in the middle of a message on a stream, or if the call has to wait there
 * with BEAM_NOWAIT, it returns -ECONNABORTED. The stream is then out of step: it is no longer known
 * where the next message begins. It can only be closed.
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
 * @param socket    a connected Unix socket, SOCK_STREAM or SOCK_SEQPACKET
 * @param data      the payload, borrowed; may be NULL if `size` is 0
 * @param size      the payload's size in bytes: at most 2^31 - 1 on a stream, and at most what fits
 *                  into a packet on SOCK_SEQPACKET
 * @param fd        the attachment, borrowed, or -1 for none
 * @param deadline  how long to wait for room
 * @retval 0              The kernel has all of the message.
 * @retval -EINVAL        `data` is NULL and `size` is not 0, or `fd` is less than -1, or the kernel
 *                        cannot pass a descriptor of this kind (io_uring).
 * @retval -EBADF         `socket` or `fd` is not open.
 * @retval -ENOTSOCK      `socket` is not a socket.
 * @retval -EPROTOTYPE    `socket` is not a Unix socket, or it is of a type that the function does
 *                        not support.
 * @retval -ENOTCONN      `socket` is not connected.
 * @retval -EMSGSIZE      The message is too large.
 * @retval -EFAULT        The kernel cannot read all of the payload. Nothing was sent.
 * @retval -EAGAIN, -ETIMEDOUT  There is no room, with BEAM_NOWAIT or at the deadline. Nothing was
 *                        sent. These errors are also returned if this user has too many descriptors
 *                        in flight (ETOOMANYREFS).
 * @retval -ECONNABORTED  Part of the message had been sent when the call had to wait with
 *                        BEAM_NOWAIT, when the deadline passed, or when the kernel failed, for
 *                        example because it could not read the rest of the payload. The attachment
 *                        may have been sent. A stream is out of step.
 * @retval -EPIPE, -ECONNRESET  The peer has closed the connection.
 * @retval -EPERM         The peer does not accept descriptors (SO_PASSRIGHTS).
 */
BEAM_API int beam_send(int socket, const void *data, size_t size, int fd, beam_deadline deadline) BEAM_CHECKED;

/**
 * Receives one message.
 *
 * @param socket    as for beam_send()
 * @param ret       receives the message, which the caller frees; untouched unless the result is 1
 * @param limit     the size of the largest payload to accept, in bytes. Memory is allocated as
 *                  bytes arrive, not by the length that the sender announced.
 * @param deadline  how long to wait
 * @retval 1              A message was received.
 * @retval 0              The peer has closed the connection between messages.
 * @retval -EINVAL        `ret` is NULL.
 * @retval -EBADF, -ENOTSOCK, -EPROTOTYPE, -ENOTCONN  as for beam_send()
 * @retval -EAGAIN, -ETIMEDOUT  No message arrived, with BEAM_NOWAIT or before the deadline.
 * @retval -ECONNABORTED  Only part of a message had arrived when the call had to wait with
 *                        BEAM_NOWAIT, or when the deadline passed. A stream is out of step.
 * @retval -ECONNRESET    The peer died, or closed the connection in the middle of a message.
 * @retval -EMSGSIZE      The payload is larger than `limit`. A packet is consumed. A stream is out
 *                        of step.
 * @retval -EPROTO        The header announced a descriptor that did not come, or one came
 *                        unannounced. A stream is out of step.
 * @retval -ENOMEM        There is no memory for the message. A stream is out of step.
 *
 * An attachment that was lost on arrival is not an error of this function: beam_message_peek_fd()
 * returns the reason. A receive that fails leaves no descriptor open.
 */
BEAM_API int beam_receive(int socket, beam_message **ret, size_t limit, beam_deadline deadline) BEAM_CHECKED;

/**
 * Sends payload without framing, and at most one descriptor with its first byte.
 *
 * The parameters and errors are those of beam_send(), for SOCK_STREAM only, and also:
 * @retval -EINVAL  `size` is 0. The bare form has no empty messages.
 */
BEAM_API int beam_send_bare(int socket, const void *data, size_t size, int fd, beam_deadline deadline) BEAM_CHECKED;

/**
 * Receives what is available, at most `limit` bytes and at most 64 KiB. The bare form has no
 * message boundaries.
 *
 * The parameters and errors are those of beam_receive(), for SOCK_STREAM only, and also:
 * @retval -EINVAL  `limit` is 0.
 */
BEAM_API int beam_receive_bare(int socket, beam_message **ret, size_t limit, beam_deadline deadline) BEAM_CHECKED;

/**
 * Sends a message with one end of a new stream socket pair, and returns the other end.
 *
 * @param ret_fd  receives the other end, close-on-exec, which the caller closes; untouched on
 *                failure
 *
 * The other parameters and the errors are those of beam_send(), and also:
 * @retval -EINVAL  `ret_fd` is NULL.
 * @retval -EMFILE, -ENFILE, -ENOMEM  There are no free descriptors or no memory for a pair.
 */
BEAM_API int beam_send_pipe(int socket, const void *data, size_t size, int *ret_fd,
			    beam_deadline deadline) BEAM_CHECKED;

/**
 * Creates a pair of connected Unix sockets, close-on-exec and in blocking mode.
 *
 * @param type     SOCK_STREAM or SOCK_SEQPACKET. The latter gets SO_PASSCRED, which distinguishes
 *                 an empty packet from the end of the connection.
 * @param ret_fds  receives both ends, which the caller closes; untouched on failure
 * @retval 0        The pair was created.
 * @retval -EINVAL  `ret_fds` is NULL, or `type` is not one of the two types.
 * @retval -EMFILE, -ENFILE, -ENOMEM  There are no free descriptors or no memory for a pair.
 */
BEAM_API int beam_socket_pair(int type, int ret_fds[2]) BEAM_CHECKED;

/**
 * Checks that a descriptor from elsewhere can be used with these functions, and prepares it. It
 * becomes close-on-exec, and O_ASYNC and SO_PASSPIDFD are turned off. On SOCK_SEQPACKET,
 * SO_PASSCRED is turned on and SO_PEEK_OFF is turned off. Other socket options are harmless.
 *
 * @param fd  belongs to the caller, whatever the result
 * @retval 0            It is a connected Unix socket, SOCK_STREAM or SOCK_SEQPACKET.
 * @retval -EBADF       It is not open.
 * @retval -ENOTSOCK    It is not a socket.
 * @retval -EPROTOTYPE  It is not a Unix socket, or it is of neither of these two types.
 * @retval -ENOTCONN    It is not connected.
 */
BEAM_API int beam_fd_conn(int fd) BEAM_CHECKED;

BEAM_END

#endif
