/* SPDX-License-Identifier: MIT */
/* The receiving half: reuse of ids, credit, calls, and frames that are not complete. */
#include <session/listen.h>

/* ---- Ids ------------------------------------------------------------------------------------- */

static void sent_reset(uint32_t id)
{
	atomic_store(&ear_inlet(&ear, id)->reset_sent, true);
}

static void test_an_id_may_be_used_again_after_both_ends(void)
{
	listen_begin();
	speech_data(&speech, 1, "old");
	speech_close(&speech, 1);
	listen_on();
	check_int(ear_inlet(&ear, 1)->state, INLET_CLOSED);
	sent_reset(1);
	ear_forget(&ear);
	speech_open(&speech, 1, "other");
	speech_data(&speech, 1, "new");
	check_string(news(), "open 1 other\nmessage 1 0 3 - 6e6577\n");
	/* RESET first, then CLOSE. */
	sent_reset(1);
	speech_data(&speech, 1, "more");
	speech_close(&speech, 1);
	speech_open(&speech, 1, "third");
	check_string(news(), "message 1 0 4 - 6d6f7265\nclosed 1\nopen 1 third\n");
	listen_end();
}

static void test_an_id_that_is_free_again_takes_nothing_until_it_is_opened(void)
{
	listen_begin();
	speech_close(&speech, 1);
	listen_on();
	sent_reset(1);
	ear_forget(&ear);
	speech_data(&speech, 1, "late");
	check_string(news(), "topic-id");
	listen_end();
}

static void test_a_name_may_be_open_again_as_soon_as_it_was_closed(void)
{
	listen_begin();
	speech_close(&speech, 1);
	speech_open(&speech, 2, "log");
	speech_close(&speech, 2);
	speech_open(&speech, 3, "log");
	check_string(strstr(news(), "closed"), "closed 1\nopen 2 log\nclosed 2\nopen 3 log\n");
	listen_end();
}

static void test_each_life_of_an_id_begins_with_a_fresh_window(void)
{
	listen_begin();
	news();
	for (int i = 0; i < 5; i++) {
		speech_bulk(&speech, 1, 0, 65536 - MESSAGE_COST);
		speech_close(&speech, 1);
		check(strncmp(news(), "message", 7) == 0);
		/* Credit that is granted later is forgotten with the id. */
		atomic_fetch_add(&ear_inlet(&ear, 1)->granted_bytes, 1000000);
		sent_reset(1);
		speech_open(&speech, 1, "again");
		check_string(news(), "open 1 again\n");
	}
	speech_bulk(&speech, 1, 0, 65536 - MESSAGE_COST + 1);
	check_string(news(), "credit");
	listen_end();
}

static void test_all_ids_and_names_may_be_open_at_once(void)
{
	listen_begin();
	for (uint32_t id = 2; id <= limits_base.topics; id++) {
		char name[8];

		sprintf(name, "%u", id * 7919 % 1000);
		speech_open(&speech, id, name);
	}
	check_int(listen_on(), 0);
	for (uint32_t id = 1; id <= limits_base.topics; id++)
		speech_close(&speech, id);
	check_int(listen_on(), 0);
	check(ear.rx.names == NULL);
	listen_end();
}

static void test_what_comes_after_ones_own_reset_obeys_all_rules(void)
{
	listen_begin();
	listen_on();
	sent_reset(1);
	ear_discard(&ear, 1);
	ear_forget(&ear);
	speech_bulk(&speech, 1, 0, 65536 - MESSAGE_COST);
	check_string(news(), "discard 1\n");
	speech_data(&speech, 1, "");
	check_string(news(), "credit");
	listen_end();
}

/* ---- Credit ---------------------------------------------------------------------------------- */

static void test_exactly_what_was_granted_may_be_used(void)
{
	listen_begin();
	news();
	speech_bulk(&speech, 1, 0, 65536 - 2 * MESSAGE_COST);
	speech_data(&speech, 1, "");
	check_int(listen_on(), 0);
	/* The grant counts before its CREDIT is written. */
	atomic_fetch_add(&ear_inlet(&ear, 1)->granted_bytes, MESSAGE_COST + 3);
	speech_data(&speech, 1, "abc");
	check_int(listen_on(), 0);
	/* All of the pool can be used in one message, and then not one byte more. */
	atomic_fetch_add(&ear_inlet(&ear, 1)->granted_bytes, 2);
	speech_sized(&speech, FRAME_MORE, 0, 1, 0, (1 << 20) - MESSAGE_COST + 1, 1 << 20, "x");
	speech_abort(&speech, 1, 0);
	check_int(listen_on(), 0);
	speech_sized(&speech, 0, 0, 1, 0, 1, MESSAGE_COST, "x");
	check_int(listen_on(), -EPROTO);
	check_string(ear_rule(&ear), "credit");
	listen_end();
}

static void test_sums_of_credit_pass_2_to_the_32_and_go_on(void)
{
	struct inlet *inlet;

	listen_begin();
	listen_on();
	inlet = ear_inlet(&ear, 1);
	inlet->used_bytes = ear.rx.used_pool = ((uint64_t)1 << 32) - 30;
	atomic_store(&inlet->granted_bytes, ((uint64_t)1 << 32) + 200);
	atomic_store(&ear.granted_pool, ((uint64_t)1 << 32) + 200);
	speech_sized(&speech, 0, 0, 1, 0, 0, 32, "");
	speech_sized(&speech, 0, 0, 1, 0, 0, 32, "");
	speech_data(&speech, 1, "");
	check_int(listen_on(), 0);
	check_int(ear.rx.used_pool, ((uint64_t)1 << 32) + 34);
	check_int(inlet->used_bytes, ((uint64_t)1 << 32) + 34 + MESSAGE_COST);
	speech_bulk(&speech, 1, 0, 200);
	check_int(listen_on(), -EPROTO);
	listen_end();
}

/* ---- Calls ----------------------------------------------------------------------------------- */

static void test_a_call_is_in_use_until_its_end_has_gone(void)
{
	listen_begin();
	news();
	speech_frame(&speech, FRAME_DATA, 0, 0, 1, 64, "one", 3);
	check_string(news(), "message 1 64 3 - 6f6e65\n");
	/* CREDIT and RESET for a call that is free have crossed its END. */
	speech_credit(&speech, 0, 64, 100, 1);
	speech_reset(&speech, 0, 64);
	speech_reset(&speech, 0, 64);
	speech_credit(&speech, 0, 63, 100, 1);
	speech_reset(&speech, 0, 1);
	check_string(news(), "credit 0 64 100 1\nreset-call 64\nreset-call 64\ncredit 0 63 100 1\n");
	ear_forget_call(&ear, 64);
	speech_frame(&speech, FRAME_DATA, 0, 0, 1, 64, "two", 3);
	check_string(news(), "message 1 64 3 - 74776f\n");
	speech_frame(&speech, FRAME_DATA, 0, 0, 1, 64, "three", 5);
	check_string(news(), "call-id");
	listen_end();
}

static void test_a_call_in_several_frames_is_in_use_from_the_first(void)
{
	listen_begin();
	speech_open(&speech, 2, "b");
	news();
	speech_sized(&speech, FRAME_MORE, 0, 1, 7, 4, 0, "ab");
	speech_frame(&speech, FRAME_DATA, 0, 0, 2, 8, "other", 5);
	check_string(news(), "message 2 8 5 - 6f74686572\n");
	speech_frame(&speech, FRAME_DATA, 0, 0, 1, 7, "cd", 2);
	check_string(news(), "message 1 7 4 - 61626364\n");
	speech_sized(&speech, FRAME_MORE, 0, 1, 9, 4, 0, "ab");
	speech_frame(&speech, FRAME_DATA, 0, 0, 2, 9, "same", 4);
	check_string(news(), "call-id");
	listen_end();
}

static void test_a_call_that_is_aborted_is_still_owed_its_end(void)
{
	listen_begin();
	news();
	speech_sized(&speech, FRAME_MORE, 0, 1, 7, 4, 0, "ab");
	speech_abort(&speech, 1, 7);
	check_string(news(), "abort 1 7\n");
	speech_frame(&speech, FRAME_DATA, 0, 0, 1, 7, "again", 5);
	check_string(news(), "call-id");
	listen_end();
}

/* ---- Frames that are not complete ------------------------------------------------------------ */

static void test_an_unfinished_frame_has_a_number_of_its_own_until_it_is_complete(void)
{
	uint64_t number;

	listen_begin();
	listen_on();
	check(!rx_unfinished(&ear.rx));
	number = rx_frame_number(&ear.rx);
	speech_data(&speech, 1, "x");
	speech_bulk(&speech, 1, 0, 10001);
	speech_data(&speech, 1, "y");
	for (size_t frames = 0, at = 0, ends[3] = {24, 24 + 16 + 10008, 24 + 16 + 10008 + 24}; at < ends[2]; at++) {
		if (at == ends[frames])
			frames++;
		ear_read(&ear, &hearing, 1);
		if (at + 1 == ends[frames]) {
			check(!rx_unfinished(&ear.rx));
		} else if (!rx_unfinished(&ear.rx) || rx_frame_number(&ear.rx) != number + frames) {
			fail("byte %zu: frame %llu, not %llu", at, (unsigned long long)rx_frame_number(&ear.rx),
			     (unsigned long long)(number + frames));
			break;
		}
	}
	listen_end();
}

/* ---- Overdraft, and errors ------------------------------------------------------------------- */

static void test_overdraft_is_told_from_other_credit(void)
{
	unsigned char payload[FRAME_CREDIT_BODY] = {0, 0, 0, 9};

	listen_begin();
	listen_on();
	ear_forget(&ear);
	speech_frame(&speech, FRAME_CREDIT, FRAME_OVERDRAFT, 0, 3, 0, payload, sizeof payload);
	speech_frame(&speech, FRAME_CREDIT, FRAME_OVERDRAFT, 0, 0, 4, payload, sizeof payload);
	speech_credit(&speech, 3, 0, 9, 0);
	check_string(news(), "overdraft 3 0 9\noverdraft 0 4 9\ncredit 3 0 9 0\n");
	listen_end();
}

static void test_after_an_error_nothing_more_is_taken(void)
{
	const int fd = SPEECH_FIRST_FD + 1000;
	struct rx_group group = {.n = 1, .fds = &fd};
	struct iovec iov[RX_IOV];

	listen_begin();
	news();
	speech_data(&speech, 1, "before");
	speech_hello(&speech, &limits_base);
	speech_data(&speech, 1, "after");
	check_int(listen_on(), -EPROTO);
	check_string(ear_text(&ear), "message 1 0 6 - 6265666f7265\n");
	check_int(rx_offer(&ear.rx, iov), -EPROTO);
	ear.came++;
	check_int(rx_took(&ear.rx, 10, &group), -EPROTO);
	check_int(ear.seen_fds[1000], 1);
	check_string(ear_text(&ear), "message 1 0 6 - 6265666f7265\n");
	listen_end();
}

static const struct test tests[] = {
    TEST(test_an_id_may_be_used_again_after_both_ends),
    TEST(test_an_id_that_is_free_again_takes_nothing_until_it_is_opened),
    TEST(test_a_name_may_be_open_again_as_soon_as_it_was_closed),
    TEST(test_each_life_of_an_id_begins_with_a_fresh_window),
    TEST(test_all_ids_and_names_may_be_open_at_once),
    TEST(test_what_comes_after_ones_own_reset_obeys_all_rules),
    TEST(test_exactly_what_was_granted_may_be_used),
    TEST(test_sums_of_credit_pass_2_to_the_32_and_go_on),
    TEST(test_a_call_is_in_use_until_its_end_has_gone),
    TEST(test_a_call_in_several_frames_is_in_use_from_the_first),
    TEST(test_a_call_that_is_aborted_is_still_owed_its_end),
    TEST(test_an_unfinished_frame_has_a_number_of_its_own_until_it_is_complete),
    TEST(test_overdraft_is_told_from_other_credit),
    TEST(test_after_an_error_nothing_more_is_taken),
};
HARNESS_MAIN("rx_state", tests)
