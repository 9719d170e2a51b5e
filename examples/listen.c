/* SPDX-License-Identifier: MIT */
/*
 * A server and its client: the server answers each line in capitals.
 *
 *     beam-listen serve ADDRESS CLIENTS    serves this many clients
 *     beam-listen ask ADDRESS TEXT         prints the answer; either program may be started first
 */
#include <beam/beam.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int complain(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-error));
	return 1;
}

/* The policy, which is called before a byte is read: only our own user is served. */
static int only_ourselves(void *context, const struct beam_identity *who)
{
	(void)context;
	return who->uid == geteuid() ? 0 : -EACCES;
}

static void answer(beam_channel *channel)
{
	beam_topic *lines;
	char line[1000];
	size_t size;

	if (beam_topic_open(&lines, channel, "lines") < 0)
		return;
	while (beam_topic_receive_into(lines, line, sizeof line, &size, NULL, 0, NULL, 0, beam_in_ms(5000)) > 0) {
		for (size_t i = 0; i < size; i++)
			line[i] = (char)toupper((unsigned char)line[i]);
		if (beam_topic_send(lines, line, size, 0, beam_in_ms(5000)) < 0)
			break;
	}
	beam_topic_unref(lines);
}

static int serve(const char *address, long clients)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	beam_listener *listener;
	beam_channel *channel;

	options.accept = only_ourselves;
	options.refuse_fds = 1; /* only lines are wanted */
	int r = beam_listener_from_environment(&listener, NULL, &options);
	if (r == -ENOENT) /* not run by a service manager */
		r = beam_listener_new(&listener, address, &options);
	if (r < 0)
		return complain(address, r);
	while (clients-- > 0 && beam_listener_accept(listener, &channel, BEAM_FOREVER) > 0) {
		answer(channel);
		beam_channel_unref(channel);
	}
	beam_listener_unref(listener);
	return 0;
}

static int ask(const char *address, const char *text)
{
	struct beam_connect_options options = BEAM_CONNECT_OPTIONS;
	beam_channel *channel;
	beam_topic *lines;
	char line[1000];
	size_t size = 0;

	options.wait_for_server = 1;
	options.server_uid = geteuid(); /* not another user, who may have taken the address first */
	int r = beam_channel_connect(&channel, address, &options, beam_in_ms(10000));
	if (r < 0)
		return complain(address, r);
	r = beam_topic_open(&lines, channel, "lines");
	if (r == 0) {
		r = beam_topic_send(lines, text, strlen(text), 0, beam_in_ms(5000));
		if (r == 0)
			r = beam_topic_receive_into(lines, line, sizeof line, &size, NULL, 0, NULL, 0,
						    beam_in_ms(5000));
		beam_topic_unref(lines);
	}
	beam_channel_unref(channel);
	if (r <= 0)
		return complain("no answer", r);
	printf("%.*s\n", (int)size, line);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "serve") == 0)
		return serve(argv[2], strtol(argv[3], NULL, 10));
	if (argc == 4 && strcmp(argv[1], "ask") == 0)
		return ask(argv[2], argv[3]);
	fprintf(stderr, "usage: %s serve ADDRESS CLIENTS | ask ADDRESS TEXT\n", argv[0]);
	return 2;
}
