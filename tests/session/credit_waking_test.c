/* SPDX-License-Identifier: MIT */
/* Which claims are woken when credit arrives, and what is reserved for them. */
#include <session/shares.h>

static void test_only_those_who_can_go_on_are_woken_by_credit(void)
{
	static struct tx_claim claims[400];

	begin();
	mouth.tx.pool.used = mouth.tx.pool.limit;
	topics[0].used_bytes = topics[0].limit_bytes;
	for (int i = 0; i < 400; i++)
		wait_for(&topics[0], &claims[i], 36, 0);
	mouth.wakes = 0;
	check_string(credit(topics[0].id, 1, 0), NULL);
	check_int(mouth.wakes, 0);
	check_string(credit(topics[0].id, 99, 0), NULL);
	check_int(mouth.wakes, 1);
	check(mouth.woken[0] == &claims[0]);
	/* No other claim of its topic is woken until this one has been tried again. */
	check_string(credit(topics[0].id, 100, 0), NULL);
	check_int(mouth.wakes, 1);
	go_on(&claims[0]);
	check_int(mouth.wakes, 2);
	check(mouth.woken[1] == &claims[1]);
	for (int i = 1; i < 400; i++)
		stop(&claims[i]);
	end();
}

static void test_a_channels_attachments_wake_as_many_as_they_are_enough_for(void)
{
	struct tx_claim claims[10];

	begin();
	check_int(take(&topics[0], ALL), 0);
	for (int i = 0; i < 10; i++)
		wait_for(&topics[1 + i], &claims[i], 0, 5);
	mouth.wakes = 0;
	check_string(credit(0, 0, 14), NULL);
	check_int(mouth.wakes, 2);
	check_string(credit(0, 0, 1), NULL);
	check_int(mouth.wakes, 3);
	for (int i = 9; i >= 0; i--)
		stop(&claims[i]);
	end();
}

static void test_what_a_woken_claim_will_take_is_kept_for_it(void)
{
	struct tx_claim first, second;

	begin();
	check_int(take(&topics[0], ALL), 0);
	wait_for(&topics[1], &first, 0, 20);
	wait_for(&topics[2], &second, 0, 20);
	mouth.wakes = 0;
	check_string(credit(0, 0, 39), NULL);
	check_int(mouth.wakes, 1);
	/* The 19 that are left are free for a newcomer. */
	check_int(take(&topics[3], 20), -EAGAIN);
	check_int(take(&topics[3], 19), 0);
	check_int(take(&topics[4], 1), -EAGAIN);
	go_on(&first);
	stop(&second);
	end();

	begin();
	check_int(take_pool(&topics[0], POOL), 0);
	wait_for(&topics[1], &first, needs_of_pool(&topics[1], 1000), 0);
	check_string(credit(0, 1500, 0), NULL);
	check(first.woken);
	needs_of_pool(&topics[2], 1);
	check(tx_has_credit(&mouth.tx, &topics[2], 500));
	check(!tx_has_credit(&mouth.tx, &topics[2], 501));
	check_int(take_pool(&topics[2], 501), -EAGAIN);
	check_int(take_pool(&topics[2], 500), 0);
	go_on(&first);
	end();
}

static void test_what_was_kept_for_one_that_must_wait_after_all_is_had_by_the_next(void)
{
	struct tx_claim first, second;
	uint32_t overdraft;

	begin();
	check_int(take(&topics[0], ALL), 0);
	wait_for(&topics[1], &first, 0, 20);
	wait_for(&topics[2], &second, 0, 20);
	check_string(credit(0, 0, 20), NULL);
	check(first.woken && !second.woken);
	/* Before the claim is tried again, another message takes its topic's bytes. */
	check_int(try_charge(&topics[1], 65536 - MESSAGE_COST, 0, &overdraft), 0);
	check_int(try_claim(&topics[1], &first), -EAGAIN);
	check(!first.woken && second.woken);
	go_on(&second);
	stop(&first);
	end();
}

static void test_while_all_are_to_look_nobody_takes_what_they_want(void)
{
	struct tx_claim first, second = claim_of(5, 20, true);

	begin();
	check_int(take(&topics[0], ALL - 10), 0);
	wait_for(&topics[1], &first, 0, 20);
	list_init(&second.link);
	check_int(try_claim(&topics[2], &second), -EAGAIN);
	tx_wake_outlet(&mouth.tx, NULL);
	check(first.woken && second.woken);
	/* The claims want more than there is, so not even little is left. */
	check_int(take(&topics[3], 1), -EAGAIN);
	check_int(try_claim(&topics[1], &first), -EAGAIN);
	check_int(try_claim(&topics[2], &second), -EAGAIN);
	check(!first.woken && !second.woken);
	check_int(take(&topics[3], 1), 0);
	check_int(topics[2].n_large, 1);
	stop(&first);
	stop(&second);
	check_int(topics[2].n_large, 0);
	end();
}

static void test_ids_of_calls_are_kept_for_those_who_were_woken(void)
{
	static struct inlet calls[64], waiting[2];
	struct tx_claim first = claim_of(0, 0, false), second = first;
	uint32_t overdraft;

	begin();
	for (int i = 0; i < 64; i++) {
		struct tx_claim claim = claim_of(0, 0, false);

		claim.call = &calls[i];
		list_init(&claim.link);
		check_int(tx_charge(&mouth.tx, &topics[0], &claim, &overdraft), 0);
		tx_unclaim(&mouth.tx, &topics[0], &claim);
	}
	first.call = &waiting[0];
	second.call = &waiting[1];
	list_init(&first.link);
	list_init(&second.link);
	check_int(try_claim(&topics[1], &first), -EAGAIN);
	check_int(try_claim(&topics[2], &second), -EAGAIN);
	mouth.wakes = 0;
	tx_call_over(&mouth.tx, &calls[7]);
	check_int(mouth.wakes, 1);
	check(first.woken);
	check_int(try_claim(&topics[2], &second), -EAGAIN);
	check_int(try_claim(&topics[1], &first), 0);
	tx_unclaim(&mouth.tx, &topics[1], &first);
	check_int(waiting[0].id, calls[7].id);
	tx_unclaim(&mouth.tx, &topics[2], &second);
	end();
}

static void test_the_end_of_a_topic_that_held_something_wakes_who_waits_for_that(void)
{
	struct tx_claim claim;
	struct outlet call;

	begin();
	check_int(take(&topics[0], 1), 0);
	wait_for(&topics[1], &claim, 0, ALL - 1);
	tx_close(&mouth.tx, &topics[0]);
	mouth_write_all(&mouth, NULL);
	mouth.wakes = 0;
	check_string(tx_reset(&mouth.tx, topics[0].id, RESET_DONE), NULL);
	check_int(mouth.wakes, 1);
	go_on(&claim);
	end();

	begin();
	check_int(tx_open_replies(&mouth.tx, &call, 5), 0);
	tx_asked(&mouth.tx, &call);
	check_int(take_pool(&call, 1), 0);
	wait_for(&topics[1], &claim, needs_of_pool(&topics[1], POOL - 1), 0);
	mouth.wakes = 0;
	tx_end_call(&mouth.tx, &call, REPLY_DROPPED);
	check_int(mouth.wakes, 0);
	mouth_write_all(&mouth, NULL);
	/*
	 * The reply still waits to be taken. It takes a part of the pool, so nobody can have all of
	 * the pool.
	 */
	check_int(mouth.wakes, 0);
	check_int(mouth.tx.pool.unowned, 1);
	check_string(credit(0, 1, 0), NULL);
	check_int(mouth.tx.pool.unowned, 0);
	check_int(mouth.wakes, 1);
	go_on(&claim);
	end();

	/* The overdraft comes back before END is written. */
	begin();
	check_int(tx_open_replies(&mouth.tx, &call, 5), 0);
	tx_asked(&mouth.tx, &call);
	check_int(take_pool(&call, 1), 0);
	check_string(credit(0, 1, 0), NULL);
	check_int(mouth.tx.pool.unowned, -1);
	tx_end_call(&mouth.tx, &call, REPLY_DROPPED);
	mouth_write_all(&mouth, NULL);
	check_int(mouth.tx.pool.unowned, 0);
	end();

	/* A message turns out not to have been sent after its topic has ended. */
	begin();
	check_int(take_pool(&topics[0], 1), 0);
	tx_close(&mouth.tx, &topics[0]);
	mouth_write_all(&mouth, NULL);
	check_string(tx_reset(&mouth.tx, topics[0].id, RESET_DONE), NULL);
	check_int(mouth.tx.pool.unowned, 1);
	tx_uncharge(&mouth.tx, &topics[0], needs_of_pool(&topics[0], 1), 0, 1);
	check_int(mouth.tx.pool.unowned, 0);
	end();
}

static void test_credit_of_a_topic_wakes_its_own_and_a_reset_all_of_them(void)
{
	struct tx_claim claims[3], other;

	begin();
	mouth.tx.pool.used = mouth.tx.pool.limit;
	topics[0].used_bytes = topics[0].limit_bytes;
	topics[1].used_bytes = topics[1].limit_bytes;
	for (int i = 0; i < 3; i++)
		wait_for(&topics[0], &claims[i], 0, 0);
	wait_for(&topics[1], &other, 0, 0);
	mouth.wakes = 0;
	check_string(credit(topics[0].id, 64, 0), NULL);
	check_int(mouth.wakes, 1);
	check(mouth.woken[0] == &claims[0]);
	check_string(tx_reset(&mouth.tx, topics[0].id, RESET_REFUSED), NULL);
	check_int(mouth.wakes, 3);
	check(!other.woken);
	/* NULL wakes the claims of all topics. */
	tx_wake_outlet(&mouth.tx, NULL);
	check_int(mouth.wakes, 4);
	for (int i = 0; i < 3; i++)
		stop(&claims[i]);
	stop(&other);
	end();
}

static void test_who_waited_for_hello_is_woken_by_it_and_told_that_his_message_is_too_large(void)
{
	struct tx_claim small = claim_of(0, 4, false), large = claim_of(0, 5, false);
	struct limits limits = limits_base;

	talk_begin();
	list_init(&small.link);
	list_init(&large.link);
	check_int(tx_fits(&mouth.tx, &a, 0, 4), -EAGAIN);
	tx_wait(&mouth.tx, &a, &small);
	tx_wait(&mouth.tx, &b, &large);
	/* Credit that arrives before HELLO does not help. */
	mouth.wakes = 0;
	check_string(credit(0, 0, 1), NULL);
	check_int(mouth.wakes, 0);
	check_string(said(), "");
	limits.message_attachments = 4;
	check_int(mouth_hear_hello(&mouth, &limits), 0);
	check_int(mouth.wakes, 2);
	check_int(tx_fits(&mouth.tx, &b, 0, 5), -E2BIG);
	stop(&large);
	go_on(&small);
	talk_end();
}

static void test_one_that_can_never_go_is_woken_to_hear_it(void)
{
	struct tx_claim claim = claim_of(0, 17, false);

	talk_begin();
	check_int(mouth_hear_hello(&mouth, &limits_base), 0);
	list_init(&claim.link);
	check_int(try_claim(&a, &claim), -EAGAIN);
	mouth.wakes = 0;
	tx_wake_ready(&mouth.tx);
	check_int(mouth.wakes, 1);
	stop(&claim);
	talk_end();
}

static const struct test tests[] = {
    TEST(test_only_those_who_can_go_on_are_woken_by_credit),
    TEST(test_a_channels_attachments_wake_as_many_as_they_are_enough_for),
    TEST(test_what_a_woken_claim_will_take_is_kept_for_it),
    TEST(test_what_was_kept_for_one_that_must_wait_after_all_is_had_by_the_next),
    TEST(test_while_all_are_to_look_nobody_takes_what_they_want),
    TEST(test_ids_of_calls_are_kept_for_those_who_were_woken),
    TEST(test_the_end_of_a_topic_that_held_something_wakes_who_waits_for_that),
    TEST(test_credit_of_a_topic_wakes_its_own_and_a_reset_all_of_them),
    TEST(test_who_waited_for_hello_is_woken_by_it_and_told_that_his_message_is_too_large),
    TEST(test_one_that_can_never_go_is_woken_to_hear_it),
};
HARNESS_MAIN("credit_waking", tests)
