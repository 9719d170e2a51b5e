/* SPDX-License-Identifier: MIT */
/*
 * Channels without a thread: the caller's loop does what the thread would do, turn by turn, through the descriptor by which the thread would
 * wait. There are no ticks, for the loop depends on being told of input, and no bursts.
 *
 * When the last handle goes and something is left to be sent, or the other side has yet to say goodbye, a thread takes over.
 */
#include <beam/event.h>
#include <channel/internal.h>

/* Who waits for a turn of somebody else's looks again after so long. */
enum { HELP_NS = 10 * 1000 * 1000 };

int loop_begin(struct beam_channel *channel)
{
	int r;

	baton_depend(channel);
	pthread_mutex_lock(&channel->tx_lock);
	r = standby_watch(channel);
	pthread_mutex_unlock(&channel->tx_lock);
	return r;
}

static int check(const struct beam_channel *channel)
{
	if (!channel)
		return -EINVAL;
	if (channel_foreign(channel))
		return -ECHILD;
	return channel->options.loop ? 0 : -EINVAL;
}

/* A turn, if nobody else is at it. The tx_lock is held before and after. */
static void turn(struct beam_channel *channel, beam_deadline deadline)
{
	bool over;

	if (channel->finished || channel->dispatching)
		return;
	channel->dispatching = channel->awake = true;
	pthread_mutex_unlock(&channel->tx_lock);
	over = !standby_turn(channel, deadline);
	if (over)
		standby_finish(channel);
	else
		standby_rest(channel);
	pthread_mutex_lock(&channel->tx_lock);
	channel->dispatching = false;
}

int loop_help(struct beam_channel *channel, beam_deadline deadline)
{
	if (deadline_passed(deadline))
		return deadline_error(deadline);
	if (channel->dispatching)
		write_wait(channel, false, deadline_earlier(deadline, clock_now() + HELP_NS));
	else
		turn(channel, deadline);
	return 0;
}

void loop_let_go(struct beam_channel *channel)
{
	bool finished;

	pthread_mutex_lock(&channel->tx_lock);
	finished = channel->finished;
	channel->dispatching = true;
	pthread_mutex_unlock(&channel->tx_lock);
	if (finished)
		close(channel->epoll);
	else if (standby_turn(channel, BEAM_NOWAIT) && thread_start(standby_run, channel, "beam") == 0)
		return;
	else
		standby_finish(channel);
	channel_memory_unref(channel);
}

int beam_channel_loop_fd(beam_channel *channel)
{
	int r = check(channel);

	return r < 0 ? r : channel->epoll;
}

int beam_channel_loop_events(beam_channel *channel)
{
	int r = check(channel);

	return r < 0 ? r : POLLIN;
}

int beam_channel_loop_deadline(beam_channel *channel, beam_deadline *ret)
{
	WITHOUT_CANCELLATION;
	int r = ret ? check(channel) : -EINVAL;

	if (!r)
		*ret = standby_deadline(channel);
	return r;
}

int beam_channel_dispatch(beam_channel *channel)
{
	WITHOUT_CANCELLATION;
	int r = check(channel);

	if (r < 0)
		return r;
	pthread_mutex_lock(&channel->tx_lock);
	turn(channel, BEAM_NOWAIT);
	r = !channel->finished;
	pthread_mutex_unlock(&channel->tx_lock);
	return r;
}
