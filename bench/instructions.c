/* SPDX-License-Identifier: MIT */
/*
 * The program that tools/instructions measures. It sends messages of 64 bytes from one channel to
 * another of the same process, first one by one, and then many at once.
 */
#include "util.h"
#include <beam/beam.h>
#include <sys/socket.h>

enum { MESSAGES = 20000, AT_ONCE = 500, SIZE = 64 };

static beam_topic *topics[2];

static void send_one_by_one(void)
{
	char payload[SIZE] = {0};

	for (int i = 0; i < AT_ONCE; i++)
		must(beam_topic_send(topics[0], payload, sizeof payload, 0, BEAM_FOREVER), "send");
}

static void send_many(void)
{
	static char payload[SIZE];
	struct beam_send_item items[AT_ONCE];

	for (int i = 0; i < AT_ONCE; i++)
		items[i] = (struct beam_send_item){payload, sizeof payload, NULL, 0};
	for (ssize_t sent = 0; sent < AT_ONCE;)
		sent +=
		    must((int)beam_topic_send_many(topics[0], items + sent, (size_t)(AT_ONCE - sent), 0, BEAM_FOREVER),
			 "send_many");
}

static void receive_all(void)
{
	beam_message *message;

	for (int i = 0; i < AT_ONCE; i++) {
		must(beam_topic_receive(topics[1], &message, 0, BEAM_FOREVER), "receive");
		beam_message_free(message);
	}
}

int main(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_channel *channels[2];
	int pair[2];

	/* So that receiving and reading are counted separately. */
	options.dedicated_reader = 1;
	must(beam_socket_pair(SOCK_STREAM, pair), "socket pair");
	for (int i = 0; i < 2; i++) {
		must(beam_channel_from_fd(&channels[i], pair[i], &options), "channel");
		must(beam_topic_open(&topics[i], channels[i], "count"), "topic");
	}
	for (int i = 0; i < MESSAGES; i += AT_ONCE) {
		send_one_by_one();
		receive_all();
	}
	for (int i = 0; i < MESSAGES; i += AT_ONCE) {
		send_many();
		receive_all();
	}
	for (int i = 0; i < 2; i++) {
		beam_topic_unref(topics[i]);
		beam_channel_unref(channels[i]);
	}
	return 0;
}
