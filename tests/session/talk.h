/* SPDX-License-Identifier: MIT */
/*
 * What tests of the sending half begin with: a mouth that has sent HELLO, two open topics, and an
 * ear that reads what the mouth sends.
 */
#ifndef SESSION_TALK_H
#define SESSION_TALK_H

#include <session/ear.h>
#include <session/mouth.h>

extern struct mouth mouth;
/* Their ids are 1 and 2. */
extern struct outlet a, b;
extern const int fds[FRAME_CARRIED_MAX];

void talk_begin(void);
void talk_end(void);

/*
 * Reads everything that was sent, as the other side would. Returns the events, and the rule that
 * was broken, if any.
 */
const char *heard(void);

/*
 * A writer's frame that is a whole message, charged. There are four of them, which are used in
 * turn.
 */
struct tx_own *own_frame(struct outlet *outlet, const char *text, unsigned n_fds);

/* A claim for a message. It does not stand in the line yet. */
struct tx_claim claim_of(size_t size, size_t n_fds, bool large);
/* Calls tx_charge() of the mouth. */
int try_claim(struct outlet *outlet, struct tx_claim *claim);
/* Tries to charge a message once, and leaves the line again. */
int try_charge(struct outlet *outlet, size_t size, size_t n_fds, uint32_t *ret_overdraft);

#endif
