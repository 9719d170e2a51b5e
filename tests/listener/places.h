/* SPDX-License-Identifier: MIT */
/* A path for a socket, and the expected result of listening there. */
#ifndef LISTENER_PLACES_H
#define LISTENER_PLACES_H

#include <public/listening.h>

static struct spot spot;

static inline void expect_new(int expected)
{
	beam_listener *listener = NULL;

	check_int(beam_listener_new(&listener, spot.path, NULL), expected);
	check((listener != NULL) == (expected == 0));
	beam_listener_unref(listener);
}

#endif
