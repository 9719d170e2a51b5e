/* SPDX-License-Identifier: MIT */
/*
 * Every rule that a peer can break, in every way that is known: found by its name, at whichever bytes the reads are cut,
 * with all that came whole before it delivered and no descriptor left.
 */
#include <session/listen.h>

/* ---- Ways to go wrong: each says what is wrong, behind HELLO, OPEN 1 "log" and a whole message. ------------------ */

static void put(uint8_t kind, uint8_t flags, uint8_t claimed, uint32_t id, uint32_t argument, const char *payload)
{
	speech_frame(&speech, kind, flags, claimed, id, argument, payload, strlen(payload));
}

/* The same with so many bytes of zero. */
static size_t put_zeroes(uint8_t kind, uint8_t flags, uint32_t id, uint32_t argument, size_t size)
{
	static const unsigned char zeroes[FRAME_BODY_MAX];

	return speech_frame(&speech, kind, flags, 0, id, argument, zeroes, size);
}

/* A byte of the frame at `at` is another. */
static void tamper(size_t at, size_t byte, unsigned char value)
{
	speech.bytes[at + byte] = value;
}

static void length(uint32_t length)
{
	put_u32(speech.bytes + speech_data(&speech, 1, "xyz"), length);
}

static void length_0(void)
{
	length(0);
}
static void length_11(void)
{
	length(11);
}
static void length_13(void)
{
	length(13);
}
static void length_too_large(void)
{
	length(65556);
}
static void length_2_gib(void)
{
	length(0x7ffffffc);
}

static void kind(uint8_t value)
{
	tamper(speech_data(&speech, 1, "xyz"), 4, value);
}

static void kind_0(void)
{
	kind(0);
}
static void kind_9(void)
{
	kind(9);
}
static void kind_14(void)
{
	kind(14);
}
static void kind_18(void)
{
	kind(18);
}
static void kind_255(void)
{
	kind(255);
}

static void flags_on_open(void)
{
	put(FRAME_OPEN, FRAME_MORE, 0, 2, 0, "b");
}
static void flags_end_on_data(void)
{
	put(FRAME_DATA, FRAME_END, 0, 1, 0, "x");
}
static void flags_abort_and_more(void)
{
	put(FRAME_DATA, FRAME_ABORT | FRAME_MORE, 0, 1, 0, "");
}
static void flags_error_without_end(void)
{
	put(FRAME_REPLY, FRAME_ERROR, 0, 0, 1, "abcd");
}

static void padding_of_a_small_frame(void)
{
	tamper(speech_data(&speech, 1, "x"), FRAME_HEADER + 7, 1);
}
static void padding_of_a_large_frame(void)
{
	size_t at = put_zeroes(FRAME_DATA, 0, 1, 0, 5001);

	tamper(at, FRAME_HEADER + 5001, 1);
}
static void padding_of_a_large_frames_end(void)
{
	size_t at = put_zeroes(FRAME_DATA, 0, 1, 0, 5001);

	tamper(at, FRAME_HEADER + 5007, 1);
}
static void padding_more_than_there_is(void)
{
	tamper(speech_frame(&speech, FRAME_DATA, 0, 0, 1, 0, NULL, 0), 5, 1 << 5);
}

static void unused_id_of_goodbye(void)
{
	put(FRAME_GOODBYE, 0, 0, 1, 0, "");
}
static void unused_argument_of_close(void)
{
	put(FRAME_CLOSE, 0, 0, 1, 1, "");
}
static void unused_claimed_of_credit(void)
{
	put(FRAME_CREDIT, 0, 1, 1, 0, "12345678");
}
static void unused_argument_with_a_topics_credit(void)
{
	speech_credit(&speech, 1, 1, 1, 1);
}

static void payload_of_close(void)
{
	put(FRAME_CLOSE, 0, 0, 1, 0, "x");
}
static void payload_of_credit(void)
{
	put(FRAME_CREDIT, 0, 0, 1, 0, "1234567");
}
static void payload_without_sizes(void)
{
	put(FRAME_DATA, FRAME_SIZED, 0, 1, 0, "1234567");
}
static void payload_of_abort(void)
{
	put(FRAME_DATA, FRAME_ABORT, 0, 1, 0, "x");
}
static void payload_of_abort_as_large_as_can_be(void)
{
	put_zeroes(FRAME_DATA, FRAME_ABORT, 1, 0, FRAME_BODY_MAX);
}
static void payload_without_code(void)
{
	put(FRAME_REPLY, FRAME_END | FRAME_ERROR, 0, 0, 1, "abc");
}

static void carrier_of_none(void)
{
	tamper(speech_data(&speech, 1, "x"), 0, 0x80);
}
static void carrier_without_bit(void)
{
	tamper(speech_data(&speech, 1, "x"), 7, 1);
}
static void carrier_of_254(void)
{
	size_t at = speech_data(&speech, 1, "x");

	tamper(at, 0, 0x80);
	tamper(at, 7, 254);
}

static void first_is_open(void)
{
	speech.size = 0;
	speech_open(&speech, 1, "log");
}
static void first_twice(void)
{
	speech_hello(&speech, &limits_base);
}

static void hello_of_another(void)
{
	speech.size = 0;
	tamper(speech_hello(&speech, &limits_base), FRAME_HEADER, 'b');
}
static void hello_of_version_0(void)
{
	speech.size = 0;
	tamper(speech_hello(&speech, &limits_base), FRAME_HEADER + 4, 0);
}
static void hello_below_the_base(void)
{
	speech.size = 0;
	tamper(speech_hello(&speech, &limits_base), FRAME_HEADER + 15, 63);
}
static void hello_above_2_to_the_30(void)
{
	speech.size = 0;
	tamper(speech_hello(&speech, &limits_base), FRAME_HEADER + 12, 0x41);
}
static void hello_with_a_reserved_byte(void)
{
	speech.size = 0;
	tamper(speech_hello(&speech, &limits_base), FRAME_HEADER + 6, 1);
}

static void goodbye_then_data(void)
{
	speech_goodbye(&speech);
	speech_data(&speech, 1, "x");
}
static void goodbye_twice(void)
{
	speech_goodbye(&speech);
	speech_goodbye(&speech);
}
static void goodbye_within_a_message(void)
{
	speech_sized(&speech, FRAME_MORE, 0, 1, 0, 5, 0, "x");
	speech_goodbye(&speech);
}

/* Descriptors: a frame as it should be, in a sendmsg that brings something else. */
static void bring(unsigned n, unsigned lost, uint8_t carried, uint8_t claimed)
{
	size_t at;

	speech_send_fds(&speech, n, lost);
	at = speech_frame(&speech, FRAME_DATA, 0, claimed, 1, 0, "x", 1);
	frame_set_carried(speech.bytes + at, carried);
}

/* The last sendmsg with descriptors began later than it did. */
static void late(size_t bytes)
{
	speech.sayings[speech.n_sayings - 1].at += bytes;
}

static void descriptors_without_a_carrier(void)
{
	bring(1, 0, 0, 0);
}
static void descriptors_truncated_without_a_carrier(void)
{
	bring(2, 1, 0, 0);
}
static void descriptors_missing(void)
{
	bring(0, 0, 1, 1);
}
static void descriptors_one_too_many(void)
{
	bring(3, 0, 2, 2);
}
static void descriptors_one_too_few(void)
{
	bring(2, 0, 3, 3);
}
static void descriptors_too_many_though_truncated(void)
{
	bring(4, 1, 2, 2);
}
static void descriptors_with_the_second_byte(void)
{
	bring(1, 0, 0, 0);
	late(1);
}
static void descriptors_with_the_last_byte_of_the_header(void)
{
	bring(1, 0, 0, 0);
	late(FRAME_HEADER - 1);
}
static void descriptors_with_the_last_byte(void)
{
	bring(1, 0, 0, 0);
	late(23);
}
static void descriptors_with_the_payload_of_a_large_frame(void)
{
	put_zeroes(FRAME_DATA, 0, 1, 0, 5000);
	speech.size -= 100;
	speech_send_fds(&speech, 1, 0);
	speech.size += 100;
}
static void descriptors_for_two_carriers(void)
{
	bring(1, 0, 1, 1);
	frame_set_carried(speech.bytes + speech_frame(&speech, FRAME_DATA, 0, 1, 1, 0, "y", 1), 1);
}
static void descriptors_for_the_second_frame_of_a_sendmsg_are_right_but_not_twice(void)
{
	/* The carrier is the second frame of a read that brings both: that is how a kernel merges. A third is too many. */
	speech_data(&speech, 1, "x");
	bring(1, 0, 1, 1);
	bring(1, 0, 0, 0);
}

static void unclaimed_one(void)
{
	bring(2, 0, 2, 1);
	bring(1, 0, 1, 1);
}
static void unclaimed_lost_one(void)
{
	bring(1, 1, 1, 0);
	bring(1, 0, 1, 1);
}

static void claim_of_nothing(void)
{
	put(FRAME_DATA, 0, 1, 1, 0, "x");
}
static void claim_of_more(void)
{
	bring(1, 0, 1, 2);
}
static void claim_of_what_is_taken(void)
{
	bring(1, 0, 1, 1);
	put(FRAME_DATA, 0, 1, 1, 0, "x");
}
static void claim_within_a_message(void)
{
	speech_send_fds(&speech, 2, 0);
	speech_sized(&speech, FRAME_MORE, 1, 1, 0, 3, 0, "x");
	put(FRAME_DATA, 0, 1, 1, 0, "yz");
}
static void claim_with_abort(void)
{
	speech_send_fds(&speech, 2, 0);
	speech_sized(&speech, FRAME_MORE, 1, 1, 0, 3, 0, "x");
	put(FRAME_DATA, FRAME_ABORT, 1, 1, 0, "");
}

static void topic_id_0(void)
{
	speech_open(&speech, 0, "b");
}
static void topic_id_above_the_limit(void)
{
	speech_open(&speech, 65, "b");
}
static void topic_id_far_above_the_limit(void)
{
	speech_open(&speech, 0xffffffff, "b");
}
static void topic_id_open_already(void)
{
	speech_open(&speech, 1, "b");
}
static void topic_id_that_waits_for_reset(void)
{
	speech_close(&speech, 1);
	speech_open(&speech, 1, "b");
}
static void topic_id_data_of_0(void)
{
	speech_data(&speech, 0, "x");
}
static void topic_id_data_of_a_free_one(void)
{
	speech_data(&speech, 2, "x");
}
static void topic_id_data_of_none(void)
{
	speech_data(&speech, 0xffffffff, "x");
}
static void topic_id_large_data_of_a_free_one(void)
{
	put_zeroes(FRAME_DATA, 0, 2, 0, 60000);
}
static void topic_id_close_of_a_free_one(void)
{
	speech_close(&speech, 2);
}
static void topic_id_abort_of_a_free_one(void)
{
	speech_abort(&speech, 2, 0);
}

static void name_empty(void)
{
	speech_open(&speech, 2, "");
}
static void name_of_256_bytes(void)
{
	size_t at = put_zeroes(FRAME_OPEN, 0, 2, 0, 256);

	memset(speech.bytes + at + FRAME_HEADER, 'x', 256);
}
static void name_of_64_kib(void)
{
	put_zeroes(FRAME_OPEN, 0, 2, 0, FRAME_BODY_MAX);
}
static void name_with_a_nul(void)
{
	speech_frame(&speech, FRAME_OPEN, 0, 0, 2, 0, "b\0b", 3);
}
static void name_that_is_a_nul(void)
{
	speech_frame(&speech, FRAME_OPEN, 0, 0, 2, 0, "", 1);
}
static void name_open_already(void)
{
	speech_open(&speech, 2, "log");
}

static void closed_then_data(void)
{
	speech_close(&speech, 1);
	speech_data(&speech, 1, "x");
}
static void closed_twice(void)
{
	speech_close(&speech, 1);
	speech_close(&speech, 1);
}
static void closed_then_abort(void)
{
	speech_close(&speech, 1);
	speech_abort(&speech, 1, 0);
}

static void fragment_more_without_sizes(void)
{
	put(FRAME_DATA, FRAME_MORE, 0, 1, 0, "x");
}
static void fragment_sizes_for_nothing(void)
{
	speech_sized(&speech, 0, 0, 1, 0, 1, 0, "x");
}
static void fragment_without_a_byte_first(void)
{
	speech_sized(&speech, FRAME_MORE, 0, 1, 0, 1, 0, "");
}

static void begin_message(uint32_t argument)
{
	speech_sized(&speech, FRAME_MORE, 0, 1, argument, 10, 0, "12345");
}

static void fragment_with_sizes_again(void)
{
	begin_message(0);
	speech_sized(&speech, FRAME_MORE, 0, 1, 0, 10, 0, "6");
}
static void fragment_without_a_byte(void)
{
	begin_message(0);
	put(FRAME_DATA, FRAME_MORE, 0, 1, 0, "");
}
static void fragment_of_a_call_within_a_message(void)
{
	begin_message(0);
	put(FRAME_DATA, 0, 0, 1, 1, "67890");
}
static void fragment_of_no_call_within_a_call(void)
{
	begin_message(3);
	put(FRAME_DATA, 0, 0, 1, 0, "67890");
}
static void fragment_abort_of_nothing(void)
{
	speech_abort(&speech, 1, 0);
}
static void fragment_abort_of_another_call(void)
{
	begin_message(3);
	speech_abort(&speech, 1, 4);
}
static void fragment_abort_twice(void)
{
	begin_message(0);
	speech_abort(&speech, 1, 0);
	speech_abort(&speech, 1, 0);
}
static void fragment_then_close(void)
{
	begin_message(0);
	speech_close(&speech, 1);
}

static void message_size_above_the_limit(void)
{
	speech_sized(&speech, FRAME_MORE, 0, 1, 0, (1 << 20) + 1, 1 << 20, "x");
}
static void message_size_of_4_gib(void)
{
	speech_sized(&speech, FRAME_MORE, 0, 1, 0, 0xffffffff, 0, "x");
}
static void message_size_other_than_said(void)
{
	speech_sized(&speech, 0, 0, 1, 0, 4, 1, "xyz");
}
static void message_size_reached_too_early(void)
{
	speech_sized(&speech, FRAME_MORE, 0, 1, 0, 3, 0, "xyz");
}
static void message_size_passed(void)
{
	begin_message(0);
	put(FRAME_DATA, 0, 0, 1, 0, "678901");
}
static void message_size_passed_with_more(void)
{
	begin_message(0);
	put(FRAME_DATA, FRAME_MORE, 0, 1, 0, "678901");
}
static void message_size_reached_with_more(void)
{
	begin_message(0);
	put(FRAME_DATA, FRAME_MORE, 0, 1, 0, "67890");
}
static void message_size_not_reached(void)
{
	begin_message(0);
	put(FRAME_DATA, 0, 0, 1, 0, "6789");
}
static void message_size_passed_by_a_large_frame(void)
{
	begin_message(0);
	put_zeroes(FRAME_DATA, 0, 1, 0, 60000);
}

static void attachments_17(void)
{
	bring(17, 0, 17, 17);
}

static void credit_of_the_topic(void)
{
	put_zeroes(FRAME_DATA, 0, 1, 0, 65536 - 3 * MESSAGE_COST);
	put(FRAME_DATA, 0, 0, 1, 0, "");
}
static void credit_of_the_pool(void)
{
	speech_sized(&speech, FRAME_MORE, 0, 1, 0, 1 << 20, (1 << 20) + 1, "x");
}
static void credit_all_from_the_pool(void)
{
	speech_sized(&speech, 0, 0, 1, 0, 1, MESSAGE_COST + 1, "x");
}
static void credit_more_than_it_costs(void)
{
	speech_sized(&speech, 0, 0, 1, 0, 1, 0xffffffff, "x");
}
static void credit_of_attachments(void)
{
	bring(16, 0, 16, 16);
	bring(1, 0, 1, 1);
}

static void grant_of_nothing(void)
{
	speech_credit(&speech, 0, 0, 0, 0);
}
static void grant_of_nothing_for_a_topic(void)
{
	speech_credit(&speech, 1, 0, 0, 0);
}
static void grant_back_of_nothing(void)
{
	put(FRAME_RETURN, 0, 0, 0, 0, "");
}
static void grant_back_of_more_than_was_granted(void)
{
	put(FRAME_RETURN, 0, 0, 0, 65, "");
}
static void grant_back_of_what_is_used(void)
{
	speech_send_fds(&speech, 10, 0);
	put(FRAME_DATA, 0, 10, 1, 0, "x");
	put(FRAME_RETURN, 0, 0, 0, 55, "");
}
static void grant_back_twice(void)
{
	put(FRAME_RETURN, 0, 0, 0, 64, "");
	put(FRAME_RETURN, 0, 0, 0, 1, "");
}
static void overdraft(uint32_t id, uint32_t call, uint32_t attachments)
{
	unsigned char payload[FRAME_CREDIT_BODY];

	put_u32(payload, 5);
	put_u32(payload + 4, attachments);
	speech_frame(&speech, FRAME_CREDIT, FRAME_OVERDRAFT, 0, id, call, payload, sizeof payload);
}
static void unused_attachments_with_overdraft(void)
{
	overdraft(1, 0, 1);
}
static void unused_overdraft_of_nobody(void)
{
	overdraft(0, 0, 0);
}
static void unused_argument_with_a_topics_overdraft(void)
{
	overdraft(1, 1, 0);
}
static void call_id_above_the_limit_in_overdraft(void)
{
	overdraft(0, 65, 0);
}
static void grant_of_no_overdraft(void)
{
	size_t at = speech_credit(&speech, 1, 0, 0, 0);

	tamper(at, 5, FRAME_OVERDRAFT);
}
static void credit_of_attachments_that_nobody_claims(void)
{
	speech_send_fds(&speech, 65, 0);
	put(FRAME_DATA, 0, 0, 1, 0, "x");
}
static void credit_of_attachments_that_were_lost(void)
{
	speech_send_fds(&speech, 65, 65);
	put(FRAME_DATA, 0, 1, 1, 0, "x");
}
static void credit_of_attachments_that_were_given_back(void)
{
	put(FRAME_RETURN, 0, 0, 0, 60, "");
	speech_send_fds(&speech, 5, 0);
	put(FRAME_DATA, 0, 5, 1, 0, "x");
}
static void grant_that_the_owner_finds_too_much(void)
{
	ear.answer = BREACH_GRANT;
	speech_credit(&speech, 0, 0, 1, 0);
}

static void reset_that_the_owner_finds_wrong(void)
{
	ear.answer = BREACH_RESET;
	speech_reset(&speech, 1, 0);
}

static void call_id_in_use(void)
{
	put(FRAME_DATA, 0, 0, 1, 5, "x");
	put(FRAME_DATA, 0, 0, 1, 5, "y");
}
static void call_id_above_the_limit(void)
{
	put(FRAME_DATA, 0, 0, 1, 65, "x");
}
static void call_id_of_a_reply(void)
{
	put(FRAME_REPLY, FRAME_END, 0, 0, 1, "x");
}
static void call_id_of_a_large_reply(void)
{
	put_zeroes(FRAME_REPLY, FRAME_END, 0, 1, FRAME_BODY_MAX);
}
static void call_id_of_a_reply_to_0(void)
{
	put(FRAME_REPLY, 0, 0, 0, 0, "x");
}
static void call_id_0_in_reset(void)
{
	speech_reset(&speech, 0, 0);
}
static void call_id_above_the_limit_in_reset(void)
{
	speech_reset(&speech, 0, 65);
}
static void call_id_above_the_limit_in_credit(void)
{
	speech_credit(&speech, 0, 65, 1, 1);
}

#define WAY(function)                                                                                                          \
	{                                                                                                                      \
#function, function                                                                                            \
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

/* ---- Played ------------------------------------------------------------------------------------------------------ */

static const char *const rules[] = {
    BREACH_LENGTH,      BREACH_KIND,     BREACH_FLAGS, BREACH_PADDING, BREACH_UNUSED,      BREACH_PAYLOAD,
    BREACH_CARRIER,     BREACH_FIRST,    BREACH_HELLO, BREACH_GOODBYE, BREACH_DESCRIPTORS, BREACH_UNCLAIMED,
    BREACH_CLAIM,       BREACH_TOPIC_ID, BREACH_NAME,  BREACH_CLOSED,  BREACH_FRAGMENT,    BREACH_MESSAGE_SIZE,
    BREACH_ATTACHMENTS, BREACH_CREDIT,   BREACH_GRANT, BREACH_RESET,   BREACH_CALL_ID,
};

/* The text of the rule that a way's name begins with. */
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

/* Heard in reads of `first` bytes, then `then` each. */
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
	/* It counts the descriptors. */
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
		/* In what is large at its beginning and end, and here and there. */
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
	/* To carry some is none: it may be for nobody. */
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
	/* What one topic does not use another may not either. */
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
				     (uint8_t)rng_below(&rng, 3), id, (uint32_t)rng_below(&rng, 3), "12345678901234567890",
				     rng_below(&rng, 20));
		}
		while (flips--)
			speech.bytes[HELLO_FRAME + rng_below(&rng, speech.size - HELLO_FRAME)] = (unsigned char)rng_u64(&rng);
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
