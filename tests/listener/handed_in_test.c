/* SPDX-License-Identifier: MIT */
/* Sockets that were made elsewhere and are passed in one by one. */
#include <fcntl.h>
#include <public/listening.h>

static struct spot spot;

static void test_a_socket_that_was_handed_in_is_served_and_its_file_left_alone(void)
{
	beam_listener *listener = NULL;
	beam_channel *channels[2];
	int fd;

	spot_make(&spot);
	for (int backlog = 0; backlog < 2; backlog++) {
		fd = raw_listen(spot.path, backlog);
		fcntl(fd, F_SETFD, 0);
		require_int(beam_listener_from_fd(&listener, fd, NULL), 0);
		check_int(fcntl(fd, F_GETFD), FD_CLOEXEC);
		check(fcntl(fd, F_GETFL) & O_NONBLOCK);
		meet(listener, spot.path, channels);
		expect_connected(channels);
		part(channels);
		beam_listener_unref(listener);
		check_within(20000, !fd_open(fd));
		check(exists(spot.path));
		unlink(spot.path);
	}
	check(!exists(spot.lock));
	spot_end(&spot);
}

static void test_connections_that_wait_already_are_accepted(void)
{
	beam_listener *listener = NULL;
	beam_channel *channels[2];
	int fd;

	spot_make(&spot);
	fd = raw_listen(spot.path, 1);
	require_int(beam_channel_connect(&channels[0], spot.path, NULL, soon()), 0);
	require_int(beam_listener_from_fd(&listener, fd, NULL), 0);
	require_int(beam_listener_accept(listener, &channels[1], BEAM_NOWAIT), 1);
	expect_connected(channels);
	part(channels);
	beam_listener_unref(listener);
	unlink(spot.path);
	spot_end(&spot);
}

static void expect_refused(int fd, int expected)
{
	beam_listener *listener = NULL;

	check_int(beam_listener_from_fd(&listener, fd, NULL), expected);
	check(listener == NULL);
	if (expected != -EBADF)
		check(fd_open(fd));
}

static void test_what_cannot_listen_is_refused_and_stays_the_callers(void)
{
	int pair[2], other[2], datagram = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int unbound = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
	    internet = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int packets = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct beam_listener_options bad = BEAM_LISTENER_OPTIONS;
	beam_listener *listener = NULL;

	require_int(pipe2(pair, O_CLOEXEC), 0);
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, other), 0);
	expect_refused(-1, -EBADF);
	expect_refused(pair[0], -ENOTSOCK);
	expect_refused(datagram, -EPROTOTYPE);
	expect_refused(packets, -EPROTOTYPE);
	if (internet >= 0)
		expect_refused(internet, -EPROTOTYPE);
	expect_refused(unbound, -EINVAL);
	expect_refused(other[0], -EINVAL);
	bad.backlog = 0;
	check_int(beam_listener_from_fd(&listener, unbound, &bad), -EINVAL);
	for (int i = 0; i < 2; i++) {
		close(pair[i]);
		close(other[i]);
	}
	close(datagram);
	close(packets);
	close(unbound);
	if (internet >= 0)
		close(internet);
}

static int child_hands_in(void *argument)
{
	beam_listener *listener = NULL;
	beam_channel *channel;
	int fd = *(int *)argument;

	if (geteuid() == 0)
		require_int(setuid(65534), 0);
	require_int(beam_listener_from_fd(&listener, fd, NULL), 0);
	require_int(beam_listener_accept(listener, &channel, soon()), 1);
	/* Wait until the client has closed the channel. */
	check_int(beam_channel_accept(channel, &(beam_topic *){NULL}, soon()), 0);
	beam_channel_unref(channel);
	beam_listener_unref(listener);
	return 0;
}

static void test_clients_see_the_one_who_serves_not_the_one_who_made_the_socket(void)
{
	struct beam_connect_options options = BEAM_CONNECT_OPTIONS;
	struct beam_peer peer = {0};
	beam_channel *channel = NULL;
	pid_t child;
	int fd;

	needs_threads_in_children();
	spot_make(&spot);
	fd = raw_listen(spot.path, 0);
	child = process_spawn(child_hands_in, &fd);
	options.wait_for_server = 1;
	options.server_uid = geteuid() == 0 ? 65534 : geteuid();
	check_int(beam_channel_connect(&channel, spot.path, &options, soon()), 0);
	check_int(beam_channel_peer(channel, &peer), 0);
	check_int(peer.pid, child);
	check_int(peer.uid, options.server_uid);
	check_int(beam_channel_close(channel, soon()), 0);
	beam_channel_unref(channel);
	check_int(process_wait(child), 0);
	close(fd);
	unlink(spot.path);
	spot_end(&spot);
}

static void test_closing_leaves_a_shared_socket_to_those_who_share_it(void)
{
	beam_listener *listener = NULL;
	beam_channel *channels[2];
	int fd, copy, poller;

	spot_make(&spot);
	fd = raw_listen(spot.path, 1);
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	require_int(beam_listener_from_fd(&listener, fd, NULL), 0);
	poller = beam_listener_accept_fd(listener);
	check(poller >= 0);
	beam_listener_close(listener);
	require_int(beam_channel_connect(&channels[0], spot.path, NULL, soon()), 0);
	beam_listener_unref(listener);
	require_int(beam_listener_from_fd(&listener, copy, NULL), 0);
	require_int(beam_listener_accept(listener, &channels[1], BEAM_NOWAIT), 1);
	expect_connected(channels);
	part(channels);
	beam_listener_unref(listener);
	unlink(spot.path);
	spot_end(&spot);
}

static const struct test tests[] = {
    TEST(test_a_socket_that_was_handed_in_is_served_and_its_file_left_alone),
    TEST(test_connections_that_wait_already_are_accepted),
    TEST(test_what_cannot_listen_is_refused_and_stays_the_callers),
    TEST(test_clients_see_the_one_who_serves_not_the_one_who_made_the_socket),
    TEST(test_closing_leaves_a_shared_socket_to_those_who_share_it),
};

HARNESS_MAIN("listener/handed_in", tests)
