/* SPDX-License-Identifier: MIT */
/* Several receivers of one topic: who is woken, and what one leaves to another. */
#include <beam/call.h>
#include <channel/scene.h>

/* Only the channel's thread reads, so all receivers sleep. The first one is woken first. */
static void begin_sleeping(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.dedicated_reader = 1;
	begin_settled(&options);
}

/* How many threads sleep until something arrives there. */
static unsigned sleeping_at(struct inbox *inbox)
{
	unsigned n = 0;

	pthread_mutex_lock(&inbox->lock);
	for (struct list *link = inbox->arrived.list.next; link != &inbox->arrived.list; link = link->next)
		n++;
	pthread_mutex_unlock(&inbox->lock);
	return n;
}

static unsigned sleeping(void)
{
	return sleeping_at(&topics[0]->inbox);
}

/* A thread that receives one message, into `capacity` bytes. */
struct taker {
	pthread_t thread;
	size_t capacity;
	int result;
};

static void *receive_into(void *argument)
{
	struct taker *reader = argument;
	char buffer[64];
	size_t size = 0;

	reader->result = beam_topic_receive_into(topics[0], buffer, reader->capacity, &size, NULL, 0, NULL, 0, soon());
	return NULL;
}

static void start_reading(struct taker *reader, size_t capacity)
{
	unsigned before = sleeping();

	*reader = (struct taker){.capacity = capacity};
	reader->thread = thread_spawn(receive_into, reader);
	check_within(20000, sleeping() == before + 1);
}

static void finish_reading(struct taker *reader, int result)
{
	thread_wait(reader->thread);
	check_int(reader->result, result);
}

static void test_a_message_that_one_receiver_has_no_room_for_goes_to_another_that_waits(void)
{
	struct taker small, large;

	begin_sleeping();
	start_reading(&small, 4);
	start_reading(&large, 64);
	say(0, "more than four");
	finish_reading(&small, -EMSGSIZE);
	finish_reading(&large, 1);
	end();
}

static void test_of_two_messages_that_arrive_at_once_each_wakes_a_receiver(void)
{
	struct taker readers[2];

	begin_sleeping();
	for (int i = 0; i < 2; i++)
		start_reading(&readers[i], 64);
	raw_text(&out, 1, "one");
	say(0, "two");
	for (int i = 0; i < 2; i++)
		finish_reading(&readers[i], 1);
	end();
}

static void test_the_end_of_a_topic_wakes_all_its_receivers(void)
{
	struct taker readers[2];

	begin_sleeping();
	for (int i = 0; i < 2; i++)
		start_reading(&readers[i], 64);
	raw_frame(&out, RAW_CLOSE, 0, 0, 1, 0, NULL, 0);
	raw_peer_send(&peer, &out);
	for (int i = 0; i < 2; i++)
		finish_reading(&readers[i], 0);
	end();
}

static beam_call *call;

/* Stores the result. */
static void *receive_reply(void *ret)
{
	beam_message *message = NULL;

	*(int *)ret = beam_call_receive(call, &message, 0, soon());
	beam_message_free(message);
	return NULL;
}

static void test_the_last_reply_of_a_call_wakes_all_its_receivers(void)
{
	pthread_t threads[2];
	int results[2];

	begin_sleeping();
	require_int(beam_call_begin(&call, topics[0], NULL, 0, NULL, 0, 0, soon()), 0);
	raw_peer_expect(&peer, RAW_DATA);
	for (unsigned i = 0; i < 2; i++) {
		threads[i] = thread_spawn(receive_reply, &results[i]);
		check_within(20000, sleeping_at(&call->inbox) == i + 1);
	}
	raw_frame(&out, RAW_REPLY, RAW_END, 0, 0, 1, "last", 4);
	raw_peer_send(&peer, &out);
	for (unsigned i = 0; i < 2; i++)
		thread_wait(threads[i]);
	/* One of them gets the reply, the other one the end. */
	check_int(results[0] + results[1], 1);
	call = beam_call_unref(call);
	end();
}

static const struct test tests[] = {
    TEST(test_a_message_that_one_receiver_has_no_room_for_goes_to_another_that_waits),
    TEST(test_of_two_messages_that_arrive_at_once_each_wakes_a_receiver),
    TEST(test_the_end_of_a_topic_wakes_all_its_receivers),
    TEST(test_the_last_reply_of_a_call_wakes_all_its_receivers),
};

HARNESS_MAIN("channel/receive", tests)
