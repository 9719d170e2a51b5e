/* SPDX-License-Identifier: MIT */
/*
 * Plain messages, while each call that can fail fails in turn. Also, temporary errors, which nobody
 * may notice.
 */
#include <channel/sweep.h>
#include <scenario/scenarios.h>

static void test_each_way_of_sending_and_receiving(void)
{
	check(sweep(each_way_of_sending_and_receiving) >= at_least(80));
}

static void test_each_way_of_sending_and_receiving_does_not_notice_what_passes(void)
{
	check(sweep_passing(each_way_of_sending_and_receiving) >= at_least(10));
}

static void test_each_way_of_sending_and_receiving_bears_what_lasts(void)
{
	check(sweep_lasting(each_way_of_sending_and_receiving) >= at_least(10));
}

static void test_credit_comes_back_over_several_windows(void)
{
	check(sweep(credit_over_several_windows) >= at_least(60));
}

static void test_credit_that_comes_back_does_not_notice_what_passes(void)
{
	check(sweep_passing(credit_over_several_windows) >= at_least(10));
}

static void test_a_burst(void)
{
	check(sweep_error(a_burst, FAULT_ALL & ~(FAULT(SYS_EPOLL_WAIT) | FAULT(SYS_SENDMSG) | FAULT(SYS_RECVMSG)), 0,
			  true) >= at_least(25));
	check(sweep_passing(a_burst) >= at_least(10));
}

static void test_two_threads_on_one_topic(void)
{
	check(sweep_error(two_threads_on_one_topic,
			  FAULT_ALL & ~(FAULT(SYS_EPOLL_WAIT) | FAULT(SYS_SENDMSG) | FAULT(SYS_RECVMSG)), 0,
			  true) > 25);
	check(sweep_passing(two_threads_on_one_topic) >= at_least(10));
}

static const struct test tests[] = {
    TEST(test_each_way_of_sending_and_receiving),
    TEST(test_each_way_of_sending_and_receiving_does_not_notice_what_passes),
    TEST(test_each_way_of_sending_and_receiving_bears_what_lasts),
    TEST(test_credit_comes_back_over_several_windows),
    TEST(test_credit_that_comes_back_does_not_notice_what_passes),
    TEST(test_a_burst),
    TEST(test_two_threads_on_one_topic),
};
HARNESS_MAIN("channel-fault-send", tests)
