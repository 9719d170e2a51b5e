/* SPDX-License-Identifier: MIT */
/* A slow peer: a frame must be completed in time, everything else may take any time. */
#include <hostile/attack.h>

static struct attack attack;

/* The pause between two bytes. The result does not depend on it. */
static void trickle_pause(void)
{
	poll(NULL, 0, 2);
}

static struct beam_channel_options impatient(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.frame_timeout_ms = (uint32_t)stretch(100);
	return options;
}

/* Sends a byte now and then until the other side ends the channel. */
static void expect_trickle_ends(void)
{
	static unsigned char bytes[RAW_FRAME_MAX];
	size_t n = 0;

	memcpy(bytes, attack.out.bytes, attack.out.size);
	attack.out.size = 0;
	while (n < sizeof bytes && raw_send(attack.peer.socket, bytes + n, 1, NULL, 0, 0) == 1) {
		n++;
		trickle_pause();
	}
	check(n < sizeof bytes);
	expect_breach(&attack, "timeout");
}

static void test_a_frame_that_comes_byte_by_byte_for_ever_is_a_breach(void)
{
	static unsigned char payload[60000];
	struct beam_channel_options options = impatient();

	attack_begin(&attack, &options);
	raw_data(&attack.out, 1, payload, sizeof payload);
	expect_trickle_ends();
	attack_end(&attack);
}

static void test_half_a_header_is_a_breach_in_time_too(void)
{
	struct beam_channel_options options = impatient();

	attack_begin(&attack, &options);
	raw_append(&attack.out, "\0\0\0", 3);
	attack_send(&attack);
	expect_breach(&attack, "timeout");
	attack_end(&attack);
}

static void test_a_frame_that_was_begun_together_with_whole_ones_is_a_breach_in_time_too(void)
{
	struct beam_channel_options options = impatient();

	attack_begin(&attack, &options);
	raw_text(&attack.out, 1, "whole");
	raw_text(&attack.out, 1, "not whole");
	attack.out.size -= 8;
	attack_send(&attack);
	check_int(expect_breach(&attack, "timeout"), 1);
	attack_end(&attack);
}

static void test_between_frames_nothing_is_bounded_by_time(void)
{
	struct beam_channel_options options = impatient();
	beam_message *message = NULL;

	attack_begin(&attack, &options);
	/* Also in the middle of a message: the timeout applies to each frame. */
	raw_begin(&attack.out, 1, 9, 0, "a me", 4);
	attack_send(&attack);
	check_int(beam_topic_receive(attack.topic, &message, 0, beam_in_ms(3 * options.frame_timeout_ms)), -ETIMEDOUT);
	raw_frame(&attack.out, RAW_DATA, 0, 0, 1, 0, "ssage", 5);
	attack_send(&attack);
	expect_text(attack.topic, "a message");
	expect_going_on(&attack);
	attack_end(&attack);
}

static void test_with_a_timeout_of_zero_a_frame_may_take_as_long_as_it_likes(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_message *message = NULL;

	options.frame_timeout_ms = 0;
	attack_begin(&attack, &options);
	raw_text(&attack.out, 1, "slow");
	attack.out.size -= 5;
	attack_send(&attack);
	check_int(beam_topic_receive(attack.topic, &message, 0, beam_in_ms(stretch(200))), -ETIMEDOUT);
	/* The last letter and the padding. */
	raw_append(&attack.out, "w\0\0\0", 5);
	attack_send(&attack);
	expect_text(attack.topic, "slow");
	attack_end(&attack);
}

static const struct test tests[] = {
    TEST(test_a_frame_that_comes_byte_by_byte_for_ever_is_a_breach),
    TEST(test_half_a_header_is_a_breach_in_time_too),
    TEST(test_a_frame_that_was_begun_together_with_whole_ones_is_a_breach_in_time_too),
    TEST(test_between_frames_nothing_is_bounded_by_time),
    TEST(test_with_a_timeout_of_zero_a_frame_may_take_as_long_as_it_likes),
};

HARNESS_MAIN("hostile/trickle", tests)
