/* SPDX-License-Identifier: MIT */
/*
 * Messages arrive with the contents they were sent with: in every size, with every function that
 * sends or receives, and with their own attachments.
 */
#include <beam/beam.h>
#include <fcntl.h>
#include <harness/harness.h>
#include <limits.h>
#include <public/ends.h>

static struct ends ends;

static void test_messages_of_every_size_around_the_edges_arrive_whole(void)
{
	static const size_t edges[] = {0,     1,     7,     8,     9,      4080,   32752,  32768,  65520,
				       65528, 65529, 65536, 65537, 131056, 131072, 262136, 327672, 1 << 20};
	static unsigned char payload[(1 << 20) + 2];
	beam_message *message = NULL;

	for (size_t i = 0; i < sizeof payload; i++)
		payload[i] = (unsigned char)(i % 251);
	ends_open(&ends, NULL);
	for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
		for (size_t size = edges[i] ? edges[i] - 1 : 0; size <= edges[i] + 1; size++) {
			harness_context("%zu bytes", size);
			check_int(beam_topic_send(ends.topic[0], payload, size, 0, soon()), 0);
			if (!check_int(beam_topic_receive(ends.topic[1], &message, 0, soon()), 1))
				continue;
			if (check_int(beam_message_size(message), size))
				check_bytes(beam_message_data(message), payload, size);
			beam_message_free(message);
		}
	}
	ends_close(&ends);
}

/* ---- Ways of sending and receiving ----------------------------------------------------------- */

static void test_several_buffers_are_one_message(void)
{
	struct iovec iov[] = {{(char[]){"one "}, 4}, {NULL, 0}, {(char[]){"mes"}, 3}, {(char[]){"sage"}, 4}};
	static struct iovec many[IOV_MAX];
	static char bytes[IOV_MAX];
	beam_message *message = NULL;

	ends_open(&ends, NULL);
	check_int(beam_topic_sendv(ends.topic[0], iov, 4, NULL, 0, 0, soon()), 0);
	expect_text(ends.topic[1], "one message");
	check_int(beam_topic_sendv(ends.topic[0], NULL, 0, NULL, 0, 0, soon()), 0);
	expect_text(ends.topic[1], "");
	for (size_t i = 0; i < IOV_MAX; i++) {
		bytes[i] = (char)i;
		many[i] = (struct iovec){&bytes[i], 1};
	}
	check_int(beam_topic_sendv(ends.topic[0], many, IOV_MAX, NULL, 0, 0, soon()), 0);
	if (check_int(beam_topic_receive(ends.topic[1], &message, 0, soon()), 1)) {
		check_int(beam_message_size(message), IOV_MAX);
		check_bytes(beam_message_data(message), bytes, IOV_MAX);
		beam_message_free(message);
	}
	ends_close(&ends);
}

static void test_many_are_sent_and_received_at_once_in_order(void)
{
	enum { MANY = 500 };
	static uint64_t numbers[MANY];
	static struct beam_send_item items[MANY];
	static beam_message *messages[MANY];
	size_t n = 0;

	ends_open(&ends, NULL);
	for (size_t i = 0; i < MANY; i++) {
		numbers[i] = i;
		items[i] = (struct beam_send_item){&numbers[i], sizeof numbers[i], NULL, 0};
	}
	check_int(beam_topic_send_many(ends.topic[0], items, MANY, 0, soon()), MANY);
	while (n < MANY) {
		ssize_t r = beam_topic_receive_many(ends.topic[1], messages, MANY, 0, soon());

		if (!check(r > 0))
			break;
		for (ssize_t i = 0; i < r; i++) {
			check_int(beam_message_size(messages[i]), sizeof numbers[0]);
			check_bytes(beam_message_data(messages[i]), &numbers[n++], sizeof numbers[0]);
			beam_message_free(messages[i]);
		}
	}
	ends_close(&ends);
}

static void test_send_many_stops_at_the_deadline_and_tells_how_many_went(void)
{
	static char payload[1000];
	static struct beam_send_item items[2000];
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_message *message = NULL;
	ssize_t sent;

	options.topic_window_bytes = 64 << 10;
	ends_open(&ends, &options);
	for (size_t i = 0; i < 2000; i++)
		items[i] = (struct beam_send_item){payload, sizeof payload, NULL, 0};
	check_int(beam_channel_limits(ends.channel[0], &(struct beam_limits){0}, sizeof(struct beam_limits), soon()),
		  0);
	sent = beam_topic_send_many(ends.topic[0], items, 2000, 0, beam_in_ms(50));
	check(sent > 0 && sent < 2000);
	check_int(beam_topic_send_many(ends.topic[0], items, 1, 0, BEAM_NOWAIT), -EAGAIN);
	for (ssize_t i = 0; i < sent; i++) {
		if (!check_int(beam_topic_receive(ends.topic[1], &message, 0, soon()), 1))
			break;
		beam_message_free(message);
	}
	check_int(beam_topic_receive(ends.topic[1], &message, 0, BEAM_NOWAIT), -EAGAIN);
	ends_close(&ends);
}

static void test_a_message_that_does_not_fit_stays_and_tells_what_it_needs(void)
{
	struct iovec iov = {(char[]){"twelve bytes"}, 12};
	int files[2] = {raw_file(), raw_file()}, fds[2] = {-1, -1};
	size_t size = 0, n_fds = 0;
	char buffer[12];

	ends_open(&ends, NULL);
	check_int(beam_topic_sendv(ends.topic[0], &iov, 1, files, 2, 0, soon()), 0);
	check_int(beam_topic_receive_into(ends.topic[1], buffer, 11, &size, fds, 2, &n_fds, 0, soon()), -EMSGSIZE);
	check_int(size, 12);
	check_int(n_fds, 2);
	n_fds = 0;
	check_int(beam_topic_receive_into(ends.topic[1], buffer, 12, &size, fds, 1, &n_fds, 0, soon()), -EMSGSIZE);
	check_int(n_fds, 2);
	check_int(beam_topic_receive_into(ends.topic[1], NULL, 0, &size, NULL, 0, NULL, 0, soon()), -EMSGSIZE);
	check_int(size, 12);
	check_int(fds[0], -1);
	check_int(beam_topic_receive_into(ends.topic[1], buffer, 12, &size, fds, 2, &n_fds, 0, soon()), 1);
	check_bytes(buffer, "twelve bytes", 12);
	for (int i = 0; i < 2; i++) {
		check_int(raw_inode(fds[i]), raw_inode(files[i]));
		check_int(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
		close(fds[i]);
		close(files[i]);
	}
	send_text(ends.topic[0], "");
	check_int(beam_topic_receive_into(ends.topic[1], NULL, 0, &size, NULL, 0, NULL, 0, soon()), 1);
	check_int(size, 0);
	ends_close(&ends);
}

/* ---- Attachments ----------------------------------------------------------------------------- */

enum { FILES = 32 };

enum { SENDERS = 4 };

struct sender {
	beam_topic *topic;
	uint64_t number, messages;
};

static int files[FILES];

static void files_open(void)
{
	for (int i = 0; i < FILES; i++)
		files[i] = raw_file();
}

static void files_close(void)
{
	for (int i = 0; i < FILES; i++)
		close(files[i]);
}

/* How many attachments the message with this number has, and which file is the first. */
static size_t attachments_of(uint64_t number)
{
	return number * 7 % 5 ? (size_t)(number % 17) : 0;
}

static void *send_files(void *argument)
{
	struct sender *sender = argument;

	for (uint64_t i = 0; i < sender->messages; i++) {
		struct iovec iov = {&i, sizeof i};

		check_int(beam_topic_sendv(sender->topic, &iov, 1, files + i % 15, attachments_of(i), 0, soon()), 0);
	}
	return NULL;
}

/* Receives messages and checks that each has its own files, in order. */
static void *receive_files(void *argument)
{
	struct sender *sender = argument;

	for (uint64_t i = 0; i < sender->messages; i++) {
		beam_message *message = NULL;

		require_int(beam_topic_receive(sender->topic, &message, 0, soon()), 1);
		check_bytes(beam_message_data(message), &i, sizeof i);
		check_int(beam_message_attachments(message), attachments_of(i));
		for (size_t at = 0; at < beam_message_attachments(message); at++)
			check_int(raw_inode(beam_message_peek_fd(message, at)), raw_inode(files[i % 15 + at]));
		beam_message_free(message);
	}
	return NULL;
}

static void test_every_message_has_its_own_attachments_whatever_others_send(void)
{
	struct sender from[SENDERS], to[SENDERS];
	pthread_t senders[SENDERS], receivers[SENDERS];
	char name[16];

	files_open();
	ends_open(&ends, NULL);
	for (uint64_t i = 0; i < SENDERS; i++) {
		from[i] = to[i] = (struct sender){.number = i, .messages = scale(2000)};
		snprintf(name, sizeof name, "files %d", (int)i);
		require_int(beam_topic_open(&from[i].topic, ends.channel[0], name), 0);
		require_int(beam_topic_open(&to[i].topic, ends.channel[1], name), 0);
		senders[i] = thread_spawn(send_files, &from[i]);
		receivers[i] = thread_spawn(receive_files, &to[i]);
	}
	for (int i = 0; i < SENDERS; i++) {
		thread_wait(senders[i]);
		thread_wait(receivers[i]);
		beam_topic_unref(from[i].topic);
		beam_topic_unref(to[i].topic);
	}
	ends_close(&ends);
	files_close();
}

static void test_a_sent_descriptor_stays_the_callers_and_a_given_one_goes_with_the_message(void)
{
	struct iovec iov = {(char[]){"x"}, 1};
	beam_message *message = NULL;
	int file = raw_file(), given = dup(file);

	ends_open(&ends, NULL);
	check_int(beam_topic_sendv(ends.topic[0], &iov, 1, &file, 1, 0, soon()), 0);
	check(fd_open(file));
	require_int(beam_message_new(&message, "given away", 10), 0);
	check_int(beam_message_add_fd(message, file), 0);
	check_int(beam_message_give_fd(message, given), 0);
	check_int(beam_topic_send_message(ends.topic[0], message, 0, soon()), 0);
	check(fd_open(file));
	for (size_t n = 1; n <= 2; n++) {
		if (!check_int(beam_topic_receive(ends.topic[1], &message, 0, soon()), 1))
			continue;
		check_int(beam_message_attachments(message), n);
		for (size_t i = 0; i < n; i++) {
			int fd = beam_message_take_fd(message, i);

			check_int(raw_inode(fd), raw_inode(file));
			check_int(fcntl(fd, F_GETFD), FD_CLOEXEC);
			close(fd);
		}
		beam_message_free(message);
	}
	ends_close(&ends);
	close(file);
}

static void test_a_received_message_can_be_sent_on_and_its_bytes_can_not_be_written_to(void)
{
	beam_message *message = NULL;

	files_open();
	ends_open(&ends, NULL);
	require_int(beam_message_new(&message, NULL, 5), 0);
	check(beam_message_writable(message) != NULL);
	memcpy(beam_message_writable(message), "relay", 5);
	check_int(beam_message_add_fd(message, files[3]), 0);
	check_int(beam_topic_send_message(ends.topic[0], message, 0, soon()), 0);
	for (int at = 1; at >= 0; at--) {
		if (!check_int(beam_topic_receive(ends.topic[at], &message, 0, soon()), 1))
			break;
		check_int(beam_message_size(message), 5);
		check_bytes(beam_message_data(message), "relay", 5);
		check(beam_message_writable(message) == NULL);
		check_int(raw_inode(beam_message_peek_fd(message, 0)), raw_inode(files[3]));
		if (at)
			check_int(beam_topic_send_message(ends.topic[at], message, 0, soon()), 0);
		else
			beam_message_free(message);
	}
	ends_close(&ends);
	files_close();
}

static void test_as_many_attachments_as_the_other_side_accepts_go_in_one_message(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	struct iovec iov = {(char[]){"x"}, 1};
	beam_message *message = NULL;
	int many[253], file;

	needs_descriptors(1024);
	file = raw_file();
	options.message_attachments = options.topic_window_attachments = options.attachments = 253;
	for (int i = 0; i < 253; i++)
		many[i] = file;
	ends_open(&ends, &options);
	for (int i = 0; i < 3; i++) {
		check_int(beam_topic_sendv(ends.topic[0], &iov, 1, many, 253, 0, soon()), 0);
		if (!check_int(beam_topic_receive(ends.topic[1], &message, 0, soon()), 1))
			break;
		check_int(beam_message_attachments(message), 253);
		for (size_t at = 0; at < 253; at++)
			check_int(raw_inode(beam_message_peek_fd(message, at)), raw_inode(file));
		beam_message_free(message);
	}
	ends_close(&ends);
	close(file);
}

static void test_an_attachment_that_was_added_to_a_received_message_can_be_taken_too(void)
{
	beam_message *message = NULL;
	int file = raw_file(), fd;

	ends_open(&ends, NULL);
	check_int(beam_topic_sendv(ends.topic[0], NULL, 0, &file, 1, 0, soon()), 0);
	require_int(beam_topic_receive(ends.topic[1], &message, 0, soon()), 1);
	check_int(beam_message_add_fd(message, file), 0);
	for (size_t i = 0; i < 2; i++) {
		fd = beam_message_take_fd(message, i);
		check_int(raw_inode(fd), raw_inode(file));
		close(fd);
	}
	beam_message_free(message);
	ends_close(&ends);
	close(file);
}

static const struct test tests[] = {
    TEST(test_messages_of_every_size_around_the_edges_arrive_whole),
    TEST(test_several_buffers_are_one_message),
    TEST(test_many_are_sent_and_received_at_once_in_order),
    TEST(test_send_many_stops_at_the_deadline_and_tells_how_many_went),
    TEST(test_a_message_that_does_not_fit_stays_and_tells_what_it_needs),
    TEST(test_every_message_has_its_own_attachments_whatever_others_send),
    TEST(test_a_sent_descriptor_stays_the_callers_and_a_given_one_goes_with_the_message),
    TEST(test_a_received_message_can_be_sent_on_and_its_bytes_can_not_be_written_to),
    TEST(test_as_many_attachments_as_the_other_side_accepts_go_in_one_message),
    TEST(test_an_attachment_that_was_added_to_a_received_message_can_be_taken_too),
};

HARNESS_MAIN("public/channel-message", tests)
