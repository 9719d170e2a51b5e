/* SPDX-License-Identifier: MIT */
/*
 * Who is at the other end of a connection, beyond its credentials: the kernel is asked each time,
 * nothing is kept. Of a socket pair the answers are about its creator: socket_credentials() tells
 * the two apart. Results are 0 or more, or -errno; -ENODATA: not known.
 */
#ifndef SOCKET_PEER_H
#define SOCKET_PEER_H

#include <stddef.h>
#include <sys/types.h>

/*
 * The supplementary groups: how many. With a `size` of 0 nothing is stored; -ERANGE:
 * there are more than `size`.
 */
int socket_peer_groups(int fd, gid_t *ret, size_t size);

/* A descriptor of the process, close-on-exec, the caller's. */
int socket_peer_pidfd(int fd);

/*
 * The label that the security module gives: its length, without the NUL that ends it in `ret`. With
 * a `size` of 0 nothing is stored, and the length may be one more; -ERANGE: it does not fit.
 */
int socket_peer_label(int fd, char *ret, size_t size);

#endif
