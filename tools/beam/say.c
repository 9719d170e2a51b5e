/* SPDX-License-Identifier: MIT */
/* Error messages, one line each, and the exit code for each error. */
#include "command.h"
#include <errno.h>
#include <stdarg.h>
#include <string.h>

static int code_of(int error)
{
	switch (error) {
	case -ETIMEDOUT: return CODE_DEADLINE;
	case -EPIPE:
	case -ECONNRESET:
	case -ECONNREFUSED:
	case -EPROTO: return CODE_ENDED;
	default: return CODE_ERROR;
	}
}

static const char *text_of(int error)
{
	switch (error) {
	case -ETIMEDOUT: return "the deadline passed";
	case -EPIPE: return "the peer has closed the topic or the channel";
	case -ECONNRESET: return "the peer died";
	case -ECONNREFUSED: return "the peer refused the topic";
	case -EPROTO: return "the peer violated the protocol";
	case -EIO: return "some messages could not be sent";
	case -E2BIG: return "the message has more attachments than the peer accepts";
	default: return strerror(-error);
	}
}

int say(int code, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	flockfile(stderr);
	progress_end();
	fputs("beam: ", stderr);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): of a file that is compiled twice */
	vfprintf(stderr, format, arguments);
	putc('\n', stderr);
	funlockfile(stderr);
	va_end(arguments);
	return code;
}

int say_error(int error, const char *what)
{
	return say(code_of(error), "%s: %s", what, text_of(error));
}

int say_ended(beam_channel *channel, int error, const char *what)
{
	const char *why = error == -EPROTO ? beam_channel_breach(channel) : NULL;
	struct beam_losses losses;

	if (error == -EIO && beam_channel_losses(channel, &losses, sizeof losses) == 0)
		why = strerror(-losses.last_error);
	return say(code_of(error), "%s: %s%s%s", what, text_of(error), why ? ": " : "", why ? why : "");
}

int say_unsent(beam_channel *channel, int error, const char *what)
{
	struct beam_limits limits;

	/*
	 * The message is refused because of the limits in the peer's HELLO. The thread that reads
	 * HELLO wakes the senders first, so the limits may be known only a moment later. The call
	 * does not wait longer than that.
	 */
	if (error != -EMSGSIZE || beam_channel_limits(channel, &limits, sizeof limits, BEAM_FOREVER) < 0)
		return say_ended(channel, error, what);
	return say(CODE_ERROR,
		   "%s: the peer accepts at most %u bytes in a message; send and call can attach a file of any size "
		   "(--file)",
		   what, limits.message_bytes);
}
