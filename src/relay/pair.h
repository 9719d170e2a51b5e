/* SPDX-License-Identifier: MIT */
/*
 * Channels whose other end goes elsewhere: into a message (pair.c), or to a program that is started
 * (spawn.c).
 */
#ifndef RELAY_PAIR_H
#define RELAY_PAIR_H

#include <beam/channel.h>

/* Makes a pair of sockets. Returns one end as a channel, the other as a descriptor. */
int pair_make(beam_channel **ret, int *ret_fd, const struct beam_channel_options *options);

/*
 * Closes both ends, and returns the error. The descriptor is closed first, so that the channel does
 * not linger.
 */
int pair_give_up(beam_channel *channel, int fd, int error);

#endif
