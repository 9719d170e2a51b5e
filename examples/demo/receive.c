/* SPDX-License-Identifier: MIT */
/*
 * The receiving process. Each topic has threads of its own. Those of one topic are slow on purpose.
 */
#include "demo.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct line {
	const struct plan *plan;
	beam_topic *topic;
	struct tally *tally;
	atomic_uint working;
	double finished;
};

static void rest(unsigned milliseconds)
{
	struct timespec t = {milliseconds / 1000, milliseconds % 1000 * 1000000L};

	if (milliseconds)
		nanosleep(&t, NULL);
}

static void *receiver(void *argument)
{
	struct line *line = argument;
	beam_message *message;
	int r;

	while ((r = beam_topic_receive(line->topic, &message, 0, BEAM_FOREVER)) > 0) {
		parcel_receive(message, line->tally);
		beam_message_free(message);
		rest(line->plan->pause_ms);
	}
	must(r, line->plan->name);
	if (atomic_fetch_sub(&line->working, 1) == 1)
		line->finished = seconds();
	return NULL;
}

static void start(struct line *line, pthread_t *threads, beam_channel *channel)
{
	must(beam_topic_open(&line->topic, channel, line->plan->name), line->plan->name);
	line->working = line->plan->receivers;
	for (unsigned i = 0; i < line->plan->receivers; i++)
		must(-pthread_create(&threads[i], NULL, receiver, line), "thread");
}

/* Waits for the sender's totals, and shows the progress meanwhile. */
static void wait_for_summary(beam_topic *summary, struct totals theirs[TOPICS], const struct tally tallies[TOPICS],
			     double began)
{
	size_t size = 0, n = TOPICS * sizeof *theirs;
	int r;

	do {
		report_progress(tallies, began);
		r = beam_topic_receive_into(summary, theirs, n, &size, NULL, 0, NULL, 0, beam_in_ms(100));
	} while (r == -ETIMEDOUT);
	must(r, TOPIC_SUMMARY);
	if (r == 0)
		must(-EPIPE, TOPIC_SUMMARY);
	if (size != n)
		must(-EBADMSG, TOPIC_SUMMARY);
}

static void report_speed(const struct totals totals[TOPICS], const double finished[TOPICS])
{
	double quick = 0, bytes = 0, messages = 0;

	for (int i = 0; i < TOPICS; i++) {
		if (plans[i].pause_ms)
			continue;
		quick = finished[i] > quick ? finished[i] : quick;
		bytes += (double)totals[i].bytes;
		messages += (double)totals[i].messages;
	}
	if (messages == 0)
		return;
	printf("The topics without pauses finished after %.2f s, at %.0f MB/s and %.0f messages/s. The slow topic "
	       "finished "
	       "after %.2f s.\n",
	       quick, bytes / quick / 1e6, messages / quick, finished[TOPIC_SLOW]);
}

/*
 * At the end both sides know the totals of both. The sender prints first, and then closes the
 * channel.
 */
static bool compare(beam_topic *summary, const struct totals mine[TOPICS], const struct totals theirs[TOPICS])
{
	beam_message *message;

	must(beam_topic_send(summary, mine, TOPICS * sizeof *mine, 0, BEAM_FOREVER), TOPIC_SUMMARY);
	int r = beam_topic_receive(summary, &message, 0, BEAM_FOREVER);
	must(r, "goodbye");
	if (r > 0)
		beam_message_free(message);
	return r == 0 && report_comparison(mine, theirs);
}

int demo_receive(int socket)
{
	struct line lines[TOPICS] = {0};
	struct tally tallies[TOPICS] = {0};
	struct totals mine[TOPICS], theirs[TOPICS];
	double finished[TOPICS];
	pthread_t threads[TOPICS][4];
	beam_channel *channel;
	beam_topic *summary;

	must(beam_channel_from_fd(&channel, socket, NULL), "channel");
	report_breaches_of(channel);
	double began = seconds();
	must(beam_topic_open(&summary, channel, TOPIC_SUMMARY), TOPIC_SUMMARY);
	for (int i = 0; i < TOPICS; i++) {
		lines[i].plan = &plans[i];
		lines[i].tally = &tallies[i];
		start(&lines[i], threads[i], channel);
	}
	must(beam_topic_send(summary, NULL, 0, 0, BEAM_FOREVER), TOPIC_SUMMARY);
	wait_for_summary(summary, theirs, tallies, began);
	for (int i = 0; i < TOPICS; i++) {
		for (unsigned k = 0; k < plans[i].receivers; k++)
			must(-pthread_join(threads[i][k], NULL), "join");
		mine[i] = tally_read(&tallies[i]);
		finished[i] = lines[i].finished - began;
		beam_topic_unref(lines[i].topic);
	}
	report_progress_end();
	bool same = compare(summary, mine, theirs);
	report_totals("received", mine, finished);
	report_speed(mine, finished);
	beam_topic_unref(summary);
	must(beam_channel_close(channel, beam_in_ms(5000)), "close");
	beam_channel_unref(channel);
	return same ? 0 : 1;
}
