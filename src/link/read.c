/* SPDX-License-Identifier: MIT */
/*
 * Reading, by the holder of the reading right.
 */
#include <link/link.h>
#include <link/tuning.h>
#include <socket/reaper.h>
#include <wire/breach.h>

/* How long descriptors of an incomplete message are kept while nothing else arrives. */
enum { HOLD_MS = 5000 };

void read_fail(struct link *link, int error, const char *breach)
{
	/*
	 * Sending ends first. A thread whose receive reports the end must not find that a send
	 * still succeeds.
	 */
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
 * Makes our GOODBYE due, after all accepted messages. Called only when everything that arrived
 * together with the peer's GOODBYE has been checked.
 */
static void answer_goodbye(struct link *link)
{
	pthread_mutex_lock(&link->writer.lock);
	link->writer.tx.goodbye_due = true;
	pthread_mutex_unlock(&link->writer.lock);
}

/*
 * Reads once. Returns how many bytes arrived, 0 at the end, or -errno. `ret_dry` tells whether that
 * was all there is.
 */
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
	/* A read ends at descriptors, and more may follow them. */
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
 * Called when nothing is left to be read. The time of a frame starts now, so that it does not
 * include times when this process was busy or stopped. A frame is too late only if it is still
 * incomplete after a look that began when the time had passed (`late`).
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

/*
 * Notes that there was activity. The link's thread checks at intervals whether the activity has
 * ended.
 */
static void note_activity(struct link *link)
{
	unsigned before = atomic_load_explicit(&link->reader.activity, memory_order_relaxed);

	/* A loop must also learn of what other threads have read. */
	if (before == ACTIVITY_NOW && !link->options.loop)
		return;
	atomic_store_explicit(&link->reader.activity, ACTIVITY_NOW, memory_order_relaxed);
	if (before == ACTIVITY_PAST && !link->options.loop)
		return;
	pthread_mutex_lock(&link->writer.lock);
	write_nudge(link);
	pthread_mutex_unlock(&link->writer.lock);
}

/* Reading is over. If writing was over before, the link's thread can end. */
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
		 * If the peer closes and leaves something unread, there is this error once. What
		 * the peer sent before may still be there.
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
	/* Activity is noted even if nothing arrived, because a read takes memory. */
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
