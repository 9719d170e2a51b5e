/* SPDX-License-Identifier: MIT */
/*
 * A peer that asks for much: memory by announcing lengths, topics, calls, messages, control frames.
 * It gets no more than the limits set on this side, and a flood on one topic does not affect the
 * others.
 */
#include <hostile/attack.h>

static struct attack attack;

/*
 * Memory that a flood may use beyond the limits, because allocators round up and threads come and
 * go.
 */
enum { SLACK = 4 << 20 };

static void expect_grown_at_most(size_t before, size_t now, size_t bound)
{
	if (under_valgrind() || under_sanitizer())
		return;
	if (now > before + bound)
		fail("%zu KiB more, at most %zu expected", (now - before) >> 10, bound >> 10);
}

/* ---- Announcements --------------------------------------------------------------------------- */

static void test_announced_lengths_cost_nothing_until_bytes_arrive(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	uint32_t total = 16 << 20, pool = options.pool_bytes, id;
	size_t resident;
	char name[16];

	attack_begin(&attack, NULL);
	resident = resident_bytes();
	/*
	 * As many messages of 16 MiB as the pool has credit for, of each of which only a byte
	 * arrives.
	 */
	for (id = 1; pool >= total; id++) {
		uint32_t overdraft = total + RAW_MESSAGE_COST - options.topic_window_bytes;

		if (id > 1) {
			snprintf(name, sizeof name, "%u", id);
			raw_open(&attack.out, id, name);
		}
		raw_begin(&attack.out, id, total, overdraft, "x", 1);
		pool -= overdraft;
	}
	attack_send_and_wait(&attack);
	expect_grown_at_most(resident, resident_bytes(), SLACK);
	check(beam_channel_breach(attack.channel) == NULL);

	/* A message that the pool has no credit for is refused at its first frame. */
	snprintf(name, sizeof name, "%u", id);
	raw_open(&attack.out, id, name);
	raw_begin(&attack.out, id, total, total, "x", 1);
	attack_send(&attack);
	check_int(expect_breach_untaken(&attack, "credit"), 0);
	expect_grown_at_most(resident, resident_bytes(), SLACK);
	attack_end(&attack);
}

static void test_a_hello_of_enormous_limits_costs_nothing(void)
{
	size_t resident, allocated, at;

	attack_begin_unsaid(&attack, NULL);
	attack_read_beginning(&attack);
	resident = resident_bytes();
	allocated = allocated_bytes();
	at = raw_hello(&attack.out);
	for (enum raw_limit limit = 0; limit < RAW_LIMITS; limit++)
		raw_u32_at(&attack.out, at + RAW_HEADER + 12 + 4 * (size_t)limit, 1u << 30);
	raw_open(&attack.out, 1, "log");
	expect_going_on(&attack);
	expect_grown_at_most(resident, resident_bytes(), SLACK);
	expect_grown_at_most(allocated, allocated_bytes(), SLACK);
	attack_end(&attack);
}

/* ---- Messages -------------------------------------------------------------------------------- */

static void test_more_bytes_than_a_topics_credit_are_a_breach(void)
{
	static unsigned char payload[1 << 15];
	uint32_t window = ((struct beam_channel_options)BEAM_CHANNEL_OPTIONS).topic_window_bytes;
	size_t n = window / (sizeof payload + RAW_MESSAGE_COST);

	attack_begin(&attack, NULL);
	for (size_t i = 0; i <= n; i++) {
		raw_data(&attack.out, 1, payload, sizeof payload);
		attack_send(&attack);
	}
	check_int(expect_breach_untaken(&attack, "credit"), n);
	attack_end(&attack);
}

static void test_more_overdraft_than_the_pools_credit_is_a_breach(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.message_bytes = options.pool_bytes = 1 << 20;
	attack_begin(&attack, &options);
	raw_open(&attack.out, 2, "other");
	raw_begin(&attack.out, 2, 1 << 20, 1 << 20, "x", 1);
	raw_frame(&attack.out, RAW_DATA, RAW_SIZED, 0, 1, 0, "\0\0\0\1\0\0\0\1x", 9);
	attack_send(&attack);
	check_int(expect_breach_untaken(&attack, "credit"), 0);
	attack_end(&attack);
}

static void test_empty_messages_cost_credit_too(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	size_t n = RAW_BASE_TOPIC_BYTES / RAW_MESSAGE_COST, before;

	options.topic_window_bytes = RAW_BASE_TOPIC_BYTES;
	attack_begin(&attack, &options);
	before = allocated_bytes();
	for (size_t i = 0; i < n; i++)
		raw_data(&attack.out, 1, NULL, 0);
	attack_send_and_wait(&attack);
	check(beam_channel_breach(attack.channel) == NULL);
	expect_grown_at_most(before, allocated_bytes(), SLACK);
	raw_data(&attack.out, 1, NULL, 0);
	attack_send(&attack);
	check_int(expect_breach_untaken(&attack, "credit"), n);
	attack_end(&attack);
}

/* Receives a CREDIT frame, and adds the credit of topic 1. */
static void take_credit(uint64_t *room)
{
	struct raw_frame frame = raw_peer_expect(&attack.peer, RAW_CREDIT);

	if (frame.id == 1)
		*room += raw_u32(frame.payload);
}

static void test_empty_messages_for_ever_take_no_memory(void)
{
	uint64_t room = ((struct beam_channel_options)BEAM_CHANNEL_OPTIONS).topic_window_bytes;
	beam_message *batch[256];
	size_t total = scale(300000), sent = 0, received = 0, before;

	attack_begin(&attack, NULL);
	before = allocated_bytes();
	while (received < total && !harness_failures()) {
		ssize_t n;

		while (sent < total && room >= RAW_MESSAGE_COST && attack.out.size < 8192) {
			raw_data(&attack.out, 1, NULL, 0);
			room -= RAW_MESSAGE_COST;
			sent++;
		}
		attack_send(&attack);
		n = beam_topic_receive_many(attack.topic, batch, 256, 0, soon());
		if (!check(n > 0))
			break;
		for (ssize_t i = 0; i < n; i++) {
			check_int(beam_message_size(batch[i]), 0);
			beam_message_free(batch[i]);
		}
		received += (size_t)n;
		while (room < RAW_MESSAGE_COST && sent == received && sent < total)
			take_credit(&room);
	}
	check_int(received, total);
	expect_grown_at_most(before, allocated_bytes(), SLACK);
	expect_going_on(&attack);
	attack_end(&attack);
}

/* The bound that channel.h states. */
static void test_empty_messages_that_wait_take_what_the_header_says(void)
{
	enum { TOPICS = 8 };
	const uint32_t window = ((struct beam_channel_options)BEAM_CHANNEL_OPTIONS).topic_window_bytes;
	struct beam_statistics statistics = {0};
	size_t charged = 0, before;

	attack_begin(&attack, NULL);
	before = allocated_bytes();
	for (uint32_t id = 2; id < 2 + TOPICS; id++) {
		char name[] = {(char)('a' + id), 0};

		raw_open(&attack.out, id, name);
		for (uint32_t used = 0; used < window; used += RAW_MESSAGE_COST) {
			raw_data(&attack.out, id, NULL, 0);
			charged += RAW_MESSAGE_COST;
			if (attack.out.size > 8192)
				attack_send(&attack);
		}
	}
	attack_send(&attack);
	while (statistics.messages_queued < charged / RAW_MESSAGE_COST && !harness_failures())
		check_int(beam_channel_statistics(attack.channel, &statistics, sizeof statistics), 0);
	expect_grown_at_most(before, allocated_bytes(), charged * 18 / 10 + (5 << 20));
	attack_end(&attack);
}

static void test_small_messages_that_are_kept_do_not_pin_the_memory_of_large_ones(void)
{
	static unsigned char filler[60000];
	enum { KEPT = 1000 };
	static beam_message *kept[KEPT];
	uint64_t room = ((struct beam_channel_options)BEAM_CHANNEL_OPTIONS).topic_window_bytes;
	beam_message *message = NULL;
	size_t before, n = 0;

	attack_begin(&attack, NULL);
	before = allocated_bytes();
	for (; n < KEPT && !harness_failures(); n++) {
		while (room < 1 + sizeof filler + 2 * RAW_MESSAGE_COST)
			take_credit(&room);
		raw_text(&attack.out, 1, "k");
		raw_data(&attack.out, 1, filler, sizeof filler);
		room -= 1 + sizeof filler + 2 * RAW_MESSAGE_COST;
		attack_send(&attack);
		require_int(beam_topic_receive(attack.topic, &kept[n], 0, soon()), 1);
		require_int(beam_topic_receive(attack.topic, &message, 0, soon()), 1);
		check_int(beam_message_size(message), sizeof filler);
		beam_message_free(message);
	}
	/* 32 chunks of 64 KiB with their messages, and what each kept message needs itself. */
	expect_grown_at_most(before, allocated_bytes(), (32 + 2) * (256 << 10) + KEPT * 512);
	for (size_t i = 0; i < n; i++) {
		check_int(beam_message_size(kept[i]), 1);
		check_bytes(beam_message_data(kept[i]), "k", 1);
		beam_message_free(kept[i]);
	}
	expect_going_on(&attack);
	attack_end(&attack);
}

static void test_a_flooded_topic_leaves_nine_quiet_ones_alone(void)
{
	static unsigned char payload[1 << 14];
	uint32_t window = ((struct beam_channel_options)BEAM_CHANNEL_OPTIONS).topic_window_bytes;
	beam_topic *quiet[9];
	char name[16];

	attack_begin(&attack, NULL);
	for (uint32_t i = 0; i < 9; i++) {
		snprintf(name, sizeof name, "quiet %u", i);
		require_int(beam_topic_open(&quiet[i], attack.channel, name), 0);
		raw_open(&attack.out, i + 2, name);
	}
	attack_send(&attack);
	/* Nobody receives from the first topic. From now on its window is full. */
	for (uint32_t used = 0; used + sizeof payload + RAW_MESSAGE_COST <= window;
	     used += sizeof payload + RAW_MESSAGE_COST) {
		raw_data(&attack.out, 1, payload, sizeof payload);
		attack_send(&attack);
	}
	for (int round = 0; round < 100; round++) {
		for (uint32_t i = 0; i < 9; i++) {
			raw_text(&attack.out, i + 2, "quiet word");
			attack_send(&attack);
			expect_text(quiet[i], "quiet word");
		}
	}
	for (int i = 0; i < 9; i++)
		beam_topic_unref(quiet[i]);
	attack_end(&attack);
}

/* ---- Topics ---------------------------------------------------------------------------------- */

static void test_more_topics_than_accepted_are_a_breach(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_topic *topic = NULL;
	char name[16];
	uint32_t id;

	options.topics = 64;
	attack_begin(&attack, &options);
	for (id = 2; id <= 64; id++) {
		snprintf(name, sizeof name, "%u", id);
		raw_open(&attack.out, id, name);
	}
	attack_send(&attack);
	for (id = 2; id <= 64; id++) {
		require_int(beam_channel_accept(attack.channel, &topic, soon()), 1);
		snprintf(name, sizeof name, "%u", id);
		check_string(beam_topic_name(topic), name);
		beam_topic_unref(topic);
	}
	raw_open(&attack.out, id, "one too many");
	attack_send(&attack);
	expect_breach(&attack, "topic-id");
	attack_end(&attack);
}

static void test_topics_refused_for_ever_take_no_memory(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	size_t total = scale(50000), before;
	struct raw_frame frame;
	char name[40];

	options.unknown_topics = BEAM_TOPICS_REFUSE;
	attack_begin(&attack, &options);
	before = allocated_bytes();
	for (size_t i = 0; i < total && !harness_failures(); i++) {
		snprintf(name, sizeof name, "%zu is refused", i);
		raw_open(&attack.out, 2, name);
		/* This message may be sent before the refusal arrives. */
		raw_text(&attack.out, 2, "and thrown away");
		raw_frame(&attack.out, RAW_CLOSE, 0, 0, 2, 0, NULL, 0);
		attack_send(&attack);
		frame = raw_peer_expect(&attack.peer, RAW_RESET);
		check_int(frame.id, 2);
		check_int(frame.argument, 2);
	}
	expect_grown_at_most(before, allocated_bytes(), SLACK);
	check_int(beam_channel_accept(attack.channel, &(beam_topic *){NULL}, BEAM_NOWAIT), -EAGAIN);
	expect_going_on(&attack);
	attack_end(&attack);
}

static void test_topics_opened_and_closed_for_ever_take_no_memory(void)
{
	size_t total = scale(20000), before;
	beam_topic *topic = NULL;
	struct raw_frame frame;
	char name[40];

	attack_begin(&attack, NULL);
	before = allocated_bytes();
	for (size_t i = 0; i < total && !harness_failures(); i++) {
		snprintf(name, sizeof name, "topic number %zu", i);
		raw_open(&attack.out, 2, name);
		raw_text(&attack.out, 2, name);
		raw_frame(&attack.out, RAW_CLOSE, 0, 0, 2, 0, NULL, 0);
		attack_send(&attack);
		require_int(beam_channel_accept(attack.channel, &topic, soon()), 1);
		check_string(beam_topic_name(topic), name);
		expect_text(topic, name);
		check_int(beam_topic_receive(topic, &(beam_message *){NULL}, 0, soon()), 0);
		beam_topic_unref(topic);
		/* Accepting the topic opened it in the other direction too. That ends as well. */
		frame = raw_peer_expect(&attack.peer, RAW_RESET);
		check_int(frame.id, 2);
		frame = raw_peer_expect(&attack.peer, RAW_CLOSE);
		raw_frame(&attack.out, RAW_RESET, 0, 0, frame.id, 0, NULL, 0);
		attack_send(&attack);
	}
	expect_grown_at_most(before, allocated_bytes(), SLACK);
	expect_going_on(&attack);
	attack_end(&attack);
}

static void test_names_that_differ_in_little_are_found_as_quickly_as_others(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	enum { TOPICS = 4000 };
	char name[256];
	beam_topic *last = NULL;

	options.topics = TOPICS;
	attack_begin(&attack, &options);
	memset(name, 'n', 255);
	name[255] = 0;
	for (uint32_t id = 2; id <= TOPICS; id++) {
		snprintf(name + 249, 7, "%06u", id);
		raw_open(&attack.out, id, name);
		attack_send(&attack);
	}
	raw_text(&attack.out, TOPICS, "the last of all");
	attack_send(&attack);
	require_int(beam_topic_open(&last, attack.channel, name), 0);
	expect_text(last, "the last of all");
	beam_topic_unref(last);
	expect_going_on(&attack);
	attack_end(&attack);
}

/* ---- Control --------------------------------------------------------------------------------- */

static void test_credit_by_single_bytes_takes_no_memory(void)
{
	size_t total = scale(200000), before;

	attack_begin(&attack, NULL);
	before = allocated_bytes();
	for (size_t i = 0; i < total; i++) {
		raw_credit(&attack.out, i % 2 ? 1 : 0, 1, 1);
		if (attack.out.size > 1 << 16)
			attack_send(&attack);
	}
	attack_send(&attack);
	expect_going_on(&attack);
	expect_grown_at_most(before, allocated_bytes(), SLACK);
	attack_end(&attack);
}

static void test_messages_begun_and_taken_back_for_ever_take_no_memory(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	size_t total = scale(20000), before;
	uint64_t room = options.topic_window_bytes;
	uint32_t size = 100000;

	attack_begin(&attack, &options);
	before = allocated_bytes();
	for (size_t i = 0; i < total; i++) {
		while (room < size + RAW_MESSAGE_COST)
			take_credit(&room);
		raw_begin(&attack.out, 1, size, 0, "begun", 5);
		raw_frame(&attack.out, RAW_DATA, RAW_ABORT, 0, 1, 0, NULL, 0);
		room -= size + RAW_MESSAGE_COST;
		attack_send(&attack);
	}
	expect_going_on(&attack);
	expect_grown_at_most(before, allocated_bytes(), SLACK);
	attack_end(&attack);
}

static void test_messages_to_a_refused_topic_can_be_taken_back(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.unknown_topics = BEAM_TOPICS_REFUSE;
	attack_begin(&attack, &options);
	raw_open(&attack.out, 2, "refused");
	raw_begin(&attack.out, 2, 100000, 0, "begun", 5);
	raw_frame(&attack.out, RAW_DATA, RAW_ABORT, 0, 2, 0, NULL, 0);
	attack_send(&attack);
	check_int(raw_peer_expect(&attack.peer, RAW_RESET).id, 2);
	expect_going_on(&attack);
	attack_end(&attack);
}

static void test_calls_that_nobody_answers_are_ended_and_take_no_memory(void)
{
	size_t total = scale(20000), before;
	struct raw_frame frame;
	uint64_t room = ((struct beam_channel_options)BEAM_CHANNEL_OPTIONS).topic_window_bytes;

	attack_begin(&attack, NULL);
	before = allocated_bytes();
	for (size_t i = 0; i < total && !harness_failures(); i++) {
		uint32_t call = (uint32_t)(i % 256) + 1;

		raw_frame(&attack.out, RAW_DATA, 0, 0, 1, call, "call", 4);
		attack_send(&attack);
		room -= 4 + RAW_MESSAGE_COST;
		expect_text(attack.topic, "call");
		do {
			require_int(raw_peer_next(&attack.peer, &frame), 1);
			if (frame.kind == RAW_CREDIT && frame.id == 1)
				room += raw_u32(frame.payload);
		} while (frame.kind != RAW_REPLY);
		check(room > RAW_MESSAGE_COST);
		check_int(frame.flags, RAW_END | RAW_ERROR);
		check_int(frame.argument, call);
		check_int(raw_u32(frame.payload), 1);
	}
	expect_grown_at_most(before, allocated_bytes(), SLACK);
	expect_going_on(&attack);
	attack_end(&attack);
}

static const struct test tests[] = {
    TEST(test_announced_lengths_cost_nothing_until_bytes_arrive),
    TEST(test_a_hello_of_enormous_limits_costs_nothing),
    TEST(test_more_bytes_than_a_topics_credit_are_a_breach),
    TEST(test_more_overdraft_than_the_pools_credit_is_a_breach),
    TEST(test_empty_messages_cost_credit_too),
    TEST(test_empty_messages_for_ever_take_no_memory),
    TEST(test_empty_messages_that_wait_take_what_the_header_says),
    TEST(test_small_messages_that_are_kept_do_not_pin_the_memory_of_large_ones),
    TEST(test_a_flooded_topic_leaves_nine_quiet_ones_alone),
    TEST(test_more_topics_than_accepted_are_a_breach),
    TEST(test_topics_refused_for_ever_take_no_memory),
    TEST(test_topics_opened_and_closed_for_ever_take_no_memory),
    TEST(test_names_that_differ_in_little_are_found_as_quickly_as_others),
    TEST(test_credit_by_single_bytes_takes_no_memory),
    TEST(test_messages_begun_and_taken_back_for_ever_take_no_memory),
    TEST(test_messages_to_a_refused_topic_can_be_taken_back),
    TEST(test_calls_that_nobody_answers_are_ended_and_take_no_memory),
};

HARNESS_MAIN("hostile/flood", tests)
