/* SPDX-License-Identifier: MIT */
/*
 * Forwarding, while each call that can fail fails in turn: what was received is sent in order, or
 * is held.
 */
#include <kernel/raw.h>
#include <relay/sweep.h>

enum { MESSAGES = 4, LARGE = 100 << 10 };

/* Two channels, with a topic on each side; NULL where that failed. */
struct ends {
	beam_channel *channel[2];
	beam_topic *topic[2];
};

static bool ends_open(struct ends *ends)
{
	struct beam_channel_options options = options_of_sweeps();

	*ends = (struct ends){0};
	return beam_channel_pair(&ends->channel[0], &ends->channel[1], &options) == 0 &&
	       beam_topic_open(&ends->topic[0], ends->channel[0], "topic") == 0 &&
	       beam_topic_open(&ends->topic[1], ends->channel[1], "topic") == 0;
}

static void ends_close(struct ends *ends)
{
	for (int i = 0; i < 2; i++) {
		beam_topic_unref(ends->topic[i]);
		beam_channel_unref(ends->channel[i]);
	}
}

/* Messages are recognized by their first byte. Every second one is large. */
static size_t size_of(int number)
{
	return number % 2 ? LARGE : 1;
}

static void check_message(const beam_message *message, int number, ino_t inode)
{
	int fd = beam_message_peek_fd(message, 0);

	check_int(beam_message_size(message), size_of(number));
	check_int(*(const char *)beam_message_data(message), number);
	check_int(beam_message_attachments(message), 1);
	/* The attachment may be lost, if there was no descriptor. */
	check(fd == -EMFILE || fd == -EACCES || raw_inode(fd) == inode);
}

static int send_all(beam_topic *topic, int file)
{
	static char bytes[LARGE];
	int n = 0;

	while (n < MESSAGES) {
		struct iovec iov = {bytes, size_of(n)};

		bytes[0] = (char)n;
		if (beam_topic_sendv(topic, &iov, 1, &file, 1, 0, shortly()) < 0)
			break;
		n++;
	}
	return n;
}

/* Receives what arrived, from the first message on, without a gap. Returns how many there were. */
static size_t receive_all(beam_topic *topic, ino_t inode)
{
	beam_message *message;
	size_t n = 0;

	while (n < MESSAGES && beam_topic_receive(topic, &message, 0, shortly()) == 1) {
		check_message(message, (int)n++, inode);
		beam_message_free(message);
	}
	return n;
}

static void forward(void)
{
	int file = raw_file(), accepted;
	ino_t inode = raw_inode(file);
	beam_message *held = NULL;
	struct ends source, target;
	size_t moved = 0, n;

	/* Both are opened, even if the first fails. */
	if ((int)ends_open(&source) & (int)ends_open(&target)) {
		accepted = send_all(source.topic[0], file);
		for (int turns = 0; turns < MESSAGES && moved < (size_t)accepted; turns++) {
			int r = beam_topic_forward(source.topic[1], target.topic[0], &held, (size_t)accepted - moved,
						   &n, 0, shortly());

			moved += n;
			check(r == 1 || r < 0);
			check(r < 0 || !held);
			if (held)
				check_message(held, (int)moved, inode);
		}
		check(receive_all(target.topic[1], inode) <= moved);
	}
	beam_message_free(held);
	ends_close(&source);
	ends_close(&target);
	close(file);
}

static void test_what_was_received_is_sent_in_order_or_in_hand(void)
{
	check(sweep(forward) >= at_least(150));
}

static const struct test tests[] = {
    TEST(test_what_was_received_is_sent_in_order_or_in_hand),
};
HARNESS_MAIN("relay-forward_fault", tests)
