/* SPDX-License-Identifier: MIT */
/*
 * How a schedule that fails is made smaller. First, turns are left out, many at once and then
 * fewer. Next, numbers are made 0, or as small as possible. Both are repeated, because each makes
 * room for the other. Finally, two turns are left out at once. A change is kept if the schedule
 * still fails.
 */
#include <session/sim_tape.h>

/* Pairs of turns are tried only if there are no more turns than this. */
enum { PAIRS_OF = 32 };

struct shrinking {
	struct tape *tape, *trial;
	bool (*fails)(struct tape *tape, void *argument);
	void *argument;
	unsigned tried, most;
	bool smaller;
};

/* Plays the trial, which replaces the tape if it fails as well. */
static bool try(struct shrinking *s)
{
	if (s->tried >= s->most)
		return false;
	s->tried++;
	tape_play(s->trial);
	if (!s->fails(s->trial, s->argument))
		return false;
	tape_copy(s->tape, s->trial);
	return s->smaller = true;
}

/*
 * Where turn `number` begins, with its mark. If there are not as many turns: where the end begins,
 * or the size of the tape.
 */
static size_t place_of(const struct tape *tape, size_t number)
{
	size_t i = 0;

	while (i < tape->n && tape->numbers[i] != TAPE_END && !(tape->numbers[i] == TAPE_TURN && !number--))
		i++;
	return i;
}

static void cut(struct tape *tape, size_t from, size_t to)
{
	memmove(tape->numbers + from, tape->numbers + to, (tape->n - to) * sizeof *tape->numbers);
	tape->n -= to - from;
}

/* Tries it without `some` turns, from turn `at` on. */
static bool try_without(struct shrinking *s, size_t at, size_t some)
{
	tape_copy(s->trial, s->tape);
	cut(s->trial, place_of(s->tape, at), place_of(s->tape, at + some));
	return try(s);
}

static void leave_out_turns(struct shrinking *s)
{
	for (size_t some = tape_turns(s->tape); some; some /= 2) {
		size_t at = 0;

		while (at < tape_turns(s->tape) && s->tried < s->most) {
			if (!try_without(s, at, some))
				at += some;
		}
	}
}

/* One turn may be needed only because of another. */
static void leave_out_pairs(struct shrinking *s)
{
	for (size_t first = 0; first < tape_turns(s->tape) && tape_turns(s->tape) <= PAIRS_OF; first++) {
		for (size_t second = first + 1; second < tape_turns(s->tape) && s->tried < s->most; second++) {
			tape_copy(s->trial, s->tape);
			cut(s->trial, place_of(s->tape, second), place_of(s->tape, second + 1));
			cut(s->trial, place_of(s->tape, first), place_of(s->tape, first + 1));
			try(s);
		}
	}
}

static void make_zero(struct shrinking *s)
{
	size_t from = 0, to;

	for (; from < s->tape->n; from = to + 1) {
		bool any = false;

		for (to = from; to < s->tape->n && !tape_is_mark(s->tape->numbers[to]); to++)
			any |= s->tape->numbers[to] != 0;
		tape_copy(s->trial, s->tape);
		memset(s->trial->numbers + from, 0, (to - from) * sizeof *s->trial->numbers);
		if (any)
			try(s);
	}
}

static bool try_number(struct shrinking *s, size_t at, uint32_t number)
{
	tape_copy(s->trial, s->tape);
	s->trial->numbers[at] = number;
	return try(s);
}

static void make_less(struct shrinking *s)
{
	for (size_t i = 0; i < s->tape->n; i++) {
		uint32_t low = 0;

		if (tape_is_mark(s->tape->numbers[i]) || !s->tape->numbers[i] || try_number(s, i, 0))
			continue;
		/* With `low` it does not fail. */
		while (s->tape->numbers[i] - low > 1 && s->tried < s->most) {
			uint32_t middle = low + (s->tape->numbers[i] - low) / 2;

			if (!try_number(s, i, middle))
				low = middle;
		}
	}
}

/* Drops zeros before a mark, because a turn gets zeros anyway when its numbers are used up. */
static void drop_zeros(struct tape *tape)
{
	size_t n = 0;

	for (size_t i = 0; i < tape->n; i++) {
		while (tape_is_mark(tape->numbers[i]) && n && !tape->numbers[n - 1])
			n--;
		tape->numbers[n++] = tape->numbers[i];
	}
	while (n && !tape->numbers[n - 1])
		n--;
	tape->n = n;
}

unsigned tape_shrink(struct tape *tape, bool (*fails)(struct tape *tape, void *argument), void *argument,
		     unsigned tries)
{
	struct shrinking s = {.tape = tape, .trial = tape_new(), .fails = fails, .argument = argument, .most = tries};

	do {
		s.smaller = false;
		leave_out_turns(&s);
		make_zero(&s);
		make_less(&s);
		drop_zeros(tape);
		if (!s.smaller)
			leave_out_pairs(&s);
	} while (s.smaller && s.tried < s.most);
	tape_free(s.trial);
	return s.tried;
}
