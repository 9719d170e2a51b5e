/* SPDX-License-Identifier: MIT */
/*
 * Between two steps of one thread, another one takes steps of its own, which are run at a system
 * call of the first: who reads, and who is made to leave.
 */
#include <channel/scene.h>
#include <harness/fault.h>

static bool thread_sleeps(void)
{
	bool sleeps;

	pthread_mutex_lock(&channel->link.writer.lock);
	sleeps = !channel->link.thread.awake;
	pthread_mutex_unlock(&channel->link.writer.lock);
	return sleeps;
}

/* ---- The kick -------------------------------------------------------------------------------- */

static void want_a_kick(void *ret)
{
	*(int *)ret = baton_kick(&channel->link);
}

static void test_the_kick_is_made_once_though_two_want_it_at_once(void)
{
	struct beam_channel_options options = looped();
	int other = -1;

	begin_settled(&options);
	require(atomic_load(&channel->link.reader.kick) < 0);
	fault_meanwhile(SYS_EVENTFD, 1, want_a_kick, &other);
	check(baton_kick(&channel->link) >= 0);
	check_int(baton_kick(&channel->link), other);
	end();
}

static void test_a_kick_for_good_shows_in_a_kick_that_is_made_later(void)
{
	struct beam_channel_options options = looped();

	begin_settled(&options);
	baton_kick_for_good(&channel->link);
	fault_only(FAULT(SYS_EVENTFD));
	fault_at(1, EMFILE, FAULT_ONCE);
	check_int(baton_kick(&channel->link), -1);
	fault_off();
	check(is_readable(baton_kick(&channel->link)));
	end();
}

/* A hook has been run in the receiver's thread. */
static atomic_bool hooked;

/* Run in the receiver's thread, when it consumes the kick that it got. */
static void kick_for_good(void *argument)
{
	struct receiver *receiver = argument;

	if (pthread_equal(pthread_self(), receiver->thread)) {
		baton_kick_for_good(&channel->link);
		atomic_store(&hooked, true);
	} else {
		fault_meanwhile(SYS_READ, 1, kick_for_good, receiver);
	}
}

/* Run in the receiver's thread: its read of the kick is interrupted. */
static void interrupt_once(void *argument)
{
	struct receiver *receiver = argument;

	if (pthread_equal(pthread_self(), receiver->thread)) {
		fault_only(FAULT(SYS_READ));
		fault_at(1, EINTR, FAULT_ONCE);
		atomic_store(&hooked, true);
	} else {
		fault_meanwhile(SYS_READ, 1, interrupt_once, receiver);
	}
}

static void kick_once(struct inbox *inbox)
{
	pthread_mutex_lock(&inbox->lock);
	sleepers_wake_all(&channel->link, &inbox->arrived);
	pthread_mutex_unlock(&inbox->lock);
}

/*
 * A receiver leads and is kicked. When it consumes the kick, `hook` is run. It is kicked again if
 * its read was missed, because the link's thread read something just then.
 */
static void kick_who_leads(struct receiver *receiver, void (*hook)(void *receiver))
{
	struct inbox *inbox = &topics[0]->inbox;

	start(receiver, 0, soon());
	check_within(20000, is(STANDBY_REST, true) && atomic_load(&channel->link.reader.kick) >= 0);
	atomic_store(&hooked, false);
	fault_meanwhile(SYS_READ, 1, hook, receiver);
	check_within(20000, (kick_once(inbox), atomic_load(&hooked)));
}

static void test_a_kick_that_could_not_be_taken_back_is_taken_back_later(void)
{
	struct receiver receiver;

	begin_settled(NULL);
	kick_who_leads(&receiver, interrupt_once);
	check_within(20000, fault_hit() && !is_readable(channel->link.reader.kick));
	fault_off();
	say(0, "it is read");
	finish(&receiver, 1);
	end();
}

static void no_kicks(void)
{
	fault_only(FAULT(SYS_EVENTFD));
	fault_at(1, EMFILE, FAULT_STICKY);
}

static void test_who_leads_without_a_kick_looks_every_now_and_then(void)
{
	struct beam_channel_options options = looped();
	struct receiver receiver;

	begin_settled(&options);
	no_kicks();
	start(&receiver, 0, soon());
	check_within(20000, fault_hit());
	/* Nothing wakes the leader for this. */
	check_int(beam_topic_close_receive(topics[0]), 0);
	finish(&receiver, 0);
	fault_off();
	end();
}

static void *close_topic(void *argument)
{
	check_int(beam_topic_close_receive(argument), 0);
	return NULL;
}

static void close_in_another_thread(void *topic)
{
	thread_wait(thread_spawn(close_topic, topic));
}

/* The steps of its way to sleep. It is among the sleepers before the first one. */
static void test_the_first_thread_that_ever_leads_can_be_kicked_at_each_step_before_it_sleeps(void)
{
	static const enum sys_call steps[] = {SYS_RECVMSG, SYS_EVENTFD, SYS_PPOLL};

	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		struct beam_channel_options options = looped();
		beam_message *message = NULL;

		begin_settled(&options);
		require(atomic_load(&channel->link.reader.kick) < 0);
		fault_meanwhile(steps[i], 1, close_in_another_thread, topics[0]);
		check_int(beam_topic_receive(topics[0], &message, 0, BEAM_FOREVER), 0);
		end();
	}
}

static void test_a_kick_for_good_is_not_taken_back_with_another_one(void)
{
	struct receiver receiver;

	begin_settled(NULL);
	kick_who_leads(&receiver, kick_for_good);
	check_within(20000, atomic_load(&channel->link.reader.kicked));
	check_within(20000, is_readable(channel->link.reader.kick));
	say(0, "it is read all the same");
	finish(&receiver, 1);
	check(is_readable(channel->link.reader.kick));
	end();
}

/* ---- The reading right ----------------------------------------------------------------------- */

struct quiet {
	pthread_mutex_t lock;
	struct sleepers sleepers;
	int result;
};

static void *wait_for_nothing(void *argument)
{
	struct quiet *quiet = argument;

	pthread_mutex_lock(&quiet->lock);
	quiet->result = baton_wait(&channel->link, &quiet->lock, &quiet->sleepers, soon());
	pthread_mutex_unlock(&quiet->lock);
	return NULL;
}

static void test_who_leads_for_what_the_end_does_not_change_leaves_at_the_end(void)
{
	struct quiet quiet = {.lock = PTHREAD_MUTEX_INITIALIZER, .result = 1};
	pthread_t thread;

	begin_settled(NULL);
	list_init(&quiet.sleepers.list);
	thread = thread_spawn(wait_for_nothing, &quiet);
	check_within(20000, is(STANDBY_REST, true));
	raw_peer_close(&peer);
	thread_wait(thread);
	check_int(quiet.result, 0);
	end();
}

static void test_returns_that_go_on_being_quick_are_relied_on_sooner(void)
{
	begin_settled(NULL);
	rely(1 << 20, 1 << 10);
	expect_nothing(topics[0]);
	check_int(relied_from(), 1 << 9);
	end();
}

/*
 * The leader waits on the first topic, the other one on the second. Whoever leaves is expected
 * back.
 */
static void start_two(struct receiver *leader, struct receiver *other, unsigned most)
{
	begin_settled(NULL);
	start(leader, 0, BEAM_FOREVER);
	check_within(20000, is(STANDBY_REST, true));
	start(other, 1, soon());
	check_within(20000, view().waiters == 1);
	check_within(20000, thread_sleeps());
	rely(2 * most, most);
}

static void test_what_is_relied_on_is_doubled_up_to_a_bound(void)
{
	struct receiver leader, other;
	enum { MOST = 1 << 20 };

	start_two(&leader, &other, MOST);
	say(0, "and you are expected back");
	finish(&leader, 1);
	check_within(20000, view().taken && view().waiters == 0);
	check_int(relied_from(), MOST);
	say(1, "it is read");
	finish(&other, 1);
	end();
}

static void no_nudges(void)
{
	fault_only(FAULT(SYS_WRITE));
	fault_at(1, EIO, FAULT_STICKY);
}

static void test_nobody_is_expected_if_the_thread_cannot_be_told(void)
{
	struct receiver leader, other;

	start_two(&leader, &other, 1);
	no_nudges();
	say(0, "you are not expected");
	finish(&leader, 1);
	/* The right was handed over at once. */
	check(view().taken);
	check_within(20000, view().waiters == 0);
	fault_off();
	say(1, "it is read");
	finish(&other, 1);
	end();
}

static void tick_at(int64_t at)
{
	pthread_mutex_lock(&channel->link.reader.baton.lock);
	channel->link.reader.baton.mode = STANDBY_TICK;
	channel->link.reader.baton.tick_at = BEAM_DEADLINE(at);
	pthread_mutex_unlock(&channel->link.reader.baton.lock);
}

static void test_the_thread_is_told_of_one_who_is_expected_unless_it_ticks_soon(void)
{
	struct receiver leader, other;
	struct view seen;

	start_two(&leader, &other, 1);
	tick_at(clock_now());
	no_nudges();
	say(0, "you are expected");
	finish(&leader, 1);
	/* Nobody has the right, unless the thread was awake for another reason and has ticked. */
	seen = view();
	check(seen.taken == (seen.waiters == 0));
	fault_off();
	/* It ticks, and nobody has come back. */
	pthread_mutex_lock(&channel->link.writer.lock);
	write_nudge(&channel->link);
	pthread_mutex_unlock(&channel->link.writer.lock);
	check_within(20000, view().taken && view().waiters == 0);
	say(1, "it is read");
	finish(&other, 1);
	end();
}

static void test_the_thread_is_told_to_tick_sooner(void)
{
	struct receiver leader, other;

	start_two(&leader, &other, 1);
	tick_at(clock_now() + INT64_C(3600) * 1000 * 1000 * 1000);
	say(0, "you are expected");
	finish(&leader, 1);
	check_within(20000, view().taken && view().waiters == 0);
	say(1, "it is read");
	finish(&other, 1);
	end();
}

static void test_nobody_steps_down_if_the_thread_cannot_be_told(void)
{
	struct receiver leader, other;

	start_two(&leader, &other, 1);
	no_nudges();
	say(1, "yours");
	finish(&other, 1);
	check_within(20000, view().taken && view().waiters == 0);
	fault_off();
	check(!atomic_load(&leader.done));
	say(0, "it is read");
	finish(&leader, 1);
	end();
}

static void start_waiting(void *receiver)
{
	start(receiver, 0, soon());
	check_within(20000, view().waiters == 1);
}

static void test_the_thread_stops_watching_when_it_gives_the_right_to_one_who_came_meanwhile(void)
{
	struct receiver receiver;
	struct view seen;

	begin_settled(NULL);
	check_within(20000, is(STANDBY_WATCH, false));
	fault_meanwhile(SYS_RECVMSG, 1, start_waiting, &receiver);
	say(1, "read by the thread");
	check_within(20000, (seen = view(), seen.taken && seen.mode != STANDBY_WATCH && seen.waiters == 0));
	say(0, "read by the other one");
	finish(&receiver, 1);
	end();
}

/* Most of the time, it gets the right just when its time is up. */
static void give_to_one_whose_time_is_up(void)
{
	struct receiver leader, other;

	begin_settled(NULL);
	start(&leader, 0, BEAM_FOREVER);
	check_within(20000, is(STANDBY_REST, true));
	start(&other, 1, beam_in_ms(20));
	check_within(20000, view().waiters == 1 || atomic_load(&other.done));
	pthread_mutex_lock(&topics[1]->inbox.lock);
	say(0, "and the right goes to the other one");
	check_within(20000, deadline_passed(BEAM_DEADLINE(other.deadline.ns + INT64_C(5) * 1000 * 1000)));
	pthread_mutex_unlock(&topics[1]->inbox.lock);
	finish(&leader, 1);
	finish(&other, -ETIMEDOUT);
	check_within(20000, !view().taken);
	end();
}

static void test_who_gets_the_right_when_its_time_is_up_passes_it_on(void)
{
	for (int i = 0; i < 10 && !harness_failures(); i++)
		give_to_one_whose_time_is_up();
}

static atomic_bool looked_again;

/* The receiver that was woken comes back, finds nothing, and leaves again. */
static void look_again(void *argument)
{
	struct receiver *other = argument;

	if (atomic_load(&channel->link.reader.woke) == WOKE_NOBODY) {
		fault_meanwhile(SYS_RECVMSG, 1, look_again, other);
		return;
	}
	check_within(20000, atomic_load(&other->done));
	expect_nothing(topics[1]);
	rely(2, 1);
	atomic_store(&looked_again, true);
}

static void test_nobody_steps_down_for_one_who_was_back_for_a_look(void)
{
	struct receiver leader, other;
	int fds[2];

	start_two(&leader, &other, 1);
	require_int(pipe(fds), 0);
	atomic_store(&looked_again, false);
	/* A read ends at a descriptor, so the leader reads once more. */
	fault_meanwhile(SYS_RECVMSG, 1, look_again, &other);
	raw_text_with_fds(&out, 2, "yours", 1);
	raw_peer_send_fds(&peer, &out, fds, 1);
	finish(&other, 1);
	check_within(20000, atomic_load(&looked_again));
	/* The leader goes on leading. */
	check_within(20000, atomic_load(&channel->link.reader.woke) == WOKE_NOBODY);
	check(view().taken && view().waiters == 0);
	check(!atomic_load(&leader.done));
	close(fds[0]);
	close(fds[1]);
	say(0, "it is read");
	finish(&leader, 1);
	end();
}

/* ---- Reading that fails ---------------------------------------------------------------------- */

static void read_fails(int error, int told)
{
	beam_message *message = NULL;

	begin_settled(NULL);
	check_within(20000, is(STANDBY_WATCH, false));
	fault_only(FAULT(SYS_RECVMSG));
	fault_at(1, error, FAULT_STICKY);
	say(0, "unread");
	check_int(beam_topic_receive(topics[0], &message, 0, soon()), told);
	fault_off();
	end();
}

static void test_want_of_memory_while_reading_is_told_as_such(void)
{
	read_fails(ENOMEM, -ENOMEM);
	read_fails(ENOBUFS, -ENOMEM);
	read_fails(EIO, -ECONNRESET);
}

/* The kernel reports once that the other side has closed without reading everything. */
static void test_a_reset_does_not_hide_what_came_before_it(void)
{
	beam_message *message = NULL;

	begin_settled(NULL);
	check_within(20000, is(STANDBY_WATCH, false));
	fault_only(FAULT(SYS_RECVMSG));
	fault_at(1, ECONNRESET, FAULT_ONCE);
	say(0, "still there");
	check_int(beam_topic_receive(topics[0], &message, 0, soon()), 1);
	check(fault_hit());
	fault_off();
	beam_message_free(message);
	end();
}

static void test_polling_that_pays_is_not_rare_any_more(void)
{
	struct beam_channel_options options = looped();

	begin_settled(&options);
	require(baton_take(&channel->link));
	channel->link.reader.busy_poll.interval = 64;
	say(0, "at once");
	check(poll_busily(&channel->link));
	check_int(channel->link.reader.busy_poll.interval, 0);
	baton_leave(&channel->link);
	end();
}

static const struct test tests[] = {
    TEST(test_the_kick_is_made_once_though_two_want_it_at_once),
    TEST(test_a_kick_for_good_shows_in_a_kick_that_is_made_later),
    TEST(test_a_kick_that_could_not_be_taken_back_is_taken_back_later),
    TEST(test_who_leads_without_a_kick_looks_every_now_and_then),
    TEST(test_the_first_thread_that_ever_leads_can_be_kicked_at_each_step_before_it_sleeps),
    TEST(test_a_kick_for_good_is_not_taken_back_with_another_one),
    TEST(test_who_leads_for_what_the_end_does_not_change_leaves_at_the_end),
    TEST(test_returns_that_go_on_being_quick_are_relied_on_sooner),
    TEST(test_what_is_relied_on_is_doubled_up_to_a_bound),
    TEST(test_nobody_is_expected_if_the_thread_cannot_be_told),
    TEST(test_the_thread_is_told_of_one_who_is_expected_unless_it_ticks_soon),
    TEST(test_the_thread_is_told_to_tick_sooner),
    TEST(test_nobody_steps_down_if_the_thread_cannot_be_told),
    TEST(test_the_thread_stops_watching_when_it_gives_the_right_to_one_who_came_meanwhile),
    TEST(test_who_gets_the_right_when_its_time_is_up_passes_it_on),
    TEST(test_nobody_steps_down_for_one_who_was_back_for_a_look),
    TEST(test_want_of_memory_while_reading_is_told_as_such),
    TEST(test_a_reset_does_not_hide_what_came_before_it),
    TEST(test_polling_that_pays_is_not_rare_any_more),
};

HARNESS_MAIN("channel/meanwhile_reading", tests)
