/* SPDX-License-Identifier: MIT */
/*
 * Descriptors for event loops, and channels that a loop runs, while each call that can fail fails
 * in turn.
 */
#include <beam/event.h>
#include <channel/sweep.h>
#include <poll.h>
#include <scenario/scenarios.h>

static void test_descriptors(void)
{
	attached_open();
	check(sweep(descriptors_for_an_event_loop) >= at_least(60));
	attached_close();
}

static void test_running_a_loop(void)
{
	attached_open();
	check(sweep(a_channel_run_by_a_loop) >= at_least(40));
	attached_close();
}

static const struct test tests[] = {
    TEST(test_descriptors),
    TEST(test_running_a_loop),
};

HARNESS_MAIN("channel/fault_loop", tests)
