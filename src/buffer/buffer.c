/* SPDX-License-Identifier: MIT */
/*
 * Shared buffers: a memfd and one mapping of it.
 *
 * The mapping stays at one address for the life of the buffer. It begins as a reservation, which
 * the kernel refuses if the machine could never hold so much. Then the memfd's pages, shared and
 * writable, take its place. Sealing replaces them by a private, read-only mapping of the same
 * pages, because the kernel seals only what no process can write to, and before Linux 6.7 it counts
 * every shared mapping as writable (F_SEAL_WRITE in fcntl(2)).
 *
 * Children do not inherit the writable mapping (MADV_DONTFORK), because theirs would keep the
 * buffer from being sealed. So a child must not touch those addresses either: something else may be
 * there.
 */
#include <base/sys.h>
#include <base/thread.h>
#include <beam/buffer.h>
#include <errno.h>
#include <linux/magic.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

enum {
	/*
	 * What is sent gets all of these seals. What was received must be safe to read, so it must
	 * be impossible to truncate or change it. F_SEAL_WRITE ensures that even for mappings that
	 * were made before. F_SEAL_FUTURE_WRITE does not.
	 */
	SEALS_GIVEN = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE,
	SEALS_NEEDED = F_SEAL_SHRINK | F_SEAL_WRITE,
	/*
	 * A signal undoes everything that one call has allocated. So calls are small, to make
	 * progress in spite of many signals.
	 */
	ALLOCATE_STEP = 64 << 10,
	STAT_BLOCK = 512,
};

struct beam_buffer {
	void *data;
	size_t size;
	int fd;
	/* Never both. Neither, if sealing failed and the writable mapping could not be restored. */
	bool sealed, writable;
	/* The process that the mapping belongs to until the buffer is sealed. */
	uint32_t process;
};

/*
 * Maps the buffer at its address, in place of what is there. Returns 0 or -ENOMEM, because the
 * mapping of a memfd of our own cannot fail for another reason.
 */
static int map(struct beam_buffer *buffer, int protection, int flags)
{
	void *data = sys_mmap(buffer->data, buffer->size, protection, flags | MAP_FIXED, buffer->fd, 0);

	return data == MAP_FAILED ? -ENOMEM : 0;
}

static int map_writable(struct beam_buffer *buffer)
{
	int r = map(buffer, PROT_READ | PROT_WRITE, MAP_SHARED);

	if (r == 0 && sys_madvise(buffer->data, buffer->size, MADV_DONTFORK) < 0)
		r = -ENOMEM;
	buffer->writable = r == 0;
	return r;
}

/* True if the mapping does not belong to this process. */
static bool is_elsewhere(const struct beam_buffer *buffer)
{
	return !buffer->sealed && buffer->process != process_id();
}

/*
 * Allocates all pages, or fails. A page that is not allocated now would raise SIGBUS if it were
 * written to when memory is short.
 */
static int allocate(int fd, size_t size)
{
	for (size_t done = 0; done < size;) {
		size_t step = size - done < ALLOCATE_STEP ? size - done : ALLOCATE_STEP;

		if (sys_fallocate(fd, 0, (off_t)done, (off_t)step) == 0)
			done += step;
		else if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/*
 * Creates a memfd that cannot be executed, if the kernel can ensure that (Linux 6.3; it can also be
 * configured to allow no others: vm.memfd_noexec).
 */
static int make_memfd(void)
{
	int fd = sys_memfd_create("beam-buffer", MFD_CLOEXEC | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL)
		fd = sys_memfd_create("beam-buffer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd < 0 ? -errno : fd;
}

/* Creates the descriptor and the mapping of a buffer. */
static int buffer_make(struct beam_buffer *buffer)
{
	void *data = sys_mmap(NULL, buffer->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r;

	if (data == MAP_FAILED)
		return -ENOMEM;
	buffer->data = data;
	buffer->fd = make_memfd();
	if (buffer->fd < 0)
		return buffer->fd;
	r = allocate(buffer->fd, buffer->size);
	return r < 0 ? r : map_writable(buffer);
}

int beam_buffer_new(beam_buffer **ret, size_t size)
{
	WITHOUT_CANCELLATION;
	struct beam_buffer *buffer;
	struct rlimit limit;
	int r;

	if (!ret || size == 0)
		return -EINVAL;
	/* Beyond this the kernel would send SIGXFSZ. */
	if (sys_getrlimit(RLIMIT_FSIZE, &limit) == 0 && size > limit.rlim_cur)
		return -EFBIG;
	r = process_prepare();
	if (r < 0)
		return r;
	buffer = sys_malloc(sizeof *buffer);
	if (!buffer)
		return -ENOMEM;
	*buffer = (struct beam_buffer){.size = size, .fd = -1, .process = process_id()};
	r = buffer_make(buffer);
	if (r < 0) {
		beam_buffer_free(buffer);
		return r;
	}
	*ret = buffer;
	return 0;
}

void beam_buffer_free(beam_buffer *buffer)
{
	WITHOUT_CANCELLATION;

	if (!buffer)
		return;
	if (buffer->data && !is_elsewhere(buffer))
		munmap(buffer->data, buffer->size);
	/*
	 * This is a memfd of ordinary memory, our own or one that was checked, so its close never
	 * blocks.
	 */
	if (buffer->fd >= 0)
		close(buffer->fd);
	free(buffer);
}

const void *beam_buffer_data(const beam_buffer *buffer)
{
	return buffer && !is_elsewhere(buffer) ? buffer->data : NULL;
}

size_t beam_buffer_size(const beam_buffer *buffer)
{
	return buffer ? buffer->size : 0;
}

void *beam_buffer_writable(beam_buffer *buffer)
{
	return buffer && buffer->writable && !is_elsewhere(buffer) ? buffer->data : NULL;
}

int beam_buffer_seal(beam_buffer *buffer)
{
	int r;

	if (!buffer)
		return -EINVAL;
	if (buffer->sealed)
		return buffer->fd;
	if (is_elsewhere(buffer))
		return -ECHILD;
	r = map(buffer, PROT_READ, MAP_PRIVATE);
	if (r < 0)
		return r;
	buffer->writable = false;
	if (sys_fcntl(buffer->fd, F_ADD_SEALS, SEALS_GIVEN) < 0) {
		r = -errno;
		map_writable(buffer);
		return r;
	}
	buffer->sealed = true;
	return buffer->fd;
}

int beam_message_add_buffer(beam_message *message, beam_buffer *buffer)
{
	int fd = beam_buffer_seal(buffer);

	return fd < 0 ? fd : beam_message_add_fd(message, fd);
}

/*
 * Checks that a file is safe to map, and stores its size. Otherwise returns -EBADMSG or -EMSGSIZE.
 *
 * The seals are asked for first, because that call never blocks on the server of the file. If there
 * are seals, the other calls do not block either. lseek() with SEEK_HOLE would find every hole, but
 * it can block: it takes the lock of the file's offset. A peer that reads the same file into memory
 * that it controls can hold that lock for ever. So holes are only found by the number of the file's
 * blocks.
 *
 * Huge pages are not ordinary memory. Each process that maps them reserves them, and can map them
 * only whole.
 */
static int buffer_check(int fd, size_t max, size_t *ret_size)
{
	struct statfs system;
	struct stat status;
	int seals = sys_fcntl(fd, F_GET_SEALS, 0);

	if (seals < 0 || (seals & SEALS_NEEDED) != SEALS_NEEDED)
		return -EBADMSG;
	if (sys_fstatfs(fd, &system) < 0 || system.f_type != TMPFS_MAGIC || sys_fstat(fd, &status) < 0)
		return -EBADMSG;
	if (status.st_size <= 0 || (status.st_size - 1) / STAT_BLOCK >= status.st_blocks)
		return -EBADMSG;
	if ((uintmax_t)status.st_size > max)
		return -EMSGSIZE;
	*ret_size = (size_t)status.st_size;
	return 0;
}

int beam_message_take_buffer(beam_message *message, size_t index, size_t max, beam_buffer **ret)
{
	struct beam_buffer *buffer;
	size_t size = 0;
	void *data;
	int fd, r;

	if (!ret)
		return -EINVAL;
	fd = beam_message_peek_fd(message, index);
	if (fd < 0)
		return fd;
	r = buffer_check(fd, max, &size);
	if (r < 0)
		return r;
	buffer = sys_malloc(sizeof *buffer);
	if (!buffer)
		return -ENOMEM;
	data = sys_mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED) {
		/* -EACCES: a descriptor that is not open for reading. */
		r = errno == EACCES ? -EBADMSG : -errno;
		free(buffer);
		return r;
	}
	*buffer = (struct beam_buffer){
	    .data = data, .size = size, .fd = beam_message_take_fd(message, index), .sealed = true};
	*ret = buffer;
	return 0;
}
