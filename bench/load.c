/* SPDX-License-Identifier: MIT */
/*
 * One way: A first sends a tenth as many messages to warm up, and B acknowledges them. Then A sends
 * all messages, and B acknowledges them. A measures the time from the first of these messages to
 * their acknowledgement. Each message begins with its number and ends with a mark. B checks how
 * many arrived, their sizes and marks, and their order. If they have no order, it checks the sum of
 * their numbers.
 *
 * Round trips: A asks, B answers with the number that was asked, and A checks it. The time of each
 * round trip is measured.
 */
#include "util.h"
#include "work.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MARK = 'b', ACKNOWLEDGEMENT = 'a', THREADS_MAX = 4 };

static const struct work *work;
static const struct peer *peer;
static int attachment = -1;

/* ---- Messages ---- */

/* What a thread sends, or receives. */
struct share {
	pthread_t thread;
	unsigned lane;
	uint64_t first, count; /* numbers of the messages */
	bool in_order;         /* from the first on */
	uint64_t got, sum, last;
	unsigned char mark;
};

static unsigned char *new_payload(unsigned char mark)
{
	unsigned char *payload = must_allocate(work->size);

	memset(payload, mark, work->size);
	return payload;
}

static void take(void *context, const struct received *received)
{
	struct share *share = context;

	if (received->size != work->size)
		die("%s: a message of %zu bytes arrived instead of %zu", peer->name, received->size, work->size);
	if ((received->fd >= 0) != work->fd)
		die("%s: a message arrived with too few or too many descriptors", peer->name);
	memcpy(&share->last, received->data, sizeof share->last);
	if (received->data[work->size - 1] != share->mark ||
	    (share->in_order && share->last != share->first + share->got))
		die("%s: a message arrived that was not sent, or in another order", peer->name);
	share->got++;
	share->sum += share->last;
}

static void take_messages(unsigned lane, uint64_t n, struct share *share)
{
	struct received received;

	if (peer->dispatch) {
		peer->dispatch(n, take, share);
		return;
	}
	while (n-- > 0) {
		peer->receive(lane, &received);
		take(share, &received);
		peer->release(&received);
	}
}

static void flush(unsigned lane)
{
	if (peer->flush)
		peer->flush(lane);
}

/* ---- One way ---- */

static void *send_share(void *argument)
{
	struct share *share = argument;
	unsigned char *payload = new_payload(MARK);
	unsigned lane = share->lane;

	for (uint64_t i = share->first; i < share->first + share->count; i++) {
		if (work->rotate)
			lane = (unsigned)(i % work->lanes);
		memcpy(payload, &i, sizeof i);
		peer->send(lane, payload, work->size, attachment);
	}
	flush(lane);
	free(payload);
	return NULL;
}

static void *receive_share(void *argument)
{
	struct share *share = argument;

	if (!work->rotate)
		take_messages(share->lane, share->count, share);
	else
		for (uint64_t i = share->first; i < share->first + share->count; i++)
			take_messages((unsigned)(i % work->lanes), 1, share);
	return NULL;
}

/* Runs shares in `n` threads, or in this thread if there is only one. */
static void in_threads(void *(*run)(void *), struct share *shares, unsigned n)
{
	if (n == 1) {
		run(&shares[0]);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		must(-pthread_create(&shares[i].thread, NULL, run, &shares[i]), "thread");
	for (unsigned i = 0; i < n; i++)
		must(-pthread_join(shares[i].thread, NULL), "join");
}

static void acknowledge(void)
{
	unsigned char *payload = new_payload(ACKNOWLEDGEMENT);

	peer->send(0, payload, work->size, attachment);
	flush(0);
	free(payload);
}

static void send_all(uint64_t count)
{
	struct share shares[THREADS_MAX], answer = {.mark = ACKNOWLEDGEMENT};

	for (unsigned i = 0; i < work->threads; i++)
		shares[i] = (struct share){
		    .lane = i % work->lanes, .first = count / work->threads * i, .count = count / work->threads};
	in_threads(send_share, shares, work->threads);
	take_messages(0, 1, &answer);
}

static void receive_all(uint64_t count)
{
	struct share shares[THREADS_MAX];
	uint64_t all = count / work->threads * work->threads, got = 0, sum = 0;
	unsigned n = peer->has_lanes && !work->rotate ? work->lanes : 1;

	for (unsigned i = 0; i < n; i++)
		shares[i] = (struct share){
		    .lane = i, .first = all / n * i, .count = all / n, .in_order = n == work->threads, .mark = MARK};
	in_threads(receive_share, shares, n);
	for (unsigned i = 0; i < n; i++) {
		got += shares[i].got;
		sum += shares[i].sum;
	}
	if (got != all || sum != all * (all - 1) / 2)
		die("%s: messages arrived that were not sent", peer->name);
	acknowledge();
}

static uint64_t warm_up(uint64_t count)
{
	return count / 10 + work->threads;
}

static void one_way(enum side side, uint64_t count, struct outcome *ret)
{
	if (side == SIDE_B) {
		receive_all(warm_up(count));
		receive_all(count);
		return;
	}
	send_all(warm_up(count));
	uint64_t began = now_ns();
	send_all(count);
	ret->seconds = (double)(now_ns() - began) / 1e9;
}

/* ---- Round trips ---- */

static void answer(uint64_t count)
{
	unsigned char *payload = new_payload(ACKNOWLEDGEMENT);
	struct share share = {.mark = MARK};

	while (count-- > 0) {
		take_messages(0, 1, &share);
		memcpy(payload, &share.last, sizeof share.last);
		peer->send(0, payload, work->size, attachment);
		flush(0);
	}
	free(payload);
}

static void ask(uint64_t count, double *ret_microseconds)
{
	unsigned char *payload = new_payload(MARK);
	struct share share = {.mark = ACKNOWLEDGEMENT, .in_order = true};

	for (uint64_t i = 0; i < count; i++) {
		uint64_t began = now_ns();
		memcpy(payload, &i, sizeof i);
		peer->send(0, payload, work->size, attachment);
		flush(0);
		take_messages(0, 1, &share);
		ret_microseconds[i] = (double)(now_ns() - began) / 1e3;
	}
	free(payload);
}

static void round_trips(enum side side, uint64_t count, struct outcome *ret)
{
	uint64_t warm = warm_up(count);

	if (side == SIDE_B) {
		answer(warm + count);
		return;
	}
	double *samples = must_allocate((warm + count) * sizeof *samples);
	ask(warm, samples);
	uint64_t began = now_ns();
	ask(count, samples);
	ret->seconds = (double)(now_ns() - began) / 1e9;
	samples_sort(samples, count);
	for (unsigned i = 0; i < PERCENTILES; i++)
		ret->latency[i] = percentile(samples, count, percentiles[i]);
	free(samples);
}

/* ---- A side ---- */

uint64_t load_messages(const struct work *w, uint64_t count)
{
	return count + count / 10 + w->threads;
}

void load_run(const struct work *w, const struct peer *p, enum side side, uint64_t count, struct outcome *ret)
{
	int ends[2] = {-1, -1};

	work = w;
	peer = p;
	if (work->fd) {
		must_sys(pipe2(ends, O_CLOEXEC), "pipe");
		attachment = ends[0];
	}
	(work->kind == KIND_ROUND_TRIP ? round_trips : one_way)(side, count, ret);
	if (work->fd) {
		close(ends[0]);
		close(ends[1]);
	}
}
