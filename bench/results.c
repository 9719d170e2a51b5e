/* SPDX-License-Identifier: MIT */
#include "report.h"
#include "util.h"
#include <beam/beam.h>
#include <jansson.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static json_t *root, *notes, *refusals, *all_series, *latencies;

static const char *const figure_names[] = {
    [FIGURE_RATE] = "rate",       [FIGURE_P50] = "p50", [FIGURE_P99] = "p99",         [FIGURE_CALLS] = "calls",
    [FIGURE_WAKEUPS] = "wakeups", [FIGURE_CPU] = "cpu", [FIGURE_CHANNEL] = "channel", [FIGURE_STACK] = "stack",
};

static json_t *must_json(json_t *value)
{
	if (!value)
		die("no memory for the results");
	return value;
}

static void must_set(int result)
{
	if (result < 0)
		die("no memory for the results");
}

static json_t *machine(void)
{
	struct utsname system;
	char model[128] = "unknown", line[256], day[32];
	FILE *file = fopen("/proc/cpuinfo", "re");
	time_t now = time(NULL);
	struct tm utc;

	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, "model name : %127[^\n]", model) == 1)
			break;
	if (file)
		fclose(file);
	must_sys(uname(&system), "uname");
	gmtime_r(&now, &utc);
	strftime(day, sizeof day, "%Y-%m-%d", &utc);
	return must_json(json_pack("{ss ss sI ss ss}", "processor", model, "kernel", system.release, "cores",
				   (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "day", day, "beam",
				   beam_version_string()));
}

void results_begin(unsigned rounds, double seconds)
{
	json_t *peers = must_json(json_array()), *titles = must_json(json_array());

	for (size_t i = 0; i < n_entries; i++)
		if (entries[i].peer)
			must_set(json_array_append_new(peers, json_pack("{ss ss si}", "name", entries[i].name, "what",
									entries[i].peer->what, "number", (int)i + 1)));
	for (size_t i = 0; i < n_works; i++)
		must_set(json_array_append_new(titles, json_pack("{ss ss si}", "name", works[i].name, "title",
								 works[i].title, "size", (int)works[i].size)));
	notes = must_json(json_array());
	refusals = must_json(json_array());
	all_series = must_json(json_array());
	latencies = must_json(json_array());
	root = must_json(json_pack("{so si sf so so so so so so}", "machine", machine(), "rounds", (int)rounds,
				   "seconds", seconds, "peers", peers, "works", titles, "notes", notes, "cannot",
				   refusals, "series", all_series, "latencies", latencies));
}

void results_note(const char *name, const char *text)
{
	must_set(json_array_append_new(notes, json_pack("{ss ss}", "name", name, "text", text)));
}

void results_cannot(const struct work *work, const struct peer *peer, const char *why)
{
	must_set(json_array_append_new(refusals,
				       json_pack("{ss ss ss}", "work", work->name, "peer", peer->name, "why", why)));
}

static json_t *numbers(const double *values, size_t n)
{
	json_t *array = must_json(json_array());

	for (size_t i = 0; i < n; i++)
		must_set(json_array_append_new(array, json_real(values[i])));
	return array;
}

void results_add(const struct series *series)
{
	must_set(json_array_append_new(all_series, json_pack("{ss ss ss ss so}", "work", series->work->name, "cores",
							     place_names[series->place], "peer", series->peer->name,
							     "figure", figure_names[series->figure], "values",
							     numbers(series->values, series->rounds))));
}

void results_add_latency(const struct work *work, const struct peer *peer, enum place place,
			 const double latency[PERCENTILES])
{
	must_set(json_array_append_new(latencies,
				       json_pack("{ss ss ss so so}", "work", work->name, "cores", place_names[place],
						 "peer", peer->name, "percentiles", numbers(percentiles, PERCENTILES),
						 "us", numbers(latency, PERCENTILES))));
}

void results_write(const char *path)
{
	if (json_dump_file(root, path, JSON_INDENT(1) | JSON_REAL_PRECISION(7)) < 0)
		die("%s: could not be written", path);
	json_decref(root);
	root = NULL;
}
