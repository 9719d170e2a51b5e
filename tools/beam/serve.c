/* SPDX-License-Identifier: MIT */
/*
 * beam serve: runs a process for each request.
 *
 * Each client has a thread that accepts its topics, and one that receives from the topic that is
 * served. Each request has a thread that waits for its process. The receiving thread waits for room
 * before it goes on, with one request in hand. Further requests wait in the topic's window, and
 * when that is full, their senders wait.
 */
#include "command.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct work {
	beam_channel *channel;
	beam_topic *topic;
	beam_message *message;
	size_t room;
};

/* Takes the message, and handles of its own for the rest. @return NULL without memory */
static struct work *work_new(beam_channel *channel, beam_topic *topic, beam_message *message)
{
	struct work *work = malloc(sizeof *work);

	if (!work)
		beam_message_free(message);
	else
		*work = (struct work){
		    .channel = beam_channel_ref(channel), .topic = beam_topic_ref(topic), .message = message};
	return work;
}

static void work_free(struct work *work)
{
	beam_message_free(work->message);
	beam_topic_unref(work->topic);
	beam_channel_unref(work->channel);
	free(work);
}

/* Starts a detached thread. @return whether it was started */
static bool serve_begin(void *(*body)(void *), struct work *work)
{
	pthread_attr_t detached;
	pthread_t thread;

	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	int r = pthread_create(&thread, &detached, body, work);
	pthread_attr_destroy(&detached);
	return r == 0;
}

static void *serve_answer(void *argument)
{
	struct work *work = argument;

	processes_serve(work->room, &(struct request){work->channel, beam_topic_name(work->topic), work->message});
	work_free(work);
	return NULL;
}

static void *receive(void *argument)
{
	struct work *work = argument, *next;
	beam_message *message;

	while (beam_topic_receive(work->topic, &message, 0, BEAM_FOREVER) > 0) {
		if (!(next = work_new(work->channel, work->topic, message)))
			continue;
		next->room = processes_wait();
		if (!serve_begin(serve_answer, next))
			serve_answer(next);
	}
	work_free(work);
	return NULL;
}

/* Topics with other names are refused. */
static void *serve_topics(void *argument)
{
	struct work *work = argument, *next;
	beam_topic *topic;

	while (beam_channel_accept(work->channel, &topic, BEAM_FOREVER) > 0) {
		bool served = strcmp(beam_topic_name(topic), options.arguments[0]) == 0;
		next = served ? work_new(work->channel, topic, NULL) : NULL;
		if (!served)
			beam_topic_refuse(topic);
		beam_topic_unref(topic);
		if (next && !serve_begin(receive, next))
			receive(next);
	}
	work_free(work);
	return NULL;
}

static int serve_run(void)
{
	beam_channel *channel;
	int code, r = processes_begin(options.processes);

	if (r < 0)
		return say_error(r, options.arguments[1]);
	if ((code = listening_begin(processes_end)) != CODE_DONE)
		return code;
	while ((code = listening_accept(&channel)) == CODE_DONE) {
		struct work *work = work_new(channel, NULL, NULL);
		beam_channel_unref(channel);
		if (work && !serve_begin(serve_topics, work))
			work_free(work);
	}
	listening_end();
	return code;
}

const struct command command_serve = {
    .bit = SERVE,
    .name = "serve",
    .arguments = "ADDRESS TOPIC -- COMMAND...",
    .purpose = "Run a process for each request",
    .details = "The process reads the request from standard input, and writes the reply to standard output. "
	       "Attachments are its descriptors from 3 on. If its exit status is not 0, the call fails.",
    .least = 3,
    .most = UINT16_MAX,
    .run = serve_run,
};
