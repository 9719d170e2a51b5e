/* SPDX-License-Identifier: MIT */
/* What tests of writing share: messages larger than the buffer, and a thread that sends them. */
#ifndef CHANNEL_MEANWHILE_H
#define CHANNEL_MEANWHILE_H

#include <channel/scene.h>

/* A message of one frame that goes into the buffer only if its sender must not wait. */
enum { PAST_THE_BUFFER = TX_LARGE - 8 };

static inline int send_bulk(unsigned topic, size_t size, size_t n_fds, beam_deadline deadline)
{
	static char bulk[200000];
	struct iovec iov = {bulk, size};

	return beam_topic_sendv(topics[topic], &iov, 1, (int[]){STDIN_FILENO}, n_fds, 0, deadline);
}

struct sending_thread {
	pthread_t thread;
	size_t size, n_fds;
	unsigned topic;
	int result;
};

static inline void *send_soon(void *argument)
{
	struct sending_thread *sending = argument;

	sending->result = send_bulk(sending->topic, sending->size, sending->n_fds, soon());
	return NULL;
}

static inline void start_sending(struct sending_thread *sending, unsigned topic, size_t size)
{
	unsigned before = writers();

	*sending = (struct sending_thread){.topic = topic, .size = size};
	sending->thread = thread_spawn(send_soon, sending);
	check_within(20000, writers() == before + 1);
}

#endif
