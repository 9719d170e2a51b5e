/* SPDX-License-Identifier: MIT */
/*
 * What tests of the receiving half begin with: a speech, to which tests add, and an ear that
 * listens to it.
 */
#ifndef SESSION_LISTEN_H
#define SESSION_LISTEN_H

#include <session/ear.h>
#include <wire/breach.h>

extern struct speech speech;
extern struct ear ear;
extern struct hearing hearing;

/* Begins a speech with HELLO and OPEN of topic 1, "log". */
void listen_begin_with(const struct limits *limits);
void listen_begin(void);
void listen_end(void);

/* Reads what has been added to the speech. Returns 0, or the error that ended it. */
int listen_on(void);
/*
 * Does the same, and returns the events since the last call, followed by the rule if one was
 * broken.
 */
const char *news(void);

#endif
