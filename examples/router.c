/* SPDX-License-Identifier: MIT */
/*
 * A router between a client and a log. Messages on topics that begin with "log." go on to the log,
 * questions are answered here, and messages that match no route are reported.
 */
#include <beam/beam.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Sends a message on each of several topics. */
static int client(int socket)
{
	static const char *const topics[] = {"log.disk", "question", "log.net", "nonsense"};
	beam_channel *channel;
	int r = beam_channel_from_fd(&channel, socket, NULL);

	for (size_t i = 0; r == 0 && i < sizeof topics / sizeof *topics; i++) {
		beam_topic *topic;

		r = beam_topic_open(&topic, channel, topics[i]);
		if (r == 0) {
			r = beam_topic_send(topic, topics[i], strlen(topics[i]), 0, beam_in_ms(10000));
			beam_topic_unref(topic);
		}
	}
	return r < 0 || beam_channel_close(channel, beam_in_ms(10000)) < 0;
}

static int answer(void *argument, const char *topic, beam_message *message)
{
	(void)argument;
	printf("answered: %s\n", topic);
	beam_message_free(message);
	return 0;
}

/* The other end of the log: prints the topic of each message. */
static void *keep_log(void *argument)
{
	beam_topic *topic;
	beam_message *message;

	while (beam_channel_accept(argument, &topic, BEAM_FOREVER) > 0) {
		while (beam_topic_receive(topic, &message, 0, BEAM_FOREVER) > 0) {
			printf("logged: %s\n", beam_topic_name(topic));
			beam_message_free(message);
		}
		beam_topic_unref(topic);
	}
	return NULL;
}

/* Runs until the client has gone. */
static int run(beam_router *router)
{
	struct beam_router_failure failure;
	int r;

	do {
		r = beam_router_run(router, &failure, BEAM_ROUTER_UNTIL_ENDED, beam_in_ms(10000));
		if (failure.message)
			printf("dropped: %s: %s\n", failure.request ? "a reply" : beam_topic_name(failure.topic),
			       strerror(-r));
		beam_message_free(failure.message);
		beam_message_free(failure.request);
		beam_topic_unref(failure.topic);
		beam_channel_unref(failure.channel);
	} while (r < 0 && failure.message);
	return r;
}

static int serve(int socket, beam_channel *log)
{
	struct beam_route logs = BEAM_ROUTE, questions = BEAM_ROUTE;
	beam_channel *channel;
	beam_router *router;
	int r;

	logs.prefix = "log.";
	logs.channel = log;
	questions.name = "question";
	questions.handle = answer;
	if (beam_channel_from_fd(&channel, socket, NULL) < 0 || beam_router_new(&router) < 0)
		return -1;
	r = beam_router_add_route(router, &logs, NULL);
	if (r == 0)
		r = beam_router_add_route(router, &questions, NULL);
	if (r == 0)
		r = beam_router_add_channel(router, channel, NULL);
	if (r == 0)
		r = run(router);
	beam_router_unref(router);
	beam_channel_unref(channel);
	return r;
}

int main(void)
{
	beam_channel *log[2];
	int pair[2], status, r;
	pthread_t keeper;
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
	if (beam_channel_pair(&log[0], &log[1], NULL) < 0 || pthread_create(&keeper, NULL, keep_log, log[1]) != 0)
		return 1;
	r = serve(pair[0], log[0]);
	if (beam_channel_close(log[0], beam_in_ms(10000)) < 0)
		r = -1;
	pthread_join(keeper, NULL);
	beam_channel_unref(log[0]);
	beam_channel_unref(log[1]);
	return r < 0 || waitpid(child, &status, 0) < 0 || status != 0;
}
