/* SPDX-License-Identifier: MIT */
/*
 * The reading right: what ends leading besides a message, and the options that decide who may read.
 */
#include <channel/scene.h>

static const struct beam_channel_options defaults = BEAM_CHANNEL_OPTIONS;

/* ---- Other reasons to stop leading ----------------------------------------------------------- */

static void test_a_reset_here_reaches_the_one_who_leads(void)
{
	struct receiver leader;

	begin(NULL);
	start(&leader, 0, BEAM_FOREVER);
	check_within(20000, view().taken);
	check_int(beam_topic_close_receive(topics[0]), 0);
	finish(&leader, 0);
	end();
}

static void test_a_close_here_reaches_the_one_who_leads_and_those_who_wait(void)
{
	struct receiver leader, other;

	begin(NULL);
	start(&leader, 0, BEAM_FOREVER);
	check_within(20000, view().taken);
	start(&other, 1, BEAM_FOREVER);
	check_within(20000, view().waiters == 1);
	check_int(beam_channel_close(channel, soon()), 0);
	finish(&leader, 0);
	finish(&other, 0);
	end();
}

static void test_the_peers_end_reaches_everybody_whoever_reads(void)
{
	struct receiver leader, other;

	for (int ticking = 0; ticking < 2; ticking++) {
		begin(NULL);
		if (ticking)
			make_it_tick();
		start(&leader, 0, BEAM_FOREVER);
		start(&other, 1, BEAM_FOREVER);
		check_within(20000, view().waiters == 1);
		raw_peer_close(&peer);
		finish(&leader, -ECONNRESET);
		finish(&other, -ECONNRESET);
		end();
	}
}

static void test_a_close_is_seen_though_nobody_waits(void)
{
	for (int ticking = 0; ticking < 2; ticking++) {
		begin(NULL);
		if (ticking)
			make_it_tick();
		raw_goodbye(&out);
		raw_peer_send(&peer, &out);
		check_within(20000, beam_topic_send(topics[0], "x", 1, 0, soon()) == -EPIPE);
		end();
	}
}

struct sender {
	atomic_bool done;
	int result;
};

static void *send_without_credit(void *argument)
{
	static const char payload[40000];
	struct sender *sender = argument;

	while ((sender->result = beam_topic_send(topics[0], payload, sizeof payload, 0, BEAM_FOREVER)) == 0)
		;
	atomic_store(&sender->done, true);
	return NULL;
}

static void test_a_sender_without_credit_leads_and_finds_it(void)
{
	struct sender sender = {0};
	struct receiver receiver;
	pthread_t thread;

	begin(NULL);
	thread = thread_spawn(send_without_credit, &sender);
	raw_peer_expect(&peer, RAW_DATA);
	check_within(20000, view().taken);
	raw_credit(&out, 1, 40064, 0);
	raw_peer_send(&peer, &out);
	raw_peer_expect(&peer, RAW_DATA);
	/* It also reads for others. */
	start(&receiver, 1, soon());
	say(1, "for another");
	finish(&receiver, 1);
	check(!atomic_load(&sender.done));
	check_int(beam_channel_close(channel, soon()), 0);
	thread_wait(thread);
	check_int(sender.result, -EPIPE);
	end();
}

static void test_accept_and_limits_lead_too(void)
{
	beam_topic *topic = NULL;

	begin(NULL);
	make_it_tick();
	raw_open(&out, TOPICS + 1, "new");
	raw_peer_send(&peer, &out);
	check_int(beam_channel_accept(channel, &topic, BEAM_NOWAIT), 1);
	beam_topic_unref(topic);
	check_int(beam_channel_accept(channel, &topic, BEAM_NOWAIT), -EAGAIN);
	end();
}

/*
 * The thread that watches releases memory when nothing more arrives, and so does the one that
 * leads.
 */
static void test_an_idle_channel_lets_go_of_its_memory(void)
{
	static const char large[60000];

	for (int leading = 0; leading < 2; leading++) {
		struct receiver receiver;
		size_t before;

		harness_context("%s", leading ? "while somebody leads" : "");
		begin(NULL);
		check_within(20000, is(STANDBY_WATCH, false) && is_silent());
		before = allocated_bytes();
		raw_data(&out, 1, large, sizeof large);
		raw_data(&out, 2, large, sizeof large);
		raw_peer_send(&peer, &out);
		for (unsigned i = 0; i < 2; i++) {
			start(&receiver, i, soon());
			finish(&receiver, 1);
		}
		if (leading)
			start(&receiver, 0, soon());
		check_within(20000, allocated_bytes() < before + 30000);
		if (leading) {
			say(0, "it goes on");
			finish(&receiver, 1);
		}
		end();
	}
}

/* ---- Options --------------------------------------------------------------------------------- */

static void test_a_dedicated_reader_is_the_only_one(void)
{
	struct beam_channel_options options = defaults;
	struct receiver receivers[TOPICS];

	options.dedicated_reader = 1;
	begin(&options);
	for (unsigned i = 0; i < TOPICS; i++)
		start(&receivers[i], i, soon());
	check_within(20000, view().waiters == TOPICS);
	for (unsigned i = 0; i < TOPICS; i++)
		say(i, "word");
	for (unsigned i = 0; i < TOPICS; i++)
		finish(&receivers[i], 1);
	check_int(view().led, 0);
	check(view().mode == STANDBY_WATCH);
	end();
}

/* How many waits are made without polling. If yielding always takes long, that is the reason. */
static unsigned pause_of_polling(void)
{
	const struct busy_poll *poll = &channel->link.reader.busy_poll;

	return poll->interval > poll->penalty ? poll->interval : poll->penalty;
}

static void test_polling_that_fails_is_given_up_and_tried_again_more_and_more_rarely(void)
{
	unsigned waits = 0;

	begin(NULL);
	for (; pause_of_polling() < 128 && waits < 10000; waits++) {
		struct receiver receiver;

		start(&receiver, 0, beam_in_ms(1));
		finish(&receiver, -ETIMEDOUT);
	}
	check_int(pause_of_polling(), 128);
	/* Between the attempts there are 1 + 2 + 4 + … + 64 waits without polling. */
	check(waits >= 127);
	end();
}

static void test_polling_can_be_turned_off(void)
{
	struct beam_channel_options options = defaults;
	struct receiver receiver;

	options.busy_poll_us = 0;
	begin(&options);
	for (int i = 0; i < 5; i++) {
		start(&receiver, 0, beam_in_ms(1));
		finish(&receiver, -ETIMEDOUT);
	}
	check_int(channel->link.reader.busy_poll.fails, 0);
	end();
}

static const struct test tests[] = {
    TEST(test_a_reset_here_reaches_the_one_who_leads),
    TEST(test_a_close_here_reaches_the_one_who_leads_and_those_who_wait),
    TEST(test_the_peers_end_reaches_everybody_whoever_reads),
    TEST(test_a_close_is_seen_though_nobody_waits),
    TEST(test_a_sender_without_credit_leads_and_finds_it),
    TEST(test_accept_and_limits_lead_too),
    TEST(test_an_idle_channel_lets_go_of_its_memory),
    TEST(test_a_dedicated_reader_is_the_only_one),
    TEST(test_polling_that_fails_is_given_up_and_tried_again_more_and_more_rarely),
    TEST(test_polling_can_be_turned_off),
};

HARNESS_MAIN("channel/baton_end", tests)
