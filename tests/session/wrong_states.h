/* SPDX-License-Identifier: MIT */
/*
 * Ways to break a rule that depends on earlier frames: topics and their names, fragments, sizes,
 * credit, and calls. Each function sends something wrong after HELLO, OPEN 1 "log" and a whole
 * message. Its name begins with the name of the rule.
 */
#ifndef SESSION_WRONG_STATES_H
#define SESSION_WRONG_STATES_H

#include <session/wrong_frames.h>

static inline void topic_id_0(void)
{
	speech_open(&speech, 0, "b");
}
static inline void topic_id_above_the_limit(void)
{
	speech_open(&speech, 65, "b");
}
static inline void topic_id_far_above_the_limit(void)
{
	speech_open(&speech, 0xffffffff, "b");
}
static inline void topic_id_open_already(void)
{
	speech_open(&speech, 1, "b");
}
static inline void topic_id_that_waits_for_reset(void)
{
	speech_close(&speech, 1);
	speech_open(&speech, 1, "b");
}
static inline void topic_id_data_of_0(void)
{
	speech_data(&speech, 0, "x");
}
static inline void topic_id_data_of_a_free_one(void)
{
	speech_data(&speech, 2, "x");
}
static inline void topic_id_data_of_none(void)
{
	speech_data(&speech, 0xffffffff, "x");
}
static inline void topic_id_large_data_of_a_free_one(void)
{
	put_zeroes(FRAME_DATA, 0, 2, 0, 60000);
}
static inline void topic_id_close_of_a_free_one(void)
{
	speech_close(&speech, 2);
}
static inline void topic_id_abort_of_a_free_one(void)
{
	speech_abort(&speech, 2, 0);
}

static inline void name_empty(void)
{
	speech_open(&speech, 2, "");
}
static inline void name_of_256_bytes(void)
{
	size_t at = put_zeroes(FRAME_OPEN, 0, 2, 0, 256);

	memset(speech.bytes + at + FRAME_HEADER, 'x', 256);
}
static inline void name_of_64_kib(void)
{
	put_zeroes(FRAME_OPEN, 0, 2, 0, FRAME_BODY_MAX);
}
static inline void name_with_a_nul(void)
{
	speech_frame(&speech, FRAME_OPEN, 0, 0, 2, 0, "b\0b", 3);
}
static inline void name_that_is_a_nul(void)
{
	speech_frame(&speech, FRAME_OPEN, 0, 0, 2, 0, "", 1);
}
static inline void name_open_already(void)
{
	speech_open(&speech, 2, "log");
}

static inline void closed_then_data(void)
{
	speech_close(&speech, 1);
	speech_data(&speech, 1, "x");
}
static inline void closed_twice(void)
{
	speech_close(&speech, 1);
	speech_close(&speech, 1);
}
static inline void closed_then_abort(void)
{
	speech_close(&speech, 1);
	speech_abort(&speech, 1, 0);
}

static inline void fragment_more_without_sizes(void)
{
	put(FRAME_DATA, FRAME_MORE, 0, 1, 0, "x");
}
static inline void fragment_sizes_for_nothing(void)
{
	speech_sized(&speech, 0, 0, 1, 0, 1, 0, "x");
}
static inline void fragment_without_a_byte_first(void)
{
	speech_sized(&speech, FRAME_MORE, 0, 1, 0, 1, 0, "");
}

static inline void begin_message(uint32_t argument)
{
	speech_sized(&speech, FRAME_MORE, 0, 1, argument, 10, 0, "12345");
}

static inline void fragment_with_sizes_again(void)
{
	begin_message(0);
	speech_sized(&speech, FRAME_MORE, 0, 1, 0, 10, 0, "6");
}
static inline void fragment_without_a_byte(void)
{
	begin_message(0);
	put(FRAME_DATA, FRAME_MORE, 0, 1, 0, "");
}
static inline void fragment_of_a_call_within_a_message(void)
{
	begin_message(0);
	put(FRAME_DATA, 0, 0, 1, 1, "67890");
}
static inline void fragment_of_no_call_within_a_call(void)
{
	begin_message(3);
	put(FRAME_DATA, 0, 0, 1, 0, "67890");
}
static inline void fragment_abort_of_nothing(void)
{
	speech_abort(&speech, 1, 0);
}
static inline void fragment_abort_of_another_call(void)
{
	begin_message(3);
	speech_abort(&speech, 1, 4);
}
static inline void fragment_abort_twice(void)
{
	begin_message(0);
	speech_abort(&speech, 1, 0);
	speech_abort(&speech, 1, 0);
}
static inline void fragment_then_close(void)
{
	begin_message(0);
	speech_close(&speech, 1);
}

static inline void message_size_above_the_limit(void)
{
	speech_sized(&speech, FRAME_MORE, 0, 1, 0, (1 << 20) + 1, 1 << 20, "x");
}
static inline void message_size_of_4_gib(void)
{
	speech_sized(&speech, FRAME_MORE, 0, 1, 0, 0xffffffff, 0, "x");
}
static inline void message_size_other_than_said(void)
{
	speech_sized(&speech, 0, 0, 1, 0, 4, 1, "xyz");
}
static inline void message_size_reached_too_early(void)
{
	speech_sized(&speech, FRAME_MORE, 0, 1, 0, 3, 0, "xyz");
}
static inline void message_size_passed(void)
{
	begin_message(0);
	put(FRAME_DATA, 0, 0, 1, 0, "678901");
}
static inline void message_size_passed_with_more(void)
{
	begin_message(0);
	put(FRAME_DATA, FRAME_MORE, 0, 1, 0, "678901");
}
static inline void message_size_reached_with_more(void)
{
	begin_message(0);
	put(FRAME_DATA, FRAME_MORE, 0, 1, 0, "67890");
}
static inline void message_size_not_reached(void)
{
	begin_message(0);
	put(FRAME_DATA, 0, 0, 1, 0, "6789");
}
static inline void message_size_passed_by_a_large_frame(void)
{
	begin_message(0);
	put_zeroes(FRAME_DATA, 0, 1, 0, 60000);
}

static inline void attachments_17(void)
{
	bring(17, 0, 17, 17);
}

static inline void credit_of_the_topic(void)
{
	put_zeroes(FRAME_DATA, 0, 1, 0, 65536 - 3 * MESSAGE_COST);
	put(FRAME_DATA, 0, 0, 1, 0, "");
}
static inline void credit_of_the_pool(void)
{
	speech_sized(&speech, FRAME_MORE, 0, 1, 0, 1 << 20, (1 << 20) + 1, "x");
}
static inline void credit_all_from_the_pool(void)
{
	speech_sized(&speech, 0, 0, 1, 0, 1, MESSAGE_COST + 1, "x");
}
static inline void credit_more_than_it_costs(void)
{
	speech_sized(&speech, 0, 0, 1, 0, 1, 0xffffffff, "x");
}
static inline void credit_of_attachments(void)
{
	bring(16, 0, 16, 16);
	bring(1, 0, 1, 1);
}

static inline void grant_of_nothing(void)
{
	speech_credit(&speech, 0, 0, 0, 0);
}
static inline void grant_of_nothing_for_a_topic(void)
{
	speech_credit(&speech, 1, 0, 0, 0);
}
static inline void grant_back_of_nothing(void)
{
	put(FRAME_RETURN, 0, 0, 0, 0, "");
}
static inline void grant_back_of_more_than_was_granted(void)
{
	put(FRAME_RETURN, 0, 0, 0, 65, "");
}
static inline void grant_back_of_what_is_used(void)
{
	speech_send_fds(&speech, 10, 0);
	put(FRAME_DATA, 0, 10, 1, 0, "x");
	put(FRAME_RETURN, 0, 0, 0, 55, "");
}
static inline void grant_back_twice(void)
{
	put(FRAME_RETURN, 0, 0, 0, 64, "");
	put(FRAME_RETURN, 0, 0, 0, 1, "");
}
static inline void overdraft(uint32_t id, uint32_t call, uint32_t attachments)
{
	unsigned char payload[FRAME_CREDIT_BODY];

	put_u32(payload, 5);
	put_u32(payload + 4, attachments);
	speech_frame(&speech, FRAME_CREDIT, FRAME_OVERDRAFT, 0, id, call, payload, sizeof payload);
}
static inline void unused_attachments_with_overdraft(void)
{
	overdraft(1, 0, 1);
}
static inline void unused_overdraft_of_nobody(void)
{
	overdraft(0, 0, 0);
}
static inline void unused_argument_with_a_topics_overdraft(void)
{
	overdraft(1, 1, 0);
}
static inline void call_id_above_the_limit_in_overdraft(void)
{
	overdraft(0, 65, 0);
}
static inline void grant_of_no_overdraft(void)
{
	size_t at = speech_credit(&speech, 1, 0, 0, 0);

	tamper(at, 5, FRAME_OVERDRAFT);
}
static inline void credit_of_attachments_that_nobody_claims(void)
{
	speech_send_fds(&speech, 65, 0);
	put(FRAME_DATA, 0, 0, 1, 0, "x");
}
static inline void credit_of_attachments_that_were_lost(void)
{
	speech_send_fds(&speech, 65, 65);
	put(FRAME_DATA, 0, 1, 1, 0, "x");
}
static inline void credit_of_attachments_that_were_given_back(void)
{
	put(FRAME_RETURN, 0, 0, 0, 60, "");
	speech_send_fds(&speech, 5, 0);
	put(FRAME_DATA, 0, 5, 1, 0, "x");
}
static inline void grant_that_the_owner_finds_too_much(void)
{
	ear.answer = BREACH_GRANT;
	speech_credit(&speech, 0, 0, 1, 0);
}

static inline void reset_that_the_owner_finds_wrong(void)
{
	ear.answer = BREACH_RESET;
	speech_reset(&speech, 1, 0);
}

static inline void call_id_in_use(void)
{
	put(FRAME_DATA, 0, 0, 1, 5, "x");
	put(FRAME_DATA, 0, 0, 1, 5, "y");
}
static inline void call_id_above_the_limit(void)
{
	put(FRAME_DATA, 0, 0, 1, 65, "x");
}
static inline void call_id_of_a_reply(void)
{
	put(FRAME_REPLY, FRAME_END, 0, 0, 1, "x");
}
static inline void call_id_of_a_large_reply(void)
{
	put_zeroes(FRAME_REPLY, FRAME_END, 0, 1, FRAME_BODY_MAX);
}
static inline void call_id_of_a_reply_to_0(void)
{
	put(FRAME_REPLY, 0, 0, 0, 0, "x");
}
static inline void call_id_0_in_reset(void)
{
	speech_reset(&speech, 0, 0);
}
static inline void call_id_above_the_limit_in_reset(void)
{
	speech_reset(&speech, 0, 65);
}
static inline void call_id_above_the_limit_in_credit(void)
{
	speech_credit(&speech, 0, 65, 1, 1);
}

#endif
