/* SPDX-License-Identifier: MIT */
/* Calls with a peer that breaks the rules as the callee or as the caller, or that dies. */
#include <hostile/attack.h>

static struct attack attack;

/* ---- A hostile callee ------------------------------------------------------------------------ */

static beam_call *begin_call(void)
{
	beam_call *call = NULL;
	struct raw_frame frame;

	require_int(beam_call_begin(&call, attack.topic, NULL, 0, NULL, 0, 0, soon()), 0);
	frame = raw_peer_expect(&attack.peer, RAW_DATA);
	check_int(frame.argument, 1);
	return call;
}

static void expect_end(beam_call *call, int result)
{
	beam_message *reply = NULL;

	check_int(beam_call_receive(call, &reply, 0, soon()), result);
	check(reply == NULL);
}

static void expect_reply(beam_call *call, const char *text)
{
	beam_message *reply = NULL;

	if (!check_int(beam_call_receive(call, &reply, 0, soon()), 1))
		return;
	check_int(beam_message_size(reply), strlen(text));
	beam_message_free(reply);
}

/*
 * Frames that a callee must not send to call 1, and the number of replies that are received before
 * the breach is reported.
 */
static const struct {
	const char *rule, *what, *frames;
	int replies;
} answers[] = {
    {"call-id", "a second last reply",
     "00000014 04 e8 00 00 00000000 00000001 34 00000000000000 00000014 04 e8 00 00 00000000 00000001 34 "
     "00000000000000",
     1},
    {"call-id", "a reply after the end",
     "00000014 04 98 00 00 00000000 00000001 00000001 00000000 0000000c 04 00 00 00 00000000 00000001", 0},
    {"call-id", "a reply to another call", "00000014 04 e8 00 00 00000000 00000002 34 00000000000000", 0},
    {"fragment", "an abort of nothing", "0000000c 04 04 00 00 00000000 00000001", 0},
    {"fragment", "END in the middle",
     "0000001c 04 c3 00 00 00000000 00000001 0000000400000000 6161 000000000000 00000014 04 c8 00 00 00000000 00000001 "
     "6161 "
     "000000000000",
     0},
    {"flags", "ERROR without END", "00000014 04 90 00 00 00000000 00000001 00000001 00000000", 0},
    {"payload", "an error without its code", "00000014 04 b8 00 00 00000000 00000001 000001 0000000000", 0},
    {"credit", "overdraft of all its cost", "0000001c 04 e2 00 00 00000000 00000001 0000000100000041 61 00000000000000",
     0},
    {"message-size", "more than announced", "0000001c 04 c3 00 00 00000000 00000001 0000000100000000 6161 000000000000",
     0},
    {"claim", "a descriptor that did not come", "0000000c 04 00 01 00 00000000 00000001", 0},
    {"goodbye", "goodbye within a reply",
     "0000001c 04 c3 00 00 00000000 00000001 0000000400000000 6161 000000000000 0000000c 08 00 00 00 00000000 00000000",
     0},
};

static void test_an_answer_that_can_not_be_is_a_breach(void)
{
	for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
		beam_message *reply = NULL;
		beam_call *call;
		int n = 0, r;

		harness_context("%s", answers[i].what);
		attack_begin(&attack, NULL);
		call = begin_call();
		raw_hex(&attack.out, answers[i].frames);
		attack_send(&attack);
		expect_breach(&attack, answers[i].rule);
		while ((r = beam_call_receive(call, &reply, 0, soon())) == 1) {
			beam_message_free(reply);
			n++;
		}
		check_int(n, answers[i].replies);
		/* A call that had ended before the breach keeps its result. */
		check(r == -EPROTO || ((r == 0 || r == -EREMOTEIO) && i < 2));
		beam_call_unref(call);
		attack_end(&attack);
	}
}

static void test_more_bytes_than_a_calls_credit_are_a_breach(void)
{
	static unsigned char bulk[65536];
	beam_call *call;

	attack_begin(&attack, NULL);
	call = begin_call();
	raw_frame(&attack.out, RAW_REPLY, 0, 0, 0, 1, bulk, 65536 - 2 * RAW_MESSAGE_COST);
	raw_frame(&attack.out, RAW_REPLY, 0, 0, 0, 1, NULL, 0);
	attack_send_and_wait(&attack);
	raw_frame(&attack.out, RAW_REPLY, 0, 0, 0, 1, NULL, 0);
	attack_send(&attack);
	expect_breach_untaken(&attack, "credit");
	beam_call_unref(call);
	attack_end(&attack);
}

/* Makes a call with a request that the peer does not read completely. */
static void *call_at_length(void *unused)
{
	static char bulk[1 << 20];
	beam_message *reply = NULL;

	(void)unused;
	return (void *)(intptr_t)beam_topic_call(attack.topic, bulk, sizeof bulk, &reply, 0, soon());
}

static void test_a_reply_to_a_request_that_is_still_being_sent_is_a_breach(void)
{
	struct beam_channel_options options = small_buffers();
	struct raw_frame frame;
	pthread_t thread;

	attack_begin(&attack, &options);
	thread = thread_spawn(call_at_length, NULL);
	frame = raw_peer_expect(&attack.peer, RAW_DATA);
	check(frame.flags & RAW_MORE);
	raw_frame(&attack.out, RAW_REPLY, RAW_END, 0, 0, frame.argument, "early", 5);
	attack_send(&attack);
	expect_breach(&attack, "call-id");
	check_int((intptr_t)thread_wait(thread), -EPROTO);
	attack_end(&attack);
}

static void test_a_cancelled_call_discards_what_comes_until_its_end(void)
{
	int file = raw_file();
	struct raw_frame frame;
	beam_call *call;

	attack_begin(&attack, NULL);
	call = begin_call();
	check_int(beam_call_cancel(call), 0);
	frame = raw_peer_expect(&attack.peer, RAW_RESET);
	check_int(frame.id, 0);
	check_int(frame.argument, 1);
	for (int i = 0; i < 10; i++) {
		raw_carry(&attack.out, raw_frame(&attack.out, RAW_REPLY, 0, 1, 0, 1, "unwanted", 8), 1);
		raw_peer_send_fds(&attack.peer, &attack.out, &file, 1);
	}
	raw_frame(&attack.out, RAW_REPLY, RAW_END, 0, 0, 1, "unwanted too", 12);
	attack_send(&attack);
	expect_end(call, -ECANCELED);
	expect_going_on(&attack);
	/* The id can be used again. */
	beam_call_unref(call);
	call = begin_call();
	raw_frame(&attack.out, RAW_REPLY, RAW_END, 0, 0, 1, "wanted", 6);
	attack_send(&attack);
	expect_reply(call, "wanted");
	expect_end(call, 0);
	beam_call_unref(call);
	attack_end(&attack);
	close(file);
}

static void test_a_callee_that_dies_resets_the_calls_in_flight(void)
{
	beam_call *call;

	attack_begin(&attack, NULL);
	call = begin_call();
	raw_frame(&attack.out, RAW_REPLY, 0, 0, 0, 1, "whole", 5);
	raw_frame(&attack.out, RAW_REPLY, RAW_MORE | RAW_SIZED, 0, 0, 1, "\0\0\0\x9\0\0\0\0half", 12);
	attack_send(&attack);
	expect_reply(call, "whole");
	raw_peer_close(&attack.peer);
	expect_end(call, -ECONNRESET);
	expect_end(call, -ECONNRESET);
	check_int(beam_topic_call(attack.topic, "x", 1, &(beam_message *){NULL}, 0, soon()), -ECONNRESET);
	beam_call_unref(call);
	honest_goes_on(&attack);
	ends_close(&attack.honest);
	beam_topic_unref(attack.topic);
	beam_channel_unref(attack.channel);
}

static void test_calls_that_are_never_answered_bound_what_a_caller_can_begin(void)
{
	beam_call *calls[64], *one = NULL;

	attack_begin(&attack, NULL);
	check_int(beam_channel_limits(attack.channel, &(struct beam_limits){0}, sizeof(struct beam_limits), soon()), 0);
	for (int i = 0; i < 64; i++) {
		require_int(beam_call_begin(&calls[i], attack.topic, NULL, 0, NULL, 0, 0, soon()), 0);
		raw_peer_expect(&attack.peer, RAW_DATA);
	}
	check_int(beam_call_begin(&one, attack.topic, NULL, 0, NULL, 0, 0, beam_in_ms(10)), -ETIMEDOUT);
	expect_going_on(&attack);
	for (int i = 0; i < 64; i++)
		beam_call_unref(calls[i]);
	/* Cancelled calls keep their ids until their last replies have arrived. */
	check_int(beam_call_begin(&one, attack.topic, NULL, 0, NULL, 0, 0, BEAM_NOWAIT), -EAGAIN);
	attack_end(&attack);
}

/* ---- A hostile caller ------------------------------------------------------------------------ */

static beam_message *take_call(uint32_t id)
{
	beam_message *request = NULL;

	raw_frame(&attack.out, RAW_DATA, 0, 0, 1, id, "call", 4);
	attack_send(&attack);
	require_int(beam_topic_receive(attack.topic, &request, 0, soon()), 1);
	check(beam_message_is_call(request));
	return request;
}

static void test_a_call_whose_id_is_in_use_is_a_breach(void)
{
	beam_message *request;

	attack_begin(&attack, NULL);
	request = take_call(7);
	raw_frame(&attack.out, RAW_DATA, 0, 0, 1, 7, "call", 4);
	attack_send(&attack);
	expect_breach(&attack, "call-id");
	check_int(beam_message_reply(request, "x", 1, 0, soon()), -EPROTO);
	beam_message_free(request);
	attack_end(&attack);
}

static void test_resets_and_credit_for_ever_change_nothing_and_take_no_memory(void)
{
	size_t total = scale(50000), before = 0;
	struct raw_frame frame;
	beam_message *request;

	attack_begin(&attack, NULL);
	request = take_call(7);
	for (size_t i = 0; i < total; i++) {
		if (i == 1000)
			before = allocated_bytes();
		raw_frame(&attack.out, RAW_RESET, 0, 0, 0, (uint32_t)(i % 256) + 1, NULL, 0);
		raw_frame(&attack.out, RAW_CREDIT, 0, 0, 0, (uint32_t)(i % 256) + 1, "\0\0\0\1\0\0\0\0", 8);
		if (attack.out.size > 4096)
			attack_send(&attack);
	}
	attack_send_and_wait(&attack);
	/* The call was reset, and is ended once. */
	frame = raw_peer_expect(&attack.peer, RAW_REPLY);
	check_int(frame.flags, RAW_END | RAW_ERROR);
	check_int(frame.argument, 7);
	check_int(beam_message_reply(request, "x", 1, 0, soon()), -ECANCELED);
	beam_message_free(request);
	/* At most a few read chunks were allocated. */
	check(!before || allocated_bytes() < before + (512 << 10));
	expect_going_on(&attack);
	attack_end(&attack);
}

static void test_credit_of_a_call_beyond_all_bounds_is_a_breach(void)
{
	beam_message *request;

	attack_begin(&attack, NULL);
	request = take_call(7);
	raw_frame(&attack.out, RAW_CREDIT, 0, 0, 0, 7, "\x40\0\0\0\0\0\0\0", 8);
	attack_send(&attack);
	expect_breach(&attack, "grant");
	beam_message_free(request);
	attack_end(&attack);
}

static void test_a_caller_that_takes_no_replies_holds_up_its_own_answer_alone(void)
{
	static char bulk[32768];
	struct iovec iov = {bulk, sizeof bulk};
	beam_message *request;
	int r;

	attack_begin(&attack, NULL);
	request = take_call(7);
	do
		r = beam_message_replyv(request, &iov, 1, NULL, 0, BEAM_REPLY_MORE, beam_in_ms(20));
	while (r == 0);
	check_int(r, -ETIMEDOUT);
	expect_going_on(&attack);
	beam_message_free(request);
	raw_peer_expect(&attack.peer, RAW_REPLY);
	attack_end(&attack);
}

static void test_a_reset_within_a_request_is_answered_when_that_has_come(void)
{
	struct raw_frame frame;
	beam_topic *other;

	attack_begin(&attack, NULL);
	raw_frame(&attack.out, RAW_DATA, RAW_MORE | RAW_SIZED, 0, 1, 7, "\0\0\0\x8\0\0\0\0half", 12);
	raw_frame(&attack.out, RAW_RESET, 0, 0, 0, 7, NULL, 0);
	raw_open(&attack.out, 2, "other");
	raw_text(&attack.out, 2, "meanwhile");
	require_int(beam_topic_open(&other, attack.channel, "other"), 0);
	attack_send(&attack);
	expect_text(other, "meanwhile");
	beam_topic_unref(other);
	raw_frame(&attack.out, RAW_DATA, 0, 0, 1, 7, "half", 4);
	attack_send(&attack);
	frame = raw_peer_expect(&attack.peer, RAW_REPLY);
	check_int(frame.flags, RAW_END | RAW_ERROR);
	expect_text(attack.topic, "halfhalf");
	attack_end(&attack);
}

static void test_a_call_that_arrives_together_with_a_plain_message_can_be_failed_before_it_is_freed(void)
{
	beam_message *request = NULL, *plain = NULL;
	struct raw_frame frame;

	attack_begin(&attack, NULL);
	raw_frame(&attack.out, RAW_DATA, 0, 0, 1, 1, "call", 4);
	raw_text(&attack.out, 1, "plain");
	attack_send(&attack);
	require_int(beam_topic_receive(attack.topic, &request, 0, soon()), 1);
	require_int(beam_topic_receive(attack.topic, &plain, 0, soon()), 1);
	check_int(beam_message_reply_failure(request, BEAM_FAILURE_APPLICATION, NULL, 0, 0, soon()), 0);
	frame = raw_peer_expect(&attack.peer, RAW_REPLY);
	check_int(frame.argument, 1);
	check_int(frame.flags, RAW_END | RAW_ERROR);
	attack_end(&attack);
	/* A request can be freed after its channel. */
	beam_message_free(plain);
	beam_message_free(request);
}

static void test_a_call_that_is_broken_off_in_the_middle_gets_its_end(void)
{
	struct raw_frame frame;

	attack_begin(&attack, NULL);
	raw_frame(&attack.out, RAW_DATA, RAW_MORE | RAW_SIZED, 0, 1, 7, "\0\0\0\x8\0\0\0\0half", 12);
	raw_frame(&attack.out, RAW_DATA, RAW_ABORT, 0, 1, 7, NULL, 0);
	attack_send(&attack);
	frame = raw_peer_expect(&attack.peer, RAW_REPLY);
	check_int(frame.argument, 7);
	check_int(frame.flags, RAW_END | RAW_ERROR);
	attack_end(&attack);
}

/* AddressSanitizer detects if the call is used after its end. */
static void test_replies_in_one_read_to_a_call_that_nobody_holds_are_thrown_away(void)
{
	attack_begin(&attack, NULL);
	beam_call_unref(begin_call());
	raw_frame(&attack.out, RAW_REPLY, 0, 0, 0, 1, "one", 3);
	raw_frame(&attack.out, RAW_REPLY, RAW_END, 0, 0, 1, "last", 4);
	raw_text(&attack.out, 1, "goes on");
	attack_send(&attack);
	expect_text(attack.topic, "goes on");
	attack_end(&attack);
}

static const struct test tests[] = {
    TEST(test_an_answer_that_can_not_be_is_a_breach),
    TEST(test_more_bytes_than_a_calls_credit_are_a_breach),
    TEST(test_a_reply_to_a_request_that_is_still_being_sent_is_a_breach),
    TEST(test_a_cancelled_call_discards_what_comes_until_its_end),
    TEST(test_a_callee_that_dies_resets_the_calls_in_flight),
    TEST(test_calls_that_are_never_answered_bound_what_a_caller_can_begin),
    TEST(test_a_call_whose_id_is_in_use_is_a_breach),
    TEST(test_resets_and_credit_for_ever_change_nothing_and_take_no_memory),
    TEST(test_credit_of_a_call_beyond_all_bounds_is_a_breach),
    TEST(test_a_caller_that_takes_no_replies_holds_up_its_own_answer_alone),
    TEST(test_a_reset_within_a_request_is_answered_when_that_has_come),
    TEST(test_a_call_that_arrives_together_with_a_plain_message_can_be_failed_before_it_is_freed),
    TEST(test_a_call_that_is_broken_off_in_the_middle_gets_its_end),
    TEST(test_replies_in_one_read_to_a_call_that_nobody_holds_are_thrown_away),
};
HARNESS_MAIN("hostile/call", tests)
