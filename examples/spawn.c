/* SPDX-License-Identifier: MIT */
/*
 * A supervisor and its worker, which are the same program. If it is started by hand, it is the
 * supervisor. If it is started by the supervisor, it has a channel
 * (beam_channel_from_environment()) and is the worker. A worker that crashes is started again, and
 * the request during which it crashed is given up.
 *
 *     $ ./beam-spawn
 */
#include <beam/beam.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-error));
	exit(1);
}

/* ---- The worker ------------------------------------------------------------------------------ */

/* Answers each call with the length of its request, until there are no more calls. */
static int work(beam_channel *channel)
{
	beam_message *request;
	beam_topic *topic;
	int r = beam_topic_open(&topic, channel, "work");

	if (r < 0)
		return 1;
	while ((r = beam_topic_receive(topic, &request, 0, BEAM_FOREVER)) == 1) {
		const char *text = beam_message_data(request);
		size_t size = beam_message_size(request);
		char length[32];

		if (size == 5 && memcmp(text, "crash", 5) == 0)
			kill(getpid(), SIGKILL);
		snprintf(length, sizeof length, "%zu bytes", size);
		r = beam_message_reply(request, length, strlen(length), 0, BEAM_FOREVER);
		beam_message_free(request);
		if (r < 0)
			break;
	}
	beam_topic_unref(topic);
	beam_channel_unref(channel);
	return r < 0;
}

/* ---- The supervisor -------------------------------------------------------------------------- */

struct worker {
	beam_channel *channel;
	beam_topic *topic;
	pid_t pid;
};

static void worker_start(struct worker *worker, char *const argv[])
{
	int r = beam_spawn(&worker->channel, &worker->pid, argv[0], argv, NULL, NULL);

	if (r < 0)
		fail("beam_spawn", r);
	r = beam_topic_open(&worker->topic, worker->channel, "work");
	if (r < 0)
		fail("beam_topic_open", r);
}

/*
 * Releasing the last handle closes the channel. A worker that still runs ends when it notices that.
 */
static void worker_end(struct worker *worker)
{
	int status = 0;

	beam_topic_unref(worker->topic);
	beam_channel_unref(worker->channel);
	while (waitpid(worker->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		printf("the worker was ended by signal %d\n", WTERMSIG(status));
	else
		printf("the worker has ended with %d\n", WEXITSTATUS(status));
}

int main(int argc, char **argv)
{
	static const char *const requests[] = {"hello", "crash", "hello again"};
	struct worker worker;
	beam_channel *channel;
	int r = beam_channel_from_environment(&channel, NULL);

	(void)argc;
	if (r == 0)
		return work(channel);
	if (r != -ENOENT)
		fail("beam_channel_from_environment", r);
	worker_start(&worker, argv);
	for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
		beam_message *reply;

		r = beam_topic_call(worker.topic, requests[i], strlen(requests[i]), &reply, 0, beam_in_ms(5000));
		if (r == 1) {
			printf("%s: %.*s\n", requests[i], (int)beam_message_size(reply),
			       (const char *)beam_message_data(reply));
			beam_message_free(reply);
		} else if (r == -ECONNRESET) {
			printf("%s: no answer\n", requests[i]);
			worker_end(&worker);
			worker_start(&worker, argv);
		} else {
			fail(requests[i], r);
		}
	}
	worker_end(&worker);
	return 0;
}
