/* SPDX-License-Identifier: MIT */
/* Topics that nobody drains, and one that is drained. */
#ifndef PUBLIC_SHARING_H
#define PUBLIC_SHARING_H

#include <public/ends.h>

enum { SLOW = 16, LANES = SLOW + 1, QUICK = SLOW, COST = 64, FDS_MAX = 253, LARGEST = 16 << 20 };

static char payload[LARGEST];

/* The deadline of calls that must succeed. */
static inline beam_deadline in_time(void)
{
	return beam_in_ms(stretch(8000));
}

#endif
