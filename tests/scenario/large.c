/* SPDX-License-Identifier: MIT */
/*
 * Messages of several frames, larger than a window, than the first limit, and than the socket's
 * buffer, while all calls that can fail do so in turn.
 */
#include <scenario/ledger.h>
#include <scenario/scenarios.h>

static void send_large(struct flow *flow, beam_topic *topic)
{
	flow_send(flow, topic, SEND, 100, 0);
	flow_send(flow, topic, SENDV, scale(5) << 18, 0);
	flow_send(flow, topic, SEND_MESSAGE, 100 << 10, 0);
	flow_send(flow, topic, SEND_MANY, 70 << 10, 0);
	flow_send(flow, topic, SEND, 20, 0);
}

void large_messages(void)
{
	struct beam_channel_options options = ends_options();
	struct ends *ends;

	options.socket_buffer_bytes = 64 << 10;
	ends = ends_make(&options);
	if (ends)
		ends_send_to_reader(ends, send_large);
}

/*
 * Nobody receives, and there is less credit than the message needs. The send fails, and the topic
 * still works.
 */
void large_messages_given_up(void)
{
	struct beam_channel_options options = ends_options();
	bool was_strict = strict;
	struct ends *ends;

	options.socket_buffer_bytes = 16 << 10;
	options.pool_bytes = options.message_bytes = 1 << 20;
	options.topic_window_bytes = 64 << 10;
	ends = ends_make(&options);
	if (!ends)
		return;
	/* Some of these messages are not sent. */
	strict = false;
	for (int i = 0; i < 6; i++)
		flow_send_until(&ends->flow[0], ends->topic[0], SEND, 300 << 10, 0,
				i % 2 ? BEAM_NOWAIT : beam_in_ms(1));
	strict = was_strict;
	while (ends->flow[0].n_received < ends->flow[0].n_accepted && flow_receive(&ends->flow[0], ends->topic[1]) == 1)
		;
	flow_send(&ends->flow[0], ends->topic[0], SEND, 100, 0);
	ends_finish(ends);
}
