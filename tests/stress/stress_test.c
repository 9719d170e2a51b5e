/* SPDX-License-Identifier: MIT */
/*
 * Many threads, many topics, all sizes, and peers that close, reset and die. The default run is
 * short. `--full` sends half a million messages (a tenth of that under sanitizers, a hundredth
 * under Valgrind). Each run uses another seed and prints it. BEAM_SEED repeats a run.
 *
 * Tests with two processes come first, because this process should have no threads of the library
 * when it forks.
 */
#include "stress.h"
#include <inttypes.h>
#include <sys/resource.h>
#include <time.h>

enum { ROUNDS = 6, ROUNDS_MAX = 999, ROUND_MIN = 64, ROUND_MAX = 10000 };

static uint64_t messages = 60000; /* of all tests together */

static struct {
	uint64_t messages, bytes, attachments, timeouts, pipes;
} totals;

/* ---- Plans ---- */

/* All senders on one side, or half of them on each. */
static void plan_directions(struct plan *plan, struct rng *rng, uint64_t n)
{
	if (rng_chance(rng, 50)) {
		plan->senders[0] = plan->receivers[1] = THREADS;
		plan->messages[0] = n;
		return;
	}
	for (unsigned i = 0; i < SIDES; i++) {
		plan->senders[i] = plan->receivers[i] = THREADS / 2;
		plan->messages[i] = n / 2;
	}
}

static struct plan plan_new(struct rng *rng, uint64_t n)
{
	struct plan plan = {
	    .seed = rng_u64(rng), .small_limits = rng_chance(rng, 40), .accept_topics = rng_chance(rng, 50)};

	for (unsigned i = 0; i < SIDES; i++) {
		plan.reading[i] = (unsigned)rng_below(rng, READ_WAYS);
		plan.by_fds[i] = rng_chance(rng, 50);
	}
	plan_directions(&plan, rng, n);
	return plan;
}

/*
 * A random number of messages after which an action happens, if its topics are open as long as
 * that.
 */
static uint64_t moment(const struct plan *plan, struct rng *rng)
{
	return rng_below(rng, (size_t)(plan->messages[0] + plan->messages[1]) / 2);
}

static void plan_action(struct plan *plan, unsigned side, unsigned i, struct rng *rng, enum action_kind kind)
{
	plan->actions[side][i] =
	    (struct action){.kind = kind, .at = moment(plan, rng), .topic = (unsigned)rng_below(rng, TOPICS)};
}

/* ---- Rounds ---- */

static void add_totals(const struct journal *journal)
{
	for (unsigned i = 0; i < SIDES; i++) {
		totals.messages += journal->sides[i].sent;
		totals.bytes += journal->sides[i].sent_bytes;
		totals.attachments += journal->sides[i].sent_attachments;
		totals.timeouts += journal->sides[i].timeouts;
		totals.pipes += journal->sides[i].pipes;
	}
}

static void run_plan(unsigned number, const struct plan *plan)
{
	struct journal *journal = journal_new(plan);

	harness_progress();
	harness_context("round %u: %u+%u senders, %s limits", number, plan->senders[0], plan->senders[1],
			plan->small_limits ? "small" : "default");
	round_run(journal);
	if (!journal->broken)
		judge(journal);
	add_totals(journal);
	journal_free(journal);
}

/*
 * Runs rounds until a share of all messages has been sent, because a round that ends early sends
 * fewer. `change` modifies the random plan of each round. The numbers of the rounds start at
 * `first`, and what a round does follows from the seed and its number.
 */
static void run_rounds(unsigned first, unsigned percent, bool two_processes,
		       void (*change)(struct plan *, struct rng *))
{
	uint64_t share = messages * percent / 100, n = share / ROUNDS < ROUND_MIN ? ROUND_MIN : share / ROUNDS;
	unsigned i = 0;

	memset(&totals, 0, sizeof totals);
	content_open();
	for (; totals.messages < share && i < ROUNDS_MAX && !harness_failures(); i++) {
		struct rng rng = rng_new(first + i);
		struct plan plan = plan_new(&rng, n < ROUND_MAX ? n : ROUND_MAX);
		plan.two_processes = two_processes;
		plan.meet_first = plan.accept_topics;
		if (change)
			change(&plan, &rng);
		run_plan(first + i, &plan);
	}
	content_close();
	printf("%u rounds: %" PRIu64 " messages, %" PRIu64 " MB, %" PRIu64 " attachments; %" PRIu64
	       " sends timed out, %" PRIu64 " found their topic closed\n",
	       i, totals.messages, totals.bytes / 1000000, totals.attachments, totals.timeouts, totals.pipes);
}

/* ---- Tests ---- */

static void kill_one(struct plan *plan, struct rng *rng)
{
	plan->meet_first = true;
	/* For Valgrind, a process that kills itself exits normally, and is checked for leaks. */
	if (rng_chance(rng, 50) && !under_valgrind())
		plan_action(plan, 1, 0, rng, ACTION_DIE);
	else
		plan_action(plan, 0, 0, rng, ACTION_KILL_OTHER);
	if (plan->messages[1] == 0 && rng_chance(rng, 50)) {
		/* The side that dies is the one that sends. */
		plan->senders[1] = plan->receivers[0] = THREADS;
		plan->senders[0] = plan->receivers[1] = 0;
		plan->messages[1] = plan->messages[0];
		plan->messages[0] = 0;
	}
}

static void test_of_a_killed_peer_a_prefix_came_and_the_loss_is_told(void)
{
	needs_descriptors(1024);
	run_rounds(1000, 20, true, kill_one);
}

static void close_topics(struct plan *plan, struct rng *rng)
{
	for (unsigned i = 0; i < 4; i++)
		plan_action(plan, i % 2, i / 2, rng, ACTION_CLOSE_TOPIC);
}

static void test_two_processes_that_part_in_peace_have_everything(void)
{
	needs_descriptors(1024);
	run_rounds(2000, 20, true, close_topics);
}

static void test_one_process_that_parts_in_peace_has_everything(void)
{
	needs_descriptors(1024);
	run_rounds(3000, 30, false, close_topics);
}

static void reset_topics(struct plan *plan, struct rng *rng)
{
	for (unsigned i = 0; i < 6; i++)
		plan_action(plan, i % 2, i / 2, rng, rng_chance(rng, 70) ? ACTION_RESET_TOPIC : ACTION_CLOSE_TOPIC);
}

static void test_a_reset_topic_loses_its_end_alone_and_says_so(void)
{
	needs_descriptors(1024);
	run_rounds(4000, 15, false, reset_topics);
}

static void close_channel(struct plan *plan, struct rng *rng)
{
	unsigned who = (unsigned)rng_below(rng, 3);

	plan->meet_first = true;
	reset_topics(plan, rng);
	if (who != 0)
		plan_action(plan, 0, ACTIONS_MAX - 1, rng, ACTION_CLOSE_CHANNEL);
	if (who != 1)
		plan_action(plan, 1, ACTIONS_MAX - 1, rng, ACTION_CLOSE_CHANNEL);
}

static void test_a_channel_closed_at_any_moment_delivers_what_the_closer_sent(void)
{
	needs_descriptors(1024);
	run_rounds(5000, 15, false, close_channel);
}

static const struct test tests[] = {
    TEST(test_of_a_killed_peer_a_prefix_came_and_the_loss_is_told),
    TEST(test_two_processes_that_part_in_peace_have_everything),
    TEST(test_one_process_that_parts_in_peace_has_everything),
    TEST(test_a_reset_topic_loses_its_end_alone_and_says_so),
    TEST(test_a_channel_closed_at_any_moment_delivers_what_the_closer_sent),
};

/*
 * Descriptors for the attached files, the copies of both sides and what is queued. Some systems
 * allow fewer by default.
 */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 4096) {
		limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void choose_seed(void)
{
	struct timespec now;
	char text[32];

	if (getenv("BEAM_SEED"))
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(text, sizeof text, "%llu",
		 (unsigned long long)now.tv_sec * 1000000000 + (unsigned long long)now.tv_nsec);
	setenv("BEAM_SEED", text, 1);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--full") == 0) {
		messages = 500000;
		argv[1] = argv[0];
		argc--;
		argv++;
	}
	messages /= under_valgrind() ? 100 : under_sanitizer() ? 10 : 1;
	choose_seed();
	printf("BEAM_SEED=%s\n", getenv("BEAM_SEED"));
	raise_descriptor_limit();
	return harness_main("stress", tests, sizeof tests / sizeof tests[0], argc, argv);
}
