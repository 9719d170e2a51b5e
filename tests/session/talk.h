/* SPDX-License-Identifier: MIT */
/*
 * What tests of the sending half begin with: a mouth that has said HELLO, two open topics,
 * and an ear for what it says.
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
 * Listens to all that was said, as the other side would: what it heard, or the rule it found
 * broken.
 */
const char *heard(void);

/* A writer's frame that is a whole message, charged. One of four that are used in turn. */
struct tx_own *own_frame(struct outlet *outlet, const char *text, unsigned n_fds);

/* A message that is to be sent, which does not stand in the line yet. */
struct tx_claim claim_of(size_t size, size_t n_fds, bool large);
/* tx_charge() of the mouth's. */
int try_claim(struct outlet *outlet, struct tx_claim *claim);
/* One try, and its place given up; what a try changed but for the charge is taken back. */
int try_charge(struct outlet *outlet, size_t size, size_t n_fds, uint32_t *ret_overdraft);

#endif
