/* SPDX-License-Identifier: MIT */
/* How a channel ends when its peer sends GOODBYE and leaves at an inconvenient moment. */
#include <hostile/attack.h>

enum { LARGE = 4 << 20 };

static struct attack attack;

static void test_a_peer_that_said_goodbye_and_left_needs_no_goodbye(void)
{
	for (int i = 0; i < 200; i++) {
		harness_context("round %d", i);
		attack_begin_generous(&attack, NULL);
		check_int(beam_topic_send(attack.topic, "never read", 10, 0, soon()), 0);
		check_int(beam_channel_flush(attack.channel, soon()), 0);
		raw_goodbye(&attack.out);
		attack_send(&attack);
		raw_peer_close(&attack.peer);
		/* The write may fail before or after the peer's GOODBYE has been read. */
		check_int(beam_channel_close(attack.channel, soon()), 0);
		check_int(beam_channel_close(attack.channel, soon()), 0);
		attack_end(&attack);
	}
}

static void test_what_was_on_its_way_when_the_peer_left_is_told(void)
{
	struct beam_channel_options options = small_buffers();
	struct beam_statistics statistics;
	char payload[1000] = {0};

	for (int goodbye = 0; goodbye < 2; goodbye++) {
		harness_context("with%s goodbye", goodbye ? "" : "out");
		attack_begin_generous(&attack, &options);
		while (beam_topic_send(attack.topic, payload, sizeof payload, 0, beam_in_ms(stretch(50))) == 0)
			;
		if (goodbye)
			raw_goodbye(&attack.out);
		attack_send(&attack);
		raw_peer_close(&attack.peer);
		check_int(beam_channel_close(attack.channel, soon()), -ECONNRESET);
		check_int(beam_channel_statistics(attack.channel, &statistics, sizeof statistics), 0);
		check(statistics.messages_lost > 0);
		attack_end(&attack);
	}
}

static void test_a_peer_that_leaves_without_goodbye_is_told_though_nothing_was_on_its_way(void)
{
	beam_message *message = NULL;

	attack_begin_generous(&attack, NULL);
	raw_peer_close(&attack.peer);
	check_int(beam_topic_receive(attack.topic, &message, 0, soon()), -ECONNRESET);
	check_int(beam_channel_close(attack.channel, soon()), -ECONNRESET);
	attack_end(&attack);
}

static void *send_large(void *payload)
{
	int r = beam_topic_send(attack.topic, payload, LARGE, 0, soon());

	check(r == 0 || r == -EPIPE);
	return NULL;
}

/*
 * The last byte may be written by the sender's own thread. Then the channel's thread must be told.
 */
static void test_after_both_goodbyes_a_channel_lets_go_whoever_wrote_the_last(void)
{
	struct beam_channel_options options = small_buffers();
	unsigned char *payload = calloc(1, LARGE);

	options.linger_ms = 60000;
	for (int i = 0; i < 50; i++) {
		pthread_t thread;

		harness_context("round %d", i);
		attack_begin_generous(&attack, &options);
		thread = thread_spawn(send_large, payload);
		raw_peer_expect(&attack.peer, RAW_DATA);
		raw_goodbye(&attack.out);
		attack_send(&attack);
		raw_peer_expect(&attack.peer, RAW_GOODBYE);
		raw_peer_expect_end(&attack.peer);
		thread_wait(thread);
		attack_end(&attack);
	}
	free(payload);
}

static const struct test tests[] = {
    TEST(test_a_peer_that_said_goodbye_and_left_needs_no_goodbye),
    TEST(test_what_was_on_its_way_when_the_peer_left_is_told),
    TEST(test_a_peer_that_leaves_without_goodbye_is_told_though_nothing_was_on_its_way),
    TEST(test_after_both_goodbyes_a_channel_lets_go_whoever_wrote_the_last),
};

HARNESS_MAIN("goodbye", tests)
