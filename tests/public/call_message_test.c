/* SPDX-License-Identifier: MIT */
/* Calls in one step, which report how they failed, and requests and replies that are messages. */
#include <public/ends.h>

enum { CODE = BEAM_FAILURE_APPLICATION + 7 };

/* A caller and its callee, and the callee that the callee itself calls. */
static struct ends ends, behind;

static beam_message *message_of(const char *text)
{
	beam_message *message = NULL;

	require_int(beam_message_new(&message, text, strlen(text)), 0);
	return message;
}

/* A message with a file attached that nobody else has open. */
static beam_message *message_with_file(const char *text, ino_t *ret_inode)
{
	beam_message *message = message_of(text);
	int file = raw_file();

	*ret_inode = raw_inode(file);
	require_int(beam_message_give_fd(message, file), 0);
	return message;
}

static void expect_message(beam_message *message, const char *text)
{
	if (!check(message != NULL))
		return;
	if (check_int(beam_message_size(message), strlen(text)))
		check_bytes(beam_message_data(message), text, strlen(text));
}

static beam_message *take_request(struct ends *of)
{
	beam_message *request = NULL;

	require_int(beam_topic_receive(of->topic[1], &request, 0, soon()), 1);
	check(beam_message_is_call(request));
	return request;
}

/* ---- A callee that does what the request says ------------------------------------------------ */

static void answer(beam_message *request)
{
	struct iovec iov = {(void *)(uintptr_t)beam_message_data(request), beam_message_size(request)};
	const char *verb = iov.iov_base;

	if (iov.iov_len && verb[0] == 'f') /* fail, with the rest as text */
		check_int(beam_message_reply_failure(request, CODE, verb + 1, iov.iov_len - 1, 0, soon()), 0);
	else if (iov.iov_len && verb[0] == 'd') /* drop */
		return;
	else if (beam_message_attachments(request))
		check_int(
		    beam_message_replyv(request, &iov, 1, (int[]){beam_message_peek_fd(request, 0)}, 1, 0, soon()), 0);
	else
		check_int(beam_message_replyv(request, &iov, 1, NULL, 0, 0, soon()), 0);
}

static void *serve(void *topic)
{
	beam_message *request;

	while (beam_topic_receive(topic, &request, 0, BEAM_FOREVER) == 1) {
		answer(request);
		beam_message_free(request);
	}
	return NULL;
}

static pthread_t ends_serve(void)
{
	ends_open(&ends, NULL);
	return thread_spawn(serve, ends.topic[1]);
}

static void ends_served(pthread_t thread)
{
	beam_topic_close_send(ends.topic[0]);
	thread_wait(thread);
	ends_close(&ends);
}

/* ---- Calls in one step ----------------------------------------------------------------------- */

static int call_words(const char *a, const char *b, beam_message **ret, uint32_t *ret_failure)
{
	struct iovec iov[] = {{(void *)(uintptr_t)a, strlen(a)}, {(void *)(uintptr_t)b, strlen(b)}};

	return beam_topic_callv(ends.topic[0], iov, 2, NULL, 0, ret, ret_failure, 0, soon());
}

static void test_a_call_of_several_buffers_and_attachments_gets_its_reply(void)
{
	pthread_t thread = ends_serve();
	beam_message *reply = NULL;
	uint32_t code = 1234;
	int file = raw_file();

	check_int(call_words("one ", "request", &reply, &code), 1);
	expect_message(reply, "one request");
	beam_message_free(reply);
	check_int(call_words("an", "other", &reply, NULL), 1);
	expect_message(reply, "another");
	beam_message_free(reply);
	check_int(beam_topic_callv(ends.topic[0], NULL, 0, &file, 1, &reply, &code, 0, soon()), 1);
	expect_message(reply, "");
	if (check_int(beam_message_attachments(reply), 1))
		check_int(raw_inode(beam_message_peek_fd(reply, 0)), raw_inode(file));
	beam_message_free(reply);
	check_int(code, 1234);
	ends_served(thread);
	close(file);
}

static void test_a_failure_is_told_with_its_code_and_its_text(void)
{
	static char large[200001];
	struct iovec iov = {large, sizeof large};
	pthread_t thread = ends_serve();
	beam_message *reply = NULL;
	uint32_t code = 0;

	check_int(call_words("f", "no such thing", &reply, &code), -EREMOTEIO);
	check_int(code, CODE);
	expect_message(reply, "no such thing");
	check_int(beam_message_attachments(reply), 0);
	check(!beam_message_is_call(reply) && !beam_message_writable(reply));
	beam_message_free(reply);
	/*
	 * Failures without a code requested, without text, and with text that takes several frames.
	 */
	check_int(call_words("f", "why", &reply, NULL), -EREMOTEIO);
	expect_message(reply, "why");
	beam_message_free(reply);
	check_int(call_words("f", "", &reply, &code), -EREMOTEIO);
	check_int(code, CODE);
	expect_message(reply, "");
	beam_message_free(reply);
	check_int(call_words("d", "rop", &reply, &code), -EREMOTEIO);
	check_int(code, BEAM_FAILURE_DROPPED);
	expect_message(reply, "");
	beam_message_free(reply);
	memset(large, 'f', sizeof large);
	check_int(beam_topic_callv(ends.topic[0], &iov, 1, NULL, 0, &reply, &code, 0, soon()), -EREMOTEIO);
	if (check_int(beam_message_size(reply), sizeof large - 1))
		check_bytes(beam_message_data(reply), large, sizeof large - 1);
	beam_message_free(reply);
	ends_served(thread);
}

static void test_the_text_of_a_failure_can_be_passed_on(void)
{
	pthread_t thread = ends_serve();
	beam_message *reply = NULL;
	int file = raw_file();

	check_int(call_words("f", "pass it on", &reply, NULL), -EREMOTEIO);
	check_int(beam_message_add_fd(reply, file), 0);
	check_int(beam_topic_send_message(ends.topic[1], reply, 0, soon()), 0);
	expect_text_with_fds(ends.topic[0], "pass it on", 1);
	ends_served(thread);
	close(file);
}

static void test_nothing_is_told_of_a_call_that_got_no_answer(void)
{
	beam_message *reply = NULL, *request;
	uint32_t code = 1234;

	ends_open(&ends, NULL);
	check_int(beam_topic_callv(ends.topic[0], NULL, 0, NULL, 0, &reply, &code, 0, beam_in_ms(10)), -ETIMEDOUT);
	request = take_request(&ends);
	check_within(20000, beam_message_replyv(request, NULL, 0, NULL, 0, BEAM_REPLY_MORE, soon()) == -ECANCELED);
	beam_message_free(request);
	check_int(beam_channel_close(ends.channel[1], soon()), 0);
	check_within(20000, beam_topic_callv(ends.topic[0], NULL, 0, NULL, 0, &reply, &code, 0, BEAM_NOWAIT) == -EPIPE);
	check(reply == NULL);
	check_int(code, 1234);
	ends_close(&ends);
}

/* ---- A request that is a message ------------------------------------------------------------- */

static void test_a_message_is_taken_as_a_request_with_its_attachments(void)
{
	beam_message *message, *request, *reply = NULL;
	beam_call *call = NULL;
	ino_t inode;

	ends_open(&ends, NULL);
	message = message_with_file("look at this", &inode);
	require_int(beam_call_begin_message(&call, ends.topic[0], message, 0, soon()), 0);
	request = take_request(&ends);
	expect_message(request, "look at this");
	if (check_int(beam_message_attachments(request), 1))
		check_int(raw_inode(beam_message_peek_fd(request, 0)), inode);
	check_int(beam_message_reply(request, "seen", 4, 0, soon()), 0);
	beam_message_free(request);
	check_int(beam_call_receive(call, &reply, 0, soon()), 1);
	expect_message(reply, "seen");
	beam_message_free(reply);
	beam_call_unref(call);
	ends_close(&ends);
}

static void test_a_message_is_called_with_in_one_step(void)
{
	pthread_t thread = ends_serve();
	beam_message *message, *reply = NULL;
	uint32_t code = 0;
	ino_t inode;

	message = message_with_file("back to me", &inode);
	check_int(beam_topic_call_message(ends.topic[0], &message, &reply, &code, 0, soon()), 1);
	check(message == NULL);
	expect_message(reply, "back to me");
	if (check_int(beam_message_attachments(reply), 1))
		check_int(raw_inode(beam_message_peek_fd(reply, 0)), inode);
	/* The reply is sent as the next request. */
	message = reply;
	check_int(beam_topic_call_message(ends.topic[0], &message, &reply, &code, 0, soon()), 1);
	check(message == NULL);
	expect_message(reply, "back to me");
	beam_message_free(reply);
	message = message_of("failed");
	check_int(beam_topic_call_message(ends.topic[0], &message, &reply, &code, 0, soon()), -EREMOTEIO);
	check(message == NULL);
	check_int(code, CODE);
	expect_message(reply, "ailed");
	beam_message_free(reply);
	ends_served(thread);
}

static void test_a_request_that_was_sent_is_gone_whatever_becomes_of_the_call(void)
{
	beam_message *message = message_of("no answer"), *reply = NULL;

	ends_open(&ends, NULL);
	check_int(beam_topic_call_message(ends.topic[0], &message, &reply, NULL, 0, beam_in_ms(10)), -ETIMEDOUT);
	check(message == NULL && reply == NULL);
	beam_message_free(take_request(&ends));
	ends_close(&ends);
}

static void test_a_request_that_cannot_be_sent_stays_the_callers(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_message *message, *reply = NULL;
	beam_call *call = NULL;
	ino_t inode;

	options.message_attachments = 1;
	ends_open(&ends, &options);
	message = message_with_file("two files", &inode);
	check_int(beam_message_add_fd(message, STDERR_FILENO), 0);
	check_int(beam_call_begin_message(&call, ends.topic[0], message, 0, soon()), -E2BIG);
	check_int(beam_topic_call_message(ends.topic[0], &message, &reply, NULL, 0, soon()), -E2BIG);
	expect_message(message, "two files");
	check_int(beam_message_attachments(message), 2);
	check_int(raw_inode(beam_message_peek_fd(message, 0)), inode);
	/* A message from which an attachment was taken cannot be sent either. */
	close(beam_message_take_fd(message, 0));
	check_int(beam_call_begin_message(&call, ends.topic[0], message, 0, soon()), -ENOENT);
	check_int(beam_topic_call_message(ends.topic[0], &message, &reply, NULL, 0, soon()), -ENOENT);
	beam_message_free(message);
	check(call == NULL && reply == NULL);
	ends_close(&ends);
}

/* ---- A reply that is a message --------------------------------------------------------------- */

static void test_messages_are_taken_as_replies(void)
{
	beam_message *request, *reply = NULL;
	beam_call *call = NULL;
	ino_t inode;

	ends_open(&ends, NULL);
	require_int(beam_call_begin(&call, ends.topic[0], NULL, 0, NULL, 0, 0, soon()), 0);
	request = take_request(&ends);
	check_int(beam_message_reply_message(request, message_with_file("a file", &inode), BEAM_REPLY_MORE, soon()), 0);
	check_int(beam_message_reply_message(request, message_of("no more"), 0, soon()), 0);
	beam_message_free(request);
	check_int(beam_call_receive(call, &reply, 0, soon()), 1);
	expect_message(reply, "a file");
	if (check_int(beam_message_attachments(reply), 1))
		check_int(raw_inode(beam_message_peek_fd(reply, 0)), inode);
	beam_message_free(reply);
	check_int(beam_call_receive(call, &reply, 0, soon()), 1);
	expect_message(reply, "no more");
	beam_message_free(reply);
	check_int(beam_call_receive(call, &reply, 0, soon()), 0);
	beam_call_unref(call);
	ends_close(&ends);
}

static void test_a_reply_that_cannot_be_sent_stays_the_callees(void)
{
	beam_message *request, *message;
	beam_call *call = NULL;
	ino_t inode;

	ends_open(&ends, NULL);
	require_int(beam_call_begin(&call, ends.topic[0], NULL, 0, NULL, 0, 0, soon()), 0);
	request = take_request(&ends);
	message = message_with_file("too many files", &inode);
	for (int i = 0; i < BEAM_REPLY_ATTACHMENTS_MAX; i++)
		check_int(beam_message_add_fd(message, STDERR_FILENO), 0);
	check_int(beam_message_reply_message(request, message, 0, soon()), -E2BIG);
	check_int(raw_inode(beam_message_peek_fd(message, 0)), inode);
	close(beam_message_take_fd(message, 0));
	check_int(beam_message_reply_message(request, message, 0, soon()), -ENOENT);
	beam_message_free(message);
	/* A second answer cannot be sent, nor a reply to a cancelled call. */
	message = message_of("late");
	check_int(beam_message_reply(request, "in time", 7, 0, soon()), 0);
	check_int(beam_message_reply_message(request, message, 0, soon()), -EALREADY);
	beam_message_free(request);
	beam_call_unref(call);
	require_int(beam_call_begin(&call, ends.topic[0], NULL, 0, NULL, 0, 0, soon()), 0);
	request = take_request(&ends);
	beam_call_unref(call);
	check_within(20000, beam_message_replyv(request, NULL, 0, NULL, 0, BEAM_REPLY_MORE, soon()) == -ECANCELED);
	check_int(beam_message_reply_message(request, message, 0, soon()), -ECANCELED);
	expect_message(message, "late");
	beam_message_free(message);
	beam_message_free(request);
	ends_close(&ends);
}

/* ---- Forwarding ------------------------------------------------------------------------------ */

/* Calls the next callee with the bytes of the request, which is not answered yet. */
static void pass_on(beam_message *request)
{
	struct iovec iov = {(void *)(uintptr_t)beam_message_data(request), beam_message_size(request)};
	int file = beam_message_attachments(request) ? beam_message_take_fd(request, 0) : -1;
	beam_message *reply = NULL;
	uint32_t code = 0;
	int r = beam_topic_callv(behind.topic[0], &iov, 1, &file, file >= 0, &reply, &code, 0, soon());

	if (r == 1) {
		check_int(beam_message_reply_message(request, reply, 0, soon()), 0);
	} else if (check_int(r, -EREMOTEIO)) {
		check_int(beam_message_reply_failure(request, code, beam_message_data(reply), beam_message_size(reply),
						     0, soon()),
			  0);
		beam_message_free(reply);
	}
	if (file >= 0)
		close(file);
}

static void *relay(void *topic)
{
	beam_message *request;

	while (beam_topic_receive(topic, &request, 0, BEAM_FOREVER) == 1) {
		pass_on(request);
		beam_message_free(request);
	}
	return NULL;
}

static void test_replies_and_failures_are_passed_on_by_a_relay(void)
{
	pthread_t server, relayer;
	beam_message *reply = NULL;
	uint32_t code = 0;
	int file = raw_file();

	ends_open(&behind, NULL);
	ends_open(&ends, NULL);
	server = thread_spawn(serve, behind.topic[1]);
	relayer = thread_spawn(relay, ends.topic[1]);
	/* Often enough to use up every window if no credit came back. */
	for (int i = 0; i < 300; i++) {
		struct iovec iov = {(char[]){"question"}, 8};

		if (!check_int(beam_topic_callv(ends.topic[0], &iov, 1, &file, 1, &reply, NULL, 0, soon()), 1))
			break;
		expect_message(reply, "question");
		if (check_int(beam_message_attachments(reply), 1))
			check_int(raw_inode(beam_message_peek_fd(reply, 0)), raw_inode(file));
		beam_message_free(reply);
	}
	check_int(call_words("f", "behind", &reply, &code), -EREMOTEIO);
	check_int(code, CODE);
	expect_message(reply, "behind");
	beam_message_free(reply);
	beam_topic_close_send(ends.topic[0]);
	thread_wait(relayer);
	beam_topic_close_send(behind.topic[0]);
	thread_wait(server);
	ends_close(&ends);
	ends_close(&behind);
	close(file);
}

static void test_a_call_itself_cannot_be_passed_on(void)
{
	beam_message *request, *same, *reply = NULL;
	beam_call *call = NULL, *none = NULL;

	ends_open(&ends, NULL);
	require_int(beam_call_begin(&call, ends.topic[0], NULL, 0, NULL, 0, 0, soon()), 0);
	request = same = take_request(&ends);
	check_int(beam_call_begin_message(&none, ends.topic[1], request, 0, soon()), -EOPNOTSUPP);
	check_int(beam_topic_call_message(ends.topic[1], &same, &reply, NULL, 0, soon()), -EOPNOTSUPP);
	check_int(beam_message_reply_message(request, request, 0, soon()), -EOPNOTSUPP);
	check_int(beam_message_reply(request, "x", 1, 0, soon()), 0);
	beam_message_free(request);
	beam_call_unref(call);
	check(same == request && none == NULL && reply == NULL);
	ends_close(&ends);
}

/* ---- Bad input ------------------------------------------------------------------------------- */

static void test_null_and_unknown_flags_are_refused(void)
{
	beam_message *message = message_of("x"), *none = NULL, *reply = NULL, *request;
	beam_call *call = NULL, *other = NULL;
	uint32_t code;

	ends_open(&ends, NULL);
	check_int(beam_topic_callv(NULL, NULL, 0, NULL, 0, &reply, &code, 0, soon()), -EINVAL);
	check_int(beam_topic_callv(ends.topic[0], NULL, 0, NULL, 0, NULL, &code, 0, soon()), -EINVAL);
	check_int(beam_topic_callv(ends.topic[0], NULL, 1, NULL, 0, &reply, &code, 0, soon()), -EINVAL);
	check_int(beam_topic_callv(ends.topic[0], NULL, 0, NULL, 0, &reply, &code, 1, soon()), -EINVAL);
	check_int(beam_topic_callv(ends.topic[0], NULL, 0, (int[]){-1}, 1, &reply, &code, 0, soon()), -EBADF);
	check_int(beam_call_begin_message(NULL, ends.topic[0], message, 0, soon()), -EINVAL);
	check_int(beam_call_begin_message(&call, NULL, message, 0, soon()), -EINVAL);
	check_int(beam_call_begin_message(&call, ends.topic[0], NULL, 0, soon()), -EINVAL);
	check_int(beam_call_begin_message(&call, ends.topic[0], message, 1, soon()), -EINVAL);
	check_int(beam_topic_call_message(NULL, &message, &reply, &code, 0, soon()), -EINVAL);
	check_int(beam_topic_call_message(ends.topic[0], NULL, &reply, &code, 0, soon()), -EINVAL);
	check_int(beam_topic_call_message(ends.topic[0], &none, &reply, &code, 0, soon()), -EINVAL);
	check_int(beam_topic_call_message(ends.topic[0], &message, NULL, &code, 0, soon()), -EINVAL);
	check_int(beam_topic_call_message(ends.topic[0], &message, &reply, &code, 1, soon()), -EINVAL);
	require_int(beam_call_begin(&other, ends.topic[0], NULL, 0, NULL, 0, 0, soon()), 0);
	request = take_request(&ends);
	check_int(beam_message_reply_message(NULL, message, 0, soon()), -EINVAL);
	check_int(beam_message_reply_message(message, message, 0, soon()), -EINVAL);
	check_int(beam_message_reply_message(request, NULL, 0, soon()), -EINVAL);
	check_int(beam_message_reply_message(request, message, 2, soon()), -EINVAL);
	beam_message_free(request);
	beam_call_unref(other);
	expect_message(message, "x");
	beam_message_free(message);
	check(call == NULL && reply == NULL);
	ends_close(&ends);
}

static int use_parents(void *request)
{
	beam_message *message = message_of("x"), *reply = NULL;
	beam_call *call = NULL;

	check_int(beam_topic_callv(ends.topic[0], NULL, 0, NULL, 0, &reply, NULL, 0, BEAM_NOWAIT), -ECHILD);
	check_int(beam_call_begin_message(&call, ends.topic[0], message, 0, BEAM_NOWAIT), -ECHILD);
	check_int(beam_topic_call_message(ends.topic[0], &message, &reply, NULL, 0, BEAM_NOWAIT), -ECHILD);
	check_int(beam_message_reply_message(request, message, 0, BEAM_NOWAIT), -ECHILD);
	beam_message_free(message);
	return 0;
}

static void test_a_forked_child_has_none_of_it(void)
{
	beam_call *call = NULL;
	beam_message *request;

	ends_open(&ends, NULL);
	require_int(beam_call_begin(&call, ends.topic[0], NULL, 0, NULL, 0, 0, soon()), 0);
	request = take_request(&ends);
	check_int(process_wait(process_spawn(use_parents, request)), 0);
	beam_message_free(request);
	beam_call_unref(call);
	ends_close(&ends);
}

static const struct test tests[] = {
    TEST(test_a_call_of_several_buffers_and_attachments_gets_its_reply),
    TEST(test_a_failure_is_told_with_its_code_and_its_text),
    TEST(test_the_text_of_a_failure_can_be_passed_on),
    TEST(test_nothing_is_told_of_a_call_that_got_no_answer),
    TEST(test_a_message_is_taken_as_a_request_with_its_attachments),
    TEST(test_a_message_is_called_with_in_one_step),
    TEST(test_a_request_that_was_sent_is_gone_whatever_becomes_of_the_call),
    TEST(test_a_request_that_cannot_be_sent_stays_the_callers),
    TEST(test_messages_are_taken_as_replies),
    TEST(test_a_reply_that_cannot_be_sent_stays_the_callees),
    TEST(test_replies_and_failures_are_passed_on_by_a_relay),
    TEST(test_a_call_itself_cannot_be_passed_on),
    TEST(test_null_and_unknown_flags_are_refused),
    TEST(test_a_forked_child_has_none_of_it),
};
HARNESS_MAIN("public/call-message", tests)
