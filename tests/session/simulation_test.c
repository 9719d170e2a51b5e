/* SPDX-License-Identifier: MIT */
/*
 * Two sessions over a model socket, driven by a seed: opens, sends, takes, closes, resets, deadlines, refused
 * descriptors, goodbyes and crashes in every order that the random sequence finds. After each step nothing may be out of
 * order, lost, twice, or beyond what was granted; at the end nothing may be left undone, and every descriptor closed
 * once.
 *
 * BEAM_SIMULATIONS=N plays so many schedules; BEAM_SIMULATION=I that one alone, told on standard error; BEAM_SEED seeds
 * them all.
 */
#include <session/sim.h>

/* ---- What always holds ------------------------------------------------------------------------------------------- */

static void check_side(const struct sim_side *side)
{
	const struct tx *tx = &side->tx;
	unsigned busy = 0;

	check(tx->used_pool <= tx->limit_pool && tx->limit_pool - tx->used_pool <= CREDIT_MAX);
	check(tx->used_attachments <= tx->limit_attachments && tx->limit_attachments - tx->used_attachments <= CREDIT_MAX);
	check(tx->fill->size <= tx->capacity && tx->drain->at <= tx->drain->size);
	check(tx->fill->n_fds <= TX_FDS && tx->drain->n_fds <= TX_FDS);
	for (const struct sim_stream *stream = side->streams; stream; stream = stream->next) {
		const struct outlet *outlet = &stream->outlet;

		check(outlet->used_bytes <= outlet->limit_bytes && outlet->used_attachments <= outlet->limit_attachments);
		busy += outlet->busy;
	}
	check_int(tx->n_busy, busy);
}

/* ---- Steps ------------------------------------------------------------------------------------------------------- */

static struct sim_stream *any_stream(struct sim_side *side)
{
	struct sim_stream *stream = side->streams;

	for (size_t n = side->n_streams ? rng_below(&side->sim->rng, side->n_streams) : 0; n; n--)
		stream = stream->next;
	return stream;
}

/* One that has something to take, from a random place on. */
static struct sim_stream *full_stream(struct sim_side *side)
{
	struct sim_stream *stream = any_stream(side);

	while (stream && !stream->queue.n)
		stream = stream->next;
	return stream;
}

static void take_some(struct sim_side *side)
{
	struct sim_stream *stream = full_stream(sim_other(side));

	if (side->sim->lazy && sim_chance(side->sim, 95))
		return;
	for (size_t n = stream ? 1 + sim_size(side->sim, stream->queue.n) : 0; n; n--)
		sim_take(side, stream);
}

/* A call of the other side's that can be answered, from a random one on. */
static struct sim_call *open_call(struct sim_side *side)
{
	struct sim_side *caller = sim_other(side);
	struct sim_call *call = caller->calls;

	for (size_t n = caller->n_calls ? rng_below(&side->sim->rng, caller->n_calls) : 0; n; n--)
		call = call->next;
	while (call && (!call->open || call->answering))
		call = call->next;
	return call;
}

static void answer_some(struct sim_side *side)
{
	struct sim_sender *sender = &side->senders[rng_below(&side->sim->rng, SIM_SENDERS)];
	struct sim_call *call = open_call(side);

	if (!call || side->said_goodbye)
		return;
	if (call->replies->outlet.reset || sim_chance(side->sim, 10))
		sim_end_call(side, call, REPLY_DROPPED);
	else if (!sender->message)
		sim_begin_reply(side, sender, call);
}

static void open_or_close(struct sim_side *side)
{
	unsigned name = (unsigned)rng_below(&side->sim->rng, SIM_NAMES);

	if (side->said_goodbye)
		return;
	if (sim_chance(side->sim, 1)) {
		/* More than there are ids for, at times. */
		for (unsigned n = (unsigned)sim_size(side->sim, 80); n; n--)
			sim_open(side, SIM_NAMES);
	} else if (!side->names[name]) {
		sim_open(side, name);
	} else if (sim_chance(side->sim, 30)) {
		sim_close(side, name);
		/* At once again, as a program may. */
		if (sim_chance(side->sim, 50))
			sim_open(side, name);
	}
}

static void send_some(struct sim_side *side)
{
	unsigned number = (unsigned)rng_below(&side->sim->rng, SIM_SENDERS);
	unsigned name = (unsigned)rng_below(&side->sim->rng, SIM_NAMES);
	struct sim_sender *sender = &side->senders[number];
	const struct sim_stream *stream = side->names[name];

	if (sender->message)
		sim_send(side, number);
	else if (!stream || side->said_goodbye)
		return;
	else if (stream->outlet.reset && sim_chance(side->sim, 90))
		sim_close(side, name);
	else
		sim_begin(side, sender, name);
}

static void step(struct sim_side *side)
{
	struct sim *sim = side->sim;
	struct sim_side *other = sim_other(side);
	uint64_t what = rng_below(&sim->rng, 1000);

	if (what < 350)
		sim_write(side);
	else if (what < 650)
		send_some(side);
	else if (what < 800)
		sim_read(side);
	else if (what < 900)
		take_some(side);
	else if (what < 940)
		answer_some(side);
	else if (what < 970)
		open_or_close(side);
	else if (what < 973)
		sim_give_up(side, (unsigned)rng_below(&sim->rng, SIM_SENDERS));
	else if (what < 985)
		sim_unhold(side);
	else if (what < 987 && other->streams)
		sim_reset(side, any_stream(other));
	else if (what < 990)
		side->tx.withhold_attachments = sim_chance(sim, 20);
	else if (what == 999 && !side->said_goodbye && sim_chance(sim, 20))
		sim_goodbye(side);
}

/* ---- The end ----------------------------------------------------------------------------------------------------- */

/* All that can be done is done: nobody begins anything new. */
static void settle(struct sim *sim)
{
	int turns = 0;

	do {
		sim->moved = false;
		for (int i = 0; i < 2; i++) {
			struct sim_side *side = &sim->sides[i];

			sim_unhold(side);
			while (sim_read(side))
				;
			for (struct sim_stream *stream = sim_other(side)->streams; stream; stream = stream->next) {
				while (stream->queue.n)
					sim_take(side, stream);
			}
			for (unsigned k = 0; k < SIM_SENDERS; k++)
				sim_send(side, k);
			for (struct sim_call *call = sim_other(side)->calls; call; call = call->next) {
				if (call->open && !call->answering)
					sim_end_call(side, call, REPLY_DROPPED);
			}
			sim_write(side);
			check_side(side);
		}
		sim->steps++;
	} while (sim->moved && !harness_failures() && check(++turns < 100000));
}

static bool nothing_is_left(struct sim *sim)
{
	for (int i = 0; i < 2; i++) {
		struct sim_side *side = &sim->sides[i];

		for (unsigned k = 0; k < SIM_SENDERS; k++) {
			if (side->senders[k].message)
				fail("side %c, sender %u of %s waits for ever: %zu bytes and %u descriptors", 'A' + i, k,
				     side->senders[k].message->stream->name, side->senders[k].message->size,
				     side->senders[k].message->n_fds);
		}
		check(!tx_pending(&side->tx));
		check_int(side->writer, SIM_NOBODY);
		check_int(sim->pipes[i].queued, 0);
		check(!rx_unfinished(&side->rx));
		check(list_empty(&side->tx.claims));
		for (const struct sim_stream *stream = side->streams; stream; stream = stream->next) {
			for (size_t k = stream->arrived; k < stream->n_sent; k++) {
				if (stream->sent[k]->fate != SIM_GONE)
					fail("side %c: message %zu of %s has not arrived", 'A' + i, k, stream->name);
			}
		}
	}
	return !harness_failures();
}

/* What was used has come back, but for what is collected. */
static void check_credit(const struct sim_side *side)
{
	const struct sim_side *other = &side->sim->sides[1 - side->index];

	check_int(side->tx.limit_pool - side->tx.used_pool, other->limits.pool_bytes);
	check_int(side->tx.limit_attachments - side->tx.used_attachments + other->tx.due_attachments,
		  other->limits.attachments);
}

static void check_all_released(const struct sim_side *side)
{
	for (const struct sim_stream *stream = side->streams; stream; stream = stream->next) {
		if (!stream->released)
			fail("side %c: %s, id %u, is not free", 'A' + (int)side->index, stream->name, stream->outlet.id);
	}
	for (const struct sim_call *call = side->calls; call; call = call->next)
		check(call->over);
	check_int(side->tx.n_calls, 0);
	check_int(side->tx.n_outlets, 0);
	check_int(side->tx.n_closing, 0);
}

static void end_in_order(struct sim *sim)
{
	sim->calm = true;
	for (int i = 0; i < 2; i++) {
		sim->sides[i].tx.withhold_attachments = false;
		/* Whoever waits for an id gets one. */
		for (struct sim_stream *stream = sim->sides[i].streams; stream; stream = stream->next) {
			if (*stream->name == 'x')
				sim_end_stream(&sim->sides[i], stream);
		}
	}
	settle(sim);
	if (harness_failures() || !nothing_is_left(sim))
		return;
	if (!sim->sides[0].said_goodbye && !sim->sides[1].said_goodbye && sim_chance(sim, 70)) {
		for (int i = 0; i < 2; i++) {
			check_credit(&sim->sides[i]);
			for (struct sim_stream *stream = sim->sides[i].streams; stream; stream = stream->next)
				sim_end_stream(&sim->sides[i], stream);
		}
		settle(sim);
		if (harness_failures() || !nothing_is_left(sim))
			return;
		check_all_released(&sim->sides[0]);
		check_all_released(&sim->sides[1]);
	}
	if (!sim->sides[0].said_goodbye)
		sim_goodbye(&sim->sides[0]);
	settle(sim);
	check(sim->sides[0].tx.goodbye_sent && sim->sides[1].tx.goodbye_sent);
	check(sim->sides[0].heard_goodbye && sim->sides[1].heard_goodbye);
	nothing_is_left(sim);
}

/* ---- Schedules --------------------------------------------------------------------------------------------------- */

static struct sim sums;

static void add_up(const struct sim *sim)
{
	sums.steps += sim->steps;
	sums.delivered += sim->delivered;
	sums.bytes += sim->bytes;
	sums.accepted += sim->accepted;
	sums.not_sent += sim->not_sent;
	sums.aborted += sim->aborted;
	sums.refused += sim->refused;
	sums.lost += sim->lost;
	sums.held += sim->held;
	sums.calls += sim->calls;
	sums.replies += sim->replies;
	sums.cancelled += sim->cancelled;
}

static void tell(uint64_t n)
{
	printf("%llu schedules, %llu steps: %llu messages accepted, %llu arrived with %llu MiB, %llu not sent, %llu aborted, "
	       "%llu refused, "
	       "%llu descriptors lost, %llu holds, %llu calls with %llu replies, %llu cancelled\n",
	       (unsigned long long)n, (unsigned long long)sums.steps, (unsigned long long)sums.accepted,
	       (unsigned long long)sums.delivered, (unsigned long long)(sums.bytes >> 20), (unsigned long long)sums.not_sent,
	       (unsigned long long)sums.aborted, (unsigned long long)sums.refused, (unsigned long long)sums.lost,
	       (unsigned long long)sums.held, (unsigned long long)sums.calls, (unsigned long long)sums.replies,
	       (unsigned long long)sums.cancelled);
}

static bool play(uint64_t number)
{
	static struct sim sim;
	uint64_t steps;

	harness_context("schedule %llu: BEAM_SIMULATION=%llu shows it", (unsigned long long)number, (unsigned long long)number);
	sim_init(&sim, number);
	steps = 20 + (sim_chance(&sim, 50) ? sim_size(&sim, 4000) : rng_below(&sim.rng, 4000));
	while (sim.steps < steps && !harness_failures()) {
		struct sim_side *side = &sim.sides[rng_below(&sim.rng, 2)];

		sim.steps++;
		step(side);
		check_side(side);
	}
	/* One of ten ends in a crash. */
	if (!harness_failures() && !sim_chance(&sim, 10))
		end_in_order(&sim);
	if (harness_failures())
		return false;
	sim_end(&sim);
	add_up(&sim);
	return !harness_failures();
}

static void test_every_schedule_keeps_order_loses_nothing_and_comes_to_an_end(void)
{
	const char *n = getenv("BEAM_SIMULATIONS"), *one = getenv("BEAM_SIMULATION");
	uint64_t from = 0, to = n ? strtoull(n, NULL, 0) : scale(2000);
	struct rng rng = rng_new(0);

	if (one) {
		from = strtoull(one, NULL, 0);
		to = from + 1;
		sim_traced = true;
	}
	if (n)
		harness_timeout(100 * 3600);
	rng_fill(&rng, sim_pattern, sizeof sim_pattern);
	for (uint64_t i = from; i < to && play(i); i++)
		;
	if (n && !harness_failures())
		tell(to);
	/* The schedules reach what they are there for. */
	if (to - from >= 2000 && !harness_failures())
		check(sums.delivered && sums.aborted && sums.refused && sums.lost && sums.held && sums.calls && sums.replies &&
		      sums.cancelled);
}

static const struct test tests[] = {
    TEST(test_every_schedule_keeps_order_loses_nothing_and_comes_to_an_end),
};
HARNESS_MAIN("simulation", tests)
