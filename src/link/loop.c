/* SPDX-License-Identifier: MIT */
/*
 * Links without a thread: the program's loop waits for the socket itself and does what the thread
 * would do, turn by turn. There are no ticks, for the loop depends on being told of input, and no
 * bursts. Such a link takes no descriptor but its socket; the others are made when a thread waits
 * (the kick) or the loop asks for the nudge.
 *
 * If the loop lets go of a link while something is left to be sent, or the other side has yet to
 * say goodbye, a thread takes over.
 */
#include <link/link.h>
#include <link/tuning.h>

short loop_events(const struct link *link)
{
	short input = link->reader.over ? 0 : POLLIN;

	return write_wants_room(link) ? (short)(input | POLLOUT) : input;
}

/* ---- Turns ----------------------------------------------------------------------------------- */

/* Does what there is to do; no lock is held. False: it is over. */
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

/* What shows on the socket, as far as it matters. */
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

/* The thread that takes over. */
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
		/* It may be about something that was before. */
		write_nudge(link);
	}
	return link->thread.nudge;
}

/* What standby_finish() left to the loop that had the descriptor. */
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
