/* SPDX-License-Identifier: MIT */
/*
 * A peer that breaks the rules of docs/protocol.md (section 12), with a row for each way. Whole
 * messages from before the breach are delivered, and then the channel names the rule. Rules about
 * descriptors are tested in descriptor_test.c, those about credit in flood_test.c, those about time
 * in trickle_test.c.
 */
#include <hostile/attack.h>

/*
 * Frames in hexadecimal, as in the protocol page. If a frame breaks two rules at once, or the rule
 * depends on how far the other side has got, either name is right.
 */
struct row {
	const char *rules;
	const char *what;
	const char *frames;
};

/* After HELLO, OPEN of topic 1 "log" and a message on it; the other side has opened its topic 1. */
static const struct row rows[] = {
    {"length", "of nothing", "00000000 03 00 00 00 00000001 00000000"},
    {"length", "below a header's rest", "00000008 03 00 00 00 00000001 00000000"},
    {"length", "no multiple of 8", "0000000d 03 00 00 00 00000001 00000000 0000000000000000"},
    {"length", "one step above the largest", "00010014 03 00 00 00 00000001 00000000"},
    {"length", "2 GiB", "7ffffffc 03 00 00 00 00000001 00000000"},

    {"kind", "0", "0000000c 00 00 00 00 00000000 00000000"},
    {"kind", "9", "0000000c 09 00 00 00 00000000 00000000"},
    {"kind", "255", "0000000c ff 00 00 00 00000000 00000000"},

    {"flags", "MORE on OPEN", "00000014 02 a1 00 00 00000002 00000000 6c6f75 0000000000"},
    {"flags", "END on DATA", "0000000c 03 08 00 00 00000001 00000000"},
    {"flags", "ERROR on DATA", "0000000c 03 10 00 00 00000001 00000000"},
    {"flags", "SIZED on CREDIT", "00000014 05 02 00 00 00000001 00000000 00000001 00000000"},
    {"flags", "ABORT on CLOSE", "0000000c 06 04 00 00 00000001 00000000"},
    {"flags", "MORE on RESET", "0000000c 07 01 00 00 00000001 00000001"},
    {"flags", "END on GOODBYE", "0000000c 08 08 00 00 00000000 00000000"},
    {"flags|call-id", "ERROR without END", "00000014 04 90 00 00 00000000 00000001 00000001 00000000"},
    {"flags", "ABORT with MORE", "0000000c 03 05 00 00 00000001 00000000"},
    {"fragment", "a first frame with MORE without SIZED", "00000014 03 01 00 00 00000001 00000000 6161616161616161"},

    {"padding", "more than the frame has bytes", "0000000c 03 20 00 00 00000001 00000000"},
    {"padding", "not zero", "00000014 03 60 00 00 00000001 00000000 68656c6c6f 000001"},
    {"padding", "not zero in a name's frame", "00000014 02 a0 00 00 00000002 00000000 6c6f75 0100000000"},

    {"unused", "OPEN with an argument", "00000014 02 a0 00 00 00000002 00000001 6c6f75 0000000000"},
    {"unused", "OPEN that claims", "00000014 02 a0 01 00 00000002 00000000 6c6f75 0000000000"},
    {"unused", "REPLY with a topic", "0000000c 04 08 00 00 00000001 00000001"},
    {"unused", "CREDIT that claims", "00000014 05 00 01 00 00000001 00000000 00000001 00000000"},
    {"unused", "CREDIT for a topic and a call", "00000014 05 00 00 00 00000001 00000001 00000001 00000000"},
    {"unused", "CLOSE with an argument", "0000000c 06 00 00 00 00000001 00000001"},
    {"unused", "CLOSE that claims", "0000000c 06 00 01 00 00000001 00000000"},
    {"unused", "RESET that claims", "0000000c 07 00 01 00 00000001 00000001"},
    {"unused", "GOODBYE with an id", "0000000c 08 00 00 00 00000001 00000000"},
    {"unused", "GOODBYE with an argument", "0000000c 08 00 00 00 00000000 00000001"},
    {"unused", "GOODBYE that claims", "0000000c 08 00 01 00 00000000 00000000"},

    {"payload", "CREDIT with none", "0000000c 05 00 00 00 00000001 00000000"},
    {"payload", "CREDIT with 16 bytes", "0000001c 05 00 00 00 00000001 00000000 00000001 00000000 00000000 00000000"},
    {"payload", "CREDIT with 7 bytes", "00000014 05 20 00 00 00000001 00000000 00000001 00000000"},
    {"payload", "CLOSE with some", "00000014 06 00 00 00 00000001 00000000 0000000000000000"},
    {"payload", "RESET with some", "00000014 07 00 00 00 00000001 00000001 0000000000000000"},
    {"payload", "GOODBYE with some", "00000014 08 00 00 00 00000000 00000000 0000000000000000"},
    {"payload", "SIZED with less than 8 bytes", "00000014 03 82 00 00 00000001 00000000 00000001 00000000"},
    {"payload", "SIZED with none", "0000000c 03 02 00 00 00000001 00000000"},
    {"payload", "ABORT with some",
     "0000001c 03 83 00 00 00000001 00000000 0000000c 00000000 66726167 00000000 00000014 03 04 00 00 00000001 "
     "00000000 "
     "0000000000000000"},
    {"fragment", "a first frame with MORE that brings nothing",
     "00000014 03 03 00 00 00000001 00000000 0000000c 00000000"},
    {"fragment", "a frame that goes on and brings nothing",
     "0000001c 03 83 00 00 00000001 00000000 0000000c 00000000 66726167 00000000 0000000c 03 01 00 00 00000001 "
     "00000000"},

    {"carrier", "bit 31 and carried 0", "8000000c 03 00 00 00 00000001 00000000"},
    {"carrier", "carried without bit 31", "0000000c 03 00 00 01 00000001 00000000"},
    {"carrier", "carried 254", "8000000c 03 00 00 fe 00000001 00000000"},

    {"first", "a second HELLO",
     "0000003c 01 80 00 00 00000000 00000000 4265616d 01 000000 00000000 00000040 00000040 00100000 00000010 00010000 "
     "00000010"
     "00100000 00000040 00000000"},

    {"goodbye", "a message after it",
     "0000000c 08 00 00 00 00000000 00000000 00000014 03 60 00 00 00000001 00000000 68656c6c6f 000000"},
    {"goodbye", "credit after it",
     "0000000c 08 00 00 00 00000000 00000000 00000014 05 00 00 00 00000001 00000000 00000001 00000000"},
    {"goodbye", "another after it", "0000000c 08 00 00 00 00000000 00000000 0000000c 08 00 00 00 00000000 00000000"},
    {"goodbye", "in the middle of a message",
     "0000001c 03 83 00 00 00000001 00000000 0000000c 00000000 66726167 00000000 0000000c 08 00 00 00 00000000 "
     "00000000"},

    {"topic-id", "DATA for a topic never opened", "0000000c 03 00 00 00 00000009 00000000"},
    {"topic-id", "DATA for topic 0", "0000000c 03 00 00 00 00000000 00000000"},
    {"topic-id", "DATA for the last id of all", "0000000c 03 00 00 00 ffffffff 00000000"},
    {"topic-id", "CLOSE of a topic never opened", "0000000c 06 00 00 00 00000009 00000000"},
    {"topic-id", "CLOSE of the last id of all", "0000000c 06 00 00 00 ffffffff 00000000"},
    {"topic-id", "CREDIT for a topic never opened", "00000014 05 00 00 00 00000009 00000000 00000001 00000000"},
    {"topic-id", "CREDIT for the last id of all", "00000014 05 00 00 00 ffffffff 00000000 00000001 00000000"},
    {"topic-id", "OPEN of topic 0", "00000014 02 a0 00 00 00000000 00000000 6c6f75 0000000000"},
    {"topic-id", "OPEN of a topic above the limit", "00000014 02 a0 00 00 00000101 00000000 6c6f75 0000000000"},
    {"topic-id", "OPEN of the last id of all", "00000014 02 a0 00 00 ffffffff 00000000 6c6f75 0000000000"},
    {"topic-id", "OPEN of an id that is open", "00000014 02 a0 00 00 00000001 00000000 6c6f75 0000000000"},
    {"topic-id", "OPEN of an id that is closed and not answered",
     "0000000c 06 00 00 00 00000001 00000000 00000014 02 a0 00 00 00000001 00000000 6c6f75 0000000000"},

    {"name", "empty", "0000000c 02 00 00 00 00000002 00000000"},
    {"name", "with a NUL", "00000014 02 a0 00 00 00000002 00000000 6c0075 0000000000"},
    {"name", "that is open already", "00000014 02 a0 00 00 00000002 00000000 6c6f67 0000000000"},

    {"closed", "DATA after CLOSE", "0000000c 06 00 00 00 00000001 00000000 0000000c 03 00 00 00 00000001 00000000"},
    {"closed", "CLOSE after CLOSE", "0000000c 06 00 00 00 00000001 00000000 0000000c 06 00 00 00 00000001 00000000"},
    {"closed|topic-id", "CREDIT after RESET",
     "0000000c 07 00 00 00 00000001 00000001 00000014 05 00 00 00 00000001 00000000 00000001 00000000"},
    {"reset", "RESET after RESET", "0000000c 07 00 00 00 00000001 00000001 0000000c 07 00 00 00 00000001 00000001"},

    {"fragment", "SIZED in the middle",
     "0000001c 03 83 00 00 00000001 00000000 0000000c 00000000 66726167 00000000"
     "0000001c 03 83 00 00 00000001 00000000 0000000c 00000000 66726167 00000000"},
    {"fragment", "another call in the middle",
     "0000001c 03 83 00 00 00000001 00000000 0000000c 00000000 66726167 00000000"
     "00000014 03 01 00 00 00000001 00000007 6161616161616161"},
    {"fragment", "ABORT with nothing begun", "0000000c 03 04 00 00 00000001 00000000"},
    {"fragment", "CLOSE in the middle",
     "0000001c 03 83 00 00 00000001 00000000 0000000c 00000000 66726167 00000000 0000000c 06 00 00 00 00000001 "
     "00000000"},
    {"flags", "END in the middle",
     "0000001c 03 83 00 00 00000001 00000000 0000000c 00000000 66726167 00000000"
     "00000014 03 08 00 00 00000001 00000000 6161616161616161"},

    {"message-size", "above what is accepted",
     "0000001c 03 83 00 00 00000001 00000000 01000001 00000000 66726167 00000000"},
    {"message-size", "2 GiB", "0000001c 03 83 00 00 00000001 00000000 7fffffff 00000000 66726167 00000000"},
    {"message-size", "the last of all, whose cost passes 32 bits",
     "0000001c 03 83 00 00 00000001 00000000 ffffffff 00000000 66726167 00000000"},
    {"message-size", "one frame with less than announced",
     "0000001c 03 82 00 00 00000001 00000000 00000005 00000001 66726167 00000000"},
    {"message-size", "one frame with more than announced",
     "0000001c 03 82 00 00 00000001 00000000 00000003 00000001 66726167 00000000"},
    {"message-size", "MORE, and no byte is missing",
     "0000001c 03 83 00 00 00000001 00000000 00000004 00000000 66726167 00000000"},
    {"message-size", "more bytes than the total",
     "0000001c 03 83 00 00 00000001 00000000 0000000a 00000000 66726167 00000000"
     "00000014 03 00 00 00 00000001 00000000 6161616161616161"},
    {"message-size", "MORE in the middle, and no byte is missing",
     "0000001c 03 83 00 00 00000001 00000000 0000000c 00000000 66726167 00000000"
     "00000014 03 01 00 00 00000001 00000000 6161616161616161"},
    {"message-size", "the last frame, and some are missing",
     "0000001c 03 83 00 00 00000001 00000000 0000000c 00000000 66726167 00000000"
     "00000014 03 80 00 00 00000001 00000000 61616161 00000000"},

    {"fragment", "SIZED without MORE and no overdraft",
     "0000001c 03 82 00 00 00000001 00000000 00000004 00000000 66726167 00000000"},
    {"credit", "an overdraft of the whole cost",
     "0000001c 03 82 00 00 00000001 00000000 00000004 00000044 66726167 00000000"},
    {"credit", "an overdraft of more than all",
     "0000001c 03 82 00 00 00000001 00000000 00000004 ffffffff 66726167 00000000"},

    {"grant", "nothing for a topic", "00000014 05 00 00 00 00000001 00000000 00000000 00000000"},
    {"grant", "nothing for the pool", "00000014 05 00 00 00 00000000 00000000 00000000 00000000"},
    {"grant", "too many bytes for a topic", "00000014 05 00 00 00 00000001 00000000 40000000 00000000"},
    {"grant", "too many attachments for a topic", "00000014 05 00 00 00 00000001 00000000 00000001 40000000"},
    {"grant", "too many bytes for the pool", "00000014 05 00 00 00 00000000 00000000 ffffffff 00000000"},
    {"grant", "too many attachments for the channel", "00000014 05 00 00 00 00000000 00000000 00000000 ffffffff"},
    {"grant", "too much in two parts",
     "00000014 05 00 00 00 00000001 00000000 3ff00000 00000000 00000014 05 00 00 00 00000001 00000000 3ff00000 "
     "00000000"},

    {"reset", "of a topic never opened", "0000000c 07 00 00 00 00000009 00000001"},
    {"reset", "of the last id of all", "0000000c 07 00 00 00 ffffffff 00000001"},
    {"reset", "done, before it was closed", "0000000c 07 00 00 00 00000001 00000000"},

    {"call-id", "a reply to no call", "00000014 04 e8 00 00 00000000 00000001 34 00000000000000"},
    {"call-id", "a reply to call 0", "00000014 04 e8 00 00 00000000 00000000 34 00000000000000"},
    {"call-id", "a reply to the last id of all", "00000014 04 e8 00 00 00000000 ffffffff 34 00000000000000"},
    {"call-id", "a call above the limit", "0000000c 03 00 00 00 00000001 00000101"},
    {"call-id", "a call of the last id of all", "0000000c 03 00 00 00 00000001 ffffffff"},
    {"call-id", "a call whose id is in use",
     "0000000c 03 00 00 00 00000001 00000001 0000000c 03 00 00 00 00000001 00000001"},
    {"call-id", "credit for a call above the limit", "00000014 05 00 00 00 00000000 00000101 00000001 00000000"},
    {"call-id", "reset of call 0", "0000000c 07 00 00 00 00000000 00000000"},
    {"call-id", "reset of a call above the limit", "0000000c 07 00 00 00 00000000 00000101"},
};

static struct attack attack;

#define GOODBYE "0000000c 08 00 00 00 00000000 00000000"
#define CLOSE "0000000c 06 00 00 00 00000001 00000000"

/* What a row's first frame ends normally, before the frame that breaks the rule. */
static enum ended ended_before(const char *frames)
{
	size_t size = strlen(CLOSE);

	if (strlen(frames) == size)
		return ENDED_NOTHING;
	return strncmp(frames, GOODBYE, size) == 0 ? ENDED_CHANNEL
	       : strncmp(frames, CLOSE, size) == 0 ? ENDED_TOPIC
						   : ENDED_NOTHING;
}

/* Tries the rows of this rule, each with a new channel. */
static void expect_rows(const char *rule)
{
	unsigned n = 0;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		if (strncmp(rows[i].rules, rule, strlen(rule)) != 0 || !strchr("|", rows[i].rules[strlen(rule)]))
			continue;
		harness_context("%s: %s", rows[i].rules, rows[i].what);
		attack_begin(&attack, NULL);
		raw_text(&attack.out, 1, "before");
		raw_hex(&attack.out, rows[i].frames);
		/* What follows the breach is not parsed. */
		raw_text(&attack.out, 1, "after");
		attack_send(&attack);
		expect_text(attack.topic, "before");
		expect_breach_after(&attack, rows[i].rules, ended_before(rows[i].frames));
		attack_end(&attack);
		n++;
	}
	check(n > 0);
}

#define RULE_TEST(name, rule)                                                                                          \
	static void name(void)                                                                                         \
	{                                                                                                              \
		expect_rows(rule);                                                                                     \
	}

RULE_TEST(test_a_length_that_no_frame_has_is_a_breach, "length")
RULE_TEST(test_an_unknown_kind_is_a_breach, "kind")
RULE_TEST(test_a_flag_that_does_not_belong_there_is_a_breach, "flags")
RULE_TEST(test_wrong_padding_is_a_breach, "padding")
RULE_TEST(test_an_unused_field_that_is_not_zero_is_a_breach, "unused")
RULE_TEST(test_a_payload_of_a_size_that_its_kind_does_not_have_is_a_breach, "payload")
RULE_TEST(test_carried_and_its_bit_that_do_not_agree_are_a_breach, "carrier")
RULE_TEST(test_a_second_hello_is_a_breach, "first")
RULE_TEST(test_a_goodbye_that_is_none_is_a_breach, "goodbye")
RULE_TEST(test_a_topic_that_is_not_open_or_can_not_be_is_a_breach, "topic-id")
RULE_TEST(test_a_name_that_can_not_be_opened_is_a_breach, "name")
RULE_TEST(test_a_frame_for_a_closed_topic_is_a_breach, "closed")
RULE_TEST(test_a_frame_that_does_not_go_on_with_its_message_is_a_breach, "fragment")
RULE_TEST(test_a_message_of_another_size_than_announced_or_accepted_is_a_breach, "message-size")
RULE_TEST(test_an_overdraft_that_can_not_be_is_a_breach, "credit")
RULE_TEST(test_credit_of_nothing_or_beyond_all_bounds_is_a_breach, "grant")
RULE_TEST(test_a_reset_of_what_is_not_open_is_a_breach, "reset")
RULE_TEST(test_a_call_or_reply_that_can_not_be_is_a_breach, "call-id")

static void test_a_name_of_256_bytes_is_a_breach(void)
{
	char name[257];

	memset(name, 'n', sizeof name);
	attack_begin(&attack, NULL);
	raw_frame(&attack.out, RAW_OPEN, 0, 0, 2, 0, name, 256);
	attack_send(&attack);
	expect_breach(&attack, "name");
	attack_end(&attack);
}

static void test_any_other_name_is_a_name(void)
{
	unsigned char every[255];
	beam_topic *topic = NULL;

	for (size_t i = 0; i < sizeof every; i++)
		every[i] = (unsigned char)(i + 1);
	attack_begin(&attack, NULL);
	raw_frame(&attack.out, RAW_OPEN, 0, 0, 2, 0, every, sizeof every);
	attack_send(&attack);
	if (check_int(beam_channel_accept(attack.channel, &topic, soon()), 1)) {
		check_int(strlen(beam_topic_name(topic)), sizeof every);
		check_bytes(beam_topic_name(topic), every, sizeof every);
	}
	beam_topic_unref(topic);
	expect_going_on(&attack);
	attack_end(&attack);
}

/* ---- The beginning --------------------------------------------------------------------------- */

/* The first bytes of the peer are a breach. */
static void expect_bad_beginning(const char *rules)
{
	attack_send(&attack);
	check_int(expect_breach(&attack, rules), 0);
	attack_end(&attack);
}

static void test_a_first_frame_that_is_not_hello_is_a_breach(void)
{
	attack_begin_unsaid(&attack, NULL);
	raw_open(&attack.out, 1, "log");
	expect_bad_beginning("first");
}

static void test_another_protocol_is_a_breach(void)
{
	static const char *const texts[] = {"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
					    "SSH-2.0-OpenSSH_9.2p1 Debian\r\n", "a line of some text protocol\n"};

	for (int i = 0; i < 3; i++) {
		harness_context("text %d", i);
		attack_begin_unsaid(&attack, NULL);
		raw_append(&attack.out, texts[i], strlen(texts[i]));
		expect_bad_beginning("length|kind|flags|padding|unused|carrier|first");
	}
}

/* HELLO with one byte changed. */
static void expect_bad_hello(size_t offset, unsigned char value, const char *rules)
{
	harness_context("byte %zu is %u", offset, value);
	attack_begin_unsaid(&attack, NULL);
	size_t at = raw_hello(&attack.out);
	attack.out.bytes[at + offset] = value;
	expect_bad_beginning(rules);
}

static void test_a_hello_of_something_else_or_of_no_version_is_a_breach(void)
{
	expect_bad_hello(RAW_HEADER, 'b', "hello");
	expect_bad_hello(RAW_HEADER + 3, 0, "hello");
	expect_bad_hello(RAW_HEADER + 4, 0, "hello");
}

static void test_a_hello_with_unused_fields_that_are_not_zero_is_a_breach(void)
{
	for (size_t i = 5; i < 8; i++)
		expect_bad_hello(RAW_HEADER + i, 1, "unused");
	expect_bad_hello(6, 1, "unused");
	expect_bad_hello(11, 1, "unused");
	expect_bad_hello(15, 1, "unused");
	expect_bad_hello(RAW_HELLO_FRAME - 1, 1, "padding");
}

static void test_a_hello_that_carries_is_a_breach(void)
{
	int file = raw_file();

	attack_begin_unsaid(&attack, NULL);
	raw_carry(&attack.out, raw_hello(&attack.out), 1);
	raw_peer_send_fds(&attack.peer, &attack.out, &file, 1);
	expect_bad_beginning("carrier");
	close(file);
}

static void test_a_limit_below_its_minimum_or_above_all_bounds_is_a_breach(void)
{
	/* The limits of attachments have no minimum. */
	static const uint32_t below[RAW_LIMITS] = {
	    63, 63, (1 << 20) - 1, UINT32_MAX, (64 << 10) - 1, UINT32_MAX, (1 << 20) - 1, UINT32_MAX};

	for (enum raw_limit limit = 0; limit < RAW_LIMITS; limit++) {
		const uint32_t values[] = {below[limit], (1u << 30) + 1, UINT32_MAX};

		for (int i = 0; i < 3; i++) {
			harness_context("limit %d is %u", (int)limit, values[i]);
			attack_begin_unsaid(&attack, NULL);
			raw_hello_with(&attack.out, limit, values[i]);
			expect_bad_beginning("hello");
		}
	}
}

static void test_a_hello_too_short_or_too_long_is_a_breach(void)
{
	static const size_t sizes[] = {0, 36, 40, 43, 257, 264, 65536};
	static unsigned char payload[65536];

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		harness_context("%zu bytes", sizes[i]);
		attack_begin_unsaid(&attack, NULL);
		size_t at = raw_hello(&attack.out);
		memcpy(payload, attack.out.bytes + at + RAW_HEADER, 44);
		attack.out.size = at;
		raw_frame(&attack.out, RAW_HELLO, 0, 0, 0, 0, payload, sizes[i]);
		expect_bad_beginning("payload");
	}
}

/* A HELLO of a later version: more payload, more features, a higher version number. */
static void test_a_hello_of_a_later_version_is_taken(void)
{
	unsigned char payload[256];
	size_t at;

	memset(payload, 0xee, sizeof payload);
	attack_begin_unsaid(&attack, NULL);
	at = raw_hello(&attack.out);
	memcpy(payload, attack.out.bytes + at + RAW_HEADER, 44);
	payload[4] = 200;
	memset(payload + 8, 0xff, 4);
	attack.out.size = at;
	raw_frame(&attack.out, RAW_HELLO, 0, 0, 0, 0, payload, sizeof payload);
	raw_open(&attack.out, 1, "log");
	attack_send(&attack);
	attack_read_beginning(&attack);
	expect_going_on(&attack);
	attack_end(&attack);
}

static const struct test tests[] = {
    TEST(test_a_length_that_no_frame_has_is_a_breach),
    TEST(test_an_unknown_kind_is_a_breach),
    TEST(test_a_flag_that_does_not_belong_there_is_a_breach),
    TEST(test_wrong_padding_is_a_breach),
    TEST(test_an_unused_field_that_is_not_zero_is_a_breach),
    TEST(test_a_payload_of_a_size_that_its_kind_does_not_have_is_a_breach),
    TEST(test_carried_and_its_bit_that_do_not_agree_are_a_breach),
    TEST(test_a_second_hello_is_a_breach),
    TEST(test_a_goodbye_that_is_none_is_a_breach),
    TEST(test_a_topic_that_is_not_open_or_can_not_be_is_a_breach),
    TEST(test_a_name_that_can_not_be_opened_is_a_breach),
    TEST(test_a_frame_for_a_closed_topic_is_a_breach),
    TEST(test_a_frame_that_does_not_go_on_with_its_message_is_a_breach),
    TEST(test_a_message_of_another_size_than_announced_or_accepted_is_a_breach),
    TEST(test_an_overdraft_that_can_not_be_is_a_breach),
    TEST(test_credit_of_nothing_or_beyond_all_bounds_is_a_breach),
    TEST(test_a_reset_of_what_is_not_open_is_a_breach),
    TEST(test_a_call_or_reply_that_can_not_be_is_a_breach),
    TEST(test_a_name_of_256_bytes_is_a_breach),
    TEST(test_any_other_name_is_a_name),
    TEST(test_a_first_frame_that_is_not_hello_is_a_breach),
    TEST(test_another_protocol_is_a_breach),
    TEST(test_a_hello_of_something_else_or_of_no_version_is_a_breach),
    TEST(test_a_hello_with_unused_fields_that_are_not_zero_is_a_breach),
    TEST(test_a_hello_that_carries_is_a_breach),
    TEST(test_a_limit_below_its_minimum_or_above_all_bounds_is_a_breach),
    TEST(test_a_hello_too_short_or_too_long_is_a_breach),
    TEST(test_a_hello_of_a_later_version_is_taken),
};

HARNESS_MAIN("hostile/rule", tests)
