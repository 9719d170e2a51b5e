/* SPDX-License-Identifier: MIT */
/* Channels whose other end goes elsewhere: in a message (pair.c), to a program that is started
 * (spawn.c). */
#ifndef RELAY_PAIR_H
#define RELAY_PAIR_H

#include <beam/channel.h>

/* One end of a new pair as a channel, the other as a descriptor. */
int pair_make(beam_channel **ret, int *ret_fd, const struct beam_channel_options *options);

/* Returns the error. The other end is closed first: then the channel has nothing to linger for. */
int pair_give_up(beam_channel *channel, int fd, int error);

#endif
