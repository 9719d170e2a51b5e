/* SPDX-License-Identifier: MIT */
/*
 * The reaper: threads of the process that close descriptors whose close may last, because a peer chose them (a socket with
 * SO_LINGER, a file of a FUSE server) or because such descriptors may lie unread in them.
 *
 * A close is late after 10 ms. Nobody else waits longer for it, for another thread goes on with what waits. An account costs one
 * thread at most, however many of its closes are late, since they take place one after the other.
 */
#ifndef SOCKET_REAPER_H
#define SOCKET_REAPER_H

#include <base/list.h>
#include <beam/deadline.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Descriptors to be closed: fds[first] to fds[end - 1]. */
struct reaper_queue {
	int *fds;
	size_t first, end, capacity;
};

/*
 * Whose descriptors are closed, such as a channel's attachments. Its closes take place one after the other, and are reported. The
 * owner keeps it alive until all that it gave has been reported. It belongs to the process that made it: in a forked child what it is
 * given is closed, without a report, and the account is not touched.
 *
 * settled() is told how many descriptors have been closed. It is called without a lock of the reaper's by the thread that closed
 * them: one of the reaper's, or, if there was no memory or no thread, whoever gives something away at that time, for its own account
 * or another. So nobody calls the reaper with a lock that a settled() takes. Two calls for one account may overlap. The call that
 * reports the last may free the account: nobody touches it afterwards.
 */
struct reaper_account {
	/* All but settled() is the reaper's, under its lock. Linked while something waits and no thread has it in hand. */
	struct list link;
	struct reaper_queue queue;
	bool in_hand;
	uint32_t process;
	void (*settled)(struct reaper_account *account, size_t n);
};

void reaper_account_init(struct reaper_account *account, void (*settled)(struct reaper_account *account, size_t n));

/* Frees the memory of its queue. All that was given has been reported, or this is a forked child. */
void reaper_account_end(struct reaper_account *account);

/* Gives descriptors of an account away to be closed. Negative ones are passed over and not reported. Without memory or thread they
 * are closed here; else this never blocks. */
void reaper_close_for(struct reaper_account *account, const int *fds, size_t n);

/* The same for descriptors that are nobody's: sockets of channels and listeners, refused connections. None waits for another that is
 * late, until 64 of them are late at once: then the others wait for one of those. Accounts do not. */
void reaper_close(const int *fds, size_t n);

/* Waits until nothing is left to close and all is reported, for tests and the end of a listener; false at the deadline. It also
 * waits for closes that are late. */
bool reaper_drain(beam_deadline deadline);

#endif
