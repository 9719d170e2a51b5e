/* SPDX-License-Identifier: MIT */
/*
 * Library threads and the number of the process.
 *
 * Invariants:
 *  - A process without a number has no library threads. So a forked child, whose number the kernel
 *    has wiped, inherits nothing that it would wait for.
 *  - Only a few ended threads are not joined yet. A thread that ends joins some that ended before,
 *    and only then may be joined itself. So a thread that is being joined does not wait for
 *    another. If each thread waited for the one before it, threads that end in quick succession
 *    would accumulate by the thousands.
 */
#include <base/annotate.h>
#include <base/clock.h>
#include <base/process.h>
#include <base/sys.h>
#include <base/thread.h>
#include <errno.h>
#include <link.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

/*
 * END_MS: when the end of the process has taken this long, it no longer waits for threads.
 * END_SHORT_MS: how long it still waits for them if that time has been used up, and how long it
 * waits for threads that may hang. ENDED_MAX: how many threads that have ended may wait to be
 * joined.
 */
enum { END_MS = 5000, END_SHORT_MS = 100, ENDED_MAX = 64 };

/*
 * The stack of a thread. The C library's default is usually 8 MiB, which is far too much if memory
 * is locked (mlockall(2)) or addresses are limited (RLIMIT_AS). The library's threads use less than
 * 8 KiB of it. The rest is for what else can run in them: signal handlers, an allocator that
 * replaces malloc(), a sanitizer.
 */
enum { STACK_BYTES = 256 << 10 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/*
 * STACK_BYTES and the size of what glibc also puts into each stack: the thread-local variables of
 * the program and its libraries. Those of libraries that are loaded later are elsewhere.
 */
static size_t stack_bytes = STACK_BYTES;

/*
 * The number of the process is on a page of its own. If there was no memory for the page when the
 * library was loaded, `number` points to `unnumbered`, which stays 0.
 */
static atomic_uint unnumbered;
static atomic_uint *number = &unnumbered;

/* Guarded by the lock. */
static struct {
	uint32_t last_number;
	/* All threads that run, and those of them that may hang. */
	unsigned running, expendable;
	/* No thread runs any more, or only expendable ones. */
	pthread_cond_t none_running;
	/* Threads that have ended and are to be joined. */
	unsigned n_ended;
	pthread_t ended[ENDED_MAX];
} threads;

/* Joins the threads that have ended. Called with the lock, which they do not need any more. */
static void join_ended(void)
{
	while (threads.n_ended > 0)
		pthread_join(threads.ended[--threads.n_ended], NULL);
}

/*
 * Without this, if another thread held the lock during a fork, it would stay locked for ever in the
 * child. Threads that have ended are joined here, because the child cannot join them.
 */
static void threads_fork_begins(void)
{
	pthread_mutex_lock(&lock);
	if (process_id() != 0)
		join_ended();
}

static void threads_fork_ends_in_parent(void)
{
	pthread_mutex_unlock(&lock);
}

static void threads_fork_ends_in_child(void)
{
	/* Kernels before 4.14 do not wipe the page. */
	atomic_store(number, 0);
	pthread_mutex_unlock(&lock);
}

/*
 * Waits until all threads have ended, or only those that are not expendable, or until the deadline.
 * Returns true if all have ended.
 */
static bool wait_for_end(bool all, beam_deadline deadline)
{
	bool ended;

	if (process_id() == 0)
		return true;
	pthread_mutex_lock(&lock);
	while (threads.running > (all ? 0 : threads.expendable) &&
	       condition_wait(&threads.none_running, &lock, deadline) == 0)
		;
	ended = threads.running == 0;
	join_ended();
	pthread_mutex_unlock(&lock);
	return ended;
}

bool thread_end_all(beam_deadline deadline)
{
	return wait_for_end(true, deadline);
}

beam_deadline process_end_within(int64_t milliseconds)
{
	static int64_t begin;

	if (!begin)
		begin = clock_now();
	return BEAM_DEADLINE(begin + milliseconds * 1000000);
}

/*
 * The last function of the library that runs at the end of the process. By then the other rooms
 * have told their threads to end.
 */
static void library_end(void)
{
	int64_t end = process_end_within(END_MS).ns, least = beam_in_ms(END_SHORT_MS).ns;

	wait_for_end(false, BEAM_DEADLINE(end > least ? end : least));
	wait_for_end(true, beam_in_ms(END_SHORT_MS));
}

static int add_thread_locals(struct dl_phdr_info *object, size_t size, void *unused)
{
	(void)size;
	(void)unused;
	for (unsigned i = 0; i < object->dlpi_phnum; i++)
		if (object->dlpi_phdr[i].p_type == PT_TLS)
			stack_bytes += object->dlpi_phdr[i].p_memsz + object->dlpi_phdr[i].p_align;
	return 0;
}

static const struct process_events threads_process_events = {
    .fork_begins = threads_fork_begins,
    .fork_ends_in_parent = threads_fork_ends_in_parent,
    .fork_ends_in_child = threads_fork_ends_in_child,
    .ends = library_end,
};

__attribute__((constructor(102))) static void library_begin(void)
{
	void *page;
	bool heeded;

	dl_iterate_phdr(add_thread_locals, NULL);
	heeded = process_heed(PROCESS_THREADS, &threads_process_events);
	page = sys_mmap(NULL, sizeof *number, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return;
	if (!heeded) {
		munmap(page, sizeof *number);
		return;
	}
	/*
	 * This also covers children that fork handlers do not see, made by clone(2). If it fails,
	 * the handlers must suffice.
	 */
	sys_madvise(page, sizeof *number, MADV_WIPEONFORK);
	number = page;
	annotate_atomic(number);
}

uint32_t process_id(void)
{
	return atomic_load_explicit(number, memory_order_acquire);
}

int process_prepare(void)
{
	if (number == &unnumbered)
		return -ENOMEM;
	pthread_mutex_lock(&lock);
	if (process_id() == 0) {
		/*
		 * A new process. The parent's threads are not here. The condition is initialized
		 * again, because threads of the parent that waited on it will never leave it.
		 */
		threads.running = threads.expendable = 0;
		threads.n_ended = 0;
		condition_init(&threads.none_running);
		atomic_store(number, ++threads.last_number);
	}
	pthread_mutex_unlock(&lock);
	return 0;
}

struct start {
	void (*run)(void *argument);
	void *argument;
	bool expendable;
	char name[16];
};

/* One thread fewer runs. The lock is held. */
static void uncount(bool expendable)
{
	threads.running--;
	threads.expendable -= expendable;
	if (threads.running == threads.expendable)
		pthread_cond_broadcast(&threads.none_running);
}

/*
 * Joins one thread that has ended, and releases the lock meanwhile. That thread is about to exit,
 * and waits for nothing.
 */
static void join_another(void)
{
	pthread_t other = threads.ended[--threads.n_ended];

	pthread_mutex_unlock(&lock);
	pthread_join(other, NULL);
	pthread_mutex_lock(&lock);
}

static void thread_ended(bool expendable)
{
	pthread_mutex_lock(&lock);
	/* Joins two for each one that is added, so that soon only a few are left. */
	for (int i = 0; (i < 2 && threads.n_ended > 0) || threads.n_ended == ENDED_MAX; i++)
		join_another();
	threads.ended[threads.n_ended++] = pthread_self();
	uncount(expendable);
	pthread_mutex_unlock(&lock);
}

static void *thread_run(void *argument)
{
	struct start start = *(struct start *)argument;

	free(argument);
	pthread_setname_np(pthread_self(), start.name);
	start.run(start.argument);
	thread_ended(start.expendable);
	return NULL;
}

/*
 * Signals are handled in the program's threads. Signals that a thread raises by its own actions are
 * not blocked, because the kernel kills a process that raises one while it is blocked, even if the
 * program has a handler. For example, a system call that a seccomp filter of the program traps
 * raises SIGSYS, and a handler answers in its place.
 */
static void block_signals(sigset_t *ret_old)
{
	static const int raised_by_itself[] = {SIGSYS, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
	sigset_t blocked;

	sigfillset(&blocked);
	for (size_t i = 0; i < sizeof raised_by_itself / sizeof *raised_by_itself; i++)
		sigdelset(&blocked, raised_by_itself[i]);
	pthread_sigmask(SIG_SETMASK, &blocked, ret_old);
}

static int create_with_stack(pthread_t *ret, struct start *start)
{
	pthread_attr_t attributes;
	int r;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, stack_bytes);
	r = sys_pthread_create(ret, &attributes, thread_run, start);
	pthread_attr_destroy(&attributes);
	/* The C library needs more room there than could be foreseen. */
	return r == EINVAL ? sys_pthread_create(ret, NULL, thread_run, start) : r;
}

static int thread_create(struct start *start)
{
	pthread_t thread;
	sigset_t old;
	int r;

	/* A thread inherits its creator's mask. */
	block_signals(&old);
	r = create_with_stack(&thread, start);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

static int start_counted(bool expendable, void (*run)(void *argument), void *argument, const char *name)
{
	struct start *start;
	int r = process_prepare();

	if (r < 0)
		return r;
	start = sys_malloc(sizeof *start);
	if (!start)
		return -ENOMEM;
	*start = (struct start){.run = run, .argument = argument, .expendable = expendable};
	snprintf(start->name, sizeof start->name, "%s", name);

	/* Counted before it runs: it may end before pthread_create() returns. */
	pthread_mutex_lock(&lock);
	threads.running++;
	threads.expendable += expendable;
	pthread_mutex_unlock(&lock);
	r = thread_create(start);
	if (r == 0)
		return 0;

	free(start);
	pthread_mutex_lock(&lock);
	uncount(expendable);
	pthread_mutex_unlock(&lock);
	return r;
}

int thread_start(void (*run)(void *argument), void *argument, const char *name)
{
	return start_counted(false, run, argument, name);
}

int thread_start_expendable(void (*run)(void *argument), void *argument, const char *name)
{
	return start_counted(true, run, argument, name);
}
