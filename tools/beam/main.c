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

/* The subcommands, after the options. */
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
	fputs("\nADDRESS is a path, or @ and an abstract name. `beam SUBCOMMAND --help` tells the options, `man beam` the "
	      "rest.\n",
	      out);
	fclose(out);
	return all;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	switch (key) {
	case ARGP_KEY_ARG: argp_error(state, "%s: no such subcommand", text); return 0;
	case ARGP_KEY_NO_ARGS: argp_usage(state); return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
	    .parser = parse,
	    .args_doc = "SUBCOMMAND ADDRESS ...",
	    .doc = "Channels between processes, from the shell.\v",
	    .help_filter = help,
	};
	const struct command *command = argc > 1 ? find(argv[1]) : NULL;
	static char version[32];
	char name[32];

	start_up();
	setlocale(LC_CTYPE, "");
	snprintf(version, sizeof version, "beam %s", beam_version_string());
	argp_program_version = version;
	argp_err_exit_status = CODE_USAGE;
	if (!command) {
		argp_parse(&argp, argc, argv, 0, NULL, NULL);
		return CODE_USAGE;
	}
	snprintf(name, sizeof name, "beam %s", command->name);
	argv[1] = name;
	return options_parse(command, argc - 1, argv + 1, 0) == 0 ? command->run() : CODE_USAGE;
}
