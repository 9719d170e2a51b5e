/* SPDX-License-Identifier: MIT */
/*
 * A hostile side. Its session goes on writing, and between its writes come things that no session
 * would write: frames made of small numbers, which are often ids in use, changed bytes, missing
 * segments, and descriptors added or removed. It ignores what it receives. The other side must find
 * a breach, or lose only what was sent to it: its windows hold, and it closes the descriptors that
 * arrived.
 */
#include <session/sim.h>

/* A number that is likely to mean something: an edge, or a small number. */
static uint32_t some_number(struct sim *sim)
{
	static const uint32_t edges[] = {0, 1, 64, 65535, CREDIT_MAX, INT32_MAX, UINT32_MAX};

	return sim_chance(sim, 20) ? edges[sim_choose(sim, sizeof edges / sizeof *edges)]
				   : (uint32_t)sim_choose(sim, 8);
}

/* True if a frame may begin here: the last batch was written whole, and its result is known. */
static bool at_boundary(const struct sim_side *side)
{
	return !side->tx.batch.begun && !(side->writer != SIM_NOBODY && side->phase == SIM_WRITTEN);
}

/* New descriptors for a segment. The sender closes its own when the segment has been sent. */
static unsigned make_fds(struct sim_side *side, int fds[4])
{
	unsigned n = (unsigned)sim_choose(side->sim, 4);

	for (unsigned i = 0; i < n; i++)
		fds[i] = sim_fd_new(side, sim_file_new(side->sim, NULL, false));
	return n;
}

static void close_fds(struct sim_side *side, const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		sim_fd_close(side, fds[i]);
}

static void forge(struct sim_side *side)
{
	struct sim *sim = side->sim;
	size_t payload = 4 * sim_choose(sim, 8), body = payload + frame_padding(payload);
	static const uint8_t kinds[] = {FRAME_DATA,  FRAME_REPLY,   FRAME_CREDIT, FRAME_CLOSE,
					FRAME_RESET, FRAME_GOODBYE, FRAME_HELLO,  FRAME_OPEN,
					FRAME_WANT,  FRAME_RETURN,  FRAME_PING};
	uint8_t kind = kinds[sim_choose(sim, sizeof kinds)], flags = 0;
	unsigned char *to;
	int fds[4];
	unsigned n_fds = sim_chance(sim, 30) ? make_fds(side, fds) : 0;

	if (sim_chance(sim, 30))
		flags = (uint8_t)(1u << sim_choose(sim, 5));
	to = sim_segment_new(side, FRAME_HEADER + body, fds, n_fds)->bytes;
	frame_encode(to, kind, flags, (uint8_t)(sim_chance(sim, 80) ? n_fds : sim_choose(sim, 4)), some_number(sim),
		     some_number(sim), payload);
	if (n_fds)
		frame_set_carried(to, (uint8_t)n_fds);
	memset(to + FRAME_HEADER, 0, body);
	for (size_t i = 0; i < payload; i += 4)
		put_u32(to + FRAME_HEADER + i, some_number(sim));
	close_fds(side, fds, n_fds);
	sim_event(side, SIM_FORGES, "forges a frame of kind %u, flags 0x%x, with %u descriptors", kind, flags, n_fds);
}

/* The place of a segment that is on its way, or NULL if there is none. */
static struct sim_segment **some_segment(struct sim_side *side)
{
	struct sim_pipe *pipe = &side->sim->pipes[side->index];
	struct sim_segment **at = &pipe->first;

	for (size_t n = sim_choose(side->sim, 8); n && *at && (*at)->next; n--)
		at = &(*at)->next;
	return *at ? at : NULL;
}

static void spoil(struct sim_side *side)
{
	struct sim_segment **at = some_segment(side);
	struct sim_segment *segment = at ? *at : NULL;

	if (!segment)
		return;
	segment->bytes[segment->at + sim_size(side->sim, segment->size - segment->at - 1)] ^=
	    (unsigned char)(1u << sim_choose(side->sim, 8));
	sim_event(side, SIM_SPOILS, "spoils a byte");
}

static void cut(struct sim_side *side)
{
	struct sim_segment **at = some_segment(side);

	if (!at)
		return;
	sim_segment_cut(side->sim, &side->sim->pipes[side->index], at);
	sim_event(side, SIM_CUTS, "cuts a segment out");
}

static void rob(struct sim_side *side)
{
	struct sim *sim = side->sim;
	struct sim_segment **at = some_segment(side);
	struct sim_segment *segment = at ? *at : NULL;

	if (!segment)
		return;
	if (segment->n_files) {
		sim->files[segment->files[--segment->n_files]].references--;
	} else if (!segment->at) {
		segment->files[segment->n_files++] = sim_file_new(sim, NULL, false);
		sim->files[segment->files[0]].references++;
	}
	sim_event(side, SIM_ROBS, "changes the number of descriptors");
}

void sim_harm(struct sim_side *side)
{
	size_t what = sim_choose(side->sim, 10);

	side->hostile = true;
	if (what < 7 && at_boundary(side))
		forge(side);
	else if (what == 7)
		spoil(side);
	else if (what == 8)
		cut(side);
	else if (what == 9)
		rob(side);
}
