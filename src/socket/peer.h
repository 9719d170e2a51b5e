/* SPDX-License-Identifier: MIT */
/*
 * Who the peer of a connection is, beyond its credentials. The kernel is asked each time, and
 * nothing is stored. For a socket pair the answers describe its creator; socket_credentials()
 * distinguishes the two cases. Results are 0 or more, or -errno. -ENODATA means that the answer is
 * not known.
 */
#ifndef SOCKET_PEER_H
#define SOCKET_PEER_H

#include <stddef.h>
#include <sys/types.h>

/*
 * Stores the supplementary groups, and returns how many there are. If `size` is 0, nothing is
 * stored. -ERANGE: there are more than `size`.
 */
int socket_peer_groups(int fd, gid_t *ret, size_t size);

/* Returns a pidfd of the process. It is close-on-exec and belongs to the caller. */
int socket_peer_pidfd(int fd);

/*
 * Stores the label that the security module assigns, with a NUL behind it, and returns its length
 * without the NUL. If `size` is 0, nothing is stored, and the result may include the NUL. -ERANGE:
 * it does not fit.
 */
int socket_peer_label(int fd, char *ret, size_t size);

#endif
