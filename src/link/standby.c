/* SPDX-License-Identifier: MIT */
/*
 * The link's thread. It reads. It writes what other threads have left unwritten, because the socket
 * was full, or because a writer must not be held up by the traffic of others. It handles what
 * depends on time: frames that take too long, retries, the end of lingering.
 *
 * Between two checks of what is to be written it reads a bounded amount, and between two reads it
 * writes one batch. So neither waits for the other.
 */
#include <base/sys.h>
#include <link/burst.h>
#include <link/tuning.h>

enum { EVENTS = 2 };

/* ---- Writing --------------------------------------------------------------------------------- */

/* Writes one batch, if no other thread writes. */
static void standby_write_some(struct link *link)
{
	pthread_mutex_lock(&link->writer.lock);
	write_try_again(link);
	attachments_lend_again(link);
	if (deadline_never(link->writer.retry_at) || !link->writer.tx.batch.active)
		write_pending(link);
	pthread_mutex_unlock(&link->writer.lock);
}

/* ---- The end --------------------------------------------------------------------------------- */

/* True when nothing is left to be done. The writer's lock is held. */
static bool is_over(const struct link *link)
{
	return deadline_passed(link->writer.linger_until) ||
	       (link->reader.over && (link->writer.broken || write_over(link)));
}

void standby_finish(struct link *link, bool keeps)
{
	baton_close(link);
	link->events->reading_ended(link->owner, link->reader.reset_seen ? -ECONNRESET : 0);
	pthread_mutex_lock(&link->writer.lock);
	/*
	 * Either writing is broken already, or the linger time is over, which begins when the link
	 * is closed. In both cases no more messages are accepted, and `send_error` says why.
	 */
	if (!write_over(link))
		write_break(link, link->writer.send_error);
	/* A thread that writes now gives up, because the socket is shut down. */
	transport_shutdown(&link->transport);
	while (link->writer.taken) {
		if (write_wait(link, false, BEAM_FOREVER) == 1)
			break;
	}
	link->writer.taken = true;
	link->writer.finished = true;
	write_wake_all(link);
	attachments_end(link);
	if (!keeps)
		process_finished(link);
	close_fd(link->thread.epoll);
	close_fd(link->thread.nudge);
	close_fd(link->reader.kick);
	pthread_mutex_unlock(&link->writer.lock);
	if (!keeps)
		transport_release(&link->transport);
	link->events->finished(link->owner);
}

/* ---- The loop -------------------------------------------------------------------------------- */

int standby_watch(struct link *link)
{
	uint32_t events = 0;

	/*
	 * Even if it need not read, the thread must learn once that the peer has closed, because
	 * perhaps no thread leads.
	 */
	if (!link->reader.over)
		events = link->thread.armed ? EPOLLIN : link->thread.hung_up ? 0 : EPOLLRDHUP | EPOLLONESHOT;
	if (write_wants_room(link))
		events |= EPOLLOUT;
	return transport_watch(&link->transport, events);
}

/* Something is to be written by this thread, or may be soon. The writer's lock is held. */
static bool has_to_write(const struct link *link)
{
	if (link->writer.broken || link->writer.full || link->writer.taken)
		return false;
	/* What failed for a temporary reason is not tried again before its time. */
	if (!deadline_never(link->writer.retry_at) && link->writer.tx.batch.active)
		return false;
	return link->writer.burst || tx_pending(&link->writer.tx);
}

/*
 * Returns when something is to be done because nothing has arrived: the peer is asked whether it is
 * alive, or given up. The writer's lock is held.
 */
static beam_deadline silence_until(const struct link *link)
{
	int64_t half = (int64_t)link->options.idle_timeout_ms * 500000, heard;

	if (!half || link->reader.over)
		return BEAM_FOREVER;
	heard = atomic_load_explicit(&link->reader.heard_at, memory_order_relaxed);
	return BEAM_DEADLINE(half + (link->thread.asked_since == heard ? link->thread.asked_at : heard));
}

/* Returns true if the peer is dead: it has been asked, and nothing has arrived since. */
static bool ask_or_give_up(struct link *link)
{
	int64_t heard = atomic_load_explicit(&link->reader.heard_at, memory_order_relaxed);

	if (link->thread.asked_since == heard)
		return true;
	link->thread.asked_since = heard;
	link->thread.asked_at = clock_now();
	link->writer.tx.ping_due = link->writer.tx.peer_features & FEATURE_ANSWERS;
	write_pending(link);
	return false;
}

beam_deadline standby_end_silence(struct link *link, bool reads)
{
	beam_deadline until;
	bool dead = false;

	if (!link->options.idle_timeout_ms)
		return BEAM_FOREVER;
	pthread_mutex_lock(&link->writer.lock);
	if (deadline_passed(silence_until(link)))
		dead = ask_or_give_up(link);
	until = silence_until(link);
	pthread_mutex_unlock(&link->writer.lock);
	if (dead && reads) {
		read_fail(link, -ECONNRESET, NULL);
	} else if (dead && baton_take(link)) { /* GCOVR_EXCL_BR_LINE: a race, whoever leads finds it dead, too */
		read_fail(link, -ECONNRESET, NULL);
		baton_leave(link);
	}
	return until;
}

struct rest standby_look(struct link *link, bool sleeps)
{
	struct baton *baton = &link->reader.baton;
	struct rest rest;
	bool has_to;

	/* Both locks are held, so that no nudge is lost in between. */
	pthread_mutex_lock(&baton->lock);
	rest.stalled = baton->taken ? BEAM_FOREVER : link->reader.stalled_until;
	rest.until = deadline_earlier(rest.stalled, baton->mode == STANDBY_TICK ? baton->tick_at : BEAM_FOREVER);
	pthread_mutex_lock(&link->writer.lock);
	rest.until = deadline_earlier(rest.until, deadline_earlier(link->writer.retry_at, link->writer.linger_until));
	rest.until = deadline_earlier(rest.until, deadline_earlier(link->thread.idle_at, link->attachments.lend_at));
	rest.until = deadline_earlier(rest.until, silence_until(link));
	rest.over = is_over(link);
	has_to = has_to_write(link);
	if (sleeps)
		link->thread.awake = has_to;
	if (has_to || rest.over ||
	    (deadline_never(link->thread.idle_at) &&
	     atomic_load_explicit(&link->reader.activity, memory_order_relaxed) != ACTIVITY_NONE))
		rest.until = BEAM_NOWAIT;
	pthread_mutex_unlock(&link->writer.lock);
	pthread_mutex_unlock(&baton->lock);
	return rest;
}

/* The socket is ready. Returns true if there may be input. */
static bool socket_ready(struct link *link, uint32_t events)
{
	pthread_mutex_lock(&link->writer.lock);
	transport_fired(&link->transport);
	link->thread.hung_up = link->thread.hung_up || (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
	if (events & ~(uint32_t)(EPOLLIN | EPOLLRDHUP))
		link->writer.full = false; /* it has room again */
	write_tell_change(link);
	pthread_mutex_unlock(&link->writer.lock);
	return events & ~(uint32_t)EPOLLOUT;
}

/* The lock is taken because other threads may ask when the next turn is due. */
static void set_idle_at(struct link *link, beam_deadline idle_at)
{
	if (link->thread.idle_at.ns == idle_at.ns)
		return;
	pthread_mutex_lock(&link->writer.lock);
	link->thread.idle_at = idle_at;
	pthread_mutex_unlock(&link->writer.lock);
}

/*
 * From the first input on the thread checks at intervals whether anything has arrived since the
 * last check. If nothing has, it releases memory. A thread that leads for long does that itself.
 */
static void trim_when_idle(struct link *link)
{
	unsigned activity = atomic_load_explicit(&link->reader.activity, memory_order_relaxed);

	if (!deadline_never(link->thread.idle_at) && !deadline_passed(link->thread.idle_at))
		return;
	if (!deadline_never(link->thread.idle_at) && activity == ACTIVITY_PAST && baton_take(link)) {
		read_trim(link);
		baton_leave(link);
		attachments_give_back(link);
		activity = ACTIVITY_NONE;
	}
	if (activity == ACTIVITY_NOW)
		atomic_compare_exchange_strong(&link->reader.activity, &(unsigned){ACTIVITY_NOW}, ACTIVITY_PAST);
	set_idle_at(link, activity == ACTIVITY_NONE ? BEAM_FOREVER : deadline_in(IDLE_NS));
}

void standby_work(struct link *link, bool input, beam_deadline stalled)
{
	baton_tick(link);
	if ((input || deadline_passed(stalled)) && baton_take(link)) {
		read_some(link);
		baton_leave(link);
	}
	trim_when_idle(link);
	standby_end_silence(link, false);
	standby_write_some(link);
	burst_follow(link);
}

/* Waits until there is something to do, and does it. Returns false if the link is over. */
static bool standby_turn(struct link *link)
{
	struct epoll_event events[EVENTS];
	struct rest rest;
	bool input = false;
	int n;

	/*
	 * This fails only if there is no memory. Then the old watch remains. It may watch for too
	 * much, but never for too little input.
	 */
	pthread_mutex_lock(&link->writer.lock);
	standby_watch(link);
	pthread_mutex_unlock(&link->writer.lock);
	rest = standby_look(link, true);
	if (rest.over)
		return false;
	n = sys_epoll_wait(link->thread.epoll, events, EVENTS, beam_deadline_poll_ms(rest.until));
	for (int i = 0; i < n; i++) {
		uint64_t count;

		if (events[i].data.fd != link->thread.nudge)
			input = socket_ready(link, events[i].events);
		else if (sys_read(link->thread.nudge, &count, sizeof count) < 0)
			continue;
	}
	standby_work(link, input, rest.stalled);
	return true;
}

void standby_run(void *argument)
{
	struct link *link = argument;

	while (standby_turn(link))
		;
	standby_finish(link, false);
	link->events->unref(link->owner, 1);
}
