/* SPDX-License-Identifier: MIT */
/*
 * Reading, by the holder of the reading right.
 */
#include <link/link.h>
#include <link/tuning.h>
#include <socket/reaper.h>
#include <wire/breach.h>

/*
 * Descriptors that came for a message that is not whole are held for so long while nothing goes on.
 */
enum { HOLD_MS = 5000 };

void read_fail(struct link *link, int error, const char *breach)
{
	/* Whoever hears of the end from a receive must not be told by a send that all is well. */
	pthread_mutex_lock(&link->writer.lock);
	link->reader.over = true;
	if (breach)
		link->reader.breach = breach;
	write_break(link, error);
	write_wake_all(link);
	pthread_mutex_unlock(&link->writer.lock);
	link->events->reading_ended(link->owner, error);
}

void read_goodbye(struct link *link)
{
	pthread_mutex_lock(&link->writer.lock);
	link->reader.over = link->reader.peer_goodbye = true;
	if (!link->writer.send_error)
		link->writer.send_error = -EPIPE;
	write_wake_all(link);
	pthread_mutex_unlock(&link->writer.lock);
	link->events->reading_ended(link->owner, 0);
}

/*
 * What was accepted goes first, then our own goodbye: but not before all that came with the
 * other side's has been judged.
 */
static void answer_goodbye(struct link *link)
{
	pthread_mutex_lock(&link->writer.lock);
	link->writer.tx.goodbye_due = true;
	pthread_mutex_unlock(&link->writer.lock);
}

/* One read. What came, 0 at the end, or -errno; and whether that was all there is. */
static ssize_t read_once(struct link *link, bool *ret_dry)
{
	struct rx *rx = &link->reader.rx;
	struct iovec iov[RX_IOV];
	struct fd_group group;
	struct rx_group given;
	int n_iov = rx_offer(rx, iov);
	ssize_t n;

	if (n_iov < 0) {
		read_fail(link, n_iov, NULL);
		return n_iov;
	}
	*ret_dry = false;
	n = transport_read(&link->transport, iov, (size_t)n_iov, &group);
	if (n <= 0) {
		reaper_close(group.fds, (size_t)group.n);
		return n;
	}
	/* Descriptors end a read, and more may follow them. */
	*ret_dry = !group.n && !group.truncated && (size_t)n < iov[0].iov_len + (n_iov > 1 ? iov[1].iov_len : 0);
	given = (struct rx_group){
	    .n = (size_t)group.n, .fds = group.fds, .loss = group.truncated ? socket_loss_reason() : 0};
	if (rx_took(rx, (size_t)n, &given) < 0) {
		read_fail(link, rx->error, rx->breach);
		return rx->error;
	}
	if (link->reader.over)
		answer_goodbye(link);
	return n;
}

/*
 * There is no more. The clock of a frame starts now, not while we are busy or stopped; and only
 * what is not there at a look that began `late`, after its time, has come too late.
 */
static void watch_stall(struct link *link, bool late)
{
	bool holds = rx_holds_descriptors(&link->reader.rx);
	uint32_t most = link->options.frame_timeout_ms;

	if (!rx_unfinished(&link->reader.rx) && !holds) {
		link->reader.stalled_until = BEAM_FOREVER;
		link->reader.stalled_frame = 0;
	} else if (link->reader.stalled_frame != rx_frame_number(&link->reader.rx)) {
		link->reader.stalled_frame = rx_frame_number(&link->reader.rx);
		if (holds && most > HOLD_MS)
			most = HOLD_MS;
		link->reader.stalled_until = most ? beam_in_ms(most) : BEAM_FOREVER;
	} else if (late) {
		read_fail(link, -EPROTO, BREACH_TIMEOUT);
	}
}

/* The link's thread looks every now and then whether it is over. */
static void note_activity(struct link *link)
{
	unsigned before = atomic_load_explicit(&link->reader.activity, memory_order_relaxed);

	/* A loop is also told of what others have read. */
	if (before == ACTIVITY_NOW && !link->options.loop)
		return;
	atomic_store_explicit(&link->reader.activity, ACTIVITY_NOW, memory_order_relaxed);
	if (before == ACTIVITY_PAST && !link->options.loop)
		return;
	pthread_mutex_lock(&link->writer.lock);
	write_nudge(link);
	pthread_mutex_unlock(&link->writer.lock);
}

/* Reading is over, and writing may have been before: then the link's thread may go. */
static void tell_over(struct link *link)
{
	pthread_mutex_lock(&link->writer.lock);
	if (link->writer.broken || write_over(link))
		write_nudge(link);
	pthread_mutex_unlock(&link->writer.lock);
}

bool read_some(struct link *link)
{
	size_t total = 0;
	ssize_t n = 1;
	bool dry = false, late = false;

	while (!link->reader.over && n > 0 && !dry && total < READ_MOST) {
		late = deadline_passed(link->reader.stalled_until);
		n = read_once(link, &dry);
		/*
		 * A peer that closes with something unread gives this error once; what it sent
		 * before may still be there.
		 */
		if (n == -ECONNRESET && !link->reader.reset_seen) {
			link->reader.reset_seen = true;
			n = 1;
			continue;
		}
		if (n > 0)
			total += (size_t)n;
	}
	if (total && link->options.idle_timeout_ms)
		atomic_store_explicit(&link->reader.heard_at, clock_now(), memory_order_relaxed);
	/* Also if nothing came: to look takes memory. */
	note_activity(link);
	if (!link->reader.over) {
		if (n == -EAGAIN || dry)
			watch_stall(link, late);
		else if (n <= 0)
			read_fail(link, n == -ENOMEM || n == -ENOBUFS ? -ENOMEM : -ECONNRESET, NULL);
	}
	if (link->reader.over)
		tell_over(link);
	return total || link->reader.over;
}

void read_trim(struct link *link)
{
	rx_trim(&link->reader.rx);
	atomic_store_explicit(&link->reader.activity, ACTIVITY_NONE, memory_order_relaxed);
}
