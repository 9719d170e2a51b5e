/* SPDX-License-Identifier: MIT */
/*
 * The life of a channel: making, holding, closing; and what can be asked of it.
 */
#include <base/options.h>
#include <base/sys.h>
#include <beam/version.h>
#include <channel/internal.h>
#include <channel/lending.h>
#include <socket/reaper.h>

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

uint32_t beam_version(void)
{
	return BEAM_VERSION;
}

const char *beam_version_string(void)
{
	return TEXT(BEAM_VERSION_MAJOR) "." TEXT(BEAM_VERSION_MINOR) "." TEXT(BEAM_VERSION_PATCH);
}

/* ---- Memory ------------------------------------------------------------------------------------------------------------------- */

void channel_memory_ref(struct beam_channel *channel)
{
	atomic_fetch_add_explicit(&channel->memory, 1, memory_order_relaxed);
}

bool channel_memory_ref_if_held(struct beam_channel *channel)
{
	/* Who frees it looks at the count no more. */
	return atomic_fetch_add_explicit(&channel->memory, 1, memory_order_relaxed) > 0;
}

static void channel_free(struct beam_channel *channel)
{
	process_remove(channel);
	rx_end(&channel->rx);
	tx_end(&channel->tx);
	pthread_mutex_destroy(&channel->lock);
	pthread_mutex_destroy(&channel->tx_lock);
	reaper_account_end(&channel->account);
	baton_end(&channel->baton);
	free(channel);
}

void channel_memory_unref_many(struct beam_channel *channel, unsigned n)
{
	annotate_release(&channel->memory);
	if (atomic_fetch_sub_explicit(&channel->memory, n, memory_order_acq_rel) != n)
		return;
	annotate_acquire(&channel->memory);
	channel_free(channel);
}

void channel_memory_unref(struct beam_channel *channel)
{
	channel_memory_unref_many(channel, 1);
}

/* ---- Making ----------------------------------------------------------------------------------------------------------------------- */

static int begin_session(struct beam_channel *channel, int fd)
{
	const struct beam_channel_options *options = &channel->options;
	struct limits own = {
	    .topics = options->topics,
	    .calls = options->calls,
	    .message_bytes = options->message_bytes,
	    .message_attachments = options->message_attachments,
	    .topic_bytes = options->topic_window_bytes,
	    .topic_attachments = options->topic_window_attachments,
	    .pool_bytes = options->pool_bytes,
	    .attachments = options->attachments,
	};
	int r;

	attachments_begin(channel, &own, fd);
	r = tx_init(&channel->tx, &own, options->buffer_bytes, &channel_tx_events, channel);
	if (!r)
		r = rx_init(&channel->rx, &channel->tx.own, &channel_rx_events, channel, &channel->tx.granted_pool,
			    &channel->tx.granted_attachments);
	/* What is lent and not used is wanted back. */
	channel->tx.features = FEATURE_ANSWERS | (options->attachments ? 0u : FEATURE_LENDS);
	channel->rx.account = &channel->account;
	return r;
}

/* For a channel with a thread. */
static int channel_open_fds(struct beam_channel *channel)
{
	struct epoll_event event = {.events = EPOLLIN};

	channel->epoll = sys_epoll_create1(EPOLL_CLOEXEC);
	if (channel->epoll < 0)
		return -errno;
	channel->nudge = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (channel->nudge < 0)
		return -errno;
	channel->kick = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (channel->kick < 0)
		return -errno;
	event.data.fd = channel->nudge;
	return sys_epoll_ctl(channel->epoll, EPOLL_CTL_ADD, channel->nudge, &event) < 0 ? -errno : 0;
}

static int channel_start(struct beam_channel *channel, int fd)
{
	int r = channel->options.loop ? 0 : channel_open_fds(channel);

	if (!r)
		r = transport_of_socket(&channel->transport, fd, channel->epoll);
	if (!r)
		r = begin_session(channel, fd);
	if (r < 0)
		return r;
	channel_memory_ref(channel);
	/* A loop is always told of input. */
	if (channel->options.loop)
		baton_depend(channel);
	r = process_add(channel);
	if (r < 0) {
		atomic_fetch_sub(&channel->memory, 1);
		return r;
	}
	/* HELLO is never waited for, and need not be waited with. Nothing is written before it is certain that the channel stands. */
	pthread_mutex_lock(&channel->tx_lock);
	write_pending(channel);
	pthread_mutex_unlock(&channel->tx_lock);
	return 0;
}

/* Checkers of races are told that these are atomic. */
static void annotate_all(struct beam_channel *channel)
{
	annotate_atomic(&channel->memory);
	annotate_atomic(&channel->attachments_lost);
	annotate_atomic(&channel->replies_taken);
	annotate_atomic(&channel->reply_bytes_taken);
	annotate_atomic(&channel->reply_attachments_taken);
	annotate_atomic(&channel->activity);
	annotate_atomic(&channel->woke);
	annotate_atomic(&channel->kicked);
	annotate_atomic(&channel->kick);
	annotate_atomic(&channel->charged);
	annotate_atomic(&channel->heard_at);
}

static struct beam_channel *channel_make(const struct beam_channel_options *options, struct channel_hook hook)
{
	struct beam_channel *channel = sys_calloc(1, sizeof *channel);

	if (!channel)
		return NULL;
	annotate_all(channel);
	channel->process = process_id();
	channel->options = *options;
	channel->hook = hook;
	channel->epoll = channel->nudge = -1;
	channel->kick = -1;
	channel->handles = 1;
	channel->read_end = NOT_ENDED;
	channel->armed = true;
	channel->retry_at = channel->lend_at = channel->linger_until = channel->stalled_until = channel->idle_at = BEAM_FOREVER;
	atomic_init(&channel->memory, 1);
	atomic_init(&channel->heard_at, clock_now());
	pthread_mutex_init(&channel->lock, NULL);
	pthread_mutex_init(&channel->tx_lock, NULL);
	sleepers_init(&channel->changed);
	baton_init(&channel->baton);
	list_init(&channel->of_process);
	list_init(&channel->topics);
	list_init(&channel->unclaimed);
	list_init(&channel->writers);
	list_init(&channel->rooms);
	level_init(&channel->acceptable);
	return channel;
}

/* A socket that a channel can serve: 0, and it does. */
static int take_socket(int fd)
{
	int type, r = socket_check(fd, &type);

	if (!r && type != SOCK_STREAM)
		r = -EPROTOTYPE;
	return r < 0 ? r : socket_prepare(fd, type);
}

int channel_new_with_hook(beam_channel **ret, int fd, const struct beam_channel_options *options, struct channel_hook hook)
{
	WITHOUT_CANCELLATION;
	struct beam_channel_options taken;
	struct beam_channel *channel;
	int r;

	if (!ret)
		return -EINVAL;
	r = channel_take_options(&taken, options);
	if (!r)
		r = take_socket(fd);
	if (!r)
		r = process_prepare();
	if (r < 0)
		return r;
	channel = channel_make(&taken, hook);
	if (!channel)
		return -ENOMEM;
	channel->credentials_error = socket_credentials(fd, &channel->credentials);
	if (taken.socket_buffer_bytes)
		socket_set_buffer(fd, taken.socket_buffer_bytes);
	else
		socket_widen_buffer(fd, TX_SOCKET_BUFFER);
	r = channel_start(channel, fd);
	if (r < 0) {
		/* What it was to begin with. */
		lending_return(channel->tx.own.attachments);
		close_fd(channel->epoll);
		close_fd(channel->nudge);
		close_fd(channel->kick);
		channel_memory_unref(channel);
		return r;
	}
	*ret = channel;
	return 0;
}

int beam_channel_from_fd(beam_channel **ret, int fd, const struct beam_channel_options *options)
{
	return channel_new_with_hook(ret, fd, options, (struct channel_hook){NULL, NULL});
}

/* ---- Closing ------------------------------------------------------------------------------------------------------------------------- */

void channel_end_reading(struct beam_channel *channel, int end)
{
	pthread_mutex_lock(&channel->lock);
	if (channel->read_end == NOT_ENDED)
		channel->read_end = end;
	for (struct list *link = channel->topics.next; link != &channel->topics; link = link->next) {
		struct beam_topic *topic = list_entry(link, struct beam_topic, of_channel);

		inbox_end_reading(&topic->inbox, channel->read_end);
	}
	channel_show(channel);
	end = channel->read_end;
	sleepers_wake_all(channel, &channel->changed);
	pthread_mutex_unlock(&channel->lock);
	/* A call that was not answered has not ended in order. */
	calls_end_reading(channel, end ? end : -EPIPE);
}

void channel_mark_closed(struct beam_channel *channel)
{
	pthread_mutex_lock(&channel->tx_lock);
	if (!channel->send_error)
		channel->send_error = -EPIPE;
	if (deadline_never(channel->linger_until))
		channel->linger_until = beam_in_ms(channel->options.linger_ms);
	channel->tx.goodbye_due = true;
	if (!channel->finished)
		baton_kick_for_good(channel);
	write_wake_all(channel);
	write_pending(channel);
	write_nudge(channel);
	pthread_mutex_unlock(&channel->tx_lock);
	channel_end_reading(channel, 0);
	baton_attend(channel);
}

static bool said_goodbye(struct beam_channel *channel, const void *unused)
{
	(void)unused;
	return write_over(channel);
}

/* The connection broke before goodbye was said. An other side that had said its own wanted nothing more: if nothing was on its way to it,
 * nothing is amiss. Its goodbye may lie unread when the write fails. */
static int broken_before_goodbye(struct beam_channel *channel, beam_deadline deadline)
{
	int r = 0;

	while (!r && !channel->finished && (channel->writing || !channel->read_over)) {
		if (channel->options.loop && !channel->writing) {
			r = loop_help(channel, deadline);
			continue;
		}
		r = write_wait(channel, false, deadline);
		if (r == 1) {
			write_release(channel);
			r = 0;
		}
	}
	return channel->peer_goodbye && !channel->truncated ? 0 : channel->broken;
}

int beam_channel_close(beam_channel *channel, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	int r;

	if (!channel)
		return -EINVAL;
	if (channel_foreign(channel))
		return -ECHILD;
	channel_mark_closed(channel);
	pthread_mutex_lock(&channel->tx_lock);
	r = said_goodbye(channel, NULL) ? 0 : write_until(channel, said_goodbye, NULL, deadline);
	if (channel->broken && !write_over(channel))
		r = broken_before_goodbye(channel, deadline);
	if (!r)
		r = write_tell_losses(channel);
	pthread_mutex_unlock(&channel->tx_lock);
	return r;
}

int beam_channel_abort(beam_channel *channel)
{
	WITHOUT_CANCELLATION;

	if (!channel)
		return -EINVAL;
	if (channel_foreign(channel))
		return -ECHILD;
	pthread_mutex_lock(&channel->tx_lock);
	if (!channel->finished) {
		transport_shutdown(&channel->transport);
		baton_kick_for_good(channel);
		write_break(channel, -ECONNRESET);
	}
	pthread_mutex_unlock(&channel->tx_lock);
	channel_end_reading(channel, -ECONNRESET);
	/* Not before: whoever finds that the time is over lets the receivers see an end in order. */
	pthread_mutex_lock(&channel->tx_lock);
	channel->linger_until = beam_in_ms(0);
	write_nudge(channel);
	pthread_mutex_unlock(&channel->tx_lock);
	baton_attend(channel);
	return 0;
}

beam_channel *beam_channel_ref(beam_channel *channel)
{
	bool held = true;

	if (channel && !channel_foreign(channel)) {
		pthread_mutex_lock(&channel->lock);
		held = channel->handles > 0;
		channel->handles += held;
		pthread_mutex_unlock(&channel->lock);
	}
	return held ? channel : NULL;
}

void beam_channel_set_user_data(beam_channel *channel, void *data)
{
	if (channel)
		atomic_store_explicit(&channel->user_data, data, memory_order_release);
}

void *beam_channel_user_data(const beam_channel *channel)
{
	return channel ? atomic_load_explicit(&channel->user_data, memory_order_acquire) : NULL;
}

/* Topics that nobody has opened go with the last handle: nobody can open them any more. */
static void forget_unclaimed(struct beam_channel *channel, struct message_queue *thrown)
{
	struct list *link;

	while ((link = list_take_first(&channel->unclaimed))) {
		struct beam_topic *topic = list_entry(link, struct beam_topic, unclaimed);

		topic_forget(topic);
		pthread_mutex_lock(&topic->inbox.lock);
		message_queue_splice(thrown, &topic->inbox.queue);
		topic->inbox.reset = true;
		for (struct list *l = topic->inlets.next; l != &topic->inlets; l = l->next)
			list_entry(l, struct inlet, of_topic)->discard = true;
		pthread_mutex_unlock(&topic->inbox.lock);
		topic_memory_unref(topic);
	}
}

beam_channel *beam_channel_unref(beam_channel *channel)
{
	WITHOUT_CANCELLATION;
	struct message_queue thrown;
	bool last;

	if (!channel || channel_foreign(channel))
		return NULL;
	message_queue_init(&thrown);
	pthread_mutex_lock(&channel->lock);
	last = --channel->handles == 0;
	if (last)
		forget_unclaimed(channel, &thrown);
	pthread_mutex_unlock(&channel->lock);
	if (last) {
		inbox_discard(channel, &thrown);
		channel_close_fds(channel);
		channel_mark_closed(channel);
		if (channel->options.loop)
			loop_let_go(channel);
		channel_memory_unref(channel);
	}
	return NULL;
}

/* ---- Asking ------------------------------------------------------------------------------------------------------------------------------ */

int beam_channel_limits(beam_channel *channel, struct beam_limits *ret, size_t size, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	const struct limits *peer;
	struct beam_limits known;
	int r = 0;

	if (!channel || !ret)
		return -EINVAL;
	if (channel_foreign(channel))
		return -ECHILD;
	/* It stays as it is once HELLO has come. */
	peer = &channel->tx.peer;
	pthread_mutex_lock(&channel->lock);
	while (!channel->hello && !r) {
		if (channel->read_end != NOT_ENDED)
			r = channel->read_end ? channel->read_end : -EPIPE;
		else
			r = baton_wait(channel, &channel->lock, &channel->changed, deadline);
	}
	if (channel->hello) {
		known = (struct beam_limits){
		    .topics = peer->topics,
		    .calls = peer->calls,
		    .message_bytes = peer->message_bytes,
		    .message_attachments = peer->message_attachments,
		    .topic_window_bytes = peer->topic_bytes,
		    .topic_window_attachments = peer->topic_attachments,
		    .pool_bytes = peer->pool_bytes,
		    .attachments = peer->attachments,
		};
		options_give(ret, size, &known, sizeof known);
		r = 0;
	}
	pthread_mutex_unlock(&channel->lock);
	return r;
}

const char *beam_channel_breach(beam_channel *channel)
{
	const char *breach;

	if (!channel || channel_foreign(channel))
		return NULL;
	pthread_mutex_lock(&channel->lock);
	breach = channel->breach;
	pthread_mutex_unlock(&channel->lock);
	return breach;
}
