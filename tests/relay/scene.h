/* SPDX-License-Identifier: MIT */
/* What tests of the router consist of: channels before and behind it. */
#ifndef RELAY_SCENE_H
#define RELAY_SCENE_H

#include <harness/fault.h>
#include <public/ends.h>

/*
 * What is sent on topics of in.channel[0] arrives at the router, whose source is in.channel[1], and
 * leaves through out.channel[0].
 */
struct scene {
	beam_router *router;
	struct ends in, out;
};

/* The tag of the source. */
static char tag;

static inline struct beam_channel_options small_window(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.topic_window_bytes = 64 << 10;
	return options;
}

static inline void begin(struct scene *scene)
{
	struct beam_channel_options options = small_window();

	require_int(beam_router_new(&scene->router), 0);
	ends_open(&scene->in, NULL);
	ends_open(&scene->out, &options);
	require_int(beam_router_add_channel(scene->router, scene->in.channel[1], &tag), 0);
}

static inline void end(struct scene *scene)
{
	beam_router_unref(scene->router);
	ends_close(&scene->in);
	ends_close(&scene->out);
}

static inline beam_topic *open_topic(beam_channel *channel, const char *name)
{
	beam_topic *topic = NULL;

	require_int(beam_topic_open(&topic, channel, name), 0);
	return topic;
}

static inline uint64_t add(beam_router *router, struct beam_route route)
{
	uint64_t id = 0;

	route.size = sizeof route;
	require_int(beam_router_add_route(router, &route, &id), 0);
	return id;
}

static inline struct beam_statistics counted(beam_topic *topic)
{
	struct beam_statistics statistics = {0};

	check_int(beam_topic_statistics(topic, &statistics, sizeof statistics), 0);
	return statistics;
}

static inline uint64_t queued(beam_topic *topic)
{
	return counted(topic).messages_queued;
}

/* Returns true if nothing was reported, for use in check_within(). */
static inline bool run_for_a_moment(struct scene *scene)
{
	struct beam_router_failure failure;

	return check_int(beam_router_run(scene->router, &failure, 0, beam_in_ms(1)), -ETIMEDOUT);
}

/* Runs until a message has arrived. */
static inline void run_until(struct scene *scene, beam_topic *topic)
{
	check_within(20000, queued(topic) || (run_for_a_moment(scene) && queued(topic)));
}

static inline void expect_routed(struct scene *scene, beam_topic *to, const char *text)
{
	run_until(scene, to);
	expect_text(to, text);
}

/* Sends until nothing moves any more, because nobody receives what was routed. */
static inline uint64_t fill(struct scene *scene, beam_topic *from)
{
	struct beam_router_failure failure;
	beam_deadline deadline = soon();
	uint64_t sent = 0;
	int idle = 0;

	while (idle < 20 && beam_deadline_poll_ms(deadline) != 0) {
		int r = beam_topic_send(from, &sent, sizeof sent, 0, BEAM_NOWAIT);

		sent += r == 0;
		idle = r == 0 ? 0 : idle + 1;
		if (r < 0)
			check_int(beam_router_run(scene->router, &failure, 0, beam_in_ms(5)), -ETIMEDOUT);
	}
	check(idle == 20);
	return sent;
}

static inline void expect_all_routed(struct scene *scene, beam_topic *to, uint64_t n)
{
	for (uint64_t i = 0; i < n && !harness_failures(); i++) {
		run_until(scene, to);
		expect_number(to, i);
	}
}

/* The next run hands back this message, from this topic. */
static inline void expect_failure(struct scene *scene, int error, const char *topic, const char *text)
{
	struct beam_router_failure failure;

	check_int(beam_router_run(scene->router, &failure, 0, soon()), error);
	require(failure.message && failure.topic);
	check_string(beam_topic_name(failure.topic), topic);
	check(failure.tag == &tag);
	check_int(beam_message_size(failure.message), strlen(text));
	check_bytes(beam_message_data(failure.message), text, strlen(text));
	beam_message_free(failure.message);
	beam_topic_unref(failure.topic);
}

/* A predicate, for long messages. */
static inline int wants_long(void *argument, const char *topic, const beam_message *message)
{
	(void)argument;
	(void)topic;
	return beam_message_size(message) > 5;
}

/* What a handler was called with, and what it returns. */
struct handler {
	int result, calls, released;
	char text[16], topic[16];
};

static inline int handle(void *argument, const char *topic, beam_message *message)
{
	struct handler *handler = argument;

	handler->calls++;
	if (handler->result < 0)
		return handler->result;
	snprintf(handler->topic, sizeof handler->topic, "%s", topic);
	snprintf(handler->text, sizeof handler->text, "%.*s", (int)beam_message_size(message),
		 (const char *)beam_message_data(message));
	beam_message_free(message);
	return 0;
}

/*
 * How many times this process called epoll_wait(), in selectors and threads, while a router ran for
 * this long.
 */
static inline unsigned long turns_while_running(struct scene *scene, int milliseconds)
{
	struct beam_router_failure failure;
	unsigned long n;

	fault_only(FAULT(SYS_EPOLL_WAIT));
	fault_at(0, 0, false);
	check_int(beam_router_run(scene->router, &failure, 0, beam_in_ms(milliseconds)), -ETIMEDOUT);
	n = fault_calls();
	fault_off();
	return n;
}

/* A thread that runs a router until it has ended. */
static inline void *run_to_the_end(void *argument)
{
	struct beam_router_failure failure;

	check_int(beam_router_run(argument, &failure, BEAM_ROUTER_UNTIL_ENDED, soon()), 0);
	return NULL;
}

#endif
