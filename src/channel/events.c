/* SPDX-License-Identifier: MIT */
/*
 * The handlers of the session's events. Those of rx run on the thread that reads, with no lock
 * held. Those of tx run with the writer's lock held, except `unasked`, which runs without it.
 */
#include <channel/sending.h>

/* ---- From rx --------------------------------------------------------------------------------- */

static int on_hello(void *owner, const struct hello *hello)
{
	struct beam_channel *channel = owner;
	int r;

	pthread_mutex_lock(&channel->link.writer.lock);
	r = tx_hello(&channel->link.writer.tx, hello);
	pthread_mutex_unlock(&channel->link.writer.lock);
	if (r < 0)
		return r;
	pthread_mutex_lock(&channel->lock);
	channel->hello = true;
	sleepers_wake(&channel->link, &channel->changed, SIZE_MAX);
	pthread_mutex_unlock(&channel->lock);
	return 0;
}

/*
 * Finds the topic of an inlet's name, or makes it if that is allowed. Returns 0 with NULL in `ret`
 * if the topic is refused.
 */
static int topic_for(struct beam_channel *channel, struct inlet *inlet, struct beam_topic **ret)
{
	struct beam_topic *topic = topic_find(channel, inlet->name);

	*ret = topic;
	if (topic || channel->options.unknown_topics == BEAM_TOPICS_REFUSE || !channel->handles)
		return 0;
	topic = topic_make(channel, inlet->name);
	if (!topic)
		return -ENOMEM;
	list_append(&channel->unclaimed, &topic->unclaimed);
	channel_show(channel);
	sleepers_wake(&channel->link, &channel->changed, SIZE_MAX);
	*ret = topic;
	return 0;
}

static int on_opened(void *owner, struct inlet *inlet)
{
	struct beam_channel *channel = owner;
	struct beam_topic *topic;
	enum reset_reason reason = RESET_REFUSED;
	bool refuse;
	int r;

	inlet_withhold(inlet, channel->link.writer.tx.own.topic_bytes, channel->link.writer.tx.own.topic_attachments,
		       channel->link.writer.tx.own.message_attachments);
	inlet->queued = 0;
	inlet->closed = inlet->discard = false;
	pthread_mutex_lock(&channel->lock);
	r = topic_for(channel, inlet, &topic);
	inlet->owner = topic ? &topic->inbox : NULL;
	refuse = !topic;
	if (topic) {
		topic_memory_ref(topic);
		pthread_mutex_lock(&topic->inbox.lock);
		topic->n_open++;
		topic->inbox.ended = false;
		inbox_show(&topic->inbox);
		if (!topic->inbox.refused)
			reason = RESET_UNWANTED;
		if (topic->inbox.reset)
			refuse = inlet->discard = true;
		else
			list_append(&topic->inlets, &inlet->of_topic);
		pthread_mutex_unlock(&topic->inbox.lock);
	}
	pthread_mutex_unlock(&channel->lock);
	if (refuse && !r) {
		pthread_mutex_lock(&channel->link.writer.lock);
		tx_reset_inlet(&channel->link.writer.tx, inlet, reason);
		pthread_mutex_unlock(&channel->link.writer.lock);
	}
	return r;
}

static void deliver_calls(struct beam_channel *channel, struct inlet *inlet, const struct message_queue *queue)
{
	inlet->calls_arrived = false;
	pthread_mutex_lock(&channel->link.writer.lock);
	for (const struct beam_message *message = queue->first; message; message = message->next) {
		if (message->call)
			request_deliver(message->call);
	}
	pthread_mutex_unlock(&channel->link.writer.lock);
}

static void on_messages(void *owner, struct inlet *inlet, struct message_queue *queue)
{
	struct beam_channel *channel = owner;
	struct inbox *inbox = inlet->owner;
	size_t n = queue->n;
	bool discard = !inbox;

	if (inlet->calls_arrived)
		deliver_calls(channel, inlet, queue);
	if (inbox) {
		pthread_mutex_lock(&inbox->lock);
		discard = inlet->discard;
		if (discard) {
			inbox->discarded += n;
		} else {
			inlet->queued += n;
			message_queue_splice(&inbox->queue, queue);
			inbox_show(inbox);
			sleepers_wake(&channel->link, &inbox->arrived, n);
		}
		pthread_mutex_unlock(&inbox->lock);
	}
	if (discard)
		inbox_discard(channel, queue);
}

static void on_closed(void *owner, struct inlet *inlet)
{
	struct beam_channel *channel = owner;
	struct inbox *inbox = inlet->owner;
	struct beam_topic *topic;
	bool forget;

	inlet->owner = NULL;
	if (!inbox)
		return;
	topic = list_entry(inbox, struct beam_topic, inbox);
	pthread_mutex_lock(&channel->lock);
	pthread_mutex_lock(&topic->inbox.lock);
	inlet->closed = true;
	topic->inbox.ended = --topic->n_open == 0;
	if (!inlet->discard && !inlet->queued)
		inbox_inlet_done(channel, inlet);
	inbox_show(&topic->inbox);
	sleepers_wake(&channel->link, &topic->inbox.arrived, SIZE_MAX);
	forget = !topic->handles && list_linked(&topic->of_channel) && list_empty(&topic->inlets);
	pthread_mutex_unlock(&topic->inbox.lock);
	if (forget)
		topic_forget(topic);
	pthread_mutex_unlock(&channel->lock);
	if (forget)
		topic_memory_unref(topic);
	topic_memory_unref(topic);
}

static void on_aborted(void *owner, struct inlet *inlet, const struct beam_message *message)
{
	struct beam_channel *channel = owner;
	struct inbox *inbox = inlet->owner;
	uint32_t bytes = message->cost - message->overdraft;
	bool discard = !inbox;

	if (inbox) {
		pthread_mutex_lock(&inbox->lock);
		discard = inlet->discard;
		pthread_mutex_unlock(&inbox->lock);
	}
	pthread_mutex_lock(&channel->link.writer.lock);
	if (discard)
		tx_return_pool(&channel->link.writer.tx, message->overdraft);
	else
		tx_return(&channel->link.writer.tx, inlet, bytes, message->n_fds, message->overdraft);
	pthread_mutex_unlock(&channel->link.writer.lock);
}

static int on_called(void *owner, uint32_t id, struct message_call **ret)
{
	return request_begin(owner, id, ret);
}

static struct inlet *on_reply(void *owner, uint32_t id)
{
	struct beam_channel *channel = owner;
	struct inlet *inlet;

	pthread_mutex_lock(&channel->link.writer.lock);
	inlet = tx_find_call(&channel->link.writer.tx, id);
	pthread_mutex_unlock(&channel->link.writer.lock);
	return inlet;
}

static void on_ended(void *owner, struct inlet *inlet, struct message_queue *queue)
{
	call_ended(owner, inlet, queue);
}

static const char *on_credit(void *owner, uint32_t id, uint32_t call, uint32_t bytes, uint32_t attachments,
			     bool overdraft)
{
	struct beam_channel *channel = owner;
	const char *rule;

	pthread_mutex_lock(&channel->link.writer.lock);
	rule = call ? tx_credit_call(&channel->link.writer.tx, call, bytes, attachments, overdraft)
		    : tx_credit(&channel->link.writer.tx, id, bytes, attachments, overdraft);
	pthread_mutex_unlock(&channel->link.writer.lock);
	return rule;
}

static void on_want(void *owner, uint32_t until)
{
	struct beam_channel *channel = owner;

	pthread_mutex_lock(&channel->link.writer.lock);
	if (tx_wanted(&channel->link.writer.tx, until))
		attachments_lend(&channel->link);
	pthread_mutex_unlock(&channel->link.writer.lock);
}

static void on_returned(void *owner, uint32_t attachments)
{
	struct beam_channel *channel = owner;

	attachments_came_back(&channel->link, attachments);
}

static void on_ping(void *owner, bool asks)
{
	struct beam_channel *channel = owner;

	if (!asks)
		return;
	pthread_mutex_lock(&channel->link.writer.lock);
	channel->link.writer.tx.pong_due = true;
	pthread_mutex_unlock(&channel->link.writer.lock);
}

static const char *on_reset(void *owner, uint32_t id, uint32_t argument)
{
	struct beam_channel *channel = owner;
	const char *rule = NULL;

	pthread_mutex_lock(&channel->link.writer.lock);
	if (id)
		rule = tx_reset(&channel->link.writer.tx, id, argument);
	else
		tx_reset_call(&channel->link.writer.tx, argument);
	pthread_mutex_unlock(&channel->link.writer.lock);
	return rule;
}

static void on_goodbye(void *owner)
{
	struct beam_channel *channel = owner;

	read_goodbye(&channel->link);
}

static void on_charged(void *owner, size_t n)
{
	struct beam_channel *channel = owner;

	attachments_charge(&channel->link, n);
	atomic_fetch_add_explicit(&channel->memory, (unsigned)n, memory_order_relaxed);
}

static void on_discard(void *owner, const int *fds, size_t n, bool charged)
{
	struct beam_channel *channel = owner;

	if (charged)
		reaper_close_for(&channel->link.attachments.account, fds, n);
	else
		reaper_close(fds, n);
}

static void on_lost(void *owner, size_t n)
{
	struct beam_channel *channel = owner;

	atomic_fetch_add_explicit(&channel->attachments_lost, n, memory_order_relaxed);
	pthread_mutex_lock(&channel->link.writer.lock);
	tx_settled(&channel->link.writer.tx, (uint32_t)n);
	pthread_mutex_unlock(&channel->link.writer.lock);
}

const struct rx_events channel_rx_events = {
    .hello = on_hello,
    .opened = on_opened,
    .messages = on_messages,
    .closed = on_closed,
    .aborted = on_aborted,
    .called = on_called,
    .reply = on_reply,
    .ended = on_ended,
    .credit = on_credit,
    .reset = on_reset,
    .goodbye = on_goodbye,
    .want = on_want,
    .returned = on_returned,
    .ping = on_ping,
    .charged = on_charged,
    .discard = on_discard,
    .lost = on_lost,
};

/* ---- From tx --------------------------------------------------------------------------------- */

static void on_wake(void *owner, struct tx_claim *claim)
{
	struct beam_channel *channel = owner;

	sleepers_wake_all(&channel->link, &list_entry(claim, struct claimant, claim)->woken);
}

static void on_changed(void *owner, struct outlet *outlet)
{
	struct beam_channel *channel = owner;

	if (outlet && outlet->close_wanted)
		write_wake_waiting(&channel->link);
	requests_show(channel, outlet);
	/* The thread that made WANT due may not write it, so the link's thread is woken. */
	if (channel->link.writer.tx.want_due)
		write_nudge(&channel->link);
	rooms_show(channel);
}

static void on_room(void *owner)
{
	struct beam_channel *channel = owner;

	write_wake_for_room(&channel->link);
	rooms_show(channel);
}

static void on_released(void *owner, struct outlet *outlet)
{
	(void)owner;
	if (outlet_replies(outlet))
		request_released(outlet);
	else
		topic_memory_unref(list_entry(outbox_of(outlet), struct beam_topic, outbox));
}

static void on_unasked(void *owner, struct list *calls)
{
	(void)owner;
	calls_unasked(calls);
}

const struct tx_events channel_tx_events = {
    .wake = on_wake,
    .changed = on_changed,
    .room = on_room,
    .released = on_released,
    .unasked = on_unasked,
};
