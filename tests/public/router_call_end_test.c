/* SPDX-License-Identifier: MIT */
/* Calls through a router: how they end if a side is slow or leaves, and if the router ends. */
#include <public/router_calls.h>

enum { SILENT = 20, PART = 1000, LARGE = 200 << 10 };

static char bulk[LARGE];

/*
 * Replies until nothing fits anywhere, because the caller receives nothing. Returns the number of
 * replies.
 */
static int fill(beam_message *request, size_t size)
{
	int n = 0, idle = 0;

	while (idle < 20 && !harness_failures()) {
		int r = beam_message_reply(request, bulk, size, BEAM_REPLY_MORE, beam_in_ms(idle ? 5 : 0));

		if (r == 0)
			n++;
		else
			check(r == -EAGAIN || r == -ETIMEDOUT);
		idle = r == 0 ? 0 : idle + 1;
		harness_progress();
	}
	return n;
}

static void expect_parts(beam_call *call, int n)
{
	for (int i = 0; i < n && !harness_failures(); i++) {
		beam_message *reply = NULL;

		require_int(beam_call_receive(call, &reply, 0, soon()), 1);
		check_int(beam_message_size(reply), PART);
		beam_message_free(reply);
	}
}

/* ---- The caller ------------------------------------------------------------------------------ */

/* The ways in which a caller can end. */
static void cancel(beam_call *call)
{
	check_int(beam_call_cancel(call), 0);
}

static void close_caller(beam_call *call)
{
	(void)call;
	check_int(beam_channel_close(in.channel[0], soon()), 0);
}

static void abort_caller(beam_call *call)
{
	(void)call;
	check_int(beam_channel_abort(in.channel[0]), 0);
}

static void (*const caller_ends[])(beam_call *) = {cancel, close_caller, abort_caller};

static void expect_caller_gone(bool took_replies)
{
	for (size_t i = 0; i < 3; i++) {
		beam_message *request;
		beam_call *call;

		begin_running();
		call = call_text("question");
		request = take_request();
		if (!took_replies)
			check(fill(request, PART) > 0);
		caller_ends[i](call);
		expect_cancelled(request);
		beam_message_free(request);
		beam_call_unref(call);
		end_running();
	}
}

static void test_a_callee_learns_that_its_caller_is_gone(void)
{
	expect_caller_gone(true);
}

static void test_a_callee_learns_that_its_caller_is_gone_who_took_no_replies(void)
{
	expect_caller_gone(false);
}

static void test_a_slow_caller_holds_up_only_its_own_call(void)
{
	beam_message *slow_request, *request;
	beam_call *slow, *call;
	int n;

	begin_running();
	slow = call_text("slow");
	slow_request = take_request();
	n = fill(slow_request, PART);
	for (int i = 0; i < 100; i++) {
		call = call_text("quick");
		request = take_request();
		reply_text(request, "part", BEAM_REPLY_MORE);
		reply_text(request, "answer", 0);
		beam_message_free(request);
		expect_reply(call, "part");
		expect_reply(call, "answer");
		expect_end(call, 0);
		beam_call_unref(call);
	}
	/* All replies to the slow call arrive when its caller receives them. */
	expect_parts(slow, n);
	n = fill(slow_request, PART);
	check_int(beam_message_reply_failure(slow_request, CODE, NULL, 0, 0, soon()), 0);
	beam_message_free(slow_request);
	expect_parts(slow, n);
	expect_failed(slow, CODE, NULL, 0);
	beam_call_unref(slow);
	end_running();
}

/* ---- The callee ------------------------------------------------------------------------------ */

static void test_a_caller_learns_that_its_callee_is_gone(void)
{
	for (int i = 0; i < 2; i++) {
		beam_message *request;
		beam_call *call;

		begin_running();
		call = call_text("question");
		request = take_request();
		reply_text(request, "part", BEAM_REPLY_MORE);
		expect_reply(call, "part");
		check_int(i ? beam_channel_abort(out.channel[1]) : beam_channel_close(out.channel[1], soon()), 0);
		expect_dropped(call);
		beam_message_free(request);
		beam_call_unref(call);
		end_running();
	}
}

static void test_callees_that_never_reply_hold_up_nobody(void)
{
	beam_message *silent[SILENT], *request;
	beam_call *calls[SILENT], *call;

	begin_running();
	for (int i = 0; i < SILENT; i++) {
		calls[i] = call_text("silent");
		silent[i] = take_request();
	}
	call = call_text("question");
	send_text(in.topic[0], "message");
	request = take_request();
	expect_text(out.topic[1], "message");
	reply_text(request, "answer", 0);
	beam_message_free(request);
	expect_reply(call, "answer");
	beam_call_unref(call);
	for (int i = 0; i < SILENT; i++) {
		beam_call_unref(calls[i]);
		expect_cancelled(silent[i]);
		beam_message_free(silent[i]);
	}
	end_running();
}

/* ---- The topic and the router ---------------------------------------------------------------- */

static void *run_to_the_end(void *unused)
{
	struct beam_router_failure failure;

	(void)unused;
	check_int(beam_router_run(router, &failure, BEAM_ROUTER_UNTIL_ENDED, soon()), 0);
	return NULL;
}

static void test_a_call_outlives_the_removal_of_its_topic_and_the_router_waits_for_it(void)
{
	beam_message *request;
	pthread_t thread;
	beam_call *call;

	begin();
	thread = thread_spawn(run_to_the_end, NULL);
	call = call_text("question");
	request = take_request();
	check_int(beam_router_remove_topic(router, in.topic[1], soon()), 0);
	reply_text(request, "part", BEAM_REPLY_MORE);
	expect_reply(call, "part");
	reply_text(request, "answer", 0);
	beam_message_free(request);
	expect_reply(call, "answer");
	expect_end(call, 0);
	beam_call_unref(call);
	thread_wait(thread);
	end();
}

static void test_a_topic_that_is_opened_again_is_routed_while_a_call_of_the_first_goes_on(void)
{
	beam_message *request;
	struct iovec iov = {(void *)(uintptr_t) "question", 8};
	beam_call *call = NULL;
	beam_topic *topic = NULL, *target = NULL;

	begin_running();
	check_int(beam_router_add_channel(router, in.channel[1], NULL), 0);
	require_int(beam_topic_open(&target, out.channel[1], "again"), 0);
	require_int(beam_topic_open(&topic, in.channel[0], "again"), 0);
	require_int(beam_call_begin(&call, topic, &iov, 1, NULL, 0, 0, soon()), 0);
	require_int(beam_topic_receive(target, &request, 0, soon()), 1);
	for (int i = 0; i < 3; i++) {
		/* The router releases the topic. */
		check_int(beam_topic_close_send(topic), 0);
		check_int(receive_nothing(topic, soon()), 0);
		check_int(receive_nothing(target, soon()), 0);
		beam_topic_unref(topic);
		beam_topic_unref(target);
		require_int(beam_topic_open(&target, out.channel[1], "again"), 0);
		require_int(beam_topic_open(&topic, in.channel[0], "again"), 0);
		send_text(topic, "message");
		expect_text(target, "message");
	}
	reply_text(request, "answer", 0);
	beam_message_free(request);
	expect_reply(call, "answer");
	beam_call_unref(call);
	beam_topic_unref(topic);
	beam_topic_unref(target);
	end_running();
}

static void test_calls_of_a_router_that_is_stopped_are_dropped_when_it_is_freed(void)
{
	beam_message *request;
	beam_call *call, *full;
	beam_message *full_request;

	begin_running();
	call = call_text("question");
	request = take_request();
	full = call_text("question");
	full_request = take_request();
	check(fill(full_request, PART) > 0);
	check_int(beam_router_stop(router), 0);
	for (int i = 0; i < THREADS; i++)
		thread_wait(runners[i]);
	check_int(receive_nothing(out.topic[1], BEAM_NOWAIT), -EAGAIN);
	check_int(beam_message_reply(full_request, NULL, 0, BEAM_REPLY_MORE, BEAM_NOWAIT), -EAGAIN);
	router = beam_router_unref(router);
	expect_dropped(call);
	expect_cancelled(request);
	expect_cancelled(full_request);
	beam_message_free(request);
	beam_message_free(full_request);
	beam_call_unref(call);
	beam_call_unref(full);
	end();
}

static void test_a_router_that_is_stopped_passes_on_only_the_reply_in_hand(void)
{
	beam_message *request, *reply = NULL;
	pthread_t thread;
	beam_call *call;
	int passed = 0, n;

	begin();
	thread = thread_spawn(run_until_stopped, NULL);
	call = call_text("question");
	request = take_request();
	n = fill(request, sizeof bulk);
	check(n > 1);
	check_int(beam_router_stop(router), 0);
	while (beam_call_receive(call, &reply, 0, beam_in_ms(100)) == 1) {
		beam_message_free(reply);
		passed++;
	}
	check(passed < n);
	thread_wait(thread);
	beam_message_free(request);
	beam_call_unref(call);
	end();
}

static const struct test tests[] = {
    TEST(test_a_callee_learns_that_its_caller_is_gone),
    TEST(test_a_callee_learns_that_its_caller_is_gone_who_took_no_replies),
    TEST(test_a_slow_caller_holds_up_only_its_own_call),
    TEST(test_a_caller_learns_that_its_callee_is_gone),
    TEST(test_callees_that_never_reply_hold_up_nobody),
    TEST(test_a_call_outlives_the_removal_of_its_topic_and_the_router_waits_for_it),
    TEST(test_a_topic_that_is_opened_again_is_routed_while_a_call_of_the_first_goes_on),
    TEST(test_calls_of_a_router_that_is_stopped_are_dropped_when_it_is_freed),
    TEST(test_a_router_that_is_stopped_passes_on_only_the_reply_in_hand),
};
HARNESS_MAIN("public/router_call_end", tests)
