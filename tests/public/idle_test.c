/* SPDX-License-Identifier: MIT */
/*
 * The idle timeout: a side that has one sends a PING to a silent peer, and ends the channel if no
 * answer arrives. A live peer answers whether or not it has a timeout itself, and the channel goes
 * on.
 */
#include <beam/event.h>
#include <hostile/creditor.h>
#include <poll.h>
#include <public/ends.h>
#include <stdatomic.h>

/* The idle timeout, how late the end may be on a busy machine, and how often the timeout passes. */
enum { IDLE_MS = 160, LATE_MS = 2000, TIMES = 4 };

static struct ends ends;
static struct creditor peer;

/* The timeout is waited for many times, so it is stretched less than other times. */
static int idle_ms(void)
{
	return under_valgrind() ? 8 * IDLE_MS : under_sanitizer() ? 3 * IDLE_MS : IDLE_MS;
}

static struct beam_channel_options with_timeout(uint32_t loop)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.idle_timeout_ms = (uint32_t)idle_ms();
	options.loop = loop;
	return options;
}

/* Several times the timeout. */
static beam_deadline a_long_time(void)
{
	return beam_in_ms(TIMES * idle_ms());
}

/* ---- Two live ends --------------------------------------------------------------------------- */

static void open_both(const struct beam_channel_options *first, const struct beam_channel_options *second)
{
	int fds[2];

	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	for (int i = 0; i < 2; i++) {
		require_int(beam_channel_from_fd(&ends.channel[i], fds[i], i ? second : first), 0);
		require_int(beam_topic_open(&ends.topic[i], ends.channel[i], "topic"), 0);
	}
}

static void expect_alive(void)
{
	for (int i = 0; i < 2; i++) {
		send_text(ends.topic[i], "there");
		expect_text(ends.topic[!i], "there");
	}
}

static void *wait_in_receive(void *topic)
{
	beam_message *message = NULL;

	check_int(beam_topic_receive(topic, &message, 0, a_long_time()), -ETIMEDOUT);
	return NULL;
}

/* No thread waits, or one waits on one side, or on both. */
static void expect_idle_ends_live(void)
{
	pthread_t threads[2];

	for (int waiting = 0; waiting <= 2; waiting++) {
		harness_context("%d wait", waiting);
		for (int i = 0; i < waiting; i++)
			threads[i] = thread_spawn(wait_in_receive, ends.topic[i]);
		if (!waiting)
			poll(NULL, 0, TIMES * idle_ms());
		for (int i = 0; i < waiting; i++)
			thread_wait(threads[i]);
		expect_alive();
	}
	ends_close(&ends);
}

static void test_with_a_timeout_on_both_sides_nothing_ends_while_both_are_there(void)
{
	struct beam_channel_options options = with_timeout(0);

	open_both(&options, &options);
	expect_idle_ends_live();
}

static void test_a_side_without_a_timeout_answers_too(void)
{
	struct beam_channel_options options = with_timeout(0);

	open_both(&options, NULL);
	expect_idle_ends_live();
}

static void test_a_side_whose_own_thread_reads_answers_too(void)
{
	struct beam_channel_options options = with_timeout(0), other = BEAM_CHANNEL_OPTIONS;

	options.dedicated_reader = other.dedicated_reader = 1;
	open_both(&options, &other);
	expect_idle_ends_live();
}

/* ---- Loops ----------------------------------------------------------------------------------- */

/* One round of a loop that returns at least every 20 ms. Returns the result of dispatch. */
static int turn(beam_channel *channel)
{
	struct pollfd item = {.fd = beam_channel_loop_fd(channel), .events = (short)beam_channel_loop_events(channel)};
	beam_deadline deadline;

	if (item.fd < 0 || beam_channel_loop_deadline(channel, &deadline) < 0)
		return 0;
	require(poll(&item, 1, beam_deadline_poll_ms(deadline.ns < beam_in_ms(20).ns ? deadline : beam_in_ms(20))) >=
		0);
	return beam_channel_dispatch(channel, item.revents);
}

static void test_loops_that_turn_answer_each_other(void)
{
	struct beam_channel_options options = with_timeout(1), other = BEAM_CHANNEL_OPTIONS;
	int64_t end;

	other.loop = 1;
	for (int both = 0; both < 2; both++) {
		open_both(&options, both ? &options : &other);
		for (end = a_long_time().ns; now_ns() < end;)
			for (int i = 0; i < 2; i++)
				check_int(turn(ends.channel[i]), 1);
		expect_alive();
		ends_close(&ends);
	}
}

static void test_a_loop_that_does_not_turn_is_taken_for_dead(void)
{
	struct beam_channel_options options = with_timeout(0), other = BEAM_CHANNEL_OPTIONS;
	beam_message *message = NULL;

	other.loop = 1;
	open_both(&options, &other);
	check_int(beam_topic_receive(ends.topic[0], &message, 0, soon()), -ECONNRESET);
	ends_close(&ends);
}

/* ---- A silent peer --------------------------------------------------------------------------- */

static beam_channel *channel;
static beam_topic *topic;

static void open_to_peer(const struct beam_channel_options *options, uint32_t features)
{
	int fds[2];

	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	require_int(beam_channel_from_fd(&channel, fds[0], options), 0);
	require_int(beam_topic_open(&topic, channel, "log"), 0);
	creditor_begin(&peer, fds[1], features);
}

static void close_to_peer(void)
{
	beam_topic_unref(topic);
	beam_channel_unref(channel);
	raw_peer_close(&peer.peer);
}

/* The channel ends with -ECONNRESET when the timeout has passed, and not much later. */
static void expect_dead_after(int64_t begin)
{
	beam_message *message = NULL;
	int64_t ms;

	check_int(beam_topic_receive(topic, &message, 0, soon()), -ECONNRESET);
	ms = (now_ns() - begin) / 1000000;
	if (ms < idle_ms() || ms > idle_ms() + stretch(LATE_MS))
		fail("it took %lld ms", (long long)ms);
	check(beam_channel_breach(channel) == NULL);
	check_int(beam_topic_send(topic, "x", 1, 0, soon()), -ECONNRESET);
}

static void test_a_peer_that_does_not_answer_is_taken_for_dead(void)
{
	struct beam_channel_options options = with_timeout(0);
	int64_t begin;

	/* The peer announces that it answers, or does not. */
	for (int says = 0; says < 2; says++) {
		begin = now_ns();
		open_to_peer(&options, says ? SAYS_ANSWERS : 0);
		expect_dead_after(begin);
		creditor_read(&peer, 0);
		/* It was asked only if it announced that, and once. */
		check_int(peer.pings, says);
		close_to_peer();
	}
}

static void test_a_peer_that_says_nothing_at_all_is_taken_for_dead(void)
{
	struct beam_channel_options options = with_timeout(0);
	int64_t begin = now_ns();
	int fds[2];

	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	require_int(beam_channel_from_fd(&channel, fds[0], &options), 0);
	require_int(beam_topic_open(&topic, channel, "log"), 0);
	raw_peer_init(&peer.peer, fds[1]);
	expect_dead_after(begin);
	close_to_peer();
}

static void *answer_for_a_long_time(void *unused)
{
	for (int64_t end = a_long_time().ns; now_ns() < end && creditor_read(&peer, 20);)
		;
	return unused;
}

static void test_a_peer_that_answers_lives(void)
{
	struct beam_channel_options options = with_timeout(0);
	beam_message *message = NULL;
	pthread_t thread;

	open_to_peer(&options, SAYS_ANSWERS);
	thread = thread_spawn(answer_for_a_long_time, NULL);
	check_int(beam_topic_receive(topic, &message, 0, a_long_time()), -ETIMEDOUT);
	thread_wait(thread);
	check(!peer.ended);
	/* Twice in each timeout. */
	if (peer.pings < TIMES || peer.pings > 2 * TIMES + 1)
		fail("%u questions", peer.pings);
	/* Now it stops answering. */
	peer.silent = true;
	check_int(beam_topic_receive(topic, &message, 0, soon()), -ECONNRESET);
	close_to_peer();
}

static void *send_for_a_long_time(void *unused)
{
	for (int64_t end = a_long_time().ns; now_ns() < end;) {
		raw_text(&peer.out, 1, "word");
		check(creditor_flush(&peer, NULL, 0));
		poll(NULL, 0, 10);
	}
	return unused;
}

static void test_a_peer_that_sends_is_not_asked_and_lives(void)
{
	struct beam_channel_options options = with_timeout(0);
	pthread_t thread;
	beam_message *message = NULL;
	size_t n = 0;

	/* A longer timeout, because the machine may be busy. */
	options.idle_timeout_ms *= 10;
	open_to_peer(&options, SAYS_ANSWERS);
	thread = thread_spawn(send_for_a_long_time, NULL);
	while (beam_topic_receive(topic, &message, 0, beam_in_ms(idle_ms())) == 1) {
		beam_message_free(message);
		n++;
	}
	thread_wait(thread);
	check(n > TIMES);
	creditor_read(&peer, 0);
	check_int(peer.pings, 0);
	check(!peer.ended);
	close_to_peer();
}

static void test_a_thread_that_waits_on_a_channel_without_one_finds_that_its_peer_is_dead(void)
{
	struct beam_channel_options options = with_timeout(1);
	int64_t begin = now_ns();
	beam_message *message = NULL;

	open_to_peer(&options, SAYS_ANSWERS);
	check_int(beam_topic_receive(topic, &message, 0, soon()), -ECONNRESET);
	expect_dead_after(begin);
	close_to_peer();
}

static void test_a_loop_ends_a_peer_that_does_not_answer_and_keeps_one_that_does(void)
{
	struct beam_channel_options options = with_timeout(1);
	int64_t begin = now_ns(), end;
	beam_message *message = NULL;

	open_to_peer(&options, SAYS_ANSWERS);
	for (end = a_long_time().ns; now_ns() < end && check_int(turn(channel), 1);)
		check(creditor_read(&peer, 0));
	check(peer.pings >= TIMES);
	close_to_peer();

	begin = now_ns();
	open_to_peer(&options, SAYS_ANSWERS);
	end = now_ns() + (idle_ms() + stretch(LATE_MS)) * INT64_C(1000000);
	while (beam_topic_receive(topic, &message, 0, BEAM_NOWAIT) == -EAGAIN && now_ns() < end)
		turn(channel);
	expect_dead_after(begin);
	close_to_peer();
}

/* ---- Questions ------------------------------------------------------------------------------- */

static void test_questions_are_answered_by_whoever_has_no_timeout_and_are_no_silence(void)
{
	struct raw_frame frame;

	open_to_peer(NULL, 0);
	check_within(20000, creditor_read(&peer, 1) && peer.hello);
	check(peer.features & SAYS_ANSWERS);
	for (int i = 0; i < 100; i++) {
		raw_frame(&peer.out, KIND_PING, 0, 0, 0, 0, NULL, 0);
		creditor_flush(&peer, NULL, 0);
		frame = raw_peer_expect(&peer.peer, KIND_PING);
		check_int(frame.argument, 1);
		check_int(frame.size, 0);
	}
	/* Unsolicited answers with all kinds of arguments. */
	for (uint32_t i = 1; i < 100; i++)
		raw_frame(&peer.out, KIND_PING, 0, 0, 0, i * 43, NULL, 0);
	raw_text(&peer.out, 1, "word");
	creditor_flush(&peer, NULL, 0);
	expect_text(topic, "word");
	/* A side without a timeout does not ask. */
	creditor_read(&peer, 0);
	check_int(peer.pings, 0);
	check(beam_channel_breach(channel) == NULL);
	close_to_peer();
}

static void test_questions_by_the_thousand_take_no_memory_for_their_answers(void)
{
	size_t before, n = scale(200000), answers = 0;
	struct raw_frame frame;

	open_to_peer(NULL, 0);
	before = allocated_bytes();
	for (size_t i = 0; i < n; i++) {
		raw_frame(&peer.out, KIND_PING, 0, 0, 0, 0, NULL, 0);
		if (peer.out.size > 4096 || i + 1 == n)
			creditor_flush(&peer, NULL, 0);
		while (i % 4096 == 0 && raw_peer_next_within(&peer.peer, &frame, 0) == 1)
			answers += frame.kind == KIND_PING;
	}
	while (raw_peer_next_within(&peer.peer, &frame, stretch(100)) == 1)
		answers += frame.kind == KIND_PING;
	/* One answer may serve several PINGs. The last one is answered. */
	check(answers >= 1 && answers <= n);
	check(allocated_bytes() < before + (4 << 20));
	close_to_peer();
}

static const struct test tests[] = {
    TEST(test_with_a_timeout_on_both_sides_nothing_ends_while_both_are_there),
    TEST(test_a_side_without_a_timeout_answers_too),
    TEST(test_a_side_whose_own_thread_reads_answers_too),
    TEST(test_loops_that_turn_answer_each_other),
    TEST(test_a_loop_that_does_not_turn_is_taken_for_dead),
    TEST(test_a_peer_that_does_not_answer_is_taken_for_dead),
    TEST(test_a_peer_that_says_nothing_at_all_is_taken_for_dead),
    TEST(test_a_peer_that_answers_lives),
    TEST(test_a_peer_that_sends_is_not_asked_and_lives),
    TEST(test_a_thread_that_waits_on_a_channel_without_one_finds_that_its_peer_is_dead),
    TEST(test_a_loop_ends_a_peer_that_does_not_answer_and_keeps_one_that_does),
    TEST(test_questions_are_answered_by_whoever_has_no_timeout_and_are_no_silence),
    TEST(test_questions_by_the_thousand_take_no_memory_for_their_answers),
};

HARNESS_MAIN("public/idle", tests)
