/* SPDX-License-Identifier: MIT */
/*
 * Connects to the receiver, and sends it one message on the topic "files": a line of text and an
 * open file.
 */
#include <beam/beam.h>
#include <fcntl.h>
#include <unistd.h>

int main(void)
{
	struct beam_connect_options options = BEAM_CONNECT_OPTIONS;
	beam_deadline deadline = beam_in_ms(10000); /* for all calls together */
	beam_channel *channel;
	beam_topic *topic;
	char text[] = "hello from another process";
	struct iovec payload = {text, sizeof text - 1};

	options.wait_for_server = 1; /* either program may be started first */
	if (beam_channel_connect(&channel, "hello.sock", &options, deadline) < 0 ||
	    beam_topic_open(&topic, channel, "files") < 0)
		return 1;
	int file = open("/proc/version", O_RDONLY);
	int r = beam_topic_sendv(topic, &payload, 1, &file, 1, 0, deadline);
	close(file); /* the send only borrowed it */
	beam_topic_unref(topic);
	beam_channel_unref(channel); /* what was sent arrives, even if the program ends now */
	return r < 0;
}
