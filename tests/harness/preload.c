/* SPDX-License-Identifier: MIT */
/*
 * Faults for a library as it is shipped. This stands before the C library, by LD_PRELOAD or because
 * it is linked first, and makes calls of libbeam fail as the plan says (fault.h). Only libbeam's
 * own calls fail, which are recognized by their return address. Besides, this counts the blocks and
 * mappings that libbeam has not given back, and can cut its reads and writes short.
 *
 * For 64 bits and glibc, where openat() and openat64() are the same, and malloc() has another name,
 * too.
 */
#include <harness/fault.h>

#include <dlfcn.h>
#include <link.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

_Static_assert(sizeof(long) == 8 && sizeof(off_t) == 8, "64 bits");

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

/* ---- Whose call it is ------------------------------------------------------------------------ */

/* Where libbeam's code is. */
static struct {
	_Atomic uintptr_t begin, size;
} library;

static int find_library(struct dl_phdr_info *object, size_t size, void *unused)
{
	(void)size;
	(void)unused;
	if (!strstr(object->dlpi_name, "/libbeam.so"))
		return 0;
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &object->dlpi_phdr[i];

		if (part->p_type == PT_LOAD && part->p_flags & PF_X) {
			atomic_store_explicit(&library.size, part->p_memsz, memory_order_relaxed);
			atomic_store_explicit(&library.begin, object->dlpi_addr + part->p_vaddr, memory_order_release);
		}
	}
	return 1;
}

/*
 * Searched at the first call and not at load time, because libbeam's constructors are run before
 * those of what stands before it.
 */
static bool is_librarys(const void *caller)
{
	uintptr_t begin = atomic_load_explicit(&library.begin, memory_order_acquire);

	if (!begin) {
		/* If it is not there at the very first call, it is not linked. */
		atomic_store_explicit(&library.begin, 1, memory_order_relaxed);
		dl_iterate_phdr(find_library, NULL);
		begin = atomic_load_explicit(&library.begin, memory_order_acquire);
	}
	return (uintptr_t)caller - begin < atomic_load_explicit(&library.size, memory_order_relaxed);
}

/* To be used in the function that libbeam calls. */
#define CALLED_BY_LIBRARY is_librarys(__builtin_return_address(0))
#define FAILS(call) (CALLED_BY_LIBRARY && sys_fault(call))

/* The function of that name that would have been called otherwise. */
#define NEXT(name)                                                                                                     \
	__extension__({                                                                                                \
		static _Atomic(__typeof__(&name)) next;                                                                \
		__typeof__(&name) known = atomic_load_explicit(&next, memory_order_relaxed);                           \
		if (!known) {                                                                                          \
			known = (__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name);                                 \
			atomic_store_explicit(&next, known, memory_order_relaxed);                                     \
		}                                                                                                      \
		known;                                                                                                 \
	})

/* A function that fails with -1, or another result, and errno. */
#define SEAM(type, call, failure, name, parameters, arguments)                                                         \
	type name parameters                                                                                           \
	{                                                                                                              \
		return FAILS(call) ? failure : NEXT(name) arguments;                                                   \
	}

/* ---- Memory ---------------------------------------------------------------------------------- */

/*
 * Blocks and mappings of libbeam. A block has a mark in its last word. The return address does not
 * tell whose block is freed, because a tail call in a function of libbeam returns to that
 * function's caller.
 */
static atomic_long held;

static uintptr_t *mark_of(void *memory)
{
	return (uintptr_t *)((char *)memory + (malloc_usable_size(memory) & ~(sizeof(uintptr_t) - 1))) - 1;
}

static uintptr_t mark_for(const void *memory)
{
	return (uintptr_t)memory ^ UINT64_C(0x6265616d6265616d);
}

static void *mark(void *memory, bool librarys)
{
	if (!memory)
		return NULL;
	*mark_of(memory) = librarys ? mark_for(memory) : 0;
	if (librarys)
		atomic_fetch_add(&held, 1);
	return memory;
}

/* True if the block was libbeam's. */
static bool unmark(void *memory)
{
	if (!memory || *mark_of(memory) != mark_for(memory))
		return false;
	*mark_of(memory) = 0;
	atomic_fetch_sub(&held, 1);
	return true;
}

static const size_t mark_size = sizeof(uintptr_t);

void *malloc(size_t size)
{
	bool librarys = CALLED_BY_LIBRARY;

	return librarys && sys_fault(SYS_MALLOC) ? NULL : mark(__libc_malloc(size + mark_size), librarys);
}

void *calloc(size_t nmemb, size_t size)
{
	bool librarys = CALLED_BY_LIBRARY;
	size_t bytes;
	void *memory;

	if (librarys && sys_fault(SYS_CALLOC))
		return NULL;
	if (__builtin_mul_overflow(nmemb, size, &bytes) || __builtin_add_overflow(bytes, mark_size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	memory = __libc_calloc(1, bytes);
	return mark(memory, librarys);
}

void *realloc(void *ptr, size_t size)
{
	bool librarys = CALLED_BY_LIBRARY, was;
	void *memory;

	if (librarys && sys_fault(SYS_REALLOC))
		return NULL;
	was = unmark(ptr);
	memory = __libc_realloc(ptr, size + mark_size);
	if (!memory)
		mark(ptr, was);
	return mark(memory, was || librarys);
}

int posix_memalign(void **memptr, size_t alignment, size_t size)
{
	bool librarys = CALLED_BY_LIBRARY;
	void *memory;

	if (librarys && sys_fault(SYS_MALLOC))
		return ENOMEM;
	memory = mark(__libc_memalign(alignment, size + mark_size), librarys);
	if (!memory)
		return ENOMEM;
	*memptr = memory;
	return 0;
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return mark(__libc_memalign(alignment, size + mark_size), false);
}

void free(void *ptr)
{
	unmark(ptr);
	__libc_free(ptr);
}

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	bool librarys = CALLED_BY_LIBRARY;
	void *memory = librarys && sys_fault(SYS_MMAP) ? MAP_FAILED : NEXT(mmap)(addr, len, prot, flags, fd, offset);

	/* A mapping that replaces another one adds none. */
	if (librarys && memory != MAP_FAILED && !(flags & MAP_FIXED))
		atomic_fetch_add(&held, 1);
	return memory;
}

int munmap(void *addr, size_t len)
{
	if (CALLED_BY_LIBRARY)
		atomic_fetch_sub(&held, 1);
	return NEXT(munmap)(addr, len);
}

long allocated_blocks(void)
{
	return atomic_load(&held);
}

bool fault_leaked(void)
{
	return false;
}

/* ---- Short reads and writes ------------------------------------------------------------------ */

static atomic_size_t short_reads, short_writes, longest;
static atomic_uint turns;

void fault_short(size_t reads, size_t writes)
{
	atomic_store(&short_reads, reads);
	atomic_store(&short_writes, writes);
	atomic_store(&longest, 0);
}

size_t fault_longest(void)
{
	return atomic_load(&longest);
}

/* Notes the result of a call of libbeam. */
static ssize_t note_length(ssize_t n)
{
	size_t before = atomic_load_explicit(&longest, memory_order_relaxed);

	while (n > 0 && (size_t)n > before && !atomic_compare_exchange_weak(&longest, &before, (size_t)n))
		;
	return n;
}

/*
 * To how many bytes this call of libbeam is to be cut; 0: it is not. Only every other call is cut,
 * so that the rest follows whole. If one thread sends and then receives, bytes sent one by one
 * would fill the socket, whose room is counted by segments.
 */
static size_t cut(atomic_size_t *length)
{
	size_t bytes = atomic_load_explicit(length, memory_order_relaxed);

	return bytes && atomic_fetch_add_explicit(&turns, 1, memory_order_relaxed) % 2 == 0 ? bytes : 0;
}

enum { IOV_SHORT = 1024 };

/* The message with at most `bytes` bytes of its buffers, which are put into `iov`. */
static struct msghdr shorten(const struct msghdr *message, struct iovec iov[IOV_SHORT], size_t bytes)
{
	struct msghdr shortened = *message;

	shortened.msg_iov = iov;
	shortened.msg_iovlen = 0;
	for (size_t i = 0; i < message->msg_iovlen && i < IOV_SHORT && bytes > 0; i++) {
		iov[i] = message->msg_iov[i];
		if (iov[i].iov_len > bytes)
			iov[i].iov_len = bytes;
		bytes -= iov[i].iov_len;
		shortened.msg_iovlen = i + 1;
	}
	return shortened;
}

/* Packets cannot be cut. */
static bool is_stream(int fd)
{
	int type = 0, error = errno;
	socklen_t size = sizeof type;
	bool stream = NEXT(getsockopt)(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;

	errno = error;
	return stream;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	bool librarys = CALLED_BY_LIBRARY;
	size_t bytes = librarys ? cut(&short_writes) : 0;
	struct iovec iov[IOV_SHORT];
	struct msghdr shortened;
	ssize_t n;

	if (librarys && sys_fault(SYS_SENDMSG))
		return -1;
	if (bytes && is_stream(fd)) {
		shortened = shorten(message, iov, bytes);
		return NEXT(sendmsg)(fd, &shortened, flags);
	}
	n = NEXT(sendmsg)(fd, message, flags);
	return librarys ? note_length(n) : n;
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	bool librarys = CALLED_BY_LIBRARY;
	size_t bytes = librarys ? cut(&short_reads) : 0;
	struct iovec iov[IOV_SHORT];
	struct msghdr shortened;
	ssize_t n;

	if (librarys && sys_fault(SYS_RECVMSG))
		return -1;
	if (!bytes || !is_stream(fd)) {
		n = NEXT(recvmsg)(fd, message, flags);
		return librarys ? note_length(n) : n;
	}
	shortened = shorten(message, iov, bytes);
	n = NEXT(recvmsg)(fd, &shortened, flags);
	message->msg_controllen = shortened.msg_controllen;
	message->msg_flags = shortened.msg_flags;
	return n;
}

/* ---- The other calls, in the order of sys.h -------------------------------------------------- */

SEAM(int, SYS_SOCKET, -1, socket, (int domain, int type, int protocol), (domain, type, protocol))
SEAM(int, SYS_SOCKETPAIR, -1, socketpair, (int domain, int type, int protocol, int fds[2]),
     (domain, type, protocol, fds))
SEAM(int, SYS_CONNECT, -1, connect, (int fd, const struct sockaddr *address, socklen_t size), (fd, address, size))
SEAM(int, SYS_SHUTDOWN, -1, shutdown, (int fd, int how), (fd, how))
SEAM(int, SYS_GETSOCKOPT, -1, getsockopt, (int fd, int level, int option, void *value, socklen_t *size),
     (fd, level, option, value, size))
SEAM(int, SYS_SETSOCKOPT, -1, setsockopt, (int fd, int level, int option, const void *value, socklen_t size),
     (fd, level, option, value, size))
SEAM(int, SYS_GETSOCKNAME, -1, getsockname, (int fd, struct sockaddr *address, socklen_t *size), (fd, address, size))
SEAM(int, SYS_GETPEERNAME, -1, getpeername, (int fd, struct sockaddr *address, socklen_t *size), (fd, address, size))
SEAM(int, SYS_BIND, -1, bind, (int fd, const struct sockaddr *address, socklen_t size), (fd, address, size))
SEAM(int, SYS_LISTEN, -1, listen, (int fd, int backlog), (fd, backlog))
SEAM(int, SYS_ACCEPT4, -1, accept4, (int fd, struct sockaddr *address, socklen_t *size, int flags),
     (fd, address, size, flags))
SEAM(int, SYS_FLOCK, -1, flock, (int fd, int operation), (fd, operation))
SEAM(int, SYS_FSTATAT, -1, fstatat, (int folder, const char *path, struct stat *status, int flags),
     (folder, path, status, flags))
SEAM(int, SYS_UNLINKAT, -1, unlinkat, (int folder, const char *path, int flags), (folder, path, flags))
SEAM(int, SYS_FCHMOD, -1, fchmod, (int fd, mode_t mode), (fd, mode))
SEAM(int, SYS_CHMOD, -1, chmod, (const char *path, mode_t mode), (path, mode))
SEAM(int, SYS_EVENTFD, -1, eventfd, (unsigned value, int flags), (value, flags))
SEAM(int, SYS_TIMERFD_CREATE, -1, timerfd_create, (clockid_t clock, int flags), (clock, flags))
SEAM(int, SYS_EPOLL_CREATE1, -1, epoll_create1, (int flags), (flags))
SEAM(int, SYS_EPOLL_CTL, -1, epoll_ctl, (int epoll, int operation, int fd, struct epoll_event *event),
     (epoll, operation, fd, event))
SEAM(int, SYS_EPOLL_WAIT, -1, epoll_wait, (int epoll, struct epoll_event *events, int n, int timeout),
     (epoll, events, n, timeout))
SEAM(int, SYS_PPOLL, -1, ppoll, (struct pollfd * fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask),
     (fds, n, timeout, mask))
SEAM(int, SYS_PSELECT, -1, pselect,
     (int n, fd_set *in, fd_set *out, fd_set *except, const struct timespec *timeout, const sigset_t *mask),
     (n, in, out, except, timeout, mask))
SEAM(ssize_t, SYS_READ, -1, read, (int fd, void *to, size_t size), (fd, to, size))
SEAM(ssize_t, SYS_WRITE, -1, write, (int fd, const void *from, size_t size), (fd, from, size))
SEAM(int, SYS_MEMFD_CREATE, -1, memfd_create, (const char *name, unsigned flags), (name, flags))
SEAM(int, SYS_FALLOCATE, -1, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))
SEAM(int, SYS_FSTAT, -1, fstat, (int fd, struct stat *status), (fd, status))
SEAM(int, SYS_FSTATFS, -1, fstatfs, (int fd, struct statfs *status), (fd, status))
SEAM(int, SYS_MADVISE, -1, madvise, (void *memory, size_t size, int advice), (memory, size, advice))
SEAM(int, SYS_GETRLIMIT, -1, getrlimit, (__rlimit_resource_t resource, struct rlimit *limit), (resource, limit))
SEAM(void *, SYS_TSEARCH, NULL, tsearch, (const void *key, void **root, int (*compare)(const void *, const void *)),
     (key, root, compare))
SEAM(int, SYS_PTHREAD_CREATE, errno, pthread_create,
     (pthread_t * thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument),
     (thread, attributes, run, argument))

SEAM(int, SYS_POSIX_SPAWNP, errno, posix_spawnp,
     (pid_t * pid, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
      char *const argv[], char *const envp[]),
     (pid, path, actions, attributes, argv, envp))
SEAM(int, SYS_POSIX_SPAWN_FILE_ACTIONS_ADDDUP2, errno, posix_spawn_file_actions_adddup2,
     (posix_spawn_file_actions_t * actions, int fd, int to), (actions, fd, to))

/* openat() has the mode only with O_CREAT. */
int openat(int folder, const char *path, int flags, ...)
{
	va_list arguments;
	mode_t mode;

	if (FAILS(SYS_OPENAT))
		return -1;
	va_start(arguments, flags);
	mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
	va_end(arguments);
	return NEXT(openat)(folder, path, flags, mode);
}

/*
 * The only call that libbeam makes by number is fchmodat2(). Arguments that are missing are passed
 * on as they are found.
 */
long syscall(long number, ...)
{
	va_list arguments;
	long argument[6];

	if (FAILS(SYS_FCHMODAT2))
		return -1;
	va_start(arguments, number);
	for (size_t i = 0; i < sizeof argument / sizeof *argument; i++)
		argument[i] = va_arg(arguments, long);
	va_end(arguments);
	return NEXT(syscall)(number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
}

/* The argument is an integer or a pointer, which are passed in the same way. */
int fcntl(int fd, int command, ...)
{
	va_list arguments;
	long argument;

	if (FAILS(SYS_FCNTL))
		return -1;
	va_start(arguments, command);
	argument = va_arg(arguments, long);
	va_end(arguments);
	return NEXT(fcntl)(fd, command, argument);
}

/*
 * This is called by atexit() and pthread_atfork(), which are parts of every library. libbeam's
 * calls are recognized by the object that they name.
 */
extern int __cxa_atexit(void (*run)(void *), void *argument, void *object);
extern int __register_atfork(void (*before)(void), void (*parent)(void), void (*child)(void), void *object);

int __cxa_atexit(void (*run)(void *), void *argument, void *object)
{
	return is_librarys((void *)(uintptr_t)run) && sys_fault(SYS_ATEXIT) ? -1
									    : NEXT(__cxa_atexit)(run, argument, object);
}

int __register_atfork(void (*before)(void), void (*parent)(void), void (*child)(void), void *object)
{
	if (is_librarys((void *)(uintptr_t)before) && sys_fault(SYS_PTHREAD_ATFORK))
		return errno;
	return NEXT(__register_atfork)(before, parent, child, object);
}
