/* SPDX-License-Identifier: MIT */
/* Several receivers of one topic: who is woken, and what another one leaves. */
#include <channel/scene.h>

/* How many sleep until something arrives. */
static unsigned sleeping(void)
{
	struct inbox *inbox = &topics[0]->inbox;
	unsigned n = 0;

	pthread_mutex_lock(&inbox->lock);
	for (struct list *link = inbox->arrived.list.next; link != &inbox->arrived.list; link = link->next)
		n++;
	pthread_mutex_unlock(&inbox->lock);
	return n;
}

/* A thread that receives one message into so many bytes. */
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

	reader->result = beam_topic_receive_into(topics[0], buffer, reader->capacity, &size, NULL, 0, NULL, soon());
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
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	struct taker small, large;

	/* Only the channel's thread reads, so both receivers sleep, and the first one is woken. */
	options.dedicated_reader = 1;
	begin_settled(&options);
	start_reading(&small, 4);
	start_reading(&large, 64);
	say(0, "more than four");
	finish_reading(&small, -EMSGSIZE);
	finish_reading(&large, 1);
	end();
}

static void test_of_two_messages_that_arrive_at_once_each_wakes_a_receiver(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	struct taker readers[2];

	options.dedicated_reader = 1;
	begin_settled(&options);
	for (int i = 0; i < 2; i++)
		start_reading(&readers[i], 64);
	raw_text(&out, 1, "one");
	say(0, "two");
	for (int i = 0; i < 2; i++)
		finish_reading(&readers[i], 1);
	end();
}

static const struct test tests[] = {
    TEST(test_a_message_that_one_receiver_has_no_room_for_goes_to_another_that_waits),
    TEST(test_of_two_messages_that_arrive_at_once_each_wakes_a_receiver),
};

HARNESS_MAIN("channel/receive", tests)
