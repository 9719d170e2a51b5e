/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that do harm: their close blocks, they keep each other alive, or nobody asked for
 * them.
 */
#include <hostile/attack.h>
#include <hostile/lingering.h>

static struct attack attack;

/*
 * Sends the encoded frame with a descriptor whose close blocks. The frame is completed only after
 * the descriptor has been closed here. Otherwise this close might be the last one, and would block.
 */
static void send_lingering(struct lingering *lingering)
{
	enum { PART = 8 };

	check_int(raw_send(attack.peer.socket, attack.out.bytes, PART, &lingering->fd, 1, 0), PART);
	close(lingering->fd);
	raw_send(attack.peer.socket, attack.out.bytes + PART, attack.out.size - PART, NULL, 0, 0);
	attack.out.size = 0;
}

static void test_freeing_a_message_does_not_wait_for_an_attachment_whose_close_waits(void)
{
	struct lingering lingering = lingering_open();
	beam_message *message = NULL;
	int64_t begin = now_ns();

	attack_begin(&attack, NULL);
	raw_text_with_fds(&attack.out, 1, "bites", 1);
	send_lingering(&lingering);
	if (check_int(beam_topic_receive(attack.topic, &message, 0, soon()), 1))
		beam_message_free(message);
	expect_going_on(&attack);
	attack_end(&attack);
	lingering_end(&lingering, begin);
}

static void test_reading_goes_on_past_a_discarded_attachment_whose_close_waits(void)
{
	struct lingering lingering = lingering_open();
	int64_t begin = now_ns();
	beam_topic *other = NULL;

	attack_begin(&attack, NULL);
	raw_open(&attack.out, 2, "other");
	attack_send(&attack);
	require_int(beam_topic_open(&other, attack.channel, "other"), 0);
	check_int(beam_topic_close_receive(attack.topic), 0);
	raw_peer_expect(&attack.peer, RAW_RESET);
	raw_text_with_fds(&attack.out, 1, "bites", 1);
	send_lingering(&lingering);
	raw_text(&attack.out, 2, "goes on");
	attack_send(&attack);
	expect_text(other, "goes on");
	beam_topic_unref(other);
	attack_end(&attack);
	lingering_end(&lingering, begin);
}

static void test_a_breach_does_not_wait_for_a_descriptor_whose_close_waits(void)
{
	struct lingering lingering = lingering_open();
	int64_t begin = now_ns();

	attack_begin(&attack, NULL);
	raw_text(&attack.out, 1, "carries none");
	send_lingering(&lingering);
	expect_breach(&attack, "descriptors");
	attack_end(&attack);
	lingering_end(&lingering, begin);
}

static void test_closing_does_not_wait_for_descriptors_that_wait_in_the_queue_or_the_socket(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	struct lingering queued = lingering_open(), unread = lingering_open();
	int64_t begin = now_ns();

	options.linger_ms = 100;
	attack_begin(&attack, &options);
	raw_text_with_fds(&attack.out, 1, "nobody takes it", 1);
	send_lingering(&queued);
	check_within(20000, raw_peer_drained(&attack.peer));
	beam_topic_unref(attack.topic);
	attack.topic = NULL;
	raw_open(&attack.out, 2, "left");
	attack_send(&attack);
	raw_text_with_fds(&attack.out, 2, "left in the socket, or nearly", 1);
	send_lingering(&unread);
	check(beam_channel_close(attack.channel, BEAM_NOWAIT) <= 0);
	attack_end(&attack);
	lingering_end(&queued, begin);
	lingering_end(&unread, begin);
}

static void test_sockets_sent_through_themselves_keep_nothing_alive(void)
{
	int cycle[2];

	attack_begin(&attack, NULL);
	/*
	 * The peer sends its own end through that end, and then a pair of sockets, each of which is
	 * in the other's queue, unread.
	 */
	raw_text_with_fds(&attack.out, 1, "myself", 1);
	raw_peer_send_fds(&attack.peer, &attack.out, &attack.peer.socket, 1);
	expect_text_with_fds(attack.topic, "myself", 1);
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, cycle), 0);
	require_int(raw_send(cycle[0], "x", 1, &cycle[0], 1, 0), 1);
	require_int(raw_send(cycle[1], "x", 1, &cycle[1], 1, 0), 1);
	raw_text_with_fds(&attack.out, 1, "a cycle", 2);
	raw_peer_send_fds(&attack.peer, &attack.out, cycle, 2);
	close(cycle[0]);
	close(cycle[1]);
	expect_text_with_fds(attack.topic, "a cycle", 2);

	/* Only the peer still holds its end. When it closes it, the channel ends. */
	raw_peer_close(&attack.peer);
	check_int(beam_topic_receive(attack.topic, &(beam_message *){NULL}, 0, soon()), -ECONNRESET);
	attack_end(&attack);
}

/* asm/socket.h; the C library's headers may not know it. */
enum { RAW_SO_PASSPIDFD = 76, RAW_SO_PASSRIGHTS = 83 };

static void test_pidfds_that_nobody_asked_for_are_closed(void)
{
	const struct beam_channel_options options = attack_options(NULL);
	int ends[2], file;
	size_t before;

	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	if (setsockopt(ends[0], SOL_SOCKET, RAW_SO_PASSPIDFD, &(int){1}, sizeof(int)) < 0) {
		close(ends[0]);
		close(ends[1]);
		skip("SO_PASSPIDFD is from Linux 6.5");
	}
	require_int(setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int)), 0);
	file = raw_file();
	ends_open(&attack.honest, &options);
	raw_peer_init(&attack.peer, ends[1]);
	require_int(beam_channel_from_fd(&attack.channel, ends[0], &options), 0);
	require_int(beam_topic_open(&attack.topic, attack.channel, "log"), 0);
	raw_hello(&attack.out);
	raw_open(&attack.out, 1, "log");
	attack_send(&attack);
	attack_read_beginning(&attack);
	expect_going_on(&attack);
	before = open_fds();
	for (int i = 0; i < 100; i++) {
		raw_text_with_fds(&attack.out, 1, "with one", 1);
		raw_peer_send_fds(&attack.peer, &attack.out, &file, 1);
		expect_text_with_fds(attack.topic, "with one", 1);
	}
	check_within(20000, open_fds() <= before);
	expect_going_on(&attack);
	attack_end(&attack);
	close(file);
}

static const struct test tests[] = {
    TEST(test_freeing_a_message_does_not_wait_for_an_attachment_whose_close_waits),
    TEST(test_reading_goes_on_past_a_discarded_attachment_whose_close_waits),
    TEST(test_a_breach_does_not_wait_for_a_descriptor_whose_close_waits),
    TEST(test_closing_does_not_wait_for_descriptors_that_wait_in_the_queue_or_the_socket),
    TEST(test_sockets_sent_through_themselves_keep_nothing_alive),
    TEST(test_pidfds_that_nobody_asked_for_are_closed),
};

HARNESS_MAIN("hostile/bite", tests)
