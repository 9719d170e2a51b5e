/* SPDX-License-Identifier: MIT */
/*
 * Ways to break a rule with a single frame: its header, its padding, HELLO and GOODBYE, and the
 * descriptors that it carries and claims. Each function sends something wrong after HELLO, OPEN 1
 * "log" and a whole message. Its name begins with the name of the rule.
 */
#ifndef SESSION_WRONG_FRAMES_H
#define SESSION_WRONG_FRAMES_H

#include <session/listen.h>

static inline void put(uint8_t kind, uint8_t flags, uint8_t claimed, uint32_t id, uint32_t argument,
		       const char *payload)
{
	speech_frame(&speech, kind, flags, claimed, id, argument, payload, strlen(payload));
}

/* The same with `size` bytes of zero as payload. */
static inline size_t put_zeroes(uint8_t kind, uint8_t flags, uint32_t id, uint32_t argument, size_t size)
{
	static const unsigned char zeroes[FRAME_BODY_MAX];

	return speech_frame(&speech, kind, flags, 0, id, argument, zeroes, size);
}

/* Changes a byte of the frame at `at`. */
static inline void tamper(size_t at, size_t byte, unsigned char value)
{
	speech.bytes[at + byte] = value;
}

static inline void length(uint32_t length)
{
	put_u32(speech.bytes + speech_data(&speech, 1, "xyz"), length);
}

static inline void length_0(void)
{
	length(0);
}
static inline void length_11(void)
{
	length(11);
}
static inline void length_13(void)
{
	length(13);
}
static inline void length_too_large(void)
{
	length(65556);
}
static inline void length_2_gib(void)
{
	length(0x7ffffffc);
}

static inline void kind(uint8_t value)
{
	tamper(speech_data(&speech, 1, "xyz"), 4, value);
}

static inline void kind_0(void)
{
	kind(0);
}
static inline void kind_9(void)
{
	kind(9);
}
static inline void kind_14(void)
{
	kind(14);
}
static inline void kind_18(void)
{
	kind(18);
}
static inline void kind_255(void)
{
	kind(255);
}

static inline void flags_on_open(void)
{
	put(FRAME_OPEN, FRAME_MORE, 0, 2, 0, "b");
}
static inline void flags_end_on_data(void)
{
	put(FRAME_DATA, FRAME_END, 0, 1, 0, "x");
}
static inline void flags_abort_and_more(void)
{
	put(FRAME_DATA, FRAME_ABORT | FRAME_MORE, 0, 1, 0, "");
}
static inline void flags_error_without_end(void)
{
	put(FRAME_REPLY, FRAME_ERROR, 0, 0, 1, "abcd");
}

static inline void padding_of_a_small_frame(void)
{
	tamper(speech_data(&speech, 1, "x"), FRAME_HEADER + 7, 1);
}
static inline void padding_of_a_large_frame(void)
{
	size_t at = put_zeroes(FRAME_DATA, 0, 1, 0, 5001);

	tamper(at, FRAME_HEADER + 5001, 1);
}
static inline void padding_of_a_large_frames_end(void)
{
	size_t at = put_zeroes(FRAME_DATA, 0, 1, 0, 5001);

	tamper(at, FRAME_HEADER + 5007, 1);
}
static inline void padding_more_than_there_is(void)
{
	tamper(speech_frame(&speech, FRAME_DATA, 0, 0, 1, 0, NULL, 0), 5, 1 << 5);
}

static inline void unused_id_of_goodbye(void)
{
	put(FRAME_GOODBYE, 0, 0, 1, 0, "");
}
static inline void unused_argument_of_close(void)
{
	put(FRAME_CLOSE, 0, 0, 1, 1, "");
}
static inline void unused_claimed_of_credit(void)
{
	put(FRAME_CREDIT, 0, 1, 1, 0, "12345678");
}
static inline void unused_argument_with_a_topics_credit(void)
{
	speech_credit(&speech, 1, 1, 1, 1);
}

static inline void payload_of_close(void)
{
	put(FRAME_CLOSE, 0, 0, 1, 0, "x");
}
static inline void payload_of_credit(void)
{
	put(FRAME_CREDIT, 0, 0, 1, 0, "1234567");
}
static inline void payload_without_sizes(void)
{
	put(FRAME_DATA, FRAME_SIZED, 0, 1, 0, "1234567");
}
static inline void payload_of_abort(void)
{
	put(FRAME_DATA, FRAME_ABORT, 0, 1, 0, "x");
}
static inline void payload_of_abort_as_large_as_can_be(void)
{
	put_zeroes(FRAME_DATA, FRAME_ABORT, 1, 0, FRAME_BODY_MAX);
}
static inline void payload_without_code(void)
{
	put(FRAME_REPLY, FRAME_END | FRAME_ERROR, 0, 0, 1, "abc");
}

static inline void carrier_of_none(void)
{
	tamper(speech_data(&speech, 1, "x"), 0, 0x80);
}
static inline void carrier_without_bit(void)
{
	tamper(speech_data(&speech, 1, "x"), 7, 1);
}
static inline void carrier_of_254(void)
{
	size_t at = speech_data(&speech, 1, "x");

	tamper(at, 0, 0x80);
	tamper(at, 7, 254);
}

static inline void first_is_open(void)
{
	speech.size = 0;
	speech_open(&speech, 1, "log");
}
static inline void first_twice(void)
{
	speech_hello(&speech, &limits_base);
}

static inline void hello_of_another(void)
{
	speech.size = 0;
	tamper(speech_hello(&speech, &limits_base), FRAME_HEADER, 'b');
}
static inline void hello_of_version_0(void)
{
	speech.size = 0;
	tamper(speech_hello(&speech, &limits_base), FRAME_HEADER + 4, 0);
}
static inline void hello_below_the_base(void)
{
	speech.size = 0;
	tamper(speech_hello(&speech, &limits_base), FRAME_HEADER + 15, 63);
}
static inline void hello_above_2_to_the_30(void)
{
	speech.size = 0;
	tamper(speech_hello(&speech, &limits_base), FRAME_HEADER + 12, 0x41);
}
static inline void hello_with_a_reserved_byte(void)
{
	speech.size = 0;
	tamper(speech_hello(&speech, &limits_base), FRAME_HEADER + 6, 1);
}

static inline void goodbye_then_data(void)
{
	speech_goodbye(&speech);
	speech_data(&speech, 1, "x");
}
static inline void goodbye_twice(void)
{
	speech_goodbye(&speech);
	speech_goodbye(&speech);
}
static inline void goodbye_within_a_message(void)
{
	speech_sized(&speech, FRAME_MORE, 0, 1, 0, 5, 0, "x");
	speech_goodbye(&speech);
}

/* A frame in a sendmsg whose descriptors may be other than the frame says. */
static inline void bring(unsigned n, unsigned lost, uint8_t carried, uint8_t claimed)
{
	size_t at;

	speech_send_fds(&speech, n, lost);
	at = speech_frame(&speech, FRAME_DATA, 0, claimed, 1, 0, "x", 1);
	frame_set_carried(speech.bytes + at, carried);
}

/* Makes the last sendmsg with descriptors begin later. */
static inline void late(size_t bytes)
{
	speech.sayings[speech.n_sayings - 1].at += bytes;
}

static inline void descriptors_without_a_carrier(void)
{
	bring(1, 0, 0, 0);
}
static inline void descriptors_truncated_without_a_carrier(void)
{
	bring(2, 1, 0, 0);
}
static inline void descriptors_missing(void)
{
	bring(0, 0, 1, 1);
}
static inline void descriptors_one_too_many(void)
{
	bring(3, 0, 2, 2);
}
static inline void descriptors_one_too_few(void)
{
	bring(2, 0, 3, 3);
}
static inline void descriptors_too_many_though_truncated(void)
{
	bring(4, 1, 2, 2);
}
static inline void descriptors_with_the_second_byte(void)
{
	bring(1, 0, 0, 0);
	late(1);
}
static inline void descriptors_with_the_last_byte_of_the_header(void)
{
	bring(1, 0, 0, 0);
	late(FRAME_HEADER - 1);
}
static inline void descriptors_with_the_last_byte(void)
{
	bring(1, 0, 0, 0);
	late(23);
}
static inline void descriptors_with_the_payload_of_a_large_frame(void)
{
	put_zeroes(FRAME_DATA, 0, 1, 0, 5000);
	speech.size -= 100;
	speech_send_fds(&speech, 1, 0);
	speech.size += 100;
}
static inline void descriptors_for_two_carriers(void)
{
	bring(1, 0, 1, 1);
	frame_set_carried(speech.bytes + speech_frame(&speech, FRAME_DATA, 0, 1, 1, 0, "y", 1), 1);
}
static inline void descriptors_for_the_second_frame_of_a_sendmsg_are_right_but_not_twice(void)
{
	/*
	 * The carrier is the second frame of a read that receives both, because the kernel merges
	 * them. Then the descriptor of a third frame is one too many.
	 */
	speech_data(&speech, 1, "x");
	bring(1, 0, 1, 1);
	bring(1, 0, 0, 0);
}

static inline void unclaimed_one(void)
{
	bring(2, 0, 2, 1);
	bring(1, 0, 1, 1);
}
static inline void unclaimed_lost_one(void)
{
	bring(1, 1, 1, 0);
	bring(1, 0, 1, 1);
}

static inline void claim_of_nothing(void)
{
	put(FRAME_DATA, 0, 1, 1, 0, "x");
}
static inline void claim_of_more(void)
{
	bring(1, 0, 1, 2);
}
static inline void claim_of_what_is_taken(void)
{
	bring(1, 0, 1, 1);
	put(FRAME_DATA, 0, 1, 1, 0, "x");
}
static inline void claim_within_a_message(void)
{
	speech_send_fds(&speech, 2, 0);
	speech_sized(&speech, FRAME_MORE, 1, 1, 0, 3, 0, "x");
	put(FRAME_DATA, 0, 1, 1, 0, "yz");
}
static inline void claim_with_abort(void)
{
	speech_send_fds(&speech, 2, 0);
	speech_sized(&speech, FRAME_MORE, 1, 1, 0, 3, 0, "x");
	put(FRAME_DATA, FRAME_ABORT, 1, 1, 0, "");
}

#endif
