/* SPDX-License-Identifier: MIT */
/*
 * Some processes run all the time, some are killed; see soak.h. The default is a few seconds.
 *
 *     --seconds N       how long to run
 *     --samples FILE    writes the samples, for a picture
 */
#include "soak.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { MORTALS = 8, LIVES = OBSERVED + MORTALS, KILL_MS = 100, SHORT = 3 };

static const char *const names[OBSERVED] = {"server", "resident", "traveller"};

static unsigned seconds = SHORT;
static const char *samples_path;

struct cast {
	struct soak *soak;
	struct life lives[LIVES];
	pid_t processes[LIVES];
	struct samples samples[OBSERVED];
};

/* One of the mortals is a server. */
static enum role role_of(unsigned i)
{
	return i < OBSERVED ? i : i == OBSERVED ? MORTAL_SERVER : MORTAL_CLIENT;
}

static struct cast *cast_begin(bool leak)
{
	struct soak *soak = mmap(NULL, sizeof *soak, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct cast *cast = calloc(1, sizeof *cast);

	require(soak != MAP_FAILED && cast);
	cast->soak = soak;
	soak->leak = leak;
	snprintf(soak->server, sizeof soak->server, "@beam-soak-%d", (int)getpid());
	snprintf(soak->mortal_server, sizeof soak->mortal_server, "@beam-soak-mortal-%d", (int)getpid());
	for (unsigned i = 0; i < LIVES; i++) {
		cast->lives[i] = (struct life){.soak = soak, .role = role_of(i), .number = i};
		cast->processes[i] = process_spawn(life_run, &cast->lives[i]);
	}
	return cast;
}

static void replace(struct cast *cast, unsigned i)
{
	kill(cast->processes[i], SIGKILL);
	check_int(process_wait(cast->processes[i]), 128 + SIGKILL);
	count(cast->soak, KILLED);
	cast->lives[i].number += LIVES;
	cast->processes[i] = process_spawn(life_run, &cast->lives[i]);
}

/* Every kind of work has been done at least some times. */
static bool seen_all(const struct soak *soak)
{
	for (unsigned i = 0; i < N_COUNTS; i++) {
		if (atomic_load(&soak->counts[i]) < 10)
			return false;
	}
	return true;
}

/* How much work has been done. */
static unsigned long long done(const struct soak *soak)
{
	unsigned long long all = 0;

	for (unsigned i = 0; i < N_COUNTS; i++)
		all += i == KILLED ? 0 : atomic_load(&soak->counts[i]);
	return all;
}

/* Kills processes at random and takes samples evenly, until the time is over. */
static void direct(struct cast *cast, unsigned length_s)
{
	struct rng rng = rng_new(1);
	int64_t begin = now_ns(), length = length_s * INT64_C(1000000000), kill_at = begin;
	unsigned long long before = 0;

	for (int64_t now = begin; (now < begin + length || !seen_all(cast->soak)) && !harness_failures();
	     now = now_ns()) {
		if (now >= kill_at) {
			replace(cast, OBSERVED + (unsigned)rng_below(&rng, MORTALS));
			kill_at = now + (int64_t)rng_below(&rng, 2 * KILL_MS) * 1000000;
		}
		for (unsigned i = 0;
		     i < OBSERVED && now - begin >= (int64_t)cast->samples[OBSERVED - 1].n * (length / SAMPLES); i++)
			check(samples_take(&cast->samples[i], cast->processes[i], cast->soak->allocated[i]) ||
			      cast->samples[i].n == SAMPLES);
		if (done(cast->soak) != before)
			harness_progress();
		before = done(cast->soak);
		usleep(2000);
	}
}

/* All processes end normally, and check that they are as they were at the beginning. */
static void cast_end(struct cast *cast)
{
	atomic_store(&cast->soak->enough, true);
	for (unsigned i = 0; i < LIVES; i++)
		check_int(process_wait(cast->processes[i]), 0);
}

static void tell(const struct cast *cast)
{
	static const char *const texts[] = {
#define TEXT(name, text) text,
	    SOAK_COUNTS(TEXT)
#undef TEXT
	};

	for (unsigned i = 0; i < N_COUNTS; i++)
		printf("%llu %s%s", (unsigned long long)cast->soak->counts[i], texts[i],
		       i + 1 < N_COUNTS ? ", " : "\n");
	for (unsigned i = 0; i < OBSERVED; i++) {
		samples_tell(&cast->samples[i], names[i]);
		printf("%-10s %-12s when all is quiet: %lld bytes more than at the beginning\n", "", "allocated",
		       (long long)cast->soak->allocated[i]);
	}
}

static void cast_free(struct cast *cast)
{
	munmap(cast->soak, sizeof *cast->soak);
	free(cast);
}

/* Memory settles within a minute, except under checkers, which keep what was freed. */
static bool memory_rests(void)
{
	return seconds >= 60 && !under_sanitizer() && !under_valgrind();
}

static void test_what_lives_long_does_not_grow_while_its_peers_are_killed(void)
{
	struct cast *cast = cast_begin(false);

	direct(cast, seconds);
	cast_end(cast);
	tell(cast);
	for (unsigned i = 0; i < OBSERVED; i++) {
		int grew = samples_growth(&cast->samples[i], memory_rests());

		if (grew >= 0)
			fail("the %s has more %s in the last third than in the second", names[i], measure_names[grew]);
	}
	if (samples_path)
		check(samples_write(cast->samples, OBSERVED, names, seconds, samples_path));
	cast_free(cast);
}

static void test_forgotten_descriptors_are_seen(void)
{
	struct cast *cast = cast_begin(true);

	direct(cast, SHORT);
	cast_end(cast);
	check_string(measure_names[2], "descriptors");
	check_int(samples_growth(&cast->samples[SERVER], false), 2);
	cast_free(cast);
}

static const struct test tests[] = {
    TEST(test_what_lives_long_does_not_grow_while_its_peers_are_killed),
    TEST(test_forgotten_descriptors_are_seen),
};

int main(int argc, char **argv)
{
	for (; argc > 2; argv[2] = argv[0], argv += 2, argc -= 2) {
		if (strcmp(argv[1], "--seconds") == 0)
			seconds = (unsigned)strtoul(argv[2], NULL, 10);
		else if (strcmp(argv[1], "--samples") == 0)
			samples_path = argv[2];
		else
			break;
	}
	return harness_main("soak", tests, sizeof tests / sizeof tests[0], argc, argv);
}
