/* SPDX-License-Identifier: MIT */
#include <harness/fault.h>
#include <harness/harness.h>

#include <base/annotate.h>
#include <stdatomic.h>

#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define HAVE_VALGRIND_H 1
#endif
#endif

#if defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER 1
#elif defined(__SANITIZE_THREAD__)
#define OTHER_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER 1
#elif __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define OTHER_SANITIZER 1
#endif
#endif

#ifdef ADDRESS_SANITIZER
#include <sanitizer/lsan_interface.h>
#endif

/* What each call says when it fails, and whether that passes by itself. */
static const struct {
	const char *name;
	int error;
	bool passes;
} likely[SYS_CALLS] = {
    [SYS_MALLOC] = {"malloc", ENOMEM, false},
    [SYS_CALLOC] = {"calloc", ENOMEM, false},
    [SYS_REALLOC] = {"realloc", ENOMEM, false},
    [SYS_SOCKET] = {"socket", EMFILE, false},
    [SYS_SOCKETPAIR] = {"socketpair", EMFILE, false},
    [SYS_CONNECT] = {"connect", ECONNREFUSED, false},
    [SYS_SHUTDOWN] = {"shutdown", ENOTCONN, false},
    [SYS_SENDMSG] = {"sendmsg", EPIPE, false},
    [SYS_RECVMSG] = {"recvmsg", ECONNRESET, false},
    [SYS_GETSOCKOPT] = {"getsockopt", ENOBUFS, false},
    [SYS_SETSOCKOPT] = {"setsockopt", ENOMEM, false},
    [SYS_GETSOCKNAME] = {"getsockname", ENOBUFS, false},
    [SYS_GETPEERNAME] = {"getpeername", ENOTCONN, false},
    [SYS_BIND] = {"bind", EADDRINUSE, false},
    [SYS_LISTEN] = {"listen", EADDRINUSE, false},
    [SYS_ACCEPT4] = {"accept4", EMFILE, false},
    [SYS_OPEN] = {"open", EMFILE, false},
    [SYS_FLOCK] = {"flock", ENOLCK, false},
    [SYS_LSTAT] = {"lstat", EACCES, false},
    [SYS_UNLINK] = {"unlink", EACCES, false},
    [SYS_FCHMOD] = {"fchmod", EROFS, false},
    [SYS_CHMOD] = {"chmod", EROFS, false},
    [SYS_FCNTL] = {"fcntl", EMFILE, false},
    [SYS_EVENTFD] = {"eventfd", EMFILE, false},
    [SYS_TIMERFD_CREATE] = {"timerfd_create", EMFILE, false},
    [SYS_EPOLL_CREATE1] = {"epoll_create1", EMFILE, false},
    [SYS_EPOLL_CTL] = {"epoll_ctl", ENOMEM, false},
    [SYS_EPOLL_WAIT] = {"epoll_wait", EINTR, true},
    [SYS_PPOLL] = {"ppoll", ENOMEM, false},
    [SYS_READ] = {"read", EINTR, true},
    [SYS_WRITE] = {"write", EAGAIN, true},
    [SYS_MEMFD_CREATE] = {"memfd_create", EMFILE, false},
    [SYS_FALLOCATE] = {"fallocate", ENOSPC, false},
    [SYS_FSTAT] = {"fstat", EIO, false},
    [SYS_FSTATFS] = {"fstatfs", EIO, false},
    [SYS_MMAP] = {"mmap", ENOMEM, false},
    [SYS_MADVISE] = {"madvise", ENOMEM, false},
    [SYS_GETRLIMIT] = {"getrlimit", EPERM, false},
    [SYS_PTHREAD_CREATE] = {"pthread_create", EAGAIN, false},
    [SYS_PTHREAD_ATFORK] = {"pthread_atfork", ENOMEM, false},
    [SYS_TSEARCH] = {"tsearch", ENOMEM, false},
    [SYS_ATEXIT] = {"atexit", ENOMEM, false},
};

/*
 * The plan. All loads and stores are relaxed: a lock, or anything that orders, would hide races of the library's own from the checkers.
 */
static struct {
	_Atomic uint64_t calls; /* of interest; 0: nothing is armed */
	_Atomic unsigned long n, count, hits, times;
	_Atomic int error, first;
	_Atomic bool sticky;
} plan = {.times = 1};
static uint64_t only = FAULT_ALL;

#define get(member) atomic_load_explicit(&plan.member, memory_order_relaxed)
#define set(member, value) atomic_store_explicit(&plan.member, value, memory_order_relaxed)

__attribute__((constructor)) static void prepare(void)
{
	annotate_atomic(&plan);
}

bool sys_fault(enum sys_call call)
{
	unsigned long count, n;
	int error;

	if (!(get(calls) & FAULT(call)))
		return false;
	count = atomic_fetch_add_explicit(&plan.count, 1, memory_order_relaxed) + 1;
	n = get(n);
	error = get(error);
	if (count < n || (count >= n + get(times) && (!get(sticky) || (!error && likely[call].passes))))
		return false;
	if (atomic_fetch_add_explicit(&plan.hits, 1, memory_order_relaxed) == 0)
		set(first, (int)call);
	errno = error ? error : likely[call].error;
	return true;
}

void fault_off(void)
{
	set(calls, 0);
	set(times, 1);
	only = FAULT_ALL;
}

void fault_only(uint64_t calls)
{
	only = calls;
}

void fault_times(unsigned long times)
{
	set(times, times);
}

void fault_at(unsigned long n, int error, bool sticky)
{
	set(calls, 0);
	set(n, n);
	set(count, 0);
	set(hits, 0);
	set(error, error);
	set(sticky, sticky);
	set(first, SYS_CALLS);
	set(calls, only);
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

const char *fault_name(enum sys_call call)
{
	return call < SYS_CALLS ? likely[call].name : NULL;
}

/* Leaks. The checkers know best; without one the blocks of malloc() are counted here, under the names of libc's own functions,
 * which glibc alone offers. */

#if defined(ADDRESS_SANITIZER) || defined(OTHER_SANITIZER) || !defined(__GLIBC__)
static long count_blocks(void)
{
	return -1;
}
#else
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

static atomic_long blocks;

static void *counted(void *memory)
{
	if (memory)
		atomic_fetch_add_explicit(&blocks, 1, memory_order_relaxed);
	return memory;
}

void *malloc(size_t size)
{
	return counted(__libc_malloc(size));
}

void *calloc(size_t nmemb, size_t size)
{
	return counted(__libc_calloc(nmemb, size));
}

void *realloc(void *ptr, size_t size)
{
	void *result = __libc_realloc(ptr, size);

	if (!ptr)
		counted(result);
	else if (size == 0 && !result)
		atomic_fetch_sub_explicit(&blocks, 1, memory_order_relaxed);
	return result;
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return counted(__libc_memalign(alignment, size));
}

int posix_memalign(void **memptr, size_t alignment, size_t size)
{
	void *memory = counted(__libc_memalign(alignment, size));

	if (!memory)
		return ENOMEM;
	*memptr = memory;
	return 0;
}

void free(void *ptr)
{
	if (ptr)
		atomic_fetch_sub_explicit(&blocks, 1, memory_order_relaxed);
	__libc_free(ptr);
}

static long count_blocks(void)
{
	/* Valgrind puts its own malloc() in the place of any other. */
	return under_valgrind() ? -1 : atomic_load_explicit(&blocks, memory_order_relaxed);
}
#endif

long allocated_blocks(void)
{
	return count_blocks();
}

/* True if a checker has found memory that was lost since the last time. */
static bool checker_found_leak(void)
{
#if defined(ADDRESS_SANITIZER)
	return __lsan_do_recoverable_leak_check() != 0;
#elif defined(HAVE_VALGRIND_H)
	static unsigned long last;
	unsigned long leaked = 0, dubious = 0, reachable = 0, suppressed = 0;
	bool more;

	if (!under_valgrind())
		return false;
	VALGRIND_DO_QUICK_LEAK_CHECK;
	VALGRIND_COUNT_LEAK_BLOCKS(leaked, dubious, reachable, suppressed);
	more = leaked + dubious > last;
	last = leaked + dubious;
	(void)reachable;
	(void)suppressed;
	return more;
#else
	return false;
#endif
}

bool fault_finds_leaks(void)
{
#ifdef ADDRESS_SANITIZER
	return true;
#else
	return under_valgrind() || count_blocks() >= 0;
#endif
}

static void run(const struct fault_sweep *sweep, unsigned long n, bool sticky, const struct fd_snapshot *fds)
{
	fault_only(sweep->only ? sweep->only : FAULT_ALL);
	fault_times(sweep->times ? sweep->times : 1);
	fault_at(n, sweep->error, sticky);
	sweep->scenario(sweep->argument);
	check_fds(fds);
	fault_off();
}

/* True if a run has left memory, also after a moment for threads that end: more blocks than before, or what a checker found. */
static bool left_memory(long before)
{
	struct harness_wait wait = harness_wait_begin(20);

	if (before < 0)
		return checker_found_leak();
	while (count_blocks() > before)
		if (!harness_wait_more(&wait))
			return true;
	return false;
}

static long prepare_run(const struct fault_sweep *sweep)
{
	if (sweep->prepare)
		sweep->prepare();
	return count_blocks();
}

/* A run that leaves memory may have filled a cache of libc's, of threads' stacks for one; one that does so each time has lost it. */
static void check_memory(const struct fault_sweep *sweep, unsigned long n, bool sticky, const struct fd_snapshot *fds,
			 long before)
{
	for (int i = 0; i < 5; i++) {
		if (!left_memory(before))
			return;
		before = prepare_run(sweep);
		run(sweep, n, sticky, fds);
	}
	if (left_memory(before))
		fail("each run leaves memory behind");
}

static unsigned long sweep_all(const struct fault_sweep *sweep, bool sticky, struct fd_snapshot *fds)
{
	unsigned long n, last = 0, limit = sweep->limit ? sweep->limit : 100000, step = sweep->step ? sweep->step : 1;

	/* The calls of a scenario with threads are not the same number every time: it is over when two beyond are not reached. */
	for (n = 1; n <= limit && n <= last + 2 * step && !harness_failures(); n += step) {
		long before = prepare_run(sweep);

		harness_context("call %lu failing %s", n, sticky ? "from then on" : "once");
		run(sweep, n, sticky, fds);
		if (fault_hit())
			last = n;
		harness_context("call %lu, %s(), failing %s", n, fault_hit() ? fault_name(fault_first()) : "never",
				sticky ? "from then on" : "once");
		check_memory(sweep, n, sticky, fds, before);
	}
	harness_context("%s", "");
	return last;
}

unsigned long fault_sweep_with(const struct fault_sweep *sweep)
{
	struct fd_snapshot *fds = malloc(sizeof *fds);
	unsigned long once = 0, sticky = 0;

	require(fds != NULL);
	fd_snapshot_take(fds);
	harness_context("no fault");
	run(sweep, 0, false, fds);
	checker_found_leak();
	if (sweep->once || !sweep->sticky)
		once = sweep_all(sweep, false, fds);
	if (sweep->sticky || !sweep->once)
		sticky = sweep_all(sweep, true, fds);
	free(fds);
	return once > sticky ? once : sticky;
}

static void run_plain(void *argument)
{
	void (*const *scenario)(void) = argument;

	(*scenario)();
}

unsigned long fault_sweep(void (*scenario)(void))
{
	return fault_sweep_with(&(struct fault_sweep){.scenario = run_plain, .argument = &scenario});
}
