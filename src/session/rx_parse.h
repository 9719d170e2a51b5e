/* SPDX-License-Identifier: MIT */
/*
 * What the files of the receiving half share.
 */
#ifndef SESSION_RX_PARSE_H
#define SESSION_RX_PARSE_H

#include <session/rx.h>
#include <wire/breach.h>

/*
 * The payload of an incomplete frame is read straight into its message if the frame's body has at
 * least this size.
 */
enum { RX_DIRECT_MIN = 4096 };

/*
 * The other side broke a rule, or there is no memory, so rx takes nothing more. Both return
 * rx->error.
 */
int rx_breach(struct rx *rx, const char *rule);
int rx_out_of_memory(struct rx *rx);
/* Discards a message that will not be completed. */
void rx_discard_message(struct rx *rx, struct beam_message *message);

static inline struct inlet *rx_find_inlet(struct rx *rx, uint32_t id)
{
	return id >= 1 && id <= rx->capacity_inlets ? rx->inlets[id] : NULL;
}

/* Returns the open inlet that a frame is for, or NULL after a breach. */
static inline struct inlet *rx_open_inlet(struct rx *rx, uint32_t id)
{
	struct inlet *inlet = rx_find_inlet(rx, id);

	/* If it is closed and its RESET was sent, the id is free. */
	if (!inlet ||
	    (inlet->state == INLET_CLOSED && atomic_load_explicit(&inlet->reset_sent, memory_order_acquire))) {
		rx_breach(rx, BREACH_TOPIC_ID);
		return NULL;
	}
	if (inlet->state == INLET_CLOSED) {
		rx_breach(rx, BREACH_CLOSED);
		return NULL;
	}
	return inlet;
}

/* Reports what has arrived on an inlet. */
static inline void rx_flush(struct rx *rx, struct inlet *inlet)
{
	list_remove(&inlet->touched);
	if (inlet->arrived.n)
		rx->events->messages(rx->owner, inlet, &inlet->arrived);
}

/* Frames that carry no message. Each function returns 0 or rx->error. */
int rx_take_hello(struct rx *rx, const unsigned char *body);
int rx_take_open(struct rx *rx, const unsigned char *body);
int rx_take_close(struct rx *rx);
int rx_take_credit(struct rx *rx, const unsigned char *body);
int rx_take_return(struct rx *rx);
int rx_take_reset(struct rx *rx);
int rx_take_goodbye(struct rx *rx);

#endif
