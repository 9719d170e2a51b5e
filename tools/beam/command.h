/* SPDX-License-Identifier: MIT */
/*
 * beam: the library from the shell. A file for each subcommand, and one for each thing that they
 * share; built on the public headers alone.
 *
 * Functions that return a code return one of enum code, what the program ends with; they have said
 * on stderr what went wrong.
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
	CODE_UNREACHABLE = 4, /* no server there, or not for us */
	CODE_ENDED = 5,       /* the other side died, closed or refused, before everything was done */
	CODE_FAILED = 6,      /* the other side failed a call */
};

/* ---- Subcommands and their options (main.c, options.c) ---- */

enum { SEND = 1, RECEIVE = 2, LISTEN = 4, CONNECT = 8, CALL = 16, SERVE = 32 };

struct command {
	unsigned bit; /* of the above */
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
	int64_t patience;       /* that a process is given to serve a request, in milliseconds; -1: for ever */
	uint32_t processes;     /* at once */
	bool listen, keep, wait, lines;
	uint32_t mode; /* of the socket's file */
	uid_t user;    /* the server's; -1: any */
	enum format format;
	const char *save; /* a folder, or NULL */
	uint32_t limit;   /* bytes of a message */
	uint64_t count;   /* messages; 0: no end */
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

/* Signals from outside that end a program unless it does something about them. */
#define ENDING_SIGNALS                                                                                                 \
	{                                                                                                              \
		SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM, SIGSTKFLT, SIGXCPU, SIGVTALRM, SIGPROF,   \
		    SIGIO, SIGPWR                                                                                      \
	}

/*
 * Puts what the command was started with in order: standard descriptors, and the duties of process
 * 1 of a container. Before all else.
 */
void start_up(void);

/* Whether nothing was open there when the command started. */
bool descriptor_was_closed(int fd);

/* ---- What went wrong (say.c) ---- */

/* Says "beam: …" on stderr. @return `code` */
int say(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Says "beam: what: why" of a negative errno. @return its code */
int say_error(int error, const char *what);

/* The same of a channel's, with the rule that the other side broke. */
int say_ended(beam_channel *channel, int error, const char *what);

/* The same of a message that was not sent, with how large one may be. */
int say_unsent(beam_channel *channel, int error, const char *what);

/* ---- The other side (endpoint.c, listening.c) ---- */

/* Of a channel, as they follow from the program's. */
struct beam_channel_options endpoint_options(void);

/* Connects to the address, or waits there for one client. @return a code */
int endpoint_open(beam_channel **ret);

/* Sends the rest and says goodbye; `what` an error is about. @return a code */
int endpoint_close(beam_channel *channel, const char *what);

void channel_release(beam_channel **channel);
void topic_release(beam_topic **topic);

/*
 * Listens at the address. If a signal ends the program `before` is called, NULL or not, and the
 * socket's file removed. @return a code
 */
int listening_begin(void (*before)(void));

/* Waits for a client. @return a code */
int listening_accept(beam_channel **ret);

/* Has whoever accepts, now or later, get this code, which is not CODE_DONE. From any thread. */
void listening_stop(int code);
void listening_end(void);

/*
 * Removes the socket's file and does what is to be done `before` the end, if the command listens;
 * the command ends now. From any thread.
 */
void listening_abandon(void);

/* ---- Processes that serve requests (process.c) ---- */

/* A message and what serves it. */
struct request {
	beam_channel *channel;
	const char *topic;
	beam_message *message;
};

/* Makes room for so many at once. @return 0 or a negative errno */
int processes_begin(unsigned most);

/* Waits until there is room for one more. @return what processes_serve() wants to know */
size_t processes_wait(void);

/*
 * Runs the command and sends what it prints as the reply, if one is asked for; the room is free
 * then.
 */
void processes_serve(size_t room, const struct request *request);

/* Ends all that run. */
void processes_end(void);

/* ---- Standard input, and what else is read (input.c) ---- */

struct input {
	beam_channel *channel; /* whose other side says how large a message may be */
	int fd, stop;          /* what is read; what ends that when it can be read itself, -1: nothing */
	beam_deadline deadline;
	char *data;
	size_t begin, end, capacity, most;
	atomic_int error; /* of read(2), a negative errno; 0: none */
	bool progress;
};

/* Standard input; the channel is to be set. */
#define INPUT                                                                                                          \
	{                                                                                                              \
		.fd = STDIN_FILENO, .stop = -1, .deadline = options.deadline                                           \
	}

/*
 * The next line without its end, valid until the next call. @return 1; 0 at the end; a negative
 * errno, -EMSGSIZE if it is longer than the other side accepts, -ECANCELED.
 */
int input_line(struct input *input, const char **ret, size_t *ret_size);

/* Everything; as above, but always 1. */
int input_whole(struct input *input, const char **ret, size_t *ret_size);

/*
 * What is to be sent: `text`, or everything if that is - or if there is neither a text
 * nor an attachment. As above.
 */
int input_payload(struct input *input, const char *text, const char **ret, size_t *ret_size);

/*
 * Says what went wrong with standard input, or else with a message that was not sent: `error` as of
 * say_unsent(). @return a code
 */
int input_say(const struct input *input, int error, const char *what);

void input_free(struct input *input);

/* Waits until a descriptor can be read. @return 0; -ETIMEDOUT; -ECANCELED if `stop` can be read */
int wait_readable(int fd, int stop, beam_deadline deadline);

/* Waits until a descriptor can be written. @return 0 or -ETIMEDOUT */
int wait_writable(int fd, beam_deadline deadline);

/* ---- Attachments (attachment.c) ---- */

/* Opens what was asked for by --file and --fd. @return a code */
int sources_open(int fds[BEAM_MESSAGE_ATTACHMENTS_MAX]);

struct attachment {
	const char *type;
	bool sized;
	int64_t size;
	char *saved; /* where to, allocated; NULL: nowhere */
	int error;   /* why it was lost, or could not be saved; a negative errno */
};

/* What a received message's attachment is; saves it if that was asked for. @return a code */
int attachment_take(const beam_message *message, size_t index, struct attachment *ret);

/*
 * Removes what is saved in part; the command ends now. From any thread, and
 * from handlers of signals.
 */
void saving_abandon(void);

/* ---- Standard output and standard error (stream.c, output.c, json.c, quote.c) ---- */

/* Has both wait where they would block or refuse. */
void streams_begin(void);

/* Writes what standard output still holds. @return a code; the first failure is said */
int output_flush(void);

/* Whether standard output takes no more. From any thread. */
bool output_failed(void);

/* Prints messages and frees them. From any thread. @return a code */
int output_messages(beam_topic *topic, bool with_name, beam_message **messages, size_t n);

/* A line of JSON. @return 0 or a negative errno */
int json_message(FILE *out, const char *topic, const beam_message *message, const struct attachment *attachments,
		 bool terminal);

/*
 * Prints text that a peer chose so that a terminal takes nothing of it for a command; of `line`
 * also the ends of lines are quoted.
 */
void print_quoted(FILE *out, const void *text, size_t size, bool line);

/* ---- Progress, on a terminal, of what is large (progress.c) ---- */

/* @param total  bytes; 0: not known */
void progress_begin(const char *what, uint64_t total);
void progress_add(size_t bytes);

/* Of what goes as one piece: only the time that it takes is known. */
void progress_begin_in_one(const char *what, size_t size);
void progress_end(void);

#endif
