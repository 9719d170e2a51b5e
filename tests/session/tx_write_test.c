/* SPDX-License-Identifier: MIT */
/* The sending half: short writes, at every length. */
#include <session/talk.h>

enum { SHORT_CREDIT = 24, SHORT_BUFFER = 2 * 24 };

static struct tx_own *short_write_batch(bool buffer_fds, bool own_fds)
{
	struct tx_own *own;

	talk_begin();
	tx_return_pool(&mouth.tx, 7);
	mouth_append(&mouth, &a, "first", fds, buffer_fds ? 2 : 0);
	mouth_append(&mouth, &b, "second", fds + 2, buffer_fds ? 1 : 0);
	own = own_frame(&b, "own", own_fds ? 1 : 0);
	check(tx_batch(&mouth.tx, own));
	check(own->batched);
	return own;
}

static const char *short_write_result(bool buffer_fds, bool own_fds, bool with_own)
{
	static char text[512];

	snprintf(text, sizeof text, "credit 0 0 7 0\nmessage 1 0 5 %s 6669727374\nmessage 2 0 6 %s 7365636f6e64\n",
		 buffer_fds ? "1,2" : "-", buffer_fds ? "3" : "-");
	if (with_own)
		sprintf(text + strlen(text), "message 2 0 3 %s 6f776e\n", own_fds ? (buffer_fds ? "4" : "1") : "-");
	return text;
}

static void short_writes(bool buffer_fds, bool own_fds, size_t first, size_t then)
{
	struct tx_own *own = short_write_batch(buffer_fds, own_fds);
	int n_fds = (buffer_fds ? 3 : 0) + (own_fds ? 1 : 0);

	harness_context("%d %d: %zu bytes, then %zu at a time", buffer_fds, own_fds, first, then);
	mouth_write(&mouth, own, first);
	while (mouth_write(&mouth, own, then))
		check_int(mouth.tx.batch.n_fds, 0);
	check(own->done);
	check_string(events_sorted(heard()), events_sorted(short_write_result(buffer_fds, own_fds, true)));
	check_int(mouth.n_spent, buffer_fds ? 3 : 0);
	check_int(mouth.said.next_fd - SPEECH_FIRST_FD - 1, n_fds);
	check(!tx_pending(&mouth.tx));
	talk_end();
}

static void test_a_batch_arrives_whole_after_a_short_write_at_every_length(void)
{
	for (int with = 0; with < 4; with++) {
		for (size_t first = 1; first < SHORT_CREDIT + SHORT_BUFFER + 24; first++) {
			short_writes(with & 1, with & 2, first, SIZE_MAX);
			short_writes(with & 1, with & 2, first, 1);
			short_writes(with & 1, with & 2, first, 7);
		}
	}
}

/*
 * The writer leaves after `first` bytes. Then the channel's thread goes on, or another writer with
 * a frame of its own.
 */
static void leave_after(bool buffer_fds, bool own_fds, size_t first, bool other)
{
	struct tx_own *own = short_write_batch(buffer_fds, own_fds), *next = NULL;
	bool begun = first > SHORT_CREDIT + SHORT_BUFFER || (own_fds && first);
	char expected[512];

	harness_context("%d %d: %zu bytes, then another %d", buffer_fds, own_fds, first, other);
	if (first)
		mouth_write(&mouth, own, first);
	check_int(own->begun, begun);
	tx_leave(&mouth.tx, own);
	check_int(own->done, begun);
	if (begun) {
		/* The frame's memory belongs to the writer again. */
		memset(own, 0xee, sizeof *own);
	} else {
		check(!own->batched);
	}
	strcpy(expected, short_write_result(buffer_fds, own_fds, begun));
	if (other) {
		next = own_frame(&b, "next", 1);
		sprintf(expected + strlen(expected), "message 2 0 4 %d 6e657874\n",
			(buffer_fds ? 3 : 0) + (begun && own_fds) + 1);
	}
	mouth_write_all(&mouth, next);
	check_string(events_sorted(heard()), events_sorted(expected));
	check_int(mouth.n_spent, buffer_fds ? 3 : 0);
	check(!tx_pending(&mouth.tx));
	talk_end();
}

static void test_a_writer_may_leave_after_a_short_write_at_every_length(void)
{
	for (int with = 0; with < 8; with++) {
		for (size_t first = 0; first < SHORT_CREDIT + SHORT_BUFFER + 24; first++)
			leave_after(with & 1, with & 2, first, with & 4);
	}
}

static void test_what_goes_to_the_reserve_may_be_as_large_as_a_frame(void)
{
	static unsigned char large[FRAME_BODY_MAX];
	struct tx_own own;

	talk_begin();
	memset(large, 'x', sizeof large);
	mouth_charge(&mouth, &a, 60000, 0);
	tx_return_pool(&mouth.tx, 1);
	mouth_frame(&own, &a, 0, large, 60000, NULL, 0);
	mouth_write(&mouth, &own, 24 + 1);
	tx_leave(&mouth.tx, &own);
	check(own.done);
	memset(large, 'y', sizeof large);
	for (size_t n = 1; mouth_write(&mouth, NULL, n); n *= 2)
		;
	check_int(mouth.said.size, 24 + FRAME_HEADER + 60000);
	check(!memchr(mouth.said.bytes + 24 + FRAME_HEADER, 'y', 60000));
	talk_end();
}

/* Puts a message into the buffer that is too large to go in one piece with the writer's frame. */
static void append_bulk(struct outlet *outlet)
{
	static const unsigned char bulk[7000];
	struct tx_own frame;

	mouth_charge(&mouth, outlet, sizeof bulk, 0);
	mouth_frame(&frame, outlet, 0, bulk, sizeof bulk, NULL, 0);
	require(tx_append_fits(&mouth.tx, &frame));
	tx_append(&mouth.tx, &frame, NULL);
}

/*
 * The frame goes after this many batches, each of which leaves the buffer filled again, and before
 * what was appended later.
 */
static void make_way(uint64_t after, unsigned batches)
{
	static const unsigned char bulk[30000];
	struct tx_own own;

	harness_context("after %u", (unsigned)after);
	talk_begin();
	mouth_charge(&mouth, &b, sizeof bulk, 0);
	mouth_frame(&own, &b, 0, bulk, sizeof bulk, NULL, 0);
	own.undivided = true;
	own.after = mouth.tx.drained + after;
	for (unsigned i = 0; i < batches; i++) {
		append_bulk(&a);
		check(tx_batch(&mouth.tx, &own));
		check(!own.batched && own.made_way);
		mouth_write(&mouth, &own, SIZE_MAX);
	}
	append_bulk(&a);
	append_bulk(&b);
	check(tx_batch(&mouth.tx, &own));
	check(own.batched);
	check_int(mouth.tx.batch.left, 0);
	mouth_write(&mouth, &own, SIZE_MAX);
	check(own.done);
	mouth_write_all(&mouth, NULL);
	talk_end();
}

static void test_a_frame_that_must_not_be_divided_makes_way_for_the_buffer_once(void)
{
	make_way(0, 1);
	make_way(1, 1);
	/* What its topic has in the buffer goes before it. */
	make_way(2, 2);
}

static void test_having_made_way_it_still_goes_with_what_is_before_it_if_both_fit(void)
{
	struct tx_own *own;

	talk_begin();
	mouth_append(&mouth, &b, "first", NULL, 0);
	own = own_frame(&b, "own", 0);
	own->undivided = own->made_way = true;
	own->after = mouth.tx.drained + 1;
	mouth_write_all(&mouth, own);
	check(own->done);
	check_string(heard(), "message 2 0 5 - 6669727374\nmessage 2 0 3 - 6f776e\n");
	talk_end();
}

/*
 * Whole messages that go in one write, with a descriptor each. Once a byte has been sent, all
 * descriptors have been, so all messages must follow.
 */
static void leave_run(size_t n)
{
	static unsigned char bytes[512];
	unsigned char *end = bytes;
	struct tx_own own;

	harness_context("%zu bytes", n);
	talk_begin();
	for (unsigned i = 0; i < 3; i++) {
		mouth_charge(&mouth, &a, 4, 1);
		mouth_frame(&own, &a, 0, "word", 4, fds + i, 1);
		end = tx_own_put(&own, end);
	}
	own = (struct tx_own){.outlet = &a,
			      .parts = {{bytes, (size_t)(end - bytes)}},
			      .n_parts = 1,
			      .payload = (size_t)(end - bytes),
			      .fds = fds,
			      .n_fds = 3,
			      .n_messages = 3};
	if (n)
		mouth_write(&mouth, &own, n);
	tx_leave(&mouth.tx, &own);
	check_int(own.done, n > 0);
	memset(bytes, 0xee, sizeof bytes);
	if (n == 1) {
		int spent[2 * TX_FDS];

		check_int(tx_drop(&mouth.tx, -ECONNRESET, spent), 0);
		check_int(a.losses.messages, 3);
	} else {
		mouth_write_all(&mouth, NULL);
		check_string(heard(),
			     n ? "message 1 0 4 1 776f7264\nmessage 1 0 4 2 776f7264\nmessage 1 0 4 3 776f7264\n" : "");
	}
	talk_end();
}

static void test_messages_that_go_as_one_all_go_once_one_has_begun(void)
{
	for (size_t n = 0; n < 3 * 24; n++)
		leave_run(n);
}

/* A message in three frames that go in one write, after a message with a descriptor. */
static struct tx_own *three_frames(void)
{
	static struct tx_own own;

	talk_begin();
	mouth_append(&mouth, &b, "first", fds, 1);
	mouth_charge_large(&mouth, &a, 9, 0);
	mouth_first_frame(&own, &a, FRAME_MORE, 9, 0, "abcd", 4, NULL, 0);
	for (unsigned i = 0; i < 2; i++) {
		struct tx_more *more = &own.more[own.n_more++];

		more->part = (struct iovec){(void *)(uintptr_t)(i ? "i" : "efgh"), i ? 1 : 4};
		more->padding = frame_padding(more->part.iov_len);
		frame_encode(more->head, FRAME_DATA, i ? 0 : FRAME_MORE, 0, a.id, 0, more->part.iov_len);
	}
	own.n_messages = 1;
	return &own;
}

enum { THREE_BEFORE = 24, THREE_FIRST = 16 + 8 + 8, THREE_MORE = 24 };

/*
 * The writer leaves after `n` bytes, when 0 to 3 of its frames have begun. It goes on later, or
 * aborts the message.
 */
static void leave_three_frames(size_t n, bool goes_on)
{
	struct tx_own *own = three_frames();
	size_t own_n = n > THREE_BEFORE ? n - THREE_BEFORE : 0;
	unsigned begun = !own_n ? 0 : own_n <= THREE_FIRST ? 1 : own_n <= THREE_FIRST + THREE_MORE ? 2 : 3;

	harness_context("%zu bytes, then it goes on: %d", n, goes_on);
	if (n)
		mouth_write(&mouth, own, n);
	tx_leave(&mouth.tx, own);
	check_int(own->done, begun == 3);
	check_int(own->sent_some, begun == 1 || begun == 2);
	check(own->done || !own->batched);
	if (!own->done && goes_on)
		mouth_write_all(&mouth, own);
	if (begun == 3 || goes_on)
		tx_complete(&mouth.tx, &a, true);
	else if (begun)
		tx_abort(&mouth.tx, &a);
	else
		tx_complete(&mouth.tx, &a, true);
	mouth_write_all(&mouth, NULL);
	check_string(heard(), begun == 3 || goes_on ? "message 2 0 5 1 6669727374\nmessage 1 0 9 - 616263646566676869\n"
			      : begun               ? "message 2 0 5 1 6669727374\nabort 1 0\n"
						    : "message 2 0 5 1 6669727374\n");
	check(!tx_pending(&mouth.tx));
	talk_end();
}

/* The writer abandons its message after `n` bytes. Its payload can no longer be read. */
static void abandon_after(size_t n)
{
	struct tx_own *own = three_frames();
	bool begun = n > THREE_BEFORE;

	harness_context("%zu bytes", n);
	/* Without the last frame, which could not be completed with zeros. */
	own->n_more = 1;
	own->n_messages = 0;
	if (n)
		mouth_write(&mouth, own, n);
	check(tx_abandon(&mouth.tx, own));
	check_int(own->sent_some, begun);
	if (begun)
		tx_abort(&mouth.tx, &a);
	else
		tx_complete(&mouth.tx, &a, true);
	mouth_write_all(&mouth, NULL);
	/* The payload of the first frame is "abcd", after the header and the sizes. */
	check(!memchr(mouth.said.bytes, 'd', mouth.said.size) == (n < THREE_BEFORE + 24 + 4));
	check_string(heard(), begun ? "message 2 0 5 1 6669727374\nabort 1 0\n" : "message 2 0 5 1 6669727374\n");
	check(!tx_pending(&mouth.tx));
	talk_end();
}

static void test_a_message_may_be_abandoned_after_a_short_write_at_every_length(void)
{
	for (size_t n = 0; n < THREE_BEFORE + THREE_FIRST + THREE_MORE; n++)
		abandon_after(n);
	harness_context("%s", "");
}

static void test_a_writer_may_leave_after_any_of_its_frames(void)
{
	for (size_t n = 0; n < THREE_BEFORE + THREE_FIRST + 2 * THREE_MORE; n++) {
		leave_three_frames(n, false);
		leave_three_frames(n, true);
	}
}

static void test_a_frame_in_many_pieces_arrives_whole_at_every_length(void)
{
	for (size_t piece = 1; piece <= 300; piece += piece < 80 ? 1 : 37) {
		static const char text[] = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl";
		struct tx_own own;

		talk_begin();
		mouth_charge(&mouth, &a, TX_OWN_PARTS, 0);
		mouth_frame(&own, &a, 0, text, TX_OWN_PARTS, NULL, 0);
		for (unsigned i = 0; i < TX_OWN_PARTS; i++)
			own.parts[i] = (struct iovec){(void *)(uintptr_t)(text + i), 1};
		own.n_parts = TX_OWN_PARTS;
		tx_return_pool(&mouth.tx, 1);
		mouth_append(&mouth, &b, "x", NULL, 0);
		while (mouth_write(&mouth, &own, piece))
			;
		check(own.done);
		check_string(strstr(mouth_text(&mouth), "data 2"), "data 2 x\ndata 1 (64)\n");
		check_bytes(mouth.said.bytes + 2 * 24 + FRAME_HEADER, text, TX_OWN_PARTS);
		talk_end();
	}
}

static const struct test tests[] = {
    TEST(test_a_frame_that_must_not_be_divided_makes_way_for_the_buffer_once),
    TEST(test_having_made_way_it_still_goes_with_what_is_before_it_if_both_fit),
    TEST(test_a_batch_arrives_whole_after_a_short_write_at_every_length),
    TEST(test_a_writer_may_leave_after_a_short_write_at_every_length),
    TEST(test_what_goes_to_the_reserve_may_be_as_large_as_a_frame),
    TEST(test_a_writer_may_leave_after_any_of_its_frames),
    TEST(test_a_message_may_be_abandoned_after_a_short_write_at_every_length),
    TEST(test_messages_that_go_as_one_all_go_once_one_has_begun),
    TEST(test_a_frame_in_many_pieces_arrives_whole_at_every_length),
};
HARNESS_MAIN("tx_write", tests)
