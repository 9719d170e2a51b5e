/* SPDX-License-Identifier: MIT */
/*
 * The place of a socket in the file system. It is taken under a lock, and left as it was found.
 *
 * Whoever holds the lock on PATH.lock may replace or remove what is called PATH, if it is a socket
 * and nobody listens on it. The lock file is removed with the listener. So whoever has locked such
 * a file checks that it still has that name.
 *
 * The folder is looked up once and kept open. Everything that is done later is done in that folder,
 * whatever the working directory is by then, and whether or not the path still leads there.
 */
#ifndef LISTENER_PLACE_H
#define LISTENER_PLACE_H

#include <sys/stat.h>
#include <sys/types.h>

struct place {
	/*
	 * The folder, and the lock in it. -1: an abstract name, or a socket that was passed to the
	 * process.
	 */
	int folder, lock;
	/* The names of the socket's file and of the lock in the folder. */
	char *name, *lock_name;
	dev_t device;
	ino_t inode;
};

/* The place of a socket that has no file of ours. */
void place_none(struct place *place);

/*
 * Binds a stream socket to the address, and does not listen yet. The file gets the permissions in
 * `mode`. Returns the descriptor, or -errno, in which case nothing is left behind.
 */
int place_bind(struct place *place, const char *address, mode_t mode);

/*
 * Removes the socket's file if it is still ours, and releases the lock. The socket must still be
 * open, because no other file gets its inode number until it is closed.
 */
void place_leave(struct place *place);

#endif
