/* SPDX-License-Identifier: MIT */
/*
 * Reads standard input, or another stream, as messages. What every peer accepts is read at once.
 * The peer's limit is asked for only if there is more, because it is known only after the peer has
 * accepted the connection.
 */
#include "command.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SURE = 1 << 20, STEP = 64 << 10 };

static int input_wait_for(int fd, short events, int stop, beam_deadline deadline)
{
	struct pollfd waited[] = {{.fd = fd, .events = events}, {.fd = stop, .events = POLLIN}};

	for (;;) {
		int n = poll(waited, 2, beam_deadline_poll_ms(deadline));
		if (n > 0)
			return waited[1].revents ? -ECANCELED : 0;
		if (n == 0 && beam_deadline_poll_ms(deadline) == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

int wait_readable(int fd, int stop, beam_deadline deadline)
{
	return input_wait_for(fd, POLLIN, stop, deadline);
}

int wait_writable(int fd, beam_deadline deadline)
{
	return input_wait_for(fd, POLLOUT, -1, deadline);
}

/* Makes room for more. */
static int grow(struct input *input)
{
	struct beam_limits limits;

	if (input->most == 0)
		input->most = SURE;
	if (input->end - input->begin > input->most) {
		int r = input->most > SURE
			    ? -EMSGSIZE
			    : beam_channel_limits(input->channel, &limits, sizeof limits, input->deadline);
		if (r < 0)
			return r;
		input->most = limits.message_bytes;
		if (input->end - input->begin > input->most)
			return -EMSGSIZE;
	}
	if (input->begin > 0) {
		input->end -= input->begin;
		memmove(input->data, input->data + input->begin, input->end);
		input->begin = 0;
	}
	if (input->capacity - input->end < STEP) {
		size_t capacity = input->capacity ? 2 * input->capacity : (size_t)2 * STEP;
		char *data = realloc(input->data, capacity);
		if (!data)
			return -ENOMEM;
		input->data = data;
		input->capacity = capacity;
	}
	return 0;
}

/* Reads some. @return how many bytes, 0 at the end, or a negative errno */
static ssize_t fill(struct input *input)
{
	ssize_t n;
	int r = grow(input);

	if (r < 0)
		return r;
	do {
		if ((r = wait_readable(input->fd, input->stop, input->deadline)) < 0)
			return r;
		n = read(input->fd, input->data + input->end, input->capacity - input->end);
	} while (n < 0 && (errno == EINTR || errno == EAGAIN));
	if (n < 0) {
		r = -errno;
		input->error = r;
		return r;
	}
	input->end += (size_t)n;
	if (input->progress)
		progress_add((size_t)n);
	return n;
}

int input_line(struct input *input, const char **ret, size_t *ret_size)
{
	size_t looked = 0;

	for (;;) {
		char *begin = input->data ? input->data + input->begin : NULL;
		size_t size = input->end - input->begin;
		char *newline = begin ? memchr(begin + looked, '\n', size - looked) : NULL;
		ssize_t n = newline ? 1 : fill(input);
		if (n < 0)
			return (int)n;
		if (!newline && n > 0) {
			looked = size;
			continue;
		}
		if (!newline && size == 0)
			return 0;
		/* The last line may have no line end. Reading may have moved the data. */
		*ret = input->data + input->begin;
		*ret_size = newline ? (size_t)(newline - begin) : size;
		input->begin += *ret_size + (newline != NULL);
		return 1;
	}
}

int input_whole(struct input *input, const char **ret, size_t *ret_size)
{
	ssize_t n;

	while ((n = fill(input)) > 0)
		;
	if (n < 0)
		return (int)n;
	*ret = input->data;
	*ret_size = input->end;
	return 1;
}

int input_payload(struct input *input, const char *text, const char **ret, size_t *ret_size)
{
	struct stat status;

	if (text ? strcmp(text, "-") != 0 : options.n_sources > 0) {
		*ret = text;
		*ret_size = text ? strlen(text) : 0;
		return 1;
	}
	input->progress = true;
	progress_begin("reading",
		       fstat(input->fd, &status) == 0 && S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0);
	int r = input_whole(input, ret, ret_size);
	progress_end();
	return r;
}

int input_say(const struct input *input, int error, const char *what)
{
	return input->error < 0 ? say(CODE_ERROR, "standard input: %s", strerror(-input->error))
				: say_unsent(input->channel, error, what);
}

void input_free(struct input *input)
{
	free(input->data);
}
