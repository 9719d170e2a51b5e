/* SPDX-License-Identifier: MIT */
/*
 * Descriptors for event loops, and channels in loop mode, while all calls that can fail do so in
 * turn.
 */
#include <beam/event.h>
#include <poll.h>
#include <scenario/ledger.h>
#include <scenario/scenarios.h>

static void ask_for_fd(int fd)
{
	result_of(fd >= 0 ? 0 : fd, 0, -EMFILE, -ENFILE, -ENOMEM);
}

void descriptors_for_an_event_loop(void)
{
	struct ends *ends = ends_make(NULL);

	if (!ends)
		return;
	ask_for_fd(beam_topic_receive_fd(ends->topic[1]));
	ask_for_fd(beam_topic_send_fd(ends->topic[0]));
	ask_for_fd(beam_channel_accept_fd(ends->channel[0]));
	for (int i = 0; i < 3; i++) {
		flow_send(&ends->flow[0], ends->topic[0], i == 1 ? SENDV : SEND, 100, i == 1);
		flow_receive(&ends->flow[0], ends->topic[1]);
	}
	ends_release(ends, 1);
}

/* One round of a loop that runs only this channel. */
static void turn(beam_channel *channel)
{
	struct pollfd item = {.fd = beam_channel_loop_fd(channel), .events = (short)beam_channel_loop_events(channel)};
	beam_deadline deadline;
	int r;

	check_int(beam_channel_loop_deadline(channel, &deadline), 0);
	poll(&item, 1, 1);
	r = beam_channel_dispatch(channel, item.revents);
	check(r == 0 || r == 1);
}

/* Both channels are in loop mode. They are run until a message has arrived, or until a deadline. */
void a_channel_run_by_a_loop(void)
{
	struct beam_channel_options options = ends_options();
	beam_message *message = NULL;
	struct ends *ends;
	beam_deadline until;

	options.loop = 1;
	ends = ends_make(&options);
	if (!ends)
		return;
	ask_for_fd(beam_channel_loop_nudge_fd(ends->channel[1]));
	flow_send(&ends->flow[0], ends->topic[0], SEND, 100, 0);
	flow_send(&ends->flow[1], ends->topic[1], SENDV, 100, 1);
	for (until = soon();
	     now_ns() < until.ns && beam_topic_receive(ends->topic[1], &message, 0, BEAM_NOWAIT) == -EAGAIN;)
		for (int i = 0; i < 2; i++)
			turn(ends->channel[i]);
	if (message)
		flow_note(&ends->flow[0], message);
	check(message || !strict);
	result_of(beam_channel_flush(ends->channel[1], soon()), 0, -EAGAIN, -ETIMEDOUT, -EPIPE, -ECONNRESET, -ENOMEM);
	flow_receive(&ends->flow[1], ends->topic[0]);
	ends_release(ends, 2);
}
