/* SPDX-License-Identifier: MIT */
/*
 * All functions that send, receive, call, reply or forward refuse unknown flags, and then do
 * nothing.
 */
#include <beam/beam.h>
#include <harness/harness.h>
#include <public/ends.h>

static const unsigned unknown[] = {1u << 31, 1u << 30 | 1, 1u << 16};

enum { UNKNOWN = sizeof unknown / sizeof *unknown };

/* No message is there, so what was refused has not been sent. */
static void expect_nothing(struct ends *ends)
{
	beam_message *message = NULL;

	check_int(beam_channel_flush(ends->channel[0], soon()), 0);
	check_int(beam_topic_send(ends->topic[0], "last", 4, 0, soon()), 0);
	if (check_int(beam_topic_receive(ends->topic[1], &message, 0, soon()), 1))
		check_bytes(beam_message_data(message), "last", 4);
	beam_message_free(message);
}

static void test_a_send_with_unknown_flags_sends_nothing(void)
{
	const struct beam_send_item item = {.data = "x", .size = 1};
	beam_channel *channel = NULL;
	beam_message *message;
	struct ends ends;

	ends_open(&ends, NULL);
	require_int(beam_message_new(&message, "mine", 4), 0);
	for (size_t i = 0; i < UNKNOWN; i++) {
		check_int(beam_topic_send(ends.topic[0], "x", 1, unknown[i], soon()), -EINVAL);
		check_int(beam_topic_sendv(ends.topic[0], NULL, 0, NULL, 0, unknown[i], soon()), -EINVAL);
		check_int(beam_topic_send_message(ends.topic[0], message, unknown[i], soon()), -EINVAL);
		check_int(beam_topic_send_many(ends.topic[0], &item, 1, unknown[i], soon()), -EINVAL);
		check_int(beam_topic_send_channel(ends.topic[0], "x", 1, &channel, NULL, unknown[i], soon()), -EINVAL);
	}
	check(channel == NULL);
	check_bytes(beam_message_data(message), "mine", 4);
	beam_message_free(message);
	expect_nothing(&ends);
	ends_close(&ends);
}

static void test_a_receive_with_unknown_flags_leaves_the_message(void)
{
	beam_message *message = NULL;
	struct ends ends;
	char byte;
	size_t size;

	ends_open(&ends, NULL);
	check_int(beam_topic_send(ends.topic[0], "x", 1, 0, soon()), 0);
	for (size_t i = 0; i < UNKNOWN; i++) {
		check_int(beam_topic_receive(ends.topic[1], &message, unknown[i], soon()), -EINVAL);
		check_int(beam_topic_receive_many(ends.topic[1], &message, 1, unknown[i], soon()), -EINVAL);
		check_int(beam_topic_receive_into(ends.topic[1], &byte, 1, &size, NULL, 0, NULL, unknown[i], soon()),
			  -EINVAL);
		check_int(beam_topic_forward(ends.topic[1], ends.topic[0], &message, 1, NULL, unknown[i], soon()),
			  -EINVAL);
	}
	check(message == NULL);
	check_int(beam_topic_receive_into(ends.topic[1], &byte, 1, &size, NULL, 0, NULL, 0, soon()), 1);
	check(size == 1 && byte == 'x');
	ends_close(&ends);
}

static void test_a_call_or_reply_with_unknown_flags_changes_nothing(void)
{
	beam_message *request = NULL, *reply = NULL;
	beam_call *call = NULL;
	struct ends ends;

	ends_open(&ends, NULL);
	for (size_t i = 0; i < UNKNOWN; i++) {
		check_int(beam_call_begin(&call, ends.topic[0], NULL, 0, NULL, 0, unknown[i], soon()), -EINVAL);
		check_int(beam_topic_call(ends.topic[0], "x", 1, &reply, unknown[i], soon()), -EINVAL);
	}
	check(call == NULL && reply == NULL);
	require_int(beam_call_begin(&call, ends.topic[0], NULL, 0, NULL, 0, 0, soon()), 0);
	require_int(beam_topic_receive(ends.topic[1], &request, 0, soon()), 1);
	for (size_t i = 0; i < UNKNOWN; i++) {
		check_int(beam_message_reply(request, "x", 1, unknown[i], soon()), -EINVAL);
		check_int(beam_message_replyv(request, NULL, 0, NULL, 0, unknown[i], soon()), -EINVAL);
		check_int(beam_message_reply_failure(request, BEAM_FAILURE_APPLICATION, NULL, 0, unknown[i], soon()),
			  -EINVAL);
	}
	check_int(beam_message_reply(request, "one of two", 10, BEAM_REPLY_MORE, soon()), 0);
	check_int(beam_message_reply(request, "the last", 8, 0, soon()), 0);
	for (size_t i = 0; i < UNKNOWN; i++)
		check_int(beam_call_receive(call, &reply, unknown[i], soon()), -EINVAL);
	check(reply == NULL);
	for (int i = 0; i < 2; i++) {
		if (check_int(beam_call_receive(call, &reply, 0, soon()), 1))
			check_int(beam_message_size(reply), i ? 8 : 10);
		beam_message_free(reply);
		reply = NULL;
	}
	check_int(beam_call_receive(call, &reply, 0, soon()), 0);
	beam_message_free(request);
	beam_call_unref(call);
	ends_close(&ends);
}

static const struct test tests[] = {
    TEST(test_a_send_with_unknown_flags_sends_nothing),
    TEST(test_a_receive_with_unknown_flags_leaves_the_message),
    TEST(test_a_call_or_reply_with_unknown_flags_changes_nothing),
};
HARNESS_MAIN("flags", tests)
