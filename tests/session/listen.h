/* SPDX-License-Identifier: MIT */
/*
 * What tests of the receiving half begin with: a speech that is added to, and an ear that
 * has heard the first of it.
 */
#ifndef SESSION_LISTEN_H
#define SESSION_LISTEN_H

#include <session/ear.h>
#include <wire/breach.h>

extern struct speech speech;
extern struct ear ear;
extern struct hearing hearing;

/* HELLO and topic 1, "log", are said. */
void listen_begin_with(const struct limits *limits);
void listen_begin(void);
void listen_end(void);

/* Hears what has been added to the speech: 0, or the error that ended it. */
int listen_on(void);
/* The same, and what it was since the last time, with the rule that was broken if one was. */
const char *news(void);

#endif
