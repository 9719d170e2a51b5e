/* SPDX-License-Identifier: MIT */
/*
 * The life of a link, from its socket to GOODBYE.
 */
#include <base/annotate.h>
#include <link/lending.h>
#include <link/link.h>

/* ---- Making ---------------------------------------------------------------------------------- */

/* Tells race checkers that these are atomic. */
static void annotate_link(struct link *link)
{
	annotate_atomic(&link->reader.activity);
	annotate_atomic(&link->reader.woke);
	annotate_atomic(&link->reader.kicked);
	annotate_atomic(&link->reader.kick);
	annotate_atomic(&link->reader.heard_at);
	annotate_atomic(&link->attachments.charged);
}

void link_init(struct link *link, const struct link_options *options, const struct link_events *events, void *owner)
{
	annotate_link(link);
	link->process = process_id();
	link->options = *options;
	link->events = events;
	link->owner = owner;
	link->thread.epoll = link->thread.nudge = -1;
	link->reader.kick = -1;
	link->thread.armed = true;
	link->writer.retry_at = link->writer.linger_until = BEAM_FOREVER;
	link->attachments.lend_at = link->reader.stalled_until = link->thread.idle_at = BEAM_FOREVER;
	atomic_init(&link->reader.heard_at, clock_now());
	pthread_mutex_init(&link->writer.lock, NULL);
	baton_init(&link->reader.baton);
	list_init(&link->of_process);
	list_init(&link->writer.waiting);
	list_init(&link->writer.watchers);
}

void link_end(struct link *link)
{
	process_remove(link);
	rx_end(&link->reader.rx);
	tx_end(&link->writer.tx);
	pthread_mutex_destroy(&link->writer.lock);
	reaper_account_end(&link->attachments.account);
	baton_end(&link->reader.baton);
}

static int begin_session(struct link *link, int fd, const struct link_session *session)
{
	struct limits own = session->own;
	struct tx *tx = &link->writer.tx;
	struct rx *rx = &link->reader.rx;
	int r;

	attachments_begin(link, &own, fd);
	r = tx_init(tx, &own, session->buffer_bytes, session->tx_events, link->owner);
	if (!r)
		r = rx_init(rx, &tx->own, session->rx_events, link->owner, &tx->granted_pool, &tx->granted_attachments);
	tx->features = session->features;
	rx->account = &link->attachments.account;
	return r;
}

/* For a link with a thread. */
static int open_fds(struct link *link)
{
	struct epoll_event event = {.events = EPOLLIN};

	link->thread.epoll = sys_epoll_create1(EPOLL_CLOEXEC);
	if (link->thread.epoll < 0)
		return -errno;
	link->thread.nudge = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (link->thread.nudge < 0)
		return -errno;
	link->reader.kick = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (link->reader.kick < 0)
		return -errno;
	event.data.fd = link->thread.nudge;
	return sys_epoll_ctl(link->thread.epoll, EPOLL_CTL_ADD, link->thread.nudge, &event) < 0 ? -errno : 0;
}

static int link_start(struct link *link, int fd, const struct link_session *session)
{
	int r = link->options.loop ? 0 : open_fds(link);

	if (!r)
		r = transport_of_socket(&link->transport, fd, link->thread.epoll);
	if (!r)
		r = begin_session(link, fd, session);
	if (r < 0)
		return r;
	/* A loop must always learn of input. */
	if (link->options.loop)
		baton_depend(link);
	return process_add(link);
}

int link_begin(struct link *link, int fd, const struct link_session *session)
{
	int r = link_start(link, fd, session);

	if (r < 0) {
		/* Returns what was lent at the beginning. */
		lending_return(link->writer.tx.own.attachments);
		close_fd(link->thread.epoll);
		close_fd(link->thread.nudge);
		close_fd(link->reader.kick);
		return r;
	}
	/*
	 * HELLO is sent at once, which never blocks. Nothing is written before it is certain that
	 * the link is complete.
	 */
	pthread_mutex_lock(&link->writer.lock);
	write_pending(link);
	pthread_mutex_unlock(&link->writer.lock);
	return 0;
}

/* ---- Closing --------------------------------------------------------------------------------- */

void link_close(struct link *link)
{
	struct link_writer *writer = &link->writer;

	pthread_mutex_lock(&writer->lock);
	if (!writer->send_error)
		writer->send_error = -EPIPE;
	if (deadline_never(writer->linger_until))
		writer->linger_until = beam_in_ms(link->options.linger_ms);
	writer->tx.goodbye_due = true;
	if (!writer->finished)
		baton_kick_for_good(link);
	write_wake_all(link);
	write_pending(link);
	write_nudge(link);
	pthread_mutex_unlock(&writer->lock);
	link->events->reading_ended(link->owner, 0);
	baton_attend(link);
}

static bool said_goodbye(struct link *link, const void *unused)
{
	(void)unused;
	return write_over(link);
}

/*
 * The connection broke before GOODBYE was sent. If the peer had said goodbye, it wanted no more
 * messages, and unless accepted messages were lost there is no error. When the write fails, the
 * peer's GOODBYE may still be unread, so wait for the end of reading.
 */
static int broken_before_goodbye(struct link *link, beam_deadline deadline)
{
	struct link_writer *writer = &link->writer;
	int r = 0;

	while (!r && !writer->finished && (writer->taken || !link->reader.over)) {
		if (link->options.loop && !writer->taken) {
			r = loop_help(link, deadline);
			continue;
		}
		r = write_wait(link, false, deadline);
		if (r == 1) {
			write_release(link);
			r = 0;
		}
	}
	return link->reader.peer_goodbye && !writer->truncated ? 0 : writer->broken;
}

int link_wait_closed(struct link *link, beam_deadline deadline)
{
	int r;

	pthread_mutex_lock(&link->writer.lock);
	r = said_goodbye(link, NULL) ? 0 : write_until(link, said_goodbye, NULL, deadline);
	if (link->writer.broken && !write_over(link))
		r = broken_before_goodbye(link, deadline);
	if (!r)
		r = write_tell_losses(link);
	pthread_mutex_unlock(&link->writer.lock);
	return r;
}

void link_hurry(struct link *link)
{
	pthread_mutex_lock(&link->writer.lock);
	link->writer.linger_until = beam_in_ms(0);
	write_nudge(link);
	pthread_mutex_unlock(&link->writer.lock);
}

void link_abort(struct link *link)
{
	pthread_mutex_lock(&link->writer.lock);
	if (!link->writer.finished) {
		transport_shutdown(&link->transport);
		baton_kick_for_good(link);
		write_break(link, -ECONNRESET);
	}
	pthread_mutex_unlock(&link->writer.lock);
	link->events->reading_ended(link->owner, -ECONNRESET);
	/*
	 * This must come after reading_ended(). Otherwise a thread that finds the linger time over
	 * could report an orderly end to the receivers first.
	 */
	link_hurry(link);
	baton_attend(link);
}
