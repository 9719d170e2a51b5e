/* SPDX-License-Identifier: MIT */
/*
 * What channels and topics promise: each message arrives once and in order, and a topic does not
 * wait for others. Contents are tested in channel_message_test.c, ends in channel_end_test.c, and
 * what channels report in channel_state_test.c.
 */
#include <beam/beam.h>
#include <harness/harness.h>
#include <public/ends.h>
#include <stdatomic.h>

static struct ends ends;

/* ---- Topics ---------------------------------------------------------------------------------- */

static void test_two_sides_that_open_a_name_share_a_topic_in_both_directions(void)
{
	ends_open(&ends, NULL);
	for (int from = 0; from < 2; from++) {
		send_text(ends.topic[from], from ? "there" : "here");
		expect_text(ends.topic[1 - from], from ? "there" : "here");
	}
	check_string(beam_topic_name(ends.topic[0]), "topic");
	ends_close(&ends);
}

static void test_opening_a_name_twice_gives_the_same_topic(void)
{
	beam_topic *again = NULL;

	ends_open(&ends, NULL);
	require_int(beam_topic_open(&again, ends.channel[0], "topic"), 0);
	check(again == ends.topic[0]);
	check(beam_topic_ref(again) == again);
	send_text(again, "by another handle");
	expect_text(ends.topic[1], "by another handle");
	/* A handle remains, so the topic stays open. */
	beam_topic_unref(again);
	beam_topic_unref(again);
	send_text(ends.topic[0], "still open");
	expect_text(ends.topic[1], "still open");
	ends_close(&ends);
}

static void test_messages_wait_for_a_topic_that_nobody_has_opened_yet(void)
{
	beam_topic *from = NULL, *to = NULL;

	ends_open(&ends, NULL);
	require_int(beam_topic_open(&from, ends.channel[0], "early"), 0);
	for (int i = 0; i < 100; i++)
		send_number(from, (uint64_t)i);
	check_int(beam_channel_flush(ends.channel[0], soon()), 0);
	require_int(beam_topic_open(&to, ends.channel[1], "early"), 0);
	for (int i = 0; i < 100; i++)
		expect_number(to, (uint64_t)i);
	beam_topic_unref(from);
	beam_topic_unref(to);
	ends_close(&ends);
}

static void test_topics_are_accepted_in_the_order_they_were_opened(void)
{
	static const char *const names[] = {"one", "two", "three"};
	beam_topic *from[3], *to = NULL;

	ends_open(&ends, NULL);
	check_int(beam_channel_accept(ends.channel[1], &to, BEAM_NOWAIT), -EAGAIN);
	for (int i = 0; i < 3; i++) {
		require_int(beam_topic_open(&from[i], ends.channel[0], names[i]), 0);
		send_text(from[i], names[i]);
	}
	for (int i = 0; i < 3; i++) {
		require_int(beam_channel_accept(ends.channel[1], &to, soon()), 1);
		check_string(beam_topic_name(to), names[i]);
		expect_text(to, names[i]);
		/* An accepted topic is an ordinary topic, on which you can also send. */
		send_text(to, "answer");
		expect_text(from[i], "answer");
		beam_topic_unref(to);
		beam_topic_unref(from[i]);
	}
	check_int(beam_channel_accept(ends.channel[1], &to, BEAM_NOWAIT), -EAGAIN);
	ends_close(&ends);
}

static void test_a_topic_that_was_opened_here_is_not_accepted(void)
{
	beam_topic *topic = NULL;

	ends_open(&ends, NULL);
	send_text(ends.topic[0], "opened on both sides");
	expect_text(ends.topic[1], "opened on both sides");
	check_int(beam_channel_accept(ends.channel[1], &topic, BEAM_NOWAIT), -EAGAIN);
	ends_close(&ends);
}

static void *accept_one(void *channel)
{
	beam_topic *topic = NULL;

	check_int(beam_channel_accept(channel, &topic, soon()), 1);
	check_string(beam_topic_name(topic), "at last");
	beam_topic_unref(topic);
	return NULL;
}

static void test_accept_waits_for_a_topic(void)
{
	beam_topic *topic = NULL;
	pthread_t thread;

	ends_open(&ends, NULL);
	thread = thread_spawn(accept_one, ends.channel[1]);
	require_int(beam_topic_open(&topic, ends.channel[0], "at last"), 0);
	thread_wait(thread);
	beam_topic_unref(topic);
	ends_close(&ends);
}

static void test_a_channel_can_refuse_topics_that_it_has_not_opened(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_topic *refused = NULL;
	int r;

	options.unknown_topics = BEAM_TOPICS_REFUSE;
	ends_open(&ends, &options);
	require_int(beam_topic_open(&refused, ends.channel[0], "unknown"), 0);
	while ((r = beam_topic_send(refused, "x", 1, 0, soon())) == 0)
		;
	check_int(r, -ECONNREFUSED);
	check_int(beam_topic_send(refused, "x", 1, 0, soon()), -ECONNREFUSED);
	check_int(beam_channel_accept(ends.channel[1], &(beam_topic *){NULL}, BEAM_NOWAIT), -EAGAIN);
	beam_topic_unref(refused);
	ends_close(&ends);
}

/* ---- Order ----------------------------------------------------------------------------------- */

enum { SENDERS = 4 };

struct sender {
	beam_topic *topic;
	uint64_t number, messages;
};

/* Sends messages that contain the sender and a sequence number. */
static void *send_in_order(void *argument)
{
	struct sender *sender = argument;

	for (uint64_t i = 0; i < sender->messages; i++)
		send_number(sender->topic, sender->number << 32 | i);
	return NULL;
}

static void test_messages_of_each_sender_arrive_in_its_order_each_once(void)
{
	uint64_t next[SENDERS] = {0}, total = scale(20000);
	struct sender senders[SENDERS];
	pthread_t threads[SENDERS];

	ends_open(&ends, NULL);
	for (uint64_t i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){ends.topic[0], i, total};
		threads[i] = thread_spawn(send_in_order, &senders[i]);
	}
	for (uint64_t i = 0; i < SENDERS * total; i++) {
		uint64_t number = 0;

		require_int(receive_number(ends.topic[1], &number), 1);
		require(number >> 32 < SENDERS);
		check_int(number & UINT32_MAX, next[number >> 32]++);
	}
	for (int i = 0; i < SENDERS; i++)
		thread_wait(threads[i]);
	check_int(beam_topic_receive(ends.topic[1], &(beam_message *){NULL}, 0, BEAM_NOWAIT), -EAGAIN);
	ends_close(&ends);
}

static atomic_uchar received_numbers[1 << 16];

static void *receive_some(void *topic)
{
	uint64_t number = 0;

	while (receive_number(topic, &number) == 1) {
		require(number < sizeof received_numbers);
		atomic_fetch_add(&received_numbers[number], 1);
	}
	return NULL;
}

static void test_each_message_goes_to_exactly_one_of_several_receivers(void)
{
	struct sender sender = {.messages = scale(sizeof received_numbers)};
	pthread_t threads[SENDERS];

	for (size_t i = 0; i < sizeof received_numbers; i++)
		atomic_init(&received_numbers[i], 0);
	ends_open(&ends, NULL);
	sender.topic = ends.topic[0];
	for (int i = 0; i < SENDERS; i++)
		threads[i] = thread_spawn(receive_some, ends.topic[1]);
	send_in_order(&sender);
	check_int(beam_topic_close_send(ends.topic[0]), 0);
	for (int i = 0; i < SENDERS; i++)
		thread_wait(threads[i]);
	for (size_t i = 0; i < sender.messages; i++)
		check_int(atomic_load(&received_numbers[i]), 1);
	ends_close(&ends);
}

/* ---- Waiting --------------------------------------------------------------------------------- */

static void test_a_receive_waits_as_long_as_it_is_told(void)
{
	beam_message *message = NULL;
	int64_t begin;

	ends_open(&ends, NULL);
	check_int(beam_topic_receive(ends.topic[1], &message, 0, BEAM_NOWAIT), -EAGAIN);
	begin = now_ns();
	check_int(beam_topic_receive(ends.topic[1], &message, 0, beam_in_ms(30)), -ETIMEDOUT);
	check(now_ns() - begin >= 30 * 1000000);
	check(message == NULL);
	send_text(ends.topic[0], "there now");
	expect_text(ends.topic[1], "there now");
	ends_close(&ends);
}

struct receiver {
	beam_topic *topic;
	_Atomic pid_t thread;
	beam_deadline deadline;
	int result;
};

static void *receive_one(void *argument)
{
	struct receiver *receiver = argument;
	beam_message *message = NULL;

	atomic_store(&receiver->thread, thread_number());
	receiver->result = beam_topic_receive(receiver->topic, &message, 0, receiver->deadline);
	beam_message_free(message);
	return NULL;
}

static void test_a_blocked_receiver_is_woken_by_a_message(void)
{
	struct receiver receiver = {.deadline = BEAM_FOREVER};
	pthread_t thread;

	ends_open(&ends, NULL);
	receiver.topic = ends.topic[1];
	thread = thread_spawn(receive_one, &receiver);
	check_within(20000, thread_asleep(atomic_load(&receiver.thread)));
	send_text(ends.topic[0], "wake up");
	thread_wait(thread);
	check_int(receiver.result, 1);
	ends_close(&ends);
}

static void test_receivers_of_many_topics_wait_beside_each_other(void)
{
	enum { TOPICS = 8 };
	struct receiver receivers[TOPICS];
	pthread_t threads[TOPICS];
	beam_topic *from[TOPICS];
	char name[16];

	ends_open(&ends, NULL);
	for (int i = 0; i < TOPICS; i++) {
		snprintf(name, sizeof name, "topic %d", i);
		require_int(beam_topic_open(&from[i], ends.channel[0], name), 0);
		receivers[i] = (struct receiver){.deadline = i % 2 ? BEAM_FOREVER : soon()};
		require_int(beam_topic_open(&receivers[i].topic, ends.channel[1], name), 0);
		threads[i] = thread_spawn(receive_one, &receivers[i]);
	}
	for (int i = TOPICS - 1; i >= 0; i--) {
		check_within(20000, thread_asleep(atomic_load(&receivers[i].thread)));
		send_text(from[i], "yours");
		thread_wait(threads[i]);
		check_int(receivers[i].result, 1);
		beam_topic_unref(from[i]);
		beam_topic_unref(receivers[i].topic);
	}
	ends_close(&ends);
}

static void *send_forever(void *argument)
{
	struct receiver *sender = argument;

	atomic_store(&sender->thread, thread_number());
	sender->result = beam_topic_send(sender->topic, "one more", 8, 0, sender->deadline);
	return NULL;
}

/* Sends until the other side's window is full. Returns the number of messages. */
static size_t fill_window(beam_topic *topic)
{
	static const char payload[1000];
	size_t n = 0;
	int r;

	check_int(beam_channel_limits(ends.channel[0], &(struct beam_limits){0}, sizeof(struct beam_limits), soon()),
		  0);
	while ((r = beam_topic_send(topic, payload, sizeof payload, 0, beam_in_ms(stretch(200)))) == 0)
		n++;
	check_int(r, -ETIMEDOUT);
	return n;
}

static void test_a_blocked_sender_is_woken_when_there_is_credit_again(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	struct receiver sender = {.deadline = BEAM_FOREVER};
	beam_message *message = NULL;
	pthread_t thread;
	size_t n;

	options.topic_window_bytes = 64 << 10;
	ends_open(&ends, &options);
	sender.topic = ends.topic[0];
	n = fill_window(ends.topic[0]);
	check_int(beam_topic_send(ends.topic[0], "x", 1, 0, BEAM_NOWAIT), -EAGAIN);
	thread = thread_spawn(send_forever, &sender);
	check_within(20000, thread_asleep(atomic_load(&sender.thread)));
	for (; n > 0; n--) {
		require_int(beam_topic_receive(ends.topic[1], &message, 0, soon()), 1);
		check_int(beam_message_size(message), 1000);
		beam_message_free(message);
	}
	thread_wait(thread);
	check_int(sender.result, 0);
	expect_text(ends.topic[1], "one more");
	ends_close(&ends);
}

static void *receive_and_be_cancelled(void *topic)
{
	beam_message *message = NULL;

	check_int(beam_topic_receive(topic, &message, 0, BEAM_FOREVER), 1);
	beam_message_free(message);
	pthread_testcancel();
	return topic;
}

static void test_a_thread_that_is_cancelled_finishes_its_call_first(void)
{
	pthread_t thread;
	void *result = NULL;

	if (under_valgrind() || under_sanitizer())
		skip("cancelled threads look like leaks there");
	ends_open(&ends, NULL);
	thread = thread_spawn(receive_and_be_cancelled, ends.topic[1]);
	check_int(pthread_cancel(thread), 0);
	send_text(ends.topic[0], "the last");
	check_int(pthread_join(thread, &result), 0);
	check(result == PTHREAD_CANCELED);
	send_text(ends.topic[0], "the next");
	expect_text(ends.topic[1], "the next");
	ends_close(&ends);
}

/* ---- Slow and quick topics ------------------------------------------------------------------- */

static void test_a_slow_topic_does_not_hold_up_fifteen_others_and_memory_stays_within_the_windows(void)
{
	enum { TOPICS = 15, WINDOW = 64 << 10, POOL = 1 << 20, CHUNKS = 32 * (256 << 10) };
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_topic *from[TOPICS], *to[TOPICS];
	struct beam_statistics statistics;
	size_t before, slow;
	char name[16];

	options.topic_window_bytes = WINDOW;
	options.message_bytes = options.pool_bytes = POOL;
	ends_open(&ends, &options);
	before = allocated_bytes();
	for (int i = 0; i < TOPICS; i++) {
		snprintf(name, sizeof name, "quick %d", i);
		require_int(beam_topic_open(&from[i], ends.channel[0], name), 0);
		require_int(beam_topic_open(&to[i], ends.channel[1], name), 0);
	}
	slow = fill_window(ends.topic[0]);
	for (size_t round = 0; round < scale(2000); round++) {
		for (int i = 0; i < TOPICS; i++)
			send_number(from[i], round);
		for (int i = 0; i < TOPICS; i++)
			expect_number(to[i], round);
	}
	check_int(beam_topic_statistics(ends.topic[1], &statistics, sizeof statistics), 0);
	check_int(statistics.messages_queued, slow);
	check(statistics.bytes_queued + 64 * statistics.messages_queued <= WINDOW + POOL);
	check(allocated_bytes() <= before + (TOPICS + 1) * WINDOW + POOL + CHUNKS);
	for (int i = 0; i < TOPICS; i++) {
		beam_topic_unref(from[i]);
		beam_topic_unref(to[i]);
	}
	ends_close(&ends);
}

static void *send_large(void *topic)
{
	size_t size = 10 << 20;
	unsigned char *large = malloc(size);

	require(large != NULL);
	for (size_t i = 0; i < size; i++)
		large[i] = (unsigned char)(i * 2654435761u >> 24);
	for (size_t i = 0; i < scale(10); i++)
		check_int(beam_topic_send(topic, large, size - i, 0, soon()), 0);
	free(large);
	return NULL;
}

static void *receive_large(void *topic)
{
	beam_message *message = NULL;

	for (size_t i = 0; i < scale(10); i++) {
		const unsigned char *data;

		if (!check_int(beam_topic_receive(topic, &message, 0, soon()), 1))
			return NULL;
		check_int(beam_message_size(message), (10 << 20) - i);
		data = beam_message_data(message);
		for (size_t at = 0; at < beam_message_size(message); at++) {
			if (data[at] != (unsigned char)(at * 2654435761u >> 24)) {
				fail("byte %zu of message %zu", at, i);
				break;
			}
		}
		beam_message_free(message);
	}
	return NULL;
}

static void test_large_messages_and_small_ones_beside_them_arrive_whole(void)
{
	pthread_t sender, receiver;
	beam_topic *from = NULL, *to = NULL;

	ends_open(&ends, NULL);
	require_int(beam_topic_open(&from, ends.channel[0], "large"), 0);
	require_int(beam_topic_open(&to, ends.channel[1], "large"), 0);
	sender = thread_spawn(send_large, from);
	receiver = thread_spawn(receive_large, to);
	for (uint64_t i = 0; i < scale(5000); i++) {
		send_number(ends.topic[0], i);
		expect_number(ends.topic[1], i);
	}
	thread_wait(sender);
	thread_wait(receiver);
	beam_topic_unref(from);
	beam_topic_unref(to);
	ends_close(&ends);
}

static const struct test tests[] = {
    TEST(test_two_sides_that_open_a_name_share_a_topic_in_both_directions),
    TEST(test_opening_a_name_twice_gives_the_same_topic),
    TEST(test_messages_wait_for_a_topic_that_nobody_has_opened_yet),
    TEST(test_topics_are_accepted_in_the_order_they_were_opened),
    TEST(test_a_topic_that_was_opened_here_is_not_accepted),
    TEST(test_accept_waits_for_a_topic),
    TEST(test_a_channel_can_refuse_topics_that_it_has_not_opened),
    TEST(test_messages_of_each_sender_arrive_in_its_order_each_once),
    TEST(test_each_message_goes_to_exactly_one_of_several_receivers),
    TEST(test_a_receive_waits_as_long_as_it_is_told),
    TEST(test_a_blocked_receiver_is_woken_by_a_message),
    TEST(test_receivers_of_many_topics_wait_beside_each_other),
    TEST(test_a_blocked_sender_is_woken_when_there_is_credit_again),
    TEST(test_a_thread_that_is_cancelled_finishes_its_call_first),
    TEST(test_a_slow_topic_does_not_hold_up_fifteen_others_and_memory_stays_within_the_windows),
    TEST(test_large_messages_and_small_ones_beside_them_arrive_whole),
};

HARNESS_MAIN("public/channel", tests)
