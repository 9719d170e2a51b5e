/* SPDX-License-Identifier: MIT */
/*
 * Messages with attachments, borrowed or given away, sent at once or from the buffer, while each
 * call that can fail fails in turn.
 */
#include <channel/sweep.h>
#include <scenario/scenarios.h>

/*
 * Sweeps over all calls of a scenario, then over temporary errors, then over permanent ones. The
 * attachments are open meanwhile.
 */
static void sweep_attached(void (*scenario)(void))
{
	attached_open();
	check(sweep(scenario) >= at_least(40));
	check(sweep_passing(scenario) >= at_least(10));
	check(sweep_lasting(scenario) >= at_least(10));
	attached_close();
}

static void test_attachments_that_are_borrowed_and_given(void)
{
	needs_descriptors(1024);
	sweep_attached(attachments_borrowed_and_given);
}

static void test_attachments_that_are_taken_and_left(void)
{
	sweep_attached(attachments_taken_and_left);
}

static void test_attachments_that_are_sent_on(void)
{
	sweep_attached(attachments_sent_on);
}

static void test_attachments_that_are_given_by_number(void)
{
	needs_descriptors(1024);
	sweep_attached(attachments_given_by_number);
}

static void test_attachments_that_are_given_and_wait_in_the_buffer(void)
{
	needs_descriptors(1024);
	sweep_attached(attachments_given_in_the_buffer);
}

static void test_attachments_that_are_given_to_calls(void)
{
	sweep_attached(attachments_given_to_calls);
}

static void test_attachments_that_wait_in_the_buffer(void)
{
	needs_descriptors(1024);
	sweep_attached(attachments_in_the_buffer);
}

static void test_credit_for_attachments_comes_back(void)
{
	attached_open();
	check(sweep_passing(credit_for_attachments) >= at_least(10));
	check(sweep_error(credit_for_attachments, FAULT_MEMORY | FAULT(SYS_FCNTL), 0, true) >= at_least(10));
	attached_close();
}

static void test_attachments_of_large_messages(void)
{
	sweep_attached(attachments_of_large_messages);
}

/*
 * The kernel refuses a descriptor. If it does so once, either the sender of that message gets the
 * error, or the message was in the buffer and is sent when it is tried alone. If it always does,
 * accepted messages are dropped, counted, and reported once.
 */
static void refuse(void)
{
	struct ends *ends = ends_make(NULL);
	struct beam_statistics statistics;
	struct beam_send_item items[6];
	size_t accepted = 0, received = 0;
	beam_message *message = NULL;
	bool told = false;
	int r;

	if (!ends)
		return;
	for (size_t i = 0; i < 6; i++)
		items[i] = (struct beam_send_item){"refused?", 8, attached, i % 3};
	for (size_t i = 0; i < 4; i++) {
		ssize_t n = beam_topic_send_many(ends->topic[0], items, 6, 0, soon());

		/* If a batch without descriptors is refused, the connection breaks. */
		result_of(n < 0 ? n : 1, 1, -EIO, -EPERM, -ECONNRESET, -ETIMEDOUT);
		accepted += n > 0 ? (size_t)n : 0;
		told = told || n < 0;
	}
	r = beam_channel_flush(ends->channel[0], soon());
	told = !result_of(r, 0, -EIO, -ECONNRESET, -ETIMEDOUT) || told;
	beam_topic_close_send(ends->topic[0]);
	while ((r = beam_topic_receive(ends->topic[1], &message, 0, soon())) == 1) {
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
    TEST(test_attachments_that_are_given_by_number),
    TEST(test_attachments_that_are_given_and_wait_in_the_buffer),
    TEST(test_attachments_that_are_given_to_calls),
    TEST(test_attachments_that_wait_in_the_buffer),
    TEST(test_credit_for_attachments_comes_back),
    TEST(test_attachments_of_large_messages),
    TEST(test_refused_descriptors_concern_their_messages_alone),
};
HARNESS_MAIN("channel-fault-attachment", tests)
