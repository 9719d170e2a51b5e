/* SPDX-License-Identifier: MIT */
/*
 * A router that cannot do something at once: it tries again, and nothing is forgotten or done
 * twice.
 */
#include <poll.h>
#include <relay/scene.h>

enum { NS_PER_MS = 1000000 };

/* ---- Faults ---------------------------------------------------------------------------------- */

static void test_what_can_not_be_watched_is_looked_at_in_a_while(void)
{
	struct scene scene;
	beam_topic *from;
	uint64_t sent;

	begin(&scene);
	add(scene.router, (struct beam_route){.topic = scene.out.topic[0]});
	require_int(beam_router_add_topic(scene.router, scene.in.topic[1], &tag), 0);
	from = open_topic(scene.in.channel[0], "unwatched");
	/* Neither a source (after its turn) nor the room of a target can be watched. */
	fault_only(FAULT(SYS_EPOLL_CTL));
	fault_at(1, ENOMEM, FAULT_STICKY);
	sent = fill(&scene, from);
	expect_all_routed(&scene, scene.out.topic[1], sent);
	check(fault_hit());
	fault_off();
	/* From now on they are watched again, and nothing is due. */
	run_for_a_moment(&scene);
	run_for_a_moment(&scene);
	check_within(20000, turns_while_running(&scene, 200) < 20);
	beam_topic_unref(from);
	end(&scene);
}

/*
 * Waits until everything that was sent and opened before has arrived, in both directions, so that
 * the calls of the channels' threads do not fail.
 */
static void settle(struct ends *ends)
{
	for (int i = 0; i < 2; i++) {
		send_text(ends->topic[i], "settled");
		expect_text(ends->topic[!i], "settled");
	}
}

static void without_memory(struct scene *scene)
{
	settle(&scene->in);
	settle(&scene->out);
	fault_only(FAULT(SYS_CALLOC));
	fault_at(1, ENOMEM, FAULT_STICKY);
}

static void test_a_topic_for_which_there_is_no_memory_is_accepted_later(void)
{
	struct handler handler = {0};
	struct scene scene;
	beam_topic *from;
	int64_t began;

	begin(&scene);
	add(scene.router, (struct beam_route){.handle = handle, .argument = &handler});
	from = open_topic(scene.in.channel[0], "late");
	send_text(from, "message");
	without_memory(&scene);
	began = now_ns();
	check_within(20000, run_for_a_moment(&scene) && fault_calls() >= 10);
	/* It is tried every 5 ms, and not continuously. */
	check(now_ns() - began >= 20 * NS_PER_MS);
	check_int(handler.calls, 0);
	fault_off();
	check_within(20000, run_for_a_moment(&scene) && handler.calls == 1);
	check_string(handler.text, "message");
	check_string(handler.topic, "late");
	beam_topic_unref(from);
	end(&scene);
}

static void test_a_message_for_whose_way_there_is_no_memory_is_handed_back(void)
{
	struct scene scene;

	begin(&scene);
	add(scene.router, (struct beam_route){.channel = scene.out.channel[0]});
	require_int(beam_router_add_topic(scene.router, scene.in.topic[1], &tag), 0);
	without_memory(&scene);
	send_text(scene.in.topic[0], "back");
	expect_failure(&scene, -ENOMEM, "topic", "back");
	fault_off();
	send_text(scene.in.topic[0], "forth");
	expect_routed(&scene, scene.out.topic[1], "forth");
	end(&scene);
}

static void test_what_is_not_added_for_want_of_memory_can_be_added_later(void)
{
	struct beam_route route = {.size = sizeof route, .handle = handle};
	struct scene scene;
	uint64_t id = 99;

	begin(&scene);
	without_memory(&scene);
	check_int(beam_router_add_route(scene.router, &route, &id), -ENOMEM);
	check_int(id, 99);
	check_int(beam_router_add_topic(scene.router, scene.in.topic[1], NULL), -ENOMEM);
	check_int(beam_router_add_channel(scene.router, scene.out.channel[0], NULL), -ENOMEM);
	fault_off();
	check_int(beam_router_add_route(scene.router, &route, &id), 0);
	check_int(beam_router_add_topic(scene.router, scene.in.topic[1], NULL), 0);
	check_int(beam_router_add_channel(scene.router, scene.out.channel[0], NULL), 0);
	end(&scene);
}

static void test_a_timer_that_can_not_be_read_is_read_later(void)
{
	struct handler handler = {.result = -EAGAIN};
	struct scene scene;
	int calls;

	begin(&scene);
	add(scene.router, (struct beam_route){.handle = handle, .argument = &handler});
	require_int(beam_router_add_topic(scene.router, scene.in.topic[1], &tag), 0);
	send_text(scene.in.topic[0], "put off");
	check_within(20000, run_for_a_moment(&scene) && handler.calls >= 1);
	calls = handler.calls;
	fault_only(FAULT(SYS_READ));
	fault_at(1, EINTR, FAULT_STICKY);
	check_within(20000, run_for_a_moment(&scene) && handler.calls > calls + 3);
	fault_off();
	handler.result = 0;
	check_within(20000, run_for_a_moment(&scene) && *handler.text);
	check_string(handler.text, "put off");
	check_within(20000, turns_while_running(&scene, 200) < 20);
	end(&scene);
}

/* ---- Bounds ---------------------------------------------------------------------------------- */

static bool has_room(beam_topic *topic)
{
	struct pollfd item = {.fd = beam_topic_send_fd(topic), .events = POLLIN};

	return poll(&item, 1, 0) == 1;
}

static void expect_bytes(beam_topic *topic, const void *bytes, size_t size)
{
	beam_message *message = NULL;

	require_int(beam_topic_receive(topic, &message, 0, soon()), 1);
	if (check_int(beam_message_size(message), size))
		check_bytes(beam_message_data(message), bytes, size);
	beam_message_free(message);
}

/*
 * The topic has room, so the message is tried. But a large message also needs the channel's pool,
 * which a message of another topic has used up.
 */
static void test_a_large_message_that_does_not_go_before_the_deadline_goes_later(void)
{
	enum { LARGE = 900 << 10 };
	struct beam_channel_options options = small_window();
	unsigned char *large = malloc(LARGE);
	struct rng rng = rng_new(3);
	struct scene scene;
	struct ends target;
	beam_topic *other[2];
	pthread_t thread;

	require(large != NULL);
	rng_fill(&rng, large, LARGE);
	options.message_bytes = options.pool_bytes = 1 << 20;
	begin(&scene);
	ends_open(&target, &options);
	for (int i = 0; i < 2; i++)
		other[i] = open_topic(target.channel[i], "other");
	check_int(beam_topic_send(other[0], large, LARGE, 0, soon()), 0);
	add(scene.router, (struct beam_route){.topic = target.topic[0]});
	require_int(beam_router_add_topic(scene.router, scene.in.topic[1], &tag), 0);
	check_within(20000, has_room(target.topic[0]));
	check_int(beam_topic_send(scene.in.topic[0], large, LARGE, 0, soon()), 0);
	check_within(20000, run_for_a_moment(&scene) && counted(scene.in.topic[1]).messages_received == 1);
	for (int i = 0; i < 3; i++)
		run_for_a_moment(&scene);
	check_int(counted(target.topic[0]).messages_sent, 0);
	thread = thread_spawn(run_to_the_end, scene.router);
	expect_bytes(other[1], large, LARGE);
	expect_bytes(target.topic[1], large, LARGE);
	check_int(beam_channel_close(scene.in.channel[0], soon()), 0);
	thread_wait(thread);
	check_int(counted(target.topic[0]).messages_sent, 1);
	for (int i = 0; i < 2; i++)
		beam_topic_unref(other[i]);
	ends_close(&target);
	free(large);
	end(&scene);
}

static void test_more_topics_than_one_turn_accepts_are_accepted_in_the_next(void)
{
	enum { TOPICS = 100 };
	struct handler handler = {0};
	beam_topic *from[TOPICS];
	char name[] = "00";
	struct scene scene;

	begin(&scene);
	add(scene.router, (struct beam_route){.handle = handle, .argument = &handler});
	for (int i = 0; i < TOPICS; i++) {
		name[0] = (char)('0' + i / 10);
		name[1] = (char)('0' + i % 10);
		from[i] = open_topic(scene.in.channel[0], name);
		send_text(from[i], name);
	}
	/* All have been opened. */
	settle(&scene.in);
	check_within(20000, run_for_a_moment(&scene) && handler.calls == TOPICS);
	check_string(handler.text, name);
	for (int i = 0; i < TOPICS; i++)
		beam_topic_unref(from[i]);
	end(&scene);
}

static const struct test tests[] = {
    TEST(test_what_can_not_be_watched_is_looked_at_in_a_while),
    TEST(test_a_topic_for_which_there_is_no_memory_is_accepted_later),
    TEST(test_a_message_for_whose_way_there_is_no_memory_is_handed_back),
    TEST(test_what_is_not_added_for_want_of_memory_can_be_added_later),
    TEST(test_a_timer_that_can_not_be_read_is_read_later),
    TEST(test_a_large_message_that_does_not_go_before_the_deadline_goes_later),
    TEST(test_more_topics_than_one_turn_accepts_are_accepted_in_the_next),
};
HARNESS_MAIN("relay-router_again", tests)
