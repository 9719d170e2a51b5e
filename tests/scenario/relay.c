/* SPDX-License-Identifier: MIT */
/*
 * Channels that are sent as attachments, and messages that are forwarded: all or nothing, in order,
 * and nothing left over.
 */
#include <beam/listener.h>
#include <beam/pair.h>
#include <beam/router.h>
#include <scenario/ledger.h>
#include <scenario/scenarios.h>

enum { MESSAGES = 4, TURNS = 8 };

#define MAKING -E2BIG, -EMFILE, -ENFILE, -ENOMEM, -EAGAIN
#define SENDING -EAGAIN, -ETIMEDOUT, -EPIPE, -ECONNRESET, -ENOMEM, -EMFILE

/* ---- Channels over channels ------------------------------------------------------------------ */

void a_pair_of_channels(void)
{
	struct beam_channel_options options = ends_options();
	beam_channel *a = NULL, *b = NULL;
	bool made = result_of(beam_channel_pair(&a, &b, &options), 0, MAKING);

	check_int(a != NULL, made);
	check_int(b != NULL, made);
	beam_channel_unref(a);
	beam_channel_unref(b);
}

void a_channel_in_a_message(void)
{
	struct beam_channel_options options = ends_options();
	beam_message *message = NULL;
	beam_channel *kept = NULL, *taken = NULL;

	if (!result_of(beam_message_new(&message, "x", 1), 0, -ENOMEM))
		return;
	/* More attachments than a message holds without allocating memory for them. */
	for (size_t i = 0; i < 3; i++) {
		bool made = result_of(beam_message_add_channel(message, &kept, &options), 0, MAKING);

		check_int(kept != NULL, made);
		check_int(beam_message_attachments(message), made ? i + 1 : i);
		kept = beam_channel_unref(kept);
		if (!made)
			break;
	}
	if (beam_message_attachments(message) > 0 &&
	    !result_of(beam_message_take_channel(message, 0, &taken, &options), 0, MAKING, -ENOTCONN))
		check(!taken && beam_message_peek_fd(message, 0) >= 0);
	beam_channel_unref(taken);
	beam_message_free(message);
}

static void take_from(beam_topic *topic, const struct beam_channel_options *options)
{
	beam_message *message = NULL;
	beam_channel *taken = NULL;

	if (!result_of(beam_topic_receive(topic, &message, 0, soon()), 1, -EAGAIN, -ETIMEDOUT, -ECONNRESET, -ENOMEM))
		return;
	check_int(beam_message_attachments(message), 1);
	if (result_of(beam_message_take_channel(message, 0, &taken, options), 0, MAKING, -EACCES, -ENOTCONN))
		check_int(beam_message_peek_fd(message, 0), -ENOENT);
	beam_channel_unref(taken);
	beam_message_free(message);
}

void a_channel_sent_on_a_topic(void)
{
	struct beam_channel_options options = ends_options();
	struct ends *ends = ends_make(NULL);
	beam_channel *kept = NULL;

	if (!ends)
		return;
	if (result_of(beam_topic_send_channel(ends->topic[0], "x", 1, &kept, &options, 0, soon()), 0, MAKING, SENDING))
		take_from(ends->topic[1], &options);
	else
		check(!kept);
	beam_channel_unref(kept);
	ends_release(ends, 0);
}

/* ---- Forwarding ------------------------------------------------------------------------------ */

/* Sends messages with an attachment. Returns how many were sent. */
static int send_some(struct ends *ends)
{
	int n = 0;

	while (n < MESSAGES && flow_send(&ends->flow[0], ends->topic[0], SENDV, n % 2 ? 100 << 10 : 100, 1) == 0)
		n++;
	return n;
}

/* What is received from `to` must be what was sent on `from`, as far as it was forwarded. */
static void compare(struct ends *from, struct ends *to)
{
	to->flow[0] = from->flow[0];
	to->flow[0].over = false;
	for (size_t i = to->flow[0].n_received = 0; i < from->flow[0].n_accepted; i++)
		if (flow_receive_until(&to->flow[0], to->topic[1], strict ? soon() : beam_in_ms(1)) != 1)
			break;
	if (strict)
		check_int(to->flow[0].n_received, MESSAGES);
	/* The first pair does not hold these messages any more. */
	from->flow[0] = (struct flow){0};
}

void messages_forwarded(void)
{
	struct ends *from = ends_make(NULL), *to = ends_make(NULL);
	beam_message *held = NULL;
	size_t moved = 0, n;
	int accepted = from && to ? send_some(from) : 0;

	for (int turns = 0; turns < TURNS && moved < (size_t)accepted; turns++) {
		int r =
		    beam_topic_forward(from->topic[1], to->topic[0], &held, (size_t)accepted - moved, &n, 0, soon());

		moved += n;
		result_of(r, 1, SENDING, -ENOENT);
		check(r < 0 || !held);
	}
	beam_message_free(held);
	if (from && to)
		compare(from, to);
	if (from)
		ends_release(from, 0);
	if (to)
		ends_release(to, 0);
}

/* ---- Routing --------------------------------------------------------------------------------- */

static int wants_all(void *argument, const char *topic, const beam_message *message)
{
	(void)argument;
	(void)topic;
	return message != NULL;
}

static void count_release(void *argument)
{
	++*(int *)argument;
}

/* The first route is removed again. The second one leads from one pair to the other. */
static bool add_routes(beam_router *router, struct ends *from, struct ends *to, int *released)
{
	struct beam_route none = {.size = sizeof none,
				  .match = wants_all,
				  .topic = to->topic[0],
				  .argument = released,
				  .release = count_release};
	struct beam_route all = {.size = sizeof all, .prefix = "to", .channel = to->channel[0]};
	uint64_t id = 0;

	if (!result_of(beam_router_add_route(router, &none, &id), 0, -ENOMEM))
		return false;
	check_int(beam_router_remove_route(router, id), 0);
	check_int(*released, 1);
	return result_of(beam_router_add_route(router, &all, NULL), 0, -ENOMEM) &&
	       result_of(beam_router_add_topic(router, from->topic[1], from), 0, -EMFILE, -ENFILE, -ENOMEM, -ENOSPC) &&
	       result_of(beam_router_add_channel(router, from->channel[1], from), 0, -EMFILE, -ENFILE, -ENOMEM,
			 -ENOSPC);
}

/*
 * Runs until the deadline if the sources have not ended. Returns true if a message could not be
 * delivered.
 */
static bool run_for_a_moment(beam_router *router)
{
	struct beam_router_failure failure = {0};
	int r = beam_router_run(router, &failure, 0, beam_in_ms(1));
	bool failed = failure.message;

	result_of(r, failed || failure.topic ? 0 : -ETIMEDOUT, SENDING, -ENOENT);
	beam_message_free(failure.message);
	beam_message_free(failure.request);
	beam_topic_unref(failure.topic);
	beam_channel_unref(failure.channel);
	return failed;
}

/* Runs until everything has been forwarded, a message was lost, or the rounds are used up. */
static void run(beam_router *router, struct ends *to, int accepted)
{
	for (int i = 0; i < TURNS; i++) {
		struct beam_statistics statistics = {0};
		bool failed = run_for_a_moment(router);

		check_int(beam_topic_statistics(to->topic[0], &statistics, sizeof statistics), 0);
		/* The messages after a lost one are not a prefix without gaps. */
		if (failed || (int)statistics.messages_sent == accepted)
			break;
		/* If the ledger is strict, there is no limit, because the machine may be slow. */
		i -= strict;
	}
}

/* Adds and removes sources. A closed listener is removed as soon as the router notices it. */
static void remove_and_stop(beam_router *router, struct ends *from)
{
	struct beam_router_failure failure = {0};
	beam_listener *listener = NULL;
	char address[64];

	snprintf(address, sizeof address, "@beam-scenario-router-%d", (int)getpid());
	if (result_of(beam_listener_new(&listener, address, NULL), 0, MAKING, -EADDRINUSE)) {
		if (result_of(beam_router_add_listener(router, listener, NULL), 0, -EMFILE, -ENFILE, -ENOMEM, -ENOSPC))
			check_int(beam_router_remove_listener(router, listener, BEAM_NOWAIT), 0);
		beam_listener_unref(listener);
	}
	/* They may have ended, or may not have been added, or a message may be waiting. */
	result_of(beam_router_remove_channel(router, from->channel[1], BEAM_NOWAIT), 0, -ENOENT, -EAGAIN);
	result_of(beam_router_remove_topic(router, from->topic[1], BEAM_NOWAIT), 0, -ENOENT, -EAGAIN);
	check_int(beam_router_stop(router), 0);
	check_int(beam_router_run(router, &failure, 0, BEAM_FOREVER), 0);
}

void messages_by_routes(void)
{
	struct ends *from = ends_make(NULL), *to = ends_make(NULL);
	beam_router *router = NULL;
	int released = 0, accepted;

	if (from && to && result_of(beam_router_new(&router), 0, -EMFILE, -ENFILE, -ENOMEM)) {
		check(beam_router_ref(router) == router);
		beam_router_unref(router);
		accepted = send_some(from);
		if (add_routes(router, from, to, &released))
			run(router, to, accepted);
		remove_and_stop(router, from);
	}
	beam_router_unref(router);
	if (router)
		compare(from, to);
	if (from)
		ends_release(from, 0);
	if (to)
		ends_release(to, 0);
}

/* ---- Routing calls --------------------------------------------------------------------------- */

/* The text of all requests and replies, each of which also has an attachment. */
static struct iovec word = {"words", 5};

/* Replies twice to the request that the router delivers within some rounds. */
static void answer(beam_router *router, beam_topic *topic)
{
	beam_message *request = NULL;

	for (int i = 0; i < TURNS && !request; i += !strict) {
		int r;

		run_for_a_moment(router);
		r = beam_topic_receive(topic, &request, 0, BEAM_NOWAIT);
		result_of(r, request ? 1 : -EAGAIN, SENDING, 0);
	}
	if (!request)
		return;
	check_int(beam_message_size(request), word.iov_len);
	check_int(beam_message_attachments(request), 1);
	for (unsigned more = BEAM_REPLY_MORE;; more = 0) {
		result_of(beam_message_replyv(request, &word, 1, attached, 1, more, soon()), 0, SENDING, -ECANCELED,
			  -EALREADY);
		if (!more)
			break;
	}
	beam_message_free(request);
}

/*
 * Receives both replies. After a fault there may be only one, because the kernel may refuse the
 * attachment of a reply that was accepted.
 */
static void receive_answer(beam_router *router, beam_call *call)
{
	int r = -EAGAIN, replies = 0;

	for (int i = 0; i < TURNS && (r == -EAGAIN || r == 1); i += !strict) {
		beam_message *reply = NULL;

		run_for_a_moment(router);
		r = beam_call_receive(call, &reply, 0, BEAM_NOWAIT);
		result_of(r, reply ? 1 : replies == 2 ? 0 : -EAGAIN, SENDING, -EREMOTEIO, 0);
		check_int(reply != NULL, r == 1);
		if (!reply)
			continue;
		replies++;
		check_int(beam_message_size(reply), word.iov_len);
		check_int(beam_message_attachments(reply), 1);
		beam_message_free(reply);
	}
	check(!strict || replies == 2);
}

void calls_by_routes(void)
{
	struct ends *from = ends_make(NULL), *to = ends_make(NULL);
	beam_router *router = NULL;
	beam_call *call = NULL;

	if (from && to && result_of(beam_router_new(&router), 0, -EMFILE, -ENFILE, -ENOMEM)) {
		struct beam_route all = {.size = sizeof all, .channel = to->channel[0]};

		if (result_of(beam_router_add_route(router, &all, NULL), 0, -ENOMEM) &&
		    result_of(beam_router_add_topic(router, from->topic[1], from), 0, -EMFILE, -ENFILE, -ENOMEM,
			      -ENOSPC) &&
		    result_of(beam_call_begin(&call, from->topic[0], &word, 1, attached, 1, 0, soon()), 0, SENDING)) {
			answer(router, to->topic[1]);
			receive_answer(router, call);
		}
	}
	beam_router_unref(router);
	beam_call_unref(call);
	if (from)
		ends_release(from, 0);
	if (to)
		ends_release(to, 0);
}
