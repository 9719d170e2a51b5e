/* SPDX-License-Identifier: MIT */
/* Sweeps over scenarios with faults, all in this process. */
#ifndef CHANNEL_SWEEP_H
#define CHANNEL_SWEEP_H

#include <scenario/ledger.h>

/* To be called after a scenario: waits until no thread of the library is busy. */
void ledger_settle(void);

/*
 * Fails all calls except epoll_wait(), whose number varies, with their likely errors, once and
 * sticky. Returns how many calls there were.
 */
unsigned long sweep(void (*scenario)(void));
/* Fails these calls with this error, once and, if `sticky`, also sticky. */
unsigned long sweep_error(void (*scenario)(void), uint64_t calls, int error, bool sticky);
/* Fails these calls with this error, once. Nobody may notice it. */
unsigned long sweep_unnoticed(void (*scenario)(void), uint64_t calls, int error);
/*
 * What a useful sweep returns at least: `n`, or half of it with a checker, where messages are
 * smaller.
 */
unsigned long at_least(unsigned long n);

/*
 * The first fails calls with all temporary errors that an existing channel can meet, the second
 * with errors that are permanent or last for the rest of the run.
 */
unsigned long sweep_passing(void (*scenario)(void));
unsigned long sweep_lasting(void (*scenario)(void));

#endif
