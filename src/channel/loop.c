/* SPDX-License-Identifier: MIT */
/*
 * Channels without a thread: the caller's loop waits for the socket itself and does what the thread would do, turn by turn. There are no ticks,
 * for the loop depends on being told of input, and no bursts. Such a channel takes no descriptor but its socket; the others are made
 * when a thread waits (the kick) or the loop asks for the nudge.
 *
 * When the last handle goes and something is left to be sent, or the other side has yet to say goodbye, a thread takes over.
 */
#include <beam/event.h>
#include <channel/internal.h>
#include <channel/tuning.h>

static int loop_check(const struct beam_channel *channel)
{
	if (!channel)
		return -EINVAL;
	if (channel_foreign(channel))
		return -ECHILD;
	return channel->options.loop ? 0 : -EINVAL;
}

/* What to wait for on the socket. The tx_lock is held. */
static short events(const struct beam_channel *channel)
{
	short input = channel->read_over ? 0 : POLLIN;

	return write_wants_room(channel) ? (short)(input | POLLOUT) : input;
}

/* ---- Turns ------------------------------------------------------------------------------------------------------------------- */

/* Does what there is to do; no lock is held. False: it is over. */
static bool work(struct beam_channel *channel, int shown)
{
	struct rest rest = standby_look(channel, false);

	if (rest.over)
		return false;
	if (shown & ~POLLIN) {
		pthread_mutex_lock(&channel->tx_lock);
		channel->full = false; /* it has room again */
		rooms_show(channel);
		pthread_mutex_unlock(&channel->tx_lock);
	}
	standby_work(channel, shown & ~POLLOUT, rest.stalled);
	return !standby_look(channel, true).over;
}

/* A turn, if nobody else is at it. The tx_lock is held before and after. */
static void loop_turn(struct beam_channel *channel, int shown)
{
	uint64_t count;
	bool over;

	if (channel->finished || channel->dispatching)
		return;
	if (channel->awake)
		channel->awake = sys_read(channel->nudge, &count, sizeof count) < 0;
	channel->dispatching = channel->awake = true;
	pthread_mutex_unlock(&channel->tx_lock);
	over = !work(channel, shown);
	if (over)
		standby_finish(channel);
	pthread_mutex_lock(&channel->tx_lock);
	channel->dispatching = false;
	if (channel->awake) {
		channel->awake = false;
		write_nudge(channel);
	}
}

/* What shows on the socket, as far as it matters. */
static int loop_wait_for(struct beam_channel *channel, short wanted, beam_deadline until)
{
	return transport_wait(&channel->transport, wanted, -1, until) == 1 ? wanted : 0;
}

int loop_help(struct beam_channel *channel, beam_deadline deadline)
{
	beam_deadline until = deadline_earlier(deadline, deadline_in(HELP_NS));
	short wanted = events(channel);
	int shown;

	if (deadline_passed(deadline))
		return deadline_error(deadline);
	if (channel->dispatching) {
		write_wait(channel, false, until);
		return 0;
	}
	pthread_mutex_unlock(&channel->tx_lock);
	shown = loop_wait_for(channel, wanted, until);
	pthread_mutex_lock(&channel->tx_lock);
	loop_turn(channel, shown);
	return 0;
}

/* The thread that takes over. */
static void loop_run(void *argument)
{
	struct beam_channel *channel = argument;
	int shown;

	do {
		beam_deadline until = deadline_earlier(standby_look(channel, false).until, deadline_in(HELP_NS));
		short wanted;

		pthread_mutex_lock(&channel->tx_lock);
		wanted = events(channel);
		pthread_mutex_unlock(&channel->tx_lock);
		shown = loop_wait_for(channel, wanted, until);
	} while (work(channel, shown));
	standby_finish(channel);
	channel_memory_unref(channel);
}

/* What standby_finish() left to the loop that had the descriptor. */
static void loop_release(struct beam_channel *channel)
{
	process_finished(channel);
	transport_release(&channel->transport);
}

void loop_let_go(struct beam_channel *channel)
{
	bool finished;

	pthread_mutex_lock(&channel->tx_lock);
	finished = channel->finished;
	channel->dispatching = true;
	pthread_mutex_unlock(&channel->tx_lock);
	if (finished)
		loop_release(channel);
	else if (work(channel, 0) && thread_start(loop_run, channel, "beam") == 0)
		return;
	else
		standby_finish(channel);
	channel_memory_unref(channel);
}

/* ---- The interface ------------------------------------------------------------------------------------------------------------- */

int beam_channel_loop_fd(beam_channel *channel)
{
	int r = loop_check(channel);

	return r < 0 ? r : transport_fd(&channel->transport);
}

int beam_channel_loop_events(beam_channel *channel)
{
	WITHOUT_CANCELLATION;
	int r = loop_check(channel);

	if (r < 0)
		return r;
	pthread_mutex_lock(&channel->tx_lock);
	r = events(channel);
	pthread_mutex_unlock(&channel->tx_lock);
	return r;
}

int beam_channel_loop_deadline(beam_channel *channel, beam_deadline *ret)
{
	WITHOUT_CANCELLATION;
	int r = ret ? loop_check(channel) : -EINVAL;

	if (!r)
		*ret = standby_look(channel, false).until;
	return r;
}

int beam_channel_loop_nudge_fd(beam_channel *channel)
{
	WITHOUT_CANCELLATION;
	int r = loop_check(channel);

	if (r < 0)
		return r;
	pthread_mutex_lock(&channel->tx_lock);
	if (channel->finished) {
		r = -EPIPE;
	} else if (channel->nudge < 0) {
		channel->nudge = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		r = channel->nudge < 0 ? -errno : channel->nudge;
		/* It may be about something that was before. */
		write_nudge(channel);
	} else {
		r = channel->nudge;
	}
	pthread_mutex_unlock(&channel->tx_lock);
	return r;
}

int beam_channel_dispatch(beam_channel *channel, int shown)
{
	WITHOUT_CANCELLATION;
	int r = loop_check(channel);

	if (r < 0)
		return r;
	pthread_mutex_lock(&channel->tx_lock);
	loop_turn(channel, shown);
	r = !channel->finished;
	pthread_mutex_unlock(&channel->tx_lock);
	return r;
}
