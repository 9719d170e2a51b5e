/* SPDX-License-Identifier: MIT */
/*
 * The reaper: threads of the process that close descriptors whose close may block. Either a peer
 * chose them (a socket with SO_LINGER, a file of a FUSE server), or they are sockets in which such
 * descriptors may be unread.
 *
 * A close that takes longer than 10 ms is late. Then another thread continues with the other
 * accounts and descriptors. An account costs at most one thread, however many of its closes are
 * late, because they take place one after the other. Without late closes there are at most two
 * threads: one closes, and one watches it. They end when there has been nothing to close for 100
 * ms.
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
 * Stands for an owner of descriptors, such as a channel that received them. The closes of an
 * account take place one after the other, and are reported to it. The owner keeps the account alive
 * until everything that it gave away has been reported. An account belongs to the process that made
 * it. In a forked child, descriptors that are given away for it are closed, but the account is not
 * touched and nothing is reported.
 *
 * settled() reports how many descriptors have been closed. All that were closed together are
 * reported by one call. The call that reports the last one may free the account.
 *  - It is called by the thread that closed them, with no lock of the reaper held. Usually that is
 *    a thread of the reaper. If there is no memory or no thread, it is the thread that is giving
 *    descriptors away, for this account or another. So callers of reaper_close() and
 *    reaper_close_for() must not hold a lock that any settled() takes.
 *  - Two calls for one account may overlap, so owners must count under a lock or with atomics.
 *  - It counts as part of the close: while it waits for a lock the account's other closes wait.
 */
struct reaper_account {
	/* Everything except settled() belongs to the reaper, and is guarded by its lock. */
	struct list link; /* among the accounts that wait for a turn */
	struct fd_queue queue;
	bool in_hand; /* a thread closes for it */
	uint32_t process;
	void (*settled)(struct reaper_account *account, size_t n);
};

void reaper_account_init(struct reaper_account *account, void (*settled)(struct reaper_account *account, size_t n));

/*
 * Frees the memory of the account's queue. Everything that was given away for it must have been
 * reported, except in a forked child.
 */
void reaper_account_end(struct reaper_account *account);

/*
 * Gives away descriptors of an account, to be closed. Negative ones are skipped, and not reported.
 * If there is no memory or no thread, this call closes them. Otherwise it does not block.
 */
void reaper_close_for(struct reaper_account *account, const int *fds, size_t n);

/*
 * The same for independent descriptors, which belong to no account: sockets of channels and
 * listeners, refused connections. Each late one costs a thread, so that the others need not wait
 * for it. Up to 64 may be late at once. Then further independent ones wait until one of those is
 * closed. Accounts do not wait for them.
 */
void reaper_close(const int *fds, size_t n);

/*
 * Waits until everything that is not late has been closed and reported. For callers that need
 * descriptors or addresses to be free soon. Returns false at the deadline.
 */
bool reaper_drain_prompt(beam_deadline deadline);

/* The same, including what is late. For tests. */
bool reaper_drain(beam_deadline deadline);

#endif
