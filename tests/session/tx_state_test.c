/* SPDX-License-Identifier: MIT */
/* The sending half: credit, ids, what the peer may say, and what is due. */
#include <harness/fault.h>
#include <session/talk.h>
#include <wire/breach.h>

static struct limits more_limits(void)
{
	return (struct limits){100, 64, 1 << 21, 32, (64 << 10) + 1000, 40, (1 << 20) + 2000, 128};
}

/* Credit */

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
	/* The rest, and the pool. */
	check_int(try_charge(&a, 100000, 0, &overdraft), 0);
	check_int(overdraft, 100064 - 5472);
	check_int(a.limit_bytes, a.used_bytes);
	check_int(mouth.tx.pool.used, overdraft);
	/* Nothing left on the topic: not even an empty one, however full the pool is. */
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
	/* It waits for those that are charged and not accepted yet. */
	check_int(try_claim(&a, &small), 0);
	tx_unclaim(&mouth.tx, &a, &small);
	check_int(try_claim(&a, &large), -EAGAIN);
	/* And they do not overtake it for ever. */
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
	/* It took all that the topic had. */
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
	/* As the channel does it when all is over; the sender comes to know it later. */
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
	/* Whether attachments are wanted only HELLO tells. */
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
	/* Accepted in size, but with no credit that would ever be enough. */
	check_int(tx_fits(&mouth.tx, &any, (1 << 20) + (64 << 10) - MESSAGE_COST, 0), 0);
	check_int(tx_fits(&mouth.tx, &any, (1 << 20) + (64 << 10) - MESSAGE_COST + 1, 0), -EMSGSIZE);
	mouth_end(&mouth);

	/* However many the peer takes: no more than one sendmsg does. */
	mouth_init_after_hello(&mouth);
	peer.message_attachments = peer.topic_attachments = peer.attachments = 1000;
	check_int(mouth_hear_hello(&mouth, &peer), 0);
	check_int(tx_fits(&mouth.tx, &any, 0, FRAME_CARRIED_MAX), 0);
	check_int(tx_fits(&mouth.tx, &any, 0, FRAME_CARRIED_MAX + 1), -E2BIG);
	mouth_end(&mouth);

	/* However many a message may have: no more than a topic. The channel may be lent more. */
	mouth_init_after_hello(&mouth);
	peer.attachments = 64;
	peer.topic_attachments = 65;
	check_int(mouth_hear_hello(&mouth, &peer), 0);
	check_int(tx_fits(&mouth.tx, &any, 0, 65), 0);
	check_int(tx_fits(&mouth.tx, &any, 0, 66), -E2BIG);
	mouth_end(&mouth);
}

/* Asked of an outlet, and shown to be so by a charge. */
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
	/* Only little of the pool, for more of which somebody waits. */
	mouth_open(&mouth, &holds, "holds");
	check_int(mouth_charge(&mouth, &holds, 65536 - MESSAGE_COST + 100000, 0), 100000);
	list_init(&first.link);
	check_int(try_claim(&b, &first), -EAGAIN);
	check(finds_credit(&a, 65536 - MESSAGE_COST + (3 << 14)));
	check(!finds_credit(&a, 65536 - MESSAGE_COST + (3 << 14) + 1));
	tx_unclaim(&mouth.tx, &b, &first);
	check(finds_credit(&a, 65536 - MESSAGE_COST + (3 << 14) + 1));
	/* Not while a message of several frames waits on the topic, or is sent. */
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
	/* Nor without an id. */
	mouth.tx.n_outlets = mouth.tx.capacity_outlets;
	tx_open(&mouth.tx, &waits, "c", 1);
	waits.limit_bytes = 65536;
	check(!finds_credit(&waits, 0));
	talk_end();
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
	/* It has an id, but the other side cannot know. */
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
	/* Asked for, but not gone. */
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

/* What is due */

static struct inlet inlets[1000];

static void inlet_begin(struct inlet *inlet, uint32_t id)
{
	memset(inlet, 0, sizeof *inlet);
	inlet->id = id;
	list_init(&inlet->due);
}

static void test_credit_that_comes_due_adds_up_in_one_frame(void)
{
	talk_begin();
	inlet_begin(&inlets[0], 5);
	for (int i = 0; i < 1000; i++)
		tx_return(&mouth.tx, &inlets[0], 100, 1, 0);
	check(tx_pending(&mouth.tx));
	mouth_write_all(&mouth, NULL);
	tx_return(&mouth.tx, &inlets[0], 0, 1, 0);
	tx_return(&mouth.tx, &inlets[0], 0, 1, 0);
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "credit 5 100000 1000\ncredit 5 0 2\n");
	check(!tx_pending(&mouth.tx));
	talk_end();
}

static void test_what_was_granted_is_written_down_with_the_frame_that_says_so(void)
{
	struct limits own = limits_base;

	own.message_attachments = own.topic_attachments = own.attachments;
	mouth_init_with(&mouth, &own);
	mouth_write_all(&mouth, NULL);
	mouth_forget(&mouth);
	inlet_begin(&inlets[0], 5);
	tx_return(&mouth.tx, &inlets[0], 100, 2, 0);
	tx_return_pool(&mouth.tx, 50);
	tx_settled(&mouth.tx, 2);
	check_int(inlets[0].granted_bytes, 0);
	check_int(mouth.tx.granted_pool, 1 << 20);
	check(tx_batch(&mouth.tx, NULL));
	/* Before it is on the wire: the peer may use it at once. */
	check_int(inlets[0].granted_bytes, 100);
	check_int(inlets[0].granted_attachments, 2);
	check_int(mouth.tx.granted_pool, (1 << 20) + 50);
	check_int(mouth.tx.granted_attachments, own.attachments + 2);
	mouth_end(&mouth);
}

static void test_a_reset_takes_the_place_of_its_topics_credit(void)
{
	talk_begin();
	inlet_begin(&inlets[0], 5);
	tx_return(&mouth.tx, &inlets[0], 100, 1, 0);
	tx_reset_inlet(&mouth.tx, &inlets[0], RESET_UNWANTED);
	tx_return(&mouth.tx, &inlets[0], 100, 1, 0);
	tx_reset_inlet(&mouth.tx, &inlets[0], RESET_REFUSED);
	check(!inlets[0].reset_sent);
	check(tx_batch(&mouth.tx, NULL));
	check(inlets[0].reset_sent);
	mouth_write_all(&mouth, NULL);
	/* All has been said. */
	tx_return(&mouth.tx, &inlets[0], 100, 1, 0);
	tx_reset_inlet(&mouth.tx, &inlets[0], RESET_UNWANTED);
	check(!tx_pending(&mouth.tx));
	check_string(mouth_text(&mouth), "reset 5 unwanted\n");
	talk_end();
}

static void test_nothing_given_back_is_nothing_due(void)
{
	talk_begin();
	inlet_begin(&inlets[0], 5);
	tx_return(&mouth.tx, &inlets[0], 0, 0, 0);
	tx_return_pool(&mouth.tx, 0);
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "");
	talk_end();
}

static void test_a_call_gets_one_end(void)
{
	struct outlet call, another;

	talk_begin();
	check_int(tx_open_replies(&mouth.tx, &call, 9), 0);
	tx_end_call(&mouth.tx, &call, REPLY_CLOSED);
	tx_end_call(&mouth.tx, &call, REPLY_DROPPED);
	/* Not before its request has come. */
	check(!tx_pending(&mouth.tx));
	tx_asked(&mouth.tx, &call);
	check_int(tx_open_replies(&mouth.tx, &another, 9), -EALREADY);
	check(tx_batch(&mouth.tx, NULL));
	/* The other side may use the id again as soon as it has read this. */
	check_int(tx_open_replies(&mouth.tx, &another, 9), 0);
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "reply 9 end 2\n");
	check(!tx_pending(&mouth.tx));
	talk_end();
}

static void test_more_than_fits_goes_in_several_batches_and_none_is_forgotten(void)
{
	static struct outlet calls[60];
	static struct outlet outlets[300];
	static char long_names[300][NAME_MAX_BYTES + 1];
	struct limits peer = limits_base;
	unsigned batches = 0, found[9] = {0};
	size_t at = 0;

	talk_begin();
	peer.topics = 1000;
	check_int(mouth_hear_hello(&mouth, &peer), 0);
	for (uint32_t i = 0; i < 1000; i++) {
		inlet_begin(&inlets[i], i + 1);
		if (i % 2)
			tx_return(&mouth.tx, &inlets[i], 1, 1, 0);
		else
			tx_reset_inlet(&mouth.tx, &inlets[i], RESET_UNWANTED);
	}
	for (uint32_t i = 0; i < 60; i++) {
		check_int(tx_open_replies(&mouth.tx, &calls[i], i + 1), 0);
		tx_asked(&mouth.tx, &calls[i]);
		tx_end_call(&mouth.tx, &calls[i], REPLY_DROPPED);
	}
	for (uint32_t i = 0; i < 300; i++) {
		memset(long_names[i], 'x', NAME_MAX_BYTES);
		sprintf(long_names[i], "%u", i);
		long_names[i][strlen(long_names[i])] = 'y';
		tx_open(&mouth.tx, &outlets[i], long_names[i], NAME_MAX_BYTES);
	}
	tx_return_pool(&mouth.tx, 1);
	while (mouth_write(&mouth, NULL, SIZE_MAX))
		batches++;
	check(batches >= 10);
	check(!tx_pending(&mouth.tx));
	while (at < mouth.said.size) {
		struct frame frame;

		require(frame_decode(&frame, mouth.said.bytes + at) == NULL);
		found[frame.kind]++;
		at += 4 + frame.length;
	}
	check_int(found[FRAME_CREDIT], 501);
	check_int(found[FRAME_RESET], 500);
	check_int(found[FRAME_REPLY], 60);
	check_int(found[FRAME_OPEN], 300);
	for (int i = 0; i < 300; i++) {
		check(!outlets[i].open_due);
		tx_close(&mouth.tx, &outlets[i]);
	}
	mouth_forget(&mouth);
	mouth_write_all(&mouth, NULL);
	check_int(mouth.said.size, 300 * FRAME_HEADER);
	talk_end();
}

/* Resets that fill one batch's control. */
static void fill_control(void)
{
	for (uint32_t i = 0; i < TX_CONTROL / FRAME_HEADER; i++) {
		inlet_begin(&inlets[i], i + 1);
		tx_reset_inlet(&mouth.tx, &inlets[i], RESET_UNWANTED);
	}
}

static void test_an_abort_and_a_goodbye_that_do_not_fit_go_with_the_next_batch(void)
{
	talk_begin();
	mouth_charge_large(&mouth, &a, 100000, 0);
	fill_control();
	tx_abort(&mouth.tx, &a);
	check_int(mouth_write(&mouth, NULL, SIZE_MAX), TX_CONTROL);
	mouth_forget(&mouth);
	check(a.busy && tx_pending(&mouth.tx));
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "data 1 abort\n");
	check(!a.busy);

	fill_control();
	mouth.tx.goodbye_due = true;
	check_int(mouth_write(&mouth, NULL, SIZE_MAX), TX_CONTROL);
	mouth_forget(&mouth);
	check(!mouth.tx.goodbye_sent && tx_pending(&mouth.tx));
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "goodbye 0\n");
	talk_end();
}

static void test_a_flood_of_causes_takes_no_memory(void)
{
	static struct outlet call;
	size_t before;

	talk_begin();
	for (uint32_t i = 0; i < 1000; i++)
		inlet_begin(&inlets[i], i + 1);
	check_int(tx_open_replies(&mouth.tx, &call, 3), 0);
	tx_asked(&mouth.tx, &call);
	/* A socket that is full all the while: nothing of it is written. */
	mouth_append(&mouth, &a, "x", NULL, 0);
	check(tx_batch(&mouth.tx, NULL));
	before = allocated_bytes();
	for (uint32_t i = 0; i < scale(1000000); i++) {
		struct inlet *inlet = &inlets[i % 1000];

		tx_return(&mouth.tx, inlet, 1, i % 5 == 0, 0);
		tx_return_pool(&mouth.tx, 1);
		tx_settled(&mouth.tx, 1);
		if (i % 7 == 0)
			tx_reset_inlet(&mouth.tx, inlet, RESET_UNWANTED);
		tx_reset_call(&mouth.tx, 3);
		if (tx_credit(&mouth.tx, 1, 1, 0, false))
			break;
	}
	check_int(allocated_bytes(), before);
	mouth_write_all(&mouth, NULL);
	check(!tx_pending(&mouth.tx));
	/* 1,001 inlets and the rest, not a million frames. */
	check(mouth.said.size < 1100 * (FRAME_HEADER + 8));
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
    TEST(test_credit_that_comes_due_adds_up_in_one_frame),
    TEST(test_what_was_granted_is_written_down_with_the_frame_that_says_so),
    TEST(test_a_reset_takes_the_place_of_its_topics_credit),
    TEST(test_nothing_given_back_is_nothing_due),
    TEST(test_a_call_gets_one_end),
    TEST(test_more_than_fits_goes_in_several_batches_and_none_is_forgotten),
    TEST(test_an_abort_and_a_goodbye_that_do_not_fit_go_with_the_next_batch),
    TEST(test_a_flood_of_causes_takes_no_memory),
};
HARNESS_MAIN("tx_state", tests)
