/* SPDX-License-Identifier: MIT */
/*
 * A raw peer that uses all of its credit for attachments, a channel that receives from it, and
 * another channel to forward messages to.
 */
#ifndef HOSTILE_GRANTED_H
#define HOSTILE_GRANTED_H

#include <hostile/creditor.h>
#include <hostile/lingering.h>
#include <public/ends.h>
#include <public/table.h>

enum { ATTACHMENTS = 8 };

static struct creditor peer;
static beam_channel *channel;
static beam_topic *topic, *words;
/* The channel that messages are forwarded to. */
static struct ends onward;
/* One file, and many references to its descriptor. */
static int file, files[RAW_FDS_MAX];

static inline struct beam_channel_options so_many(uint32_t attachments)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.message_attachments = options.attachments = attachments;
	return options;
}

static inline void begin(const struct beam_channel_options *options)
{
	int fds[2];

	file = raw_file();
	for (size_t i = 0; i < RAW_FDS_MAX; i++)
		files[i] = file;
	ends_open(&onward, NULL);
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	require_int(beam_channel_from_fd(&channel, fds[0], options), 0);
	require_int(beam_topic_open(&topic, channel, "log"), 0);
	require_int(beam_topic_open(&words, channel, "words"), 0);
	creditor_begin(&peer, fds[1], 0);
	raw_open(&peer.out, 2, "words");
	creditor_flush(&peer, NULL, 0);
	while (!peer.hello && check(creditor_read(&peer, 1)))
		;
}

static inline void end(void)
{
	topic = beam_topic_unref(topic);
	words = beam_topic_unref(words);
	channel = beam_channel_unref(channel);
	raw_peer_close(&peer.peer);
	ends_close(&onward);
	close(file);
}

static inline beam_message *receive(void)
{
	beam_message *message = NULL;

	require_int(beam_topic_receive(topic, &message, 0, soon()), 1);
	return message;
}

/* A message in each direction. It arrives after everything that was due before. */
static inline void exchange(void)
{
	struct raw_frame frame;

	raw_text(&peer.out, 2, "word");
	creditor_flush(&peer, NULL, 0);
	expect_text(words, "word");
	check_int(beam_topic_send(words, "word", 4, 0, soon()), 0);
	do {
		require_int(raw_peer_next(&peer.peer, &frame), 1);
		creditor_count(&peer, &frame);
	} while (frame.kind != RAW_DATA);
}

/*
 * The peer has credit for exactly `n` attachments. It asks for more than there is, so that no
 * credit is withheld.
 */
static inline void expect_credit(int64_t n)
{
	creditor_want(&peer, 1000);
	check_within(20000, creditor_read(&peer, 0) && peer.channel >= n);
	exchange();
	check_int(peer.channel, n);
}

static inline void send_one(void)
{
	check(creditor_send(&peer, files, 1));
}

#endif
