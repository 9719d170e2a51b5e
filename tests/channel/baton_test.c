/* SPDX-License-Identifier: MIT */
/*
 * The reading right: which thread reads ("leads"), which one stands by, and that nothing stays
 * unread.
 */
#include <channel/scene.h>

/* ---- Leading --------------------------------------------------------------------------------- */

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
		/*
		 * Nobody else reads it before the next tick. At a tick, the channel's thread may be
		 * reading it just now.
		 */
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

/*
 * Reading ends between two ticks, while this side's GOODBYE cannot be written, because somebody
 * else holds the writing right. Returns false if a tick came first.
 */
static bool ends_between_ticks(void)
{
	beam_message *message = NULL;
	bool ticking;

	begin(NULL);
	make_it_tick();
	pthread_mutex_lock(&channel->link.writer.lock);
	if (channel->link.writer.taken)
		require_int(write_wait(&channel->link, false, soon()), 1);
	channel->link.writer.taken = true;
	pthread_mutex_unlock(&channel->link.writer.lock);
	raw_goodbye(&out);
	raw_peer_send(&peer, &out);
	check_int(beam_topic_receive(topics[0], &message, 0, soon()), 0);
	ticking = is(STANDBY_TICK, false);
	check_within(20000, !is(STANDBY_TICK, false));
	pthread_mutex_lock(&channel->link.writer.lock);
	write_release(&channel->link);
	pthread_mutex_unlock(&channel->link.writer.lock);
	end();
	return ticking;
}

static void test_there_are_no_ticks_once_reading_has_ended(void)
{
	/* Sometimes a tick comes first, so this is repeated. */
	for (int i = 0; i < 1000; i++) {
		if (ends_between_ticks())
			return;
	}
	check(false);
}

static void test_with_a_dependent_there_are_no_ticks(void)
{
	begin(NULL);
	pthread_mutex_lock(&channel->link.reader.baton.lock);
	channel->link.reader.baton.dependents++;
	pthread_mutex_unlock(&channel->link.reader.baton.lock);
	for (int i = 0; i < 100; i++) {
		expect_nothing(topics[0]);
		/* The thread itself may just be checking whether the channel is idle. */
		check_int(view().mode, STANDBY_WATCH);
	}
	/* It is read although nobody waits. */
	say(0, "for the dependent");
	check_within(20000, queued(topics[0]) == 1);
	end();
}

static bool is_over(void)
{
	bool over;

	pthread_mutex_lock(&channel->link.reader.baton.lock);
	over = channel->link.reader.baton.over;
	pthread_mutex_unlock(&channel->link.reader.baton.lock);
	return over;
}

static void test_nobody_reads_any_more_once_it_is_over(void)
{
	begin(NULL);
	check_int(beam_channel_close(channel, BEAM_NOWAIT) <= 0, 1);
	raw_peer_close(&peer);
	check_within(20000, is_over());
	check(!baton_take(&channel->link));
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
	/*
	 * One of them leads now. The others return when they have their messages, and it still
	 * leads.
	 */
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

/* ---- All at once ----------------------------------------------------------------------------- */

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
		/* The peer never exceeds its credit. */
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
    TEST(test_many_impatient_threads_leave_nothing_lying),
};

HARNESS_MAIN("channel/baton", tests)
