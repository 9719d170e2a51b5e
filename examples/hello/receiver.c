/* SPDX-License-Identifier: MIT */
/*
 * Accepts one channel, and prints each message of the topic "files" with the file that came with
 * it.
 */
#include <beam/beam.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	beam_listener *listener;
	beam_channel *channel;
	beam_topic *topic;
	beam_message *message;
	char file[200];

	if (beam_listener_new(&listener, "hello.sock", NULL) < 0 ||
	    beam_listener_accept(listener, &channel, BEAM_FOREVER) < 0 || beam_topic_open(&topic, channel, "files") < 0)
		return 1;
	while (beam_topic_receive(topic, &message, 0, BEAM_FOREVER) > 0) {
		ssize_t n = read(beam_message_peek_fd(message, 0), file, sizeof file);
		printf("%.*s\n", (int)beam_message_size(message), (const char *)beam_message_data(message));
		printf("%.*s", n > 0 ? (int)n : 0, file);
		beam_message_free(message); /* closes the file, too */
	}
	beam_topic_unref(topic);
	beam_channel_unref(channel);
	beam_listener_unref(listener); /* removes hello.sock */
	return 0;
}
