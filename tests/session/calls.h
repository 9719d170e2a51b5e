/* SPDX-License-Identifier: MIT */
/* Calls that tests make, take, and reply to. */
#ifndef SESSION_CALLS_H
#define SESSION_CALLS_H

#include <session/talk.h>

/* A call of the other side whose request has arrived. */
static inline void take(struct outlet *call, uint32_t id)
{
	require_int(tx_open_replies(&mouth.tx, call, id), 0);
	tx_asked(&mouth.tx, call);
}

/* Charges a reply of one frame and builds the frame. */
static inline void reply(struct tx_own *own, struct outlet *call, const char *text, uint8_t flags, unsigned n_fds)
{
	mouth_charge(&mouth, call, strlen(text), n_fds);
	mouth_frame(own, call, flags, text, strlen(text), fds, n_fds);
}

/* The kernel refuses the descriptor of the first frame in the buffer that has one. */
static inline void refuse_first(void)
{
	int spent[TX_FDS];
	unsigned n = 0;

	for (int i = 0; i < 3 && !n; i++) {
		require(tx_batch(&mouth.tx, NULL));
		check(!tx_refused(&mouth.tx, NULL, -EPERM, spent, &n));
	}
	check_int(n, 1);
}

#endif
