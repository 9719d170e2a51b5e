/* SPDX-License-Identifier: MIT */
/* Channels without a thread, which a program's event loop drives. */
#include <beam/event.h>
#include <channel/internal.h>

static int loop_check(const struct beam_channel *channel)
{
	if (!channel)
		return -EINVAL;
	if (channel_foreign(channel))
		return -ECHILD;
	return channel->options.loop ? 0 : -EINVAL;
}

int beam_channel_loop_fd(beam_channel *channel)
{
	int r = loop_check(channel);

	return r < 0 ? r : transport_fd(&channel->link.transport);
}

int beam_channel_loop_events(beam_channel *channel)
{
	WITHOUT_CANCELLATION;
	int r = loop_check(channel);

	if (r < 0)
		return r;
	pthread_mutex_lock(&channel->link.writer.lock);
	r = loop_events(&channel->link);
	pthread_mutex_unlock(&channel->link.writer.lock);
	return r;
}

int beam_channel_loop_deadline(beam_channel *channel, beam_deadline *ret)
{
	WITHOUT_CANCELLATION;
	int r = ret ? loop_check(channel) : -EINVAL;

	if (!r)
		*ret = standby_look(&channel->link, false).until;
	return r;
}

int beam_channel_loop_nudge_fd(beam_channel *channel)
{
	WITHOUT_CANCELLATION;
	int r = loop_check(channel);

	if (r < 0)
		return r;
	pthread_mutex_lock(&channel->link.writer.lock);
	r = loop_nudge(&channel->link);
	pthread_mutex_unlock(&channel->link.writer.lock);
	return r;
}

int beam_channel_dispatch(beam_channel *channel, int shown)
{
	WITHOUT_CANCELLATION;
	int r = loop_check(channel);

	if (r < 0)
		return r;
	pthread_mutex_lock(&channel->link.writer.lock);
	loop_turn(&channel->link, shown);
	r = !channel->link.writer.finished;
	pthread_mutex_unlock(&channel->link.writer.lock);
	return r;
}
