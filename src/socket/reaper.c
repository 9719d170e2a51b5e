/* SPDX-License-Identifier: MIT */
/*
 * Threads that close what may block in close. Usually it is one, which takes turns: a turn closes some descriptors of one account, or
 * some that are nobody's (strays), and then the next account has one. When nothing is left the thread lingers a moment, so that a burst of
 * messages does not start a thread for each.
 *
 * Invariants:
 *  - At most one thread is prompt: it is in a turn that has not lasted for long. Others that are in a turn are late. Only while no thread
 *    is prompt does one begin a turn.
 *  - While something waits beside a prompt thread another thread watches it, and declares it late in time. Then the other begins a turn.
 *    The watch is called for by the first that gives something or takes a turn, and lasts as long as a turn may: so a flood costs few calls.
 *  - An account that has something to close is in the list, or in the hand of one thread. A late close therefore costs its account one thread.
 *    Strays cost a thread each, and are bounded for that reason. Accounts are not: there are not more of them than channels, which
 *    have threads as well.
 *  - Numbers of descriptors mean something in one process. A forked child begins with empty queues and does not touch the accounts of
 *    its parent: it may have closed everything, and opened files of its own under the same numbers.
 *
 * A turn takes its descriptors at once and reports once, for each lock taken costs as much as a close. It ends early when a close took a
 * while, so that what is closed is reported and others have their turn. That is asked of the coarse clock, which is cheap enough to be read
 * for each close.
 */
#include <base/clock.h>
#include <base/sys.h>
#include <base/thread.h>
#include <socket/reaper.h>
#include <string.h>

enum {
	LINGER_MS = 100,
	QUEUE_MIN = 64,
	/* A turn ends after so many closes, or after so long. */
	TURN = 64,
	TURN_NS = 1000 * 1000,
	/* A thread is late when its turn lasts for so long. */
	LATE_NS = 10 * 1000 * 1000,
	LATE_STRAYS = 64,
	/* One to begin and one to watch. */
	IDLE_MAX = 2,
};

/* A thread in its turn. */
struct closer {
	int64_t since;
	bool strays, late;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Under the lock. */
static struct {
	/* The process that the rest belongs to. */
	uint32_t process;
	/* The process ends: no lingering. */
	bool ending;
	/* Accounts that wait for a turn. */
	struct list accounts;
	struct reaper_queue strays;
	/* Strays and accounts take turns. */
	bool strays_next;
	/* All threads, also those that have yet to begin; those in a turn; those late with a stray. */
	unsigned threads, closing, late_strays;
	struct closer *prompt;
	/* A thread has been called and has yet to look what there is; a thread watches the prompt one. */
	bool called, watched;
	pthread_cond_t work, drained;
} reaper;

static void fork_begins(void)
{
	pthread_mutex_lock(&lock);
}

static void fork_ends(void)
{
	pthread_mutex_unlock(&lock);
}

static bool fork_safe;

/* What the parent had is not the child's, and its threads are not here. The conditions are made anew, for those who wait there never leave. */
static void begin_process(void)
{
	reaper.process = process_id();
	reaper.strays.first = reaper.strays.end = 0;
	reaper.threads = reaper.closing = reaper.late_strays = 0;
	reaper.prompt = NULL;
	reaper.called = reaper.watched = false;
	list_init(&reaper.accounts);
	condition_init(&reaper.work);
	condition_init(&reaper.drained);
}

/* Takes the lock; false: there is no memory for a reaper in this process. */
static bool enter(void)
{
	if (!fork_safe || (process_id() == 0 && process_prepare() < 0))
		return false;
	pthread_mutex_lock(&lock);
	if (reaper.process != process_id())
		begin_process();
	return true;
}

/* ---- Queues ---------------------------------------------------------------------------------------------------------------------- */

static size_t waiting(const struct reaper_queue *queue)
{
	return queue->end - queue->first;
}

static bool make_room(struct reaper_queue *queue, size_t n)
{
	size_t capacity = queue->capacity ? queue->capacity : QUEUE_MIN;
	int *fds;

	if (queue->end + n <= queue->capacity)
		return true;
	/* Moved down only if that makes much room: so each descriptor is moved a few times at most. */
	if (queue->first >= queue->capacity / 2 && waiting(queue) + n <= queue->capacity) {
		memmove(queue->fds, queue->fds + queue->first, waiting(queue) * sizeof *queue->fds);
		queue->end -= queue->first;
		queue->first = 0;
		return true;
	}
	while (capacity < queue->end + n)
		capacity *= 2;
	fds = sys_realloc(queue->fds, capacity * sizeof *fds);
	if (!fds)
		return false;
	queue->fds = fds;
	queue->capacity = capacity;
	return true;
}

static void add(struct reaper_queue *queue, const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			queue->fds[queue->end++] = fds[i];
}

/* So many are closed. */
static void drop(struct reaper_queue *queue, size_t n)
{
	queue->first += n;
	if (queue->first == queue->end)
		queue->first = queue->end = 0;
}

/* ---- What there is to do --------------------------------------------------------------------------------------------------------- */

static bool strays_wait(void)
{
	return waiting(&reaper.strays) > 0 && reaper.late_strays < LATE_STRAYS;
}

/* There is something that a thread could begin. */
static bool work_waits(void)
{
	return strays_wait() || !list_empty(&reaper.accounts);
}

static bool all_done(void)
{
	return waiting(&reaper.strays) == 0 && list_empty(&reaper.accounts) && reaper.closing == 0;
}

/* Sees to it that a thread begins what waits, or watches the one that is prompt. True: the caller is to start a thread. */
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

static void judge(void)
{
	if (!reaper.prompt || clock_now() - reaper.prompt->since < LATE_NS)
		return;
	reaper.prompt->late = true;
	reaper.late_strays += reaper.prompt->strays;
	reaper.prompt = NULL;
}

/* ---- A turn ---------------------------------------------------------------------------------------------------------------------- */

static void start_thread(void);

/* Gives the lock up. What waits beside this turn is watched from here on. */
static void begin_closing(void)
{
	bool start = call_thread();

	pthread_mutex_unlock(&lock);
	if (start)
		start_thread();
}

/* Good to 1 to 10 ms, and several times as cheap as clock_now(). */
static int64_t coarse_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* One by one, so that another thread can take the rest when one is late. */
static void close_strays(const struct closer *closer)
{
	int64_t begin = coarse_now();
	unsigned n = 0;

	do {
		int fd = reaper.strays.fds[reaper.strays.first];

		drop(&reaper.strays, 1);
		begin_closing();
		close(fd);
		pthread_mutex_lock(&lock);
	} while (++n < TURN && !closer->late && waiting(&reaper.strays) > 0 && coarse_now() - begin < TURN_NS);
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
	size_t n = waiting(&account->queue);
	bool more;

	n = n < TURN ? n : TURN;
	memcpy(fds, account->queue.fds + account->queue.first, n * sizeof *fds);
	account->in_hand = true;
	begin_closing();
	n = close_some(fds, n);
	pthread_mutex_lock(&lock);
	drop(&account->queue, n);
	more = waiting(&account->queue) > 0;
	account->in_hand = more;
	pthread_mutex_unlock(&lock);
	account->settled(account, n);
	pthread_mutex_lock(&lock);
	/* Else it may be gone. */
	if (more) {
		account->in_hand = false;
		list_append(&reaper.accounts, &account->link);
	}
}

static void take_turn(void)
{
	struct closer closer = {
	    .since = clock_now(),
	    .strays = strays_wait() && (reaper.strays_next || list_empty(&reaper.accounts)),
	};

	reaper.prompt = &closer;
	reaper.closing++;
	reaper.strays_next = !closer.strays;
	if (closer.strays)
		close_strays(&closer);
	else
		close_of_account(list_entry(list_take_first(&reaper.accounts), struct reaper_account, link));
	reaper.closing--;
	if (closer.late)
		reaper.late_strays -= closer.strays;
	else
		reaper.prompt = NULL;
	if (all_done())
		pthread_cond_broadcast(&reaper.drained);
}

/* ---- Threads --------------------------------------------------------------------------------------------------------------------- */

/* There is something to begin, or a thread to be watched. */
static bool wanted(void)
{
	return work_waits() && !(reaper.prompt && reaper.watched);
}

/* Until the prompt thread is late or this one is needed for something else. */
static void watch(void)
{
	reaper.watched = true;
	condition_wait(&reaper.work, &lock, reaper.prompt->since + LATE_NS);
	reaper.watched = reaper.called = false;
	judge();
}

/* True: there is work again. Of many that were late few linger, else those would take turns in being called, and all stay. */
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
	judge();
	for (;;) {
		if (!reaper.prompt && work_waits())
			take_turn();
		else if (lingers && wanted())
			watch();
		else if (!lingers || !linger())
			break;
	}
	if (--reaper.threads == 0) {
		free(reaper.strays.fds);
		reaper.strays = (struct reaper_queue){.fds = NULL};
	}
	pthread_mutex_unlock(&lock);
}

static void reaper_run(void *unused)
{
	(void)unused;
	reap(true);
}

/* What call_thread() asked for. Called without the lock. Where there is no thread to be had the caller stands in for it: it closes
 * what waits, unless another is prompt. Then nobody watches that one until somebody gives more. */
static void start_thread(void)
{
	if (thread_start_expendable(reaper_run, NULL, "beam-reaper") < 0)
		reap(false);
}

/* ---- Giving ---------------------------------------------------------------------------------------------------------------------- */

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
	if (account && account->process == process_id())
		account->settled(account, closed);
}

/* False: there is no memory. */
static bool queue_up(struct reaper_account *account, const int *fds, size_t n)
{
	struct reaper_queue *queue = account ? &account->queue : &reaper.strays;

	if (!make_room(queue, n))
		return false;
	add(queue, fds, n);
	if (account && !account->in_hand && !list_linked(&account->link))
		list_append(&reaper.accounts, &account->link);
	return true;
}

static void give(struct reaper_account *account, const int *fds, size_t n)
{
	bool queued, start = false;

	while (n > 0 && fds[n - 1] < 0)
		n--;
	if (n == 0)
		return;
	if (!enter()) {
		close_here(account, fds, n);
		return;
	}
	/* The parent's: its link and its queue mean nothing here. */
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

	give(account, fds, n);
}

void reaper_close(const int *fds, size_t n)
{
	WITHOUT_CANCELLATION;

	give(NULL, fds, n);
}

bool reaper_drain(beam_deadline deadline)
{
	bool drained;

	if (!enter())
		return true;
	while (!all_done() && condition_wait(&reaper.drained, &lock, deadline) == 0)
		;
	drained = all_done();
	pthread_mutex_unlock(&lock);
	return drained;
}

/* At the end of the process, before base waits for the threads to end; for one whose close hangs it waits only a moment. A forked child
 * that has not used the reaper leaves it alone. */
static void reaper_end(void)
{
	if (process_id() == 0 || !enter())
		return;
	reaper.ending = true;
	pthread_cond_broadcast(&reaper.work);
	pthread_mutex_unlock(&lock);
}

/* After base and before the rooms above, so that their ends come in the other order. */
__attribute__((constructor(102))) static void reaper_begin(void)
{
	fork_safe = sys_pthread_atfork(fork_begins, fork_ends, fork_ends) == 0;
	sys_atexit(reaper_end);
}
