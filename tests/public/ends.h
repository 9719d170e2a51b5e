/* SPDX-License-Identifier: MIT */
/*
 * Two channels, the ends of one connection, with a topic that is open on both, and the functions
 * that most tests of the public interface use to send, receive and observe threads.
 */
#ifndef PUBLIC_ENDS_H
#define PUBLIC_ENDS_H

#include <beam/beam.h>
#include <harness/harness.h>
#include <kernel/raw.h>

struct ends {
	beam_channel *channel[2];
	beam_topic *topic[2];
};

/* A deadline for everything that is expected to happen. */
static inline beam_deadline soon(void)
{
	return beam_in_ms(stretch(20000));
}

/*
 * Makes two connected channels. The second one gets the options (NULL: the defaults), and opens its
 * topic before the first one does.
 */
static inline void ends_open(struct ends *ends, const struct beam_channel_options *options)
{
	int fds[2];

	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	for (int i = 1; i >= 0; i--) {
		require_int(beam_channel_from_fd(&ends->channel[i], fds[i], i ? options : NULL), 0);
		require_int(beam_topic_open(&ends->topic[i], ends->channel[i], "topic"), 0);
	}
}

static inline void ends_close(struct ends *ends)
{
	for (int i = 0; i < 2; i++) {
		ends->topic[i] = beam_topic_unref(ends->topic[i]);
		ends->channel[i] = beam_channel_unref(ends->channel[i]);
	}
}

static inline void send_text(beam_topic *topic, const char *text)
{
	check_int(beam_topic_send(topic, text, strlen(text), 0, soon()), 0);
}

/* The next message has this text and `n_fds` attachments. */
static inline void expect_text_with_fds(beam_topic *topic, const char *text, size_t n_fds)
{
	beam_message *message = NULL;

	if (!check_int(beam_topic_receive(topic, &message, 0, soon()), 1))
		return;
	if (check_int(beam_message_size(message), strlen(text)))
		check_bytes(beam_message_data(message), text, strlen(text));
	check_int(beam_message_attachments(message), n_fds);
	beam_message_free(message);
}

static inline void expect_text(beam_topic *topic, const char *text)
{
	expect_text_with_fds(topic, text, 0);
}

/* Returns the result of a receive that must not return a message. */
static inline int receive_nothing(beam_topic *topic, beam_deadline deadline)
{
	beam_message *message = NULL;
	int r = beam_topic_receive(topic, &message, 0, deadline);

	if (r == 1)
		beam_message_free(message);
	return r;
}

static inline void send_number(beam_topic *topic, uint64_t number)
{
	check_int(beam_topic_send(topic, &number, sizeof number, 0, soon()), 0);
}

static inline int receive_number(beam_topic *topic, uint64_t *ret)
{
	size_t size = 0;
	int r = beam_topic_receive_into(topic, ret, sizeof *ret, &size, NULL, 0, NULL, 0, soon());

	if (r == 1)
		check_int(size, sizeof *ret);
	return r;
}

static inline void expect_number(beam_topic *topic, uint64_t number)
{
	uint64_t received = UINT64_MAX;

	check_int(receive_number(topic, &received), 1);
	check_int(received, number);
}

#endif
