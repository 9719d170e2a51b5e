/* SPDX-License-Identifier: MIT */
/*
 * The sending half: HELLO, and the order of frames. Writing is in tx_write_test.c, which frame
 * carries descriptors in tx_carrier_test.c, credit in tx_charge_test.c.
 */
#include <session/talk.h>

/* HELLO */

static void test_hello_goes_first_and_alone(void)
{
	struct tx_own *own;

	mouth_init(&mouth);
	check(tx_pending(&mouth.tx));
	tx_open(&mouth.tx, &a, "a", 1);
	mouth_append(&mouth, &a, "one", NULL, 0);
	own = own_frame(&a, "two", 0);
	mouth_write(&mouth, own, SIZE_MAX);
	check_int(mouth.said.size, HELLO_FRAME);
	check(!own->batched);
	mouth_write_all(&mouth, own);
	check(own->done);
	check_string(mouth_text(&mouth) + strcspn(mouth_text(&mouth), "\n"), "\nopen 1 a\ndata 1 one\ndata 1 two\n");
	check(!tx_pending(&mouth.tx));
	mouth_end(&mouth);
}

static void test_hello_says_what_this_side_accepts(void)
{
	const struct limits limits = {65, 66, 1 << 21, 18, 1 << 17, 20, 1 << 22, 70};
	struct hello hello;

	mouth_init_with(&mouth, &limits);
	mouth_write_all(&mouth, NULL);
	check_int(mouth.said.size, HELLO_FRAME);
	check_string(hello_decode(&hello, mouth.said.bytes + FRAME_HEADER, HELLO_PAYLOAD), NULL);
	check_int(hello.version, PROTOCOL_VERSION);
	check_int(hello.features, 0);
	check_bytes(&hello.limits, &limits, sizeof limits);
	mouth_end(&mouth);
}

static void test_hello_in_pieces_is_still_hello_and_nothing_goes_between(void)
{
	for (size_t piece = 1; piece < HELLO_FRAME; piece++) {
		struct tx_own *own;
		struct hello hello;

		mouth_init(&mouth);
		tx_open(&mouth.tx, &a, "a", 1);
		own = own_frame(&a, "x", 0);
		while (mouth.said.size < HELLO_FRAME)
			mouth_write(&mouth, own, piece);
		check_string(hello_decode(&hello, mouth.said.bytes + FRAME_HEADER, HELLO_PAYLOAD), NULL);
		mouth_write_all(&mouth, own);
		check_string(strstr(mouth_text(&mouth), "open"), "open 1 a\ndata 1 x\n");
		mouth_end(&mouth);
	}
}

/* Order */

static void test_control_goes_before_data_and_open_before_the_first_message(void)
{
	struct tx_own *own;
	struct outlet c;

	talk_begin();
	mouth_append(&mouth, &a, "buffered", NULL, 0);
	tx_return_pool(&mouth.tx, 5);
	tx_open(&mouth.tx, &c, "c", 1);
	own = own_frame(&c, "own", 0);
	mouth_write(&mouth, own, SIZE_MAX);
	check_string(mouth_text(&mouth), "open 3 c\ncredit 0 5 0\ndata 1 buffered\ndata 3 own\n");
	talk_end();
}

static void test_all_that_is_due_goes_at_once_if_it_fits(void)
{
	struct outlet call;
	struct inlet inlet = {.id = 5}, other = {.id = 6};
	struct outlet c, d;

	talk_begin();
	check_int(tx_open_replies(&mouth.tx, &call, 9), 0);
	tx_asked(&mouth.tx, &call);
	list_init(&inlet.due);
	list_init(&other.due);
	tx_open(&mouth.tx, &c, "c", 1);
	tx_open(&mouth.tx, &d, "d", 1);
	tx_close(&mouth.tx, &a);
	tx_close(&mouth.tx, &b);
	tx_return(&mouth.tx, &inlet, 1, 0, 0);
	tx_reset_inlet(&mouth.tx, &other, RESET_UNWANTED);
	tx_return_pool(&mouth.tx, 2);
	tx_end_call(&mouth.tx, &call, REPLY_DROPPED);
	mouth_write(&mouth, NULL, SIZE_MAX);
	check_string(mouth_text(&mouth),
		     "credit 0 2 0\ncredit 5 1 0\nreset 6 unwanted\nopen 3 c\nopen 4 d\nclose 1\nclose 2\n"
		     "reply 9 end 1\n");
	check(!tx_pending(&mouth.tx));
	talk_end();
}

static void test_each_batch_and_each_buffer_has_a_number_to_wait_for(void)
{
	uint64_t batch, buffer;

	talk_begin();
	mouth_append(&mouth, &a, "x", NULL, 0);
	buffer = a.buffered;
	check(mouth.tx.drained < buffer);
	check(tx_batch(&mouth.tx, NULL));
	batch = mouth.tx.batch.number;
	mouth_write(&mouth, NULL, 5);
	check(tx_batch(&mouth.tx, NULL));
	check_int(mouth.tx.batch.number, batch);
	check(mouth.tx.drained < buffer);
	mouth_write(&mouth, NULL, SIZE_MAX);
	check_int(mouth.tx.drained, buffer);
	mouth_append(&mouth, &a, "y", NULL, 0);
	check(a.buffered > buffer);
	check(tx_batch(&mouth.tx, NULL));
	check_int(mouth.tx.batch.number, batch + 1);
	talk_end();
}

static void test_a_frame_in_the_buffer_brings_the_open_of_its_topic(void)
{
	struct outlet c;

	mouth_init(&mouth);
	mouth_write(&mouth, NULL, 1);
	tx_open(&mouth.tx, &c, "topic", 5);
	mouth_append(&mouth, &c, "one", NULL, 0);
	check(!c.open_due);
	mouth_write_all(&mouth, NULL);
	check_string(strstr(mouth_text(&mouth), "open"), "open 1 topic\ndata 1 one\n");
	check(!tx_pending(&mouth.tx));
	mouth_end(&mouth);
}

static void test_close_goes_behind_the_data_of_its_topic_and_waits_for_no_other(void)
{
	talk_begin();
	mouth_append(&mouth, &a, "one", NULL, 0);
	check(tx_batch(&mouth.tx, NULL));
	mouth_append(&mouth, &a, "two", NULL, 0);
	check(!tx_close(&mouth.tx, &a));
	check(!tx_close(&mouth.tx, &b));
	mouth_write(&mouth, NULL, SIZE_MAX);
	mouth_write(&mouth, NULL, SIZE_MAX);
	check_string(mouth_text(&mouth), "data 1 one\nclose 2\ndata 1 two\n");
	check(tx_pending(&mouth.tx));
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "data 1 one\nclose 2\ndata 1 two\nclose 1\n");
	check(!tx_pending(&mouth.tx));
	talk_end();
}

static void test_close_waits_until_a_message_of_several_frames_is_whole(void)
{
	struct tx_own own;

	talk_begin();
	mouth_charge_large(&mouth, &a, 2, 0);
	mouth_first_frame(&own, &a, FRAME_MORE, 2, 0, "x", 1, NULL, 0);
	mouth_write_all(&mouth, &own);
	tx_close(&mouth.tx, &a);
	check(!tx_batch(&mouth.tx, NULL));
	mouth_frame(&own, &a, 0, "y", 1, NULL, 0);
	mouth_write_all(&mouth, &own);
	check(!tx_pending(&mouth.tx));
	tx_complete(&mouth.tx, &a, true);
	mouth_write_all(&mouth, NULL);
	check_string(heard(), "message 1 0 2 - 7879\nclosed 1\n");
	talk_end();
}

static void test_abort_goes_behind_the_frames_of_its_message_and_close_behind_it(void)
{
	struct tx_own own;

	talk_begin();
	mouth_charge_large(&mouth, &a, 4, 0);
	mouth_first_frame(&own, &a, FRAME_MORE, 4, 0, "w", 1, NULL, 0);
	mouth_write_all(&mouth, &own);
	mouth_append(&mouth, &b, "other", NULL, 0);
	check(tx_batch(&mouth.tx, NULL));
	mouth_frame(&own, &a, FRAME_MORE, "x", 1, NULL, 0);
	tx_append(&mouth.tx, &own, NULL);
	tx_close(&mouth.tx, &a);
	tx_abort(&mouth.tx, &a);
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "data 1 more 4/0 w\ndata 2 other\ndata 1 more x\ndata 1 abort\nclose 1\n");
	check_int(mouth.tx.n_busy, 0);
	talk_end();
}

static void test_the_topic_is_busy_until_abort_is_in_a_batch(void)
{
	struct tx_claim claim = {.size = 1};
	struct tx_own own;
	uint32_t overdraft;

	talk_begin();
	mouth_charge_large(&mouth, &a, 2, 0);
	mouth_first_frame(&own, &a, FRAME_MORE, 2, 0, "x", 1, NULL, 0);
	mouth_write_all(&mouth, &own);
	tx_abort(&mouth.tx, &a);
	list_init(&claim.link);
	check_int(tx_charge(&mouth.tx, &a, &claim, &overdraft), -EAGAIN);
	mouth.wakes = 0;
	mouth_write_all(&mouth, NULL);
	check(mouth.wakes > 0);
	check_int(tx_charge(&mouth.tx, &a, &claim, &overdraft), 0);
	tx_unclaim(&mouth.tx, &a, &claim);
	talk_end();
}

static void test_goodbye_is_the_very_last(void)
{
	struct tx_own own;
	struct inlet inlet = {.id = 9};

	talk_begin();
	list_init(&inlet.due);
	mouth_charge_large(&mouth, &a, 2, 0);
	mouth_first_frame(&own, &a, FRAME_MORE, 2, 0, "x", 1, NULL, 0);
	mouth_write_all(&mouth, &own);
	mouth.tx.goodbye_due = true;
	mouth_append(&mouth, &b, "accepted", NULL, 0);
	tx_close(&mouth.tx, &b);
	mouth_write_all(&mouth, NULL);
	check(!mouth.tx.goodbye_sent);
	tx_abort(&mouth.tx, &a);
	tx_return(&mouth.tx, &inlet, 1, 0, 0);
	check(tx_pending(&mouth.tx));
	mouth_write_all(&mouth, NULL);
	check(mouth.tx.goodbye_sent);
	check_string(mouth_text(&mouth),
		     "data 1 more 2/0 x\ndata 2 accepted\nclose 2\ncredit 9 1 0\ndata 1 abort\ngoodbye 0\n");
	/* What becomes due from now on is never sent. */
	tx_return(&mouth.tx, &inlet, 1, 0, 0);
	tx_return_pool(&mouth.tx, 1);
	tx_settled(&mouth.tx, 1);
	tx_close(&mouth.tx, &a);
	check(!tx_pending(&mouth.tx));
	check(!tx_batch(&mouth.tx, NULL));
	talk_end();
}

static void test_no_frame_follows_goodbye(void)
{
	struct tx_own *own;

	talk_begin();
	own = own_frame(&a, "x", 0);
	mouth.tx.goodbye_due = true;
	mouth_write(&mouth, own, SIZE_MAX);
	mouth_write(&mouth, own, SIZE_MAX);
	check_string(strstr(mouth_text(&mouth), "goodbye"), "goodbye 0\n");
	talk_end();
}

static void test_no_frame_follows_its_topics_close(void)
{
	struct tx_own *own;

	talk_begin();
	own = own_frame(&a, "x", 0);
	tx_close(&mouth.tx, &a);
	mouth_write(&mouth, own, SIZE_MAX);
	mouth_write(&mouth, own, SIZE_MAX);
	check_string(strstr(mouth_text(&mouth), "close"), "close 1\n");
	talk_end();
}

static void test_a_writers_frame_goes_behind_those_of_its_topic_in_the_buffer(void)
{
	struct tx_own *own;

	talk_begin();
	mouth_append(&mouth, &a, "one", NULL, 0);
	check(tx_batch(&mouth.tx, NULL));
	mouth_append(&mouth, &a, "two", NULL, 0);
	own = own_frame(&a, "three", 0);
	/* The batch was made before this frame. */
	mouth_write(&mouth, own, SIZE_MAX);
	check(!own->batched);
	mouth_write(&mouth, own, SIZE_MAX);
	check(own->done);
	check_string(mouth_text(&mouth), "data 1 one\ndata 1 two\ndata 1 three\n");
	talk_end();
}

static void test_both_buffers_are_written_in_the_order_they_were_filled(void)
{
	char expected[4096] = "";

	talk_begin();
	for (int i = 0; i < 60; i++) {
		char text[8];

		sprintf(text, "%d", i);
		mouth_append(&mouth, i % 3 ? &a : &b, text, NULL, 0);
		sprintf(expected + strlen(expected), "data %d %d\n", i % 3 ? 1 : 2, i);
		if (i % 7 == 0)
			mouth_write(&mouth, NULL, 11);
	}
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), expected);
	talk_end();
}

static void test_what_does_not_fit_into_the_buffer_is_not_put_there(void)
{
	static const char big[MOUTH_BUFFER];
	struct tx_own own;

	talk_begin();
	mouth_frame(&own, &a, 0, big, MOUTH_BUFFER - FRAME_HEADER, NULL, 0);
	check(tx_append_fits(&mouth.tx, &own));
	mouth_frame(&own, &a, 0, big, MOUTH_BUFFER - FRAME_HEADER + 1, NULL, 0);
	check(!tx_append_fits(&mouth.tx, &own));
	mouth_frame(&own, &a, 0, big, 1000, NULL, 0);
	for (int i = 0; i < 16; i++) {
		check(tx_append_fits(&mouth.tx, &own));
		tx_append(&mouth.tx, &own, NULL);
	}
	check(!tx_append_fits(&mouth.tx, &own));
	/* There is room again when the buffers are swapped. */
	mouth.rooms = 0;
	check(tx_batch(&mouth.tx, NULL));
	check_int(mouth.rooms, 1);
	check(tx_append_fits(&mouth.tx, &own));
	talk_end();
}

static void test_an_open_that_goes_along_needs_room_too(void)
{
	static const char big[MOUTH_BUFFER];
	struct outlet c;
	struct tx_own own;

	talk_begin();
	tx_open(&mouth.tx, &c, "name", 4);
	mouth_frame(&own, &c, 0, big, MOUTH_BUFFER - FRAME_HEADER, NULL, 0);
	check(!tx_append_fits(&mouth.tx, &own));
	mouth_frame(&own, &c, 0, big, MOUTH_BUFFER - FRAME_HEADER - 32, NULL, 0);
	check(tx_append_fits(&mouth.tx, &own));
	tx_append(&mouth.tx, &own, NULL);
	check(mouth.tx.fill->size <= MOUTH_BUFFER);
	talk_end();
}

static void test_a_name_is_not_opened_again_before_its_close_has_gone(void)
{
	struct outlet again;
	struct tx_own *own;

	talk_begin();
	mouth_append(&mouth, &a, "x", NULL, 0);
	tx_close(&mouth.tx, &a);
	tx_open(&mouth.tx, &again, "a", 1);
	mouth_write_all(&mouth, NULL);
	check_string(heard(), "message 1 0 1 - 78\nclosed 1\nopen 3 a\n");
	talk_end();

	/* The buffer is empty, but there is a frame of the new topic. */
	talk_begin();
	tx_close(&mouth.tx, &a);
	tx_open(&mouth.tx, &again, "a", 1);
	check_int(again.id, 0);
	mouth_write(&mouth, NULL, SIZE_MAX);
	check_int(again.id, 3);
	own = own_frame(&again, "y", 0);
	mouth_write_all(&mouth, own);
	check_string(heard(), "closed 1\nopen 3 a\nmessage 3 0 1 - 79\n");
	talk_end();
}

static const struct test tests[] = {
    TEST(test_hello_goes_first_and_alone),
    TEST(test_hello_says_what_this_side_accepts),
    TEST(test_hello_in_pieces_is_still_hello_and_nothing_goes_between),
    TEST(test_control_goes_before_data_and_open_before_the_first_message),
    TEST(test_all_that_is_due_goes_at_once_if_it_fits),
    TEST(test_each_batch_and_each_buffer_has_a_number_to_wait_for),
    TEST(test_a_frame_in_the_buffer_brings_the_open_of_its_topic),
    TEST(test_close_goes_behind_the_data_of_its_topic_and_waits_for_no_other),
    TEST(test_close_waits_until_a_message_of_several_frames_is_whole),
    TEST(test_abort_goes_behind_the_frames_of_its_message_and_close_behind_it),
    TEST(test_the_topic_is_busy_until_abort_is_in_a_batch),
    TEST(test_goodbye_is_the_very_last),
    TEST(test_no_frame_follows_goodbye),
    TEST(test_no_frame_follows_its_topics_close),
    TEST(test_a_writers_frame_goes_behind_those_of_its_topic_in_the_buffer),
    TEST(test_both_buffers_are_written_in_the_order_they_were_filled),
    TEST(test_what_does_not_fit_into_the_buffer_is_not_put_there),
    TEST(test_an_open_that_goes_along_needs_room_too),
    TEST(test_a_name_is_not_opened_again_before_its_close_has_gone),
};
HARNESS_MAIN("tx", tests)
