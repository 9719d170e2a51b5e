/* SPDX-License-Identifier: MIT */
/*
 * Prints received messages to standard output. Payloads are printed unchanged, except on a
 * terminal, which they could control. Names of topics are always quoted, because they are on one
 * line with what follows.
 */
#include "command.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Held while a message and the notes about its attachments are printed, so that they stay together.
 */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void print_hex(const unsigned char *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		printf("%02x", bytes[i]);
	putchar('\n');
}

static void print_payload(const char *text, size_t size, bool terminal)
{
	if (terminal)
		print_quoted(stdout, text, size, false);
	else
		fwrite(text, 1, size, stdout);
	if (options.format == FORMAT_TEXT && (terminal || options.lines) && (size == 0 || text[size - 1] != '\n'))
		putchar('\n');
}

static int print_message(const char *topic, bool with_name, const beam_message *message,
			 const struct attachment *attachments, bool terminal)
{
	const void *data = beam_message_data(message);
	size_t size = beam_message_size(message);

	if (options.format == FORMAT_JSON)
		return json_message(stdout, topic, message, attachments, terminal);
	if (with_name && options.format != FORMAT_RAW) {
		print_quoted(stdout, topic, strlen(topic), true);
		fputs(": ", stdout);
	}
	if (options.format == FORMAT_HEX)
		print_hex(data, size);
	else
		print_payload(data, size, terminal);
	return 0;
}

/* Reports an attachment on standard error. Only JSON has a place for it in the message. */
static void note(const struct attachment *attachment, size_t index)
{
	char size[32] = "";

	if (attachment->sized)
		snprintf(size, sizeof size, ", %lld bytes", (long long)attachment->size);
	say(0, "attachment %zu: %s%s%s%s%s%s", index + 1, attachment->type, size,
	    attachment->saved ? ", saved as " : "", attachment->saved ? attachment->saved : "",
	    attachment->error ? ": " : "", attachment->error ? strerror(-attachment->error) : "");
}

static int output_message(beam_topic *topic, bool with_name, const beam_message *message, bool terminal)
{
	static struct attachment attachments[BEAM_MESSAGE_ATTACHMENTS_MAX];
	size_t n = beam_message_attachments(message);
	int code = CODE_DONE, r;

	for (size_t i = 0; i < n; i++)
		if ((r = attachment_take(message, i, &attachments[i])) != CODE_DONE)
			code = r;
	r = print_message(beam_topic_name(topic), with_name, message, attachments, terminal);
	for (size_t i = 0; i < n; i++) {
		if (options.format != FORMAT_JSON)
			note(&attachments[i], i);
		free(attachments[i].saved);
	}
	return r < 0 ? say_error(r, "cannot print a message") : code;
}

int output_messages(beam_topic *topic, bool with_name, beam_message **messages, size_t n)
{
	bool terminal = isatty(STDOUT_FILENO);
	int code = CODE_DONE, r;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < n; i++) {
		if ((r = output_message(topic, with_name, messages[i], terminal)) != CODE_DONE)
			code = r;
		beam_message_free(messages[i]);
	}
	if ((r = output_flush()) != CODE_DONE)
		code = r;
	pthread_mutex_unlock(&lock);
	return code;
}
