/* SPDX-License-Identifier: MIT */
/*
 * The plan: which call fails, and how. This file knows nothing of what is tested, so it can also be
 * used with a library as it is shipped (preload.c).
 */
#include <harness/fault.h>

#include <base/annotate.h>
#include <stdatomic.h>

/*
 * The errors of each call, a likely one first. They are those of its manual page, except those that
 * only a mistake in the library could cause. `unnoticed` lists errors that are temporary, or for
 * which there is another way. If one of them occurs once, no user of a channel may notice it.
 */
static const struct {
	const char *name;
	int errors[12];
	int unnoticed[6];
} said[SYS_CALLS] = {
    [SYS_MALLOC] = {"malloc", {ENOMEM}, {0}},
    [SYS_CALLOC] = {"calloc", {ENOMEM}, {0}},
    [SYS_REALLOC] = {"realloc", {ENOMEM}, {0}},
    [SYS_SOCKET] = {"socket", {EMFILE, ENFILE, ENOBUFS, ENOMEM, EACCES}, {0}},
    [SYS_SOCKETPAIR] = {"socketpair", {EMFILE, ENFILE, ENOBUFS, ENOMEM}, {0}},
    [SYS_CONNECT] = {"connect", {ECONNREFUSED, ENOENT, EACCES, EPERM, EAGAIN, ENOTDIR, ELOOP, EPROTOTYPE}, {EINTR}},
    [SYS_SHUTDOWN] = {"shutdown", {ENOTCONN}, {0}},
    [SYS_SENDMSG] = {"sendmsg",
		     {EPIPE, ECONNRESET, EPERM, EBADF, EINVAL},
		     {EINTR, EAGAIN, ENOBUFS, ENOMEM, ETOOMANYREFS}},
    [SYS_RECVMSG] = {"recvmsg", {ECONNRESET, ENOMEM}, {EINTR, EAGAIN}},
    [SYS_GETSOCKOPT] = {"getsockopt", {ENOBUFS, ENOMEM, ENOPROTOOPT}, {0}},
    [SYS_SETSOCKOPT] = {"setsockopt", {ENOMEM, ENOBUFS, ENOPROTOOPT, EPERM}, {0}},
    [SYS_GETSOCKNAME] = {"getsockname", {ENOBUFS}, {0}},
    [SYS_GETPEERNAME] = {"getpeername", {ENOTCONN, ENOBUFS}, {0}},
    [SYS_BIND] = {"bind", {EADDRINUSE, EACCES, ENOENT, ENOTDIR, ELOOP, ENOMEM, ENOSPC, EROFS, EPERM}, {0}},
    [SYS_LISTEN] = {"listen", {EADDRINUSE, EACCES}, {0}},
    [SYS_ACCEPT4] = {"accept4", {EMFILE, ENFILE, EPERM}, {EINTR, EAGAIN, ECONNABORTED, ENOMEM, ENOBUFS}},
    [SYS_OPENAT] = {"openat", {EMFILE, ENFILE, EACCES, ENOENT, ENOTDIR, ELOOP, ENOMEM, ENOSPC, EROFS, EPERM}, {EINTR}},
    [SYS_FLOCK] = {"flock", {ENOLCK, EWOULDBLOCK}, {EINTR}},
    [SYS_FSTATAT] = {"fstatat", {EACCES, ENOENT, ENOTDIR, ELOOP, ENOMEM}, {0}},
    [SYS_UNLINKAT] = {"unlinkat", {EACCES, ENOENT, EBUSY, EPERM, EROFS, ENOMEM}, {0}},
    [SYS_FCHMOD] = {"fchmod", {EROFS, EPERM, EIO}, {0}},
    [SYS_CHMOD] = {"chmod", {EROFS, EPERM, EACCES, ENOENT, ENOMEM}, {0}},
    [SYS_FCHMODAT2] = {"fchmodat2", {ENOSYS, EROFS, EPERM, ENOMEM}, {0}},
    [SYS_FCNTL] = {"fcntl", {EMFILE, ENOMEM, EBUSY, EPERM}, {0}},
    [SYS_EVENTFD] = {"eventfd", {EMFILE, ENFILE, ENODEV, ENOMEM}, {0}},
    [SYS_TIMERFD_CREATE] = {"timerfd_create", {EMFILE, ENFILE, ENODEV, ENOMEM}, {0}},
    [SYS_EPOLL_CREATE1] = {"epoll_create1", {EMFILE, ENFILE, ENOMEM}, {0}},
    [SYS_EPOLL_CTL] = {"epoll_ctl", {ENOMEM, ENOSPC}, {0}},
    [SYS_EPOLL_WAIT] = {"epoll_wait", {EINTR}, {0}},
    [SYS_PPOLL] = {"ppoll", {ENOMEM}, {EINTR, EINVAL}},
    [SYS_PSELECT] = {"pselect", {ENOMEM}, {EINTR}},
    [SYS_READ] = {"read", {EINTR}, {0}},
    [SYS_WRITE] = {"write", {EAGAIN}, {EINTR}},
    [SYS_MEMFD_CREATE] = {"memfd_create", {EMFILE, ENFILE, ENOMEM, ENOSYS}, {0}},
    [SYS_FALLOCATE] = {"fallocate", {ENOSPC, EFBIG, EIO, ENOMEM}, {EINTR}},
    [SYS_FSTAT] = {"fstat", {EIO, ENOMEM}, {0}},
    [SYS_FSTATFS] = {"fstatfs", {EIO, ENOMEM}, {0}},
    [SYS_MMAP] = {"mmap", {ENOMEM, EAGAIN, ENFILE, EPERM}, {0}},
    [SYS_MADVISE] = {"madvise", {ENOMEM, EINVAL}, {0}},
    [SYS_GETRLIMIT] = {"getrlimit", {EPERM}, {0}},
    [SYS_PTHREAD_CREATE] = {"pthread_create", {EAGAIN, EPERM}, {EINVAL}},
    [SYS_PTHREAD_ATFORK] = {"pthread_atfork", {ENOMEM}, {0}},
    [SYS_POSIX_SPAWNP] = {"posix_spawnp", {EAGAIN, ENOMEM, ENOENT, EACCES, ENOEXEC, ETXTBSY, EPERM}, {0}},
    [SYS_POSIX_SPAWN_FILE_ACTIONS_ADDDUP2] = {"posix_spawn_file_actions_adddup2", {ENOMEM}, {0}},
    [SYS_TSEARCH] = {"tsearch", {ENOMEM}, {0}},
    [SYS_ATEXIT] = {"atexit", {ENOMEM}, {0}},
};

/*
 * The plan. All loads and stores are relaxed. A lock, or anything else that orders memory, would
 * hide data races of the library from the checkers.
 */
static struct {
	_Atomic uint64_t calls; /* that are counted; 0: nothing is armed */
	_Atomic uint64_t only;  /* that will be counted once it is armed */
	_Atomic unsigned long n, count, hits, times;
	_Atomic int error, first, lasting;
	_Atomic uint64_t gave[3]; /* errnos that were returned, a bit each */
	_Atomic unsigned long of_call[SYS_CALLS];
} plan = {.times = 1, .only = FAULT_ALL};

static struct {
	_Atomic(void (*)(void *)) run;
	_Atomic(void *) argument;
	_Atomic int call;
	_Atomic unsigned long left;
} meanwhile;

#define get(member) atomic_load_explicit(&plan.member, memory_order_relaxed)
#define set(member, value) atomic_store_explicit(&plan.member, value, memory_order_relaxed)

__attribute__((constructor)) static void prepare(void)
{
	annotate_atomic(&plan);
	annotate_atomic(&meanwhile);
}

/*
 * True if the call's likely error is temporary. Such a call may fail again and again, but not for
 * ever: that would be another machine, not a fault.
 */
static bool passes(enum sys_call call)
{
	return said[call].errors[0] == EINTR || (call == SYS_WRITE && said[call].errors[0] == EAGAIN);
}

static bool is_due(enum sys_call call, unsigned long count)
{
	unsigned long n = get(n);

	if (get(lasting) == FAULT_EACH_OTHER)
		return count % 2 == 1;
	if (count < n)
		return false;
	if (count < n + get(times))
		return true;
	return get(lasting) == FAULT_STICKY && (get(error) || !passes(call));
}

/* How many of the errors may be noticed. The others follow them. */
static unsigned noticed(enum sys_call call)
{
	unsigned n = 0;

	while (said[call].errors[n])
		n++;
	return n;
}

int fault_error(enum sys_call call, unsigned choice)
{
	unsigned n = noticed(call);

	return choice < n ? said[call].errors[choice] : said[call].unnoticed[choice - n];
}

unsigned fault_errors(enum sys_call call)
{
	unsigned n = noticed(call);

	while (fault_error(call, n))
		n++;
	return n;
}

bool fault_unnoticed(enum sys_call call, unsigned choice)
{
	return choice >= noticed(call) || fault_error(call, choice) == EINTR;
}

/* The error of this call: the errno or the choice that was asked for, or else a likely one. */
static int error_of(enum sys_call call)
{
	int error = get(error);

	return error > 0 ? error : fault_error(call, error < 0 ? (unsigned)~error % fault_errors(call) : 0);
}

void fault_meanwhile(enum sys_call call, unsigned long n, void (*run)(void *argument), void *argument)
{
	atomic_store(&meanwhile.run, NULL);
	atomic_store(&meanwhile.call, (int)call);
	atomic_store(&meanwhile.argument, argument);
	atomic_store(&meanwhile.left, n);
	annotate_release(&meanwhile);
	atomic_store(&meanwhile.run, run);
}

static void run_meanwhile(enum sys_call call)
{
	void (*run)(void *) = atomic_load_explicit(&meanwhile.run, memory_order_relaxed);

	/* If nothing is to be run, this must not order memory. */
	if (!run || atomic_load(&meanwhile.run) != run || atomic_load(&meanwhile.call) != (int)call ||
	    atomic_fetch_sub(&meanwhile.left, 1) != 1)
		return;
	atomic_store(&meanwhile.run, NULL);
	annotate_acquire(&meanwhile);
	run(atomic_load(&meanwhile.argument));
}

bool sys_fault(enum sys_call call)
{
	unsigned long count;

	run_meanwhile(call);
	if (!(get(calls) & FAULT(call)))
		return false;
	count = atomic_fetch_add_explicit(&plan.count, 1, memory_order_relaxed) + 1;
	atomic_fetch_add_explicit(&plan.of_call[call], 1, memory_order_relaxed);
	if (!is_due(call, count))
		return false;
	if (atomic_fetch_add_explicit(&plan.hits, 1, memory_order_relaxed) == 0)
		set(first, (int)call);
	errno = error_of(call);
	atomic_fetch_or_explicit(&plan.gave[errno / 64], UINT64_C(1) << (errno % 64), memory_order_relaxed);
	return true;
}

void fault_off(void)
{
	set(calls, 0);
	set(times, 1);
	set(only, FAULT_ALL);
}

void fault_only(uint64_t calls)
{
	set(only, calls);
}

void fault_times(unsigned long times)
{
	set(times, times);
}

void fault_at(unsigned long n, int error, enum fault_lasting lasting)
{
	set(calls, 0);
	set(n, n);
	set(count, 0);
	set(hits, 0);
	set(error, error);
	set(lasting, (int)lasting);
	set(first, SYS_CALLS);
	for (size_t i = 0; i < sizeof plan.gave / sizeof *plan.gave; i++)
		set(gave[i], 0);
	for (size_t i = 0; i < SYS_CALLS; i++)
		set(of_call[i], 0);
	set(calls, get(only));
}

bool fault_hit(void)
{
	return get(hits) > 0;
}

enum sys_call fault_first(void)
{
	return (enum sys_call)get(first);
}

unsigned long fault_calls(void)
{
	return get(count);
}

unsigned long fault_calls_of(enum sys_call call)
{
	return get(of_call[call]);
}

bool fault_gave(int error)
{
	return error > 0 && error < 192 && get(gave[error / 64]) & UINT64_C(1) << (error % 64);
}

const char *fault_name(enum sys_call call)
{
	return call < SYS_CALLS ? said[call].name : NULL;
}
