/* SPDX-License-Identifier: MIT */
/*
 * Every rule that a peer can break, in every known way. The breach must be found by its name,
 * wherever the reads are cut. What arrived whole before it must be delivered, and no descriptor may
 * be left.
 */
#include <session/wrong_frames.h>
#include <session/wrong_states.h>

/* ---- Ways to break a rule -------------------------------------------------------------------- */

#define WAY(function)                                                                                                  \
	{                                                                                                              \
#function, function                                                                                    \
	}

static const struct way {
	const char *name;
	void (*say)(void);
} ways[] = {
    WAY(length_0),
    WAY(length_11),
    WAY(length_13),
    WAY(length_too_large),
    WAY(length_2_gib),
    WAY(kind_0),
    WAY(kind_9),
    WAY(kind_14),
    WAY(kind_18),
    WAY(kind_255),
    WAY(flags_on_open),
    WAY(flags_end_on_data),
    WAY(flags_abort_and_more),
    WAY(flags_error_without_end),
    WAY(padding_of_a_small_frame),
    WAY(padding_of_a_large_frame),
    WAY(padding_of_a_large_frames_end),
    WAY(padding_more_than_there_is),
    WAY(unused_id_of_goodbye),
    WAY(unused_argument_of_close),
    WAY(unused_claimed_of_credit),
    WAY(unused_argument_with_a_topics_credit),
    WAY(payload_of_close),
    WAY(payload_of_credit),
    WAY(payload_without_sizes),
    WAY(payload_of_abort),
    WAY(payload_of_abort_as_large_as_can_be),
    WAY(payload_without_code),
    WAY(carrier_of_none),
    WAY(carrier_without_bit),
    WAY(carrier_of_254),
    WAY(first_is_open),
    WAY(first_twice),
    WAY(hello_of_another),
    WAY(hello_of_version_0),
    WAY(hello_below_the_base),
    WAY(hello_above_2_to_the_30),
    WAY(goodbye_then_data),
    WAY(goodbye_twice),
    WAY(goodbye_within_a_message),
    WAY(descriptors_without_a_carrier),
    WAY(descriptors_truncated_without_a_carrier),
    WAY(descriptors_missing),
    WAY(descriptors_one_too_many),
    WAY(descriptors_one_too_few),
    WAY(descriptors_too_many_though_truncated),
    WAY(descriptors_with_the_second_byte),
    WAY(descriptors_with_the_last_byte_of_the_header),
    WAY(descriptors_with_the_last_byte),
    WAY(descriptors_with_the_payload_of_a_large_frame),
    WAY(descriptors_for_two_carriers),
    WAY(descriptors_for_the_second_frame_of_a_sendmsg_are_right_but_not_twice),
    WAY(unclaimed_one),
    WAY(unclaimed_lost_one),
    WAY(claim_of_nothing),
    WAY(claim_of_more),
    WAY(claim_of_what_is_taken),
    WAY(claim_within_a_message),
    WAY(claim_with_abort),
    WAY(topic_id_0),
    WAY(topic_id_above_the_limit),
    WAY(topic_id_far_above_the_limit),
    WAY(topic_id_open_already),
    WAY(topic_id_that_waits_for_reset),
    WAY(topic_id_data_of_0),
    WAY(topic_id_data_of_a_free_one),
    WAY(topic_id_data_of_none),
    WAY(topic_id_large_data_of_a_free_one),
    WAY(topic_id_close_of_a_free_one),
    WAY(topic_id_abort_of_a_free_one),
    WAY(name_empty),
    WAY(name_of_256_bytes),
    WAY(name_of_64_kib),
    WAY(name_with_a_nul),
    WAY(name_that_is_a_nul),
    WAY(name_open_already),
    WAY(closed_then_data),
    WAY(closed_twice),
    WAY(closed_then_abort),
    WAY(fragment_more_without_sizes),
    WAY(fragment_sizes_for_nothing),
    WAY(fragment_without_a_byte_first),
    WAY(fragment_with_sizes_again),
    WAY(fragment_without_a_byte),
    WAY(fragment_of_a_call_within_a_message),
    WAY(fragment_of_no_call_within_a_call),
    WAY(fragment_abort_of_nothing),
    WAY(fragment_abort_of_another_call),
    WAY(fragment_abort_twice),
    WAY(fragment_then_close),
    WAY(message_size_above_the_limit),
    WAY(message_size_of_4_gib),
    WAY(message_size_other_than_said),
    WAY(message_size_reached_too_early),
    WAY(message_size_passed),
    WAY(message_size_passed_with_more),
    WAY(message_size_reached_with_more),
    WAY(message_size_not_reached),
    WAY(message_size_passed_by_a_large_frame),
    WAY(attachments_17),
    WAY(credit_of_the_topic),
    WAY(credit_of_the_pool),
    WAY(credit_all_from_the_pool),
    WAY(credit_more_than_it_costs),
    WAY(credit_of_attachments),
    WAY(grant_of_nothing),
    WAY(grant_of_nothing_for_a_topic),
    WAY(grant_back_of_nothing),
    WAY(grant_back_of_more_than_was_granted),
    WAY(grant_back_of_what_is_used),
    WAY(grant_back_twice),
    WAY(grant_of_no_overdraft),
    WAY(unused_attachments_with_overdraft),
    WAY(unused_overdraft_of_nobody),
    WAY(unused_argument_with_a_topics_overdraft),
    WAY(call_id_above_the_limit_in_overdraft),
    WAY(credit_of_attachments_that_nobody_claims),
    WAY(credit_of_attachments_that_were_lost),
    WAY(credit_of_attachments_that_were_given_back),
    WAY(grant_that_the_owner_finds_too_much),
    WAY(reset_that_the_owner_finds_wrong),
    WAY(call_id_in_use),
    WAY(call_id_above_the_limit),
    WAY(call_id_of_a_reply),
    WAY(call_id_of_a_large_reply),
    WAY(call_id_of_a_reply_to_0),
    WAY(call_id_0_in_reset),
    WAY(call_id_above_the_limit_in_reset),
    WAY(call_id_above_the_limit_in_credit),
};

/* ---- Playing them ---------------------------------------------------------------------------- */

static const char *const rules[] = {
    BREACH_LENGTH,      BREACH_KIND,     BREACH_FLAGS, BREACH_PADDING, BREACH_UNUSED,      BREACH_PAYLOAD,
    BREACH_CARRIER,     BREACH_FIRST,    BREACH_HELLO, BREACH_GOODBYE, BREACH_DESCRIPTORS, BREACH_UNCLAIMED,
    BREACH_CLAIM,       BREACH_TOPIC_ID, BREACH_NAME,  BREACH_CLOSED,  BREACH_FRAGMENT,    BREACH_MESSAGE_SIZE,
    BREACH_ATTACHMENTS, BREACH_CREDIT,   BREACH_GRANT, BREACH_RESET,   BREACH_CALL_ID,
};

/* The text of the rule with whose name the name of a way begins. */
static const char *rule_of(const char *name)
{
	const char *found = NULL;
	size_t longest = 0;

	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
		size_t n = strcspn(rules[i], ":"), k = 0;

		while (k < n && name[k] == (rules[i][k] == '-' ? '_' : rules[i][k]))
			k++;
		if (k == n && n > longest) {
			found = rules[i];
			longest = n;
		}
	}
	require(found != NULL);
	return found;
}

static void say(const struct way *way)
{
	speech_init(&speech);
	speech_begin(&speech);
	speech_data(&speech, 1, "whole");
	way->say();
}

/* Reads it, first `first` bytes, then `then` bytes at a time. */
static void hear_wrong(const struct way *way, size_t first, size_t then)
{
	int r;

	harness_context("%s: %zu bytes, then %zu", way->name, first, then);
	require_int(ear_init(&ear, &limits_base), 0);
	say(way);
	hearing = (struct hearing){.speech = &speech};
	r = ear_read(&ear, &hearing, first);
	while (!r)
		r = ear_read(&ear, &hearing, then);
	check_int(r, -EPROTO);
	check_string(ear.rx.breach, rule_of(way->name));
	if (strncmp(way->name, "hello", 5) != 0 && strcmp(way->name, "first_is_open") != 0)
		check(strstr(ear_text(&ear), "message 1 0 5 - 77686f6c65\n") != NULL);
	/* This checks that no descriptor is left. */
	ear_end(&ear);
	speech_end(&speech);
}

static void test_every_way_to_break_a_rule_is_found_by_the_rules_name(void)
{
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
		hear_wrong(&ways[i], SIZE_MAX, SIZE_MAX);
}

static void test_it_is_found_at_whichever_byte_the_reads_are_cut(void)
{
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		size_t size, step;

		require_int(ear_init(&ear, &limits_base), 0);
		say(&ways[i]);
		size = speech.size;
		speech_end(&speech);
		ear_end(&ear);
		/*
		 * Large input is cut at every byte near its beginning and its end, and at some
		 * places between.
		 */
		step = size > 2000 ? 1009 : 1;
		for (size_t first = 1; first<size; first += first> 200 && first + 1100 < size ? step : 1) {
			hear_wrong(&ways[i], first, SIZE_MAX);
			if (size < 2000 && first % 3 == 0)
				hear_wrong(&ways[i], first, 1 + first % 40);
		}
		if (size < 2000)
			hear_wrong(&ways[i], 1, 1);
	}
}

static void test_there_is_a_way_for_every_rule_but_time(void)
{
	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
		bool found = false;

		for (size_t k = 0; k < sizeof ways / sizeof *ways; k++)
			found |= rule_of(ways[k].name) == rules[i];
		if (!found)
			fail("none for %s", rules[i]);
	}
}

static void test_a_reserved_byte_in_hello_is_a_breach_too(void)
{
	require_int(ear_init(&ear, &limits_base), 0);
	speech_init(&speech);
	hello_with_a_reserved_byte();
	check_int(ear_listen(&ear, &speech, SIZE_MAX), -EPROTO);
	check_string(ear_rule(&ear), "unused");
	ear_end(&ear);
	speech_end(&speech);
}

static void test_attachments_are_a_breach_where_none_are_accepted(void)
{
	struct limits limits = limits_base;

	limits.message_attachments = 0;
	listen_begin_with(&limits);
	check_int(listen_on(), 0);
	/* Carrying a descriptor is no breach, because it need not be an attachment. */
	speech_send_fds(&speech, 1, 0);
	speech_data(&speech, 1, "x");
	check_int(listen_on(), 0);
	speech_send(&speech);
	speech_frame(&speech, FRAME_DATA, 0, 1, 1, 0, "y", 1);
	check_int(listen_on(), -EPROTO);
	check_string(ear_rule(&ear), "attachments");
	listen_end();
}

static void test_credit_of_attachments_is_the_topics_and_the_channels(void)
{
	listen_begin();
	for (uint32_t id = 2; id <= 5; id++) {
		char name[2] = {(char)('a' + id), 0};

		speech_open(&speech, id, name);
	}
	for (uint32_t id = 1; id <= 4; id++) {
		speech_send_fds(&speech, 16, 0);
		speech_frame(&speech, FRAME_DATA, 0, 16, id, 0, "x", 1);
	}
	check_int(listen_on(), 0);
	/* What one topic has not used cannot be used by another one either. */
	atomic_fetch_add(&ear_inlet(&ear, 1)->granted_attachments, 16);
	speech_send_fds(&speech, 1, 0);
	speech_frame(&speech, FRAME_DATA, 0, 1, 1, 0, "x", 1);
	check_int(listen_on(), -EPROTO);
	check_string(ear_rule(&ear), "credit");
	listen_end();
}

static void test_any_bytes_at_all_are_judged_without_harm(void)
{
	struct rng rng = rng_new(7);

	for (size_t i = 0; i < scale(20000); i++) {
		size_t flips = 1 + rng_below(&rng, 3);

		harness_context("turn %zu", i);
		require_int(ear_init(&ear, &limits_base), 0);
		say(&ways[rng_below(&rng, sizeof ways / sizeof *ways)]);
		for (size_t k = 0; k < 3; k++) {
			uint32_t id = (uint32_t)rng_below(&rng, 3);

			speech_send_fds(&speech, (unsigned)rng_below(&rng, 3), 0);
			speech_frame(&speech, (uint8_t)rng_below(&rng, 9), (uint8_t)rng_below(&rng, 32),
				     (uint8_t)rng_below(&rng, 3), id, (uint32_t)rng_below(&rng, 3),
				     "12345678901234567890", rng_below(&rng, 20));
		}
		while (flips--)
			speech.bytes[HELLO_FRAME + rng_below(&rng, speech.size - HELLO_FRAME)] =
			    (unsigned char)rng_u64(&rng);
		ear_listen(&ear, &speech, 1 + rng_below(&rng, 200));
		ear_end(&ear);
		speech_end(&speech);
	}
}

static const struct test tests[] = {
    TEST(test_every_way_to_break_a_rule_is_found_by_the_rules_name),
    TEST(test_it_is_found_at_whichever_byte_the_reads_are_cut),
    TEST(test_there_is_a_way_for_every_rule_but_time),
    TEST(test_a_reserved_byte_in_hello_is_a_breach_too),
    TEST(test_attachments_are_a_breach_where_none_are_accepted),
    TEST(test_credit_of_attachments_is_the_topics_and_the_channels),
    TEST(test_any_bytes_at_all_are_judged_without_harm),
};
HARNESS_MAIN("rx_breach", tests)
