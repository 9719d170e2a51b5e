/* SPDX-License-Identifier: MIT */
/* beam call: sends a request and prints its replies. */
#include "command.h"
#include <errno.h>

/* The payload of a failure is printed like a reply. */
static int say_failure(beam_call *call, beam_topic *topic)
{
	beam_message *message;
	const void *data;
	uint32_t number;
	size_t size;

	if (beam_call_failure(call, &number, &data, &size) < 0)
		return say(CODE_FAILED, "%s: the call failed", options.arguments[0]);
	if (size > 0 && beam_message_new(&message, data, size) == 0)
		output_messages(topic, false, &message, 1);
	if (number >= BEAM_FAILURE_APPLICATION)
		return say(CODE_FAILED, "%s: failed with code %u", options.arguments[0],
			   number - BEAM_FAILURE_APPLICATION);
	/*
	 * Nobody took the call. A call a little later would return -ECONNREFUSED, so this reports
	 * the same.
	 */
	if (number == BEAM_FAILURE_CLOSED)
		return say_error(-ECONNREFUSED, options.arguments[0]);
	return say(CODE_FAILED, "%s: the peer did not reply", options.arguments[0]);
}

static int print_replies(beam_channel *channel, beam_topic *topic, beam_call *call)
{
	beam_message *message;
	int code = CODE_DONE, r;

	while ((r = beam_call_receive(call, &message, 0, options.deadline)) > 0) {
		int flaw = output_messages(topic, false, &message, 1);
		if (flaw != CODE_DONE)
			code = flaw;
		if (output_failed())
			return code;
	}
	if (r == -EREMOTEIO)
		return say_failure(call, topic);
	return r < 0 ? say_ended(channel, r, options.arguments[0]) : code;
}

static int call_once(beam_channel *channel, struct input *input, const int *fds)
{
	__attribute__((cleanup(topic_release))) beam_topic *topic = NULL;
	const char *text = NULL;
	beam_call *call = NULL;
	size_t size = 0;
	int r = beam_topic_open(&topic, channel, options.arguments[0]);

	if (r == 0)
		r = input_payload(input, options.arguments[1], &text, &size);
	/* The payload is only read. */
	struct iovec payload = {.iov_base = (void *)(uintptr_t)text, .iov_len = size};
	if (r >= 0) {
		progress_begin_in_one("sending", size);
		r = beam_call_begin(&call, topic, &payload, 1, fds, options.n_sources, BEAM_SEND_GIVE_FDS,
				    options.deadline);
		progress_end();
	}
	if (r < 0)
		return input_say(input, r, options.arguments[0]);
	int code = print_replies(channel, topic, call);
	beam_call_unref(call);
	return code;
}

static int call_run(void)
{
	__attribute__((cleanup(channel_release))) beam_channel *channel = NULL;
	__attribute__((cleanup(input_free))) struct input input = INPUT;
	int fds[BEAM_MESSAGE_ATTACHMENTS_MAX];
	int code = sources_open(fds);

	if (code != CODE_DONE)
		return code;
	if ((code = endpoint_open(&channel)) == CODE_DONE) {
		input.channel = channel;
		code = call_once(channel, &input, fds);
	}
	return code;
}

const struct command command_call = {
    .bit = CALL,
    .name = "call",
    .arguments = "ADDRESS TOPIC [MESSAGE|-]",
    .purpose = "Send a request and print its replies",
    .details = "If MESSAGE is missing, the request is all of standard input, or empty if there are attachments. If "
	       "MESSAGE is -, the request is all of standard input.",
    .least = 2,
    .most = 3,
    .run = call_run,
};
