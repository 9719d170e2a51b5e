/* SPDX-License-Identifier: MIT */
/*
 * Plays the golden transcripts (tests/golden/README.md) to both halves of the session, and reads
 * each of them in several ways.
 */
#include <glob.h>
#include <session/golden_player.h>

/* ---- Actions of the side under test ---------------------------------------------------------- */

static struct outlet *outlet_of(struct player *player, uint32_t id)
{
	struct tx *tx = &player->mouth.tx;

	require(id <= tx->capacity_outlets && tx->outlets[id]);
	return tx->outlets[id];
}

static void do_open(struct player *player, const struct words *words)
{
	struct outlet *outlet = &player->outlets[player->n_outlets];
	char *name = player->names[player->n_outlets++];

	require(player->n_outlets <= OUTLETS && strlen(words->at[3]) < sizeof player->names[0]);
	strcpy(name, words->at[3]);
	tx_open(&player->mouth.tx, outlet, name, strlen(name));
	check_int(outlet->id, number(words, 2));
}

static void do_send(struct player *player, const struct words *words, struct waiting what)
{
	struct waiting *waiting = &player->waiting[player->n_waiting++];

	require(player->n_waiting <= MESSAGES);
	*waiting = what;
	waiting->n_fds = number(words, 4);
	if (strcmp(words->at[5], "-") != 0)
		waiting->payload = bytes_of(words, 5, &waiting->size);
}

static void do_message(struct player *player, const struct words *words)
{
	uint32_t call = number(words, 3);

	if (call) {
		memset(&player->calls[call], 0, sizeof *player->calls);
		player->calls[call].id = call;
	}
	do_send(player, words,
		(struct waiting){.outlet = outlet_of(player, number(words, 2)),
				 .call = call ? &player->calls[call] : NULL});
}

static struct outlet *replies_of(struct player *player, uint32_t id)
{
	require(id <= EAR_CALLS && player->ear.calls[id]);
	return &player->ear.calls[id]->outlet;
}

static void do_reply(struct player *player, const struct words *words)
{
	do_send(player, words,
		(struct waiting){.outlet = replies_of(player, number(words, 2)),
				 .flags = strcmp(words->at[3], "end") == 0 ? FRAME_END : 0});
}

static void do_error(struct player *player, const struct words *words)
{
	struct outlet *outlet = replies_of(player, number(words, 2));
	struct waiting *waiting = &player->waiting[player->n_waiting];
	unsigned char *said;

	if (strcmp(words->at[4], "-") == 0) {
		tx_end_call(&player->mouth.tx, outlet, number(words, 3));
		return;
	}
	require(++player->n_waiting <= MESSAGES);
	*waiting = (struct waiting){.outlet = outlet, .flags = FRAME_END | FRAME_ERROR};
	said = bytes_of(words, 4, &waiting->size);
	waiting->payload = malloc(waiting->size + 4);
	require(waiting->payload != NULL);
	put_u32(waiting->payload, number(words, 3));
	memcpy(waiting->payload + 4, said, waiting->size);
	waiting->size += 4;
	free(said);
}

static void do_reset_call(struct player *player, uint32_t id)
{
	player->calls[id].discard = true;
	tx_reset_inlet(&player->mouth.tx, &player->calls[id], RESET_DONE);
}

static void do_take(struct player *player, uint32_t id)
{
	struct message_queue left;
	struct beam_message *message, *found = NULL;

	message_queue_init(&left);
	while ((message = message_queue_take(&player->ear.taken))) {
		if (!found && ((struct inlet *)message->origin)->id == id)
			found = message;
		else
			message_queue_append(&left, message);
	}
	message_queue_splice(&player->ear.taken, &left);
	require(found != NULL);
	ear_drop(&player->ear, found);
}

static void do_reset(struct player *player, uint32_t id, uint32_t reason)
{
	struct inlet *inlet = ear_inlet(&player->ear, id);

	ear_discard(&player->ear, id);
	tx_reset_inlet(&player->mouth.tx, inlet, (enum reset_reason)reason);
	while (inlet->queued)
		do_take(player, id);
}

static void on_do(struct player *player, const struct words *words)
{
	const char *what = words->at[1];

	settle(player);
	no_breach(player);
	if (strcmp(what, "open") == 0)
		do_open(player, words);
	else if (strcmp(what, "message") == 0)
		do_message(player, words);
	else if (strcmp(what, "take") == 0)
		do_take(player, number(words, 2));
	else if (strcmp(what, "close") == 0)
		tx_close(&player->mouth.tx, outlet_of(player, number(words, 2)));
	else if (strcmp(what, "reset") == 0)
		do_reset(player, number(words, 2), number(words, 3));
	else if (strcmp(what, "error") == 0)
		do_error(player, words);
	else if (strcmp(what, "reply") == 0)
		do_reply(player, words);
	else if (strcmp(what, "reset-call") == 0)
		do_reset_call(player, number(words, 2));
	else if (strcmp(what, "goodbye") == 0)
		player->goodbye = true;
	else if (strcmp(what, "return") == 0)
		tx_give_back(&player->mouth.tx);
	else if (strcmp(what, "ping") == 0)
		player->mouth.tx.ping_due = player->mouth.tx.peer_features & FEATURE_ANSWERS;
	else
		fail("do %s", what);
}

/* Sends a message if there is credit for it. Returns false if there is none. */
static bool send_waiting(struct player *player, const struct waiting *waiting)
{
	static const int fds[FRAME_CARRIED_MAX];
	struct tx *tx = &player->mouth.tx;
	struct tx_claim claim = {.size = waiting->size,
				 .n_fds = waiting->n_fds,
				 .large = waiting->size > FRAME_BODY_MAX - FRAME_SIZED_PREFIX,
				 .call = waiting->call};
	uint32_t overdraft;
	size_t at = 0;
	int r = tx_fits(tx, waiting->outlet, waiting->size, waiting->n_fds);

	/* Makes tx take the id that the transcript expects. */
	if (waiting->call)
		tx->free_call = waiting->call->id;

	list_init(&claim.link);
	if (!r)
		r = tx_charge(tx, waiting->outlet, &claim, &overdraft);
	tx_unclaim(tx, waiting->outlet, &claim);
	if (r < 0)
		return false;
	do {
		size_t left = waiting->size - at, room = FRAME_BODY_MAX;
		bool sized = !at && (overdraft || left > room);
		uint8_t flags = at ? 0 : waiting->flags;
		struct tx_own own;

		room -= sized ? FRAME_SIZED_PREFIX : 0;
		if (left > room)
			left = room;
		if (at + left < waiting->size)
			flags |= FRAME_MORE;
		if (sized)
			mouth_first_frame(&own, waiting->outlet, flags, (uint32_t)waiting->size, overdraft,
					  waiting->payload, left, fds, waiting->n_fds);
		else
			mouth_frame(&own, waiting->outlet, flags, waiting->payload + at, left, fds,
				    at ? 0 : waiting->n_fds);
		if (waiting->call)
			mouth_call(&own, waiting->call);
		own.is_last = waiting->flags & FRAME_END;
		mouth_write_all(&player->mouth, &own);
		require(own.done);
		at += left;
	} while (at < waiting->size);
	if (waiting->flags & FRAME_END)
		tx_ended(waiting->outlet);
	tx_complete(tx, waiting->outlet, claim.large);
	return true;
}

static void send_all_waiting(struct player *player)
{
	size_t kept = 0;

	for (size_t i = 0; i < player->n_waiting; i++) {
		struct waiting waiting = player->waiting[i];

		if (send_waiting(player, &waiting))
			free(waiting.payload);
		else
			player->waiting[kept++] = waiting;
	}
	player->n_waiting = kept;
	/* GOODBYE comes after everything that was submitted. */
	player->mouth.tx.goodbye_due = player->goodbye && !kept;
}

/*
 * Copies the frames that are compared: without HELLO and CREDIT, and with bit 31 and `carried`
 * cleared. Returns the size of the copy.
 */
static size_t compared(unsigned char *to, const unsigned char *bytes, size_t size)
{
	size_t n = 0;

	for (size_t at = 0, whole; at < size; at += whole) {
		struct frame frame;

		require(size - at >= FRAME_HEADER);
		check_string(frame_decode(&frame, bytes + at), NULL);
		whole = 4 + frame.length;
		require(whole <= size - at);
		if (frame.kind == FRAME_HELLO || frame.kind == FRAME_CREDIT)
			continue;
		memmove(to + n, bytes + at, whole);
		frame_set_carried(to + n, 0);
		n += whole;
	}
	return n;
}

static void on_out(struct player *player, const struct words *words)
{
	struct mouth *mouth = &player->mouth;

	settle(player);
	no_breach(player);
	if (strcmp(words->at[1], "hello") == 0) {
		unsigned char hello[HELLO_FRAME];

		hello_encode(hello, &(struct hello){.version = PROTOCOL_VERSION, .limits = *player->ear.rx.limits});
		mouth_write_all(mouth, NULL);
		check_int(mouth->said.size, sizeof hello);
		check_bytes(mouth->said.bytes, hello, sizeof hello);
	} else {
		unsigned char *expected = NULL;
		size_t size = 0, said;

		send_all_waiting(player);
		mouth_write_all(mouth, NULL);
		if (strcmp(words->at[1], "-") != 0)
			expected = bytes_of(words, 1, &size);
		said = compared(mouth->said.bytes, mouth->said.bytes, mouth->said.size);
		size = compared(expected, expected, size);
		check_int(said, size);
		if (said == size)
			check_bytes(mouth->said.bytes, expected, size);
		free(expected);
	}
	mouth_forget(mouth);
}

/* ---- Cases ----------------------------------------------------------------------------------- */

struct golden_case {
	char *title;
	char *lines[256];
	size_t n;
};

static void on_hello(struct player *player)
{
	speech_send(&player->speech);
	speech_hello(&player->speech, &limits_base);
	expect(player, "hello 1 0 64 64 1048576 16 65536 16 1048576 64");
}

static void play_line(struct player *player, const struct words *words)
{
	const char *what = words->at[0];

	harness_context("%s, %s, way %d: %s %s", player->file, player->title, player->way, what,
			words->n > 1 ? words->at[1] : "");
	if (strcmp(what, "hello") == 0)
		on_hello(player);
	else if (strcmp(what, "send") == 0)
		on_send(player, words);
	else if (strcmp(what, "event") == 0)
		on_event(player, words);
	else if (strcmp(what, "wait") == 0)
		on_wait(player, words);
	else if (strcmp(what, "do") == 0)
		on_do(player, words);
	else if (strcmp(what, "out") == 0)
		on_out(player, words);
	else if (strcmp(what, "end") == 0)
		settle(player);
	else if (strcmp(what, "limits") != 0 && strcmp(what, "breach") != 0)
		fail("%s", what);
	if (strcmp(what, "breach") == 0) {
		settle(player);
		check_string(player->timed_out ? "timeout" : ear_rule(&player->ear), words->at[1]);
	}
}

static void read_limits(struct limits *ret, const struct words *words)
{
	*ret = limits_base;
	if (strcmp(words->at[0], "limits") == 0)
		*ret = (struct limits){number(words, 1), number(words, 2), number(words, 3), number(words, 4),
				       number(words, 5), number(words, 6), number(words, 7), number(words, 8)};
}

static void play(const char *file, const struct golden_case *golden, int way)
{
	static struct player player;
	struct words words;
	struct limits limits;
	char *line = strdup(golden->lines[0]);

	require(line != NULL);
	memset(&player, 0, sizeof player);
	player.file = file;
	player.title = golden->title;
	player.way = way;
	player.rng = rng_new((uint64_t)way);
	player.expected = calloc(1, LINE);
	require(player.expected != NULL);
	split(&words, line);
	read_limits(&limits, &words);
	free(line);
	speech_init(&player.speech);
	player.hearing.speech = &player.speech;
	mouth_init_with(&player.mouth, &limits);
	require_int(ear_init_with(&player.ear, &limits, &player.mouth.tx), 0);
	player.ear.keep = true;

	for (size_t i = 0; i < golden->n; i++) {
		line = strdup(golden->lines[i]);
		require(line != NULL);
		split(&words, line);
		play_line(&player, &words);
		free(line);
	}
	harness_context("%s, %s, way %d, end", file, golden->title, way);
	settle(&player);
	if (strncmp(golden->lines[golden->n - 1], "breach", 6) != 0)
		no_breach(&player);

	for (uint32_t id = 1; id <= EAR_CALLS; id++) {
		struct beam_message *message = player.calls[id].building;

		if (message) {
			player.ear.rx.events->discard(&player.ear, message->fds, message->n_fds, true);
			message_free_shell(message);
		}
	}
	ear_end(&player.ear);
	mouth_end(&player.mouth);
	speech_end(&player.speech);
	for (size_t i = 0; i < player.n_waiting; i++)
		free(player.waiting[i].payload);
	free(player.expected);
}

/* Cases that are too large to be read byte by byte. */
static bool is_large(const struct golden_case *golden)
{
	for (size_t i = 0; i < golden->n; i++) {
		if (strncmp(golden->lines[i], "send", 4) == 0 && strchr(golden->lines[i], '*'))
			return true;
	}
	return false;
}

static unsigned n_played;

static void play_case(const char *file, struct golden_case *golden)
{
	if (!golden->title)
		return;
	n_played++;
	for (int way = -1; way < WAYS - 1; way++) {
		if (!is_large(golden) || way == -1 || way == 1)
			play(file, golden, way);
	}
	for (size_t i = 0; i < golden->n; i++)
		free(golden->lines[i]);
	free(golden->title);
	golden->title = NULL;
	golden->n = 0;
}

static void play_file(const char *path)
{
	static char line[LINE];
	struct golden_case golden = {0};
	const char *name = strrchr(path, '/') + 1;
	FILE *file = fopen(path, "re");

	require(file != NULL);
	while (fgets(line, sizeof line, file)) {
		line[strcspn(line, "\n")] = 0;
		if (!*line || *line == '#')
			continue;
		if (strncmp(line, "case ", 5) == 0) {
			play_case(name, &golden);
			golden.title = strdup(line + 5);
			continue;
		}
		require(golden.title && golden.n < sizeof golden.lines / sizeof *golden.lines);
		golden.lines[golden.n++] = strdup(line);
	}
	fclose(file);
	play_case(name, &golden);
}

static void test_every_transcript_comes_out_the_same_in_whichever_way_it_is_read(void)
{
	glob_t paths;

	require_int(glob(BEAM_TRANSCRIPTS "/*.txt", 0, NULL, &paths), 0);
	check(paths.gl_pathc >= 25);
	for (size_t i = 0; i < paths.gl_pathc; i++)
		play_file(paths.gl_pathv[i]);
	globfree(&paths);
	harness_context("%s", "");
	check(n_played >= 180);
	if (getenv("BEAM_GOLDEN"))
		printf("%u cases played\n", n_played);
}

static const struct test tests[] = {
    TEST(test_every_transcript_comes_out_the_same_in_whichever_way_it_is_read),
};
HARNESS_MAIN("golden", tests)
