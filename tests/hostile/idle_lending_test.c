/* SPDX-License-Identifier: MIT */
/*
 * The descriptors that a process does not lend, and those that channels return because they do not
 * need them.
 */
#include <hostile/creditor.h>
#include <hostile/lent.h>
#include <stress/leave.h>

static struct creditor peers[1];
static int files[RAW_FDS_MAX];

/* Waits for a message from the other side, which arrives after everything that was due before. */
static void exchange(struct creditor *peer, beam_topic *topic)
{
	struct raw_frame frame;

	raw_text(&peer->out, 1, "word");
	creditor_flush(peer, NULL, 0);
	expect_text(topic, "word");
	check_int(beam_topic_send(topic, "word", 4, 0, soon()), 0);
	do {
		require_int(raw_peer_next(&peer->peer, &frame), 1);
		creditor_count(peer, &frame);
	} while (frame.kind != RAW_DATA);
}

/* The number of attachments that a peer is granted if it asks for more than there is. */
static uint32_t granted_to_the_greedy(uint32_t attachments, uint32_t *ret_features)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_channel *channel;
	beam_topic *topic;
	int fds[2];

	options.attachments = attachments;
	options.message_attachments = 16;
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	require_int(beam_channel_from_fd(&channel, fds[0], &options), 0);
	require_int(beam_topic_open(&topic, channel, "log"), 0);
	creditor_begin(&peers[0], fds[1], 0);
	check_within(20000, creditor_read(&peers[0], 1) && peers[0].hello);
	creditor_want(&peers[0], 1000);
	exchange(&peers[0], topic);
	*ret_features = peers[0].features;
	beam_topic_unref(topic);
	beam_channel_unref(channel);
	raw_peer_close(&peers[0].peer);
	return peers[0].granted;
}

static int what_was_set_aside(void *unused)
{
	uint32_t features;

	(void)unused;
	table_limit(TABLE);
	check_int(granted_to_the_greedy(0, &features), lent_at_most(TABLE));
	check(features & SAYS_LENDS);
	check_int(granted_to_the_greedy(16, &features), 16);
	check(!(features & SAYS_LENDS));
	check_int(granted_to_the_greedy(600, &features), 600);
	leave_process();
}

static void test_a_channel_that_was_told_how_many_attachments_it_may_hold_neither_lends_nor_borrows(void)
{
	needs_descriptors(TABLE);
	check_int(process_wait(process_spawn(what_was_set_aside, NULL)), 0);
}

/* Attachments that are set aside for a channel are not lent to others until the channel ends. */
static int what_is_left(void *unused)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_channel *channels[2];
	uint32_t first;

	(void)unused;
	table_limit(TABLE);
	first = granted_to_a_new_channel();
	options.attachments = 80;
	require_int(beam_channel_pair(&channels[0], &channels[1], &options), 0);
	check(granted_to_a_new_channel() < first / 2);
	for (int i = 0; i < 2; i++)
		beam_channel_unref(channels[i]);
	check_within(20000, granted_to_a_new_channel() == first);
	leave_process();
}

static void test_what_was_set_aside_for_a_channel_is_not_lent_to_others_before_it_ends(void)
{
	needs_descriptors(TABLE);
	check_int(process_wait(process_spawn(what_is_left, NULL)), 0);
}

static void send_many(struct ends *ends, size_t n)
{
	int file = raw_file();
	beam_message *message = NULL;

	for (size_t i = 0; i < 32; i++)
		files[i] = file;
	for (size_t i = 0; i < n; i++)
		check_int(beam_topic_sendv(ends->topic[0], NULL, 0, files, 32, 0, soon()), 0);
	for (size_t i = 0; i < n; i++) {
		require_int(beam_topic_receive(ends->topic[1], &message, 0, soon()), 1);
		check_int(beam_message_attachments(message), 32);
		beam_message_free(message);
	}
	close(file);
}

static void *wait_for_the_end(void *topic)
{
	beam_message *message = NULL;

	check_int(beam_topic_receive(topic, &message, 0, BEAM_FOREVER), 0);
	return NULL;
}

/* Both ends are idle, and on each a thread waits for messages. */
static int idle_and_waiting(void *unused)
{
	struct ends idle;
	pthread_t threads[2];
	uint32_t first;

	(void)unused;
	table_limit(TABLE);
	first = granted_to_a_new_channel();
	ends_open(&idle, NULL);
	send_many(&idle, 1);
	for (int i = 0; i < 2; i++)
		threads[i] = thread_spawn(wait_for_the_end, idle.topic[i]);
	check_within(20000, granted_to_a_new_channel() == first);
	for (int i = 0; i < 2; i++)
		check_int(beam_topic_close_send(idle.topic[i]), 0);
	for (int i = 0; i < 2; i++)
		thread_wait(threads[i]);
	ends_close(&idle);
	leave_process();
}

static void test_a_thread_that_waits_for_messages_does_not_keep_what_its_side_does_not_need(void)
{
	needs_descriptors(TABLE);
	check_int(process_wait(process_spawn(idle_and_waiting, NULL)), 0);
}

static int idle_and_busy(void *unused)
{
	struct ends idle, busy;
	uint32_t first;

	(void)unused;
	table_limit(TABLE);
	first = granted_to_a_new_channel();
	ends_open(&idle, NULL);
	send_many(&idle, 1);
	/* The channel is open and idle. What it was granted is lent to others. */
	check_within(20000, granted_to_a_new_channel() == first);
	ends_open(&busy, NULL);
	send_many(&busy, 1);
	check_within(20000, granted_to_a_new_channel() == first);
	/* It is granted attachments again when it needs them. */
	send_many(&idle, 1);
	send_many(&busy, 1);
	ends_close(&busy);
	ends_close(&idle);
	leave_process();
}

static void test_what_an_idle_peer_does_not_need_is_lent_to_others_until_it_does(void)
{
	needs_descriptors(TABLE);
	check_int(process_wait(process_spawn(idle_and_busy, NULL)), 0);
}

static const struct test tests[] = {
    TEST(test_a_channel_that_was_told_how_many_attachments_it_may_hold_neither_lends_nor_borrows),
    TEST(test_what_was_set_aside_for_a_channel_is_not_lent_to_others_before_it_ends),
    TEST(test_what_an_idle_peer_does_not_need_is_lent_to_others_until_it_does),
    TEST(test_a_thread_that_waits_for_messages_does_not_keep_what_its_side_does_not_need),
};

HARNESS_MAIN("hostile/idle_lending", tests)
