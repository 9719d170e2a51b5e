/* SPDX-License-Identifier: MIT */
/*
 * Who may take credit, who waits for it and who goes on: the shares that all topics have in common,
 * the line, what is lent and given back.
 */
#include <session/talk.h>
#include <wire/breach.h>

enum {
	TOPICS = 20,
	/* Of the channel's attachments here; little, which is 3/64; three quarters; a quarter. */
	ALL = 640,
	LITTLE = 30,
	KEPT = 480,
	QUARTER = 160,
	/* The same of the pool. */
	POOL = 1 << 20,
	POOL_LITTLE = 3 << 14,
	POOL_KEPT = 3 << 18,
	POOL_QUARTER = 1 << 18,
};

static struct outlet topics[TOPICS];

static struct limits limits_of(uint32_t attachments)
{
	struct limits limits = limits_base;

	limits.message_attachments = FRAME_CARRIED_MAX;
	limits.topic_attachments = 10000;
	limits.attachments = attachments;
	return limits;
}

static void hear_hello(uint32_t attachments, uint32_t features)
{
	const struct hello hello = {.version = PROTOCOL_VERSION, .features = features, .limits = limits_of(attachments)};

	check_int(tx_hello(&mouth.tx, &hello), 0);
}

static void open_topics(void)
{
	static char names[TOPICS][8];

	for (int i = 0; i < TOPICS; i++) {
		sprintf(names[i], "t%d", i);
		mouth_open(&mouth, &topics[i], names[i]);
	}
}

/* All topics are open; the other side grants ALL attachments. */
static void begin(void)
{
	mouth_init_after_hello(&mouth);
	hear_hello(ALL, 0);
	open_topics();
}

static void end(void)
{
	check(list_empty(&mouth.tx.claims));
	mouth_end(&mouth);
}

/* A message with so many attachments: 0 or -EAGAIN. */
static int take(struct outlet *topic, size_t n)
{
	uint32_t overdraft;

	return try_charge(topic, 0, n, &overdraft);
}

/* How large a message is that needs so much of the pool. Its topic's window is nearly used up. */
static size_t needs_of_pool(struct outlet *topic, size_t n)
{
	topic->used_bytes = topic->limit_bytes - MESSAGE_COST;
	return n;
}

static int take_pool(struct outlet *topic, size_t n)
{
	uint32_t overdraft = 0;
	int r = try_charge(topic, needs_of_pool(topic, n), 0, &overdraft);

	check(r || overdraft == n);
	return r;
}

/* Stands in the line. */
static void wait_for(struct outlet *topic, struct tx_claim *claim, size_t size, size_t n_fds)
{
	*claim = claim_of(size, n_fds, false);
	list_init(&claim->link);
	check_int(try_claim(topic, claim), -EAGAIN);
	check(list_linked(&claim->link) && !claim->woken);
}

static void stop(struct tx_claim *claim)
{
	tx_unclaim(&mouth.tx, claim->outlet, claim);
}

/* Looks and may go: it is charged. */
static void go_on(struct tx_claim *claim)
{
	struct outlet *topic = claim->outlet;

	check_int(try_claim(topic, claim), 0);
	tx_unclaim(&mouth.tx, topic, claim);
	tx_complete(&mouth.tx, topic, false);
}

static const char *credit(uint32_t id, uint32_t bytes, uint32_t attachments)
{
	return tx_credit(&mouth.tx, id, bytes, attachments, false);
}

static const char *overdraft_back(uint32_t id, uint32_t bytes)
{
	return tx_credit(&mouth.tx, id, bytes, 0, true);
}

/* What is said now. */
static const char *said(void)
{
	static char text[65536];

	mouth_write_all(&mouth, NULL);
	snprintf(text, sizeof text, "%s", mouth_text(&mouth));
	mouth_forget(&mouth);
	return text;
}

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
	/* What it holds counts. */
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

/* What a greedy topic asks for, if it is never more than a quarter. */
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
		/* One after the other takes what it can get. */
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

/* ---- The line -------------------------------------------------------------------------------- */

static void test_who_waits_for_the_quarter_and_holds_nothing_keeps_its_turn(void)
{
	struct tx_claim first, second;

	begin();
	check_int(take(&topics[0], 100), 0);
	wait_for(&topics[1], &first, 0, 70);
	/* There would be enough for these, but the first would never have its turn. */
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
	/* Now it is the share that it waits for. */
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
	/* Somebody else's on the topic of the first. */
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
	/* The first waits for it now, and not for attachments. It is told to look before it
	 * has gone to sleep. */
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
	/* A large one waits for it, and the next ones for the large one. */
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

/* ---- Waking ---------------------------------------------------------------------------------- */

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
	/* Until it has looked nobody else of its topic is. */
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
	/* Of the 19 that are left a newcomer may have some. */
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
	/* Before it has looked its topic's bytes go to another message. */
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
	/* More than there is: not even little is left. */
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
	/* The reply still waits to be taken: it takes room, and nobody may have all of the pool beside it. */
	check_int(mouth.wakes, 0);
	check_int(mouth.tx.pool.unowned, 1);
	check_string(credit(0, 1, 0), NULL);
	check_int(mouth.tx.pool.unowned, 0);
	check_int(mouth.wakes, 1);
	go_on(&claim);
	end();

	/* It comes back before END has gone. */
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

	/* It turns out not to have gone after its topic has ended. */
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
	/* All of all topics. */
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
	/* Nothing that comes before it helps. */
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

/* ---- What comes back ------------------------------------------------------------------------- */

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
	/* Its own window is another thing. */
	check_string(credit(topics[1].id, 2000, 0), NULL);
	check_int(topics[1].held_pool, 2000);
	/* Whose it was is not said. */
	check_string(credit(0, 600, 0), NULL);
	check_int(topics[0].held_pool, 600);
	/* More than it holds, as a reader may grant. */
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
	/* It can be sent again, but the topic is not known to hold less. */
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

/* ---- WANT and RETURN ------------------------------------------------------------------------- */

static void test_the_other_side_is_told_once_that_attachments_are_wanted_and_again_when_it_has_granted_them(void)
{
	struct tx_claim first, second;

	begin();
	check_int(take(&topics[0], ALL), 0);
	check_string(said(), "");
	wait_for(&topics[1], &first, 0, LITTLE + 1);
	/* A quarter of so much is enough: 31 and the three quarters of what there is then. */
	check_string(said(), "want 2684\n");
	wait_for(&topics[2], &second, 0, 200);
	check_string(credit(0, 0, 40), NULL);
	stop(&second);
	check_string(said(), "");
	check_string(credit(0, 0, 2683 - ALL - 40), NULL);
	/* Enough for the first, which lacks it again when it looks: others have used it. */
	check(first.woken);
	mouth.tx.attachments.used = mouth.tx.attachments.limit;
	check_int(try_claim(&topics[1], &first), -EAGAIN);
	check_string(said(), "");
	/* Now it has what it was asked for, and it is not enough any more. */
	check_string(credit(0, 0, 1), NULL);
	check_string(said(), "want 4728\n");
	stop(&first);
	end();
}

static void test_what_is_wanted_passes_2_to_the_32(void)
{
	const uint64_t high = ((uint64_t)1 << 32) - 10;
	struct tx_claim claim;

	begin();
	mouth.tx.attachments = (struct tx_shared){.limit = high, .used = high};
	mouth.tx.want = (uint32_t)high;
	wait_for(&topics[0], &claim, 0, 20);
	check_string(said(), "want 70\n");
	check_string(credit(0, 0, 19), NULL);
	check_string(said(), "");
	stop(&claim);
	mouth.tx.attachments.used = mouth.tx.attachments.limit;
	wait_for(&topics[0], &claim, 0, 20);
	check_string(said(), "");
	check_string(credit(0, 0, 61), NULL);
	stop(&claim);
	mouth.tx.attachments.used = mouth.tx.attachments.limit;
	wait_for(&topics[0], &claim, 0, 20);
	check_string(said(), "want 150\n");
	stop(&claim);
	end();
}

static void test_nothing_is_wanted_by_who_waits_for_something_else(void)
{
	struct tx_claim claim, turn;

	begin();
	check_int(take(&topics[0], 100), 0);
	/* For bytes, or for its topic's attachments. */
	topics[1].used_bytes = topics[1].limit_bytes;
	wait_for(&topics[1], &claim, 0, 0);
	stop(&claim);
	wait_for(&topics[1], &claim, 0, 640);
	stop(&claim);
	topics[2].used_attachments = topics[2].limit_attachments - 1;
	wait_for(&topics[2], &claim, 0, 2);
	stop(&claim);
	check_string(said(), "");
	/* For others to have their turn: what is wanted is theirs. */
	wait_for(&topics[3], &turn, 0, 70);
	check_string(said(), "want 680\n");
	wait_for(&topics[4], &claim, 0, 50);
	stop(&claim);
	stop(&turn);
	check_string(said(), "");
	end();
}

static void test_the_first_of_those_who_lack_attachments_says_what_is_wanted(void)
{
	struct tx_claim other, first, second;

	begin();
	check_int(take(&topics[0], ALL), 0);
	topics[1].used_bytes = topics[1].limit_bytes;
	wait_for(&topics[1], &other, 0, 7);
	topics[2].used_bytes = topics[3].used_bytes = topics[2].limit_bytes;
	wait_for(&topics[2], &first, 0, 5);
	wait_for(&topics[3], &second, 0, 6);
	check_string(said(), "");
	topics[2].used_bytes = topics[3].used_bytes = 0;
	tx_wake_ready(&mouth.tx);
	check_string(said(), "want 660\n");
	stop(&other);
	stop(&first);
	stop(&second);
	end();
}

static void test_what_is_not_in_use_is_given_back_only_to_a_side_that_lends(void)
{
	begin();
	check_int(tx_give_back(&mouth.tx), 0);
	check_int(mouth.tx.attachments.limit, ALL);
	check_string(said(), "");
	end();

	mouth_init_after_hello(&mouth);
	hear_hello(ALL, FEATURE_LENDS);
	open_topics();
	check_int(take(&topics[0], 40), 0);
	check_int(tx_give_back(&mouth.tx), 600);
	check_int(tx_give_back(&mouth.tx), 0);
	check(tx_pending(&mouth.tx));
	check_string(said(), "return 600\n");
	check_int(mouth.tx.attachments.limit, 40);
	check(!tx_pending(&mouth.tx));
	/* What comes meanwhile goes with the next. */
	check_string(credit(0, 0, 3), NULL);
	check_int(tx_give_back(&mouth.tx), 3);
	check_string(credit(0, 0, 4), NULL);
	check_int(tx_give_back(&mouth.tx), 4);
	check_string(said(), "return 7\n");
	end();
}

static void test_nothing_is_given_back_while_somebody_waits_or_after_the_goodbye(void)
{
	struct tx_claim claim;

	mouth_init_after_hello(&mouth);
	hear_hello(ALL, FEATURE_LENDS);
	open_topics();
	topics[0].used_bytes = topics[0].limit_bytes;
	wait_for(&topics[0], &claim, 0, 0);
	check_int(tx_give_back(&mouth.tx), 0);
	stop(&claim);
	mouth.tx.goodbye_due = true;
	check_int(tx_give_back(&mouth.tx), 0);
	mouth.tx.goodbye_due = false;
	check_int(tx_give_back(&mouth.tx), ALL);
	end();
}

static void test_after_giving_back_what_is_wanted_is_told_anew(void)
{
	struct tx_claim claim;

	mouth_init_after_hello(&mouth);
	hear_hello(ALL, FEATURE_LENDS);
	open_topics();
	check_int(take(&topics[0], ALL), 0);
	wait_for(&topics[1], &claim, 0, 10);
	check_string(said(), "want 680\n");
	stop(&claim);
	check_string(credit(0, 0, 30), NULL);
	check_int(tx_give_back(&mouth.tx), 30);
	wait_for(&topics[1], &claim, 0, 10);
	check_string(said(), "return 30\nwant 680\n");
	stop(&claim);
	end();
}

/* ---- The other side's attachments ------------------------------------------------------------ */

/* This side grants so many. */
static void begin_granting(uint32_t attachments)
{
	struct limits own = limits_of(attachments);

	mouth_init_with(&mouth, &own);
	said();
}

static void test_the_channels_attachments_come_back_in_lots(void)
{
	begin_granting(80);
	tx_settled(&mouth.tx, 10);
	check(!tx_pending(&mouth.tx));
	tx_settled(&mouth.tx, 1);
	check(tx_pending(&mouth.tx));
	check_string(said(), "credit 0 0 11\n");
	check_int(mouth.tx.granted_attachments, 91);
	/* The pool's come at once, and take them along. */
	tx_settled(&mouth.tx, 1);
	check(!tx_pending(&mouth.tx));
	tx_return_pool(&mouth.tx, 5);
	check_string(said(), "credit 0 5 1\n");
	end();

	/* Where there are few each comes at once. */
	begin_granting(7);
	tx_settled(&mouth.tx, 1);
	check_string(said(), "credit 0 0 1\n");
	end();
}

static void test_the_channels_attachments_come_back_at_once_while_they_are_wanted(void)
{
	begin_granting(80);
	tx_settled(&mouth.tx, 3);
	check(!tx_pending(&mouth.tx));
	/* No more than is due. */
	check(!tx_wanted(&mouth.tx, 82));
	check(mouth.tx.wanted);
	check(tx_pending(&mouth.tx));
	check_string(said(), "credit 0 0 3\n");
	/* And an eighth more: soon it would be short again. */
	for (int i = 0; i < 9; i++) {
		check(mouth.tx.wanted);
		tx_settled(&mouth.tx, 1);
		check_string(said(), "credit 0 0 1\n");
	}
	check(!mouth.tx.wanted);
	tx_settled(&mouth.tx, 1);
	check(!tx_pending(&mouth.tx));
	check(tx_wanted(&mouth.tx, 99));
	check_int(tx_short_of(&mouth.tx), 6);
	check_string(said(), "credit 0 0 1\n");
	check_int(tx_short_of(&mouth.tx), 6);
	for (int i = 0; i < 16; i++) {
		check(mouth.tx.wanted);
		tx_settled(&mouth.tx, 1);
		check_int(tx_short_of(&mouth.tx), i < 6 ? 5 - i : 0);
		check_string(said(), "credit 0 0 1\n");
	}
	check(!mouth.tx.wanted);
	/* What has been granted already is not wanted. */
	check(!tx_wanted(&mouth.tx, 5));
	check(!mouth.tx.wanted);
	end();
}

static void test_more_is_lent_and_given_back(void)
{
	begin_granting(16);
	check_int(mouth.tx.lent, 16);
	check(tx_wanted(&mouth.tx, 40));
	tx_lend(&mouth.tx, 20);
	check_int(mouth.tx.lent, 36);
	check_int(tx_short_of(&mouth.tx), 4);
	check_string(said(), "credit 0 0 20\n");
	check_int(mouth.tx.granted_attachments, 36);
	check(mouth.tx.wanted);
	tx_given_back(&mouth.tx, 30);
	check_int(mouth.tx.lent, 6);
	check_int(mouth.tx.granted_attachments, 6);
	check_int(tx_short_of(&mouth.tx), 0);
	check(!mouth.tx.wanted);
	end();
}

static void test_what_is_wanted_of_this_side_passes_2_to_the_32(void)
{
	begin_granting(16);
	atomic_store(&mouth.tx.granted_attachments, ((uint64_t)1 << 32) - 5);
	check(tx_wanted(&mouth.tx, 3));
	check_int(tx_short_of(&mouth.tx), 8);
	tx_lend(&mouth.tx, 8);
	check_string(said(), "credit 0 0 8\n");
	check_int(tx_short_of(&mouth.tx), 0);
	check(mouth.tx.wanted);
	tx_settled(&mouth.tx, 2);
	check_string(said(), "credit 0 0 2\n");
	check(!mouth.tx.wanted);
	end();
}

static struct inlet inlet;

static void inlet_begin(bool replies)
{
	memset(&inlet, 0, sizeof inlet);
	inlet_init(&inlet, 5);
	inlet.replies = replies;
}

static bool took(uint32_t cost, uint32_t overdraft, unsigned n_fds, bool wanted)
{
	const struct beam_message message = {.cost = cost, .overdraft = overdraft, .n_fds = (uint16_t)n_fds};

	return inlet_took(&inlet, &message, wanted);
}

static void test_half_of_a_window_is_withheld_and_never_what_a_message_may_need(void)
{
	inlet_begin(false);
	inlet_withhold(&inlet, 65536, 40, 16);
	check_int(inlet.withhold_bytes, 32768);
	check_int(inlet.withhold_attachments, 20);
	inlet_withhold(&inlet, 65536, 40, 30);
	check_int(inlet.withhold_attachments, 10);
	inlet_withhold(&inlet, 65536, 16, 16);
	check_int(inlet.withhold_attachments, 0);
}

static void test_what_was_taken_is_returned_in_lots_but_overdraft_at_once(void)
{
	inlet_begin(false);
	inlet_withhold(&inlet, 1000, 40, 16);
	check(!took(499, 0, 0, false));
	check(took(1, 0, 0, false));
	mouth_init_after_hello(&mouth);
	tx_return_withheld(&mouth.tx, &inlet);
	check_string(said(), "credit 5 500 0\n");
	check(!took(64, 0, 20, false));
	check(took(64, 0, 1, false));
	tx_return_withheld(&mouth.tx, &inlet);
	check_string(said(), "credit 5 128 21\n");
	check(!took(64, 0, 1, false));
	check(took(64, 0, 0, true));
	tx_return_withheld(&mouth.tx, &inlet);
	check_string(said(), "credit 5 128 1\n");
	/* Nothing is wanted of the bytes. */
	check(!took(64, 0, 0, true));
	check(took(100, 30, 0, false));
	tx_return_withheld(&mouth.tx, &inlet);
	check_string(said(), "credit 5 134 0\noverdraft 5 30 0\n");
	check_int(mouth.tx.granted_pool, limits_base.pool_bytes + 30);
	mouth_end(&mouth);
}

static void test_overdraft_is_returned_as_that_of_its_topic_or_call(void)
{
	mouth_init_after_hello(&mouth);
	inlet_begin(false);
	tx_return(&mouth.tx, &inlet, 0, 0, 40);
	tx_return(&mouth.tx, &inlet, 0, 0, 2);
	check_string(said(), "overdraft 5 42 0\n");
	inlet_begin(true);
	tx_return(&mouth.tx, &inlet, 0, 0, 40);
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "overdraft 5 40 0\n");
	/* Its id is an argument. */
	check_int(mouth.said.bytes[11], 0);
	check_int(mouth.said.bytes[15], 5);
	mouth_end(&mouth);
}

static void test_overdraft_of_what_has_ended_is_the_pools(void)
{
	mouth_init_after_hello(&mouth);
	inlet_begin(false);
	tx_return(&mouth.tx, &inlet, 10, 1, 40);
	tx_reset_inlet(&mouth.tx, &inlet, RESET_UNWANTED);
	tx_return(&mouth.tx, &inlet, 10, 1, 2);
	check_string(said(), "credit 0 42 0\nreset 5 unwanted\n");
	tx_return(&mouth.tx, &inlet, 10, 1, 3);
	check_string(said(), "credit 0 3 0\n");
	mouth_end(&mouth);
}

static void test_overdraft_of_a_call_that_is_over_is_the_pools(void)
{
	static struct inlet call;
	struct tx_claim claim = claim_of(0, 0, false);
	uint32_t overdraft;

	talk_begin();
	memset(&call, 0, sizeof call);
	claim.call = &call;
	list_init(&claim.link);
	check_int(tx_charge(&mouth.tx, &a, &claim, &overdraft), 0);
	tx_unclaim(&mouth.tx, &a, &claim);
	tx_complete(&mouth.tx, &a, false);
	tx_return(&mouth.tx, &call, 10, 0, 40);
	tx_call_over(&mouth.tx, &call);
	check_string(said(), "credit 0 40 0\n");
	talk_end();
}

static void test_overdraft_that_does_not_fit_goes_with_the_next_batch(void)
{
	enum { FULL = TX_CONTROL / (FRAME_HEADER + FRAME_CREDIT_BODY) };
	static struct inlet inlets[FULL];
	char expected[64];

	snprintf(expected, sizeof expected, "overdraft %d 7 0\n", FULL);
	mouth_init_after_hello(&mouth);
	for (uint32_t i = 0; i < FULL; i++) {
		memset(&inlets[i], 0, sizeof inlets[i]);
		inlet_init(&inlets[i], i + 1);
		tx_return(&mouth.tx, &inlets[i], 1, 0, i + 1 == FULL ? 7 : 0);
	}
	mouth_write(&mouth, NULL, SIZE_MAX);
	mouth_forget(&mouth);
	check_int(inlets[FULL - 1].due_bytes, 0);
	check_int(mouth.tx.granted_pool, limits_base.pool_bytes);
	check_string(said(), expected);
	mouth_end(&mouth);
}

static void test_what_is_of_the_channel_goes_first_and_each_once(void)
{
	begin();
	inlet_begin(false);
	tx_return(&mouth.tx, &inlet, 9, 0, 0);
	tx_return_pool(&mouth.tx, 1);
	mouth.tx.give_back = 3;
	mouth.tx.want = 70;
	mouth.tx.want_due = mouth.tx.ping_due = mouth.tx.pong_due = true;
	check_string(said(), "credit 0 1 0\nreturn 3\nwant 70\nping 0\nping 1\ncredit 5 9 0\n");
	check(!tx_pending(&mouth.tx));
	/* Each by itself is something to write. */
	mouth.tx.want_due = true;
	check_string(said(), "want 70\n");
	mouth.tx.ping_due = true;
	check_string(said(), "ping 0\n");
	mouth.tx.pong_due = true;
	check_string(said(), "ping 1\n");
	mouth.tx.goodbye_due = true;
	check_string(said(), "goodbye 0\n");
	mouth.tx.ping_due = mouth.tx.pong_due = mouth.tx.want_due = true;
	check(!tx_pending(&mouth.tx));
	check_string(said(), "");
	end();
}

static const struct test tests[] = {
    TEST(test_attachments_are_charged_to_topic_and_channel_in_full),
    TEST(test_little_is_had_whatever_others_hold),
    TEST(test_a_quarter_is_anybodys),
    TEST(test_all_of_it_is_had_by_who_is_alone),
    TEST(test_sixteen_topics_that_are_never_drained_leave_little_to_the_next_in_whichever_order_they_took),
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
    TEST(test_overdraft_comes_back_to_whom_it_belongs),
    TEST(test_overdraft_of_a_call_that_has_ended_comes_back_to_the_pool),
    TEST(test_overdraft_is_granted_by_the_rules_of_all_credit),
    TEST(test_a_topics_attachments_come_back_with_its_own_credit),
    TEST(test_hello_may_grant_fewer_attachments_than_the_base),
    TEST(test_the_other_side_is_told_once_that_attachments_are_wanted_and_again_when_it_has_granted_them),
    TEST(test_what_is_wanted_passes_2_to_the_32),
    TEST(test_nothing_is_wanted_by_who_waits_for_something_else),
    TEST(test_the_first_of_those_who_lack_attachments_says_what_is_wanted),
    TEST(test_what_is_not_in_use_is_given_back_only_to_a_side_that_lends),
    TEST(test_nothing_is_given_back_while_somebody_waits_or_after_the_goodbye),
    TEST(test_after_giving_back_what_is_wanted_is_told_anew),
    TEST(test_the_channels_attachments_come_back_in_lots),
    TEST(test_the_channels_attachments_come_back_at_once_while_they_are_wanted),
    TEST(test_more_is_lent_and_given_back),
    TEST(test_what_is_wanted_of_this_side_passes_2_to_the_32),
    TEST(test_half_of_a_window_is_withheld_and_never_what_a_message_may_need),
    TEST(test_what_was_taken_is_returned_in_lots_but_overdraft_at_once),
    TEST(test_overdraft_is_returned_as_that_of_its_topic_or_call),
    TEST(test_overdraft_of_what_has_ended_is_the_pools),
    TEST(test_overdraft_of_a_call_that_is_over_is_the_pools),
    TEST(test_overdraft_that_does_not_fit_goes_with_the_next_batch),
    TEST(test_what_is_of_the_channel_goes_first_and_each_once),
};
HARNESS_MAIN("credit", tests)
