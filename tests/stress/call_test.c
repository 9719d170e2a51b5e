/* SPDX-License-Identifier: MIT */
/*
 * Calls under stress: on several channels, threads of both sides call, reply, cancel, time out and
 * close at random. Each reply must be the next one of its own call, each result must be documented,
 * and each call must end.
 */
#include <public/ends.h>
#include <stdatomic.h>

enum { CHANNELS = 4, CALLERS = 3, CALLEES = 2, SIDES = 2, CODE = BEAM_FAILURE_APPLICATION };

/* What a request contains: who calls, and what to reply. */
struct request {
	uint64_t number;
	uint32_t replies, size;
	bool fails, attached;
};

struct pair {
	struct ends ends;
	/* One side may close the channel from now on. */
	atomic_bool closing;
	atomic_ulong calls, replies, cancelled;
};

struct worker {
	struct pair *pair;
	int side;
	unsigned number;
	struct rng rng;
	pthread_t thread;
};

static struct pair pairs[CHANNELS];
static unsigned char bulk[200000];

/* True for results that calls and replies may always have. */
static bool may_be(const struct worker *worker, int r)
{
	switch (r) {
	case 0:
	case -EAGAIN:
	case -ETIMEDOUT:
	case -ECANCELED: return true;
	case -EREMOTEIO:
	case -EPIPE: return atomic_load(&worker->pair->closing);
	default: return false;
	}
}

static beam_deadline some_time(struct worker *worker)
{
	uint64_t chance = rng_below(&worker->rng, 20);

	return chance == 0 ? BEAM_NOWAIT : chance == 1 ? beam_in_ms((int64_t)rng_below(&worker->rng, 3)) : soon();
}

/* ---- The callee ------------------------------------------------------------------------------ */

static int answer(struct worker *worker, beam_message *message, const struct request *request)
{
	int r = 0;

	for (uint32_t i = 0; i < request->replies && !r; i++) {
		bool last = i + 1 == request->replies && !request->fails;
		struct iovec iov[] = {{(void *)(uintptr_t)&request->number, sizeof request->number},
				      {&i, sizeof i},
				      {bulk, request->size}};
		int fd = STDERR_FILENO;

		r = beam_message_replyv(message, iov, 3, &fd, request->attached, last ? 0 : BEAM_REPLY_MORE, soon());
	}
	if (!r && request->fails)
		r = beam_message_reply_failure(message, CODE, &request->number, sizeof request->number, 0, soon());
	(void)worker;
	return r;
}

static void *callee_run(void *argument)
{
	struct worker *worker = argument;
	beam_topic *topic = worker->pair->ends.topic[worker->side];
	beam_message *message;
	int r;

	while ((r = beam_topic_receive(topic, &message, 0, BEAM_FOREVER)) == 1) {
		struct request request;

		if (check_int(beam_message_size(message), sizeof request) && check(beam_message_is_call(message))) {
			memcpy(&request, beam_message_data(message), sizeof request);
			r = answer(worker, message, &request);
			if (!may_be(worker, r))
				fail("an answer: %d (%s)", r, strerror(-r));
		}
		beam_message_free(message);
	}
	check_int(r, 0);
	return NULL;
}

/* ---- The caller ------------------------------------------------------------------------------ */

static void check_reply(const struct request *request, uint32_t i, beam_message *reply)
{
	const unsigned char *data = beam_message_data(reply);
	uint32_t number;

	if (check_int(beam_message_size(reply), sizeof request->number + sizeof i + request->size)) {
		check_bytes(data, &request->number, sizeof request->number);
		memcpy(&number, data + sizeof request->number, sizeof number);
		check_int(number, i);
	}
	check_int(beam_message_attachments(reply), request->attached);
}

/* Checks the failure that the request has asked for, if any. */
static void check_failure(const struct worker *worker, const struct request *request, uint32_t got, beam_call *call)
{
	const void *data = NULL;
	uint32_t code = 0;
	size_t size = 0;

	check_int(beam_call_failure(call, &code, &data, &size), 0);
	if (code != CODE) {
		check(atomic_load(&worker->pair->closing) || code == BEAM_FAILURE_DROPPED);
		return;
	}
	check(request->fails);
	check_int(got, request->replies);
	if (check_int(size, sizeof request->number))
		check_bytes(data, &request->number, size);
}

/* Receives replies until the call ends, or until it has enough of them. */
static void receive_all(struct worker *worker, beam_call *call, const struct request *request)
{
	uint32_t enough = rng_chance(&worker->rng, 20) ? (uint32_t)rng_below(&worker->rng, 4) : UINT32_MAX, got = 0;
	beam_message *reply;
	int r = 1;

	while (r == 1 && got < enough) {
		r = beam_call_receive(call, &reply, 0, some_time(worker));
		if (r == 1) {
			check_reply(request, got++, reply);
			beam_message_free(reply);
			atomic_fetch_add(&worker->pair->replies, 1);
		} else if (r == -EAGAIN || r == -ETIMEDOUT) {
			/* Continues to wait, or gives up. */
			r = rng_chance(&worker->rng, 70);
		}
	}
	if (r == 1 && enough != UINT32_MAX) {
		check_int(beam_call_cancel(call), 0);
		atomic_fetch_add(&worker->pair->cancelled, 1);
	} else if (r == -EREMOTEIO) {
		check_failure(worker, request, got, call);
	} else if (!may_be(worker, r) && r != 1) {
		fail("a reply: %d (%s)", r, strerror(-r));
	}
}

static void *caller_run(void *argument)
{
	struct worker *worker = argument;
	beam_topic *topic = worker->pair->ends.topic[worker->side];
	size_t n = scale(2000);

	for (size_t i = 0; i < n && !harness_failures(); i++) {
		struct request request = {
		    .number = (uint64_t)worker->number << 32 | i,
		    .replies = 1 + (uint32_t)rng_below(&worker->rng, rng_chance(&worker->rng, 10) ? 30 : 3),
		    .size = (uint32_t)rng_below(&worker->rng, rng_chance(&worker->rng, 3) ? sizeof bulk : 300),
		    .fails = rng_chance(&worker->rng, 20),
		    .attached = rng_chance(&worker->rng, 20),
		};
		struct iovec iov = {&request, sizeof request};
		beam_call *call = NULL;
		int r = beam_call_begin(&call, topic, &iov, 1, NULL, 0, 0, some_time(worker));

		if (r == 0) {
			atomic_fetch_add(&worker->pair->calls, 1);
			receive_all(worker, call, &request);
			beam_call_unref(call);
		} else if (!may_be(worker, r)) {
			fail("a call: %d (%s)", r, strerror(-r));
		}
		if (r == -EPIPE)
			break;
	}
	return NULL;
}

/* ---- Rounds ---------------------------------------------------------------------------------- */

static void start(struct worker *worker, struct pair *pair, int side, unsigned number, void *(*run)(void *))
{
	*worker = (struct worker){.pair = pair, .side = side, .number = number, .rng = rng_new(number)};
	worker->thread = thread_spawn(run, worker);
}

/* With `close`, every second channel is closed while the threads work. */
static void run(bool close)
{
	static struct worker callers[CHANNELS][SIDES][CALLERS], callees[CHANNELS][SIDES][CALLEES];
	unsigned number = 0;

	for (int c = 0; c < CHANNELS; c++) {
		pairs[c] = (struct pair){0};
		ends_open(&pairs[c].ends, NULL);
		for (int side = 0; side < SIDES; side++) {
			for (int i = 0; i < CALLEES; i++)
				start(&callees[c][side][i], &pairs[c], side, ++number, callee_run);
			for (int i = 0; i < CALLERS; i++)
				start(&callers[c][side][i], &pairs[c], side, ++number, caller_run);
		}
	}
	for (int c = 0; close && c < CHANNELS; c += 2) {
		check_within(60000, atomic_load(&pairs[c].calls) > scale(500));
		atomic_store(&pairs[c].closing, true);
		beam_channel_close(pairs[c].ends.channel[c / 2 % SIDES], soon());
	}
	for (int c = 0; c < CHANNELS; c++) {
		for (int side = 0; side < SIDES; side++) {
			for (int i = 0; i < CALLERS; i++)
				thread_wait(callers[c][side][i].thread);
		}
		atomic_store(&pairs[c].closing, true);
		for (int side = 0; side < SIDES; side++)
			beam_topic_close_send(pairs[c].ends.topic[side]);
		for (int side = 0; side < SIDES; side++) {
			for (int i = 0; i < CALLEES; i++)
				thread_wait(callees[c][side][i].thread);
			check_string(beam_channel_breach(pairs[c].ends.channel[side]), NULL);
		}
		check(pairs[c].calls && pairs[c].replies);
		ends_close(&pairs[c].ends);
	}
}

static void test_calls_from_all_sides_each_get_their_own_replies(void)
{
	run(false);
}

static void test_calls_from_all_sides_come_to_an_end_when_channels_close(void)
{
	for (int i = 0; i < 5; i++) {
		run(true);
		harness_progress();
	}
}

static const struct test tests[] = {
    TEST(test_calls_from_all_sides_each_get_their_own_replies),
    TEST(test_calls_from_all_sides_come_to_an_end_when_channels_close),
};
HARNESS_MAIN("stress/call", tests)
