/* SPDX-License-Identifier: MIT */
/*
 * Inboxes: what arrives waits here for receivers. When it has been taken, its credit goes back to
 * the peer.
 */
#include <channel/internal.h>

void inbox_init(struct inbox *inbox, struct beam_channel *channel, int end)
{
	inbox->channel = channel;
	inbox->end = end;
	pthread_mutex_init(&inbox->lock, NULL);
	sleepers_init(&inbox->arrived);
	message_queue_init(&inbox->queue);
	level_init(&inbox->receivable);
}

void inbox_destroy(struct inbox *inbox)
{
	pthread_mutex_destroy(&inbox->lock);
}

void outbox_init(struct outbox *outbox)
{
	list_init(&outbox->of_rooms);
	level_init(&outbox->room);
	list_init(&outbox->outlet.due);
	list_init(&outbox->outlet.unnamed);
}

int inbox_wait(struct inbox *inbox, beam_deadline deadline)
{
	int r = 0;

	while (!inbox->queue.n) {
		int state = inbox_state(inbox);

		if (state != NOT_ENDED)
			return state;
		if (r < 0)
			return r;
		r = baton_wait(&inbox->channel->link, &inbox->lock, &inbox->arrived, deadline);
	}
	return 1;
}

/* True if the message has attachments that are yet to be settled. */
static bool holds_attachments(const struct beam_message *message)
{
	unsigned i = 0;

	while (i < message->n_charged && message->fds[i] < 0)
		i++;
	return i < message->n_charged;
}

/*
 * True if the credit for a message need not be written at once. Credit that is returned only
 * because the peer is short of attachments is of no use to it until the attachments of the message
 * are settled. Then both are written together. Credit that waits like this has the same bound as
 * credit that is withheld.
 */
static bool can_wait(const struct inlet *inlet, const struct beam_message *message)
{
	return inlet->late || (inlet_owes_little(inlet) && holds_attachments(message));
}

struct beam_message *inbox_take(struct inbox *inbox, struct owed *owed)
{
	struct beam_channel *channel = inbox->channel;
	struct beam_message *message = message_queue_take(&inbox->queue);
	struct inlet *inlet = message->origin;

	inbox->messages++;
	inbox->bytes += message->size;
	inbox->attachments += message->n_fds;
	inlet->queued--;
	if (inlet_took(inlet, message)) {
		pthread_mutex_lock(&channel->link.writer.lock);
		tx_return_withheld(&channel->link.writer.tx, inlet);
		owed->write |= !can_wait(inlet, message);
		pthread_mutex_unlock(&channel->link.writer.lock);
	}
	if (inlet->closed && !inlet->queued) {
		inbox_inlet_done(channel, inlet);
		owed->write = true;
	}
	message->origin = NULL;
	return message;
}

void inbox_settle(struct beam_channel *channel, const struct owed *owed)
{
	if (!owed->write)
		return;
	pthread_mutex_lock(&channel->link.writer.lock);
	write_pending(&channel->link);
	pthread_mutex_unlock(&channel->link.writer.lock);
}

void inbox_end_reading(struct inbox *inbox, int end)
{
	pthread_mutex_lock(&inbox->lock);
	if (inbox->end == NOT_ENDED)
		inbox->end = end;
	inbox_show(inbox);
	sleepers_wake_all(&inbox->channel->link, &inbox->arrived);
	pthread_mutex_unlock(&inbox->lock);
}

size_t inbox_discard(struct beam_channel *channel, struct message_queue *queue)
{
	struct beam_message *message;
	uint32_t pool = 0;
	size_t n = queue->n;

	if (!n)
		return 0;
	while ((message = message_queue_take(queue))) {
		pool += message->overdraft;
		if (message->call)
			request_refuse(message->call);
		beam_message_free(message);
	}
	pthread_mutex_lock(&channel->link.writer.lock);
	tx_return_pool(&channel->link.writer.tx, pool);
	channel->discarded += n;
	pthread_mutex_unlock(&channel->link.writer.lock);
	return n;
}

void inbox_inlet_done(struct beam_channel *channel, struct inlet *inlet)
{
	list_remove(&inlet->of_topic);
	pthread_mutex_lock(&channel->link.writer.lock);
	tx_reset_inlet(&channel->link.writer.tx, inlet, RESET_DONE);
	pthread_mutex_unlock(&channel->link.writer.lock);
}
