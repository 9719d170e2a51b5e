/* SPDX-License-Identifier: MIT */
/*
 * What happens in a simulation to messages and their descriptors: they are closed, settled, or
 * dropped.
 */
#ifndef SESSION_SIM_MESSAGES_H
#define SESSION_SIM_MESSAGES_H

#include <session/sim.h>

static inline void settled(struct sim_side *side, size_t n)
{
	require(side->charged >= n);
	side->charged -= n;
	side->gone_fds += n;
	if (!side->sim->ending)
		tx_settled(&side->tx, (uint32_t)n);
	side->sim->moved |= n > 0;
}

/* Closes a descriptor that was charged. The close may never end. */
static inline void close_charged(struct sim_side *side, int fd)
{
	if (!sim_breaks(side->sim, SIM_BREAK_LEAK))
		sim_fd_close(side, fd);
	if (!side->sim->ending && side->sticky && sim_chance(side->sim, 10)) {
		sim_event(side, SIM_STUCK, "closes a descriptor, and that does not end");
		side->n_stuck++;
		return;
	}
	settled(side, 1);
}

static inline void close_all_charged(struct sim_side *side, const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (fds[i] >= 0)
			close_charged(side, fds[i]);
	}
}

static inline void free_message(struct sim_side *side, struct beam_message *message)
{
	close_all_charged(side, message->fds, message->n_fds);
	message_free_shell(message);
}

static inline void throw_away(struct sim_side *side, struct beam_message *message)
{
	tx_return_pool(&side->tx, message->overdraft);
	side->gone_overdraft += message->overdraft;
	free_message(side, message);
}

static inline void inlet_done(struct sim_side *side, struct inlet *inlet)
{
	tx_reset_inlet(&side->tx, inlet, RESET_DONE);
}

#endif
