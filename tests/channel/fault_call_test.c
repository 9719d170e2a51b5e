/* SPDX-License-Identifier: MIT */
/*
 * Calls, while each system call that can fail fails in turn: all errors are documented, what
 * arrives is what was sent, and every call ends.
 */
#include <beam/call.h>
#include <channel/sweep.h>
#include <scenario/scenarios.h>

static void test_answers_of_every_kind(void)
{
	attached_open();
	check(sweep(answers_of_every_kind) >= at_least(60));
	attached_close();
}

static void test_answers_of_every_kind_do_not_notice_what_passes(void)
{
	attached_open();
	check(sweep_passing(answers_of_every_kind) >= at_least(10));
	attached_close();
}

static void test_answers_of_every_kind_bear_what_lasts(void)
{
	attached_open();
	check(sweep_lasting(answers_of_every_kind) >= at_least(10));
	attached_close();
}

static void test_large_calls_and_many_at_once(void)
{
	attached_open();
	check(sweep(large_calls_and_many_at_once) >= at_least(60));
	attached_close();
}

static void test_large_calls_and_many_at_once_do_not_notice_what_passes(void)
{
	attached_open();
	check(sweep_passing(large_calls_and_many_at_once) >= at_least(10));
	attached_close();
}

static void test_large_calls_and_many_at_once_bear_what_lasts(void)
{
	attached_open();
	check(sweep_lasting(large_calls_and_many_at_once) >= at_least(10));
	attached_close();
}

static void test_refused_descriptors(void)
{
	attached_open();
	check(sweep_error(calls_that_wait_in_the_buffer, FAULT(SYS_SENDMSG), EPERM, false) >= at_least(3));
	check(sweep_error(calls_that_wait_in_the_buffer, FAULT(SYS_SENDMSG), EPERM, true) >= at_least(3));
	check(sweep_error(calls_that_wait_in_the_buffer, FAULT(SYS_SENDMSG), ETOOMANYREFS, false) >= at_least(3));
	attached_close();
}

static void test_requests_and_replies_that_are_messages(void)
{
	attached_open();
	check(sweep(requests_and_replies_that_are_messages) >= at_least(60));
	attached_close();
}

static void test_requests_and_replies_that_are_messages_do_not_notice_what_passes(void)
{
	attached_open();
	check(sweep_passing(requests_and_replies_that_are_messages) >= at_least(10));
	attached_close();
}

static void test_requests_and_replies_that_are_messages_bear_what_lasts(void)
{
	attached_open();
	check(sweep_lasting(requests_and_replies_that_are_messages) >= at_least(10));
	attached_close();
}

static const struct test tests[] = {
    TEST(test_answers_of_every_kind),
    TEST(test_answers_of_every_kind_do_not_notice_what_passes),
    TEST(test_answers_of_every_kind_bear_what_lasts),
    TEST(test_large_calls_and_many_at_once),
    TEST(test_large_calls_and_many_at_once_do_not_notice_what_passes),
    TEST(test_large_calls_and_many_at_once_bear_what_lasts),
    TEST(test_refused_descriptors),
    TEST(test_requests_and_replies_that_are_messages),
    TEST(test_requests_and_replies_that_are_messages_do_not_notice_what_passes),
    TEST(test_requests_and_replies_that_are_messages_bear_what_lasts),
};
HARNESS_MAIN("channel-fault-call", tests)
