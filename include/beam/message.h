/* SPDX-License-Identifier: MIT */
/**
 * @file message.h
 * Messages: a payload of bytes, and attachments, which are open file descriptors.
 *
 * A message is received from a topic or a socket, or is created here to be sent. It owns its
 * payload and its attachments. Freeing the message closes the attachments that were not taken out
 * of it. A message belongs to one thread at a time: no two functions may run on the same message at
 * once. A message remains valid when the channel that it came from has been closed.
 */
#ifndef BEAM_MESSAGE_H
#define BEAM_MESSAGE_H

#include <beam/common.h>

BEAM_BEGIN

typedef struct beam_message beam_message;

/** The most attachments that a message can have: the kernel's SCM_MAX_FD (unix(7)). */
#define BEAM_MESSAGE_ATTACHMENTS_MAX 253

/**
 * Creates a message.
 *
 * @param ret   receives the message, which the caller frees or sends; untouched on failure
 * @param data  the payload, which is copied. With NULL the payload is `size` zero bytes, which can
 *              be filled in through beam_message_writable().
 * @param size  the payload's size in bytes; 0 creates an empty message
 * @retval 0          The message was created.
 * @retval -EINVAL    `ret` is NULL.
 * @retval -EMSGSIZE  `size` is greater than 2^31 - 1.
 * @retval -ENOMEM    There is no memory for the message.
 */
BEAM_API int beam_message_new(beam_message **ret, const void *data, size_t size) BEAM_CHECKED;

/**
 * Frees a message. A thread of the library closes the attachments that were not taken, because a
 * hostile peer can send descriptors whose close blocks (SO_LINGER, FUSE).
 *
 * @param message  NULL is allowed and does nothing
 */
BEAM_API void beam_message_free(beam_message *message);

/**
 * Returns the payload.
 *
 * @return the bytes, which belong to the message and are valid until it is freed; NULL only if
 *         `message` is NULL. They are guaranteed to be aligned to 8 bytes only if the message was
 *         created by beam_message_new().
 */
BEAM_API const void *beam_message_data(const beam_message *message);

/** @return the payload's size in bytes; 0 if `message` is NULL */
BEAM_API size_t beam_message_size(const beam_message *message);

/**
 * Returns the payload of a message that was created by beam_message_new(), for writing.
 *
 * @return the bytes; NULL if the message was received, because its bytes may share memory with
 *         other messages
 */
BEAM_API void *beam_message_writable(beam_message *message);

/**
 * Attaches a duplicate of a descriptor (F_DUPFD_CLOEXEC, fcntl(2)).
 *
 * @param fd  borrowed: it belongs to the caller, whatever the result
 * @retval 0        The duplicate was attached.
 * @retval -EINVAL  `message` is NULL.
 * @retval -EBADF   `fd` is not open.
 * @retval -EMFILE  The process has no free descriptor.
 * @retval -E2BIG   The message already has BEAM_MESSAGE_ATTACHMENTS_MAX attachments.
 * @retval -ENOMEM  There is no memory for another attachment.
 */
BEAM_API int beam_message_add_fd(beam_message *message, int fd) BEAM_CHECKED;

/**
 * Attaches a descriptor and takes ownership of it. No duplicate is made.
 *
 * @param fd  belongs to the message on success and to the caller on failure; made close-on-exec
 * @retval 0        The descriptor was attached.
 * @retval -EINVAL  `message` is NULL.
 * @retval -EBADF   `fd` is not open.
 * @retval -E2BIG   The message already has BEAM_MESSAGE_ATTACHMENTS_MAX attachments.
 * @retval -ENOMEM  There is no memory for another attachment.
 */
BEAM_API int beam_message_give_fd(beam_message *message, int fd) BEAM_CHECKED;

/**
 * @return the number of attachments, including those that were taken or lost; 0 if `message` is
 *         NULL
 */
BEAM_API size_t beam_message_attachments(const beam_message *message);

/**
 * Returns an attachment and leaves it in the message.
 *
 * @param index  from 0, in the order in which the sender attached them
 * @return the descriptor, which belongs to the message, or
 * @retval -ENOENT  There is no such attachment, or it has been taken.
 * @retval -EMFILE  It was lost on arrival, because this process had no free descriptor.
 * @retval -EACCES  It was lost on arrival, because a security module refused it.
 * @retval -EINVAL  `message` is NULL.
 */
BEAM_API int beam_message_peek_fd(const beam_message *message, size_t index);

/**
 * Takes an attachment out of a message. From now on it belongs to the caller, who closes it. It is
 * close-on-exec.
 *
 * @return the descriptor, or an error of beam_message_peek_fd()
 */
BEAM_API int beam_message_take_fd(beam_message *message, size_t index) BEAM_CHECKED;

BEAM_END

#endif
