/* SPDX-License-Identifier: MIT */
/* Sweeps over scenarios with faults, and whether they lose memory. */
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

/*
 * Leaks. The checkers know best. Without one the blocks of malloc() are counted here, with names of
 * libc's own functions that only glibc offers.
 */

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
	/* Valgrind replaces every malloc() with its own. */
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

/* Returns how many calls were counted. */
static unsigned long run(const struct fault_sweep *sweep, unsigned long n, bool sticky, const struct fd_snapshot *fds)
{
	unsigned long calls;

	harness_progress();
	fault_only(sweep->only ? sweep->only : FAULT_ALL);
	fault_times(sweep->times ? sweep->times : 1);
	fault_at(n, sweep->error, sticky);
	sweep->scenario(sweep->argument);
	check_fds(fds);
	calls = fault_calls();
	fault_off();
	return calls;
}

/*
 * True if a run has left memory behind: more blocks than before, even after a moment for threads to
 * end, or what a checker found.
 */
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

/*
 * A run that leaves memory behind may have filled a cache of libc, such as that of thread stacks. A
 * run that does so every time has lost the memory.
 */
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

/* Totals of all sweeps of this program, and the faults for which there was no time. */
static unsigned long injected, scenarios, left_out;

static void tell_all(void)
{
	if (left_out)
		printf("note: %s: %lu of %lu faults, then the time was over (BEAM_FAULT_SECONDS)\n", harness_suite(),
		       injected, injected + left_out);
	printf("%lu faults injected in %lu scenarios\n", injected, scenarios);
}

enum { LIMIT = 100000, BUDGET_MS = 5000, BUDGET_CHECKED_MS = 600 };

/* When a sweep that begins now must end, in nanoseconds. */
static int64_t end_of_time(const struct fault_sweep *sweep, int64_t begin)
{
	const char *seconds = getenv("BEAM_FAULT_SECONDS");
	int otherwise = under_valgrind() || under_sanitizer() ? BUDGET_CHECKED_MS : BUDGET_MS;
	long given = seconds ? strtol(seconds, NULL, 10) : -1;

	if (given == 0)
		return INT64_MAX;
	if (given > 0)
		return begin + given * INT64_C(1000000000);
	return begin + stretch(sweep->milliseconds ? sweep->milliseconds : otherwise) * INT64_C(1000000);
}

/* One pass over the calls of a scenario, in which each fails once, or from then on. */
struct way {
	const struct fault_sweep *sweep;
	bool sticky;
	const struct fd_snapshot *fds;
	unsigned long expected; /* how many calls the scenario made without a fault */
	unsigned long last;     /* the last call that was reached */
	int64_t end;            /* when its time is up */
	bool done[LIMIT + 1];
};

/*
 * A scenario with threads does not make the same number of calls each time. It is over when two
 * calls beyond the last are not reached.
 */
static unsigned long way_length(const struct way *way)
{
	unsigned long limit = way->sweep->limit ? way->sweep->limit : LIMIT, length = way->last + 2;

	if (length < way->expected)
		length = way->expected;
	return length < limit ? length : limit;
}

static void fail_call(struct way *way, unsigned long n)
{
	long before = prepare_run(way->sweep);

	way->done[n] = true;
	harness_context("call %lu failing %s", n, way->sticky ? "from then on" : "once");
	run(way->sweep, n, way->sticky, way->fds);
	if (fault_hit()) {
		if (way->last < n)
			way->last = n;
		injected++;
	}
	harness_context("call %lu, %s(), failing %s", n, fault_hit() ? fault_name(fault_first()) : "never",
			way->sticky ? "from then on" : "once");
	check_memory(way->sweep, n, way->sticky, way->fds, before);
}

static unsigned long calls_left(const struct way *way)
{
	unsigned long n = 0;

	for (unsigned long i = 1; i <= way_length(way) && i <= way->expected; i++)
		n += !way->done[i];
	return n;
}

/*
 * Tries the calls in ever smaller steps, the last of which is 1. Returns how many calls there are.
 */
static unsigned long go(struct way *way)
{
	unsigned long step = 1, left;

	while (2 * step < way_length(way))
		step *= 2;
	for (; step > 0; step /= 2)
		for (unsigned long n = 1; n <= way_length(way) && !harness_failures(); n += step) {
			if (way->done[n])
				continue;
			if (way->last > 0 && now_ns() >= way->end)
				goto over;
			fail_call(way, n);
		}
over:
	harness_context("%s", "");
	left = calls_left(way);
	left_out += left;
	return left && way->last < way->expected ? way->expected : way->last;
}

static unsigned long sweep_all(const struct fault_sweep *sweep, bool sticky, const struct fd_snapshot *fds,
			       unsigned long expected, int64_t end)
{
	struct way *way = calloc(1, sizeof *way);
	unsigned long n;

	require(way != NULL);
	way->sweep = sweep;
	way->sticky = sticky;
	way->fds = fds;
	way->expected = expected;
	way->end = end;
	n = go(way);
	free(way);
	return n;
}

unsigned long fault_sweep_with(const struct fault_sweep *sweep)
{
	struct fd_snapshot *fds = malloc(sizeof *fds);
	bool both = sweep->once == sweep->sticky;
	unsigned long once = 0, sticky = 0, expected;
	int64_t begin = now_ns(), end = end_of_time(sweep, begin);

	require(fds != NULL);
	if (scenarios++ == 0)
		atexit(tell_all);
	fd_snapshot_take(fds);
	harness_context("no fault");
	expected = run(sweep, 0, false, fds);
	fault_leaked();
	if (sweep->once || both)
		once =
		    sweep_all(sweep, false, fds, expected, both && end != INT64_MAX ? begin + (end - begin) / 2 : end);
	if (sweep->sticky || both)
		sticky = sweep_all(sweep, true, fds, expected, end);
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
