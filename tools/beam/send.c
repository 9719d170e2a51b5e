/* SPDX-License-Identifier: MIT */
/* beam send: sends one message, or each line of standard input as a message. */
#include "command.h"

static int send_each_line(beam_topic *topic, struct input *input)
{
	const char *line;
	size_t size;
	int r;

	input->progress = true;
	progress_begin("sending", 0);
	while ((r = input_line(input, &line, &size)) > 0)
		if ((r = beam_topic_send(topic, line, size, 0, options.deadline)) < 0)
			break;
	progress_end();
	return r < 0 ? input_say(input, r, options.arguments[0]) : CODE_DONE;
}

static int send_one(beam_topic *topic, struct input *input, const int *fds)
{
	const char *text = NULL;
	size_t size = 0;
	int r = input_payload(input, options.arguments[1], &text, &size);
	/* The payload is only read. */
	struct iovec payload = {.iov_base = (void *)(uintptr_t)text, .iov_len = size};

	if (r >= 0) {
		progress_begin_in_one("sending", size);
		r = beam_topic_sendv(topic, &payload, 1, fds, options.n_sources, BEAM_SEND_GIVE_FDS, options.deadline);
		progress_end();
	}
	return r < 0 ? input_say(input, r, options.arguments[0]) : CODE_DONE;
}

static int run(void)
{
	__attribute__((cleanup(channel_release))) beam_channel *channel = NULL;
	__attribute__((cleanup(topic_release))) beam_topic *topic = NULL;
	__attribute__((cleanup(input_free))) struct input input = INPUT;
	int fds[BEAM_MESSAGE_ATTACHMENTS_MAX];
	int code, r;

	if ((code = sources_open(fds)) != CODE_DONE)
		return code;
	if ((code = endpoint_open(&channel)) == CODE_DONE) {
		input.channel = channel;
		if ((r = beam_topic_open(&topic, channel, options.arguments[0])) < 0)
			code = say_ended(channel, r, options.arguments[0]);
		else
			code = options.lines ? send_each_line(topic, &input) : send_one(topic, &input, fds);
	}
	/* A loss is reported under the name of the topic, even if it shows only at the close. */
	return code == CODE_DONE ? endpoint_close(channel, options.arguments[0]) : code;
}

const struct command command_send = {
    .bit = SEND,
    .name = "send",
    .arguments = "ADDRESS TOPIC [MESSAGE|-]",
    .purpose = "Send a message",
    .details = "If MESSAGE is missing, the message is all of standard input, or empty if there are attachments. If "
	       "MESSAGE is -, the message is all of standard input.",
    .least = 2,
    .most = 3,
    .run = run,
};
