/* SPDX-License-Identifier: MIT */
/*
 * Forwarding: everything arrives, complete and in order, also through a process or a thread in the
 * middle.
 */
#include <relay/line.h>

/* ---- Moving ---------------------------------------------------------------------------------- */

static void test_messages_move_in_order_until_the_source_ends(void)
{
	struct line line;
	size_t moved = 99;

	line_open(&line, NULL, NULL);
	send_numbers(line.source.topic[0], 0, 100);
	check_int(beam_topic_close_send(line.source.topic[0]), 0);
	check_int(move(&line, SIZE_MAX, &moved, soon()), 0);
	check_int(moved, 100);
	check(line.held == NULL);
	expect_numbers(line.target.topic[1], 0, 100);
	line_close(&line);
}

static void test_no_more_than_asked_for_are_moved(void)
{
	struct line line;

	line_open(&line, NULL, NULL);
	send_numbers(line.source.topic[0], 0, 10);
	expect_moved(&line, 3);
	expect_numbers(line.target.topic[1], 0, 3);
	check_int(beam_topic_receive(line.target.topic[1], &(beam_message *){NULL}, 0, beam_in_ms(1)), -ETIMEDOUT);
	expect_moved(&line, 7);
	expect_numbers(line.target.topic[1], 3, 7);
	line_close(&line);
}

static void test_messages_of_all_sizes_arrive_as_they_were(void)
{
	static const size_t sizes[] = {0, 1, 100, 4096, 32 << 10, 65000, 1 << 20, 5 << 20};
	struct rng rng = rng_new(1);
	struct line line;

	line_open(&line, NULL, NULL);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		beam_message *sent = NULL, *received = NULL;
		unsigned char *data = malloc(sizes[i] + 1);

		rng_fill(&rng, data, sizes[i]);
		require_int(beam_message_new(&sent, data, sizes[i]), 0);
		check_int(beam_topic_send_message(line.source.topic[0], sent, 0, soon()), 0);
		expect_moved(&line, 1);
		require_int(beam_topic_receive(line.target.topic[1], &received, 0, soon()), 1);
		if (check_int(beam_message_size(received), sizes[i]))
			check_bytes(beam_message_data(received), data, sizes[i]);
		beam_message_free(received);
		free(data);
	}
	line_close(&line);
}

static void test_as_many_attachments_as_there_can_be_move(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	int fds[BEAM_MESSAGE_ATTACHMENTS_MAX];
	beam_message *message = NULL;
	struct line line;

	options.message_attachments = options.topic_window_attachments = BEAM_MESSAGE_ATTACHMENTS_MAX;
	options.attachments = BEAM_MESSAGE_ATTACHMENTS_MAX;
	line_open(&line, &options, &options);
	for (int i = 0; i < BEAM_MESSAGE_ATTACHMENTS_MAX; i++)
		fds[i] = raw_file();
	check_int(beam_topic_sendv(line.source.topic[0], NULL, 0, fds, BEAM_MESSAGE_ATTACHMENTS_MAX, 0, soon()), 0);
	expect_moved(&line, 1);
	require_int(beam_topic_receive(line.target.topic[1], &message, 0, soon()), 1);
	require_int(beam_message_attachments(message), BEAM_MESSAGE_ATTACHMENTS_MAX);
	for (unsigned i = 0; i < BEAM_MESSAGE_ATTACHMENTS_MAX; i++) {
		check_int(raw_inode(beam_message_peek_fd(message, i)), raw_inode(fds[i]));
		close(fds[i]);
	}
	beam_message_free(message);
	line_close(&line);
}

static void test_a_topic_forwarded_to_itself_is_an_echo(void)
{
	struct ends ends;
	beam_message *held = NULL;

	ends_open(&ends, NULL);
	send_numbers(ends.topic[0], 0, 10);
	check_int(beam_topic_forward(ends.topic[1], ends.topic[1], &held, 10, NULL, 0, soon()), 1);
	expect_numbers(ends.topic[0], 0, 10);
	ends_close(&ends);
}

/* ---- Many, with attachments ------------------------------------------------------------------ */

struct producer {
	beam_topic *topic;
	int files[FILES];
	size_t n;
};

static void *produce(void *argument)
{
	struct producer *producer = argument;

	for (uint64_t i = 0; i < producer->n && !harness_failures(); i++)
		check_int(beam_topic_sendv(producer->topic, &(struct iovec){&i, sizeof i}, 1,
					   &producer->files[i % FILES], 1, 0, soon()),
			  0);
	check_int(beam_topic_close_send(producer->topic), 0);
	return NULL;
}

/* Sends `n` numbers, each with a file of its own among a few, and expects them at the other end. */
static void exchange_many(beam_topic *from, beam_topic *to, size_t n)
{
	struct producer producer = {.topic = from, .n = n};
	beam_message *message;
	pthread_t thread;

	for (size_t i = 0; i < FILES; i++)
		producer.files[i] = raw_file();
	thread = thread_spawn(produce, &producer);
	for (uint64_t i = 0; i < n && !harness_failures(); i++) {
		require_int(beam_topic_receive(to, &message, 0, soon()), 1);
		check_int(beam_message_size(message), sizeof i);
		check_int(memcmp(beam_message_data(message), &i, sizeof i), 0);
		check_int(raw_inode(beam_message_peek_fd(message, 0)), raw_inode(producer.files[i % FILES]));
		beam_message_free(message);
	}
	thread_wait(thread);
	check_int(beam_topic_receive(to, &message, 0, soon()), 0);
	for (size_t i = 0; i < FILES; i++)
		close(producer.files[i]);
}

/* In the middle: two sockets, and a topic on each. */
static int forward_all(const int fds[2], size_t n)
{
	beam_channel *channels[2];
	beam_topic *topics[2];
	beam_message *held = NULL;
	size_t moved = 0;

	for (int i = 0; i < 2; i++) {
		require_int(beam_channel_from_fd(&channels[i], fds[i], NULL), 0);
		require_int(beam_topic_open(&topics[i], channels[i], "topic"), 0);
	}
	check_int(beam_topic_forward(topics[0], topics[1], &held, SIZE_MAX, &moved, 0, soon()), 0);
	check_int(moved, n);
	check(held == NULL);
	for (int i = 0; i < 2; i++) {
		beam_topic_unref(topics[i]);
		check_int(beam_channel_close(channels[i], soon()), 0);
		beam_channel_unref(channels[i]);
	}
	return 0;
}

struct middle {
	int outer[2], inner[2];
	size_t n;
};

static int run_middle_process(void *argument)
{
	struct middle *middle = argument;

	close(middle->outer[0]);
	close(middle->outer[1]);
	return forward_all(middle->inner, middle->n);
}

static void *run_middle_thread(void *argument)
{
	struct middle *middle = argument;

	forward_all(middle->inner, middle->n);
	return NULL;
}

static struct middle middle_open(void)
{
	struct middle middle = {.n = scale(MANY)};

	for (int i = 0; i < 2; i++) {
		int fds[2];

		require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
		middle.outer[i] = fds[0];
		middle.inner[i] = fds[1];
	}
	return middle;
}

static void exchange_through(const struct middle *middle)
{
	beam_channel *channels[2];
	beam_topic *topics[2];

	for (int i = 0; i < 2; i++) {
		require_int(beam_channel_from_fd(&channels[i], middle->outer[i], NULL), 0);
		require_int(beam_topic_open(&topics[i], channels[i], "topic"), 0);
	}
	exchange_many(topics[0], topics[1], middle->n);
	for (int i = 0; i < 2; i++) {
		beam_topic_unref(topics[i]);
		beam_channel_unref(channels[i]);
	}
}

static void test_ten_thousand_messages_with_attachments_pass_a_process_in_the_middle(void)
{
	struct middle middle;
	pid_t child;

	needs_threads_in_children();
	middle = middle_open();
	child = process_spawn(run_middle_process, &middle);
	close(middle.inner[0]);
	close(middle.inner[1]);
	exchange_through(&middle);
	check_int(process_wait(child), 0);
}

static void test_ten_thousand_messages_with_attachments_pass_a_thread_in_the_middle(void)
{
	struct middle middle = middle_open();
	pthread_t thread = thread_spawn(run_middle_thread, &middle);

	exchange_through(&middle);
	thread_wait(thread);
}

static const struct test tests[] = {
    TEST(test_messages_move_in_order_until_the_source_ends),
    TEST(test_no_more_than_asked_for_are_moved),
    TEST(test_messages_of_all_sizes_arrive_as_they_were),
    TEST(test_as_many_attachments_as_there_can_be_move),
    TEST(test_a_topic_forwarded_to_itself_is_an_echo),
    TEST(test_ten_thousand_messages_with_attachments_pass_a_process_in_the_middle),
    TEST(test_ten_thousand_messages_with_attachments_pass_a_thread_in_the_middle),
};
HARNESS_MAIN("relay-forward", tests)
