/* SPDX-License-Identifier: MIT */
/* The statistics report how many senders wait, and for what. */
#include <public/ends.h>

enum { CALLS = 64, REPLIES = 30, OFTEN = 1000 };

static struct beam_statistics of_topic(beam_topic *topic)
{
	struct beam_statistics statistics;

	require_int(beam_topic_statistics(topic, &statistics, sizeof statistics), 0);
	return statistics;
}

static struct beam_statistics of_channel(beam_channel *channel)
{
	struct beam_statistics statistics;

	require_int(beam_channel_statistics(channel, &statistics, sizeof statistics), 0);
	return statistics;
}

static bool waits(const struct beam_statistics *statistics, uint64_t for_credit, uint64_t for_call, uint64_t for_room)
{
	return statistics->waiting_for_credit == for_credit && statistics->waiting_for_call == for_call &&
	       statistics->waiting_for_room == for_room;
}

static bool topic_waits(beam_topic *topic, uint64_t for_credit, uint64_t for_call, uint64_t for_room)
{
	struct beam_statistics statistics = of_topic(topic);

	return waits(&statistics, for_credit, for_call, for_room);
}

static bool channel_waits(beam_channel *channel, uint64_t for_credit, uint64_t for_call, uint64_t for_room)
{
	struct beam_statistics statistics = of_channel(channel);

	return waits(&statistics, for_credit, for_call, for_room);
}

static void receive_all(beam_topic *topic, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		beam_message *message = NULL;

		check_int(beam_topic_receive(topic, &message, 0, soon()), 1);
		beam_message_free(message);
	}
}

static void send_until_it_waits(beam_topic *topic)
{
	static const char bytes[3000];
	int r;

	do
		r = beam_topic_send(topic, bytes, sizeof bytes, 0, BEAM_NOWAIT);
	while (r == 0);
	check_int(r, -EAGAIN);
}

static void *send_one(void *topic)
{
	static const char bytes[3000];

	check_int(beam_topic_send(topic, bytes, sizeof bytes, 0, soon()), 0);
	return NULL;
}

/* Sends more than fits into a window and the pool. */
static void *send_often(void *topic)
{
	for (unsigned i = 0; i < OFTEN; i++)
		send_one(topic);
	return NULL;
}

static void test_senders_without_credit_are_counted_by_their_topic(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	pthread_t threads[2];
	beam_topic *other;
	struct ends ends;

	options.message_bytes = options.pool_bytes = 1 << 20;
	ends_open(&ends, &options);
	require_int(beam_topic_open(&other, ends.channel[0], "other"), 0);
	check(topic_waits(ends.topic[0], 0, 0, 0));
	for (unsigned i = 0; i < 2; i++) {
		threads[i] = thread_spawn(send_often, ends.topic[0]);
		check_within(20000, topic_waits(ends.topic[0], i + 1, 0, 0));
	}
	check(topic_waits(other, 0, 0, 0));
	check(channel_waits(ends.channel[0], 2, 0, 0));
	check(channel_waits(ends.channel[1], 0, 0, 0));
	receive_all(ends.topic[1], 2 * OFTEN);
	for (unsigned i = 0; i < 2; i++)
		thread_wait(threads[i]);
	check(topic_waits(ends.topic[0], 0, 0, 0));
	beam_topic_unref(other);
	ends_close(&ends);
}

static void *call_one(void *topic)
{
	beam_call *call = NULL;

	check_int(beam_call_begin(&call, topic, NULL, 0, NULL, 0, 0, soon()), 0);
	beam_call_unref(call);
	return NULL;
}

static void test_callers_without_an_id_are_counted_by_their_topic(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_call *calls[CALLS] = {NULL};
	beam_message *request = NULL;
	pthread_t thread;
	struct ends ends;

	options.calls = CALLS;
	ends_open(&ends, &options);
	for (unsigned i = 0; i < CALLS; i++)
		require_int(beam_call_begin(&calls[i], ends.topic[0], NULL, 0, NULL, 0, 0, soon()), 0);
	thread = thread_spawn(call_one, ends.topic[0]);
	check_within(20000, topic_waits(ends.topic[0], 0, 1, 0));
	check(channel_waits(ends.channel[0], 0, 1, 0));
	/* The reply frees an id. */
	require_int(beam_topic_receive(ends.topic[1], &request, 0, soon()), 1);
	check_int(beam_message_reply(request, NULL, 0, 0, soon()), 0);
	beam_message_free(request);
	thread_wait(thread);
	check(topic_waits(ends.topic[0], 0, 0, 0));
	for (unsigned i = 0; i < CALLS; i++)
		beam_call_unref(calls[i]);
	ends_close(&ends);
}

static void test_senders_without_room_are_counted_by_their_topic(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_topic *topics[2];
	beam_channel *channel;
	pthread_t threads[2];
	char bytes[4096];
	int pair[2];

	options.socket_buffer_bytes = 4096;
	options.buffer_bytes = 16 << 10;
	require_int(beam_socket_pair(SOCK_STREAM, pair), 0);
	require_int(beam_channel_from_fd(&channel, pair[0], &options), 0);
	for (unsigned i = 0; i < 2; i++)
		require_int(beam_topic_open(&topics[i], channel, i ? "b" : "a"), 0);
	send_until_it_waits(topics[0]);
	for (unsigned i = 0; i < 2; i++) {
		threads[i] = thread_spawn(send_one, topics[i]);
		check_within(20000, topic_waits(topics[i], 0, 0, 1));
	}
	check(channel_waits(channel, 0, 0, 2));
	/* The other side reads until no sender waits. */
	while (!channel_waits(channel, 0, 0, 0))
		check(read(pair[1], bytes, sizeof bytes) > 0);
	for (unsigned i = 0; i < 2; i++) {
		thread_wait(threads[i]);
		topics[i] = beam_topic_unref(topics[i]);
	}
	close(pair[1]);
	beam_channel_unref(channel);
}

/* Replies with more than fits into the caller's pool. */
static void *reply_often(void *request)
{
	static const char bytes[60 << 10];

	for (unsigned i = 1; i <= REPLIES; i++)
		check_int(beam_message_reply(request, bytes, sizeof bytes, i < REPLIES ? BEAM_REPLY_MORE : 0, soon()),
			  0);
	return NULL;
}

static void test_replies_that_wait_are_counted_by_their_channel(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_message *request = NULL, *reply = NULL;
	beam_call *call = NULL;
	beam_channel *channels[2];
	beam_topic *topics[2];
	pthread_t thread;
	int pair[2];

	options.message_bytes = options.pool_bytes = 1 << 20;
	require_int(beam_socket_pair(SOCK_STREAM, pair), 0);
	for (int i = 0; i < 2; i++) {
		require_int(beam_channel_from_fd(&channels[i], pair[i], i ? NULL : &options), 0);
		require_int(beam_topic_open(&topics[i], channels[i], "calls"), 0);
	}
	require_int(beam_call_begin(&call, topics[0], NULL, 0, NULL, 0, 0, soon()), 0);
	require_int(beam_topic_receive(topics[1], &request, 0, soon()), 1);
	thread = thread_spawn(reply_often, request);
	check_within(20000, channel_waits(channels[1], 1, 0, 0));
	check(topic_waits(topics[1], 0, 0, 0));
	for (int i = 0; i < REPLIES; i++) {
		check_int(beam_call_receive(call, &reply, 0, soon()), 1);
		beam_message_free(reply);
	}
	thread_wait(thread);
	check(channel_waits(channels[1], 0, 0, 0));
	beam_message_free(request);
	beam_call_unref(call);
	for (int i = 0; i < 2; i++) {
		beam_topic_unref(topics[i]);
		beam_channel_unref(channels[i]);
	}
}

static const struct test tests[] = {
    TEST(test_senders_without_credit_are_counted_by_their_topic),
    TEST(test_callers_without_an_id_are_counted_by_their_topic),
    TEST(test_senders_without_room_are_counted_by_their_topic),
    TEST(test_replies_that_wait_are_counted_by_their_channel),
};

HARNESS_MAIN("public/statistics", tests)
