/* SPDX-License-Identifier: MIT */
/* Channels over channels: pairs, and ends that are sent, taken, or never used. */
#include <relay/pairs.h>

static beam_channel *send_end(beam_topic *topic)
{
	beam_channel *channel = NULL;

	require_int(beam_topic_send_channel(topic, "end", 3, &channel, NULL, 0, soon()), 0);
	return channel;
}

/* Opens a topic on each of two ends. */
static struct ends ends_of(beam_channel *a, beam_channel *b)
{
	return (struct ends){{a, b}, {open_topic(a), open_topic(b)}};
}

/* ---- Ends ------------------------------------------------------------------------------------ */

static void test_a_pair_is_the_two_ends_of_one_channel(void)
{
	beam_channel *a = NULL, *b = NULL;
	struct beam_peer peer;
	struct ends ends;

	require_int(beam_channel_pair(&a, &b, NULL), 0);
	check_int(beam_channel_peer(a, &peer), -ENODATA);
	ends = ends_of(a, b);
	expect_exchange(&ends);
	check_int(beam_channel_close(a, soon()), 0);
	check_int(beam_topic_receive(ends.topic[1], &(beam_message *){NULL}, 0, soon()), 0);
	ends_close(&ends);
}

static void test_a_pair_has_the_options_on_both_sides(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	struct beam_limits limits = {0};
	beam_channel *channels[2];

	options.topics = 77;
	require_int(beam_channel_pair(&channels[0], &channels[1], &options), 0);
	for (int i = 0; i < 2; i++) {
		check_int(beam_channel_limits(channels[i], &limits, sizeof limits, soon()), 0);
		check_int(limits.topics, 77);
	}
	for (int i = 0; i < 2; i++)
		beam_channel_unref(channels[i]);
}

static void test_one_end_is_sent_and_the_other_kept(void)
{
	struct ends outer, inner;
	beam_channel *kept;
	struct beam_peer peer;

	ends_open(&outer, NULL);
	kept = send_end(outer.topic[0]);
	inner = ends_of(kept, take_next(outer.topic[1]));
	check_int(beam_channel_peer(inner.channel[1], &peer), -ENODATA);
	expect_exchange(&inner);
	expect_exchange(&outer);
	ends_close(&inner);
	ends_close(&outer);
}

static void test_the_text_that_goes_with_an_end_arrives(void)
{
	struct ends outer;
	beam_channel *kept = NULL;

	ends_open(&outer, NULL);
	require_int(beam_topic_send_channel(outer.topic[0], "text", 4, &kept, NULL, 0, soon()), 0);
	expect_text_with_fds(outer.topic[1], "text", 1);
	beam_channel_unref(kept);
	require_int(beam_topic_send_channel(outer.topic[0], NULL, 0, &kept, NULL, 0, soon()), 0);
	expect_text_with_fds(outer.topic[1], "", 1);
	beam_channel_unref(kept);
	ends_close(&outer);
}

static void test_what_is_sent_before_the_end_is_taken_arrives(void)
{
	struct ends outer, inner;
	beam_channel *kept;
	beam_topic *topic;

	ends_open(&outer, NULL);
	kept = send_end(outer.topic[0]);
	topic = open_topic(kept);
	send_text(topic, "early");
	check_int(beam_channel_close(kept, soon()), 0);
	inner = (struct ends){{kept, take_next(outer.topic[1])}, {topic, NULL}};
	inner.topic[1] = open_topic(inner.channel[1]);
	expect_text(inner.topic[1], "early");
	check_int(beam_topic_receive(inner.topic[1], &(beam_message *){NULL}, 0, soon()), 0);
	ends_close(&inner);
	ends_close(&outer);
}

static void test_channels_nest_and_each_outlives_the_one_it_came_over(void)
{
	enum { DEPTH = 4 };
	struct ends ends[DEPTH];

	ends_open(&ends[0], NULL);
	for (int i = 1; i < DEPTH; i++) {
		beam_channel *kept = send_end(ends[i - 1].topic[i % 2]);

		ends[i] = ends_of(kept, take_next(ends[i - 1].topic[!(i % 2)]));
	}
	for (int i = 0; i < DEPTH; i++) {
		for (int j = i; j < DEPTH; j++)
			expect_exchange(&ends[j]);
		ends_close(&ends[i]);
	}
}

/* Takes channel after channel from the one before it, and answers in the innermost. */
static int descend(void *argument)
{
	int fd = *(int *)argument;
	beam_channel *channels[4];
	beam_topic *topics[4];

	require_int(beam_channel_from_fd(&channels[0], fd, NULL), 0);
	for (int i = 0; i < 4; i++) {
		topics[i] = open_topic(channels[i]);
		if (i < 3)
			channels[i + 1] = take_next(topics[i]);
	}
	send_text(topics[3], "from the bottom");
	for (int i = 0; i < 4; i++) {
		check_int(beam_topic_receive(topics[i], &(beam_message *){NULL}, 0, soon()), 0);
		beam_topic_unref(topics[i]);
		beam_channel_unref(channels[i]);
	}
	return 0;
}

static void test_channels_nest_three_deep_between_processes(void)
{
	beam_channel *channels[4];
	beam_topic *topics[4];
	pid_t child;
	int fds[2];

	needs_threads_in_children();
	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	child = process_spawn(descend, &fds[1]);
	close(fds[1]);
	require_int(beam_channel_from_fd(&channels[0], fds[0], NULL), 0);
	for (int i = 0; i < 4; i++) {
		topics[i] = open_topic(channels[i]);
		if (i < 3)
			channels[i + 1] = send_end(topics[i]);
	}
	expect_text(topics[3], "from the bottom");
	for (int i = 0; i < 4; i++) {
		beam_topic_unref(topics[i]);
		beam_channel_unref(channels[i]);
	}
	check_int(process_wait(child), 0);
}

static void test_an_end_can_be_sent_on_before_it_is_taken(void)
{
	struct ends first, second, inner;
	beam_channel *kept;

	ends_open(&first, NULL);
	ends_open(&second, NULL);
	kept = send_end(first.topic[0]);
	check_int(beam_topic_send_message(second.topic[0], receive(first.topic[1]), 0, soon()), 0);
	inner = ends_of(kept, take_next(second.topic[1]));
	ends_close(&first);
	ends_close(&second);
	expect_exchange(&inner);
	ends_close(&inner);
}

static void test_a_message_takes_ends_beside_other_attachments(void)
{
	beam_channel *kept[2] = {NULL}, *taken[2] = {NULL};
	beam_message *message = NULL;
	struct ends outer;
	int file = raw_file();

	ends_open(&outer, NULL);
	require_int(beam_message_new(&message, "three", 5), 0);
	require_int(beam_message_add_channel(message, &kept[0], NULL), 0);
	require_int(beam_message_add_fd(message, file), 0);
	require_int(beam_message_add_channel(message, &kept[1], NULL), 0);
	require_int(beam_message_attachments(message), 3);
	check_int(beam_topic_send_message(outer.topic[0], message, 0, soon()), 0);
	require_int(beam_topic_receive(outer.topic[1], &message, 0, soon()), 1);
	check_int(raw_inode(beam_message_peek_fd(message, 1)), raw_inode(file));
	for (size_t i = 0; i < 2; i++) {
		struct ends inner;

		require_int(beam_message_take_channel(message, 2 * i, &taken[i], NULL), 0);
		inner = ends_of(kept[i], taken[i]);
		expect_exchange(&inner);
		ends_close(&inner);
	}
	beam_message_free(message);
	ends_close(&outer);
	close(file);
}

/* ---- Ends that are never used ---------------------------------------------------------------- */

static void test_an_end_that_nobody_takes_ends_the_kept_channel(void)
{
	struct ends outer;
	beam_message *message = NULL;
	beam_channel *kept;

	ends_open(&outer, NULL);
	/* It is freed by the receiver, discarded by the receiver, or never sent. */
	kept = send_end(outer.topic[0]);
	beam_message_free(receive(outer.topic[1]));
	expect_end(kept, -ECONNRESET);
	kept = send_end(outer.topic[0]);
	check_int(beam_topic_close_receive(outer.topic[1]), 0);
	expect_end(kept, -ECONNRESET);
	require_int(beam_message_new(&message, NULL, 0), 0);
	require_int(beam_message_add_channel(message, &kept, NULL), 0);
	beam_message_free(message);
	expect_end(kept, -ECONNRESET);
	ends_close(&outer);
}

static void test_an_end_that_cannot_be_sent_leaves_nothing_behind(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_channel *kept = NULL;
	struct ends outer;

	options.message_attachments = 0;
	ends_open(&outer, &options);
	check_int(beam_topic_send_channel(outer.topic[0], "x", 1, &kept, NULL, 0, soon()), -E2BIG);
	check_int(beam_topic_close_send(outer.topic[0]), 0);
	check_int(beam_topic_send_channel(outer.topic[0], "x", 1, &kept, NULL, 0, soon()), -EPIPE);
	check(kept == NULL);
	ends_close(&outer);
}

static void test_a_full_message_takes_no_more_ends(void)
{
	beam_message *message = NULL;
	beam_channel *kept = NULL;

	require_int(beam_message_new(&message, NULL, 0), 0);
	for (int i = 0; i < BEAM_MESSAGE_ATTACHMENTS_MAX; i++)
		require_int(beam_message_add_fd(message, STDERR_FILENO), 0);
	check_int(beam_message_add_channel(message, &kept, NULL), -E2BIG);
	check(kept == NULL);
	beam_message_free(message);
}

/* ---- Bad input ------------------------------------------------------------------------------- */

static void test_bad_input_gives_einval_and_makes_nothing(void)
{
	struct beam_channel_options bad = BEAM_CHANNEL_OPTIONS;
	beam_channel *channel = NULL, *other = NULL;
	beam_message *message = NULL;
	struct ends outer;
	int fd;

	bad.topics = 1;
	ends_open(&outer, NULL);
	require_int(beam_message_new(&message, NULL, 0), 0);
	check_int(beam_channel_pair(NULL, &channel, NULL), -EINVAL);
	check_int(beam_channel_pair(&channel, NULL, NULL), -EINVAL);
	check_int(beam_channel_pair(&channel, &other, &bad), -EINVAL);
	check_int(beam_message_add_channel(NULL, &channel, NULL), -EINVAL);
	check_int(beam_message_add_channel(message, NULL, NULL), -EINVAL);
	check_int(beam_message_add_channel(message, &channel, &bad), -EINVAL);
	check_int(beam_topic_send_channel(NULL, "x", 1, &channel, NULL, 0, soon()), -EINVAL);
	check_int(beam_topic_send_channel(outer.topic[0], "x", 1, NULL, NULL, 0, soon()), -EINVAL);
	check_int(beam_topic_send_channel(outer.topic[0], NULL, 1, &channel, NULL, 0, soon()), -EINVAL);
	check_int(beam_topic_send_channel(outer.topic[0], "x", 1, &channel, &bad, 0, soon()), -EINVAL);
	check_int(beam_message_attachments(message), 0);
	check_int(beam_message_take_channel(NULL, 0, &channel, NULL), -EINVAL);
	check_int(beam_message_take_channel(message, 0, &channel, NULL), -ENOENT);
	require_int(beam_message_add_fd(message, STDERR_FILENO), 0);
	check_int(beam_message_take_channel(message, 0, NULL, NULL), -EINVAL);
	check_int(beam_message_take_channel(message, 1, &channel, NULL), -ENOENT);
	fd = beam_message_take_fd(message, 0);
	check_int(beam_message_take_channel(message, 0, &channel, NULL), -ENOENT);
	close(fd);
	check(!channel && !other);
	beam_message_free(message);
	expect_exchange(&outer);
	ends_close(&outer);
}

static beam_topic *inherited;

static int send_from_child(void *argument)
{
	beam_channel *kept = NULL;

	(void)argument;
	check_int(beam_topic_send_channel(inherited, "x", 1, &kept, NULL, 0, soon()), -ECHILD);
	check(kept == NULL);
	return 0;
}

static void test_a_forked_child_cannot_send_ends_over_its_parents_channel(void)
{
	struct ends outer;

	needs_threads_in_children();
	ends_open(&outer, NULL);
	inherited = outer.topic[0];
	check_int(process_wait(process_spawn(send_from_child, NULL)), 0);
	expect_exchange(&outer);
	ends_close(&outer);
}

static const struct test tests[] = {
    TEST(test_a_pair_is_the_two_ends_of_one_channel),
    TEST(test_a_pair_has_the_options_on_both_sides),
    TEST(test_one_end_is_sent_and_the_other_kept),
    TEST(test_the_text_that_goes_with_an_end_arrives),
    TEST(test_what_is_sent_before_the_end_is_taken_arrives),
    TEST(test_channels_nest_and_each_outlives_the_one_it_came_over),
    TEST(test_channels_nest_three_deep_between_processes),
    TEST(test_an_end_can_be_sent_on_before_it_is_taken),
    TEST(test_a_message_takes_ends_beside_other_attachments),
    TEST(test_an_end_that_nobody_takes_ends_the_kept_channel),
    TEST(test_an_end_that_cannot_be_sent_leaves_nothing_behind),
    TEST(test_a_full_message_takes_no_more_ends),
    TEST(test_bad_input_gives_einval_and_makes_nothing),
    TEST(test_a_forked_child_cannot_send_ends_over_its_parents_channel),
};
HARNESS_MAIN("relay-pair", tests)
