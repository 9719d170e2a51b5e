/* SPDX-License-Identifier: MIT */
/*
 * The threads that close descriptors whose close may block.
 *
 * Usually there is one, and it works in turns. In a turn it closes some descriptors of one account,
 * or some independent ones. Then the next account has its turn. When nothing is left the thread
 * lingers a moment, so that a burst of messages does not start a thread for each message.
 *
 * Invariants:
 *  - A thread in a turn is prompt, or late when the turn lasts too long. At most one thread is
 *    prompt, and a thread begins a turn only while no other is prompt.
 *  - While something waits besides what a prompt thread closes, another thread watches that thread.
 *    If the turn lasts too long, it declares the prompt thread late, and begins a turn itself. A
 *    thread that gives something away, or begins a turn, calls a watcher if there is none. A
 *    watcher waits until the turn would be late, so a flood costs few calls. If no thread can be
 *    started, there is no watch until more is given away.
 *  - An account that has something to close is in the list of accounts that wait for a turn, or is
 *    being handled by one thread. So the late closes of an account cost one thread in all.
 *  - Each late close of an independent descriptor costs a thread, so their number is bounded. The
 *    number of late accounts needs no bound, because there are no more of them than channels, each
 *    of which has a thread as well.
 *  - The number of a descriptor is valid in one process only. A forked child begins with an empty
 *    queue and does not touch its parent's accounts: it may have closed everything, and have opened
 *    files of its own under the same numbers.
 *
 * A turn of an account takes the lock once for all of its closes, because the lock can cost as much
 * as a close that does not block. For independent descriptors it takes the lock for each, because
 * another thread may have to take over in the middle of a turn. A turn ends early after a close
 * that took a while. Then what has been closed is reported, and others have their turn. The coarse
 * clock measures that, because it is cheap enough to be read after each close.
 *
 * What is not prevented: closes that last a little less than the bound delay others by that much,
 * once for each account that has such closes in a round.
 */
#include <base/clock.h>
#include <base/process.h>
#include <base/sys.h>
#include <base/thread.h>
#include <socket/reaper.h>
#include <string.h>

enum {
	LINGER_MS = 100,
	/*
	 * A turn ends after TURN closes, or after the first close that ends more than TURN_NS after
	 * the turn began.
	 */
	TURN = 64,
	TURN_NS = 1000 * 1000,
	/*
	 * A turn that lasts longer than LATE_NS is late. At most LATE_MAX threads may be late with
	 * independent descriptors.
	 */
	LATE_NS = 10 * 1000 * 1000,
	LATE_MAX = 64,
	/* One thread to begin a turn, and one to watch it. */
	IDLE_MAX = 2,
};

/* A thread in its turn. */
struct closer {
	int64_t since;
	bool independent, late;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Guarded by the lock. */
static struct {
	/* The process that the rest belongs to. */
	uint32_t process;
	/* The process is ending, so threads do not linger. */
	bool ending;
	/* Accounts that wait for a turn. */
	struct list accounts;
	struct fd_queue independent;
	/* The next turn is one of independent descriptors, if there are any. */
	bool independent_next;
	/* All threads, including those that have yet to begin; those of them that are in a turn. */
	unsigned threads, closing;
	/* Threads that are late with an independent descriptor. */
	unsigned late_independent;
	struct closer *prompt;
	/* A thread has been called, and has yet to check what there is to do. */
	bool called;
	/* A thread watches the prompt one. */
	bool watched;
	pthread_cond_t work, drained;
} reaper;

static void reaper_fork_begins(void)
{
	pthread_mutex_lock(&lock);
}

static void reaper_fork_ends(void)
{
	pthread_mutex_unlock(&lock);
}

/*
 * The parent's queue does not belong to the child, and the parent's threads are not here. The
 * conditions are initialized again, because threads of the parent that waited on them will never
 * leave them.
 */
static void begin_process(void)
{
	reaper.process = process_id();
	reaper.independent.first = reaper.independent.end = 0;
	reaper.threads = reaper.closing = reaper.late_independent = 0;
	reaper.prompt = NULL;
	reaper.called = reaper.watched = false;
	list_init(&reaper.accounts);
	condition_init(&reaper.work);
	condition_init(&reaper.drained);
}

/* Takes the lock, in a process that has a number. */
static void reaper_lock(void)
{
	pthread_mutex_lock(&lock);
	if (reaper.process != process_id())
		begin_process();
}

/*
 * The same, in a process that may have no number yet. Returns false if it cannot get one, because
 * there was no memory when the library was loaded.
 */
static bool reaper_enter(void)
{
	if (process_id() == 0 && process_prepare() < 0)
		return false;
	reaper_lock();
	return true;
}

/* ---- What there is to do --------------------------------------------------------------------- */

static bool independent_waits(void)
{
	return fd_queue_waiting(&reaper.independent) > 0 && reaper.late_independent < LATE_MAX;
}

/* There is something that a thread could begin now. */
static bool work_waits(void)
{
	return independent_waits() || !list_empty(&reaper.accounts);
}

/* Nothing is left but what is late. */
static bool prompt_done(void)
{
	return fd_queue_waiting(&reaper.independent) == 0 && list_empty(&reaper.accounts) && !reaper.prompt;
}

static bool all_done(void)
{
	return prompt_done() && reaper.closing == 0;
}

static void tell_done(void)
{
	if (prompt_done())
		pthread_cond_broadcast(&reaper.drained);
}

/*
 * Makes sure that a thread begins what waits or, if a thread is prompt, watches that one. If it
 * returns true, the caller must start a thread, without the lock.
 */
static bool call_thread(void)
{
	if (reaper.called || (reaper.prompt && reaper.watched) || !work_waits())
		return false;
	reaper.called = true;
	if (reaper.threads > reaper.closing) {
		pthread_cond_signal(&reaper.work);
		return false;
	}
	reaper.threads++;
	return true;
}

/* Declares the prompt thread late if it is. */
static void reaper_judge(void)
{
	if (!reaper.prompt || clock_now() - reaper.prompt->since < LATE_NS)
		return;
	reaper.prompt->late = true;
	reaper.late_independent += reaper.prompt->independent;
	reaper.prompt = NULL;
	tell_done();
}

/* ---- A turn ---------------------------------------------------------------------------------- */

static void start_thread(void);

/* Releases the lock. If anything else waits, another thread watches this turn from here on. */
static void reaper_begin_closing(void)
{
	bool start = call_thread();

	pthread_mutex_unlock(&lock);
	if (start)
		start_thread();
}

/* Accurate to 1 to 10 ms, and several times cheaper than clock_now(). */
static int64_t coarse_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Each stays in the queue until its close begins, so that another thread can take the rest. */
static void close_independent(const struct closer *closer)
{
	int64_t begin = coarse_now();
	unsigned n = 0;

	do {
		int fd = reaper.independent.fds[reaper.independent.first];

		fd_queue_drop(&reaper.independent, 1);
		reaper_begin_closing();
		close(fd);
		pthread_mutex_lock(&lock);
	} while (++n < TURN && !closer->late && fd_queue_waiting(&reaper.independent) > 0 &&
		 coarse_now() - begin < TURN_NS);
}

static size_t close_some(const int *fds, size_t n)
{
	int64_t begin = coarse_now();
	size_t closed = 0;

	do
		close(fds[closed++]);
	while (closed < n && coarse_now() - begin < TURN_NS);
	return closed;
}

static void close_of_account(struct reaper_account *account)
{
	int fds[TURN];
	size_t n = fd_queue_waiting(&account->queue);
	bool more;

	n = n < TURN ? n : TURN;
	memcpy(fds, account->queue.fds + account->queue.first, n * sizeof *fds);
	account->in_hand = true;
	reaper_begin_closing();
	n = close_some(fds, n);
	pthread_mutex_lock(&lock);
	fd_queue_drop(&account->queue, n);
	more = fd_queue_waiting(&account->queue) > 0;
	account->in_hand = more;
	pthread_mutex_unlock(&lock);
	account->settled(account, n);
	pthread_mutex_lock(&lock);
	/* If nothing is left, this report was the last, and the account may have been freed. */
	if (more) {
		account->in_hand = false;
		list_append(&reaper.accounts, &account->link);
	}
}

static void reaper_take_turn(void)
{
	struct closer closer = {
	    .since = clock_now(),
	    .independent = independent_waits() && (reaper.independent_next || list_empty(&reaper.accounts)),
	};

	reaper.prompt = &closer;
	reaper.closing++;
	reaper.independent_next = !closer.independent;
	if (closer.independent)
		close_independent(&closer);
	else
		close_of_account(list_entry(list_take_first(&reaper.accounts), struct reaper_account, link));
	reaper.closing--;
	if (closer.late)
		reaper.late_independent -= closer.independent;
	else
		reaper.prompt = NULL;
	tell_done();
}

/* ---- Threads --------------------------------------------------------------------------------- */

/* There is something to begin, or a prompt thread that needs to be watched. */
static bool wanted(void)
{
	return work_waits() && !(reaper.prompt && reaper.watched);
}

/* Waits until the prompt thread may be late, or this one is called. */
static void reaper_watch(void)
{
	reaper.watched = true;
	condition_wait(&reaper.work, &lock, BEAM_DEADLINE(reaper.prompt->since + LATE_NS));
	reaper.watched = reaper.called = false;
	reaper_judge();
}

/*
 * Returns true if there is something to do again. Of many threads that were late only a few linger.
 * Otherwise steady work would wake one after the other, and none would end.
 */
static bool linger(void)
{
	beam_deadline until = beam_in_ms(LINGER_MS);
	int r = 0;

	while (r == 0 && !wanted() && !reaper.ending && reaper.threads - reaper.closing <= IDLE_MAX) {
		r = condition_wait(&reaper.work, &lock, until);
		reaper.called = false;
	}
	return wanted();
}

static void reap(bool lingers)
{
	pthread_mutex_lock(&lock);
	reaper.called = false;
	reaper_judge();
	for (;;) {
		bool work = work_waits();

		if (work && !reaper.prompt)
			reaper_take_turn();
		else if (work && lingers && !reaper.watched)
			reaper_watch();
		else if (!lingers || !linger())
			break;
	}
	if (--reaper.threads == 0) {
		free(reaper.independent.fds);
		reaper.independent = (struct fd_queue){.fds = NULL};
	}
	pthread_mutex_unlock(&lock);
}

static void reaper_run(void *unused)
{
	(void)unused;
	reap(true);
}

/*
 * Starts the thread that call_thread() asked for. Called without the lock. If no thread can be
 * started, the caller closes what waits, unless another thread is prompt.
 */
static void start_thread(void)
{
	if (thread_start_expendable(reaper_run, NULL, "beam-reaper") < 0)
		reap(false);
}

/* ---- Giving ---------------------------------------------------------------------------------- */

void reaper_account_init(struct reaper_account *account, void (*settled)(struct reaper_account *account, size_t n))
{
	process_prepare();
	*account = (struct reaper_account){.process = process_id(), .settled = settled};
	list_init(&account->link);
}

void reaper_account_end(struct reaper_account *account)
{
	free(account->queue.fds);
}

static void close_here(struct reaper_account *account, const int *fds, size_t n)
{
	size_t closed = 0;

	for (size_t i = 0; i < n; i++) {
		if (fds[i] < 0)
			continue;
		close(fds[i]);
		closed++;
	}
	if (account)
		account->settled(account, closed);
}

/* Returns false if there is no memory. */
static bool queue_up(struct reaper_account *account, const int *fds, size_t n)
{
	struct fd_queue *queue = account ? &account->queue : &reaper.independent;

	if (!fd_queue_make_room(queue, n))
		return false;
	fd_queue_add(queue, fds, n);
	if (account && !account->in_hand && !list_linked(&account->link))
		list_append(&reaper.accounts, &account->link);
	return true;
}

static void reaper_give(struct reaper_account *account, const int *fds, size_t n)
{
	bool queued, start = false;

	while (n > 0 && fds[n - 1] < 0)
		n--;
	if (n == 0)
		return;
	if (!reaper_enter()) {
		close_here(account, fds, n);
		return;
	}
	/*
	 * A forked child does not touch a parent's account, whose list and queue mean nothing here.
	 */
	if (account && account->process != reaper.process)
		account = NULL;
	queued = queue_up(account, fds, n);
	if (queued)
		start = call_thread();
	pthread_mutex_unlock(&lock);
	if (!queued)
		close_here(account, fds, n);
	else if (start)
		start_thread();
}

void reaper_close_for(struct reaper_account *account, const int *fds, size_t n)
{
	WITHOUT_CANCELLATION;

	reaper_give(account, fds, n);
}

void reaper_close(const int *fds, size_t n)
{
	WITHOUT_CANCELLATION;

	reaper_give(NULL, fds, n);
}

static bool drain(bool (*done)(void), beam_deadline deadline)
{
	bool drained;

	if (!reaper_enter())
		return true;
	while (!done() && condition_wait(&reaper.drained, &lock, deadline) == 0)
		;
	drained = done();
	pthread_mutex_unlock(&lock);
	return drained;
}

bool reaper_drain_prompt(beam_deadline deadline)
{
	return drain(prompt_done, deadline);
}

bool reaper_drain(beam_deadline deadline)
{
	return drain(all_done, deadline);
}

/*
 * Called at the end of the process, before base waits for the threads to end. Base waits only a
 * moment for a thread that hangs. In a forked child that has not used the reaper there is nothing
 * to do.
 */
static void reaper_end(void)
{
	if (process_id() == 0)
		return;
	reaper_lock();
	reaper.ending = true;
	pthread_cond_broadcast(&reaper.work);
	pthread_mutex_unlock(&lock);
}

static const struct process_events reaper_process_events = {
    .fork_begins = reaper_fork_begins,
    .fork_ends_in_parent = reaper_fork_ends,
    .fork_ends_in_child = reaper_fork_ends,
    .ends = reaper_end,
};

__attribute__((constructor(102))) static void reaper_begin(void)
{
	process_heed(PROCESS_REAPER, &reaper_process_events);
}
