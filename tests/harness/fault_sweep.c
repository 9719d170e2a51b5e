/* SPDX-License-Identifier: MIT */
/* Scenarios that are swept by faults; and whether they have lost memory. */
#include <harness/fault.h>
#include <harness/harness.h>
#include <harness/sanitizer.h>

#include <stdatomic.h>

#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define HAVE_VALGRIND_H 1
#endif
#endif

#if ADDRESS_SANITIZER
#include <sanitizer/lsan_interface.h>
#endif

/* Leaks. The checkers know best; without one the blocks of malloc() are counted here, under the names of libc's own functions,
 * which glibc alone offers. */

#if ADDRESS_SANITIZER || THREAD_SANITIZER || !defined(__GLIBC__)
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

bool fault_leaked(void)
{
#if ADDRESS_SANITIZER
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
#if ADDRESS_SANITIZER
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
		return fault_leaked();
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

/* What all sweeps of this program come to. */
static unsigned long injected, scenarios;

static void tell_all(void)
{
	printf("%lu faults injected in %lu scenarios\n", injected, scenarios);
}

static unsigned long sweep_all(const struct fault_sweep *sweep, bool sticky, struct fd_snapshot *fds)
{
	unsigned long n, last = 0, limit = sweep->limit ? sweep->limit : 100000, step = sweep->step ? sweep->step : 1;

	/* The calls of a scenario with threads are not the same number every time: it is over when two beyond are not reached. */
	for (n = 1; n <= limit && n <= last + 2 * step && !harness_failures(); n += step) {
		long before = prepare_run(sweep);

		harness_context("call %lu failing %s", n, sticky ? "from then on" : "once");
		run(sweep, n, sticky, fds);
		if (fault_hit()) {
			last = n;
			injected++;
		}
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
	if (scenarios++ == 0)
		atexit(tell_all);
	fd_snapshot_take(fds);
	harness_context("no fault");
	run(sweep, 0, false, fds);
	fault_leaked();
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
