/* SPDX-License-Identifier: MIT */
/* What tests of shared buffers share: buffers, messages, contents, and the number of mappings. */
#ifndef BUFFER_CONTENT_H
#define BUFFER_CONTENT_H

#include <beam/buffer.h>
#include <harness/harness.h>
#include <socket/reaper.h>

enum { PAGE = 4096 };

static inline beam_buffer *new_buffer(size_t size)
{
	beam_buffer *buffer = NULL;

	require_int(beam_buffer_new(&buffer, size), 0);
	return buffer;
}

static inline beam_message *new_message(void)
{
	beam_message *message = NULL;

	require_int(beam_message_new(&message, "buffer", 6), 0);
	return message;
}

/* Frees a message with everything that it still has. */
static inline void free_message(beam_message *message)
{
	beam_message_free(message);
	check(reaper_drain(BEAM_FOREVER));
}

/*
 * How many mappings of buffers there are. `permissions`, unless it is NULL, receives those of the
 * last one, such as "r--p".
 */
static inline size_t count_mappings(char permissions[8])
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	size_t n = 0;

	require(maps != NULL);
	while (fgets(line, sizeof line, maps)) {
		if (!strstr(line, "/memfd:beam-buffer"))
			continue;
		n++;
		if (permissions)
			check_int(sscanf(line, "%*s %7s", permissions), 1);
	}
	fclose(maps);
	return n;
}

static inline void fill(void *to, size_t size)
{
	struct rng rng = rng_new(size);

	rng_fill(&rng, to, size);
}

static inline void check_filled(const void *data, size_t size)
{
	unsigned char *expected = malloc(size);

	require(expected != NULL);
	fill(expected, size);
	check_bytes(data, expected, size);
	free(expected);
}

#endif
