/* SPDX-License-Identifier: MIT */
/* How scenarios are swept by faults, all in this process. */
#ifndef CHANNEL_SWEEP_H
#define CHANNEL_SWEEP_H

#include <scenario/ledger.h>

/* After a scenario: nobody of the library's is on the way any more. */
void ledger_settle(void);

/*
 * All calls but epoll_wait(), whose number is another each time, with their likely errors, once and
 * sticky. How many there were.
 */
unsigned long sweep(void (*scenario)(void));
/* These calls with this error, once and, if it is not one that must pass, sticky. */
unsigned long sweep_error(void (*scenario)(void), uint64_t calls, int error, bool sticky);
/* These calls with this error once, which nobody may notice. */
unsigned long sweep_unnoticed(void (*scenario)(void), uint64_t calls, int error);
/*
 * What a sweep that is worth its name returns: `n`, but half of it with a checker,
 * where messages are smaller.
 */
unsigned long at_least(unsigned long n);

/*
 * Everything of that kind that a channel that stands can meet; and errors that do not pass, or not
 * for as long as they last.
 */
unsigned long sweep_passing(void (*scenario)(void));
unsigned long sweep_lasting(void (*scenario)(void));

#endif
