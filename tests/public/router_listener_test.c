/* SPDX-License-Identifier: MIT */
/* A listener as a source of a router: each client is served until it disconnects. */
#include <public/listening.h>
#include <stdatomic.h>
#include <sys/socket.h>

enum { THREADS = 3, CLIENTS = 20 };

static beam_router *router;
static beam_listener *listener;
static char tag;
static atomic_uint handled;

static int count(void *argument, const char *topic, beam_message *message)
{
	(void)argument;
	(void)topic;
	beam_message_free(message);
	atomic_fetch_add(&handled, 1);
	return 0;
}

/* Replies to calls with their own text, and counts other messages. */
static int answer(void *argument, const char *topic, beam_message *message)
{
	if (!beam_message_is_call(message))
		return count(argument, topic, message);
	check_int(beam_message_reply(message, beam_message_data(message), beam_message_size(message), 0, soon()), 0);
	beam_message_free(message);
	return 0;
}

static void begin(const struct beam_listener_options *options)
{
	struct beam_route route = BEAM_ROUTE;

	atomic_store(&handled, 0);
	route.handle = answer;
	require_int(beam_router_new(&router), 0);
	require_int(beam_router_add_route(router, &route, NULL), 0);
	listener = listen_at(abstract_address(), options);
	require_int(beam_router_add_listener(router, listener, &tag), 0);
}

static void end(void)
{
	router = beam_router_unref(router);
	listener = beam_listener_unref(listener);
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
	struct beam_router_failure failure;

	(void)unused;
	while (beam_router_run(router, &failure, 0, BEAM_FOREVER) < 0 && !harness_failures()) {
		/* A client has died. */
		check(!failure.message && !failure.topic && failure.channel && failure.tag == &tag);
		beam_channel_unref(failure.channel);
	}
	return NULL;
}

static beam_channel *connect_to_it(void)
{
	beam_channel *channel = NULL;

	require_int(beam_channel_connect(&channel, abstract_address(), NULL, soon()), 0);
	return channel;
}

static void *be_a_client(void *unused)
{
	beam_channel *channel = connect_to_it();
	beam_message *reply = NULL;
	beam_topic *topic;

	(void)unused;
	require_int(beam_topic_open(&topic, channel, "topic"), 0);
	for (int i = 0; i < 10; i++)
		send_text(topic, "word");
	if (check_int(beam_topic_call(topic, "question", 8, &reply, 0, soon()), 1))
		check_bytes(beam_message_data(reply), "question", 8);
	beam_message_free(reply);
	/* Messages that were sent before the close still arrive. */
	send_text(topic, "last word");
	check_int(beam_channel_close(channel, soon()), 0);
	beam_topic_unref(topic);
	beam_channel_unref(channel);
	return NULL;
}

static void test_whoever_connects_is_served_and_let_go_at_its_end(void)
{
	pthread_t threads[THREADS], clients[CLIENTS];

	begin(NULL);
	for (int i = 0; i < THREADS; i++)
		threads[i] = thread_spawn(run_until_stopped, NULL);
	for (int i = 0; i < CLIENTS; i++)
		clients[i] = thread_spawn(be_a_client, NULL);
	for (int i = 0; i < CLIENTS; i++)
		thread_wait(clients[i]);
	check_within(20000, atomic_load(&handled) == 11 * CLIENTS);
	check_within(20000, counts(listener).connections == 0);
	check_int(counts(listener).accepted, CLIENTS);
	check_int(beam_router_stop(router), 0);
	for (int i = 0; i < THREADS; i++)
		thread_wait(threads[i]);
	end();
}

static void test_a_listener_that_is_closed_is_a_source_no_more_and_its_channels_stay(void)
{
	beam_channel *channel;
	beam_topic *topic;

	begin(NULL);
	check_int(beam_router_add_listener(router, listener, NULL), -EEXIST);
	channel = connect_to_it();
	require_int(beam_topic_open(&topic, channel, "topic"), 0);
	check_within(20000, run(0, beam_in_ms(1)) == -ETIMEDOUT && counts(listener).accepted == 1);
	check_int(beam_listener_close(listener), 0);
	/*
	 * The closed listener is a source until the router has noticed that. Then it can be added
	 * again, and is removed just as soon.
	 */
	for (int i = 0; i < 2; i++)
		check_within(20000, run(BEAM_ROUTER_UNTIL_ENDED, beam_in_ms(1)) == -ETIMEDOUT &&
					beam_router_add_listener(router, listener, NULL) == 0);
	send_text(topic, "word");
	check_within(20000, run(BEAM_ROUTER_UNTIL_ENDED, beam_in_ms(1)) == -ETIMEDOUT && atomic_load(&handled) == 1);
	beam_topic_unref(topic);
	beam_channel_unref(channel);
	check_int(run(BEAM_ROUTER_UNTIL_ENDED, soon()), 0);
	end();
}

static void test_a_listener_that_is_removed_is_its_owners_and_its_channels_stay(void)
{
	beam_channel *channels[2];
	beam_topic *topic;

	begin(NULL);
	channels[0] = connect_to_it();
	require_int(beam_topic_open(&topic, channels[0], "topic"), 0);
	check_within(20000, run(0, beam_in_ms(1)) == -ETIMEDOUT && counts(listener).accepted == 1);
	check_int(beam_router_remove_listener(router, listener, soon()), 0);
	send_text(topic, "word");
	check_within(20000, run(0, beam_in_ms(1)) == -ETIMEDOUT && atomic_load(&handled) == 1);
	beam_topic_unref(topic);
	beam_channel_unref(channels[0]);
	check_int(run(BEAM_ROUTER_UNTIL_ENDED, soon()), 0);
	meet(listener, abstract_address(), channels);
	expect_connected(channels);
	part(channels);
	end();
}

static void test_of_a_client_that_dies_its_channel_is_told(void)
{
	struct beam_router_failure failure;
	char bytes[64];
	int fd;

	begin(NULL);
	fd = raw_connect(abstract_address());
	check_within(20000, run(0, beam_in_ms(1)) == -ETIMEDOUT && counts(listener).accepted == 1);
	check_within(20000, recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0);
	close(fd);
	check_int(beam_router_run(router, &failure, 0, soon()), -ECONNRESET);
	check(!failure.message && !failure.topic && failure.tag == &tag);
	check_int(beam_channel_close(failure.channel, BEAM_NOWAIT), -ECONNRESET);
	beam_channel_unref(failure.channel);
	check_within(20000, counts(listener).connections == 0);
	/* The router still works. */
	check_int(run(0, beam_in_ms(1)), -ETIMEDOUT);
	end();
}

static void *flood_with_garbage(void *unused)
{
	static const char garbage[64 << 10];

	(void)unused;
	for (int i = 0; i < CLIENTS; i++) {
		int fd = raw_connect(abstract_address());

		check(fd >= 0);
		while (send(fd, garbage, sizeof garbage, MSG_NOSIGNAL) > 0)
			continue;
		close(fd);
	}
	return NULL;
}

static void test_clients_that_break_the_protocol_are_told_and_disturb_nobody(void)
{
	struct beam_router_failure failure;
	pthread_t flooding, client;
	int broken = 0;

	begin(NULL);
	flooding = thread_spawn(flood_with_garbage, NULL);
	client = thread_spawn(be_a_client, NULL);
	while (broken < CLIENTS && !harness_failures()) {
		check_int(beam_router_run(router, &failure, 0, soon()), -EPROTO);
		check(!failure.message && !failure.topic && failure.channel && failure.tag == &tag);
		beam_channel_unref(failure.channel);
		broken++;
	}
	check_within(20000, run(0, beam_in_ms(1)) == -ETIMEDOUT && atomic_load(&handled) == 11);
	thread_wait(flooding);
	thread_wait(client);
	check_within(20000, run(0, beam_in_ms(1)) == -ETIMEDOUT && counts(listener).connections == 0);
	end();
}

static void test_a_listener_that_fails_ends_with_its_error(void)
{
	struct beam_router_failure failure;
	struct spot spot;
	int fd, copy;

	begin(NULL);
	spot_make(&spot);
	fd = raw_listen(spot.path, 1);
	copy = dup(fd);
	listener = beam_listener_unref(listener);
	require_int(beam_listener_from_fd(&listener, fd, NULL), 0);
	/* A process that shares the socket can shut it down for all. */
	check_int(shutdown(copy, SHUT_RDWR), 0);
	require_int(beam_router_add_listener(router, listener, &listener), 0);
	check_int(beam_router_run(router, &failure, 0, soon()), -EINVAL);
	check(!failure.message && !failure.topic && !failure.channel && failure.tag == &listener);
	check_int(beam_router_remove_listener(router, listener, soon()), -ENOENT);
	close(copy);
	unlink(spot.path);
	spot_end(&spot);
	end();
}

static int refuse(void *calls, const struct beam_identity *identity)
{
	(void)identity;
	atomic_fetch_add((atomic_uint *)calls, 1);
	check_int(beam_router_stop(router), 0);
	return -EACCES;
}

static void test_a_policy_may_stop_the_router(void)
{
	static atomic_uint calls;
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	int fds[2];

	atomic_store(&calls, 0);
	options.accept = refuse;
	options.context = &calls;
	begin(&options);
	for (int i = 0; i < 2; i++)
		fds[i] = raw_connect(abstract_address());
	check_int(run(0, BEAM_FOREVER), 0);
	check_int(atomic_load(&calls), 1);
	for (int i = 0; i < 2; i++)
		close(fds[i]);
	end();
}

static void test_whoever_connects_and_goes_keeps_nobody_else_waiting(void)
{
	enum { CROWD = 200 };
	pthread_t thread, client;

	begin(NULL);
	thread = thread_spawn(run_until_stopped, NULL);
	client = thread_spawn(be_a_client, NULL);
	for (int i = 0; i < CROWD; i++)
		close(raw_connect(abstract_address()));
	thread_wait(client);
	check_within(20000, atomic_load(&handled) == 11);
	check_within(20000, counts(listener).connections == 0);
	check_int(beam_router_stop(router), 0);
	thread_wait(thread);
	end();
}

static void test_with_the_router_go_the_channels_that_it_accepted(void)
{
	beam_channel *channel;
	beam_topic *topic;

	begin(NULL);
	channel = connect_to_it();
	check_within(20000, run(0, beam_in_ms(1)) == -ETIMEDOUT && counts(listener).accepted == 1);
	router = beam_router_unref(router);
	check_int(beam_channel_accept(channel, &topic, soon()), 0);
	beam_channel_unref(channel);
	end();
}

static const struct test tests[] = {
    TEST(test_whoever_connects_is_served_and_let_go_at_its_end),
    TEST(test_a_listener_that_is_closed_is_a_source_no_more_and_its_channels_stay),
    TEST(test_a_listener_that_is_removed_is_its_owners_and_its_channels_stay),
    TEST(test_of_a_client_that_dies_its_channel_is_told),
    TEST(test_clients_that_break_the_protocol_are_told_and_disturb_nobody),
    TEST(test_a_listener_that_fails_ends_with_its_error),
    TEST(test_a_policy_may_stop_the_router),
    TEST(test_whoever_connects_and_goes_keeps_nobody_else_waiting),
    TEST(test_with_the_router_go_the_channels_that_it_accepted),
};
HARNESS_MAIN("public/router_listener", tests)
