/* SPDX-License-Identifier: MIT */
/* Listening, as a program uses it: addresses, accepting, and forks. */
#include <fcntl.h>
#include <poll.h>
#include <public/listening.h>
#include <stdatomic.h>

static struct spot spot;

/* ---- Addresses ------------------------------------------------------------------------------- */

static void exchange_at(const char *address)
{
	beam_listener *listener = listen_at(address, NULL);
	beam_channel *channels[2];

	meet(listener, address, channels);
	expect_connected(channels);
	check_int(counts(listener).accepted, 1);
	check_int(counts(listener).connections, 1);
	part(channels);
	check_within(20000, counts(listener).connections == 0);
	beam_listener_unref(listener);
}

static void test_channels_are_accepted_at_a_path_and_nothing_is_left_of_it(void)
{
	spot_make(&spot);
	exchange_at(spot.path);
	exchange_at(spot.path);
	spot_end(&spot);
}

static void test_channels_are_accepted_at_an_abstract_name_which_is_free_after_closing(void)
{
	for (int i = 0; i < 20; i++)
		exchange_at(abstract_address());
}

static void expect_taken(const char *address)
{
	beam_listener *second = NULL;

	check_int(beam_listener_new(&second, address, NULL), -EADDRINUSE);
	check(second == NULL);
}

static void test_a_second_server_on_an_address_is_told_that_it_is_in_use(void)
{
	const char *addresses[] = {abstract_address(), spot.path};
	beam_channel *channels[2];

	spot_make(&spot);
	for (int i = 0; i < 2; i++) {
		beam_listener *listener = listen_at(addresses[i], NULL);

		expect_taken(addresses[i]);
		meet(listener, addresses[i], channels);
		part(channels);
		beam_listener_unref(listener);
	}
	spot_end(&spot);
}

static void test_the_permissions_are_those_asked_for_whatever_the_umask(void)
{
	static const mode_t modes[] = {0600, 0666, 0660, 0777, 0}, umasks[] = {0, 022, 077, 0777};
	mode_t before = umask(0);

	spot_make(&spot);
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
		for (size_t j = 0; j < sizeof umasks / sizeof *umasks; j++) {
			struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
			beam_listener *listener;

			options.mode = modes[i];
			umask(umasks[j]);
			listener = listen_at(spot.path, &options);
			check_int(umask(umasks[j]), umasks[j]);
			check_int(mode_of(spot.path), modes[i]);
			beam_listener_unref(listener);
		}
	}
	umask(before);
	spot_end(&spot);
}

static void test_bad_input_is_refused(void)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS, bad;
	struct beam_channel_options channel = BEAM_CHANNEL_OPTIONS;
	struct {
		struct beam_listener_options known;
		uint64_t more;
	} newer = {options, 1};
	struct beam_listener_counters statistics;
	beam_listener *listener = NULL;
	beam_channel *accepted;
	char longer[110];

	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	check_int(beam_listener_new(NULL, "@x", NULL), -EINVAL);
	check_int(beam_listener_new(&listener, NULL, NULL), -EINVAL);
	check_int(beam_listener_new(&listener, "", NULL), -EINVAL);
	check_int(beam_listener_new(&listener, longer, NULL), -ENAMETOOLONG);
	check_int(beam_listener_new(&listener, "/nowhere/at/all", NULL), -ENOENT);
#define REFUSED(field, value)                                                                                          \
	bad = options;                                                                                                 \
	bad.field = value;                                                                                             \
	check_int(beam_listener_new(&listener, abstract_address(), &bad), -EINVAL);
	REFUSED(size, 0)
	REFUSED(mode, 01000)
	REFUSED(backlog, 0)
	REFUSED(backlog, UINT32_C(1) << 31)
	REFUSED(connections, 0)
	REFUSED(connections_per_uid, 0)
	REFUSED(refuse_fds, 2)
	channel.topics = 1;
	REFUSED(channel, &channel)
	newer.known.size = sizeof newer;
	check_int(beam_listener_new(&listener, abstract_address(), &newer.known), -E2BIG);
	check_int(beam_listener_from_fd(NULL, 0, NULL), -EINVAL);
	check_int(beam_listener_from_environment(NULL, NULL, NULL), -EINVAL);
	check_int(beam_listener_accept(NULL, &accepted, BEAM_NOWAIT), -EINVAL);
	check_int(beam_listener_accept_fd(NULL), -EINVAL);
	check_int(beam_listener_close(NULL), -EINVAL);
	check_int(beam_listener_statistics(NULL, &statistics, sizeof statistics), -EINVAL);
	check(beam_listener_ref(NULL) == NULL && beam_listener_unref(NULL) == NULL);
	check(listener == NULL);

	listener = listen_at(abstract_address(), NULL);
	check_int(beam_listener_accept(listener, NULL, BEAM_NOWAIT), -EINVAL);
	check_int(beam_listener_statistics(listener, NULL, sizeof statistics), -EINVAL);
	beam_listener_unref(listener);
}

static void test_statistics_are_given_to_older_and_newer_programs(void)
{
	beam_listener *listener = listen_at(abstract_address(), NULL);
	struct beam_listener_counters older;
	struct {
		struct beam_listener_counters known;
		uint64_t more;
	} newer;

	memset(&older, 0xff, sizeof older);
	memset(&newer, 0xff, sizeof newer);
	check_int(beam_listener_statistics(listener, &older, sizeof older.accepted), 0);
	check_int((int64_t)older.accepted, 0);
	check_int((int64_t)older.refused, -1);
	check_int(beam_listener_statistics(listener, &newer.known, sizeof newer), 0);
	check_int((int64_t)newer.known.refused, 0);
	check_int((int64_t)newer.more, 0);
	beam_listener_unref(listener);
}

/* ---- Accepting ------------------------------------------------------------------------------- */

static void test_accepting_waits_until_its_deadline(void)
{
	beam_listener *listener = listen_at(abstract_address(), NULL);
	beam_channel *channel = NULL;
	int64_t begin = now_ns();

	check_int(beam_listener_accept(listener, &channel, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_listener_accept(listener, &channel, beam_in_ms(30)), -ETIMEDOUT);
	check(now_ns() - begin >= 30 * 1000000);
	check(channel == NULL);
	beam_listener_unref(listener);
}

struct acceptor {
	beam_listener *listener;
	pthread_t thread;
	atomic_int number;
	int taken, result;
};

static void *accept_all(void *argument)
{
	struct acceptor *acceptor = argument;
	beam_channel *channel;

	atomic_store(&acceptor->number, thread_number());
	while ((acceptor->result = beam_listener_accept(acceptor->listener, &channel, BEAM_FOREVER)) == 1) {
		acceptor->taken++;
		beam_channel_unref(channel);
	}
	return NULL;
}

static void test_several_threads_accept_each_connection_once_and_closing_wakes_them_all(void)
{
	enum { THREADS = 4, CONNECTIONS = 40 };
	struct acceptor acceptors[THREADS] = {0};
	beam_listener *listener = listen_at(abstract_address(), NULL);
	beam_channel *channel;
	int taken = 0;

	for (int i = 0; i < THREADS; i++) {
		acceptors[i].listener = listener;
		acceptors[i].thread = thread_spawn(accept_all, &acceptors[i]);
	}
	for (int i = 0; i < CONNECTIONS; i++) {
		require_int(beam_channel_connect(&channel, abstract_address(), NULL, soon()), 0);
		beam_channel_unref(channel);
	}
	check_within(20000, counts(listener).accepted == CONNECTIONS);
	for (int i = 0; i < THREADS; i++)
		check_within(20000, thread_asleep(atomic_load(&acceptors[i].number)));
	check_int(beam_listener_close(listener), 0);
	for (int i = 0; i < THREADS; i++) {
		thread_wait(acceptors[i].thread);
		check_int(acceptors[i].result, 0);
		taken += acceptors[i].taken;
	}
	check_int(taken, CONNECTIONS);
	check_int(beam_listener_accept(listener, &channel, BEAM_FOREVER), 0);
	check_int(beam_listener_close(listener), 0);
	beam_listener_unref(listener);
}

static bool readable(int fd)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};

	return poll(&poller, 1, 0) == 1;
}

static void test_the_descriptor_for_loops_shows_who_waits_for_as_long_as_he_does(void)
{
	beam_listener *listener = listen_at(abstract_address(), NULL);
	beam_channel *clients[2], *servers[2];
	int fd = beam_listener_accept_fd(listener);

	require(fd >= 0);
	check_int(fcntl(fd, F_GETFD), FD_CLOEXEC);
	check_int(beam_listener_accept_fd(listener), fd);
	check(!readable(fd));
	for (int i = 0; i < 2; i++)
		require_int(beam_channel_connect(&clients[i], abstract_address(), NULL, soon()), 0);
	for (int i = 0; i < 2; i++) {
		check(readable(fd) && readable(fd));
		check_int(beam_listener_accept(listener, &servers[i], BEAM_NOWAIT), 1);
	}
	check(!readable(fd));
	check_int(beam_listener_accept(listener, &servers[0], BEAM_NOWAIT), -EAGAIN);
	part(clients);
	part(servers);
	check_int(beam_listener_close(listener), 0);
	check(readable(fd) && readable(fd));
	beam_listener_unref(listener);
}

static void test_a_descriptor_for_loops_that_is_first_asked_for_after_closing_is_readable(void)
{
	beam_listener *listener = listen_at(abstract_address(), NULL);

	check_int(beam_listener_close(listener), 0);
	check(readable(beam_listener_accept_fd(listener)));
	beam_listener_unref(listener);
}

static void test_accepted_channels_can_be_run_by_a_loop(void)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	struct beam_channel_options channel = BEAM_CHANNEL_OPTIONS;
	struct pollfd poller = {.events = POLLIN};
	beam_listener *listener;
	beam_channel *client, *server;
	beam_topic *topic;
	int r;

	channel.loop = 1;
	options.channel = &channel;
	listener = listen_at(abstract_address(), &options);
	require_int(beam_channel_connect(&client, abstract_address(), NULL, soon()), 0);
	poller.fd = beam_listener_accept_fd(listener);
	check_int(poll(&poller, 1, stretch(20000)), 1);
	require_int(beam_listener_accept(listener, &server, BEAM_NOWAIT), 1);
	require_int(beam_topic_open(&topic, client, "topic"), 0);
	send_text(topic, "a word");
	check_int(beam_channel_close(client, soon()), 0);
	beam_topic_unref(topic);
	require_int(beam_topic_open(&topic, server, "topic"), 0);
	poller.fd = beam_channel_loop_fd(server);
	do {
		poller.events = (short)beam_channel_loop_events(server);
		check_int(poll(&poller, 1, stretch(20000)), 1);
	} while ((r = beam_channel_dispatch(server, poller.revents)) == 1);
	check_int(r, 0);
	/* The channel has ended, although its handle has not been released. */
	check_int(counts(listener).connections, 0);
	expect_text(topic, "a word");
	beam_topic_unref(topic);
	beam_channel_unref(server);
	beam_channel_unref(client);
	beam_listener_unref(listener);
}

static void test_channels_outlive_the_listener(void)
{
	beam_listener *listener = listen_at(abstract_address(), NULL);
	beam_channel *channels[2];

	check(beam_listener_ref(listener) == listener);
	check(beam_listener_unref(listener) == NULL);
	meet(listener, abstract_address(), channels);
	beam_listener_unref(listener);
	expect_connected(channels);
	part(channels);
}

static void test_whoever_waits_in_the_backlog_is_disconnected_by_closing(void)
{
	beam_listener *listener = listen_at(abstract_address(), NULL);
	int fd = raw_connect(abstract_address());

	require(fd >= 0);
	beam_listener_unref(listener);
	expect_disconnected(fd);
	close(fd);
	check_int(raw_connect(abstract_address()), -ECONNREFUSED);
}

static void test_as_many_wait_as_the_backlog_has_room_for_and_one_more(void)
{
	enum { BACKLOG = 3 };
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	beam_channel *waiting[BACKLOG + 1], *accepted, *none = NULL;
	beam_listener *listener;

	options.backlog = BACKLOG;
	listener = listen_at(abstract_address(), &options);
	/* The kernel accepts one connection more than the backlog. */
	for (int i = 0; i < BACKLOG + 1; i++)
		require_int(beam_channel_connect(&waiting[i], abstract_address(), NULL, BEAM_NOWAIT), 0);
	check_int(beam_channel_connect(&none, abstract_address(), NULL, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_channel_connect(&none, abstract_address(), NULL, beam_in_ms(20)), -ETIMEDOUT);
	check_int(beam_listener_accept(listener, &accepted, BEAM_NOWAIT), 1);
	beam_channel_unref(accepted);
	check_int(beam_channel_connect(&none, abstract_address(), NULL, BEAM_NOWAIT), 0);
	beam_channel_unref(none);
	for (int i = 0; i < BACKLOG + 1; i++)
		beam_channel_unref(waiting[i]);
	beam_listener_unref(listener);
}

/* ---- Fork ------------------------------------------------------------------------------------ */

static int child_uses_listener(void *argument)
{
	beam_listener *listener = argument;
	struct beam_listener_counters statistics;
	beam_channel *channel;

	check_int(beam_listener_accept(listener, &channel, BEAM_FOREVER), -ECHILD);
	check_int(beam_listener_accept_fd(listener), -ECHILD);
	check_int(beam_listener_close(listener), -ECHILD);
	check_int(beam_listener_statistics(listener, &statistics, sizeof statistics), -ECHILD);
	check(beam_listener_ref(listener) == listener);
	check(beam_listener_unref(listener) == NULL);
	/*
	 * The child does not have the listener's socket. Other descriptors may belong to the
	 * harness.
	 */
	for (int fd = 3; fd < 64; fd++) {
		int listening = 0;
		socklen_t size = sizeof listening;

		if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0)
			check_int(listening, 0);
	}
	return 0;
}

static int child_waits(void *argument)
{
	char byte;

	close(((int *)argument)[1]);
	return (int)read(((int *)argument)[0], &byte, 1);
}

static void test_in_a_forked_child_the_listener_is_of_no_use_and_the_address_is_not_kept(void)
{
	beam_listener *listener;
	beam_channel *channels[2];
	pid_t child;
	int ends[2];

	spot_make(&spot);
	listener = listen_at(spot.path, NULL);
	check(beam_listener_accept_fd(listener) >= 0);
	check_int(process_wait(process_spawn(child_uses_listener, listener)), 0);
	check(exists(spot.path) && exists(spot.lock));
	meet(listener, spot.path, channels);
	part(channels);
	/* A running child keeps neither the lock nor the socket. */
	require_int(pipe2(ends, O_CLOEXEC), 0);
	child = process_spawn(child_waits, ends);
	beam_listener_unref(listener);
	exchange_at(spot.path);
	close(ends[0]);
	close(ends[1]);
	check_int(process_wait(child), 0);
	spot_end(&spot);
}

static const struct test tests[] = {
    TEST(test_channels_are_accepted_at_a_path_and_nothing_is_left_of_it),
    TEST(test_channels_are_accepted_at_an_abstract_name_which_is_free_after_closing),
    TEST(test_a_second_server_on_an_address_is_told_that_it_is_in_use),
    TEST(test_the_permissions_are_those_asked_for_whatever_the_umask),
    TEST(test_bad_input_is_refused),
    TEST(test_statistics_are_given_to_older_and_newer_programs),
    TEST(test_accepting_waits_until_its_deadline),
    TEST(test_several_threads_accept_each_connection_once_and_closing_wakes_them_all),
    TEST(test_the_descriptor_for_loops_shows_who_waits_for_as_long_as_he_does),
    TEST(test_a_descriptor_for_loops_that_is_first_asked_for_after_closing_is_readable),
    TEST(test_accepted_channels_can_be_run_by_a_loop),
    TEST(test_channels_outlive_the_listener),
    TEST(test_whoever_waits_in_the_backlog_is_disconnected_by_closing),
    TEST(test_as_many_wait_as_the_backlog_has_room_for_and_one_more),
    TEST(test_in_a_forked_child_the_listener_is_of_no_use_and_the_address_is_not_kept),
};

HARNESS_MAIN("public/listener", tests)
