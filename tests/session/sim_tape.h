/* SPDX-License-Identifier: MIT */
/*
 * Every choice of a schedule, as a list of numbers: those that make the world, those of each turn,
 * those of the end. Played again it is the same schedule; with numbers taken out or made smaller it
 * is another, simpler one, for a turn that asks for more numbers than it has gets 0, and 0 is
 * always the least: nothing fails, nothing is split, as small as can be.
 *
 * Written down: "5 0 3, 0 945, 1 650 2. 7": commas before turns, a full stop before the end.
 */
#ifndef SESSION_SIM_TAPE_H
#define SESSION_SIM_TAPE_H

#include <harness/harness.h>

enum { TAPE_MAX = 1 << 20 };

/* What stands among the numbers before each turn, and before the end. */
#define TAPE_TURN UINT32_MAX
#define TAPE_END (UINT32_MAX - 1)

struct tape {
	/* Of the schedule that is recorded; how many turns it is to have still. */
	uint64_t schedule;
	struct rng rng;
	size_t turns_left;
	/* It is played, not recorded; as far as this. */
	bool played;
	size_t at;
	size_t n;
	uint32_t numbers[TAPE_MAX];
};

/* Zeroed memory for one, which the processes that are spawned share. */
struct tape *tape_new(void);
void tape_free(struct tape *tape);
void tape_record(struct tape *tape, uint64_t schedule);
void tape_play(struct tape *tape);
/* From 0 to n - 1. */
size_t tape_choose(struct tape *tape, size_t n);
/* The next turn begins: false if it is the end. */
bool tape_turn(struct tape *tape);

static inline bool tape_is_mark(uint32_t number)
{
	return number >= TAPE_END;
}

size_t tape_turns(const struct tape *tape);
void tape_copy(struct tape *to, const struct tape *from);
void tape_print(const struct tape *tape, FILE *to);
/* False if it is not a tape. */
bool tape_parse(struct tape *tape, const char *text);

/*
 * Makes a tape that fails smaller, until nothing smaller that is tried fails, or so much has been
 * tried. Returns how often.
 */
unsigned tape_shrink(struct tape *tape, bool (*fails)(struct tape *tape, void *argument), void *argument,
		     unsigned tries);

#endif
