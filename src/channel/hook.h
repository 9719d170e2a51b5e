/* SPDX-License-Identifier: MIT */
/* What the rooms above may use of the channel, besides its public header. */
#ifndef CHANNEL_HOOK_H
#define CHANNEL_HOOK_H

#include <beam/channel.h>

/*
 * `ended` is called once, when the channel no longer uses its socket. The call comes from any
 * thread of the process that made the channel, with no lock held. There is no call in a forked
 * child, nor if the process ends first.
 */
struct channel_hook {
	void (*ended)(void *argument);
	void *argument;
};

/* beam_channel_from_fd() with a hook. The hook is not called if the function fails. */
int channel_new_with_hook(beam_channel **ret, int fd, const struct beam_channel_options *options,
			  struct channel_hook hook);

/*
 * Copies the caller's options over the defaults, and checks them. `options` may be NULL, or have
 * another size than here. Returns 0 or -errno.
 */
int channel_take_options(struct beam_channel_options *ret, const struct beam_channel_options *options);

#endif
