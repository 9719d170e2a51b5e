/* SPDX-License-Identifier: MIT */
/*
 * What tests of channels over channels share: ends that are sent and taken, and what they exchange.
 */
#ifndef RELAY_PAIRS_H
#define RELAY_PAIRS_H

#include <hostile/raw_peer.h>
#include <public/ends.h>

/* Receives the next message, which has an attachment. */
static inline beam_message *receive(beam_topic *topic)
{
	beam_message *message = NULL;

	require_int(beam_topic_receive(topic, &message, 0, soon()), 1);
	require_int(beam_message_attachments(message), 1);
	return message;
}

/* Takes the channel from the next message. */
static inline beam_channel *take_next(beam_topic *topic)
{
	beam_message *message = receive(topic);
	beam_channel *channel = NULL;

	require_int(beam_message_take_channel(message, 0, &channel, NULL), 0);
	beam_message_free(message);
	return channel;
}

static inline beam_topic *open_topic(beam_channel *channel)
{
	beam_topic *topic = NULL;

	require_int(beam_topic_open(&topic, channel, "topic"), 0);
	return topic;
}

static inline void expect_exchange(const struct ends *ends)
{
	for (int i = 0; i < 2; i++) {
		int file = raw_file();
		beam_message *message;

		send_text(ends->topic[i], "word");
		expect_text(ends->topic[!i], "word");
		check_int(beam_topic_sendv(ends->topic[i], NULL, 0, &file, 1, 0, soon()), 0);
		message = receive(ends->topic[!i]);
		check_int(raw_inode(beam_message_peek_fd(message, 0)), raw_inode(file));
		beam_message_free(message);
		close(file);
	}
}

static inline void expect_end(beam_channel *channel, int end)
{
	beam_topic *topic = NULL;

	check_int(beam_channel_accept(channel, &topic, soon()), end);
	check(topic == NULL);
	beam_channel_unref(channel);
}

#endif
