/* SPDX-License-Identifier: MIT */
/*
 * The sending process. Each topic has threads of its own, which take the next files from the list
 * whenever they are ready.
 */
#include "demo.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEP = 16 }; /* files that a thread takes at once */

struct line {
	const struct plan *plan;
	const struct tree *tree;
	beam_topic *topic;
	size_t limit;        /* larger contents are attached */
	_Atomic size_t next; /* in the tree's list */
	atomic_uint working;
	struct tally tally;
	double finished;
};

static size_t stride(const struct line *line)
{
	return line->plan->sample && line->tree->n > SLOW_MESSAGES ? line->tree->n / SLOW_MESSAGES : 1;
}

static bool is_full(const struct plan *plan, const struct parcel *parcel)
{
	if (parcel->n_fds == PARCEL_FDS)
		return true;
	return plan->parcel_fds ? parcel->n_fds >= plan->parcel_fds : parcel->size >= plan->parcel_bytes;
}

static void *sender(void *argument)
{
	struct line *line = argument;
	struct parcel parcel = {.size = 0};
	size_t each = stride(line), n = line->tree->n / each, from;

	while ((from = atomic_fetch_add(&line->next, STEP)) < n) {
		for (size_t i = from; i < n && i < from + STEP; i++) {
			parcel_add(&parcel, line->tree->paths[i * each], line->plan->parcel_fds > 0, line->limit);
			if (is_full(line->plan, &parcel))
				parcel_send(&parcel, line->topic, &line->tally);
		}
	}
	parcel_send(&parcel, line->topic, &line->tally);
	parcel_free(&parcel);
	if (atomic_fetch_sub(&line->working, 1) == 1) {
		must(beam_topic_close_send(line->topic), "close");
		line->finished = seconds();
	}
	return NULL;
}

static void start(struct line *line, pthread_t *threads, beam_channel *channel, const struct beam_limits *limits)
{
	must(beam_topic_open(&line->topic, channel, line->plan->name), line->plan->name);
	line->limit = limits->message_bytes - line->plan->parcel_bytes - 8192; /* what headers and paths take */
	line->working = line->plan->senders;
	for (unsigned i = 0; i < line->plan->senders; i++)
		must(-pthread_create(&threads[i], NULL, sender, line), "thread");
}

/*
 * Waits until the receiver has opened the topics. If a topic were opened and closed before that,
 * without a message, the receiver would not learn of it, and would wait for messages forever.
 */
static void wait_until_ready(beam_topic *summary)
{
	beam_message *message;
	int r = beam_topic_receive(summary, &message, 0, BEAM_FOREVER);

	must(r, TOPIC_SUMMARY);
	if (r > 0)
		beam_message_free(message);
}

/* Sends the totals to the receiver, and compares them with what it received. */
static bool compare(beam_topic *summary, const struct totals mine[TOPICS])
{
	struct totals theirs[TOPICS];
	size_t size = 0;

	must(beam_topic_send(summary, mine, sizeof theirs, 0, BEAM_FOREVER), TOPIC_SUMMARY);
	int r = beam_topic_receive_into(summary, theirs, sizeof theirs, &size, NULL, 0, NULL, 0, BEAM_FOREVER);
	must(r, TOPIC_SUMMARY);
	return r == 1 && size == sizeof theirs && report_comparison(mine, theirs);
}

int demo_send(const char *path, const struct tree *tree)
{
	struct line lines[TOPICS] = {0};
	struct totals totals[TOPICS];
	struct beam_limits limits;
	double began, finished[TOPICS];
	pthread_t threads[TOPICS][4];
	beam_channel *channel;
	beam_topic *summary;

	must(beam_channel_connect(&channel, path, NULL, beam_in_ms(5000)), path);
	report_breaches_of(channel);
	must(beam_channel_limits(channel, &limits, sizeof limits, beam_in_ms(5000)), "limits");
	must(beam_topic_open(&summary, channel, TOPIC_SUMMARY), TOPIC_SUMMARY);
	wait_until_ready(summary);
	began = seconds();
	for (int i = 0; i < TOPICS; i++) {
		lines[i].plan = &plans[i];
		lines[i].tree = tree;
		start(&lines[i], threads[i], channel, &limits);
	}
	for (int i = 0; i < TOPICS; i++) {
		for (unsigned k = 0; k < plans[i].senders; k++)
			must(-pthread_join(threads[i][k], NULL), "join");
		totals[i] = tally_read(&lines[i].tally);
		finished[i] = lines[i].finished - began;
		beam_topic_unref(lines[i].topic);
	}
	bool same = compare(summary, totals);
	beam_topic_unref(summary);
	report_totals("sent", totals, finished);
	must(beam_channel_close(channel, beam_in_ms(5000)), "close");
	beam_channel_unref(channel);
	return same ? 0 : 1;
}
