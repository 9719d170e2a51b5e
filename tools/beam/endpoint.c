/* SPDX-License-Identifier: MIT */
/* The peer: a server to connect to, or one client to wait for. */
#include "command.h"
#include <errno.h>
#include <string.h>

struct beam_channel_options endpoint_options(void)
{
	struct beam_channel_options channel = BEAM_CHANNEL_OPTIONS;

	channel.message_bytes = options.limit;
	/*
	 * A user who sets a deadline does not want the command to linger for longer than that
	 * afterwards.
	 */
	int left = beam_deadline_poll_ms(options.deadline);
	if (left >= 0 && (uint32_t)left < channel.linger_ms)
		channel.linger_ms = (uint32_t)left;
	return channel;
}

static int say_unreachable(int error)
{
	switch (error) {
	case -EPERM: return say(CODE_UNREACHABLE, "%s: the server belongs to another user", options.address);
	case -ENOENT:
	case -ENOTDIR:
	case -ELOOP:
	case -ECONNREFUSED:
	case -EACCES:
	case -EPROTOTYPE: return say(CODE_UNREACHABLE, "%s: %s", options.address, strerror(-error));
	default: return say_error(error, options.address);
	}
}

static int reach(beam_channel **ret)
{
	const struct beam_channel_options channel = endpoint_options();
	struct beam_connect_options connection = BEAM_CONNECT_OPTIONS;

	connection.channel = &channel;
	connection.wait_for_server = options.wait;
	connection.server_uid = options.user;
	int r = beam_channel_connect(ret, options.address, &connection, options.deadline);
	return r < 0 ? say_unreachable(r) : CODE_DONE;
}

/* Waits for a client. Once it has connected, the address is free again. */
static int await(beam_channel **ret)
{
	int code = listening_begin(NULL);

	if (code != CODE_DONE)
		return code;
	code = listening_accept(ret);
	listening_end();
	return code;
}

int endpoint_open(beam_channel **ret)
{
	return options.listen ? await(ret) : reach(ret);
}

int endpoint_close(beam_channel *channel, const char *what)
{
	int r = beam_channel_close(channel, options.deadline);

	return r < 0 ? say_ended(channel, r, what) : CODE_DONE;
}

void channel_release(beam_channel **channel)
{
	*channel = beam_channel_unref(*channel);
}

void topic_release(beam_topic **topic)
{
	*topic = beam_topic_unref(*topic);
}
