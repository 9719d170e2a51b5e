/* SPDX-License-Identifier: MIT */
/* Messages with attachments, borrowed and given, at once and from the buffer, while all that can fail fails in turn. */
#include <channel/ledger.h>

/* Every call of a scenario, then what passes, then what lasts. What is attached is open meanwhile. */
static void sweep_attached(void (*scenario)(void))
{
	attached_open();
	check(sweep(scenario) >= at_least(40));
	check(sweep_passing(scenario) >= at_least(10));
	check(sweep_lasting(scenario) >= at_least(10));
	attached_close();
}

/* ---- One at a time ----------------------------------------------------------------------------------------------------------- */

static void borrow_and_give(void)
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
		/* More than a message holds without memory of its own for them. */
		flow_send(flow, from, SEND_MESSAGE, 5000, 20);
		flow_send_many(flow, from, 3, 50, 2);
		flow_receive_many(flow, to, 8);
	}
	ends_finish(ends);
}

static void test_attachments_that_are_borrowed_and_given(void)
{
	sweep_attached(borrow_and_give);
}

/* Some are taken, some stay in their message, some stay in the queue. */
static void take_some(void)
{
	struct ends *ends = ends_make(NULL);
	beam_message *message = NULL;

	if (!ends)
		return;
	flow_send(&ends->flow[0], ends->topic[0], SENDV, 100, 4);
	flow_send(&ends->flow[0], ends->topic[0], SENDV, 100, 4);
	if (beam_topic_receive(ends->topic[1], &message, soon()) == 1) {
		int fd = beam_message_take_fd(message, 1);

		check(fd >= 0);
		check_int(beam_message_take_fd(message, 1), -ENOENT);
		/* It is not whole any more. */
		check_int(beam_topic_send_message(ends->topic[1], message, soon()), -ENOENT);
		close(fd);
		beam_message_free(message);
		ends->flow[0].received[ends->flow[0].n_received++] = ends->flow[0].accepted[0];
	}
	ends_release(ends, 2);
}

static void test_attachments_that_are_taken_and_left(void)
{
	sweep_attached(take_some);
}

/* A message that came goes on, with what it has. */
static void forward(void)
{
	struct ends *ends = ends_make(NULL);
	beam_message *message = NULL;
	int r;

	if (!ends)
		return;
	flow_send(&ends->flow[0], ends->topic[0], SENDV, 100, 2);
	if (beam_topic_receive(ends->topic[1], &message, soon()) == 1) {
		r = beam_topic_send_message(ends->topic[1], message, soon());
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

static void test_attachments_that_are_sent_on(void)
{
	sweep_attached(forward);
}

/* ---- Queued ---------------------------------------------------------------------------------------------------------------------- */

/* The socket is full, so that what follows has to wait in the buffer, with duplicates or with what was given. */
static void queue_in_buffer(void)
{
	struct beam_channel_options options = ends_options();
	struct ends *ends;
	int r;

	options.socket_buffer_bytes = 4 << 10;
	ends = ends_make(&options);
	if (!ends)
		return;
	/* The first window holds these; nobody takes them yet. */
	for (int i = 0; i < 8; i++)
		flow_send_until(&ends->flow[0], ends->topic[0], i % 2 ? SENDV : SEND_MESSAGE, 3000, (size_t)(i % 4),
				strict ? soon() : BEAM_NOWAIT);
	flow_send_many(&ends->flow[0], ends->topic[0], 8, 2000, 1);
	r = beam_channel_flush(ends->channel[0], soon());
	result_of(r, 0, -EAGAIN, -ETIMEDOUT, -EPIPE, -ECONNRESET, -ENOMEM);
	ends_finish(ends);
}

static void test_attachments_that_wait_in_the_buffer(void)
{
	sweep_attached(queue_in_buffer);
}

static void send_many_attached(struct flow *flow, beam_topic *topic)
{
	for (int i = 0; i < 20; i++) {
		flow_send(flow, topic, i % 2 ? SENDV : SEND_MESSAGE, 100, 8);
		flow_send(flow, topic, SEND, 50, 0);
	}
}

/* Their credit comes back many times. */
static void return_credit(void)
{
	struct beam_channel_options options = ends_options();
	struct ends *ends;

	options.message_attachments = options.topic_window_attachments = 16;
	options.attachments = 64;
	ends = ends_make(&options);
	if (ends)
		ends_send_to_reader(ends, send_many_attached);
}

static void test_credit_for_attachments_comes_back(void)
{
	attached_open();
	check(sweep_passing(return_credit) >= at_least(10));
	check(sweep_error(return_credit, FAULT_MEMORY | FAULT(SYS_FCNTL), 0, true) >= at_least(10));
	attached_close();
}

/* With a message of several frames. */
static void attach_to_large(void)
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

static void test_attachments_of_large_messages(void)
{
	sweep_attached(attach_to_large);
}

/* ---- Refused ----------------------------------------------------------------------------------------------------------------------- */

/*
 * The kernel refuses a descriptor. Once: that message's sender is told, or, of those in the buffer, the frame is not found to be to blame when
 * it is tried alone. Always: those that had been accepted are dropped, counted, and told once.
 */
static void refuse(void)
{
	struct ends *ends = ends_make(NULL);
	struct beam_statistics statistics;
	struct beam_item items[6];
	size_t accepted = 0, received = 0;
	beam_message *message = NULL;
	bool told = false;
	int r;

	if (!ends)
		return;
	for (size_t i = 0; i < 6; i++)
		items[i] = (struct beam_item){"refused?", 8, attached, i % 3};
	for (size_t i = 0; i < 4; i++) {
		ssize_t n = beam_topic_send_many(ends->topic[0], items, 6, soon());

		/* A batch without any that the kernel refuses breaks the connection. */
		result_of(n < 0 ? n : 1, 1, -EPERM, -ECONNRESET, -ETIMEDOUT);
		accepted += n > 0 ? (size_t)n : 0;
		told = told || n < 0;
	}
	r = beam_channel_flush(ends->channel[0], soon());
	told = !result_of(r, 0, -EPERM, -ECONNRESET, -ETIMEDOUT) || told;
	beam_topic_close(ends->topic[0]);
	while ((r = beam_topic_receive(ends->topic[1], &message, soon())) == 1) {
		received++;
		beam_message_free(message);
	}
	check_int(beam_channel_statistics(ends->channel[0], &statistics, sizeof statistics), 0);
	check_int(statistics.messages_sent, accepted);
	check(!statistics.messages_lost || told);
	check(received <= accepted);
	if (result_of(r, 0, -ETIMEDOUT, -EAGAIN, -ECONNRESET))
		check_int(received, accepted - statistics.messages_lost);
	for (int i = 0; i < 2; i++)
		ends_close(ends->channel[i]);
	ends_release(ends, 0);
}

static void test_refused_descriptors_concern_their_messages_alone(void)
{
	attached_open();
	check(sweep_error(refuse, FAULT(SYS_SENDMSG), EPERM, true) >= at_least(5));
	attached_close();
}

static const struct test tests[] = {
    TEST(test_attachments_that_are_borrowed_and_given),
    TEST(test_attachments_that_are_taken_and_left),
    TEST(test_attachments_that_are_sent_on),
    TEST(test_attachments_that_wait_in_the_buffer),
    TEST(test_credit_for_attachments_comes_back),
    TEST(test_attachments_of_large_messages),
    TEST(test_refused_descriptors_concern_their_messages_alone),
};
HARNESS_MAIN("channel-fault-attachment", tests)
