/* SPDX-License-Identifier: MIT */
/*
 * beam SUBCOMMAND …
 */
#include "command.h"
#include <argp.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

static const struct command *const commands[] = {&command_listen,  &command_connect, &command_send,
						 &command_receive, &command_call,    &command_serve};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

const char *argp_program_version = "beam";

/* Adds the subcommands after the options. */
static char *help(int key, const char *text, void *input)
{
	char *all = NULL;
	size_t size;
	FILE *out;

	(void)input;
	if (key != ARGP_KEY_HELP_POST_DOC || !(out = open_memstream(&all, &size)))
		return (char *)(uintptr_t)text;
	fputs("Subcommands:\n", out);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-9s %s\n", commands[i]->name, commands[i]->purpose);
	fputs("  help      Print the options of a subcommand\n\nADDRESS is the path of a Unix socket, or @ followed by "
	      "an abstract name. `beam SUBCOMMAND --help` prints the options of a subcommand. The manual is `man "
	      "beam`.\n",
	      out);
	fclose(out);
	return all;
}

static error_t parse_command(int key, char *text, struct argp_state *state)
{
	switch (key) {
	case 'h': argp_state_help(state, state->out_stream, ARGP_HELP_STD_HELP); return 0;
	case ARGP_KEY_ARG:
		if (strcmp(text, "help") == 0)
			argp_error(state, "help: only one SUBCOMMAND is allowed");
		else
			argp_error(state, "%s: unknown subcommand", text);
		return 0;
	case ARGP_KEY_NO_ARGS: argp_usage(state); return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

/* `help` is --help, and `help SUBCOMMAND` is `SUBCOMMAND --help`. */
static void translate_help(int argc, char **argv)
{
	static char option[] = "--help";

	if (argc < 2 || argc > 3 || strcmp(argv[1], "help") != 0)
		return;
	if (argc == 3 && strcmp(argv[2], "help") != 0)
		argv[1] = argv[2];
	else
		argv[1] = option;
	if (argc == 3)
		argv[2] = option;
}

int main(int argc, char **argv)
{
	static const struct argp_option hidden[] = {OPTION_H, {0}};
	static const struct argp argp = {
	    .options = hidden,
	    .parser = parse_command,
	    .args_doc = "SUBCOMMAND ADDRESS ...",
	    .doc = "Channels between processes, from the shell.\v",
	    .help_filter = help,
	};
	static char version[32], name[32] = "beam";

	start_up();
	translate_help(argc, argv);
	const struct command *command = argc > 1 ? find_command(argv[1]) : NULL;
	setlocale(LC_CTYPE, "");
	snprintf(version, sizeof version, "beam %s", beam_version_string());
	argp_program_version = version;
	argp_err_exit_status = CODE_USAGE;
	if (!command) {
		if (argc > 0)
			argv[0] = name;
		/*
		 * Arguments after an unknown subcommand are not options of ours, not even --help.
		 */
		argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, NULL);
		return CODE_USAGE;
	}
	snprintf(name, sizeof name, "beam %s", command->name);
	argv[1] = name;
	return options_parse(command, argc - 1, argv + 1, 0) == 0 ? command->run() : CODE_USAGE;
}
