/* SPDX-License-Identifier: MIT */
/*
 * Topics that nobody drains, as they were found in practice: full of attachments or of large
 * messages. Other topics keep their share of what all topics have in common.
 */
#include <public/sharing.h>
#include <public/table.h>
#include <stress/leave.h>

enum { FIELD_QUICK = 15 };

static struct field {
	unsigned slow;
	beam_topic *topics[2][FIELD_QUICK + 2];
	int file;
} field;

static void *field_drains(void *argument)
{
	beam_topic *topic = argument;
	beam_message *message = NULL;
	uintptr_t n = 0;
	int r;

	while ((r = beam_topic_receive(topic, &message, 0, soon())) == 1) {
		beam_message_free(message);
		n++;
	}
	check_int(r, 0);
	return (void *)n;
}

static void *field_feeds(void *argument)
{
	beam_topic *topic = argument;

	for (size_t i = 0; i < scale(1000); i++)
		require_int(beam_topic_sendv(topic, NULL, 0, &field.file, 1, 0, in_time()), 0);
	beam_topic_close_send(topic);
	return NULL;
}

/*
 * Topics with as many attachments as possible that nobody receives, and quick topics beside them.
 */
static int field_process(void *argument)
{
	pthread_t threads[2][FIELD_QUICK];
	beam_channel *channels[2];
	unsigned n = field.slow + FIELD_QUICK;
	char name[24];

	table_limit(*(rlim_t *)argument);
	field.file = raw_file();
	require_int(beam_channel_pair(&channels[0], &channels[1], NULL), 0);
	for (unsigned i = 0; i < 2 * n; i++) {
		snprintf(name, sizeof name, "topic %u", i / 2);
		require_int(beam_topic_open(&field.topics[i % 2][i / 2], channels[i % 2], name), 0);
	}
	for (unsigned i = 0; i < field.slow; i++)
		while (beam_topic_sendv(field.topics[0][i], NULL, 0, &field.file, 1, 0, beam_in_ms(stretch(50))) == 0)
			;
	for (unsigned i = 0; i < FIELD_QUICK; i++) {
		threads[0][i] = thread_spawn(field_feeds, field.topics[0][field.slow + i]);
		threads[1][i] = thread_spawn(field_drains, field.topics[1][field.slow + i]);
	}
	for (unsigned i = 0; i < FIELD_QUICK; i++) {
		thread_wait(threads[0][i]);
		check_int((uintptr_t)thread_wait(threads[1][i]), scale(1000));
	}
	for (unsigned i = 0; i < 2 * n; i++)
		beam_topic_unref(field.topics[i % 2][i / 2]);
	for (int i = 0; i < 2; i++)
		beam_channel_unref(channels[i]);
	close(field.file);
	leave_process();
}

static void test_one_topic_full_of_attachments_leaves_fifteen_others_theirs(void)
{
	rlim_t tables[] = {256, 1024, 20000};

	field.slow = 1;
	for (int i = 0; i < 3; i++)
		if (table_may_be(tables[i]))
			check_int(process_wait(process_spawn(field_process, &tables[i])), 0);
}

static void test_two_topics_full_of_attachments_leave_fifteen_others_theirs(void)
{
	rlim_t tables[] = {256, 1024, 20000};

	field.slow = 2;
	for (int i = 0; i < 3; i++)
		if (table_may_be(tables[i]))
			check_int(process_wait(process_spawn(field_process, &tables[i])), 0);
}

/*
 * Sends a message of 1 or 16 MiB to each of the sixteen slow topics in turn, if there is credit for
 * it.
 */
static void pool_of(size_t size)
{
	static struct ends ends;
	beam_topic *slow[SLOW][2];
	pthread_t drain;
	unsigned n = 0;
	char name[24];
	int r;

	ends_open(&ends, NULL);
	check_int(beam_channel_limits(ends.channel[0], &(struct beam_limits){0}, sizeof(struct beam_limits), soon()),
		  0);
	drain = thread_spawn(field_drains, ends.topic[1]);
	for (int i = 0; i < SLOW; i++) {
		snprintf(name, sizeof name, "slow %d", i);
		for (int k = 0; k < 2; k++)
			require_int(beam_topic_open(&slow[i][k], ends.channel[k], name), 0);
		r = beam_topic_send(slow[i][0], payload, size, 0, beam_in_ms(stretch(20)));
		check(r == 0 || r == -ETIMEDOUT);
	}
	while (n < scale(50) && check_int(beam_topic_send(ends.topic[0], payload, 1 << 20, 0, in_time()), 0))
		n++;
	beam_topic_close_send(ends.topic[0]);
	check_int((uintptr_t)thread_wait(drain), n);
	for (int i = 0; i < SLOW; i++)
		for (int k = 0; k < 2; k++)
			beam_topic_unref(slow[i][k]);
	ends_close(&ends);
}

static void test_sixteen_topics_with_large_messages_that_nobody_takes_leave_others_the_pool(void)
{
	pool_of(1 << 20);
	pool_of(16 << 20);
}

static const struct test tests[] = {
    TEST(test_one_topic_full_of_attachments_leaves_fifteen_others_theirs),
    TEST(test_two_topics_full_of_attachments_leave_fifteen_others_theirs),
    TEST(test_sixteen_topics_with_large_messages_that_nobody_takes_leave_others_the_pool),
};

HARNESS_MAIN("public/isolation_field", tests)
