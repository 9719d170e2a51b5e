/* SPDX-License-Identifier: MIT */
/*
 * A program outside of Beam that is built with the installed library: two channels over a socket
 * pair, a message with a descriptor, and a close.
 */
#include <beam/beam.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TRY(call)                                                                                                      \
	do {                                                                                                           \
		long long result_ = (call);                                                                            \
		if (result_ < 0) {                                                                                     \
			fprintf(stderr, "%s: %s\n", #call, strerror((int)-result_));                                   \
			return 1;                                                                                      \
		}                                                                                                      \
	} while (0)

int main(void)
{
	static const char text[] = "hello";
	const struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	const struct beam_send_item item = {
	    .data = text, .size = sizeof text, .fds = (int[]){STDIN_FILENO}, .n_fds = 1};
	beam_deadline deadline = beam_in_ms(10000);
	beam_channel *here, *there;
	beam_topic *out, *in;
	beam_message *message;
	int ends[2], fd;

	if (beam_version() != BEAM_VERSION) {
		fprintf(stderr, "the headers are of another version than the library, %s\n", beam_version_string());
		return 1;
	}
	TRY(beam_socket_pair(SOCK_STREAM, ends));
	TRY(beam_channel_from_fd(&here, ends[0], NULL));
	TRY(beam_channel_from_fd(&there, ends[1], &options));
	TRY(beam_topic_open(&out, here, "greeting"));
	TRY(beam_topic_send_many(out, &item, 1, 0, deadline));
	TRY(beam_channel_accept(there, &in, deadline));
	TRY(beam_topic_receive(in, &message, 0, deadline));
	if (strcmp(beam_topic_name(in), "greeting") != 0 || beam_message_size(message) != sizeof text ||
	    memcmp(beam_message_data(message), text, sizeof text) != 0) {
		fprintf(stderr, "another message came than was sent\n");
		return 1;
	}
	TRY(fd = beam_message_take_fd(message, 0));
	close(fd);
	beam_message_free(message);
	TRY(beam_channel_close(here, deadline));
	if (beam_topic_receive(in, &message, 0, deadline) != 0) {
		fprintf(stderr, "no goodbye came\n");
		return 1;
	}
	beam_topic_unref(in);
	beam_topic_unref(out);
	beam_channel_unref(there);
	beam_channel_unref(here);
	return 0;
}
