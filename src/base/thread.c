/* SPDX-License-Identifier: MIT */
/*
 * Library threads and the number of the process.
 *
 * Invariants: a process without a number has no library threads, so that a forked child, whose number the kernel wiped, inherits
 * nothing that it would wait for; and of the threads that have ended few are not joined. One that ends joins
 * some that ended before, and only then may be joined itself: so the one that is waited for waits for nobody. In a chain, each waiting for the
 * one before, threads that end quickly after one another would pile up by thousands.
 */
#include <base/annotate.h>
#include <base/clock.h>
#include <base/sys.h>
#include <base/thread.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

/* How long the end of the process waits for threads, and for those that may hang; how many that have
 * ended may wait to be joined. */
enum { END_MS = 5000, END_EXPENDABLE_MS = 100, ENDED_MAX = 64 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The number lies on a page of its own; `unnumbered` stands for it if there was no memory when the library was loaded. */
static atomic_uint unnumbered;
static atomic_uint *number = &unnumbered;

/* Under the lock. */
static struct {
	uint32_t last_number;
	/* All that run, and those of them that may hang. */
	unsigned running, expendable;
	/* None runs any more, or none but those that are expendable. */
	pthread_cond_t none_running;
	/* Those to be joined. */
	unsigned n_ended;
	pthread_t ended[ENDED_MAX];
} threads;

/* Those that have ended. Called with the lock; they do not need it any more. */
static void join_ended(void)
{
	while (threads.n_ended > 0)
		pthread_join(threads.ended[--threads.n_ended], NULL);
}

/* A fork with the lock in another thread's hands would leave it locked for ever in the child, which cannot join our threads either. */
static void fork_begins(void)
{
	pthread_mutex_lock(&lock);
	if (process_id() != 0)
		join_ended();
}

static void fork_ends_in_parent(void)
{
	pthread_mutex_unlock(&lock);
}

static void fork_ends_in_child(void)
{
	/* Kernels before 4.14 do not wipe the page. */
	atomic_store(number, 0);
	pthread_mutex_unlock(&lock);
}

/* Waits until the threads have ended, or those that are not expendable; false at the deadline. */
static bool wait_for_end(bool all, beam_deadline deadline)
{
	bool ended;

	if (process_id() == 0)
		return true;
	pthread_mutex_lock(&lock);
	while (threads.running > (all ? 0 : threads.expendable) && condition_wait(&threads.none_running, &lock, deadline) == 0)
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

/* The last of the library to run at the end of the process: by then the other rooms have told their threads to end. */
static void library_end(void)
{
	wait_for_end(false, beam_in_ms(END_MS));
	wait_for_end(true, beam_in_ms(END_EXPENDABLE_MS));
}

/* At load, so that no fork can fall between the first use of the lock and its handlers. The first to be loaded, before the other rooms: what
 * they do at the end of the process comes before what is done here, atexit(3). Without memory for that the threads end with the process. */
__attribute__((constructor(101))) static void library_begin(void)
{
	void *page;

	sys_atexit(library_end);
	page = sys_mmap(NULL, sizeof *number, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return;
	if (sys_pthread_atfork(fork_begins, fork_ends_in_parent, fork_ends_in_child) != 0) {
		munmap(page, sizeof *number);
		return;
	}
	/* Also for children that fork handlers do not see, made by clone(2). Where it fails the handlers have to do. */
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
		/* A new process: the parent's threads are not here, and those that waited will never leave the condition. */
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

/* Joins one of the others, without the lock. It has all but ended, and waits for nothing. */
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
	/* Two for the one that is to be added: so there are soon few. */
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

static int thread_create(struct start *start)
{
	sigset_t all, old;
	pthread_t thread;
	int r;

	/* A thread inherits its creator's mask; signals are the program's business, in the program's threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = sys_pthread_create(&thread, NULL, thread_run, start);
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
