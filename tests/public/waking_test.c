/* SPDX-License-Identifier: MIT */
/*
 * Whoever waits on a channel is woken when it ends, however it ends.
 */
#include <beam/beam.h>
#include <harness/harness.h>
#include <public/ends.h>
#include <stdatomic.h>

static struct ends ends;

/* What the threads that wait are woken with. */
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

	while ((r = beam_topic_send(ends.topic[0], "x", 1, BEAM_FOREVER)) == 0)
		;
	return r;
}

enum { WAITERS = 6 };

/* Threads that wait for everything that can be waited for; then `end` happens. */
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

/* A peer of no words, to be closed. */
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

static const struct test tests[] = {
    TEST(test_close_wakes_everyone_on_this_side),
    TEST(test_close_wakes_everyone_on_the_other_side),
    TEST(test_a_crash_wakes_everyone),
};

HARNESS_MAIN("public/waking", tests)
