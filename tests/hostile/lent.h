/* SPDX-License-Identifier: MIT */
/* How many descriptors a process lends, measured by what a new channel is granted. */
#ifndef HOSTILE_LENT_H
#define HOSTILE_LENT_H

#include <beam/pair.h>
#include <hostile/lingering.h>
#include <public/ends.h>
#include <public/table.h>

enum { TABLE = 1024 };

static inline uint32_t granted_to_a_new_channel(void)
{
	beam_channel *channels[2];
	struct beam_limits limits = {0};

	require_int(beam_channel_pair(&channels[0], &channels[1], NULL), 0);
	check_int(beam_channel_limits(channels[0], &limits, sizeof limits, soon()), 0);
	for (int i = 0; i < 2; i++)
		beam_channel_unref(channels[i]);
	return limits.attachments;
}

#endif
