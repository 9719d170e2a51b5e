/* SPDX-License-Identifier: MIT */
/*
 * Messages that were accepted and then lost: who gets the error, what the counters say, and that
 * nothing else is affected. The channel has no thread, so the test decides when the buffer is
 * written.
 */
#include <beam/call.h>
#include <beam/event.h>
#include <channel/scene.h>
#include <harness/fault.h>

static void begin_looped(void)
{
	struct beam_channel_options options = looped();

	begin_settled(&options);
}

/* The next write finds the socket full. */
static void find_it_full(void)
{
	fault_only(FAULT(SYS_SENDMSG));
	fault_at(1, EAGAIN, FAULT_ONCE);
}

/* The kernel refuses the next `n` descriptors, first all of them together, then each alone. */
static void refuse(int error, unsigned n)
{
	fault_only(FAULT(SYS_SENDMSG));
	fault_times(1 + n);
	fault_at(1, error, FAULT_ONCE);
}

static void write_what_waits(void)
{
	while (is_written_to(channel))
		check_int(beam_channel_dispatch(channel, POLLOUT), 1);
	fault_off();
}

/* Messages that were accepted on a topic are dropped. */
static void lose_some(unsigned topic, int error, unsigned n)
{
	find_it_full();
	for (unsigned i = 0; i < n; i++)
		check_int(send_stdin(topic, "lost", BEAM_NOWAIT), 0);
	refuse(error, n);
	write_what_waits();
}

static void lose(unsigned topic, int error)
{
	lose_some(topic, error, 1);
}

static void expect_losses(unsigned topic, uint64_t messages, int first_error, int last_error)
{
	struct beam_losses losses;

	check_int(beam_topic_losses(topics[topic], &losses, sizeof losses), 0);
	check_int(losses.messages, messages);
	check_int(losses.first_error, first_error);
	check_int(losses.last_error, last_error);
}

static void expect_losses_of_channel(uint64_t messages, int first_error, int last_error)
{
	struct beam_statistics statistics;
	struct beam_losses losses;

	check_int(beam_channel_losses(channel, &losses, sizeof losses), 0);
	check_int(losses.messages, messages);
	check_int(losses.first_error, first_error);
	check_int(losses.last_error, last_error);
	check_int(beam_channel_statistics(channel, &statistics, sizeof statistics), 0);
	check_int(statistics.messages_lost, messages);
}

/* ---- Sends ----------------------------------------------------------------------------------- */

static void test_one_send_on_the_topic_is_told_once_and_the_sums_stay(void)
{
	begin_looped();
	expect_losses(1, 0, 0, 0);
	lose(1, EPERM);
	check_int(send_words(2, "another topic", soon()), 0);
	check_int(send_words(1, "told", soon()), -EIO);
	check_int(send_words(1, "sent", soon()), 0);
	for (int i = 0; i < 2; i++)
		expect_losses(1, 1, -EPERM, -EPERM);
	/* Two more losses make one error. */
	lose_some(1, EBADF, 2);
	check_int(send_stdin(1, "told", soon()), -EIO);
	check_int(send_stdin(1, "sent too", soon()), 0);
	expect_losses(1, 3, -EPERM, -EBADF);
	expect_losses(2, 0, 0, 0);
	expect_losses_of_channel(3, -EPERM, -EBADF);
	expect_of_peer(2, "another topic", 0);
	expect_of_peer(1, "sent", 0);
	expect_of_peer(1, "sent too", 1);
	end();
}

static void test_as_many_of_the_sums_as_there_is_room_for(void)
{
	struct beam_losses losses = {99, 98, 97};

	begin_looped();
	lose(1, EPERM);
	check_int(beam_topic_losses(topics[1], &losses, offsetof(struct beam_losses, last_error)), 0);
	check_int(losses.messages, 1);
	check_int(losses.first_error, -EPERM);
	check_int(losses.last_error, 97);
	end();
}

/* The send that reported the loss was not charged. */
static void test_what_was_not_sent_because_of_it_costs_no_credit(void)
{
	struct outlet *outlet;
	uint64_t used;

	begin_looped();
	outlet = &topics[1]->outbox.outlet;
	used = outlet->used_bytes;
	lose(1, EPERM);
	check_int(send_words(1, "told", soon()), -EIO);
	check_int(outlet->used_bytes, used);
	check_int(outlet->messages, 1);
	end();
}

struct waiting_sender {
	pthread_t thread;
	int result;
	atomic_bool done;
};

static void *send_or_wait(void *argument)
{
	struct waiting_sender *sender = argument;

	sender->result = send_words(1, "waits", soon());
	atomic_store(&sender->done, true);
	return NULL;
}

static unsigned claims(void)
{
	unsigned n = 0;

	pthread_mutex_lock(&channel->link.writer.lock);
	for (struct list *link = channel->link.writer.tx.claims.next; link != &channel->link.writer.tx.claims;
	     link = link->next)
		n++;
	pthread_mutex_unlock(&channel->link.writer.lock);
	return n;
}

/* Nobody gets credit on the topic, even if a charge is taken back. */
static void bar(bool on)
{
	pthread_mutex_lock(&channel->link.writer.lock);
	topics[1]->outbox.outlet.busy = on;
	if (!on)
		tx_wake_outlet(&channel->link.writer.tx, &topics[1]->outbox.outlet);
	pthread_mutex_unlock(&channel->link.writer.lock);
}

/* What is in the buffer stays there. */
static void hold(bool on)
{
	pthread_mutex_lock(&channel->link.writer.lock);
	channel->link.writer.tx.held = on;
	pthread_mutex_unlock(&channel->link.writer.lock);
}

static void test_one_of_those_who_wait_for_credit_is_told(void)
{
	struct waiting_sender senders[2] = {{.result = 0}};
	unsigned told = 0;

	begin_looped();
	find_it_full();
	check_int(send_stdin(1, "lost", BEAM_NOWAIT), 0);
	hold(true);
	bar(true);
	for (unsigned i = 0; i < 2; i++) {
		senders[i].thread = thread_spawn(send_or_wait, &senders[i]);
		check_within(20000, claims() == i + 1);
	}
	refuse(EPERM, 1);
	hold(false);
	write_what_waits();
	check_within(20000, atomic_load(&senders[0].done) || atomic_load(&senders[1].done));
	bar(false);
	for (unsigned i = 0; i < 2; i++) {
		thread_wait(senders[i].thread);
		told += senders[i].result == -EIO;
		check(senders[i].result == -EIO || senders[i].result == 0);
	}
	check_int(told, 1);
	expect_losses(1, 1, -EPERM, -EPERM);
	expect_of_peer(1, "waits", 0);
	end();
}

static void test_a_large_message_goes_on_though_one_before_it_is_lost_meanwhile(void)
{
	static char bulk[TX_WHOLE + 8000];
	struct raw_frame frame;

	begin_looped();
	find_it_full();
	check_int(send_stdin(1, "lost", BEAM_NOWAIT), 0);
	refuse(EPERM, 1);
	check_int(beam_topic_send(topics[1], bulk, sizeof bulk, 0, soon()), 0);
	check(fault_hit());
	fault_off();
	frame = raw_peer_expect(&peer, RAW_DATA);
	check_int(frame.flags & RAW_MORE, RAW_MORE);
	frame = raw_peer_expect(&peer, RAW_DATA);
	check_int(frame.flags & (RAW_MORE | RAW_ABORT), 0);
	check_int(send_words(1, "told", soon()), -EIO);
	end();
}

static void test_of_many_that_stop_short_the_next_is_told(void)
{
	static char bulk[TX_LARGE];
	const int fd = STDIN_FILENO;
	const struct beam_send_item items[] = {{"first", 5, &fd, 1}, {bulk, sizeof bulk, NULL, 0}};

	begin_looped();
	pthread_mutex_lock(&channel->link.writer.lock);
	channel->link.writer.full = true;
	pthread_mutex_unlock(&channel->link.writer.lock);
	/*
	 * The first message waits in the buffer. It is lost when the second one needs the buffer to
	 * be written.
	 */
	refuse(EPERM, 1);
	check_int(beam_topic_send_many(topics[1], items, 2, 0, soon()), 1);
	fault_off();
	expect_losses(1, 1, -EPERM, -EPERM);
	check_int(beam_topic_send_many(topics[1], items, 2, 0, soon()), -EIO);
	check_int(beam_topic_send_many(topics[1], items, 1, 0, soon()), 1);
	end();
}

static void test_many_that_would_go_in_one_write_are_told_too(void)
{
	const int fd = STDIN_FILENO;
	const struct beam_send_item items[] = {{"first", 5, &fd, 1}, {"second", 6, &fd, 1}};

	begin_looped();
	lose(1, EPERM);
	check_int(beam_topic_send_many(topics[1], items, 2, 0, soon()), -EIO);
	check_int(beam_topic_send_many(topics[1], items, 2, 0, soon()), 2);
	expect_of_peer(1, "first", 1);
	expect_of_peer(1, "second", 1);
	end();
}

static void test_after_a_close_of_the_topic_the_loss_comes_first(void)
{
	begin_looped();
	lose(1, EPERM);
	check_int(beam_topic_close_send(topics[1]), 0);
	check_int(send_words(1, "told", soon()), -EIO);
	check_int(send_words(1, "closed", soon()), -EPIPE);
	expect_losses(1, 1, -EPERM, -EPERM);
	end();
}

/* ---- Calls and replies ----------------------------------------------------------------------- */

static void test_of_a_lost_call_its_caller_is_told_and_no_sender(void)
{
	beam_message *message = NULL;
	beam_call *call = NULL;

	begin_looped();
	find_it_full();
	check_int(beam_call_begin(&call, topics[1], NULL, 0, (int[]){STDIN_FILENO}, 1, 0, BEAM_NOWAIT), 0);
	refuse(EPERM, 1);
	write_what_waits();
	check_int(beam_call_receive(call, &message, 0, soon()), -EPERM);
	check_int(send_words(1, "sent", soon()), 0);
	expect_losses(1, 1, -EPERM, -EPERM);
	beam_call_unref(call);
	end();
}

static beam_message *receive_call(void)
{
	beam_message *request = NULL;

	raw_frame(&out, RAW_DATA, 0, 0, 1, 1, "asks", 4);
	raw_peer_send(&peer, &out);
	require_int(beam_topic_receive(topics[0], &request, 0, soon()), 1);
	require(beam_message_is_call(request));
	return request;
}

/* An accepted reply is dropped. */
static void lose_reply(beam_message *request, unsigned flags)
{
	find_it_full();
	check_int(beam_message_replyv(request, NULL, 0, (int[]){STDIN_FILENO}, 1, flags, BEAM_NOWAIT), 0);
	refuse(EPERM, 1);
	write_what_waits();
}

static void test_of_a_lost_reply_the_next_one_is_told(void)
{
	beam_message *request;

	begin_looped();
	request = receive_call();
	lose_reply(request, BEAM_REPLY_MORE);
	check_int(beam_message_reply(request, "told", 4, 0, soon()), -EIO);
	lose_reply(request, BEAM_REPLY_MORE);
	check_int(beam_message_reply_failure(request, BEAM_FAILURE_APPLICATION, NULL, 0, 0, soon()), -EIO);
	check_int(beam_message_reply(request, "last", 4, 0, soon()), 0);
	beam_message_free(request);
	check_int(raw_peer_expect(&peer, RAW_REPLY).size, 4);
	expect_losses(0, 0, 0, 0);
	expect_losses_of_channel(2, -EPERM, -EPERM);
	end();
}

static void test_of_a_lost_last_reply_flush_tells(void)
{
	beam_message *request;

	begin_looped();
	request = receive_call();
	lose_reply(request, 0);
	check_int(beam_message_reply(request, "too late", 8, 0, soon()), -EALREADY);
	beam_message_free(request);
	/* The caller gets an error instead. */
	check_int(raw_peer_expect(&peer, RAW_REPLY).flags & RAW_ERROR, RAW_ERROR);
	check_int(beam_channel_flush(channel, soon()), -EIO);
	expect_losses_of_channel(1, -EPERM, -EPERM);
	end();
}

/* ---- The channel ----------------------------------------------------------------------------- */

static void test_flush_tells_once_whatever_senders_were_told(void)
{
	begin_looped();
	lose(1, EPERM);
	check_int(send_words(1, "told", soon()), -EIO);
	check_int(beam_channel_flush(channel, soon()), -EIO);
	check_int(beam_channel_flush(channel, soon()), 0);
	lose(2, EPERM);
	check_int(beam_channel_flush(channel, soon()), -EIO);
	check_int(send_words(2, "told", soon()), -EIO);
	end();
}

static void test_close_tells_and_has_said_goodbye(void)
{
	begin_looped();
	lose(1, EPERM);
	check_int(beam_channel_close(channel, soon()), -EIO);
	check_int(beam_channel_close(channel, soon()), 0);
	raw_peer_expect(&peer, RAW_GOODBYE);
	/* The error for all sends takes precedence over that of one topic. */
	check_int(send_words(1, "closed", soon()), -EPIPE);
	expect_losses(1, 1, -EPERM, -EPERM);
	end();
}

static void test_of_a_topic_that_was_released_the_channel_still_knows(void)
{
	begin_looped();
	find_it_full();
	check_int(send_stdin(1, "lost", BEAM_NOWAIT), 0);
	refuse(EPERM, 1);
	topics[1] = beam_topic_unref(topics[1]);
	write_what_waits();
	expect_losses_of_channel(1, -EPERM, -EPERM);
	check_int(beam_channel_flush(channel, soon()), -EIO);
	end();
}

static void test_the_end_of_the_channel_is_a_reason_too(void)
{
	begin_looped();
	lose(1, EPERM);
	find_it_full();
	check_int(send_words(1, "told", BEAM_NOWAIT), -EIO);
	check_int(send_words(1, "will not go", BEAM_NOWAIT), 0);
	check_int(send_words(2, "nor will this", BEAM_NOWAIT), 0);
	fault_off();
	check_int(beam_channel_abort(channel), 0);
	check_int(send_words(1, "ended", soon()), -ECONNRESET);
	expect_losses(1, 2, -EPERM, -ECONNRESET);
	expect_losses(2, 1, -ECONNRESET, -ECONNRESET);
	expect_losses_of_channel(3, -EPERM, -ECONNRESET);
	end();
}

static const struct test tests[] = {
    TEST(test_one_send_on_the_topic_is_told_once_and_the_sums_stay),
    TEST(test_as_many_of_the_sums_as_there_is_room_for),
    TEST(test_what_was_not_sent_because_of_it_costs_no_credit),
    TEST(test_one_of_those_who_wait_for_credit_is_told),
    TEST(test_a_large_message_goes_on_though_one_before_it_is_lost_meanwhile),
    TEST(test_of_many_that_stop_short_the_next_is_told),
    TEST(test_many_that_would_go_in_one_write_are_told_too),
    TEST(test_after_a_close_of_the_topic_the_loss_comes_first),
    TEST(test_of_a_lost_call_its_caller_is_told_and_no_sender),
    TEST(test_of_a_lost_reply_the_next_one_is_told),
    TEST(test_of_a_lost_last_reply_flush_tells),
    TEST(test_flush_tells_once_whatever_senders_were_told),
    TEST(test_close_tells_and_has_said_goodbye),
    TEST(test_of_a_topic_that_was_released_the_channel_still_knows),
    TEST(test_the_end_of_the_channel_is_a_reason_too),
};

HARNESS_MAIN("channel/losses", tests)
