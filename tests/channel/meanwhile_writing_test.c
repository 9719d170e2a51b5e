/* SPDX-License-Identifier: MIT */
/*
 * Between two steps of one thread, another one takes steps of its own, which are run at a system
 * call of the first: while somebody writes.
 */
#include <beam/call.h>
#include <beam/event.h>
#include <channel/meanwhile.h>
#include <harness/fault.h>

static void ask_for_room(void *unused)
{
	(void)unused;
	check(is_readable(beam_topic_send_fd(topics[0])));
}

static void test_there_is_room_in_the_buffer_while_somebody_writes(void)
{
	begin_settled(NULL);
	fault_meanwhile(SYS_SENDMSG, 1, ask_for_room, NULL);
	check_int(send_words(0, "room", soon()), 0);
	check(is_readable(beam_topic_send_fd(topics[0])));
	end();
}

/* As far as this side knows, there are too many descriptors in flight. */
static void hold(bool on)
{
	pthread_mutex_lock(&channel->link.writer.lock);
	channel->link.writer.tx.held = on;
	channel->link.writer.retry_at = on ? beam_in_ms(INT64_C(3600) * 1000) : BEAM_FOREVER;
	pthread_mutex_unlock(&channel->link.writer.lock);
}

static void send_what_is_held(void *unused)
{
	(void)unused;
	hold(true);
	check_int(send_stdin(1, "late", beam_in_ms(1)), -ETIMEDOUT);
	check_int(send_stdin(1, "in the buffer", BEAM_NOWAIT), 0);
	check_int(send_words(1, "behind it", beam_in_ms(1)), -ETIMEDOUT);
	check_int(send_words(1, "behind it", BEAM_NOWAIT), 0);
	check_int(send_words(2, "round it", soon()), 0);
	hold(false);
	/*
	 * A large message goes into the buffer only if it must not wait. One that has several
	 * frames and a descriptor never does.
	 */
	check_int(send_bulk(3, PAST_THE_BUFFER, 0, BEAM_NOWAIT), 0);
	check_int(send_bulk(3, PAST_THE_BUFFER, 0, beam_in_ms(1)), -ETIMEDOUT);
	check_int(send_bulk(3, 200000, 1, BEAM_NOWAIT), -EAGAIN);
}

static void test_who_must_not_wait_goes_behind_what_is_held_and_others_wait(void)
{
	begin_settled(NULL);
	fault_meanwhile(SYS_SENDMSG, 1, send_what_is_held, NULL);
	check_int(send_words(0, "writing", soon()), 0);
	expect_of_peer(0, "writing", 0);
	expect_of_peer(1, "in the buffer", 1);
	expect_of_peer(1, "behind it", 0);
	expect_of_peer(2, "round it", 0);
	check_int(raw_peer_expect(&peer, RAW_DATA).size, PAST_THE_BUFFER);
	end();
}

/* What is in the buffer will be refused, both among others and alone. */
static void refuse_next(void)
{
	fault_only(FAULT(SYS_SENDMSG));
	fault_times(2);
	fault_at(2, EPERM, FAULT_ONCE);
}

static void append_refused(void *unused)
{
	(void)unused;
	check_int(send_stdin(1, "refused", BEAM_NOWAIT), 0);
	refuse_next();
}

static bool was_refused(void)
{
	bool refused;

	pthread_mutex_lock(&channel->link.writer.lock);
	refused = topics[1]->outbox.outlet.losses.untold;
	pthread_mutex_unlock(&channel->link.writer.lock);
	return refused;
}

static void test_a_refusal_that_was_not_told_shows_as_room(void)
{
	int fd;

	begin_settled(NULL);
	fd = beam_topic_send_fd(topics[1]);
	fault_meanwhile(SYS_SENDMSG, 1, append_refused, NULL);
	check_int(send_words(0, "writing", soon()), 0);
	check_within(20000, was_refused());
	fault_off();
	/* The topic shows it at once, even if there is no room. */
	pthread_mutex_lock(&channel->link.writer.lock);
	channel->link.writer.full = true;
	rooms_show(channel);
	pthread_mutex_unlock(&channel->link.writer.lock);
	check(is_readable(fd));
	check_int(send_words(1, "told", soon()), -EIO);
	end();
}

/* Leaves credit for a short message on the topic, but too little to show room. */
static void leave_little_credit(beam_topic *topic)
{
	struct outlet *outlet = &topic->outbox.outlet;

	pthread_mutex_lock(&channel->link.writer.lock);
	outlet->limit_bytes = outlet->used_bytes + 200;
	channel->link.writer.tx.pool.limit = channel->link.writer.tx.pool.used;
	rooms_show(channel);
	pthread_mutex_unlock(&channel->link.writer.lock);
}

static void test_a_refusal_on_a_topic_without_credit_shows_as_room(void)
{
	int fd;

	begin_settled(NULL);
	fd = beam_topic_send_fd(topics[1]);
	leave_little_credit(topics[1]);
	check(!is_readable(fd));
	fault_meanwhile(SYS_SENDMSG, 1, append_refused, NULL);
	check_int(send_words(0, "writing", soon()), 0);
	check_within(20000, is_readable(fd));
	check(was_refused());
	fault_off();
	end();
}

static void append_refused_call(void *argument)
{
	beam_call **call = argument;

	check_int(beam_call_begin(call, topics[1], NULL, 0, (int[]){STDIN_FILENO}, 1, 0, BEAM_NOWAIT), 0);
	refuse_next();
}

static void test_a_call_that_was_refused_in_the_buffer_is_told_why(void)
{
	beam_message *message = NULL;
	beam_call *call = NULL;

	begin_settled(NULL);
	fault_meanwhile(SYS_SENDMSG, 1, append_refused_call, &call);
	check_int(send_words(0, "writing", soon()), 0);
	check_int(beam_call_receive(call, &message, 0, soon()), -EPERM);
	fault_off();
	beam_call_unref(call);
	end();
}

static void wake_who_waits(void *argument)
{
	start_sending(argument, 1, PAST_THE_BUFFER);
	pthread_mutex_lock(&channel->link.writer.lock);
	write_wake_all(&channel->link);
	pthread_mutex_unlock(&channel->link.writer.lock);
	check_within(20000, writers() > 0);
}

static void test_who_is_woken_and_has_not_got_the_right_goes_on_waiting(void)
{
	struct sending_thread sending;

	begin_settled(NULL);
	fault_meanwhile(SYS_SENDMSG, 1, wake_who_waits, &sending);
	check_int(send_words(0, "writing", soon()), 0);
	thread_wait(sending.thread);
	check_int(sending.result, 0);
	end();
}

static void start_behind_a_descriptor(void *argument)
{
	struct sending_thread *sending = argument;

	check_int(send_stdin(1, "in the buffer", BEAM_NOWAIT), 0);
	*sending = (struct sending_thread){.topic = 2, .size = PAST_THE_BUFFER, .n_fds = 1};
	sending->thread = thread_spawn(send_soon, sending);
	check_within(20000, writers() > 0);
	fault_only(FAULT(SYS_SENDMSG));
	fault_at(2, ETOOMANYREFS, FAULT_ONCE);
}

static void test_who_has_descriptors_waits_behind_those_that_are_too_many(void)
{
	struct sending_thread sending;

	begin_settled(NULL);
	fault_meanwhile(SYS_SENDMSG, 1, start_behind_a_descriptor, &sending);
	check_int(send_words(0, "writing", soon()), 0);
	thread_wait(sending.thread);
	check_int(sending.result, 0);
	check(fault_hit());
	fault_off();
	expect_of_peer(0, "writing", 0);
	expect_of_peer(1, "in the buffer", 1);
	check_int(raw_peer_expect(&peer, RAW_DATA).size, PAST_THE_BUFFER);
	end();
}

/*
 * Without a thread: one message is in the buffer, and has begun as far as the channel knows.
 * Another message of the same topic is behind it.
 */
static void append_two(void *unused)
{
	(void)unused;
	check_int(send_words(1, "first", BEAM_NOWAIT), 0);
	fault_only(FAULT(SYS_SENDMSG));
	fault_at(2, EAGAIN, FAULT_ONCE);
}

static void begin_with_two_in_the_buffer(void)
{
	struct beam_channel_options options = looped();

	options.buffer_bytes = 16 << 10;
	begin_settled(&options);
	fault_meanwhile(SYS_SENDMSG, 1, append_two, NULL);
	check_int(send_words(0, "writing", soon()), 0);
	fault_off();
	check_int(send_words(1, "second", BEAM_NOWAIT), 0);
}

static void close_now(void *unused)
{
	(void)unused;
	check_int(beam_channel_close(channel, BEAM_NOWAIT), -EAGAIN);
}

static void test_who_waits_behind_the_buffer_hears_of_a_close(void)
{
	begin_with_two_in_the_buffer();
	fault_meanwhile(SYS_SENDMSG, 1, close_now, NULL);
	check_int(send_bulk(1, PAST_THE_BUFFER, 0, soon()), -EPIPE);
	expect_of_peer(0, "writing", 0);
	expect_of_peer(1, "first", 0);
	expect_of_peer(1, "second", 0);
	end();
}

static void append_third(void *unused)
{
	(void)unused;
	check_int(send_words(2, "third", BEAM_NOWAIT), 0);
}

static void test_the_loop_is_nudged_for_what_came_while_it_wrote(void)
{
	int nudge;

	begin_with_two_in_the_buffer();
	nudge = beam_channel_loop_nudge_fd(channel);
	fault_meanwhile(SYS_SENDMSG, 2, append_third, NULL);
	check_int(beam_channel_dispatch(channel, POLLOUT), 1);
	check(is_readable(nudge));
	check_int(beam_channel_dispatch(channel, 0), 1);
	check(!is_readable(nudge));
	expect_of_peer(0, "writing", 0);
	expect_of_peer(1, "first", 0);
	expect_of_peer(1, "second", 0);
	expect_of_peer(2, "third", 0);
	end();
}

static void fill_the_buffer(void *argument)
{
	struct sending_thread *sending = argument;
	int r;

	while ((r = send_bulk(2, 1000, 0, BEAM_NOWAIT)) == 0)
		;
	check_int(r, -EAGAIN);
	start_sending(&sending[0], 3, PAST_THE_BUFFER);
	start_sending(&sending[1], 3, 1000);
}

static void test_room_in_the_buffer_is_told_to_who_waits_for_it(void)
{
	struct sending_thread sending[2];

	begin_with_two_in_the_buffer();
	fault_meanwhile(SYS_SENDMSG, 1, fill_the_buffer, sending);
	check_int(send_bulk(1, PAST_THE_BUFFER, 0, soon()), 0);
	for (int i = 0; i < 2; i++) {
		thread_wait(sending[i].thread);
		check_int(sending[i].result, 0);
	}
	end();
}

static void *flush_soon(void *ret)
{
	*(int *)ret = beam_channel_flush(channel, soon());
	return NULL;
}

struct flushing {
	pthread_t thread;
	int result;
};

/*
 * The thread that flushes is woken for nothing, and then finds that the kernel has no memory for
 * the moment.
 */
static void flush_with_obstacles(void *argument)
{
	struct flushing *flushing = argument;

	check_int(send_words(1, "flushed", BEAM_NOWAIT), 0);
	flushing->thread = thread_spawn(flush_soon, &flushing->result);
	check_within(20000, writers() > 0);
	pthread_mutex_lock(&channel->link.writer.lock);
	write_wake_all(&channel->link);
	pthread_mutex_unlock(&channel->link.writer.lock);
	check_within(20000, writers() > 0);
	/* The next try is as late as possible. */
	pthread_mutex_lock(&channel->link.writer.lock);
	channel->link.writer.retry_after = INT64_C(1000) * 1000 * 1000;
	pthread_mutex_unlock(&channel->link.writer.lock);
	fault_only(FAULT(SYS_SENDMSG));
	fault_at(2, ENOBUFS, FAULT_ONCE);
}

/* Somebody waits until it is time to try again. */
static bool is_put_off(void)
{
	bool put_off;

	pthread_mutex_lock(&channel->link.writer.lock);
	put_off = channel->link.writer.retry_at.ns != BEAM_FOREVER.ns && !list_empty(&channel->link.writer.waiting);
	pthread_mutex_unlock(&channel->link.writer.lock);
	return put_off;
}

static void test_flushing_goes_on_after_what_passes(void)
{
	struct flushing flushing;

	begin_settled(NULL);
	fault_meanwhile(SYS_SENDMSG, 1, flush_with_obstacles, &flushing);
	check_int(send_words(0, "writing", soon()), 0);
	/*
	 * Another writer comes first, unless this takes so long that the write is tried again
	 * meanwhile.
	 */
	for (struct harness_wait wait = harness_wait_begin(20); !is_put_off() && harness_wait_more(&wait);)
		;
	check_int(send_words(2, "first", soon()), 0);
	thread_wait(flushing.thread);
	check_int(flushing.result, 0);
	check(fault_hit());
	fault_off();
	expect_of_peer(0, "writing", 0);
	expect_of_peer(1, "flushed", 0);
	expect_of_peer(2, "first", 0);
	end();
}

static const struct test tests[] = {
    TEST(test_there_is_room_in_the_buffer_while_somebody_writes),
    TEST(test_who_must_not_wait_goes_behind_what_is_held_and_others_wait),
    TEST(test_a_refusal_that_was_not_told_shows_as_room),
    TEST(test_a_refusal_on_a_topic_without_credit_shows_as_room),
    TEST(test_a_call_that_was_refused_in_the_buffer_is_told_why),
    TEST(test_who_is_woken_and_has_not_got_the_right_goes_on_waiting),
    TEST(test_who_has_descriptors_waits_behind_those_that_are_too_many),
    TEST(test_the_loop_is_nudged_for_what_came_while_it_wrote),
    TEST(test_who_waits_behind_the_buffer_hears_of_a_close),
    TEST(test_flushing_goes_on_after_what_passes),
    TEST(test_room_in_the_buffer_is_told_to_who_waits_for_it),
};

HARNESS_MAIN("channel/meanwhile_writing", tests)
