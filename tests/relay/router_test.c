/* SPDX-License-Identifier: MIT */
/*
 * The routes of a router: every message goes where the first route says that wants it, or is handed
 * to the caller.
 */
#include <hostile/attack.h>
#include <relay/scene.h>

/* ---- Routes ---------------------------------------------------------------------------------- */

static void test_a_message_goes_by_name_prefix_or_predicate_and_else_to_the_sink(void)
{
	struct scene scene;
	beam_topic *to[4], *log, *news;
	char name[] = "0";

	begin(&scene);
	for (int i = 0; i < 4; i++, name[0]++)
		to[i] = open_topic(scene.out.channel[0], name);
	/* The sink is added first, and tried last. */
	add(scene.router, (struct beam_route){.topic = to[3], .sink = 1});
	add(scene.router, (struct beam_route){.name = "log", .topic = to[0]});
	add(scene.router, (struct beam_route){.prefix = "log", .topic = to[1]});
	add(scene.router, (struct beam_route){.match = wants_long, .topic = to[2]});
	log = open_topic(scene.in.channel[0], "log");
	news = open_topic(scene.in.channel[0], "log.new");
	for (int i = 0; i < 4; i++) {
		beam_topic_unref(to[i]);
		name[0] = (char)('0' + i);
		to[i] = open_topic(scene.out.channel[1], name);
	}
	send_text(log, "by name");
	expect_routed(&scene, to[0], "by name");
	send_text(news, "by prefix");
	expect_routed(&scene, to[1], "by prefix");
	send_text(scene.in.topic[0], "by predicate");
	/*
	 * "topic" was opened here before it became a source, so it is not among the topics that are
	 * accepted.
	 */
	require_int(beam_router_add_topic(scene.router, scene.in.topic[1], &tag), 0);
	expect_routed(&scene, to[2], "by predicate");
	send_text(scene.in.topic[0], "other");
	expect_routed(&scene, to[3], "other");
	for (int i = 0; i < 4; i++)
		beam_topic_unref(to[i]);
	beam_topic_unref(log);
	beam_topic_unref(news);
	end(&scene);
}

static void test_of_several_routes_the_one_that_was_added_first_gets_it(void)
{
	struct scene scene;
	beam_topic *from, *to[2];
	uint64_t first;

	begin(&scene);
	from = open_topic(scene.in.channel[0], "a.b");
	to[0] = open_topic(scene.out.channel[0], "general");
	to[1] = open_topic(scene.out.channel[0], "special");
	first = add(scene.router, (struct beam_route){.prefix = "a", .topic = to[0]});
	add(scene.router, (struct beam_route){.name = "a.b", .topic = to[1]});
	for (int i = 0; i < 2; i++) {
		beam_topic *end_of = open_topic(scene.out.channel[1], beam_topic_name(to[i]));

		send_text(from, "word");
		expect_routed(&scene, end_of, "word");
		beam_topic_unref(end_of);
		beam_topic_unref(to[i]);
		check_int(beam_router_remove_route(scene.router, first), i ? -ENOENT : 0);
	}
	beam_topic_unref(from);
	end(&scene);
}

static void test_what_no_route_wants_is_handed_back_and_the_next_goes_on(void)
{
	struct scene scene;
	beam_topic *from;

	begin(&scene);
	from = open_topic(scene.in.channel[0], "unknown");
	send_text(from, "one");
	send_text(from, "two");
	expect_failure(&scene, -EHOSTUNREACH, "unknown", "one");
	expect_failure(&scene, -EHOSTUNREACH, "unknown", "two");
	add(scene.router, (struct beam_route){.topic = scene.out.topic[0]});
	send_text(from, "three");
	expect_routed(&scene, scene.out.topic[1], "three");
	beam_topic_unref(from);
	end(&scene);
}

static void test_a_route_to_a_channel_takes_all_topics_to_theirs_with_their_ends(void)
{
	struct scene scene;
	beam_topic *from[3], *to[3];
	char name[] = "a";

	begin(&scene);
	add(scene.router, (struct beam_route){.channel = scene.out.channel[0]});
	for (int i = 0; i < 3; i++, name[0]++) {
		int file = raw_file();

		from[i] = open_topic(scene.in.channel[0], name);
		to[i] = open_topic(scene.out.channel[1], name);
		check_int(beam_topic_sendv(from[i], &(struct iovec){name, 1}, 1, &file, 1, 0, soon()), 0);
		run_until(&scene, to[i]);
		expect_text_with_fds(to[i], name, 1);
		close(file);
	}
	check_int(beam_topic_close_send(from[1]), 0);
	check_within(20000, run_for_a_moment(&scene) &&
				beam_topic_receive(to[1], &(beam_message *){NULL}, 0, BEAM_NOWAIT) == 0);
	check_int(beam_topic_receive(to[0], &(beam_message *){NULL}, 0, BEAM_NOWAIT), -EAGAIN);
	for (int i = 0; i < 3; i++) {
		beam_topic_unref(from[i]);
		beam_topic_unref(to[i]);
	}
	end(&scene);
}

static void test_when_its_route_is_removed_a_topic_of_its_channel_is_released(void)
{
	struct scene scene;
	beam_topic *from, *to;
	uint64_t id;

	begin(&scene);
	id = add(scene.router, (struct beam_route){.channel = scene.out.channel[0]});
	from = open_topic(scene.in.channel[0], "a");
	to = open_topic(scene.out.channel[1], "a");
	send_text(from, "one");
	expect_routed(&scene, to, "one");
	check_int(beam_router_remove_route(scene.router, id), 0);
	send_text(from, "two");
	expect_failure(&scene, -EHOSTUNREACH, "a", "two");
	check_int(beam_topic_receive(to, &(beam_message *){NULL}, 0, soon()), 0);
	beam_topic_unref(from);
	beam_topic_unref(to);
	end(&scene);
}

static struct beam_statistics counted_of(beam_channel *channel)
{
	struct beam_statistics statistics = {0};

	check_int(beam_channel_statistics(channel, &statistics, sizeof statistics), 0);
	return statistics;
}

/* The peer receives this message, and no topic ends before. */
static void expect_data(struct raw_peer *peer, uint32_t id, const char *text)
{
	struct raw_frame frame = {0};

	do
		require_int(raw_peer_next(peer, &frame), 1);
	while (frame.kind != RAW_DATA && check(frame.kind != RAW_CLOSE));
	check_int(frame.id, id);
	check_int(frame.size, strlen(text));
	check_bytes(frame.payload, text, strlen(text));
}

static void test_when_one_of_two_routes_of_a_topic_is_removed_the_others_topic_stays_open(void)
{
	struct attack attack;
	struct scene scene;
	beam_topic *from, *to;
	uint32_t kept;
	uint64_t id;

	begin(&scene);
	attack_begin(&attack, NULL);
	id = add(scene.router, (struct beam_route){.match = wants_long, .channel = scene.out.channel[0]});
	add(scene.router, (struct beam_route){.channel = attack.channel});
	from = open_topic(scene.in.channel[0], "a");
	to = open_topic(scene.out.channel[1], "a");
	send_text(from, "a long one");
	expect_routed(&scene, to, "a long one");
	send_text(from, "short");
	check_within(20000, run_for_a_moment(&scene) && counted_of(attack.channel).messages_sent == 1);
	kept = raw_peer_expect(&attack.peer, RAW_OPEN).id;
	expect_data(&attack.peer, kept, "short");
	check_int(beam_router_remove_route(scene.router, id), 0);
	send_text(from, "another long one");
	check_within(20000, run_for_a_moment(&scene) && counted_of(attack.channel).messages_sent == 2);
	expect_data(&attack.peer, kept, "another long one");
	check_int(beam_topic_receive(to, &(beam_message *){NULL}, 0, soon()), 0);
	beam_topic_unref(to);
	beam_topic_unref(from);
	end(&scene);
	attack_end(&attack);
}

/* ---- Handlers -------------------------------------------------------------------------------- */

static void released(void *argument)
{
	((struct handler *)argument)->released++;
}

static void test_a_handler_takes_refuses_or_puts_off_a_message(void)
{
	struct handler handler = {0};
	struct scene scene;
	beam_topic *from;

	begin(&scene);
	add(scene.router, (struct beam_route){.handle = handle, .argument = &handler, .release = released});
	from = open_topic(scene.in.channel[0], "a");
	send_text(from, "taken");
	check_within(20000, run_for_a_moment(&scene) && handler.calls >= 1);
	check_string(handler.text, "taken");
	check_string(handler.topic, "a");

	handler.result = -EDOM;
	send_text(from, "refused");
	expect_failure(&scene, -EDOM, "a", "refused");

	handler = (struct handler){.result = -EAGAIN};
	send_text(from, "put off");
	check_within(20000, run_for_a_moment(&scene) && handler.calls >= 3);
	check_string(handler.text, "");
	handler.result = 0;
	check_within(20000, run_for_a_moment(&scene) && *handler.text);
	check_string(handler.text, "put off");
	check_int(handler.released, 0);
	beam_topic_unref(from);
	end(&scene);
	check_int(handler.released, 1);
}

static void test_a_handler_may_answer_a_call(void)
{
	struct handler handler = {0};
	struct attack attack;
	struct raw_frame frame;
	struct scene scene;

	begin(&scene);
	attack_begin(&attack, NULL);
	require_int(beam_router_add_topic(scene.router, attack.topic, NULL), 0);
	add(scene.router, (struct beam_route){.handle = handle, .argument = &handler});
	raw_frame(&attack.out, RAW_DATA, 0, 0, 1, 1, "call", 4);
	attack_send(&attack);
	check_within(20000, run_for_a_moment(&scene) && handler.calls >= 1);
	check_string(handler.text, "call");
	do
		require_int(raw_peer_next(&attack.peer, &frame), 1);
	while (frame.kind != RAW_REPLY);
	check_int(frame.argument, 1);
	end(&scene);
	attack_end(&attack);
}

struct reflexive {
	beam_router *router;
	uint64_t id;
	int calls, released;
};

/* Removes its own route. */
static int replace_itself(void *argument, const char *topic, beam_message *message)
{
	struct reflexive *self = argument;

	(void)topic;
	self->calls++;
	check_int(beam_router_remove_route(self->router, self->id), 0);
	/* The route cannot be removed again, although it is still in use. */
	check_int(beam_router_remove_route(self->router, self->id), -ENOENT);
	check_int(self->released, 0);
	beam_message_free(message);
	return 0;
}

static void reflexive_released(void *argument)
{
	((struct reflexive *)argument)->released++;
}

static void test_a_handler_may_remove_its_own_route_which_is_released_once_it_has_returned(void)
{
	struct reflexive self = {0};
	struct scene scene;
	beam_topic *from;

	begin(&scene);
	self.router = scene.router;
	self.id = add(scene.router,
		      (struct beam_route){.handle = replace_itself, .argument = &self, .release = reflexive_released});
	from = open_topic(scene.in.channel[0], "a");
	send_text(from, "one");
	send_text(from, "two");
	expect_failure(&scene, -EHOSTUNREACH, "a", "two");
	check_int(self.calls, 1);
	check_int(self.released, 1);
	beam_topic_unref(from);
	end(&scene);
	check_int(self.released, 1);
}

/* A predicate that removes its own route, and wants the message nevertheless. */
static int remove_itself(void *argument, const char *topic, const beam_message *message)
{
	struct reflexive *self = argument;

	(void)topic;
	(void)message;
	self->calls++;
	check_int(beam_router_remove_route(self->router, self->id), 0);
	return 1;
}

static void test_a_predicate_that_removes_its_own_route_leaves_the_message_to_the_next(void)
{
	struct handler handler = {0};
	struct reflexive self = {0};
	struct scene scene;

	begin(&scene);
	self.router = scene.router;
	self.id = add(scene.router, (struct beam_route){.match = remove_itself,
							.topic = scene.out.topic[0],
							.argument = &self,
							.release = reflexive_released});
	add(scene.router, (struct beam_route){.handle = handle, .argument = &handler});
	require_int(beam_router_add_topic(scene.router, scene.in.topic[1], &tag), 0);
	send_text(scene.in.topic[0], "one");
	check_within(20000, run_for_a_moment(&scene) && handler.calls);
	check_string(handler.text, "one");
	check_int(self.calls, 1);
	check_int(self.released, 1);
	check_int(queued(scene.out.topic[1]), 0);
	end(&scene);
}

/* ---- Bad input ------------------------------------------------------------------------------- */

static int add_bad(struct scene *scene, struct beam_route route)
{
	uint64_t id = 99;
	int r;

	route.size = sizeof route;
	r = beam_router_add_route(scene->router, &route, &id);
	check_int(id, 99);
	return r;
}

static void test_a_channel_without_handles_is_neither_source_nor_target(void)
{
	struct beam_route route = BEAM_ROUTE;
	struct handler handler = {0};
	struct scene scene;

	begin(&scene);
	scene.out.channel[0] = beam_channel_unref(scene.out.channel[0]);
	route.channel = beam_topic_channel(scene.out.topic[0]);
	route.argument = &handler;
	route.release = released;
	check_int(add_bad(&scene, route), -EPIPE);
	check_int(handler.released, 0);
	check_int(beam_router_add_channel(scene.router, route.channel, NULL), -EPIPE);
	end(&scene);
}

static void test_bad_routes_are_not_added(void)
{
	struct {
		struct beam_route route;
		char more;
	} newer = {.route = {.size = sizeof newer, .handle = handle}, .more = 1};
	char name[BEAM_TOPIC_NAME_MAX + 2];
	struct scene scene;

	memset(name, 'x', sizeof name);
	name[sizeof name - 1] = 0;
	begin(&scene);
	check_int(add_bad(&scene, (struct beam_route){0}), -EINVAL);
	check_int(add_bad(&scene, (struct beam_route){.topic = scene.out.topic[0], .handle = handle}), -EINVAL);
	check_int(add_bad(&scene, (struct beam_route){.name = "a", .prefix = "a", .handle = handle}), -EINVAL);
	check_int(add_bad(&scene, (struct beam_route){.name = "", .handle = handle}), -EINVAL);
	check_int(add_bad(&scene, (struct beam_route){.sink = 2, .handle = handle}), -EINVAL);
	check_int(add_bad(&scene, (struct beam_route){.name = name, .handle = handle}), -ENAMETOOLONG);
	check_int(add_bad(&scene, (struct beam_route){.prefix = name, .handle = handle}), -ENAMETOOLONG);
	check_int(beam_router_add_route(scene.router, &newer.route, NULL), -E2BIG);
	newer.more = 0;
	check_int(beam_router_add_route(scene.router, &newer.route, NULL), 0);
	newer.route.size = 8;
	check_int(beam_router_add_route(scene.router, &newer.route, NULL), -EINVAL);
	check_int(beam_router_add_route(scene.router, NULL, NULL), -EINVAL);
	check_int(beam_router_add_route(NULL, &newer.route, NULL), -EINVAL);
	check_int(beam_router_remove_route(NULL, 1), -EINVAL);
	check_int(beam_router_remove_route(scene.router, 99), -ENOENT);
	end(&scene);
}

static void test_nulls_give_einval(void)
{
	struct beam_router_failure failure;
	struct scene scene;

	begin(&scene);
	check_int(beam_router_new(NULL), -EINVAL);
	check_int(beam_router_add_topic(NULL, scene.in.topic[1], NULL), -EINVAL);
	check_int(beam_router_add_topic(scene.router, NULL, NULL), -EINVAL);
	check_int(beam_router_add_channel(NULL, scene.in.channel[1], NULL), -EINVAL);
	check_int(beam_router_add_channel(scene.router, NULL, NULL), -EINVAL);
	check_int(beam_router_run(NULL, &failure, 0, soon()), -EINVAL);
	check_int(beam_router_run(scene.router, NULL, 0, soon()), -EINVAL);
	end(&scene);
}

static int use_in_child(void *argument)
{
	struct beam_router_failure failure;
	struct scene *scene = argument;
	struct beam_route route = {.size = sizeof route, .handle = handle};

	check_int(beam_router_run(scene->router, &failure, 0, soon()), -ECHILD);
	check_int(beam_router_add_route(scene->router, &route, NULL), -ECHILD);
	check_int(beam_router_remove_route(scene->router, 1), -ECHILD);
	check_int(beam_router_add_topic(scene->router, scene->in.topic[1], NULL), -ECHILD);
	check_int(beam_router_add_channel(scene->router, scene->in.channel[1], NULL), -ECHILD);
	check(beam_router_unref(scene->router) == NULL);
	return 0;
}

static void test_a_forked_child_can_not_use_its_parents_router(void)
{
	struct scene scene;

	begin(&scene);
	add(scene.router, (struct beam_route){.topic = scene.out.topic[0]});
	check_int(process_wait(process_spawn(use_in_child, &scene)), 0);
	require_int(beam_router_add_topic(scene.router, scene.in.topic[1], &tag), 0);
	send_text(scene.in.topic[0], "word");
	expect_routed(&scene, scene.out.topic[1], "word");
	end(&scene);
}

static const struct test tests[] = {
    TEST(test_a_message_goes_by_name_prefix_or_predicate_and_else_to_the_sink),
    TEST(test_of_several_routes_the_one_that_was_added_first_gets_it),
    TEST(test_what_no_route_wants_is_handed_back_and_the_next_goes_on),
    TEST(test_a_route_to_a_channel_takes_all_topics_to_theirs_with_their_ends),
    TEST(test_when_its_route_is_removed_a_topic_of_its_channel_is_released),
    TEST(test_when_one_of_two_routes_of_a_topic_is_removed_the_others_topic_stays_open),
    TEST(test_a_handler_takes_refuses_or_puts_off_a_message),
    TEST(test_a_handler_may_answer_a_call),
    TEST(test_a_handler_may_remove_its_own_route_which_is_released_once_it_has_returned),
    TEST(test_a_predicate_that_removes_its_own_route_leaves_the_message_to_the_next),
    TEST(test_a_channel_without_handles_is_neither_source_nor_target),
    TEST(test_bad_routes_are_not_added),
    TEST(test_nulls_give_einval),
    TEST(test_a_forked_child_can_not_use_its_parents_router),
};
HARNESS_MAIN("relay-router", tests)
