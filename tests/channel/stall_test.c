/* SPDX-License-Identifier: MIT */
/*
 * The time-out of a frame that has not arrived as a whole. Each frame has its own, and a check uses
 * the time at which the check began. The channel has no thread, so it checks only when the test
 * says so.
 */
#include <beam/event.h>
#include <channel/scene.h>
#include <harness/fault.h>
#include <wire/breach.h>

/* The size of the first message. Everything behind it is the second one. */
static size_t whole;

static void begin_with_a_part(void)
{
	struct beam_channel_options options = looped();

	options.frame_timeout_ms = 3600 * 1000;
	begin_settled(&options);
	whole = raw_text(&out, 1, "first") + 24;
	raw_text(&out, 1, "second");
}

/* The peer sends the next `n` bytes of what was prepared, and the channel checks. */
static void send_part(size_t n)
{
	size_t left = out.size - n;

	out.size = n;
	raw_peer_send(&peer, &out);
	memmove(out.bytes, out.bytes + n, left);
	out.size = left;
	check_int(beam_channel_dispatch(channel, POLLIN), 1);
}

static void let_time_pass(void *unused)
{
	(void)unused;
	channel->link.reader.stalled_until = beam_in_ms(0);
}

static void expect_alive(void)
{
	check(!channel->link.reader.over);
	check(beam_channel_breach(channel) == NULL);
}

static void expect_stalled(void)
{
	check(beam_channel_dispatch(channel, POLLIN) >= 0);
	check(channel->link.reader.over);
	check_string(beam_channel_breach(channel), BREACH_TIMEOUT);
}

static void test_a_new_frame_has_a_clock_of_its_own(void)
{
	begin_with_a_part();
	send_part(10);
	check(channel->link.reader.stalled_until.ns != BEAM_FOREVER.ns);
	let_time_pass(NULL);
	/*
	 * The rest of the first frame arrives late, but it arrives. The next frame has only begun.
	 */
	send_part(whole - 10 + 10);
	expect_alive();
	check(!deadline_passed(channel->link.reader.stalled_until));
	let_time_pass(NULL);
	expect_stalled();
	end();
}

static void test_a_look_that_began_in_time_is_not_late_though_it_lasts(void)
{
	begin_with_a_part();
	send_part(10);
	fault_meanwhile(SYS_RECVMSG, 1, let_time_pass, NULL);
	send_part(4);
	expect_alive();
	expect_stalled();
	end();
}

static void test_a_frame_that_is_whole_has_no_clock(void)
{
	begin_with_a_part();
	send_part(10);
	let_time_pass(NULL);
	send_part(whole - 10);
	check(channel->link.reader.stalled_until.ns == BEAM_FOREVER.ns);
	check_int(beam_channel_dispatch(channel, POLLIN), 1);
	expect_alive();
	end();
}

static const struct test tests[] = {
    TEST(test_a_new_frame_has_a_clock_of_its_own),
    TEST(test_a_look_that_began_in_time_is_not_late_though_it_lasts),
    TEST(test_a_frame_that_is_whole_has_no_clock),
};

HARNESS_MAIN("channel/stall", tests)
