/* SPDX-License-Identifier: MIT */
/*
 * Attachments are descriptors of this process, and all its channels share one table of them. A
 * link whose program has not said how many attachments it may hold borrows them here, for as
 * long as its peer uses them.
 *
 * A fifth of what the process may have open is for attachments: channels themselves take up to four
 * descriptors each, and the rest is the program's. A link may have no more than three times what is
 * left for others. So one link can have three quarters, and with k channels that have as much as
 * they can, 1/(3k + 1) is left for the next one.
 */
#ifndef LINK_LENDING_H
#define LINK_LENDING_H

#include <stdbool.h>
#include <stdint.h>

/* The most that one link of this process can have. */
uint32_t lending_most(void);

/*
 * Lends up to `n` more to a link that has `has`, and whose socket is `fd`; returns
 * how many, which may be 0.
 */
uint32_t lending_take(int fd, uint32_t has, uint32_t n);

/* The program has said how many a link may have: they are set aside, whatever is left. */
void lending_reserve(uint32_t n);

/* So many are not lent any more. */
void lending_return(uint32_t n);

/* So many of those that are lent are open now, or are not any more. */
void lending_opened(uint32_t n);
void lending_closed(uint32_t n);

#endif
