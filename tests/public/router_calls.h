/* SPDX-License-Identifier: MIT */
/* Callers, a router that threads run, and a callee behind it. */
#ifndef PUBLIC_ROUTER_CALLS_H
#define PUBLIC_ROUTER_CALLS_H

#include <poll.h>
#include <public/replies.h>
#include <stdatomic.h>

enum { THREADS = 3 };

/*
 * Callers use in.topic[0]. The router's source is in.topic[1], and it forwards to out.channel[0].
 */
static struct ends in, out;
static beam_router *router;
static char tag;

/* Two connected channels. The side `with` has the options; NULL: the defaults. */
static inline void pair_open(struct ends *pair, int with, const struct beam_channel_options *options)
{
	int fds[2];

	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	for (int i = 1; i >= 0; i--) {
		require_int(beam_channel_from_fd(&pair->channel[i], fds[i], i == with ? options : NULL), 0);
		require_int(beam_topic_open(&pair->topic[i], pair->channel[i], "topic"), 0);
	}
}

static inline void begin_with(const struct beam_channel_options *caller, const struct beam_channel_options *callee)
{
	struct beam_route route = BEAM_ROUTE;

	pair_open(&in, 0, caller);
	pair_open(&out, 1, callee);
	route.channel = out.channel[0];
	require_int(beam_router_new(&router), 0);
	require_int(beam_router_add_route(router, &route, NULL), 0);
	require_int(beam_router_add_topic(router, in.topic[1], &tag), 0);
}

static inline void begin(void)
{
	begin_with(NULL, NULL);
}

/* Runs the router in a thread. No message may fail. A source may, if its other side has died. */
static inline void *run_until_stopped(void *unused)
{
	struct beam_router_failure failure;
	int r;

	(void)unused;
	do {
		r = beam_router_run(router, &failure, 0, BEAM_FOREVER);
		check(!failure.message && !failure.channel && !failure.request);
		beam_topic_unref(failure.topic);
	} while (r == -ECONNRESET);
	check_int(r, 0);
	return NULL;
}

static inline void end(void)
{
	router = beam_router_unref(router);
	ends_close(&in);
	ends_close(&out);
}

/* Threads that run the router. */
static pthread_t runners[THREADS];

static inline void begin_running(void)
{
	begin();
	for (int i = 0; i < THREADS; i++)
		runners[i] = thread_spawn(run_until_stopped, NULL);
}

static inline void end_running(void)
{
	check_int(beam_router_stop(router), 0);
	for (int i = 0; i < THREADS; i++)
		thread_wait(runners[i]);
	end();
}

static inline beam_call *call_bytes(const void *data, size_t size)
{
	return call_on_topic(in.topic[0], data, size);
}

static inline beam_call *call_text(const char *text)
{
	return call_bytes(text, strlen(text));
}

static inline beam_message *take_request(void)
{
	return take_request_of(out.topic[1]);
}

static inline void expect_dropped(beam_call *call)
{
	expect_failed(call, BEAM_FAILURE_DROPPED, NULL, 0);
}

static inline uint64_t queued(beam_topic *topic)
{
	struct beam_statistics statistics = {0};

	check_int(beam_topic_statistics(topic, &statistics, sizeof statistics), 0);
	return statistics.messages_queued;
}

/* The callee is told that its call was cancelled. */
static inline void expect_cancelled(beam_message *request)
{
	struct pollfd item = {.fd = beam_message_cancelled_fd(request), .events = POLLIN};

	require(item.fd >= 0);
	check_int(poll(&item, 1, stretch(20000)), 1);
	check_int(beam_message_reply(request, NULL, 0, 0, BEAM_NOWAIT), -ECANCELED);
}

#endif
