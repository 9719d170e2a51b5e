/* SPDX-License-Identifier: MIT */
/* The receiving half: memory, the life of ids, credit, calls, and frames that are not complete. */
#include <harness/fault.h>
#include <session/listen.h>

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

/* So much of one topic is no breach any more. */
static void grant_plenty(void)
{
	atomic_fetch_add(&ear_inlet(&ear, 1)->granted_bytes, CREDIT_MAX);
}

static void test_messages_that_are_kept_stay_as_they_were(void)
{
	enum { KEPT = 3000 };
	struct beam_message *message;

	listen_begin();
	listen_on();
	grant_plenty();
	ear.keep = true;
	/* More than fit into all chunks that may be pinned. */
	for (int i = 0; i < KEPT; i++) {
		char text[2000];

		memset(text, 'a' + i % 26, sizeof text - 1);
		text[sizeof text - 1] = 0;
		sprintf(text, "%d", i);
		text[strlen(text)] = ' ';
		speech_data(&speech, 1, text);
		if (i % 100 == 0)
			listen_on();
	}
	listen_on();
	check_int(ear.taken.n, KEPT);
	for (int i = 0; (message = message_queue_take(&ear.taken)); i++) {
		char number[16], expected[16];

		/* A payload has no end of string. */
		memcpy(number, message->data, 8);
		number[8] = 0;
		snprintf(expected, sizeof expected, "%d ", i);
		if (strncmp(number, expected, strlen(expected)) != 0 || message->size != 1999 ||
		    message->data[1998] != 'a' + i % 26)
			fail("message %d", i);
		ear_drop(&ear, message);
	}
	listen_end();
}

static void test_tiny_messages_that_are_kept_pin_a_bounded_memory(void)
{
	enum { KEPT = 100000 };
	size_t before, kept;

	if (!allocated_bytes())
		skip("memory is not counted here");
	listen_begin();
	listen_on();
	grant_plenty();
	ear.keep = true;
	before = allocated_bytes();
	for (int i = 0; i < KEPT; i++) {
		speech.size = hearing.at = 0;
		speech_data(&speech, 1, i % 2 ? "x" : "");
		listen_on();
		ear_forget(&ear);
	}
	kept = allocated_bytes() - before;
	/* Each costs 64 bytes of credit; what it takes may be a few times that. */
	check(kept < KEPT * 400 + (CHUNKS_MAX + 1) * 300000);
	check_int(ear.taken.n, KEPT);
	listen_end();
}

static void test_a_chunk_is_used_again_when_its_messages_are_gone(void)
{
	size_t before;

	listen_begin();
	listen_on();
	grant_plenty();
	before = allocated_bytes();
	for (int i = 0; i < 20000; i++) {
		speech.size = hearing.at = 0;
		speech_data(&speech, 1, "hello");
		listen_on();
		ear_forget(&ear);
	}
	check(allocated_bytes() - before < 1 << 20);
	listen_end();
}

static void test_no_memory_is_spent_on_a_message_for_which_there_is_no_credit(void)
{
	struct limits limits = limits_base;
	unsigned long calls;

	limits.message_bytes = CREDIT_MAX;
	listen_begin_with(&limits);
	listen_on();
	fault_only(FAULT_MEMORY);
	fault_at(1000000, 0, false);
	speech_sized(&speech, FRAME_MORE, 0, 1, 0, CREDIT_MAX, 1 << 20, "x");
	check_int(listen_on(), -EPROTO);
	calls = fault_calls();
	fault_off();
	check_string(ear_rule(&ear), "credit");
	check_int(calls, 0);
	listen_end();
}

static void test_memory_that_is_let_go_of_between_two_reads_is_not_missed(void)
{
	listen_begin();
	rx_trim(&ear.rx);
	news();
	rx_trim(&ear.rx);
	rx_trim(&ear.rx);
	speech_data(&speech, 1, "one");
	check_string(news(), "message 1 0 3 - 6f6e65\n");
	/* Not with a frame that is not complete. */
	speech_data(&speech, 1, "two");
	check_int(ear_read(&ear, &hearing, 10), 0);
	rx_trim(&ear.rx);
	check_string(news(), "message 1 0 3 - 74776f\n");
	listen_end();
}

static void test_a_message_that_finds_neither_place_nor_memory_ends_it(void)
{
#ifdef BEAM_NO_VIEWS
	enum { BEFORE = 0 };
#else
	enum { BEFORE = CHUNK_MESSAGES };
#endif

	listen_begin();
	news();
	ear.keep = true;
	/* One more than can look into one chunk. */
	for (int i = 0; i <= CHUNK_MESSAGES; i++)
		speech_data(&speech, 1, "");
	fault_only(FAULT(SYS_MALLOC));
	/* The chunk that all of them are read to is there already. */
	fault_at(1, 0, true);
	check_int(listen_on(), -ENOMEM);
	fault_off();
	check_int(ear.taken.n, BEFORE);
	listen_end();
}

static void test_what_came_whole_before_memory_failed_is_delivered(void)
{
	listen_begin();
	listen_on();
	ear_forget(&ear);
	speech_data(&speech, 1, "one");
	speech_data(&speech, 1, "two");
	speech_open(&speech, 2, "b");
	fault_only(FAULT(SYS_CALLOC));
	fault_at(1, 0, true);
	check_int(listen_on(), -ENOMEM);
	fault_off();
	check_string(ear_text(&ear), "message 1 0 3 - 6f6e65\nmessage 1 0 3 - 74776f\n");
	listen_end();
}

/* ---- Ids --------------------------------------------------------------------------------------------------------- */

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
		/* What was granted later is forgotten with it. */
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

/* ---- Credit ------------------------------------------------------------------------------------------------------ */

static void test_exactly_what_was_granted_may_be_used(void)
{
	listen_begin();
	news();
	speech_bulk(&speech, 1, 0, 65536 - 2 * MESSAGE_COST);
	speech_data(&speech, 1, "");
	check_int(listen_on(), 0);
	/* It counts as soon as it is written down, though CREDIT is still on its way. */
	atomic_fetch_add(&ear_inlet(&ear, 1)->granted_bytes, MESSAGE_COST + 3);
	speech_data(&speech, 1, "abc");
	check_int(listen_on(), 0);
	/* The pool: all of it, in one message, then in another not a byte. */
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

/* ---- Calls ------------------------------------------------------------------------------------------------------- */

static void test_a_call_is_in_use_until_its_end_has_gone(void)
{
	listen_begin();
	news();
	speech_frame(&speech, FRAME_DATA, 0, 0, 1, 64, "one", 3);
	check_string(news(), "message 1 64 3 - 6f6e65\n");
	/* CREDIT and RESET of calls that are free have crossed their END. */
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

/* ---- Frames that are not complete -------------------------------------------------------------------------------- */

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

/* ---- Attachments of the channel ---------------------------------------------------------------------------------- */

static void test_what_a_frame_carries_is_charged_whether_or_not_it_is_claimed(void)
{
	listen_begin();
	listen_on();
	speech_send_fds(&speech, 3, 0);
	speech_data(&speech, 1, "carries");
	check_int(listen_on(), 0);
	check_int(ear.rx.used_attachments, 3);
	check_int(ear.charged, 3);
	check_int(ear_inlet(&ear, 1)->used_attachments, 0);
	speech_send(&speech);
	speech_frame(&speech, FRAME_DATA, 0, 2, 1, 0, "x", 1);
	check_int(listen_on(), 0);
	check_int(ear.rx.used_attachments, 3);
	check_int(ear_inlet(&ear, 1)->used_attachments, 2);
	check_int(ear.charged, 1);
	listen_end();
}

static void test_what_was_lost_on_its_way_is_charged_and_settled(void)
{
	listen_begin();
	listen_on();
	speech_send_fds(&speech, 5, 3);
	speech_frame(&speech, FRAME_DATA, 0, 5, 1, 0, "x", 1);
	ear.keep = true;
	check_int(listen_on(), 0);
	check_int(ear.rx.used_attachments, 5);
	check_int(ear.charged, 2);
	check_int(ear.lost, 3);
	listen_end();
}

static void test_exactly_what_was_granted_to_the_channel_may_be_carried(void)
{
	struct limits limits = limits_base;

	limits.message_attachments = limits.topic_attachments = limits.attachments = 5;
	listen_begin_with(&limits);
	listen_on();
	speech_send_fds(&speech, 5, 0);
	speech_frame(&speech, FRAME_DATA, 0, 5, 1, 0, "x", 1);
	check_int(listen_on(), 0);
	atomic_fetch_add(&ear.granted_attachments, 2);
	atomic_fetch_add(&ear_inlet(&ear, 1)->granted_attachments, 5);
	speech_send_fds(&speech, 2, 0);
	speech_frame(&speech, FRAME_DATA, 0, 2, 1, 0, "y", 1);
	check_int(listen_on(), 0);
	speech_send_fds(&speech, 1, 0);
	speech_frame(&speech, FRAME_DATA, 0, 1, 1, 0, "z", 1);
	check_int(listen_on(), -EPROTO);
	check_string(ear_rule(&ear), "credit");
	listen_end();
}

static void test_descriptors_are_held_until_they_are_claimed_by_a_whole_message(void)
{
	listen_begin();
	listen_on();
	check(!rx_holds_descriptors(&ear.rx));
	speech_send_fds(&speech, 2, 0);
	speech_data(&speech, 1, "carries");
	listen_on();
	check(rx_holds_descriptors(&ear.rx));
	speech_send(&speech);
	speech_sized(&speech, FRAME_MORE, 2, 1, 0, 6, 0, "beg");
	listen_on();
	check(rx_holds_descriptors(&ear.rx));
	speech_data(&speech, 1, "ins");
	listen_on();
	check(!rx_holds_descriptors(&ear.rx));
	/* A message without any holds none. */
	speech_sized(&speech, FRAME_MORE, 0, 1, 0, 6, 0, "beg");
	listen_on();
	check(!rx_holds_descriptors(&ear.rx));
	speech_abort(&speech, 1, 0);
	/* A group whose carrier's header has not come whole. */
	speech_send_fds(&speech, 1, 0);
	speech_frame(&speech, FRAME_DATA, 0, 1, 1, 0, "x", 1);
	check_int(ear_read(&ear, &hearing, FRAME_HEADER), 0);
	check_int(ear_read(&ear, &hearing, FRAME_HEADER - 1), 0);
	check(rx_holds_descriptors(&ear.rx));
	listen_on();
	check(!rx_holds_descriptors(&ear.rx));
	listen_end();
}

static void test_a_message_given_up_holds_no_descriptors(void)
{
	listen_begin();
	listen_on();
	speech_send_fds(&speech, 2, 0);
	speech_sized(&speech, FRAME_MORE, 2, 1, 0, 6, 0, "beg");
	listen_on();
	check(rx_holds_descriptors(&ear.rx));
	speech_send(&speech);
	speech_abort(&speech, 1, 0);
	listen_on();
	check(!rx_holds_descriptors(&ear.rx));
	check_int(ear.charged, 0);
	listen_end();
}

static void test_what_nobody_will_claim_is_closed_at_the_end_of_reading(void)
{
	listen_begin();
	listen_on();
	speech_send_fds(&speech, 6, 1);
	speech_sized(&speech, FRAME_MORE, 2, 1, 0, 6, 0, "beg");
	listen_on();
	check_int(ear.charged, 5);
	rx_finish(&ear.rx);
	check_int(ear.charged, 0);
	for (int i = 1; i <= 5; i++)
		check_int(ear.seen_fds[i], 1);
	check_int(ear.rx.slot_low, ear.rx.slot_high);
	check(!ear_inlet(&ear, 1)->building);
	/* Again it finds nothing. */
	rx_finish(&ear.rx);
	listen_end();
}

static void test_a_group_that_no_frame_carried_yet_is_closed_at_the_end_of_reading(void)
{
	listen_begin();
	listen_on();
	speech_send_fds(&speech, 2, 0);
	speech_frame(&speech, FRAME_DATA, 0, 2, 1, 0, "x", 1);
	check_int(ear_read(&ear, &hearing, 3), 0);
	check_int(ear.charged, 0);
	rx_finish(&ear.rx);
	check_int(ear.seen_fds[1] + ear.seen_fds[2], 2);
	check(!rx_holds_descriptors(&ear.rx));
	listen_end();
}

static void test_a_call_that_is_unfinished_at_the_end_of_reading_is_dropped(void)
{
	listen_begin();
	listen_on();
	speech_sized(&speech, FRAME_MORE, 0, 1, 5, 6, 0, "beg");
	listen_on();
	check(ear.calls[5] && ear_inlet(&ear, 1)->building);
	rx_finish(&ear.rx);
	check(!ear_inlet(&ear, 1)->building);
	listen_end();
}

static void test_attachments_that_are_given_back_are_no_longer_granted(void)
{
	listen_begin();
	listen_on();
	ear_forget(&ear);
	speech_frame(&speech, FRAME_RETURN, 0, 0, 0, 60, NULL, 0);
	check_string(news(), "return 60\n");
	check_int(ear.granted_attachments, 4);
	speech_send_fds(&speech, 4, 0);
	speech_frame(&speech, FRAME_DATA, 0, 4, 1, 0, "x", 1);
	check_string(news(), "message 1 0 1 1,2,3,4 78\n");
	listen_end();
}

static void test_what_is_wanted_and_whether_anybody_is_there_is_told(void)
{
	listen_begin();
	listen_on();
	ear_forget(&ear);
	speech_frame(&speech, FRAME_WANT, 0, 0, 0, 0, NULL, 0);
	speech_frame(&speech, FRAME_WANT, 0, 0, 0, UINT32_MAX, NULL, 0);
	speech_frame(&speech, FRAME_PING, 0, 0, 0, PING_ASKS, NULL, 0);
	speech_frame(&speech, FRAME_PING, 0, 0, 0, PING_ANSWERS, NULL, 0);
	speech_frame(&speech, FRAME_PING, 0, 0, 0, UINT32_MAX, NULL, 0);
	check_string(news(), "want 0\nwant 4294967295\nping ask\nping answer\nping answer\n");
	listen_end();
}

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
    TEST(test_messages_that_are_kept_stay_as_they_were),
    TEST(test_tiny_messages_that_are_kept_pin_a_bounded_memory),
    TEST(test_a_chunk_is_used_again_when_its_messages_are_gone),
    TEST(test_no_memory_is_spent_on_a_message_for_which_there_is_no_credit),
    TEST(test_memory_that_is_let_go_of_between_two_reads_is_not_missed),
    TEST(test_a_message_that_finds_neither_place_nor_memory_ends_it),
    TEST(test_what_came_whole_before_memory_failed_is_delivered),
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
    TEST(test_what_a_frame_carries_is_charged_whether_or_not_it_is_claimed),
    TEST(test_what_was_lost_on_its_way_is_charged_and_settled),
    TEST(test_exactly_what_was_granted_to_the_channel_may_be_carried),
    TEST(test_descriptors_are_held_until_they_are_claimed_by_a_whole_message),
    TEST(test_a_message_given_up_holds_no_descriptors),
    TEST(test_what_nobody_will_claim_is_closed_at_the_end_of_reading),
    TEST(test_a_group_that_no_frame_carried_yet_is_closed_at_the_end_of_reading),
    TEST(test_a_call_that_is_unfinished_at_the_end_of_reading_is_dropped),
    TEST(test_attachments_that_are_given_back_are_no_longer_granted),
    TEST(test_what_is_wanted_and_whether_anybody_is_there_is_told),
    TEST(test_overdraft_is_told_from_other_credit),
    TEST(test_after_an_error_nothing_more_is_taken),
};
HARNESS_MAIN("rx_state", tests)
