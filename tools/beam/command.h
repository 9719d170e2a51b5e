/* SPDX-License-Identifier: MIT */
/*
 * The beam command: the library from the shell. There is one file for each subcommand, and one for
 * each thing that they share. All of it uses only the public headers.
 *
 * Functions that return a code return one of enum code, with which the program ends. They have
 * reported on stderr what went wrong.
 */
#ifndef BEAM_COMMAND_H
#define BEAM_COMMAND_H

#include <beam/beam.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

/* Exit codes, for scripts: beam(1). */
enum code {
	CODE_DONE = 0,
	CODE_ERROR = 1,
	CODE_USAGE = 2,
	CODE_DEADLINE = 3,
	CODE_UNREACHABLE = 4, /* there is no server, or access was denied */
	CODE_ENDED = 5,       /* the peer died, closed, refused or violated the protocol too early */
	CODE_FAILED = 6,      /* a call failed at the peer */
};

/* ---- Subcommands and their options (main.c, options.c) ---- */

enum { SEND = 1, RECEIVE = 2, LISTEN = 4, CONNECT = 8, CALL = 16, SERVE = 32 };

struct command {
	unsigned bit; /* one of the above */
	const char *name, *arguments, *purpose;
	const char *details; /* after the options; may be NULL */
	int least, most;     /* arguments */
	int (*run)(void);    /* returns a code */
};

extern const struct command command_send, command_receive, command_listen, command_connect, command_call, command_serve;

enum format { FORMAT_TEXT, FORMAT_RAW, FORMAT_HEX, FORMAT_JSON };

struct source {
	const char *path; /* NULL: an open descriptor */
	int fd;
};

extern struct options {
	const char *address;
	char **arguments; /* after the address, ended by NULL */
	size_t n_arguments;
	beam_deadline deadline; /* of the command */
	int64_t patience;       /* how long a process may take for a request, in milliseconds; -1: for ever */
	uint32_t processes;     /* that may run at once */
	bool listen, keep, wait, lines;
	uint32_t mode; /* the permissions of the socket's file */
	uid_t user;    /* the user of the server; -1: any */
	enum format format;
	const char *save; /* a folder, or NULL */
	uint32_t limit;   /* the most bytes of a message */
	uint64_t count;   /* how many messages; 0: any number */
	struct source sources[BEAM_MESSAGE_ATTACHMENTS_MAX];
	size_t n_sources;
} options;

/* -h, which argp does not know; the parser calls argp_state_help(). */
#define OPTION_H                                                                                                       \
	{                                                                                                              \
		NULL, 'h', NULL, OPTION_HIDDEN, NULL, -1                                                               \
	}

/*
 * Fills in `options`; ends the program if they are wrong or help was asked for, unless argp's
 * `flags` say otherwise. @return 0 or -EINVAL
 */
int options_parse(const struct command *command, int argc, char **argv, unsigned flags);

/* ---- The start (start.c) ---- */

/* Signals that other processes send, and that end a program unless it handles them. */
#define ENDING_SIGNALS                                                                                                 \
	{                                                                                                              \
		SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM, SIGSTKFLT, SIGXCPU, SIGVTALRM, SIGPROF,   \
		    SIGIO, SIGPWR                                                                                      \
	}

/*
 * Called before everything else. Prepares the standard descriptors, and takes over the duties of
 * process 1 of a container if the command is that process.
 */
void start_up(void);

/* Returns whether the descriptor was closed when the command started. */
bool descriptor_was_closed(int fd);

/* ---- What went wrong (say.c) ---- */

/* Prints "beam: …" to stderr. @return `code` */
int say(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints "beam: what: why" for a negative errno. @return its code */
int say_error(int error, const char *what);

/*
 * The same for an error of a channel. The message contains the rule that the peer broke, or why
 * messages were lost.
 */
int say_ended(beam_channel *channel, int error, const char *what);

/* The same for a message that was not sent. If it was too large, the message contains the limit. */
int say_unsent(beam_channel *channel, int error, const char *what);

/* ---- The peer (endpoint.c, listening.c) ---- */

/* The options of a channel, which follow from those of the command. */
struct beam_channel_options endpoint_options(void);

/* Connects to the address, or waits there for one client. @return a code */
int endpoint_open(beam_channel **ret);

/* Sends the rest and closes the channel. `what` is what an error is about. @return a code */
int endpoint_close(beam_channel *channel, const char *what);

void channel_release(beam_channel **channel);
void topic_release(beam_topic **topic);

/*
 * Listens at the address. If a signal ends the program, `before` is called unless it is NULL, and
 * the socket's file is removed. @return a code
 */
int listening_begin(void (*before)(void));

/* Waits for a client. @return a code */
int listening_accept(beam_channel **ret);

/* Makes listening_accept() return this code, now or later. It is not CODE_DONE. From any thread. */
void listening_stop(int code);
void listening_end(void);

/*
 * Called when the command is about to end. If it listens, this removes the socket's file and calls
 * `before`. From any thread.
 */
void listening_abandon(void);

/* ---- Processes that serve requests (process.c) ---- */

/* A message that is to be served, its channel and its topic. */
struct request {
	beam_channel *channel;
	const char *topic;
	beam_message *message;
};

/* Makes room for this many processes at once. @return 0 or a negative errno */
int processes_begin(unsigned most);

/* Waits until there is room for one more process. @return the room, for processes_serve() */
size_t processes_wait(void);

/*
 * Runs a process, and sends what it prints as the reply if the message is a call. Then the room is
 * free.
 */
void processes_serve(size_t room, const struct request *request);

/* Ends all processes that run. */
void processes_end(void);

/* ---- Standard input, and what else is read (input.c) ---- */

struct input {
	beam_channel *channel; /* whose peer limits the size of a message */
	int fd, stop;          /* what is read; what ends reading when it becomes readable, -1: nothing */
	beam_deadline deadline;
	char *data;
	size_t begin, end, capacity, most;
	atomic_int error; /* of read(2), a negative errno; 0: none */
	bool progress;
};

/* Reads standard input. The caller sets the channel. */
#define INPUT                                                                                                          \
	{                                                                                                              \
		.fd = STDIN_FILENO, .stop = -1, .deadline = options.deadline                                           \
	}

/*
 * The next line without its line end, valid until the next call. @return 1; 0 at the end; or a
 * negative errno: -EMSGSIZE if the line is longer than the peer accepts, -ECANCELED if `stop`
 * became readable
 */
int input_line(struct input *input, const char **ret, size_t *ret_size);

/* Everything until the end. @return as above, but never 0 */
int input_whole(struct input *input, const char **ret, size_t *ret_size);

/*
 * What is to be sent: `text`; or everything if that is "-", or if there is neither a text nor an
 * attachment. @return as above
 */
int input_payload(struct input *input, const char *text, const char **ret, size_t *ret_size);

/*
 * Reports an error of standard input, or, if there was none, of a message that was not sent, as
 * say_unsent() does. @return a code
 */
int input_say(const struct input *input, int error, const char *what);

void input_free(struct input *input);

/* Waits until a descriptor can be read. @return 0; -ETIMEDOUT; -ECANCELED if `stop` can be read */
int wait_readable(int fd, int stop, beam_deadline deadline);

/* Waits until a descriptor can be written. @return 0 or -ETIMEDOUT */
int wait_writable(int fd, beam_deadline deadline);

/* ---- Attachments (attachment.c) ---- */

/* Opens the attachments that --file and --fd name. @return a code */
int sources_open(int fds[BEAM_MESSAGE_ATTACHMENTS_MAX]);

struct attachment {
	const char *type;
	bool sized;
	int64_t size;
	char *saved; /* the path that it was saved to, allocated; NULL: none */
	int error;   /* why it was lost, or could not be saved; a negative errno */
};

/*
 * Describes an attachment of a received message, and saves it if that was asked for. @return a code
 */
int attachment_take(const beam_message *message, size_t index, struct attachment *ret);

/*
 * Called when the command is about to end. Removes a file that is saved in part. From any thread,
 * and from signal handlers.
 */
void saving_abandon(void);

/* ---- Standard output and standard error (stream.c, output.c, json.c, quote.c) ---- */

/* Makes both streams wait where they would block or fail with EAGAIN. */
void streams_begin(void);

/* Flushes standard output, and reports the first failure. @return a code */
int output_flush(void);

/* Returns whether standard output has failed. From any thread. */
bool output_failed(void);

/* Prints messages and frees them. From any thread. @return a code */
int output_messages(beam_topic *topic, bool with_name, beam_message **messages, size_t n);

/* Prints a message as a line of JSON. @return 0 or a negative errno */
int json_message(FILE *out, const char *topic, const beam_message *message, const struct attachment *attachments,
		 bool terminal);

/*
 * Prints text that a peer chose, so that no part of it can control a terminal. With `line`, line
 * ends are quoted too.
 */
void print_quoted(FILE *out, const void *text, size_t size, bool line);

/* ---- Progress of what is large, on a terminal (progress.c) ---- */

/* @param total  bytes; 0: not known */
void progress_begin(const char *what, uint64_t total);
void progress_add(size_t bytes);

/* For something that is sent as a whole, of which only the elapsed time is known. */
void progress_begin_in_one(const char *what, size_t size);
void progress_end(void);

#endif
