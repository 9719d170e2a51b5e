/* SPDX-License-Identifier: MIT */
/* What rooms above may use of the channel besides its public header. */
#ifndef CHANNEL_HOOK_H
#define CHANNEL_HOOK_H

#include <beam/channel.h>

/*
 * Told once, when the channel has let go of its socket for good: by any thread of the process that
 * made it, with no lock held. Not in a forked child, and not if the process ends first.
 */
struct channel_hook {
	void (*ended)(void *argument);
	void *argument;
};

/* beam_channel_from_fd() with a hook, which is not called if it fails. */
int channel_new_with_hook(beam_channel **ret, int fd, const struct beam_channel_options *options,
			  struct channel_hook hook);

/* The caller's options, of whatever size its struct has or NULL, over the defaults; checked. */
int channel_take_options(struct beam_channel_options *ret, const struct beam_channel_options *options);

#endif
