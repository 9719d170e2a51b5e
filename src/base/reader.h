/* SPDX-License-Identifier: MIT */
/*
 * The only way to parse bytes from outside: a cursor that never passes the end. A read past the end
 * returns zeros and marks the reader as failed, so that a parser reads all its fields and checks
 * once. Numbers are big-endian.
 */
#ifndef BASE_READER_H
#define BASE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reader {
	const unsigned char *at;
	size_t left;
	bool failed;
};

static inline struct reader reader_over(const void *bytes, size_t size)
{
	return (struct reader){.at = bytes, .left = size};
}

/* Returns `size` bytes, or NULL past the end. */
static inline const unsigned char *reader_bytes(struct reader *reader, size_t size)
{
	const unsigned char *bytes = reader->at;

	if (size > reader->left) {
		reader->failed = true;
		reader->left = 0;
		return NULL;
	}
	reader->at += size;
	reader->left -= size;
	return bytes;
}

static inline uint8_t reader_u8(struct reader *reader)
{
	const unsigned char *b = reader_bytes(reader, 1);

	return b ? b[0] : 0;
}

static inline uint32_t reader_u32(struct reader *reader)
{
	const unsigned char *b = reader_bytes(reader, 4);

	return b ? (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3] : 0;
}

static inline void put_u32(unsigned char *to, uint32_t value)
{
	to[0] = (unsigned char)(value >> 24);
	to[1] = (unsigned char)(value >> 16);
	to[2] = (unsigned char)(value >> 8);
	to[3] = (unsigned char)value;
}

#endif
