/* SPDX-License-Identifier: MIT */
/*
 * What a sender can put into the receiver's descriptor table: never more than was granted, because
 * credit is returned only after the program has taken a descriptor or it has been closed. The
 * sender is a raw peer that uses all of its credit.
 */
#include <beam/pair.h>
#include <harness/fault.h>
#include <hostile/granted.h>
#include <stdatomic.h>
#include <stress/leave.h>

/* ---- When credit is returned ----------------------------------------------------------------- */

static void test_a_message_that_is_held_keeps_its_credit(void)
{
	struct beam_channel_options options = so_many(ATTACHMENTS);
	beam_message *held[ATTACHMENTS];

	begin(&options);
	for (int i = 0; i < ATTACHMENTS; i++)
		send_one();
	expect_credit(0);
	for (int i = 0; i < ATTACHMENTS; i++)
		held[i] = receive();
	expect_credit(0);
	check_int(beam_message_peek_fd(held[0], 0) >= 0, true);
	for (int i = 0; i < ATTACHMENTS; i++) {
		beam_message_free(held[i]);
		expect_credit(i + 1);
	}
	end();
}

static void test_a_descriptor_that_was_taken_gives_its_credit_back_once(void)
{
	struct beam_channel_options options = so_many(ATTACHMENTS);
	beam_message *message;
	int fd;

	begin(&options);
	check(creditor_send(&peer, files, 3));
	message = receive();
	expect_credit(ATTACHMENTS - 3);
	fd = beam_message_take_fd(message, 1);
	check(fd >= 0);
	expect_credit(ATTACHMENTS - 2);
	check_int(beam_message_take_fd(message, 1), -ENOENT);
	expect_credit(ATTACHMENTS - 2);
	beam_message_free(message);
	expect_credit(ATTACHMENTS);
	close(fd);
	end();
}

static struct beam_channel_options single_ones(void)
{
	struct beam_channel_options options = so_many(64);

	options.message_attachments = 1;
	options.topic_window_attachments = 64;
	return options;
}

/* The topic's credit is useless without the channel's, so both are returned in one write. */
static void test_while_attachments_are_wanted_a_message_is_answered_in_one_write(void)
{
	struct beam_channel_options options = single_ones();
	enum { N = 50 };

	begin(&options);
	expect_credit(64);
	fault_only(FAULT(SYS_SENDMSG));
	fault_at(0, 0, false);
	for (int i = 0; i < N && !harness_failures(); i++) {
		beam_message *message;

		send_one();
		message = receive();
		close(beam_message_take_fd(message, 0));
		beam_message_free(message);
		check_within(20000, creditor_read(&peer, 1) && peer.channel == 64 && peer.topic == 64);
	}
	check(fault_calls() < N + N / 2);
	fault_off();
	end();
}

/*
 * A message with one attachment and a payload of `size` bytes in two frames. `over` bytes are
 * charged to the pool.
 */
static void send_large(uint32_t size, uint32_t over)
{
	static const char bytes[60000];
	size_t at = raw_begin(&peer.out, 1, size, over, bytes, size / 2);

	peer.out.bytes[at + 6] = 1; /* claimed */
	raw_carry(&peer.out, at, 1);
	raw_data(&peer.out, 1, bytes, size - size / 2);
	peer.topic_bytes -= RAW_MESSAGE_COST + size - over;
	peer.topic--;
	peer.channel--;
	check(creditor_flush(&peer, &file, 1));
}

/*
 * Receives `n` messages after the channel's thread has had time to fall asleep, because otherwise
 * that thread would write what is due. If it does not sleep yet, the test just detects nothing.
 */
static void receive_late(beam_message **kept, size_t n)
{
	struct beam_statistics statistics = {0};

	check_within(20000, beam_topic_statistics(topic, &statistics, sizeof statistics) == 0 &&
				statistics.messages_queued == n);
	poll(NULL, 0, 100);
	for (size_t i = 0; i < n; i++)
		kept[i] = receive();
}

/*
 * Otherwise a program that keeps what it receives would block its topic, and those who wait for the
 * pool.
 */
static void test_messages_that_are_kept_do_not_keep_the_credit_of_their_topic(void)
{
	struct beam_channel_options options = single_ones();
	enum { KEPT = 66, WINDOW = 64 << 10 };
	beam_message *kept[KEPT];
	int64_t all;

	options.topic_window_bytes = WINDOW;
	options.dedicated_reader = 1;
	options.attachments = KEPT;
	begin(&options);
	expect_credit(KEPT);
	all = peer.topic_bytes;
	send_large(40000, 0);
	receive_late(&kept[0], 1);
	check_within(20000, creditor_read(&peer, 1) && peer.topic_bytes == all);
	send_large(60000, 50000);
	receive_late(&kept[1], 1);
	check_within(20000, creditor_read(&peer, 1) && peer.topic_bytes == all);
	check_int(peer.topic, 64);
	for (int i = 2; i < KEPT; i++)
		send_one();
	receive_late(&kept[2], KEPT - 2);
	check_within(20000, creditor_read(&peer, 1) && peer.topic >= 32);
	check_int(peer.channel, 0);
	for (int i = 0; i < KEPT; i++)
		beam_message_free(kept[i]);
	expect_credit(KEPT);
	check_int(peer.topic, 64);
	end();
}

static void test_a_message_whose_attachments_are_lost_does_not_keep_the_credit_of_its_topic(void)
{
	struct beam_channel_options options = single_ones();
	struct rlimit old, low;
	beam_message *kept;

	if (under_valgrind())
		skip("Valgrind keeps the limit to itself");
	options.dedicated_reader = 1;
	begin(&options);
	expect_credit(64);
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	/* All lower numbers are in use. */
	low.rlim_cur = 3;
	setrlimit(RLIMIT_NOFILE, &low);
	send_one();
	receive_late(&kept, 1);
	setrlimit(RLIMIT_NOFILE, &old);
	check_int(beam_message_peek_fd(kept, 0), -EMFILE);
	check_within(20000, creditor_read(&peer, 1) && peer.topic == 64 && peer.channel == 64);
	beam_message_free(kept);
	end();
}

static void test_receiving_into_a_buffer_gives_credit_back_at_once(void)
{
	struct beam_channel_options options = so_many(ATTACHMENTS);
	int fds[3];
	char byte;
	size_t size, n_fds;

	begin(&options);
	check(creditor_send(&peer, files, 3));
	require_int(beam_topic_receive_into(topic, &byte, 1, &size, fds, 3, &n_fds, 0, soon()), 1);
	check_int(n_fds, 3);
	expect_credit(ATTACHMENTS);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	end();
}

static void test_an_attachment_that_is_taken_as_a_channel_gives_its_credit_back(void)
{
	struct beam_channel_options options = so_many(ATTACHMENTS);
	beam_channel *taken = NULL;
	beam_message *message;
	int fds[2];

	begin(&options);
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	check(creditor_send(&peer, fds, 1));
	close(fds[0]);
	message = receive();
	expect_credit(ATTACHMENTS - 1);
	check_int(beam_message_take_channel(message, 0, &taken, NULL), 0);
	expect_credit(ATTACHMENTS);
	beam_message_free(message);
	beam_channel_unref(taken);
	close(fds[1]);
	expect_credit(ATTACHMENTS);
	end();
}

/* ---- Dropped and lost ------------------------------------------------------------------------ */

static void test_what_is_thrown_away_gives_its_credit_back_when_it_has_been_closed(void)
{
	struct beam_channel_options options = so_many(ATTACHMENTS);
	beam_topic *other = NULL;

	begin(&options);
	/* A message that is begun and aborted. */
	raw_begin(&peer.out, 1, 100, 0, "begun", 5);
	peer.out.bytes[6] = 4;
	raw_carry(&peer.out, 0, 4);
	peer.channel -= 4;
	check(creditor_flush(&peer, files, 4));
	expect_credit(ATTACHMENTS - 4);
	end();

	begin(&options);
	raw_begin(&peer.out, 1, 100, 0, "begun", 5);
	peer.out.bytes[6] = 4;
	raw_carry(&peer.out, 0, 4);
	peer.channel -= 4;
	check(creditor_flush(&peer, files, 4));
	raw_frame(&peer.out, RAW_DATA, RAW_ABORT, 0, 1, 0, NULL, 0);
	check(creditor_flush(&peer, NULL, 0));
	expect_credit(ATTACHMENTS);

	/* Messages in the queue of a topic that is closed, and messages that arrive later. */
	raw_open(&peer.out, 3, "other");
	check(creditor_flush(&peer, NULL, 0));
	require_int(beam_topic_open(&other, channel, "other"), 0);
	for (int i = 0; i < 4; i++) {
		raw_text_with_fds(&peer.out, 3, "x", 1);
		peer.channel--;
		check(creditor_flush(&peer, files, 1));
		if (i == 1)
			expect_credit(ATTACHMENTS - 2);
		if (i == 1)
			check_int(beam_topic_close_receive(other), 0);
	}
	expect_credit(ATTACHMENTS);
	beam_topic_unref(other);
	end();
}

static void test_what_the_kernel_could_not_install_gives_its_credit_back_though_its_message_is_held(void)
{
	struct beam_channel_options options = so_many(ATTACHMENTS);
	struct rlimit old, low;
	beam_message *message;
	int lowest;

	if (under_valgrind())
		skip("Valgrind keeps the limit to itself");
	begin(&options);
	exchange();
	lowest = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
	close(lowest);
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	low.rlim_cur = (rlim_t)lowest + 2;
	setrlimit(RLIMIT_NOFILE, &low);
	check(creditor_send(&peer, files, 5));
	message = receive();
	setrlimit(RLIMIT_NOFILE, &old);
	check_int(beam_message_attachments(message), 5);
	check(beam_message_peek_fd(message, 0) >= 0);
	for (size_t i = 2; i < 5; i++)
		check_int(beam_message_peek_fd(message, i), -EMFILE);
	expect_credit(ATTACHMENTS - 2);
	beam_message_free(message);
	expect_credit(ATTACHMENTS);
	end();
}

/* ---- After the end, and in another process --------------------------------------------------- */

static beam_message *inherited[ATTACHMENTS];

static int frees_what_it_inherited(void *unused)
{
	size_t before = open_fds();

	(void)unused;
	check_int(beam_message_take_fd(inherited[0], 0) >= 0, true);
	for (int i = 0; i < ATTACHMENTS; i++)
		beam_message_free(inherited[i]);
	/* All but the one that was taken are closed. */
	check_within(20000, open_fds() <= before - (ATTACHMENTS - 1));
	check_int(open_fds(), before - (ATTACHMENTS - 1));
	return 0;
}

static void test_a_forked_child_that_frees_messages_closes_its_copies_and_gives_no_credit_back(void)
{
	struct beam_channel_options options = so_many(ATTACHMENTS);

	needs_threads_in_children();
	needs_memory_in_children();
	begin(&options);
	for (int i = 0; i < ATTACHMENTS; i++)
		send_one();
	for (int i = 0; i < ATTACHMENTS; i++)
		inherited[i] = receive();
	check_int(process_wait(process_spawn(frees_what_it_inherited, NULL)), 0);
	expect_credit(0);
	for (int i = 0; i < ATTACHMENTS; i++) {
		check_int(raw_inode(beam_message_peek_fd(inherited[i], 0)), raw_inode(file));
		beam_message_free(inherited[i]);
	}
	expect_credit(ATTACHMENTS);
	end();
}

/* ---- The table ------------------------------------------------------------------------------- */

/* What the program does with the messages. */
enum use { USE_FREES, USE_TAKES, USE_HOLDS, USE_LEAVES, USE_END };

static struct flood {
	enum use use;
	pthread_t thread;
	size_t total, received, lost;
	atomic_bool over;
} flood;

static void *use_messages(void *unused)
{
	beam_message *held[4] = {NULL};
	size_t n = 0;

	while (!atomic_load(&flood.over)) {
		beam_message *message = NULL;
		int fd;

		/* When no message arrives, it frees one of those that it holds. */
		if (beam_topic_receive(topic, &message, 0, beam_in_ms(1)) != 1) {
			beam_message_free(held[n % 4]);
			held[n++ % 4] = NULL;
			continue;
		}
		for (size_t i = 0; i < beam_message_attachments(message); i++) {
			flood.lost += beam_message_peek_fd(message, i) < 0;
			fd = flood.use == USE_TAKES && i % 2 ? beam_message_take_fd(message, i) : -1;
			if (fd >= 0)
				close(fd);
		}
		flood.received += beam_message_attachments(message);
		if (flood.use != USE_HOLDS) {
			beam_message_free(message);
			continue;
		}
		beam_message_free(held[n % 4]);
		held[n++ % 4] = message;
	}
	for (int i = 0; i < 4; i++)
		beam_message_free(held[i]);
	return unused;
}

/* Returns how many descriptors were in the table at most, while the peer used all of its credit. */
static size_t flood_with(enum use use, uint32_t attachments)
{
	struct rng rng = rng_new(attachments);
	size_t total = use == USE_LEAVES ? attachments : scale(100 + 20 * attachments);
	size_t sent = 0, most = 0, before = open_fds();

	flood = (struct flood){.use = use, .total = total};
	if (use != USE_LEAVES)
		flood.thread = thread_spawn(use_messages, NULL);
	while (sent < total && !harness_failures()) {
		size_t n = creditor_room(&peer), now;

		n = n ? 1 + rng_below(&rng, n) : 0;
		if (n)
			check(creditor_send(&peer, files, n));
		else
			creditor_want(&peer, 1000);
		sent += n;
		/* Counting uses a descriptor itself. */
		now = open_fds();
		most = now > most ? now : most;
		creditor_read(&peer, n ? 0 : 1);
	}
	creditor_want(&peer, 1000);
	if (use == USE_LEAVES)
		check_within(20000, raw_peer_drained(&peer.peer));
	else if (use != USE_HOLDS)
		check_within(20000, (creditor_read(&peer, 1), peer.channel >= attachments));
	if (use != USE_LEAVES) {
		/* The messages that it still holds are freed at the end. */
		atomic_store(&flood.over, true);
		thread_wait(flood.thread);
		check_int(flood.lost, 0);
	}
	return most > before ? most - before : 0;
}

static void test_a_sender_gets_no_more_into_the_table_than_was_granted(void)
{
	static const uint32_t attachments[] = {1, 2, 8, 61, 253};

	needs_descriptors(1024);
	for (size_t i = 0; i < sizeof attachments / sizeof *attachments; i++) {
		struct beam_channel_options options = so_many(attachments[i]);

		options.topic_window_attachments = 1000;
		for (enum use use = 0; use < USE_END && !harness_failures(); use++) {
			size_t most;

			harness_context("%u attachments, use %d", attachments[i], (int)use);
			begin(&options);
			check_int(peer.channel, attachments[i]);
			most = flood_with(use, attachments[i]);
			/* A descriptor that was taken out of its message belongs to the program
			 * until it is closed. The reaper may start a thread, which uses none. */
			if (most > attachments[i] + (use == USE_TAKES))
				fail("%zu were in the table at once", most);
			end();
		}
	}
}

static const struct test tests[] = {
    TEST(test_a_message_that_is_held_keeps_its_credit),
    TEST(test_a_descriptor_that_was_taken_gives_its_credit_back_once),
    TEST(test_while_attachments_are_wanted_a_message_is_answered_in_one_write),
    TEST(test_messages_that_are_kept_do_not_keep_the_credit_of_their_topic),
    TEST(test_a_message_whose_attachments_are_lost_does_not_keep_the_credit_of_its_topic),
    TEST(test_receiving_into_a_buffer_gives_credit_back_at_once),
    TEST(test_an_attachment_that_is_taken_as_a_channel_gives_its_credit_back),
    TEST(test_what_is_thrown_away_gives_its_credit_back_when_it_has_been_closed),
    TEST(test_what_the_kernel_could_not_install_gives_its_credit_back_though_its_message_is_held),
    TEST(test_a_forked_child_that_frees_messages_closes_its_copies_and_gives_no_credit_back),
    TEST(test_a_sender_gets_no_more_into_the_table_than_was_granted),
};

HARNESS_MAIN("hostile/table", tests)
