/* SPDX-License-Identifier: MIT */
/*
 * The seam: every call that can fail for a reason outside Beam goes through sys_NAME(), which has
 * the signature and the result of NAME(). In a build with BEAM_FAULTS it first asks sys_fault()
 * whether to fail instead. Otherwise it is only the call, and costs nothing.
 */
#ifndef BASE_SYS_H
#define BASE_SYS_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <search.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Every call of the seam. */
enum sys_call {
	SYS_MALLOC,
	SYS_CALLOC,
	SYS_REALLOC,
	SYS_SOCKET,
	SYS_SOCKETPAIR,
	SYS_CONNECT,
	SYS_SHUTDOWN,
	SYS_SENDMSG,
	SYS_RECVMSG,
	SYS_GETSOCKOPT,
	SYS_SETSOCKOPT,
	SYS_GETSOCKNAME,
	SYS_GETPEERNAME,
	SYS_BIND,
	SYS_LISTEN,
	SYS_ACCEPT4,
	SYS_OPENAT,
	SYS_FLOCK,
	SYS_FSTATAT,
	SYS_UNLINKAT,
	SYS_FCHMOD,
	SYS_CHMOD,
	SYS_FCHMODAT2,
	SYS_FCNTL,
	SYS_EVENTFD,
	SYS_TIMERFD_CREATE,
	SYS_EPOLL_CREATE1,
	SYS_EPOLL_CTL,
	SYS_EPOLL_WAIT,
	SYS_PPOLL,
	SYS_PSELECT,
	SYS_READ,
	SYS_WRITE,
	SYS_MEMFD_CREATE,
	SYS_FALLOCATE,
	SYS_FSTAT,
	SYS_FSTATFS,
	SYS_MMAP,
	SYS_MADVISE,
	SYS_GETRLIMIT,
	SYS_PTHREAD_CREATE,
	SYS_PTHREAD_ATFORK,
	SYS_POSIX_SPAWNP,
	SYS_POSIX_SPAWN_FILE_ACTIONS_ADDDUP2,
	SYS_TSEARCH,
	SYS_ATEXIT,
	SYS_CALLS
};

#ifdef BEAM_FAULTS
/* Returns true if the call is to fail now, and sets errno. Defined by the tests. */
bool sys_fault(enum sys_call call);
#else
static inline bool sys_fault(enum sys_call call)
{
	(void)call;
	return false;
}
#endif

static inline void *sys_malloc(size_t size)
{
	return sys_fault(SYS_MALLOC) ? NULL : malloc(size);
}

/* Unlike aligned_alloc(), posix_memalign() takes any size. */
static inline void *sys_aligned_alloc(size_t alignment, size_t size)
{
	void *memory;

	return sys_fault(SYS_MALLOC) || posix_memalign(&memory, alignment, size) ? NULL : memory;
}

static inline void *sys_calloc(size_t n, size_t size)
{
	return sys_fault(SYS_CALLOC) ? NULL : calloc(n, size);
}

static inline void *sys_realloc(void *memory, size_t size)
{
	return sys_fault(SYS_REALLOC) ? NULL : realloc(memory, size);
}

static inline int sys_fcntl(int fd, int command, int argument)
{
	return sys_fault(SYS_FCNTL) ? -1 : fcntl(fd, command, argument);
}

/*
 * No descriptor that the library creates is 0, 1 or 2, even if the program was started without
 * these. Otherwise, what the program prints could go into it. fd_above_standard() and
 * fd_move_above_standard() take ownership of `fd`, which is close-on-exec or -1, and return its new
 * number, or -1.
 */
enum { FD_FIRST = STDERR_FILENO + 1 };

/*
 * A duplicate of a descriptor, close-on-exec. If the limit of descriptors is so low that only the
 * standard ones may be open, the kernel reports EINVAL, and this function EMFILE.
 */
static inline int fd_duplicate_above_standard(int fd)
{
	int duplicate = sys_fcntl(fd, F_DUPFD_CLOEXEC, FD_FIRST);

	if (duplicate < 0 && errno == EINVAL)
		errno = EMFILE;
	return duplicate;
}

int fd_move_above_standard(int fd);

static inline int fd_above_standard(int fd)
{
	return fd < 0 || fd >= FD_FIRST ? fd : fd_move_above_standard(fd);
}

/* The same for two descriptors. Returns 0, or -1 after closing both. */
int fd_pair_above_standard(int fds[2]);

static inline int sys_socket(int domain, int type, int protocol)
{
	return sys_fault(SYS_SOCKET) ? -1 : fd_above_standard(socket(domain, type, protocol));
}

static inline int sys_socketpair(int domain, int type, int protocol, int fds[2])
{
	if (sys_fault(SYS_SOCKETPAIR) || socketpair(domain, type, protocol, fds) < 0)
		return -1;
	return fd_pair_above_standard(fds);
}

static inline int sys_connect(int fd, const struct sockaddr *address, socklen_t size)
{
	return sys_fault(SYS_CONNECT) ? -1 : connect(fd, address, size);
}

static inline int sys_shutdown(int fd, int how)
{
	return sys_fault(SYS_SHUTDOWN) ? -1 : shutdown(fd, how);
}

static inline ssize_t sys_sendmsg(int fd, const struct msghdr *message, int flags)
{
#ifdef __GLIBC__
	return sys_fault(SYS_SENDMSG) ? -1 : sendmsg(fd, message, flags);
#else
	/*
	 * musl's sendmsg() copies the control messages to a buffer that is too small for 253
	 * descriptors. It does so to set the padding beside cmsg_len to 0, which it is here already
	 * (socket.c).
	 */
	return sys_fault(SYS_SENDMSG) ? -1 : syscall(SYS_sendmsg, fd, message, flags);
#endif
}

static inline ssize_t sys_recvmsg(int fd, struct msghdr *message, int flags)
{
	return sys_fault(SYS_RECVMSG) ? -1 : recvmsg(fd, message, flags);
}

static inline int sys_getsockopt(int fd, int level, int option, void *value, socklen_t *size)
{
	return sys_fault(SYS_GETSOCKOPT) ? -1 : getsockopt(fd, level, option, value, size);
}

static inline int sys_setsockopt(int fd, int level, int option, const void *value, socklen_t size)
{
	return sys_fault(SYS_SETSOCKOPT) ? -1 : setsockopt(fd, level, option, value, size);
}

static inline int sys_getsockname(int fd, struct sockaddr *address, socklen_t *size)
{
	return sys_fault(SYS_GETSOCKNAME) ? -1 : getsockname(fd, address, size);
}

static inline int sys_getpeername(int fd, struct sockaddr *address, socklen_t *size)
{
	return sys_fault(SYS_GETPEERNAME) ? -1 : getpeername(fd, address, size);
}

static inline int sys_bind(int fd, const struct sockaddr *address, socklen_t size)
{
	return sys_fault(SYS_BIND) ? -1 : bind(fd, address, size);
}

static inline int sys_listen(int fd, int backlog)
{
	return sys_fault(SYS_LISTEN) ? -1 : listen(fd, backlog);
}

static inline int sys_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
	return sys_fault(SYS_ACCEPT4) ? -1 : fd_above_standard(accept4(fd, address, size, flags));
}

static inline int sys_openat(int folder, const char *path, int flags, mode_t mode)
{
	return sys_fault(SYS_OPENAT) ? -1 : fd_above_standard(openat(folder, path, flags, mode));
}

static inline int sys_flock(int fd, int operation)
{
	return sys_fault(SYS_FLOCK) ? -1 : flock(fd, operation);
}

static inline int sys_fstatat(int folder, const char *path, struct stat *status, int flags)
{
	return sys_fault(SYS_FSTATAT) ? -1 : fstatat(folder, path, status, flags);
}

static inline int sys_unlinkat(int folder, const char *path, int flags)
{
	return sys_fault(SYS_UNLINKAT) ? -1 : unlinkat(folder, path, flags);
}

static inline int sys_fchmod(int fd, mode_t mode)
{
	return sys_fault(SYS_FCHMOD) ? -1 : fchmod(fd, mode);
}

static inline int sys_chmod(const char *path, mode_t mode)
{
	return sys_fault(SYS_CHMOD) ? -1 : chmod(path, mode);
}

/*
 * fchmodat2(2) is new in Linux 6.6, and C libraries have no function that makes just this call. Its
 * number follows from that of pidfd_open(): from there on, new system calls are numbered in the
 * same sequence on every architecture.
 */
static inline int sys_fchmodat2(int folder, const char *path, mode_t mode, int flags)
{
	return sys_fault(SYS_FCHMODAT2) ? -1 : (int)syscall(SYS_pidfd_open + 18, folder, path, mode, flags);
}

static inline int sys_eventfd(unsigned value, int flags)
{
	return sys_fault(SYS_EVENTFD) ? -1 : fd_above_standard(eventfd(value, flags));
}

static inline int sys_timerfd_create(int clock, int flags)
{
	return sys_fault(SYS_TIMERFD_CREATE) ? -1 : fd_above_standard(timerfd_create(clock, flags));
}

static inline int sys_epoll_create1(int flags)
{
	return sys_fault(SYS_EPOLL_CREATE1) ? -1 : fd_above_standard(epoll_create1(flags));
}

/* EPOLL_CTL_DEL needs no memory, so it does not fail. */
static inline int sys_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	return operation != EPOLL_CTL_DEL && sys_fault(SYS_EPOLL_CTL) ? -1 : epoll_ctl(epoll, operation, fd, event);
}

static inline int sys_epoll_wait(int epoll, struct epoll_event *events, int n, int timeout)
{
	return sys_fault(SYS_EPOLL_WAIT) ? -1 : epoll_wait(epoll, events, n, timeout);
}

static inline int sys_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout)
{
	return sys_fault(SYS_PPOLL) ? -1 : ppoll(fds, n, timeout, NULL);
}

/*
 * The sets have a bit for each descriptor below `n`. An fd_set would be too small for large
 * numbers.
 */
static inline int sys_pselect(int n, unsigned long *in, unsigned long *out, const struct timespec *timeout)
{
	return sys_fault(SYS_PSELECT) ? -1 : pselect(n, (fd_set *)in, (fd_set *)out, NULL, timeout, NULL);
}

/* Closes a descriptor of the library. Does nothing if it is -1. */
static inline void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static inline ssize_t sys_read(int fd, void *data, size_t size)
{
	return sys_fault(SYS_READ) ? -1 : read(fd, data, size);
}

static inline ssize_t sys_write(int fd, const void *data, size_t size)
{
	return sys_fault(SYS_WRITE) ? -1 : write(fd, data, size);
}

static inline int sys_memfd_create(const char *name, unsigned flags)
{
	return sys_fault(SYS_MEMFD_CREATE) ? -1 : fd_above_standard(memfd_create(name, flags));
}

static inline int sys_fallocate(int fd, int mode, off_t at, off_t size)
{
	return sys_fault(SYS_FALLOCATE) ? -1 : fallocate(fd, mode, at, size);
}

static inline int sys_fstat(int fd, struct stat *ret)
{
	return sys_fault(SYS_FSTAT) ? -1 : fstat(fd, ret);
}

static inline int sys_fstatfs(int fd, struct statfs *ret)
{
	return sys_fault(SYS_FSTATFS) ? -1 : fstatfs(fd, ret);
}

static inline void *sys_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	return sys_fault(SYS_MMAP) ? MAP_FAILED : mmap(at, size, protection, flags, fd, offset);
}

static inline int sys_madvise(void *memory, size_t size, int advice)
{
	return sys_fault(SYS_MADVISE) ? -1 : madvise(memory, size, advice);
}

static inline int sys_getrlimit(int resource, struct rlimit *limit)
{
	/* glibc's type of this parameter is an unsigned enum. */
	return sys_fault(SYS_GETRLIMIT) ? -1 : getrlimit((unsigned)resource, limit);
}

static inline int sys_atexit(void (*run)(void))
{
	return sys_fault(SYS_ATEXIT) ? -1 : atexit(run);
}

static inline void *sys_tsearch(const void *key, void **root, int (*compare)(const void *, const void *))
{
	return sys_fault(SYS_TSEARCH) ? NULL : tsearch(key, root, compare);
}

/* These four return the error, as the functions themselves do. */
static inline int sys_pthread_create(pthread_t *ret, const pthread_attr_t *attributes, void *(*run)(void *),
				     void *argument)
{
	return sys_fault(SYS_PTHREAD_CREATE) ? errno : pthread_create(ret, attributes, run, argument);
}

static inline int sys_pthread_atfork(void (*before)(void), void (*parent)(void), void (*child)(void))
{
	return sys_fault(SYS_PTHREAD_ATFORK) ? errno : pthread_atfork(before, parent, child);
}

static inline int sys_posix_spawnp(pid_t *ret, const char *path, const posix_spawn_file_actions_t *actions,
				   const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
	return sys_fault(SYS_POSIX_SPAWNP) ? errno : posix_spawnp(ret, path, actions, attributes, argv, envp);
}

static inline int sys_posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int fd, int to)
{
	return sys_fault(SYS_POSIX_SPAWN_FILE_ACTIONS_ADDDUP2) ? errno
							       : posix_spawn_file_actions_adddup2(actions, fd, to);
}

#endif
