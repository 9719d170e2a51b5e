/* SPDX-License-Identifier: MIT */
/**
 * @file buffer.h
 * Shared buffers: memory that goes to another process as an attachment, without being copied.
 *
 * A buffer is made, filled, sealed and sent, any number of times, to anyone. Sealed it cannot be written to, made larger or made smaller
 * again by anybody, so that a receiver that does not trust the sender can map it (memfd_create(2), F_ADD_SEALS in fcntl(2)). On the wire
 * it is a descriptor like others.
 *
 * A buffer belongs to one thread at a time until it is sealed. One that is sealed, or was received, is the same for all, and any number of
 * threads may read and send it at once; only beam_buffer_free() must be the last. It has nothing to do with channels: it may
 * come from one, go to another, and outlive both.
 *
 * In a forked child of its maker a buffer that was not sealed is not there: beam_buffer_data() is NULL, beam_buffer_seal() gives -ECHILD;
 * only the maker fills it. Sealed and received ones are the child's as well.
 */
#ifndef BEAM_BUFFER_H
#define BEAM_BUFFER_H

#include <beam/common.h>
#include <beam/message.h>

BEAM_BEGIN

typedef struct beam_buffer beam_buffer;

/**
 * Makes a buffer. Its memory is taken at once, so that filling it can neither fail nor raise SIGBUS; it belongs to this process's
 * limits, wherever it is sent.
 *
 * @param ret   takes the buffer, the caller's to free; untouched on failure
 * @param size  bytes, at least 1; all zero at first. The process's limit of a file's size bounds it (RLIMIT_FSIZE in setrlimit(2)), and
 *              so does the memory that the machine has.
 * @retval 0        done
 * @retval -EINVAL  `ret` is NULL or `size` is 0
 * @retval -EFBIG   `size` is over RLIMIT_FSIZE
 * @retval -ENOMEM, -ENOSPC  no memory
 * @retval -EMFILE, -ENFILE  no free descriptor
 * @retval -ENOSYS  the kernel knows no memfd_create() (before Linux 3.17)
 */
BEAM_API int beam_buffer_new(beam_buffer **ret, size_t size) BEAM_CHECKED;

/**
 * Frees a buffer: its mapping and its descriptor. What was sent of it stays with its receivers.
 *
 * @param buffer  NULL is allowed and does nothing
 */
BEAM_API void beam_buffer_free(beam_buffer *buffer);

/**
 * The bytes, to be read.
 *
 * @return the buffer's own, valid and at the same place until it is freed; NULL for NULL, and in a forked child if the buffer is not sealed
 */
BEAM_API const void *beam_buffer_data(const beam_buffer *buffer);

/** @return the size in bytes; 0 for NULL */
BEAM_API size_t beam_buffer_size(const beam_buffer *buffer);

/**
 * The bytes, to be filled in.
 *
 * @return where beam_buffer_data() is; NULL if the buffer is sealed or was received. Writing there once it is sealed raises SIGSEGV.
 */
BEAM_API void *beam_buffer_writable(beam_buffer *buffer);

/**
 * Seals a buffer for good, and gives the descriptor to attach: for beam_topic_sendv(), beam_send(), and whatever else takes
 * descriptors. Any number of times: a buffer that is sealed already, or was received, only gives its descriptor.
 *
 * @return the descriptor, 0 or more, which stays the buffer's: not to be closed, nor used after the buffer is freed
 * @retval -EINVAL  `buffer` is NULL
 * @retval -ECHILD  in a forked child, of a buffer that is not sealed
 * @retval -EBUSY   something still writes there: input that the kernel does straight into the memory (io_uring, direct I/O)
 * @retval -ENOMEM  no memory
 *
 * On failure the buffer can be sealed later, and still be filled in, unless beam_buffer_writable() is NULL now, when there was
 * no memory twice.
 */
BEAM_API int beam_buffer_seal(beam_buffer *buffer) BEAM_CHECKED;

/**
 * Seals a buffer and attaches it to a message, by a duplicate of its descriptor.
 *
 * @param buffer  stays the caller's, sealed whatever becomes of the message
 * @retval 0  done
 * @retval -EINVAL, -ECHILD, -EBUSY, -ENOMEM  as for beam_buffer_seal()
 * @retval -EINVAL, -EMFILE, -E2BIG, -ENOMEM  as for beam_message_add_fd(): the buffer is sealed nevertheless
 */
BEAM_API int beam_message_add_buffer(beam_message *message, beam_buffer *buffer) BEAM_CHECKED;

/**
 * Takes an attachment as a shared buffer, mapped to be read.
 *
 * What a peer sends is believed only as far as the kernel vouches for it: the attachment must be a memfd of ordinary memory, sealed with
 * F_SEAL_SHRINK and F_SEAL_WRITE, so that it cannot change or be cut off any more, at least 1 byte long, and not sparse. None of the checks
 * can be made to wait. The memory was taken by, and is charged to, the process that filled it. A peer that hides what is missing behind the
 * end of its buffer (FALLOC_FL_KEEP_SIZE in fallocate(2)) can have reading take memory here: at most the buffer's size, which
 * `max` bounds.
 *
 * @param index  of the attachment, from 0
 * @param max    the largest buffer to accept, in bytes
 * @param ret    takes the buffer, the caller's to free; untouched on failure
 * @retval 0         done: the message does not have the attachment any more, as after beam_message_take_fd()
 * @retval -EINVAL   `message` or `ret` is NULL
 * @retval -ENOENT, -EMFILE, -EACCES  there is no such attachment, it was taken, or it was lost: as for beam_message_peek_fd()
 * @retval -EBADMSG  it is no such buffer
 * @retval -EMSGSIZE it is larger than `max`
 * @retval -ENOMEM, -EAGAIN  it cannot be mapped (mmap(2))
 *
 * On failure the attachment stays in the message as it was.
 */
BEAM_API int beam_message_take_buffer(beam_message *message, size_t index, size_t max, beam_buffer **ret) BEAM_CHECKED;

BEAM_END

#endif
