/* SPDX-License-Identifier: MIT */
/*
 * libbeam's side of the interoperability tests: a program on one end of a socket that the test has
 * made. Another implementation uses the other end. The program uses the public interface only.
 *
 *     peer MODE FD [OPTION=NUMBER ...]
 *
 *     core-echo      sends back every core message with its attachment
 *     bare-echo      the same for bare messages
 *     channel-echo   sends back every message with its attachments, on a topic of the same name,
 *                    with a thread for each topic
 *     channel-drain  receives everything and drops it
 *     channel-send   sends count=N messages of size=N bytes with fds=N descriptors on the topic
 *                    "send"
 *     channel        runs commands from standard input, one a line, and prints their results
 *
 * The options are the fields of struct beam_channel_options. At the end the program prints "end
 * RESULT BREACH".
 */
#include <beam/beam.h>
#include <errno.h>
#include <fcntl.h>
#include <interop/content.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TOPICS_MAX = 4096, LINE_MAX_BYTES = 1024, FDS_MAX = BEAM_MESSAGE_ATTACHMENTS_MAX };

static struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
static struct {
	uint32_t count, size, fds;
} load = {.count = 1};
static struct {
	const char *name;
	uint32_t *value;
} const settings[] = {
    {"topics", &options.topics},
    {"calls", &options.calls},
    {"message_bytes", &options.message_bytes},
    {"message_attachments", &options.message_attachments},
    {"topic_window_bytes", &options.topic_window_bytes},
    {"topic_window_attachments", &options.topic_window_attachments},
    {"pool_bytes", &options.pool_bytes},
    {"attachments", &options.attachments},
    {"buffer_bytes", &options.buffer_bytes},
    {"socket_buffer_bytes", &options.socket_buffer_bytes},
    {"frame_timeout_ms", &options.frame_timeout_ms},
    {"linger_ms", &options.linger_ms},
    {"unknown_topics", &options.unknown_topics},
    {"idle_timeout_ms", &options.idle_timeout_ms},
    {"count", &load.count},
    {"size", &load.size},
    {"fds", &load.fds},
};

/* ---- Core ------------------------------------------------------------------------------------ */

static int core_echo(int fd, bool bare)
{
	for (;;) {
		beam_message *message;
		int attachment, r;

		r = bare ? beam_receive_bare(fd, &message, 1 << 20, BEAM_FOREVER)
			 : beam_receive(fd, &message, 1 << 30, BEAM_FOREVER);
		if (r <= 0)
			return r;
		attachment = beam_message_attachments(message) ? beam_message_peek_fd(message, 0) : -1;
		r = bare ? beam_send_bare(fd, beam_message_data(message), beam_message_size(message), attachment,
					  BEAM_FOREVER)
			 : beam_send(fd, beam_message_data(message), beam_message_size(message), attachment,
				     BEAM_FOREVER);
		beam_message_free(message);
		if (r < 0)
			return r;
	}
}

/* ---- Echo and drain -------------------------------------------------------------------------- */

static bool draining;

/* Runs until the other side closes the topic. */
static void *serve_topic(void *argument)
{
	beam_topic *topic = argument;
	beam_message *message;

	while (beam_topic_receive(topic, &message, 0, BEAM_FOREVER) > 0) {
		if (draining || beam_topic_send_message(topic, message, 0, BEAM_FOREVER) < 0)
			beam_message_free(message);
	}
	beam_topic_unref(topic);
	return NULL;
}

/* Starts a thread for each topic that the other side opens. */
static int serve(beam_channel *channel)
{
	static pthread_t threads[TOPICS_MAX];
	pthread_attr_t attributes;
	size_t n = 0;
	beam_topic *topic;
	int r;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 256 << 10);
	while ((r = beam_channel_accept(channel, &topic, BEAM_FOREVER)) > 0) {
		if (n == TOPICS_MAX || pthread_create(&threads[n], &attributes, serve_topic, topic) != 0)
			die("thread", (long)n);
		n++;
	}
	pthread_attr_destroy(&attributes);
	while (n > 0)
		pthread_join(threads[--n], NULL);
	return r;
}

/* ---- Sending --------------------------------------------------------------------------------- */

/* The contents of a message that the tests know: bytes, and /dev/null as its attachments. */
struct content {
	unsigned char *bytes;
	struct iovec iov;
	int null, fds[FDS_MAX];
};

static void content_begin(struct content *content, size_t size, size_t n_fds)
{
	if (n_fds > FDS_MAX)
		die("fds", (long)n_fds);
	content->bytes = make_content(size);
	content->iov = (struct iovec){content->bytes, size};
	content->null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (content->null < 0)
		die("/dev/null", -errno);
	for (size_t i = 0; i < n_fds; i++)
		content->fds[i] = content->null;
}

static int content_end(struct content *content, int result)
{
	close(content->null);
	free(content->bytes);
	return result;
}

static int send_one(beam_topic *topic, size_t size, size_t n_fds, beam_deadline deadline)
{
	struct content content;

	content_begin(&content, size, n_fds);
	return content_end(&content, beam_topic_sendv(topic, &content.iov, 1, content.fds, n_fds, 0, deadline));
}

static int send_load(beam_channel *channel)
{
	beam_topic *topic;
	int r = beam_topic_open(&topic, channel, "send");

	if (r < 0)
		return r;
	for (uint32_t i = 0; r == 0 && i < load.count; i++)
		r = send_one(topic, load.size, load.fds, BEAM_FOREVER);
	beam_topic_unref(topic);
	return r;
}

/* ---- Commands -------------------------------------------------------------------------------- */

static struct {
	char name[BEAM_TOPIC_NAME_MAX + 1];
	beam_topic *topic;
} held[TOPICS_MAX];
static size_t n_held;

static beam_topic *find(const char *name)
{
	for (size_t i = 0; i < n_held; i++) {
		if (held[i].topic && strcmp(held[i].name, name) == 0)
			return held[i].topic;
	}
	return NULL;
}

static void hold(beam_topic *topic)
{
	size_t i = 0;

	while (i < n_held && held[i].topic)
		i++;
	if (i == TOPICS_MAX)
		die("topics", (long)i);
	n_held += i == n_held;
	snprintf(held[i].name, sizeof held[i].name, "%s", beam_topic_name(topic));
	held[i].topic = topic;
}

static void release(const char *name)
{
	for (size_t i = 0; i < n_held; i++) {
		if (held[i].topic && (!name || strcmp(held[i].name, name) == 0))
			held[i].topic = beam_topic_unref(held[i].topic);
	}
}

static void tell_message(const beam_message *message)
{
	printf("1 %zu %s %zu %d\n", beam_message_size(message), has_content(message) ? "right" : "wrong",
	       beam_message_attachments(message), first_loss(message));
}

static void receive(beam_topic *topic, beam_deadline deadline)
{
	beam_message *message;
	int r = beam_topic_receive(topic, &message, 0, deadline);

	if (r <= 0) {
		printf("%d\n", r);
		return;
	}
	tell_message(message);
	beam_message_free(message);
}

/* ---- Calls that are made, and calls that are received ---- */

static beam_call *call;
static beam_message *request;

static int begin_call(beam_topic *topic, size_t size, size_t n_fds, beam_deadline deadline)
{
	struct content content;

	call = beam_call_unref(call);
	content_begin(&content, size, n_fds);
	return content_end(&content, beam_call_begin(&call, topic, &content.iov, 1, content.fds, n_fds, 0, deadline));
}

static void receive_reply(beam_deadline deadline)
{
	beam_message *message;
	uint32_t code;
	size_t size;
	int r = beam_call_receive(call, &message, 0, deadline);

	if (r == 1) {
		tell_message(message);
		beam_message_free(message);
	} else if (r == -EREMOTEIO && beam_call_failure(call, &code, NULL, &size) == 0) {
		printf("%d %u %zu\n", r, code, size);
	} else {
		printf("%d\n", r);
	}
}

static void take_request(beam_topic *topic, beam_deadline deadline)
{
	int r;

	beam_message_free(request);
	request = NULL;
	r = beam_topic_receive(topic, &request, 0, deadline);
	if (r == 1 && beam_message_is_call(request))
		tell_message(request);
	else
		printf("%d\n", r == 1 ? -ENOMSG : r);
}

static int answer(size_t size, size_t n_fds, unsigned flags)
{
	struct content content;

	content_begin(&content, size, n_fds);
	return content_end(&content,
			   beam_message_replyv(request, &content.iov, 1, content.fds, n_fds, flags, beam_in_ms(5000)));
}

static int fail_request(uint32_t code, size_t size)
{
	struct content content;

	content_begin(&content, size, 0);
	return content_end(&content,
			   beam_message_reply_failure(request, code, content.bytes, size, 0, beam_in_ms(5000)));
}

/* Commands for calls: VERB NUMBER [NUMBER NUMBER]. Returns false if there is no such command. */
static bool on_call(const char *verb, long number, const long numbers[3])
{
	if (strcmp(verb, "reply") == 0)
		receive_reply(beam_in_ms(number));
	else if (strcmp(verb, "cancel") == 0)
		printf("%d\n", beam_call_cancel(call));
	else if (strcmp(verb, "answer") == 0)
		printf("%d\n", answer((size_t)number, (size_t)numbers[0], numbers[1] ? BEAM_REPLY_MORE : 0));
	else if (strcmp(verb, "fail") == 0)
		printf("%d\n", fail_request((uint32_t)number, (size_t)numbers[0]));
	else
		return false;
	return true;
}

static void tell_limits(beam_channel *channel, beam_deadline deadline)
{
	struct beam_limits limits;
	int r = beam_channel_limits(channel, &limits, sizeof limits, deadline);

	if (r < 0)
		printf("%d\n", r);
	else
		printf("0 %u %u %u %u %u %u %u %u\n", limits.topics, limits.calls, limits.message_bytes,
		       limits.message_attachments, limits.topic_window_bytes, limits.topic_window_attachments,
		       limits.pool_bytes, limits.attachments);
}

static void accept_topic(beam_channel *channel, beam_deadline deadline)
{
	beam_topic *topic;
	int r = beam_channel_accept(channel, &topic, deadline);

	if (r <= 0) {
		printf("%d\n", r);
		return;
	}
	printf("1 %s\n", beam_topic_name(topic));
	hold(topic);
}

static int open_topic(beam_channel *channel, const char *name)
{
	beam_topic *topic;
	int r = beam_topic_open(&topic, channel, name);

	if (r == 0)
		hold(topic);
	return r;
}

static bool is(const char *verb, const char *name)
{
	return strcmp(verb, name) == 0;
}

/* Commands for topics: VERB NAME [NUMBER ...]. Returns false if there is no such command. */
static bool on_topic(const char *verb, const char *name, const long numbers[3])
{
	beam_topic *topic = find(name);

	if (is(verb, "send"))
		printf("%d\n", send_one(topic, (size_t)numbers[0], (size_t)numbers[1], beam_in_ms(numbers[2])));
	else if (is(verb, "receive"))
		receive(topic, beam_in_ms(numbers[0]));
	else if (is(verb, "call"))
		printf("%d\n", begin_call(topic, (size_t)numbers[0], (size_t)numbers[1], beam_in_ms(numbers[2])));
	else if (is(verb, "take"))
		take_request(topic, beam_in_ms(numbers[0]));
	else if (is(verb, "close"))
		printf("%d\n", beam_topic_close_send(topic));
	else if (is(verb, "reset"))
		printf("%d\n", beam_topic_close_receive(topic));
	else
		return false;
	return true;
}

/* Commands for the channel: VERB [MILLISECONDS]. Returns false if there is no such command. */
static bool on_channel(beam_channel *channel, const char *verb, beam_deadline deadline)
{
	if (is(verb, "accept"))
		accept_topic(channel, deadline);
	else if (is(verb, "limits"))
		tell_limits(channel, deadline);
	else if (is(verb, "flush"))
		printf("%d\n", beam_channel_flush(channel, deadline));
	else if (is(verb, "goodbye"))
		printf("%d\n", beam_channel_close(channel, deadline));
	else
		return false;
	return true;
}

static void obey(beam_channel *channel, char *line)
{
	char *rest, *verb = strtok_r(line, " \n", &rest), *name = strtok_r(NULL, " \n", &rest), *word;
	long numbers[3] = {0, 0, 0};

	if (!verb)
		return;
	for (int i = 0; i < 3 && (word = strtok_r(NULL, " \n", &rest)); i++)
		numbers[i] = strtol(word, NULL, 10);
	if (on_channel(channel, verb, beam_in_ms(name ? strtol(name, NULL, 10) : 0)) ||
	    on_call(verb, name ? strtol(name, NULL, 10) : 0, numbers))
		;
	else if (is(verb, "open"))
		printf("%d\n", open_topic(channel, name));
	else if (is(verb, "release")) {
		release(name);
		printf("0\n");
	} else if (!name || !on_topic(verb, name, numbers)) {
		die(verb, 0);
	}
	fflush(stdout);
}

/* Returns how the channel ended, or -EAGAIN. */
static int follow_commands(beam_channel *channel)
{
	char line[LINE_MAX_BYTES];
	beam_topic *topic;
	int r;

	while (fgets(line, sizeof line, stdin))
		obey(channel, line);
	do {
		r = beam_channel_accept(channel, &topic, BEAM_NOWAIT);
		if (r > 0)
			beam_topic_unref(topic);
	} while (r > 0);
	release(NULL);
	return r;
}

/* ---- Main ------------------------------------------------------------------------------------ */

static void set(const char *argument)
{
	for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
		size_t size = strlen(settings[i].name);

		if (strncmp(argument, settings[i].name, size) == 0 && argument[size] == '=') {
			*settings[i].value = (uint32_t)strtoul(argument + size + 1, NULL, 10);
			return;
		}
	}
	die(argument, -EINVAL);
}

static int with_channel(const char *mode, int fd)
{
	beam_channel *channel;
	const char *breach;
	int r = beam_channel_from_fd(&channel, fd, &options);

	if (r < 0)
		die("beam_channel_from_fd", r);
	draining = is(mode, "channel-drain");
	if (draining || is(mode, "channel-echo"))
		r = serve(channel);
	else if (is(mode, "channel-send"))
		r = send_load(channel);
	else if (is(mode, "channel"))
		r = follow_commands(channel);
	else
		die(mode, -EINVAL);
	beam_channel_close(channel, beam_in_ms(10000));
	breach = beam_channel_breach(channel);
	printf("end %d %s\n", r, breach ? breach : "-");
	beam_channel_unref(channel);
	return 0;
}

int main(int argc, char **argv)
{
	int fd;

	if (argc < 3)
		die("usage: peer MODE FD [OPTION=NUMBER ...]", argc);
	fd = (int)strtol(argv[2], NULL, 10);
	for (int i = 3; i < argc; i++)
		set(argv[i]);
	if (!is(argv[1], "core-echo") && !is(argv[1], "bare-echo"))
		return with_channel(argv[1], fd);
	if (beam_fd_conn(fd) < 0)
		die("beam_fd_conn", fd);
	printf("end %d -\n", core_echo(fd, is(argv[1], "bare-echo")));
	close(fd);
	return 0;
}
