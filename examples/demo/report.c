/* SPDX-License-Identifier: MIT */
/* What the two processes print. */
#include "demo.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static beam_channel *watched;

void report_breaches_of(beam_channel *channel)
{
	watched = channel;
}

void must(int result, const char *what)
{
	const char *more = NULL;

	if (result >= 0)
		return;
	if (result == -EPROTO)
		more = beam_channel_breach(watched);
	else if (result == -EPIPE || result == -ECONNRESET)
		more = "the other process has ended";
	fprintf(stderr, "%s: %s%s%s\n", what, strerror(-result), more ? ": " : "", more ? more : "");
	exit(1);
}

void must_sys(int result, const char *what)
{
	must(result < 0 ? -errno : 0, what);
}

double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void report_totals(const char *who, const struct totals totals[TOPICS], const double *finished)
{
	printf("%-12s %9s %8s %12s %12s  %-16s %s\n", who, "messages", "files", "bytes", "descriptors", "checksums",
	       "finished");
	for (int i = 0; i < TOPICS; i++) {
		const struct totals *t = &totals[i];
		printf("  %-10s %9" PRIu64 " %8" PRIu64 " %12" PRIu64 " %12" PRIu64 "  %016" PRIx64 " %6.2f s\n",
		       plans[i].name, t->messages, t->files, t->bytes, t->descriptors, t->sum, finished[i]);
	}
	fflush(stdout);
}

bool report_comparison(const struct totals mine[TOPICS], const struct totals theirs[TOPICS])
{
	bool same = true;

	for (int i = 0; i < TOPICS; i++) {
		if (memcmp(&mine[i], &theirs[i], sizeof *mine) == 0)
			continue;
		fprintf(stderr, "MISMATCH on the topic %s\n", plans[i].name);
		same = false;
	}
	return same;
}

void report_progress(const struct tally tallies[TOPICS], double since)
{
	uint64_t messages = 0, bytes = 0;

	if (!isatty(STDERR_FILENO))
		return;
	for (int i = 0; i < TOPICS; i++) {
		messages += tallies[i].messages;
		bytes += tallies[i].bytes;
	}
	fprintf(stderr, "\r\033[K%.1f s  %" PRIu64 " messages, %" PRIu64 " MB", seconds() - since, messages,
		bytes / 1000000);
}

void report_progress_end(void)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}
