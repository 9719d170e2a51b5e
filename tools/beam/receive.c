/* SPDX-License-Identifier: MIT */
/*
 * beam receive: prints the messages of one topic.
 */
#include "command.h"
#include <errno.h>

enum { AT_ONCE = 64 };

static int receive_all(beam_channel *channel, beam_topic *topic)
{
	beam_message *messages[AT_ONCE];
	uint64_t left = options.count ? options.count : UINT64_MAX;
	int code = CODE_DONE;

	while (topic && left > 0) {
		ssize_t n = beam_topic_receive_many(topic, messages, left < AT_ONCE ? (size_t)left : AT_ONCE, 0,
						    options.deadline);
		if (n < 0)
			return say_ended(channel, (int)n, options.arguments[0]);
		if (n == 0)
			break;
		int r = output_messages(topic, false, messages, (size_t)n);
		if (r != CODE_DONE)
			code = r;
		if (output_failed())
			return code;
		left -= (uint64_t)n;
	}
	if (options.count && left)
		return say(CODE_ENDED, "%s: received %llu of %llu messages before the peer closed the topic",
			   options.arguments[0], (unsigned long long)(options.count - left),
			   (unsigned long long)options.count);
	return code;
}

static int receive_run(void)
{
	__attribute__((cleanup(channel_release))) beam_channel *channel = NULL;
	__attribute__((cleanup(topic_release))) beam_topic *topic = NULL;
	int code = endpoint_open(&channel), r;

	if (code != CODE_DONE)
		return code;
	/*
	 * If the channel has already been closed, the topic can be opened only if it has messages.
	 */
	if ((r = beam_topic_open(&topic, channel, options.arguments[0])) < 0 && r != -EPIPE)
		return say_ended(channel, r, options.arguments[0]);
	return receive_all(channel, topic);
}

const struct command command_receive = {
    .bit = RECEIVE,
    .name = "receive",
    .arguments = "ADDRESS TOPIC",
    .purpose = "Print the messages of a topic",
    .least = 2,
    .most = 2,
    .run = receive_run,
};
