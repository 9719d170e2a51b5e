/* SPDX-License-Identifier: MIT */
/* Creating, querying and releasing a channel, while each call that can fail fails in turn. */
#include <channel/sweep.h>
#include <scenario/scenarios.h>

static void test_a_channel_that_cannot_be_made_leaves_the_socket_to_the_caller(void)
{
	check(sweep(a_channel_made_and_let_go_of) >= at_least(20));
}

static void test_everything_is_let_go_of_topics_first(void)
{
	check(sweep(topics_let_go_of_first) >= at_least(60));
}

static void test_everything_is_let_go_of_channels_first(void)
{
	check(sweep(channels_let_go_of_first) >= at_least(60));
}

static void test_a_message_outlives_its_channel(void)
{
	check(sweep(a_message_that_outlives_its_channel) >= at_least(40));
}

static void test_what_a_channel_is_asked(void)
{
	check(sweep(a_channel_that_is_asked) >= at_least(40));
}

static void test_connecting_and_accepting_topics(void)
{
	check(sweep(connecting_and_accepting_topics) >= at_least(60));
}

static void test_an_interrupted_thread_goes_on(void)
{
	check(sweep_unnoticed(coming_and_going, FAULT(SYS_EPOLL_WAIT), EINTR) >= at_least(1));
	/* read() only clears a wake-up, and there need not be one. */
	sweep_unnoticed(coming_and_going, FAULT(SYS_READ), EINTR);
	check(sweep_unnoticed(coming_and_going, FAULT(SYS_WRITE), EINTR) >= at_least(1));
}

/*
 * The reaper's memory and thread, the watch on the socket, and its shutdown. Once the channel
 * exists, it can do without each of them.
 */
static void test_what_can_be_done_without_is_not_missed(void)
{
	check(sweep_unnoticed(coming_and_going, FAULT(SYS_EPOLL_CTL), ENOMEM) >= at_least(4));
	check(sweep_unnoticed(coming_and_going, FAULT(SYS_SHUTDOWN), ENOTCONN) >= at_least(2));
	check(sweep_unnoticed(coming_and_going, FAULT(SYS_PTHREAD_CREATE), EAGAIN) >= at_least(2));
	check(sweep_unnoticed(coming_and_going, FAULT(SYS_GETRLIMIT) | FAULT(SYS_SETSOCKOPT), EPERM) >= at_least(2));
}

static const struct test tests[] = {
    TEST(test_a_channel_that_cannot_be_made_leaves_the_socket_to_the_caller),
    TEST(test_everything_is_let_go_of_topics_first),
    TEST(test_everything_is_let_go_of_channels_first),
    TEST(test_a_message_outlives_its_channel),
    TEST(test_what_a_channel_is_asked),
    TEST(test_connecting_and_accepting_topics),
    TEST(test_an_interrupted_thread_goes_on),
    TEST(test_what_can_be_done_without_is_not_missed),
};
HARNESS_MAIN("channel-fault-life", tests)
