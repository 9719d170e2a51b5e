/* SPDX-License-Identifier: MIT */
/* How channels and topics end (half-close, close, crash, linger), and that nothing is lost. */
#include <beam/beam.h>
#include <harness/harness.h>
#include <limits.h>
#include <public/ends.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/socket.h>

static struct ends ends;

static int send_until_it_ends(beam_topic *topic)
{
	int r;

	while ((r = beam_topic_send(topic, "x", 1, 0, soon())) == 0)
		;
	return r;
}

/* ---- Topics end ------------------------------------------------------------------------------ */

static void test_a_closed_topic_ends_for_its_receivers_after_all_that_was_sent(void)
{
	ends_open(&ends, NULL);
	for (uint64_t i = 0; i < 1000; i++)
		send_number(ends.topic[0], i);
	check_int(beam_topic_close_send(ends.topic[0]), 0);
	check_int(beam_topic_close_send(ends.topic[0]), 0);
	check_int(beam_topic_send(ends.topic[0], "x", 1, 0, soon()), -EPIPE);
	for (uint64_t i = 0; i < 1000; i++)
		expect_number(ends.topic[1], i);
	check_int(receive_nothing(ends.topic[1], soon()), 0);
	check_int(receive_nothing(ends.topic[1], BEAM_NOWAIT), 0);
	/* The other direction still works. */
	send_text(ends.topic[1], "still here");
	expect_text(ends.topic[0], "still here");
	ends_close(&ends);
}

static void test_a_reset_topic_ends_for_its_senders_and_throws_away_what_waits(void)
{
	struct beam_statistics statistics;

	ends_open(&ends, NULL);
	for (int i = 0; i < 10; i++)
		send_text(ends.topic[0], "never taken");
	check_within(20000, beam_topic_statistics(ends.topic[1], &statistics, sizeof statistics) == 0 &&
				statistics.messages_queued == 10);
	check_int(beam_topic_close_receive(ends.topic[1]), 0);
	check_int(beam_topic_close_receive(ends.topic[1]), 0);
	check_int(receive_nothing(ends.topic[1], soon()), 0);
	check_int(send_until_it_ends(ends.topic[0]), -EPIPE);
	check_int(beam_topic_statistics(ends.topic[1], &statistics, sizeof statistics), 0);
	check(statistics.messages_discarded >= 10);
	check_int(statistics.messages_queued, 0);
	check_int(statistics.messages_received, 0);
	/* The other direction still works. */
	send_text(ends.topic[1], "still here");
	expect_text(ends.topic[0], "still here");
	ends_close(&ends);
}

static void test_a_topic_can_be_closed_both_ways_while_it_is_held(void)
{
	ends_open(&ends, NULL);
	send_text(ends.topic[0], "the last from here");
	for (int i = 0; i < 2; i++)
		check_int(beam_topic_close(ends.topic[0]), 0);
	check_int(beam_topic_send(ends.topic[0], "x", 1, 0, soon()), -EPIPE);
	check_int(receive_nothing(ends.topic[0], soon()), 0);
	expect_text(ends.topic[1], "the last from here");
	check_int(receive_nothing(ends.topic[1], soon()), 0);
	check_int(send_until_it_ends(ends.topic[1]), -EPIPE);
	check_int(beam_topic_close(NULL), -EINVAL);
	ends_close(&ends);
}

static void test_a_topic_that_was_accepted_can_be_refused(void)
{
	beam_topic *asked, *accepted, *again;

	ends_open(&ends, NULL);
	require_int(beam_topic_open(&asked, ends.channel[0], "unwelcome"), 0);
	send_text(asked, "is anybody there?");
	require_int(beam_channel_accept(ends.channel[1], &accepted, soon()), 1);
	for (int i = 0; i < 2; i++)
		check_int(beam_topic_refuse(accepted), 0);
	check_int(send_until_it_ends(asked), -ECONNREFUSED);
	check_int(receive_nothing(asked, soon()), 0);
	check_int(receive_nothing(accepted, BEAM_NOWAIT), 0);
	check_int(beam_topic_send(accepted, "x", 1, 0, soon()), -EPIPE);
	/* The name is refused again, as long as the side that refused it holds the topic. */
	beam_topic_unref(asked);
	require_int(beam_topic_open(&asked, ends.channel[0], "unwelcome"), 0);
	check_int(send_until_it_ends(asked), -ECONNREFUSED);
	beam_topic_unref(asked);
	beam_topic_unref(accepted);
	require_int(beam_topic_open(&asked, ends.channel[0], "unwelcome"), 0);
	send_text(asked, "and now?");
	require_int(beam_channel_accept(ends.channel[1], &again, soon()), 1);
	expect_text(again, "and now?");
	/* A topic that was closed before it is refused stays closed. */
	check_int(beam_topic_close(again), 0);
	check_int(beam_topic_refuse(again), 0);
	check_int(send_until_it_ends(asked), -EPIPE);
	beam_topic_unref(again);
	beam_topic_unref(asked);
	check_int(beam_topic_refuse(NULL), -EINVAL);
	/* Other topics still work. */
	send_text(ends.topic[0], "still here");
	expect_text(ends.topic[1], "still here");
	ends_close(&ends);
}

static void test_the_last_handle_closes_a_topic_both_ways(void)
{
	ends_open(&ends, NULL);
	/*
	 * Both sides must have opened the topic. Otherwise the messages would wait for someone to
	 * accept the name.
	 */
	send_text(ends.topic[1], "open on both sides");
	expect_text(ends.topic[0], "open on both sides");
	send_text(ends.topic[0], "sent before");
	ends.topic[0] = beam_topic_unref(ends.topic[0]);
	expect_text(ends.topic[1], "sent before");
	check_int(receive_nothing(ends.topic[1], soon()), 0);
	check_int(send_until_it_ends(ends.topic[1]), -EPIPE);
	ends_close(&ends);
}

static void test_a_name_can_be_opened_again_and_receiving_goes_on(void)
{
	ends_open(&ends, NULL);
	for (int round = 0; round < 200; round++) {
		send_number(ends.topic[0], (uint64_t)round);
		ends.topic[0] = beam_topic_unref(ends.topic[0]);
		require_int(beam_topic_open(&ends.topic[0], ends.channel[0], "topic"), 0);
	}
	send_text(ends.topic[0], "the last");
	for (int round = 0; round < 200; round++) {
		uint64_t number = 0;

		/* Between two openings, receiving may return 0. */
		while (receive_number(ends.topic[1], &number) == 0)
			;
		check_int(number, round);
	}
	while (receive_nothing(ends.topic[1], soon()) == 0)
		;
	check(beam_channel_breach(ends.channel[1]) == NULL);
	ends_close(&ends);
}

static atomic_bool opening;

static void *open_and_release(void *argument)
{
	beam_topic *topic = NULL;

	while (atomic_load(&opening)) {
		if (!check_int(beam_topic_open(&topic, ends.channel[*(int *)argument], "contended"), 0))
			break;
		if (beam_topic_send(topic, "x", 1, 0, BEAM_NOWAIT) < 0)
			sched_yield();
		receive_nothing(topic, BEAM_NOWAIT);
		beam_topic_unref(topic);
	}
	return NULL;
}

static void test_a_name_opened_and_released_by_many_threads_of_both_sides_breaks_no_rule(void)
{
	int sides[2] = {0, 1};
	pthread_t threads[4];

	ends_open(&ends, NULL);
	atomic_store(&opening, true);
	for (int i = 0; i < 4; i++)
		threads[i] = thread_spawn(open_and_release, &sides[i % 2]);
	for (uint64_t i = 0; i < scale(2000) + 10 && !harness_failures(); i++) {
		send_number(ends.topic[0], i);
		expect_number(ends.topic[1], i);
	}
	atomic_store(&opening, false);
	for (int i = 0; i < 4; i++)
		thread_wait(threads[i]);
	check_string(beam_channel_breach(ends.channel[0]), NULL);
	check_string(beam_channel_breach(ends.channel[1]), NULL);
	ends_close(&ends);
}

/* ---- Closing --------------------------------------------------------------------------------- */

static void *close_many_times(void *unused)
{
	(void)unused;
	for (int i = 0; i < 10; i++)
		check_int(beam_channel_close(ends.channel[0], soon()), 0);
	return NULL;
}

static void test_a_channel_can_be_closed_by_many_threads_many_times(void)
{
	pthread_t threads[4];

	ends_open(&ends, NULL);
	for (uint64_t i = 0; i < 100; i++)
		send_number(ends.topic[0], i);
	for (int i = 0; i < 4; i++)
		threads[i] = thread_spawn(close_many_times, NULL);
	for (int i = 0; i < 4; i++)
		thread_wait(threads[i]);
	for (uint64_t i = 0; i < 100; i++)
		expect_number(ends.topic[1], i);
	check_int(receive_nothing(ends.topic[1], soon()), 0);
	ends_close(&ends);
}

static void test_what_arrived_before_a_close_here_can_still_be_received(void)
{
	struct beam_statistics statistics;

	ends_open(&ends, NULL);
	send_text(ends.topic[0], "just in time");
	check_within(20000, beam_topic_statistics(ends.topic[1], &statistics, sizeof statistics) == 0 &&
				statistics.messages_queued == 1);
	check_int(beam_channel_close(ends.channel[1], BEAM_NOWAIT) % EAGAIN, 0);
	expect_text(ends.topic[1], "just in time");
	check_int(receive_nothing(ends.topic[1], soon()), 0);
	ends_close(&ends);
}

static void test_of_a_channel_that_has_ended_topics_with_messages_can_still_be_opened(void)
{
	beam_topic *early = NULL, *none = NULL;

	ends_open(&ends, NULL);
	require_int(beam_topic_open(&early, ends.channel[0], "early"), 0);
	send_text(early, "before the end");
	check_int(beam_channel_close(ends.channel[0], soon()), 0);
	check_int(receive_nothing(ends.topic[1], soon()), 0);
	early = beam_topic_unref(early);
	check_int(beam_topic_open(&none, ends.channel[1], "no such"), -EPIPE);
	if (check_int(beam_topic_open(&early, ends.channel[1], "early"), 0)) {
		expect_text(early, "before the end");
		check_int(receive_nothing(early, soon()), 0);
		beam_topic_unref(early);
	}
	ends_close(&ends);
}

static void test_topics_and_messages_outlive_their_channel(void)
{
	struct beam_statistics statistics;
	beam_message *message = NULL;
	beam_topic *topic;

	ends_open(&ends, NULL);
	send_text(ends.topic[0], "first");
	send_text(ends.topic[0], "second");
	require_int(beam_topic_receive(ends.topic[1], &message, 0, soon()), 1);
	topic = beam_topic_ref(ends.topic[1]);
	check_within(20000, beam_topic_statistics(topic, &statistics, sizeof statistics) == 0 &&
				statistics.messages_queued == 1);
	ends_close(&ends);
	/* Releasing the last channel handle has closed the channel. */
	check_int(beam_topic_send(topic, "x", 1, 0, soon()), -EPIPE);
	check_string(beam_topic_name(topic), "topic");
	expect_text(topic, "second");
	check_int(receive_nothing(topic, soon()), 0);
	check_int(beam_topic_close_send(topic), 0);
	beam_topic_unref(topic);
	check_bytes(beam_message_data(message), "first", 5);
	beam_message_free(message);
}

static void test_another_handle_keeps_a_channel_open(void)
{
	ends_open(&ends, NULL);
	check(beam_channel_ref(ends.channel[0]) == ends.channel[0]);
	check(beam_channel_unref(ends.channel[0]) == NULL);
	send_text(ends.topic[0], "still open");
	expect_text(ends.topic[1], "still open");
	ends_close(&ends);
}

static void test_a_channel_without_handles_is_found_by_its_topic_and_not_revived(void)
{
	beam_channel *channel;
	beam_select *selector;

	require_int(beam_select_new(&selector), 0);
	ends_open(&ends, NULL);
	channel = ends.channel[0];
	check(beam_topic_channel(ends.topic[0]) == channel);
	check(beam_topic_channel(NULL) == NULL && beam_channel_ref(NULL) == NULL);
	ends.channel[0] = beam_channel_unref(channel);
	check(beam_topic_channel(ends.topic[0]) == channel);
	check(beam_channel_ref(channel) == NULL);
	check_int(beam_channel_accept_fd(channel), -EPIPE);
	check_int(beam_select_add_channel(selector, channel, NULL), -EPIPE);
	beam_select_unref(selector);
	check_int(beam_channel_close(channel, soon()), 0);
	check_int(beam_topic_send(ends.topic[0], "x", 1, 0, soon()), -EPIPE);
	check_int(receive_nothing(ends.topic[1], soon()), 0);
	ends_close(&ends);
}

/* ---- Nothing is lost ------------------------------------------------------------------------- */

enum { BURST = 20000 };

/* Runs in another program, which has one end of the connection. */
static int burst(int socket, uint64_t n)
{
	beam_channel *channel = NULL;
	beam_topic *topic = NULL;

	require_int(beam_channel_from_fd(&channel, socket, NULL), 0);
	require_int(beam_topic_open(&topic, channel, "topic"), 0);
	for (uint64_t i = 0; i < n; i++)
		send_number(topic, i);
	return 0;
}

/* Opens a channel here. Returns the descriptor of its other end. */
static int open_with_other_end(void)
{
	int fds[2];

	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	require_int(beam_channel_from_fd(&ends.channel[0], fds[0], NULL), 0);
	require_int(beam_topic_open(&ends.topic[0], ends.channel[0], "topic"), 0);
	return fds[1];
}

static void test_a_program_that_sends_a_burst_and_returns_from_main_loses_nothing(void)
{
	char number[32];
	char *const arguments[] = {(char[]){"burst"}, (char[]){"--burst"}, number, NULL};
	posix_spawn_file_actions_t actions;
	int other = open_with_other_end();
	char program[PATH_MAX] = "";
	pid_t child;

	/* The program is this one (see main()). Its end of the connection is descriptor 3. */
	snprintf(number, sizeof number, "%zu", scale(BURST));
	require(readlink("/proc/self/exe", program, sizeof program - 1) > 0);
	require_int(posix_spawn_file_actions_init(&actions), 0);
	require_int(posix_spawn_file_actions_adddup2(&actions, other, 3), 0);
	require_int(posix_spawn(&child, program, &actions, NULL, arguments, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(other);
	for (uint64_t i = 0; i < scale(BURST); i++)
		expect_number(ends.topic[0], i);
	check_int(receive_nothing(ends.topic[0], soon()), 0);
	check_int(process_wait(child), 0);
	ends_close(&ends);
}

static void test_a_burst_before_the_last_handle_goes_loses_nothing(void)
{
	ends_open(&ends, NULL);
	for (uint64_t i = 0; i < scale(3000); i++)
		send_number(ends.topic[1], i);
	ends.topic[1] = beam_topic_unref(ends.topic[1]);
	ends.channel[1] = beam_channel_unref(ends.channel[1]);
	for (uint64_t i = 0; i < scale(3000); i++)
		expect_number(ends.topic[0], i);
	check_int(receive_nothing(ends.topic[0], soon()), 0);
	ends_close(&ends);
}

static int child_sends_and_is_killed(void *argument)
{
	beam_channel *channel = NULL;
	beam_topic *topic = NULL;

	require_int(beam_channel_from_fd(&channel, *(int *)argument, NULL), 0);
	require_int(beam_topic_open(&topic, channel, "topic"), 0);
	for (uint64_t i = 0; i < 100; i++)
		send_number(topic, i);
	check_int(beam_channel_flush(channel, soon()), 0);
	kill(getpid(), SIGKILL);
	return 1;
}

static void test_what_a_killed_process_had_flushed_arrives_and_then_an_error(void)
{
	int other;
	pid_t child;

	needs_threads_in_children();
	other = open_with_other_end();
	child = process_spawn(child_sends_and_is_killed, &other);
	close(other);
	for (uint64_t i = 0; i < 100; i++)
		expect_number(ends.topic[0], i);
	check_int(receive_nothing(ends.topic[0], soon()), -ECONNRESET);
	check_int(receive_nothing(ends.topic[0], soon()), -ECONNRESET);
	check_int(beam_topic_send(ends.topic[0], "x", 1, 0, soon()), -ECONNRESET);
	check_int(beam_channel_accept(ends.channel[0], &(beam_topic *){NULL}, soon()), -ECONNRESET);
	check_int(process_wait(child), 128 + SIGKILL);
	ends_close(&ends);
}

static int child_says_goodbye(void *argument)
{
	beam_channel *channel = NULL;
	beam_topic *topic = NULL;

	require_int(beam_channel_from_fd(&channel, *(int *)argument, NULL), 0);
	require_int(beam_topic_open(&topic, channel, "topic"), 0);
	send_text(topic, "goodbye");
	check_int(beam_channel_close(channel, soon()), 0);
	kill(getpid(), SIGKILL);
	return 1;
}

static void test_a_goodbye_is_an_end_in_order_whatever_happens_afterwards(void)
{
	int other;
	pid_t child;

	needs_threads_in_children();
	other = open_with_other_end();
	child = process_spawn(child_says_goodbye, &other);
	close(other);
	expect_text(ends.topic[0], "goodbye");
	check_int(receive_nothing(ends.topic[0], soon()), 0);
	check_int(process_wait(child), 128 + SIGKILL);
	check_int(receive_nothing(ends.topic[0], soon()), 0);
	check_int(beam_topic_send(ends.topic[0], "x", 1, 0, soon()), -EPIPE);
	ends_close(&ends);
}

static void test_flush_waits_until_the_kernel_has_everything(void)
{
	static unsigned char bytes[1 << 20];
	size_t total = 0;
	ssize_t n;
	int other = open_with_other_end();

	check_int(beam_channel_flush(ends.channel[0], soon()), 0);
	for (int i = 0; i < 100; i++)
		send_text(ends.topic[0], "twelve bytes");
	check_int(beam_channel_flush(ends.channel[0], soon()), 0);
	check_int(beam_channel_flush(ends.channel[0], BEAM_NOWAIT), 0);
	/* HELLO, OPEN, and 100 frames of 16 + 12 + 4 bytes are in the socket. */
	while ((n = recv(other, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
		total += (size_t)n;
	check_int(total, 64 + 24 + 100 * 32);
	close(other);
	ends_close(&ends);
}

static const struct test tests[] = {
    TEST(test_a_closed_topic_ends_for_its_receivers_after_all_that_was_sent),
    TEST(test_a_reset_topic_ends_for_its_senders_and_throws_away_what_waits),
    TEST(test_a_topic_can_be_closed_both_ways_while_it_is_held),
    TEST(test_a_topic_that_was_accepted_can_be_refused),
    TEST(test_the_last_handle_closes_a_topic_both_ways),
    TEST(test_a_name_can_be_opened_again_and_receiving_goes_on),
    TEST(test_a_name_opened_and_released_by_many_threads_of_both_sides_breaks_no_rule),
    TEST(test_a_channel_can_be_closed_by_many_threads_many_times),
    TEST(test_what_arrived_before_a_close_here_can_still_be_received),
    TEST(test_of_a_channel_that_has_ended_topics_with_messages_can_still_be_opened),
    TEST(test_topics_and_messages_outlive_their_channel),
    TEST(test_another_handle_keeps_a_channel_open),
    TEST(test_a_channel_without_handles_is_found_by_its_topic_and_not_revived),
    TEST(test_a_program_that_sends_a_burst_and_returns_from_main_loses_nothing),
    TEST(test_a_burst_before_the_last_handle_goes_loses_nothing),
    TEST(test_what_a_killed_process_had_flushed_arrives_and_then_an_error),
    TEST(test_a_goodbye_is_an_end_in_order_whatever_happens_afterwards),
    TEST(test_flush_waits_until_the_kernel_has_everything),
};

int main(int argc, char **argv)
{
	/* The program of test_a_program_that_sends_a_burst_… It tests the return from main(). */
	if (argc == 3 && strcmp(argv[1], "--burst") == 0)
		return burst(3, strtoull(argv[2], NULL, 10));
	return harness_main("public/channel-end", tests, sizeof tests / sizeof tests[0], argc, argv);
}
