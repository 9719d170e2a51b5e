/* SPDX-License-Identifier: MIT */
/*
 * Sources that are removed at awkward moments: reported and not yet handled, ready, without room,
 * or during an accept.
 */
#include <dlfcn.h>
#include <public/listening.h>
#include <relay/scene.h>
#include <sys/epoll.h>

/* Run once in this thread, between the selector's report and what the router does with it. */
static _Thread_local void (*after_waiting)(void);
static _Thread_local bool told;

/* Replaces the C library's function, as does the next one. */
int epoll_wait(int fd, struct epoll_event *events, int n, int timeout)
{
	int got = epoll_pwait(fd, events, n, timeout, NULL);

	told = got > 0;
	return got;
}

/* The last call that beam_select_wait() makes. */
int pthread_setcancelstate(int state, int *ret)
{
	static int (*next)(int state, int *ret);
	void (*run)(void) = after_waiting;

	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "pthread_setcancelstate");
	if (told && run) {
		after_waiting = NULL;
		run();
	}
	told = false;
	return next(state, ret);
}

static struct scene scene;

/* How many messages of its channel the router has taken. */
static uint64_t taken(void)
{
	struct beam_statistics statistics = {0};

	check_int(beam_channel_statistics(scene.in.channel[1], &statistics, sizeof statistics), 0);
	return statistics.messages_received;
}

static int run_once(unsigned flags, beam_deadline deadline)
{
	struct beam_router_failure failure;
	int r = beam_router_run(scene.router, &failure, flags, deadline);

	check(!failure.message && !failure.topic && !failure.channel);
	return r;
}

/* ---- Reported, and ready --------------------------------------------------------------------- */

static void remove_topic(void)
{
	check_int(beam_router_remove_topic(scene.router, scene.in.topic[1], BEAM_NOWAIT), 0);
}

static void test_a_source_that_is_removed_when_a_thread_was_told_of_it_is_left_alone(void)
{
	begin(&scene);
	add(scene.router, (struct beam_route){.topic = scene.out.topic[0]});
	check_int(beam_router_remove_channel(scene.router, scene.in.channel[1], BEAM_NOWAIT), 0);
	check_int(beam_router_add_topic(scene.router, scene.in.topic[1], &tag), 0);
	send_text(scene.in.topic[0], "word");
	after_waiting = remove_topic;
	check_within(20000, run_once(0, beam_in_ms(20)) == -ETIMEDOUT && !after_waiting);
	check_int(run_once(BEAM_ROUTER_UNTIL_ENDED, soon()), 0);
	expect_text(scene.in.topic[1], "word");
	/* The topic can be added again, as another source. */
	check_int(beam_router_add_topic(scene.router, scene.in.topic[1], &tag), 0);
	send_text(scene.in.topic[0], "again");
	expect_routed(&scene, scene.out.topic[1], "again");
	end(&scene);
}

static beam_topic *others[2];

/* Removes the other source, which was reported together with this one. */
static int remove_other(void *argument, const char *topic, beam_message *message)
{
	int *calls = argument;

	++*calls;
	check_int(beam_router_remove_topic(scene.router, others[*topic == '0'], BEAM_NOWAIT), 0);
	beam_message_free(message);
	return 0;
}

static void test_a_source_that_is_removed_when_its_turn_has_come_is_not_looked_at(void)
{
	beam_topic *from[2];
	int calls = 0;

	begin(&scene);
	add(scene.router, (struct beam_route){.handle = remove_other, .argument = &calls});
	check_int(beam_router_remove_channel(scene.router, scene.in.channel[1], BEAM_NOWAIT), 0);
	for (int i = 0; i < 2; i++) {
		from[i] = open_topic(scene.in.channel[0], i ? "1" : "0");
		others[i] = open_topic(scene.in.channel[1], i ? "1" : "0");
		check_int(beam_router_add_topic(scene.router, others[i], &tag), 0);
		send_text(from[i], "word");
	}
	for (int i = 0; i < 2; i++)
		check_within(20000, queued(others[i]) == 1);
	check_int(run_once(0, beam_in_ms(5)), -ETIMEDOUT);
	check_int(calls, 1);
	check_int(queued(others[0]) + queued(others[1]), 1);
	for (int i = 0; i < 2; i++) {
		beam_topic_unref(from[i]);
		beam_topic_unref(others[i]);
	}
	end(&scene);
}

/* ---- Held ------------------------------------------------------------------------------------ */

static void test_a_message_that_the_router_holds_is_delivered_before_its_source_is_gone(void)
{
	struct handler handler = {.result = -EAGAIN};
	beam_topic *from;

	begin(&scene);
	add(scene.router, (struct beam_route){.handle = handle, .argument = &handler});
	check_int(beam_router_add_topic(scene.router, scene.in.topic[1], NULL), 0);
	from = open_topic(scene.in.channel[0], "accepted");
	send_text(scene.in.topic[0], "one");
	check_within(20000, run_for_a_moment(&scene) && handler.calls > 0);
	for (int i = 0; i < 2; i++)
		send_text(from, "two");
	check_within(20000, run_for_a_moment(&scene) && taken() == 2);
	/*
	 * Each removal waits for its own source only. The source stays one while its message cannot
	 * be delivered.
	 */
	for (int i = 0; i < 2; i++) {
		check_int(beam_router_remove_channel(scene.router, scene.in.channel[1], BEAM_NOWAIT), -EAGAIN);
		check_int(beam_router_remove_topic(scene.router, scene.in.topic[1], beam_in_ms(1)), -ETIMEDOUT);
		check_int(beam_router_add_topic(scene.router, scene.in.topic[1], NULL), -EEXIST);
		check_int(run_once(BEAM_ROUTER_UNTIL_ENDED, beam_in_ms(20)), -ETIMEDOUT);
	}
	handler.calls = handler.result = 0;
	check_int(run_once(BEAM_ROUTER_UNTIL_ENDED, soon()), 0);
	/* Two messages arrived on the second topic. Nobody has got the second one. */
	check_int(handler.calls, 2);
	check_int(beam_router_remove_topic(scene.router, scene.in.topic[1], soon()), -ENOENT);
	check_int(beam_router_remove_channel(scene.router, scene.in.channel[1], soon()), -ENOENT);
	beam_topic_unref(from);
	end(&scene);
}

static void test_a_message_that_the_router_holds_may_fail_when_its_source_was_removed(void)
{
	struct handler handler = {.result = -EAGAIN};

	begin(&scene);
	add(scene.router, (struct beam_route){.handle = handle, .argument = &handler});
	check_int(beam_router_add_topic(scene.router, scene.in.topic[1], &tag), 0);
	check_int(beam_router_remove_channel(scene.router, scene.in.channel[1], BEAM_NOWAIT), 0);
	for (int i = 0; i < 2; i++)
		send_text(scene.in.topic[0], "one");
	check_within(20000, run_for_a_moment(&scene) && handler.calls > 0);
	check_int(beam_router_remove_topic(scene.router, scene.in.topic[1], BEAM_NOWAIT), -EAGAIN);
	handler.result = -EDOM;
	expect_failure(&scene, -EDOM, "topic", "one");
	check_int(beam_router_remove_topic(scene.router, scene.in.topic[1], BEAM_NOWAIT), -ENOENT);
	check_int(run_once(BEAM_ROUTER_UNTIL_ENDED, soon()), 0);
	expect_text(scene.in.topic[1], "one");
	end(&scene);
}

static void *remove_in_thread(void *unused)
{
	(void)unused;
	check_int(beam_router_remove_topic(scene.router, scene.in.topic[1], soon()), 0);
	return NULL;
}

static void test_a_removal_waits_for_the_room_of_a_message(void)
{
	uint64_t number, received = 0, sent;
	pthread_t thread;

	begin(&scene);
	add(scene.router, (struct beam_route){.topic = scene.out.topic[0]});
	check_int(beam_router_add_topic(scene.router, scene.in.topic[1], NULL), 0);
	sent = fill(&scene, scene.in.topic[0]);
	check_int(beam_router_remove_topic(scene.router, scene.in.topic[1], BEAM_NOWAIT), -EAGAIN);
	thread = thread_spawn(remove_in_thread, NULL);
	while (beam_router_remove_topic(scene.router, scene.in.topic[1], BEAM_NOWAIT) != -ENOENT &&
	       !harness_failures()) {
		if (queued(scene.out.topic[1]) && receive_number(scene.out.topic[1], &number) == 1)
			check_int(number, received++);
		run_for_a_moment(&scene);
	}
	thread_wait(thread);
	/* What was taken has been delivered, and the rest was not taken. */
	check_int(beam_topic_close_send(scene.in.topic[0]), 0);
	check_int(beam_topic_close_send(scene.out.topic[0]), 0);
	while (receive_number(scene.out.topic[1], &number) == 1)
		check_int(number, received++);
	while (receive_number(scene.in.topic[1], &number) == 1)
		check_int(number, received++);
	check_int(received, sent);
	end(&scene);
}

/* ---- Listeners ------------------------------------------------------------------------------- */

static beam_listener *listeners[2];

static int remove_in_policy(void *unused, const struct beam_identity *identity)
{
	(void)unused;
	(void)identity;
	check_int(beam_router_remove_listener(scene.router, listeners[0], BEAM_NOWAIT), -EAGAIN);
	return 0;
}

static void test_whoever_is_accepted_when_the_listener_is_removed_is_disconnected(void)
{
	struct beam_channel_options channel = BEAM_CHANNEL_OPTIONS;
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	char other[80];
	int fd;

	channel.linger_ms = 1;
	options.channel = &channel;
	options.accept = remove_in_policy;
	listeners[0] = listen_at(abstract_address(), &options);
	snprintf(other, sizeof other, "%s-other", abstract_address());
	listeners[1] = listen_at(other, NULL);
	begin(&scene);
	check_int(beam_router_remove_channel(scene.router, scene.in.channel[1], BEAM_NOWAIT), 0);
	for (int i = 0; i < 2; i++)
		check_int(beam_router_add_listener(scene.router, listeners[i], &tag), 0);
	fd = raw_connect(abstract_address());
	check_within(20000, run_for_a_moment(&scene) && counts(listeners[0]).accepted == 1);
	expect_disconnected(fd);
	check_int(beam_router_remove_listener(scene.router, listeners[0], BEAM_NOWAIT), -ENOENT);
	check_int(beam_router_remove_listener(scene.router, listeners[1], BEAM_NOWAIT), 0);
	check_int(run_once(BEAM_ROUTER_UNTIL_ENDED, soon()), 0);
	close(fd);
	for (int i = 0; i < 2; i++)
		beam_listener_unref(listeners[i]);
	end(&scene);
}

static const struct test tests[] = {
    TEST(test_a_source_that_is_removed_when_a_thread_was_told_of_it_is_left_alone),
    TEST(test_a_source_that_is_removed_when_its_turn_has_come_is_not_looked_at),
    TEST(test_a_message_that_the_router_holds_is_delivered_before_its_source_is_gone),
    TEST(test_a_message_that_the_router_holds_may_fail_when_its_source_was_removed),
    TEST(test_a_removal_waits_for_the_room_of_a_message),
    TEST(test_whoever_is_accepted_when_the_listener_is_removed_is_disconnected),
};
HARNESS_MAIN("relay-router_remove", tests)
