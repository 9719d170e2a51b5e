/* SPDX-License-Identifier: MIT */
/*
 * Channels over channels, while each call that can fail fails in turn: all or nothing, and nothing
 * is left over.
 */
#include <relay/sweep.h>

static void make_a_pair(void)
{
	struct beam_channel_options options = options_of_sweeps();
	beam_channel *a = NULL, *b = NULL;
	int r = beam_channel_pair(&a, &b, &options);

	check(r <= 0);
	check_int(a != NULL, r == 0);
	check_int(b != NULL, r == 0);
	beam_channel_unref(a);
	beam_channel_unref(b);
}

static void test_a_pair_is_made_whole_or_not_at_all(void)
{
	check(sweep(make_a_pair) >= at_least(30));
}

static void add_an_end(void)
{
	struct beam_channel_options options = options_of_sweeps();
	beam_message *message = NULL;
	beam_channel *kept = NULL;
	int r;

	if (beam_message_new(&message, "x", 1) < 0)
		return;
	/* More than the attachments that a message has room for from the start. */
	for (size_t i = 0; i < 3; i++) {
		r = beam_message_add_channel(message, &kept, &options);
		check(r <= 0);
		check_int(kept != NULL, r == 0);
		check_int(beam_message_attachments(message), r == 0 ? i + 1 : i);
		kept = beam_channel_unref(kept);
		if (r < 0)
			break;
	}
	beam_message_free(message);
}

static void test_an_end_is_attached_or_the_message_is_as_it_was(void)
{
	check(sweep(add_an_end) >= at_least(40));
}

static void take_the_next(beam_topic *topic)
{
	struct beam_channel_options options = options_of_sweeps();
	beam_message *message = NULL;
	beam_channel *taken = NULL;
	int r;

	if (beam_topic_receive(topic, &message, 0, shortly()) != 1)
		return;
	check_int(beam_message_attachments(message), 1);
	r = beam_message_take_channel(message, 0, &taken, &options);
	check(r <= 0);
	check_int(taken != NULL, r == 0);
	if (r == 0)
		check_int(beam_message_peek_fd(message, 0), -ENOENT);
	beam_channel_unref(taken);
	beam_message_free(message);
}

static void send_and_take(void)
{
	struct beam_channel_options options = options_of_sweeps();
	beam_channel *a = NULL, *b = NULL, *kept = NULL;
	beam_topic *from = NULL, *to = NULL;
	int r;

	if (beam_channel_pair(&a, &b, &options) < 0)
		return;
	if (beam_topic_open(&from, a, "topic") == 0 && beam_topic_open(&to, b, "topic") == 0) {
		r = beam_topic_send_channel(from, "x", 1, &kept, &options, 0, shortly());
		check(r <= 0);
		check_int(kept != NULL, r == 0);
		if (r == 0)
			take_the_next(to);
		beam_channel_unref(kept);
	}
	beam_topic_unref(from);
	beam_topic_unref(to);
	beam_channel_unref(a);
	beam_channel_unref(b);
}

static void test_an_end_is_sent_and_taken_or_stays_where_it_was(void)
{
	check(sweep(send_and_take) >= at_least(60));
}

static const struct test tests[] = {
    TEST(test_a_pair_is_made_whole_or_not_at_all),
    TEST(test_an_end_is_attached_or_the_message_is_as_it_was),
    TEST(test_an_end_is_sent_and_taken_or_stays_where_it_was),
};
HARNESS_MAIN("relay-pair_fault", tests)
