/* SPDX-License-Identifier: MIT */
/*
 * Calls that end without their last reply: cancelled, timed out, or ended with their channel or
 * their callee. Also, how many calls there may be.
 */
#include <public/calls.h>

/* ---- Cancelling ------------------------------------------------------------------------------ */

static void *wait_for_reply(void *call)
{
	beam_message *reply = NULL;
	int r = beam_call_receive(call, &reply, 0, soon());

	beam_message_free(reply);
	return (void *)(intptr_t)r;
}

static void test_a_cancelled_call_wakes_who_waits_and_its_callee_is_told(void)
{
	pthread_t threads[3];
	beam_message *request;
	beam_call *call;

	ends_open(&ends, NULL);
	call = call_text("x");
	request = take_request();
	reply_text(request, "thrown away", BEAM_REPLY_MORE);
	for (int i = 0; i < 3; i++)
		threads[i] = thread_spawn(wait_for_reply, beam_call_ref(call));
	/* One of them may receive the reply that arrived before. */
	check_int(beam_call_cancel(call), 0);
	check_int(beam_call_cancel(call), 0);
	for (int i = 0; i < 3; i++) {
		int r = (int)(intptr_t)thread_wait(threads[i]);

		check(r == -ECANCELED || r == 1);
		beam_call_unref(call);
	}
	expect_end(call, -ECANCELED);
	check_within(20000, beam_message_replyv(request, NULL, 0, NULL, 0, BEAM_REPLY_MORE, soon()) == -ECANCELED);
	check_int(beam_message_reply_failure(request, CODE, NULL, 0, 0, soon()), -ECANCELED);
	beam_message_free(request);
	expect_end(call, -ECANCELED);
	beam_call_unref(call);
	ends_close(&ends);
}

static void test_the_id_of_a_cancelled_call_is_free_when_it_has_ended(void)
{
	ends_open(&ends, NULL);
	for (int i = 0; i < 1000; i++) {
		beam_call *call = call_text("x");

		if (i % 2)
			beam_call_cancel(call);
		beam_call_unref(call);
		beam_message_free(take_request());
	}
	ends_close(&ends);
}

static void test_a_call_that_is_over_cannot_be_cancelled(void)
{
	beam_message *request;
	beam_call *call;

	ends_open(&ends, NULL);
	call = call_text("x");
	request = take_request();
	reply_text(request, "one", BEAM_REPLY_MORE);
	reply_text(request, "two", 0);
	beam_message_free(request);
	expect_reply(call, "one");
	expect_reply(call, "two");
	check_int(beam_call_cancel(call), 0);
	expect_end(call, 0);
	beam_call_unref(call);
	ends_close(&ends);
}

static void test_the_deadline_cancels_the_call(void)
{
	beam_message *request, *reply = NULL;

	ends_open(&ends, NULL);
	check_int(beam_topic_call(ends.topic[0], "x", 1, &reply, 0, beam_in_ms(10)), -ETIMEDOUT);
	check_int(beam_topic_call(ends.topic[0], "x", 1, &reply, 0, BEAM_NOWAIT), -EAGAIN);
	for (int i = 0; i < 2; i++) {
		request = take_request();
		check_within(20000,
			     beam_message_replyv(request, NULL, 0, NULL, 0, BEAM_REPLY_MORE, soon()) == -ECANCELED);
		beam_message_free(request);
	}
	check(reply == NULL);
	ends_close(&ends);
}

static void test_the_first_of_several_replies_is_that_of_a_plain_call(void)
{
	beam_message *reply = NULL, *request;
	beam_call *call;

	ends_open(&ends, NULL);
	/* The first reply is received, and then the call is released. */
	call = call_text("x");
	request = take_request();
	reply_text(request, "one", BEAM_REPLY_MORE);
	check_int(beam_call_receive(call, &reply, 0, soon()), 1);
	beam_message_free(reply);
	beam_call_unref(call);
	check_within(20000, beam_message_replyv(request, NULL, 0, NULL, 0, BEAM_REPLY_MORE, soon()) == -ECANCELED);
	beam_message_free(request);
	ends_close(&ends);
}

/* ---- Limits ---------------------------------------------------------------------------------- */

static void *begin_one_more(void *unused)
{
	beam_call *call = call_text("one more");

	(void)unused;
	expect_reply(call, "at last");
	beam_call_unref(call);
	return NULL;
}

static void test_a_call_waits_until_the_other_side_takes_one_more(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_call *calls[64], *more = NULL;
	struct beam_limits limits;
	beam_message *request;
	pthread_t thread;

	options.calls = 64;
	ends_open(&ends, &options);
	check_int(beam_channel_limits(ends.channel[0], &limits, sizeof limits, soon()), 0);
	check_int(limits.calls, 64);
	for (int i = 0; i < 64; i++)
		calls[i] = call_text("x");
	check_int(beam_call_begin(&more, ends.topic[0], NULL, 0, NULL, 0, 0, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_call_begin(&more, ends.topic[0], NULL, 0, NULL, 0, 0, beam_in_ms(10)), -ETIMEDOUT);
	thread = thread_spawn(begin_one_more, NULL);
	for (int i = 0; i < 64; i++)
		beam_message_free(take_request());
	for (int i = 0; i < 64; i++) {
		expect_failure(calls[i], BEAM_FAILURE_DROPPED, "");
		beam_call_unref(calls[i]);
	}
	request = take_request();
	reply_text(request, "at last", 0);
	beam_message_free(request);
	thread_wait(thread);
	ends_close(&ends);
}

/* ---- The end --------------------------------------------------------------------------------- */

static void test_closing_the_channel_wakes_the_caller(void)
{
	for (int side = 0; side < 2; side++) {
		pthread_t thread;
		beam_call *call;

		ends_open(&ends, NULL);
		call = call_text("x");
		thread = thread_spawn(wait_for_reply, call);
		beam_channel_close(ends.channel[side], soon());
		check_int((intptr_t)thread_wait(thread), -EPIPE);
		check_int(beam_call_begin(&(beam_call *){NULL}, ends.topic[0], NULL, 0, NULL, 0, 0, soon()), -EPIPE);
		check_int(beam_call_cancel(call), 0);
		expect_end(call, -EPIPE);
		ends_close(&ends);
		expect_end(call, -EPIPE);
		beam_call_unref(call);
	}
}

static void test_replies_that_came_before_the_end_come_first(void)
{
	beam_message *request;
	beam_call *call;

	ends_open(&ends, NULL);
	call = call_text("x");
	request = take_request();
	reply_text(request, "a part", BEAM_REPLY_MORE);
	check_int(beam_channel_close(ends.channel[1], soon()), 0);
	check_int(beam_message_reply(request, "the rest", 8, 0, soon()), -EPIPE);
	expect_reply(call, "a part");
	expect_end(call, -EPIPE);
	beam_message_free(request);
	beam_call_unref(call);
	ends_close(&ends);
}

/*
 * The other end of a channel, in another process. It accepts one call, sends part of the answer,
 * and dies.
 */
static int take_and_die(void *fd)
{
	beam_channel *channel;
	beam_topic *topic;
	beam_message *request;
	struct iovec iov = {(char[]){"part"}, 4};

	if (beam_channel_from_fd(&channel, *(int *)fd, NULL) < 0 || beam_topic_open(&topic, channel, "topic") < 0 ||
	    beam_topic_receive(topic, &request, 0, soon()) != 1 ||
	    beam_message_replyv(request, &iov, 1, NULL, 0, BEAM_REPLY_MORE, soon()) < 0 ||
	    beam_channel_flush(channel, soon()) < 0)
		return 1;
	process_exit(7);
}

static void test_a_callee_that_dies_resets_the_call(void)
{
	beam_message *reply = NULL;
	beam_channel *channel;
	beam_topic *topic;
	beam_call *call;
	int fds[2];
	pid_t child;

	needs_threads_in_children();
	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	child = process_spawn(take_and_die, &fds[1]);
	close(fds[1]);
	require_int(beam_channel_from_fd(&channel, fds[0], NULL), 0);
	require_int(beam_topic_open(&topic, channel, "topic"), 0);
	require_int(beam_call_begin(&call, topic, NULL, 0, NULL, 0, 0, soon()), 0);
	expect_reply(call, "part");
	expect_end(call, -ECONNRESET);
	check_int(process_wait(child), 7);
	check_int(beam_topic_call(topic, "x", 1, &reply, 0, soon()), -ECONNRESET);
	beam_call_unref(call);
	beam_topic_unref(topic);
	beam_channel_unref(channel);
}

static void test_a_caller_that_is_gone_gets_no_answer(void)
{
	beam_message *request;
	beam_call *call;

	ends_open(&ends, NULL);
	call = call_text("x");
	request = take_request();
	ends_close(&ends);
	check_int(beam_message_reply(request, "x", 1, 0, soon()), -EPIPE);
	check_int(beam_message_reply_failure(request, CODE, NULL, 0, 0, soon()), -EPIPE);
	beam_message_free(request);
	beam_call_unref(call);
}

static int use_parents(void *call)
{
	beam_message *reply = NULL;

	check_int(beam_call_receive(call, &reply, 0, BEAM_NOWAIT), -ECHILD);
	check_int(beam_call_cancel(call), -ECHILD);
	check_int(beam_call_failure(call, NULL, NULL, NULL), -ECHILD);
	check_int(beam_topic_call(ends.topic[0], "x", 1, &reply, 0, BEAM_NOWAIT), -ECHILD);
	check(beam_call_ref(call) == call);
	beam_call_unref(call);
	return 0;
}

static int answer_parents(void *request)
{
	check_int(beam_message_reply(request, "x", 1, 0, BEAM_NOWAIT), -ECHILD);
	check_int(beam_message_reply_failure(request, CODE, NULL, 0, 0, BEAM_NOWAIT), -ECHILD);
	beam_message_free(request);
	return 0;
}

static void test_a_forked_child_has_no_calls(void)
{
	beam_message *request;
	beam_call *call;

	ends_open(&ends, NULL);
	call = call_text("x");
	request = take_request();
	check_int(process_wait(process_spawn(use_parents, call)), 0);
	check_int(process_wait(process_spawn(answer_parents, request)), 0);
	reply_text(request, "the parent's", 0);
	expect_reply(call, "the parent's");
	beam_message_free(request);
	beam_call_unref(call);
	ends_close(&ends);
}

static void test_replies_are_counted(void)
{
	struct beam_statistics statistics[2];
	beam_message *request;
	beam_call *call;

	ends_open(&ends, NULL);
	call = call_text("request");
	request = take_request();
	reply_text(request, "one", BEAM_REPLY_MORE);
	reply_text(request, "two", 0);
	expect_reply(call, "one");
	check_int(beam_channel_statistics(ends.channel[0], &statistics[0], sizeof statistics[0]), 0);
	check_int(statistics[0].messages_received, 1);
	check_int(statistics[0].bytes_received, 3);
	expect_reply(call, "two");
	for (int i = 0; i < 2; i++)
		check_int(beam_channel_statistics(ends.channel[i], &statistics[i], sizeof statistics[i]), 0);
	beam_message_free(request);
	beam_call_unref(call);
	check_int(statistics[0].messages_sent, 1);
	check_int(statistics[0].messages_received, 2);
	check_int(statistics[0].bytes_received, 6);
	check_int(statistics[1].messages_sent, 2);
	check_int(statistics[1].bytes_sent, 6);
	ends_close(&ends);
}

static const struct test tests[] = {
    TEST(test_a_cancelled_call_wakes_who_waits_and_its_callee_is_told),
    TEST(test_the_id_of_a_cancelled_call_is_free_when_it_has_ended),
    TEST(test_a_call_that_is_over_cannot_be_cancelled),
    TEST(test_the_deadline_cancels_the_call),
    TEST(test_the_first_of_several_replies_is_that_of_a_plain_call),
    TEST(test_a_call_waits_until_the_other_side_takes_one_more),
    TEST(test_closing_the_channel_wakes_the_caller),
    TEST(test_replies_that_came_before_the_end_come_first),
    TEST(test_a_callee_that_dies_resets_the_call),
    TEST(test_a_caller_that_is_gone_gets_no_answer),
    TEST(test_a_forked_child_has_no_calls),
    TEST(test_replies_are_counted),
};
HARNESS_MAIN("call_end", tests)
