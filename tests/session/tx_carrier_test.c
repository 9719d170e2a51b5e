/* SPDX-License-Identifier: MIT */
/* The sending half: which frame carries the descriptors of a batch, and how many it may carry. */
#include <session/talk.h>

static void test_the_first_frame_of_a_batch_carries_for_all(void)
{
	struct tx_own *own;

	talk_begin();
	mouth_append(&mouth, &a, "plain", NULL, 0);
	mouth_append(&mouth, &b, "two", fds, 2);
	mouth_append(&mouth, &a, "one", fds + 2, 1);
	own = own_frame(&b, "three", 3);
	tx_return_pool(&mouth.tx, 1);
	mouth_write_all(&mouth, own);
	check_string(
	    mouth_text(&mouth),
	    "credit 0 1 0 carries 6\ndata 1 plain\ndata 2 two claims 2\ndata 1 one claims 1\ndata 2 three claims 3\n");
	check_bytes(mouth.fds, ((const int[]){10, 11, 12, 10, 11, 12}), 6 * sizeof(int));
	/* The buffer's descriptors were duplicates. The writer's are its own. */
	check_int(mouth.n_spent, 3);
	check_bytes(mouth.spent, fds, 3 * sizeof(int));
	check_string(events_sorted(heard()),
		     events_sorted("credit 0 0 1 0\nmessage 1 0 5 - 706c61696e\nmessage 2 0 3 1,2 74776f\n"
				   "message 1 0 3 3 6f6e65\nmessage 2 0 5 4,5,6 7468726565\n"));
	talk_end();
}

static void test_the_number_carried_may_change_until_a_byte_went_and_never_after(void)
{
	struct tx_own *own;

	talk_begin();
	mouth_append(&mouth, &a, "x", fds, 2);
	own = own_frame(&b, "y", 1);
	check(tx_batch(&mouth.tx, own));
	check_string(mouth_batch_text(&mouth), "data 1 x claims 2 carries 3\ndata 2 y claims 1\n");
	tx_leave(&mouth.tx, own);
	check_string(mouth_batch_text(&mouth), "data 1 x claims 2 carries 2\n");
	check_int(mouth.tx.batch.n_fds, 2);
	check_int(mouth_write(&mouth, NULL, 1), 1);
	check_int(mouth.tx.batch.n_fds, 0);
	mouth_append(&mouth, &b, "z", fds, 3);
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "data 1 x claims 2 carries 2\ndata 2 z claims 3 carries 3\n");
	talk_end();
}

static void test_a_frame_that_left_its_batch_carries_nothing_any_more(void)
{
	struct tx_own *own;

	talk_begin();
	own = own_frame(&a, "x", 1);
	check(tx_batch(&mouth.tx, own));
	check_string(mouth_batch_text(&mouth), "data 1 x claims 1 carries 1\n");
	/*
	 * The socket was full, so the frame is put into the buffer. Meanwhile, control becomes due
	 * before it.
	 */
	tx_leave(&mouth.tx, own);
	check(!own->batched);
	tx_append(&mouth.tx, own, fds);
	tx_return_pool(&mouth.tx, 1);
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "credit 0 1 0 carries 1\ndata 1 x claims 1\n");
	check_string(heard(), "credit 0 0 1 0\nmessage 1 0 1 1 78\n");
	talk_end();
}

static void test_a_batch_carries_as_many_as_one_sendmsg_may(void)
{
	static const int many[FRAME_CARRIED_MAX];
	struct limits limits = limits_base;
	struct tx_own own;

	/* Three quarters are reserved, so this side is granted many. */
	limits.topic_attachments = limits.attachments = 4000;
	limits.message_attachments = FRAME_CARRIED_MAX;
	mouth_init_after_hello(&mouth);
	check_int(mouth_hear_hello(&mouth, &limits), 0);
	mouth_open(&mouth, &a, "a");
	mouth_open(&mouth, &b, "b");
	for (int i = 0; i < 5; i++)
		mouth_append(&mouth, &a, "x", many, 50);
	mouth_frame(&own, &a, 0, "y", 1, many, 1);
	check(!tx_append_fits(&mouth.tx, &own));
	/* 250 descriptors and three of the writer's fit, but not four. */
	mouth_charge(&mouth, &b, 1, 4);
	mouth_frame(&own, &b, 0, "y", 1, many, 4);
	check(tx_batch(&mouth.tx, &own));
	check_int(mouth.tx.batch.n_fds, 250);
	check(!own.batched);
	tx_leave(&mouth.tx, &own);
	mouth_write_all(&mouth, &own);
	check(own.done);
	for (int i = 0; i < 5; i++)
		mouth_append(&mouth, &a, "x", many, 50);
	mouth_frame(&own, &b, 0, "y", 1, many, 3);
	check(tx_batch(&mouth.tx, &own));
	check_int(mouth.tx.batch.n_fds, FRAME_CARRIED_MAX);
	check(own.batched);
	talk_end();
}

static void test_a_message_may_have_as_many_as_one_sendmsg_may(void)
{
	static const int many[FRAME_CARRIED_MAX];
	struct limits limits = limits_base;
	struct tx_own own;

	limits.topic_attachments = limits.attachments = limits.message_attachments = FRAME_CARRIED_MAX;
	mouth_init_after_hello(&mouth);
	check_int(mouth_hear_hello(&mouth, &limits), 0);
	mouth_open(&mouth, &a, "a");
	mouth_charge(&mouth, &a, 0, FRAME_CARRIED_MAX);
	mouth_frame(&own, &a, 0, NULL, 0, many, FRAME_CARRIED_MAX);
	mouth_write_all(&mouth, &own);
	check_string(mouth_text(&mouth), "data 1 claims 253 carries 253\n");
	talk_end();
}

static const struct test tests[] = {
    TEST(test_the_first_frame_of_a_batch_carries_for_all),
    TEST(test_the_number_carried_may_change_until_a_byte_went_and_never_after),
    TEST(test_a_frame_that_left_its_batch_carries_nothing_any_more),
    TEST(test_a_batch_carries_as_many_as_one_sendmsg_may),
    TEST(test_a_message_may_have_as_many_as_one_sendmsg_may),
};
HARNESS_MAIN("tx_carrier", tests)
