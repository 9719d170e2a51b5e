/* SPDX-License-Identifier: MIT */
/*
 * Reading, by the holder of the reading right.
 */
#include <channel/internal.h>
#include <channel/tuning.h>
#include <socket/reaper.h>
#include <wire/breach.h>

/* Descriptors that came for a message that is not whole are held for so long while nothing goes on. */
enum { HOLD_MS = 5000 };

void read_fail(struct beam_channel *channel, int error, const char *breach)
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

/* What was accepted goes first, then our own goodbye: but not before all that came with the other side's has been judged. */
static void answer_goodbye(struct beam_channel *channel)
{
	pthread_mutex_lock(&channel->tx_lock);
	channel->tx.goodbye_due = true;
	pthread_mutex_unlock(&channel->tx_lock);
}

/* One read. What came, 0 at the end, or -errno; and whether that was all there is. */
static ssize_t read_once(struct beam_channel *channel, bool *ret_dry)
{
	struct rx *rx = &channel->rx;
	struct iovec iov[RX_IOV];
	struct fd_group group;
	struct rx_group given;
	int n_iov = rx_offer(rx, iov);
	ssize_t n;

	if (n_iov < 0) {
		read_fail(channel, n_iov, NULL);
		return n_iov;
	}
	*ret_dry = false;
	n = transport_read(&channel->transport, iov, (size_t)n_iov, &group);
	if (n <= 0) {
		reaper_close(group.fds, (size_t)group.n);
		return n;
	}
	/* Descriptors end a read, and more may follow them. */
	*ret_dry = !group.n && !group.truncated && (size_t)n < iov[0].iov_len + (n_iov > 1 ? iov[1].iov_len : 0);
	given = (struct rx_group){.n = (size_t)group.n, .fds = group.fds, .loss = group.truncated ? socket_loss_reason() : 0};
	if (rx_took(rx, (size_t)n, &given) < 0) {
		read_fail(channel, rx->error, rx->breach);
		return rx->error;
	}
	if (channel->read_over)
		answer_goodbye(channel);
	return n;
}

/* There is no more. The clock of a frame starts now, not while we are busy or stopped; and only what is not there at a look that began
 * `late`, after its time, has come too late. */
static void watch_stall(struct beam_channel *channel, bool late)
{
	bool holds = rx_holds_descriptors(&channel->rx);
	uint32_t most = channel->options.frame_timeout_ms;

	if (!rx_unfinished(&channel->rx) && !holds) {
		channel->stalled_until = BEAM_FOREVER;
		channel->stalled_frame = 0;
	} else if (channel->stalled_frame != rx_frame_number(&channel->rx)) {
		channel->stalled_frame = rx_frame_number(&channel->rx);
		if (holds && most > HOLD_MS)
			most = HOLD_MS;
		channel->stalled_until = most ? beam_in_ms(most) : BEAM_FOREVER;
	} else if (late) {
		read_fail(channel, -EPROTO, BREACH_TIMEOUT);
	}
}

/* The channel's thread looks every now and then whether it is over. */
static void note_activity(struct beam_channel *channel)
{
	unsigned before = atomic_load_explicit(&channel->activity, memory_order_relaxed);

	/* A loop is also told of what others have read. */
	if (before == ACTIVITY_NOW && !channel->options.loop)
		return;
	atomic_store_explicit(&channel->activity, ACTIVITY_NOW, memory_order_relaxed);
	if (before == ACTIVITY_PAST && !channel->options.loop)
		return;
	pthread_mutex_lock(&channel->tx_lock);
	write_nudge(channel);
	pthread_mutex_unlock(&channel->tx_lock);
}

/* Reading is over, and writing may have been before: then the channel's thread may go. */
static void tell_over(struct beam_channel *channel)
{
	pthread_mutex_lock(&channel->tx_lock);
	if (channel->broken || write_over(channel))
		write_nudge(channel);
	pthread_mutex_unlock(&channel->tx_lock);
}

bool read_some(struct beam_channel *channel)
{
	size_t total = 0;
	ssize_t n = 1;
	bool dry = false, late = false;

	while (!channel->read_over && n > 0 && !dry && total < READ_MOST) {
		late = deadline_passed(channel->stalled_until);
		n = read_once(channel, &dry);
		/* A peer that closes with something unread gives this error once; what it sent before may still be there. */
		if (n == -ECONNRESET && !channel->reset_seen) {
			channel->reset_seen = true;
			n = 1;
			continue;
		}
		if (n > 0)
			total += (size_t)n;
	}
	if (total && channel->options.idle_timeout_ms)
		atomic_store_explicit(&channel->heard_at, clock_now(), memory_order_relaxed);
	/* Also if nothing came: to look takes memory. */
	note_activity(channel);
	if (!channel->read_over) {
		if (n == -EAGAIN || dry)
			watch_stall(channel, late);
		else if (n <= 0)
			read_fail(channel, n == -ENOMEM || n == -ENOBUFS ? -ENOMEM : -ECONNRESET, NULL);
	}
	if (channel->read_over)
		tell_over(channel);
	return total || channel->read_over;
}

void read_trim(struct beam_channel *channel)
{
	rx_trim(&channel->rx);
	atomic_store_explicit(&channel->activity, ACTIVITY_NONE, memory_order_relaxed);
}
