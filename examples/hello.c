/* SPDX-License-Identifier: MIT */
/* The shortest whole program: a child sends a line and an open file on the topic "log", its parent prints both. */
#include <beam/beam.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static int say_hello(int socket)
{
	beam_channel *channel;
	beam_topic *log;
	char text[] = "hello from another process";
	struct iovec payload = {text, sizeof text - 1};

	if (beam_channel_from_fd(&channel, socket, NULL) < 0 || beam_topic_open(&log, channel, "log") < 0)
		return 1;
	int file = open("/proc/version", O_RDONLY);
	/* Beam closes the file when it has gone. */
	int r = beam_topic_sendv(log, &payload, 1, &file, 1, BEAM_SEND_GIVE_FDS, beam_in_ms(1000));
	beam_topic_unref(log);
	beam_channel_unref(channel); /* what was sent arrives, even if the program ends now */
	return r < 0;
}

int main(void)
{
	beam_channel *channel;
	beam_topic *log;
	beam_message *message;
	char line[200];
	int pair[2];

	if (beam_socket_pair(SOCK_STREAM, pair) < 0)
		return 1;
	if (fork() == 0)
		return say_hello(pair[1]);
	close(pair[1]);
	if (beam_channel_from_fd(&channel, pair[0], NULL) < 0 || beam_topic_open(&log, channel, "log") < 0)
		return 1;
	while (beam_topic_receive(log, &message, 0, BEAM_FOREVER) > 0) {
		printf("%.*s\n", (int)beam_message_size(message), (const char *)beam_message_data(message));
		ssize_t n = read(beam_message_peek_fd(message, 0), line, sizeof line);
		printf("%.*s", n > 0 ? (int)n : 0, line);
		beam_message_free(message); /* closes the file, too */
	}
	beam_topic_unref(log);
	beam_channel_unref(channel);
	return 0;
}
