/* SPDX-License-Identifier: MIT */
/*
 * A program that was compiled for ThreadSanitizer uses a library that was not. ThreadSanitizer must
 * report nothing, and otherwise ends the program with status 66. Many threads receive from one
 * topic, so that memory that one of them has read is reused by another.
 */
#include <beam/beam.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SENDERS = 3, RECEIVERS = 4, MESSAGES = 1500, LARGE = 60000 };

static beam_channel *channels[2];
static beam_topic *topics[2];

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* Replies to calls with their first byte. */
static void *receive_all(void *unused)
{
	char *read = malloc(LARGE);
	beam_message *message;

	(void)unused;
	must(read);
	while (beam_topic_receive(topics[1], &message, 0, BEAM_FOREVER) == 1) {
		memcpy(read, beam_message_data(message), beam_message_size(message));
		if (beam_message_is_call(message))
			must(beam_message_reply(message, read, 1, 0, BEAM_FOREVER) == 0);
		beam_message_free(message);
	}
	free(read);
	return NULL;
}

static void call(const char *payload, size_t size)
{
	beam_message *reply;

	must(beam_topic_call(topics[0], payload, size, &reply, 0, BEAM_FOREVER) == 1);
	must(*(const char *)beam_message_data(reply) == *payload);
	beam_message_free(reply);
}

static void *send_many(void *unused)
{
	(void)unused;
	for (int i = 0; i < MESSAGES; i++) {
		size_t size = i % 100 == 0 ? LARGE : i % 10 == 0 ? LARGE / 12 : 48;
		char *payload = malloc(size);

		must(payload);
		memset(payload, i, size);
		if (i % 5 == 0)
			call(payload, size);
		else
			must(beam_topic_send(topics[0], payload, size, 0, BEAM_FOREVER) == 0);
		free(payload);
	}
	return NULL;
}

static void close_end(int i)
{
	beam_topic_unref(topics[i]);
	beam_channel_unref(channels[i]);
}

int main(void)
{
	pthread_t senders[SENDERS], receivers[RECEIVERS];
	int fds[2];

	must(beam_socket_pair(SOCK_STREAM, fds) == 0);
	for (int i = 0; i < 2; i++) {
		must(beam_channel_from_fd(&channels[i], fds[i], NULL) == 0);
		must(beam_topic_open(&topics[i], channels[i], "topic") == 0);
	}
	for (int i = 0; i < RECEIVERS; i++)
		must(pthread_create(&receivers[i], NULL, receive_all, NULL) == 0);
	for (int i = 0; i < SENDERS; i++)
		must(pthread_create(&senders[i], NULL, send_many, NULL) == 0);
	for (int i = 0; i < SENDERS; i++)
		pthread_join(senders[i], NULL);
	close_end(0);
	for (int i = 0; i < RECEIVERS; i++)
		pthread_join(receivers[i], NULL);
	close_end(1);
	return 0;
}
