/* SPDX-License-Identifier: MIT */
/*
 * The receiving half: the events do not depend on how the stream is read, and descriptors reach the
 * messages that claim them. Ids, credit and calls are in rx_state_test.c, memory in
 * rx_memory_test.c, the channel's attachments in rx_attachments_test.c, the rules that a peer can
 * break in rx_breach_test.c.
 */
#include <harness/fault.h>
#include <session/listen.h>

/* ---- Read in every way ----------------------------------------------------------------------- */

/* Everything that a peer may send, in a short form. */
static void say_all_kinds(void)
{
	speech_init(&speech);
	speech_begin(&speech);
	speech_data(&speech, 1, "hello");
	speech_data(&speech, 1, "");
	speech_open(&speech, 2, "b");
	speech_sized(&speech, FRAME_MORE, 0, 2, 0, 6, 0, "ab");
	speech_credit(&speech, 0, 0, 5, 6);
	speech_frame(&speech, FRAME_DATA, FRAME_MORE, 0, 2, 0, "c", 1);
	speech_sized(&speech, 0, 0, 1, 0, 3, 7, "xyz");
	speech_frame(&speech, FRAME_DATA, 0, 0, 2, 0, "def", 3);
	speech_sized(&speech, FRAME_MORE, 0, 1, 0, 60, 0, "never");
	speech_abort(&speech, 1, 0);
	speech_frame(&speech, FRAME_DATA, 0, 0, 1, 9, "call", 4);
	speech_reset(&speech, 1, RESET_UNWANTED);
	speech_close(&speech, 2);
	speech_goodbye(&speech);
}

/* Descriptors in every place where they are allowed. */
static void say_descriptors(void)
{
	speech_init(&speech);
	speech_begin(&speech);
	speech_send_fds(&speech, 3, 0);
	speech_frame(&speech, FRAME_DATA, 0, 2, 1, 0, "two", 3);
	speech_frame(&speech, FRAME_DATA, 0, 1, 1, 0, "one", 3);
	speech_send(&speech);
	speech_data(&speech, 1, "plain");
	/* Directly behind it, so that one read may receive both. */
	speech_send_fds(&speech, 2, 0);
	speech_credit(&speech, 0, 0, 1, 1);
	speech_frame(&speech, FRAME_DATA, 0, 1, 1, 0, "", 0);
	speech_send(&speech);
	speech_frame(&speech, FRAME_DATA, 0, 1, 1, 0, "later", 5);
	speech_send_fds(&speech, 2, 1);
	speech_frame(&speech, FRAME_DATA, 0, 2, 1, 0, "x", 1);
	speech_send_fds(&speech, 1, 1);
	speech_frame(&speech, FRAME_DATA, 0, 1, 1, 0, "y", 1);
}

/*
 * Short writes, some of them within headers: the rest is written in another sendmsg, and the next
 * descriptors follow.
 */
static void say_short_writes(void)
{
	struct speech whole;
	unsigned char frames[3][24];

	speech_init(&whole);
	for (int i = 0; i < 3; i++) {
		size_t at = speech_frame(&whole, FRAME_DATA, 0, 1, 1, 0, "x", 1);

		frame_set_carried(whole.bytes + at, 1);
		memcpy(frames[i], whole.bytes + at, sizeof frames[i]);
	}
	speech_end(&whole);
	speech_init(&speech);
	speech_begin(&speech);
	speech_send_fds(&speech, 1, 0);
	speech_put(&speech, frames[0], 3);
	speech_send(&speech);
	speech_put(&speech, frames[0] + 3, 21);
	speech_send_fds(&speech, 1, 0);
	speech_put(&speech, frames[1], 17);
	speech_send(&speech);
	speech_put(&speech, frames[1] + 17, 7);
	speech_send_fds(&speech, 1, 0);
	speech_put(&speech, frames[2], 24);
}

static char *text_of(size_t first, size_t second, size_t then)
{
	struct hearing at = {.speech = &speech};
	char *text;
	int r;

	require_int(ear_init(&ear, &limits_base), 0);
	r = ear_read(&ear, &at, first);
	if (!r)
		r = ear_read(&ear, &at, second);
	while (!r)
		r = ear_read(&ear, &at, then);
	check_int(r, 1);
	check(!rx_unfinished(&ear.rx));
	text = strdup(events_sorted(ear_text(&ear)));
	require(text != NULL);
	ear_end(&ear);
	return text;
}

static void in_every_way(void (*say)(void))
{
	char *whole;

	say();
	whole = text_of(SIZE_MAX, SIZE_MAX, SIZE_MAX);
	/* Cut at every pair of bytes, and into pieces of every size. */
	for (size_t first = 1; first < speech.size; first++) {
		for (size_t second = 1; first + second <= speech.size;
		     second += under_valgrind() || under_sanitizer() ? 13 : 1) {
			char *text = text_of(first, second, first == 1 ? second : SIZE_MAX);

			if (strcmp(text, whole) != 0) {
				fail("%zu bytes, then %zu: %s", first, second, text);
				free(text);
				break;
			}
			free(text);
		}
	}
	free(whole);
	speech_end(&speech);
}

static void test_all_kinds_of_frames_are_heard(void)
{
	say_all_kinds();
	require_int(ear_init(&ear, &limits_base), 0);
	require_int(ear_listen(&ear, &speech, SIZE_MAX), 0);
	check_string(
	    events_sorted(ear_text(&ear)),
	    events_sorted(
		"hello 1 0 64 64 1048576 16 65536 16 1048576 64\nopen 1 log\nopen 2 b\ncredit 0 0 5 6\nabort 1 0\n"
		"reset 1 1\nmessage 2 0 6 - 616263646566\nclosed 2\nmessage 1 0 5 - 68656c6c6f\nmessage 1 0 0 - -\n"
		"message 1 0 3 - 78797a\nmessage 1 9 4 - 63616c6c\ngoodbye\n"));
	ear_end(&ear);
	speech_end(&speech);
}

static void test_all_kinds_of_frames_are_heard_the_same_cut_at_any_two_bytes(void)
{
	in_every_way(say_all_kinds);
}

static void test_descriptors_reach_their_messages_cut_at_any_two_bytes(void)
{
	say_descriptors();
	require_int(ear_init(&ear, &limits_base), 0);
	require_int(ear_listen(&ear, &speech, SIZE_MAX), 0);
	check_string(strstr(ear_text(&ear), "message"),
		     "message 1 0 3 1,2 74776f\nmessage 1 0 3 3 6f6e65\ncredit 0 0 1 1\n"
		     "message 1 0 5 - 706c61696e\nmessage 1 0 0 4 -\nmessage 1 0 5 5 6c61746572\n"
		     "message 1 0 1 6,lost 78\nmessage 1 0 1 lost 79\n");
	check_int(ear.lost, 2);
	ear_end(&ear);
	speech_end(&speech);
	in_every_way(say_descriptors);
}

static void test_what_follows_a_short_write_is_heard_cut_at_any_two_bytes(void)
{
	in_every_way(say_short_writes);
}

/* Frames that are read straight into their message, with and without other frames around them. */
static void say_large(uint32_t size)
{
	speech_init(&speech);
	speech_begin(&speech);
	speech_send_fds(&speech, 1, 0);
	speech_data(&speech, 1, "before");
	speech_bulk(&speech, 1, 0, size);
	speech_frame(&speech, FRAME_DATA, 0, 1, 1, 0, "behind", 6);
	speech_send_fds(&speech, 1, 0);
	speech_frame(&speech, FRAME_DATA, 0, 1, 1, 0, "last", 4);
}

static void test_a_large_payload_is_heard_the_same_cut_anywhere(void)
{
	static const uint32_t sizes[] = {4079, 4080, 4081, 4095, 4096, 4097, 5003, 40001, 65472 - 3 * 64 - 16};

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		size_t begins, ends;
		char *whole;

		say_large(sizes[i]);
		begins = speech.sayings[1].at + 24;
		ends = begins + FRAME_HEADER + sizes[i] + frame_padding(sizes[i]);
		whole = text_of(SIZE_MAX, SIZE_MAX, SIZE_MAX);
		for (size_t first = begins - 2; first < ends + 40; first++) {
			char *text;

			/* All cuts near its ends, and some between. */
			if (first > begins + 40 && first < ends - 40 && first % 499)
				continue;
			for (size_t second = 1; second < ends; second = second * 3 + 5) {
				text = text_of(first, second, SIZE_MAX);
				harness_context("%u bytes: %zu, then %zu", sizes[i], first, second);
				check_string(text, whole);
				free(text);
			}
			text = text_of(first, 1, 1000);
			check_string(text, whole);
			free(text);
		}
		free(whole);
		speech_end(&speech);
	}
}

static void test_fragments_of_every_size_make_one_message(void)
{
	for (size_t part = 1; part < 20000; part = part * 5 / 2 + 1) {
		unsigned char *payload = malloc(20000);
		char *whole, *text, hash[80], expected[512];
		size_t at = 0;

		require(payload != NULL);
		for (size_t i = 0; i < 20000; i++)
			payload[i] = (unsigned char)(i * 7 + i / 256);
		if (part < 10)
			memset(payload + 2000, 0, 18000);
		speech_init(&speech);
		speech_begin(&speech);
		/* The frames of two messages alternate. */
		speech_open(&speech, 2, "b");
		while (at < (part < 10 ? 2000 : 20000)) {
			size_t total = part < 10 ? 2000 : 20000, some = total - at < part ? total - at : part;
			uint8_t more = at + some < total ? FRAME_MORE : 0;

			for (uint32_t id = 1; id <= 2; id++) {
				if (at || !more) {
					speech_frame(&speech, FRAME_DATA, more, 0, id, 0, payload + at, some);
				} else {
					unsigned char first[FRAME_BODY_MAX];

					put_u32(first, (uint32_t)total);
					put_u32(first + 4, 0);
					memcpy(first + 8, payload, some);
					speech_frame(&speech, FRAME_DATA, FRAME_MORE | FRAME_SIZED, 0, id, 0, first,
						     8 + some);
				}
			}
			at += some;
		}
		payload_text(hash, payload, at);
		snprintf(expected, sizeof expected, "message 1 0 %zu - %s\nmessage 2 0 %zu - %s\n", at, hash, at, hash);
		harness_context("parts of %zu", part);
		whole = text_of(SIZE_MAX, SIZE_MAX, SIZE_MAX);
		check(strstr(whole, strtok(expected, "\n")) != NULL);
		check(strstr(whole, strtok(NULL, "\n")) != NULL);
		for (size_t then = 1; then < 3000; then = then * 3 + 8) {
			text = text_of(100, 1, then);
			check_string(text, whole);
			free(text);
		}
		free(whole);
		free(payload);
		speech_end(&speech);
	}
}

/* ---- Descriptors ----------------------------------------------------------------------------- */

static void test_one_frame_may_carry_for_many_and_claim_none_itself(void)
{
	listen_begin();
	speech_send_fds(&speech, 16, 0);
	speech_credit(&speech, 0, 0, 1, 0);
	for (int i = 0; i < 15; i++)
		speech_frame(&speech, FRAME_DATA, 0, 1, 1, 0, NULL, 0);
	check(strstr(news(), "message 1 0 0 15 -\n") != NULL);
	/* The last descriptor is claimed much later. */
	speech_send(&speech);
	for (int i = 0; i < 10; i++)
		speech_data(&speech, 1, "plain");
	speech_frame(&speech, FRAME_DATA, 0, 1, 1, 0, NULL, 0);
	check(strstr(news(), "message 1 0 0 16 -\n") != NULL);
	/* Descriptors that nobody claims are closed at the end, which is no breach. */
	atomic_fetch_add(&ear_inlet(&ear, 1)->granted_attachments, 16);
	speech_send_fds(&speech, 3, 0);
	speech_frame(&speech, FRAME_DATA, 0, 1, 1, 0, "x", 1);
	check_string(news(), "message 1 0 1 17 78\n");
	listen_end();
}

static void test_as_many_as_a_sendmsg_can_bring(void)
{
	struct limits limits = limits_base;

	limits.message_attachments = limits.topic_attachments = limits.attachments = FRAME_CARRIED_MAX;
	listen_begin_with(&limits);
	speech_send_fds(&speech, FRAME_CARRIED_MAX, 0);
	speech_frame(&speech, FRAME_DATA, 0, FRAME_CARRIED_MAX, 1, 0, "all", 3);
	check(strstr(news(), ",252,253 616c6c\n") != NULL);
	check_int(ear.came, FRAME_CARRIED_MAX);
	listen_end();
}

static void test_every_number_of_lost_ones_shows_in_the_messages_that_claimed_them(void)
{
	for (unsigned lost = 0; lost <= 6; lost++) {
		char expected[256] = "";

		listen_begin();
		news();
		speech_send_fds(&speech, 6, lost);
		for (unsigned i = 0; i < 3; i++) {
			sprintf(expected + strlen(expected), "message 1 0 1 ");
			for (unsigned k = 2 * i; k < 2 * i + 2; k++)
				sprintf(expected + strlen(expected), k < 6 - lost ? "%s%u" : "%slost", k % 2 ? "," : "",
					k + 1);
			sprintf(expected + strlen(expected), " 78\n");
			speech_frame(&speech, FRAME_DATA, 0, 2, 1, 0, "x", 1);
		}
		harness_context("%u lost", lost);
		check_string(news(), expected);
		check_int(ear.lost, lost);
		/* The next descriptors are not affected. */
		speech_send_fds(&speech, 1, 0);
		speech_frame(&speech, FRAME_DATA, 0, 1, 1, 0, "y", 1);
		check_string(news(), "message 1 0 1 7 79\n");
		listen_end();
	}
}

static void test_a_truncation_of_which_nothing_is_left_may_be_nobodys(void)
{
	struct iovec iov[RX_IOV];
	struct rx_group group = {.loss = -EMFILE};

	/* The kernel may also report a truncation of something that is not an attachment. */
	listen_begin();
	news();
	speech_data(&speech, 1, "x");
	require(rx_offer(&ear.rx, iov) == 1);
	memcpy(iov[0].iov_base, speech.bytes + hearing.at, 20);
	check_int(rx_took(&ear.rx, 20, &group), 0);
	memcpy((char *)iov[0].iov_base + 20, speech.bytes + hearing.at + 20, 4);
	hearing.at += 24;
	check_int(rx_took(&ear.rx, 4, &group), 0);
	check_string(news(), "message 1 0 1 - 78\n");
	check_int(ear.lost, 0);
	listen_end();
}

static void test_descriptors_of_what_is_thrown_away_are_discarded(void)
{
	listen_begin();
	speech_send_fds(&speech, 2, 0);
	speech_sized(&speech, FRAME_MORE, 2, 1, 0, 10, 0, "x");
	speech_send(&speech);
	speech_abort(&speech, 1, 0);
	listen_on();
	ear_discard(&ear, 1);
	speech_send_fds(&speech, 2, 0);
	speech_frame(&speech, FRAME_DATA, 0, 2, 1, 0, "y", 1);
	listen_on();
	ear_forget(&ear);
	/*
	 * The attachments of a message that is not complete, and a descriptor that nobody has
	 * claimed yet.
	 */
	speech_send_fds(&speech, 4, 0);
	speech_sized(&speech, FRAME_MORE, 3, 1, 0, 10, 0, "z");
	check_string(news(), "");
	listen_end();
}

/* Makes one allocation after the other fail. */
static void hear_all(void *say)
{
	int r;

	(*(void (*const *)(void))say)();
	if (ear_init(&ear, &limits_base) == 0) {
		r = ear_listen(&ear, &speech, 700);
		if (fault_hit()) {
			check_int(r, -ENOMEM);
			check(ear.rx.breach == NULL);
			check_int(ear_listen(&ear, &speech, 100), -ENOMEM);
		} else {
			check_int(r, 0);
		}
	}
	ear_end(&ear);
	speech_end(&speech);
}

static void say_many_descriptors(void)
{
	speech_init(&speech);
	speech_begin(&speech);
	speech_send_fds(&speech, 16, 0);
	speech_frame(&speech, FRAME_DATA, 0, 7, 1, 0, "seven", 5);
	speech_sized(&speech, FRAME_MORE, 8, 1, 0, 9001, 0, "x");
	speech_bulk(&speech, 1, 0, 9000);
}

static void test_memory_may_fail_at_every_call(void)
{
	void (*const say[])(void) = {say_all_kinds, say_descriptors, say_many_descriptors};

	for (size_t i = 0; i < sizeof say / sizeof *say; i++) {
		void (*one)(void) = say[i];

		check(fault_sweep_with(
			  &(struct fault_sweep){.scenario = hear_all, .argument = &one, .only = FAULT_MEMORY}) >= 5);
	}
}

static const struct test tests[] = {
    TEST(test_all_kinds_of_frames_are_heard),
    TEST(test_all_kinds_of_frames_are_heard_the_same_cut_at_any_two_bytes),
    TEST(test_descriptors_reach_their_messages_cut_at_any_two_bytes),
    TEST(test_what_follows_a_short_write_is_heard_cut_at_any_two_bytes),
    TEST(test_a_large_payload_is_heard_the_same_cut_anywhere),
    TEST(test_fragments_of_every_size_make_one_message),
    TEST(test_one_frame_may_carry_for_many_and_claim_none_itself),
    TEST(test_as_many_as_a_sendmsg_can_bring),
    TEST(test_every_number_of_lost_ones_shows_in_the_messages_that_claimed_them),
    TEST(test_a_truncation_of_which_nothing_is_left_may_be_nobodys),
    TEST(test_descriptors_of_what_is_thrown_away_are_discarded),
    TEST(test_memory_may_fail_at_every_call),
};
HARNESS_MAIN("rx", tests)
