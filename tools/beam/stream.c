/* SPDX-License-Identifier: MIT */
/*
 * Standard output and standard error. Another process that shares them may have made them
 * non-blocking, and the process that reads them may have stopped. So a write waits, but no longer
 * than until the deadline.
 */
#include "command.h"
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static struct {
	/*
	 * Whether the command is ended by SIGPIPE when a reader has gone. It is, unless SIGPIPE was
	 * ignored when the command started.
	 */
	bool ends_by_sigpipe;
	/* Of standard output: the first negative errno, and whether it has been reported. */
	atomic_int error;
	bool reported;
} streams;

/* The signal itself would not remove the files that must not be left behind. */
static _Noreturn void end_by_sigpipe(void)
{
	listening_abandon();
	saving_abandon();
	signal(SIGPIPE, SIG_DFL);
	raise(SIGPIPE);
	_exit(128 + SIGPIPE);
}

/* @return how many bytes were written, or a negative errno */
static ssize_t stream_write_some(int fd, const char *bytes, size_t size)
{
	int r = 0;

	if (beam_deadline_poll_ms(options.deadline) >= 0) {
		/* A pipe that is writable accepts this many bytes without blocking. */
		size = size < PIPE_BUF ? size : PIPE_BUF;
		r = wait_writable(fd, options.deadline);
	}
	if (r < 0)
		return r;
	ssize_t n = write(fd, bytes, size);
	if (n < 0 && errno == EAGAIN)
		return wait_writable(fd, options.deadline);
	return n >= 0 ? n : errno == EINTR ? 0 : -errno;
}

static ssize_t stream_write_all(int fd, const char *bytes, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = stream_write_some(fd, bytes + done, size - done);
		if (n == -EPIPE && streams.ends_by_sigpipe)
			end_by_sigpipe();
		if (n < 0)
			return n;
		done += (size_t)n;
	}
	return 0;
}

static ssize_t write_output(void *unused, const char *bytes, size_t size)
{
	(void)unused;
	if (streams.error == 0)
		streams.error = (int)stream_write_all(STDOUT_FILENO, bytes, size);
	return streams.error == 0 ? (ssize_t)size : 0;
}

/* If standard error cannot be written, there is nowhere to report it. */
static ssize_t write_errors(void *unused, const char *bytes, size_t size)
{
	(void)unused;
	stream_write_all(STDERR_FILENO, bytes, size);
	return (ssize_t)size;
}

bool output_failed(void)
{
	return streams.error < 0;
}

int output_flush(void)
{
	fflush(stdout);
	if (streams.error == 0 || streams.reported)
		return streams.error == 0 ? CODE_DONE : CODE_ERROR;
	streams.reported = true;
	/* Not say_error(), because EPIPE of standard output says nothing about the peer. */
	return streams.error == -ETIMEDOUT ? say_error(streams.error, "standard output")
					   : say(CODE_ERROR, "standard output: %s", strerror(-streams.error));
}

/* For the output of --help and --version, after which argp ends the program. */
static void flush_at_exit(void)
{
	if (!streams.reported && output_flush() != CODE_DONE)
		_exit(CODE_ERROR);
}

void streams_begin(void)
{
	FILE *output = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_output});
	FILE *errors = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_errors});
	struct sigaction action;

	if (!output || !errors)
		_exit(CODE_ERROR);
	setvbuf(errors, NULL, _IOLBF, 0);
	stdout = output;
	stderr = errors;
	streams.ends_by_sigpipe = sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL;
	signal(SIGPIPE, SIG_IGN);
	/* If a file becomes too large, that is an error like any other error of writing. */
	signal(SIGXFSZ, SIG_IGN);
	atexit(flush_at_exit);
}
