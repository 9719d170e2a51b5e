/* SPDX-License-Identifier: MIT */
/*
 * A schedule: opens, sends, takes, closes, resets, deadlines, refused descriptors and goodbyes, in
 * the order that its tape chooses, and then an orderly end or a death. After each turn nothing may
 * be out of order, lost, duplicated, or beyond what was granted. At the end nothing may be left to
 * do, and every descriptor must have been closed once.
 */
#include <session/sim.h>

/* ---- Steps ----------------------------------------------------------------------------------- */

static struct sim_stream *any_stream(struct sim_side *side)
{
	struct sim_stream *stream = side->streams;

	for (size_t n = side->n_streams ? sim_choose(side->sim, side->n_streams) : 0; n; n--)
		stream = stream->next;
	return stream;
}

/* The first stream with something to take, from a random one on. */
static struct sim_stream *full_stream(struct sim_side *side)
{
	struct sim_stream *stream = any_stream(side);

	while (stream && (!stream->queue.n || sim_neglected(side->sim, stream)))
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

/* The first call of the other side that can be answered, from a random one on. */
static struct sim_call *open_call(struct sim_side *side)
{
	struct sim_side *caller = sim_other(side);
	struct sim_call *call = caller->calls;

	for (size_t n = caller->n_calls ? sim_choose(side->sim, caller->n_calls) : 0; n; n--)
		call = call->next;
	while (call && (!call->open || call->answering))
		call = call->next;
	return call;
}

static void answer_some(struct sim_side *side)
{
	struct sim_sender *sender = &side->senders[sim_choose(side->sim, SIM_SENDERS)];
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
	unsigned name = (unsigned)sim_choose(side->sim, SIM_NAMES);

	if (side->said_goodbye)
		return;
	if (sim_chance(side->sim, 1)) {
		/* Sometimes more topics than there are ids. */
		for (unsigned n = (unsigned)sim_size(side->sim, 80); n; n--)
			sim_open(side, SIM_NAMES);
	} else if (!side->names[name]) {
		sim_open(side, name);
	} else if (sim_chance(side->sim, 30)) {
		sim_close(side, name);
		/* Programs may open a topic again at once. */
		if (sim_chance(side->sim, 50))
			sim_open(side, name);
	}
}

static void send_some(struct sim_side *side)
{
	unsigned number = (unsigned)sim_choose(side->sim, SIM_SENDERS);
	unsigned name = (unsigned)sim_choose(side->sim, SIM_NAMES);
	struct sim_sender *sender = &side->senders[number];
	const struct sim_stream *stream = side->names[name];

	if (!sender->message) {
		if (!stream || side->said_goodbye)
			return;
		if (stream->outlet.reset && sim_chance(side->sim, 90)) {
			sim_close(side, name);
			return;
		}
		if (sim_chance(side->sim, 10)) {
			sim_begin_run(side, sender, name);
			return;
		}
		sim_begin(side, sender, name);
		if (sim_chance(side->sim, 50))
			return;
	}
	sim_send(side, number);
}

static void reset_or_cancel(struct sim_side *side)
{
	struct sim_stream *stream = any_stream(sim_other(side));
	struct sim_call *call = side->calls;

	if (stream && !sim_chance(side->sim, 50)) {
		sim_reset(side, stream);
		return;
	}
	/* One of the most recent calls. */
	for (size_t n = side->n_calls - sim_size(side->sim, side->n_calls); call && n > 1; n--)
		call = call->next;
	if (call)
		sim_cancel(side, call);
}

static void trim(struct sim_side *side)
{
	sim_event(side, SIM_TRIMS, NULL);
	rx_trim(&side->rx);
}

static void ask_whether_there(struct sim_side *side)
{
	if (!side->hello_came || !(side->tx.peer_features & FEATURE_ANSWERS) || side->said_goodbye)
		return;
	side->n_asked++;
	side->unanswered = side->tx.ping_due = true;
}

static void settle(struct sim *sim, bool end_calls);

/* Begins nothing new for a while, and does everything that can be done. */
static void rest(struct sim *sim)
{
	if (sim->sides[0].broken || sim->sides[1].broken || sim->sides[1].hostile)
		return;
	sim->calm = true;
	settle(sim, false);
	sim_check_rest(&sim->sides[0]);
	sim_check_rest(&sim->sides[1]);
	sim->calm = false;
}

static void step(struct sim_side *side)
{
	struct sim *sim = side->sim;
	size_t what = sim_choose(sim, 1030);

	if (what < 340)
		sim_write(side);
	else if (what < 630)
		send_some(side);
	else if (what < 780)
		sim_read(side);
	else if (what < 870)
		take_some(side);
	else if (what < 940)
		answer_some(side);
	else if (what < 965)
		open_or_close(side);
	else if (what < 972)
		sim_give_up(side, (unsigned)sim_choose(sim, SIM_SENDERS));
	else if (what < 976)
		sim_unhold(side);
	else if (what < 979)
		reset_or_cancel(side);
	else if (what < 984)
		trim(side);
	else if (what < 998 && sim->wicked && side->index)
		sim_harm(side);
	else if (what >= 1028)
		ask_whether_there(side);
	else if (what >= 1024)
		sim_give_back(side);
	else if (what >= 1012)
		sim_lend(side);
	else if (what >= 1002)
		sim_close_kept(side, sim_size(sim, side->n_kept));
	else if (what >= 1000 && sim_chance(sim, sim->tight ? 100 : 30))
		rest(sim);
	else if (what == 999 && !side->said_goodbye && sim_chance(sim, 20))
		sim_goodbye(side);
}

/* ---- The end --------------------------------------------------------------------------------- */

/*
 * Does everything that can be done, without beginning anything new. Calls are ended, or wait for
 * their answers.
 */
static void settle(struct sim *sim, bool end_calls)
{
	int turns = 0;

	do {
		sim->moved = false;
		for (int i = 0; i < 2; i++) {
			struct sim_side *side = &sim->sides[i];

			if (side->dead)
				continue;
			sim_unhold(side);
			while (sim_read(side))
				;
			for (struct sim_stream *stream = sim_other(side)->streams; stream; stream = stream->next) {
				while (stream->queue.n && !sim_neglected(sim, stream))
					sim_take(side, stream);
			}
			sim_lend(side);
			for (unsigned k = 0; k < SIM_SENDERS; k++)
				sim_send(side, k);
			for (struct sim_call *call = sim_other(side)->calls; call; call = call->next) {
				if (end_calls && call->open && !call->answering)
					sim_end_call(side, call, REPLY_DROPPED);
			}
			sim_write(side);
			sim_check_side(side);
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
				fail("side %c, sender %u of %s waits for ever: %zu bytes and %u descriptors", 'A' + i,
				     k, side->senders[k].message->stream->name, side->senders[k].message->size,
				     side->senders[k].message->n_fds);
		}
		check(!tx_pending(&side->tx));
		check_int(side->writer, SIM_NOBODY);
		check_int(sim->pipes[i].queued, 0);
		check(!rx_unfinished(&side->rx));
		check(list_empty(&side->tx.claims));
		for (const struct sim_stream *stream = side->streams; stream; stream = stream->next) {
			for (size_t k = stream->arrived; k < stream->n_sent; k++) {
				if (stream->sent[k]->fate != FATE_GONE)
					fail("side %c: message %zu of %s has not arrived", 'A' + i, k, stream->name);
			}
		}
	}
	return !harness_failures();
}

/* All credit has come back, except what is collected before it is returned. */
static void check_credit(const struct sim_side *side)
{
	const struct sim_side *other = &side->sim->sides[1 - side->index];

	check_int(side->tx.pool.limit - side->tx.pool.used, other->limits.pool_bytes);
	check_int(side->tx.attachments.limit - side->tx.attachments.used + other->tx.due_attachments,
		  sim_granted(other));
	check(!side->unanswered);
}

static void check_all_released(const struct sim_side *side)
{
	for (const struct sim_stream *stream = side->streams; stream; stream = stream->next) {
		if (!stream->released)
			fail("side %c: %s, id %u, is not free", 'A' + (int)side->index, stream->name,
			     stream->outlet.id);
	}
	for (const struct sim_call *call = side->calls; call; call = call->next)
		check(call->over);
	check_int(side->tx.n_calls, 0);
	check_int(side->tx.n_outlets, 0);
	check_int(side->tx.n_closing, 0);
}

/* The callee knows of each cancelled call that is still open, unless GOODBYE came before. */
static void check_cancelled(const struct sim_side *side)
{
	for (const struct sim_call *call = side->calls; call && !side->said_goodbye; call = call->next)
		check(!call->cancelled || !call->open || call->replies->outlet.reset);
}

/* A slow sender goes on, or has waited long enough. */
static void hurry(struct sim_side *side)
{
	int slow = side->slow;

	side->slow = SIM_NOBODY;
	if (slow != SIM_NOBODY && sim_chance(side->sim, 50))
		sim_give_up(side, (unsigned)slow);
}

/* From now on everything is taken, closed and lent. */
static void drain_all(struct sim *sim)
{
	sim->drains = true;
	for (int i = 0; i < 2; i++) {
		struct sim_side *side = &sim->sides[i];

		side->keeps = side->sticky = false;
		side->generous = true;
		sim_close_kept(side, side->n_kept);
		sim_unstick(side);
	}
}

static void end_in_order(struct sim *sim)
{
	sim->calm = true;
	for (int i = 0; i < 2; i++) {
		/* Topics that wait for an id get one. */
		for (struct sim_stream *stream = sim->sides[i].streams; stream; stream = stream->next) {
			if (*stream->name == 'x')
				sim_end_stream(&sim->sides[i], stream);
		}
	}
	for (int i = 0; i < 2; i++)
		sim->sides[i].slow = sim_chance(sim, 50) ? (int)sim_choose(sim, SIM_SENDERS) : SIM_NOBODY;
	settle(sim, false);
	check_cancelled(&sim->sides[0]);
	check_cancelled(&sim->sides[1]);
	hurry(&sim->sides[0]);
	hurry(&sim->sides[1]);
	settle(sim, true);
	sim_check_rest(&sim->sides[0]);
	sim_check_rest(&sim->sides[1]);
	if (harness_failures())
		return;
	drain_all(sim);
	settle(sim, true);
	if (harness_failures() || !nothing_is_left(sim))
		return;
	if (!sim->sides[0].said_goodbye && !sim->sides[1].said_goodbye && sim_chance(sim, 70)) {
		for (int i = 0; i < 2; i++) {
			check_credit(&sim->sides[i]);
			for (struct sim_stream *stream = sim->sides[i].streams; stream; stream = stream->next)
				sim_end_stream(&sim->sides[i], stream);
		}
		settle(sim, true);
		if (harness_failures() || !nothing_is_left(sim))
			return;
		check_all_released(&sim->sides[0]);
		check_all_released(&sim->sides[1]);
	}
	if (!sim->sides[0].said_goodbye)
		sim_goodbye(&sim->sides[0]);
	settle(sim, true);
	check(sim->sides[0].tx.goodbye_sent && sim->sides[1].tx.goodbye_sent);
	check(sim->sides[0].heard_goodbye && sim->sides[1].heard_goodbye);
	nothing_is_left(sim);
}

/*
 * One side's process is killed. What it had written still arrives, what it had not read is lost,
 * and the other side comes to rest.
 */
static void end_by_death(struct sim *sim)
{
	struct sim_side *dead = &sim->sides[sim_choose(sim, 2)], *side = sim_other(dead);

	sim_event(dead, SIM_DIES, "dies");
	dead->dead = true;
	drain_all(sim);
	sim_pipe_empty(sim, &sim->pipes[side->index]);
	settle(sim, true);
	check(side->broken);
	check_int(side->writer, SIM_NOBODY);
	check_int(sim->pipes[dead->index].queued, 0);
	for (unsigned i = 0; i < SIM_SENDERS; i++)
		check(!side->senders[i].message);
	for (const struct sim_stream *stream = dead->streams; stream; stream = stream->next)
		check_int(stream->queue.n, 0);
}

static void end(struct sim *sim)
{
	size_t how = sim_choose(sim, 20);

	if (sim->sides[1].hostile) {
		while (sim_read(&sim->sides[0]))
			;
	} else if (how == 19) {
		sim_event(&sim->sides[0], SIM_STOPS, "the world stops");
	} else if (how >= 17) {
		end_by_death(sim);
	} else {
		sim_event(&sim->sides[0], SIM_ENDS, "the end comes");
		end_in_order(sim);
	}
}

void sim_play(struct tape *tape, enum sim_rule broken, struct sim *sums)
{
	static struct sim sim;

	sim_init(&sim, tape, broken);
	while (tape_turn(tape) && !harness_failures() && !sim.sides[0].over) {
		struct sim_side *side = &sim.sides[sim_choose(&sim, 2)];

		sim.steps++;
		step(side);
		sim_check_side(side);
	}
	if (!harness_failures())
		end(&sim);
	if (harness_failures())
		return;
	sim_end(&sim);
	sums->steps += sim.steps;
	sums->bytes += sim.bytes;
	for (unsigned i = 0; i < SIM_N_EVENTS; i++)
		sums->counts[i] += sim.counts[i];
}
