/* SPDX-License-Identifier: MIT */
/*
 * The place of a socket in the file system: taken under a lock, left as it was found.
 *
 * Whoever holds the lock on PATH.lock may replace or remove what is called PATH, if it is a socket
 * and nobody listens on it. The lock file goes with the listener; so whoever has locked one looks
 * whether it is still the one of that name.
 *
 * The folder is looked up once and kept open. All that is done later is done in that folder,
 * whatever the working directory is by then, and whether or not the path still leads there.
 */
#ifndef LISTENER_PLACE_H
#define LISTENER_PLACE_H

#include <sys/stat.h>
#include <sys/types.h>

struct place {
	/*
	 * The folder and the lock in it, -1: an abstract name, or a socket that came with its
	 * place.
	 */
	int folder, lock;
	/* The names in the folder of the socket's file and that of the lock. */
	char *name, *lock_name;
	dev_t device;
	ino_t inode;
};

/* A socket that is not in any place of ours. */
void place_none(struct place *place);

/*
 * A stream socket bound to the address, not yet listening: its descriptor, or -errno with nothing
 * left. The file has these permissions.
 */
int place_bind(struct place *place, const char *address, mode_t mode);

/*
 * Removes the socket's file if it is ours still, and lets go of the lock. While the socket is open:
 * its inode's number is not given to another file as long.
 */
void place_leave(struct place *place);

#endif
