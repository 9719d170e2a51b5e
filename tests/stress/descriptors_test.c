/* SPDX-License-Identifier: MIT */
/*
 * Floods of descriptors between well-behaved sides, where the receiving process may have a small
 * descriptor table. Messages have up to 64 attachments, and are sent as fast as possible. The
 * receiver takes the attachments, or just frees the messages. No attachment is lost or mixed up,
 * and the process can always open a file.
 *
 * BEAM_FLOOD_SECONDS sets how long each flood lasts.
 */
#include "leave.h"
#include <beam/beam.h>
#include <harness/harness.h>
#include <kernel/raw.h>
#include <public/table.h>
#include <sys/socket.h>

enum { FILES = 16, MOST = 64 };

static struct situation {
	rlim_t table;
	bool takes;
	double seconds;
} now;

static int files[FILES];
static ino_t inodes[FILES];

/*
 * The contents of a message: its number, how many attachments it has, and which file is the first.
 */
struct note {
	uint32_t number, n, first;
};

static beam_deadline in_time(void)
{
	return beam_in_ms(stretch(20000));
}

/* ---- The sending process --------------------------------------------------------------------- */

static int sending_process(void *socket)
{
	struct rng rng = rng_new(now.table + now.takes);
	beam_channel *channel;
	beam_topic *topic;
	struct beam_limits limits;
	int64_t end;

	close(((int *)socket)[0]);
	table_limit(table_at_most(1024));
	require_int(beam_channel_from_fd(&channel, ((int *)socket)[1], NULL), 0);
	require_int(beam_topic_open(&topic, channel, "flood"), 0);
	require_int(beam_channel_limits(channel, &limits, sizeof limits, in_time()), 0);
	if (limits.message_attachments > MOST)
		limits.message_attachments = MOST;
	end = now_ns() + (int64_t)(now.seconds * 1e9);
	for (uint32_t number = 0; now_ns() < end; number++) {
		struct note note = {.number = number,
				    .n = 1 + (uint32_t)rng_below(&rng, limits.message_attachments),
				    .first = (uint32_t)rng_below(&rng, FILES)};
		struct iovec iov = {&note, sizeof note};
		int fds[MOST];

		for (uint32_t i = 0; i < note.n; i++)
			fds[i] = files[(note.first + i) % FILES];
		require_int(beam_topic_sendv(topic, &iov, 1, fds, note.n, 0, in_time()), 0);
	}
	check_int(beam_topic_close_send(topic), 0);
	check_int(beam_channel_close(channel, in_time()), 0);
	beam_topic_unref(topic);
	beam_channel_unref(channel);
	leave_process();
}

/* ---- The receiving process ------------------------------------------------------------------- */

struct count {
	size_t messages, attachments, lost, wrong, refused;
};

static void look_at(struct count *count, int fd, ino_t inode)
{
	if (fd < 0)
		count->lost++;
	else if (raw_inode(fd) != inode)
		count->wrong++;
}

static void use_message(struct count *count, beam_message *message)
{
	struct note note;

	require_int(beam_message_size(message), sizeof note);
	memcpy(&note, beam_message_data(message), sizeof note);
	require_int(note.number, count->messages);
	require_int(beam_message_attachments(message), note.n);
	for (uint32_t i = 0; i < note.n; i++) {
		int fd = now.takes ? beam_message_take_fd(message, i) : beam_message_peek_fd(message, i);

		look_at(count, fd, inodes[(note.first + i) % FILES]);
		if (now.takes && fd >= 0)
			close(fd);
	}
	beam_message_free(message);
	count->messages++;
	count->attachments += note.n;
	count->refused += !table_has_room();
}

static int receiving_process(void *socket)
{
	struct count count = {0};
	struct beam_statistics statistics;
	beam_channel *channel;
	beam_topic *topic;
	beam_message *message;
	int r;

	close(((int *)socket)[1]);
	for (int i = 0; i < FILES; i++)
		close(files[i]);
	table_limit(now.table);
	require_int(beam_channel_from_fd(&channel, ((int *)socket)[0], NULL), 0);
	require_int(beam_topic_open(&topic, channel, "flood"), 0);
	while ((r = beam_topic_receive(topic, &message, 0, in_time())) == 1)
		use_message(&count, message);
	check_int(r, 0);
	check_int(count.lost, 0);
	check_int(count.wrong, 0);
	check_int(count.refused, 0);
	check(count.messages > 0);
	check_int(beam_channel_statistics(channel, &statistics, sizeof statistics), 0);
	check_int(statistics.attachments_lost, 0);
	check_int(statistics.attachments_received, count.attachments);
	if (getenv("BEAM_FLOOD_SECONDS"))
		printf("a table of %u, %s: %zu messages with %zu attachments in %.0f s, %zu lost\n",
		       (unsigned)now.table, now.takes ? "taken" : "freed", count.messages, count.attachments,
		       now.seconds, count.lost);
	beam_topic_unref(topic);
	beam_channel_unref(channel);
	leave_process();
}

static void flood(rlim_t table, bool takes)
{
	const char *seconds = getenv("BEAM_FLOOD_SECONDS");
	pid_t sender, receiver;
	int pair[2];

	now = (struct situation){.table = table, .takes = takes, .seconds = seconds ? strtod(seconds, NULL) : 1.5};
	harness_timeout((unsigned)now.seconds + 60);
	harness_context("a table of %u, %s", (unsigned)table, takes ? "taken" : "freed");
	for (int i = 0; i < FILES; i++) {
		files[i] = raw_file();
		inodes[i] = raw_inode(files[i]);
	}
	require_int(beam_socket_pair(SOCK_STREAM, pair), 0);
	sender = process_spawn(sending_process, pair);
	receiver = process_spawn(receiving_process, pair);
	for (int i = 0; i < 2; i++)
		close(pair[i]);
	for (int i = 0; i < FILES; i++)
		close(files[i]);
	check_int(process_wait(sender), 0);
	check_int(process_wait(receiver), 0);
}

/* ---- Tests ----------------------------------------------------------------------------------- */

static void test_with_a_table_of_64_none_of_a_flood_is_lost(void)
{
	flood(64, true);
	flood(64, false);
}

static void test_with_a_table_of_256_none_of_a_flood_is_lost(void)
{
	flood(256, true);
	flood(256, false);
}

static void test_with_a_table_of_1024_none_of_a_flood_is_lost(void)
{
	needs_descriptors(1024);
	flood(1024, true);
	flood(1024, false);
}

static const struct test tests[] = {
    TEST(test_with_a_table_of_64_none_of_a_flood_is_lost),
    TEST(test_with_a_table_of_256_none_of_a_flood_is_lost),
    TEST(test_with_a_table_of_1024_none_of_a_flood_is_lost),
};

HARNESS_MAIN("stress/descriptors", tests)
