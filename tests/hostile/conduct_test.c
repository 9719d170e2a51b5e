/* SPDX-License-Identifier: MIT */
/*
 * The library's behaviour towards a peer that does not read, does not grant credit, leaves at a bad
 * moment, or sends what does not belong in the stream.
 */
#include <hostile/attack.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

static struct attack attack;

/* Sends a message that contains its number. */
static int try_number(beam_topic *topic, uint32_t number, beam_deadline deadline)
{
	uint32_t payload[250] = {number};

	return beam_topic_send(topic, payload, sizeof payload, 0, deadline);
}

/* Sends numbered messages until a send times out. Returns how many were sent. */
static uint32_t fill_up(beam_topic *topic)
{
	uint32_t n = 0;
	int r;

	while ((r = try_number(topic, n, beam_in_ms(stretch(50)))) == 0)
		n++;
	check_int(r, -ETIMEDOUT);
	return n;
}

/* The peer reads messages with these numbers, in order, and skips all other frames. */
static void expect_numbers(uint32_t from, uint32_t to)
{
	for (uint32_t number = from; number < to; number++) {
		struct raw_frame frame = raw_peer_expect(&attack.peer, RAW_DATA);
		size_t at = frame.flags & RAW_SIZED ? 8 : 0;
		uint32_t told;

		require(frame.size >= at + sizeof told);
		memcpy(&told, frame.payload + at, sizeof told);
		require_int(told, number);
	}
}

/* ---- A peer that does not read --------------------------------------------------------------- */

static void test_senders_to_a_peer_that_never_reads_wait_to_their_deadlines_and_memory_is_bounded(void)
{
	struct beam_channel_options options = small_buffers();
	size_t before;
	uint32_t n;

	attack_begin_generous(&attack, &options);
	before = allocated_bytes();
	n = fill_up(attack.topic);
	/*
	 * They fit into the buffer and the socket's queue, including headers. The kernel doubles
	 * the size of the queue and counts in its own way.
	 */
	check(n > 0 && n * (size_t)1000 < 4 * (64 << 10) + 2 * (64 << 10));
	check_int(try_number(attack.topic, n, beam_in_ms(20)), -ETIMEDOUT);
	check_int(try_number(attack.topic, n, beam_in_ms(-5)), -ETIMEDOUT);
	check_int(beam_channel_flush(attack.channel, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_channel_flush(attack.channel, beam_in_ms(20)), -ETIMEDOUT);
	check(allocated_bytes() <= before + (1 << 20));
	honest_goes_on(&attack);
	check_int(beam_channel_close(attack.channel, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_channel_close(attack.channel, beam_in_ms(20)), -ETIMEDOUT);
	check_int(try_number(attack.topic, n, soon()), -EPIPE);
	attack_end(&attack);
}

static void test_what_was_accepted_arrives_when_the_peer_reads_at_last_and_what_was_not_does_not(void)
{
	struct beam_channel_options options = small_buffers();
	uint32_t n;

	attack_begin_generous(&attack, &options);
	n = fill_up(attack.topic);
	for (int i = 0; i < 5; i++)
		check_int(try_number(attack.topic, 1000000, beam_in_ms(2)), -ETIMEDOUT);
	expect_numbers(0, n);
	check_int(try_number(attack.topic, n, soon()), 0);
	expect_numbers(n, n + 1);
	check_int(beam_channel_flush(attack.channel, soon()), 0);
	attack_end(&attack);
}

static void test_a_large_message_that_runs_out_of_time_is_taken_back_whole(void)
{
	static unsigned char large[4 << 20];
	struct beam_channel_options options = small_buffers();
	struct raw_frame frame;
	size_t parts = 0;
	int r;

	attack_begin_generous(&attack, &options);
	check_int(beam_topic_send(attack.topic, large, sizeof large, 0, beam_in_ms(50)), -ETIMEDOUT);
	/* If a frame of the large message is half written, no other message can be written. */
	r = beam_topic_send(attack.topic, "next", 4, 0, BEAM_NOWAIT);
	check(r == 0 || r == -EAGAIN);
	for (;;) {
		frame = raw_peer_expect(&attack.peer, RAW_DATA);
		if (!(frame.flags & RAW_MORE))
			break;
		check_int(frame.flags, parts == 0 ? RAW_MORE | RAW_SIZED : RAW_MORE);
		parts++;
	}
	if (parts > 0) {
		check_int(frame.flags, RAW_ABORT);
		if (r < 0)
			check_int(beam_topic_send(attack.topic, "next", 4, 0, soon()), 0);
		frame = raw_peer_expect(&attack.peer, RAW_DATA);
	}
	check_int(frame.flags, 0);
	check_int(frame.size, 4);
	check_bytes(frame.payload, "next", 4);
	attack_end(&attack);
}

enum { LARGE = 4 << 20 };

struct large_sender {
	beam_topic *topic;
	_Atomic pid_t thread;
	int result;
};

static void *send_large(void *argument)
{
	static unsigned char large[LARGE];
	struct large_sender *sender = argument;

	atomic_store(&sender->thread, thread_number());
	sender->result = beam_topic_send(sender->topic, large, sizeof large, 0, soon());
	return NULL;
}

/* Starts a sender that blocks in the middle of a large message, because the peer does not read. */
static pthread_t begin_large(struct large_sender *sender)
{
	pthread_t thread;

	*sender = (struct large_sender){.topic = attack.topic};
	thread = thread_spawn(send_large, sender);
	check_within(20000, thread_asleep(atomic_load(&sender->thread)));
	return thread;
}

static void test_a_small_message_does_not_wait_for_a_large_one_on_another_topic(void)
{
	struct beam_channel_options options = small_buffers();
	struct large_sender sender;
	struct raw_frame frame;
	beam_topic *other = NULL;
	size_t before = 0;
	uint32_t opened;
	pthread_t thread;

	attack_begin_generous(&attack, &options);
	require_int(beam_topic_open(&other, attack.channel, "other"), 0);
	opened = raw_peer_expect(&attack.peer, RAW_OPEN).id;
	thread = begin_large(&sender);
	check_int(beam_topic_send(other, "small", 5, 0, BEAM_NOWAIT), 0);
	for (frame = raw_peer_expect(&attack.peer, RAW_DATA); frame.id != opened;
	     frame = raw_peer_expect(&attack.peer, RAW_DATA))
		before += frame.size;
	check_bytes(frame.payload, "small", 5);
	/* At most what was in the socket, and the frame that was being written. */
	check(before <= LARGE / 4);
	while (before < LARGE + 8) /* with the sizes at its beginning */
		before += raw_peer_expect(&attack.peer, RAW_DATA).size;
	thread_wait(thread);
	check_int(sender.result, 0);
	beam_topic_unref(other);
	attack_end(&attack);
}

/*
 * The peer resets the topic or sends GOODBYE in the middle of a large message. The send returns
 * `result`, and the message is aborted.
 */
static void expect_taken_back(int result)
{
	struct beam_channel_options options = small_buffers();
	struct raw_frame frame = {0};
	struct large_sender sender;
	pthread_t thread;

	attack_begin_generous(&attack, &options);
	thread = begin_large(&sender);
	if (result == -ECONNREFUSED)
		raw_frame(&attack.out, RAW_RESET, 0, 0, 1, 2, NULL, 0);
	else
		raw_goodbye(&attack.out);
	attack_send_and_wait(&attack);
	do
		frame = raw_peer_expect(&attack.peer, RAW_DATA);
	while (frame.flags & RAW_MORE);
	check_int(frame.flags, RAW_ABORT);
	thread_wait(thread);
	check_int(sender.result, result);
}

static void test_a_reset_in_the_middle_of_a_large_message_takes_it_back_and_closes_the_topic(void)
{
	expect_taken_back(-ECONNREFUSED);
	check_int(raw_peer_expect(&attack.peer, RAW_CLOSE).id, 1);
	check_int(beam_topic_send(attack.topic, "x", 1, 0, soon()), -ECONNREFUSED);
	attack_end(&attack);
}

static void test_a_goodbye_in_the_middle_of_a_large_message_takes_it_back_and_is_answered(void)
{
	expect_taken_back(-EPIPE);
	raw_peer_expect(&attack.peer, RAW_GOODBYE);
	attack_end(&attack);
}

static void test_reading_goes_on_while_nothing_can_be_written(void)
{
	struct beam_channel_options options = small_buffers();
	uint32_t n, received = 0, total = options.topic_window_bytes / (4 + RAW_MESSAGE_COST);

	attack_begin_generous(&attack, &options);
	n = fill_up(attack.topic);
	/* A whole window arrives, for which no credit can be sent. */
	for (uint32_t i = 0; i < total; i++)
		raw_data(&attack.out, 1, &i, 4);
	attack_send(&attack);
	for (; received < total; received++) {
		beam_message *message = NULL;

		if (!check_int(beam_topic_receive(attack.topic, &message, 0, soon()), 1))
			break;
		check_bytes(beam_message_data(message), &received, 4);
		beam_message_free(message);
	}
	expect_numbers(0, n);
	expect_going_on(&attack);
	attack_end(&attack);
}

static void test_a_topic_without_credit_waits_and_another_does_not(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_topic *other = NULL;
	struct raw_frame frame;
	uint32_t n;

	attack_begin(&attack, &options);
	require_int(beam_topic_open(&other, attack.channel, "other"), 0);
	/* The window, and one message that overdraws it into the pool. The peer grants no more. */
	check_int(beam_channel_limits(attack.channel, &(struct beam_limits){0}, sizeof(struct beam_limits), soon()), 0);
	n = fill_up(attack.topic);
	check_int(n, (RAW_BASE_TOPIC_BYTES + 1000 + RAW_MESSAGE_COST - 1) / (1000 + RAW_MESSAGE_COST));
	check_int(try_number(attack.topic, n, beam_in_ms(20)), -ETIMEDOUT);
	check_int(beam_topic_send(other, "goes", 4, 0, soon()), 0);
	expect_numbers(0, n);
	frame = raw_peer_expect(&attack.peer, RAW_DATA);
	check_bytes(frame.payload, "goes", 4);
	raw_credit(&attack.out, 1, RAW_BASE_TOPIC_BYTES, 0);
	attack_send(&attack);
	check_int(try_number(attack.topic, n, soon()), 0);
	expect_numbers(n, n + 1);
	beam_topic_unref(other);
	attack_end(&attack);
}

/* The next topic that is opened has this name, and the old topic was closed before. */
static void expect_closed_before_opened(uint32_t old, const char *name)
{
	struct raw_frame frame = {0};
	bool closed = false;

	do {
		require_int(raw_peer_next(&attack.peer, &frame), 1);
		closed = closed || (frame.kind == RAW_CLOSE && frame.id == old);
	} while (frame.kind != RAW_OPEN);
	check_bytes(frame.payload, name, strlen(name));
	check(closed);
}

static void test_a_name_opened_again_while_its_old_messages_wait_is_closed_on_the_wire_first(void)
{
	struct beam_channel_options options = small_buffers();

	attack_begin_generous(&attack, &options);
	fill_up(attack.topic);
	beam_topic_unref(attack.topic);
	require_int(beam_topic_open(&attack.topic, attack.channel, "log"), 0);
	expect_closed_before_opened(1, "log");
	attack_end(&attack);
}

/* ---- A peer that goes away ------------------------------------------------------------------- */

/* All functions report the end, however often they are called. */
static void expect_ended(int receive, int send)
{
	beam_message *message = NULL;

	for (int i = 0; i < 3; i++) {
		check_int(beam_topic_receive(attack.topic, &message, 0, soon()), receive);
		check_int(beam_topic_send(attack.topic, "x", 1, 0, soon()), send);
	}
	check_int(beam_channel_accept(attack.channel, &(beam_topic *){NULL}, soon()), receive);
	check(beam_channel_breach(attack.channel) == NULL);
}

static void test_a_peer_that_closes_at_once_is_an_error_and_no_signal(void)
{
	struct sigaction action = {0};

	check_int(sigaction(SIGPIPE, NULL, &action), 0);
	check(action.sa_handler == SIG_DFL);
	attack_begin_unsaid(&attack, NULL);
	raw_peer_close(&attack.peer);
	while (beam_topic_send(attack.topic, "x", 1, 0, soon()) == 0)
		;
	expect_ended(-ECONNRESET, -ECONNRESET);
	attack_end(&attack);
}

static void test_a_peer_that_dies_with_our_data_unread_gives_what_it_sent_and_one_clean_error(void)
{
	attack_begin_generous(&attack, NULL);
	raw_text(&attack.out, 1, "first");
	raw_text(&attack.out, 1, "second");
	attack_send(&attack);
	check_int(beam_topic_send(attack.topic, "never read", 10, 0, soon()), 0);
	raw_peer_close(&attack.peer);
	expect_text(attack.topic, "first");
	expect_text(attack.topic, "second");
	expect_ended(-ECONNRESET, -ECONNRESET);
	attack_end(&attack);
}

static void test_a_peer_that_says_goodbye_and_closes_with_our_data_unread_has_ended_in_order(void)
{
	attack_begin_generous(&attack, NULL);
	raw_text(&attack.out, 1, "first");
	raw_text(&attack.out, 1, "second");
	raw_goodbye(&attack.out);
	check_int(beam_topic_send(attack.topic, "never read", 10, 0, soon()), 0);
	attack_send(&attack);
	raw_peer_close(&attack.peer);
	expect_text(attack.topic, "first");
	expect_text(attack.topic, "second");
	expect_ended(0, -EPIPE);
	attack_end(&attack);
}

static void test_a_goodbye_is_answered_with_what_was_accepted_and_a_goodbye(void)
{
	struct raw_frame frame;

	attack_begin_generous(&attack, NULL);
	check_int(beam_topic_send(attack.topic, "last words", 10, 0, soon()), 0);
	raw_goodbye(&attack.out);
	attack_send(&attack);
	frame = raw_peer_expect(&attack.peer, RAW_DATA);
	check_bytes(frame.payload, "last words", 10);
	raw_peer_expect(&attack.peer, RAW_GOODBYE);
	expect_ended(0, -EPIPE);
	attack_end(&attack);
}

static void test_a_stream_that_ends_within_a_frame_gives_what_was_whole_and_an_error(void)
{
	for (size_t missing = 1; missing < 24; missing++) {
		harness_context("%zu bytes missing", missing);
		attack_begin_generous(&attack, NULL);
		raw_text(&attack.out, 1, "whole");
		raw_text(&attack.out, 1, "not so");
		attack.out.size -= missing;
		attack_send(&attack);
		raw_peer_close(&attack.peer);
		expect_text(attack.topic, "whole");
		expect_ended(-ECONNRESET, -ECONNRESET);
		attack_end(&attack);
	}
}

static void test_a_stream_that_ends_within_a_message_gives_an_error_and_no_part_of_it(void)
{
	attack_begin_generous(&attack, NULL);
	raw_begin(&attack.out, 1, 12, 0, "frag", 4);
	attack_send(&attack);
	raw_peer_close(&attack.peer);
	expect_ended(-ECONNRESET, -ECONNRESET);
	attack_end(&attack);
}

static void test_half_a_shutdown_without_goodbye_is_a_crash(void)
{
	attack_begin_generous(&attack, NULL);
	raw_text(&attack.out, 1, "whole");
	attack_send(&attack);
	check_int(shutdown(attack.peer.socket, SHUT_WR), 0);
	expect_text(attack.topic, "whole");
	check_int(beam_topic_receive(attack.topic, &(beam_message *){NULL}, 0, soon()), -ECONNRESET);
	attack_end(&attack);
}

/* ---- What does not belong in the stream ------------------------------------------------------ */

static void test_an_out_of_band_byte_within_a_header_is_not_in_the_stream(void)
{
	static unsigned char bytes[64];
	size_t size;

	attack_begin_generous(&attack, NULL);
	raw_text(&attack.out, 1, "in band");
	size = attack.out.size;
	memcpy(bytes, attack.out.bytes, size);
	attack.out.size = 0;
	for (size_t cut = 0; cut <= size; cut++) {
		harness_context("cut at %zu", cut);
		check_int(raw_send(attack.peer.socket, bytes, cut, NULL, 0, 0), (ssize_t)cut);
		check_int(raw_send(attack.peer.socket, "X", 1, NULL, 0, MSG_OOB), 1);
		check_int(raw_send(attack.peer.socket, bytes + cut, size - cut, NULL, 0, 0), (ssize_t)(size - cut));
		expect_text(attack.topic, "in band");
	}
	expect_going_on(&attack);
	attack_end(&attack);
}

static int64_t cpu_ms(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (int64_t)used.tv_sec * 1000 + used.tv_nsec / 1000000;
}

static void test_an_out_of_band_byte_keeps_nobody_busy(void)
{
	enum { WAIT_MS = 400 };
	int64_t before;

	attack_begin_generous(&attack, NULL);
	check_int(raw_send(attack.peer.socket, "\0\0", 2, NULL, 0, 0), 2);
	check_int(raw_send(attack.peer.socket, "X", 1, NULL, 0, MSG_OOB), 1);
	before = cpu_ms();
	check_int(beam_topic_receive(attack.topic, &(beam_message *){NULL}, 0, beam_in_ms(WAIT_MS)), -ETIMEDOUT);
	check(cpu_ms() - before < WAIT_MS / 2);
	attack_end(&attack);
}

static void test_empty_messages_are_messages_and_never_the_end(void)
{
	beam_message *message = NULL;

	attack_begin_generous(&attack, NULL);
	for (int i = 0; i < 100; i++)
		raw_data(&attack.out, 1, NULL, 0);
	raw_text(&attack.out, 1, "the last");
	raw_frame(&attack.out, RAW_CLOSE, 0, 0, 1, 0, NULL, 0);
	attack_send(&attack);
	for (int i = 0; i < 100; i++) {
		if (!check_int(beam_topic_receive(attack.topic, &message, 0, soon()), 1))
			break;
		check_int(beam_message_size(message), 0);
		check(beam_message_data(message) != NULL);
		beam_message_free(message);
	}
	expect_text(attack.topic, "the last");
	check_int(beam_topic_receive(attack.topic, &message, 0, soon()), 0);
	check_int(beam_topic_send(attack.topic, "", 0, 0, soon()), 0);
	check_int(raw_peer_expect(&attack.peer, RAW_DATA).size, 0);
	attack_end(&attack);
}

static const struct test tests[] = {
    TEST(test_senders_to_a_peer_that_never_reads_wait_to_their_deadlines_and_memory_is_bounded),
    TEST(test_what_was_accepted_arrives_when_the_peer_reads_at_last_and_what_was_not_does_not),
    TEST(test_a_large_message_that_runs_out_of_time_is_taken_back_whole),
    TEST(test_a_small_message_does_not_wait_for_a_large_one_on_another_topic),
    TEST(test_a_reset_in_the_middle_of_a_large_message_takes_it_back_and_closes_the_topic),
    TEST(test_a_goodbye_in_the_middle_of_a_large_message_takes_it_back_and_is_answered),
    TEST(test_reading_goes_on_while_nothing_can_be_written),
    TEST(test_a_topic_without_credit_waits_and_another_does_not),
    TEST(test_a_name_opened_again_while_its_old_messages_wait_is_closed_on_the_wire_first),
    TEST(test_a_peer_that_closes_at_once_is_an_error_and_no_signal),
    TEST(test_a_peer_that_dies_with_our_data_unread_gives_what_it_sent_and_one_clean_error),
    TEST(test_a_peer_that_says_goodbye_and_closes_with_our_data_unread_has_ended_in_order),
    TEST(test_a_goodbye_is_answered_with_what_was_accepted_and_a_goodbye),
    TEST(test_a_stream_that_ends_within_a_frame_gives_what_was_whole_and_an_error),
    TEST(test_a_stream_that_ends_within_a_message_gives_an_error_and_no_part_of_it),
    TEST(test_half_a_shutdown_without_goodbye_is_a_crash),
    TEST(test_an_out_of_band_byte_within_a_header_is_not_in_the_stream),
    TEST(test_an_out_of_band_byte_keeps_nobody_busy),
    TEST(test_empty_messages_are_messages_and_never_the_end),
};

HARNESS_MAIN("hostile/conduct", tests)
