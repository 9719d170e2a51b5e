/* SPDX-License-Identifier: MIT */
/*
 * Topics: their names, handles and ends.
 *
 * A topic is a name with two directions: an outlet, of which the peer is told, and the inlets that
 * the peer has opened under that name. There is usually one inlet. There are several while older
 * ones, which are closed already, still have messages in the queue.
 *
 * A topic's memory is counted: one reference is for its entry among the names (handles keep it
 * there), one is for its outlet until the id is free again, and one is for each inlet until that is
 * closed.
 */
#include <base/options.h>
#include <base/sys.h>
#include <channel/internal.h>
#include <socket/reaper.h>
#include <string.h>

void topic_memory_ref(struct beam_topic *topic)
{
	atomic_fetch_add_explicit(&topic->memory, 1, memory_order_relaxed);
}

void topic_memory_unref(struct beam_topic *topic)
{
	annotate_release(&topic->memory);
	if (atomic_fetch_sub_explicit(&topic->memory, 1, memory_order_acq_rel) != 1)
		return;
	annotate_acquire(&topic->memory);
	inbox_destroy(&topic->inbox);
	channel_memory_unref(topic->channel);
	free(topic);
}

/* ---- Names ----------------------------------------------------------------------------------- */

/* The tree contains pointers to the names, which lie inside the topics. */
static int topic_by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

struct beam_topic *topic_find(struct beam_channel *channel, const char *name)
{
	void *found = tfind(name, &channel->names, topic_by_name);

	return found ? list_entry(*(char **)found, struct beam_topic, name) : NULL;
}

struct beam_topic *topic_make(struct beam_channel *channel, const char *name)
{
	size_t size = strlen(name);
	struct beam_topic *topic = sys_calloc(1, sizeof *topic + size + 1);

	if (!topic)
		return NULL;
	memcpy(topic->name, name, size);
	topic->name_size = size;
	topic->channel = channel;
	if (!sys_tsearch(topic->name, &channel->names, topic_by_name)) {
		free(topic);
		return NULL;
	}
	atomic_init(&topic->memory, 1);
	annotate_atomic(&topic->memory);
	inbox_init(&topic->inbox, channel, channel->read_end);
	outbox_init(&topic->outbox);
	list_init(&topic->of_channel);
	list_init(&topic->unclaimed);
	list_init(&topic->inlets);
	topic->outbox.outlet.close_wanted = true;
	list_append(&channel->topics, &topic->of_channel);
	channel_memory_ref(channel);
	return topic;
}

static void add_statistics(struct beam_topic *topic, struct beam_statistics *sum)
{
	struct outlet *outlet = &topic->outbox.outlet;

	pthread_mutex_lock(&topic->inbox.lock);
	sum->messages_received += topic->inbox.messages;
	sum->bytes_received += topic->inbox.bytes;
	sum->attachments_received += topic->inbox.attachments;
	sum->messages_discarded += topic->inbox.discarded;
	for (struct beam_message *message = topic->inbox.queue.first; message; message = message->next) {
		sum->messages_queued++;
		sum->bytes_queued += message->size;
		sum->attachments_queued += message->n_fds;
	}
	pthread_mutex_unlock(&topic->inbox.lock);
	pthread_mutex_lock(&topic->channel->link.writer.lock);
	sum->messages_sent += outlet->messages;
	sum->bytes_sent += outlet->bytes;
	sum->attachments_sent += outlet->attachments;
	sum->messages_lost += outlet->losses.messages;
	pthread_mutex_unlock(&topic->channel->link.writer.lock);
}

void topic_forget(struct beam_topic *topic)
{
	struct beam_channel *channel = topic->channel;

	tdelete(topic->name, &channel->names, topic_by_name);
	list_remove(&topic->of_channel);
	list_remove(&topic->unclaimed);
	channel_show(channel);
	add_statistics(topic, &channel->past);
	/*
	 * The messages that are still in its queue are discarded with it, so they do not count as
	 * queued.
	 */
	channel->past.messages_queued = channel->past.bytes_queued = channel->past.attachments_queued = 0;
}

void topic_claim(struct beam_topic *topic)
{
	struct beam_channel *channel = topic->channel;

	if (topic->handles++)
		return;
	list_remove(&topic->unclaimed);
	channel_show(channel);
	pthread_mutex_lock(&channel->link.writer.lock);
	if (!channel->link.writer.send_error) {
		topic_memory_ref(topic);
		tx_open(&channel->link.writer.tx, &topic->outbox.outlet, topic->name, topic->name_size);
		write_pending(&channel->link);
	}
	pthread_mutex_unlock(&channel->link.writer.lock);
}

int beam_topic_open(beam_topic **ret, beam_channel *channel, const char *name)
{
	WITHOUT_CANCELLATION;
	struct beam_topic *topic;
	int r = 0;

	if (!ret || !channel || !name || !*name)
		return -EINVAL;
	if (strnlen(name, BEAM_TOPIC_NAME_MAX + 1) > BEAM_TOPIC_NAME_MAX)
		return -ENAMETOOLONG;
	if (channel_foreign(channel))
		return -ECHILD;
	pthread_mutex_lock(&channel->lock);
	topic = topic_find(channel, name);
	/*
	 * Until reading has ended, messages may still arrive, even if nothing can be sent any more.
	 */
	if (!topic && channel->read_end != NOT_ENDED)
		r = channel->read_end ? channel->read_end : -EPIPE;
	if (!topic && !r) {
		topic = topic_make(channel, name);
		r = topic ? 0 : -ENOMEM;
	}
	if (!r) {
		topic_claim(topic);
		*ret = topic;
	}
	pthread_mutex_unlock(&channel->lock);
	return r;
}

int beam_channel_accept(beam_channel *channel, beam_topic **ret, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	int r = 0;

	if (!channel || !ret)
		return -EINVAL;
	if (channel_foreign(channel))
		return -ECHILD;
	pthread_mutex_lock(&channel->lock);
	while (list_empty(&channel->unclaimed) && r == 0) {
		if (channel->read_end != NOT_ENDED) {
			r = channel->read_end;
			break;
		}
		r = baton_wait(&channel->link, &channel->lock, &channel->changed, deadline);
	}
	if (!list_empty(&channel->unclaimed)) {
		*ret = list_entry(channel->unclaimed.next, struct beam_topic, unclaimed);
		topic_claim(*ret);
		r = 1;
	}
	pthread_mutex_unlock(&channel->lock);
	return r;
}

beam_topic *beam_topic_ref(beam_topic *topic)
{
	if (topic && !channel_foreign(topic->channel)) {
		pthread_mutex_lock(&topic->channel->lock);
		topic->handles++;
		pthread_mutex_unlock(&topic->channel->lock);
	}
	return topic;
}

const char *beam_topic_name(const beam_topic *topic)
{
	return topic ? topic->name : NULL;
}

beam_channel *beam_topic_channel(const beam_topic *topic)
{
	return topic ? topic->channel : NULL;
}

void beam_topic_set_user_data(beam_topic *topic, void *data)
{
	if (topic)
		atomic_store_explicit(&topic->user_data, data, memory_order_release);
}

void *beam_topic_user_data(const beam_topic *topic)
{
	return topic ? atomic_load_explicit(&topic->user_data, memory_order_acquire) : NULL;
}

/* ---- Ends ------------------------------------------------------------------------------------ */

static void close_outlet(struct beam_topic *topic)
{
	struct beam_channel *channel = topic->channel;
	bool forgotten;

	pthread_mutex_lock(&channel->link.writer.lock);
	forgotten = tx_close(&channel->link.writer.tx, &topic->outbox.outlet);
	write_pending(&channel->link);
	pthread_mutex_unlock(&channel->link.writer.lock);
	if (forgotten)
		topic_memory_unref(topic);
}

static void reset_inlets(struct beam_topic *topic, enum reset_reason reason)
{
	struct beam_channel *channel = topic->channel;
	struct message_queue thrown;
	struct list *link;

	message_queue_init(&thrown);
	pthread_mutex_lock(&topic->inbox.lock);
	topic->inbox.reset = true;
	topic->inbox.refused = topic->inbox.refused || reason == RESET_REFUSED;
	message_queue_splice(&thrown, &topic->inbox.queue);
	topic->inbox.discarded += thrown.n;
	pthread_mutex_lock(&channel->link.writer.lock);
	while ((link = list_take_first(&topic->inlets))) {
		struct inlet *inlet = list_entry(link, struct inlet, of_topic);

		inlet->discard = true;
		inlet->queued = 0;
		tx_reset_inlet(&channel->link.writer.tx, inlet, inlet->closed ? RESET_DONE : reason);
	}
	pthread_mutex_unlock(&channel->link.writer.lock);
	inbox_show(&topic->inbox);
	sleepers_wake_all(&channel->link, &topic->inbox.arrived);
	pthread_mutex_unlock(&topic->inbox.lock);
	inbox_discard(channel, &thrown);
	pthread_mutex_lock(&channel->link.writer.lock);
	write_pending(&channel->link);
	pthread_mutex_unlock(&channel->link.writer.lock);
}

int beam_topic_close_send(beam_topic *topic)
{
	WITHOUT_CANCELLATION;

	if (!topic)
		return -EINVAL;
	if (channel_foreign(topic->channel))
		return -ECHILD;
	close_outlet(topic);
	return 0;
}

static int close_receive(struct beam_topic *topic, enum reset_reason reason)
{
	WITHOUT_CANCELLATION;

	if (!topic)
		return -EINVAL;
	if (channel_foreign(topic->channel))
		return -ECHILD;
	reset_inlets(topic, reason);
	return 0;
}

static int close_both(struct beam_topic *topic, enum reset_reason reason)
{
	int r = close_receive(topic, reason);

	return r < 0 ? r : beam_topic_close_send(topic);
}

int beam_topic_close_receive(beam_topic *topic)
{
	return close_receive(topic, RESET_UNWANTED);
}

int beam_topic_close(beam_topic *topic)
{
	return close_both(topic, RESET_UNWANTED);
}

int beam_topic_refuse(beam_topic *topic)
{
	return close_both(topic, RESET_REFUSED);
}

beam_topic *beam_topic_unref(beam_topic *topic)
{
	WITHOUT_CANCELLATION;
	struct beam_channel *channel;
	bool last, forgotten = false;

	if (!topic || channel_foreign(topic->channel))
		return NULL;
	channel = topic->channel;
	pthread_mutex_lock(&channel->lock);
	last = --topic->handles == 0;
	if (last) {
		/*
		 * From here on, whoever opens the name gets another topic. So the session must know
		 * before the lock is released that this one is closing.
		 */
		topic_forget(topic);
		pthread_mutex_lock(&channel->link.writer.lock);
		forgotten = tx_close(&channel->link.writer.tx, &topic->outbox.outlet);
		pthread_mutex_unlock(&channel->link.writer.lock);
	}
	pthread_mutex_unlock(&channel->lock);
	if (!last)
		return NULL;
	reset_inlets(topic, RESET_UNWANTED);
	topic_close_fds(topic);
	if (forgotten)
		topic_memory_unref(topic);
	topic_memory_unref(topic); /* NOLINT(clang-analyzer-unix.Malloc): two references, as counted */
	return NULL;
}

/* ---- Statistics ------------------------------------------------------------------------------ */

/*
 * Adds how many senders wait on an outbox, or on all if it is NULL. The writer's lock is not held.
 */
static void add_waiting(struct beam_channel *channel, const struct outbox *outbox, struct beam_statistics *sum)
{
	pthread_mutex_lock(&channel->link.writer.lock);
	tx_count_waiting(&channel->link.writer.tx, outbox ? &outbox->outlet : NULL, &sum->waiting_for_credit,
			 &sum->waiting_for_call);
	sum->waiting_for_room = outbox ? outbox->waiting_for_room : channel->waiting_for_room;
	pthread_mutex_unlock(&channel->link.writer.lock);
}

int beam_topic_statistics(beam_topic *topic, struct beam_statistics *ret, size_t size)
{
	WITHOUT_CANCELLATION;
	struct beam_statistics sum = {0};

	if (!topic || !ret)
		return -EINVAL;
	if (channel_foreign(topic->channel))
		return -ECHILD;
	add_statistics(topic, &sum);
	add_waiting(topic->channel, &topic->outbox, &sum);
	options_give(ret, size, &sum, sizeof sum);
	return 0;
}

static void give_losses(struct beam_channel *channel, const struct losses *losses, struct beam_losses *ret, size_t size)
{
	struct beam_losses known;

	pthread_mutex_lock(&channel->link.writer.lock);
	known = (struct beam_losses){losses->messages, losses->first_error, losses->last_error};
	pthread_mutex_unlock(&channel->link.writer.lock);
	options_give(ret, size, &known, sizeof known);
}

int beam_topic_losses(beam_topic *topic, struct beam_losses *ret, size_t size)
{
	WITHOUT_CANCELLATION;

	if (!topic || !ret)
		return -EINVAL;
	if (channel_foreign(topic->channel))
		return -ECHILD;
	give_losses(topic->channel, &topic->outbox.outlet.losses, ret, size);
	return 0;
}

int beam_channel_losses(beam_channel *channel, struct beam_losses *ret, size_t size)
{
	WITHOUT_CANCELLATION;

	if (!channel || !ret)
		return -EINVAL;
	if (channel_foreign(channel))
		return -ECHILD;
	give_losses(channel, &channel->link.writer.tx.losses, ret, size);
	return 0;
}

int beam_channel_statistics(beam_channel *channel, struct beam_statistics *ret, size_t size)
{
	WITHOUT_CANCELLATION;
	struct beam_statistics sum;

	if (!channel || !ret)
		return -EINVAL;
	if (channel_foreign(channel))
		return -ECHILD;
	pthread_mutex_lock(&channel->lock);
	sum = channel->past;
	for (struct list *link = channel->topics.next; link != &channel->topics; link = link->next)
		add_statistics(list_entry(link, struct beam_topic, of_channel), &sum);
	pthread_mutex_unlock(&channel->lock);
	pthread_mutex_lock(&channel->link.writer.lock);
	sum.messages_sent += channel->replies.messages_sent;
	sum.bytes_sent += channel->replies.bytes_sent;
	sum.attachments_sent += channel->replies.attachments_sent;
	/*
	 * This includes lost replies, and losses of topics that were released while messages were
	 * on their way.
	 */
	sum.messages_lost = channel->link.writer.tx.losses.messages;
	sum.messages_discarded = channel->discarded;
	pthread_mutex_unlock(&channel->link.writer.lock);
	sum.messages_received += atomic_load_explicit(&channel->replies_taken, memory_order_relaxed);
	sum.bytes_received += atomic_load_explicit(&channel->reply_bytes_taken, memory_order_relaxed);
	sum.attachments_received += atomic_load_explicit(&channel->reply_attachments_taken, memory_order_relaxed);
	add_waiting(channel, NULL, &sum);
	sum.attachments_lost = atomic_load_explicit(&channel->attachments_lost, memory_order_relaxed);
	options_give(ret, size, &sum, sizeof sum);
	return 0;
}
