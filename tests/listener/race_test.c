/* SPDX-License-Identifier: MIT */
/*
 * Connections, forks and closes at the same time: each client is served or disconnected, and
 * nothing is left.
 */
#include <public/listening.h>
#include <stdatomic.h>

enum { CLIENTS = 4, SERVERS = 2 };

static struct spot spot;

/* Valgrind supports 500 threads, and each end of a connection has one. */
static int connections(void)
{
	return under_valgrind() ? 40 : 500;
}

struct round {
	const char *address;
	beam_listener *listener;
	/* The number of connections after which to close. */
	int close_after;
	atomic_int served, greeted, turned_away;
	pthread_t clients[CLIENTS], servers[SERVERS];
};

/* A client that is accepted gets the server's HELLO, or the end. */
static void visit(struct round *round)
{
	struct beam_limits limits;
	beam_channel *channel;
	int r = beam_channel_connect(&channel, round->address, NULL, soon());

	if (r < 0) {
		if (r != -ECONNREFUSED && r != -ENOENT)
			fail("connecting: %s", strerror(-r));
		atomic_fetch_add(&round->turned_away, 1);
		return;
	}
	harness_progress();
	r = beam_channel_limits(channel, &limits, sizeof limits, soon());
	check(r == 0 || r == -ECONNRESET || r == -EPIPE);
	atomic_fetch_add(r == 0 ? &round->greeted : &round->turned_away, 1);
	beam_channel_unref(channel);
}

static void *visit_often(void *argument)
{
	for (int i = 0; i < connections() / CLIENTS; i++)
		visit(argument);
	return NULL;
}

static void *serve(void *argument)
{
	struct round *round = argument;
	beam_channel *channel;
	int r;

	while ((r = beam_listener_accept(round->listener, &channel, BEAM_FOREVER)) == 1) {
		if (atomic_fetch_add(&round->served, 1) + 1 == round->close_after) {
			check_int(beam_listener_close(round->listener), 0);
		}
		beam_channel_unref(channel);
	}
	check_int(r, 0);
	return NULL;
}

static void run_round(const char *address, int close_after)
{
	struct round round = {.address = address, .close_after = close_after};

	round.listener = listen_at(address, NULL);
	for (int i = 0; i < SERVERS; i++)
		round.servers[i] = thread_spawn(serve, &round);
	for (int i = 0; i < CLIENTS; i++)
		round.clients[i] = thread_spawn(visit_often, &round);
	for (int i = 0; i < CLIENTS; i++)
		thread_wait(round.clients[i]);
	beam_listener_close(round.listener);
	for (int i = 0; i < SERVERS; i++)
		thread_wait(round.servers[i]);
	check_int(atomic_load(&round.greeted) + atomic_load(&round.turned_away), connections());
	check(atomic_load(&round.greeted) <= atomic_load(&round.served));
	if (close_after > connections())
		check_int(atomic_load(&round.greeted), connections());
	check_int(counts(round.listener).accepted, atomic_load(&round.served));
	check_within(20000, counts(round.listener).connections == 0);
	beam_listener_unref(round.listener);
}

static void test_connections_that_race_with_a_closing_listener_are_served_or_disconnected(void)
{
	struct rng rng = rng_new(4);
	char address[64];

	snprintf(address, sizeof address, "%s", abstract_address());
	spot_make(&spot);
	for (size_t i = 0; i < scale(10); i++) {
		run_round(address, 1 + (int)rng_below(&rng, (size_t)connections()));
		run_round(spot.path, 1 + (int)rng_below(&rng, (size_t)connections()));
		check(!exists(spot.path) && !exists(spot.lock));
	}
	spot_end(&spot);
}

static void test_connections_to_a_listener_that_stays_are_all_served(void)
{
	char address[64];

	snprintf(address, sizeof address, "%s", abstract_address());
	run_round(address, connections() + 1);
}

/* ---- Many threads that want one address ------------------------------------------------------ */

struct rivals {
	atomic_int holders, won;
};

static void *want_it(void *argument)
{
	struct rivals *rivals = argument;

	for (size_t i = 0; i < scale(2000); i++) {
		beam_listener *listener = NULL;
		int r = beam_listener_new(&listener, spot.path, NULL);

		check(r == 0 || r == -EADDRINUSE);
		if (r < 0)
			continue;
		check_int(atomic_fetch_add(&rivals->holders, 1), 0);
		check(exists(spot.path) && exists(spot.lock));
		harness_progress();
		atomic_fetch_add(&rivals->won, 1);
		atomic_fetch_sub(&rivals->holders, 1);
		beam_listener_unref(listener);
	}
	return NULL;
}

static void test_of_many_who_listen_and_close_one_at_a_time_has_the_address(void)
{
	struct rivals rivals = {0};
	pthread_t threads[CLIENTS];

	spot_make(&spot);
	for (int i = 0; i < CLIENTS; i++)
		threads[i] = thread_spawn(want_it, &rivals);
	for (int i = 0; i < CLIENTS; i++)
		thread_wait(threads[i]);
	check(atomic_load(&rivals.won) > 0);
	check(!exists(spot.path) && !exists(spot.lock));
	spot_end(&spot);
}

/* ---- Many threads that close and query a listener -------------------------------------------- */

static void *close_it(void *argument)
{
	struct round *round = argument;

	check_int(beam_listener_close(round->listener), 0);
	return NULL;
}

static void *ask_it(void *argument)
{
	struct round *round = argument;

	check(beam_listener_accept_fd(round->listener) >= 0);
	counts(round->listener);
	beam_listener_unref(beam_listener_ref(round->listener));
	return NULL;
}

static void test_a_listener_may_be_closed_and_asked_by_many_at_once(void)
{
	char address[64];

	snprintf(address, sizeof address, "%s", abstract_address());
	for (size_t i = 0; i < scale(100); i++) {
		struct round round = {.address = address, .close_after = connections()};
		pthread_t threads[4];

		harness_progress();
		round.listener = listen_at(address, NULL);
		round.servers[0] = thread_spawn(serve, &round);
		for (int j = 0; j < 4; j++)
			threads[j] = thread_spawn(j % 2 ? close_it : ask_it, &round);
		for (int j = 0; j < 4; j++)
			thread_wait(threads[j]);
		thread_wait(round.servers[0]);
		beam_listener_unref(round.listener);
	}
}

/* ---- Forks ----------------------------------------------------------------------------------- */

static int child_ends(void *argument)
{
	beam_listener *listener = argument;

	return beam_listener_close(listener) == -ECHILD ? 0 : 1;
}

struct forker {
	beam_listener *listener;
	atomic_bool stop;
};

static void *fork_often(void *argument)
{
	struct forker *forker = argument;

	while (!atomic_load(&forker->stop))
		check_int(process_wait(process_spawn(child_ends, forker->listener)), 0);
	return NULL;
}

static void test_forks_in_the_midst_of_accepting_and_closing_leave_the_parent_whole(void)
{
	struct forker forker = {.listener = NULL};
	beam_listener *kept = listen_at(abstract_address(), NULL);
	pthread_t thread;

	spot_make(&spot);
	forker.listener = kept;
	thread = thread_spawn(fork_often, &forker);
	for (size_t i = 0; i < scale(300); i++) {
		beam_listener *listener = listen_at(spot.path, NULL);
		beam_channel *channels[2];

		harness_progress();
		meet(listener, spot.path, channels);
		part(channels);
		beam_listener_unref(listener);
	}
	atomic_store(&forker.stop, true);
	thread_wait(thread);
	beam_listener_unref(kept);
	spot_end(&spot);
}

static const struct test tests[] = {
    TEST(test_connections_that_race_with_a_closing_listener_are_served_or_disconnected),
    TEST(test_connections_to_a_listener_that_stays_are_all_served),
    TEST(test_of_many_who_listen_and_close_one_at_a_time_has_the_address),
    TEST(test_a_listener_may_be_closed_and_asked_by_many_at_once),
    TEST(test_forks_in_the_midst_of_accepting_and_closing_leave_the_parent_whole),
};

HARNESS_MAIN("listener/race", tests)
