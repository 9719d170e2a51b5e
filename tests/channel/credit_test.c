/* SPDX-License-Identifier: MIT */
/*
 * Credit for messages that were taken, discarded or aborted. Each part of the cost of a message
 * comes back once: the overdraft to the pool, the rest to its topic.
 */
#include <beam/call.h>
#include <channel/scene.h>
#include <link/lending.h>

enum { TEXT = 10, OVERDRAFT = 30, REST = TEXT + RAW_MESSAGE_COST - OVERDRAFT };

static void put_u32_at(unsigned char *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (unsigned char)(value >> (24 - 8 * i));
}

/* A message in one frame, with an overdraft. */
static void append_overdrawn(unsigned kind, unsigned flags, uint32_t id, uint32_t argument)
{
	unsigned char payload[8 + TEXT] = {0};

	put_u32_at(payload, TEXT);
	put_u32_at(payload + 4, OVERDRAFT);
	raw_frame(&out, kind, RAW_SIZED | flags, 0, id, argument, payload, sizeof payload);
}

/* Sends such a message on the first topic. */
static void say_overdrawn(void)
{
	append_overdrawn(RAW_DATA, 0, 1, 0);
	raw_peer_send(&peer, &out);
}

static void send_now(void)
{
	raw_peer_send(&peer, &out);
}

/* Waits until everything sent so far has been read and handled. */
static void wait_until_read(void)
{
	beam_message *message = NULL;

	say(1, "so far");
	require_int(beam_topic_receive(topics[1], &message, 0, soon()), 1);
	beam_message_free(message);
}

static void take(void)
{
	beam_message *message = NULL;

	require_int(beam_topic_receive(topics[0], &message, 0, soon()), 1);
	beam_message_free(message);
}

struct sum {
	uint64_t topic, pool;
};

static void add_credit(struct sum *sum, const struct raw_frame *frame)
{
	uint32_t bytes;

	if (frame->kind != RAW_CREDIT)
		return;
	bytes = raw_u32(frame->payload);
	/* For a topic or a call, and without OVERDRAFT. */
	if ((frame->id || frame->argument) && !frame->flags)
		sum->topic += bytes;
	else
		sum->pool += bytes;
}

/* Checks that exactly this credit comes back, and no more. */
static void expect_credit(uint64_t topic, uint64_t pool)
{
	struct raw_frame frame = {0};
	struct sum sum = {0};

	while (sum.topic < topic || sum.pool < pool) {
		require_int(raw_peer_next(&peer, &frame), 1);
		add_credit(&sum, &frame);
	}
	check_int(send_words(3, "the end", soon()), 0);
	do {
		require_int(raw_peer_next(&peer, &frame), 1);
		add_credit(&sum, &frame);
	} while (frame.kind != RAW_DATA || frame.id != 4);
	check_int(sum.topic, topic);
	check_int(sum.pool, pool);
}

static void test_what_was_taken_comes_back(void)
{
	begin_settled(NULL);
	say_overdrawn();
	take();
	expect_credit(REST, OVERDRAFT);
	end();
}

static void test_of_a_topic_that_was_closed_the_pool_comes_back(void)
{
	begin_settled(NULL);
	append_overdrawn(RAW_DATA, 0, 1, 0);
	raw_frame(&out, RAW_CLOSE, 0, 0, 1, 0, NULL, 0);
	send_now();
	wait_until_read();
	take();
	expect_credit(0, OVERDRAFT);
	end();
}

static void test_of_a_topic_that_is_reset_the_pool_comes_back(void)
{
	begin_settled(NULL);
	say_overdrawn();
	wait_until_read();
	check_int(beam_topic_close_receive(topics[0]), 0);
	expect_credit(0, OVERDRAFT);
	end();
}

static void test_of_what_comes_after_a_reset_the_pool_comes_back(void)
{
	begin_settled(NULL);
	check_int(beam_topic_close_receive(topics[0]), 0);
	say_overdrawn();
	expect_credit(0, OVERDRAFT);
	end();
}

/* Begins a message of two frames, and aborts it. */
static void say_broken_off(void)
{
	raw_begin(&out, 1, TEXT, OVERDRAFT, "begun", 5);
	raw_frame(&out, RAW_DATA, RAW_ABORT, 0, 1, 0, NULL, 0);
	send_now();
}

static void test_what_was_broken_off_comes_back(void)
{
	begin_settled(NULL);
	say_broken_off();
	expect_credit(REST, OVERDRAFT);
	end();
}

static void test_of_what_is_broken_off_after_a_reset_the_pool_comes_back(void)
{
	begin_settled(NULL);
	check_int(beam_topic_close_receive(topics[0]), 0);
	say_broken_off();
	expect_credit(0, OVERDRAFT);
	end();
}

static void test_what_was_due_to_a_topic_that_has_ended_is_not_the_next_ones(void)
{
	begin_settled(NULL);
	/* In one read, so that no credit comes back before the end. */
	raw_begin(&out, 1, TEXT, OVERDRAFT, "begun", 5);
	raw_frame(&out, RAW_DATA, RAW_ABORT, 0, 1, 0, NULL, 0);
	raw_frame(&out, RAW_CLOSE, 0, 0, 1, 0, NULL, 0);
	send_now();
	expect_credit(0, OVERDRAFT);
	/* A new topic with the same id and the same name. */
	raw_open(&out, 1, "a");
	say_overdrawn();
	wait_until_read();
	take();
	expect_credit(REST, OVERDRAFT);
	end();
}

static void test_what_a_topic_that_has_ended_withheld_is_not_the_next_ones(void)
{
	begin_settled(NULL);
	/* Too little to be returned at once. */
	say(0, "withheld");
	take();
	raw_frame(&out, RAW_CLOSE, 0, 0, 1, 0, NULL, 0);
	send_now();
	while (raw_peer_expect(&peer, RAW_RESET).id != 1)
		;
	raw_open(&out, 1, "a");
	say_overdrawn();
	wait_until_read();
	take();
	expect_credit(REST, OVERDRAFT);
	end();
}

static beam_call *begin_call(void)
{
	beam_call *call = NULL;

	require_int(beam_call_begin(&call, topics[0], NULL, 0, NULL, 0, 0, soon()), 0);
	check_int(raw_peer_expect(&peer, RAW_DATA).argument, 1);
	return call;
}

static void take_reply(beam_call *call)
{
	beam_message *message = NULL;

	require_int(beam_call_receive(call, &message, 0, soon()), 1);
	beam_message_free(message);
}

/* A call whose reply, with these flags, has been sent and has an overdraft. */
static beam_call *begin_overdrawn_reply(unsigned flags)
{
	beam_call *call;

	begin_settled(NULL);
	call = begin_call();
	append_overdrawn(RAW_REPLY, flags, 0, 1);
	send_now();
	return call;
}

static void test_of_a_call_replies_that_are_taken_come_back(void)
{
	beam_call *call = begin_overdrawn_reply(0);

	take_reply(call);
	expect_credit(REST, OVERDRAFT);
	beam_call_unref(call);
	end();
}

static void test_of_a_call_that_is_over_the_pool_comes_back(void)
{
	beam_call *call = begin_overdrawn_reply(RAW_END);

	wait_until_read();
	take_reply(call);
	expect_credit(0, OVERDRAFT);
	beam_call_unref(call);
	end();
}

static void test_of_a_call_that_is_cancelled_the_pool_comes_back(void)
{
	beam_call *call = begin_overdrawn_reply(0);

	wait_until_read();
	check_int(beam_call_cancel(call), 0);
	expect_credit(0, OVERDRAFT);
	beam_call_unref(call);
	end();
}

static void test_of_a_call_that_is_over_and_freed_unread_the_pool_comes_back(void)
{
	beam_call *call = begin_overdrawn_reply(RAW_END);

	wait_until_read();
	beam_call_unref(call);
	expect_credit(0, OVERDRAFT);
	end();
}

/* The other side wants one more attachment, and is lent it if the process has any left. */
static void lend_one(void)
{
	pthread_mutex_lock(&channel->link.writer.lock);
	tx_wanted(&channel->link.writer.tx, (uint32_t)atomic_load(&channel->link.writer.tx.granted_attachments) +
						channel->link.writer.tx.due_attachments + 1);
	attachments_lend(&channel->link);
	pthread_mutex_unlock(&channel->link.writer.lock);
}

static int64_t lend_after(void)
{
	int64_t result;

	pthread_mutex_lock(&channel->link.writer.lock);
	result = channel->link.attachments.lend_after;
	pthread_mutex_unlock(&channel->link.writer.lock);
	return result;
}

static void test_what_cannot_be_lent_is_tried_again_before_long_and_from_the_beginning_the_next_time(void)
{
	enum { ALL = 1 << 20 };

	begin_settled(NULL);
	lending_reserve(ALL);
	for (int i = 0; i < 30; i++)
		lend_one();
	check(lend_after() > 0);
	check(lend_after() < INT64_C(60) * 1000 * 1000 * 1000);
	lending_return(ALL);
	lend_one();
	check_int(lend_after(), 0);
	end();
}

static void test_what_could_not_be_lent_is_lent_when_there_is_some_again(void)
{
	enum { ALL = 1 << 20 };
	struct raw_frame frame;

	begin_settled(NULL);
	lending_reserve(ALL);
	lend_one();
	check(lend_after() > 0);
	lending_return(ALL);
	do
		frame = raw_peer_expect(&peer, RAW_CREDIT);
	while (!raw_u32(frame.payload + 4));
	end();
}

static const struct test tests[] = {
    TEST(test_what_was_taken_comes_back),
    TEST(test_of_a_topic_that_was_closed_the_pool_comes_back),
    TEST(test_of_a_topic_that_is_reset_the_pool_comes_back),
    TEST(test_of_what_comes_after_a_reset_the_pool_comes_back),
    TEST(test_what_was_broken_off_comes_back),
    TEST(test_of_what_is_broken_off_after_a_reset_the_pool_comes_back),
    TEST(test_what_was_due_to_a_topic_that_has_ended_is_not_the_next_ones),
    TEST(test_what_a_topic_that_has_ended_withheld_is_not_the_next_ones),
    TEST(test_of_a_call_replies_that_are_taken_come_back),
    TEST(test_of_a_call_that_is_over_the_pool_comes_back),
    TEST(test_of_a_call_that_is_cancelled_the_pool_comes_back),
    TEST(test_of_a_call_that_is_over_and_freed_unread_the_pool_comes_back),
    TEST(test_what_cannot_be_lent_is_tried_again_before_long_and_from_the_beginning_the_next_time),
    TEST(test_what_could_not_be_lent_is_lent_when_there_is_some_again),
};

HARNESS_MAIN("channel/credit", tests)
