/* SPDX-License-Identifier: MIT */
/*
 * Messages of several frames, larger than a window, larger than the first limit, or larger than
 * what the socket takes at once, while each call that can fail fails in turn.
 */
#include <channel/sweep.h>
#include <scenario/scenarios.h>

static void test_large_messages(void)
{
	check(sweep(large_messages) >= at_least(80));
}

static void test_large_messages_do_not_notice_what_passes(void)
{
	check(sweep_passing(large_messages) >= at_least(10));
}

static void test_large_messages_bear_what_lasts(void)
{
	check(sweep_lasting(large_messages) >= at_least(10));
}

static void test_large_messages_that_are_given_up(void)
{
	check(sweep(large_messages_given_up) >= at_least(60));
}

static const struct test tests[] = {
    TEST(test_large_messages),
    TEST(test_large_messages_do_not_notice_what_passes),
    TEST(test_large_messages_bear_what_lasts),
    TEST(test_large_messages_that_are_given_up),
};
HARNESS_MAIN("channel-fault-large", tests)
