/* SPDX-License-Identifier: MIT */
/*
 * The router, while each call that can fail fails in turn: every message is delivered, handed back
 * or still waits, and nothing is left over.
 */
#include <kernel/raw.h>
#include <relay/sweep.h>

enum { MESSAGES = 3, TURNS = 8 };

/* ---- Creating and changing ------------------------------------------------------------------- */

static int refuse(void *argument, const char *topic, beam_message *message)
{
	(void)argument;
	(void)topic;
	(void)message;
	return -EDOM;
}

static void count_release(void *argument)
{
	++*(int *)argument;
}

static void make_and_change(void)
{
	beam_router *router = NULL;
	int released = 0, added = 0;

	if (beam_router_new(&router) < 0) {
		check(router == NULL);
		return;
	}
	for (int i = 0; i < 3; i++) {
		struct beam_route route = {
		    .size = sizeof route, .handle = refuse, .argument = &released, .release = count_release};
		uint64_t id = 0;
		int r = beam_router_add_route(router, &route, &id);

		check(r == 0 || r == -ENOMEM);
		check_int(id > 0, r == 0);
		added += r == 0;
		if (i == 1 && r == 0)
			check_int(beam_router_remove_route(router, id), 0);
	}
	beam_router_unref(router);
	check_int(released, added);
}

static void test_routers_and_routes_are_made_whole_or_not_at_all(void)
{
	check(sweep(make_and_change) >= at_least(6));
}

/* ---- Running --------------------------------------------------------------------------------- */

struct ends {
	beam_channel *channel[2];
};

struct tally {
	int sent, delivered, failed;
};

static void send_all(beam_topic *topic, int file, struct tally *tally)
{
	char byte = 0;
	struct iovec iov = {&byte, 1};

	for (; byte < MESSAGES; byte++) {
		if (beam_topic_sendv(topic, &iov, 1, &file, 1, 0, shortly()) < 0)
			return;
		tally->sent++;
	}
}

/* Runs until everything was delivered or handed back, or until too many turns have failed. */
static void run(beam_router *router, beam_topic *to, struct tally *tally)
{
	struct beam_router_failure failure;
	beam_message *message;

	for (int i = 0; i < TURNS && tally->delivered + tally->failed < tally->sent; i++) {
		int r = beam_router_run(router, &failure, 0, shortly());

		check(r <= 0);
		check(r < 0 || (!failure.message && !failure.topic && !failure.channel));
		check(!failure.message || failure.topic);
		if (failure.message) {
			check_int(beam_message_size(failure.message), 1);
			tally->failed++;
		}
		beam_message_free(failure.message);
		beam_topic_unref(failure.topic);
		beam_channel_unref(failure.channel);
		while (beam_topic_receive(to, &message, 0, beam_in_ms(r == -ETIMEDOUT ? 1 : 0)) == 1) {
			check_int(beam_message_attachments(message), 1);
			tally->delivered++;
			beam_message_free(message);
		}
	}
}

static void route_everything(void)
{
	struct beam_channel_options options = options_of_sweeps();
	beam_topic *from = NULL, *to = NULL;
	struct ends in = {{NULL}}, out = {{NULL}};
	beam_router *router = NULL;
	struct beam_route route = {.size = sizeof route};
	struct tally tally = {0};
	int file = raw_file();

	if (beam_channel_pair(&in.channel[0], &in.channel[1], &options) == 0 &&
	    beam_channel_pair(&out.channel[0], &out.channel[1], &options) == 0 &&
	    beam_topic_open(&from, in.channel[0], "a") == 0 && beam_topic_open(&to, out.channel[1], "a") == 0 &&
	    beam_router_new(&router) == 0) {
		route.channel = out.channel[0];
		if (beam_router_add_route(router, &route, NULL) == 0 &&
		    beam_router_add_channel(router, in.channel[1], NULL) == 0) {
			send_all(from, file, &tally);
			run(router, to, &tally);
			check(tally.delivered + tally.failed <= tally.sent);
		}
	}
	beam_router_unref(router);
	beam_topic_unref(from);
	beam_topic_unref(to);
	for (int i = 0; i < 2; i++) {
		beam_channel_unref(in.channel[i]);
		beam_channel_unref(out.channel[i]);
	}
	close(file);
}

static void test_every_message_is_delivered_handed_back_or_waits(void)
{
	check(sweep(route_everything) >= at_least(150));
}

/*
 * What cannot be watched, because memory or descriptors are missing, is checked again later.
 * Nothing is forgotten.
 */
static void route_in_the_end(void)
{
	beam_channel *in[2], *out[2];
	beam_router *router = NULL;
	beam_topic *from, *to;
	struct beam_route route = {.size = sizeof route};
	struct tally tally = {0};
	int file = raw_file();

	require_int(beam_channel_pair(&in[0], &in[1], NULL), 0);
	require_int(beam_channel_pair(&out[0], &out[1], NULL), 0);
	require_int(beam_topic_open(&from, in[0], "a"), 0);
	require_int(beam_topic_open(&to, out[1], "a"), 0);
	require_int(beam_router_new(&router), 0);
	route.channel = out[0];
	require_int(beam_router_add_route(router, &route, NULL), 0);
	require_int(beam_router_add_channel(router, in[1], NULL), 0);
	for (unsigned long n = 1; n < 8; n++) {
		fault_off();
		send_all(from, file, &tally);
		check_int(tally.sent % MESSAGES, 0);
		fault_only(FAULT(SYS_EPOLL_CTL) | FAULT(SYS_EVENTFD));
		fault_at(n, 0, false);
		check_within(20000, (run(router, to, &tally), tally.delivered == tally.sent));
		check_int(tally.failed, 0);
	}
	fault_off();
	beam_router_unref(router);
	beam_topic_unref(from);
	beam_topic_unref(to);
	for (int i = 0; i < 2; i++) {
		beam_channel_unref(in[i]);
		beam_channel_unref(out[i]);
	}
	close(file);
}

static void test_a_source_that_can_not_be_watched_for_a_moment_is_not_forgotten(void)
{
	route_in_the_end();
}

static const struct test tests[] = {
    TEST(test_routers_and_routes_are_made_whole_or_not_at_all),
    TEST(test_every_message_is_delivered_handed_back_or_waits),
    TEST(test_a_source_that_can_not_be_watched_for_a_moment_is_not_forgotten),
};
HARNESS_MAIN("relay-router_fault", tests)
