/* SPDX-License-Identifier: MIT */
/*
 * Receiving from a topic.
 */
#include <channel/internal.h>
#include <string.h>

ssize_t beam_topic_receive_many(beam_topic *topic, beam_message **ret, size_t n, unsigned flags, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	struct owed owed = {0};
	size_t taken = 0;
	int r;

	if (!topic || !ret || !n || flags)
		return -EINVAL;
	if (channel_foreign(topic->channel))
		return -ECHILD;
	pthread_mutex_lock(&topic->inbox.lock);
	r = inbox_wait(&topic->inbox, deadline);
	while (taken < n && topic->inbox.queue.n)
		ret[taken++] = inbox_take(&topic->inbox, &owed);
	inbox_show(&topic->inbox);
	pthread_mutex_unlock(&topic->inbox.lock);
	inbox_settle(topic->channel, &owed);
	return taken ? (ssize_t)taken : r;
}

int beam_topic_receive(beam_topic *topic, beam_message **ret, unsigned flags, beam_deadline deadline)
{
	return (int)beam_topic_receive_many(topic, ret, 1, flags, deadline);
}

int beam_topic_receive_into(beam_topic *topic, void *buffer, size_t capacity, size_t *ret_size, int *ret_fds,
			    size_t capacity_fds, size_t *ret_n_fds, unsigned flags, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	struct beam_message *message = NULL;
	struct owed owed = {0};
	int r;

	if (!topic || !ret_size || flags || (capacity && !buffer) || (capacity_fds && (!ret_fds || !ret_n_fds)))
		return -EINVAL;
	if (channel_foreign(topic->channel))
		return -ECHILD;
	pthread_mutex_lock(&topic->inbox.lock);
	r = inbox_wait(&topic->inbox, deadline);
	if (r == 1) {
		message = topic->inbox.queue.first;
		*ret_size = message->size;
		if (ret_n_fds)
			*ret_n_fds = message->n_fds;
		if (message->size > capacity || message->n_fds > capacity_fds) {
			/*
			 * The message stays in the queue. Other threads that wait may have more
			 * space for it.
			 */
			sleepers_wake_all(&topic->channel->link, &topic->inbox.arrived);
			message = NULL;
			r = -EMSGSIZE;
		} else {
			inbox_take(&topic->inbox, &owed);
			inbox_show(&topic->inbox);
		}
	}
	pthread_mutex_unlock(&topic->inbox.lock);
	if (!message)
		return r;
	inbox_settle(topic->channel, &owed);
	if (message->size)
		memcpy(buffer, message->data, message->size);
	for (unsigned i = 0; i < message->n_fds; i++)
		ret_fds[i] = message->fds[i];
	message_disown_fds(message);
	beam_message_free(message);
	return 1;
}
