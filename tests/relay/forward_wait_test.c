/* SPDX-License-Identifier: MIT */
/* Forwarding: what it waits for, and what is held when a source or a target ends. */
#include <fcntl.h>
#include <relay/line.h>
#include <sys/resource.h>

/* ---- Waiting --------------------------------------------------------------------------------- */

static void test_without_messages_it_waits_until_its_deadline(void)
{
	struct line line;
	size_t moved = 99;

	line_open(&line, NULL, NULL);
	check_int(move(&line, 1, &moved, BEAM_NOWAIT), -EAGAIN);
	check_int(moved, 0);
	check_int(move(&line, 1, NULL, beam_in_ms(1)), -ETIMEDOUT);
	check(line.held == NULL);
	line_close(&line);
}

static uint64_t queued(beam_topic *topic)
{
	struct beam_statistics statistics = {0};

	check_int(beam_topic_statistics(topic, &statistics, sizeof statistics), 0);
	return statistics.messages_queued;
}

static void test_a_source_that_never_runs_dry_does_not_hold_it_past_its_deadline(void)
{
	struct line line;
	size_t moved = 0;

	line_open(&line, NULL, NULL);
	send_numbers(line.source.topic[0], 0, 10);
	expect_moved(&line, 1);
	check_within(20000, queued(line.source.topic[1]) == 9);
	check_int(move(&line, 1, NULL, BEAM_NOWAIT), 1);
	check_int(move(&line, SIZE_MAX, &moved, beam_in_ms(0)), -ETIMEDOUT);
	check_int(moved, 1);
	expect_numbers(line.target.topic[1], 0, 3);
	line_close(&line);
}

static void test_without_waiting_all_that_is_there_moves(void)
{
	struct line line;
	size_t moved = 0;

	line_open(&line, NULL, NULL);
	/* If one message moves, the target can take messages. */
	send_numbers(line.source.topic[0], 0, 1);
	expect_moved(&line, 1);
	send_numbers(line.source.topic[0], 1, 9);
	check_within(20000, queued(line.source.topic[1]) == 9);
	check_int(move(&line, SIZE_MAX, &moved, BEAM_NOWAIT), -EAGAIN);
	check_int(moved, 9);
	check(line.held == NULL);
	expect_numbers(line.target.topic[1], 0, 10);
	line_close(&line);
}

static struct beam_channel_options small_window(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.topic_window_bytes = 64 << 10;
	return options;
}

static void test_a_message_for_which_there_is_no_room_stays_in_hand_and_goes_first(void)
{
	struct beam_channel_options options = small_window();
	struct line line;
	size_t moved = 0, again = 0;
	uint64_t n = 2000;

	line_open(&line, NULL, &options);
	send_numbers(line.source.topic[0], 0, n);
	/* The target's window has room for some 900 messages of 72 bytes. */
	while (!line.held) {
		require_int(move(&line, SIZE_MAX, &again, beam_in_ms(stretch(100))), -ETIMEDOUT);
		moved += again;
	}
	check(moved > 0 && moved < n);
	check_bytes(beam_message_data(line.held), &(uint64_t){moved}, sizeof(uint64_t));
	expect_numbers(line.target.topic[1], 0, moved);
	check_within(20000, (move(&line, 1, &again, BEAM_NOWAIT), again == 1));
	check(line.held == NULL);
	expect_number(line.target.topic[1], moved);
	line_close(&line);
}

static void test_a_target_that_takes_nothing_makes_the_sources_sender_wait(void)
{
	struct beam_channel_options options = small_window();
	struct line line;
	uint64_t sent = 0, received = 0;

	line_open(&line, &options, &options);
	while (sent < 100000) {
		int r = beam_topic_send(line.source.topic[0], &sent, sizeof sent, 0, BEAM_NOWAIT);

		if (r == 0) {
			sent++;
			continue;
		}
		require_int(r, -EAGAIN);
		/*
		 * If there is no room even after the middle has moved what it can, both windows are
		 * full.
		 */
		r = move(&line, 1, NULL, beam_in_ms(stretch(50)));
		if (r == -ETIMEDOUT && line.held)
			break;
	}
	check(line.held != NULL);
	check(sent < 4000);
	while (received < sent && !harness_failures()) {
		int r = move(&line, 1, NULL, BEAM_NOWAIT);

		check(r == 1 || r == -EAGAIN);
		expect_number(line.target.topic[1], received++);
	}
	line_close(&line);
}

static void *move_all(void *argument)
{
	struct line *line = argument;
	beam_message *held = NULL;

	check_int(beam_topic_forward(line->source.topic[1], line->target.topic[0], &held, SIZE_MAX, NULL, 0, soon()),
		  0);
	check(held == NULL);
	return NULL;
}

static void test_several_threads_move_each_message_once(void)
{
	enum { THREADS = 4 };
	static unsigned char seen[MANY];
	struct line line;
	size_t n = scale(MANY);
	pthread_t threads[THREADS];

	memset(seen, 0, sizeof seen);
	line_open(&line, NULL, NULL);
	for (int i = 0; i < THREADS; i++)
		threads[i] = thread_spawn(move_all, &line);
	for (uint64_t i = 0, next = 0; i < n && !harness_failures(); i++) {
		uint64_t number = MANY;

		/* At most a few hundred are on their way at once. */
		for (; next < n && next < i + 200; next++)
			send_number(line.source.topic[0], next);
		require_int(receive_number(line.target.topic[1], &number), 1);
		require(number < n);
		seen[number]++;
	}
	check_int(beam_topic_close_send(line.source.topic[0]), 0);
	for (int i = 0; i < THREADS; i++)
		thread_wait(threads[i]);
	for (size_t i = 0; i < n; i++)
		check_int(seen[i], 1);
	line_close(&line);
}

/* ---- Ends ------------------------------------------------------------------------------------ */

static void test_a_source_that_died_gives_what_it_sent_and_then_its_error(void)
{
	struct attack attack;
	struct ends target;
	beam_message *held = NULL;
	size_t moved = 0;

	attack_begin(&attack, NULL);
	ends_open(&target, NULL);
	raw_text(&attack.out, 1, "last words");
	attack_send(&attack);
	raw_peer_close(&attack.peer);
	check_int(beam_topic_forward(attack.topic, target.topic[0], &held, SIZE_MAX, &moved, 0, soon()), -ECONNRESET);
	check(held == NULL);
	check_int(moved, 1);
	expect_text(target.topic[1], "last words");
	ends_close(&target);
	attack_end(&attack);
}

static void test_what_a_target_that_has_closed_does_not_take_is_in_hand(void)
{
	struct line line;

	line_open(&line, NULL, NULL);
	send_text(line.source.topic[0], "word");
	check_int(beam_channel_close(line.target.channel[1], soon()), 0);
	check_int(beam_topic_receive(line.target.topic[0], &(beam_message *){NULL}, 0, soon()), 0);
	check_int(move(&line, 1, NULL, soon()), -EPIPE);
	require(line.held != NULL);
	check_bytes(beam_message_data(line.held), "word", 4);
	/* The message can be sent another way. */
	check_int(beam_topic_send_message(line.source.topic[1], line.held, 0, soon()), 0);
	line.held = NULL;
	expect_text(line.source.topic[0], "word");
	line_close(&line);
}

static void test_a_message_that_the_target_does_not_accept_is_in_hand_and_the_next_goes(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	struct line line;
	int file = raw_file();
	void *large = calloc(1, 2 << 20);

	options.message_bytes = 1 << 20;
	options.message_attachments = 0;
	line_open(&line, NULL, &options);
	check_int(beam_topic_send(line.source.topic[0], large, 2 << 20, 0, soon()), 0);
	check_int(move(&line, SIZE_MAX, NULL, soon()), -EMSGSIZE);
	check_int(beam_message_size(line.held), 2 << 20);
	beam_message_free(line.held);
	line.held = NULL;
	check_int(beam_topic_sendv(line.source.topic[0], NULL, 0, &file, 1, 0, soon()), 0);
	send_text(line.source.topic[0], "word");
	check_int(move(&line, SIZE_MAX, NULL, soon()), -E2BIG);
	check_int(raw_inode(beam_message_peek_fd(line.held, 0)), raw_inode(file));
	beam_message_free(line.held);
	line.held = NULL;
	expect_moved(&line, 1);
	expect_text(line.target.topic[1], "word");
	line_close(&line);
	close(file);
	free(large);
}

static void test_a_message_that_lost_an_attachment_is_in_hand(void)
{
	struct rlimit before, few;
	struct line line;
	int file, last;

	if (under_valgrind())
		skip("Valgrind simulates RLIMIT_NOFILE");
	line_open(&line, NULL, NULL);
	send_text(line.source.topic[0], "first");
	expect_moved(&line, 1);
	expect_text(line.target.topic[1], "first");
	file = raw_file();
	/* All numbers below the next free one are in use, so no descriptor is free. */
	last = fcntl(file, F_DUPFD_CLOEXEC, 0);
	close(last);
	require_int(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = (rlim_t)last;
	require_int(setrlimit(RLIMIT_NOFILE, &few), 0);
	check_int(beam_topic_sendv(line.source.topic[0], &(struct iovec){"word", 4}, 1, &file, 1, 0, soon()), 0);
	check_int(move(&line, 1, NULL, soon()), -ENOENT);
	require_int(setrlimit(RLIMIT_NOFILE, &before), 0);
	check_int(beam_message_size(line.held), 4);
	check_int(beam_message_peek_fd(line.held, 0), -EMFILE);
	line_close(&line);
	close(file);
}

static void test_a_call_is_not_moved_and_is_in_hand_to_be_answered(void)
{
	struct attack attack;
	struct ends target;
	struct raw_frame frame;
	beam_message *held = NULL;

	attack_begin(&attack, NULL);
	ends_open(&target, NULL);
	raw_frame(&attack.out, RAW_DATA, 0, 0, 1, 1, "call", 4);
	raw_text(&attack.out, 1, "word");
	attack_send(&attack);
	check_int(beam_topic_forward(attack.topic, target.topic[0], &held, SIZE_MAX, NULL, 0, soon()), -EOPNOTSUPP);
	require(held != NULL);
	check_bytes(beam_message_data(held), "call", 4);
	beam_message_free(held);
	held = NULL;
	do
		require_int(raw_peer_next(&attack.peer, &frame), 1);
	while (frame.kind != RAW_REPLY);
	check_int(frame.flags, RAW_END | RAW_ERROR);
	check_int(beam_topic_forward(attack.topic, target.topic[0], &held, 1, NULL, 0, soon()), 1);
	expect_text(target.topic[1], "word");
	ends_close(&target);
	attack_end(&attack);
}

static void test_bad_input_gives_einval_and_moves_nothing(void)
{
	struct line line;
	size_t moved = 99;

	line_open(&line, NULL, NULL);
	send_text(line.source.topic[0], "word");
	check_int(beam_topic_forward(NULL, line.target.topic[0], &line.held, 1, &moved, 0, soon()), -EINVAL);
	check_int(moved, 0);
	check_int(beam_topic_forward(line.source.topic[1], NULL, &line.held, 1, NULL, 0, soon()), -EINVAL);
	check_int(beam_topic_forward(line.source.topic[1], line.target.topic[0], NULL, 1, NULL, 0, soon()), -EINVAL);
	check_int(move(&line, 0, NULL, soon()), -EINVAL);
	expect_moved(&line, 1);
	expect_text(line.target.topic[1], "word");
	line_close(&line);
}

static int move_in_child(void *argument)
{
	struct line *line = argument;

	check_int(move(line, 1, NULL, soon()), -ECHILD);
	check(line->held == NULL);
	return 0;
}

static void test_a_forked_child_moves_nothing(void)
{
	struct line line;

	line_open(&line, NULL, NULL);
	send_text(line.source.topic[0], "word");
	check_int(process_wait(process_spawn(move_in_child, &line)), 0);
	expect_moved(&line, 1);
	line_close(&line);
}

static const struct test tests[] = {
    TEST(test_without_messages_it_waits_until_its_deadline),
    TEST(test_a_source_that_never_runs_dry_does_not_hold_it_past_its_deadline),
    TEST(test_without_waiting_all_that_is_there_moves),
    TEST(test_a_message_for_which_there_is_no_room_stays_in_hand_and_goes_first),
    TEST(test_a_target_that_takes_nothing_makes_the_sources_sender_wait),
    TEST(test_several_threads_move_each_message_once),
    TEST(test_a_source_that_died_gives_what_it_sent_and_then_its_error),
    TEST(test_what_a_target_that_has_closed_does_not_take_is_in_hand),
    TEST(test_a_message_that_the_target_does_not_accept_is_in_hand_and_the_next_goes),
    TEST(test_a_message_that_lost_an_attachment_is_in_hand),
    TEST(test_a_call_is_not_moved_and_is_in_hand_to_be_answered),
    TEST(test_bad_input_gives_einval_and_moves_nothing),
    TEST(test_a_forked_child_moves_nothing),
};
HARNESS_MAIN("relay-forward_wait", tests)
