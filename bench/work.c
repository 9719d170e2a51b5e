/* SPDX-License-Identifier: MIT */
/*
 * One way: A sends a first tenth to warm up, B acknowledges, A sends the rest, B acknowledges; the time is A's, from
 * the first message of the rest to its acknowledgement. Each message begins with its number, as far as it is that long:
 * B checks how many came, their sizes, and the sum of their numbers.
 */
#include "work.h"
#include "util.h"
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONGEST_RUN = 120 }; /* seconds: a run that takes longer hangs */

const char *const place_names[PLACES] = {"one core", "two cores", "unpinned"};

const struct work works[] = {
    {.name = "w1", .title = "W1 round trip 64 B", .round_trip = true, .size = 64, .threads = 1, .lanes = 1},
    {.name = "w2-64", .title = "W2 one way 64 B", .size = 64, .threads = 1, .lanes = 1},
    {.name = "w2-1k", .title = "W2 one way 1 KiB", .size = 1024, .threads = 1, .lanes = 1},
    {.name = "w2-16k", .title = "W2 one way 16 KiB", .size = 16 << 10, .threads = 1, .lanes = 1},
    {.name = "w2-256k", .title = "W2 one way 256 KiB", .size = 256 << 10, .threads = 1, .lanes = 1},
    {.name = "w2-1m", .title = "W2 one way 1 MiB", .size = 1 << 20, .threads = 1, .lanes = 1},
    {.name = "w3", .title = "W3 one way 64 B + fd", .size = 64, .fd = true, .threads = 1, .lanes = 1},
    {.name = "w3-trip", .title = "W3 round trip + fd", .round_trip = true, .size = 64, .fd = true, .threads = 1, .lanes = 1},
    {.name = "w4", .title = "W4 4 threads, 1 topic", .size = 64, .threads = 4, .lanes = 1},
    {.name = "w4-topics", .title = "W4 4 threads, 4 topics", .size = 64, .threads = 4, .lanes = 4},
};
const size_t n_works = sizeof works / sizeof works[0];

static const struct work *work;
static const struct peer *peer;
static int attachment = -1;

/* ---- Placing ---- */

static int nth_cpu(int n)
{
	cpu_set_t allowed;

	must_sys(sched_getaffinity(0, sizeof allowed, &allowed), "sched_getaffinity");
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET((size_t)cpu, &allowed) && n-- == 0)
			return cpu;
	return -1;
}

static void take_place(enum place place, enum side side)
{
	cpu_set_t mine;

	if (place == PLACE_FREE)
		return;
	CPU_ZERO(&mine);
	CPU_SET((size_t)nth_cpu(place == PLACE_SPLIT && side == SIDE_B), &mine);
	must_sys(sched_setaffinity(0, sizeof mine, &mine), "sched_setaffinity");
}

bool work_possible(const struct work *w, const struct peer *p, enum place place)
{
	if (place == PLACE_SPLIT && nth_cpu(1) < 0)
		return false;
	return (!w->fd || p->passes_fds) && (!w->round_trip || !p->batches);
}

/* ---- One way ---- */

struct share {
	pthread_t thread;
	unsigned lane;
	uint64_t first, count; /* numbers of the messages */
	uint64_t got, sum;
};

static void *send_share(void *argument)
{
	struct share *share = argument;
	unsigned char *payload = must_allocate(work->size);

	memset(payload, 'b', work->size);
	for (uint64_t i = share->first; i < share->first + share->count; i++) {
		memcpy(payload, &i, work->size < sizeof i ? work->size : sizeof i);
		peer->send(share->lane, payload, work->size, attachment);
	}
	if (peer->flush)
		peer->flush(share->lane);
	free(payload);
	return NULL;
}

static void take_one(unsigned lane, uint64_t *ret_number)
{
	struct received received;

	peer->receive(lane, &received);
	if (received.size != work->size)
		die("%s: a message of %zu bytes came, not of %zu", peer->name, received.size, work->size);
	if ((received.fd >= 0) != work->fd)
		die("%s: a descriptor too few or too many", peer->name);
	if (received.fd >= 0)
		close(received.fd);
	*ret_number = 0;
	memcpy(ret_number, received.data, work->size < sizeof *ret_number ? work->size : sizeof *ret_number);
	peer->release(&received);
}

static void *receive_share(void *argument)
{
	struct share *share = argument;
	uint64_t number;

	for (share->got = 0, share->sum = 0; share->got < share->count; share->got++) {
		take_one(share->lane, &number);
		share->sum += number;
	}
	return NULL;
}

/* In `n` threads, or in this one. */
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
	unsigned char *payload = must_allocate(work->size);

	memset(payload, 'a', work->size);
	peer->send(0, payload, work->size, attachment);
	if (peer->flush)
		peer->flush(0);
	free(payload);
}

static void send_all(uint64_t count)
{
	struct share shares[LANES_MAX];
	uint64_t number;

	for (unsigned i = 0; i < work->threads; i++)
		shares[i] =
		    (struct share){.lane = i % work->lanes, .first = count / work->threads * i, .count = count / work->threads};
	in_threads(send_share, shares, work->threads);
	take_one(0, &number);
}

static void receive_all(uint64_t count)
{
	struct share shares[LANES_MAX];
	uint64_t all = count / work->threads * work->threads, got = 0, sum = 0;
	unsigned lanes = peer->has_lanes ? work->lanes : 1;

	for (unsigned i = 0; i < lanes; i++)
		shares[i] = (struct share){.lane = i, .count = all / lanes};
	in_threads(receive_share, shares, lanes);
	for (unsigned i = 0; i < lanes; i++) {
		got += shares[i].got;
		sum += shares[i].sum;
	}
	if (got != all || (work->size >= sizeof sum && sum != all * (all - 1) / 2))
		die("%s: other messages came than were sent", peer->name);
	acknowledge();
}

static void one_way(enum side side, uint64_t count, struct outcome *ret)
{
	uint64_t warm = count / 10 + work->threads;

	if (side == SIDE_B) {
		receive_all(warm);
		receive_all(count);
		return;
	}
	send_all(warm);
	uint64_t began = now_ns();
	send_all(count);
	ret->seconds = (double)(now_ns() - began) / 1e9;
}

/* ---- Round trips ---- */

static void answer(uint64_t count)
{
	unsigned char *payload = must_allocate(work->size);
	uint64_t number;

	memset(payload, 'b', work->size);
	while (count-- > 0) {
		take_one(0, &number);
		memcpy(payload, &number, sizeof number);
		peer->send(0, payload, work->size, attachment);
	}
	free(payload);
}

static void ask(uint64_t count, double *ret_microseconds)
{
	unsigned char *payload = must_allocate(work->size);
	uint64_t number;

	memset(payload, 'b', work->size);
	for (uint64_t i = 0; i < count; i++) {
		uint64_t began = now_ns();
		memcpy(payload, &i, sizeof i);
		peer->send(0, payload, work->size, attachment);
		take_one(0, &number);
		ret_microseconds[i] = (double)(now_ns() - began) / 1e3;
		if (number != i)
			die("%s: an answer to another question", peer->name);
	}
	free(payload);
}

static void round_trips(enum side side, uint64_t count, struct outcome *ret)
{
	uint64_t warm = count / 10 + 1;

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
	ret->p50 = percentile(samples, count, 0.50);
	ret->p99 = percentile(samples, count, 0.99);
	free(samples);
}

/* ---- A run ---- */

static void run_side(enum side side, enum place place, uint64_t count, struct outcome *ret)
{
	alarm(LONGEST_RUN);
	take_place(place, side);
	if (work->fd)
		attachment = (int)must_sys(open("/dev/null", O_RDONLY | O_CLOEXEC), "/dev/null");
	peer->open(side);
	(work->round_trip ? round_trips : one_way)(side, count, ret);
	peer->close();
}

static bool ended_well(pid_t child)
{
	int status;

	must_sys(waitpid(child, &status, 0), "waitpid");
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* In processes of their own, so that a run finds nothing of the last one. */
static void run_both(enum place place, uint64_t count, struct outcome *ret)
{
	struct settings settings = {.size = work->size, .fds = work->fd, .lanes = work->lanes};

	peer->prepare(&settings);
	pid_t b = (pid_t)must_sys(fork(), "fork");
	run_side(b ? SIDE_A : SIDE_B, place, count, ret);
	/* As programs end: the library ends its threads then. */
	exit(b && !ended_well(b) ? 1 : 0);
}

struct outcome work_run(const struct work *w, const struct peer *p, enum place place, uint64_t count)
{
	struct outcome *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), outcome;

	if (shared == MAP_FAILED)
		die("no memory");
	work = w;
	peer = p;
	fflush(NULL);
	pid_t a = (pid_t)must_sys(fork(), "fork");
	if (a == 0)
		run_both(place, count, shared);
	if (!ended_well(a))
		die("%s, %s, %s: the run failed", p->name, w->title, place_names[place]);
	outcome = *shared;
	munmap(shared, sizeof *shared);
	return outcome;
}
