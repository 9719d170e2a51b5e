/* SPDX-License-Identifier: MIT */
/*
 * Limits and peers that exceed them: using a limit to the last byte is allowed, one byte more is a
 * breach. Limits of attachments are tested in the descriptor suite, those of topics and empty
 * messages in the flood suite, and well-behaved senders in tests/public.
 */
#include <hostile/attack.h>

static struct attack attack;

/* ---- Messages -------------------------------------------------------------------------------- */

enum { MOST = (1 << 20) + 100, PART = 1 << 16 };

/* A message of `size` bytes in as many frames as needed, charged to the topic's window only. */
static void send_large(uint32_t size)
{
	static const char part[PART];
	uint32_t left = size;

	raw_begin(&attack.out, 1, size, 0, part, PART / 2);
	for (left -= PART / 2; left > 0; left -= left < PART ? left : PART) {
		raw_frame(&attack.out, RAW_DATA, left > PART ? RAW_MORE : 0, 0, 1, 0, part, left < PART ? left : PART);
		attack_send(&attack);
	}
}

static void test_a_message_as_large_as_accepted_arrives_and_one_byte_more_is_a_breach(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_message *message = NULL;

	options.message_bytes = MOST;
	options.topic_window_bytes = 4 << 20;
	attack_begin(&attack, &options);
	send_large(MOST);
	require_int(beam_topic_receive(attack.topic, &message, 0, soon()), 1);
	check_int(beam_message_size(message), MOST);
	beam_message_free(message);
	raw_begin(&attack.out, 1, MOST + 1, 0, "x", 1);
	attack_send(&attack);
	check_int(expect_breach(&attack, "message-size"), 0);
	attack_end(&attack);
}

/* ---- Credit ---------------------------------------------------------------------------------- */

/* Uses up the window of topic 1 with two messages. The second one is larger by `more` bytes. */
static void use_up_window(uint32_t window, uint32_t more)
{
	static const unsigned char payload[RAW_BASE_TOPIC_BYTES / 2];
	uint32_t half = window / 2 - RAW_MESSAGE_COST;

	raw_data(&attack.out, 1, payload, half);
	raw_data(&attack.out, 1, payload, half + more);
	attack_send(&attack);
}

static void test_a_topics_window_can_be_used_up_and_one_byte_more_is_a_breach(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.topic_window_bytes = RAW_BASE_TOPIC_BYTES;
	for (uint32_t more = 0; more <= 1; more++) {
		harness_context("%u more", more);
		attack_begin(&attack, &options);
		use_up_window(options.topic_window_bytes, more);
		raw_data(&attack.out, 1, NULL, 0);
		attack_send(&attack);
		check_int(expect_breach_untaken(&attack, "credit"), more ? 1 : 2);
		attack_end(&attack);
	}
}

static void test_a_topic_whose_window_is_used_up_gets_nothing_from_the_pool(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.topic_window_bytes = RAW_BASE_TOPIC_BYTES;
	attack_begin(&attack, &options);
	use_up_window(options.topic_window_bytes, 0);
	/*
	 * A message that overdraws all but one byte of its cost is refused because the window has
	 * no byte. Below, a message that overdraws its whole cost is refused in any case.
	 */
	raw_frame(&attack.out, RAW_DATA, RAW_SIZED, 0, 1, 0, "\0\0\0\1\0\0\0\x40x", 9);
	attack_send(&attack);
	check_int(expect_breach_untaken(&attack, "credit"), 2);
	attack_end(&attack);

	attack_begin(&attack, &options);
	raw_frame(&attack.out, RAW_DATA, RAW_SIZED, 0, 1, 0, "\0\0\0\1\0\0\0\x40x", 9);
	raw_frame(&attack.out, RAW_DATA, RAW_SIZED, 0, 1, 0, "\0\0\0\1\0\0\0\x41x", 9);
	attack_send(&attack);
	check_int(expect_breach_untaken(&attack, "credit"), 1);
	attack_end(&attack);
}

static void test_the_pool_is_lent_to_the_last_byte_and_one_more_is_a_breach(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.message_bytes = options.pool_bytes = 1 << 20;
	attack_begin(&attack, &options);
	raw_open(&attack.out, 2, "other");
	raw_begin(&attack.out, 2, 1 << 20, (1 << 20) - 1, "x", 1);
	raw_frame(&attack.out, RAW_DATA, RAW_SIZED, 0, 1, 0, "\0\0\0\1\0\0\0\1x", 9);
	raw_frame(&attack.out, RAW_DATA, RAW_SIZED, 0, 1, 0, "\0\0\0\1\0\0\0\1x", 9);
	attack_send(&attack);
	check_int(expect_breach_untaken(&attack, "credit"), 1);
	attack_end(&attack);
}

/* ---- Names ----------------------------------------------------------------------------------- */

static void test_a_name_of_255_bytes_is_opened_and_one_of_256_is_a_breach(void)
{
	beam_topic *topic = NULL;
	char name[257];

	memset(name, 'n', 256);
	name[256] = 0;
	attack_begin(&attack, NULL);
	name[255] = 0;
	raw_open(&attack.out, 2, name);
	attack_send(&attack);
	require_int(beam_channel_accept(attack.channel, &topic, soon()), 1);
	check_string(beam_topic_name(topic), name);
	beam_topic_unref(topic);
	name[255] = 'n';
	raw_open(&attack.out, 3, name);
	attack_send(&attack);
	check_int(expect_breach(&attack, "name"), 0);
	attack_end(&attack);
}

static const struct test tests[] = {
    TEST(test_a_message_as_large_as_accepted_arrives_and_one_byte_more_is_a_breach),
    TEST(test_a_topics_window_can_be_used_up_and_one_byte_more_is_a_breach),
    TEST(test_a_topic_whose_window_is_used_up_gets_nothing_from_the_pool),
    TEST(test_the_pool_is_lent_to_the_last_byte_and_one_more_is_a_breach),
    TEST(test_a_name_of_255_bytes_is_opened_and_one_of_256_is_a_breach),
};

HARNESS_MAIN("hostile/limits", tests)
