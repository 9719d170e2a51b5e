/* SPDX-License-Identifier: MIT */
/*
 * Checks what a fuzzed session writes, with a parser of its own: frames in an order that
 * docs/protocol.md allows, and descriptors only with the frame that carries them. Descriptors are
 * plain numbers. Each one is handed out once, and must be returned once.
 */
#ifndef FUZZ_SESSION_SAID_H
#define FUZZ_SESSION_SAID_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/* Starts again: nothing has been written, and no descriptor is handed out. */
void said_begin(void);

/* One write of the first `n` bytes of these buffers, with `n_fds` descriptors. */
void said(const struct iovec *iov, size_t n, unsigned n_fds);

/* The other side has made a call, so there may be replies. */
void said_asked(uint32_t call);

/*
 * The other side has sent a PING, so there may be an answer. Its HELLO says whether it lends
 * attachments.
 */
void said_pinged(void);
void said_lends(bool lends);

/*
 * Descriptors: makes a new one; takes some back, of which lost ones are negative; returns how many
 * are handed out, and how many can still be made.
 */
int fd_new(void);
void fds_close(const int *fds, size_t n);
int fds_out(void);
int fds_left(void);

#endif
