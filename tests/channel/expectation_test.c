/* SPDX-License-Identifier: MIT */
/*
 * Nobody holds the reading right while others wait, because a thread that has come back quickly
 * before is expected back. The thread that gets the messages reads them, and nobody waits for a
 * thread that does not come back.
 */
#include <channel/scene.h>

/* Sets who is expected back: the thread that left last, or nobody. */
static void expect_back(bool on)
{
	rely(on ? 1 << 16 : 0, on ? 1 : 1 << 16);
}

/* The leader waits on the first topic, the other one on the second. */
static void start_two(struct receiver *leader, struct receiver *other)
{
	start(leader, 0, soon());
	check_within(20000, view().taken);
	start(other, 1, BEAM_FOREVER);
	check_within(20000, view().waiters == 1);
}

static void test_one_who_is_expected_and_does_not_come_is_not_waited_for(void)
{
	struct receiver leader, other;
	unsigned before;

	begin(NULL);
	start_two(&leader, &other);
	check_within(20000, is(STANDBY_REST, true));
	expect_back(true);
	before = relied_from();
	say(0, "and you are expected back");
	finish(&leader, 1);
	/* It does not come back, and the other one leads. */
	check_within(20000, view().taken && view().waiters == 0);
	check(relied_from() > before);
	check_within(20000, is(STANDBY_REST, true) && is_silent());
	say(1, "it is read");
	finish(&other, 1);
	end();
}

static void test_what_comes_while_somebody_is_expected_is_read_in_time(void)
{
	begin(NULL);
	for (int i = 0; i < 50; i++) {
		struct receiver leader, other;

		expect_back(true);
		start_two(&leader, &other);
		say(0, "go");
		say(1, "at once");
		finish(&leader, 1);
		finish(&other, 1);
	}
	end();
}

static void test_who_leads_steps_down_for_the_one_who_gets_the_messages(void)
{
	struct receiver leader, other;

	begin(NULL);
	start(&leader, 0, BEAM_FOREVER);
	check_within(20000, view().taken);
	check_within(20000, is(STANDBY_REST, true));
	start(&other, 1, soon());
	check_within(20000, view().waiters == 1);
	expect_back(true);
	say(1, "yours");
	finish(&other, 1);
	/* Nobody comes back, so a tick gives the right back to the one that had it. */
	check_within(20000, view().taken && view().waiters == 0);
	check(!atomic_load(&leader.done));
	expect_back(false);
	say(0, "it is read");
	finish(&leader, 1);
	end();
}

static void test_with_a_dependent_nobody_is_expected(void)
{
	struct receiver leader, other;

	begin(NULL);
	pthread_mutex_lock(&channel->link.reader.baton.lock);
	channel->link.reader.baton.dependents++;
	pthread_mutex_unlock(&channel->link.reader.baton.lock);
	expect_back(true);
	start_two(&leader, &other);
	say(0, "go");
	finish(&leader, 1);
	/* The right was handed over before the leader returned. */
	check(view().taken);
	say(1, "and you");
	finish(&other, 1);
	end();
}

static void test_a_close_reaches_those_who_wait_while_somebody_is_expected(void)
{
	for (int i = 0; i < 20; i++) {
		struct receiver leader, other;

		begin(NULL);
		expect_back(true);
		start_two(&leader, &other);
		say(0, "go");
		finish(&leader, 1);
		check_int(beam_channel_close(channel, BEAM_NOWAIT) <= 0, 1);
		finish(&other, 0);
		end();
	}
}

/* Answers at once what arrives on one topic, until the end. */
static void *answer(void *argument)
{
	unsigned topic = (unsigned)(uintptr_t)argument;
	beam_message *message;

	while (beam_topic_receive(topics[topic], &message, 0, BEAM_FOREVER) == 1) {
		check_int(beam_topic_send(topics[topic], "answer", 6, 0, soon()), 0);
		beam_message_free(message);
	}
	return NULL;
}

static void test_quick_answers_on_topics_in_turn_are_never_lost(void)
{
	const unsigned n = (unsigned)scale(20000);
	pthread_t threads[TOPICS];
	struct raw_frame frame;

	begin(NULL);
	for (unsigned i = 0; i < TOPICS; i++)
		threads[i] = thread_spawn(answer, (void *)(uintptr_t)i);
	for (unsigned i = 0; i < n; i++) {
		/* One topic for a while, then another, so that another thread has to read. */
		unsigned topic = (i / 50) % TOPICS;

		say(topic, "question");
		frame = raw_peer_expect(&peer, RAW_DATA);
		check_int(frame.size, 6);
		raw_credit(&out, topic + 1, 6 + RAW_MESSAGE_COST, 0);
	}
	raw_goodbye(&out);
	raw_peer_send(&peer, &out);
	for (unsigned i = 0; i < TOPICS; i++)
		thread_wait(threads[i]);
	end();
}

static const struct test tests[] = {
    TEST(test_one_who_is_expected_and_does_not_come_is_not_waited_for),
    TEST(test_what_comes_while_somebody_is_expected_is_read_in_time),
    TEST(test_who_leads_steps_down_for_the_one_who_gets_the_messages),
    TEST(test_with_a_dependent_nobody_is_expected),
    TEST(test_a_close_reaches_those_who_wait_while_somebody_is_expected),
    TEST(test_quick_answers_on_topics_in_turn_are_never_lost),
};

HARNESS_MAIN("channel/expectation", tests)
