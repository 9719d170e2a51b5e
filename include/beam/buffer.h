/* SPDX-License-Identifier: MIT */
/**
 * @file buffer.h
 * Shared buffers: memory that is sent to other processes as an attachment, without being copied.
 *
 * A buffer is created, filled and sealed, and then sent any number of times, to any number of
 * receivers. Nobody can write to a sealed buffer or change its size. A receiver can therefore map
 * it without trusting the sender. A buffer is a memfd (memfd_create(2), F_ADD_SEALS in fcntl(2)),
 * and is sent as a descriptor like any other.
 *
 * Until it is sealed, a buffer belongs to one thread at a time. A buffer that is sealed or was
 * received can be read, attached, sent and sealed again by any number of threads at once.
 * beam_buffer_free() may be called only after all of these have returned. A buffer does not depend
 * on a channel: it may come from one channel, go to another, and outlive both.
 *
 * A buffer that was not sealed at the time of a fork does not exist in the child:
 * beam_buffer_data() returns NULL, and beam_buffer_seal() returns -ECHILD. Sealed and received
 * buffers exist in the child as well.
 */
#ifndef BEAM_BUFFER_H
#define BEAM_BUFFER_H

#include <beam/common.h>
#include <beam/message.h>

BEAM_BEGIN

typedef struct beam_buffer beam_buffer;

/**
 * Creates a buffer. Its memory is allocated at once, so that filling it can neither fail nor raise
 * SIGBUS. The memory is charged to the memory control group of this process, wherever the buffer is
 * sent.
 *
 * @param ret   receives the buffer, which the caller frees; untouched on failure
 * @param size  the size in bytes, at least 1. The bytes are zero at first. The size is limited by
 *              the maximum size of a file (RLIMIT_FSIZE, setrlimit(2)) and by the memory of the
 *              machine.
 * @retval 0                 The buffer was created.
 * @retval -EINVAL           `ret` is NULL, or `size` is 0.
 * @retval -EFBIG            `size` is greater than RLIMIT_FSIZE.
 * @retval -ENOMEM, -ENOSPC  There is no memory for the buffer.
 * @retval -EMFILE, -ENFILE  There is no free descriptor.
 * @retval -ENOSYS           The kernel does not have memfd_create(2) (before Linux 3.17).
 */
BEAM_API int beam_buffer_new(beam_buffer **ret, size_t size) BEAM_CHECKED;

/**
 * Frees a buffer: its mapping and its descriptor. Receivers keep what was sent to them.
 *
 * @param buffer  NULL is allowed and does nothing
 */
BEAM_API void beam_buffer_free(beam_buffer *buffer);

/**
 * Returns the bytes for reading.
 *
 * @return the bytes, which belong to the buffer, and whose address stays the same until it is
 *         freed; NULL if `buffer` is NULL, and for an unsealed buffer in a forked child
 */
BEAM_API const void *beam_buffer_data(const beam_buffer *buffer);

/** @return the size in bytes; 0 if `buffer` is NULL */
BEAM_API size_t beam_buffer_size(const beam_buffer *buffer);

/**
 * Returns the bytes for writing.
 *
 * @return the same address as beam_buffer_data(); NULL if the buffer is sealed or was received.
 *         After sealing, a write to this address raises SIGSEGV.
 */
BEAM_API void *beam_buffer_writable(beam_buffer *buffer);

/**
 * Seals a buffer permanently and returns its descriptor, which can be attached to a message by
 * beam_topic_sendv(), beam_send() or any other function that sends descriptors. If the buffer is
 * already sealed or was received, the function only returns the descriptor.
 *
 * @return the descriptor, which belongs to the buffer: do not close it, and do not use it after the
 *         buffer was freed
 * @retval -EINVAL  `buffer` is NULL.
 * @retval -ECHILD  This is a forked child, and the buffer was not sealed before the fork.
 * @retval -EBUSY   The kernel is still writing input directly into the buffer's memory (io_uring,
 *                  direct I/O).
 * @retval -ENOMEM  There is not enough memory to seal the buffer.
 *
 * If sealing failed, it can be tried again later. Until then the buffer can be written to, unless
 * there was not enough memory to make it writable again. In that case beam_buffer_writable()
 * returns NULL.
 */
BEAM_API int beam_buffer_seal(beam_buffer *buffer) BEAM_CHECKED;

/**
 * Seals a buffer, and attaches a duplicate of its descriptor to a message.
 *
 * @param buffer  belongs to the caller. It remains sealed, whatever happens to the message.
 * @retval 0  The buffer was attached.
 * @retval -EINVAL, -ECHILD, -EBUSY, -ENOMEM  as for beam_buffer_seal()
 * @retval -EINVAL, -EMFILE, -E2BIG, -ENOMEM  as for beam_message_add_fd(); the buffer is sealed
 *            nevertheless
 */
BEAM_API int beam_message_add_buffer(beam_message *message, beam_buffer *buffer) BEAM_CHECKED;

/**
 * Takes an attachment out of a message as a shared buffer, and maps it for reading.
 *
 * The attachment must be safe to read, whoever sent it. It must be a memfd of ordinary memory,
 * sealed with F_SEAL_SHRINK and F_SEAL_WRITE, so that it can no longer change or be truncated. It
 * must be at least 1 byte long, and not sparse. The sender cannot make any of these checks block.
 *
 * The buffer's memory is charged to the memory control group of the process that created it. The
 * check for sparse files only counts pages. A hostile peer can therefore hide holes by putting the
 * same number of pages beyond the end of the buffer (FALLOC_FL_KEEP_SIZE, fallocate(2)). Reading
 * the holes allocates memory that is charged to this process, at most the buffer's size, which
 * `max` limits.
 *
 * @param index  the attachment, counted from 0
 * @param max    the size in bytes of the largest buffer to accept
 * @param ret    receives the buffer, which the caller frees; untouched on failure
 * @retval 0                 The attachment has been taken out of the message, as by
 *                           beam_message_take_fd().
 * @retval -EINVAL           `message` or `ret` is NULL.
 * @retval -ENOENT, -EMFILE, -EACCES  There is no such attachment, it has been taken, or it was
 *                           lost, as for beam_message_peek_fd().
 * @retval -EBADMSG          The attachment is not a buffer that is safe to read.
 * @retval -EMSGSIZE         The buffer is larger than `max`.
 * @retval -ENOMEM, -EAGAIN  The buffer cannot be mapped (mmap(2)).
 *
 * On failure the attachment stays in the message, unchanged.
 */
BEAM_API int beam_message_take_buffer(beam_message *message, size_t index, size_t max, beam_buffer **ret) BEAM_CHECKED;

BEAM_END

#endif
