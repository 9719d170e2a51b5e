/* SPDX-License-Identifier: MIT */
/*
 * Attachments are descriptors of this process, and all its channels share one descriptor table. If
 * the program has not said how many attachments a link may hold, the link borrows them here, for as
 * long as its peer uses them.
 *
 * A fifth of the descriptors that the process may have open is for attachments. The rest is for the
 * program, and for the channels themselves, which take up to four descriptors each. After a loan, a
 * link holds at most three times what is left for others. So one link can hold three quarters of
 * that fifth, the next one three quarters of the rest, and so on.
 */
#ifndef LINK_LENDING_H
#define LINK_LENDING_H

#include <stdbool.h>
#include <stdint.h>

/* The most attachments that one link of this process can hold. */
uint32_t lending_most(void);

/*
 * Lends up to `n` more attachments to a link that has `has` and whose socket is `fd`. Returns how
 * many were lent, which may be 0.
 */
uint32_t lending_take(int fd, uint32_t has, uint32_t n);

/*
 * Sets aside the number of attachments that the program has configured for a link, however many are
 * left.
 */
void lending_reserve(uint32_t n);

/* Returns `n` attachments that were lent or set aside. */
void lending_return(uint32_t n);

/*
 * lending_opened(): `n` of the attachments that are lent have been received. lending_closed(): `n`
 * of those have been settled.
 */
void lending_opened(uint32_t n);
void lending_closed(uint32_t n);

#endif
