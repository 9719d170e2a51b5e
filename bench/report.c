/* SPDX-License-Identifier: MIT */
#include "report.h"
#include "util.h"
#include <string.h>
#include <unistd.h>

struct summary {
	double median, least, most;
};

static struct summary summarize(const double *values, unsigned n)
{
	double sorted[ROUNDS_MAX];

	memcpy(sorted, values, n * sizeof *values);
	samples_sort(sorted, n);
	return (struct summary){median(sorted, n), sorted[0], sorted[n - 1]};
}

static const char *const figure_titles[] = {
    [FIGURE_RATE] = "msg/s",      [FIGURE_P50] = "p50 us", [FIGURE_P99] = "p99 us",       [FIGURE_CALLS] = "calls",
    [FIGURE_WAKEUPS] = "wakeups", [FIGURE_CPU] = "cpu us", [FIGURE_CHANNEL] = "KiB each", [FIGURE_STACK] = "stack KiB",
};

/* 1234567 messages a second as "1.23 M"; bytes as KiB; the others as they are. */
static const char *number(char text[16], enum figure figure, double value)
{
	if (figure == FIGURE_RATE)
		snprintf(text, 16, value >= 1e6 ? "%.2f M" : "%.1f k", value / (value >= 1e6 ? 1e6 : 1e3));
	else if (figure == FIGURE_CALLS)
		snprintf(text, 16, "%.3f", value);
	else
		snprintf(text, 16, "%.1f", figure == FIGURE_CHANNEL || figure == FIGURE_STACK ? value / 1024 : value);
	return text;
}

void report_heading(FILE *out)
{
	fprintf(out, "%-27s %-9s %-11s %-9s %9s %9s %9s   %s\n", "work", "cores", "peer", "figure", "median", "min",
		"max", "x raw, or alone (min-max)");
}

void report_line(FILE *out, const struct series *series)
{
	struct summary values = summarize(series->values, series->rounds), summary;
	double ratios[ROUNDS_MAX] = {0};
	char a[16], b[16], c[16];

	fprintf(out, "%-27s %-9s %-11s %-9s %9s %9s %9s", series->work->title, place_names[series->place],
		series->peer->name, figure_titles[series->figure], number(a, series->figure, values.median),
		number(b, series->figure, values.least), number(c, series->figure, values.most));
	if (series->against) {
		for (unsigned i = 0; i < series->rounds; i++)
			ratios[i] = series->values[i] / series->against->values[i];
		summary = summarize(ratios, series->rounds);
		fprintf(out, "   %.2f (%.2f-%.2f)", summary.median, summary.least, summary.most);
	}
	fputc('\n', out);
	fflush(out);
}

/* ---- Progress ---- */

static bool shown;

void report_progress(unsigned done, unsigned all, const struct work *work, enum place place, const char *what)
{
	static uint64_t began;
	static const char *last_group;
	static enum place last_place;
	double passed;
	char left[32] = "";

	if (!began)
		began = now_ns();
	passed = (double)(now_ns() - began) / 1e9;
	if (done > 0)
		snprintf(left, sizeof left, ", %.0f s left", passed / done * (all - done));
	if (isatty(STDERR_FILENO)) {
		fprintf(stderr, "\r\033[K[%u/%u] %s, %s: %s (%.0f s%s)", done, all, work->title, place_names[place],
			what, passed, left);
		shown = true;
	} else if (work->group != last_group || place != last_place) {
		fprintf(stderr, "[%u/%u] %s, %s (%.0f s%s)\n", done, all, work->title, place_names[place], passed,
			left);
	}
	last_group = work->group;
	last_place = place;
}

void report_progress_end(void)
{
	if (shown)
		fputs("\r\033[K", stderr);
	shown = false;
}
