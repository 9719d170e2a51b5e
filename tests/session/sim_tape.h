/* SPDX-License-Identifier: MIT */
/*
 * All choices of a schedule as a list of numbers: those that make the world, those of each turn,
 * and those of the end. Played again, they make the same schedule. If numbers are removed or made
 * smaller, they make another, simpler schedule: a turn that asks for more numbers than it has gets
 * 0, and 0 is always the simplest choice (nothing fails, nothing is split, sizes are smallest).
 *
 * As text: "5 0 3, 0 945, 1 650 2. 7", with a comma before each turn and a full stop before the
 * end.
 */
#ifndef SESSION_SIM_TAPE_H
#define SESSION_SIM_TAPE_H

#include <harness/harness.h>

enum { TAPE_MAX = 1 << 20 };

/* Marks among the numbers, before each turn and before the end. */
#define TAPE_TURN UINT32_MAX
#define TAPE_END (UINT32_MAX - 1)

struct tape {
	/* The schedule that is recorded, and how many turns it is still to have. */
	uint64_t schedule;
	struct rng rng;
	size_t turns_left;
	/* Whether the tape is played or recorded, and how far it has been played. */
	bool played;
	size_t at;
	size_t n;
	uint32_t numbers[TAPE_MAX];
};

/* Zeroed memory for a tape, which is shared with child processes. */
struct tape *tape_new(void);
void tape_free(struct tape *tape);
void tape_record(struct tape *tape, uint64_t schedule);
void tape_play(struct tape *tape);
/* Chooses from 0 to n - 1. */
size_t tape_choose(struct tape *tape, size_t n);
/* Begins the next turn. Returns false if the end comes instead. */
bool tape_turn(struct tape *tape);

static inline bool tape_is_mark(uint32_t number)
{
	return number >= TAPE_END;
}

size_t tape_turns(const struct tape *tape);
void tape_copy(struct tape *to, const struct tape *from);
void tape_print(const struct tape *tape, FILE *to);
/* Returns false if the text is not a tape. */
bool tape_parse(struct tape *tape, const char *text);

/*
 * Makes a tape that fails smaller, until nothing smaller that is tried fails, or `tries` tries have
 * been made. Returns the number of tries.
 */
unsigned tape_shrink(struct tape *tape, bool (*fails)(struct tape *tape, void *argument), void *argument,
		     unsigned tries);

#endif
