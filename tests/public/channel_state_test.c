/* SPDX-License-Identifier: MIT */
/* What a channel and its topics report: who the peer is, what it accepts, and counters. */
#include <beam/beam.h>
#include <harness/harness.h>
#include <public/ends.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct ends ends;

/* Opens a channel here. Returns the descriptor of its other end. */
static int open_with_other_end(void)
{
	int fds[2];

	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	require_int(beam_channel_from_fd(&ends.channel[0], fds[0], NULL), 0);
	require_int(beam_topic_open(&ends.topic[0], ends.channel[0], "topic"), 0);
	return fds[1];
}

static void test_the_peer_of_a_socket_pair_is_not_known(void)
{
	struct beam_peer peer = {.pid = -77};

	ends_open(&ends, NULL);
	check_int(beam_channel_peer(ends.channel[0], &peer), -ENODATA);
	check_int(peer.pid, -77);
	ends_close(&ends);
}

/* Connects two channels through a listening socket. The second one is the server's. */
static void connect_ends(const char *address, const struct sockaddr_un *bound, socklen_t size)
{
	int accepted, listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	require_int(bind(listener, (const struct sockaddr *)bound, size), 0);
	require_int(listen(listener, 1), 0);
	require_int(beam_channel_connect(&ends.channel[0], address, NULL, soon()), 0);
	accepted = accept(listener, NULL, NULL);
	require(accepted >= 0);
	require_int(beam_channel_from_fd(&ends.channel[1], accepted, NULL), 0);
	close(listener);
	for (int i = 0; i < 2; i++)
		require_int(beam_topic_open(&ends.topic[i], ends.channel[i], "topic"), 0);
}

static void expect_connected_to_ourselves(void)
{
	for (int i = 0; i < 2; i++) {
		struct beam_peer peer = {0};

		check_int(beam_channel_peer(ends.channel[i], &peer), 0);
		check_int(peer.pid, getpid());
		check_int(peer.uid, getuid());
		check_int(peer.gid, getgid());
	}
	send_text(ends.topic[0], "by connection");
	expect_text(ends.topic[1], "by connection");
}

static void test_the_peer_of_a_connection_by_path_is_known_to_both_sides(void)
{
	char folder[FOLDER_SIZE];
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	folder_make(folder);
	snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", folder);
	connect_ends(address.sun_path, &address, sizeof address);
	expect_connected_to_ourselves();
	ends_close(&ends);
	unlink(address.sun_path);
	rmdir(folder);
}

static void test_the_peer_of_a_connection_by_abstract_name_is_known_to_both_sides(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char name[64];
	int size = snprintf(name, sizeof name, "@beam-test-channel-%d", (int)getpid());

	memcpy(address.sun_path + 1, name + 1, (size_t)size - 1);
	connect_ends(name, &address, (socklen_t)(sizeof address.sun_family + (size_t)size));
	expect_connected_to_ourselves();
	ends_close(&ends);
}

static void test_the_other_sides_limits_are_known_once_its_hello_has_come(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	struct beam_limits limits = {0};

	options.topics = 100;
	options.calls = 101;
	options.message_bytes = 2 << 20;
	options.message_attachments = 17;
	options.topic_window_bytes = 70000;
	options.topic_window_attachments = 20;
	options.pool_bytes = 3 << 20;
	options.attachments = 99;
	ends_open(&ends, &options);
	check_int(beam_channel_limits(ends.channel[0], &limits, sizeof limits, soon()), 0);
	check_int(limits.topics, 100);
	check_int(limits.calls, 101);
	check_int(limits.message_bytes, 2 << 20);
	check_int(limits.message_attachments, 17);
	check_int(limits.topic_window_bytes, 70000);
	check_int(limits.topic_window_attachments, 20);
	check_int(limits.pool_bytes, 3 << 20);
	check_int(limits.attachments, 99);
	check_int(beam_channel_limits(ends.channel[1], &limits, sizeof limits, soon()), 0);
	check_int(limits.topics, 256);
	ends_close(&ends);
}

static void test_limits_are_given_to_older_and_newer_programs(void)
{
	struct {
		struct beam_limits known;
		uint32_t more;
	} newer;
	struct beam_limits older;

	memset(&older, 0xff, sizeof older);
	memset(&newer, 0xff, sizeof newer);
	ends_open(&ends, NULL);
	check_int(beam_channel_limits(ends.channel[0], &older, sizeof older.topics, soon()), 0);
	check_int(older.topics, 256);
	check_int(older.calls, UINT32_MAX);
	check_int(beam_channel_limits(ends.channel[0], &newer.known, sizeof newer, soon()), 0);
	check_int(newer.known.topics, 256);
	check_int(newer.more, 0);
	ends_close(&ends);
}

static void test_limits_that_never_came_are_not_waited_for_after_a_close(void)
{
	beam_channel *channel;
	int fds[2];

	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	require_int(beam_channel_from_fd(&channel, fds[0], NULL), 0);
	check_int(beam_channel_close(channel, soon()), 0);
	check_int(beam_channel_limits(channel, &(struct beam_limits){0}, sizeof(struct beam_limits), BEAM_FOREVER),
		  -EPIPE);
	beam_channel_unref(channel);
	close(fds[1]);
}

static void test_limits_of_a_silent_peer_are_waited_for_until_the_deadline(void)
{
	struct beam_limits limits = {.topics = 77};
	int other = open_with_other_end();

	check_int(beam_channel_limits(ends.channel[0], &limits, sizeof limits, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_channel_limits(ends.channel[0], &limits, sizeof limits, beam_in_ms(20)), -ETIMEDOUT);
	check_int(limits.topics, 77);
	/* Before the peer's limits are known, what every peer accepts can be sent. */
	send_text(ends.topic[0], "unheard");
	close(other);
	check_int(beam_channel_limits(ends.channel[0], &limits, sizeof limits, soon()), -ECONNRESET);
	ends_close(&ends);
}

static void test_pointers_of_the_program_are_kept_with_channels_and_topics(void)
{
	beam_topic *again;
	int ours, others;

	ends_open(&ends, NULL);
	check(beam_channel_user_data(ends.channel[0]) == NULL && beam_topic_user_data(ends.topic[0]) == NULL);
	beam_channel_set_user_data(ends.channel[0], &ours);
	beam_topic_set_user_data(ends.topic[0], &others);
	require_int(beam_topic_open(&again, ends.channel[0], "topic"), 0);
	check(beam_channel_user_data(beam_topic_channel(again)) == &ours);
	check(beam_topic_user_data(again) == &others);
	beam_topic_unref(again);
	beam_channel_set_user_data(ends.channel[0], NULL);
	check(beam_channel_user_data(ends.channel[0]) == NULL);
	check(beam_channel_user_data(ends.channel[1]) == NULL && beam_topic_user_data(ends.topic[1]) == NULL);
	beam_channel_set_user_data(NULL, &ours);
	beam_topic_set_user_data(NULL, &ours);
	check(beam_channel_user_data(NULL) == NULL && beam_topic_user_data(NULL) == NULL);
	ends_close(&ends);
}

static struct beam_statistics statistics_of(beam_channel *channel, beam_topic *topic)
{
	struct beam_statistics statistics = {0};

	if (channel)
		check_int(beam_channel_statistics(channel, &statistics, sizeof statistics), 0);
	else
		check_int(beam_topic_statistics(topic, &statistics, sizeof statistics), 0);
	return statistics;
}

static void test_statistics_count_what_was_sent_and_what_was_taken(void)
{
	struct iovec iov = {(char[]){"seven b"}, 7};
	struct beam_statistics sender, receiver;
	int file, fds[2];
	beam_message *message = NULL;

	needs_descriptors(1024);
	fds[0] = fds[1] = file = raw_file();
	ends_open(&ends, NULL);
	for (int i = 0; i < 5; i++)
		check_int(beam_topic_sendv(ends.topic[0], &iov, 1, fds, 2, 0, soon()), 0);
	check_within(20000, statistics_of(NULL, ends.topic[1]).messages_queued == 5);
	for (int i = 0; i < 3; i++) {
		if (check_int(beam_topic_receive(ends.topic[1], &message, 0, soon()), 1))
			beam_message_free(message);
	}
	for (int whole = 0; whole < 2; whole++) {
		sender = statistics_of(whole ? ends.channel[0] : NULL, ends.topic[0]);
		receiver = statistics_of(whole ? ends.channel[1] : NULL, ends.topic[1]);
		check_int(sender.messages_sent, 5);
		check_int(sender.bytes_sent, 5 * 7);
		check_int(sender.attachments_sent, 5 * 2);
		check_int(sender.messages_received, 0);
		check_int(sender.messages_lost, 0);
		check_int(receiver.messages_received, 3);
		check_int(receiver.bytes_received, 3 * 7);
		check_int(receiver.attachments_received, 3 * 2);
		check_int(receiver.messages_queued, 2);
		check_int(receiver.bytes_queued, 2 * 7);
		check_int(receiver.attachments_queued, 2 * 2);
		check_int(receiver.messages_discarded, 0);
		check_int(receiver.attachments_lost, 0);
	}
	/* The channel keeps the counters of a topic that is released. */
	ends.topic[1] = beam_topic_unref(ends.topic[1]);
	receiver = statistics_of(ends.channel[1], NULL);
	check_int(receiver.messages_received, 3);
	check_int(receiver.messages_discarded, 2);
	check_int(receiver.messages_queued, 0);
	ends_close(&ends);
	close(file);
}

static void test_messages_that_a_dead_connection_took_along_are_counted_as_lost(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	static const char payload[1000];
	struct beam_statistics statistics;
	int fds[2];
	uint64_t n = 0;

	options.socket_buffer_bytes = 16 << 10;
	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	require_int(beam_channel_from_fd(&ends.channel[0], fds[0], &options), 0);
	require_int(beam_topic_open(&ends.topic[0], ends.channel[0], "topic"), 0);
	/*
	 * One message certainly reaches the kernel. The others wait in the buffer, behind a full
	 * socket.
	 */
	check_int(beam_topic_send(ends.topic[0], payload, sizeof payload, 0, soon()), 0);
	check_int(beam_channel_flush(ends.channel[0], soon()), 0);
	n++;
	while (beam_topic_send(ends.topic[0], payload, sizeof payload, 0, beam_in_ms(stretch(50))) == 0)
		n++;
	check_int(beam_channel_flush(ends.channel[0], BEAM_NOWAIT), -EAGAIN);
	close(fds[1]);
	check_int(beam_channel_flush(ends.channel[0], soon()), -ECONNRESET);
	check_int(beam_topic_send(ends.topic[0], payload, 1, 0, soon()), -ECONNRESET);
	statistics = statistics_of(ends.channel[0], NULL);
	check_int(statistics.messages_sent, n);
	check(statistics.messages_lost > 0 && statistics.messages_lost < n);
	ends_close(&ends);
}

static const struct test tests[] = {
    TEST(test_the_peer_of_a_socket_pair_is_not_known),
    TEST(test_the_peer_of_a_connection_by_path_is_known_to_both_sides),
    TEST(test_the_peer_of_a_connection_by_abstract_name_is_known_to_both_sides),
    TEST(test_the_other_sides_limits_are_known_once_its_hello_has_come),
    TEST(test_limits_are_given_to_older_and_newer_programs),
    TEST(test_limits_that_never_came_are_not_waited_for_after_a_close),
    TEST(test_limits_of_a_silent_peer_are_waited_for_until_the_deadline),
    TEST(test_pointers_of_the_program_are_kept_with_channels_and_topics),
    TEST(test_statistics_count_what_was_sent_and_what_was_taken),
    TEST(test_messages_that_a_dead_connection_took_along_are_counted_as_lost),
};

HARNESS_MAIN("public/channel-state", tests)
