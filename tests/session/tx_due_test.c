/* SPDX-License-Identifier: MIT */
/* The sending half: what is due besides messages, and how it is written. */
#include <session/talk.h>

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
	/* It counts before it is sent, because the peer may use it at once. */
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
	/* After RESET nothing more is sent for the topic. */
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
	/* Not before the request has arrived. */
	check(!tx_pending(&mouth.tx));
	tx_asked(&mouth.tx, &call);
	check_int(tx_open_replies(&mouth.tx, &another, 9), -EALREADY);
	check(tx_batch(&mouth.tx, NULL));
	/* The other side may use the id again as soon as it has read END. */
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

/* Makes as many resets due as fill the control of one batch. */
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
	/* The socket stays full, so nothing is written. */
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
	/* The frames of about 1,001 inlets, not a million. */
	check(mouth.said.size < 1100 * (FRAME_HEADER + 8));
	talk_end();
}

static const struct test tests[] = {
    TEST(test_credit_that_comes_due_adds_up_in_one_frame),
    TEST(test_what_was_granted_is_written_down_with_the_frame_that_says_so),
    TEST(test_a_reset_takes_the_place_of_its_topics_credit),
    TEST(test_nothing_given_back_is_nothing_due),
    TEST(test_a_call_gets_one_end),
    TEST(test_more_than_fits_goes_in_several_batches_and_none_is_forgotten),
    TEST(test_an_abort_and_a_goodbye_that_do_not_fit_go_with_the_next_batch),
    TEST(test_a_flood_of_causes_takes_no_memory),
};
HARNESS_MAIN("tx_due", tests)
