/* SPDX-License-Identifier: MIT */
/**
 * @file message.h
 * A message: a payload of bytes and attachments (open file descriptors), with one owner.
 *
 * A message is received from a topic or a socket, or made here to be sent. It owns its payload and its attachments; freeing it
 * closes the attachments that were not taken. It belongs to one thread at a time: no function here may run on the same
 * message in two threads at once. Messages outlive the channel they came from.
 */
#ifndef BEAM_MESSAGE_H
#define BEAM_MESSAGE_H

#include <beam/common.h>

BEAM_BEGIN

typedef struct beam_message beam_message;

/** The most attachments that one message can have: the kernel's SCM_MAX_FD (unix(7)). */
#define BEAM_MESSAGE_ATTACHMENTS_MAX 253

/**
 * Makes a message.
 *
 * @param ret   takes the message; untouched on failure. The caller frees it, or a send takes it.
 * @param data  the payload, copied; NULL: `size` zero bytes, to be filled in through beam_message_writable()
 * @param size  bytes; 0 is a legal, empty message
 * @retval 0        done
 * @retval -EINVAL  `ret` is NULL
 * @retval -EMSGSIZE `size` is over 2^31 - 1
 * @retval -ENOMEM  no memory
 */
BEAM_API int beam_message_new(beam_message **ret, const void *data, size_t size) BEAM_CHECKED;

/**
 * Frees a message and gives its attachments that were not taken to a thread of the library that closes them: closing a
 * descriptor that a hostile peer chose can block (SO_LINGER, FUSE).
 *
 * @param message  NULL is allowed and does nothing
 */
BEAM_API void beam_message_free(beam_message *message);

/**
 * The payload.
 *
 * @return the bytes, the message's own, valid until it is freed; 8-byte aligned only if the message was made here;
 *         never NULL but for a NULL message
 */
BEAM_API const void *beam_message_data(const beam_message *message);

/** @return the payload's size in bytes; 0 for a NULL message */
BEAM_API size_t beam_message_size(const beam_message *message);

/**
 * The payload of a message made by beam_message_new(), to be written to.
 *
 * @return the bytes, or NULL if the message was received (its bytes may share memory with others)
 */
BEAM_API void *beam_message_writable(beam_message *message);

/**
 * Attaches a descriptor by a duplicate of it (F_DUPFD_CLOEXEC, fcntl(2)).
 *
 * @param fd  borrowed: it stays the caller's
 * @retval 0        done
 * @retval -EINVAL  `message` is NULL
 * @retval -EBADF   `fd` is not open
 * @retval -EMFILE  the process has no free descriptor
 * @retval -E2BIG   the message has BEAM_MESSAGE_ATTACHMENTS_MAX already
 * @retval -ENOMEM  no memory
 */
BEAM_API int beam_message_add_fd(beam_message *message, int fd) BEAM_CHECKED;

/**
 * Attaches a descriptor and takes it: no duplicate is made.
 *
 * @param fd  the message's on success, still the caller's on failure; made close-on-exec
 * @retval 0        done
 * @retval -EINVAL  `message` is NULL
 * @retval -EBADF   `fd` is not open
 * @retval -E2BIG   the message has BEAM_MESSAGE_ATTACHMENTS_MAX already
 * @retval -ENOMEM  no memory
 */
BEAM_API int beam_message_give_fd(beam_message *message, int fd) BEAM_CHECKED;

/** @return how many attachments the message came with or was given, taken and lost ones included; 0 for NULL */
BEAM_API size_t beam_message_attachments(const beam_message *message);

/**
 * An attachment, or what became of it.
 *
 * @param index  from 0, in the order the sender attached them
 * @return the descriptor, which stays the message's, or
 * @retval -ENOENT  there is no such attachment, or it was taken
 * @retval -EMFILE  it was lost on arrival: this process had no free descriptor
 * @retval -EACCES  it was lost on arrival: a security module refused it
 * @retval -EINVAL  `message` is NULL
 */
BEAM_API int beam_message_peek_fd(const beam_message *message, size_t index);

/**
 * Takes an attachment: from now on it is the caller's to close. It is close-on-exec.
 *
 * @return the descriptor, or the errors of beam_message_peek_fd()
 */
BEAM_API int beam_message_take_fd(beam_message *message, size_t index) BEAM_CHECKED;

BEAM_END

#endif
