/* SPDX-License-Identifier: MIT */
/*
 * The receiving half: how the channel's attachments are charged, held, claimed, closed and given
 * back.
 */
#include <session/listen.h>

static void test_what_a_frame_carries_is_charged_whether_or_not_it_is_claimed(void)
{
	listen_begin();
	listen_on();
	speech_send_fds(&speech, 3, 0);
	speech_data(&speech, 1, "carries");
	check_int(listen_on(), 0);
	check_int(ear.rx.used_attachments, 3);
	check_int(ear.charged, 3);
	check_int(ear_inlet(&ear, 1)->used_attachments, 0);
	speech_send(&speech);
	speech_frame(&speech, FRAME_DATA, 0, 2, 1, 0, "x", 1);
	check_int(listen_on(), 0);
	check_int(ear.rx.used_attachments, 3);
	check_int(ear_inlet(&ear, 1)->used_attachments, 2);
	check_int(ear.charged, 1);
	listen_end();
}

static void test_what_was_lost_on_its_way_is_charged_and_settled(void)
{
	listen_begin();
	listen_on();
	speech_send_fds(&speech, 5, 3);
	speech_frame(&speech, FRAME_DATA, 0, 5, 1, 0, "x", 1);
	ear.keep = true;
	check_int(listen_on(), 0);
	check_int(ear.rx.used_attachments, 5);
	check_int(ear.charged, 2);
	check_int(ear.lost, 3);
	listen_end();
}

static void test_exactly_what_was_granted_to_the_channel_may_be_carried(void)
{
	struct limits limits = limits_base;

	limits.message_attachments = limits.topic_attachments = limits.attachments = 5;
	listen_begin_with(&limits);
	listen_on();
	speech_send_fds(&speech, 5, 0);
	speech_frame(&speech, FRAME_DATA, 0, 5, 1, 0, "x", 1);
	check_int(listen_on(), 0);
	atomic_fetch_add(&ear.granted_attachments, 2);
	atomic_fetch_add(&ear_inlet(&ear, 1)->granted_attachments, 5);
	speech_send_fds(&speech, 2, 0);
	speech_frame(&speech, FRAME_DATA, 0, 2, 1, 0, "y", 1);
	check_int(listen_on(), 0);
	speech_send_fds(&speech, 1, 0);
	speech_frame(&speech, FRAME_DATA, 0, 1, 1, 0, "z", 1);
	check_int(listen_on(), -EPROTO);
	check_string(ear_rule(&ear), "credit");
	listen_end();
}

static void test_descriptors_are_held_until_they_are_claimed_by_a_whole_message(void)
{
	listen_begin();
	listen_on();
	check(!rx_holds_descriptors(&ear.rx));
	speech_send_fds(&speech, 2, 0);
	speech_data(&speech, 1, "carries");
	listen_on();
	check(rx_holds_descriptors(&ear.rx));
	speech_send(&speech);
	speech_sized(&speech, FRAME_MORE, 2, 1, 0, 6, 0, "beg");
	listen_on();
	check(rx_holds_descriptors(&ear.rx));
	speech_data(&speech, 1, "ins");
	listen_on();
	check(!rx_holds_descriptors(&ear.rx));
	/* A message without attachments holds none. */
	speech_sized(&speech, FRAME_MORE, 0, 1, 0, 6, 0, "beg");
	listen_on();
	check(!rx_holds_descriptors(&ear.rx));
	speech_abort(&speech, 1, 0);
	/* Descriptors whose carrier's header has not arrived as a whole. */
	speech_send_fds(&speech, 1, 0);
	speech_frame(&speech, FRAME_DATA, 0, 1, 1, 0, "x", 1);
	check_int(ear_read(&ear, &hearing, FRAME_HEADER), 0);
	check_int(ear_read(&ear, &hearing, FRAME_HEADER - 1), 0);
	check(rx_holds_descriptors(&ear.rx));
	listen_on();
	check(!rx_holds_descriptors(&ear.rx));
	listen_end();
}

static void test_a_message_given_up_holds_no_descriptors(void)
{
	listen_begin();
	listen_on();
	speech_send_fds(&speech, 2, 0);
	speech_sized(&speech, FRAME_MORE, 2, 1, 0, 6, 0, "beg");
	listen_on();
	check(rx_holds_descriptors(&ear.rx));
	speech_send(&speech);
	speech_abort(&speech, 1, 0);
	listen_on();
	check(!rx_holds_descriptors(&ear.rx));
	check_int(ear.charged, 0);
	listen_end();
}

static void test_what_nobody_will_claim_is_closed_at_the_end_of_reading(void)
{
	listen_begin();
	listen_on();
	speech_send_fds(&speech, 6, 1);
	speech_sized(&speech, FRAME_MORE, 2, 1, 0, 6, 0, "beg");
	listen_on();
	check_int(ear.charged, 5);
	rx_finish(&ear.rx);
	check_int(ear.charged, 0);
	for (int i = 1; i <= 5; i++)
		check_int(ear.seen_fds[i], 1);
	check_int(ear.rx.slot_low, ear.rx.slot_high);
	check(!ear_inlet(&ear, 1)->building);
	/* A second call does nothing. */
	rx_finish(&ear.rx);
	listen_end();
}

static void test_a_group_that_no_frame_carried_yet_is_closed_at_the_end_of_reading(void)
{
	listen_begin();
	listen_on();
	speech_send_fds(&speech, 2, 0);
	speech_frame(&speech, FRAME_DATA, 0, 2, 1, 0, "x", 1);
	check_int(ear_read(&ear, &hearing, 3), 0);
	check_int(ear.charged, 0);
	rx_finish(&ear.rx);
	check_int(ear.seen_fds[1] + ear.seen_fds[2], 2);
	check(!rx_holds_descriptors(&ear.rx));
	listen_end();
}

static void test_a_call_that_is_unfinished_at_the_end_of_reading_is_dropped(void)
{
	listen_begin();
	listen_on();
	speech_sized(&speech, FRAME_MORE, 0, 1, 5, 6, 0, "beg");
	listen_on();
	check(ear.calls[5] && ear_inlet(&ear, 1)->building);
	rx_finish(&ear.rx);
	check(!ear_inlet(&ear, 1)->building);
	listen_end();
}

static void test_attachments_that_are_given_back_are_no_longer_granted(void)
{
	listen_begin();
	listen_on();
	ear_forget(&ear);
	speech_frame(&speech, FRAME_RETURN, 0, 0, 0, 60, NULL, 0);
	check_string(news(), "return 60\n");
	check_int(ear.granted_attachments, 4);
	speech_send_fds(&speech, 4, 0);
	speech_frame(&speech, FRAME_DATA, 0, 4, 1, 0, "x", 1);
	check_string(news(), "message 1 0 1 1,2,3,4 78\n");
	listen_end();
}

static void test_what_is_wanted_and_whether_anybody_is_there_is_told(void)
{
	listen_begin();
	listen_on();
	ear_forget(&ear);
	speech_frame(&speech, FRAME_WANT, 0, 0, 0, 0, NULL, 0);
	speech_frame(&speech, FRAME_WANT, 0, 0, 0, UINT32_MAX, NULL, 0);
	speech_frame(&speech, FRAME_PING, 0, 0, 0, PING_ASKS, NULL, 0);
	speech_frame(&speech, FRAME_PING, 0, 0, 0, PING_ANSWERS, NULL, 0);
	speech_frame(&speech, FRAME_PING, 0, 0, 0, UINT32_MAX, NULL, 0);
	check_string(news(), "want 0\nwant 4294967295\nping ask\nping answer\nping answer\n");
	listen_end();
}

static const struct test tests[] = {
    TEST(test_what_a_frame_carries_is_charged_whether_or_not_it_is_claimed),
    TEST(test_what_was_lost_on_its_way_is_charged_and_settled),
    TEST(test_exactly_what_was_granted_to_the_channel_may_be_carried),
    TEST(test_descriptors_are_held_until_they_are_claimed_by_a_whole_message),
    TEST(test_a_message_given_up_holds_no_descriptors),
    TEST(test_what_nobody_will_claim_is_closed_at_the_end_of_reading),
    TEST(test_a_group_that_no_frame_carried_yet_is_closed_at_the_end_of_reading),
    TEST(test_a_call_that_is_unfinished_at_the_end_of_reading_is_dropped),
    TEST(test_attachments_that_are_given_back_are_no_longer_granted),
    TEST(test_what_is_wanted_and_whether_anybody_is_there_is_told),
};
HARNESS_MAIN("rx_attachments", tests)
