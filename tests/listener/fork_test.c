/* SPDX-License-Identifier: MIT */
/*
 * A child of a process with listeners must not have any descriptors of these listeners or of their
 * clients, whatever state they are in. Otherwise it could keep an address in use, or keep a peer
 * from seeing the parent's end.
 */
#include <fcntl.h>
#include <harness/fault.h>
#include <public/listening.h>
#include <socket/reaper.h>

static struct fd_snapshot before;

static int child_compares(void *argument)
{
	(void)argument;
	check(check_fds(&before));
	return 0;
}

static void begin(void)
{
	needs_threads_in_children();
	if (under_valgrind())
		skip("Valgrind's own descriptors change at a fork");
	fd_snapshot_take(&before);
}

static void expect_clean_child(void)
{
	/* Wait until the reaper has closed its descriptors. */
	check(reaper_drain(soon()));
	check_int(process_wait(process_spawn(child_compares, NULL)), 0);
}

static int child_listens(void *argument)
{
	struct spot spot;
	beam_listener *listener;

	(void)argument;
	check(check_fds(&before));
	/*
	 * The child has forgotten the parent's listeners. It can open its own, and its own children
	 * have no descriptors of that one.
	 */
	spot_make(&spot);
	listener = listen_at(spot.path, NULL);
	expect_clean_child();
	beam_listener_unref(listener);
	spot_end(&spot);
	return 0;
}

static void test_a_child_has_no_descriptor_of_a_listener(void)
{
	struct spot spot;
	beam_listener *listeners[3];

	begin();
	spot_make(&spot);
	listeners[0] = listen_at(spot.path, NULL);
	expect_clean_child();
	listeners[1] = listen_at(abstract_address(), NULL);
	check(beam_listener_accept_fd(listeners[1]) >= 0);
	expect_clean_child();
	for (int i = 0; i < 2; i++)
		beam_listener_unref(listeners[i]);
	/* A socket that was passed in. */
	require_int(beam_listener_from_fd(&listeners[2], raw_listen(spot.path, 1), NULL), 0);
	check(beam_listener_accept_fd(listeners[2]) >= 0);
	expect_clean_child();
	/* A listener that is closed, but not released. */
	beam_listener_close(listeners[2]);
	expect_clean_child();
	beam_listener_unref(listeners[2]);
	unlink(spot.path);
	spot_end(&spot);
}

static void test_a_child_has_no_descriptor_of_those_who_connected(void)
{
	beam_listener *listener;
	beam_channel *channels[2], *waiting, *late, *none = NULL;
	struct spot spot;
	int refused;

	begin();
	spot_make(&spot);
	listener = listen_at(spot.path, NULL);
	meet(listener, spot.path, channels);
	/* A plain socket, because a channel would have a thread to wait for. */
	refused = raw_connect(spot.path);
	/* The reserve is given up, and then restored. */
	fault_only(FAULT(SYS_ACCEPT4));
	fault_at(1, EMFILE, FAULT_ONCE);
	check_int(beam_listener_accept(listener, &none, BEAM_NOWAIT), -EAGAIN);
	check(fault_hit());
	fault_off();
	check_int(counts(listener).over_descriptors, 1);
	close(refused);
	require_int(beam_channel_connect(&waiting, spot.path, NULL, soon()), 0);
	expect_clean_child();
	/*
	 * The channels keep the listener in memory after it has been released. No client may be
	 * waiting, because it would end some time later, when its thread notices that.
	 */
	require_int(beam_listener_accept(listener, &late, soon()), 1);
	beam_listener_unref(listener);
	expect_clean_child();
	expect_connected(channels);
	part(channels);
	beam_channel_unref(waiting);
	beam_channel_unref(late);
	spot_end(&spot);
}

static void test_a_child_that_listens_itself_begins_anew(void)
{
	beam_listener *listener;

	begin();
	listener = listen_at(abstract_address(), NULL);
	check_int(process_wait(process_spawn(child_listens, NULL)), 0);
	beam_listener_unref(listener);
}

static const struct test tests[] = {
    TEST(test_a_child_has_no_descriptor_of_a_listener),
    TEST(test_a_child_has_no_descriptor_of_those_who_connected),
    TEST(test_a_child_that_listens_itself_begins_anew),
};

HARNESS_MAIN("listener/fork", tests)
