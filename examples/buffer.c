/* SPDX-License-Identifier: MIT */
/*
 * Sends a picture of 16 MiB to another process without copying it. A child paints it into a shared
 * buffer, and its parent looks at it.
 */
#include <beam/beam.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WIDTH = 4096, HEIGHT = 4096 };

static int paint(int socket)
{
	beam_channel *channel;
	beam_topic *pictures;
	beam_buffer *picture;
	struct iovec size = {(int[]){WIDTH, HEIGHT}, 2 * sizeof(int)};

	if (beam_channel_from_fd(&channel, socket, NULL) < 0 || beam_topic_open(&pictures, channel, "pictures") < 0)
		return 1;
	if (beam_buffer_new(&picture, WIDTH * HEIGHT) < 0)
		return 1;
	unsigned char *pixel = beam_buffer_writable(picture);
	for (int y = 0; y < HEIGHT; y++)
		memset(pixel + (size_t)y * WIDTH, y % 256, WIDTH);
	int fd = beam_buffer_seal(picture); /* from here on nobody can change it, not even we */
	int r = fd < 0 ? fd : beam_topic_sendv(pictures, &size, 1, &fd, 1, 0, beam_in_ms(5000));
	beam_buffer_free(picture);
	beam_topic_unref(pictures);
	beam_channel_unref(channel);
	return r < 0;
}

int main(void)
{
	beam_channel *channel;
	beam_topic *pictures;
	beam_message *message;
	beam_buffer *picture;
	int pair[2];

	if (beam_socket_pair(SOCK_STREAM, pair) < 0)
		return 1;
	if (fork() == 0)
		return paint(pair[1]);
	close(pair[1]);
	if (beam_channel_from_fd(&channel, pair[0], NULL) < 0 || beam_topic_open(&pictures, channel, "pictures") < 0)
		return 1;
	while (beam_topic_receive(pictures, &message, 0, BEAM_FOREVER) > 0) {
		int r = beam_message_take_buffer(message, 0, 64 << 20, &picture);

		if (r == 0 && beam_buffer_size(picture) == (size_t)WIDTH * HEIGHT) {
			const unsigned char *pixel = beam_buffer_data(picture);
			printf("a picture of %d × %d, the last pixel is %d\n", WIDTH, HEIGHT,
			       pixel[WIDTH * HEIGHT - 1]);
		} else {
			printf("no picture: %s\n", r < 0 ? strerror(-r) : "of another size");
		}
		beam_buffer_free(r == 0 ? picture : NULL);
		beam_message_free(message);
	}
	beam_topic_unref(pictures);
	beam_channel_unref(channel);
	return 0;
}
