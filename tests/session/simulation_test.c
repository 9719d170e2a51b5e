/* SPDX-License-Identifier: MIT */
/*
 * Two sessions over a model socket, in ten thousand schedules. A schedule that fails is made
 * smaller, and the result is printed step by step.
 *
 *     --schedules N     plays N schedules, and prints how often each event happened
 *     --from I          begins with schedule I
 *     --schedule I      prints schedule I step by step (BEAM_SEED is a part of it)
 *     --choices TEXT    prints the schedule of these choices step by step
 *     --break RULE      breaks a rule of the model now and then, to see that it is noticed
 */
#include <session/sim.h>
#include <sys/wait.h>

enum { TRIES = 5000, FEW = 20 };

static const struct {
	const char *word, *text;
} rules[] = {{"none", ""},
#define RULE(name, word, text) {word, text},
	     SIM_RULES(RULE)
#undef RULE
};

static struct {
	uint64_t from, schedules;
	bool long_run;
	enum sim_rule broken;
} wanted = {.schedules = 10000};

/* What is being played. The parent of the process that plays it can read this. */
static struct tape *playing;

/* ---- A schedule in a process of its own ------------------------------------------------------ */

struct performance {
	struct tape *tape;
	enum sim_rule broken;
	bool told;
};

static int perform(void *argument)
{
	struct performance *performance = argument;
	struct sim *sums = calloc(1, sizeof *sums);

	harness_timeout(20);
	sim_told = performance->told;
	if (!sim_told && !freopen("/dev/null", "w", stdout))
		return 2;
	sim_play(performance->tape, performance->broken, sums);
	free(sums);
	return 0;
}

static bool fails(struct tape *tape, void *argument)
{
	struct performance performance = {.tape = tape, .broken = *(enum sim_rule *)argument};

	harness_progress();
	return process_wait(process_spawn(perform, &performance)) != 0;
}

static bool tell(struct tape *tape, enum sim_rule broken)
{
	struct performance performance = {.tape = tape, .broken = broken, .told = true};
	int r;

	tape_play(tape);
	r = process_wait(process_spawn(perform, &performance));
	if (r > 1)
		printf("  it ended with %d\n", r);
	return r == 0;
}

/* Makes the schedule that failed smaller, and prints it step by step. */
static void explain(struct tape *tape, enum sim_rule broken)
{
	size_t turns = tape_turns(tape);
	unsigned tries = tape_shrink(tape, fails, &broken, TRIES);

	printf("The smallest that fails, of %zu turns, after %u tries:\n", turns, tries);
	if (tell(tape, broken))
		printf("It does not fail any more.\n");
	printf("Again: --choices \"");
	tape_print(tape, stdout);
	printf("\"%s%s\n", broken ? " --break " : "", broken ? rules[broken].word : "");
}

/* ---- Tests ----------------------------------------------------------------------------------- */

static void tell_counts(const struct sim *sums)
{
	static const char *const texts[] = {
#define TEXT(name, text) text,
	    SIM_EVENTS(TEXT)
#undef TEXT
	};

	printf("%llu schedules, %llu turns, %llu MiB\n", (unsigned long long)wanted.schedules,
	       (unsigned long long)sums->steps, (unsigned long long)(sums->bytes >> 20));
	for (unsigned i = 0; i < SIM_N_EVENTS; i++)
		printf("%12llu  %s\n", (unsigned long long)sums->counts[i], texts[i]);
}

static void test_every_schedule_keeps_order_loses_nothing_and_comes_to_an_end(void)
{
	uint64_t n = wanted.long_run ? wanted.schedules : scale((size_t)wanted.schedules);
	struct sim *sums = calloc(1, sizeof *sums);

	require(sums != NULL);
	for (uint64_t i = wanted.from; i < wanted.from + n && !harness_failures(); i++) {
		harness_context("schedule %llu", (unsigned long long)i);
		harness_progress();
		tape_record(playing, i);
		sim_play(playing, wanted.broken, sums);
	}
	harness_context("%s", "");
	if (wanted.long_run && !harness_failures())
		tell_counts(sums);
	/* No kind of event may be missing. */
	for (unsigned i = 0; i < SIM_N_EVENTS && n >= 10000 && !harness_failures(); i++)
		check(sums->counts[i] > 0);
	if (!harness_failures())
		playing->n = 0;
	free(sums);
}

static void test_a_broken_rule_is_found_and_told_in_a_few_turns(void)
{
	struct tape *tape = tape_new();
	size_t before;
	unsigned tries;

	/*
	 * Each try takes a process. All rules are tried only where thousands of processes are
	 * cheap.
	 */
	for (enum sim_rule rule = 1; rule < (under_valgrind() || under_sanitizer() ? 2 : SIM_N_RULES); rule++) {
		uint64_t schedule = 0;

		harness_context("%s", rules[rule].text);
		do
			tape_record(tape, schedule);
		while (!fails(tape, &rule) && check(++schedule < 1000));
		before = tape_turns(tape);
		tries = tape_shrink(tape, fails, &rule, TRIES);
		printf("%s: schedule %llu, %zu turns, after %u tries %zu\n", rules[rule].text,
		       (unsigned long long)schedule, before, tries, tape_turns(tape));
		check(tape_turns(tape) <= FEW);
	}
	tape_free(tape);
}

static const struct test tests[] = {
    TEST(test_every_schedule_keeps_order_loses_nothing_and_comes_to_an_end),
    TEST(test_a_broken_rule_is_found_and_told_in_a_few_turns),
};

/* ---- The program ----------------------------------------------------------------------------- */

static int usage(void)
{
	fprintf(stderr, "usage: [--break RULE] [--from I] [--schedules N | --schedule I | --choices TEXT] or what "
			"every suite takes\n"
			"rules:\n");
	for (enum sim_rule rule = 1; rule < SIM_N_RULES; rule++)
		fprintf(stderr, "  %-10s %s\n", rules[rule].word, rules[rule].text);
	return 2;
}

/* Runs the tests in a child process, so that the schedule is known however the child dies. */
static int run_tests(int argc, char **argv)
{
	pid_t child = fork();
	int status;

	if (child == 0)
		exit(harness_main("simulation", tests, sizeof tests / sizeof tests[0], argc, argv));
	if (child < 0)
		return 2;
	status = process_wait(child);
	if (status && status != 77 && playing->n) {
		printf("schedule %llu fails: --schedule %llu tells it whole\n", (unsigned long long)playing->schedule,
		       (unsigned long long)playing->schedule);
		explain(playing, wanted.broken);
	}
	return status;
}

int main(int argc, char **argv)
{
	struct rng rng = {.state = 1};
	int status = -1;

	playing = tape_new();
	rng_fill(&rng, sim_pattern, sizeof sim_pattern);
	for (; argc > 2 && status < 0; argv[2] = argv[0], argv += 2, argc -= 2) {
		if (strcmp(argv[1], "--schedules") == 0) {
			wanted.schedules = strtoull(argv[2], NULL, 0);
			wanted.long_run = true;
		} else if (strcmp(argv[1], "--from") == 0) {
			wanted.from = strtoull(argv[2], NULL, 0);
		} else if (strcmp(argv[1], "--break") == 0) {
			while (strcmp(rules[++wanted.broken].word, argv[2]) != 0)
				if (wanted.broken + 1 == SIM_N_RULES)
					return usage();
		} else if (strcmp(argv[1], "--schedule") == 0) {
			wanted.from = strtoull(argv[2], NULL, 0);
			wanted.schedules = 1;
			wanted.long_run = sim_told = true;
		} else if (strcmp(argv[1], "--choices") == 0) {
			if (!tape_parse(playing, argv[2]))
				return usage();
			status = tell(playing, wanted.broken) ? 0 : 1;
		} else {
			break;
		}
	}
	if (status < 0)
		status = run_tests(argc, argv);
	tape_free(playing);
	return status;
}
