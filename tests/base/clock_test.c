/* SPDX-License-Identifier: MIT */
/* Deadlines: what they mean to ppoll, epoll_wait and condition variables. */
#include <base/clock.h>
#include <harness/harness.h>

#include <limits.h>

enum { MS = 1000000 };

static void test_a_deadline_lies_as_far_ahead_as_asked(void)
{
	int64_t before = clock_now();
	beam_deadline deadline = beam_in_ms(250);
	int64_t after = clock_now();

	check(deadline.ns >= before + 250 * MS && deadline.ns <= after + 250 * MS);
	check(!deadline_passed(deadline));
}

static void test_no_time_is_a_time_that_has_passed_but_not_nowait(void)
{
	static const int64_t none[] = {0, -1, INT64_MIN};

	for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
		check(beam_in_ms(none[i]).ns != BEAM_NOWAIT.ns);
		check(deadline_passed(beam_in_ms(none[i])));
		check_int(deadline_error(beam_in_ms(none[i])), -ETIMEDOUT);
	}
}

static void test_a_sum_past_the_end_of_time_is_for_ever(void)
{
	check_int(beam_in_ms(INT64_MAX).ns, BEAM_FOREVER.ns);
	check_int(beam_in_ms(INT64_MAX / MS).ns, BEAM_FOREVER.ns);
	check(beam_in_ms(INT64_MAX / MS / 2).ns < BEAM_FOREVER.ns);
}

static void test_nowait_says_again_and_all_others_timed_out(void)
{
	check_int(deadline_error(BEAM_NOWAIT), -EAGAIN);
	check_int(deadline_error(BEAM_DEADLINE(1)), -ETIMEDOUT);
	check_int(deadline_error(BEAM_DEADLINE(INT64_MIN)), -ETIMEDOUT);
	check_int(deadline_error(BEAM_FOREVER), -ETIMEDOUT);
}

static void test_what_has_passed_has_passed_also_before_time_began(void)
{
	check(deadline_passed(BEAM_NOWAIT));
	check(deadline_passed(BEAM_DEADLINE(1)));
	check(deadline_passed(BEAM_DEADLINE(-1)));
	check(deadline_passed(BEAM_DEADLINE(INT64_MIN)));
	check(!deadline_passed(BEAM_FOREVER));
}

static void test_the_time_left_for_ppoll(void)
{
	struct timespec left;

	check(deadline_timeout(BEAM_FOREVER, &left) == NULL);
	check(deadline_timeout(BEAM_NOWAIT, &left) == &left);
	check(left.tv_sec == 0 && left.tv_nsec == 0);
	check(deadline_timeout(BEAM_DEADLINE(INT64_MIN), &left) == &left);
	check(left.tv_sec == 0 && left.tv_nsec == 0);
	check(deadline_timeout(deadline_in((int64_t)3000 * MS + 500 * MS), &left) == &left);
	check(left.tv_sec == 3 && left.tv_nsec <= 500 * MS);
	/* More seconds than 32 bits hold. */
	check(deadline_timeout(deadline_in((INT64_C(5) << 30) * 1000 * MS), &left) == &left);
	check(left.tv_sec > INT32_MAX);
}

static void test_the_time_left_for_epoll_wait_is_rounded_up(void)
{
	check_int(beam_deadline_poll_ms(BEAM_FOREVER), -1);
	check_int(beam_deadline_poll_ms(BEAM_NOWAIT), 0);
	check_int(beam_deadline_poll_ms(BEAM_DEADLINE(1)), 0);
	check_int(beam_deadline_poll_ms(BEAM_DEADLINE(INT64_MAX - 1)), INT_MAX);
	check_int(beam_deadline_poll_ms(deadline_in((int64_t)3600 * 1000 * MS)), 3600 * 1000);
}

static void test_the_earlier_of_two_deadlines(void)
{
	check_int(deadline_earlier(BEAM_DEADLINE(5), BEAM_FOREVER).ns, 5);
	check_int(deadline_earlier(BEAM_DEADLINE(5), BEAM_NOWAIT).ns, 0);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition;
static bool told;

static void *tell(void *unused)
{
	pthread_mutex_lock(&lock);
	told = true;
	pthread_cond_signal(&condition);
	pthread_mutex_unlock(&lock);
	return unused;
}

static void test_waiting_on_a_condition_ends_at_the_deadline_and_not_before(void)
{
	beam_deadline deadline = beam_in_ms(30);
	int r = 0;

	condition_init(&condition);
	pthread_mutex_lock(&lock);
	while (r == 0)
		r = condition_wait(&condition, &lock, deadline);
	check_int(r, -ETIMEDOUT);
	check(deadline_passed(deadline));
	check_int(condition_wait(&condition, &lock, BEAM_NOWAIT), -EAGAIN);
	check_int(condition_wait(&condition, &lock, BEAM_DEADLINE(1)), -ETIMEDOUT);
	check_int(condition_wait(&condition, &lock, BEAM_DEADLINE(-1)), -ETIMEDOUT);
	pthread_mutex_unlock(&lock);
	condition_end(&condition);
}

static void test_waiting_on_a_condition_ends_when_it_is_signalled(void)
{
	static const beam_deadline deadlines[] = {BEAM_FOREVER, BEAM_DEADLINE(INT64_MAX - 1)};

	for (size_t i = 0; i < 2; i++) {
		pthread_t thread;

		condition_init(&condition);
		pthread_mutex_lock(&lock);
		told = false;
		thread = thread_spawn(tell, NULL);
		while (!told)
			check_int(condition_wait(&condition, &lock, deadlines[i]), 0);
		pthread_mutex_unlock(&lock);
		thread_wait(thread);
		condition_end(&condition);
	}
}

static const struct test tests[] = {
    TEST(test_a_deadline_lies_as_far_ahead_as_asked),
    TEST(test_no_time_is_a_time_that_has_passed_but_not_nowait),
    TEST(test_a_sum_past_the_end_of_time_is_for_ever),
    TEST(test_nowait_says_again_and_all_others_timed_out),
    TEST(test_what_has_passed_has_passed_also_before_time_began),
    TEST(test_the_time_left_for_ppoll),
    TEST(test_the_time_left_for_epoll_wait_is_rounded_up),
    TEST(test_the_earlier_of_two_deadlines),
    TEST(test_waiting_on_a_condition_ends_at_the_deadline_and_not_before),
    TEST(test_waiting_on_a_condition_ends_when_it_is_signalled),
};
HARNESS_MAIN("clock", tests)
