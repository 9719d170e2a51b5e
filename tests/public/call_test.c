/* SPDX-License-Identifier: MIT */
/* Calls with one reply, with many, and with none, and who may answer them. */
#include <public/calls.h>

/* ---- One reply ------------------------------------------------------------------------------- */

/* Replies to each call with its own text, until the topic ends. */
static void *echo(void *topic)
{
	beam_message *request;

	while (beam_topic_receive(topic, &request, 0, BEAM_FOREVER) == 1) {
		check_int(
		    beam_message_reply(request, beam_message_data(request), beam_message_size(request), 0, soon()), 0);
		beam_message_free(request);
	}
	return NULL;
}

static void test_a_call_gets_its_reply(void)
{
	beam_message *reply = NULL;
	pthread_t thread;

	ends_open(&ends, NULL);
	thread = thread_spawn(echo, ends.topic[1]);
	for (int i = 0; i < 1000; i++) {
		if (!check_int(beam_topic_call(ends.topic[0], &i, sizeof i, &reply, 0, soon()), 1))
			break;
		check_int(beam_message_size(reply), sizeof i);
		check_bytes(beam_message_data(reply), &i, sizeof i);
		beam_message_free(reply);
	}
	beam_topic_close_send(ends.topic[0]);
	thread_wait(thread);
	ends_close(&ends);
}

/* Each call gets the reply to its own request. */
static void *call_often(void *number)
{
	size_t n = scale(2000);

	for (size_t i = 0; i < n; i++) {
		uint64_t mine = (uint64_t)(uintptr_t)number << 32 | i;
		beam_message *reply = NULL;

		if (!check_int(beam_topic_call(ends.topic[0], &mine, sizeof mine, &reply, 0, soon()), 1))
			break;
		if (check_int(beam_message_size(reply), sizeof mine))
			check_bytes(beam_message_data(reply), &mine, sizeof mine);
		beam_message_free(reply);
	}
	return NULL;
}

static void test_many_threads_call_and_each_gets_its_own_reply(void)
{
	enum { CALLERS = 8, CALLEES = 4 };
	pthread_t callers[CALLERS], callees[CALLEES];

	ends_open(&ends, NULL);
	for (int i = 0; i < CALLEES; i++)
		callees[i] = thread_spawn(echo, ends.topic[1]);
	for (int i = 0; i < CALLERS; i++)
		callers[i] = thread_spawn(call_often, (void *)(uintptr_t)(i + 1));
	for (int i = 0; i < CALLERS; i++)
		thread_wait(callers[i]);
	beam_topic_close_send(ends.topic[0]);
	for (int i = 0; i < CALLEES; i++)
		thread_wait(callees[i]);
	ends_close(&ends);
}

static void test_calls_may_be_answered_in_any_order(void)
{
	enum { CALLS = 200 };
	static beam_call *calls[CALLS];
	static beam_message *requests[CALLS];
	char text[16];

	ends_open(&ends, NULL);
	for (int i = 0; i < CALLS; i++) {
		sprintf(text, "%d", i);
		calls[i] = call_text(text);
	}
	for (int i = 0; i < CALLS; i++)
		requests[i] = take_request();
	for (int i = CALLS; i--;) {
		sprintf(text, "re %d", i);
		reply_text(requests[i], text, 0);
		beam_message_free(requests[i]);
	}
	for (int i = 0; i < CALLS; i++) {
		sprintf(text, "re %d", i);
		expect_reply(calls[i], text);
		expect_end(calls[i], 0);
		beam_call_unref(calls[i]);
	}
	ends_close(&ends);
}

static void test_requests_and_replies_of_every_size_arrive_whole(void)
{
	static const size_t sizes[] = {0, 1, 4, 65472, 65473, 65528, 65529, 65536, 65537, 1 << 20, 10 << 20};
	static unsigned char payload[10 << 20];
	beam_message *reply = NULL;
	pthread_t thread;

	for (size_t i = 0; i < sizeof payload; i++)
		payload[i] = (unsigned char)(i % 251);
	ends_open(&ends, NULL);
	thread = thread_spawn(echo, ends.topic[1]);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		harness_context("%zu bytes", sizes[i]);
		if (!check_int(beam_topic_call(ends.topic[0], payload, sizes[i], &reply, 0, soon()), 1))
			break;
		if (check_int(beam_message_size(reply), sizes[i]))
			check_bytes(beam_message_data(reply), payload, sizes[i]);
		beam_message_free(reply);
	}
	harness_context("%s", "");
	beam_topic_close_send(ends.topic[0]);
	thread_wait(thread);
	ends_close(&ends);
}

static void test_attachments_go_both_ways(void)
{
	int fds[BEAM_REPLY_ATTACHMENTS_MAX + 1], fd;
	struct iovec iov = {(char[]){"x"}, 1};
	beam_message *request, *reply = NULL;
	beam_call *call = NULL;

	for (int i = 0; i <= BEAM_REPLY_ATTACHMENTS_MAX; i++)
		fds[i] = STDERR_FILENO;
	ends_open(&ends, NULL);
	/* Often enough to use up every window if no credit came back. */
	for (int i = 0; i < 40; i++) {
		check_int(beam_call_begin(&call, ends.topic[0], &iov, 1, fds, 3, 0, soon()), 0);
		request = take_request();
		check_int(beam_message_attachments(request), 3);
		check_int(beam_message_replyv(request, &iov, 1, fds, BEAM_REPLY_ATTACHMENTS_MAX + 1, 0, soon()),
			  -E2BIG);
		check_int(
		    beam_message_replyv(request, &iov, 1, fds, BEAM_REPLY_ATTACHMENTS_MAX, BEAM_REPLY_MORE, soon()), 0);
		check_int(beam_call_receive(call, &reply, 0, soon()), 1);
		check_int(beam_message_attachments(reply), BEAM_REPLY_ATTACHMENTS_MAX);
		fd = beam_message_take_fd(reply, 15);
		check(fd >= 0 && close(fd) == 0);
		beam_message_free(reply);
		check_int(beam_message_replyv(request, &iov, 1, fds, BEAM_REPLY_ATTACHMENTS_MAX, 0, soon()), 0);
		beam_message_free(request);
		check_int(beam_call_receive(call, &reply, 0, soon()), 1);
		check_int(beam_message_attachments(reply), BEAM_REPLY_ATTACHMENTS_MAX);
		beam_message_free(reply);
		expect_end(call, 0);
		beam_call_unref(call);
	}
	ends_close(&ends);
}

/* ---- Several replies ------------------------------------------------------------------------- */

static void test_a_stream_of_replies_comes_in_order_and_ends(void)
{
	enum { REPLIES = 3000 };
	beam_message *request, *reply = NULL;
	beam_call *call;

	ends_open(&ends, NULL);
	call = call_text("count");
	request = take_request();
	for (int sent = 0, got = 0; got < REPLIES; got++) {
		int number;

		/*
		 * Replies as far ahead as credit allows. If nothing is left to receive, it tries
		 * again until there is credit.
		 */
		while (sent < REPLIES) {
			struct iovec iov = {&sent, sizeof sent};
			int r = beam_message_replyv(request, &iov, 1, NULL, 0, sent < REPLIES - 1 ? BEAM_REPLY_MORE : 0,
						    BEAM_NOWAIT);

			if (r == -EAGAIN && sent > got)
				break;
			if (r != -EAGAIN && !check_int(r, 0))
				break;
			sent += r == 0;
		}
		if (!check_int(beam_call_receive(call, &reply, 0, soon()), 1))
			break;
		memcpy(&number, beam_message_data(reply), sizeof number);
		check_int(number, got);
		beam_message_free(reply);
	}
	expect_end(call, 0);
	expect_end(call, 0);
	check_int(beam_call_failure(call, NULL, NULL, NULL), -ENOENT);
	beam_call_unref(call);
	beam_message_free(request);
	ends_close(&ends);
}

static void test_replies_that_nobody_takes_hold_up_their_callee_and_nobody_else(void)
{
	static char bulk[32000];
	struct iovec iov = {bulk, sizeof bulk};
	beam_message *request;
	beam_call *call;
	int r, n = 0;

	ends_open(&ends, NULL);
	call = call_text("flood");
	request = take_request();
	while ((r = beam_message_replyv(request, &iov, 1, NULL, 0, BEAM_REPLY_MORE, BEAM_NOWAIT)) == 0)
		n++;
	check_int(r, -EAGAIN);
	check(n >= 2);
	check_int(beam_message_replyv(request, &iov, 1, NULL, 0, BEAM_REPLY_MORE, beam_in_ms(20)), -ETIMEDOUT);
	/* Topics and other calls still work. */
	send_text(ends.topic[1], "meanwhile");
	expect_text(ends.topic[0], "meanwhile");
	for (int i = 0; i < 10; i++) {
		beam_call *other = call_text("quick");
		beam_message *one = take_request();

		reply_text(one, "done", 0);
		expect_reply(other, "done");
		beam_message_free(one);
		beam_call_unref(other);
	}
	/* A failure without text needs no credit, and arrives after the replies before it. */
	check_int(beam_message_reply_failure(request, CODE, NULL, 0, 0, BEAM_NOWAIT), 0);
	for (int i = 0; i < n; i++) {
		beam_message *reply = NULL;

		check_int(beam_call_receive(call, &reply, 0, soon()), 1);
		beam_message_free(reply);
	}
	expect_failure(call, CODE, "");
	beam_call_unref(call);
	beam_message_free(request);
	ends_close(&ends);
}

/* ---- Failures -------------------------------------------------------------------------------- */

static void test_a_failure_says_its_code_and_more_after_the_replies_before_it(void)
{
	beam_message *request;
	beam_call *call;

	ends_open(&ends, NULL);
	call = call_text("x");
	request = take_request();
	check_int(beam_call_failure(call, NULL, NULL, NULL), -ENOENT);
	reply_text(request, "a part", BEAM_REPLY_MORE);
	check_int(beam_message_reply_failure(request, BEAM_FAILURE_APPLICATION - 1, "no", 2, 0, soon()), -EINVAL);
	check_int(beam_message_reply_failure(request, CODE, "no more", 7, 0, soon()), 0);
	check_int(beam_message_reply_failure(request, CODE, "again", 5, 0, soon()), -EALREADY);
	beam_message_free(request);
	expect_reply(call, "a part");
	expect_failure(call, CODE, "no more");
	expect_failure(call, CODE, "no more");
	beam_call_unref(call);
	ends_close(&ends);
}

static void test_a_call_that_is_freed_without_an_answer_fails_as_dropped(void)
{
	beam_message *reply = NULL;
	beam_call *call;

	ends_open(&ends, NULL);
	call = call_text("x");
	beam_message_free(take_request());
	expect_failure(call, BEAM_FAILURE_DROPPED, "");
	beam_call_unref(call);
	call = call_text("y");
	check_int(beam_topic_call(ends.topic[1], "z", 1, &reply, 0, BEAM_NOWAIT), -EAGAIN);
	beam_message_free(take_request());
	expect_failure(call, BEAM_FAILURE_DROPPED, "");
	beam_call_unref(call);
	ends_close(&ends);
}

static void test_a_call_whose_topic_closes_before_it_was_taken_fails_as_closed(void)
{
	struct beam_statistics statistics;
	beam_call *call;

	ends_open(&ends, NULL);
	call = call_text("x");
	check_within(20000, beam_topic_statistics(ends.topic[1], &statistics, sizeof statistics) == 0 &&
				statistics.messages_queued == 1);
	beam_topic_close_receive(ends.topic[1]);
	expect_failure(call, BEAM_FAILURE_CLOSED, "");
	beam_call_unref(call);
	ends_close(&ends);
}

static void test_a_call_on_a_refused_topic_fails(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_message *reply = NULL;
	beam_topic *unknown;
	int r;

	options.unknown_topics = BEAM_TOPICS_REFUSE;
	ends_open(&ends, &options);
	require_int(beam_topic_open(&unknown, ends.channel[0], "unknown"), 0);
	/* The first call may have been sent before the refusal arrived. */
	r = beam_topic_call(unknown, "x", 1, &reply, 0, soon());
	check(r == -EREMOTEIO || r == -ECONNREFUSED);
	check_within(20000, beam_topic_call(unknown, "x", 1, &reply, 0, soon()) == -ECONNREFUSED);
	beam_topic_unref(unknown);
	ends_close(&ends);
}

static void test_what_is_no_call_cannot_be_answered(void)
{
	beam_message *message = NULL, *reply = NULL;
	beam_call *call = NULL;
	uint32_t code;

	ends_open(&ends, NULL);
	send_text(ends.topic[0], "plain");
	require_int(beam_topic_receive(ends.topic[1], &message, 0, soon()), 1);
	check(!beam_message_is_call(message) && !beam_message_is_call(NULL));
	check_int(beam_message_reply(message, "x", 1, 0, soon()), -EINVAL);
	check_int(beam_message_reply_failure(message, CODE, "x", 1, 0, soon()), -EINVAL);
	check_int(beam_message_reply(NULL, "x", 1, 0, soon()), -EINVAL);
	beam_message_free(message);
	check_int(beam_topic_call(NULL, "x", 1, &reply, 0, soon()), -EINVAL);
	check_int(beam_topic_call(ends.topic[0], NULL, 1, &reply, 0, soon()), -EINVAL);
	check_int(beam_topic_call(ends.topic[0], "x", 1, NULL, 0, soon()), -EINVAL);
	check_int(beam_call_begin(NULL, ends.topic[0], NULL, 0, NULL, 0, 0, soon()), -EINVAL);
	check_int(beam_call_begin(&call, ends.topic[0], NULL, 1, NULL, 0, 0, soon()), -EINVAL);
	check_int(beam_call_begin(&call, ends.topic[0], NULL, 0, &(int){-1}, 1, 0, soon()), -EBADF);
	check_int(beam_call_receive(NULL, &reply, 0, soon()), -EINVAL);
	check_int(beam_call_failure(NULL, &code, NULL, NULL), -EINVAL);
	check_int(beam_call_cancel(NULL), -EINVAL);
	check(!beam_call_ref(NULL) && !beam_call_unref(NULL));
	call = call_text("x");
	message = take_request();
	check_int(beam_call_receive(call, NULL, 0, soon()), -EINVAL);
	check_int(beam_message_reply(message, NULL, 1, 0, soon()), -EINVAL);
	check_int(beam_message_replyv(message, NULL, 0, NULL, 0, 1u << 30, soon()), -EINVAL);
	check_int(beam_message_replyv(message, NULL, 0, &(int){-1}, 1, 0, soon()), -EBADF);
	beam_message_free(message);
	beam_call_unref(call);
	ends_close(&ends);
}

/* ---- The answer ------------------------------------------------------------------------------ */

static void *answer_later(void *request)
{
	reply_text(request, "late", 0);
	beam_message_free(request);
	return NULL;
}

static void test_a_call_may_be_answered_by_another_thread_after_its_topic_was_closed(void)
{
	beam_message *request;
	beam_call *call;

	ends_open(&ends, NULL);
	call = call_text("x");
	request = take_request();
	beam_topic_close_send(ends.topic[0]);
	check_within(20000, beam_topic_receive(ends.topic[1], &(beam_message *){NULL}, 0, BEAM_NOWAIT) == 0);
	for (int i = 0; i < 2; i++)
		ends.topic[i] = beam_topic_unref(ends.topic[i]);
	thread_wait(thread_spawn(answer_later, request));
	expect_reply(call, "late");
	beam_call_unref(call);
	ends_close(&ends);
}

static void test_a_second_answer_is_refused(void)
{
	beam_message *request;
	beam_call *call;

	ends_open(&ends, NULL);
	call = call_text("x");
	request = take_request();
	reply_text(request, "the only one", 0);
	check(beam_message_is_call(request));
	check_int(beam_message_reply(request, "one more", 8, 0, soon()), -EALREADY);
	check_int(beam_message_reply_failure(request, CODE, NULL, 0, 0, soon()), -EALREADY);
	expect_reply(call, "the only one");
	/* The id belongs to another call now. */
	beam_call_unref(call);
	call = call_text("y");
	check_int(beam_message_reply(request, "one more", 8, 0, soon()), -EALREADY);
	beam_message_free(request);
	request = take_request();
	reply_text(request, "yes", 0);
	expect_reply(call, "yes");
	beam_message_free(request);
	beam_call_unref(call);
	ends_close(&ends);
}

static void test_an_answer_that_ran_out_of_time_can_be_given_again(void)
{
	static char bulk[65472];
	struct iovec iov = {bulk, sizeof bulk};
	beam_message *request, *reply = NULL;
	beam_call *call;

	ends_open(&ends, NULL);
	call = call_text("x");
	request = take_request();
	check_int(beam_message_replyv(request, &iov, 1, NULL, 0, BEAM_REPLY_MORE, soon()), 0);
	check_int(beam_message_reply(request, bulk, sizeof bulk, 0, beam_in_ms(10)), -ETIMEDOUT);
	check_int(beam_message_reply(request, "short", 5, 0, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_call_receive(call, &reply, 0, soon()), 1);
	beam_message_free(reply);
	reply_text(request, "short", 0);
	expect_reply(call, "short");
	expect_end(call, 0);
	beam_message_free(request);
	beam_call_unref(call);
	ends_close(&ends);
}

static const struct test tests[] = {
    TEST(test_a_call_gets_its_reply),
    TEST(test_many_threads_call_and_each_gets_its_own_reply),
    TEST(test_calls_may_be_answered_in_any_order),
    TEST(test_requests_and_replies_of_every_size_arrive_whole),
    TEST(test_attachments_go_both_ways),
    TEST(test_a_stream_of_replies_comes_in_order_and_ends),
    TEST(test_replies_that_nobody_takes_hold_up_their_callee_and_nobody_else),
    TEST(test_a_failure_says_its_code_and_more_after_the_replies_before_it),
    TEST(test_a_call_that_is_freed_without_an_answer_fails_as_dropped),
    TEST(test_a_call_whose_topic_closes_before_it_was_taken_fails_as_closed),
    TEST(test_a_call_on_a_refused_topic_fails),
    TEST(test_what_is_no_call_cannot_be_answered),
    TEST(test_a_call_may_be_answered_by_another_thread_after_its_topic_was_closed),
    TEST(test_a_second_answer_is_refused),
    TEST(test_an_answer_that_ran_out_of_time_can_be_given_again),
};
HARNESS_MAIN("call", tests)
