/* SPDX-License-Identifier: MIT */
/*
 * What the session tells the channel. The events of rx come on the thread that reads, with no lock held; those of tx under the tx_lock.
 */
#include <channel/lending.h>
#include <channel/sending.h>

/* ---- From rx --------------------------------------------------------------------------------------------------------------- */

static int on_hello(void *owner, const struct hello *hello)
{
	struct beam_channel *channel = owner;
	int r;

	pthread_mutex_lock(&channel->tx_lock);
	r = tx_hello(&channel->tx, hello);
	pthread_mutex_unlock(&channel->tx_lock);
	if (r < 0)
		return r;
	pthread_mutex_lock(&channel->lock);
	channel->hello = true;
	sleepers_wake(channel, &channel->changed, SIZE_MAX);
	pthread_mutex_unlock(&channel->lock);
	return 0;
}

/* The topic that an inlet's name stands for; made if it may be. NULL with 0: it is refused. */
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
	sleepers_wake(channel, &channel->changed, SIZE_MAX);
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

	inlet_withhold(inlet, channel->tx.own.topic_bytes, channel->tx.own.topic_attachments,
		       channel->tx.own.message_attachments);
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
		pthread_mutex_lock(&channel->tx_lock);
		tx_reset_inlet(&channel->tx, inlet, reason);
		pthread_mutex_unlock(&channel->tx_lock);
	}
	return r;
}

static void deliver_calls(struct beam_channel *channel, struct inlet *inlet, const struct message_queue *queue)
{
	inlet->calls_arrived = false;
	pthread_mutex_lock(&channel->tx_lock);
	for (const struct beam_message *message = queue->first; message; message = message->next) {
		if (message->call)
			request_deliver(message->call);
	}
	pthread_mutex_unlock(&channel->tx_lock);
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
			sleepers_wake(channel, &inbox->arrived, n);
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
	sleepers_wake(channel, &topic->inbox.arrived, SIZE_MAX);
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
	pthread_mutex_lock(&channel->tx_lock);
	if (discard)
		tx_return_pool(&channel->tx, message->overdraft);
	else
		tx_return(&channel->tx, inlet, bytes, message->n_fds, message->overdraft);
	pthread_mutex_unlock(&channel->tx_lock);
}

static int on_called(void *owner, uint32_t id, struct message_call **ret)
{
	return request_begin(owner, id, ret);
}

static struct inlet *on_reply(void *owner, uint32_t id)
{
	struct beam_channel *channel = owner;
	struct inlet *inlet;

	pthread_mutex_lock(&channel->tx_lock);
	inlet = tx_find_call(&channel->tx, id);
	pthread_mutex_unlock(&channel->tx_lock);
	return inlet;
}

static void on_ended(void *owner, struct inlet *inlet, struct message_queue *queue)
{
	call_ended(owner, inlet, queue);
}

static const char *on_credit(void *owner, uint32_t id, uint32_t call, uint32_t bytes, uint32_t attachments, bool overdraft)
{
	struct beam_channel *channel = owner;
	const char *rule;

	pthread_mutex_lock(&channel->tx_lock);
	rule = call ? tx_credit_call(&channel->tx, call, bytes, attachments, overdraft)
		    : tx_credit(&channel->tx, id, bytes, attachments, overdraft);
	pthread_mutex_unlock(&channel->tx_lock);
	return rule;
}

/* Nothing is withheld any more from whoever is short of it. */
static void return_all_withheld(struct beam_channel *channel)
{
	for (uint32_t id = 1; id <= channel->rx.capacity_inlets; id++) {
		struct inlet *inlet = channel->rx.inlets[id];
		struct inbox *inbox = inlet ? inlet->owner : NULL;

		if (!inbox)
			continue;
		pthread_mutex_lock(&inbox->lock);
		if (inlet->withheld_attachments) {
			pthread_mutex_lock(&channel->tx_lock);
			tx_return_withheld(&channel->tx, inlet);
			pthread_mutex_unlock(&channel->tx_lock);
		}
		pthread_mutex_unlock(&inbox->lock);
	}
}

static void on_want(void *owner, uint32_t until)
{
	struct beam_channel *channel = owner;

	pthread_mutex_lock(&channel->tx_lock);
	if (tx_wanted(&channel->tx, until))
		attachments_lend(channel);
	pthread_mutex_unlock(&channel->tx_lock);
	return_all_withheld(channel);
}

static void on_returned(void *owner, uint32_t attachments)
{
	struct beam_channel *channel = owner;

	pthread_mutex_lock(&channel->tx_lock);
	tx_given_back(&channel->tx, attachments);
	pthread_mutex_unlock(&channel->tx_lock);
	lending_return(attachments);
}

static void on_ping(void *owner, bool asks)
{
	struct beam_channel *channel = owner;

	if (!asks)
		return;
	pthread_mutex_lock(&channel->tx_lock);
	channel->tx.pong_due = true;
	pthread_mutex_unlock(&channel->tx_lock);
}

static const char *on_reset(void *owner, uint32_t id, uint32_t argument)
{
	struct beam_channel *channel = owner;
	const char *rule = NULL;

	pthread_mutex_lock(&channel->tx_lock);
	if (id)
		rule = tx_reset(&channel->tx, id, argument);
	else
		tx_reset_call(&channel->tx, argument);
	pthread_mutex_unlock(&channel->tx_lock);
	return rule;
}

static void on_goodbye(void *owner)
{
	struct beam_channel *channel = owner;

	pthread_mutex_lock(&channel->tx_lock);
	channel->read_over = channel->peer_goodbye = true;
	if (!channel->send_error)
		channel->send_error = -EPIPE;
	write_wake_all(channel);
	pthread_mutex_unlock(&channel->tx_lock);
	channel_end_reading(channel, 0);
}

static void on_charged(void *owner, size_t n)
{
	struct beam_channel *channel = owner;

	lending_opened((uint32_t)n);
	atomic_fetch_add_explicit(&channel->charged, (unsigned)n, memory_order_relaxed);
	atomic_fetch_add_explicit(&channel->memory, (unsigned)n, memory_order_relaxed);
}

static void on_discard(void *owner, const int *fds, size_t n, bool charged)
{
	struct beam_channel *channel = owner;

	if (charged)
		reaper_close_for(&channel->account, fds, n);
	else
		reaper_close(fds, n);
}

static void on_lost(void *owner, size_t n)
{
	struct beam_channel *channel = owner;

	atomic_fetch_add_explicit(&channel->attachments_lost, n, memory_order_relaxed);
	pthread_mutex_lock(&channel->tx_lock);
	tx_settled(&channel->tx, (uint32_t)n);
	pthread_mutex_unlock(&channel->tx_lock);
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

/* ---- From tx --------------------------------------------------------------------------------------------------------------- */

static void on_wake(void *owner, struct tx_claim *claim)
{
	sleepers_wake_all(owner, &list_entry(claim, struct claimant, claim)->woken);
}

static void on_changed(void *owner, struct outlet *outlet)
{
	struct beam_channel *channel = owner;

	if (outlet && outlet->close_wanted)
		write_wake_waiting(channel);
	if (outlet && outlet_replies(outlet))
		request_show(outlet);
	/* Whoever changed it may not write. */
	if (channel->tx.want_due)
		write_nudge(channel);
	rooms_show(channel);
}

static void on_room(void *owner)
{
	write_wake_for_room(owner);
	rooms_show(owner);
}

static void on_released(void *owner, struct outlet *outlet)
{
	(void)owner;
	if (outlet_replies(outlet))
		request_released(outlet);
	else
		topic_memory_unref(list_entry(outbox_of(outlet), struct beam_topic, outbox));
}

const struct tx_events channel_tx_events = {
    .wake = on_wake,
    .changed = on_changed,
    .room = on_room,
    .released = on_released,
};
