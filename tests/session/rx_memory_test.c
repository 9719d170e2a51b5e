/* SPDX-License-Identifier: MIT */
/* The receiving half: the memory that messages take, and what happens without it. */
#include <harness/fault.h>
#include <session/listen.h>

/* Grants topic 1 so much that messages do not exceed its credit. */
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

		/* The payload is not terminated. */
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
	/* Each costs 64 bytes of credit, and may take a few times as much memory. */
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
	/* The memory is not released while a frame is not complete. */
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
	/* One more than may be views of one chunk. */
	for (int i = 0; i <= CHUNK_MESSAGES; i++)
		speech_data(&speech, 1, "");
	fault_only(FAULT(SYS_MALLOC));
	/* The chunk that everything is read into has already been allocated. */
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

static const struct test tests[] = {
    TEST(test_messages_that_are_kept_stay_as_they_were),
    TEST(test_tiny_messages_that_are_kept_pin_a_bounded_memory),
    TEST(test_a_chunk_is_used_again_when_its_messages_are_gone),
    TEST(test_no_memory_is_spent_on_a_message_for_which_there_is_no_credit),
    TEST(test_memory_that_is_let_go_of_between_two_reads_is_not_missed),
    TEST(test_a_message_that_finds_neither_place_nor_memory_ends_it),
    TEST(test_what_came_whole_before_memory_failed_is_delivered),
};
HARNESS_MAIN("rx_memory", tests)
