/* SPDX-License-Identifier: MIT */
/* All threads that wait on a channel are woken when it ends, in whatever way it ends. */
#include <beam/beam.h>
#include <harness/harness.h>
#include <poll.h>
#include <public/ends.h>
#include <stdatomic.h>
#include <sys/socket.h>

static struct ends ends;

/* A thread that waits, and the result it was woken with. */
struct waiter {
	_Atomic pid_t thread;
	int (*wait)(void);
	int result;
};

static void *waiter_run(void *argument)
{
	struct waiter *waiter = argument;

	atomic_store(&waiter->thread, thread_number());
	waiter->result = waiter->wait();
	return NULL;
}

static int wait_to_receive(void)
{
	return receive_nothing(ends.topic[0], BEAM_FOREVER);
}

static int wait_to_accept(void)
{
	beam_topic *topic = NULL;

	return beam_channel_accept(ends.channel[0], &topic, BEAM_FOREVER);
}

static int wait_to_send(void)
{
	int r;

	while ((r = beam_topic_send(ends.topic[0], "x", 1, 0, BEAM_FOREVER)) == 0)
		;
	return r;
}

enum { WAITERS = 6 };

/* Starts threads that wait in every way that is possible, and then calls `end`. */
static void expect_woken(void (*end)(void), int receive, int send)
{
	int (*const waits[WAITERS])(void) = {wait_to_receive, wait_to_receive, wait_to_accept,
					     wait_to_accept,  wait_to_send,    wait_to_send};
	struct waiter waiters[WAITERS];
	pthread_t threads[WAITERS];

	for (int i = 0; i < WAITERS; i++) {
		waiters[i] = (struct waiter){.wait = waits[i]};
		threads[i] = thread_spawn(waiter_run, &waiters[i]);
	}
	for (int i = 0; i < WAITERS; i++)
		check_within(20000, thread_asleep(atomic_load(&waiters[i].thread)));
	end();
	for (int i = 0; i < WAITERS; i++) {
		thread_wait(threads[i]);
		check_int(waiters[i].result, i < 4 ? receive : send);
	}
}

static void close_here(void)
{
	check_int(beam_channel_close(ends.channel[0], soon()), 0);
}

static void close_there(void)
{
	check_int(beam_channel_close(ends.channel[1], soon()), 0);
}

static void test_close_wakes_everyone_on_this_side(void)
{
	ends_open(&ends, NULL);
	expect_woken(close_here, 0, -EPIPE);
	ends_close(&ends);
}

static void test_close_wakes_everyone_on_the_other_side(void)
{
	ends_open(&ends, NULL);
	expect_woken(close_there, 0, -EPIPE);
	ends_close(&ends);
}

/* A peer that writes nothing, and is closed. */
static int silent;

static void close_silent(void)
{
	close(silent);
}

static void test_a_crash_wakes_everyone(void)
{
	int fds[2];

	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	silent = fds[1];
	require_int(beam_channel_from_fd(&ends.channel[0], fds[0], NULL), 0);
	require_int(beam_topic_open(&ends.topic[0], ends.channel[0], "topic"), 0);
	expect_woken(close_silent, -ECONNRESET, -ECONNRESET);
	check_int(beam_channel_limits(ends.channel[0], &(struct beam_limits){0}, sizeof(struct beam_limits), soon()),
		  -ECONNRESET);
	check_int(beam_channel_flush(ends.channel[0], soon()), -ECONNRESET);
	ends_close(&ends);
}

/* ---- Abort ----------------------------------------------------------------------------------- */

static void abort_here(void)
{
	check_int(beam_channel_abort(ends.channel[0]), 0);
}

static void abort_there(void)
{
	check_int(beam_channel_abort(ends.channel[1]), 0);
}

static void test_abort_wakes_everyone_on_this_side(void)
{
	ends_open(&ends, NULL);
	expect_woken(abort_here, -ECONNRESET, -ECONNRESET);
	check_int(beam_channel_flush(ends.channel[0], soon()), -ECONNRESET);
	check_int(beam_channel_close(ends.channel[0], soon()), -ECONNRESET);
	ends_close(&ends);
}

static void test_abort_wakes_everyone_on_the_other_side(void)
{
	ends_open(&ends, NULL);
	expect_woken(abort_there, -ECONNRESET, -ECONNRESET);
	ends_close(&ends);
}

static void test_what_was_sent_before_an_abort_arrives_and_then_an_error(void)
{
	struct beam_statistics statistics;

	ends_open(&ends, NULL);
	send_text(ends.topic[1], "arrived here");
	check_within(20000, beam_topic_statistics(ends.topic[0], &statistics, sizeof statistics) == 0 &&
				statistics.messages_queued == 1);
	for (uint64_t i = 0; i < 1000; i++)
		send_number(ends.topic[0], i);
	check_int(beam_channel_flush(ends.channel[0], soon()), 0);
	check_int(beam_channel_abort(ends.channel[0]), 0);
	for (uint64_t i = 0; i < 1000; i++)
		expect_number(ends.topic[1], i);
	for (int i = 0; i < 2; i++)
		check_int(receive_nothing(ends.topic[1], soon()), -ECONNRESET);
	expect_text(ends.topic[0], "arrived here");
	check_int(receive_nothing(ends.topic[0], BEAM_NOWAIT), -ECONNRESET);
	check_int(beam_topic_send(ends.topic[0], "x", 1, 0, BEAM_NOWAIT), -ECONNRESET);
	ends_close(&ends);
}

static void test_an_abort_after_a_close_ends_what_goes_on_and_is_none(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	struct pollfd ended;
	int fds[2];

	/* The other side does not read. */
	options.linger_ms = UINT32_MAX;
	options.socket_buffer_bytes = 4096;
	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	require_int(beam_channel_from_fd(&ends.channel[0], fds[0], &options), 0);
	require_int(beam_topic_open(&ends.topic[0], ends.channel[0], "topic"), 0);
	while (beam_topic_send(ends.topic[0], (char[8192]){0}, 8192, 0, BEAM_NOWAIT) == 0)
		;
	check_int(beam_channel_close(ends.channel[0], BEAM_NOWAIT), -EAGAIN);
	check_int(beam_channel_abort(ends.channel[0]), 0);
	check_int(beam_topic_send(ends.topic[0], "x", 1, 0, soon()), -EPIPE);
	check_int(receive_nothing(ends.topic[0], soon()), 0);
	ended = (struct pollfd){.fd = fds[1], .events = POLLRDHUP};
	check_int(poll(&ended, 1, stretch(20000)), 1);
	check(ended.revents & POLLRDHUP);
	close(fds[1]);
	ends_close(&ends);
}

static void test_a_goodbye_that_was_said_stays_said(void)
{
	ends_open(&ends, NULL);
	send_text(ends.topic[0], "the last");
	check_int(beam_channel_close(ends.channel[0], soon()), 0);
	check_int(beam_channel_abort(ends.channel[0]), 0);
	expect_text(ends.topic[1], "the last");
	check_int(receive_nothing(ends.topic[1], soon()), 0);
	ends_close(&ends);
}

static void test_a_channel_of_a_loop_can_be_aborted_before_its_loop_gets_to_it(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.loop = 1;
	ends_open(&ends, &options);
	check_int(beam_channel_dispatch(ends.channel[1], POLLIN), 1);
	check_int(beam_channel_abort(ends.channel[1]), 0);
	check_int(receive_nothing(ends.topic[0], soon()), -ECONNRESET);
	check_int(receive_nothing(ends.topic[1], BEAM_NOWAIT), -ECONNRESET);
	check_int(beam_channel_dispatch(ends.channel[1], 0), 0);
	check_int(beam_channel_abort(ends.channel[1]), 0);
	ends_close(&ends);
}

/* Wait until some messages have been received. */
static void expect_messages(beam_topic *topic)
{
	struct beam_statistics statistics;

	check_within(20000, beam_topic_statistics(topic, &statistics, sizeof statistics) == 0 &&
				statistics.messages_received > 10);
}

static void *abort_many_times(void *of)
{
	for (int i = 0; i < 10; i++)
		check_int(beam_channel_abort(of), 0);
	return NULL;
}

static void *send_until_it_ends(void *of)
{
	int r;

	while ((r = beam_topic_send(of, "in the midst", 12, 0, soon())) == 0)
		;
	check_int(r, -ECONNRESET);
	return NULL;
}

static void *receive_until_it_ends(void *of)
{
	int r;

	while ((r = receive_nothing(of, soon())) == 1)
		;
	check_int(r, -ECONNRESET);
	return NULL;
}

static void test_both_sides_can_be_aborted_by_many_threads_in_the_midst_of_everything(void)
{
	for (int round = 0; round < 10; round++) {
		pthread_t threads[8];
		int n = 0;

		ends_open(&ends, NULL);
		for (int i = 0; i < 2; i++) {
			threads[n++] = thread_spawn(send_until_it_ends, ends.topic[i]);
			threads[n++] = thread_spawn(receive_until_it_ends, ends.topic[i]);
		}
		for (int i = 0; i < 2; i++)
			expect_messages(ends.topic[i]);
		for (int i = 0; i < 4; i++)
			threads[n++] = thread_spawn(abort_many_times, ends.channel[i % 2]);
		while (n > 0)
			thread_wait(threads[--n]);
		ends_close(&ends);
	}
}

static const struct test tests[] = {
    TEST(test_close_wakes_everyone_on_this_side),
    TEST(test_close_wakes_everyone_on_the_other_side),
    TEST(test_a_crash_wakes_everyone),
    TEST(test_abort_wakes_everyone_on_this_side),
    TEST(test_abort_wakes_everyone_on_the_other_side),
    TEST(test_what_was_sent_before_an_abort_arrives_and_then_an_error),
    TEST(test_an_abort_after_a_close_ends_what_goes_on_and_is_none),
    TEST(test_a_goodbye_that_was_said_stays_said),
    TEST(test_a_channel_of_a_loop_can_be_aborted_before_its_loop_gets_to_it),
    TEST(test_both_sides_can_be_aborted_by_many_threads_in_the_midst_of_everything),
};

HARNESS_MAIN("public/waking", tests)
