/* SPDX-License-Identifier: MIT */
/*
 * A listener as a member of a selector. It is ready while a client is waiting to be accepted, and
 * once it is closed.
 */
#include <beam/select.h>
#include <public/listening.h>

static beam_select *selector;
static beam_listener *listener;

static void begin(void)
{
	require_int(beam_select_new(&selector), 0);
	listener = listen_at(abstract_address(), NULL);
	check_int(beam_select_add_listener(selector, listener, &listener), 0);
}

static void end(void)
{
	selector = beam_select_unref(selector);
	listener = beam_listener_unref(listener);
}

static void expect_ready(beam_deadline deadline)
{
	struct beam_select_ready ready = {0};

	require_int(beam_select_wait(selector, &ready, 1, deadline), 1);
	check_int(ready.what, BEAM_SELECT_ACCEPT);
	check(ready.tag == &listener);
	check_int(ready.events, 0);
}

static void expect_nothing(void)
{
	struct beam_select_ready ready;

	check_int(beam_select_wait(selector, &ready, 1, BEAM_NOWAIT), -EAGAIN);
}

static void test_it_is_told_until_whoever_connected_was_accepted(void)
{
	beam_channel *channels[2];

	begin();
	expect_nothing();
	require_int(beam_channel_connect(&channels[0], abstract_address(), NULL, soon()), 0);
	expect_ready(soon());
	expect_ready(BEAM_NOWAIT);
	require_int(beam_listener_accept(listener, &channels[1], BEAM_NOWAIT), 1);
	expect_nothing();
	expect_connected(channels);
	part(channels);
	end();
}

static void test_a_listener_that_was_closed_is_told_for_good(void)
{
	beam_channel *channel;

	begin();
	check_int(beam_listener_close(listener), 0);
	for (int i = 0; i < 3; i++) {
		expect_ready(soon());
		check_int(beam_listener_accept(listener, &channel, BEAM_NOWAIT), 0);
	}
	/* A closed listener can be added, and is ready at once. */
	check_int(beam_select_remove_listener(selector, listener), 0);
	check_int(beam_select_add_listener(selector, listener, &listener), 0);
	expect_ready(soon());
	end();
}

static void *wait_in_thread(void *unused)
{
	(void)unused;
	expect_ready(soon());
	return NULL;
}

static void test_whoever_connects_wakes_a_thread_that_waits(void)
{
	pthread_t thread;
	int fd;

	begin();
	thread = thread_spawn(wait_in_thread, NULL);
	fd = raw_connect(abstract_address());
	check(fd >= 0);
	thread_wait(thread);
	close(fd);
	end();
}

static void test_it_is_added_once_and_no_more_told_when_it_is_removed(void)
{
	int fd;

	begin();
	check_int(beam_select_add_listener(selector, listener, NULL), -EEXIST);
	fd = raw_connect(abstract_address());
	expect_ready(soon());
	check_int(beam_select_remove_listener(selector, listener), 0);
	expect_nothing();
	check_int(beam_select_remove_listener(selector, listener), -ENOENT);
	close(fd);
	end();
}

static void test_it_stays_open_until_it_is_removed(void)
{
	beam_listener *held = NULL;
	int fd;

	begin();
	held = listener;
	check(beam_listener_unref(listener) == NULL);
	fd = raw_connect(abstract_address());
	check(fd >= 0);
	expect_ready(soon());
	check_int(beam_select_remove_listener(selector, held), 0);
	expect_disconnected(fd);
	close(fd);
	listener = NULL;
	end();

	/* The same if the selector is released. */
	begin();
	listener = beam_listener_unref(listener);
	fd = raw_connect(abstract_address());
	check(fd >= 0);
	selector = beam_select_unref(selector);
	expect_disconnected(fd);
	close(fd);
}

static int ask_in_child(void *unused)
{
	(void)unused;
	check_int(beam_select_add_listener(selector, listener, NULL), -ECHILD);
	check_int(beam_select_remove_listener(selector, listener), -ECHILD);
	/* The child's own selector does not accept the parent's listener either. */
	require_int(beam_select_new(&selector), 0);
	check_int(beam_select_add_listener(selector, listener, NULL), -ECHILD);
	beam_select_unref(selector);
	return 0;
}

static void test_bad_input_gives_an_error(void)
{
	begin();
	check_int(beam_select_add_listener(NULL, listener, NULL), -EINVAL);
	check_int(beam_select_add_listener(selector, NULL, NULL), -EINVAL);
	check_int(beam_select_remove_listener(NULL, listener), -EINVAL);
	check_int(beam_select_remove_listener(selector, NULL), -EINVAL);
	check_int(process_wait(process_spawn(ask_in_child, NULL)), 0);
	end();
}

static const struct test tests[] = {
    TEST(test_it_is_told_until_whoever_connected_was_accepted),
    TEST(test_a_listener_that_was_closed_is_told_for_good),
    TEST(test_whoever_connects_wakes_a_thread_that_waits),
    TEST(test_it_is_added_once_and_no_more_told_when_it_is_removed),
    TEST(test_it_stays_open_until_it_is_removed),
    TEST(test_bad_input_gives_an_error),
};
HARNESS_MAIN("public/select_listener", tests)
