/* SPDX-License-Identifier: MIT */
/*
 * Plain messages, while all calls that can fail do so in turn. Some faults must have no visible
 * effect.
 */
#include <scenario/ledger.h>
#include <scenario/scenarios.h>

/* ---- Every way of sending and receiving ------------------------------------------------------ */

void each_way_of_sending_and_receiving(void)
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
		result_of(r, 0, -EIO, -EAGAIN, -ETIMEDOUT, -EPIPE, -ECONNRESET, -ENOMEM);
	}
	ends_finish(ends);
}

/* ---- Credit and bursts ----------------------------------------------------------------------- */

static void send_windows(struct flow *flow, beam_topic *topic)
{
	for (size_t i = 0; i < 64; i++)
		flow_send(flow, topic, i % 3 ? SEND : SENDV, 4000 + i * 100, 0);
}

/* The sender uses six windows of credit. */
void credit_over_several_windows(void)
{
	struct beam_channel_options options = ends_options();
	struct ends *ends;

	options.topic_window_bytes = 64 << 10;
	ends = ends_make(&options);
	if (ends)
		ends_send_to_reader(ends, send_windows);
}

static void send_burst(struct flow *flow, beam_topic *topic)
{
	for (size_t i = 0; i < 10; i++)
		flow_send_many(flow, topic, 32, 16, 0);
	for (size_t i = 0; i < 300; i++)
		flow_send(flow, topic, SEND, 16, 0);
}

void a_burst(void)
{
	struct ends *ends = ends_make(NULL);

	if (ends)
		ends_send_to_reader(ends, send_burst);
}

/*
 * Two threads that send on one topic at the same time, so that they compete for the socket and the
 * buffer.
 */
struct writer {
	beam_topic *topic;
	unsigned accepted;
};

static void *write_some(void *argument)
{
	struct writer *writer = argument;

	for (int i = 0; i < 60; i++) {
		int r = beam_topic_send(writer->topic, "competing", 9, 0, soon());

		writer->accepted += result_of(r, 0, -EAGAIN, -ETIMEDOUT, -EPIPE, -ECONNRESET, -ENOMEM);
	}
	return NULL;
}

void two_threads_on_one_topic(void)
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
	beam_topic_close_send(ends->topic[0]);
	while ((r = beam_topic_receive(ends->topic[1], &message, 0, soon())) == 1) {
		received++;
		beam_message_free(message);
	}
	if (result_of(r, 0, -EAGAIN, -ETIMEDOUT, -ECONNRESET, -ENOMEM))
		check_int(received, writers[0].accepted + writers[1].accepted);
	check(received <= writers[0].accepted + writers[1].accepted);
	ends_release(ends, 0);
}
