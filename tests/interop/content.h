/* SPDX-License-Identifier: MIT */
/*
 * Messages whose contents the other implementation knows: how they are made, and how they are
 * checked.
 */
#ifndef INTEROP_CONTENT_H
#define INTEROP_CONTENT_H

#include <beam/beam.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATTERN = 251 };

static inline void die(const char *what, long result)
{
	fprintf(stderr, "peer: %s: %ld\n", what, result);
	exit(1);
}

/* `size` bytes with known contents: byte i is i modulo 251. */
static inline unsigned char *make_content(size_t size)
{
	unsigned char *bytes = malloc(size + 1);

	if (!bytes)
		die("malloc", -ENOMEM);
	for (size_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(i % PATTERN);
	return bytes;
}

static inline bool has_content(const beam_message *message)
{
	const unsigned char *bytes = beam_message_data(message);

	for (size_t i = 0; i < beam_message_size(message); i++) {
		if (bytes[i] != i % PATTERN)
			return false;
	}
	return true;
}

/* The error of the first attachment that was lost, or 0. */
static inline int first_loss(const beam_message *message)
{
	for (size_t i = 0; i < beam_message_attachments(message); i++) {
		int fd = beam_message_peek_fd(message, i);

		if (fd < 0)
			return fd;
	}
	return 0;
}

#endif
