/* SPDX-License-Identifier: MIT */
/*
 * Receiving: out of the topic's queue, and the credit for it back to the other side.
 */
#include <channel/internal.h>
#include <string.h>

/* What is owed for messages that were taken. */
struct owed {
	uint64_t pool;
	uint32_t attachments;
	bool write;
};

/* A message was taken: its credit is withheld until there is enough of it. The topic's lock is held. */
static void account(struct beam_topic *topic, struct beam_message *message, struct owed *owed)
{
	struct beam_channel *channel = topic->channel;
	struct inlet *inlet = message->origin;

	topic->messages++;
	topic->bytes += message->size;
	topic->attachments += message->n_fds;
	owed->pool += message->overdraft;
	owed->attachments += message->n_fds;
	inlet->queued--;
	inlet->withheld_bytes += message->cost - message->overdraft;
	inlet->withheld_attachments += message->n_fds;
	if (inlet->closed) {
		if (!inlet->queued) {
			topic_inlet_done(topic, inlet);
			owed->write = true;
		}
	} else if (inlet->withheld_bytes >= channel->return_bytes ||
		   inlet->withheld_attachments > channel->return_attachments) {
		pthread_mutex_lock(&channel->tx_lock);
		tx_return(&channel->tx, inlet, inlet->withheld_bytes, inlet->withheld_attachments);
		pthread_mutex_unlock(&channel->tx_lock);
		inlet->withheld_bytes = inlet->withheld_attachments = 0;
		owed->write = true;
	}
	message->origin = NULL;
}

/* Sends the credit that is due. No lock is held. */
static void settle(struct beam_channel *channel, const struct owed *owed)
{
	if (!owed->pool && !owed->attachments && !owed->write)
		return;
	pthread_mutex_lock(&channel->tx_lock);
	channel_return_shared(channel, (uint32_t)owed->pool, owed->attachments);
	write_pending(channel);
	pthread_mutex_unlock(&channel->tx_lock);
}

/* Waits until the queue has a message: 1, or why there will be none. The topic's lock is held. */
static int wait_for_message(struct beam_topic *topic, beam_deadline deadline)
{
	int r = 0;

	while (!topic->queue.n) {
		int state = topic_end(topic);

		if (state != NOT_ENDED)
			return state;
		if (r < 0)
			return r;
		r = baton_wait(topic->channel, &topic->lock, &topic->arrived, deadline);
	}
	return 1;
}

ssize_t beam_topic_receive_many(beam_topic *topic, beam_message **ret, size_t n, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	struct owed owed = {0};
	size_t taken = 0;
	int r;

	if (!topic || !ret || !n)
		return -EINVAL;
	if (channel_foreign(topic->channel))
		return -ECHILD;
	pthread_mutex_lock(&topic->lock);
	r = wait_for_message(topic, deadline);
	while (taken < n && topic->queue.n) {
		struct beam_message *message = message_queue_take(&topic->queue);

		account(topic, message, &owed);
		ret[taken++] = message;
	}
	topic_show(topic);
	pthread_mutex_unlock(&topic->lock);
	settle(topic->channel, &owed);
	return taken ? (ssize_t)taken : r;
}

int beam_topic_receive(beam_topic *topic, beam_message **ret, beam_deadline deadline)
{
	return (int)beam_topic_receive_many(topic, ret, 1, deadline);
}

int beam_topic_receive_into(beam_topic *topic, void *buffer, size_t capacity, size_t *ret_size, int *ret_fds,
			    size_t capacity_fds, size_t *ret_n_fds, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	struct beam_message *message = NULL;
	struct owed owed = {0};
	int r;

	if (!topic || !ret_size || (capacity && !buffer) || (capacity_fds && (!ret_fds || !ret_n_fds)))
		return -EINVAL;
	if (channel_foreign(topic->channel))
		return -ECHILD;
	pthread_mutex_lock(&topic->lock);
	r = wait_for_message(topic, deadline);
	if (r == 1) {
		message = topic->queue.first;
		*ret_size = message->size;
		if (ret_n_fds)
			*ret_n_fds = message->n_fds;
		if (message->size > capacity || message->n_fds > capacity_fds) {
			/* It stays; whoever else waits may have more room. */
			sleepers_wake_all(topic->channel, &topic->arrived);
			message = NULL;
			r = -EMSGSIZE;
		} else {
			account(topic, message_queue_take(&topic->queue), &owed);
			topic_show(topic);
		}
	}
	pthread_mutex_unlock(&topic->lock);
	if (!message)
		return r;
	settle(topic->channel, &owed);
	if (message->size)
		memcpy(buffer, message->data, message->size);
	for (unsigned i = 0; i < message->n_fds; i++)
		ret_fds[i] = message->fds[i];
	message->n_fds = 0;
	beam_message_free(message);
	return 1;
}
