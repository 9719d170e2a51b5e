/* SPDX-License-Identifier: MIT */
/*
 * What a fuzzed session says, judged by an ear of its own: frames, in an order that
 * docs/protocol.md allows, the first of a write carrying the descriptors that went with it. And
 * descriptors, which are numbers, each given out once and to come back once.
 */
#ifndef FUZZ_SESSION_SAID_H
#define FUZZ_SESSION_SAID_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/* Nothing has been said, and no descriptor is out. */
void said_begin(void);

/* One write, of `n` bytes of these, with so many descriptors. */
void said(const struct iovec *iov, size_t n, unsigned n_fds);

/* The other side has called: there may be replies. */
void said_asked(uint32_t call);

/*
 * It has asked whether anybody is there: there may be an answer. Its HELLO says
 * whether it lends attachments.
 */
void said_pinged(void);
void said_lends(bool lends);

/*
 * Descriptors: a new one; some that come back, of which those that were lost are negative; how many
 * are out, and can still be made.
 */
int fd_new(void);
void fds_close(const int *fds, size_t n);
int fds_out(void);
int fds_left(void);

#endif
