/* SPDX-License-Identifier: MIT */
/*
 * Structs of the interface that may grow in later versions. The first field of options is their
 * size. The size of a result is passed beside it. So programs and libraries of different versions
 * understand each other.
 */
#ifndef BASE_OPTIONS_H
#define BASE_OPTIONS_H

#include <errno.h>
#include <stddef.h>
#include <string.h>

/*
 * Copies the given options over the defaults in `ret`, which has `size` bytes. -EINVAL: their size
 * is less than `least`, so it was never set. -E2BIG: they set a field that is not known here.
 */
static inline int options_take(void *ret, size_t size, const void *given, size_t least)
{
	const char *bytes = given;
	size_t given_size;

	memcpy(&given_size, given, sizeof given_size);
	if (given_size < least)
		return -EINVAL;
	for (size_t i = size; i < given_size; i++) {
		if (bytes[i])
			return -E2BIG;
	}
	memcpy(ret, given, given_size < size ? given_size : size);
	return 0;
}

/*
 * Copies `known` to `ret`, which has `size` bytes. What does not fit is left out. The rest of `ret`
 * is filled with zeros.
 */
static inline void options_give(void *ret, size_t size, const void *known, size_t known_size)
{
	memset(ret, 0, size);
	memcpy(ret, known, size < known_size ? size : known_size);
}

#endif
