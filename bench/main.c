/* SPDX-License-Identifier: MIT */
/*
 * beam-bench compares Beam with other ways to send messages between two processes, in the same run.
 * The rounds of all peers are interleaved, so that other activity of the machine affects all of
 * them. All are compared with the raw program.
 */
#include "calls.h"
#include "report.h"
#include "util.h"
#include <argp.h>
#include <beam/beam.h>
#include <stdlib.h>
#include <string.h>

enum { FIGURES_MAX = 2, GROUP_MAX = 4, PEERS_MAX = 16, CELLS_MAX = GROUP_MAX * PEERS_MAX };

static struct {
	unsigned rounds, idle;
	double seconds; /* that a run should take */
	const char *works, *peers, *cores, *json;
	bool calls;
} options = {.rounds = 5, .idle = 10, .seconds = 0.1, .calls = true};

/* ---- Choosing ---- */

/* True if `name` is in a comma-separated list, or if there is no list. */
static bool chosen(const char *list, const char *name)
{
	size_t n = strlen(name);

	if (!list)
		return true;
	for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',')
		if (strcspn(at, ",") == n && memcmp(at, name, n) == 0)
			return true;
	return false;
}

static const char *const core_options[PLACES] = {"same", "split", "free"};

enum {
	OPTION_QUICK = 256,
	OPTION_ROUNDS,
	OPTION_SECONDS,
	OPTION_IDLE,
	OPTION_CORES,
	OPTION_WORK,
	OPTION_PEER,
	OPTION_JSON
};

static const struct argp_option known[] = {
    {"quick", OPTION_QUICK, NULL, 0, "Run one short round of everything, unpinned, to see that it works", 0},
    {"rounds", OPTION_ROUNDS, "N", 0, "The number of rounds, of which medians are taken (default 5)", 0},
    {"seconds", OPTION_SECONDS, "S", 0, "About how long each run takes (default 0.1)", 0},
    {"idle", OPTION_IDLE, "S", 0, "How long idle connections are watched (default 10)", 0},
    {"cores", OPTION_CORES, "LIST", 0, "Only these of same, split and free; idle connections are always free", 0},
    {"work", OPTION_WORK, "LIST", 0, "Only these of the works below", 0},
    {"peer", OPTION_PEER, "LIST", 0, "Only these of the systems below", 0},
    {"json", OPTION_JSON, "FILE", 0, "Write all figures to FILE, for report.py", 0},
    {0},
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	switch (key) {
	case OPTION_QUICK:
		options.rounds = options.idle = 1;
		options.seconds = 0.02;
		options.cores = core_options[PLACE_FREE];
		options.calls = false;
		return 0;
	case OPTION_ROUNDS: options.rounds = (unsigned)strtoul(text, NULL, 10); return 0;
	case OPTION_SECONDS: options.seconds = strtod(text, NULL); return 0;
	case OPTION_IDLE: options.idle = (unsigned)strtoul(text, NULL, 10); return 0;
	case OPTION_CORES: options.cores = text; return 0;
	case OPTION_WORK: options.works = text; return 0;
	case OPTION_PEER: options.peers = text; return 0;
	case OPTION_JSON: options.json = text; return 0;
	case ARGP_KEY_END:
		if (options.rounds < 1 || options.rounds > ROUNDS_MAX || options.idle < 1 || !(options.seconds > 0))
			argp_error(state, "a number is out of its range");
		return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

/* Adds the works and the systems after the options. */
static char *help(int key, const char *text, void *input)
{
	char *all = NULL;
	size_t size;

	(void)input;
	if (key != ARGP_KEY_HELP_POST_DOC)
		return (char *)(uintptr_t)text;
	FILE *out = open_memstream(&all, &size);
	must_sys(out ? 0 : -1, "open_memstream");
	fputs("Works:\n", out);
	for (size_t i = 0; i < n_works; i++)
		fprintf(out, "  %-14s %s\n", works[i].name, works[i].title);
	fputs("\nSystems:\n", out);
	for (size_t i = 0; i < n_entries; i++)
		fprintf(out, "  %-14s %s%s%s\n", entries[i].name, entries[i].peer ? entries[i].peer->what : "needs ",
			entries[i].peer ? "" : entries[i].package, entries[i].peer ? "" : ", and was built without");
	must_sys(fclose(out), "open_memstream");
	return all;
}

static bool peer_chosen(const struct entry *entry)
{
	return options.peers ? chosen(options.peers, entry->name) : !entry->named;
}

static bool work_chosen(const struct work *work, enum place place)
{
	if (!chosen(options.works, work->name))
		return false;
	if (work->kind >= KIND_IDLE)
		return place == PLACE_FREE;
	return chosen(options.cores, core_options[place]);
}

/* ---- Measuring ---- */

/* The figures of one peer and one work in all rounds. */
struct cell {
	const struct work *work;
	const struct peer *peer;
	uint64_t count;
	unsigned n_series;
	struct series series[FIGURES_MAX];
	double latency[PERCENTILES][ROUNDS_MAX];
};

static struct cell cells[CELLS_MAX];
static unsigned n_cells;
static unsigned done, all; /* runs, for the progress */

static unsigned rounds_of(const struct work *work)
{
	return work->kind >= KIND_IDLE ? 1 : options.rounds;
}

/* Finds how many messages take about as long as a run should take. */
static uint64_t calibrate(const struct work *work, const struct peer *peer, enum place place)
{
	uint64_t count = work->size < 65536 ? 512 : 64;

	if (work->kind == KIND_IDLE)
		return options.idle;
	for (;;) {
		double took = run(work, peer, place, count, false).seconds;
		double factor = options.seconds / (took > 1e-6 ? took : 1e-6);
		if (factor < 2)
			return factor < 0.5 ? count / 2 : count;
		count = (uint64_t)((double)count * (factor > 16 ? 16 : factor));
	}
}

/* The figures that a run of each kind yields. */
static const enum figure figures[][FIGURES_MAX] = {
    [KIND_ONE_WAY] = {FIGURE_RATE, FIGURE_RATE},
    [KIND_ROUND_TRIP] = {FIGURE_P50, FIGURE_P99},
    [KIND_IDLE] = {FIGURE_WAKEUPS, FIGURE_CPU},
    [KIND_MEMORY] = {FIGURE_CHANNEL, FIGURE_STACK},
};

static double value_of(const struct outcome *outcome, enum figure figure, uint64_t count)
{
	switch (figure) {
	case FIGURE_RATE: return (double)count / outcome->seconds;
	case FIGURE_P50: return outcome->latency[PERCENTILE_50];
	case FIGURE_P99: return outcome->latency[PERCENTILE_99];
	case FIGURE_CALLS: return outcome->calls;
	case FIGURE_WAKEUPS: return outcome->wakeups;
	case FIGURE_CPU: return outcome->cpu;
	case FIGURE_CHANNEL: return outcome->channel;
	case FIGURE_STACK: return outcome->stack;
	}
	return 0;
}

static void set_up(const struct work *work, const struct peer *peer, enum place place)
{
	struct cell *cell = &cells[n_cells++];

	*cell = (struct cell){.work = work, .peer = peer, .n_series = work->kind == KIND_ONE_WAY ? 1 : 2};
	report_progress(done, all, work, place, peer->name);
	if (work->kind != KIND_MEMORY)
		cell->count = calibrate(work, peer, place);
	for (unsigned i = 0; i < cell->n_series; i++)
		cell->series[i] = (struct series){.work = work,
						  .peer = peer,
						  .place = place,
						  .figure = figures[work->kind][i],
						  .rounds = rounds_of(work)};
}

/*
 * Sets what a cell is compared with: raw with the same work, or the same peer with the first work
 * of the group.
 */
static void compare(struct cell *cell)
{
	for (unsigned i = 0; i < n_cells && cell->work->kind < KIND_IDLE; i++) {
		bool raw = cells[i].work == cell->work && cells[i].peer == &peer_raw;
		bool first =
		    cells[i].work != cell->work && cells[i].work == cells[0].work && cells[i].peer == cell->peer;
		for (unsigned k = 0; (raw || first) && &cells[i] != cell && k < cell->n_series; k++)
			cell->series[k].against = &cells[i].series[k];
	}
}

static void measure(struct cell *cell, enum place place, unsigned round)
{
	char what[64];

	snprintf(what, sizeof what, "%s, round %u", cell->peer->name, round + 1);
	report_progress(done++, all, cell->work, place, what);
	struct outcome outcome = run(cell->work, cell->peer, place, cell->count, false);
	for (unsigned i = 0; i < cell->n_series; i++)
		cell->series[i].values[round] = value_of(&outcome, cell->series[i].figure, cell->count);
	for (unsigned i = 0; i < PERCENTILES; i++)
		cell->latency[i][round] = outcome.latency[i];
}

/* A run of one message shows what opening and closing costs, which is subtracted. */
static void count_calls(struct cell *cell, enum place place)
{
	report_progress(done, all, cell->work, place, "system calls");
	double one = run(cell->work, cell->peer, place, 1, true).calls;
	double many = run(cell->work, cell->peer, place, cell->count, true).calls;
	uint64_t messages = load_messages(cell->work, cell->count) - load_messages(cell->work, 1);
	struct series series = {
	    .work = cell->work, .peer = cell->peer, .place = place, .figure = FIGURE_CALLS, .rounds = 1};
	series.values[0] = (many - one) / (double)messages;
	report_progress_end();
	report_line(stdout, &series);
	results_add(&series);
}

static void tell(struct cell *cell, enum place place)
{
	double latency[PERCENTILES];

	report_progress_end();
	for (unsigned i = 0; i < cell->n_series; i++) {
		report_line(stdout, &cell->series[i]);
		results_add(&cell->series[i]);
	}
	if (cell->work->kind != KIND_ROUND_TRIP)
		return;
	for (unsigned i = 0; i < PERCENTILES; i++) {
		samples_sort(cell->latency[i], options.rounds);
		latency[i] = median(cell->latency[i], options.rounds);
	}
	results_add_latency(cell->work, cell->peer, place, latency);
}

/* Measures the works of a group in one place, by all peers that can do them. */
static void measure_group(const struct work *first, const struct work *end, enum place place)
{
	n_cells = 0;
	for (const struct work *work = first; work < end; work++)
		for (size_t i = 0; i < n_entries && work_chosen(work, place); i++)
			if (entries[i].peer && peer_chosen(&entries[i]) &&
			    !run_impossible(work, entries[i].peer, place))
				set_up(work, entries[i].peer, place);
	if (n_cells == 0)
		return;
	for (unsigned round = 0; round < rounds_of(first); round++)
		for (unsigned i = 0; i < n_cells; i++)
			measure(&cells[i], place, round);
	for (unsigned i = 0; i < n_cells; i++) {
		compare(&cells[i]);
		tell(&cells[i], place);
	}
	for (unsigned i = 0; i < n_cells && options.calls; i++)
		if (cells[i].work->calls)
			count_calls(&cells[i], place);
}

/* ---- Everything ---- */

/* Reports which peers are missing, and which cannot do a work. */
static void tell_what_is_not(void)
{
	const char *reason;
	char text[128];

	for (size_t i = 0; i < n_entries; i++) {
		if (entries[i].peer || !peer_chosen(&entries[i]))
			continue;
		snprintf(text, sizeof text, "not measured: it was built without %s", entries[i].package);
		printf("%s: %s\n", entries[i].name, text);
		results_note(entries[i].name, text);
	}
	reason = options.calls ? calls_impossible() : "left out of a quick run";
	options.calls = !reason;
	if (reason) {
		snprintf(text, sizeof text, "not counted: %s", reason);
		printf("system calls: %s\n", text);
		results_note("system calls", text);
	}
	for (size_t i = 0; i < n_works; i++) {
		for (size_t k = 0; k < n_entries && works[i].field == FIELD_ALL; k++) {
			if (!entries[k].peer || !chosen(options.works, works[i].name) || !peer_chosen(&entries[k]))
				continue;
			reason = run_impossible(&works[i], entries[k].peer, PLACE_FREE);
			if (!reason)
				continue;
			printf("%s: not measured for %s: %s\n", works[i].title, entries[k].name, reason);
			results_cannot(&works[i], entries[k].peer, reason);
		}
	}
}

static unsigned count_runs(void)
{
	unsigned n = 0;

	for (enum place place = 0; place < PLACES; place++)
		for (size_t i = 0; i < n_works; i++)
			for (size_t k = 0; k < n_entries && work_chosen(&works[i], place); k++)
				if (entries[k].peer && peer_chosen(&entries[k]) &&
				    !run_impossible(&works[i], entries[k].peer, place))
					n += rounds_of(&works[i]);
	return n;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
	    known, parse_option, NULL, "Measures messages between two processes, by Beam and by other systems.\v",
	    NULL,  help,         NULL};

	argp_program_version = beam_version_string();
	must(-argp_parse(&argp, argc, argv, 0, NULL, NULL), "options");
	results_begin(options.rounds, options.seconds);
	tell_what_is_not();
	all = count_runs();
	report_heading(stdout);
	for (const struct work *first = works, *end; first < works + n_works; first = end) {
		for (end = first + 1; end < works + n_works && strcmp(end->group, first->group) == 0; end++)
			;
		for (enum place place = 0; place < PLACES; place++)
			measure_group(first, end, place);
	}
	report_progress_end();
	if (options.json)
		results_write(options.json);
	return 0;
}
