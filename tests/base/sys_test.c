/* SPDX-License-Identifier: MIT */
/* The seam: a call that fails on purpose fails in the same way as the call itself. */
#include <harness/fault.h>
#include <harness/harness.h>
#include <sys/un.h>

/*
 * Checked where the compiler cannot see that the memory is not used. Otherwise it would leave out
 * the call.
 */
static bool none(void *volatile memory)
{
	bool is_none = !memory;

	free(memory);
	return is_none;
}

static void test_memory_that_there_is_not_is_null_with_and_without_a_fault(void)
{
	/*
	 * Hidden from the compiler, which would warn. A quarter of a 32-bit address space could be
	 * allocated, so it is more there. Elsewhere, Valgrind would report a size that looks
	 * negative.
	 */
	volatile size_t size = sizeof(size_t) == 8 ? SIZE_MAX / 4 : SIZE_MAX / 4 * 3;

	if (under_sanitizer())
		skip("a sanitizer ends the program instead");
	for (int fails = 0; fails < 2; fails++) {
		if (fails) {
			fault_at(1, 0, true);
			size = 1;
		}
		check(none(sys_malloc(size)));
		check(none(sys_calloc(1, size)));
		check(none(sys_realloc(NULL, size)));
		check(none(sys_aligned_alloc(4096, size)));
	}
}

static void test_aligned_memory_may_be_of_any_size(void)
{
	for (size_t size = 1; size < 10000; size += 333) {
		unsigned char *memory = sys_aligned_alloc(4096, size);

		require(memory != NULL);
		check_int((uintptr_t)memory % 4096, 0);
		memset(memory, 'x', size);
		free(memory);
	}
}

/* ---- Descriptors ----------------------------------------------------------------------------- */

static int make_socket(void)
{
	return sys_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int make_file(void)
{
	return sys_openat(AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0);
}

static int make_eventfd(void)
{
	return sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static int make_timerfd(void)
{
	return sys_timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
}

static int make_epoll(void)
{
	return sys_epoll_create1(EPOLL_CLOEXEC);
}

static int make_memfd(void)
{
	return sys_memfd_create("test", MFD_CLOEXEC);
}

static int listener;

static int make_connection(void)
{
	return sys_accept4(listener, NULL, NULL, SOCK_CLOEXEC);
}

static int (*const makes[])(void) = {make_socket, make_file,  make_eventfd,   make_timerfd,
				     make_epoll,  make_memfd, make_connection};

enum { MAKES = sizeof makes / sizeof *makes };

/*
 * The standard descriptors, moved aside so that the kernel gives their numbers to whatever is
 * created.
 */
static int aside[FD_FIRST];

static void standard_close(void)
{
	fflush(NULL);
	for (int fd = 0; fd < FD_FIRST; fd++) {
		aside[fd] = fcntl(fd, F_DUPFD_CLOEXEC, FD_FIRST);
		close(fd);
	}
}

/* Moves the standard descriptors back. Returns true if none of their numbers was in use. */
static bool standard_restore(void)
{
	bool closed = true;

	for (int fd = 0; fd < FD_FIRST; fd++) {
		closed = closed && fcntl(fd, F_GETFD) < 0;
		dup2(aside[fd], fd);
		close(aside[fd]);
	}
	return closed;
}

/* A client that can be accepted. */
static int connect_somebody(void)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	socklen_t size = sizeof name;
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* The kernel chooses the name. */
	require_int(bind(listener, (struct sockaddr *)&name, sizeof name.sun_family), 0);
	require_int(listen(listener, 1), 0);
	require_int(getsockname(listener, (struct sockaddr *)&name, &size), 0);
	require_int(connect(client, (struct sockaddr *)&name, size), 0);
	return client;
}

static void test_no_descriptor_that_is_made_is_a_standard_one(void)
{
	for (size_t i = 0; i < MAKES; i++) {
		int client = connect_somebody(), fd, flags;

		harness_context("%zu", i);
		standard_close();
		fd = makes[i]();
		flags = fcntl(fd, F_GETFD);
		check(standard_restore());
		check(fd >= FD_FIRST);
		check_int(flags, FD_CLOEXEC);
		close(fd);
		close(client);
		close(listener);
	}
	harness_context("%s", "");
}

static void test_a_descriptor_that_cannot_be_moved_is_closed(void)
{
	for (size_t i = 0; i < MAKES; i++) {
		int client = connect_somebody(), fd, error;

		harness_context("%zu", i);
		standard_close();
		fault_only(FAULT(SYS_FCNTL));
		fault_at(1, EMFILE, FAULT_ONCE);
		fd = makes[i]();
		error = errno;
		check(standard_restore());
		check_int(fd, -1);
		check_int(error, EMFILE);
		fault_off();
		close(client);
		close(listener);
	}
	harness_context("%s", "");
}

static void test_a_pair_is_above_the_standard_descriptors_or_is_none(void)
{
	check_int(sys_socketpair(-1, SOCK_STREAM, 0, (int[2]){-1, -1}), -1);
	check_int(errno, EAFNOSUPPORT);
	/*
	 * Both sockets are created. First all goes well; then the first, the second, or both cannot
	 * be moved.
	 */
	for (unsigned failing = 0; failing < 4; failing++) {
		int fds[2] = {-1, -1}, r, error;

		harness_context("%u", failing);
		fault_only(FAULT(SYS_FCNTL));
		if (failing)
			fault_at(failing == 2 ? 2 : 1, EMFILE, failing == 3 ? FAULT_STICKY : FAULT_ONCE);
		standard_close();
		r = sys_socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);
		error = errno;
		check(standard_restore());
		fault_off();
		check_int(r, failing ? -1 : 0);
		if (failing) {
			check_int(error, EMFILE);
			continue;
		}
		for (int i = 0; i < 2; i++) {
			check(fds[i] >= FD_FIRST);
			check_int(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
			close(fds[i]);
		}
	}
	harness_context("%s", "");
}

static const struct test tests[] = {
    TEST(test_memory_that_there_is_not_is_null_with_and_without_a_fault),
    TEST(test_aligned_memory_may_be_of_any_size),
    TEST(test_no_descriptor_that_is_made_is_a_standard_one),
    TEST(test_a_descriptor_that_cannot_be_moved_is_closed),
    TEST(test_a_pair_is_above_the_standard_descriptors_or_is_none),
};
HARNESS_MAIN("sys", tests)
