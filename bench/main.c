/* SPDX-License-Identifier: MIT */
/*
 * beam-bench: Beam beside other ways to send messages between two processes, in the same run. The rounds of all peers
 * are interleaved, so that what else the machine does hits all of them. The raw program is the measure.
 */
#include "report.h"
#include "util.h"
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static const struct peer *const peers[] = {&peer_raw, &peer_beam, &peer_beam_many};

enum { N_PEERS = sizeof peers / sizeof peers[0], FIGURES_MAX = 2 };

static struct {
	unsigned rounds;
	double seconds; /* that a run should take */
	const char *works, *peers, *cores, *json;
	bool check;
} options = {.rounds = 5, .seconds = 0.3};

/* ---- Choosing ---- */

/* True if `name` is one of a comma-separated list; everything is in no list at all. */
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

__attribute__((noreturn)) static void usage(int code)
{
	FILE *out = code ? stderr : stdout;

	fputs("usage: beam-bench [options]\n"
	      "  --quick            one short round of everything, unpinned: that it works, not how fast\n"
	      "  --rounds N         of which medians are taken (5)\n"
	      "  --seconds S        that each run takes, more or less (0.3)\n"
	      "  --cores LIST       of same,split,free\n"
	      "  --json FILE        all figures, too\n"
	      "  --check            exit code 1 if a goal is missed\n"
	      "  --work LIST        of\n",
	      out);
	for (size_t i = 0; i < n_works; i++)
		fprintf(out, "    %-10s %s\n", works[i].name, works[i].title);
	fputs("  --peer LIST        of\n", out);
	for (size_t i = 0; i < N_PEERS; i++)
		fprintf(out, "    %-10s %s\n", peers[i]->name, peers[i]->what);
	exit(code);
}

static void parse(int argc, char **argv)
{
	static const struct option known[] = {
	    {"quick", no_argument, NULL, 'q'},         {"rounds", required_argument, NULL, 'r'},
	    {"seconds", required_argument, NULL, 's'}, {"cores", required_argument, NULL, 'c'},
	    {"json", required_argument, NULL, 'j'},    {"check", no_argument, NULL, 'g'},
	    {"work", required_argument, NULL, 'w'},    {"peer", required_argument, NULL, 'p'},
	    {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 'q':
			options.rounds = 1;
			options.seconds = 0.02;
			options.cores = core_options[PLACE_FREE];
			break;
		case 'r': options.rounds = (unsigned)strtoul(optarg, NULL, 10); break;
		case 's': options.seconds = strtod(optarg, NULL); break;
		case 'c': options.cores = optarg; break;
		case 'j': options.json = optarg; break;
		case 'g': options.check = true; break;
		case 'w': options.works = optarg; break;
		case 'p': options.peers = optarg; break;
		case 'h': usage(0);
		default: usage(2);
		}
	}
	if (optind < argc || options.rounds < 1 || options.rounds > ROUNDS_MAX || !(options.seconds > 0))
		usage(2);
}

/* ---- Measuring ---- */

/* How many messages take the time that a run should take. */
static uint64_t calibrate(const struct work *work, const struct peer *peer, enum place place)
{
	uint64_t count = work->size < 65536 ? 512 : 64;

	for (;;) {
		double took = work_run(work, peer, place, count).seconds;
		double factor = options.seconds / (took > 1e-6 ? took : 1e-6);
		if (factor < 2)
			return factor < 0.5 ? count / 2 : count;
		count = (uint64_t)((double)count * (factor > 16 ? 16 : factor));
	}
}

/* A peer's series at one work and place: its rate, or its two percentiles. */
struct row {
	const struct peer *peer;
	uint64_t count;
	struct series series[FIGURES_MAX];
};

static void set_up(struct row *row, const struct work *work, const struct peer *peer, enum place place)
{
	*row = (struct row){.peer = peer, .count = calibrate(work, peer, place)};
	for (unsigned i = 0; i < FIGURES_MAX; i++)
		row->series[i] = (struct series){.work = work,
						 .peer = peer,
						 .place = place,
						 .figure = !work->round_trip ? FIGURE_RATE
							   : i               ? FIGURE_P99
									     : FIGURE_P50,
						 .rounds = options.rounds};
}

static void measure(struct row *row, const struct row *against, const struct work *work, enum place place, unsigned round)
{
	struct outcome outcome = work_run(work, row->peer, place, row->count);

	row->series[0].values[round] = work->round_trip ? outcome.p50 : (double)row->count / outcome.seconds;
	row->series[1].values[round] = outcome.p99;
	for (unsigned i = 0; against && row != against && i < FIGURES_MAX; i++)
		row->series[i].ratios[round] = row->series[i].values[round] / against->series[i].values[round];
}

/* One work at one place by all peers. False if a goal was missed. */
static bool compare(const struct work *work, enum place place, FILE *json)
{
	static bool written;
	struct row rows[N_PEERS] = {0};
	unsigned n = 0, figures = work->round_trip ? 2 : 1;
	bool reached = true;

	for (unsigned i = 0; i < N_PEERS; i++)
		if (chosen(options.peers, peers[i]->name) && work_possible(work, peers[i], place))
			set_up(&rows[n++], work, peers[i], place);
	const struct row *raw = n > 0 && rows[0].peer == &peer_raw ? &rows[0] : NULL;
	for (unsigned round = 0; round < options.rounds; round++)
		for (unsigned i = 0; i < n; i++)
			measure(&rows[i], raw, work, place, round);
	for (unsigned i = 0; i < n; i++) {
		for (unsigned k = 0; k < figures; k++) {
			reached = report_line(stdout, &rows[i].series[k]) && reached;
			if (json)
				report_json(json, &rows[i].series[k], !written);
			written = true;
		}
	}
	return reached;
}

int main(int argc, char **argv)
{
	FILE *json = NULL;
	bool reached = true;

	parse(argc, argv);
	if (options.json) {
		json = fopen(options.json, "we");
		must_sys(json ? 0 : -1, options.json);
		fputc('[', json);
	}
	report_heading(stdout);
	for (size_t i = 0; i < n_works; i++)
		for (enum place place = 0; place < PLACES; place++)
			if (chosen(options.works, works[i].name) && chosen(options.cores, core_options[place]))
				reached = compare(&works[i], place, json) && reached;
	if (json) {
		fputs("\n]\n", json);
		must_sys(fclose(json), options.json);
	}
	return options.check && !reached ? 1 : 0;
}
