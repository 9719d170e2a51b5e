/* SPDX-License-Identifier: MIT */
/*
 * The reading right: which thread reads from the socket, for itself and for the others.
 *
 * A thread that waits for something takes the right if it is free, and leads: it reads until what
 * it waits for has arrived or its deadline has passed. Then it passes the right to the waiter with
 * the latest deadline. If no thread waits, the link's thread stands by:
 *
 *   WATCH  It watches for input, and reads. Only while no thread leads.
 *   REST   A thread leads, and lets the link's thread watch again when it leaves.
 *   TICK   Threads lead now and then, so often that it would cost too much to let the link's thread
 *          watch each time. It checks every 10 ms whether any thread has led since. If none has, it
 *          watches; if the same one has led all the time, it rests.
 *
 * So input waits for two ticks at most, and only while no thread waits for anything on this link.
 * There are no ticks on an idle link.
 *
 * A thread that has been receiving the messages, and has waited again for the next one within
 * microseconds, is *expected*: the right is left free for it instead of being passed on, and a
 * leading thread steps down for it. If it does not come, the next tick, which is a short one, gives
 * the right to a waiter.
 */
#include <base/sys.h>
#include <link/tuning.h>
#include <link/waiter.h>

/* A result of baton_lead() that is no error. */
enum { STEP_DOWN = 1 };

/* ---- The right; its lock is held ------------------------------------------------------------- */

static bool takes_often(struct baton *baton, int64_t now)
{
	if (now - baton->counted_since > TICK_NS) {
		baton->counted_since = now;
		baton->counted = 0;
	}
	return ++baton->counted >= OFTEN && !baton->dependents;
}

static void set_tick(struct baton *baton, int64_t now)
{
	baton->mode = STANDBY_TICK;
	baton->tick_at.ns = now + (list_empty(&baton->waiters) ? TICK_NS : SHORT_TICK_NS);
	baton->led_at_tick = baton->led;
	baton->counted = 0;
}

/*
 * Changes whether the link's thread watches for input. Returns 0 or -errno. A loop always watches.
 * That costs little, because it hardly ever waits while a thread leads.
 */
static int arm(struct link *link, bool armed)
{
	int r;

	if (link->options.loop)
		return 0;
	pthread_mutex_lock(&link->writer.lock);
	link->thread.armed = armed;
	r = standby_watch(link);
	if (link->reader.baton.mode == STANDBY_TICK)
		write_nudge(link);
	pthread_mutex_unlock(&link->writer.lock);
	return r;
}

static void baton_watch(struct link *link)
{
	link->reader.baton.mode = STANDBY_WATCH;
	if (arm(link, true) == 0)
		return;
	/* There is no memory for the watch. It is tried again after a tick. */
	set_tick(&link->reader.baton, clock_now());
	arm(link, false);
}

/*
 * Leaves WATCH, because a thread leads from now on. If the watch cannot be removed, the link's
 * thread is woken needlessly, which is harmless.
 */
static void stop_watching(struct link *link)
{
	struct baton *baton = &link->reader.baton;
	int64_t now = clock_now();

	if (takes_often(baton, now))
		set_tick(baton, now);
	else
		baton->mode = STANDBY_REST;
	arm(link, false);
}

static bool take_right(struct link *link)
{
	struct baton *baton = &link->reader.baton;

	if (baton->taken || baton->over || link->options.dedicated_reader)
		return false;
	baton->taken = true;
	baton->led++;
	if (baton->mode == STANDBY_WATCH)
		stop_watching(link);
	return true;
}

/* Gives the right to a waiter that still sleeps. Returns false if it has been woken already. */
static bool give_right(struct link *link, struct waiter *waiter)
{
	struct baton *baton = &link->reader.baton;

	pthread_mutex_lock(waiter->lock);
	waiter->passed_over = true;
	if (!waiter->woken) {
		waiter->granted = true;
		waiter_wake(waiter);
	}
	pthread_mutex_unlock(waiter->lock);
	if (!waiter->granted)
		return false;
	baton->led++;
	if (baton->mode == STANDBY_WATCH)
		stop_watching(link);
	return true;
}

/* Gives it to the waiter with the latest deadline. */
static bool pass_on(struct link *link)
{
	struct baton *baton = &link->reader.baton;
	struct waiter *best;

	if (link->options.dedicated_reader)
		return false;
	do {
		best = NULL;
		for (struct list *node = baton->waiters.next; node != &baton->waiters; node = node->next) {
			struct waiter *waiter = list_entry(node, struct waiter, of_baton);

			if (!waiter->passed_over && (!best || waiter->deadline.ns > best->deadline.ns))
				best = waiter;
		}
		if (!best)
			return false;
	} while (!give_right(link, best));
	return true;
}

/* ---- For the link's thread ------------------------------------------------------------------- */

void baton_init(struct baton *baton)
{
	pthread_mutex_init(&baton->lock, NULL);
	condition_init(&baton->left);
	list_init(&baton->waiters);
	baton->mode = STANDBY_WATCH;
	baton->relied_from = RETURNS;
}

void baton_end(struct baton *baton)
{
	pthread_mutex_destroy(&baton->lock);
	condition_end(&baton->left);
}

bool baton_take(struct link *link)
{
	struct baton *baton = &link->reader.baton;
	bool taken;

	pthread_mutex_lock(&baton->lock);
	taken = !baton->taken && !baton->over;
	if (taken)
		baton->taken = true;
	pthread_mutex_unlock(&baton->lock);
	return taken;
}

/* The thread that stopped waiting last, or another one, is about to wait again. */
static bool is_expected(const struct baton *baton)
{
	return baton->returns >= baton->relied_from && baton->mode != STANDBY_WATCH && !baton->dependents;
}

/* A thread begins to wait. */
static void note_return(struct link *link)
{
	struct baton *baton = &link->reader.baton;

	if (atomic_load_explicit(&link->reader.woke, memory_order_relaxed) == WOKE_SOMEBODY)
		atomic_store_explicit(&link->reader.woke, WOKE_AND_BACK, memory_order_relaxed);
	if (clock_now() - baton->left_at > SOON_NS) {
		baton->returns = 0;
	} else if (++baton->returns >= baton->relied_from + RETURNS_PROVEN) {
		baton->returns = baton->relied_from;
		if (baton->relied_from > RETURNS)
			baton->relied_from /= 2;
	}
}

/*
 * Leaves the right free for the expected thread while others wait. If it does not come, a tick
 * gives the right to one of them. Returns false if the link's thread cannot be woken to set the
 * tick.
 */
static bool expect(struct link *link)
{
	struct baton *baton = &link->reader.baton;
	int64_t now = clock_now();

	if (baton->mode != STANDBY_TICK || baton->tick_at.ns - now > SHORT_TICK_NS) {
		bool told;

		set_tick(baton, now);
		pthread_mutex_lock(&link->writer.lock);
		write_nudge(link);
		told = link->thread.awake;
		pthread_mutex_unlock(&link->writer.lock);
		if (!told)
			return false;
	}
	baton->left_at = now;
	baton->taken = false;
	return true;
}

static void leave_right(struct link *link)
{
	struct baton *baton = &link->reader.baton;

	if (link->reader.over)
		baton->over = true;
	if (!baton->over && ((is_expected(baton) && !list_empty(&baton->waiters) && expect(link)) || pass_on(link)))
		return;
	baton->taken = false;
	if (baton->over)
		pthread_cond_signal(&baton->left);
	else if (baton->mode == STANDBY_REST || (baton->mode == STANDBY_TICK && baton->dependents))
		baton_watch(link);
}

void baton_leave(struct link *link)
{
	struct baton *baton = &link->reader.baton;

	pthread_mutex_lock(&baton->lock);
	leave_right(link);
	pthread_mutex_unlock(&baton->lock);
}

/* No thread leads although threads wait: the expected thread has not come. */
static void give_up_expecting(struct link *link)
{
	struct baton *baton = &link->reader.baton;

	baton->returns = 0;
	if (baton->relied_from < RETURNS_MOST)
		baton->relied_from *= 2;
	baton->taken = pass_on(link);
}

void baton_tick(struct link *link)
{
	struct baton *baton = &link->reader.baton;

	pthread_mutex_lock(&baton->lock);
	if (baton->mode == STANDBY_TICK && deadline_passed(baton->tick_at)) {
		int64_t now = clock_now();
		bool waited_for = !baton->taken && !baton->over && !list_empty(&baton->waiters);

		if (waited_for && now - baton->left_at > SOON_NS)
			give_up_expecting(link);
		if (waited_for || baton->led != baton->led_at_tick)
			set_tick(baton, now);
		else if (baton->taken || baton->over)
			baton->mode = STANDBY_REST;
		else
			baton_watch(link);
	}
	pthread_mutex_unlock(&baton->lock);
}

/* If no thread leads, the link's thread reads from now on. */
static void attend(struct link *link)
{
	struct baton *baton = &link->reader.baton;

	if (!baton->taken && !baton->over && baton->mode != STANDBY_WATCH)
		baton_watch(link);
}

void baton_attend(struct link *link)
{
	pthread_mutex_lock(&link->reader.baton.lock);
	attend(link);
	pthread_mutex_unlock(&link->reader.baton.lock);
}

void baton_depend(struct link *link)
{
	pthread_mutex_lock(&link->reader.baton.lock);
	link->reader.baton.dependents++;
	attend(link);
	pthread_mutex_unlock(&link->reader.baton.lock);
}

void baton_independ(struct link *link)
{
	pthread_mutex_lock(&link->reader.baton.lock);
	link->reader.baton.dependents--;
	pthread_mutex_unlock(&link->reader.baton.lock);
}

void baton_close(struct link *link)
{
	struct baton *baton = &link->reader.baton;

	pthread_mutex_lock(&baton->lock);
	baton->over = true;
	baton->mode = STANDBY_REST;
	baton_kick_for_good(link);
	while (baton->taken)
		condition_wait(&baton->left, &baton->lock, BEAM_FOREVER);
	pthread_mutex_unlock(&baton->lock);
}

/* ---- Leading --------------------------------------------------------------------------------- */

/*
 * The thread has been among the sleepers since before it looked for input. If there was no kick
 * then, what happened meanwhile could not kick it, so the caller has to look again.
 */
static void sleep_until(struct link *link, beam_deadline deadline)
{
	beam_deadline until = deadline_earlier(deadline, link->reader.stalled_until), idle = deadline_in(IDLE_NS);
	bool had_kick = atomic_load(&link->reader.kick) >= 0, can_be_idle;
	int fd = baton_kick(link), r;

	if (!had_kick && fd >= 0)
		return;
	/* On a link without a thread no other thread checks for silence. */
	until = deadline_earlier(until, standby_end_silence(link, true));
	if (fd < 0)
		until = deadline_earlier(until, deadline_in(KICKLESS_NS));
	can_be_idle = idle.ns < until.ns;
	r = transport_wait(&link->transport, POLLIN, fd, can_be_idle ? idle : until);

	if (r < 0 && can_be_idle) {
		read_trim(link);
		attachments_give_back(link);
		r = transport_wait(&link->transport, POLLIN, fd, until);
	}
	if (r == 0)
		baton_drain_kick(link);
}

/* Reads what is there, or waits until there may be something. */
static void look(struct link *link, beam_deadline deadline)
{
	if (deadline_passed(deadline) ? read_some(link) : poll_busily(link)) {
		/* The input may have to be answered. */
		pthread_mutex_lock(&link->writer.lock);
		write_pending(link);
		pthread_mutex_unlock(&link->writer.lock);
	} else if (!deadline_passed(deadline)) {
		sleep_until(link, deadline);
	}
}

/*
 * Called with the right and without locks, and returns in the same state. Returns 0,
 * deadline_error(), or STEP_DOWN: what arrived was for a thread that sleeps, and that thread should
 * perhaps read.
 */
static int baton_lead(struct link *link, pthread_mutex_t *lock, struct sleepers *sleepers, uint64_t seen,
		      beam_deadline deadline)
{
	struct waiter waiter = {.leading = true, .thread = pthread_self()};
	bool looked = false;
	int r = 0;

	pthread_mutex_lock(lock);
	while (!r && sleepers->changes == seen && !link->reader.over) {
		if (looked && deadline_passed(deadline)) {
			r = deadline_error(deadline);
			break;
		}
		list_append(&sleepers->list, &waiter.link);
		pthread_mutex_unlock(lock);
		atomic_store_explicit(&link->reader.woke, WOKE_NOBODY, memory_order_relaxed);
		look(link, deadline);
		looked = true;
		if (atomic_load_explicit(&link->reader.woke, memory_order_relaxed) != WOKE_NOBODY)
			r = STEP_DOWN;
		pthread_mutex_lock(lock);
		list_remove(&waiter.link);
	}
	if (sleepers->changes != seen || link->reader.over)
		r = 0;
	pthread_mutex_unlock(lock);
	return r;
}

/*
 * Sleeps until the thread is woken or given the right, or the deadline passes. The baton's lock is
 * held.
 */
static int sleep_among(struct baton *baton, struct waiter *waiter, struct sleepers *sleepers, uint64_t seen)
{
	int r = 0;

	waiter->woken = waiter->granted = waiter->passed_over = false;
	condition_init(&waiter->wake);
	pthread_mutex_lock(waiter->lock);
	pthread_mutex_unlock(&baton->lock);
	if (sleepers->changes == seen) {
		list_append(&sleepers->list, &waiter->link);
		while (!waiter->woken && !r)
			r = condition_wait(&waiter->wake, waiter->lock, waiter->deadline);
		list_remove(&waiter->link);
	}
	pthread_mutex_unlock(waiter->lock);
	pthread_mutex_lock(&baton->lock);
	list_remove(&waiter->of_baton);
	condition_end(&waiter->wake);
	return waiter->woken ? 0 : r;
}

/*
 * Makes way for a thread that the input has woken, and that is expected soon or is back already.
 * Returns false if the caller must continue to lead. The baton's lock is held.
 */
static bool step_down(struct link *link, struct waiter *waiter)
{
	struct baton *baton = &link->reader.baton;
	bool back = atomic_load_explicit(&link->reader.woke, memory_order_relaxed) == WOKE_AND_BACK;
	struct waiter *last = list_entry(baton->waiters.previous, struct waiter, of_baton);

	if (!is_expected(baton))
		return false;
	if (back && list_empty(&baton->waiters))
		return false;
	if (back && !give_right(link, last)) /* GCOVR_EXCL_BR_LINE: a race, it may just have been woken */
		return false;                /* GCOVR_EXCL_LINE: the same */
	list_append(&baton->waiters, &waiter->of_baton);
	if (back || expect(link))
		return true;
	list_remove(&waiter->of_baton);
	return false;
}

int baton_wait(struct link *link, pthread_mutex_t *lock, struct sleepers *sleepers, beam_deadline deadline)
{
	struct baton *baton = &link->reader.baton;
	struct waiter waiter = {.lock = lock, .deadline = deadline};
	uint64_t seen = sleepers->changes;
	int r = 0;

	pthread_mutex_unlock(lock);
	list_init(&waiter.link);
	pthread_mutex_lock(&baton->lock);
	note_return(link);
	waiter.granted = take_right(link);
	if (!waiter.granted && deadline_passed(deadline))
		r = deadline_error(deadline);
	while (!r) {
		if (waiter.granted) {
			pthread_mutex_unlock(&baton->lock);
			r = baton_lead(link, lock, sleepers, seen, deadline);
			pthread_mutex_lock(&baton->lock);
			if (r != STEP_DOWN) {
				leave_right(link);
				break;
			}
			r = 0;
			if (!step_down(link, &waiter))
				continue;
		} else {
			list_append(&baton->waiters, &waiter.of_baton);
		}
		r = sleep_among(baton, &waiter, sleepers, seen);
		if (!waiter.granted)
			break;
	}
	baton->left_at = clock_now();
	pthread_mutex_unlock(&baton->lock);
	pthread_mutex_lock(lock);
	return r;
}
