/* SPDX-License-Identifier: MIT */
/* Messages of several frames, over a window, over the first limit, over what the socket takes at once, while all that can fail fails in turn. */
#include <channel/ledger.h>

static void send_large(struct flow *flow, beam_topic *topic)
{
	flow_send(flow, topic, SEND, 100, 0);
	flow_send(flow, topic, SENDV, scale(5) << 18, 0);
	flow_send(flow, topic, SEND_MESSAGE, 100 << 10, 0);
	flow_send(flow, topic, SEND_MANY, 70 << 10, 0);
	flow_send(flow, topic, SEND, 20, 0);
}

static void large_messages(void)
{
	struct beam_channel_options options = ends_options();
	struct ends *ends;

	options.socket_buffer_bytes = 64 << 10;
	ends = ends_make(&options);
	if (ends)
		ends_send_to_reader(ends, send_large);
}

static void test_large_messages(void)
{
	check(sweep(large_messages) >= at_least(80));
}

static void test_large_messages_do_not_notice_what_passes(void)
{
	check(sweep_passing(large_messages) >= at_least(10));
}

static void test_large_messages_bear_what_lasts(void)
{
	check(sweep_lasting(large_messages) >= at_least(10));
}

/* Nobody reads, and there is less credit than the message needs: its sender gives up, and the topic goes on without it. */
static void give_up(void)
{
	struct beam_channel_options options = ends_options();
	struct ends *ends;

	options.socket_buffer_bytes = 16 << 10;
	options.pool_bytes = options.message_bytes = 1 << 20;
	options.topic_window_bytes = 64 << 10;
	ends = ends_make(&options);
	if (!ends)
		return;
	for (int i = 0; i < 6; i++)
		flow_send_until(&ends->flow[0], ends->topic[0], SEND, 300 << 10, 0, i % 2 ? BEAM_NOWAIT : beam_in_ms(1));
	flow_drain(&ends->flow[0], ends->topic[1]);
	flow_send(&ends->flow[0], ends->topic[0], SEND, 100, 0);
	ends_finish(ends);
}

static void test_large_messages_that_are_given_up(void)
{
	check(sweep(give_up) >= at_least(60));
}

static const struct test tests[] = {
    TEST(test_large_messages),
    TEST(test_large_messages_do_not_notice_what_passes),
    TEST(test_large_messages_bear_what_lasts),
    TEST(test_large_messages_that_are_given_up),
};
HARNESS_MAIN("channel-fault-large", tests)
