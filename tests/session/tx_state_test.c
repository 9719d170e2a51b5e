/* SPDX-License-Identifier: MIT */
/* The sending half: HELLO, ids, and what the peer may say. */
#include <harness/fault.h>
#include <session/talk.h>
#include <wire/breach.h>

static struct limits more_limits(void)
{
	return (struct limits){100, 64, 1 << 21, 32, (64 << 10) + 1000, 40, (1 << 20) + 2000, 128};
}

/* HELLO */

static void test_hellos_differences_are_added_to_all_credit(void)
{
	const struct limits peer = more_limits();
	uint32_t overdraft;
	struct outlet c;

	talk_begin();
	check_int(try_charge(&a, 65536, 0, &overdraft), 0);
	check_int(overdraft, 64);
	mouth.changes = 0;
	check_int(mouth_hear_hello(&mouth, &peer), 0);
	check(mouth.changes > 0);
	check_int(a.limit_bytes - a.used_bytes, 1000);
	check_int(b.limit_bytes, 65536 + 1000);
	check_int(b.limit_attachments, 40);
	check_int(mouth.tx.pool.limit - mouth.tx.pool.used, (1 << 20) + 2000 - 64);
	check_int(mouth.tx.attachments.limit, 128);
	mouth_open(&mouth, &c, "c");
	check_int(c.limit_bytes, 65536 + 1000);
	check_int(c.limit_attachments, 40);
	talk_end();
}

static void test_hello_without_memory_changes_nothing(void)
{
	const struct limits peer = more_limits();

	talk_begin();
	fault_only(FAULT_MEMORY);
	fault_at(1, 0, false);
	check_int(mouth_hear_hello(&mouth, &peer), -ENOMEM);
	fault_off();
	check(!mouth.tx.hello_came);
	check_int(a.limit_bytes, 65536);
	check_int(mouth_hear_hello(&mouth, &peer), 0);
	check_int(a.limit_bytes, 65536 + 1000);
	talk_end();
}

static void begin_or_not(void)
{
	struct tx tx;

	if (tx_init(&tx, &limits_base, MOUTH_BUFFER, &mouth_events, NULL) < 0)
		return;
	check(tx_pending(&tx));
	tx_end(&tx);
}

static void test_a_beginning_without_memory_leaves_nothing(void)
{
	check_int(fault_sweep(begin_or_not), 2);
}

/* Ids */

enum { MANY = 150 };

static struct outlet many[MANY];
static char names[MANY][8];

static void open_many(void)
{
	for (int i = 0; i < MANY; i++) {
		sprintf(names[i], "t%d", i);
		tx_open(&mouth.tx, &many[i], names[i], strlen(names[i]));
	}
}

static void test_ids_are_limited_before_hello_and_given_to_those_who_wait_after(void)
{
	const struct limits peer = more_limits();
	bool seen[101] = {false};

	mouth_init_after_hello(&mouth);
	open_many();
	for (int i = 0; i < MANY; i++)
		check_int(many[i].id != 0, i < 64);
	check_int(mouth_hear_hello(&mouth, &peer), 0);
	for (int i = 0; i < MANY; i++) {
		check_int(many[i].id != 0, i < 100);
		require(many[i].id <= 100);
		check(!many[i].id || !seen[many[i].id]);
		seen[many[i].id] = true;
	}
	mouth_write_all(&mouth, NULL);
	check_string(tx_reset(&mouth.tx, many[7].id, RESET_REFUSED), NULL);
	check_int(many[100].id, 0);
	mouth_write_all(&mouth, NULL);
	check_int(mouth.n_released, 1);
	check(mouth.released[0] == &many[7]);
	check_int(many[100].id, many[7].id);
	check_int(many[100].used_bytes, 0);
	check_int(many[100].limit_bytes, peer.topic_bytes);
	check_int(many[101].id, 0);
	mouth_end(&mouth);
}

static void test_who_waits_for_an_id_cannot_send_and_is_woken_when_it_has_one(void)
{
	struct tx_claim claim = claim_of(0, 0, false);

	mouth_init_after_hello(&mouth);
	open_many();
	mouth_write_all(&mouth, NULL);
	list_init(&claim.link);
	check_int(try_claim(&many[64], &claim), -EAGAIN);
	tx_close(&mouth.tx, &many[0]);
	mouth_write_all(&mouth, NULL);
	mouth.wakes = 0;
	check_string(tx_reset(&mouth.tx, many[0].id, RESET_DONE), NULL);
	check_int(mouth.wakes, 1);
	check_int(try_claim(&many[64], &claim), 0);
	tx_unclaim(&mouth.tx, &many[64], &claim);
	mouth_end(&mouth);
}

static void test_a_topic_that_never_had_an_id_is_forgotten_at_once(void)
{
	mouth_init_after_hello(&mouth);
	open_many();
	check(tx_close(&mouth.tx, &many[80]));
	check(!tx_close(&mouth.tx, &many[80]));
	check(!tx_close(&mouth.tx, &many[3]));
	mouth_write_all(&mouth, NULL);
	for (int i = 0; i < 64; i++) {
		tx_close(&mouth.tx, &many[i]);
		mouth_write_all(&mouth, NULL);
		check_string(tx_reset(&mouth.tx, many[i].id, RESET_DONE), NULL);
		mouth.n_released = 0;
	}
	mouth_write_all(&mouth, NULL);
	check_int(many[79].id != 0 && many[81].id != 0, 1);
	check_int(many[80].id, 0);
	mouth_end(&mouth);
}

static void test_an_id_is_free_after_both_ends_in_either_order(void)
{
	talk_begin();
	tx_close(&mouth.tx, &a);
	mouth_write_all(&mouth, NULL);
	check_int(mouth.n_released, 0);
	check_string(tx_reset(&mouth.tx, 1, RESET_DONE), NULL);
	check_int(mouth.n_released, 1);
	check_string(tx_reset(&mouth.tx, 2, RESET_UNWANTED), NULL);
	check_int(mouth.n_released, 1);
	check(b.reset);
	check_int(b.reset_reason, RESET_UNWANTED);
	mouth_write_all(&mouth, NULL);
	check_int(mouth.n_released, 2);
	check_string(mouth_text(&mouth), "close 1\nclose 2\n");
	talk_end();
}

static void test_a_hello_that_takes_a_billion_topics_costs_no_memory_to_speak_of(void)
{
	struct limits peer = limits_base;
	size_t before;

	talk_begin();
	before = allocated_bytes();
	peer.topics = CREDIT_MAX;
	check_int(mouth_hear_hello(&mouth, &peer), 0);
	check(allocated_bytes() - before < 1 << 20);
	talk_end();
}

/* What the peer may say */

static void test_credit_and_reset_of_what_was_never_opened_are_breaches(void)
{
	const uint32_t ids[] = {3, 64, 65, 0x7fffffff, 0xffffffff};
	struct outlet c;

	talk_begin();
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
		check_string(tx_credit(&mouth.tx, ids[i], 1, 1, false), BREACH_TOPIC_ID);
		check_string(tx_reset(&mouth.tx, ids[i], RESET_UNWANTED), BREACH_RESET);
	}
	/* The topic has an id, but the other side cannot know it yet. */
	tx_open(&mouth.tx, &c, "c", 1);
	check_int(c.id, 3);
	check_string(tx_credit(&mouth.tx, 3, 1, 1, false), BREACH_TOPIC_ID);
	check_string(tx_reset(&mouth.tx, 3, RESET_UNWANTED), BREACH_RESET);
	mouth_write_all(&mouth, NULL);
	check_string(tx_credit(&mouth.tx, 3, 1, 1, false), NULL);
	check_string(tx_reset(&mouth.tx, 3, RESET_UNWANTED), NULL);
	talk_end();
}

static void test_reset_twice_or_done_too_early_is_a_breach(void)
{
	talk_begin();
	check_string(tx_reset(&mouth.tx, 1, RESET_DONE), BREACH_RESET);
	check_string(tx_reset(&mouth.tx, 1, RESET_UNWANTED), NULL);
	check_string(tx_reset(&mouth.tx, 1, RESET_UNWANTED), BREACH_RESET);
	check_string(tx_credit(&mouth.tx, 1, 1, 0, false), BREACH_CLOSED);
	/* CLOSE is due, but has not been sent. */
	tx_close(&mouth.tx, &b);
	check_string(tx_reset(&mouth.tx, 2, RESET_DONE), BREACH_RESET);
	mouth_write_all(&mouth, NULL);
	check_string(tx_credit(&mouth.tx, 2, 1, 0, false), NULL);
	check_string(tx_reset(&mouth.tx, 2, RESET_DONE), NULL);
	check_string(tx_reset(&mouth.tx, 2, RESET_DONE), BREACH_RESET);
	check_string(tx_credit(&mouth.tx, 2, 1, 0, false), BREACH_TOPIC_ID);
	talk_end();
}

static void test_room_may_reach_2_to_the_30_and_no_more(void)
{
	talk_begin();
	check_string(tx_credit(&mouth.tx, 1, CREDIT_MAX - 65536, CREDIT_MAX - 16, false), NULL);
	check_string(tx_credit(&mouth.tx, 0, CREDIT_MAX - (1 << 20), CREDIT_MAX - 64, false), NULL);
	check_string(tx_credit(&mouth.tx, 1, 1, 0, false), BREACH_GRANT);
	check_string(tx_credit(&mouth.tx, 1, 0, 1, false), BREACH_GRANT);
	check_string(tx_credit(&mouth.tx, 0, 1, 0, false), BREACH_GRANT);
	check_string(tx_credit(&mouth.tx, 0, 0, 1, false), BREACH_GRANT);
	check_string(tx_credit(&mouth.tx, 2, 0xffffffff, 0, false), BREACH_GRANT);
	talk_end();
}

static void test_room_that_is_refused_is_not_there(void)
{
	uint64_t pool, attachments;

	talk_begin();
	pool = mouth.tx.pool.limit;
	attachments = mouth.tx.attachments.limit;
	check_string(tx_credit(&mouth.tx, 0, CREDIT_MAX, 0, false), BREACH_GRANT);
	check_string(tx_credit(&mouth.tx, 0, 0, CREDIT_MAX, false), BREACH_GRANT);
	check_int(mouth.tx.pool.limit, pool);
	check_int(mouth.tx.attachments.limit, attachments);
	talk_end();
}

static void test_sums_of_credit_pass_2_to_the_32_and_go_on(void)
{
	uint32_t overdraft;

	talk_begin();
	for (uint64_t sum = 0; sum < (uint64_t)5 << 32; sum += 60000 + MESSAGE_COST) {
		if (try_charge(&a, 60000, 1, &overdraft) || tx_credit(&mouth.tx, 1, 60000 + MESSAGE_COST, 1, false) ||
		    tx_credit(&mouth.tx, 0, 0, 1, false))
			fail("after %llu", (unsigned long long)sum);
	}
	check(a.used_bytes > (uint64_t)5 << 32);
	check_int(a.limit_bytes - a.used_bytes, 65536);
	talk_end();
}

static const struct test tests[] = {
    TEST(test_hellos_differences_are_added_to_all_credit),
    TEST(test_hello_without_memory_changes_nothing),
    TEST(test_a_beginning_without_memory_leaves_nothing),
    TEST(test_ids_are_limited_before_hello_and_given_to_those_who_wait_after),
    TEST(test_who_waits_for_an_id_cannot_send_and_is_woken_when_it_has_one),
    TEST(test_a_topic_that_never_had_an_id_is_forgotten_at_once),
    TEST(test_an_id_is_free_after_both_ends_in_either_order),
    TEST(test_a_hello_that_takes_a_billion_topics_costs_no_memory_to_speak_of),
    TEST(test_credit_and_reset_of_what_was_never_opened_are_breaches),
    TEST(test_reset_twice_or_done_too_early_is_a_breach),
    TEST(test_room_may_reach_2_to_the_30_and_no_more),
    TEST(test_room_that_is_refused_is_not_there),
    TEST(test_sums_of_credit_pass_2_to_the_32_and_go_on),
};
HARNESS_MAIN("tx_state", tests)
