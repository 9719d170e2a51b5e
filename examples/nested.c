/* SPDX-License-Identifier: MIT */
/*
 * A channel over a channel. A client sends one end of a new channel on the topic "door". The
 * conversation on the new channel goes on after the first channel has been closed.
 */
#include <beam/beam.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int say(beam_topic *topic, const char *text)
{
	return beam_topic_send(topic, text, strlen(text), 0, beam_in_ms(10000));
}

/* Prints the next message. Returns 1, or 0 or a negative errno if there is none. */
static int print_next(const char *who, beam_topic *topic)
{
	beam_message *message;
	int r = beam_topic_receive(topic, &message, 0, beam_in_ms(10000));

	if (r > 0) {
		printf("%s: %.*s\n", who, (int)beam_message_size(message), (const char *)beam_message_data(message));
		beam_message_free(message);
	}
	return r;
}

/* Sends one end of a new channel on "door", and uses the other end for the conversation. */
static int client(int socket)
{
	beam_channel *channel, *conversation;
	beam_topic *door, *talk;
	int r;

	if (beam_channel_from_fd(&channel, socket, NULL) < 0 || beam_topic_open(&door, channel, "door") < 0 ||
	    beam_topic_send_channel(door, "let me in", 9, &conversation, NULL, 0, beam_in_ms(10000)) < 0)
		return 1;
	beam_topic_unref(door);
	beam_channel_unref(channel);
	if (beam_topic_open(&talk, conversation, "talk") < 0)
		return 1;
	r = say(talk, "the door is closed, and we talk on");
	if (r == 0)
		r = print_next("client", talk);
	beam_topic_unref(talk);
	beam_channel_unref(conversation);
	return r < 0;
}

/* Receives the message on "door", and takes the channel out of it. */
static int open_the_door(int socket, beam_channel **ret)
{
	beam_channel *channel;
	beam_topic *door;
	beam_message *message;
	int r;

	if (beam_channel_from_fd(&channel, socket, NULL) < 0 || beam_topic_open(&door, channel, "door") < 0 ||
	    beam_topic_receive(door, &message, 0, beam_in_ms(10000)) <= 0)
		return -1;
	r = beam_message_take_channel(message, 0, ret, NULL);
	beam_message_free(message);
	beam_topic_unref(door);
	beam_channel_unref(channel);
	return r;
}

static int server(int socket)
{
	beam_channel *conversation;
	beam_topic *talk;
	int r;

	if (open_the_door(socket, &conversation) < 0 || beam_topic_open(&talk, conversation, "talk") < 0)
		return 1;
	r = print_next("server", talk);
	if (r > 0)
		r = say(talk, "so we do");
	beam_topic_unref(talk);
	beam_channel_unref(conversation);
	return r < 0;
}

int main(void)
{
	int pair[2], failed, status;
	pid_t child;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (beam_socket_pair(SOCK_STREAM, pair) < 0)
		return 1;
	child = fork();
	if (child < 0)
		return 1;
	close(pair[child != 0]);
	if (child == 0)
		return client(pair[1]);
	failed = server(pair[0]);
	return failed || waitpid(child, &status, 0) < 0 || status != 0;
}
