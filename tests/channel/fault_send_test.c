/* SPDX-License-Identifier: MIT */
/* Plain messages while all that can fail fails in turn; and what passes by itself, which nobody may notice. */
#include <channel/ledger.h>

/* ---- Each way of sending and of receiving -------------------------------------------------------------------------------------- */

static void one_of_each(void)
{
	struct ends *ends = ends_make(NULL);
	int r;

	if (!ends)
		return;
	for (int i = 0; i < 2; i++) {
		struct flow *flow = &ends->flow[i];
		beam_topic *from = ends->topic[i], *to = ends->topic[!i];

		flow_send(flow, from, SEND, 100, 0);
		flow_send(flow, from, SENDV, 3000, 0);
		flow_receive(flow, to);
		flow_send(flow, from, SEND_MESSAGE, 0, 0);
		flow_receive_many(flow, to, 8);
		flow_send_many(flow, from, 20, 40, 0);
		flow_receive_many(flow, to, 10);
		flow_send(flow, from, SEND_MANY, 500, 0);
		r = flow_receive_into(flow, to, HEAD);
		if (r == -EMSGSIZE)
			flow_receive_into(flow, to, 1000);
		r = beam_channel_flush(ends->channel[i], soon());
		result_of(r, 0, -EAGAIN, -ETIMEDOUT, -EPIPE, -ECONNRESET, -ENOMEM);
	}
	ends_finish(ends);
}

static void test_each_way_of_sending_and_receiving(void)
{
	check(sweep(one_of_each) >= at_least(80));
}

static void test_each_way_of_sending_and_receiving_does_not_notice_what_passes(void)
{
	check(sweep_passing(one_of_each) >= at_least(10));
}

static void test_each_way_of_sending_and_receiving_bears_what_lasts(void)
{
	check(sweep_lasting(one_of_each) >= at_least(10));
}

/* ---- Credit and bursts ------------------------------------------------------------------------------------------------------------------ */

static void send_windows(struct flow *flow, beam_topic *topic)
{
	for (size_t i = 0; i < 64; i++)
		flow_send(flow, topic, i % 3 ? SEND : SENDV, 4000 + i * 100, 0);
}

/* Six windows, one after the other. */
static void several_windows(void)
{
	struct beam_channel_options options = ends_options();
	struct ends *ends;

	options.topic_window_bytes = 64 << 10;
	ends = ends_make(&options);
	if (ends)
		ends_send_to_reader(ends, send_windows);
}

static void test_credit_comes_back_over_several_windows(void)
{
	check(sweep(several_windows) >= at_least(60));
}

static void test_credit_that_comes_back_does_not_notice_what_passes(void)
{
	check(sweep_passing(several_windows) >= at_least(10));
}

static void send_burst(struct flow *flow, beam_topic *topic)
{
	for (size_t i = 0; i < 10; i++)
		flow_send_many(flow, topic, 32, 16, 0);
	for (size_t i = 0; i < 300; i++)
		flow_send(flow, topic, SEND, 16, 0);
}

static void burst(void)
{
	struct ends *ends = ends_make(NULL);

	if (ends)
		ends_send_to_reader(ends, send_burst);
}

static void test_a_burst(void)
{
	check(sweep_error(burst, FAULT_ALL & ~(FAULT(SYS_EPOLL_WAIT) | FAULT(SYS_SENDMSG) | FAULT(SYS_RECVMSG)), 0, true) >=
	      at_least(25));
	check(sweep_passing(burst) >= at_least(10));
}

/* Two threads on one topic, who get into each other's way, and the buffer with them. */
struct writer {
	beam_topic *topic;
	unsigned accepted;
};

static void *write_some(void *argument)
{
	struct writer *writer = argument;

	for (int i = 0; i < 60; i++) {
		int r = beam_topic_send(writer->topic, "competing", 9, soon());

		writer->accepted += result_of(r, 0, -EAGAIN, -ETIMEDOUT, -EPIPE, -ECONNRESET, -ENOMEM);
	}
	return NULL;
}

static void compete(void)
{
	struct beam_channel_options options = ends_options();
	struct ends *ends;
	struct writer writers[2];
	pthread_t threads[2];
	beam_message *message = NULL;
	unsigned received = 0;
	int r;

	options.socket_buffer_bytes = 4 << 10;
	ends = ends_make(&options);
	if (!ends)
		return;
	for (int i = 0; i < 2; i++) {
		writers[i] = (struct writer){ends->topic[0], 0};
		threads[i] = thread_spawn(write_some, &writers[i]);
	}
	for (int i = 0; i < 2; i++)
		thread_wait(threads[i]);
	beam_topic_close(ends->topic[0]);
	while ((r = beam_topic_receive(ends->topic[1], &message, soon())) == 1) {
		received++;
		beam_message_free(message);
	}
	if (result_of(r, 0, -EAGAIN, -ETIMEDOUT, -ECONNRESET, -ENOMEM))
		check_int(received, writers[0].accepted + writers[1].accepted);
	check(received <= writers[0].accepted + writers[1].accepted);
	ends_release(ends, 0);
}

static void test_two_threads_on_one_topic(void)
{
	check(sweep_error(compete, FAULT_ALL & ~(FAULT(SYS_EPOLL_WAIT) | FAULT(SYS_SENDMSG) | FAULT(SYS_RECVMSG)), 0, true) >
	      25);
	check(sweep_passing(compete) >= at_least(10));
}

static const struct test tests[] = {
    TEST(test_each_way_of_sending_and_receiving),
    TEST(test_each_way_of_sending_and_receiving_does_not_notice_what_passes),
    TEST(test_each_way_of_sending_and_receiving_bears_what_lasts),
    TEST(test_credit_comes_back_over_several_windows),
    TEST(test_credit_that_comes_back_does_not_notice_what_passes),
    TEST(test_a_burst),
    TEST(test_two_threads_on_one_topic),
};
HARNESS_MAIN("channel-fault-send", tests)
