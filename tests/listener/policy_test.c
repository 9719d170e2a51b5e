/* SPDX-License-Identifier: MIT */
/*
 * A policy that does not return, which the manual forbids. The connection that it was called for is
 * leaked, and nothing else is affected.
 */
#include <public/listening.h>
#include <setjmp.h>

static jmp_buf away;
static bool ends_thread, left;

/* The first call does not return. */
static int policy(void *context, const struct beam_identity *identity)
{
	(void)context;
	(void)identity;
	if (left)
		return 0;
	left = true;
	if (ends_thread)
		pthread_exit(NULL);
	longjmp(away, 1);
}

static void *accept_one(void *argument)
{
	beam_channel *none = NULL;

	if (ends_thread || setjmp(away) == 0) {
		check(beam_listener_accept(argument, &none, soon()) == 1);
		fail("the policy returned");
	}
	return argument;
}

static int child_leaves_the_policy(void *argument)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	beam_channel *first = NULL, *channels[2];
	beam_listener *listener;
	pthread_t thread;

	ends_thread = *(bool *)argument;
	options.accept = policy;
	options.connections = 2;
	listener = listen_at(abstract_address(), &options);
	require_int(beam_channel_connect(&first, abstract_address(), NULL, soon()), 0);
	thread = thread_spawn(accept_one, listener);
	check(thread_wait(thread) == (ends_thread ? NULL : listener));
	check(left);
	/* The leaked connection still counts for the limits. Other clients are served. */
	check_int(counts(listener).connections, 1);
	meet(listener, abstract_address(), channels);
	expect_connected(channels);
	check_int(counts(listener).connections, 2);
	part(channels);
	check_within(20000, counts(listener).connections == 1);
	check_int(beam_listener_close(listener), 0);
	beam_listener_unref(listener);
	beam_channel_unref(first);
	return 0;
}

static void test_a_policy_that_does_not_return_leaks_its_connection_and_nothing_else_is_harmed(void)
{
	needs_threads_in_children();
	/* Memory checkers report the leak. */
	if (under_sanitizer() || under_valgrind())
		skip("what the policy leaks is found");
	for (int i = 0; i < 2; i++)
		check_int(process_wait(process_spawn(child_leaves_the_policy, &(bool){i})), 0);
}

static const struct test tests[] = {
    TEST(test_a_policy_that_does_not_return_leaks_its_connection_and_nothing_else_is_harmed),
};

HARNESS_MAIN("listener/policy", tests)
