/* SPDX-License-Identifier: MIT */
/* The beginning and the end of the simulated world. */
#include <session/sim.h>
#include <stdarg.h>

unsigned char sim_pattern[2 * SIM_PATTERN];
bool sim_told;

void sim_event(struct sim_side *side, enum sim_event event, const char *format, ...)
{
	va_list arguments;

	side->sim->counts[event]++;
	if (!sim_told || !format)
		return;
	va_start(arguments, format);
	printf("%6llu %c: ", (unsigned long long)side->sim->steps, 'A' + (int)side->index);
	vprintf(format, arguments);
	putchar('\n');
	va_end(arguments);
}

size_t sim_size(struct sim *sim, size_t most)
{
	unsigned bits = 0;
	size_t size;

	if (!most)
		return 0;
	while (bits < 63 && most >> bits)
		bits++;
	bits = (unsigned)sim_choose(sim, bits + 1);
	size = sim_choose(sim, (size_t)1 << bits);
	return size < most ? size : most;
}

/* ---- The world ------------------------------------------------------------------------------- */

static uint32_t some_more(struct sim *sim, uint32_t base, uint32_t more)
{
	return sim_chance(sim, 60) ? base : base + (uint32_t)sim_size(sim, more);
}

static void choose_limits(struct sim *sim, struct limits *limits)
{
	*limits = limits_base;
	limits->message_bytes = some_more(sim, limits->message_bytes, 1 << 20);
	limits->message_attachments = sim_chance(sim, 5) ? 0 : some_more(sim, limits->message_attachments, 237);
	limits->topic_bytes = some_more(sim, limits->topic_bytes, 1 << 20);
	limits->topic_attachments = some_more(sim, limits->topic_attachments, 300);
	if (limits->topic_attachments < limits->message_attachments)
		limits->topic_attachments = limits->message_attachments;
	limits->pool_bytes = some_more(sim, limits->message_bytes, 1 << 20);
	limits->attachments = some_more(sim, limits->attachments, 300);
	if (limits->attachments < limits->message_attachments)
		limits->attachments = limits->message_attachments;
	if (sim->tight && limits->message_attachments) {
		limits->message_attachments = 1 + (uint32_t)sim_size(sim, 19);
		limits->topic_attachments = limits->message_attachments + (uint32_t)sim_size(sim, 20);
		limits->attachments = limits->message_attachments + (uint32_t)sim_size(sim, 80);
		limits->topic_bytes = limits_base.topic_bytes + (uint32_t)sim_size(sim, 1000);
		limits->pool_bytes = limits->message_bytes + (uint32_t)sim_size(sim, 1000);
	}
	limits->topics = some_more(sim, limits->topics, 100);
	limits->calls = some_more(sim, limits->calls, 100);
	if (sim->laden) {
		limits->message_attachments = FRAME_CARRIED_MAX;
		limits->topic_attachments = FRAME_CARRIED_MAX + (uint32_t)sim_size(sim, 150);
		limits->attachments = FRAME_CARRIED_MAX + (uint32_t)sim_size(sim, 350);
	}
}

/*
 * The side may lend attachments. Then it may begin with fewer than a message needs, and can grant
 * up to `most` when they are wanted.
 */
static void choose_lending(struct sim_side *side)
{
	struct sim *sim = side->sim;
	struct limits *limits = &side->limits;

	side->generous = sim_chance(sim, 50);
	side->keeps = sim_chance(sim, 20);
	side->sticky = sim_chance(sim, 10);
	side->most = limits->attachments;
	if (!limits->message_attachments || !sim_chance(sim, 30))
		return;
	side->most += (uint32_t)sim_size(sim, 200);
	limits->attachments = sim_chance(sim, 50) ? (uint32_t)sim_size(sim, limits->attachments) : limits->attachments;
	side->tx.features = FEATURE_LENDS;
}

static void side_begin(struct sim *sim, unsigned index)
{
	struct sim_side *side = &sim->sides[index];
	uint32_t features;

	side->sim = sim;
	side->index = index;
	side->writer = side->slow = SIM_NOBODY;
	choose_limits(sim, &side->limits);
	choose_lending(side);
	features = side->tx.features | (sim_chance(sim, 50) ? 0 : FEATURE_ANSWERS);
	require_int(tx_init(&side->tx, &side->limits, (16 << 10) + sim_size(sim, 48 << 10), &sim_tx_events, side), 0);
	side->tx.features = features;
	require_int(rx_init(&side->rx, &side->limits, &sim_rx_events, side, &side->tx.granted_pool,
			    &side->tx.granted_attachments),
		    0);
	/* A socket that holds a few hundred bytes, or as much as usual. */
	sim_pipe_init(&sim->pipes[index], sim->bulky            ? 256 << 10
					  : sim_chance(sim, 20) ? 256 + sim_size(sim, 64 << 10)
								: (16 << 10) + sim_size(sim, 256 << 10));
}

void sim_init(struct sim *sim, struct tape *tape, enum sim_rule broken)
{
	memset(sim, 0, sizeof *sim);
	sim->tape = tape;
	sim->broken = broken;
	sim->bulky = sim_chance(sim, 8);
	sim->laden = sim_chance(sim, 10);
	/* If much is sent, it must at least be taken slowly. */
	sim->lazy = sim_chance(sim, sim->bulky || sim->laden ? 50 : 10);
	sim->wicked = sim_chance(sim, 10);
	sim->tight = sim_chance(sim, 40);
	sim->neglect = sim_chance(sim, 30);
	side_begin(sim, 0);
	side_begin(sim, 1);
}

static void free_streams(struct sim_side *side)
{
	while (side->streams) {
		struct sim_stream *stream = side->streams;
		struct beam_message *message;

		side->streams = stream->next;
		while ((message = message_queue_take(&stream->queue))) {
			sim_rx_events.discard(sim_other(side), message->fds, message->n_fds, true);
			message_free_shell(message);
		}
		for (size_t i = 0; i < stream->n_sent; i++)
			free(stream->sent[i]);
		free(stream->sent);
		free(stream);
	}
}

/* Frees what a side has, whatever it was doing. */
static void side_end(struct sim_side *side)
{
	int spent[2 * TX_FDS];
	unsigned n;

	for (unsigned i = 0; i < SIM_SENDERS; i++) {
		struct sim_sender *sender = &side->senders[i];

		for (unsigned k = 0; sender->message && k < sender->n_fds; k++)
			sim_fd_close(side, sender->fds[k]);
		for (unsigned k = 0; !sender->listed && k < sender->n_more; k++)
			free(sender->more[k]);
		if (!sender->listed)
			free(sender->message);
		free(sender->run);
		sender->message = NULL;
	}
	n = tx_drop(&side->tx, -ECONNRESET, spent);
	for (unsigned i = 0; i < n; i++)
		sim_fd_close(side, spent[i]);
	for (struct sim_call *call = side->calls; call; call = call->next) {
		struct beam_message *message = call->inlet.building;

		if (message) {
			sim_rx_events.discard(side, message->fds, message->n_fds, true);
			message_free_shell(message);
		}
	}
	sim_close_kept(side, side->n_kept);
	free(side->kept);
	rx_finish(&side->rx);
	rx_end(&side->rx);
	tx_end(&side->tx);
}

static void free_calls(struct sim_side *side)
{
	while (side->calls) {
		struct sim_call *call = side->calls;

		side->calls = call->next;
		free(call);
	}
}

void sim_end(struct sim *sim)
{
	sim->ending = true;
	side_end(&sim->sides[0]);
	side_end(&sim->sides[1]);
	free_streams(&sim->sides[0]);
	free_streams(&sim->sides[1]);
	free_calls(&sim->sides[0]);
	free_calls(&sim->sides[1]);
	sim_pipe_empty(sim, &sim->pipes[0]);
	sim_pipe_empty(sim, &sim->pipes[1]);
	for (size_t i = 0; i < sim->n_fds; i++) {
		if (sim->fds[i].open)
			fail("descriptor %zu of side %c is left open", i, 'A' + sim->fds[i].side);
	}
	for (size_t i = 0; i < sim->n_files; i++)
		check_int(sim->files[i].references, 0);
	free(sim->files);
	free(sim->fds);
}
