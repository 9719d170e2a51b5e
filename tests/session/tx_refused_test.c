/* SPDX-License-Identifier: MIT */
/* The sending half: descriptors that are refused or held, and a connection that breaks. */
#include <session/talk.h>

/* Refused descriptors */

/*
 * Writes like a kernel that refuses the descriptor `bad`. Duplicates of dropped frames go to
 * mouth.spent.
 */
static void write_refusing(struct tx_own *own, int bad, bool *ret_own)
{
	for (;;) {
		struct tx_batch *batch = &mouth.tx.batch;
		bool refused = false;
		int spent[TX_FDS];
		unsigned n;

		if (!tx_batch(&mouth.tx, own))
			return;
		for (unsigned i = 0; i < batch->n_fds; i++)
			refused |= batch->fds[i] == bad;
		if (!refused) {
			mouth_write(&mouth, own, SIZE_MAX);
			continue;
		}
		if (tx_refused(&mouth.tx, own, -EBADF, spent, &n)) {
			*ret_own = true;
			return;
		}
		memcpy(mouth.spent + mouth.n_spent, spent, n * sizeof *spent);
		mouth.n_spent += n;
	}
}

static void test_a_refused_descriptor_drops_its_own_frame_only(void)
{
	/* Five frames with and without descriptors. Each descriptor in turn is the bad one. */
	static const unsigned counts[] = {1, 0, 2, 1, 0};
	bool by_own = false;

	for (int bad = 0; bad < 4; bad++) {
		char expected[512] = "";
		int fd = 10, number = 1;

		harness_context("bad %d", bad);
		talk_begin();
		for (int i = 0; i < 5; i++) {
			char text[2] = {(char)('a' + i), 0};
			bool drops = 10 + bad >= fd && 10 + bad < fd + (int)counts[i];

			mouth_append(&mouth, i % 2 ? &b : &a, text, fds + (fd - 10), counts[i]);
			fd += (int)counts[i];
			if (drops)
				continue;
			sprintf(expected + strlen(expected), "message %d 0 1 ", i % 2 ? 2 : 1);
			for (unsigned k = 0; k < counts[i]; k++)
				sprintf(expected + strlen(expected), k ? ",%d" : "%d", number++);
			sprintf(expected + strlen(expected), "%s %02x\n", counts[i] ? "" : "-", text[0]);
		}
		tx_return_pool(&mouth.tx, 7);
		strcat(expected, "credit 0 0 7 0\n");
		write_refusing(NULL, 10 + bad, &by_own);
		check_string(events_sorted(heard()), events_sorted(expected));
		/* All duplicates are given up, including those of the dropped frame. */
		check_int(mouth.n_spent, 4);
		check_int(mouth.tx.losses.messages, 1);
		check_int(mouth.tx.losses.first_error, -EBADF);
		check(mouth.tx.losses.untold);
		check_int(a.losses.messages + b.losses.messages, 1);
		check_int((a.losses.messages ? &a : &b)->losses.last_error, -EBADF);
		check((a.losses.messages ? &a : &b)->losses.untold);
		check(!(a.losses.messages ? &b : &a)->losses.untold);
		check_int(a.used_bytes + b.used_bytes, 4 * (MESSAGE_COST + 1));
		check(!mouth.tx.careful);
		check(!tx_pending(&mouth.tx));
		talk_end();
	}
	check(!by_own);
}

static void test_all_descriptors_refused_leave_the_plain_frames(void)
{
	struct tx_own *own;
	bool by_own = false;

	talk_begin();
	mouth_append(&mouth, &a, "a", fds, 1);
	mouth_append(&mouth, &a, "b", fds, 1);
	mouth_append(&mouth, &b, "c", NULL, 0);
	mouth_append(&mouth, &b, "d", fds, 1);
	own = own_frame(&a, "e", 0);
	write_refusing(own, 10, &by_own);
	check(own->done);
	check_string(mouth_text(&mouth), "data 2 c\ndata 1 e\n");
	check_int(mouth.tx.losses.messages, 3);
	check_int(a.losses.messages, 2);
	check_int(mouth.tx.attachments.used, 0);
	check(!by_own);
	talk_end();
}

static void test_the_writers_own_refused_descriptor_is_told_to_it(void)
{
	struct tx_own *own;
	bool by_own = false;

	talk_begin();
	tx_return_pool(&mouth.tx, 7);
	mouth_append(&mouth, &a, "a", fds + 1, 1);
	mouth_append(&mouth, &b, "b", NULL, 0);
	own = own_frame(&b, "own", 1);
	write_refusing(own, 10, &by_own);
	check(by_own);
	check(!own->batched && !own->done);
	tx_uncharge(&mouth.tx, &b, 3, 1, 0);
	tx_complete(&mouth.tx, &b, false);
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "credit 0 7 0 carries 1\ndata 1 a claims 1\ndata 2 b\n");
	check_int(mouth.tx.losses.messages, 0);
	talk_end();
}

static void test_a_message_in_progress_is_not_disturbed_when_another_of_its_topic_is_dropped(void)
{
	struct tx_claim claim = {.size = 1};
	struct tx_own own;
	uint32_t overdraft;
	bool by_own = false;

	talk_begin();
	mouth_append(&mouth, &a, "bad", fds, 1);
	mouth_charge_large(&mouth, &a, 2, 0);
	mouth_first_frame(&own, &a, FRAME_MORE, 2, 0, "x", 1, NULL, 0);
	tx_append(&mouth.tx, &own, NULL);
	write_refusing(NULL, 10, &by_own);
	list_init(&claim.link);
	check_int(tx_charge(&mouth.tx, &a, &claim, &overdraft), -EAGAIN);
	tx_unclaim(&mouth.tx, &a, &claim);
	mouth_frame(&own, &a, 0, "y", 1, NULL, 0);
	mouth_write_all(&mouth, &own);
	tx_complete(&mouth.tx, &a, true);
	check_string(heard(), "message 1 0 2 - 7879\n");
	check_int(mouth.tx.n_busy, 0);
	talk_end();
}

/* Held descriptors */

static void test_what_has_no_descriptors_goes_round_what_is_held(void)
{
	struct tx_own *own;

	talk_begin();
	mouth_append(&mouth, &a, "plain", NULL, 0);
	mouth_append(&mouth, &a, "held", fds, 1);
	mouth_append(&mouth, &b, "behind", NULL, 0);
	check(tx_batch(&mouth.tx, NULL));
	check(tx_hold(&mouth.tx, NULL));
	/* What comes before it can be sent at once. */
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "data 1 plain\n");
	check(!tx_pending(&mouth.tx));

	/* So can control, and frames of topics that have nothing in the buffer. */
	struct outlet c;

	tx_return_pool(&mouth.tx, 7);
	tx_open(&mouth.tx, &c, "c", 1);
	check(tx_pending(&mouth.tx));
	own = own_frame(&c, "round", 0);
	mouth_write_all(&mouth, own);
	check(own->done);
	check_string(mouth_text(&mouth), "data 1 plain\nopen 3 c\ncredit 0 7 0\ndata 3 round\n");

	/* Frames of other topics cannot, nor can frames with descriptors, nor CLOSE. */
	own = own_frame(&b, "waits", 0);
	tx_close(&mouth.tx, &a);
	check(!tx_batch(&mouth.tx, own));
	check(!own->batched);
	own = own_frame(&c, "waits", 1);
	check(!tx_batch(&mouth.tx, own));
	tx_leave(&mouth.tx, own);
	check(!tx_pending(&mouth.tx));

	mouth_forget(&mouth);
	mouth.tx.held = false;
	check(tx_pending(&mouth.tx));
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "data 1 held claims 1 carries 1\ndata 2 behind\nclose 1\n");
	talk_end();
}

static void test_a_frame_that_was_held_carries_nothing_behind_another(void)
{
	talk_begin();
	mouth_append(&mouth, &a, "x", fds, 1);
	check(tx_batch(&mouth.tx, NULL));
	check(tx_hold(&mouth.tx, NULL));
	check(!tx_batch(&mouth.tx, NULL));
	mouth.tx.held = false;
	tx_return_pool(&mouth.tx, 1);
	mouth_write_all(&mouth, NULL);
	check_string(heard(), "credit 0 0 1 0\nmessage 1 0 1 1 78\n");
	talk_end();
}

static void test_a_writers_own_descriptors_hold_nobody_but_it(void)
{
	struct tx_own *own;

	talk_begin();
	tx_return_pool(&mouth.tx, 7);
	mouth_append(&mouth, &b, "plain", NULL, 0);
	own = own_frame(&a, "x", 1);
	check(tx_batch(&mouth.tx, own));
	check(!tx_hold(&mouth.tx, own));
	check(!own->batched);
	check(!mouth.tx.held);
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "credit 0 7 0\ndata 2 plain\n");
	mouth_write_all(&mouth, own);
	check_string(heard(), "credit 0 0 7 0\nmessage 2 0 5 - 706c61696e\nmessage 1 0 1 1 78\n");
	talk_end();
}

static void test_a_hold_does_not_touch_a_batch_that_has_begun(void)
{
	for (size_t first = 1; first < 3 * 24; first++) {
		struct tx_own *own;

		harness_context("%zu bytes", first);
		talk_begin();
		mouth_append(&mouth, &a, "x", fds, 1);
		mouth_append(&mouth, &a, "y", NULL, 0);
		own = own_frame(&b, "z", 1);
		check_int(mouth_write(&mouth, own, first), first);
		check(!tx_hold(&mouth.tx, own));
		check(own->batched);
		mouth_write_all(&mouth, own);
		check(own->done);
		check_string(heard(), "message 1 0 1 1 78\nmessage 1 0 1 - 79\nmessage 2 0 1 2 7a\n");
		talk_end();
	}
}

static void test_goodbye_waits_for_what_is_held(void)
{
	talk_begin();
	mouth_append(&mouth, &a, "x", fds, 1);
	check(tx_batch(&mouth.tx, NULL));
	check(tx_hold(&mouth.tx, NULL));
	mouth.tx.goodbye_due = true;
	check(!tx_batch(&mouth.tx, NULL));
	mouth.tx.held = false;
	mouth_write_all(&mouth, NULL);
	check_string(mouth_text(&mouth), "data 1 x claims 1 carries 1\ngoodbye 0\n");
	talk_end();
}

/* The connection breaks */

static void test_what_was_accepted_and_will_not_go_is_counted_and_its_duplicates_given_up(void)
{
	for (size_t first = 0; first <= 2 * 24; first++) {
		int spent[2 * TX_FDS];
		unsigned n;

		harness_context("%zu bytes", first);
		talk_begin();
		mouth_append(&mouth, &a, "one", fds, 1);
		mouth_append(&mouth, &b, "two", fds + 1, 2);
		check(tx_batch(&mouth.tx, NULL));
		mouth_append(&mouth, &a, "three", fds + 3, 3);
		if (first)
			mouth_write(&mouth, NULL, first);
		n = tx_drop(&mouth.tx, -ECONNRESET, spent);
		check_int(mouth.n_spent + n, 6);
		/* A batch that was not written whole counts as lost. */
		check_int(mouth.tx.losses.messages, first < 2 * 24 ? 3 : 1);
		check_int(mouth.tx.losses.first_error, -ECONNRESET);
		/* The error of the connection already reports this loss. */
		check(!mouth.tx.losses.untold && !a.losses.untold);
		check_int(a.losses.messages, first < 2 * 24 ? 2 : 1);
		check_int(b.losses.messages, first < 2 * 24 ? 1 : 0);
		check(!mouth.tx.batch.active);
		talk_end();
	}
}

static void test_duplicates_that_went_are_not_given_up_twice(void)
{
	int spent[2 * TX_FDS];
	unsigned n;

	talk_begin();
	mouth_append(&mouth, &a, "one", fds, 2);
	mouth_append(&mouth, &b, "two", fds + 2, 3);
	/*
	 * One of them is refused, so they are written frame by frame. The connection breaks within
	 * the first frame.
	 */
	check(tx_batch(&mouth.tx, NULL));
	check(!tx_refused(&mouth.tx, NULL, -EBADF, spent, &n));
	check_int(n, 0);
	check_int(mouth.tx.batch.n_fds, 2);
	check_int(mouth_write(&mouth, NULL, 1), 1);
	check_int(mouth.n_spent, 2);
	check_bytes(mouth.spent, fds, 2 * sizeof(int));
	check_int(tx_drop(&mouth.tx, -ECONNRESET, spent), 3);
	check_bytes(spent, fds + 2, 3 * sizeof(int));
	check_int(mouth.tx.losses.messages, 2);
	talk_end();
}

static void test_a_message_that_ends_in_the_reserve_is_counted_too(void)
{
	for (int more = 0; more < 2; more++) {
		int spent[2 * TX_FDS];
		struct tx_own own;

		harness_context("%d more", more);
		talk_begin();
		mouth_charge(&mouth, &a, 8, 0);
		mouth_frame(&own, &a, more ? FRAME_MORE | FRAME_SIZED : 0, "it is eight bytes", 8, NULL, 0);
		mouth_write(&mouth, &own, 5);
		tx_leave(&mouth.tx, &own);
		check(own.done);
		check_int(tx_drop(&mouth.tx, -ECONNRESET, spent), 0);
		check_int(mouth.tx.losses.messages, more ? 0 : 1);
		check_int(a.losses.messages, more ? 0 : 1);
		talk_end();
	}
}

static void test_a_refused_descriptor_is_found_in_a_buffer_that_is_used_again(void)
{
	bool by_own = false;

	talk_begin();
	for (int i = 0; i < 2; i++) {
		mouth_append(&mouth, &a, "before", fds, 1);
		mouth_write_all(&mouth, NULL);
	}
	mouth_append(&mouth, &a, "refused", fds, 1);
	mouth_append(&mouth, &a, "last", fds + 1, 1);
	mouth_forget(&mouth);
	write_refusing(NULL, fds[0], &by_own);
	check(!by_own);
	check_int(mouth.n_spent, 2);
	check_int(mouth.spent[0], fds[0]);
	check_int(mouth.spent[1], fds[1]);
	check_int(mouth.tx.losses.messages, 1);
	talk_end();
}

static void test_a_goodbye_that_did_not_go_was_not_said(void)
{
	for (size_t first = 0; first <= FRAME_HEADER; first++) {
		int spent[2 * TX_FDS];

		harness_context("%zu bytes", first);
		talk_begin();
		mouth.tx.goodbye_due = true;
		check(tx_batch(&mouth.tx, NULL));
		if (first)
			mouth_write(&mouth, NULL, first);
		check_int(tx_drop(&mouth.tx, -ECONNRESET, spent), 0);
		check_int(mouth.tx.goodbye_sent, first == FRAME_HEADER);
		talk_end();
	}
}

static const struct test tests[] = {
    TEST(test_a_refused_descriptor_drops_its_own_frame_only),
    TEST(test_all_descriptors_refused_leave_the_plain_frames),
    TEST(test_the_writers_own_refused_descriptor_is_told_to_it),
    TEST(test_a_message_in_progress_is_not_disturbed_when_another_of_its_topic_is_dropped),
    TEST(test_what_has_no_descriptors_goes_round_what_is_held),
    TEST(test_a_frame_that_was_held_carries_nothing_behind_another),
    TEST(test_a_writers_own_descriptors_hold_nobody_but_it),
    TEST(test_a_hold_does_not_touch_a_batch_that_has_begun),
    TEST(test_goodbye_waits_for_what_is_held),
    TEST(test_what_was_accepted_and_will_not_go_is_counted_and_its_duplicates_given_up),
    TEST(test_duplicates_that_went_are_not_given_up_twice),
    TEST(test_a_message_that_ends_in_the_reserve_is_counted_too),
    TEST(test_a_refused_descriptor_is_found_in_a_buffer_that_is_used_again),
    TEST(test_a_goodbye_that_did_not_go_was_not_said),
};
HARNESS_MAIN("tx_refused", tests)
