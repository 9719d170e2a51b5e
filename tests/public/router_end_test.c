/* SPDX-License-Identifier: MIT */
/* How a router is stopped, and how its sources are removed. */
#include <public/ends.h>
#include <stdatomic.h>

enum { THREADS = 4 };

static beam_router *router;
static struct ends ends;
static char tag;

/* What the handler does, and how often it was entered and has returned. */
static atomic_uint entered, handled;
static atomic_bool gate;
static void (*do_in_handler)(void);

static int handle(void *argument, const char *topic, beam_message *message)
{
	(void)argument;
	(void)topic;
	atomic_fetch_add(&entered, 1);
	if (do_in_handler)
		do_in_handler();
	beam_message_free(message);
	atomic_fetch_add(&handled, 1);
	return 0;
}

static void wait_at_the_gate(void)
{
	check_within(20000, atomic_load(&gate));
}

static void stop_it(void)
{
	check_int(beam_router_stop(router), 0);
}

static void remove_it(void)
{
	check_int(beam_router_remove_topic(router, ends.topic[1], BEAM_NOWAIT), -EAGAIN);
}

/* A router that passes the messages of the topic to the handler. */
static void begin(void (*in_handler)(void))
{
	struct beam_route route = BEAM_ROUTE;

	atomic_store(&entered, 0);
	atomic_store(&handled, 0);
	atomic_store(&gate, false);
	do_in_handler = in_handler;
	route.handle = handle;
	require_int(beam_router_new(&router), 0);
	require_int(beam_router_add_route(router, &route, NULL), 0);
	ends_open(&ends, NULL);
	require_int(beam_router_add_topic(router, ends.topic[1], &tag), 0);
}

static void end(void)
{
	router = beam_router_unref(router);
	ends_close(&ends);
}

static int run(unsigned flags, beam_deadline deadline)
{
	struct beam_router_failure failure;
	int r = beam_router_run(router, &failure, flags, deadline);

	check(!failure.message && !failure.topic && !failure.channel);
	return r;
}

static void *run_until_stopped(void *unused)
{
	(void)unused;
	check_int(run(0, BEAM_FOREVER), 0);
	return NULL;
}

/* ---- Stopping -------------------------------------------------------------------------------- */

static void test_without_sources_it_waits_until_one_is_added_and_works(void)
{
	pthread_t thread;

	begin(NULL);
	check_int(beam_router_remove_topic(router, ends.topic[1], BEAM_NOWAIT), 0);
	check_int(run(0, BEAM_NOWAIT), -EAGAIN);
	check_int(run(0, beam_in_ms(5)), -ETIMEDOUT);
	check_int(run(BEAM_ROUTER_UNTIL_ENDED, BEAM_FOREVER), 0);
	thread = thread_spawn(run_until_stopped, NULL);
	for (int i = 0; i < 3; i++) {
		check_int(beam_router_add_topic(router, ends.topic[1], &tag), 0);
		send_text(ends.topic[0], "word");
		check_within(20000, atomic_load(&handled) == (unsigned)i + 1);
		check_int(beam_router_remove_topic(router, ends.topic[1], soon()), 0);
	}
	stop_it();
	thread_wait(thread);
	end();
}

static void test_stopped_it_wakes_all_who_run_it_and_runs_no_more(void)
{
	pthread_t threads[THREADS];

	begin(NULL);
	for (int i = 0; i < THREADS; i++)
		threads[i] = thread_spawn(run_until_stopped, NULL);
	send_text(ends.topic[0], "one");
	check_within(20000, atomic_load(&handled) == 1);
	stop_it();
	for (int i = 0; i < THREADS; i++)
		thread_wait(threads[i]);
	send_text(ends.topic[0], "two");
	stop_it();
	check_int(run(0, BEAM_FOREVER), 0);
	check_int(run(0, BEAM_NOWAIT), 0);
	check_int(run(BEAM_ROUTER_UNTIL_ENDED, soon()), 0);
	check_int(atomic_load(&handled), 1);
	/* Messages that the router has not received still belong to the topic's owner. */
	expect_text(ends.topic[1], "two");
	check_int(beam_router_remove_topic(router, ends.topic[1], BEAM_NOWAIT), 0);
	end();
}

static void test_a_handler_that_stops_it_is_the_last_that_is_called(void)
{
	begin(stop_it);
	for (uint64_t i = 0; i < 10; i++)
		send_number(ends.topic[0], i);
	check_int(run(0, BEAM_FOREVER), 0);
	check_int(atomic_load(&handled), 1);
	for (uint64_t i = 1; i < 10; i++)
		expect_number(ends.topic[1], i);
	end();
}

static int stop_in_predicate(void *argument, const char *topic, const beam_message *message)
{
	(void)argument;
	(void)topic;
	stop_it();
	return message != NULL;
}

static void test_a_predicate_that_stops_it_still_has_its_message_delivered(void)
{
	struct beam_route route = BEAM_ROUTE;

	begin(NULL);
	require_int(beam_router_remove_route(router, 1), 0);
	route.match = stop_in_predicate;
	route.handle = handle;
	require_int(beam_router_add_route(router, &route, NULL), 0);
	for (uint64_t i = 0; i < 2; i++)
		send_number(ends.topic[0], i);
	check_int(run(0, BEAM_FOREVER), 0);
	check_int(atomic_load(&handled), 1);
	expect_number(ends.topic[1], 1);
	end();
}

static void test_a_handler_that_is_busy_when_it_is_stopped_is_waited_for_by_its_own_thread_alone(void)
{
	pthread_t threads[THREADS];

	begin(wait_at_the_gate);
	for (int i = 0; i < THREADS; i++)
		threads[i] = thread_spawn(run_until_stopped, NULL);
	send_text(ends.topic[0], "word");
	stop_it();
	check_int(run(0, BEAM_FOREVER), 0);
	atomic_store(&gate, true);
	for (int i = 0; i < THREADS; i++)
		thread_wait(threads[i]);
	check(atomic_load(&handled) <= 1);
	end();
}

static void test_stopped_in_full_flow_it_has_delivered_a_beginning_and_left_the_rest(void)
{
	pthread_t threads[THREADS];
	beam_message *message;
	uint64_t n = scale(2000), left = 0;

	begin(NULL);
	for (int i = 0; i < THREADS; i++)
		threads[i] = thread_spawn(run_until_stopped, NULL);
	for (uint64_t i = 0; i < n; i++) {
		if (i == n / 2)
			stop_it();
		send_number(ends.topic[0], i);
	}
	for (int i = 0; i < THREADS; i++)
		thread_wait(threads[i]);
	check_int(beam_topic_close_send(ends.topic[0]), 0);
	while (beam_topic_receive(ends.topic[1], &message, 0, soon()) == 1) {
		uint64_t number;

		memcpy(&number, beam_message_data(message), sizeof number);
		check_int(number, atomic_load(&handled) + left++);
		beam_message_free(message);
	}
	check_int(atomic_load(&handled) + left, n);
	check(left >= n / 2);
	end();
}

/* ---- Removing -------------------------------------------------------------------------------- */

static void test_a_topic_that_was_removed_is_its_owners_again(void)
{
	begin(NULL);
	send_text(ends.topic[0], "one");
	check_int(beam_router_remove_topic(router, ends.topic[1], BEAM_NOWAIT), 0);
	check_int(beam_router_remove_topic(router, ends.topic[1], soon()), -ENOENT);
	check_int(run(0, beam_in_ms(5)), -ETIMEDOUT);
	check_int(run(BEAM_ROUTER_UNTIL_ENDED, soon()), 0);
	expect_text(ends.topic[1], "one");
	check_int(beam_router_add_topic(router, ends.topic[1], &tag), 0);
	check_int(atomic_load(&handled), 0);
	end();
}

static void test_a_removal_waits_until_no_thread_is_in_the_source(void)
{
	pthread_t threads[2];
	int r;

	begin(wait_at_the_gate);
	for (int i = 0; i < 2; i++)
		threads[i] = thread_spawn(run_until_stopped, NULL);
	for (uint64_t i = 0; i < 2; i++)
		send_number(ends.topic[0], i);
	check_within(20000, atomic_load(&entered) == 1);
	check_int(beam_router_remove_topic(router, ends.topic[1], BEAM_NOWAIT), -EAGAIN);
	check_int(beam_router_add_topic(router, ends.topic[1], &tag), -EEXIST);
	check_int(beam_router_remove_topic(router, ends.topic[1], beam_in_ms(5)), -ETIMEDOUT);
	check_int(beam_router_remove_topic(router, ends.topic[1], BEAM_NOWAIT), -EAGAIN);
	atomic_store(&gate, true);
	r = beam_router_remove_topic(router, ends.topic[1], soon());
	check(r == 0 || r == -ENOENT);
	check_int(atomic_load(&handled), 1);
	expect_number(ends.topic[1], 1);
	check_int(beam_router_remove_topic(router, ends.topic[1], soon()), -ENOENT);
	check_int(beam_router_add_topic(router, ends.topic[1], &tag), 0);
	send_number(ends.topic[0], 2);
	check_within(20000, atomic_load(&handled) == 2);
	stop_it();
	for (int i = 0; i < 2; i++)
		thread_wait(threads[i]);
	end();
}

static void test_a_handler_may_remove_its_own_source(void)
{
	begin(remove_it);
	for (uint64_t i = 0; i < 3; i++)
		send_number(ends.topic[0], i);
	check_int(run(BEAM_ROUTER_UNTIL_ENDED, soon()), 0);
	check_int(atomic_load(&handled), 1);
	check_int(beam_router_remove_topic(router, ends.topic[1], BEAM_NOWAIT), -ENOENT);
	for (uint64_t i = 1; i < 3; i++)
		expect_number(ends.topic[1], i);
	end();
}

static void test_with_a_channel_go_the_topics_that_were_accepted_of_it(void)
{
	beam_topic *other;
	int r;

	begin(NULL);
	check_int(beam_router_add_channel(router, ends.channel[1], &tag), 0);
	require_int(beam_topic_open(&other, ends.channel[0], "other"), 0);
	send_text(other, "word");
	check_within(20000, run(0, beam_in_ms(1)) == -ETIMEDOUT && atomic_load(&handled) == 1);
	check_int(beam_router_remove_channel(router, ends.channel[1], soon()), 0);
	check_int(beam_router_remove_channel(router, ends.channel[1], soon()), -ENOENT);
	/* The topic is closed, and the channel is still open. */
	do
		r = beam_topic_send(other, "word", 4, 0, soon());
	while (r == 0);
	check_int(r, -EPIPE);
	send_text(ends.topic[0], "word");
	check_within(20000, run(0, beam_in_ms(1)) == -ETIMEDOUT && atomic_load(&handled) == 2);
	check_int(beam_router_remove_topic(router, ends.topic[1], soon()), 0);
	check_int(run(BEAM_ROUTER_UNTIL_ENDED, soon()), 0);
	beam_topic_unref(other);
	end();
}

static void test_the_router_holds_nothing_of_a_source_that_was_removed(void)
{
	pthread_t thread;

	begin(NULL);
	thread = thread_spawn(run_until_stopped, NULL);
	send_text(ends.topic[0], "word");
	check_within(20000, atomic_load(&handled) == 1);
	check_int(beam_router_remove_topic(router, ends.topic[1], soon()), 0);
	/* Releasing the last handle closes the topic, although a thread sleeps in the router. */
	ends.topic[1] = beam_topic_unref(ends.topic[1]);
	check_within(20000, beam_topic_send(ends.topic[0], "word", 4, 0, soon()) == -EPIPE);
	stop_it();
	thread_wait(thread);
	end();
}

static void test_sources_come_and_go_in_full_flow_and_nothing_is_lost(void)
{
	pthread_t threads[THREADS];
	uint64_t n = scale(4000);
	beam_message *message;
	unsigned left = 0;

	begin(NULL);
	for (int i = 0; i < THREADS; i++)
		threads[i] = thread_spawn(run_until_stopped, NULL);
	for (uint64_t i = 0; i < n && !harness_failures(); i++) {
		send_number(ends.topic[0], i);
		if (i % 4 == 0)
			check_int(beam_router_remove_topic(router, ends.topic[1], soon()), 0);
		if (i % 4 == 1)
			check_int(beam_router_add_topic(router, ends.topic[1], &tag), 0);
	}
	check_int(beam_router_remove_topic(router, ends.topic[1], soon()), 0);
	check_int(beam_topic_close_send(ends.topic[0]), 0);
	while (beam_topic_receive(ends.topic[1], &message, 0, soon()) == 1) {
		beam_message_free(message);
		left++;
	}
	check_int(atomic_load(&handled) + left, n);
	stop_it();
	for (int i = 0; i < THREADS; i++)
		thread_wait(threads[i]);
	end();
}

/* ---- Bad input ------------------------------------------------------------------------------- */

static void expect_error(beam_router *of, beam_topic *topic, beam_channel *channel, int error)
{
	check_int(beam_router_remove_topic(of, topic, BEAM_FOREVER), error);
	check_int(beam_router_remove_channel(of, channel, BEAM_FOREVER), error);
	check_int(beam_router_remove_listener(of, NULL, BEAM_FOREVER), error);
	check_int(beam_router_add_listener(of, NULL, NULL), error);
}

static int ask_in_child(void *unused)
{
	(void)unused;
	expect_error(router, ends.topic[1], ends.channel[1], -ECHILD);
	check_int(beam_router_stop(router), -ECHILD);
	return 0;
}

static void test_bad_input_gives_an_error(void)
{
	struct beam_router_failure failure;

	begin(NULL);
	expect_error(NULL, ends.topic[1], ends.channel[1], -EINVAL);
	expect_error(router, NULL, NULL, -EINVAL);
	check_int(beam_router_stop(NULL), -EINVAL);
	for (unsigned flag = 2; flag; flag <<= 1)
		check_int(beam_router_run(router, &failure, flag | BEAM_ROUTER_UNTIL_ENDED, BEAM_NOWAIT), -EINVAL);
	check_int(process_wait(process_spawn(ask_in_child, NULL)), 0);
	/* Nothing was stopped in this process. */
	check_int(run(0, BEAM_NOWAIT), -EAGAIN);
	end();
}

static const struct test tests[] = {
    TEST(test_without_sources_it_waits_until_one_is_added_and_works),
    TEST(test_stopped_it_wakes_all_who_run_it_and_runs_no_more),
    TEST(test_a_handler_that_stops_it_is_the_last_that_is_called),
    TEST(test_a_predicate_that_stops_it_still_has_its_message_delivered),
    TEST(test_a_handler_that_is_busy_when_it_is_stopped_is_waited_for_by_its_own_thread_alone),
    TEST(test_stopped_in_full_flow_it_has_delivered_a_beginning_and_left_the_rest),
    TEST(test_a_topic_that_was_removed_is_its_owners_again),
    TEST(test_a_removal_waits_until_no_thread_is_in_the_source),
    TEST(test_a_handler_may_remove_its_own_source),
    TEST(test_with_a_channel_go_the_topics_that_were_accepted_of_it),
    TEST(test_the_router_holds_nothing_of_a_source_that_was_removed),
    TEST(test_sources_come_and_go_in_full_flow_and_nothing_is_lost),
    TEST(test_bad_input_gives_an_error),
};
HARNESS_MAIN("public/router_end", tests)
