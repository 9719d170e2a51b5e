/* SPDX-License-Identifier: MIT */
/* Credit that is lent and given back: WANT and RETURN, and what this side grants to the other. */
#include <session/shares.h>

/* ---- WANT and RETURN ------------------------------------------------------------------------- */

static void test_the_other_side_is_told_once_that_attachments_are_wanted_and_again_when_it_has_granted_them(void)
{
	struct tx_claim first, second;

	begin();
	check_int(take(&topics[0], ALL), 0);
	check_string(said(), "");
	wait_for(&topics[1], &first, 0, LITTLE + 1);
	/*
	 * Of 2684 granted attachments 2044 are free, which is 31 and three quarters of the total.
	 */
	check_string(said(), "want 2684\n");
	wait_for(&topics[2], &second, 0, 200);
	check_string(credit(0, 0, 40), NULL);
	stop(&second);
	check_string(said(), "");
	check_string(credit(0, 0, 2683 - ALL - 40), NULL);
	/* This is enough for the first claim, but others use it before the claim is tried again. */
	check(first.woken);
	mouth.tx.attachments.used = mouth.tx.attachments.limit;
	check_int(try_claim(&topics[1], &first), -EAGAIN);
	check_string(said(), "");
	/* Now all that WANT asked for is granted, and it is no longer enough. */
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
	/* Claims that wait for bytes or for their topic's attachments. */
	topics[1].used_bytes = topics[1].limit_bytes;
	wait_for(&topics[1], &claim, 0, 0);
	stop(&claim);
	wait_for(&topics[1], &claim, 0, 640);
	stop(&claim);
	topics[2].used_attachments = topics[2].limit_attachments - 1;
	wait_for(&topics[2], &claim, 0, 2);
	stop(&claim);
	check_string(said(), "");
	/* A claim that waits for its turn: the WANT is that of the claim before it. */
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
	/* What is given back before the next write goes with the same RETURN. */
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

/* ---- Attachments that this side grants ------------------------------------------------------- */

/* A side that grants this many attachments. */
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
	/* Credit for the pool is sent at once, and the attachments go with it. */
	tx_settled(&mouth.tx, 1);
	check(!tx_pending(&mouth.tx));
	tx_return_pool(&mouth.tx, 5);
	check_string(said(), "credit 0 5 1\n");
	end();

	/* If there are few attachments, each is returned at once. */
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
	/* The WANT asks for no more than is due. */
	check(!tx_wanted(&mouth.tx, 82));
	check(mouth.tx.wanted);
	check(tx_pending(&mouth.tx));
	check_string(said(), "credit 0 0 3\n");
	/*
	 * An eighth more is not withheld either, because the other side would soon be short again.
	 */
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
	/* A WANT for attachments that have already been granted has no effect. */
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

static bool took(uint32_t cost, uint32_t overdraft, unsigned n_fds)
{
	const struct beam_message message = {.cost = cost, .overdraft = overdraft, .n_fds = (uint16_t)n_fds};

	return inlet_took(&inlet, &message);
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
	check(!took(499, 0, 0));
	check(took(1, 0, 0));
	mouth_init_after_hello(&mouth);
	tx_return_withheld(&mouth.tx, &inlet);
	check_string(said(), "credit 5 500 0\n");
	check(took(64, 0, 20));
	tx_return_withheld(&mouth.tx, &inlet);
	check(!tx_pending(&mouth.tx));
	check_string(said(), "");
	check(took(64, 0, 1));
	tx_return_withheld(&mouth.tx, &inlet);
	check_string(said(), "credit 5 128 21\n");
	/* WANT is about attachments, so bytes may still be withheld. */
	mouth.tx.wanted = true;
	check(!took(64, 0, 0));
	check(took(64, 0, 1));
	tx_return_withheld(&mouth.tx, &inlet);
	check_string(said(), "credit 5 128 1\n");
	mouth.tx.wanted = false;
	check(took(100, 30, 0));
	tx_return_withheld(&mouth.tx, &inlet);
	check_string(said(), "credit 5 70 0\noverdraft 5 30 0\n");
	check_int(mouth.tx.granted_pool, limits_base.pool_bytes + 30);
	mouth_end(&mouth);
}

/* Inlets that each owe credit for one attachment, which may wait. */
static void owe_late(struct inlet *inlets, uint32_t n)
{
	memset(inlets, 0, n * sizeof *inlets);
	for (uint32_t i = 0; i < n; i++) {
		const struct beam_message message = {.cost = 64, .n_fds = 1};

		inlet_init(&inlets[i], i + 1);
		inlet_withhold(&inlets[i], 65536, 40, 16);
		check(inlet_took(&inlets[i], &message));
		tx_return_withheld(&mouth.tx, &inlets[i]);
	}
}

static void test_a_topic_has_its_attachments_back_before_the_channel_has(void)
{
	struct inlet inlets[2];

	begin_granting(80);
	owe_late(inlets, 2);
	tx_settled(&mouth.tx, 10);
	check(!tx_pending(&mouth.tx));
	tx_settled(&mouth.tx, 1);
	check_string(said(), "credit 1 64 1\ncredit 2 64 1\ncredit 0 0 11\n");
	end();
}

static void test_whoever_lacks_attachments_gets_those_of_topics_too(void)
{
	struct inlet inlets[2];

	begin_granting(80);
	owe_late(inlets, 2);
	check(!tx_wanted(&mouth.tx, 5));
	check(!tx_pending(&mouth.tx));
	check(!tx_wanted(&mouth.tx, 80));
	check_string(said(), "credit 1 64 1\ncredit 2 64 1\n");
	end();
}

static void test_a_reset_does_not_wait_and_ends_what_waited(void)
{
	struct inlet inlets[2];

	begin_granting(80);
	owe_late(inlets, 2);
	tx_reset_inlet(&mouth.tx, &inlets[1], RESET_DONE);
	check(tx_pending(&mouth.tx));
	check_string(said(), "reset 2 done\n");
	tx_settled(&mouth.tx, 11);
	check_string(said(), "credit 1 64 1\ncredit 0 0 11\n");
	end();
}

static void test_the_channel_waits_for_the_credit_of_many_topics(void)
{
	static struct inlet inlets[200];
	const char *text, *channel;

	/*
	 * From a number that leaves too little room for the channel's credit to one that needs two
	 * batches.
	 */
	for (uint32_t n = 80; n <= 200; n++) {
		begin_granting(80);
		owe_late(inlets, n);
		tx_settled(&mouth.tx, 11);
		text = said();
		channel = strstr(text, "credit 0 0 11\n");
		check(channel && channel[strlen("credit 0 0 11\n")] == 0);
		for (uint32_t i = 0; i < n; i++)
			check(!list_linked(&inlets[i].due));
		end();
	}
}

static void test_nobody_needs_the_bytes_of_a_topic_that_is_closed(void)
{
	mouth_init_after_hello(&mouth);
	inlet_begin(false);
	inlet_withhold(&inlet, 1000, 40, 16);
	inlet.closed = true;
	check(!took(600, 0, 0));
	check(took(600, 0, 21));
	tx_return_withheld(&mouth.tx, &inlet);
	check_string(said(), "credit 5 0 21\n");
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
	/* The id of the call is the frame's argument. */
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
	/* Each of them is written, even if nothing else is due. */
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
    TEST(test_a_topic_has_its_attachments_back_before_the_channel_has),
    TEST(test_whoever_lacks_attachments_gets_those_of_topics_too),
    TEST(test_a_reset_does_not_wait_and_ends_what_waited),
    TEST(test_the_channel_waits_for_the_credit_of_many_topics),
    TEST(test_nobody_needs_the_bytes_of_a_topic_that_is_closed),
    TEST(test_overdraft_is_returned_as_that_of_its_topic_or_call),
    TEST(test_overdraft_of_what_has_ended_is_the_pools),
    TEST(test_overdraft_of_a_call_that_is_over_is_the_pools),
    TEST(test_overdraft_that_does_not_fit_goes_with_the_next_batch),
    TEST(test_what_is_of_the_channel_goes_first_and_each_once),
};
HARNESS_MAIN("credit_lending", tests)
