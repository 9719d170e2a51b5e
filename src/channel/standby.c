/* SPDX-License-Identifier: MIT */
/*
 * The channel's thread. It reads; it writes what was left because the socket was full, or because a writer may not be kept by the
 * traffic of others; it sees to what happens by time: frames that take too long, tries again, the end of lingering.
 *
 * Reading is bounded between two looks at what is to be written, and writing to one batch between two reads: neither waits for the other.
 */
#include <base/sys.h>
#include <channel/internal.h>
#include <channel/tuning.h>
#include <sched.h>
#include <wire/breach.h>

enum { EVENTS = 2 };

/* ---- Writing ----------------------------------------------------------------------------------------------------------- */

/* One batch, if nobody else writes. */
static void standby_write_some(struct beam_channel *channel)
{
	pthread_mutex_lock(&channel->tx_lock);
	write_try_again(channel);
	attachments_lend_again(channel);
	if (deadline_never(channel->retry_at) || !channel->tx.batch.active)
		write_pending(channel);
	pthread_mutex_unlock(&channel->tx_lock);
}

/* In a burst the thread looks for more until nothing has come for a while; it lets the senders run meanwhile. */
static void follow_burst(struct beam_channel *channel)
{
	bool dry;
	int64_t now;

	pthread_mutex_lock(&channel->tx_lock);
	dry = channel->burst && !tx_pending(&channel->tx);
	if (!dry) {
		channel->dry_since = 0;
	} else {
		now = clock_now();
		if (!channel->dry_since)
			channel->dry_since = now;
		if (now - channel->dry_since > BURST_OVER_NS || channel->send_error) {
			channel->burst = false;
			channel->in_a_row = 0;
			channel->dry_since = 0;
		}
	}
	pthread_mutex_unlock(&channel->tx_lock);
	if (dry)
		sched_yield();
}

/* ---- The end ------------------------------------------------------------------------------------------------------------- */

/* True when nothing is left to do but to let go. The tx_lock is held. */
static bool is_over(const struct beam_channel *channel)
{
	return deadline_passed(channel->linger_until) || (channel->read_over && (channel->broken || write_over(channel)));
}

static void forget_topics(struct beam_channel *channel)
{
	struct rx *rx = &channel->rx;
	struct tx *tx = &channel->tx;
	struct list *link;

	for (uint32_t id = 1; id <= rx->capacity_inlets; id++) {
		struct inbox *inbox = rx->inlets[id] ? rx->inlets[id]->owner : NULL;

		if (inbox) {
			rx->inlets[id]->owner = NULL;
			topic_memory_unref(list_entry(inbox, struct beam_topic, inbox));
		}
	}
	pthread_mutex_lock(&channel->tx_lock);
	for (uint32_t id = 1; id <= tx->capacity_outlets; id++) {
		if (tx->outlets[id]) {
			struct outlet *outlet = tx->outlets[id];

			tx->outlets[id] = NULL;
			list_remove(&outlet->due);
			outlet->close_wanted = true;
			tx->events->released(tx->owner, outlet);
		}
	}
	while ((link = list_take_first(&tx->unnamed))) {
		struct outlet *outlet = list_entry(link, struct outlet, unnamed);

		outlet->close_wanted = true;
		tx->events->released(tx->owner, outlet);
	}
	pthread_mutex_unlock(&channel->tx_lock);
}

void standby_finish(struct beam_channel *channel)
{
	/* A loop that still has the descriptor may be waiting for it. */
	bool kept;

	pthread_mutex_lock(&channel->lock);
	kept = channel->options.loop && channel->handles;
	pthread_mutex_unlock(&channel->lock);
	baton_close(channel);
	channel_end_reading(channel, channel->reset_seen ? -ECONNRESET : 0);
	pthread_mutex_lock(&channel->tx_lock);
	/* Writing is broken already, or there is no time left, which was set when the channel was closed: then nothing more is accepted. */
	if (!write_over(channel))
		write_break(channel, channel->send_error);
	/* Whoever writes now leaves: the socket goes nowhere any more. */
	transport_shutdown(&channel->transport);
	while (channel->writing) {
		if (write_wait(channel, false, BEAM_FOREVER) == 1)
			break;
	}
	channel->writing = true;
	channel->finished = true;
	write_wake_all(channel);
	attachments_end(channel);
	if (!kept)
		process_finished(channel);
	close_fd(channel->epoll);
	close_fd(channel->nudge);
	close_fd(channel->kick);
	pthread_mutex_unlock(&channel->tx_lock);
	if (!kept)
		transport_release(&channel->transport);
	forget_topics(channel);
	rx_finish(&channel->rx);
	calls_forget(channel);
	if (channel->hook.ended)
		channel->hook.ended(channel->hook.argument);
}

/* ---- The loop ------------------------------------------------------------------------------------------------------------- */

int standby_watch(struct beam_channel *channel)
{
	uint32_t events = 0;

	/* Though it need not read, it is to hear once that the other side has closed: perhaps nobody leads. */
	if (!channel->read_over)
		events = channel->armed ? EPOLLIN : channel->hung_up ? 0 : EPOLLRDHUP | EPOLLONESHOT;
	if (write_wants_room(channel))
		events |= EPOLLOUT;
	return transport_watch(&channel->transport, events);
}

/* Something is to be written by this thread, or may be soon. The tx_lock is held. */
static bool has_to_write(const struct beam_channel *channel)
{
	if (channel->broken || channel->full || channel->writing)
		return false;
	/* What failed for a while is not tried again before its time. */
	if (!deadline_never(channel->retry_at) && channel->tx.batch.active)
		return false;
	return channel->burst || tx_pending(&channel->tx);
}

/* When something is to be done because nothing has come: the other side is asked, or given up. The tx_lock is held. */
static beam_deadline silence_until(const struct beam_channel *channel)
{
	int64_t half = (int64_t)channel->options.idle_timeout_ms * 500000, heard;

	if (!half || channel->read_over)
		return BEAM_FOREVER;
	heard = atomic_load_explicit(&channel->heard_at, memory_order_relaxed);
	return BEAM_DEADLINE(half + (channel->asked_since == heard ? channel->asked_at : heard));
}

/* True if it has died. */
static bool ask_or_give_up(struct beam_channel *channel)
{
	int64_t heard = atomic_load_explicit(&channel->heard_at, memory_order_relaxed);

	if (channel->asked_since == heard)
		return true;
	channel->asked_since = heard;
	channel->asked_at = clock_now();
	channel->tx.ping_due = channel->tx.peer_features & FEATURE_ANSWERS;
	write_pending(channel);
	return false;
}

beam_deadline standby_end_silence(struct beam_channel *channel, bool reads)
{
	beam_deadline until;
	bool dead = false;

	if (!channel->options.idle_timeout_ms)
		return BEAM_FOREVER;
	pthread_mutex_lock(&channel->tx_lock);
	if (deadline_passed(silence_until(channel)))
		dead = ask_or_give_up(channel);
	until = silence_until(channel);
	pthread_mutex_unlock(&channel->tx_lock);
	if (dead && reads) {
		read_fail(channel, -ECONNRESET, NULL);
	} else if (dead && baton_take(channel)) { /* GCOVR_EXCL_BR_LINE: a race, whoever leads finds it dead, too */
		read_fail(channel, -ECONNRESET, NULL);
		baton_leave(channel);
	}
	return until;
}

struct rest standby_look(struct beam_channel *channel, bool sleeps)
{
	struct baton *baton = &channel->baton;
	struct rest rest;
	bool has_to;

	/* Both locks, so that no nudge is lost between. */
	pthread_mutex_lock(&baton->lock);
	rest.stalled = baton->taken ? BEAM_FOREVER : channel->stalled_until;
	rest.until = deadline_earlier(rest.stalled, baton->mode == STANDBY_TICK ? baton->tick_at : BEAM_FOREVER);
	pthread_mutex_lock(&channel->tx_lock);
	rest.until = deadline_earlier(rest.until, deadline_earlier(channel->retry_at, channel->linger_until));
	rest.until = deadline_earlier(rest.until, deadline_earlier(channel->idle_at, channel->lend_at));
	rest.until = deadline_earlier(rest.until, silence_until(channel));
	rest.over = is_over(channel);
	has_to = has_to_write(channel);
	if (sleeps)
		channel->awake = has_to;
	if (has_to || rest.over ||
	    (deadline_never(channel->idle_at) &&
	     atomic_load_explicit(&channel->activity, memory_order_relaxed) != ACTIVITY_NONE))
		rest.until = BEAM_NOWAIT;
	pthread_mutex_unlock(&channel->tx_lock);
	pthread_mutex_unlock(&baton->lock);
	return rest;
}

/* The socket is ready. True if there may be input. */
static bool socket_ready(struct beam_channel *channel, uint32_t events)
{
	pthread_mutex_lock(&channel->tx_lock);
	transport_fired(&channel->transport);
	channel->hung_up = channel->hung_up || (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
	if (events & ~(uint32_t)(EPOLLIN | EPOLLRDHUP))
		channel->full = false; /* it has room again */
	rooms_show(channel);
	pthread_mutex_unlock(&channel->tx_lock);
	return events & ~(uint32_t)EPOLLOUT;
}

/* Others may ask when the next turn is due. */
static void set_idle_at(struct beam_channel *channel, beam_deadline idle_at)
{
	if (channel->idle_at.ns == idle_at.ns)
		return;
	pthread_mutex_lock(&channel->tx_lock);
	channel->idle_at = idle_at;
	pthread_mutex_unlock(&channel->tx_lock);
}

/* From the first input on it looks every now and then, until nothing has come since the last look. Who leads for long lets go himself. */
static void trim_when_idle(struct beam_channel *channel)
{
	unsigned activity = atomic_load_explicit(&channel->activity, memory_order_relaxed);

	if (!deadline_never(channel->idle_at) && !deadline_passed(channel->idle_at))
		return;
	if (!deadline_never(channel->idle_at) && activity == ACTIVITY_PAST && baton_take(channel)) {
		read_trim(channel);
		baton_leave(channel);
		attachments_give_back(channel);
		activity = ACTIVITY_NONE;
	}
	if (activity == ACTIVITY_NOW)
		atomic_compare_exchange_strong(&channel->activity, &(unsigned){ACTIVITY_NOW}, ACTIVITY_PAST);
	set_idle_at(channel, activity == ACTIVITY_NONE ? BEAM_FOREVER : deadline_in(IDLE_NS));
}

void standby_work(struct beam_channel *channel, bool input, beam_deadline stalled)
{
	baton_tick(channel);
	if ((input || deadline_passed(stalled)) && baton_take(channel)) {
		read_some(channel);
		baton_leave(channel);
	}
	trim_when_idle(channel);
	standby_end_silence(channel, false);
	standby_write_some(channel);
	follow_burst(channel);
}

/* Waits until there is something to do, and does it. False: it is over. */
static bool standby_turn(struct beam_channel *channel)
{
	struct epoll_event events[EVENTS];
	struct rest rest;
	bool input = false;
	int n;

	/* It fails only for want of memory, and then the old watch stands: too much is watched, never too little for input. */
	pthread_mutex_lock(&channel->tx_lock);
	standby_watch(channel);
	pthread_mutex_unlock(&channel->tx_lock);
	rest = standby_look(channel, true);
	if (rest.over)
		return false;
	n = sys_epoll_wait(channel->epoll, events, EVENTS, beam_deadline_poll_ms(rest.until));
	for (int i = 0; i < n; i++) {
		uint64_t count;

		if (events[i].data.fd != channel->nudge)
			input = socket_ready(channel, events[i].events);
		else if (sys_read(channel->nudge, &count, sizeof count) < 0)
			continue;
	}
	standby_work(channel, input, rest.stalled);
	return true;
}

void standby_run(void *argument)
{
	struct beam_channel *channel = argument;

	while (standby_turn(channel))
		;
	standby_finish(channel);
	channel_memory_unref(channel);
}
