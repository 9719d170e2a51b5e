/* SPDX-License-Identifier: MIT */
/* Calls, at the callee: ids, replies, and how they end. */
#include <harness/fault.h>
#include <session/calls.h>
#include <wire/breach.h>

static bool id_in_use(uint32_t id)
{
	struct outlet another, *before = id <= mouth.tx.capacity_replies ? mouth.tx.replies[id] : NULL;
	int r = tx_open_replies(&mouth.tx, &another, id);

	mouth.tx.replies[id] = before;
	return r == -EALREADY;
}

static void test_replies_have_the_base_window_whatever_hello_says(void)
{
	struct limits peer = limits_base;
	struct tx_claim claim = {.size = 65536 - 2 * MESSAGE_COST};
	struct outlet call;
	uint32_t overdraft;

	talk_begin();
	take(&call, 1);
	peer.topic_bytes = peer.message_bytes = peer.pool_bytes = 1 << 24;
	peer.topic_attachments = peer.message_attachments = 100;
	peer.attachments = 200;
	check_int(mouth_hear_hello(&mouth, &peer), 0);
	check_int(call.limit_bytes, limits_base.topic_bytes);
	check_int(tx_fits(&mouth.tx, &call, 1 << 24, 16), 0);
	check_int(tx_fits(&mouth.tx, &call, 1, 17), -E2BIG);
	check_int(tx_fits(&mouth.tx, &a, 1, 17), 0);
	list_init(&claim.link);
	check_int(tx_charge(&mouth.tx, &call, &claim, &overdraft), 0);
	tx_complete(&mouth.tx, &call, false);
	claim.size = 0;
	check_int(tx_charge(&mouth.tx, &call, &claim, &overdraft), 0);
	tx_complete(&mouth.tx, &call, false);
	check_int(tx_charge(&mouth.tx, &call, &claim, &overdraft), -EAGAIN);
	mouth.wakes = 0;
	check_string(tx_credit_call(&mouth.tx, 1, MESSAGE_COST, 0, false), NULL);
	check_int(mouth.wakes, 1);
	check_int(tx_charge(&mouth.tx, &call, &claim, &overdraft), 0);
	tx_complete(&mouth.tx, &call, false);
	check(tx_credit_call(&mouth.tx, 1, CREDIT_MAX, 1, false) == NULL);
	check_string(tx_credit_call(&mouth.tx, 1, 1, 0, false), BREACH_GRANT);
	/* Credit for a call that is free is ignored, because it crossed the call's END. */
	check(!tx_credit_call(&mouth.tx, 2, CREDIT_MAX, CREDIT_MAX, false) &&
	      !tx_credit_call(&mouth.tx, UINT32_MAX, 1, 1, false));
	talk_end();
}

static void test_without_memory_for_its_replies_a_call_is_not_taken(void)
{
	struct outlet call;

	talk_begin();
	fault_at(1, 0, false);
	check_int(tx_open_replies(&mouth.tx, &call, 5), -ENOMEM);
	fault_off();
	check(!id_in_use(5));
	take(&call, 5);
	check(id_in_use(5));
	talk_end();
}

static void test_the_id_is_free_as_soon_as_the_last_reply_is_in_a_batch(void)
{
	struct outlet call;
	struct tx_own own;

	talk_begin();
	take(&call, 5);
	reply(&own, &call, "more", 0, 0);
	mouth_write_all(&mouth, &own);
	tx_complete(&mouth.tx, &call, false);
	check(id_in_use(5));
	reply(&own, &call, "last", FRAME_END, 0);
	check(tx_batch(&mouth.tx, &own));
	check(!id_in_use(5));
	mouth_write_all(&mouth, &own);
	check_int(mouth.n_released, 0);
	tx_ended(&call);
	tx_complete(&mouth.tx, &call, false);
	check(mouth.n_released == 1 && mouth.released[0] == &call);
	check_string(mouth_text(&mouth), "reply 5 more\nreply 5 end last\n");
	talk_end();
}

static void test_a_last_reply_that_leaves_its_batch_again_leaves_the_id_in_use(void)
{
	struct outlet call;
	struct tx_own own;

	talk_begin();
	take(&call, 5);
	reply(&own, &call, "last", FRAME_END, 0);
	check(tx_batch(&mouth.tx, &own));
	tx_leave(&mouth.tx, &own);
	check(!own.done);
	check(id_in_use(5));
	tx_uncharge(&mouth.tx, &call, 4, 0, 0);
	tx_complete(&mouth.tx, &call, false);
	check_int(mouth.n_released, 0);
	tx_end_call(&mouth.tx, &call, 300);
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "reply 5 end 300\n");
	check_int(mouth.n_released, 1);
	/* The same if the connection breaks while the reply is written. */
	take(&call, 6);
	reply(&own, &call, "last", FRAME_END, 0);
	check(tx_batch(&mouth.tx, &own));
	tx_give_up(&mouth.tx, &own);
	check(id_in_use(6));
	/* A reply that is in the buffer no longer belongs to the writer, and stays there. */
	take(&call, 7);
	reply(&own, &call, "last", FRAME_END, 0);
	tx_append(&mouth.tx, &own, NULL);
	tx_give_up(&mouth.tx, &own);
	check(!id_in_use(7));
	talk_end();
}

static void test_what_comes_while_the_last_reply_is_in_a_batch_counts_if_that_leaves_it_again(void)
{
	struct outlet call;
	struct tx_own own;
	uint64_t bytes;

	talk_begin();
	take(&call, 5);
	bytes = call.limit_bytes;
	reply(&own, &call, "last", FRAME_END, 0);
	check(tx_batch(&mouth.tx, &own));
	check(tx_credit_call(&mouth.tx, 5, 100, 0, false) == NULL);
	tx_reset_call(&mouth.tx, 5);
	tx_leave(&mouth.tx, &own);
	check_int(call.limit_bytes, bytes + 100);
	check(call.reset && id_in_use(5));
	tx_uncharge(&mouth.tx, &call, 4, 0, 0);
	tx_complete(&mouth.tx, &call, false);
	check_int(mouth.n_released, 0);
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "reply 5 end 1\n");
	check_int(mouth.n_released, 1);
	/* If the frame is written, the RESET crossed it and has no effect. */
	take(&call, 5);
	reply(&own, &call, "last", FRAME_END, 0);
	check(tx_batch(&mouth.tx, &own));
	tx_reset_call(&mouth.tx, 5);
	mouth_write_all(&mouth, &own);
	tx_ended(&call);
	tx_complete(&mouth.tx, &call, false);
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "reply 5 end 1\nreply 5 end last\n");
	check_int(mouth.n_released, 2);
	talk_end();
}

/*
 * The last frame of a reply is in a batch, so its id is free. The other side uses the id again
 * before it can know that. Then the frame leaves the batch.
 */
static void reuse_early(bool large)
{
	struct outlet call, next;
	struct tx_own own;

	harness_context("large: %d", large);
	talk_begin();
	take(&call, 5);
	if (large)
		mouth_charge_large(&mouth, &call, 4, 0);
	else
		mouth_charge(&mouth, &call, 4, 0);
	mouth_frame(&own, &call, FRAME_END, "last", 4, NULL, 0);
	check(tx_batch(&mouth.tx, &own));
	take(&next, 5);
	tx_leave(&mouth.tx, &own);
	/* The sender still uses the outlet, so it is not released. */
	mouth_write_all(&mouth, NULL);
	check_int(mouth.n_released, 0);
	tx_uncharge(&mouth.tx, &call, 4, 0, 0);
	tx_complete(&mouth.tx, &call, large);
	check(mouth.n_released == 1 && mouth.released[0] == &call);
	check_string(mouth_text(&mouth), "");
	reply(&own, &next, "next", FRAME_END, 0);
	mouth_write_all(&mouth, &own);
	check_string(mouth_text(&mouth), "reply 5 end next\n");
	tx_ended(&next);
	tx_complete(&mouth.tx, &next, false);
	check_int(mouth.n_released, 2);
	talk_end();
}

static void test_a_call_whose_id_was_used_again_too_early_gets_no_end_and_leaves_the_new_one_alone(void)
{
	reuse_early(false);
	reuse_early(true);
}

static void test_an_end_without_a_reply_goes_behind_the_replies_in_the_buffer(void)
{
	struct outlet call;
	struct tx_own own;

	talk_begin();
	take(&call, 5);
	reply(&own, &call, "more", 0, 0);
	tx_append(&mouth.tx, &own, NULL);
	tx_complete(&mouth.tx, &call, false);
	tx_end_call(&mouth.tx, &call, REPLY_DROPPED);
	tx_return_pool(&mouth.tx, 7);
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "credit 0 7 0\nreply 5 more\nreply 5 end 1\n");
	check_int(mouth.n_released, 1);
	talk_end();
}

static void test_a_reset_ends_the_call_once_and_wakes_who_sends(void)
{
	struct tx_claim claim = claim_of(0, 0, false);
	struct outlet call;

	talk_begin();
	take(&call, 5);
	call.used_bytes = call.limit_bytes;
	list_init(&claim.link);
	check_int(try_claim(&call, &claim), -EAGAIN);
	mouth.wakes = 0;
	tx_reset_call(&mouth.tx, 5);
	check(call.reset);
	check_int(mouth.wakes, 1);
	tx_unclaim(&mouth.tx, &call, &claim);
	tx_reset_call(&mouth.tx, 5);
	tx_reset_call(&mouth.tx, 6);
	tx_end_call(&mouth.tx, &call, REPLY_CLOSED);
	mouth_write_all(&mouth, NULL);
	tx_reset_call(&mouth.tx, 5);
	check(!tx_pending(&mouth.tx));
	check_string(mouth_text(&mouth), "reply 5 end 1\n");
	talk_end();
}

static void test_a_reply_of_several_frames_is_aborted_before_the_call_ends(void)
{
	struct outlet call;
	struct tx_own own;

	talk_begin();
	take(&call, 5);
	mouth_charge_large(&mouth, &call, 8, 0);
	mouth_first_frame(&own, &call, FRAME_MORE | FRAME_END, 8, 0, "half", 4, NULL, 0);
	mouth_write_all(&mouth, &own);
	check(id_in_use(5));
	tx_reset_call(&mouth.tx, 5);
	check(!tx_pending(&mouth.tx));
	tx_abort(&mouth.tx, &call);
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "reply 5 more end 8/0 half\nreply 5 abort\nreply 5 end 1\n");
	check_int(mouth.n_released, 1);
	check_int(mouth.tx.n_busy, 0);
	talk_end();
}

static void test_a_last_reply_that_is_refused_in_the_buffer_is_replaced(void)
{
	struct outlet call;
	struct tx_own own;

	talk_begin();
	take(&call, 5);
	reply(&own, &call, "last", FRAME_END, 1);
	tx_append(&mouth.tx, &own, fds);
	tx_ended(&call);
	tx_complete(&mouth.tx, &call, false);
	/* The kernel may still refuse the descriptor. */
	check_int(mouth.n_released, 0);
	refuse_first();
	check(id_in_use(5));
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "reply 5 end 1\n");
	check_int(mouth.n_released, 1);
	/* If the last reply is written, the call is released then. */
	take(&call, 5);
	reply(&own, &call, "last", FRAME_END, 1);
	tx_append(&mouth.tx, &own, fds);
	tx_ended(&call);
	tx_complete(&mouth.tx, &call, false);
	mouth_write_all(&mouth, NULL);
	check_int(mouth.n_released, 2);
	check(!tx_pending(&mouth.tx));
	talk_end();
}

static void test_the_end_of_the_session_lets_go_of_every_call(void)
{
	struct outlet calls[4];
	struct tx_own own;

	mouth_init_after_hello(&mouth);
	for (uint32_t i = 0; i < 3; i++)
		take(&calls[i], i + 1);
	tx_end_call(&mouth.tx, &calls[1], REPLY_DROPPED);
	reply(&own, &calls[2], "last", FRAME_END, 1);
	tx_append(&mouth.tx, &own, fds);
	tx_ended(&calls[2]);
	tx_complete(&mouth.tx, &calls[2], false);
	/* This includes a call whose id has been used again. */
	take(&calls[3], 3);
	mouth_end(&mouth);
	check_int(mouth.n_released, 4);
}

static const struct test tests[] = {
    TEST(test_replies_have_the_base_window_whatever_hello_says),
    TEST(test_without_memory_for_its_replies_a_call_is_not_taken),
    TEST(test_the_id_is_free_as_soon_as_the_last_reply_is_in_a_batch),
    TEST(test_a_last_reply_that_leaves_its_batch_again_leaves_the_id_in_use),
    TEST(test_what_comes_while_the_last_reply_is_in_a_batch_counts_if_that_leaves_it_again),
    TEST(test_a_call_whose_id_was_used_again_too_early_gets_no_end_and_leaves_the_new_one_alone),
    TEST(test_an_end_without_a_reply_goes_behind_the_replies_in_the_buffer),
    TEST(test_a_reset_ends_the_call_once_and_wakes_who_sends),
    TEST(test_a_reply_of_several_frames_is_aborted_before_the_call_ends),
    TEST(test_a_last_reply_that_is_refused_in_the_buffer_is_replaced),
    TEST(test_the_end_of_the_session_lets_go_of_every_call),
};
HARNESS_MAIN("session/callee", tests)
