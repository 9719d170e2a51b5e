/* SPDX-License-Identifier: MIT */
/* The line of claims that wait for credit: which claim holds up which, and whose turn it is. */
#include <session/shares.h>

static void test_who_waits_for_the_quarter_and_holds_nothing_keeps_its_turn(void)
{
	struct tx_claim first, second;

	begin();
	check_int(take(&topics[0], 100), 0);
	wait_for(&topics[1], &first, 0, 70);
	/* There is enough for these, but then the first claim would never get its turn. */
	check_int(take(&topics[2], LITTLE + 1), -EAGAIN);
	wait_for(&topics[3], &second, 0, LITTLE + 1);
	check_int(take(&topics[4], LITTLE), 0);
	mouth.wakes = 0;
	check_string(credit(topics[4].id, 0, LITTLE), NULL);
	check_string(credit(0, 0, LITTLE), NULL);
	check_int(mouth.wakes, 0);
	check_string(credit(topics[0].id, 0, 100), NULL);
	check_int(mouth.wakes, 2);
	check(mouth.woken[0] == &first && mouth.woken[1] == &second);
	go_on(&second);
	go_on(&first);
	end();
}

static void test_one_is_not_alone_with_a_share_while_another_is_about_to_take_of_it(void)
{
	struct tx_claim first, second;

	begin();
	check_int(take(&topics[0], 1), 0);
	wait_for(&topics[1], &first, 0, 200);
	wait_for(&topics[2], &second, 0, 200);
	check_string(credit(topics[0].id, 0, 1), NULL);
	check(first.woken && !second.woken);
	check_int(try_claim(&topics[2], &second), -EAGAIN);
	check_int(take(&topics[3], 161), -EAGAIN);
	go_on(&first);
	stop(&second);
	end();
}

static void test_the_pools_quarter_is_waited_for_in_turn(void)
{
	struct tx_claim first;

	begin();
	check_int(take_pool(&topics[0], 100000), 0);
	wait_for(&topics[1], &first, needs_of_pool(&topics[1], 200000), 0);
	check_int(take_pool(&topics[2], POOL_LITTLE + 1), -EAGAIN);
	check_int(take_pool(&topics[2], POOL_LITTLE), 0);
	mouth.wakes = 0;
	check_string(overdraft_back(topics[2].id, POOL_LITTLE), NULL);
	check_int(mouth.wakes, 0);
	check_string(overdraft_back(topics[0].id, 100000), NULL);
	check_int(mouth.wakes, 1);
	go_on(&first);
	end();
}

static void test_who_waits_and_holds_something_holds_up_nobody(void)
{
	struct tx_claim first;

	begin();
	check_int(take(&topics[0], 100), 0);
	check_int(take(&topics[1], 1), 0);
	wait_for(&topics[1], &first, 0, 70);
	check_int(take(&topics[2], LITTLE + 1), 0);
	stop(&first);
	end();

	begin();
	check_int(take_pool(&topics[0], 100000), 0);
	check_int(take_pool(&topics[1], 1), 0);
	wait_for(&topics[1], &first, needs_of_pool(&topics[1], 200000), 0);
	check_int(take_pool(&topics[2], POOL_LITTLE + 1), 0);
	stop(&first);
	end();
}

static void test_who_waits_for_its_own_topic_holds_up_nobody(void)
{
	struct tx_claim first;

	begin();
	check_int(take(&topics[0], 100), 0);
	topics[1].used_bytes = topics[1].limit_bytes;
	wait_for(&topics[1], &first, 0, 70);
	check_int(take(&topics[2], LITTLE + 1), 0);
	check_string(credit(topics[1].id, 64, 0), NULL);
	/* Now the claim waits for the share. */
	check_int(take(&topics[3], LITTLE - 1), 0);
	check_int(take(&topics[4], LITTLE + 1), -EAGAIN);
	stop(&first);
	end();
}

static void test_what_the_pool_can_never_have_does_not_stand_in_its_way(void)
{
	struct tx_claim first;

	begin();
	check_int(take_pool(&topics[0], 1000), 0);
	wait_for(&topics[1], &first, needs_of_pool(&topics[1], POOL + 1), 0);
	check_int(take_pool(&topics[2], POOL_LITTLE + 1), 0);
	stop(&first);
	end();
}

static void test_a_turn_that_ends_because_its_topic_sends_lets_the_others_go(void)
{
	struct tx_claim first, second;

	begin();
	check_int(take(&topics[0], 100), 0);
	wait_for(&topics[1], &first, 0, 70);
	wait_for(&topics[2], &second, 0, 50);
	mouth.wakes = 0;
	/* Another message on the first claim's topic takes an attachment. */
	check_int(take(&topics[1], 1), 0);
	check_int(mouth.wakes, 1);
	check(mouth.woken[0] == &second);
	go_on(&second);
	stop(&first);
	end();
}

static void test_a_turn_that_ends_because_a_large_message_waits_on_its_topic_lets_that_go(void)
{
	struct tx_claim first, large = claim_of(5, LITTLE + 1, true);

	begin();
	check_int(take(&topics[0], 100), 0);
	wait_for(&topics[1], &first, 0, 70);
	list_init(&large.link);
	mouth.wakes = 0;
	/*
	 * The first claim now waits for the large message, and not for attachments. The large
	 * message is woken before its sender has gone to sleep.
	 */
	check_int(try_claim(&topics[1], &large), -EAGAIN);
	check_int(mouth.wakes, 1);
	check(large.woken);
	check_int(try_claim(&topics[1], &large), 0);
	tx_unclaim(&mouth.tx, &topics[1], &large);
	tx_complete(&mouth.tx, &topics[1], true);
	stop(&first);
	end();
}

static void test_a_message_that_needs_only_its_window_goes_at_once_unless_its_topic_has_none_or_is_taken(void)
{
	struct outlet *topic = &topics[0], unnamed = {0};
	struct tx_claim large = claim_of(100000, 0, true);

	begin();
	check(!tx_charge_plain(&unnamed, 0));
	check(tx_charge_plain(topic, 10));
	check_int(topic->used_bytes, 10 + MESSAGE_COST);
	check_int(topic->n_sending, 1);
	/* A large message waits for it, and later messages wait for the large one. */
	list_init(&large.link);
	check_int(try_claim(topic, &large), -EAGAIN);
	check(!tx_charge_plain(topic, 0));
	tx_complete(&mouth.tx, topic, false);
	check_int(try_claim(topic, &large), 0);
	tx_unclaim(&mouth.tx, topic, &large);
	check(!tx_charge_plain(topic, 0));
	tx_complete(&mouth.tx, topic, true);
	check(!tx_charge_plain(topic, 0));
	end();
}

static void test_the_end_of_a_large_message_wakes_who_waits_for_that(void)
{
	struct tx_claim large = claim_of(1000, 0, true), small;

	begin();
	list_init(&large.link);
	check_int(try_claim(&topics[0], &large), 0);
	wait_for(&topics[0], &small, 5, 0);
	tx_complete(&mouth.tx, &topics[0], true);
	check(small.woken);
	stop(&small);
	end();
}

static void test_who_leaves_the_line_lets_those_behind_it_go(void)
{
	struct tx_claim first, second;

	begin();
	check_int(take(&topics[0], 100), 0);
	wait_for(&topics[1], &first, 0, 70);
	wait_for(&topics[2], &second, 0, 50);
	mouth.wakes = 0;
	stop(&first);
	check_int(mouth.wakes, 1);
	go_on(&second);
	end();
}

static void test_what_is_uncharged_can_be_charged_again_and_wakes_those_who_wait(void)
{
	struct tx_claim claim;
	uint32_t overdraft;

	begin();
	check_int(try_charge(&topics[0], 100000, ALL, &overdraft), 0);
	wait_for(&topics[1], &claim, 0, 5);
	mouth.wakes = 0;
	tx_uncharge(&mouth.tx, &topics[0], 100000, ALL, overdraft);
	check_int(mouth.wakes, 1);
	check_int(topics[0].used_bytes, 0);
	check_int(topics[0].used_attachments, 0);
	check_int(topics[0].held_pool + topics[0].held_attachments, 0);
	check_int(mouth.tx.pool.used + mouth.tx.pool.held, 0);
	check_int(mouth.tx.attachments.used + mouth.tx.attachments.held, 0);
	go_on(&claim);
	end();
}

static const struct test tests[] = {
    TEST(test_who_waits_for_the_quarter_and_holds_nothing_keeps_its_turn),
    TEST(test_one_is_not_alone_with_a_share_while_another_is_about_to_take_of_it),
    TEST(test_the_pools_quarter_is_waited_for_in_turn),
    TEST(test_who_waits_and_holds_something_holds_up_nobody),
    TEST(test_who_waits_for_its_own_topic_holds_up_nobody),
    TEST(test_what_the_pool_can_never_have_does_not_stand_in_its_way),
    TEST(test_a_turn_that_ends_because_its_topic_sends_lets_the_others_go),
    TEST(test_a_turn_that_ends_because_a_large_message_waits_on_its_topic_lets_that_go),
    TEST(test_a_message_that_needs_only_its_window_goes_at_once_unless_its_topic_has_none_or_is_taken),
    TEST(test_the_end_of_a_large_message_wakes_who_waits_for_that),
    TEST(test_who_leaves_the_line_lets_those_behind_it_go),
    TEST(test_what_is_uncharged_can_be_charged_again_and_wakes_those_who_wait),
};
HARNESS_MAIN("credit_line", tests)
