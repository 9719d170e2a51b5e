/* SPDX-License-Identifier: MIT */
/*
 * The reading right: who reads from the socket, for himself and for the others.
 *
 * Whoever waits for something takes the right if it lies free, and leads: reads until what he waits for has come, or his deadline has.
 * Then he passes it on to the waiter with the latest deadline. When nobody waits the channel's thread stands by:
 *
 *   WATCH  It watches for input, and reads. Only while nobody leads.
 *   REST   Somebody leads, and lets it watch again when he leaves.
 *   TICK   Somebody leads now and then, so often that letting it watch each time would cost too much. It looks every 10 ms whether
 *          anybody has led since: if nobody has, it watches; if the same one has all the time, it rests.
 *
 * So input is never left for more than two ticks, and only while no thread waits for anything on this channel; and there are no ticks
 * when nothing is going on.
 */
#include <base/sys.h>
#include <channel/internal.h>
#include <sched.h>

enum {
	TICK_NS = 10 * 1000 * 1000,
	/* So many take-overs from WATCH within a tick's time make it TICK. */
	OFTEN = 3,
	/* A yield that takes longer has let somebody else work: polling does not pay. */
	YIELD_MOST_NS = 100 * 1000,
	/* Polling that failed so many times running is given up but for trials, which grow rarer up to one in so many. */
	POLL_FAILS = 3,
	POLL_RAREST = 1024,
	/* So often running nothing is expected to be there at once, before that is looked at again. */
	POLL_PATIENT = 16,
	/* After so many times that polling was worth it, it is penalised half as much for the next yield that takes long. */
	POLL_WORTH = 256,
};

struct waiter {
	struct list link, of_baton;
	pthread_t thread;
	pthread_mutex_t *lock;
	pthread_cond_t wake;
	beam_deadline deadline;
	/* Reads instead of sleeping; has been woken; with the reading right; is on its way out. */
	bool leading, woken, granted, passed_over;
};

/* ---- Sleepers --------------------------------------------------------------------------------------------------------------- */

void sleepers_init(struct sleepers *sleepers)
{
	list_init(&sleepers->list);
	sleepers->changes = 0;
}

static void wake(struct waiter *waiter)
{
	list_remove(&waiter->link);
	waiter->woken = true;
	pthread_cond_signal(&waiter->wake);
}

void sleepers_wake(struct sleepers *sleepers, size_t n)
{
	struct list *next;

	sleepers->changes++;
	for (struct list *link = sleepers->list.next; n && link != &sleepers->list; link = next, n--) {
		struct waiter *waiter = list_entry(link, struct waiter, link);

		next = link->next;
		if (!waiter->leading)
			wake(waiter);
	}
}

void sleepers_wake_all(struct beam_channel *channel, struct sleepers *sleepers)
{
	struct list *next;

	sleepers->changes++;
	for (struct list *link = sleepers->list.next; link != &sleepers->list; link = next) {
		struct waiter *waiter = list_entry(link, struct waiter, link);

		next = link->next;
		if (!waiter->leading)
			wake(waiter);
		else if (!pthread_equal(waiter->thread, pthread_self()))
			event_set(channel->kick);
	}
}

void baton_kick_for_good(struct beam_channel *channel)
{
	atomic_store(&channel->kicked, true);
	event_set(channel->kick);
}

/* Someone wanted a leader to look at what it waits for. A kick for good stays. */
static void drain_kick(struct beam_channel *channel)
{
	uint64_t count;

	if (atomic_load(&channel->kicked) || sys_read(channel->kick, &count, sizeof count) < 0)
		return;
	if (atomic_load(&channel->kicked))
		event_set(channel->kick);
}

/* ---- The right; its lock is held ------------------------------------------------------------------------------------------------ */

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
	baton->tick_at = now + TICK_NS;
	baton->led_at_tick = baton->led;
	baton->counted = 0;
}

/* What the channel's thread watches for changes with the mode. 0 or -errno. */
static int arm(struct beam_channel *channel, bool armed)
{
	int r;

	pthread_mutex_lock(&channel->tx_lock);
	channel->armed = armed;
	r = standby_watch(channel);
	if (channel->baton.mode == STANDBY_TICK)
		write_nudge(channel);
	pthread_mutex_unlock(&channel->tx_lock);
	return r;
}

static void watch(struct beam_channel *channel)
{
	channel->baton.mode = STANDBY_WATCH;
	if (arm(channel, true) == 0)
		return;
	/* Without memory for the watch: once more after a tick. */
	set_tick(&channel->baton, clock_now());
	arm(channel, false);
}

/* From WATCH, because somebody leads from now on. If the watch could not be ended the channel's thread is woken for nothing. */
static void stop_watching(struct beam_channel *channel)
{
	struct baton *baton = &channel->baton;
	int64_t now = clock_now();

	if (takes_often(baton, now))
		set_tick(baton, now);
	else
		baton->mode = STANDBY_REST;
	arm(channel, false);
}

static bool take(struct beam_channel *channel)
{
	struct baton *baton = &channel->baton;

	if (baton->taken || baton->over || channel->options.dedicated_reader)
		return false;
	baton->taken = true;
	baton->led++;
	if (baton->mode == STANDBY_WATCH)
		stop_watching(channel);
	return true;
}

/* Gives the right to the waiter with the latest deadline who still sleeps. */
static bool pass_on(struct beam_channel *channel)
{
	struct baton *baton = &channel->baton;
	struct waiter *best;

	if (channel->options.dedicated_reader)
		return false;
	do {
		best = NULL;
		for (struct list *link = baton->waiters.next; link != &baton->waiters; link = link->next) {
			struct waiter *waiter = list_entry(link, struct waiter, of_baton);

			if (!waiter->passed_over && (!best || waiter->deadline > best->deadline))
				best = waiter;
		}
		if (!best)
			return false;
		pthread_mutex_lock(best->lock);
		best->passed_over = true;
		if (!best->woken) {
			best->granted = true;
			wake(best);
		}
		pthread_mutex_unlock(best->lock);
	} while (!best->granted);
	baton->led++;
	if (baton->mode == STANDBY_WATCH)
		stop_watching(channel);
	return true;
}

/* ---- For the channel's thread --------------------------------------------------------------------------------------------------- */

void baton_init(struct baton *baton)
{
	pthread_mutex_init(&baton->lock, NULL);
	condition_init(&baton->left);
	list_init(&baton->waiters);
	baton->mode = STANDBY_WATCH;
}

void baton_end(struct baton *baton)
{
	pthread_mutex_destroy(&baton->lock);
	condition_end(&baton->left);
}

bool baton_take(struct beam_channel *channel)
{
	struct baton *baton = &channel->baton;
	bool taken;

	pthread_mutex_lock(&baton->lock);
	taken = !baton->taken && !baton->over;
	if (taken)
		baton->taken = true;
	pthread_mutex_unlock(&baton->lock);
	return taken;
}

void baton_leave(struct beam_channel *channel)
{
	struct baton *baton = &channel->baton;

	pthread_mutex_lock(&baton->lock);
	if (channel->read_over)
		baton->over = true;
	if (baton->over || !pass_on(channel)) {
		baton->taken = false;
		if (baton->over)
			pthread_cond_signal(&baton->left);
		else if (baton->mode == STANDBY_REST || (baton->mode == STANDBY_TICK && baton->dependents))
			watch(channel);
	}
	pthread_mutex_unlock(&baton->lock);
}

void baton_tick(struct beam_channel *channel)
{
	struct baton *baton = &channel->baton;

	pthread_mutex_lock(&baton->lock);
	if (baton->mode == STANDBY_TICK && deadline_passed(baton->tick_at)) {
		if (baton->led != baton->led_at_tick)
			set_tick(baton, clock_now());
		else if (baton->taken)
			baton->mode = STANDBY_REST;
		else if (!baton->over)
			watch(channel);
	}
	pthread_mutex_unlock(&baton->lock);
}

void baton_attend(struct beam_channel *channel)
{
	struct baton *baton = &channel->baton;

	pthread_mutex_lock(&baton->lock);
	if (!baton->taken && !baton->over && baton->mode != STANDBY_WATCH)
		watch(channel);
	pthread_mutex_unlock(&baton->lock);
}

void baton_close(struct beam_channel *channel)
{
	struct baton *baton = &channel->baton;

	pthread_mutex_lock(&baton->lock);
	baton->over = true;
	baton->mode = STANDBY_REST;
	baton_kick_for_good(channel);
	while (baton->taken)
		condition_wait(&baton->left, &baton->lock, BEAM_FOREVER);
	pthread_mutex_unlock(&baton->lock);
}

/* ---- Leading ---------------------------------------------------------------------------------------------------------------------- */

/* Lets others run. False if that took so long that somebody else has worked meanwhile: polling does not pay then. */
static bool yield_shortly(int64_t *now)
{
	int64_t before = *now;

	sched_yield();
	*now = clock_now();
	return *now - before < YIELD_MOST_NS;
}

/* How many waits go without, until polling is tried again. */
static void rarer(struct busy_poll *poll, unsigned *interval)
{
	if (*interval < POLL_RAREST)
		*interval = *interval ? *interval * 2 : 1;
	poll->skip = *interval;
}

static void poll_failed(struct busy_poll *poll)
{
	poll->patient = 0;
	if (poll->fails < POLL_FAILS)
		poll->fails++;
	rarer(poll, &poll->interval);
}

/* Something came, but only after somebody else had worked. Once may be chance; those who share the core with us do it again. */
static void poll_was_captured(struct busy_poll *poll)
{
	poll->patient = poll->worth = 0;
	poll->fails = POLL_FAILS;
	rarer(poll, &poll->penalty);
}

static void poll_paid(struct busy_poll *poll, bool at_once)
{
	poll->fails = poll->interval = 0;
	poll->patient = at_once ? 0 : poll->patient ? poll->patient - 1 : POLL_PATIENT;
	if (++poll->worth == POLL_WORTH) {
		poll->worth = 0;
		poll->penalty /= 2;
	}
}

/* Looks again and again for a little longer than it takes to be woken, and lets others run meanwhile. True: something came. */
static bool poll_busily(struct beam_channel *channel)
{
	struct busy_poll *poll = &channel->busy_poll;
	int64_t budget = (int64_t)channel->options.busy_poll_us * 1000, begun, now;
	bool came, at_once = !poll->patient, shortly = true;

	if (!budget)
		return read_some(channel);
	if (poll->fails >= POLL_FAILS && poll->skip) {
		poll->skip--;
		return read_some(channel);
	}
	now = begun = clock_now();
	/* What had to be waited for lately is not there at once this time. */
	if (poll->patient)
		shortly = yield_shortly(&now);
	while (!(came = read_some(channel)) && shortly && now - begun < budget) {
		at_once = false;
		shortly = yield_shortly(&now);
	}
	if (!shortly)
		poll_was_captured(poll);
	else if (came)
		poll_paid(poll, at_once);
	else
		poll_failed(poll);
	return came;
}

static void sleep_until(struct beam_channel *channel, beam_deadline deadline)
{
	beam_deadline until = deadline_earlier(deadline, channel->stalled_until), idle = clock_now() + IDLE_NS;
	bool can_be_idle = idle < until;
	int r = channel->transport.methods->wait(&channel->transport, POLLIN, channel->kick, can_be_idle ? idle : until);

	if (r < 0 && can_be_idle) {
		read_trim(channel);
		r = channel->transport.methods->wait(&channel->transport, POLLIN, channel->kick, until);
	}
	if (r == 0)
		drain_kick(channel);
}

/* Reads what there is, or waits until there may be something. */
static void look(struct beam_channel *channel, beam_deadline deadline)
{
	if (deadline_passed(deadline) ? read_some(channel) : poll_busily(channel)) {
		/* What came may be to be answered. */
		pthread_mutex_lock(&channel->tx_lock);
		write_pending(channel);
		pthread_mutex_unlock(&channel->tx_lock);
	} else if (!deadline_passed(deadline)) {
		sleep_until(channel, deadline);
	}
}

/* The right is this thread's, and no lock. Returns with the lock held. */
static int lead(struct beam_channel *channel, pthread_mutex_t *lock, struct sleepers *sleepers, uint64_t seen,
		beam_deadline deadline)
{
	struct waiter waiter = {.leading = true, .thread = pthread_self()};
	bool looked = false;
	int r = 0;

	pthread_mutex_lock(lock);
	while (sleepers->changes == seen && !channel->read_over) {
		if (looked && deadline_passed(deadline)) {
			r = deadline_error(deadline);
			break;
		}
		list_append(&sleepers->list, &waiter.link);
		pthread_mutex_unlock(lock);
		look(channel, deadline);
		looked = true;
		pthread_mutex_lock(lock);
		list_remove(&waiter.link);
	}
	pthread_mutex_unlock(lock);
	baton_leave(channel);
	pthread_mutex_lock(lock);
	return r;
}

int baton_wait(struct beam_channel *channel, pthread_mutex_t *lock, struct sleepers *sleepers, beam_deadline deadline)
{
	struct baton *baton = &channel->baton;
	struct waiter waiter = {.thread = pthread_self(), .lock = lock, .deadline = deadline};
	uint64_t seen = sleepers->changes;
	int r = 0;

	pthread_mutex_unlock(lock);
	pthread_mutex_lock(&baton->lock);
	if (take(channel)) {
		pthread_mutex_unlock(&baton->lock);
		return lead(channel, lock, sleepers, seen, deadline);
	}
	if (deadline_passed(deadline)) {
		pthread_mutex_unlock(&baton->lock);
		pthread_mutex_lock(lock);
		return deadline_error(deadline);
	}
	list_init(&waiter.link);
	list_append(&baton->waiters, &waiter.of_baton);
	condition_init(&waiter.wake);
	pthread_mutex_lock(lock);
	pthread_mutex_unlock(&baton->lock);
	if (sleepers->changes == seen) {
		list_append(&sleepers->list, &waiter.link);
		while (!waiter.woken && !r)
			r = deadline_passed(deadline) ? deadline_error(deadline) : condition_wait(&waiter.wake, lock, deadline);
		list_remove(&waiter.link);
	}
	pthread_mutex_unlock(lock);
	pthread_mutex_lock(&baton->lock);
	list_remove(&waiter.of_baton);
	pthread_mutex_unlock(&baton->lock);
	condition_end(&waiter.wake);
	if (waiter.granted)
		return lead(channel, lock, sleepers, seen, deadline);
	pthread_mutex_lock(lock);
	return waiter.woken ? 0 : r;
}
