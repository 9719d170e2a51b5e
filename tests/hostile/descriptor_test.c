/* SPDX-License-Identifier: MIT */
/*
 * The peer sends the wrong number of descriptors, sends them with the wrong byte, or hoards them.
 * In no case is a descriptor leaked (the harness checks), or delivered with a message that it does
 * not belong to.
 */
#include <fcntl.h>
#include <hostile/attack.h>
#include <sys/resource.h>

static struct attack attack;

/* Many descriptors of one file. */
static int same_fd[RAW_FDS_MAX];

static void same_fd_open(void)
{
	int file = raw_file();

	for (int i = 0; i < RAW_FDS_MAX; i++)
		same_fd[i] = file;
}

static void same_fd_close(void)
{
	close(same_fd[0]);
}

static bool send_with(unsigned n_fds)
{
	return raw_peer_send_fds(&attack.peer, &attack.out, same_fd, n_fds);
}

/* ---- The wrong number ------------------------------------------------------------------------ */

/* A message whose header declares `said` descriptors is sent with `sent` descriptors. */
static void expect_wrong_number(unsigned said, unsigned sent)
{
	harness_context("%u said, %u sent", said, sent);
	attack_begin(&attack, NULL);
	raw_text(&attack.out, 1, "before");
	attack_send_and_wait(&attack);
	raw_carry(&attack.out, raw_frame(&attack.out, RAW_DATA, 0, said < 16 ? said : 16, 1, 0, "bad", 3), said);
	send_with(sent);
	/*
	 * A frame that declares none is delivered before the descriptors are found to have no
	 * carrier.
	 */
	check_int(expect_breach(&attack, "descriptors"), said ? 1 : 2);
	attack_end(&attack);
}

static void test_more_descriptors_than_carried_are_a_breach(void)
{
	needs_descriptors(1024);
	same_fd_open();
	expect_wrong_number(0, 1);
	expect_wrong_number(0, 253);
	expect_wrong_number(1, 2);
	expect_wrong_number(1, 253);
	expect_wrong_number(252, 253);
	same_fd_close();
}

static void test_fewer_descriptors_than_carried_are_a_breach(void)
{
	needs_descriptors(1024);
	same_fd_open();
	expect_wrong_number(1, 0);
	expect_wrong_number(2, 1);
	expect_wrong_number(253, 0);
	expect_wrong_number(253, 1);
	expect_wrong_number(253, 252);
	same_fd_close();
}

static void test_carried_and_not_claimed_before_others_come_is_a_breach(void)
{
	same_fd_open();
	for (unsigned n = 1; n <= 253; n += 126) {
		harness_context("%u hoarded", n);
		attack_begin(&attack, NULL);
		raw_carry(&attack.out, raw_text(&attack.out, 1, "none claimed"), n);
		send_with(n);
		expect_text(attack.topic, "none claimed");
		raw_text_with_fds(&attack.out, 1, "one more", 1);
		send_with(1);
		expect_breach(&attack, "unclaimed");
		attack_end(&attack);
	}
	same_fd_close();
}

static void test_carried_and_never_claimed_is_closed_with_the_channel(void)
{
	needs_descriptors(1024);
	same_fd_open();
	attack_begin(&attack, NULL);
	raw_carry(&attack.out, raw_text(&attack.out, 1, "none claimed"), 253);
	send_with(253);
	expect_text(attack.topic, "none claimed");
	attack_end(&attack);
	same_fd_close();
}

static void test_a_claim_beyond_what_came_is_a_breach(void)
{
	same_fd_open();
	for (int carried = 0; carried < 2; carried++) {
		harness_context("%d carried, one more claimed", carried);
		attack_begin(&attack, NULL);
		raw_carry(&attack.out, raw_frame(&attack.out, RAW_DATA, 0, (unsigned)carried + 1, 1, 0, "bad", 3),
			  (unsigned)carried);
		send_with((unsigned)carried);
		check_int(expect_breach(&attack, "claim"), 0);
		attack_end(&attack);
	}
	same_fd_close();
}

static void test_a_claim_of_a_frame_that_goes_on_or_takes_back_is_a_breach(void)
{
	same_fd_open();
	for (int takes_back = 0; takes_back < 2; takes_back++) {
		attack_begin(&attack, NULL);
		raw_carry(&attack.out, raw_begin(&attack.out, 1, 12, 0, "frag", 4), 1);
		send_with(1);
		if (takes_back)
			raw_frame(&attack.out, RAW_DATA, RAW_ABORT, 1, 1, 0, NULL, 0);
		else
			raw_frame(&attack.out, RAW_DATA, RAW_MORE, 1, 1, 0, "ment", 4);
		attack_send(&attack);
		check_int(expect_breach(&attack, "claim"), 0);
		attack_end(&attack);
	}
	same_fd_close();
}

static void test_more_attachments_in_a_message_than_accepted_are_a_breach(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	same_fd_open();
	options.message_attachments = 16;
	options.topic_window_attachments = 64;
	attack_begin(&attack, &options);
	raw_text_with_fds(&attack.out, 1, "sixteen", 16);
	send_with(16);
	expect_text_with_fds(attack.topic, "sixteen", 16);
	raw_text_with_fds(&attack.out, 1, "seventeen", 17);
	send_with(17);
	expect_breach(&attack, "attachments");
	attack_end(&attack);

	options.message_attachments = 0;
	attack_begin(&attack, &options);
	raw_text_with_fds(&attack.out, 1, "one", 1);
	send_with(1);
	/* No descriptor may be carried. */
	expect_breach(&attack, "credit");
	attack_end(&attack);
	same_fd_close();
}

/* ---- The wrong byte -------------------------------------------------------------------------- */

enum { MIDDLE = 24, THREE = 72 };

/*
 * Three messages of 24 bytes each on the wire. The one in the middle carries and claims a
 * descriptor.
 */
static void put_three(void)
{
	raw_text(&attack.out, 1, "first");
	raw_text_with_fds(&attack.out, 1, "middle", 1);
	raw_text(&attack.out, 1, "last");
	require_int(attack.out.size, THREE);
}

/* Sends some of the bytes, and with `wait` waits until they have been read. */
static void send_part(const unsigned char *bytes, size_t from, size_t to, unsigned n_fds, bool wait)
{
	if (from < to)
		raw_send(attack.peer.socket, bytes + from, to - from, same_fd, n_fds, 0);
	if (wait)
		check_within(20000, raw_peer_drained(&attack.peer));
}

static void receive_three(void)
{
	expect_text(attack.topic, "first");
	expect_text_with_fds(attack.topic, "middle", 1);
	expect_text(attack.topic, "last");
}

static bool all_three_came(void)
{
	struct beam_statistics statistics;

	return beam_topic_statistics(attack.topic, &statistics, sizeof statistics) == 0 &&
	       statistics.messages_queued == 3;
}

/*
 * Sends the descriptor with one byte of the three messages. It must be a breach unless it is the
 * first byte of the carrier. Returns false if the byte was not alone in its read, so that the
 * attempt proves nothing: the kernel may continue a read with bytes that are sent meanwhile.
 */
static bool send_with_byte(size_t offset)
{
	static unsigned char bytes[THREE];
	bool alone = true;

	attack_begin(&attack, NULL);
	check_within(20000, raw_peer_drained(&attack.peer));
	put_three();
	memcpy(bytes, attack.out.bytes, THREE);
	attack.out.size = 0;
	/* Each part up to here is read before the next is sent. */
	send_part(bytes, 0, offset, 0, true);
	send_part(bytes, offset, offset + 1, 1, true);
	send_part(bytes, offset + 1, THREE, 0, false);
	if (offset != MIDDLE) {
		check_within(20000, beam_channel_breach(attack.channel) || all_three_came());
		alone = beam_channel_breach(attack.channel) != NULL;
	}
	if (offset == MIDDLE || !alone)
		receive_three();
	else
		/* The first message is whole if its last byte was sent before. */
		check_int(expect_breach(&attack, "descriptors"), offset < MIDDLE - 1 ? 0 : 1);
	attack_end(&attack);
	return alone;
}

static void test_a_descriptor_with_any_byte_but_its_carriers_first_is_a_breach(void)
{
	same_fd_open();
	for (size_t offset = 0; offset < THREE; offset++) {
		unsigned tries = 0;

		harness_context("byte %zu", offset);
		while (!send_with_byte(offset))
			if (!check(++tries < 10))
				break;
	}
	same_fd_close();
}

/*
 * If the parts are not read separately, a descriptor near its carrier may be taken for the
 * carrier's. It is either delivered with its own message, or it is a breach.
 */
static void test_a_descriptor_near_its_carrier_is_its_own_or_a_breach(void)
{
	static unsigned char bytes[THREE];

	same_fd_open();
	for (size_t offset = 0; offset < THREE; offset++) {
		beam_message *message = NULL;
		size_t n = 0;
		int r;

		harness_context("byte %zu", offset);
		attack_begin(&attack, NULL);
		put_three();
		memcpy(bytes, attack.out.bytes, THREE);
		attack.out.size = 0;
		send_part(bytes, 0, offset, 0, false);
		send_part(bytes, offset, THREE, 1, false);
		while (n < 3 && (r = beam_topic_receive(attack.topic, &message, 0, soon())) == 1) {
			check_int(beam_message_attachments(message), n == 1);
			if (n == 1)
				check_int(raw_inode(beam_message_peek_fd(message, 0)), raw_inode(same_fd[0]));
			beam_message_free(message);
			n++;
		}
		if (n < 3)
			expect_breach(&attack, "descriptors");
		attack_end(&attack);
	}
	same_fd_close();
}

static void test_a_descriptor_with_the_middle_of_a_large_payload_is_a_breach(void)
{
	static unsigned char payload[60000];

	same_fd_open();
	for (unsigned n = 1; n <= 253; n += 252) {
		harness_context("%u descriptors", n);
		attack_begin(&attack, NULL);
		raw_data(&attack.out, 1, payload, sizeof payload);
		attack.out.size = 30000;
		attack_send_and_wait(&attack);
		raw_append(&attack.out, payload, 1000);
		send_with(n);
		check_int(expect_breach(&attack, "descriptors"), 0);
		attack_end(&attack);
	}
	same_fd_close();
}

static void test_two_carriers_for_one_group_are_a_breach(void)
{
	same_fd_open();
	attack_begin(&attack, NULL);
	raw_text_with_fds(&attack.out, 1, "mine", 1);
	raw_text_with_fds(&attack.out, 1, "mine too", 1);
	send_with(1);
	check_int(expect_breach(&attack, "descriptors"), 1);
	attack_end(&attack);
	same_fd_close();
}

static void test_a_carrier_whose_header_comes_in_two_parts_still_has_its_descriptors(void)
{
	same_fd_open();
	for (size_t cut = 1; cut < RAW_HEADER + 8; cut++) {
		static unsigned char bytes[64];
		size_t size;

		harness_context("cut at %zu", cut);
		attack_begin(&attack, NULL);
		check_within(20000, raw_peer_drained(&attack.peer));
		raw_text_with_fds(&attack.out, 1, "carrier", 2);
		size = attack.out.size;
		memcpy(bytes, attack.out.bytes, size);
		attack.out.size = 0;
		send_part(bytes, 0, cut, 2, true);
		send_part(bytes, cut, size, 0, false);
		expect_text_with_fds(attack.topic, "carrier", 2);
		attack_end(&attack);
	}
	same_fd_close();
}

/* ---- How many may be waiting ----------------------------------------------------------------- */

static void test_more_attachments_than_a_topics_credit_are_a_breach(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	same_fd_open();
	options.message_attachments = 16;
	options.topic_window_attachments = 16;
	attack_begin(&attack, &options);
	raw_text_with_fds(&attack.out, 1, "all there is", 16);
	send_with(16);
	raw_text_with_fds(&attack.out, 1, "one too many", 1);
	send_with(1);
	check_int(expect_breach_untaken(&attack, "credit"), 1);
	attack_end(&attack);
	same_fd_close();
}

static void test_attachments_of_many_topics_are_bounded_for_the_whole_channel(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	char name[16];

	same_fd_open();
	options.attachments = 64;
	options.message_attachments = 16;
	options.topic_window_attachments = 16;
	attack_begin(&attack, &options);
	for (uint32_t id = 2; id <= 6; id++) {
		snprintf(name, sizeof name, "topic %u", id);
		raw_open(&attack.out, id, name);
	}
	attack_send(&attack);
	for (uint32_t id = 1; id <= 4; id++) {
		raw_text_with_fds(&attack.out, id, "a topic's window", 16);
		send_with(16);
	}
	check_within(20000, raw_peer_drained(&attack.peer));
	check(beam_channel_breach(attack.channel) == NULL);
	check(open_fds() < 64 + 40);
	raw_text_with_fds(&attack.out, 5, "one too many", 1);
	send_with(1);
	check_int(expect_breach_untaken(&attack, "credit"), 1);
	attack_end(&attack);
	same_fd_close();
}

static void test_attachments_of_a_topic_that_was_reset_are_closed_and_their_credit_comes_back(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	struct raw_frame frame;
	size_t before;

	same_fd_open();
	options.attachments = 64;
	options.message_attachments = 16;
	options.topic_window_attachments = 64;
	attack_begin(&attack, &options);
	before = open_fds();
	check_int(beam_topic_close_receive(attack.topic), 0);
	frame = raw_peer_expect(&attack.peer, RAW_RESET);
	check_int(frame.id, 1);
	/*
	 * The credit may be withheld for a while, but never so much that the largest message could
	 * not be sent.
	 */
	for (int i = 0; i < 4; i++) {
		raw_text_with_fds(&attack.out, 1, "too late", 16);
		send_with(16);
	}
	for (uint32_t returned = 0; returned < 16;) {
		do
			frame = raw_peer_expect(&attack.peer, RAW_CREDIT);
		while (frame.id != 0);
		returned += raw_u32(frame.payload + 4);
	}
	check_within(20000, open_fds() == before);
	attack_end(&attack);
	same_fd_close();
}

/* ---- A full table ---------------------------------------------------------------------------- */

/* Leaves exactly `n` free descriptors. */
static struct rlimit leave_free(unsigned n)
{
	struct rlimit before, few;
	int highest = -1;

	require_int(getrlimit(RLIMIT_NOFILE, &before), 0);
	/*
	 * Fill the gaps below the highest descriptor, so that the limit alone decides how many are
	 * free.
	 */
	for (int fd = 0; fd < 1024; fd++) {
		if (fd_open(fd))
			highest = fd;
	}
	for (int fd = 0; fd < highest; fd++) {
		if (!fd_open(fd))
			require_int(dup2(same_fd[0], fd), fd);
	}
	few = before;
	few.rlim_cur = (rlim_t)highest + 1 + n;
	require_int(setrlimit(RLIMIT_NOFILE, &few), 0);
	return before;
}

/* Runs in a child, because it fills the descriptor table. */
static int child_with_free(void *argument)
{
	unsigned n_free = *(unsigned *)argument;
	struct beam_statistics statistics;
	beam_message *message = NULL;
	struct rlimit before;

	same_fd_open();
	attack_begin(&attack, NULL);
	check_within(20000, raw_peer_drained(&attack.peer));
	before = leave_free(n_free);
	raw_text_with_fds(&attack.out, 1, "three", 3);
	send_with(3);
	raw_text(&attack.out, 1, "next");
	attack_send(&attack);
	if (check_int(beam_topic_receive(attack.topic, &message, 0, soon()), 1)) {
		check_int(beam_message_attachments(message), 3);
		for (unsigned i = 0; i < 3; i++) {
			int fd = beam_message_peek_fd(message, i);

			check(i < n_free ? raw_inode(fd) == raw_inode(same_fd[0]) : fd == -EMFILE);
		}
	}
	beam_message_free(message);
	expect_text(attack.topic, "next");
	check_int(beam_channel_statistics(attack.channel, &statistics, sizeof statistics), 0);
	check_int(statistics.attachments_lost, 3 - n_free);
	setrlimit(RLIMIT_NOFILE, &before);

	/* When there is room again, all attachments arrive. */
	raw_text_with_fds(&attack.out, 1, "again", 3);
	send_with(3);
	expect_text_with_fds(attack.topic, "again", 3);
	attack_end(&attack);
	same_fd_close();
	return 0;
}

static void test_attachments_that_a_full_table_cuts_off_read_as_lost_and_the_channel_goes_on(void)
{
	needs_threads_in_children();
	if (under_valgrind())
		skip("Valgrind simulates RLIMIT_NOFILE");
	for (unsigned n = 0; n < 3; n++) {
		harness_context("%u free", n);
		check_int(process_wait(process_spawn(child_with_free, &n)), 0);
	}
}

static const struct test tests[] = {
    TEST(test_more_descriptors_than_carried_are_a_breach),
    TEST(test_fewer_descriptors_than_carried_are_a_breach),
    TEST(test_carried_and_not_claimed_before_others_come_is_a_breach),
    TEST(test_carried_and_never_claimed_is_closed_with_the_channel),
    TEST(test_a_claim_beyond_what_came_is_a_breach),
    TEST(test_a_claim_of_a_frame_that_goes_on_or_takes_back_is_a_breach),
    TEST(test_more_attachments_in_a_message_than_accepted_are_a_breach),
    TEST(test_a_descriptor_with_any_byte_but_its_carriers_first_is_a_breach),
    TEST(test_a_descriptor_near_its_carrier_is_its_own_or_a_breach),
    TEST(test_a_descriptor_with_the_middle_of_a_large_payload_is_a_breach),
    TEST(test_two_carriers_for_one_group_are_a_breach),
    TEST(test_a_carrier_whose_header_comes_in_two_parts_still_has_its_descriptors),
    TEST(test_more_attachments_than_a_topics_credit_are_a_breach),
    TEST(test_attachments_of_many_topics_are_bounded_for_the_whole_channel),
    TEST(test_attachments_of_a_topic_that_was_reset_are_closed_and_their_credit_comes_back),
    TEST(test_attachments_that_a_full_table_cuts_off_read_as_lost_and_the_channel_goes_on),
};

HARNESS_MAIN("hostile/descriptor", tests)
