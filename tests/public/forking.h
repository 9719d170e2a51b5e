/* SPDX-License-Identifier: MIT */
/* A parent with channels in use, its child, and what both do with them. */
#ifndef PUBLIC_FORKING_H
#define PUBLIC_FORKING_H

#include <harness/harness.h>
#include <public/listening.h>

static struct ends ends;
/* A message that was received before the fork, and its attachment. */
static beam_message *held;
static int file;
/* The descriptors before any channel existed. */
static struct fd_snapshot before;

static inline void send_file(beam_topic *topic)
{
	struct iovec iov = {(char[]){"well"}, 4};

	check_int(beam_topic_sendv(topic, &iov, 1, &file, 1, 0, soon()), 0);
}

static inline void all_open(void)
{
	file = raw_file();
	fd_snapshot_take(&before);
	ends_open(&ends, NULL);
	send_file(ends.topic[0]);
	require_int(beam_topic_receive(ends.topic[1], &held, 0, soon()), 1);
}

/* Messages with attachments pass in both directions. */
static inline void goes_on(void)
{
	for (int from = 0; from < 2; from++) {
		beam_message *message = NULL;

		send_file(ends.topic[from]);
		if (check_int(beam_topic_receive(ends.topic[1 - from], &message, 0, soon()), 1))
			check_int(raw_inode(beam_message_peek_fd(message, 0)), raw_inode(file));
		beam_message_free(message);
	}
}

static inline void all_close(void)
{
	beam_message_free(held);
	ends_close(&ends);
	close(file);
}

static inline int child_makes_channels(void *argument)
{
	(void)argument;
	for (int i = 0; i < 3; i++) {
		all_open();
		goes_on();
		all_close();
	}
	return 0;
}

#endif
