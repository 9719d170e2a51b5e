/* SPDX-License-Identifier: MIT */
#include "report.h"
#include "util.h"
#include <string.h>

struct summary {
	double median, least, most;
};

/* What is asked of a median ratio to raw, wherever the processes run. */
static const struct goal {
	const char *work, *peer;
	enum figure figure;
	double ratio;
} goals[] = {
    {"w2-64", "beam", FIGURE_RATE, 0.85},
    {"w2-64", "beam-many", FIGURE_RATE, 3.0},
};

static struct summary summarize(const double *values, unsigned n)
{
	double sorted[ROUNDS_MAX];

	memcpy(sorted, values, n * sizeof *values);
	samples_sort(sorted, n);
	return (struct summary){median(sorted, n), sorted[0], sorted[n - 1]};
}

static const struct goal *goal_of(const struct series *series)
{
	for (size_t i = 0; i < sizeof goals / sizeof goals[0]; i++)
		if (series->figure == goals[i].figure && strcmp(series->work->name, goals[i].work) == 0 &&
		    strcmp(series->peer->name, goals[i].peer) == 0)
			return &goals[i];
	return NULL;
}

static const char *const figure_names[] = {[FIGURE_RATE] = "msg/s", [FIGURE_P50] = "p50 us", [FIGURE_P99] = "p99 us"};

/* 1234567 as "1.23 M"; times as they are. */
static const char *number(char text[16], enum figure figure, double value)
{
	if (figure != FIGURE_RATE)
		snprintf(text, 16, "%.1f", value);
	else if (value >= 1e6)
		snprintf(text, 16, "%.2f M", value / 1e6);
	else
		snprintf(text, 16, "%.1f k", value / 1e3);
	return text;
}

void report_heading(FILE *out)
{
	fprintf(out, "%-23s %-9s %-10s %-7s %9s %9s %9s   %s\n", "work", "cores", "peer", "figure", "median", "min", "max",
		"x raw (min-max)");
}

bool report_line(FILE *out, const struct series *series)
{
	struct summary values = summarize(series->values, series->rounds), ratios = summarize(series->ratios, series->rounds);
	const struct goal *goal = goal_of(series);
	bool reached = !goal || ratios.median == 0 ||
		       (series->figure == FIGURE_RATE ? ratios.median >= goal->ratio : ratios.median <= goal->ratio);
	char a[16], b[16], c[16];

	fprintf(out, "%-23s %-9s %-10s %-7s %9s %9s %9s", series->work->title, place_names[series->place], series->peer->name,
		figure_names[series->figure], number(a, series->figure, values.median), number(b, series->figure, values.least),
		number(c, series->figure, values.most));
	if (ratios.median > 0)
		fprintf(out, "   %.2f (%.2f-%.2f)", ratios.median, ratios.least, ratios.most);
	if (goal && ratios.median > 0)
		fprintf(out, "  goal %s %.2f: %s", series->figure == FIGURE_RATE ? ">=" : "<=", goal->ratio,
			reached ? "reached" : "MISSED");
	fputc('\n', out);
	fflush(out);
	return reached;
}

static void json_array(FILE *out, const char *name, const double *values, unsigned n)
{
	fprintf(out, ", \"%s\": [", name);
	for (unsigned i = 0; i < n; i++)
		fprintf(out, "%s%.6g", i ? ", " : "", values[i]);
	fputc(']', out);
}

void report_json(FILE *out, const struct series *series, bool first)
{
	fprintf(out, "%s\n  {\"work\": \"%s\", \"cores\": \"%s\", \"peer\": \"%s\", \"figure\": \"%s\"", first ? "" : ",",
		series->work->name, place_names[series->place], series->peer->name, figure_names[series->figure]);
	json_array(out, "values", series->values, series->rounds);
	if (series->ratios[0] > 0)
		json_array(out, "ratios", series->ratios, series->rounds);
	fputc('}', out);
}
