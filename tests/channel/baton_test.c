/* SPDX-License-Identifier: MIT */
/*
 * The reading right: who reads, who stands by, and that nothing is left lying.
 */
#include <channel/scene.h>

static const struct beam_channel_options defaults = BEAM_CHANNEL_OPTIONS;

/* ---- Leading ---------------------------------------------------------------------------------------------------------------------- */

static void test_who_waits_leads_and_who_leaves_lets_the_thread_watch_again(void)
{
	struct receiver receiver;

	begin(NULL);
	check_within(20000, is(STANDBY_WATCH, false));
	start(&receiver, 0, soon());
	check_within(20000, is(STANDBY_REST, true));
	say(0, "hello");
	finish(&receiver, 1);
	check_within(20000, is(STANDBY_WATCH, false));
	end();
}

static void test_a_look_with_a_deadline_that_has_passed_finds_what_is_in_the_socket(void)
{
	begin(NULL);
	for (int i = 0; i < 100; i++) {
		beam_message *message = NULL;
		int r;

		make_it_tick();
		say(0, "here");
		/* Nobody else reads it before the next tick, at which the channel's thread may just be doing so. */
		do
			r = beam_topic_receive(topics[0], &message, 0, BEAM_NOWAIT);
		while (r == -EAGAIN && view().taken);
		check_int(r, 1);
		beam_message_free(message);
	}
	end();
}

static void test_taking_over_often_makes_the_thread_tick_and_then_there_is_silence(void)
{
	begin(NULL);
	make_it_tick();
	check_within(20000, is(STANDBY_WATCH, false) && is_silent());
	say(1, "it is heard all the same");
	check_within(20000, queued(topics[1]) == 1);
	end();
}

static void test_one_who_leads_for_long_is_left_alone(void)
{
	struct receiver receiver;

	begin(NULL);
	make_it_tick();
	start(&receiver, 0, soon());
	check_within(20000, is(STANDBY_REST, true) && is_silent());
	say(0, "enough");
	finish(&receiver, 1);
	check_within(20000, is(STANDBY_WATCH, false));
	end();
}

/* Reading has ended between two ticks, and our own goodbye cannot be written yet: somebody else has the right to. */
static bool ends_between_ticks(void)
{
	beam_message *message = NULL;
	bool ticking;

	begin(NULL);
	make_it_tick();
	pthread_mutex_lock(&channel->tx_lock);
	if (channel->writing)
		require_int(write_wait(channel, false, soon()), 1);
	channel->writing = true;
	pthread_mutex_unlock(&channel->tx_lock);
	raw_goodbye(&out);
	raw_peer_send(&peer, &out);
	check_int(beam_topic_receive(topics[0], &message, 0, soon()), 0);
	ticking = is(STANDBY_TICK, false);
	check_within(20000, !is(STANDBY_TICK, false));
	pthread_mutex_lock(&channel->tx_lock);
	write_release(channel);
	pthread_mutex_unlock(&channel->tx_lock);
	end();
	return ticking;
}

static void test_there_are_no_ticks_once_reading_has_ended(void)
{
	/* Sometimes a tick comes first. */
	for (int i = 0; i < 1000; i++) {
		if (ends_between_ticks())
			return;
	}
	check(false);
}

static void test_with_a_dependent_there_are_no_ticks(void)
{
	begin(NULL);
	pthread_mutex_lock(&channel->baton.lock);
	channel->baton.dependents++;
	pthread_mutex_unlock(&channel->baton.lock);
	for (int i = 0; i < 100; i++) {
		expect_nothing(topics[0]);
		/* Though the thread itself may just be looking whether the channel is idle. */
		check_int(view().mode, STANDBY_WATCH);
	}
	/* Nobody waits, and it is read. */
	say(0, "for the dependent");
	check_within(20000, queued(topics[0]) == 1);
	end();
}

static bool is_over(void)
{
	bool over;

	pthread_mutex_lock(&channel->baton.lock);
	over = channel->baton.over;
	pthread_mutex_unlock(&channel->baton.lock);
	return over;
}

static void test_nobody_reads_any_more_once_it_is_over(void)
{
	begin(NULL);
	check_int(beam_channel_close(channel, BEAM_NOWAIT) <= 0, 1);
	raw_peer_close(&peer);
	check_within(20000, is_over());
	check(!baton_take(channel));
	end();
}

static void test_who_leads_reads_for_the_others_too(void)
{
	struct receiver first, second;

	begin(NULL);
	start(&first, 0, soon());
	check_within(20000, view().taken);
	start(&second, 1, soon());
	check_within(20000, view().waiters == 1);
	say(1, "for the second");
	finish(&second, 1);
	check(view().taken);
	check(!atomic_load(&first.done));
	say(0, "for the first");
	finish(&first, 1);
	end();
}

static void test_the_right_goes_to_the_latest_deadline(void)
{
	struct receiver leader, early, late, middle;

	begin(NULL);
	start(&leader, 0, soon());
	check_within(20000, view().taken);
	start(&early, 1, soon());
	check_within(20000, view().waiters == 1);
	start(&late, 2, BEAM_FOREVER);
	check_within(20000, view().waiters == 2);
	start(&middle, 3, soon());
	check_within(20000, view().waiters == 3);
	say(0, "off you go");
	finish(&leader, 1);
	/* One of them leads now. The others go when they have theirs, and it still does. */
	check_within(20000, view().waiters == 2);
	say(1, "and you");
	finish(&early, 1);
	say(3, "and you");
	finish(&middle, 1);
	check_within(20000, view().waiters == 0 && view().taken);
	check(!atomic_load(&late.done));
	say(2, "last of all");
	finish(&late, 1);
	end();
}

static void test_one_whose_time_is_up_passes_the_right_on(void)
{
	struct receiver leader, other;

	begin(NULL);
	start(&leader, 0, beam_in_ms(stretch(50)));
	check_within(20000, view().taken);
	start(&other, 1, BEAM_FOREVER);
	finish(&leader, -ETIMEDOUT);
	check_within(20000, view().taken && view().waiters == 0);
	say(1, "it is read");
	finish(&other, 1);
	end();
}

static void test_half_a_frame_goes_on_with_whoever_reads_next(void)
{
	begin(NULL);
	for (size_t cut = 1; cut < 24; cut++) {
		struct receiver impatient;

		harness_context("after %zu bytes", cut);
		raw_text(&out, 1, "in two");
		raw_send(peer.socket, out.bytes, cut, NULL, 0, 0);
		start(&impatient, 0, beam_in_ms(1));
		finish(&impatient, -ETIMEDOUT);
		raw_send(peer.socket, out.bytes + cut, out.size - cut, NULL, 0, 0);
		out.size = 0;
		expect_text(topics[0], "in two");
	}
	end();
}

/* ---- What else ends leading ------------------------------------------------------------------------------------------------------ */

static void test_a_reset_here_reaches_the_one_who_leads(void)
{
	struct receiver leader;

	begin(NULL);
	start(&leader, 0, BEAM_FOREVER);
	check_within(20000, view().taken);
	check_int(beam_topic_close_receive(topics[0]), 0);
	finish(&leader, 0);
	end();
}

static void test_a_close_here_reaches_the_one_who_leads_and_those_who_wait(void)
{
	struct receiver leader, other;

	begin(NULL);
	start(&leader, 0, BEAM_FOREVER);
	check_within(20000, view().taken);
	start(&other, 1, BEAM_FOREVER);
	check_within(20000, view().waiters == 1);
	check_int(beam_channel_close(channel, soon()), 0);
	finish(&leader, 0);
	finish(&other, 0);
	end();
}

static void test_the_peers_end_reaches_everybody_whoever_reads(void)
{
	struct receiver leader, other;

	for (int ticking = 0; ticking < 2; ticking++) {
		begin(NULL);
		if (ticking)
			make_it_tick();
		start(&leader, 0, BEAM_FOREVER);
		start(&other, 1, BEAM_FOREVER);
		check_within(20000, view().waiters == 1);
		raw_peer_close(&peer);
		finish(&leader, -ECONNRESET);
		finish(&other, -ECONNRESET);
		end();
	}
}

static void test_a_close_is_seen_though_nobody_waits(void)
{
	for (int ticking = 0; ticking < 2; ticking++) {
		begin(NULL);
		if (ticking)
			make_it_tick();
		raw_goodbye(&out);
		raw_peer_send(&peer, &out);
		check_within(20000, beam_topic_send(topics[0], "x", 1, 0, soon()) == -EPIPE);
		end();
	}
}

struct sender {
	atomic_bool done;
	int result;
};

static void *send_without_credit(void *argument)
{
	static const char payload[40000];
	struct sender *sender = argument;

	while ((sender->result = beam_topic_send(topics[0], payload, sizeof payload, 0, BEAM_FOREVER)) == 0)
		;
	atomic_store(&sender->done, true);
	return NULL;
}

static void test_a_sender_without_credit_leads_and_finds_it(void)
{
	struct sender sender = {0};
	struct receiver receiver;
	pthread_t thread;

	begin(NULL);
	thread = thread_spawn(send_without_credit, &sender);
	raw_peer_expect(&peer, RAW_DATA);
	check_within(20000, view().taken);
	raw_credit(&out, 1, 40064, 0);
	raw_peer_send(&peer, &out);
	raw_peer_expect(&peer, RAW_DATA);
	/* It leads for others too. */
	start(&receiver, 1, soon());
	say(1, "for another");
	finish(&receiver, 1);
	check(!atomic_load(&sender.done));
	check_int(beam_channel_close(channel, soon()), 0);
	thread_wait(thread);
	check_int(sender.result, -EPIPE);
	end();
}

static void test_accept_and_limits_lead_too(void)
{
	beam_topic *topic = NULL;

	begin(NULL);
	make_it_tick();
	raw_open(&out, TOPICS + 1, "new");
	raw_peer_send(&peer, &out);
	check_int(beam_channel_accept(channel, &topic, BEAM_NOWAIT), 1);
	beam_topic_unref(topic);
	check_int(beam_channel_accept(channel, &topic, BEAM_NOWAIT), -EAGAIN);
	end();
}

/* Whoever watches, or leads, when nothing more comes. */
static void test_an_idle_channel_lets_go_of_its_memory(void)
{
	static const char large[60000];

	for (int leading = 0; leading < 2; leading++) {
		struct receiver receiver;
		size_t before;

		harness_context("%s", leading ? "while somebody leads" : "");
		begin(NULL);
		check_within(20000, is(STANDBY_WATCH, false) && is_silent());
		before = allocated_bytes();
		raw_data(&out, 1, large, sizeof large);
		raw_data(&out, 2, large, sizeof large);
		raw_peer_send(&peer, &out);
		for (unsigned i = 0; i < 2; i++) {
			start(&receiver, i, soon());
			finish(&receiver, 1);
		}
		if (leading)
			start(&receiver, 0, soon());
		check_within(20000, allocated_bytes() < before + 30000);
		if (leading) {
			say(0, "it goes on");
			finish(&receiver, 1);
		}
		end();
	}
}

/* ---- Options ----------------------------------------------------------------------------------------------------------------------- */

static void test_a_dedicated_reader_is_the_only_one(void)
{
	struct beam_channel_options options = defaults;
	struct receiver receivers[TOPICS];

	options.dedicated_reader = 1;
	begin(&options);
	for (unsigned i = 0; i < TOPICS; i++)
		start(&receivers[i], i, soon());
	check_within(20000, view().waiters == TOPICS);
	for (unsigned i = 0; i < TOPICS; i++)
		say(i, "word");
	for (unsigned i = 0; i < TOPICS; i++)
		finish(&receivers[i], 1);
	check_int(view().led, 0);
	check(view().mode == STANDBY_WATCH);
	end();
}

/* How many waits go without polling; where every yield takes long it is for that reason. */
static unsigned pause_of_polling(void)
{
	const struct busy_poll *poll = &channel->busy_poll;

	return poll->interval > poll->penalty ? poll->interval : poll->penalty;
}

static void test_polling_that_fails_is_given_up_and_tried_again_more_and_more_rarely(void)
{
	unsigned waits = 0;

	begin(NULL);
	for (; pause_of_polling() < 128 && waits < 10000; waits++) {
		struct receiver receiver;

		start(&receiver, 0, beam_in_ms(1));
		finish(&receiver, -ETIMEDOUT);
	}
	check_int(pause_of_polling(), 128);
	/* 1 + 2 + 4 + … + 64 waits without polling lie between. */
	check(waits >= 127);
	end();
}

static void test_polling_can_be_turned_off(void)
{
	struct beam_channel_options options = defaults;
	struct receiver receiver;

	options.busy_poll_us = 0;
	begin(&options);
	for (int i = 0; i < 5; i++) {
		start(&receiver, 0, beam_in_ms(1));
		finish(&receiver, -ETIMEDOUT);
	}
	check_int(channel->busy_poll.fails, 0);
	end();
}

/* ---- All at once ------------------------------------------------------------------------------------------------------------------- */

static atomic_uint received;

static void *receive_many(void *argument)
{
	unsigned index = (unsigned)(uintptr_t)argument;
	struct rng rng = rng_new(index);
	beam_message *message = NULL;
	int r;

	do {
		r = beam_topic_receive(topics[index % TOPICS], &message, 0,
				       rng_chance(&rng, 30) ? BEAM_NOWAIT : beam_in_ms((int64_t)rng_below(&rng, 3)));
		if (r == 1) {
			beam_message_free(message);
			atomic_fetch_add(&received, 1);
		}
	} while (r == 1 || r == -EAGAIN || r == -ETIMEDOUT);
	check_int(r, 0);
	return NULL;
}

static void test_many_impatient_threads_leave_nothing_lying(void)
{
	struct rng rng = rng_new(99);
	pthread_t threads[2 * TOPICS];
	unsigned n = (unsigned)scale(20000);

	begin(NULL);
	atomic_store(&received, 0);
	for (unsigned i = 0; i < 2 * TOPICS; i++)
		threads[i] = thread_spawn(receive_many, (void *)(uintptr_t)i);
	for (unsigned i = 0; i < n; i++) {
		/* It never sends more than it may. */
		if (i % 512 == 0) {
			raw_peer_send(&peer, &out);
			check_within(20000, atomic_load(&received) == i);
		}
		raw_text(&out, (uint32_t)rng_below(&rng, TOPICS) + 1, "word");
		if (rng_chance(&rng, 50))
			raw_peer_send(&peer, &out);
	}
	raw_goodbye(&out);
	raw_peer_send(&peer, &out);
	for (unsigned i = 0; i < 2 * TOPICS; i++)
		thread_wait(threads[i]);
	check_int(atomic_load(&received), n);
	end();
}

static const struct test tests[] = {
    TEST(test_who_waits_leads_and_who_leaves_lets_the_thread_watch_again),
    TEST(test_a_look_with_a_deadline_that_has_passed_finds_what_is_in_the_socket),
    TEST(test_taking_over_often_makes_the_thread_tick_and_then_there_is_silence),
    TEST(test_one_who_leads_for_long_is_left_alone),
    TEST(test_with_a_dependent_there_are_no_ticks),
    TEST(test_there_are_no_ticks_once_reading_has_ended),
    TEST(test_nobody_reads_any_more_once_it_is_over),
    TEST(test_who_leads_reads_for_the_others_too),
    TEST(test_the_right_goes_to_the_latest_deadline),
    TEST(test_one_whose_time_is_up_passes_the_right_on),
    TEST(test_half_a_frame_goes_on_with_whoever_reads_next),
    TEST(test_a_reset_here_reaches_the_one_who_leads),
    TEST(test_a_close_here_reaches_the_one_who_leads_and_those_who_wait),
    TEST(test_the_peers_end_reaches_everybody_whoever_reads),
    TEST(test_a_close_is_seen_though_nobody_waits),
    TEST(test_a_sender_without_credit_leads_and_finds_it),
    TEST(test_accept_and_limits_lead_too),
    TEST(test_an_idle_channel_lets_go_of_its_memory),
    TEST(test_a_dedicated_reader_is_the_only_one),
    TEST(test_polling_that_fails_is_given_up_and_tried_again_more_and_more_rarely),
    TEST(test_polling_can_be_turned_off),
    TEST(test_many_impatient_threads_leave_nothing_lying),
};

HARNESS_MAIN("channel/baton", tests)
