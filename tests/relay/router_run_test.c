/* SPDX-License-Identifier: MIT */
/* A running router: without room, in several threads, and at ends. */
#include <harness/fault.h>
#include <hostile/attack.h>
#include <poll.h>
#include <relay/scene.h>
#include <stdatomic.h>

/* ---- Room ------------------------------------------------------------------------------------ */

static void test_a_target_without_room_stalls_its_own_sources_and_no_others(void)
{
	struct scene scene;
	beam_topic *slow, *quick;
	uint64_t sent;

	begin(&scene);
	add(scene.router, (struct beam_route){.name = "slow", .channel = scene.out.channel[0]});
	add(scene.router, (struct beam_route){.name = "quick", .topic = scene.out.topic[0]});
	slow = open_topic(scene.in.channel[0], "slow");
	quick = open_topic(scene.in.channel[0], "quick");
	sent = fill(&scene, slow);
	check(sent > 900);
	for (int i = 0; i < 10; i++) {
		send_text(quick, "word");
		expect_routed(&scene, scene.out.topic[1], "word");
	}
	/* In the end, everything arrives. */
	beam_topic_unref(quick);
	quick = open_topic(scene.out.channel[1], "slow");
	expect_all_routed(&scene, quick, sent);
	beam_topic_unref(quick);
	beam_topic_unref(slow);
	end(&scene);
}

static void test_when_its_route_is_removed_a_message_that_waits_for_room_goes_another_way(void)
{
	struct scene scene;
	beam_topic *from;
	uint64_t id, sent, taken;

	begin(&scene);
	id = add(scene.router, (struct beam_route){.prefix = "s", .channel = scene.out.channel[0]});
	add(scene.router, (struct beam_route){.topic = scene.out.topic[0]});
	from = open_topic(scene.in.channel[0], "slow");
	sent = fill(&scene, from);
	check_int(beam_router_remove_route(scene.router, id), 0);
	run_until(&scene, scene.out.topic[1]);
	require_int(receive_number(scene.out.topic[1], &taken), 1);
	check(taken > 0 && taken < sent);
	while (++taken < sent && !harness_failures()) {
		run_until(&scene, scene.out.topic[1]);
		expect_number(scene.out.topic[1], taken);
	}
	beam_topic_unref(from);
	end(&scene);
}

static void test_sources_that_wait_for_the_same_room_all_get_it(void)
{
	enum { SOURCES = 5, EACH = 600 };
	beam_topic *from[SOURCES];
	uint64_t next[SOURCES] = {0};
	struct scene scene;
	char name[] = "a";

	begin(&scene);
	add(scene.router, (struct beam_route){.topic = scene.out.topic[0]});
	for (uint64_t i = 0; i < SOURCES; i++, name[0]++) {
		from[i] = open_topic(scene.in.channel[0], name);
		for (uint64_t j = 0; j < EACH; j++)
			send_number(from[i], i << 32 | j);
	}
	for (int i = 0; i < SOURCES * EACH && !harness_failures(); i++) {
		uint64_t number = 0;

		run_until(&scene, scene.out.topic[1]);
		require_int(receive_number(scene.out.topic[1], &number), 1);
		require(number >> 32 < SOURCES);
		check_int(number & UINT32_MAX, next[number >> 32]++);
	}
	for (int i = 0; i < SOURCES; i++)
		beam_topic_unref(from[i]);
	end(&scene);
}

static void test_large_messages_arrive_one_after_another(void)
{
	static const size_t sizes[] = {3 << 20, 70000, 64 << 10, 8 << 20, 10, 1 << 20};
	pthread_t thread;
	struct rng rng = rng_new(2);
	struct scene scene;
	beam_topic *from, *to;

	begin(&scene);
	add(scene.router, (struct beam_route){.channel = scene.out.channel[0]});
	from = open_topic(scene.in.channel[0], "large");
	to = open_topic(scene.out.channel[1], "large");
	thread = thread_spawn(run_to_the_end, scene.router);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		unsigned char *data = malloc(sizes[i]);
		beam_message *message = NULL;

		rng_fill(&rng, data, sizes[i]);
		/* While one message is there, the other one waits for its room. */
		for (int j = 0; j < 2; j++)
			check_int(beam_topic_send(from, data, sizes[i], 0, soon()), 0);
		for (int j = 0; j < 2; j++) {
			require_int(beam_topic_receive(to, &message, 0, soon()), 1);
			if (check_int(beam_message_size(message), sizes[i]))
				check_bytes(beam_message_data(message), data, sizes[i]);
			beam_message_free(message);
		}
		free(data);
	}
	check_int(beam_channel_close(scene.in.channel[0], soon()), 0);
	thread_wait(thread);
	beam_topic_unref(from);
	beam_topic_unref(to);
	end(&scene);
}

/* How many messages the router holds or has delivered. */
static uint64_t taken(struct scene *scene)
{
	struct beam_statistics statistics = {0};

	check_int(beam_channel_statistics(scene->in.channel[1], &statistics, sizeof statistics), 0);
	return statistics.messages_received;
}

static void test_of_large_messages_to_a_slow_target_each_waits_for_room_beside_the_others(void)
{
	enum { LARGE = 100000 };
	static const char data[LARGE];
	beam_topic *from, *quick, *slow;
	pthread_t thread;
	struct scene scene;

	begin(&scene);
	add(scene.router, (struct beam_route){.name = "slow", .channel = scene.out.channel[0]});
	add(scene.router, (struct beam_route){.topic = scene.out.topic[0]});
	from = open_topic(scene.in.channel[0], "slow");
	quick = open_topic(scene.in.channel[0], "quick");
	slow = open_topic(scene.out.channel[1], "slow");
	thread = thread_spawn(run_to_the_end, scene.router);
	/*
	 * The first message is sent. The second one finds no room until the first has been taken.
	 */
	for (int i = 0; i < 2; i++)
		check_int(beam_topic_send(from, data, LARGE, 0, soon()), 0);
	check_within(20000, queued(slow) && taken(&scene) == 2);
	/* Now and then, all messages that wait are tried again for another reason. */
	for (int i = 0; i < 20 && !harness_failures(); i++) {
		uint64_t id = add(scene.router, (struct beam_route){.name = "unused", .topic = scene.out.topic[0]});

		check_int(beam_router_remove_route(scene.router, id), 0);
		send_text(quick, "word");
		expect_text(scene.out.topic[1], "word");
		poll(NULL, 0, 2);
	}
	for (int i = 0; i < 2; i++) {
		beam_message *message = NULL;

		require_int(beam_topic_receive(slow, &message, 0, soon()), 1);
		check_int(beam_message_size(message), LARGE);
		beam_message_free(message);
	}
	check_int(beam_channel_close(scene.in.channel[0], soon()), 0);
	thread_wait(thread);
	beam_topic_unref(from);
	beam_topic_unref(quick);
	beam_topic_unref(slow);
	end(&scene);
}

static void test_a_router_that_waits_for_room_sleeps(void)
{
	struct iovec iov = {.iov_base = (char[]){"word"}, .iov_len = 4};
	struct scene scene;
	beam_topic *from, *same[2];
	int file = raw_file(), r;

	begin(&scene);
	add(scene.router, (struct beam_route){.channel = scene.out.channel[0]});
	from = open_topic(scene.in.channel[0], "full");
	fill(&scene, from);
	check_within(20000, turns_while_running(&scene, 200) < 20);
	beam_topic_unref(from);

	/* Two sources wait for the same topic. */
	beam_router_unref(scene.router);
	require_int(beam_router_new(&scene.router), 0);
	require_int(beam_router_add_channel(scene.router, scene.in.channel[1], NULL), 0);
	add(scene.router, (struct beam_route){.prefix = "same", .topic = scene.out.topic[0]});
	add(scene.router, (struct beam_route){.channel = scene.out.channel[0]});
	for (int i = 0; i < 2; i++) {
		same[i] = open_topic(scene.in.channel[0], i ? "same-1" : "same-0");
		fill(&scene, same[i]);
	}
	check_within(20000, turns_while_running(&scene, 200) < 20);
	check(turns_while_running(&scene, 1000) < 40);
	for (int i = 0; i < 2; i++)
		beam_topic_unref(same[i]);

	/* There is room, but no credit for attachments. */
	from = open_topic(scene.in.channel[0], "attachments");
	do {
		r = beam_topic_sendv(from, &iov, 1, &file, 1, 0, beam_in_ms(stretch(20)));
		check(r == 0 || r == -ETIMEDOUT);
		turns_while_running(&scene, 1);
	} while (r == 0);
	check(turns_while_running(&scene, 200) < 400);
	beam_topic_unref(from);
	end(&scene);
	close(file);
}

static void test_with_the_router_goes_what_waits_for_room(void)
{
	struct scene scene;
	beam_topic *from;

	begin(&scene);
	add(scene.router, (struct beam_route){.channel = scene.out.channel[0]});
	from = open_topic(scene.in.channel[0], "slow");
	fill(&scene, from);
	scene.router = beam_router_unref(scene.router);
	check_int(beam_topic_send(from, "x", 1, 0, soon()), -EPIPE);
	beam_topic_unref(from);
	end(&scene);
}

/* ---- Threads --------------------------------------------------------------------------------- */

enum { THREADS = 4, TOPICS = 8 };

struct order {
	atomic_uint_fast64_t next[TOPICS], wrong;
};

/* A handler. The name of the topic is a digit. */
static int expect_order(void *argument, const char *topic, beam_message *message)
{
	struct order *order = argument;
	uint64_t number;

	memcpy(&number, beam_message_data(message), sizeof number);
	if (atomic_fetch_add(&order->next[*topic - '0'], 1) != number)
		atomic_fetch_add(&order->wrong, 1);
	beam_message_free(message);
	return 0;
}

static void test_several_threads_keep_the_order_of_each_topic_and_all_end(void)
{
	static struct order order;
	size_t n = scale(4000);
	pthread_t threads[THREADS];
	beam_topic *from[TOPICS];
	struct scene scene;
	char name[] = "0";

	order = (struct order){0};
	begin(&scene);
	add(scene.router, (struct beam_route){.handle = expect_order, .argument = &order});
	for (int i = 0; i < THREADS; i++)
		threads[i] = thread_spawn(run_to_the_end, scene.router);
	for (int i = 0; i < TOPICS; i++, name[0]++)
		from[i] = open_topic(scene.in.channel[0], name);
	for (uint64_t i = 0; i < n; i++)
		for (int j = 0; j < TOPICS; j++)
			send_number(from[j], i);
	for (int i = 0; i < TOPICS; i++)
		beam_topic_unref(from[i]);
	check_int(beam_channel_close(scene.in.channel[0], soon()), 0);
	for (int i = 0; i < THREADS; i++)
		thread_wait(threads[i]);
	for (int i = 0; i < TOPICS; i++)
		check_int(order.next[i], n);
	check_int(order.wrong, 0);
	end(&scene);
}

struct reader {
	beam_topic *topic;
	uint64_t n;
};

/* Receives `n` numbers in order, and then the end. */
static void *read_in_order(void *argument)
{
	struct reader *reader = argument;

	for (uint64_t i = 0; i < reader->n && !harness_failures(); i++)
		expect_number(reader->topic, i);
	check_int(beam_topic_receive(reader->topic, &(beam_message *){NULL}, 0, soon()), 0);
	return NULL;
}

static void test_several_threads_wait_for_the_room_of_several_targets(void)
{
	uint64_t n = scale(20000);
	pthread_t threads[THREADS], readers[TOPICS];
	struct reader reading[TOPICS];
	beam_topic *from[TOPICS];
	struct scene scene;
	char name[] = "0";

	begin(&scene);
	add(scene.router, (struct beam_route){.channel = scene.out.channel[0]});
	for (int i = 0; i < TOPICS; i++, name[0]++) {
		from[i] = open_topic(scene.in.channel[0], name);
		reading[i] = (struct reader){open_topic(scene.out.channel[1], name), n};
	}
	for (int i = 0; i < THREADS; i++)
		threads[i] = thread_spawn(run_to_the_end, scene.router);
	for (int i = 0; i < TOPICS; i++)
		readers[i] = thread_spawn(read_in_order, &reading[i]);
	for (uint64_t i = 0; i < n && !harness_failures(); i++)
		for (int j = 0; j < TOPICS; j++)
			send_number(from[j], i);
	for (int i = 0; i < TOPICS; i++)
		beam_topic_unref(from[i]);
	check_int(beam_channel_close(scene.in.channel[0], soon()), 0);
	for (int i = 0; i < THREADS; i++)
		thread_wait(threads[i]);
	for (int i = 0; i < TOPICS; i++) {
		thread_wait(readers[i]);
		beam_topic_unref(reading[i].topic);
	}
	end(&scene);
}

struct gate {
	atomic_bool entered, open;
};

static int wait_at_the_gate(void *argument, const char *topic, beam_message *message)
{
	struct gate *gate = argument;

	(void)topic;
	atomic_store(&gate->entered, true);
	check_within(20000, atomic_load(&gate->open));
	beam_message_free(message);
	return 0;
}

struct runner {
	beam_router *router;
	pthread_t thread;
	_Atomic pid_t number;
};

static void *run_with_number(void *argument)
{
	struct runner *runner = argument;

	atomic_store(&runner->number, thread_number());
	return run_to_the_end(runner->router);
}

static void test_of_threads_that_wait_another_one_goes_on_while_one_handles(void)
{
	static struct runner runners[2];
	static struct gate gate;
	beam_topic *slow, *quick;
	struct scene scene;

	atomic_store(&gate.entered, false);
	atomic_store(&gate.open, false);
	begin(&scene);
	add(scene.router, (struct beam_route){.name = "slow", .handle = wait_at_the_gate, .argument = &gate});
	add(scene.router, (struct beam_route){.topic = scene.out.topic[0]});
	slow = open_topic(scene.in.channel[0], "slow");
	quick = open_topic(scene.in.channel[0], "quick");
	for (int i = 0; i < 2; i++) {
		runners[i].router = scene.router;
		atomic_store(&runners[i].number, 0);
		runners[i].thread = thread_spawn(run_with_number, &runners[i]);
	}
	send_text(quick, "word");
	expect_text(scene.out.topic[1], "word");
	for (int i = 0; i < 2; i++)
		check_within(20000, thread_asleep(atomic_load(&runners[i].number)));
	send_text(slow, "slow");
	check_within(20000, atomic_load(&gate.entered));
	send_text(quick, "meanwhile");
	expect_text(scene.out.topic[1], "meanwhile");
	atomic_store(&gate.open, true);
	beam_topic_unref(slow);
	beam_topic_unref(quick);
	check_int(beam_channel_close(scene.in.channel[0], soon()), 0);
	for (int i = 0; i < 2; i++)
		thread_wait(runners[i].thread);
	end(&scene);
}

static void test_a_handler_that_takes_its_time_holds_up_its_own_source_alone(void)
{
	static struct gate gate;
	pthread_t threads[2];
	beam_topic *slow, *slower, *quick;
	struct scene scene;
	uint64_t id;

	atomic_store(&gate.entered, false);
	atomic_store(&gate.open, false);
	begin(&scene);
	id = add(scene.router, (struct beam_route){.prefix = "slow", .handle = wait_at_the_gate, .argument = &gate});
	add(scene.router, (struct beam_route){.topic = scene.out.topic[0]});
	for (int i = 0; i < 2; i++)
		threads[i] = thread_spawn(run_to_the_end, scene.router);
	slow = open_topic(scene.in.channel[0], "slow");
	send_text(slow, "slow");
	check_within(20000, atomic_load(&gate.entered));
	quick = open_topic(scene.in.channel[0], "quick");
	for (int i = 0; i < 10; i++) {
		send_text(quick, "word");
		expect_text(scene.out.topic[1], "word");
	}
	/*
	 * The route can be removed while it is in use. Other messages for it then take another
	 * route.
	 */
	check_int(beam_router_remove_route(scene.router, id), 0);
	slower = open_topic(scene.in.channel[0], "slower");
	send_text(slower, "word");
	expect_text(scene.out.topic[1], "word");
	beam_topic_unref(slower);
	atomic_store(&gate.open, true);
	beam_topic_unref(slow);
	beam_topic_unref(quick);
	check_int(beam_channel_close(scene.in.channel[0], soon()), 0);
	for (int i = 0; i < 2; i++)
		thread_wait(threads[i]);
	end(&scene);
}

static void count_release(void *argument)
{
	atomic_fetch_add((atomic_uint *)argument, 1);
}

static int count_message(void *argument, const char *topic, beam_message *message)
{
	(void)argument;
	(void)topic;
	beam_message_free(message);
	return 0;
}

static void test_routes_come_and_go_while_it_runs(void)
{
	static atomic_uint n_released;
	pthread_t threads[2];
	struct order order = {0};
	struct scene scene;
	beam_topic *from;
	unsigned n = (unsigned)scale(2000);

	atomic_store(&n_released, 0);
	begin(&scene);
	add(scene.router, (struct beam_route){.handle = expect_order, .argument = &order, .sink = 1});
	for (int i = 0; i < 2; i++)
		threads[i] = thread_spawn(run_to_the_end, scene.router);
	from = open_topic(scene.in.channel[0], "0");
	for (unsigned i = 0; i < n && !harness_failures(); i++) {
		/* One route for a name that never arrives, and one that is used. */
		uint64_t other =
		    add(scene.router,
			(struct beam_route){
			    .name = "1", .handle = count_message, .argument = &n_released, .release = count_release});
		uint64_t ids[2] = {other, add(scene.router, (struct beam_route){.match = wants_long,
										.handle = count_message,
										.argument = &n_released,
										.release = count_release})};

		check_int(beam_topic_send(from, "0123456789", 10, 0, soon()), 0);
		for (int j = 0; j < 2; j++)
			check_int(beam_router_remove_route(scene.router, ids[j]), 0);
	}
	beam_topic_unref(from);
	check_int(beam_channel_close(scene.in.channel[0], soon()), 0);
	for (int i = 0; i < 2; i++)
		thread_wait(threads[i]);
	check_int(atomic_load(&n_released), 2 * n);
	end(&scene);
}

/* ---- Ends ------------------------------------------------------------------------------------ */

static void test_asked_to_end_with_its_sources_a_router_ends_when_there_are_none(void)
{
	struct beam_router_failure failure;
	struct scene scene;

	begin(&scene);
	check_int(beam_channel_close(scene.in.channel[0], soon()), 0);
	check_int(beam_router_run(scene.router, &failure, BEAM_ROUTER_UNTIL_ENDED, soon()), 0);
	check_int(beam_router_run(scene.router, &failure, BEAM_ROUTER_UNTIL_ENDED, BEAM_FOREVER), 0);
	check(!failure.message && !failure.topic);
	end(&scene);
}

static void test_a_source_that_died_is_told_once_and_others_go_on(void)
{
	struct beam_router_failure failure;
	struct attack attack;
	struct scene scene;
	char other;

	begin(&scene);
	add(scene.router, (struct beam_route){.topic = scene.out.topic[0]});
	require_int(beam_router_add_topic(scene.router, scene.in.topic[1], &tag), 0);
	attack_begin(&attack, NULL);
	require_int(beam_router_add_channel(scene.router, attack.channel, &other), 0);
	raw_open(&attack.out, 2, "accepted");
	raw_text(&attack.out, 2, "last words");
	attack_send(&attack);
	expect_routed(&scene, scene.out.topic[1], "last words");
	raw_peer_close(&attack.peer);
	check_int(beam_router_run(scene.router, &failure, 0, soon()), -ECONNRESET);
	check(!failure.message && !failure.topic && failure.channel == attack.channel && failure.tag == &other);
	beam_channel_unref(failure.channel);
	/* The topic that was added by itself is reported. Topics that were accepted are not. */
	require_int(beam_router_add_topic(scene.router, attack.topic, &attack), 0);
	check_int(beam_router_run(scene.router, &failure, 0, soon()), -ECONNRESET);
	check(!failure.message && !failure.channel && failure.tag == &attack);
	check_string(beam_topic_name(failure.topic), "log");
	beam_topic_unref(failure.topic);
	send_text(scene.in.topic[0], "word");
	expect_routed(&scene, scene.out.topic[1], "word");
	attack_end(&attack);
	end(&scene);
}

static void test_what_a_target_does_not_take_is_handed_back(void)
{
	struct scene scene;
	beam_topic *from;

	begin(&scene);
	add(scene.router, (struct beam_route){.name = "topic", .topic = scene.out.topic[0]});
	add(scene.router, (struct beam_route){.channel = scene.out.channel[0]});
	require_int(beam_router_add_topic(scene.router, scene.in.topic[1], &tag), 0);
	from = open_topic(scene.in.channel[0], "a");
	check_int(beam_channel_close(scene.out.channel[1], soon()), 0);
	check_int(beam_topic_receive(scene.out.topic[0], &(beam_message *){NULL}, 0, soon()), 0);
	send_text(scene.in.topic[0], "one");
	expect_failure(&scene, -EPIPE, "topic", "one");
	send_text(from, "two");
	expect_failure(&scene, -EPIPE, "a", "two");
	beam_topic_unref(from);
	end(&scene);
}

static void test_a_target_that_ends_while_it_has_no_room_gives_the_message_back(void)
{
	struct beam_router_failure failure;
	struct scene scene;
	beam_topic *from;

	begin(&scene);
	add(scene.router, (struct beam_route){.channel = scene.out.channel[0]});
	from = open_topic(scene.in.channel[0], "slow");
	fill(&scene, from);
	check_int(beam_channel_close(scene.out.channel[1], soon()), 0);
	check_int(beam_router_run(scene.router, &failure, 0, soon()), -EPIPE);
	check(failure.message != NULL);
	beam_message_free(failure.message);
	beam_topic_unref(failure.topic);
	beam_topic_unref(from);
	end(&scene);
}

static void test_past_its_deadline_a_run_looks_once(void)
{
	struct beam_router_failure failure;
	struct handler handler = {0};
	struct scene scene;
	beam_topic *from;

	begin(&scene);
	add(scene.router, (struct beam_route){.handle = handle, .argument = &handler});
	check_int(beam_router_run(scene.router, &failure, 0, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_router_run(scene.router, &failure, 0, beam_in_ms(0)), -ETIMEDOUT);
	from = open_topic(scene.in.channel[0], "a");
	for (int i = 0; i < 100; i++)
		send_number(from, 1);
	check_within(20000, beam_router_run(scene.router, &failure, 0, BEAM_NOWAIT) == -EAGAIN && handler.calls > 0);
	check(handler.calls <= 64);
	check_within(20000, beam_router_run(scene.router, &failure, 0, BEAM_NOWAIT) == -EAGAIN && handler.calls == 100);
	beam_topic_unref(from);
	end(&scene);
}

static void test_a_run_past_its_deadline_tells_that_the_last_source_has_ended(void)
{
	struct beam_router_failure failure;
	struct scene scene;

	begin(&scene);
	check_int(beam_channel_close(scene.in.channel[0], soon()), 0);
	check_int(beam_channel_accept(scene.in.channel[1], &(beam_topic *){NULL}, soon()), 0);
	check_int(beam_router_run(scene.router, &failure, BEAM_ROUTER_UNTIL_ENDED, BEAM_NOWAIT), 0);
	end(&scene);
}

static void test_a_topic_is_a_source_once_and_may_be_again_when_it_has_ended(void)
{
	struct beam_router_failure failure;
	struct scene scene;
	beam_router *router;

	begin(&scene);
	require_int(beam_router_new(&router), 0);
	check_int(beam_router_add_topic(router, scene.in.topic[1], NULL), 0);
	check_int(beam_router_add_topic(router, scene.in.topic[1], NULL), -EEXIST);
	check_int(beam_router_add_channel(router, scene.in.channel[1], NULL), 0);
	check_int(beam_router_add_channel(router, scene.in.channel[1], NULL), -EEXIST);
	check_int(beam_topic_close_send(scene.in.topic[0]), 0);
	check_int(beam_topic_receive(scene.in.topic[1], &(beam_message *){NULL}, 0, soon()), 0);
	check_int(beam_router_run(router, &failure, 0, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_router_add_topic(router, scene.in.topic[1], NULL), 0);
	beam_router_unref(router);
	end(&scene);
}

static void test_a_router_may_have_several_handles(void)
{
	beam_router *router = NULL;

	require_int(beam_router_new(&router), 0);
	check(beam_router_ref(router) == router);
	check(beam_router_unref(router) == NULL);
	add(router, (struct beam_route){.handle = handle});
	check(beam_router_unref(router) == NULL);
	check(beam_router_unref(NULL) == NULL);
	check(beam_router_ref(NULL) == NULL);
}

static const struct test tests[] = {
    TEST(test_a_target_without_room_stalls_its_own_sources_and_no_others),
    TEST(test_when_its_route_is_removed_a_message_that_waits_for_room_goes_another_way),
    TEST(test_sources_that_wait_for_the_same_room_all_get_it),
    TEST(test_large_messages_arrive_one_after_another),
    TEST(test_of_large_messages_to_a_slow_target_each_waits_for_room_beside_the_others),
    TEST(test_a_router_that_waits_for_room_sleeps),
    TEST(test_with_the_router_goes_what_waits_for_room),
    TEST(test_several_threads_keep_the_order_of_each_topic_and_all_end),
    TEST(test_several_threads_wait_for_the_room_of_several_targets),
    TEST(test_of_threads_that_wait_another_one_goes_on_while_one_handles),
    TEST(test_a_handler_that_takes_its_time_holds_up_its_own_source_alone),
    TEST(test_routes_come_and_go_while_it_runs),
    TEST(test_asked_to_end_with_its_sources_a_router_ends_when_there_are_none),
    TEST(test_a_source_that_died_is_told_once_and_others_go_on),
    TEST(test_what_a_target_does_not_take_is_handed_back),
    TEST(test_a_target_that_ends_while_it_has_no_room_gives_the_message_back),
    TEST(test_past_its_deadline_a_run_looks_once),
    TEST(test_a_run_past_its_deadline_tells_that_the_last_source_has_ended),
    TEST(test_a_topic_is_a_source_once_and_may_be_again_when_it_has_ended),
    TEST(test_a_router_may_have_several_handles),
};
HARNESS_MAIN("relay-router_run", tests)
