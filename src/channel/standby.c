/* SPDX-License-Identifier: MIT */
/*
 * The channel's thread. It reads; it writes what was left because the socket was full, or because a writer may not be kept by the
 * traffic of others; it sees to what happens by time: frames that take too long, tries again, the end of lingering.
 *
 * Reading is bounded between two looks at what is to be written, and writing to one batch between two reads: neither waits for the other.
 */
#include <base/sys.h>
#include <channel/internal.h>
#include <sched.h>
#include <socket/reaper.h>
#include <wire/breach.h>

enum { READ_MOST = 256 << 10, EVENTS = 2, BURST_OVER_NS = 50 * 1000 };

static void fail(struct beam_channel *channel, int error, const char *breach)
{
	if (breach) {
		pthread_mutex_lock(&channel->lock);
		channel->breach = breach;
		pthread_mutex_unlock(&channel->lock);
	}
	/* Whoever hears of the end from a receive must not be told by a send that all is well. */
	pthread_mutex_lock(&channel->tx_lock);
	channel->read_over = true;
	write_break(channel, error);
	write_wake_all(channel);
	pthread_mutex_unlock(&channel->tx_lock);
	channel_end_reading(channel, error);
}

/* ---- Reading ----------------------------------------------------------------------------------------------------------- */

/* One read. What came, 0 at the end, or -errno. */
static ssize_t read_once(struct beam_channel *channel)
{
	struct rx *rx = &channel->rx;
	struct iovec iov[RX_IOV];
	struct fd_group group;
	struct rx_group given;
	int n_iov = rx_offer(rx, iov);
	ssize_t n;

	if (n_iov < 0) {
		fail(channel, n_iov, NULL);
		return n_iov;
	}
	n = channel->transport.methods->read(&channel->transport, iov, (size_t)n_iov, &group);
	if (n <= 0) {
		reaper_close(group.fds, (size_t)group.n);
		return n;
	}
	given = (struct rx_group){.n = (size_t)group.n, .fds = group.fds, .loss = group.truncated ? socket_loss_reason() : 0};
	if (rx_took(rx, (size_t)n, &given) < 0) {
		fail(channel, rx->error, rx->breach);
		return rx->error;
	}
	return n;
}

/* Reads what there is, up to a bound. */
static void read_some(struct beam_channel *channel)
{
	size_t total = 0;
	ssize_t n = 1;

	while (!channel->read_over && n > 0 && total < READ_MOST) {
		n = read_once(channel);
		/* A peer that closes with something unread gives this error once; what it sent before may still be there. */
		if (n == -ECONNRESET && !channel->reset_seen) {
			channel->reset_seen = true;
			n = 1;
			continue;
		}
		if (n > 0)
			total += (size_t)n;
	}
	if (channel->read_over || n > 0)
		return;
	if (n == -EAGAIN) {
		/* The clock of a frame starts when there is no more of it, not while we are busy or stopped. */
		if (!rx_unfinished(&channel->rx)) {
			channel->stalled_until = BEAM_FOREVER;
			channel->stalled_frame = 0;
		} else if (channel->stalled_frame != rx_frame_number(&channel->rx)) {
			channel->stalled_frame = rx_frame_number(&channel->rx);
			channel->stalled_until =
			    channel->options.frame_timeout_ms ? beam_in_ms(channel->options.frame_timeout_ms) : BEAM_FOREVER;
		} else if (deadline_passed(channel->stalled_until)) {
			fail(channel, -EPROTO, BREACH_TIMEOUT);
		}
		return;
	}
	fail(channel, n == -ENOMEM || n == -ENOBUFS ? -ENOMEM : -ECONNRESET, NULL);
}

/* ---- Writing ----------------------------------------------------------------------------------------------------------- */

/* One batch, if nobody else writes. */
static void write_some(struct beam_channel *channel)
{
	pthread_mutex_lock(&channel->tx_lock);
	if (channel->retry_at != BEAM_FOREVER && deadline_passed(channel->retry_at)) {
		channel->retry_at = BEAM_FOREVER;
		channel->tx.held = false;
		if (channel->tx.withhold_attachments && reaper_stuck())
			write_retry(channel);
		else
			channel->tx.withhold_attachments = false;
		write_wake_all(channel);
	}
	if (channel->retry_at == BEAM_FOREVER || !channel->tx.batch.active)
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

/* The socket has room again. */
static void has_room(struct beam_channel *channel)
{
	pthread_mutex_lock(&channel->tx_lock);
	channel->full = false;
	pthread_mutex_unlock(&channel->tx_lock);
}

/* ---- The end ------------------------------------------------------------------------------------------------------------- */

/* True when nothing is left to do but to let go. */
static bool is_over(struct beam_channel *channel)
{
	bool over;

	pthread_mutex_lock(&channel->tx_lock);
	over = deadline_passed(channel->linger_until) || (channel->read_over && (channel->broken || write_over(channel)));
	pthread_mutex_unlock(&channel->tx_lock);
	return over;
}

static void forget_topics(struct beam_channel *channel)
{
	struct rx *rx = &channel->rx;
	struct tx *tx = &channel->tx;
	struct list *link;

	for (uint32_t id = 1; id <= rx->limits.topics; id++) {
		struct beam_topic *topic = rx->inlets[id] ? rx->inlets[id]->topic : NULL;

		if (topic) {
			rx->inlets[id]->topic = NULL;
			topic_memory_unref(topic);
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

static void finish(struct beam_channel *channel)
{
	channel_end_reading(channel, channel->reset_seen ? -ECONNRESET : 0);
	pthread_mutex_lock(&channel->tx_lock);
	if (!write_over(channel))
		write_break(channel, channel->send_error ? channel->send_error : -EPIPE);
	/* Whoever writes now leaves: the socket goes nowhere any more. */
	channel->transport.methods->shutdown(&channel->transport);
	while (channel->writing) {
		if (write_wait(channel, false, BEAM_FOREVER) == 1)
			break;
	}
	channel->writing = true;
	channel->finished = true;
	write_wake_all(channel);
	process_finished(channel);
	close(channel->epoll);
	close(channel->nudge);
	close(channel->kick);
	pthread_mutex_unlock(&channel->tx_lock);
	channel->transport.methods->release(&channel->transport);
	forget_topics(channel);
}

/* ---- The loop ------------------------------------------------------------------------------------------------------------- */

/* Something is to be written by this thread, or may be soon. The tx_lock is held. */
static bool has_to_write(const struct beam_channel *channel)
{
	if (channel->broken || channel->full || channel->writing)
		return false;
	/* What failed for a while is not tried again before its time. */
	if (channel->retry_at != BEAM_FOREVER && channel->tx.batch.active)
		return false;
	return channel->burst || tx_pending(&channel->tx);
}

static int wait_for_events(struct beam_channel *channel, struct epoll_event events[EVENTS])
{
	beam_deadline until = channel->stalled_until;

	pthread_mutex_lock(&channel->tx_lock);
	until = deadline_earlier(until, deadline_earlier(channel->retry_at, channel->linger_until));
	channel->awake = has_to_write(channel);
	if (channel->awake)
		until = BEAM_NOWAIT;
	pthread_mutex_unlock(&channel->tx_lock);
	return sys_epoll_wait(channel->epoll, events, EVENTS, deadline_milliseconds(until));
}

/* From now on: input while there can be any, room while something waits for it. */
static void watch(struct beam_channel *channel)
{
	uint32_t events = channel->read_over ? 0 : EPOLLIN;

	pthread_mutex_lock(&channel->tx_lock);
	if (channel->full && !channel->broken && !channel->writing && tx_pending(&channel->tx))
		events |= EPOLLOUT;
	/* It fails only for want of memory, and then the old watch stands: too much is watched, never too little for input. */
	channel->transport.methods->watch(&channel->transport, events);
	pthread_mutex_unlock(&channel->tx_lock);
}

void standby_run(void *argument)
{
	struct beam_channel *channel = argument;
	struct epoll_event events[EVENTS];

	while (!is_over(channel)) {
		int n;
		bool input = false;

		watch(channel);
		n = wait_for_events(channel, events);
		for (int i = 0; i < n; i++) {
			uint64_t count;

			if (events[i].data.fd == channel->nudge) {
				if (sys_read(channel->nudge, &count, sizeof count) < 0)
					continue;
			} else {
				input = events[i].events & ~(uint32_t)EPOLLOUT;
				if (events[i].events & ~(uint32_t)EPOLLIN)
					has_room(channel);
			}
		}
		if (input || deadline_passed(channel->stalled_until))
			read_some(channel);
		write_some(channel);
		follow_burst(channel);
	}
	finish(channel);
	channel_memory_unref(channel);
}
