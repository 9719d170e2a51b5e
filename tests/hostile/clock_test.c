/* SPDX-License-Identifier: MIT */
/*
 * The machine's clock is set forward and back all the time. All deadlines of Beam use
 * CLOCK_MONOTONIC, so this must have no effect. This program's own clock_gettime(), gettimeofday()
 * and time() replace those of the C library, for the library as well.
 */
#include <hostile/attack.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

static struct attack attack;
static atomic_bool jumping;
static atomic_uint jumps;

/* The clock is wrong by an hour or a year. */
static time_t jump(void)
{
	static const time_t by[] = {3600, -3600, 365 * 24 * 3600, -365 * 24 * 3600};

	return atomic_load(&jumping) ? by[atomic_fetch_add(&jumps, 1) % 4] : 0;
}

/* Where SYS_clock_gettime uses 32 bits for the seconds, there is a second system call. */
#ifndef SYS_clock_gettime64
#define SYS_clock_gettime64 SYS_clock_gettime
#endif

int clock_gettime(clockid_t clock, struct timespec *ret)
{
	int r = (int)syscall(SYS_clock_gettime64, clock, ret);

	if (r == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		ret->tv_sec += jump();
	return r;
}

int gettimeofday(struct timeval *restrict ret, void *restrict unused)
{
	struct timespec now;

	(void)unused;
	clock_gettime(CLOCK_REALTIME, &now);
	*ret = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
	return 0;
}

time_t time(time_t *ret)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (ret)
		*ret = now.tv_sec;
	return now.tv_sec;
}

enum { WAIT_MS = 30, LATE_MS = 20000 };

static int64_t begin;

/* Called after a wait of WAIT_MS. It must have been neither shorter nor an hour longer. */
static void expect_waited(void)
{
	int64_t waited = now_ns() - begin;

	check(waited >= WAIT_MS * INT64_C(1000000));
	check(waited < stretch(LATE_MS) * INT64_C(1000000));
}

static beam_deadline in_a_while(void)
{
	begin = now_ns();
	return beam_in_ms(WAIT_MS);
}

static void test_steps_of_the_clock_move_no_deadline(void)
{
	static const char payload[1000];
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_message *message = NULL;
	beam_topic *topic = NULL;

	options.linger_ms = 100;
	options.frame_timeout_ms = (uint32_t)stretch(10000);
	attack_begin(&attack, &options);
	atomic_store(&jumping, true);
	check(clock_gettime(CLOCK_REALTIME, &(struct timespec){0}) == 0 && atomic_load(&jumps) > 0);
	for (int round = 0; round < 8; round++) {
		check_int(beam_topic_receive(attack.topic, &message, 0, in_a_while()), -ETIMEDOUT);
		expect_waited();
		check_int(beam_channel_accept(attack.channel, &topic, in_a_while()), -ETIMEDOUT);
		expect_waited();
	}
	/* Half a frame: the jumps of the clock do not make it time out. */
	raw_text(&attack.out, 1, "in halves");
	attack.out.size -= 8;
	attack_send(&attack);
	check_int(beam_topic_receive(attack.topic, &message, 0, in_a_while()), -ETIMEDOUT);
	raw_append(&attack.out, "s\0\0\0\0\0\0\0", 8);
	attack_send(&attack);
	expect_text(attack.topic, "in halves");

	/* Use up the credit, so that sends block. */
	while (beam_topic_send(attack.topic, payload, sizeof payload, 0, beam_in_ms(stretch(50))) == 0)
		;
	for (int round = 0; round < 8; round++) {
		check_int(beam_topic_send(attack.topic, payload, sizeof payload, 0, in_a_while()), -ETIMEDOUT);
		expect_waited();
	}
	honest_goes_on(&attack);
	attack_end(&attack);
	atomic_store(&jumping, false);
}

static const struct test tests[] = {
    TEST(test_steps_of_the_clock_move_no_deadline),
};

HARNESS_MAIN("hostile/clock", tests)
