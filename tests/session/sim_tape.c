/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <session/sim_tape.h>
#include <sys/mman.h>

struct tape *tape_new(void)
{
	struct tape *tape = mmap(NULL, sizeof *tape, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (tape == MAP_FAILED) {
		perror("a tape");
		exit(2);
	}
	return tape;
}

void tape_free(struct tape *tape)
{
	munmap(tape, sizeof *tape);
}

void tape_copy(struct tape *to, const struct tape *from)
{
	to->n = from->n;
	memcpy(to->numbers, from->numbers, from->n * sizeof *from->numbers);
}

/* ---- Choosing -------------------------------------------------------------------------------- */

void tape_record(struct tape *tape, uint64_t schedule)
{
	tape->schedule = schedule;
	tape->rng = rng_new(schedule);
	tape->played = false;
	tape->n = 0;
	/* Short schedules are as likely as long ones. */
	tape->turns_left = 20 + rng_below(&tape->rng, (size_t)1 << rng_below(&tape->rng, 13));
}

void tape_play(struct tape *tape)
{
	tape->played = true;
	tape->at = 0;
}

static void put(struct tape *tape, uint32_t number)
{
	require(tape->n < TAPE_MAX);
	tape->numbers[tape->n++] = number;
}

size_t tape_choose(struct tape *tape, size_t n)
{
	size_t number;

	if (n < 2)
		return 0;
	if (tape->played)
		return tape->at < tape->n && !tape_is_mark(tape->numbers[tape->at]) ? tape->numbers[tape->at++] % n : 0;
	number = rng_below(&tape->rng, n);
	put(tape, (uint32_t)number);
	return number;
}

bool tape_turn(struct tape *tape)
{
	if (!tape->played) {
		bool more = tape->turns_left > 0;

		tape->turns_left -= more;
		put(tape, more ? TAPE_TURN : TAPE_END);
		return more;
	}
	while (tape->at < tape->n && !tape_is_mark(tape->numbers[tape->at]))
		tape->at++;
	return tape->at < tape->n && tape->numbers[tape->at++] == TAPE_TURN;
}

size_t tape_turns(const struct tape *tape)
{
	size_t n = 0;

	for (size_t i = 0; i < tape->n; i++)
		n += tape->numbers[i] == TAPE_TURN;
	return n;
}

/* ---- As text --------------------------------------------------------------------------------- */

void tape_print(const struct tape *tape, FILE *to)
{
	for (size_t i = 0; i < tape->n; i++) {
		if (tape_is_mark(tape->numbers[i]))
			fputs(tape->numbers[i] == TAPE_TURN ? "," : ".", to);
		else
			fprintf(to, "%s%u", i ? " " : "", tape->numbers[i]);
	}
}

bool tape_parse(struct tape *tape, const char *text)
{
	tape->n = 0;
	while (tape->n < TAPE_MAX) {
		char *end;

		text += strspn(text, " \n");
		if (!*text)
			return true;
		if (*text == ',' || *text == '.') {
			tape->numbers[tape->n++] = *text++ == ',' ? TAPE_TURN : TAPE_END;
		} else {
			if (!isdigit((unsigned char)*text))
				return false;
			tape->numbers[tape->n++] = (uint32_t)strtoul(text, &end, 10);
			text = end;
		}
	}
	return false;
}
