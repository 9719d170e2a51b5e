/* SPDX-License-Identifier: MIT */
/*
 * The ends of topics, channels and peers, in both directions, while each call that can fail fails
 * in turn.
 */
#include <channel/sweep.h>
#include <scenario/scenarios.h>

/* Sweeps over all calls, then over temporary errors, then over permanent ones. */
static void sweep_end(void (*scenario)(void))
{
	check(sweep(scenario) >= at_least(25));
	check(sweep_passing(scenario) >= at_least(4));
	check(sweep_lasting(scenario) >= at_least(4));
}

static void test_topics_that_are_closed_and_opened_again(void)
{
	sweep_end(topics_closed_and_opened_again);
}

static void test_topics_that_are_reset(void)
{
	sweep_end(a_topic_that_is_reset);
}

static void test_topics_that_are_refused(void)
{
	sweep_end(a_topic_that_is_refused);
	sweep_end(a_topic_that_is_accepted_and_refused);
}

static void test_channels_that_are_closed_with_messages_on_their_way(void)
{
	sweep_end(a_channel_closed_here);
	sweep_end(a_channel_closed_there);
}

static void test_channels_that_are_left(void)
{
	sweep_end(a_channel_that_is_left);
}

static void test_a_peer_that_dies(void)
{
	check(sweep(a_peer_that_dies) >= at_least(25));
	check(sweep_unnoticed(a_peer_that_dies, FAULT(SYS_SENDMSG), ENOBUFS) >= at_least(2));
	check(sweep_unnoticed(a_peer_that_dies, FAULT(SYS_RECVMSG), EINTR) >= at_least(1));
}

static void test_a_peer_that_breaks_the_protocol(void)
{
	check(sweep(a_peer_that_breaks_the_protocol) >= at_least(25));
	check(sweep_unnoticed(a_peer_that_breaks_the_protocol, FAULT(SYS_RECVMSG), EINTR) >= at_least(1));
	check(sweep_unnoticed(a_peer_that_breaks_the_protocol, FAULT(SYS_RECVMSG), ECONNRESET) >= at_least(1));
}

static void test_those_who_wait_are_woken(void)
{
	check(sweep(waiting_until_it_is_closed_here) >= at_least(25));
	check(sweep(waiting_until_it_is_closed_there) >= at_least(25));
	check(sweep(waiting_until_it_is_aborted) >= at_least(25));
	check(sweep(waiting_until_the_topic_ends) >= at_least(25));
}

static void test_those_who_wait_for_topics_are_woken(void)
{
	check(sweep(waiting_for_topics_until_it_is_closed_here) >= at_least(25));
	check(sweep(waiting_for_topics_until_it_is_closed_there) >= at_least(25));
}

static const struct test tests[] = {
    TEST(test_topics_that_are_closed_and_opened_again),
    TEST(test_topics_that_are_reset),
    TEST(test_topics_that_are_refused),
    TEST(test_channels_that_are_closed_with_messages_on_their_way),
    TEST(test_channels_that_are_left),
    TEST(test_a_peer_that_dies),
    TEST(test_a_peer_that_breaks_the_protocol),
    TEST(test_those_who_wait_are_woken),
    TEST(test_those_who_wait_for_topics_are_woken),
};
HARNESS_MAIN("channel-fault-end", tests)
