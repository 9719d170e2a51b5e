/* SPDX-License-Identifier: MIT */
/* A player of golden transcripts: the text of a transcript, and what the side under test reads. */
#ifndef SESSION_GOLDEN_PLAYER_H
#define SESSION_GOLDEN_PLAYER_H

#include <ctype.h>
#include <session/ear.h>
#include <session/mouth.h>

enum { LINE = 1 << 16, OUTLETS = 80, MESSAGES = 64, WAYS = 14, FRAME_TIME_MS = 30000, HOLD_TIME_MS = 5000 };

/* A message that was submitted and waits for credit. */
struct waiting {
	struct outlet *outlet;
	/* The call, if the message is one. */
	struct inlet *call;
	uint8_t flags;
	unsigned char *payload;
	size_t size;
	unsigned n_fds;
};

struct player {
	const char *file, *title;
	struct mouth mouth;
	struct ear ear;
	struct speech speech;
	struct hearing hearing;
	/*
	 * How the transcript is read. -1: each send in one read; 0: byte by byte; otherwise a seed.
	 */
	int way;
	struct rng rng;
	char *expected;
	size_t expected_size;
	struct outlet outlets[OUTLETS];
	char names[OUTLETS][16];
	size_t n_outlets;
	struct waiting waiting[MESSAGES];
	size_t n_waiting;
	/* The calls of the side under test, by id. */
	struct inlet calls[EAR_CALLS + 1];
	bool goodbye;
	/* Time-outs, as in the channel's thread. */
	uint64_t now, stalled_until, stalled_frame;
	bool timed_out;
};

/* ---- The text -------------------------------------------------------------------------------- */

struct words {
	char *at[1024];
	size_t n;
};

static inline void split(struct words *words, char *line)
{
	char *rest = line, *word;

	words->n = 0;
	while ((word = strtok_r(rest, " \n", &rest))) {
		require(words->n < sizeof words->at / sizeof *words->at);
		words->at[words->n++] = word;
	}
}

static inline unsigned nibble(char c)
{
	require(isxdigit((unsigned char)c));
	return (unsigned)(isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10);
}

/*
 * Decodes the BYTES that begin at word `from`, and end before a word with a '='. The result is to
 * be freed.
 */
static inline unsigned char *bytes_of(const struct words *words, size_t from, size_t *ret_size)
{
	unsigned char *bytes = malloc(1 << 17);
	size_t digits = 0;

	require(bytes != NULL);
	for (size_t i = from; i < words->n && !strchr(words->at[i], '='); i++) {
		const char *word = words->at[i], *star = strchr(word, '*');

		if (star) {
			size_t n = strtoul(star + 1, NULL, 10);

			require(digits % 2 == 0 && digits / 2 + n <= 1 << 17);
			memset(bytes + digits / 2, (int)(nibble(word[0]) << 4 | nibble(word[1])), n);
			digits += 2 * n;
			continue;
		}
		for (; *word; word++, digits++) {
			if (digits % 2)
				bytes[digits / 2] = (unsigned char)(bytes[digits / 2] | nibble(*word));
			else
				bytes[digits / 2] = (unsigned char)(nibble(*word) << 4);
		}
	}
	require(digits % 2 == 0);
	*ret_size = digits / 2;
	return bytes;
}

/* The value of "name=N" among the words, or 0. */
static inline unsigned option_of(const struct words *words, const char *name)
{
	size_t size = strlen(name);

	for (size_t i = 0; i < words->n; i++) {
		if (strncmp(words->at[i], name, size) == 0 && words->at[i][size] == '=')
			return (unsigned)strtoul(words->at[i] + size + 1, NULL, 10);
	}
	return 0;
}

static inline uint32_t number(const struct words *words, size_t i)
{
	require(i < words->n);
	return (uint32_t)strtoul(words->at[i], NULL, 10);
}

/* ---- Reading --------------------------------------------------------------------------------- */

static inline size_t next_read(struct player *player)
{
	static const size_t sizes[] = {1, 3, 8, 15, 16, 17, 24, 100, 70000};

	if (player->way == 0)
		return 1;
	if (player->way > 0)
		return sizes[rng_below(&player->rng, sizeof sizes / sizeof *sizes)];
	for (size_t i = 0; i < player->speech.n_sayings; i++) {
		if (player->speech.sayings[i].at > player->hearing.at)
			return player->speech.sayings[i].at - player->hearing.at;
	}
	return SIZE_MAX;
}

/* Reads everything that was sent, and compares the events with the expected ones. */
static inline void settle(struct player *player)
{
	while (ear_read(&player->ear, &player->hearing, next_read(player)) == 0)
		;
	if (!check_string(events_sorted(ear_text(&player->ear)), events_sorted(player->expected)))
		fail("after byte %zu", player->hearing.at);
	ear_forget(&player->ear);
	player->expected_size = 0;
	*player->expected = 0;
}

static inline void no_breach(struct player *player)
{
	check_string(ear_rule(&player->ear), "");
	check_int(player->ear.rx.error, 0);
}

static inline void on_send(struct player *player, const struct words *words)
{
	size_t size;
	unsigned char *bytes = bytes_of(words, 1, &size);

	speech_send_fds(&player->speech, option_of(words, "fds"), option_of(words, "lost"));
	speech_put(&player->speech, bytes, size);
	free(bytes);
}

static inline void expect(struct player *player, const char *line)
{
	size_t size = strlen(line);

	require(player->expected_size + size + 2 <= LINE);
	memcpy(player->expected + player->expected_size, line, size);
	player->expected_size += size;
	strcpy(player->expected + player->expected_size++, "\n");
}

static inline void on_event(struct player *player, const struct words *words)
{
	char line[8192] = "";

	if (strcmp(words->at[1], "end") == 0) {
		check_string(words->at[2], player->ear.goodbye ? "orderly" : "crash");
		return;
	}
	for (size_t i = 1; i < words->n; i++) {
		require(strlen(line) + strlen(words->at[i]) + 2 < sizeof line);
		strcat(strcat(line, i > 1 ? " " : ""), words->at[i]);
	}
	expect(player, line);
}

/* A read finds nothing. */
static inline void starve(struct player *player)
{
	const struct rx *rx = &player->ear.rx;

	if (!rx_unfinished(rx) && !rx_holds_descriptors(rx)) {
		player->stalled_frame = 0;
	} else if (player->stalled_frame != rx_frame_number(rx)) {
		player->stalled_frame = rx_frame_number(rx);
		player->stalled_until = player->now + (rx_holds_descriptors(rx) ? HOLD_TIME_MS : FRAME_TIME_MS);
	} else if (player->now >= player->stalled_until) {
		player->timed_out = true;
	}
}

static inline void on_wait(struct player *player, const struct words *words)
{
	settle(player);
	starve(player);
	player->now += number(words, 1);
	starve(player);
}

#endif
