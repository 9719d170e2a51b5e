/* SPDX-License-Identifier: MIT */
/* Connecting, as a program uses it. */
#include <public/listening.h>
#include <stdatomic.h>

static struct spot spot;

struct client {
	const char *address;
	beam_channel *channel;
	int result;
	atomic_bool done;
};

static void *connect_when_there(void *argument)
{
	struct beam_connect_options options = BEAM_CONNECT_OPTIONS;
	struct client *client = argument;

	options.wait_for_server = 1;
	client->result = beam_channel_connect(&client->channel, client->address, &options, soon());
	atomic_store(&client->done, true);
	return NULL;
}

static void expect_waiting_at(const char *address)
{
	struct client client = {.address = address};
	beam_channel *server;
	beam_listener *listener;
	pthread_t thread = thread_spawn(connect_when_there, &client);

	check(!atomic_load(&client.done));
	listener = listen_at(address, NULL);
	check_int(beam_listener_accept(listener, &server, soon()), 1);
	thread_wait(thread);
	check_int(client.result, 0);
	expect_connected((beam_channel *[]){client.channel, server});
	beam_channel_unref(client.channel);
	beam_channel_unref(server);
	beam_listener_unref(listener);
}

static void test_connecting_can_wait_for_a_server_that_is_not_there_yet(void)
{
	int stale;

	expect_waiting_at(abstract_address());
	spot_make(&spot);
	expect_waiting_at(spot.path);
	/* A server that died has left its socket behind. */
	stale = raw_listen(spot.path, 1);
	close(stale);
	expect_waiting_at(spot.path);
	spot_end(&spot);
}

static void test_connecting_waits_for_a_server_no_longer_than_its_deadline(void)
{
	struct beam_connect_options options = BEAM_CONNECT_OPTIONS;
	beam_channel *channel = NULL;
	int64_t begin = now_ns();

	check_int(beam_channel_connect(&channel, abstract_address(), &options, beam_in_ms(50)), -ECONNREFUSED);
	check_int(beam_channel_connect(&channel, abstract_address(), NULL, beam_in_ms(50)), -ECONNREFUSED);
	check_int(beam_channel_connect(&channel, "/nowhere/at/all", &options, beam_in_ms(50)), -ENOENT);
	options.wait_for_server = 1;
	check_int(beam_channel_connect(&channel, abstract_address(), &options, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_channel_connect(&channel, abstract_address(), &options, beam_in_ms(50)), -ETIMEDOUT);
	check(now_ns() - begin >= 50 * 1000000);
	check_int(beam_channel_connect(&channel, "/nowhere/at/all", &options, beam_in_ms(50)), -ETIMEDOUT);
	/* Errors that waiting does not mend are returned at once. */
	check_int(beam_channel_connect(&channel, "/dev/null/socket", &options, BEAM_FOREVER), -ENOTDIR);
	check(channel == NULL);
}

static void test_connecting_refuses_bad_options(void)
{
	struct beam_connect_options options = BEAM_CONNECT_OPTIONS, bad;
	struct beam_channel_options channel = BEAM_CHANNEL_OPTIONS;
	struct {
		struct beam_connect_options known;
		uint64_t more;
	} newer = {options, 1};
	beam_channel *none = NULL;

	check_int(beam_channel_connect(NULL, "@x", &options, BEAM_NOWAIT), -EINVAL);
	check_int(beam_channel_connect(&none, NULL, &options, BEAM_NOWAIT), -EINVAL);
	bad = options;
	bad.size = 0;
	check_int(beam_channel_connect(&none, "@x", &bad, BEAM_NOWAIT), -EINVAL);
	bad = options;
	bad.wait_for_server = 2;
	check_int(beam_channel_connect(&none, "@x", &bad, BEAM_NOWAIT), -EINVAL);
	bad = options;
	channel.calls = 1;
	bad.channel = &channel;
	check_int(beam_channel_connect(&none, "@x", &bad, BEAM_NOWAIT), -EINVAL);
	newer.known.size = sizeof newer;
	check_int(beam_channel_connect(&none, "@x", &newer.known, BEAM_NOWAIT), -E2BIG);
	check(none == NULL);
}

static void test_the_server_may_be_demanded_to_be_a_certain_user(void)
{
	struct beam_connect_options options = BEAM_CONNECT_OPTIONS;
	beam_listener *listener = listen_at(abstract_address(), NULL);
	beam_channel *client = NULL, *server;

	options.server_uid = geteuid() + 1;
	check_int(beam_channel_connect(&client, abstract_address(), &options, soon()), -EPERM);
	check(client == NULL);
	options.server_uid = geteuid();
	check_int(beam_channel_connect(&client, abstract_address(), &options, soon()), 0);
	/* The first connection is still in the backlog, although its client has left. */
	for (int i = 0; i < 2; i++) {
		require_int(beam_listener_accept(listener, &server, soon()), 1);
		if (i == 1)
			expect_connected((beam_channel *[]){client, server});
		beam_channel_unref(server);
	}
	beam_channel_unref(client);
	beam_listener_unref(listener);
}

static const struct test tests[] = {
    TEST(test_connecting_can_wait_for_a_server_that_is_not_there_yet),
    TEST(test_connecting_waits_for_a_server_no_longer_than_its_deadline),
    TEST(test_connecting_refuses_bad_options),
    TEST(test_the_server_may_be_demanded_to_be_a_certain_user),
};

HARNESS_MAIN("public/connect", tests)
