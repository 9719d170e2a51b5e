/* SPDX-License-Identifier: MIT */
/*
 * Channels without a thread, run by the caller's loop.
 */
#include <poll.h>
#include <public/ends.h>

/* The first channel is in loop mode and has no thread. */
static struct ends ends;
static struct beam_channel_options looped = BEAM_CHANNEL_OPTIONS;

static void open_looped(void)
{
	/*
	 * A window that is larger than the socket's buffer, so that some output has to be written
	 * later.
	 */
	struct beam_channel_options wide = BEAM_CHANNEL_OPTIONS;
	struct beam_limits limits;
	int fds[2];

	wide.topic_window_bytes = 64 << 20;
	/*
	 * Attachments of its own. Lent ones would be returned at some time, which would look like
	 * activity.
	 */
	wide.attachments = looped.attachments = wide.topic_window_attachments;
	looped.loop = 1;
	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	for (int i = 0; i < 2; i++) {
		require_int(beam_channel_from_fd(&ends.channel[i], fds[i], i ? &wide : &looped), 0);
		require_int(beam_topic_open(&ends.topic[i], ends.channel[i], "topic"), 0);
	}
	require_int(beam_channel_limits(ends.channel[0], &limits, sizeof limits, soon()), 0);
}

static int milliseconds_until(beam_deadline deadline)
{
	int64_t left = deadline.ns - now_ns();

	if (deadline.ns == BEAM_FOREVER.ns || left > INT64_C(20000000000))
		return stretch(20000);
	return left <= 0 ? 0 : (int)(left / 1000000) + 1;
}

/*
 * Runs one round of a loop as a program would, which also waits for another descriptor, if there is
 * one. Returns the result of dispatch.
 */
static int turn_or(beam_channel *channel, int fd)
{
	struct pollfd items[2] = {
	    {.fd = beam_channel_loop_fd(channel), .events = (short)beam_channel_loop_events(channel)},
	    {.fd = fd, .events = POLLIN}};
	beam_deadline deadline;

	require(items[0].fd >= 0);
	require_int(beam_channel_loop_deadline(channel, &deadline), 0);
	require(poll(items, 2, milliseconds_until(deadline)) >= 0);
	return beam_channel_dispatch(channel, items[0].revents);
}

static int turn(beam_channel *channel)
{
	return turn_or(channel, -1);
}

/* The same if other threads use the channel. */
static int nudged_turn(beam_channel *channel)
{
	int nudge = beam_channel_loop_nudge_fd(channel);

	/* If two loops run the channel, the other one may have seen its end. */
	require(nudge >= 0 || nudge == -EPIPE);
	return turn_or(channel, nudge);
}

static void test_a_loop_receives_what_comes_and_answers(void)
{
	beam_message *message;
	int r;

	open_looped();
	for (uint64_t i = 0; i < 100; i++) {
		send_number(ends.topic[1], i);
		while ((r = beam_topic_receive(ends.topic[0], &message, 0, BEAM_NOWAIT)) == -EAGAIN)
			check_int(turn(ends.channel[0]), 1);
		require_int(r, 1);
		check_int(beam_topic_send_message(ends.topic[0], message, 0, BEAM_NOWAIT), 0);
		expect_number(ends.topic[1], i);
	}
	ends_close(&ends);
}

static void test_without_input_the_descriptor_shows_nothing(void)
{
	struct pollfd item = {.events = POLLIN};
	beam_deadline deadline = BEAM_NOWAIT;

	open_looped();
	send_text(ends.topic[1], "one");
	expect_text(ends.topic[0], "one");
	item.fd = beam_channel_loop_fd(ends.channel[0]);
	/* Process what remains: HELLO, credit, and memory that is kept for reuse. */
	do {
		check_int(beam_channel_loop_deadline(ends.channel[0], &deadline), 0);
		poll(&item, 1, deadline.ns == BEAM_FOREVER.ns ? 0 : milliseconds_until(deadline));
		check_int(beam_channel_dispatch(ends.channel[0], item.revents), 1);
	} while (deadline.ns != BEAM_FOREVER.ns);
	check_int(poll(&item, 1, 0), 0);
	send_text(ends.topic[1], "two");
	check_int(poll(&item, 1, stretch(20000)), 1);
	check_int(beam_channel_dispatch(ends.channel[0], POLLIN), 1);
	check_int(poll(&item, 1, 0), 0);
	expect_text(ends.topic[0], "two");
	ends_close(&ends);
}

static void test_a_topics_descriptor_shows_what_a_dispatch_brought(void)
{
	struct pollfd item = {.events = POLLIN};
	beam_message *message;

	open_looped();
	item.fd = beam_topic_receive_fd(ends.topic[0]);
	require(item.fd >= 0);
	send_text(ends.topic[1], "one");
	check_int(poll(&item, 1, 0), 0);
	while (poll(&item, 1, 0) == 0)
		check_int(turn(ends.channel[0]), 1);
	check_int(beam_topic_receive(ends.topic[0], &message, 0, BEAM_NOWAIT), 1);
	beam_message_free(message);
	check_int(poll(&item, 1, 0), 0);
	ends_close(&ends);
}

static void *block(void *argument)
{
	expect_text(argument, "for the one who waits");
	return NULL;
}

static void test_who_blocks_needs_no_loop(void)
{
	pthread_t thread;

	open_looped();
	thread = thread_spawn(block, ends.topic[0]);
	send_text(ends.topic[1], "for the one who waits");
	thread_wait(thread);
	ends_close(&ends);
}

static void *send_much(void *argument)
{
	for (uint64_t i = 0; i < scale(20000); i++)
		send_number(argument, i);
	check_int(beam_topic_close_send(argument), 0);
	return NULL;
}

/*
 * The loop runs the channel while other threads send on it, and receives in both directions until
 * both sides have closed.
 */
static void test_threads_use_a_channel_while_a_loop_runs_it(void)
{
	uint64_t expected[2] = {0, 0}, number;
	bool ended[2] = {false, false};
	pthread_t senders[2];

	open_looped();
	for (int i = 0; i < 2; i++)
		senders[i] = thread_spawn(send_much, ends.topic[i]);
	while (!ended[0] || !ended[1]) {
		for (int i = 0; i < 2; i++) {
			size_t size;
			int r;

			while ((r = beam_topic_receive_into(ends.topic[i], &number, sizeof number, &size, NULL, 0, NULL,
							    0, BEAM_NOWAIT)) == 1)
				check_int(number, expected[i]++);
			ended[i] = r == 0;
		}
		/*
		 * This waits for the looped channel only. Messages for the other end are received
		 * in the next round.
		 */
		if (!ended[0])
			check_int(nudged_turn(ends.channel[0]), 1);
		else
			check_int(beam_channel_dispatch(ends.channel[0], POLLIN | POLLOUT), 1);
	}
	for (int i = 0; i < 2; i++) {
		thread_wait(senders[i]);
		check_int(expected[i], scale(20000));
	}
	ends_close(&ends);
}

static void *dispatch_until_over(void *channel)
{
	while (nudged_turn(channel))
		;
	return NULL;
}

static void test_two_loops_at_once_do_no_harm(void)
{
	pthread_t loops[2];

	open_looped();
	for (int i = 0; i < 2; i++)
		loops[i] = thread_spawn(dispatch_until_over, ends.channel[0]);
	for (uint64_t i = 0; i < scale(2000); i++) {
		send_number(ends.topic[1], i);
		expect_number(ends.topic[0], i);
	}
	check_int(beam_channel_close(ends.channel[1], soon()), 0);
	for (int i = 0; i < 2; i++)
		thread_wait(loops[i]);
	ends_close(&ends);
}

static void test_the_loop_is_told_when_it_is_over_and_what_came_can_still_be_received(void)
{
	beam_message *message;
	int fd;

	open_looped();
	send_text(ends.topic[1], "the last");
	check_int(beam_channel_close(ends.channel[1], soon()), 0);
	fd = beam_channel_loop_fd(ends.channel[0]);
	while (turn(ends.channel[0]))
		;
	check_int(beam_channel_dispatch(ends.channel[0], 0), 0);
	check_int(beam_channel_loop_fd(ends.channel[0]), fd);
	check(fd_open(fd));
	expect_text(ends.topic[0], "the last");
	check_int(beam_topic_receive(ends.topic[0], &message, 0, BEAM_FOREVER), 0);
	ends_close(&ends);
	check_within(20000, !fd_open(fd));
}

static void test_what_does_not_fit_into_the_socket_goes_with_the_loop(void)
{
	static const char payload[4096];
	beam_message *message;
	size_t sent = 0, received = 0;
	int fd;

	open_looped();
	while (beam_topic_send(ends.topic[0], payload, sizeof payload, 0, BEAM_NOWAIT) == 0)
		sent++;
	check(sent > 10);
	fd = beam_topic_receive_fd(ends.topic[1]);
	require(fd >= 0);
	while (received < sent) {
		/* When everything has been written, wait for the other end. */
		turn_or(ends.channel[0], fd);
		while (beam_topic_receive(ends.topic[1], &message, 0, BEAM_NOWAIT) == 1) {
			beam_message_free(message);
			received++;
		}
	}
	ends_close(&ends);
}

static void *fill(void *topic)
{
	static const char payload[4096];
	size_t sent = 0;

	while (beam_topic_send(topic, payload, sizeof payload, 0, BEAM_NOWAIT) == 0)
		sent++;
	return (void *)(uintptr_t)sent;
}

/* Nothing is read at the other end at first, and the socket takes little. */
static void test_what_another_thread_leaves_to_be_written_is_told_by_the_nudge(void)
{
	static char bytes[1 << 20];
	struct pollfd nudge = {.events = POLLIN};
	beam_channel *channel;
	beam_topic *topic;
	int fds[2];

	looped.loop = 1;
	looped.socket_buffer_bytes = 4096;
	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	require_int(beam_channel_from_fd(&channel, fds[0], &looped), 0);
	looped.socket_buffer_bytes = 1 << 20;
	require_int(beam_topic_open(&topic, channel, "topic"), 0);
	nudge.fd = beam_channel_loop_nudge_fd(channel);
	require(nudge.fd >= 0);
	check_int(beam_channel_loop_nudge_fd(channel), nudge.fd);
	check_int(beam_channel_dispatch(channel, 0), 1);
	check_int(poll(&nudge, 1, 0), 0);
	check_int(beam_channel_loop_events(channel), POLLIN);
	check((uintptr_t)thread_wait(thread_spawn(fill, topic)) > 4);
	check_int(poll(&nudge, 1, 0), 1);
	check_int(beam_channel_loop_events(channel), POLLIN | POLLOUT);
	while (beam_channel_loop_events(channel) & POLLOUT) {
		check(read(fds[1], bytes, sizeof bytes) > 0);
		check_int(nudged_turn(channel), 1);
	}
	beam_topic_unref(topic);
	beam_channel_unref(channel);
	close(fds[1]);
}

static void *receive_other(void *topic)
{
	expect_text(topic, "other");
	return NULL;
}

static void test_what_another_thread_has_read_for_the_loop_is_told_by_the_nudge(void)
{
	struct pollfd item = {.events = POLLIN};
	beam_topic *others[2];
	beam_message *message;
	pthread_t thread;

	open_looped();
	for (int i = 0; i < 2; i++)
		require_int(beam_topic_open(&others[i], ends.channel[i], "other"), 0);
	item.fd = beam_channel_loop_nudge_fd(ends.channel[0]);
	require(item.fd >= 0);
	check_int(beam_channel_dispatch(ends.channel[0], 0), 1);
	thread = thread_spawn(receive_other, others[0]);
	send_text(ends.topic[1], "for the loop");
	send_text(others[1], "other");
	thread_wait(thread);
	check_int(poll(&item, 1, stretch(20000)), 1);
	check_int(beam_channel_dispatch(ends.channel[0], 0), 1);
	check_int(beam_topic_receive(ends.topic[0], &message, 0, BEAM_NOWAIT), 1);
	beam_message_free(message);
	for (int i = 0; i < 2; i++)
		beam_topic_unref(others[i]);
	ends_close(&ends);
}

static void test_a_channel_takes_no_descriptor_but_its_socket(void)
{
	beam_channel *channel;
	int fds[2];
	size_t before;

	looped.loop = 1;
	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	before = open_fds();
	require_int(beam_channel_from_fd(&channel, fds[0], &looped), 0);
	check_int(beam_channel_dispatch(channel, 0), 1);
	check_int(open_fds(), before);
	beam_channel_unref(channel);
	close(fds[1]);
}

static void test_close_waits_for_its_goodbye_without_a_loop(void)
{
	open_looped();
	send_text(ends.topic[0], "before the goodbye");
	check_int(beam_channel_close(ends.channel[0], soon()), 0);
	expect_text(ends.topic[1], "before the goodbye");
	ends_close(&ends);
}

/* The other side receives nothing until the handles have been released, and then everything. */
static void test_what_was_accepted_is_sent_after_the_last_handle_is_gone(void)
{
	static const char payload[4096];
	beam_message *message;
	size_t sent = 0, received = 0;

	open_looped();
	while (beam_topic_send(ends.topic[0], payload, sizeof payload, 0, BEAM_NOWAIT) == 0)
		sent++;
	ends.topic[0] = beam_topic_unref(ends.topic[0]);
	ends.channel[0] = beam_channel_unref(ends.channel[0]);
	while (beam_topic_receive(ends.topic[1], &message, 0, soon()) == 1) {
		beam_message_free(message);
		received++;
	}
	check_int(received, sent);
	ends_close(&ends);
}

static void test_a_frame_that_takes_too_long_is_noticed_by_the_loop(void)
{
	const unsigned char half[] = {0, 0, 0, 60, 1};
	beam_deadline deadline = BEAM_FOREVER;
	beam_channel *channel;
	int fds[2];

	looped.loop = 1;
	looped.frame_timeout_ms = 20;
	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	require_int(beam_channel_from_fd(&channel, fds[0], &looped), 0);
	require_int(write(fds[1], half, sizeof half), sizeof half);
	check_int(turn(channel), 1);
	check_int(beam_channel_loop_deadline(channel, &deadline), 0);
	check(deadline.ns != BEAM_FOREVER.ns);
	while (turn(channel))
		;
	check(beam_channel_breach(channel) != NULL);
	beam_channel_unref(channel);
	close(fds[1]);
	looped.frame_timeout_ms = 30000;
}

static void test_a_peer_that_dies_ends_it(void)
{
	beam_message *message;
	beam_channel *channel;
	beam_topic *topic;
	int fds[2];

	looped.loop = 1;
	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	require_int(beam_channel_from_fd(&channel, fds[0], &looped), 0);
	require_int(beam_topic_open(&topic, channel, "topic"), 0);
	close(fds[1]);
	while (turn(channel))
		;
	check_int(beam_topic_receive(topic, &message, 0, BEAM_NOWAIT), -ECONNRESET);
	check_int(beam_channel_close(channel, soon()), -ECONNRESET);
	beam_topic_unref(topic);
	beam_channel_unref(channel);
}

static const struct test tests[] = {
    TEST(test_a_loop_receives_what_comes_and_answers),
    TEST(test_without_input_the_descriptor_shows_nothing),
    TEST(test_a_topics_descriptor_shows_what_a_dispatch_brought),
    TEST(test_who_blocks_needs_no_loop),
    TEST(test_threads_use_a_channel_while_a_loop_runs_it),
    TEST(test_two_loops_at_once_do_no_harm),
    TEST(test_the_loop_is_told_when_it_is_over_and_what_came_can_still_be_received),
    TEST(test_what_does_not_fit_into_the_socket_goes_with_the_loop),
    TEST(test_what_another_thread_leaves_to_be_written_is_told_by_the_nudge),
    TEST(test_what_another_thread_has_read_for_the_loop_is_told_by_the_nudge),
    TEST(test_a_channel_takes_no_descriptor_but_its_socket),
    TEST(test_close_waits_for_its_goodbye_without_a_loop),
    TEST(test_what_was_accepted_is_sent_after_the_last_handle_is_gone),
    TEST(test_a_frame_that_takes_too_long_is_noticed_by_the_loop),
    TEST(test_a_peer_that_dies_ends_it),
};

HARNESS_MAIN("public/loop", tests)
