/* SPDX-License-Identifier: MIT */
/* The descriptors for event loops show what a call would not block for, whatever caused it. */
#include <poll.h>
#include <public/ends.h>

static struct ends ends;

static bool shows(int fd)
{
	struct pollfd item = {.fd = fd, .events = POLLIN};

	return poll(&item, 1, 0) == 1 && item.revents == POLLIN;
}

static bool comes_to_show(int fd)
{
	struct pollfd item = {.fd = fd, .events = POLLIN};

	return poll(&item, 1, stretch(20000)) == 1;
}

static int topic_fd(beam_topic *topic)
{
	int fd = beam_topic_receive_fd(topic);

	require(fd >= 0);
	return fd;
}

/* All functions for event loops return this error. */
static void expect_error(beam_channel *channel, beam_topic *topic, beam_call *call, int error)
{
	beam_deadline deadline;

	check_int(beam_topic_receive_fd(topic), error);
	check_int(beam_topic_send_fd(topic), error);
	check_int(beam_call_receive_fd(call), error);
	check_int(beam_channel_accept_fd(channel), error);
	check_int(beam_channel_loop_fd(channel), error);
	check_int(beam_channel_loop_events(channel), error);
	check_int(beam_channel_loop_nudge_fd(channel), error);
	check_int(beam_channel_loop_deadline(channel, &deadline), error);
	check_int(beam_channel_dispatch(channel, 0), error);
}

static beam_call *waiting;

static int ask_in_child(void *unused)
{
	(void)unused;
	expect_error(ends.channel[0], ends.topic[0], waiting, -ECHILD);
	return 0;
}

static void test_bad_input_gives_an_error(void)
{
	beam_deadline deadline;

	expect_error(NULL, NULL, NULL, -EINVAL);
	ends_open(&ends, NULL);
	require_int(beam_call_begin(&waiting, ends.topic[0], NULL, 0, NULL, 0, 0, soon()), 0);
	/* The channel has a thread. */
	check_int(beam_channel_loop_fd(ends.channel[0]), -EINVAL);
	check_int(beam_channel_loop_events(ends.channel[0]), -EINVAL);
	check_int(beam_channel_loop_deadline(ends.channel[0], &deadline), -EINVAL);
	check_int(beam_channel_dispatch(ends.channel[0], 0), -EINVAL);
	check_int(process_wait(process_spawn(ask_in_child, NULL)), 0);
	beam_call_unref(waiting);
	ends_close(&ends);
}

static void test_a_topic_shows_for_as_long_as_it_has_a_message(void)
{
	int fd;

	ends_open(&ends, NULL);
	fd = topic_fd(ends.topic[1]);
	check_int(beam_topic_receive_fd(ends.topic[1]), fd);
	check(!shows(fd));
	send_text(ends.topic[0], "one");
	send_text(ends.topic[0], "two");
	check(comes_to_show(fd));
	check(shows(fd));
	expect_text(ends.topic[1], "one");
	check(comes_to_show(fd));
	expect_text(ends.topic[1], "two");
	check(!shows(fd));
	ends_close(&ends);
}

static void test_a_message_that_was_queued_before_shows(void)
{
	ends_open(&ends, NULL);
	send_text(ends.topic[0], "one");
	send_text(ends.topic[0], "two");
	expect_text(ends.topic[1], "one");
	check(comes_to_show(topic_fd(ends.topic[1])));
	expect_text(ends.topic[1], "two");
	check(!shows(topic_fd(ends.topic[1])));
	ends_close(&ends);
}

static void test_the_end_shows_for_good(void)
{
	beam_message *message;
	int fd;

	ends_open(&ends, NULL);
	fd = topic_fd(ends.topic[1]);
	check_int(beam_channel_close(ends.channel[0], soon()), 0);
	check(comes_to_show(fd));
	check_int(beam_topic_receive(ends.topic[1], &message, 0, BEAM_NOWAIT), 0);
	check(shows(fd));
	ends_close(&ends);
}

static void test_a_topic_that_was_closed_and_opened_again_shows_no_end(void)
{
	int fd;

	ends_open(&ends, NULL);
	fd = topic_fd(ends.topic[1]);
	ends.topic[0] = beam_topic_unref(ends.topic[0]);
	check(comes_to_show(fd));
	require_int(beam_topic_open(&ends.topic[0], ends.channel[0], "topic"), 0);
	check_within(20000, !shows(fd));
	send_text(ends.topic[0], "again");
	check(comes_to_show(fd));
	ends_close(&ends);
}

static void test_a_call_shows_its_replies_and_its_end(void)
{
	beam_message *request, *reply;
	beam_call *call;
	int fd;

	ends_open(&ends, NULL);
	require_int(beam_call_begin(&call, ends.topic[0], NULL, 0, NULL, 0, 0, soon()), 0);
	fd = beam_call_receive_fd(call);
	require(fd >= 0);
	check(!shows(fd));
	require_int(beam_topic_receive(ends.topic[1], &request, 0, soon()), 1);
	check_int(beam_message_replyv(request, NULL, 0, NULL, 0, BEAM_REPLY_MORE, soon()), 0);
	check(comes_to_show(fd));
	require_int(beam_call_receive(call, &reply, 0, BEAM_NOWAIT), 1);
	beam_message_free(reply);
	check(!shows(fd));
	check_int(beam_message_reply_failure(request, BEAM_FAILURE_APPLICATION, NULL, 0, 0, soon()), 0);
	check(comes_to_show(fd));
	check_int(beam_call_receive(call, &reply, 0, BEAM_NOWAIT), -EREMOTEIO);
	check(shows(fd));
	beam_message_free(request);
	beam_call_unref(call);
	check(!fd_open(fd));
	ends_close(&ends);
}

static void test_a_reset_shows(void)
{
	int fd;

	ends_open(&ends, NULL);
	fd = topic_fd(ends.topic[1]);
	check(!shows(fd));
	check_int(beam_topic_close_receive(ends.topic[1]), 0);
	check(shows(fd));
	ends_close(&ends);
}

static void test_a_channel_shows_topics_that_nobody_has_opened(void)
{
	beam_topic *other, *accepted;
	int fd;

	ends_open(&ends, NULL);
	fd = beam_channel_accept_fd(ends.channel[1]);
	require(fd >= 0);
	check(!shows(fd));
	require_int(beam_topic_open(&other, ends.channel[0], "other"), 0);
	check(comes_to_show(fd));
	check_int(beam_channel_accept(ends.channel[1], &accepted, BEAM_NOWAIT), 1);
	check(!shows(fd));
	beam_topic_unref(accepted);
	beam_topic_unref(other);
	check_int(beam_channel_close(ends.channel[0], soon()), 0);
	check(comes_to_show(fd));
	check_int(beam_channel_accept(ends.channel[1], &accepted, BEAM_NOWAIT), 0);
	ends_close(&ends);
}

static void test_opening_by_name_takes_a_topic_from_those_that_show(void)
{
	beam_topic *other, *opened;
	int fd;

	ends_open(&ends, NULL);
	fd = beam_channel_accept_fd(ends.channel[1]);
	require(fd >= 0);
	require_int(beam_topic_open(&other, ends.channel[0], "other"), 0);
	check(comes_to_show(fd));
	require_int(beam_topic_open(&opened, ends.channel[1], "other"), 0);
	check(!shows(fd));
	beam_topic_unref(opened);
	beam_topic_unref(other);
	ends_close(&ends);
}

static void test_room_shows_until_the_credit_is_used_up_and_again_when_it_is_back(void)
{
	static const char payload[4096];
	struct beam_limits limits;
	size_t sent = 0;
	int fd;

	ends_open(&ends, NULL);
	/* After this the window does not grow any more. */
	require_int(beam_channel_limits(ends.channel[0], &limits, sizeof limits, soon()), 0);
	fd = beam_topic_send_fd(ends.topic[0]);
	require(fd >= 0);
	check_int(beam_topic_send_fd(ends.topic[0]), fd);
	for (; sent * (sizeof payload + 64) < limits.topic_window_bytes; sent++) {
		require(comes_to_show(fd));
		require_int(beam_topic_send(ends.topic[0], payload, sizeof payload, 0, BEAM_NOWAIT), 0);
	}
	/* Nobody has received a message, so there is no room. */
	check(!shows(fd));
	check_int(beam_topic_send(ends.topic[0], payload, sizeof payload, 0, BEAM_NOWAIT), -EAGAIN);
	for (; sent; sent--) {
		beam_message *message;

		require_int(beam_topic_receive(ends.topic[1], &message, 0, soon()), 1);
		beam_message_free(message);
	}
	check(comes_to_show(fd));
	check_int(beam_topic_send(ends.topic[0], payload, sizeof payload, 0, BEAM_NOWAIT), 0);
	ends_close(&ends);
}

static void test_room_shows_when_sending_fails_at_once(void)
{
	int fd;

	ends_open(&ends, NULL);
	fd = beam_topic_send_fd(ends.topic[0]);
	require(fd >= 0);
	check_int(beam_topic_close_receive(ends.topic[1]), 0);
	check(comes_to_show(fd));
	check_within(20000, beam_topic_send(ends.topic[0], "x", 1, 0, BEAM_NOWAIT) == -EPIPE);
	check(shows(fd));
	ends_close(&ends);
}

/* Counts and replies until the end. */
static void *echo_by_poll(void *unused)
{
	int fd = topic_fd(ends.topic[1]);
	size_t n = 0;

	(void)unused;
	for (;;) {
		beam_message *message;
		int r;

		require(comes_to_show(fd));
		while ((r = beam_topic_receive(ends.topic[1], &message, 0, BEAM_NOWAIT)) == 1) {
			check_int(beam_topic_send_message(ends.topic[1], message, 0, soon()), 0);
			n++;
		}
		if (r != -EAGAIN) {
			check_int(r, 0);
			return (void *)(uintptr_t)n;
		}
	}
}

static void test_no_message_is_missed_by_a_loop_that_polls(void)
{
	const size_t n = scale(320) * 64;
	pthread_t echo;

	ends_open(&ends, NULL);
	echo = thread_spawn(echo_by_poll, NULL);
	for (uint64_t i = 0; i < n; i++) {
		send_number(ends.topic[0], i);
		/* Sometimes one message is under way, and sometimes a few. */
		if (i % 64 < 32)
			expect_number(ends.topic[0], i);
		else if (i % 64 == 63)
			for (uint64_t j = i - 31; j <= i; j++)
				expect_number(ends.topic[0], j);
	}
	check_int(beam_topic_close_send(ends.topic[0]), 0);
	check_int((uintptr_t)thread_wait(echo), n);
	ends_close(&ends);
}

static void *receive_all(void *unused)
{
	uint64_t number;
	size_t n = 0;

	(void)unused;
	while (receive_number(ends.topic[1], &number) == 1)
		n++;
	return (void *)(uintptr_t)n;
}

static void test_blocked_receivers_get_theirs_beside_a_descriptor(void)
{
	const uint64_t n = scale(5000);
	pthread_t threads[3];
	uintptr_t sum = 0;
	int fd;

	ends_open(&ends, NULL);
	fd = topic_fd(ends.topic[1]);
	for (int i = 0; i < 3; i++)
		threads[i] = thread_spawn(receive_all, NULL);
	for (uint64_t i = 0; i < n; i++)
		send_number(ends.topic[0], i);
	check_int(beam_topic_close_send(ends.topic[0]), 0);
	for (int i = 0; i < 3; i++)
		sum += (uintptr_t)thread_wait(threads[i]);
	check_int(sum, n);
	check(shows(fd));
	ends_close(&ends);
}

static const struct test tests[] = {
    TEST(test_bad_input_gives_an_error),
    TEST(test_a_topic_shows_for_as_long_as_it_has_a_message),
    TEST(test_a_message_that_was_queued_before_shows),
    TEST(test_the_end_shows_for_good),
    TEST(test_a_topic_that_was_closed_and_opened_again_shows_no_end),
    TEST(test_a_call_shows_its_replies_and_its_end),
    TEST(test_a_reset_shows),
    TEST(test_a_channel_shows_topics_that_nobody_has_opened),
    TEST(test_opening_by_name_takes_a_topic_from_those_that_show),
    TEST(test_room_shows_until_the_credit_is_used_up_and_again_when_it_is_back),
    TEST(test_room_shows_when_sending_fails_at_once),
    TEST(test_no_message_is_missed_by_a_loop_that_polls),
    TEST(test_blocked_receivers_get_theirs_beside_a_descriptor),
};

HARNESS_MAIN("public/event", tests)
