/* SPDX-License-Identifier: MIT */
/*
 * Descriptors for event loops. Each shows something that a thread could also wait for. A descriptor
 * is made when it is first asked for. From then on input is read when it arrives, even if no thread
 * waits.
 */
#include <beam/event.h>
#include <channel/internal.h>

/* Where there is room, a message of this size can be sent without blocking. */
enum { ROOM_BYTES = 4096 };

/* True if sending a small message would not block: it would be accepted, or fail at once. */
static bool has_room(const struct beam_channel *channel, const struct outlet *outlet)
{

	if (channel->link.writer.send_error || outlet->losses.untold || outlet->reset || outlet->close_wanted)
		return true;
	return tx_has_credit(&channel->link.writer.tx, outlet, ROOM_BYTES) &&
	       ((!channel->link.writer.taken && !channel->link.writer.full) ||
		tx_has_space(&channel->link.writer.tx, outlet, ROOM_BYTES));
}

void rooms_show_all(struct beam_channel *channel)
{
	struct list *rooms = &channel->link.writer.watchers;

	for (struct list *link = rooms->next; link != rooms; link = link->next) {
		struct outbox *outbox = list_entry(link, struct outbox, of_rooms);

		level_put(&outbox->room, has_room(channel, &outbox->outlet));
	}
}

int fd_opened(struct beam_channel *channel, int fd, bool is_new)
{
	if (is_new)
		baton_depend(&channel->link);
	return fd;
}

static int inbox_fd(struct inbox *inbox)
{
	bool is_new;
	int fd;

	if (channel_foreign(inbox->channel))
		return -ECHILD;
	pthread_mutex_lock(&inbox->lock);
	fd = level_open(&inbox->receivable, &is_new);
	inbox_show(inbox);
	pthread_mutex_unlock(&inbox->lock);
	return fd_opened(inbox->channel, fd, is_new);
}

int beam_topic_receive_fd(beam_topic *topic)
{
	WITHOUT_CANCELLATION;

	return topic ? inbox_fd(&topic->inbox) : -EINVAL;
}

int beam_call_receive_fd(beam_call *call)
{
	WITHOUT_CANCELLATION;

	return call ? inbox_fd(&call->inbox) : -EINVAL;
}

int outbox_fd(struct beam_channel *channel, struct outbox *outbox)
{
	bool is_new;
	int fd;

	if (channel_foreign(channel))
		return -ECHILD;
	pthread_mutex_lock(&channel->link.writer.lock);
	fd = level_open(&outbox->room, &is_new);
	if (is_new)
		list_append(&channel->link.writer.watchers, &outbox->of_rooms);
	rooms_show(channel);
	pthread_mutex_unlock(&channel->link.writer.lock);
	return fd_opened(channel, fd, is_new);
}

int beam_topic_send_fd(beam_topic *topic)
{
	WITHOUT_CANCELLATION;

	return topic ? outbox_fd(topic->channel, &topic->outbox) : -EINVAL;
}

int beam_channel_accept_fd(beam_channel *channel)
{
	WITHOUT_CANCELLATION;
	bool is_new = false;
	int fd = -EPIPE;

	if (!channel)
		return -EINVAL;
	if (channel_foreign(channel))
		return -ECHILD;
	pthread_mutex_lock(&channel->lock);
	/* The descriptor is closed with the last handle, so it is not made after that. */
	if (channel->handles)
		fd = level_open(&channel->acceptable, &is_new);
	channel_show(channel);
	pthread_mutex_unlock(&channel->lock);
	return fd_opened(channel, fd, is_new);
}

void inbox_close_fd(struct inbox *inbox)
{
	bool receivable;

	pthread_mutex_lock(&inbox->lock);
	receivable = level_close(&inbox->receivable);
	pthread_mutex_unlock(&inbox->lock);
	if (receivable)
		baton_independ(&inbox->channel->link);
}

bool outbox_close_fd(struct outbox *outbox)
{
	list_remove(&outbox->of_rooms);
	return level_close(&outbox->room);
}

void topic_close_fds(struct beam_topic *topic)
{
	struct beam_channel *channel = topic->channel;
	bool room;

	inbox_close_fd(&topic->inbox);
	pthread_mutex_lock(&channel->link.writer.lock);
	room = outbox_close_fd(&topic->outbox);
	pthread_mutex_unlock(&channel->link.writer.lock);
	if (room)
		baton_independ(&channel->link);
}

void channel_close_fds(struct beam_channel *channel)
{
	bool acceptable;

	pthread_mutex_lock(&channel->lock);
	acceptable = level_close(&channel->acceptable);
	pthread_mutex_unlock(&channel->lock);
	if (acceptable)
		baton_independ(&channel->link);
}
