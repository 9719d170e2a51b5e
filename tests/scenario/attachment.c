/* SPDX-License-Identifier: MIT */
/*
 * Messages with attachments, borrowed and given, written at once and buffered, while all calls that
 * can fail do so in turn.
 */
#include <scenario/ledger.h>
#include <scenario/scenarios.h>

/* ---- One at a time --------------------------------------------------------------------------- */

void attachments_borrowed_and_given(void)
{
	struct ends *ends = ends_make(NULL);

	if (!ends)
		return;
	for (int i = 0; i < 2; i++) {
		struct flow *flow = &ends->flow[i];
		beam_topic *from = ends->topic[i], *to = ends->topic[!i];

		flow_send(flow, from, SENDV, 100, 1);
		flow_receive(flow, to);
		flow_send(flow, from, SEND_MESSAGE, 100, 3);
		flow_receive_into(flow, to, 1000);
		/* More attachments than a message holds without allocating memory for them. */
		flow_send(flow, from, SEND_MESSAGE, 5000, 20);
		flow_send_many(flow, from, 3, 50, 2);
		flow_receive_many(flow, to, 8);
	}
	ends_finish(ends);
}

/* Some attachments are taken, some stay in their message, and some in the queue. */
void attachments_taken_and_left(void)
{
	struct ends *ends = ends_make(NULL);
	beam_message *message = NULL;

	if (!ends)
		return;
	flow_send(&ends->flow[0], ends->topic[0], SENDV, 100, 4);
	flow_send(&ends->flow[0], ends->topic[0], SENDV, 100, 4);
	if (beam_topic_receive(ends->topic[1], &message, 0, soon()) == 1) {
		int fd = beam_message_take_fd(message, 1);

		check(fd >= 0);
		check_int(beam_message_take_fd(message, 1), -ENOENT);
		/* Without this attachment, the message cannot be sent any more. */
		check_int(beam_topic_send_message(ends->topic[1], message, 0, soon()), -ENOENT);
		close(fd);
		beam_message_free(message);
		ends->flow[0].received[ends->flow[0].n_received++] = ends->flow[0].accepted[0];
	}
	ends_release(ends, 2);
}

/* A message that was received is sent on with its attachments. */
void attachments_sent_on(void)
{
	struct ends *ends = ends_make(NULL);
	beam_message *message = NULL;
	int r;

	if (!ends)
		return;
	flow_send(&ends->flow[0], ends->topic[0], SENDV, 100, 2);
	if (beam_topic_receive(ends->topic[1], &message, 0, soon()) == 1) {
		r = beam_topic_send_message(ends->topic[1], message, 0, soon());
		if (!result_of(r, 0, -EAGAIN, -ETIMEDOUT, -EPIPE, -ECONNRESET, -ENOMEM, -EMFILE)) {
			check_int(beam_message_attachments(message), 2);
			beam_message_free(message);
		} else {
			ends->flow[1].accepted[ends->flow[1].n_accepted++] = ends->flow[0].accepted[0];
		}
		ends->flow[0].received[ends->flow[0].n_received++] = ends->flow[0].accepted[0];
	}
	ends_finish(ends);
}

/* ---- Given ----------------------------------------------------------------------------------- */

void attachments_given_by_number(void)
{
	struct ends *ends = ends_make(NULL);

	if (!ends)
		return;
	for (int i = 0; i < 2; i++) {
		struct flow *flow = &ends->flow[i];
		beam_topic *from = ends->topic[i], *to = ends->topic[!i];

		flow_send(flow, from, GIVEV, 100, 1);
		flow_receive(flow, to);
		flow_send(flow, from, GIVEV, 5000, 20);
		flow_receive(flow, to);
		flow_give_many(flow, from, 3, 50, 2);
		flow_receive_many(flow, to, 8);
		/* A message of several frames. */
		flow_send(flow, from, GIVEV, 100 << 10, 3);
		flow_receive(flow, to);
	}
	ends_finish(ends);
}

/* The same as attachments_in_the_buffer(), with descriptors that are given. */
void attachments_given_in_the_buffer(void)
{
	struct beam_channel_options options = ends_options();
	struct ends *ends;

	options.socket_buffer_bytes = 4 << 10;
	ends = ends_make(&options);
	if (!ends)
		return;
	for (int i = 0; i < 8; i++)
		flow_send_until(&ends->flow[0], ends->topic[0], i % 2 ? SENDV : GIVEV, 3000, (size_t)(i % 4),
				strict ? soon() : BEAM_NOWAIT);
	flow_give_many(&ends->flow[0], ends->topic[0], 8, 2000, 1);
	ends_finish(ends);
}

void attachments_given_to_calls(void)
{
	struct ends *ends = ends_make(NULL);
	beam_message *request = NULL, *reply = NULL;
	beam_call *call = NULL;
	int fds[2], r;

	if (!ends)
		return;
	given_make(fds, 2);
	r = beam_call_begin(&call, ends->topic[0], NULL, 0, fds, 2, BEAM_SEND_GIVE_FDS, soon());
	if (!result_of(r, 0, -EIO, -EAGAIN, -ETIMEDOUT, -EPIPE, -ECONNRESET, -ENOMEM, -EMFILE))
		given_take_back(fds, 2);
	r = beam_topic_receive(ends->topic[1], &request, 0, soon());
	if (r == 1 && beam_message_attachments(request) == 2) {
		given_make(fds, 2);
		r = beam_message_replyv(request, NULL, 0, fds, 2, BEAM_SEND_GIVE_FDS, soon());
		if (!result_of(r, 0, -EIO, -ECANCELED, -EAGAIN, -ETIMEDOUT, -EPIPE, -ECONNRESET, -ENOMEM, -EMFILE))
			given_take_back(fds, 2);
	}
	beam_message_free(request);
	if (call && beam_call_receive(call, &reply, 0, soon()) == 1)
		check_int(beam_message_attachments(reply), 2);
	check(!strict || reply != NULL);
	beam_message_free(reply);
	beam_call_unref(call);
	ends_release(ends, 0);
}

/* ---- Queued ---------------------------------------------------------------------------------- */

/* The losses that the topic and the channel report are consistent. */
static void check_losses(const struct ends *ends)
{
	struct beam_losses of_topic, of_channel;

	check_int(beam_topic_losses(ends->topic[0], &of_topic, sizeof of_topic), 0);
	check_int(beam_channel_losses(ends->channel[0], &of_channel, sizeof of_channel), 0);
	check(of_topic.messages <= of_channel.messages);
	check((of_topic.messages > 0) == (of_topic.first_error < 0 && of_topic.last_error < 0));
	check(!strict || of_channel.messages == 0);
}

/*
 * The socket is full, so that messages wait in the buffer, with duplicates of their attachments or
 * with those that were given.
 */
void attachments_in_the_buffer(void)
{
	struct beam_channel_options options = ends_options();
	struct ends *ends;
	int r;

	options.socket_buffer_bytes = 4 << 10;
	ends = ends_make(&options);
	if (!ends)
		return;
	/* They fit into the first window. Nobody receives yet. */
	for (int i = 0; i < 8; i++)
		flow_send_until(&ends->flow[0], ends->topic[0], i % 2 ? SENDV : SEND_MESSAGE, 3000, (size_t)(i % 4),
				strict ? soon() : BEAM_NOWAIT);
	flow_send_many(&ends->flow[0], ends->topic[0], 8, 2000, 1);
	r = beam_channel_flush(ends->channel[0], soon());
	result_of(r, 0, -EIO, -EAGAIN, -ETIMEDOUT, -EPIPE, -ECONNRESET, -ENOMEM);
	check_losses(ends);
	ends_finish(ends);
}

static void send_many_attached(struct flow *flow, beam_topic *topic)
{
	for (int i = 0; i < 20; i++) {
		flow_send(flow, topic, i % 2 ? SENDV : SEND_MESSAGE, 100, 8);
		flow_send(flow, topic, SEND, 50, 0);
	}
}

/* The credit for attachments is used up and returned many times. */
void credit_for_attachments(void)
{
	struct beam_channel_options options = ends_options();
	struct ends *ends;

	options.message_attachments = options.topic_window_attachments = 16;
	options.attachments = 64;
	ends = ends_make(&options);
	if (ends)
		ends_send_to_reader(ends, send_many_attached);
}

/* Attachments of messages of several frames. */
void attachments_of_large_messages(void)
{
	struct ends *ends = ends_make(NULL);

	if (!ends)
		return;
	flow_send(&ends->flow[0], ends->topic[0], SENDV, 300 << 10, 3);
	flow_receive(&ends->flow[0], ends->topic[1]);
	flow_send(&ends->flow[0], ends->topic[0], SEND_MESSAGE, 100 << 10, 3);
	flow_receive(&ends->flow[0], ends->topic[1]);
	ends_finish(ends);
}

/* ---- Refused --------------------------------------------------------------------------------- */
