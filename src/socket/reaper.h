/* SPDX-License-Identifier: MIT */
/*
 * The reaper: threads of the process that close descriptors whose close may last, because a peer
 * chose them (a socket with SO_LINGER, a file of a FUSE server) or because such descriptors may lie
 * unread in them.
 *
 * A close is late after 10 ms. Then another thread goes on with what waits for others. An account
 * costs one thread at most, however many of its closes are late, because they take place one after
 * the other. Without late closes there are at most two threads: one closes, and one watches it.
 * They end when there has been nothing to close for 100 ms.
 *
 * What waits to be closed is not bounded here. Owners bound it by what they accept.
 */
#ifndef SOCKET_REAPER_H
#define SOCKET_REAPER_H

#include <base/list.h>
#include <beam/deadline.h>
#include <socket/fd_queue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Whose descriptors are closed, such as those that came over a channel. The closes of an account
 * take place one after the other, and are reported to it. The owner keeps the account alive until
 * all that it gave has been reported. An account belongs to the process that made it: in a forked
 * child the descriptors that it is given are closed, but the account is not touched and nothing is
 * reported.
 *
 * settled() tells how many descriptors have been closed. All that were closed together are reported
 * by one call. The call that reports the last one may free the account.
 *  - It comes from the thread that closed them, which holds no lock of the reaper. Usually that is
 *    a thread of the reaper. Without memory or thread it is whoever gives descriptors away at the
 *    time, for this account or another. So nobody holds a lock that any settled() takes when
 *    calling reaper_close() or reaper_close_for().
 *  - Two calls for one account may overlap, so an owner counts under a lock or by atomics.
 *  - It counts as part of the close: while it waits for a lock the account's other closes wait.
 */
struct reaper_account {
	/* All but settled() is the reaper's, under its lock. */
	struct list link; /* among the accounts that wait for a turn */
	struct fd_queue queue;
	bool in_hand; /* a thread closes for it */
	uint32_t process;
	void (*settled)(struct reaper_account *account, size_t n);
};

void reaper_account_init(struct reaper_account *account, void (*settled)(struct reaper_account *account, size_t n));

/* Frees the memory of its queue. All that it was given has been reported, or this is a child. */
void reaper_account_end(struct reaper_account *account);

/* Gives descriptors of an account away to be closed. Negative ones are passed over, and not
 * reported. Without memory or thread they are closed here; otherwise this does not block. */
void reaper_close_for(struct reaper_account *account, const int *fds, size_t n);

/* The same for independent descriptors, which belong to no account: sockets of channels and
 * listeners, refused connections. None of them waits for another that is late. Each late one costs
 * a thread, and 64 may be late at once. When they are, further independent ones wait until one of
 * those is closed; accounts go on. */
void reaper_close(const int *fds, size_t n);

/* Waits until all that is not late is closed and reported, for who needs descriptors or addresses
 * to be free soon; false at the deadline. */
bool reaper_drain_prompt(beam_deadline deadline);

/* The same with what is late. For tests. */
bool reaper_drain(beam_deadline deadline);

#endif
