/* SPDX-License-Identifier: MIT */
/*
 * Links without a thread. The program's loop waits for the socket, and does in turns what the
 * thread would do. There are no ticks, because the loop must always learn of input, and no bursts.
 * Such a link has no descriptor except its socket. The kick is created when a thread waits, and the
 * nudge when the loop asks for it.
 *
 * If the loop releases a link before everything has been sent and the peer has said goodbye, a
 * thread takes over.
 */
#include <link/link.h>
#include <link/tuning.h>

short loop_events(const struct link *link)
{
	short input = link->reader.over ? 0 : POLLIN;

	return write_wants_room(link) ? (short)(input | POLLOUT) : input;
}

/* ---- Turns ----------------------------------------------------------------------------------- */

/* Does what is to be done. No lock is held. Returns false if the link is over. */
static bool work(struct link *link, int shown)
{
	struct rest rest = standby_look(link, false);

	if (rest.over)
		return false;
	if (shown & ~POLLIN) {
		pthread_mutex_lock(&link->writer.lock);
		link->writer.full = false; /* it has room again */
		write_tell_change(link);
		pthread_mutex_unlock(&link->writer.lock);
	}
	standby_work(link, shown & ~POLLOUT, rest.stalled);
	return !standby_look(link, true).over;
}

void loop_turn(struct link *link, int shown)
{
	uint64_t count;
	bool over;

	if (link->writer.finished || link->thread.dispatching)
		return;
	if (link->thread.awake)
		link->thread.awake = sys_read(link->thread.nudge, &count, sizeof count) < 0;
	link->thread.dispatching = link->thread.awake = true;
	pthread_mutex_unlock(&link->writer.lock);
	over = !work(link, shown);
	if (over)
		standby_finish(link, true);
	pthread_mutex_lock(&link->writer.lock);
	link->thread.dispatching = false;
	if (link->thread.awake) {
		link->thread.awake = false;
		write_nudge(link);
	}
}

/* Waits for the socket. Returns `wanted` if it is ready, and 0 otherwise. */
static int loop_wait_for(struct link *link, short wanted, beam_deadline until)
{
	return transport_wait(&link->transport, wanted, -1, until) == 1 ? wanted : 0;
}

int loop_help(struct link *link, beam_deadline deadline)
{
	beam_deadline until = deadline_earlier(deadline, deadline_in(HELP_NS));
	short wanted = loop_events(link);
	int shown;

	if (deadline_passed(deadline))
		return deadline_error(deadline);
	if (link->thread.dispatching) {
		write_wait(link, false, until);
		return 0;
	}
	pthread_mutex_unlock(&link->writer.lock);
	shown = loop_wait_for(link, wanted, until);
	pthread_mutex_lock(&link->writer.lock);
	loop_turn(link, shown);
	return 0;
}

/* The thread that takes over from the loop. */
static void loop_run(void *argument)
{
	struct link *link = argument;
	int shown;

	do {
		beam_deadline until = deadline_earlier(standby_look(link, false).until, deadline_in(HELP_NS));
		short wanted;

		pthread_mutex_lock(&link->writer.lock);
		wanted = loop_events(link);
		pthread_mutex_unlock(&link->writer.lock);
		shown = loop_wait_for(link, wanted, until);
	} while (work(link, shown));
	standby_finish(link, false);
	link->events->unref(link->owner, 1);
}

int loop_nudge(struct link *link)
{
	if (link->writer.finished)
		return -EPIPE;
	if (link->thread.nudge < 0) {
		link->thread.nudge = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (link->thread.nudge < 0)
			return -errno;
		/* There may be something to do already. */
		write_nudge(link);
	}
	return link->thread.nudge;
}

/* Does what standby_finish() left undone because the loop had the descriptor. */
static void loop_release(struct link *link)
{
	process_finished(link);
	transport_release(&link->transport);
}

void loop_let_go(struct link *link)
{
	bool finished;

	pthread_mutex_lock(&link->writer.lock);
	finished = link->writer.finished;
	link->thread.dispatching = true;
	pthread_mutex_unlock(&link->writer.lock);
	if (finished)
		loop_release(link);
	else if (work(link, 0) && thread_start(loop_run, link, "beam") == 0)
		return;
	else
		standby_finish(link, false);
	link->events->unref(link->owner, 1);
}
