/* SPDX-License-Identifier: MIT */
/*
 * A thread that reads a file into a page that is never provided (userfaultfd(2)), and so holds the
 * lock of the file's offset for as long as a test likes. An unprivileged peer can do the same with
 * a page of a FUSE file.
 */
#ifndef KERNEL_STUCK_READER_H
#define KERNEL_STUCK_READER_H

#include <fcntl.h>
#include <harness/harness.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { STUCK_PAGE = 4096 };

struct stuck_reader {
	/*
	 * The file, opened again: descriptors from open() have a lock for their offset, those from
	 * memfd_create() have none.
	 */
	int file;
	int faults;
	void *page;
	pthread_t thread;
};

static inline void *stuck_read(void *argument)
{
	struct stuck_reader *reader = argument;

	check_int(read(reader->file, reader->page, STUCK_PAGE), STUCK_PAGE);
	return NULL;
}

/*
 * Reads a page of a memfd, which must be as large as that. When this returns, the thread is blocked
 * in the read. Closes `fd` and skips the test if that is not possible here.
 */
static inline void stuck_reader_start(struct stuck_reader *reader, int fd)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register range = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	struct pollfd fault = {.events = POLLIN};
	char path[64];

	reader->faults = under_valgrind() ? -1 : (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (reader->faults < 0) {
		close(fd);
		skip("no userfaultfd here: needs CAP_SYS_PTRACE or vm.unprivileged_userfaultfd, and no Valgrind");
	}
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	reader->file = open(path, O_RDONLY | O_CLOEXEC);
	require(reader->file >= 0);
	reader->page = mmap(NULL, STUCK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	require(reader->page != MAP_FAILED);
	range.range.start = (uintptr_t)reader->page;
	range.range.len = STUCK_PAGE;
	require_int(ioctl(reader->faults, UFFDIO_API, &api), 0);
	require_int(ioctl(reader->faults, UFFDIO_REGISTER, &range), 0);
	reader->thread = thread_spawn(stuck_read, reader);
	fault.fd = reader->faults;
	require_int(poll(&fault, 1, -1), 1);
}

/* Provides the page, so that the thread ends. */
static inline void stuck_reader_end(struct stuck_reader *reader)
{
	struct uffdio_zeropage zero = {.range = {.start = (uintptr_t)reader->page, .len = STUCK_PAGE}};

	check_int(ioctl(reader->faults, UFFDIO_ZEROPAGE, &zero), 0);
	thread_wait(reader->thread);
	munmap(reader->page, STUCK_PAGE);
	close(reader->faults);
	close(reader->file);
}

#endif
