/* SPDX-License-Identifier: MIT */
/* The life of a channel: creation, handles, closing; and what can be queried. */
#include <base/options.h>
#include <base/sys.h>
#include <beam/version.h>
#include <channel/internal.h>

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

/* ---- Memory ---------------------------------------------------------------------------------- */

void channel_memory_ref(struct beam_channel *channel)
{
	atomic_fetch_add_explicit(&channel->memory, 1, memory_order_relaxed);
}

bool channel_memory_ref_if_held(struct beam_channel *channel)
{
	/* Harmless if the channel is being freed, because that does not look at the count again. */
	return atomic_fetch_add_explicit(&channel->memory, 1, memory_order_relaxed) > 0;
}

static void channel_free(struct beam_channel *channel)
{
	link_end(&channel->link);
	pthread_mutex_destroy(&channel->lock);
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

/* ---- Making ---------------------------------------------------------------------------------- */

static int channel_start(struct beam_channel *channel, int fd)
{
	const struct beam_channel_options *options = &channel->options;
	const struct link_session session = {
	    .own =
		{
		    .topics = options->topics,
		    .calls = options->calls,
		    .message_bytes = options->message_bytes,
		    .message_attachments = options->message_attachments,
		    .topic_bytes = options->topic_window_bytes,
		    .topic_attachments = options->topic_window_attachments,
		    .pool_bytes = options->pool_bytes,
		    .attachments = options->attachments,
		},
	    .buffer_bytes = options->buffer_bytes,
	    /*
	     * The channel lends attachments to the peer, and wants back those that the peer does
	     * not use.
	     */
	    .features = FEATURE_ANSWERS | (options->attachments ? 0u : FEATURE_LENDS),
	    .rx_events = &channel_rx_events,
	    .tx_events = &channel_tx_events,
	};
	int r;

	channel_memory_ref(channel);
	r = link_begin(&channel->link, fd, &session);
	if (r < 0)
		atomic_fetch_sub(&channel->memory, 1);
	return r;
}

/* Tells race checkers that these are atomic. */
static void annotate_all(struct beam_channel *channel)
{
	annotate_atomic(&channel->memory);
	annotate_atomic(&channel->attachments_lost);
	annotate_atomic(&channel->replies_taken);
	annotate_atomic(&channel->reply_bytes_taken);
	annotate_atomic(&channel->reply_attachments_taken);
}

static struct beam_channel *channel_make(const struct beam_channel_options *options, struct channel_hook hook)
{
	const struct link_options driven = {
	    .loop = options->loop,
	    .dedicated_reader = options->dedicated_reader,
	    .busy_poll_us = options->busy_poll_us,
	    .frame_timeout_ms = options->frame_timeout_ms,
	    .idle_timeout_ms = options->idle_timeout_ms,
	    .linger_ms = options->linger_ms,
	};
	struct beam_channel *channel = sys_calloc(1, sizeof *channel);

	if (!channel)
		return NULL;
	annotate_all(channel);
	channel->options = *options;
	channel->hook = hook;
	link_init(&channel->link, &driven, &channel_link_events, channel);
	channel->handles = 1;
	channel->read_end = NOT_ENDED;
	atomic_init(&channel->memory, 1);
	pthread_mutex_init(&channel->lock, NULL);
	sleepers_init(&channel->changed);
	list_init(&channel->topics);
	list_init(&channel->unclaimed);
	list_init(&channel->cancellable);
	level_init(&channel->acceptable);
	return channel;
}

/* Checks that a socket can carry a channel, and prepares it. */
static int take_socket(int fd)
{
	int type, r = socket_check(fd, &type);

	if (!r && type != SOCK_STREAM)
		r = -EPROTOTYPE;
	return r < 0 ? r : socket_prepare(fd, type);
}

int channel_new_with_hook(beam_channel **ret, int fd, const struct beam_channel_options *options,
			  struct channel_hook hook)
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

/* ---- Closing --------------------------------------------------------------------------------- */

int beam_channel_close(beam_channel *channel, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;

	if (!channel)
		return -EINVAL;
	if (channel_foreign(channel))
		return -ECHILD;
	link_close(&channel->link);
	return link_wait_closed(&channel->link, deadline);
}

int beam_channel_abort(beam_channel *channel)
{
	WITHOUT_CANCELLATION;

	if (!channel)
		return -EINVAL;
	if (channel_foreign(channel))
		return -ECHILD;
	link_abort(&channel->link);
	return 0;
}

int beam_channel_flush(beam_channel *channel, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	int r;

	if (!channel)
		return -EINVAL;
	if (channel_foreign(channel))
		return -ECHILD;
	pthread_mutex_lock(&channel->link.writer.lock);
	r = write_flush(&channel->link, deadline);
	pthread_mutex_unlock(&channel->link.writer.lock);
	return r;
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

/*
 * Topics that nobody has opened are released with the channel's last handle, because nobody can
 * open them any more.
 */
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
		link_close(&channel->link);
		if (channel->options.loop)
			loop_let_go(&channel->link);
		channel_memory_unref(channel);
	}
	return NULL;
}

/* ---- Asking ---------------------------------------------------------------------------------- */

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
	/* The limits do not change once HELLO has arrived. */
	peer = &channel->link.writer.tx.peer;
	pthread_mutex_lock(&channel->lock);
	while (!channel->hello && !r) {
		if (channel->read_end != NOT_ENDED)
			r = channel->read_end ? channel->read_end : -EPIPE;
		else
			r = baton_wait(&channel->link, &channel->lock, &channel->changed, deadline);
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
	pthread_mutex_lock(&channel->link.writer.lock);
	breach = channel->link.reader.breach;
	pthread_mutex_unlock(&channel->link.writer.lock);
	return breach;
}
