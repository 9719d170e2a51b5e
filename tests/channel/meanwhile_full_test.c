/* SPDX-License-Identifier: MIT */
/*
 * Between two steps of one thread, another one takes steps of its own, which are run at a system
 * call of the first: while the socket is full and somebody waits for room in it.
 */
#include <beam/call.h>
#include <beam/event.h>
#include <channel/meanwhile.h>
#include <harness/fault.h>

static void test_want_of_memory_while_waiting_for_room_is_told(void)
{
	begin_narrow(NULL);
	fill();
	fault_only(FAULT(SYS_PPOLL));
	fault_at(1, ENOMEM, FAULT_STICKY);
	check_int(send_bulk(1, 9000, 0, soon()), -ENOMEM);
	fault_off();
	end();
}

static void test_who_waits_for_room_without_a_kick_looks_every_now_and_then(void)
{
	struct beam_channel_options options = looped();
	struct sending_thread sending;

	begin_narrow(&options);
	fill();
	fault_only(FAULT(SYS_EVENTFD));
	fault_at(1, EMFILE, FAULT_STICKY);
	sending = (struct sending_thread){.topic = 1, .size = 9000};
	sending.thread = thread_spawn(send_soon, &sending);
	check_within(20000, fault_calls() > 2);
	check_int(beam_channel_close(channel, BEAM_NOWAIT), -EAGAIN);
	thread_wait(sending.thread);
	check_int(sending.result, -EPIPE);
	fault_off();
	end();
}

/*
 * One thread has the writing right and waits for room in the socket. The other one waits for the
 * right.
 */
static void expect_both_to_hear(void (*end_topic)(void))
{
	struct sending_thread polling = {.topic = 1, .size = 9000}, waiting;

	begin_narrow(NULL);
	fill();
	polling.thread = thread_spawn(send_soon, &polling);
	check_within(20000, is_written_to(channel));
	start_sending(&waiting, 1, PAST_THE_BUFFER);
	end_topic();
	thread_wait(polling.thread);
	thread_wait(waiting.thread);
	check_int(polling.result, -EPIPE);
	check_int(waiting.result, -EPIPE);
	end();
}

static void close_topic(void)
{
	check_int(beam_topic_close_send(topics[1]), 0);
}

static void reset_by_peer(void)
{
	raw_frame(&out, RAW_RESET, 0, 0, 2, 1, NULL, 0);
	raw_peer_send(&peer, &out);
}

static void test_the_end_of_a_topic_reaches_those_who_wait_to_write_to_it(void)
{
	expect_both_to_hear(close_topic);
	expect_both_to_hear(reset_by_peer);
}

static void test_there_is_no_room_while_socket_and_buffer_are_full(void)
{
	unsigned n;
	int fd;

	begin_narrow(NULL);
	fd = beam_topic_send_fd(topics[1]);
	check(is_readable(fd));
	n = fill();
	check_within(20000, !is_readable(fd));
	while (n--)
		raw_peer_expect(&peer, RAW_DATA);
	/* While the rest is being written there is no room for a moment. */
	check_within(20000, is_readable(fd));
	end();
}

static void test_a_call_of_which_a_part_has_gone_is_cancelled(void)
{
	static char bulk[200000];
	struct iovec iov = {bulk, sizeof bulk};
	beam_call *call = NULL;
	struct raw_frame frame;

	begin_narrow(NULL);
	check_int(beam_call_begin(&call, topics[1], &iov, 1, NULL, 0, 0, beam_in_ms(1)), -ETIMEDOUT);
	check(call == NULL);
	/* No answer is wanted, and the message is aborted. */
	check_int(raw_peer_expect(&peer, RAW_RESET).argument, 1);
	frame = raw_peer_expect(&peer, RAW_DATA);
	check_int(frame.flags, RAW_ABORT);
	check_int(frame.argument, 1);
	end();
}

enum { ITEMS = 10, ITEM = 3000 };

static void *send_items(void *ret)
{
	static const char bulk[ITEM];
	static const int fds[] = {STDIN_FILENO};
	struct beam_send_item items[ITEMS];

	for (unsigned i = 0; i < ITEMS; i++)
		items[i] = (struct beam_send_item){.data = bulk, .size = ITEM, .fds = fds, .n_fds = 1};
	*(ssize_t *)ret = beam_topic_send_many(topics[0], items, ITEMS, 0, soon());
	return NULL;
}

/* The channel's thread sleeps until it is woken, and will not check whether the channel is idle. */
static bool sleeps_for_good(void)
{
	bool sleeps;

	pthread_mutex_lock(&channel->link.writer.lock);
	sleeps = !channel->link.thread.awake && channel->link.thread.idle_at.ns == BEAM_FOREVER.ns &&
		 atomic_load(&channel->link.reader.activity) == ACTIVITY_NONE;
	pthread_mutex_unlock(&channel->link.writer.lock);
	return sleeps;
}

static bool is_full(void)
{
	bool full;

	pthread_mutex_lock(&channel->link.writer.lock);
	full = channel->link.writer.full;
	pthread_mutex_unlock(&channel->link.writer.lock);
	return full;
}

static void test_of_a_run_that_breaks_off_whole_messages_count(void)
{
	ssize_t result = -1;
	pthread_t thread;
	int queued = 0;

	begin_narrow(NULL);
	for (unsigned i = 0; i < TOPICS; i++)
		raw_peer_expect(&peer, RAW_OPEN);
	/* A run is sent only if nobody else writes. */
	check_within(20000, !is_written_to(channel));
	thread = thread_spawn(send_items, &result);
	check_within(20000, is_full());
	require_int(ioctl(peer.socket, FIONREAD, &queued), 0);
	raw_peer_close(&peer);
	thread_wait(thread);
	check_int(result, queued / (RAW_HEADER + ITEM) ? queued / (RAW_HEADER + ITEM) : -ECONNRESET);
	end();
}

static void test_the_loop_is_nudged_when_another_thread_finds_the_socket_full(void)
{
	struct beam_channel_options options = looped();
	int nudge;

	begin_settled(&options);
	nudge = beam_channel_loop_nudge_fd(channel);
	check_int(beam_channel_dispatch(channel, 0), 1);
	check(!is_readable(nudge));
	fault_only(FAULT(SYS_SENDMSG));
	fault_at(1, EAGAIN, FAULT_ONCE);
	check_int(send_words(1, "waits for room", BEAM_NOWAIT), 0);
	check(fault_hit());
	fault_off();
	check(is_readable(nudge));
	check_int(beam_channel_loop_events(channel) & POLLOUT, POLLOUT);
	check_int(beam_channel_dispatch(channel, POLLOUT), 1);
	expect_of_peer(1, "waits for room", 0);
	end();
}

static void test_a_call_that_did_not_go_has_no_id_and_is_not_cancelled(void)
{
	static char bulk[200000];
	struct iovec iov = {bulk, sizeof bulk};
	struct raw_frame frame = {0};
	beam_call *call = NULL;

	begin_settled(NULL);
	for (unsigned i = 0; i < TOPICS; i++)
		raw_peer_expect(&peer, RAW_OPEN);
	fault_only(FAULT(SYS_SENDMSG));
	fault_at(1, EAGAIN, FAULT_ONCE);
	check_int(beam_call_begin(&call, topics[1], &iov, 1, (int[]){STDIN_FILENO}, 1, 0, BEAM_NOWAIT), -EAGAIN);
	check(fault_hit());
	fault_off();
	check_int(beam_call_begin(&call, topics[1], NULL, 0, NULL, 0, 0, soon()), 0);
	require_int(raw_peer_next(&peer, &frame), 1);
	check_int(frame.kind, RAW_DATA);
	check_int(frame.argument, 1);
	beam_call_unref(call);
	end();
}

static void test_room_is_heard_of_again_and_again_while_another_thread_reads(void)
{
	struct beam_statistics sent = {0};
	struct receiver receiver;

	begin_narrow(NULL);
	start(&receiver, 1, soon());
	check_within(20000, is(STANDBY_REST, true));
	fill();
	check_within(20000, sleeps_for_good());
	check_int(beam_topic_statistics(topics[0], &sent, sizeof sent), 0);
	for (uint64_t i = 0; i < sent.messages_sent; i++)
		raw_peer_expect(&peer, RAW_DATA);
	say(1, "it is read");
	finish(&receiver, 1);
	end();
}

static void test_a_nudge_that_is_asked_for_late_shows_what_was_before(void)
{
	struct beam_channel_options options = looped();

	begin_settled(&options);
	fault_only(FAULT(SYS_SENDMSG));
	fault_at(1, EAGAIN, FAULT_ONCE);
	check_int(send_words(1, "waits for room", BEAM_NOWAIT), 0);
	check(fault_hit());
	fault_off();
	check(is_readable(beam_channel_loop_nudge_fd(channel)));
	end();
}

static void test_a_send_that_was_given_up_leaves_a_socket_that_is_written_to(void)
{
	begin_settled(NULL);
	check_within(20000, sleeps_for_good());
	fault_only(FAULT(SYS_SENDMSG));
	fault_at(1, EAGAIN, FAULT_ONCE);
	check_int(send_bulk(1, 200000, 1, BEAM_NOWAIT), -EAGAIN);
	check(fault_hit());
	fault_off();
	check_int(send_words(0, "next", soon()), 0);
	expect_of_peer(0, "next", 0);
	end();
}

static void test_who_leaves_the_writing_to_the_thread_wakes_it(void)
{
	begin_settled(NULL);
	check_within(20000, sleeps_for_good());
	/* The next send counts as one of a burst, however late it comes. */
	pthread_mutex_lock(&channel->link.writer.lock);
	channel->link.writer.in_a_row = 1 << 20;
	channel->link.writer.sent_at = clock_now() + INT64_C(3600) * 1000 * 1000 * 1000;
	pthread_mutex_unlock(&channel->link.writer.lock);
	check_int(send_words(0, "in a burst", soon()), 0);
	expect_of_peer(0, "in a burst", 0);
	end();
}

static int64_t back_off(void)
{
	int64_t result;

	pthread_mutex_lock(&channel->link.writer.lock);
	result = channel->link.writer.retry_after;
	pthread_mutex_unlock(&channel->link.writer.lock);
	return result;
}

static void test_what_fails_often_is_tried_again_before_long(void)
{
	begin_settled(NULL);
	fault_only(FAULT(SYS_SENDMSG));
	/* If each wait were twice as long as the one before, the last would take minutes. */
	fault_times(18);
	fault_at(1, ENOBUFS, FAULT_ONCE);
	check_int(send_words(0, "in the end", soon()), 0);
	fault_off();
	expect_of_peer(0, "in the end", 0);
	/* The next failure begins with a short wait again. */
	check_int(back_off(), 0);
	end();
}

static const struct test tests[] = {
    TEST(test_want_of_memory_while_waiting_for_room_is_told),
    TEST(test_who_waits_for_room_without_a_kick_looks_every_now_and_then),
    TEST(test_the_end_of_a_topic_reaches_those_who_wait_to_write_to_it),
    TEST(test_there_is_no_room_while_socket_and_buffer_are_full),
    TEST(test_a_call_of_which_a_part_has_gone_is_cancelled),
    TEST(test_of_a_run_that_breaks_off_whole_messages_count),
    TEST(test_the_loop_is_nudged_when_another_thread_finds_the_socket_full),
    TEST(test_a_call_that_did_not_go_has_no_id_and_is_not_cancelled),
    TEST(test_room_is_heard_of_again_and_again_while_another_thread_reads),
    TEST(test_a_nudge_that_is_asked_for_late_shows_what_was_before),
    TEST(test_a_send_that_was_given_up_leaves_a_socket_that_is_written_to),
    TEST(test_who_leaves_the_writing_to_the_thread_wakes_it),
    TEST(test_what_fails_often_is_tried_again_before_long),
};

HARNESS_MAIN("channel/meanwhile_full", tests)
