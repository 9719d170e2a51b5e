/* SPDX-License-Identifier: MIT */
/*
 * Received descriptors that are forwarded, freed after their channel, or freed in another process.
 * Their credit is returned once, and to the right channel. The sender is a raw peer that uses all
 * of its credit.
 */
#include <beam/pair.h>
#include <beam/router.h>
#include <hostile/granted.h>
#include <stress/leave.h>

/* ---- Forwarded ------------------------------------------------------------------------------- */

static void expect_passed_on(size_t n)
{
	beam_message *message = NULL;

	require_int(beam_topic_receive(onward.topic[1], &message, 0, soon()), 1);
	check_int(beam_message_attachments(message), n);
	for (size_t i = 0; i < n; i++)
		check_int(raw_inode(beam_message_peek_fd(message, i)), raw_inode(file));
	beam_message_free(message);
}

static void test_a_message_that_is_sent_on_gives_its_credit_back(void)
{
	struct beam_channel_options options = so_many(ATTACHMENTS);

	begin(&options);
	check(creditor_send(&peer, files, 3));
	check_int(beam_topic_send_message(onward.topic[0], receive(), 0, soon()), 0);
	expect_credit(ATTACHMENTS);
	expect_passed_on(3);
	end();
}

static void test_a_message_with_another_attachment_besides_gives_back_the_credit_of_its_own(void)
{
	struct beam_channel_options options = so_many(ATTACHMENTS);
	beam_message *message;

	begin(&options);
	/* Once sent on, and once freed. */
	for (int i = 0; i < 2; i++) {
		check(creditor_send(&peer, files, 2));
		message = receive();
		check_int(beam_message_add_fd(message, file), 0);
		if (i)
			beam_message_free(message);
		else
			check_int(beam_topic_send_message(onward.topic[0], message, 0, soon()), 0);
		expect_credit(ATTACHMENTS);
	}
	expect_passed_on(3);
	end();
}

static void test_a_message_that_could_not_be_sent_on_keeps_its_credit(void)
{
	struct beam_channel_options options = so_many(ATTACHMENTS);
	beam_message *message;

	begin(&options);
	check(creditor_send(&peer, files, 2));
	message = receive();
	check_int(beam_topic_close_send(onward.topic[0]), 0);
	check_int(beam_topic_send_message(onward.topic[0], message, 0, soon()), -EPIPE);
	expect_credit(ATTACHMENTS - 2);
	beam_message_free(message);
	expect_credit(ATTACHMENTS);
	end();
}

static void test_messages_that_are_forwarded_give_their_credit_back(void)
{
	struct beam_channel_options options = so_many(ATTACHMENTS);
	beam_message *held = NULL;
	size_t n = 0;

	begin(&options);
	check(creditor_send(&peer, files, 5));
	check(creditor_send(&peer, files, 3));
	check_int(beam_topic_forward(topic, onward.topic[0], &held, 2, &n, 0, soon()), 1);
	check_int(n, 2);
	expect_credit(ATTACHMENTS);
	expect_passed_on(5);
	expect_passed_on(3);
	end();
}

static void *route(void *router)
{
	struct beam_router_failure failure;

	check_int(beam_router_run(router, &failure, 0, BEAM_NOWAIT), -EAGAIN);
	return NULL;
}

static void test_messages_that_are_routed_give_their_credit_back(void)
{
	struct beam_channel_options options = so_many(ATTACHMENTS);
	struct beam_route to = {.size = sizeof to, .topic = onward.topic[0]};
	beam_router *router = NULL;
	uint64_t id;

	begin(&options);
	to.topic = onward.topic[0];
	require_int(beam_router_new(&router), 0);
	require_int(beam_router_add_route(router, &to, &id), 0);
	check(creditor_send(&peer, files, 5));
	check(creditor_send(&peer, files, 3));
	check_within(20000, raw_peer_drained(&peer.peer));
	require_int(beam_router_add_topic(router, topic, NULL), 0);
	check_within(20000, (route(router), creditor_read(&peer, 0) && peer.channel == ATTACHMENTS));
	expect_passed_on(5);
	expect_passed_on(3);
	beam_router_unref(router);
	end();
}

/* ---- After the end, and in another process --------------------------------------------------- */

/*
 * What a channel is granted when no other channel exists, and no thread of one that still holds
 * what it was lent.
 */
static uint32_t granted_to_a_new_channel(void)
{
	beam_channel *channels[2];
	struct beam_limits limits = {0};

	require_int(beam_channel_pair(&channels[0], &channels[1], NULL), 0);
	check_int(beam_channel_limits(channels[0], &limits, sizeof limits, soon()), 0);
	for (int i = 0; i < 2; i++)
		beam_channel_unref(channels[i]);
	check_within(20000, !thread_named("beam"));
	return limits.attachments;
}

/* In a child, because what is lent belongs to the whole process. */
static int holds_and_frees_late(void *unused)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_message *held[RAW_FDS_MAX];
	uint32_t first;
	size_t before, n;

	(void)unused;
	table_limit(1024);
	first = granted_to_a_new_channel();
	begin(&options);
	before = open_fds();
	creditor_want(&peer, 40);
	check_within(20000, creditor_read(&peer, 0) && peer.channel >= 40);
	n = (size_t)peer.channel;
	for (size_t i = 0; i < n; i++)
		send_one();
	for (size_t i = 0; i < n; i++)
		held[i] = receive();
	topic = beam_topic_unref(topic);
	words = beam_topic_unref(words);
	channel = beam_channel_unref(channel);
	raw_peer_close(&peer.peer);
	/* The channel itself uses up to four. */
	check_within(20000, open_fds() < before + n);
	/* The held messages still count, and nothing else does. */
	ends_close(&onward);
	check_within(20000, !thread_named("beam"));
	check(granted_to_a_new_channel() < first);
	for (size_t i = 0; i < n; i++)
		check(beam_message_peek_fd(held[i], 0) >= 0);
	for (size_t i = 0; i < n; i++)
		beam_message_free(held[i]);
	check_within(20000, granted_to_a_new_channel() == first);
	check_within(20000, open_fds() < before);
	close(file);
	leave_process();
}

static void test_messages_can_be_freed_after_their_channel_and_are_not_lent_to_others_before(void)
{
	needs_descriptors(1024);
	check_int(process_wait(process_spawn(holds_and_frees_late, NULL)), 0);
}

/* The messages that each thread frees. */
static beam_message *shares[2][ATTACHMENTS];

static void *free_share(void *share)
{
	beam_message **messages = share;

	for (int i = 0; i < ATTACHMENTS; i++)
		beam_message_free(messages[i]);
	return NULL;
}

static int ends_while_messages_are_freed(void *unused)
{
	uint32_t first;
	pthread_t threads[2];

	(void)unused;
	table_limit(1024);
	first = granted_to_a_new_channel();
	for (size_t turn = 0; turn < scale(300) && !harness_failures(); turn++) {
		begin(NULL);
		/* Wait until the channels of the previous round have returned what they had. */
		require(check_within(20000, creditor_want(&peer, 100) && creditor_read(&peer, 1) &&
						peer.channel >= 2 * ATTACHMENTS));
		for (int i = 0; i < 2 * ATTACHMENTS; i++)
			send_one();
		for (int i = 0; i < 2 * ATTACHMENTS; i++)
			shares[i % 2][i / 2] = receive();
		for (int i = 0; i < 2; i++)
			threads[i] = thread_spawn(free_share, shares[i]);
		raw_peer_close(&peer.peer);
		end();
		for (int i = 0; i < 2; i++)
			thread_wait(threads[i]);
	}
	check_within(20000, !thread_named("beam"));
	check_within(20000, granted_to_a_new_channel() == first);
	leave_process();
}

static void test_messages_that_are_freed_while_their_channel_ends_are_lent_again_once(void)
{
	needs_descriptors(1024);
	check_int(process_wait(process_spawn(ends_while_messages_are_freed, NULL)), 0);
}

static const struct test tests[] = {
    TEST(test_messages_can_be_freed_after_their_channel_and_are_not_lent_to_others_before),
    TEST(test_messages_that_are_freed_while_their_channel_ends_are_lent_again_once),
    TEST(test_a_message_that_is_sent_on_gives_its_credit_back),
    TEST(test_a_message_with_another_attachment_besides_gives_back_the_credit_of_its_own),
    TEST(test_a_message_that_could_not_be_sent_on_keeps_its_credit),
    TEST(test_messages_that_are_forwarded_give_their_credit_back),
    TEST(test_messages_that_are_routed_give_their_credit_back),
};

HARNESS_MAIN("hostile/settling", tests)
