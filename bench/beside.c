/* SPDX-License-Identifier: MIT */
#include "beside.h"
#include "util.h"
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKED = 3, STUCK_MS = 50 };

static enum beside what;
static beam_topic *topics[BLOCKED];
static pthread_t threads[BLOCKED];
static unsigned n_topics, n_threads;
static sem_t stuck;
static atomic_bool enough;

static bool is_end(long r)
{
	return r == -EPIPE || r == -ECONNRESET;
}

/*
 * Sends until a send has timed out for lack of credit. Then it blocks in a send until the channel
 * ends, as a program would.
 */
static void *fill(void *argument)
{
	beam_topic *topic = argument;
	unsigned char payload[64] = {0};
	int r;

	while ((r = beam_topic_send(topic, payload, sizeof payload, 0, beam_in_ms(STUCK_MS))) == 0)
		;
	if (r != -ETIMEDOUT)
		must(r, "a slow topic");
	sem_post(&stuck);
	while ((r = beam_topic_send(topic, payload, sizeof payload, 0, BEAM_FOREVER)) == 0)
		;
	if (!is_end(r))
		must(r, "a slow topic");
	return NULL;
}

/* Each message has its number at both ends. */
static void *send_large(void *argument)
{
	beam_topic *topic = argument;
	unsigned char *payload = must_allocate(LARGE_SIZE);

	memset(payload, 'l', LARGE_SIZE);
	for (uint64_t i = 0; i == 0 || !enough; i++) {
		memcpy(payload, &i, sizeof i);
		memcpy(payload + LARGE_SIZE - sizeof i, &i, sizeof i);
		must(beam_topic_send(topic, payload, LARGE_SIZE, 0, BEAM_FOREVER), "a large message");
	}
	free(payload);
	must(beam_topic_close_send(topic), "topic");
	return NULL;
}

static void *receive_large(void *argument)
{
	beam_topic *topic = argument;
	beam_message *message;

	for (uint64_t i = 0;; i++) {
		if (must(beam_topic_receive(topic, &message, 0, BEAM_FOREVER), "a large message") == 0) {
			if (i == 0)
				die("no large message arrived");
			return NULL;
		}
		const unsigned char *data = beam_message_data(message);
		if (beam_message_size(message) != LARGE_SIZE || memcmp(data, &i, sizeof i) != 0 ||
		    memcmp(data + LARGE_SIZE - sizeof i, &i, sizeof i) != 0)
			die("a large message arrived that was not sent");
		beam_message_free(message);
	}
}

static void *wait_in_vain(void *argument)
{
	beam_topic *topic = argument;
	beam_message *message;
	int r = beam_topic_receive(topic, &message, 0, BEAM_FOREVER);

	if (r > 0)
		die("a message arrived that nobody sent");
	if (r < 0 && !is_end(r))
		must(r, "receive");
	return NULL;
}

static void start(beam_channel *channel, const char *name, void *(*run)(void *))
{
	beam_topic **topic = &topics[n_topics++];

	must(beam_topic_open(topic, channel, name), "topic");
	if (run)
		must(-pthread_create(&threads[n_threads++], NULL, run, *topic), "thread");
}

void beside_begin(beam_channel *channel, enum side side, enum beside beside)
{
	char name[16];

	what = beside;
	switch (beside) {
	case BESIDE_NOTHING: break;
	case BESIDE_SLOW:
		must_sys(sem_init(&stuck, 0, 0), "semaphore");
		start(channel, "slow", side == SIDE_A ? fill : NULL);
		while (side == SIDE_A && sem_wait(&stuck) < 0)
			;
		break;
	case BESIDE_LARGE: start(channel, "large", side == SIDE_A ? send_large : receive_large); break;
	case BESIDE_BLOCKED:
		for (unsigned i = 0; i < BLOCKED; i++) {
			snprintf(name, sizeof name, "blocked %u", i);
			start(channel, name, wait_in_vain);
		}
		break;
	}
}

static void join_all(void)
{
	while (n_threads > 0)
		must(-pthread_join(threads[--n_threads], NULL), "join");
}

void beside_end(enum side side)
{
	if (what != BESIDE_LARGE)
		return;
	enough = side == SIDE_A;
	join_all();
}

void beside_join(void)
{
	join_all();
	while (n_topics > 0)
		beam_topic_unref(topics[--n_topics]);
}
