/* SPDX-License-Identifier: MIT */
/* The options. Each subcommand accepts some of them. */
#include "command.h"
#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

struct options options = {
    .deadline = BEAM_FOREVER, .patience = -1, .processes = 16, .limit = 16 << 20, .mode = 0600, .user = (uid_t)-1};

enum { OPTION_FD = 256, OPTION_MODE };

enum {
	PRINTING = RECEIVE | LISTEN | CONNECT | CALL,
	CLIENTS = SEND | RECEIVE | CONNECT | CALL,
	SERVERS = SEND | RECEIVE | LISTEN | SERVE,
};

static const struct known {
	unsigned commands;
	struct argp_option option;
} known[] = {
    {CLIENTS | LISTEN, {"deadline", 't', "SECONDS", 0, "End with exit code 3 after this time", 0}},
    {SERVE, {"deadline", 't', "SECONDS", 0, "Kill a process that takes longer than this for its request", 0}},
    {SERVE, {"processes", 'p', "NUMBER", 0, "Run at most this many processes at a time, 1 to 4096 (default 16)", 0}},
    {SEND | RECEIVE, {"listen", 'l', NULL, 0, "Be the server: wait for one client at ADDRESS", 0}},
    {LISTEN, {"keep", 'k', NULL, 0, "Serve any number of clients, several at a time; standard input is not read", 0}},
    {SERVERS, {"mode", OPTION_MODE, "OCTAL", 0, "Permissions of the socket's file (default 600)", 0}},
    {CLIENTS, {"wait", 'w', NULL, 0, "Wait for the server if it is not there yet", 0}},
    {CLIENTS, {"user", 'u', "NAME", 0, "Connect only to a server of this user (a name or number)", 0}},
    {SEND, {"lines", 'n', NULL, 0, "Send each line of standard input as a message", 0}},
    {RECEIVE | CALL, {"lines", 'n', NULL, 0, "Print each message as a line: add a line end if it has none", 0}},
    {SEND | CALL, {"file", 'f', "PATH", 0, "Open a file and attach it; may be repeated", 0}},
    {SEND | CALL, {"fd", OPTION_FD, "NUMBER", 0, "Attach an open descriptor; may be repeated", 0}},
    {RECEIVE, {"count", 'c', "NUMBER", 0, "End after this many messages", 0}},
    {PRINTING, {"raw", 'r', NULL, 0, "Print only payloads: no names of topics, no added line ends", 0}},
    {PRINTING, {"hex", 'x', NULL, 0, "Print payloads in hexadecimal, one line for each message", 0}},
    {PRINTING, {"json", 'j', NULL, 0, "Print messages as JSON, one line for each message", 0}},
    {PRINTING, {"save", 's', "FOLDER", 0, "Save the content of attachments as FOLDER/1, FOLDER/2, ...", 0}},
    {PRINTING | SERVE, {"limit", 'm', "BYTES", 0, "Accept messages of at most this size, 1M to 1G (default 16M)", 0}},
};

enum { KNOWN = sizeof known / sizeof known[0] };

/* Reports what is wrong. This ends the program unless argp was told not to. */
#define WRONG(state, ...) (argp_error(state, __VA_ARGS__), EINVAL)

/* Parses a number from `least` to `most`. If `sized`, it can end with K, M or G. */
static error_t options_number(struct argp_state *state, const char *text, bool sized, uint64_t least, uint64_t most,
			      uint64_t *ret)
{
	static const char units[] = "KMG";
	char *end;

	errno = 0;
	uint64_t value = strtoull(text, &end, 10);
	const char *unit = sized && *end ? strchr(units, *end) : NULL;
	if (unit) {
		end++;
		if (value <= most)
			value <<= 10 * (unit - units + 1);
	}
	if (errno || !isdigit((unsigned char)*text) || *end || value < least || value > most)
		return WRONG(state, "%s: must be a number from %llu to %llu", text, (unsigned long long)least,
			     (unsigned long long)most);
	*ret = value;
	return 0;
}

static error_t take_deadline(struct argp_state *state, const char *text)
{
	const struct command *command = state->input;
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end || !(seconds >= 0))
		return WRONG(state, "%s: must be a number of seconds", text);
	options.patience = seconds < 1e9 ? (int64_t)(seconds * 1000) : -1;
	if (command->bit != SERVE)
		options.deadline = options.patience >= 0 ? beam_in_ms(options.patience) : BEAM_FOREVER;
	return 0;
}

static error_t take_user(struct argp_state *state, const char *text)
{
	struct passwd entry, *found = NULL;
	char strings[4096];
	uint64_t value = 0;

	if (isdigit((unsigned char)*text)) {
		error_t r = options_number(state, text, false, 0, UINT32_MAX - 1, &value);

		options.user = (uid_t)value;
		return r;
	}
	if (getpwnam_r(text, &entry, strings, sizeof strings, &found) != 0 || !found)
		return WRONG(state, "%s: unknown user", text);
	options.user = found->pw_uid;
	return 0;
}

static error_t take_mode(struct argp_state *state, const char *text)
{
	if (!*text || strspn(text, "01234567") != strlen(text) || strtoul(text, NULL, 8) > 0777)
		return WRONG(state, "%s: must be octal permissions from 0 to 777", text);
	options.mode = (uint32_t)strtoul(text, NULL, 8);
	return 0;
}

static error_t options_add_source(struct argp_state *state, const char *path, int fd)
{
	if (options.n_sources == BEAM_MESSAGE_ATTACHMENTS_MAX)
		return WRONG(state, "a message has at most %d attachments", BEAM_MESSAGE_ATTACHMENTS_MAX);
	options.sources[options.n_sources++] = (struct source){.path = path, .fd = fd};
	return 0;
}

static error_t check_arguments(struct argp_state *state)
{
	const struct command *command = state->input;

	if (options.n_arguments + 1 < (size_t)command->least || options.n_arguments + 1 > (size_t)command->most) {
		argp_usage(state);
		return EINVAL;
	}
	for (size_t i = 0; i < options.n_arguments && (i == 0 || command->bit & (LISTEN | CONNECT)); i++)
		if (!*options.arguments[i] || strlen(options.arguments[i]) > BEAM_TOPIC_NAME_MAX)
			return WRONG(state, "the name of a topic must have 1 to %d bytes", BEAM_TOPIC_NAME_MAX);
	if (command->bit & (LISTEN | CONNECT))
		options.lines = true;
	if (command->bit == SEND && options.lines && (options.n_sources > 0 || options.n_arguments > 1))
		return WRONG(state, "--lines cannot be combined with MESSAGE, --file or --fd");
	return 0;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	uint64_t value = 0;
	error_t r;

	switch (key) {
	case 'h': argp_state_help(state, state->out_stream, ARGP_HELP_STD_HELP); return 0;
	case 't': return take_deadline(state, text);
	case 'p':
		r = options_number(state, text, false, 1, 4096, &value);
		options.processes = (uint32_t)value;
		return r;
	case 'l': options.listen = true; return 0;
	case 'k': options.keep = true; return 0;
	case 'w': options.wait = true; return 0;
	case 'u': return take_user(state, text);
	case OPTION_MODE: return take_mode(state, text);
	case 'n': options.lines = true; return 0;
	case 'f': return options_add_source(state, text, -1);
	case OPTION_FD:
		r = options_number(state, text, false, 0, INT_MAX, &value);
		return r ? r : options_add_source(state, NULL, (int)value);
	case 'c': return options_number(state, text, false, 1, UINT64_MAX, &options.count);
	case 'r': options.format = FORMAT_RAW; return 0;
	case 'x': options.format = FORMAT_HEX; return 0;
	case 'j': options.format = FORMAT_JSON; return 0;
	case 's': options.save = text; return 0;
	case 'm':
		r = options_number(state, text, true, 1 << 20, 1 << 30, &value);
		options.limit = (uint32_t)value;
		return r;
	case ARGP_KEY_ARGS:
		options.address = state->argv[state->next];
		options.arguments = &state->argv[state->next + 1];
		options.n_arguments = (size_t)(state->argc - state->next - 1);
		return 0;
	case ARGP_KEY_NO_ARGS: argp_usage(state); return EINVAL;
	case ARGP_KEY_SUCCESS: return check_arguments(state);
	default: return ARGP_ERR_UNKNOWN;
	}
}

int options_parse(const struct command *command, int argc, char **argv, unsigned flags)
{
	struct argp_option chosen[KNOWN + 2] = {OPTION_H};
	char text[512];
	size_t n = 1;

	for (size_t i = 0; i < KNOWN; i++)
		if (known[i].commands & command->bit)
			chosen[n++] = known[i].option;
	snprintf(text, sizeof text, "%s.\v%s%sExit codes and examples: man beam", command->purpose,
		 command->details ? command->details : "", command->details ? "\n\n" : "");
	const struct argp argp = {.options = chosen, .parser = parse, .args_doc = command->arguments, .doc = text};
	return argp_parse(&argp, argc, argv, flags, NULL, (void *)(uintptr_t)command) == 0 ? 0 : -EINVAL;
}
