/* SPDX-License-Identifier: MIT */
/*
 * Calls. A server in another process answers with one reply, with many replies, with a file, or
 * with a failure. The server stops replying when its replies are no longer wanted.
 */
#include <beam/beam.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_UNDERSTOOD = BEAM_FAILURE_APPLICATION };

static void fail(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-error));
	exit(1);
}

static bool says(const beam_message *message, const char *word)
{
	return beam_message_size(message) == strlen(word) &&
	       memcmp(beam_message_data(message), word, strlen(word)) == 0;
}

/* ---- The server ------------------------------------------------------------------------------ */

/* Replies with squares until the caller has had enough. */
static int count(beam_message *request)
{
	int r = 0;

	for (unsigned long i = 1; r == 0; i++) {
		char text[32];
		struct iovec iov = {text, 0};

		iov.iov_len = (size_t)snprintf(text, sizeof text, "%lu", i * i);
		r = beam_message_replyv(request, &iov, 1, NULL, 0, BEAM_REPLY_MORE, BEAM_FOREVER);
	}
	return r;
}

static int open_file(beam_message *request)
{
	struct iovec iov = {(char[]){"here it is"}, 10};
	int fd = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return beam_message_reply_failure(request, NOT_UNDERSTOOD, "no such file", 12, 0, BEAM_FOREVER);
	r = beam_message_replyv(request, &iov, 1, &fd, 1, BEAM_SEND_GIVE_FDS, BEAM_FOREVER);
	if (r < 0)
		close(fd);
	return r;
}

static int answer(beam_message *request)
{
	if (says(request, "hello"))
		return beam_message_reply(request, "hello to you", 12, 0, BEAM_FOREVER);
	if (says(request, "count"))
		return count(request);
	if (says(request, "open"))
		return open_file(request);
	if (says(request, "nothing"))
		return 0; /* the call will be dropped */
	return beam_message_reply_failure(request, NOT_UNDERSTOOD, "what?", 5, 0, BEAM_FOREVER);
}

static int serve(int socket)
{
	beam_channel *channel;
	beam_topic *topic;
	beam_message *request;
	int r;

	if (beam_channel_from_fd(&channel, socket, NULL) < 0 || beam_topic_open(&topic, channel, "service") < 0)
		return 1;
	while ((r = beam_topic_receive(topic, &request, 0, BEAM_FOREVER)) == 1) {
		int answered = answer(request);

		if (answered == -ECANCELED)
			puts("server: the call was cancelled");
		beam_message_free(request);
	}
	beam_topic_unref(topic);
	beam_channel_unref(channel);
	return r < 0;
}

/* ---- The client ------------------------------------------------------------------------------ */

static beam_call *begin(beam_topic *topic, const char *word)
{
	struct iovec iov = {(void *)(uintptr_t)word, strlen(word)};
	beam_call *call;
	int r = beam_call_begin(&call, topic, &iov, 1, NULL, 0, 0, beam_in_ms(5000));

	if (r < 0)
		fail(word, r);
	return call;
}

static void show(const char *what, beam_message *reply)
{
	printf("%s: %.*s\n", what, (int)beam_message_size(reply), (const char *)beam_message_data(reply));
}

static void use(beam_topic *topic)
{
	static const char *const words[] = {"gibberish", "nothing"};
	beam_message *reply;
	beam_call *call;
	uint32_t code;
	char name[64];
	ssize_t n;
	int r;

	/* One request, one reply. */
	r = beam_topic_call(topic, "hello", 5, &reply, 0, beam_in_ms(5000));
	if (r < 0)
		fail("hello", r);
	show("hello", reply);
	beam_message_free(reply);

	/* Many replies; five are enough. */
	call = begin(topic, "count");
	for (int i = 0; i < 5 && beam_call_receive(call, &reply, 0, beam_in_ms(5000)) == 1; i++) {
		show("count", reply);
		beam_message_free(reply);
	}
	beam_call_cancel(call);
	beam_call_unref(call);

	/* A file. */
	call = begin(topic, "open");
	r = beam_call_receive(call, &reply, 0, beam_in_ms(5000));
	if (r != 1)
		fail("open", r);
	show("open", reply);
	n = pread(beam_message_peek_fd(reply, 0), name, sizeof name, 0);
	printf("it says: %.*s", (int)(n > 0 ? n : 0), name);
	beam_message_free(reply);
	beam_call_unref(call);

	/* Failures. */
	for (int i = 0; i < 2; i++) {
		struct iovec iov = {(void *)(uintptr_t)words[i], strlen(words[i])};

		r = beam_topic_callv(topic, &iov, 1, NULL, 0, &reply, &code, 0, beam_in_ms(5000));
		if (r != -EREMOTEIO)
			fail(words[i], r);
		printf("failed with code %u: ", code);
		show(words[i], reply);
		beam_message_free(reply);
	}
}

int main(void)
{
	beam_channel *channel;
	beam_topic *topic;
	int ends[2], status, r;
	pid_t server;

	r = beam_socket_pair(SOCK_STREAM, ends);
	if (r < 0)
		fail("beam_socket_pair", r);
	server = fork();
	if (server < 0)
		fail("fork", -errno);
	if (server == 0) {
		close(ends[0]);
		exit(serve(ends[1]));
	}
	close(ends[1]);
	r = beam_channel_from_fd(&channel, ends[0], NULL);
	if (r < 0)
		fail("beam_channel_from_fd", r);
	r = beam_topic_open(&topic, channel, "service");
	if (r < 0)
		fail("beam_topic_open", r);
	use(topic);
	beam_topic_unref(topic);
	beam_channel_unref(channel);
	if (waitpid(server, &status, 0) != server || status != 0)
		fail("the server", -ECHILD);
	puts("all calls have ended");
	return 0;
}
