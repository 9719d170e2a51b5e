/* SPDX-License-Identifier: MIT */
/*
 * Structs of the interface that may grow, and so have a size: options that it takes,
 * whose first field is their size, and what it gives. Programs and libraries of different
 * ages understand each other.
 */
#ifndef BASE_OPTIONS_H
#define BASE_OPTIONS_H

#include <errno.h>
#include <stddef.h>
#include <string.h>

/*
 * Puts what is given, at least `least` bytes, over the defaults in `ret`, of `size` bytes. -EINVAL:
 * its size was never set. -E2BIG: it sets what is not known here.
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
 * Gives as much of what is known as there is room for in `ret`, of `size` bytes, and
 * zeros for the rest of it.
 */
static inline void options_give(void *ret, size_t size, const void *known, size_t known_size)
{
	memset(ret, 0, size);
	memcpy(ret, known, size < known_size ? size : known_size);
}

#endif
