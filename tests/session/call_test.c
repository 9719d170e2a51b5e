/* SPDX-License-Identifier: MIT */
/* Calls, at the caller: ids, requests, and the replies that arrive. */
#include <harness/fault.h>
#include <session/calls.h>
#include <session/listen.h>

/* Charges a call on topic a, whose request is one frame, and builds the frame. */
static int ask(struct inlet *call, struct tx_own *own, const char *text, unsigned n_fds)
{
	struct tx_claim claim = {.size = strlen(text), .n_fds = n_fds, .call = call};
	uint32_t overdraft;
	int r;

	list_init(&claim.link);
	memset(call, 0, sizeof *call);
	r = tx_charge(&mouth.tx, &a, &claim, &overdraft);
	tx_unclaim(&mouth.tx, &a, &claim);
	if (r < 0)
		return r;
	mouth_frame(own, &a, 0, text, strlen(text), fds, n_fds);
	mouth_call(own, call);
	return 0;
}

/* Makes a call whose whole request is written. */
static void make(struct inlet *call)
{
	struct tx_own own;

	require_int(ask(call, &own, "call", 0), 0);
	mouth_write_all(&mouth, &own);
	check(own.done);
	tx_complete(&mouth.tx, &a, false);
	mouth_forget(&mouth);
}

/* ---- The caller ------------------------------------------------------------------------------ */

static void test_a_call_takes_the_lowest_free_id(void)
{
	struct inlet calls[5];

	talk_begin();
	for (uint32_t i = 0; i < 4; i++) {
		make(&calls[i]);
		check_int(calls[i].id, i + 1);
	}
	tx_call_over(&mouth.tx, &calls[2]);
	tx_call_over(&mouth.tx, &calls[0]);
	make(&calls[4]);
	check_int(calls[4].id, 1);
	make(&calls[0]);
	check_int(calls[0].id, 3);
	make(&calls[2]);
	check_int(calls[2].id, 5);
	talk_end();
}

static void test_no_more_calls_are_made_than_the_other_side_takes(void)
{
	static struct inlet calls[100];
	struct limits peer = limits_base;
	struct tx_own own;

	talk_begin();
	for (int i = 0; i < 64; i++)
		make(&calls[i]);
	check_int(ask(&calls[64], &own, "one more", 0), -EAGAIN);
	mouth.changes = 0;
	tx_call_over(&mouth.tx, &calls[10]);
	check(mouth.changes > 0);
	make(&calls[64]);
	check_int(calls[64].id, 11);
	/* HELLO may raise the limit. */
	peer.calls = 70;
	check_int(mouth_hear_hello(&mouth, &peer), 0);
	for (int i = 65; i < 71; i++)
		make(&calls[i]);
	check_int(ask(&calls[71], &own, "one more", 0), -EAGAIN);
	talk_end();
}

static void test_a_call_without_memory_for_its_id_changes_nothing(void)
{
	struct inlet call;
	struct tx_own own;
	uint64_t used;

	talk_begin();
	used = a.used_bytes;
	fault_at(1, 0, false);
	check_int(ask(&call, &own, "call", 0), -ENOMEM);
	fault_off();
	check_int(a.used_bytes, used);
	check_int(mouth.tx.n_calls, 0);
	make(&call);
	check_int(call.id, 1);
	talk_end();
}

static void test_replies_come_only_to_a_call_whose_request_has_gone_to_its_end(void)
{
	struct inlet call;
	struct tx_own own;

	talk_begin();
	check(!tx_find_call(&mouth.tx, 0) && !tx_find_call(&mouth.tx, 1) && !tx_find_call(&mouth.tx, UINT32_MAX));
	check_int(ask(&call, &own, "call", 0), 0);
	check(!tx_find_call(&mouth.tx, 1));
	check(tx_batch(&mouth.tx, &own));
	/* The other side may answer before this side knows that the request was written. */
	check(tx_find_call(&mouth.tx, 1) == &call);
	/* From then on a failed write does not undo the call. */
	check(!tx_call_undone(&mouth.tx, &call));
	tx_call_over(&mouth.tx, &call);
	check(!tx_find_call(&mouth.tx, 1));
	check(!tx_call_undone(&mouth.tx, &call));
	talk_end();
}

static void test_a_request_in_several_frames_bears_its_call_in_each_and_in_its_abort(void)
{
	struct inlet call = {0};
	struct tx_claim claim = {.size = 8, .large = true, .call = &call};
	struct tx_own own;
	uint32_t overdraft;

	talk_begin();
	list_init(&claim.link);
	check_int(tx_charge(&mouth.tx, &a, &claim, &overdraft), 0);
	tx_unclaim(&mouth.tx, &a, &claim);
	mouth_first_frame(&own, &a, FRAME_MORE, 8, 0, "half", 4, NULL, 0);
	mouth_call(&own, &call);
	mouth_write_all(&mouth, &own);
	check(!tx_find_call(&mouth.tx, 1));
	tx_abort(&mouth.tx, &a);
	mouth_write_all(&mouth, NULL);
	check(tx_find_call(&mouth.tx, 1) == &call);
	check_string(heard(), "abort 1 1\n");
	talk_end();
}

static void test_a_reset_goes_behind_its_request(void)
{
	struct inlet call;
	struct tx_own own;

	talk_begin();
	check_int(ask(&call, &own, "call", 0), 0);
	tx_append(&mouth.tx, &own, NULL);
	tx_complete(&mouth.tx, &a, false);
	tx_reset_inlet(&mouth.tx, &call, RESET_DONE);
	tx_reset_inlet(&mouth.tx, &call, RESET_DONE);
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "data 1 call\nreset 1\n");
	/* No more credit is returned for the call. */
	tx_return(&mouth.tx, &call, 100, 0, 0);
	check(!tx_pending(&mouth.tx));
	talk_end();
}

static void test_what_is_owed_to_a_call_is_owed_no_more_when_it_has_ended(void)
{
	struct inlet call;

	talk_begin();
	make(&call);
	tx_return(&mouth.tx, &call, 100, 2, 0);
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "credit 1 100 2\n");
	check_int(call.granted_bytes, limits_base.topic_bytes + 100);
	mouth_forget(&mouth);
	tx_return(&mouth.tx, &call, 100, 2, 0);
	tx_call_over(&mouth.tx, &call);
	tx_return(&mouth.tx, &call, 100, 2, 0);
	tx_reset_inlet(&mouth.tx, &call, RESET_DONE);
	check(!tx_pending(&mouth.tx));
	talk_end();
}

static void test_a_call_is_undone_once(void)
{
	struct inlet call, next;
	struct tx_own own;

	talk_begin();
	check_int(ask(&call, &own, "call", 0), 0);
	check(tx_call_undone(&mouth.tx, &call));
	check(!tx_call_undone(&mouth.tx, &call));
	tx_uncharge(&mouth.tx, &a, 4, 0, 0);
	tx_complete(&mouth.tx, &a, false);
	make(&next);
	check_int(next.id, 1);
	/* The id belongs to another call now. */
	check(!tx_call_undone(&mouth.tx, &call));
	check(tx_find_call(&mouth.tx, 1) == &next);
	talk_end();
}

static void test_a_request_that_is_refused_in_the_buffer_is_told_to_its_caller(void)
{
	struct inlet call;
	struct tx_own own;

	talk_begin();
	check_int(ask(&call, &own, "call", 1), 0);
	tx_append(&mouth.tx, &own, fds);
	tx_complete(&mouth.tx, &a, false);
	refuse_first();
	check(list_take_first(&mouth.tx.unasked) == &call.due);
	check_int(call.error, -EPERM);
	/* The loss is not reported to the topic's next sender. */
	check(!a.losses.untold);
	check_int(a.losses.messages, 1);
	check_int(a.losses.first_error, -EPERM);
	check_int(mouth.tx.n_calls, 0);
	make(&call);
	check_int(call.id, 1);
	talk_end();
}

static void test_a_request_that_is_refused_though_it_was_answered_ends_with_its_last_reply(void)
{
	struct inlet call;
	struct tx_own own;

	talk_begin();
	check_int(ask(&call, &own, "call", 1), 0);
	tx_append(&mouth.tx, &own, fds);
	tx_complete(&mouth.tx, &a, false);
	/* The other side answers a request that it never received. */
	check(tx_find_call(&mouth.tx, 1) == &call);
	refuse_first();
	check(list_empty(&mouth.tx.unasked));
	check(tx_find_call(&mouth.tx, 1) == &call);
	check(a.losses.untold);
	tx_call_over(&mouth.tx, &call);
	check_int(mouth.tx.n_calls, 0);
	talk_end();
}

static void test_a_reset_of_a_call_waits_for_its_request_that_is_held(void)
{
	struct inlet call;
	struct tx_own own;

	talk_begin();
	check_int(ask(&call, &own, "call", 1), 0);
	tx_append(&mouth.tx, &own, fds);
	tx_complete(&mouth.tx, &a, false);
	check(tx_batch(&mouth.tx, NULL));
	check(tx_hold(&mouth.tx, NULL));
	tx_reset_inlet(&mouth.tx, &call, RESET_DONE);
	check(!tx_pending(&mouth.tx));
	check(!tx_batch(&mouth.tx, NULL));
	mouth.tx.held = false;
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "data 1 call claims 1 carries 1\nreset 1\n");
	talk_end();
}

/* ---- What arrives ---------------------------------------------------------------------------- */

static void say_reply(uint8_t flags, uint32_t call, const char *text)
{
	speech_frame(&speech, FRAME_REPLY, flags, 0, 0, call, text, strlen(text));
}

static void test_replies_arrive_until_the_last(void)
{
	struct inlet call, other;

	listen_begin();
	news();
	ear_ask(&ear, &call, 7);
	ear_ask(&ear, &other, 8);
	say_reply(0, 7, "a");
	say_reply(FRAME_END, 8, "b");
	say_reply(0, 7, "");
	say_reply(FRAME_END, 7, "c");
	check_string(events_sorted(news()),
		     "reply 7 more 0 1 - 61\nreply 7 more 0 0 - -\nreply 7 end 0 1 - 63\nreply 8 end 0 1 - 62\n");
	say_reply(FRAME_END, 7, "d");
	check_string(news(), "call-id");
	listen_end();
}

static void test_an_end_of_a_code_alone_costs_nothing_and_any_other_reply_does(void)
{
	struct inlet call;

	listen_begin();
	news();
	ear_ask(&ear, &call, 7);
	atomic_store(&call.granted_bytes, 0);
	speech_frame(&speech, FRAME_REPLY, FRAME_END | FRAME_ERROR, 0, 0, 7, "\0\0\0\1", 4);
	check_string(news(), "reply 7 error 1 0 - -\n");
	check_int(call.used_bytes, 0);
	ear_ask(&ear, &call, 7);
	atomic_store(&call.granted_bytes, 0);
	speech_frame(&speech, FRAME_REPLY, FRAME_END | FRAME_ERROR, 0, 0, 7, "\0\0\0\1!", 5);
	check_string(news(), "credit");
	listen_end();
}

static void test_goodbye_within_a_reply_is_a_breach(void)
{
	struct inlet call;

	listen_begin();
	news();
	ear_ask(&ear, &call, 7);
	speech_frame(&speech, FRAME_REPLY, FRAME_MORE | FRAME_SIZED, 0, 0, 7, "\0\0\0\4\0\0\0\0ab", 10);
	speech_frame(&speech, FRAME_GOODBYE, 0, 0, 0, 0, NULL, 0);
	check_string(news(), "goodbye");
	listen_end();
}

static void test_a_reply_that_ends_in_the_reserve_is_not_looked_at_when_its_call_has_been_let_go(void)
{
	int spent[2 * TX_FDS];
	struct outlet call;
	struct tx_own own;

	talk_begin();
	take(&call, 1);
	reply(&own, &call, "reply", FRAME_END, 0);
	mouth_write(&mouth, &own, 5);
	tx_leave(&mouth.tx, &own);
	check(own.done);
	tx_ended(&call);
	tx_complete(&mouth.tx, &call, false);
	check_int(mouth.n_released, 1);
	check_int(tx_drop(&mouth.tx, -ECONNRESET, spent), 0);
	check_int(mouth.tx.losses.messages, 1);
	/* The outlet belongs to its owner again, and is left alone. */
	check_int(call.losses.messages, 0);
	talk_end();
}

static const struct test tests[] = {
    TEST(test_a_call_takes_the_lowest_free_id),
    TEST(test_no_more_calls_are_made_than_the_other_side_takes),
    TEST(test_a_call_without_memory_for_its_id_changes_nothing),
    TEST(test_replies_come_only_to_a_call_whose_request_has_gone_to_its_end),
    TEST(test_a_request_in_several_frames_bears_its_call_in_each_and_in_its_abort),
    TEST(test_a_reset_goes_behind_its_request),
    TEST(test_what_is_owed_to_a_call_is_owed_no_more_when_it_has_ended),
    TEST(test_a_call_is_undone_once),
    TEST(test_a_request_that_is_refused_in_the_buffer_is_told_to_its_caller),
    TEST(test_a_request_that_is_refused_though_it_was_answered_ends_with_its_last_reply),
    TEST(test_a_reset_of_a_call_waits_for_its_request_that_is_held),
    TEST(test_replies_arrive_until_the_last),
    TEST(test_an_end_of_a_code_alone_costs_nothing_and_any_other_reply_does),
    TEST(test_goodbye_within_a_reply_is_a_breach),
    TEST(test_a_reply_that_ends_in_the_reserve_is_not_looked_at_when_its_call_has_been_let_go),
};
HARNESS_MAIN("session/call", tests)
