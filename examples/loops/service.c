/* SPDX-License-Identifier: MIT */
#include "service.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS = 10 };

/* ---- Clients --------------------------------------------------------------------------------- */

static int ask(beam_topic *topic, int number)
{
	for (int i = 0; i < WORDS; i++) {
		char word[32], answer[32];
		size_t size = 0;

		snprintf(word, sizeof word, "word %d of %d", i, number);
		if (beam_topic_send(topic, word, strlen(word), 0, BEAM_FOREVER) < 0 ||
		    beam_topic_receive_into(topic, answer, sizeof answer, &size, NULL, 0, NULL, 0, BEAM_FOREVER) != 1)
			return 1;
		if (size != strlen(word) || answer[0] != 'W')
			return 1;
	}
	return 0;
}

static int client(int socket, int number)
{
	beam_channel *channel;
	beam_topic *topic;
	int r;

	if (beam_channel_from_fd(&channel, socket, NULL) < 0 || beam_topic_open(&topic, channel, "words") < 0)
		return 1;
	r = ask(topic, number);
	beam_topic_unref(topic);
	beam_channel_unref(channel);
	return r;
}

int clients_start(int sockets[CLIENTS])
{
	for (int i = 0; i < CLIENTS; i++) {
		int pair[2], r = beam_socket_pair(SOCK_STREAM, pair);

		if (r < 0)
			return r;
		switch (fork()) {
		case -1: return -1;
		case 0: close(pair[0]); _exit(client(pair[1], i));
		default: close(pair[1]);
		}
		sockets[i] = pair[0];
	}
	return 0;
}

int clients_wait(void)
{
	int status, failed = 0;

	for (int i = 0; i < CLIENTS; i++) {
		if (wait(&status) < 0 || status)
			failed = 1;
	}
	printf("%d clients, %s\n", CLIENTS, failed ? "not all answered" : "all answered");
	return failed;
}

/* ---- The service ----------------------------------------------------------------------------- */

int service_open(struct service *service, int socket)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	int r;

	options.loop = 1;
	r = beam_channel_from_fd(&service->channel, socket, &options);
	return r < 0 ? r : beam_topic_open(&service->topic, service->channel, "words");
}

/*
 * Sends each message back in capitals. Returns -EAGAIN if no more have arrived, 0 if no more will
 * come.
 */
static int answer(beam_topic *topic)
{
	char word[32];
	size_t size;
	int r;

	while ((r = beam_topic_receive_into(topic, word, sizeof word, &size, NULL, 0, NULL, 0, BEAM_NOWAIT)) == 1) {
		for (size_t i = 0; i < size; i++)
			word[i] = (char)toupper((unsigned char)word[i]);
		/*
		 * A client that does not read its answers loses them, because it must not keep the
		 * others waiting.
		 */
		if (beam_topic_send(topic, word, size, 0, BEAM_NOWAIT) < 0)
			fprintf(stderr, "an answer was not sent\n");
	}
	return r;
}

bool service_turn(struct service *service, int events)
{
	int r = beam_channel_dispatch(service->channel, events);

	/* A client that sends no more needs no answers. */
	if (answer(service->topic) != -EAGAIN)
		beam_channel_close(service->channel, BEAM_NOWAIT);
	return r == 1;
}

void service_close(struct service *service)
{
	service->topic = beam_topic_unref(service->topic);
	service->channel = beam_channel_unref(service->channel);
}

beam_deadline service_deadline(struct service *service)
{
	beam_deadline deadline;

	return beam_channel_loop_deadline(service->channel, &deadline) < 0 ? BEAM_FOREVER : deadline;
}

int service_milliseconds(struct service *service)
{
	return beam_deadline_poll_ms(service_deadline(service));
}
