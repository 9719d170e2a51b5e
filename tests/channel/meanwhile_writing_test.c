/* SPDX-License-Identifier: MIT */
/*
 * Between two steps of a thread another one takes some of its own, brought about each time by what is run at a call of the first one's: while
 * somebody writes, or waits for room in the socket.
 */
#include <beam/call.h>
#include <beam/event.h>
#include <channel/scene.h>
#include <harness/fault.h>

/* A message of one frame that does not go into the buffer, unless its sender must not wait. */
enum { PAST_THE_BUFFER = TX_LARGE - 8 };

/* ---- While somebody writes ----------------------------------------------------------------------------------------------------------- */

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

static int send_bulk(unsigned topic, size_t size, size_t n_fds, beam_deadline deadline)
{
	static char bulk[200000];
	struct iovec iov = {bulk, size};

	return beam_topic_sendv(topics[topic], &iov, 1, (int[]){STDIN_FILENO}, n_fds, 0, deadline);
}

/* The descriptors in flight are too many, as far as this side knows. */
static void hold(bool on)
{
	pthread_mutex_lock(&channel->tx_lock);
	channel->tx.held = on;
	channel->retry_at = on ? beam_in_ms(INT64_C(3600) * 1000) : BEAM_FOREVER;
	pthread_mutex_unlock(&channel->tx_lock);
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
	/* What is large is for the buffer only if it must not wait; what may be refused and has several frames, never. */
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

/* What went into the buffer will be refused: when it is among others, and alone. */
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

	pthread_mutex_lock(&channel->tx_lock);
	refused = topics[1]->outbox.outlet.losses.untold;
	pthread_mutex_unlock(&channel->tx_lock);
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
	/* It is told at once, not only where there is room. */
	pthread_mutex_lock(&channel->tx_lock);
	channel->full = true;
	rooms_show(channel);
	pthread_mutex_unlock(&channel->tx_lock);
	check(is_readable(fd));
	check_int(send_words(1, "told", soon()), -EIO);
	end();
}

/* There is credit for a short message on the topic, but for none that would show as room. */
static void leave_little_credit(beam_topic *topic)
{
	struct outlet *outlet = &topic->outbox.outlet;

	pthread_mutex_lock(&channel->tx_lock);
	outlet->limit_bytes = outlet->used_bytes + 200;
	channel->tx.pool.limit = channel->tx.pool.used;
	rooms_show(channel);
	pthread_mutex_unlock(&channel->tx_lock);
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

struct sending_thread {
	pthread_t thread;
	size_t size, n_fds;
	unsigned topic;
	int result;
};

static void *send_soon(void *argument)
{
	struct sending_thread *sending = argument;

	sending->result = send_bulk(sending->topic, sending->size, sending->n_fds, soon());
	return NULL;
}

static void start_sending(struct sending_thread *sending, unsigned topic, size_t size)
{
	unsigned before = writers();

	*sending = (struct sending_thread){.topic = topic, .size = size};
	sending->thread = thread_spawn(send_soon, sending);
	check_within(20000, writers() == before + 1);
}

static void wake_who_waits(void *argument)
{
	start_sending(argument, 1, PAST_THE_BUFFER);
	pthread_mutex_lock(&channel->tx_lock);
	write_wake_all(channel);
	pthread_mutex_unlock(&channel->tx_lock);
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

/* Without a thread: a message stands in the buffer, begun for all the channel knows, and another of the same topic behind it. */
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

/* Who flushes is woken for nothing, and finds that the kernel has no memory for the moment. */
static void flush_with_obstacles(void *argument)
{
	struct flushing *flushing = argument;

	check_int(send_words(1, "flushed", BEAM_NOWAIT), 0);
	flushing->thread = thread_spawn(flush_soon, &flushing->result);
	check_within(20000, writers() > 0);
	pthread_mutex_lock(&channel->tx_lock);
	write_wake_all(channel);
	pthread_mutex_unlock(&channel->tx_lock);
	check_within(20000, writers() > 0);
	/* It is tried again as late as can be. */
	pthread_mutex_lock(&channel->tx_lock);
	channel->retry_after = INT64_C(1000) * 1000 * 1000;
	pthread_mutex_unlock(&channel->tx_lock);
	fault_only(FAULT(SYS_SENDMSG));
	fault_at(2, ENOBUFS, FAULT_ONCE);
}

/* Somebody waits until it is time to try again. */
static bool is_put_off(void)
{
	bool put_off;

	pthread_mutex_lock(&channel->tx_lock);
	put_off = channel->retry_at.ns != BEAM_FOREVER.ns && !list_empty(&channel->writers);
	pthread_mutex_unlock(&channel->tx_lock);
	return put_off;
}

static void test_flushing_goes_on_after_what_passes(void)
{
	struct flushing flushing;

	begin_settled(NULL);
	fault_meanwhile(SYS_SENDMSG, 1, flush_with_obstacles, &flushing);
	check_int(send_words(0, "writing", soon()), 0);
	/* Another writer comes first, unless this takes so long that it is tried again meanwhile. */
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

/* ---- While the socket is full --------------------------------------------------------------------------------------------------------- */

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

/* One has the right and waits for room in the socket, the other one for the right. */
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
	/* Who writes what is left leaves no room for a moment. */
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
	/* No answer is wanted, and the message is broken off. */
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

/* The channel's thread sleeps until somebody wakes it, and will not look whether it is idle. */
static bool sleeps_for_good(void)
{
	bool sleeps;

	pthread_mutex_lock(&channel->tx_lock);
	sleeps = !channel->awake && channel->idle_at.ns == BEAM_FOREVER.ns && atomic_load(&channel->activity) == ACTIVITY_NONE;
	pthread_mutex_unlock(&channel->tx_lock);
	return sleeps;
}

static bool is_full(void)
{
	bool full;

	pthread_mutex_lock(&channel->tx_lock);
	full = channel->full;
	pthread_mutex_unlock(&channel->tx_lock);
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
	/* A run needs nobody else who writes. */
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
	/* The next send is one of a burst, however long it takes to come. */
	pthread_mutex_lock(&channel->tx_lock);
	channel->in_a_row = 1 << 20;
	channel->sent_at = clock_now() + INT64_C(3600) * 1000 * 1000 * 1000;
	pthread_mutex_unlock(&channel->tx_lock);
	check_int(send_words(0, "in a burst", soon()), 0);
	expect_of_peer(0, "in a burst", 0);
	end();
}

static int64_t back_off(void)
{
	int64_t result;

	pthread_mutex_lock(&channel->tx_lock);
	result = channel->retry_after;
	pthread_mutex_unlock(&channel->tx_lock);
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
	/* What fails next is another matter. */
	check_int(back_off(), 0);
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

HARNESS_MAIN("channel/meanwhile_writing", tests)
