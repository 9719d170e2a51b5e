/* SPDX-License-Identifier: MIT */
/* Which messages may take credit from the shares of all topics, and how that credit comes back. */
#include <session/shares.h>
#include <wire/breach.h>

/* ---- Isolation ------------------------------------------------------------------------------- */

static void test_attachments_are_charged_to_topic_and_channel_in_full(void)
{
	talk_begin();
	check_int(take(&a, 17), -EAGAIN);
	check_int(take(&a, 16), 0);
	check_int(take(&a, 1), -EAGAIN);
	check_int(take(&a, 0), 0);
	check_int(mouth.tx.attachments.limit - mouth.tx.attachments.used, 48);
	check_int(a.held_attachments, 16);
	check_int(take(&b, 3), 0);
	check_int(mouth.tx.attachments.held, 19);
	talk_end();
}

static void test_little_is_had_whatever_others_hold(void)
{
	begin();
	check_int(take(&topics[0], QUARTER), 0);
	check_int(take(&topics[1], LITTLE + 1), -EAGAIN);
	check_int(take(&topics[1], LITTLE), 0);
	/* What the topic already holds counts. */
	check_int(take(&topics[1], 1), -EAGAIN);
	check_int(take(&topics[2], LITTLE - 1), 0);
	check_int(take(&topics[2], 1), 0);
	check_int(take(&topics[2], 1), -EAGAIN);
	end();

	begin();
	check_int(take_pool(&topics[0], POOL_QUARTER), 0);
	check_int(take_pool(&topics[1], POOL_LITTLE + 1), -EAGAIN);
	check_int(take_pool(&topics[1], POOL_LITTLE), 0);
	check_int(take_pool(&topics[1], 1), -EAGAIN);
	check_int(take_pool(&topics[2], POOL_LITTLE), 0);
	end();
}

static void test_a_quarter_is_anybodys(void)
{
	begin();
	check_int(take(&topics[0], 100), 0);
	check_int(take(&topics[1], QUARTER - 100 + 1), -EAGAIN);
	check_int(take(&topics[1], QUARTER - 100), 0);
	check_int(take(&topics[2], LITTLE + 1), -EAGAIN);
	end();

	begin();
	check_int(take_pool(&topics[0], 100000), 0);
	check_int(take_pool(&topics[1], POOL_QUARTER - 100000 + 1), -EAGAIN);
	check_int(take_pool(&topics[1], POOL_QUARTER - 100000), 0);
	check_int(take_pool(&topics[2], POOL_LITTLE + 1), -EAGAIN);
	end();
}

static void test_all_of_it_is_had_by_who_is_alone(void)
{
	begin();
	check_int(take(&topics[0], ALL + 1), -EAGAIN);
	check_int(take(&topics[1], 1), 0);
	check_int(take(&topics[0], ALL - 1), -EAGAIN);
	check_string(credit(topics[1].id, 0, 1), NULL);
	check_int(take(&topics[0], ALL - 1), 0);
	check_int(take(&topics[1], 1), -EAGAIN);
	end();

	begin();
	check_int(take_pool(&topics[0], POOL + 1), -EAGAIN);
	check_int(take_pool(&topics[0], POOL), 0);
	check_int(take_pool(&topics[1], 1), -EAGAIN);
	end();
}

/* What a greedy topic asks for, which is never more than a quarter. */
static size_t greed(struct rng *rng, size_t quarter)
{
	return 1 + (size_t)rng_below(rng, rng_below(rng, 2) ? quarter : quarter / 8);
}

static void be_greedy(struct rng *rng, struct outlet *topic)
{
	take(topic, greed(rng, QUARTER));
	take_pool(topic, greed(rng, POOL_QUARTER));
}

static void check_that_little_is_left(unsigned round)
{
	harness_context("round %u", round);
	check_int(take(&topics[16], LITTLE), 0);
	check_int(take_pool(&topics[17], POOL_LITTLE), 0);
	end();
}

static void test_sixteen_topics_that_are_never_drained_leave_little_to_the_next_in_whichever_order_they_took(void)
{
	struct rng rng = rng_new(16);

	for (unsigned round = 0; round < 200; round++) {
		begin();
		/* The topics take what they can get, one after the other. */
		for (int i = 0; i < 16; i++) {
			for (int k = 0; k < 50; k++)
				be_greedy(&rng, &topics[i]);
			for (int k = 0; k < LITTLE; k++)
				take(&topics[i], 1);
		}
		check_that_little_is_left(round);
		begin();
		for (int k = 0; k < 2000; k++)
			be_greedy(&rng, &topics[rng_below(&rng, 16)]);
		for (int i = 0; i < 16; i++) {
			while (take(&topics[i], 1) == 0)
				;
			while (take_pool(&topics[i], 1000) == 0)
				;
		}
		check_that_little_is_left(round);
	}
}

/* ---- Credit that comes back ------------------------------------------------------------------ */

static void test_overdraft_comes_back_to_whom_it_belongs(void)
{
	struct outlet call;

	begin();
	check_int(tx_open_replies(&mouth.tx, &call, 5), 0);
	tx_asked(&mouth.tx, &call);
	check_int(take_pool(&topics[0], 1000), 0);
	check_int(take_pool(&topics[1], 2000), 0);
	check_int(take_pool(&call, 3000), 0);
	check_int(mouth.tx.pool.held, 6000);
	check_string(overdraft_back(topics[0].id, 400), NULL);
	check_int(topics[0].held_pool, 600);
	check_int(topics[1].held_pool, 2000);
	check_int(mouth.tx.pool.held, 5600);
	check_int(mouth.tx.pool.limit, POOL + 400);
	check_string(tx_credit_call(&mouth.tx, 5, 3000, 0, true), NULL);
	check_int(call.held_pool, 0);
	check_int(mouth.tx.pool.held, 2600);
	/* Credit for the topic's own window does not change what the topic holds of the pool. */
	check_string(credit(topics[1].id, 2000, 0), NULL);
	check_int(topics[1].held_pool, 2000);
	/* CREDIT for the pool does not say whose overdraft it returns. */
	check_string(credit(0, 600, 0), NULL);
	check_int(topics[0].held_pool, 600);
	/* A reader may grant more than the topic holds. */
	check_string(overdraft_back(topics[1].id, 5000), NULL);
	check_int(topics[1].held_pool, 0);
	check_int(mouth.tx.pool.held, 600);
	check_int(mouth.tx.pool.limit - mouth.tx.pool.used, POOL - 6000 + 400 + 3000 + 600 + 5000);
	end();
}

static void test_overdraft_of_a_call_that_has_ended_comes_back_to_the_pool(void)
{
	begin();
	check_int(take_pool(&topics[0], 1000), 0);
	check_string(tx_credit_call(&mouth.tx, 9, 1000, 0, true), NULL);
	check_int(mouth.tx.pool.limit, POOL + 1000);
	check_int(mouth.tx.pool.held, 1000);
	end();
}

static void test_overdraft_is_granted_by_the_rules_of_all_credit(void)
{
	begin();
	check_string(overdraft_back(TOPICS + 1, 1), BREACH_TOPIC_ID);
	check_string(overdraft_back(1, CREDIT_MAX - POOL + 1), BREACH_GRANT);
	check_string(tx_credit_call(&mouth.tx, 5, CREDIT_MAX - POOL + 1, 0, true), BREACH_GRANT);
	check_int(mouth.tx.pool.limit, POOL);
	check_string(overdraft_back(1, CREDIT_MAX - POOL), NULL);
	check_string(tx_reset(&mouth.tx, 1, RESET_UNWANTED), NULL);
	check_string(overdraft_back(1, 1), BREACH_CLOSED);
	end();
}

static void test_a_topics_attachments_come_back_with_its_own_credit(void)
{
	begin();
	check_int(take(&topics[0], 10), 0);
	/* The attachments can be used again, but the topic still counts as holding them. */
	check_string(credit(0, 0, 10), NULL);
	check_int(topics[0].held_attachments, 10);
	check_string(credit(topics[0].id, 0, 4), NULL);
	check_int(topics[0].held_attachments, 6);
	check_int(mouth.tx.attachments.held, 6);
	check_string(credit(topics[0].id, 0, 100), NULL);
	check_int(topics[0].held_attachments, 0);
	check_int(mouth.tx.attachments.held, 0);
	end();
}

static void test_hello_may_grant_fewer_attachments_than_the_base(void)
{
	struct limits limits = limits_base;
	struct outlet c;

	talk_begin();
	limits.message_attachments = 3;
	limits.topic_attachments = 5;
	limits.attachments = 7;
	check_int(mouth_hear_hello(&mouth, &limits), 0);
	check_int(a.limit_attachments, 5);
	check_int(mouth.tx.attachments.limit, 7);
	check_int(tx_fits(&mouth.tx, &a, 0, 3), 0);
	check_int(tx_fits(&mouth.tx, &a, 0, 4), -E2BIG);
	check_int(take(&a, 3), 0);
	check_int(take(&a, 2), -EAGAIN);
	mouth_open(&mouth, &c, "c");
	check_int(c.limit_attachments, 5);
	talk_end();

	talk_begin();
	limits.message_attachments = limits.topic_attachments = limits.attachments = 0;
	check_int(mouth_hear_hello(&mouth, &limits), 0);
	check_int(a.limit_attachments, 0);
	check_int(mouth.tx.attachments.limit, 0);
	check_int(take(&a, 0), 0);
	check_int(tx_fits(&mouth.tx, &a, 0, 1), -E2BIG);
	talk_end();
}

static const struct test tests[] = {
    TEST(test_attachments_are_charged_to_topic_and_channel_in_full),
    TEST(test_little_is_had_whatever_others_hold),
    TEST(test_a_quarter_is_anybodys),
    TEST(test_all_of_it_is_had_by_who_is_alone),
    TEST(test_sixteen_topics_that_are_never_drained_leave_little_to_the_next_in_whichever_order_they_took),
    TEST(test_overdraft_comes_back_to_whom_it_belongs),
    TEST(test_overdraft_of_a_call_that_has_ended_comes_back_to_the_pool),
    TEST(test_overdraft_is_granted_by_the_rules_of_all_credit),
    TEST(test_a_topics_attachments_come_back_with_its_own_credit),
    TEST(test_hello_may_grant_fewer_attachments_than_the_base),
};
HARNESS_MAIN("credit", tests)
