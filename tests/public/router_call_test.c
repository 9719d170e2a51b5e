/* SPDX-License-Identifier: MIT */
/* Calls through a router: the caller gets what the callee replies. */
#include <fcntl.h>
#include <public/router_calls.h>

enum { STREAM = 300, CALLERS = 6, CALLS = 60, FLOOD = 400, UNANSWERED = 200, BULK = (1 << 20) + 1 };

static unsigned char bulk[BULK];

static void fill_bulk(void)
{
	for (size_t i = 0; i < sizeof bulk; i++)
		bulk[i] = (unsigned char)(i * 7 + i / 251);
}

static void expect_bulk(beam_message *message)
{
	if (check_int(beam_message_size(message), sizeof bulk))
		check_bytes(beam_message_data(message), bulk, sizeof bulk);
	beam_message_free(message);
}

static void run_until_taken(beam_message **ret)
{
	struct beam_router_failure failure;

	check_within(20000, beam_router_run(router, &failure, 0, beam_in_ms(1)) == -ETIMEDOUT &&
				beam_topic_receive(out.topic[1], ret, 0, BEAM_NOWAIT) == 1);
	require(*ret);
}

/* ---- Replies --------------------------------------------------------------------------------- */

static void test_a_reply_comes_back(void)
{
	beam_message *request;
	beam_call *call;

	begin_running();
	call = call_text("question");
	request = take_request();
	check_int(beam_message_size(request), 8);
	check_bytes(beam_message_data(request), "question", 8);
	reply_text(request, "answer", 0);
	beam_message_free(request);
	expect_reply(call, "answer");
	expect_end(call, 0);
	beam_call_unref(call);
	end_running();
}

static void test_several_replies_come_back_in_order_and_the_last_is_the_last(void)
{
	beam_message *request;
	beam_call *call;
	char text[16];

	begin_running();
	call = call_text("count");
	request = take_request();
	for (int i = 0; i < STREAM; i++) {
		snprintf(text, sizeof text, "%d", i);
		reply_text(request, text, i + 1 < STREAM ? BEAM_REPLY_MORE : 0);
		/* The first replies are forwarded before the next one is sent. */
		if (i < 3)
			expect_reply(call, text);
	}
	beam_message_free(request);
	for (int i = 3; i < STREAM; i++) {
		snprintf(text, sizeof text, "%d", i);
		expect_reply(call, text);
	}
	expect_end(call, 0);
	beam_call_unref(call);
	end_running();
}

static void test_many_replies_that_wait_come_in_turns(void)
{
	struct beam_router_failure failure;
	beam_message *request = NULL;
	beam_call *call;
	char text[16];

	begin();
	call = call_text("count");
	run_until_taken(&request);
	for (int i = 0; i < STREAM; i++) {
		snprintf(text, sizeof text, "%d", i);
		reply_text(request, text, i + 1 < STREAM ? BEAM_REPLY_MORE : 0);
	}
	beam_message_free(request);
	/* Each run handles at most one source. */
	for (int i = 0; i < STREAM; i++) {
		beam_message *reply = NULL;

		check_within(20000, beam_call_receive(call, &reply, 0, BEAM_NOWAIT) == 1 ||
					beam_router_run(router, &failure, 0, BEAM_NOWAIT) == 0);
		snprintf(text, sizeof text, "%d", i);
		if (!check(reply != NULL))
			break;
		check_int(beam_message_size(reply), strlen(text));
		check_bytes(beam_message_data(reply), text, strlen(text));
		beam_message_free(reply);
	}
	expect_end(call, 0);
	beam_call_unref(call);
	end();
}

static void test_attachments_go_both_ways(void)
{
	int file = raw_file(), other = raw_file();
	ino_t inode = raw_inode(file), other_inode = raw_inode(other);
	beam_message *request, *reply = NULL;
	beam_call *call = NULL;

	begin_running();
	require_int(beam_call_begin(&call, in.topic[0], NULL, 0, (int[]){file, other}, 2, 0, soon()), 0);
	request = take_request();
	require_int(beam_message_attachments(request), 2);
	check(raw_inode(beam_message_peek_fd(request, 0)) == inode);
	check(raw_inode(beam_message_peek_fd(request, 1)) == other_inode);
	check_int(beam_message_replyv(request, NULL, 0, &other, 1, BEAM_REPLY_MORE, soon()), 0);
	check_int(beam_message_replyv(request, NULL, 0, &file, 1, 0, soon()), 0);
	beam_message_free(request);
	for (int i = 0; i < 2; i++) {
		require_int(beam_call_receive(call, &reply, 0, soon()), 1);
		require_int(beam_message_attachments(reply), 1);
		check(raw_inode(beam_message_peek_fd(reply, 0)) == (i ? inode : other_inode));
		beam_message_free(reply);
	}
	expect_end(call, 0);
	beam_call_unref(call);
	close(file);
	close(other);
	end_running();
}

static void test_what_a_call_carries_is_not_kept_by_the_router(void)
{
	struct pollfd item = {.events = POLLIN};
	beam_message *request;
	beam_call *call = NULL;
	int fds[2];

	begin_running();
	require_int(pipe2(fds, O_CLOEXEC), 0);
	require_int(beam_call_begin(&call, in.topic[0], NULL, 0, &fds[1], 1, 0, soon()), 0);
	close(fds[1]);
	request = take_request();
	close(beam_message_take_fd(request, 0));
	/* Nobody has the other end of the pipe any more, although the call has not ended. */
	item.fd = fds[0];
	check_int(poll(&item, 1, stretch(20000)), 1);
	reply_text(request, "answer", 0);
	beam_message_free(request);
	expect_reply(call, "answer");
	beam_call_unref(call);
	close(fds[0]);
	end_running();
}

static void test_large_calls_and_replies_go_on_too(void)
{
	beam_message *request, *reply = NULL;
	beam_call *call;

	begin_running();
	fill_bulk();
	call = call_bytes(bulk, sizeof bulk);
	request = take_request();
	check_int(beam_message_reply(request, bulk, sizeof bulk, BEAM_REPLY_MORE, soon()), 0);
	require_int(beam_call_receive(call, &reply, 0, soon()), 1);
	expect_bulk(reply);
	check_int(beam_message_reply(request, bulk, sizeof bulk, 0, soon()), 0);
	beam_message_free(request);
	require_int(beam_call_receive(call, &reply, 0, soon()), 1);
	expect_bulk(reply);
	expect_end(call, 0);
	beam_call_unref(call);
	end_running();
}

/* ---- Failures -------------------------------------------------------------------------------- */

static void test_a_failure_comes_back_with_its_code_and_text(void)
{
	begin_running();
	fill_bulk();
	for (int i = 0; i < 4; i++) {
		/* No text, a short text, and a text that does not fit into one frame. */
		size_t size = (size_t[]){0, 4, 4, BULK}[i];
		beam_call *call = call_text("question");
		beam_message *request = take_request();

		/* Also after a reply. */
		if (i == 2)
			reply_text(request, "a part", BEAM_REPLY_MORE);
		check_int(beam_message_reply_failure(request, CODE, bulk, size, 0, soon()), 0);
		beam_message_free(request);
		if (i == 2)
			expect_reply(call, "a part");
		expect_failed(call, CODE, bulk, size);
		beam_call_unref(call);
	}
	end_running();
}

static void test_of_a_failure_whose_text_the_caller_does_not_accept_the_code_comes_back(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_message *request;
	pthread_t thread;
	beam_call *call;

	options.message_bytes = 1 << 20;
	begin_with(&options, NULL);
	thread = thread_spawn(run_until_stopped, NULL);
	fill_bulk();
	call = call_text("question");
	request = take_request();
	check_int(beam_message_reply_failure(request, CODE, bulk, sizeof bulk, 0, soon()), 0);
	beam_message_free(request);
	expect_failed(call, CODE, NULL, 0);
	beam_call_unref(call);
	check_int(beam_router_stop(router), 0);
	thread_wait(thread);
	end();
}

static void run_a_moment(void)
{
	struct beam_router_failure failure;

	check_int(beam_router_run(router, &failure, 0, beam_in_ms(5)), -ETIMEDOUT);
}

static bool has_something(beam_call *call)
{
	struct pollfd item = {.fd = beam_call_receive_fd(call), .events = POLLIN};

	require(item.fd >= 0);
	run_a_moment();
	return poll(&item, 1, 0) == 1;
}

/* Makes a call that the router forwards. Returns the call and its request. */
static beam_call *call_on(beam_message **ret)
{
	beam_call *call = call_text("question");

	*ret = NULL;
	run_until_taken(ret);
	return call;
}

static void answer_with(beam_message *request, size_t reply, unsigned flags, size_t failure)
{
	if (reply)
		check_int(beam_message_reply(request, bulk, reply, flags, soon()), 0);
	if (failure)
		check_int(beam_message_reply_failure(request, CODE, bulk, failure, 0, soon()), 0);
	beam_message_free(request);
}

static void expect_bytes(beam_call *call, size_t size)
{
	beam_message *reply = NULL;

	check_within(20000, has_something(call));
	if (check_int(beam_call_receive(call, &reply, 0, soon()), 1))
		check_int(beam_message_size(reply), size);
	beam_message_free(reply);
}

/*
 * A run that sends replies reaches its deadline, and a later run sends the rest. The second reply
 * does not fit as long as the caller has not received the first one. All later ones fit together.
 */
static void test_what_has_no_room_at_its_caller_goes_when_there_is(void)
{
	enum { FULL = 1 << 20, LARGE = 160 << 10, WINDOW = 63 << 10, TEXT = 50 << 10 };
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_call *full, *replied, *failed, *both;
	beam_message *request;

	options.message_bytes = options.pool_bytes = FULL;
	begin_with(&options, NULL);
	fill_bulk();
	full = call_on(&request);
	answer_with(request, FULL, 0, 0);
	check_within(20000, has_something(full));
	replied = call_on(&request);
	answer_with(request, LARGE, 0, 0);
	failed = call_on(&request);
	answer_with(request, 0, 0, LARGE);
	both = call_on(&request);
	answer_with(request, WINDOW, BEAM_REPLY_MORE, TEXT);
	check_within(20000, has_something(both));
	for (int i = 0; i < 20; i++)
		run_a_moment();
	check(!has_something(replied));
	check(!has_something(failed));
	expect_bytes(full, FULL);
	expect_bytes(replied, LARGE);
	check_within(20000, has_something(failed));
	expect_failed(failed, CODE, bulk, LARGE);
	expect_bytes(both, WINDOW);
	check_within(20000, has_something(both));
	expect_failed(both, CODE, bulk, TEXT);
	beam_call_unref(full);
	beam_call_unref(replied);
	beam_call_unref(failed);
	beam_call_unref(both);
	end();
}

static void test_a_call_that_is_dropped_is_dropped(void)
{
	beam_message *request;
	beam_call *call;

	begin_running();
	call = call_text("question");
	beam_message_free(take_request());
	expect_dropped(call);
	beam_call_unref(call);
	/* The same for a call that was partly answered. */
	call = call_text("question");
	request = take_request();
	reply_text(request, "a part", BEAM_REPLY_MORE);
	beam_message_free(request);
	expect_reply(call, "a part");
	expect_dropped(call);
	beam_call_unref(call);
	/* A call that is still in the queue is dropped when the topic is closed. */
	call = call_text("question");
	check_within(20000, queued(out.topic[1]) == 1);
	out.topic[1] = beam_topic_unref(out.topic[1]);
	expect_dropped(call);
	beam_call_unref(call);
	end_running();
}

/* ---- What the caller does not accept --------------------------------------------------------- */

/* The next run returns a reply of this size together with its call. */
static beam_message *expect_unacceptable(int error, size_t size)
{
	struct beam_router_failure failure;

	check_int(beam_router_run(router, &failure, 0, soon()), error);
	require(failure.message && failure.request);
	check(!failure.topic && !failure.channel && !failure.tag);
	check_int(beam_message_size(failure.message), size);
	beam_message_free(failure.message);
	check_int(beam_message_size(failure.request), 8);
	check_bytes(beam_message_data(failure.request), "question", 8);
	return failure.request;
}

static void test_a_reply_that_the_caller_does_not_accept_is_handed_out_with_the_call(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	int fds[2] = {raw_file(), raw_file()};
	beam_message *request = NULL;
	beam_call *call;

	options.message_bytes = 1 << 20;
	options.message_attachments = 1;
	begin_with(&options, NULL);
	/* A reply that is too long. The call is dropped after that. */
	call = call_text("question");
	run_until_taken(&request);
	check_int(beam_message_reply(request, bulk, sizeof bulk, BEAM_REPLY_MORE, soon()), 0);
	beam_message_free(expect_unacceptable(-EMSGSIZE, sizeof bulk));
	expect_dropped(call);
	expect_cancelled(request);
	beam_message_free(request);
	beam_call_unref(call);
	/* A reply with too many attachments. The call is failed after that. */
	request = NULL;
	call = call_text("question");
	run_until_taken(&request);
	check_int(beam_message_replyv(request, NULL, 0, fds, 2, 0, soon()), 0);
	beam_message_free(request);
	request = expect_unacceptable(-E2BIG, 0);
	check_int(beam_message_reply_failure(request, CODE, "why", 3, 0, soon()), 0);
	beam_message_free(request);
	expect_failed(call, CODE, "why", 3);
	beam_call_unref(call);
	close(fds[0]);
	close(fds[1]);
	end();
}

/* ---- Many ------------------------------------------------------------------------------------ */

/* Replies to each call twice with its number. */
static void *answer_all(void *unused)
{
	beam_message *request = NULL;

	(void)unused;
	while (beam_topic_receive(out.topic[1], &request, 0, BEAM_FOREVER) == 1) {
		const void *data = beam_message_data(request);

		check_int(beam_message_reply(request, data, beam_message_size(request), BEAM_REPLY_MORE, soon()), 0);
		check_int(beam_message_reply(request, data, beam_message_size(request), 0, soon()), 0);
		beam_message_free(request);
		harness_progress();
	}
	return NULL;
}

static void expect_number_twice(beam_call *call, uint64_t number)
{
	for (int i = 0; i < 2; i++) {
		beam_message *reply = NULL;

		require_int(beam_call_receive(call, &reply, 0, soon()), 1);
		require_int(beam_message_size(reply), sizeof number);
		check_bytes(beam_message_data(reply), &number, sizeof number);
		beam_message_free(reply);
	}
	expect_end(call, 0);
	beam_call_unref(call);
}

static void *call_many(void *first)
{
	uint64_t number = (uintptr_t)first;

	for (int i = 0; i < CALLS && !harness_failures(); i++, number++)
		expect_number_twice(call_bytes(&number, sizeof number), number);
	return NULL;
}

static void test_each_of_many_callers_gets_its_own_replies(void)
{
	pthread_t callers[CALLERS], callees[2];

	begin_running();
	for (int i = 0; i < 2; i++)
		callees[i] = thread_spawn(answer_all, NULL);
	for (uintptr_t i = 0; i < CALLERS; i++)
		callers[i] = thread_spawn(call_many, (void *)(i * 1000));
	for (int i = 0; i < CALLERS; i++)
		thread_wait(callers[i]);
	check_int(beam_topic_close_receive(out.topic[1]), 0);
	for (int i = 0; i < 2; i++)
		thread_wait(callees[i]);
	end_running();
}

static void test_more_calls_than_the_callee_takes_at_a_time_all_get_there(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	pthread_t callee, runner;
	beam_call *calls[FLOOD];

	options.calls = 64;
	begin_with(NULL, &options);
	runner = thread_spawn(run_until_stopped, NULL);
	for (uint64_t i = 0; i < UNANSWERED; i++)
		calls[i] = call_bytes(&i, sizeof i);
	callee = thread_spawn(answer_all, NULL);
	for (uint64_t i = UNANSWERED; i < FLOOD; i++)
		calls[i] = call_bytes(&i, sizeof i);
	for (uint64_t i = 0; i < FLOOD; i++)
		expect_number_twice(calls[i], i);
	check_int(beam_topic_close_receive(out.topic[1]), 0);
	thread_wait(callee);
	check_int(beam_router_stop(router), 0);
	thread_wait(runner);
	end();
}

static const struct test tests[] = {
    TEST(test_a_reply_comes_back),
    TEST(test_several_replies_come_back_in_order_and_the_last_is_the_last),
    TEST(test_many_replies_that_wait_come_in_turns),
    TEST(test_attachments_go_both_ways),
    TEST(test_what_a_call_carries_is_not_kept_by_the_router),
    TEST(test_large_calls_and_replies_go_on_too),
    TEST(test_a_failure_comes_back_with_its_code_and_text),
    TEST(test_of_a_failure_whose_text_the_caller_does_not_accept_the_code_comes_back),
    TEST(test_what_has_no_room_at_its_caller_goes_when_there_is),
    TEST(test_a_call_that_is_dropped_is_dropped),
    TEST(test_a_reply_that_the_caller_does_not_accept_is_handed_out_with_the_call),
    TEST(test_each_of_many_callers_gets_its_own_replies),
    TEST(test_more_calls_than_the_callee_takes_at_a_time_all_get_there),
};
HARNESS_MAIN("public/router_call", tests)
