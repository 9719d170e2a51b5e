/* SPDX-License-Identifier: MIT */
/* The sending half: what a message costs, and whether there is credit for it. */
#include <session/talk.h>

static void test_a_message_costs_its_payload_and_64_bytes_of_its_topic_first(void)
{
	uint32_t overdraft = 1;

	talk_begin();
	check_int(try_charge(&a, 60000, 2, &overdraft), 0);
	check_int(overdraft, 0);
	check_int(a.limit_bytes - a.used_bytes, 65536 - 60064);
	check_int(a.limit_attachments - a.used_attachments, 14);
	check_int(mouth.tx.attachments.limit - mouth.tx.attachments.used, 62);
	check_int(mouth.tx.pool.used, 0);
	/* The rest of the window, then the pool. */
	check_int(try_charge(&a, 100000, 0, &overdraft), 0);
	check_int(overdraft, 100064 - 5472);
	check_int(a.limit_bytes, a.used_bytes);
	check_int(mouth.tx.pool.used, overdraft);
	/*
	 * If nothing is left of the window, not even an empty message can be sent, however full the
	 * pool is.
	 */
	check_int(try_charge(&a, 0, 0, &overdraft), -EAGAIN);
	check_string(tx_credit(&mouth.tx, a.id, 1, 0, false), NULL);
	check_int(try_charge(&a, 0, 0, &overdraft), 0);
	check_int(overdraft, 63);
	talk_end();
}

static void test_exactly_what_the_topic_has_needs_no_overdraft(void)
{
	uint32_t overdraft;

	talk_begin();
	check_int(try_charge(&a, 65536 - MESSAGE_COST, 0, &overdraft), 0);
	check_int(overdraft, 0);
	check_int(try_charge(&b, 65536 - MESSAGE_COST + 1, 0, &overdraft), 0);
	check_int(overdraft, 1);
	talk_end();
}

static void test_a_charge_that_fails_takes_nothing(void)
{
	uint32_t overdraft;

	talk_begin();
	check_int(try_charge(&a, 65536 - MESSAGE_COST - 1, 3, &overdraft), 0);
	check_int(try_charge(&a, (1 << 20) + 100, 0, &overdraft), -EAGAIN);
	check_int(try_charge(&a, 10, 14, &overdraft), -EAGAIN);
	check_int(a.limit_bytes - a.used_bytes, 1);
	check_int(a.used_attachments, 3);
	check_int(mouth.tx.pool.used, 0);
	check_int(mouth.tx.attachments.used, 3);
	check(list_empty(&mouth.tx.claims));
	talk_end();
}

static void test_a_message_of_several_frames_is_alone_on_its_topic(void)
{
	struct tx_claim large = claim_of(100000, 0, true), small = claim_of(1, 0, false);
	uint32_t overdraft;

	talk_begin();
	list_init(&large.link);
	list_init(&small.link);
	/* It waits for messages that are charged and not yet accepted. */
	check_int(try_claim(&a, &small), 0);
	tx_unclaim(&mouth.tx, &a, &small);
	check_int(try_claim(&a, &large), -EAGAIN);
	/* Other messages do not overtake it. */
	check_int(try_claim(&a, &small), -EAGAIN);
	mouth.wakes = 0;
	tx_complete(&mouth.tx, &a, false);
	check_int(mouth.wakes, 1);
	check_int(try_claim(&a, &small), -EAGAIN);
	check_int(try_claim(&a, &large), 0);
	tx_unclaim(&mouth.tx, &a, &large);
	check_int(mouth.tx.n_busy, 1);
	check_int(try_claim(&a, &small), -EAGAIN);
	/* Other topics go on. */
	check_int(try_charge(&b, 1, 0, &overdraft), 0);
	mouth.wakes = 0;
	tx_complete(&mouth.tx, &a, true);
	check_int(mouth.tx.n_busy, 0);
	/* It used up the topic's window, so nobody is woken. */
	check_int(mouth.wakes, 0);
	check_string(tx_credit(&mouth.tx, 1, 100, 0, false), NULL);
	check_int(mouth.wakes, 1);
	check_int(try_claim(&a, &small), 0);
	tx_unclaim(&mouth.tx, &a, &small);
	tx_complete(&mouth.tx, &a, false);
	talk_end();
}

static void test_one_that_gives_up_waiting_lets_the_others_go(void)
{
	struct tx_claim large = claim_of(100000, 0, true), small = claim_of(1, 0, false);

	talk_begin();
	list_init(&large.link);
	list_init(&small.link);
	check_int(try_claim(&a, &small), 0);
	check_int(try_claim(&a, &large), -EAGAIN);
	check_int(try_claim(&a, &small), -EAGAIN);
	mouth.wakes = 0;
	tx_unclaim(&mouth.tx, &a, &large);
	check_int(mouth.wakes, 1);
	check_int(try_claim(&a, &small), 0);
	talk_end();
}

static void test_nothing_is_due_of_a_topic_that_the_end_has_let_go_of_while_it_was_busy(void)
{
	talk_begin();
	mouth_charge_large(&mouth, &a, 100000, 0);
	/* What the channel does when everything ends. The sender notices it later. */
	mouth.tx.outlets[a.id] = NULL;
	a.close_wanted = true;
	tx_abort(&mouth.tx, &a);
	check(!list_linked(&a.due));
	tx_complete(&mouth.tx, &a, true);
	check(!list_linked(&a.due));
	talk_end();
}

static void test_what_can_never_be_sent_is_told_from_what_must_wait(void)
{
	const struct outlet any = {.kind = FRAME_DATA};
	struct limits peer = limits_base;

	mouth_init_after_hello(&mouth);
	check_int(tx_fits(&mouth.tx, &any, 1 << 20, 0), 0);
	check_int(tx_fits(&mouth.tx, &any, (1 << 20) + 1, 0), -EAGAIN);
	check_int(tx_fits(&mouth.tx, &any, (size_t)CREDIT_MAX + 1, 0), -EMSGSIZE);
	/* Whether attachments are accepted at all is known only from HELLO. */
	check_int(tx_fits(&mouth.tx, &any, 0, 1), -EAGAIN);
	check_int(tx_fits(&mouth.tx, &any, 0, FRAME_CARRIED_MAX + 1), -E2BIG);
	check_int(mouth_hear_hello(&mouth, &peer), 0);
	check_int(tx_fits(&mouth.tx, &any, 1 << 20, 16), 0);
	check_int(tx_fits(&mouth.tx, &any, (1 << 20) + 1, 0), -EMSGSIZE);
	check_int(tx_fits(&mouth.tx, &any, 0, 17), -E2BIG);
	mouth_end(&mouth);

	mouth_init_after_hello(&mouth);
	peer.message_attachments = 0;
	peer.message_bytes = 1 << 28;
	check_int(mouth_hear_hello(&mouth, &peer), 0);
	check_int(tx_fits(&mouth.tx, &any, 0, 1), -E2BIG);
	/* The size is accepted, but there can never be enough credit. */
	check_int(tx_fits(&mouth.tx, &any, (1 << 20) + (64 << 10) - MESSAGE_COST, 0), 0);
	check_int(tx_fits(&mouth.tx, &any, (1 << 20) + (64 << 10) - MESSAGE_COST + 1, 0), -EMSGSIZE);
	mouth_end(&mouth);

	/* No message has more attachments than one sendmsg can send, whatever the peer accepts. */
	mouth_init_after_hello(&mouth);
	peer.message_attachments = peer.topic_attachments = peer.attachments = 1000;
	check_int(mouth_hear_hello(&mouth, &peer), 0);
	check_int(tx_fits(&mouth.tx, &any, 0, FRAME_CARRIED_MAX), 0);
	check_int(tx_fits(&mouth.tx, &any, 0, FRAME_CARRIED_MAX + 1), -E2BIG);
	mouth_end(&mouth);

	/*
	 * No message has more attachments than its topic, whatever a message may have. The channel
	 * may be lent more.
	 */
	mouth_init_after_hello(&mouth);
	peer.attachments = 64;
	peer.topic_attachments = 65;
	check_int(mouth_hear_hello(&mouth, &peer), 0);
	check_int(tx_fits(&mouth.tx, &any, 0, 65), 0);
	check_int(tx_fits(&mouth.tx, &any, 0, 66), -E2BIG);
	mouth_end(&mouth);
}

/* Whether tx finds credit. A charge must agree. */
static bool finds_credit(struct outlet *outlet, size_t size)
{
	bool found = tx_has_credit(&mouth.tx, outlet, size);
	uint32_t overdraft;

	check_int(try_charge(outlet, size, 0, &overdraft), found ? 0 : -EAGAIN);
	if (found)
		tx_uncharge(&mouth.tx, outlet, size, 0, overdraft);
	return found;
}

static void test_there_is_credit_just_when_a_charge_would_succeed(void)
{
	struct tx_claim first = claim_of(65536 - MESSAGE_COST + 200000, 0, true), large = claim_of(1, 0, true);
	struct outlet waits, holds;

	talk_begin();
	check(finds_credit(&a, 65536 - MESSAGE_COST));
	check(finds_credit(&a, 65536 + (1 << 20) - MESSAGE_COST));
	check(!finds_credit(&a, 65536 + (1 << 20) - MESSAGE_COST + 1));
	/* Only little of the pool is free for it, because another message waits for more. */
	mouth_open(&mouth, &holds, "holds");
	check_int(mouth_charge(&mouth, &holds, 65536 - MESSAGE_COST + 100000, 0), 100000);
	list_init(&first.link);
	check_int(try_claim(&b, &first), -EAGAIN);
	check(finds_credit(&a, 65536 - MESSAGE_COST + (3 << 14)));
	check(!finds_credit(&a, 65536 - MESSAGE_COST + (3 << 14) + 1));
	tx_unclaim(&mouth.tx, &b, &first);
	check(finds_credit(&a, 65536 - MESSAGE_COST + (3 << 14) + 1));
	/* There is none while a message of several frames waits on the topic or is being sent. */
	check_int(mouth_charge(&mouth, &a, 0, 0), 0);
	list_init(&large.link);
	check_int(try_claim(&a, &large), -EAGAIN);
	check(!finds_credit(&a, 0));
	tx_complete(&mouth.tx, &a, false);
	check_int(try_claim(&a, &large), 0);
	tx_unclaim(&mouth.tx, &a, &large);
	check(!finds_credit(&a, 0));
	tx_complete(&mouth.tx, &a, true);
	check(finds_credit(&a, 0));
	a.used_bytes = a.limit_bytes;
	check(!finds_credit(&a, 0));
	/* There is none without an id. */
	mouth.tx.n_outlets = mouth.tx.capacity_outlets;
	tx_open(&mouth.tx, &waits, "c", 1);
	waits.limit_bytes = 65536;
	check(!finds_credit(&waits, 0));
	talk_end();
}

static const struct test tests[] = {
    TEST(test_a_message_costs_its_payload_and_64_bytes_of_its_topic_first),
    TEST(test_exactly_what_the_topic_has_needs_no_overdraft),
    TEST(test_a_charge_that_fails_takes_nothing),
    TEST(test_a_message_of_several_frames_is_alone_on_its_topic),
    TEST(test_one_that_gives_up_waiting_lets_the_others_go),
    TEST(test_nothing_is_due_of_a_topic_that_the_end_has_let_go_of_while_it_was_busy),
    TEST(test_what_can_never_be_sent_is_told_from_what_must_wait),
    TEST(test_there_is_credit_just_when_a_charge_would_succeed),
};
HARNESS_MAIN("tx_charge", tests)
