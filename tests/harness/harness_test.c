/* SPDX-License-Identifier: MIT */
/*
 * The harness tests itself: what must fail does fail. The failing tests are a suite of their own,
 * which is run as another process.
 */
#include <base/annotate.h>
#include <harness/fault.h>
#include <harness/harness.h>

#include <fcntl.h>
#include <signal.h>

/* A suite that fails */

static void leaves_a_descriptor_open(void)
{
	check(dup(STDIN_FILENO) >= 0);
}

static void closes_a_descriptor_that_is_not_its_own(void)
{
	close(STDIN_FILENO);
}

static void fails_with_an_errno(void)
{
	check_int(-EPIPE, 0);
}

static void *check_in_thread(void *argument)
{
	(void)argument;
	require(1 == 2);
	return NULL;
}

static void fails_a_check_in_a_thread(void)
{
	thread_wait(thread_spawn(check_in_thread, NULL));
}

static void ends_at_a_failed_require(void)
{
	require(1 == 2);
	abort();
}

static void waits_for_ever(void)
{
	harness_timeout(1);
	for (;;)
		pause();
}

static void *volatile lost;

static void loses_memory(void *argument)
{
	(void)argument;
	lost = sys_malloc(10);
	/* A pointer that the checkers cannot follow. */
	lost = (void *)~(uintptr_t)lost;
}

static void sweeps_what_loses_memory(void)
{
	fault_sweep_with(&(struct fault_sweep){.scenario = loses_memory, .once = true});
}

static const struct test failing[] = {
    TEST(leaves_a_descriptor_open), TEST(closes_a_descriptor_that_is_not_its_own),
    TEST(fails_with_an_errno),      TEST(fails_a_check_in_a_thread),
    TEST(ends_at_a_failed_require), TEST(waits_for_ever),
    TEST(sweeps_what_loses_memory),
};

/* This program. /proc/self/exe would be Valgrind. */
static const char *program_path;

/* Runs one of them. Returns its output, and its end as process_wait() does. */
static int run_failing(const char *name, char *output, size_t size)
{
	int ends[2];
	pid_t child;
	size_t length = 0;
	ssize_t n;

	require_int(pipe2(ends, O_CLOEXEC), 0);
	fflush(NULL);
	child = fork();
	require(child >= 0);
	if (child == 0) {
		dup2(ends[1], STDOUT_FILENO);
		dup2(ends[1], STDERR_FILENO);
		execl(program_path, program_path, "--failing", name, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	while (length + 1 < size && (n = read(ends[0], output + length, size - 1 - length)) > 0)
		length += (size_t)n;
	output[length] = '\0';
	close(ends[0]);
	return process_wait(child);
}

static void check_fails(const char *name, const char *saying)
{
	static char output[1 << 18]; /* checkers print much */

	check_int(run_failing(name, output, sizeof output), 1);
	if (!check(strstr(output, saying) != NULL))
		printf("%s\n", output);
	check(strstr(output, "0 passed, 1 failed\n") != NULL);
}

/* Tests */

static void test_a_descriptor_left_open_fails_the_test(void)
{
	check_fails("leaves_a_descriptor_open", "left open: descriptor");
}

static void test_a_foreign_descriptor_closed_fails_the_test(void)
{
	check_fails("closes_a_descriptor_that_is_not_its_own", "closed, but not its own: descriptor 0");
}

static void test_a_failed_check_tells_the_name_of_the_errno(void)
{
#ifndef __GLIBC__
	skip("this C library has no names of errnos");
#endif
	check_fails("fails_with_an_errno", "-EPIPE is -32 (-EPIPE), not 0");
}

static void test_a_failed_check_in_a_thread_fails_the_test(void)
{
	check_fails("fails_a_check_in_a_thread", "1 == 2");
}

static void test_a_failed_require_ends_the_test(void)
{
	check_fails("ends_at_a_failed_require", "1 == 2");
}

static void test_a_hang_ends_with_a_message(void)
{
	static char output[1 << 18]; /* checkers print much */

	if (under_valgrind() || under_sanitizer())
		skip("the checkers take a while for it");
	check_int(run_failing("waits_for_ever", output, sizeof output), 128 + SIGABRT);
	check(strstr(output, "TIMEOUT in waits_for_ever") != NULL);
}

static void test_progress_begins_the_bound_anew(void)
{
	alarm(5);
	harness_progress();
	check(alarm(0) > 5);
	harness_progress();
}

enum { SWEPT = 64 };

/* The calls that failed, in order, and how long each run takes at least. */
static struct {
	unsigned failed[2 * SWEPT], n;
	int64_t ns;
} swept;

static void make_many_calls(void *argument)
{
	int64_t end = now_ns() + swept.ns;

	(void)argument;
	for (unsigned i = 1; i <= SWEPT; i++) {
		void *memory = sys_malloc(1);

		if (!memory && swept.n < sizeof swept.failed / sizeof *swept.failed)
			swept.failed[swept.n++] = i;
		free(memory);
	}
	while (now_ns() < end)
		;
}

static unsigned long sweep_many_calls(int milliseconds)
{
	return fault_sweep_with(
	    &(struct fault_sweep){.scenario = make_many_calls, .once = true, .milliseconds = milliseconds});
}

static void test_a_sweep_is_spread_at_any_time_and_complete_at_its_end(void)
{
	static const unsigned first[] = {1, 33, 17, 49};
	bool failed[SWEPT + 1] = {false};

	swept.n = 0;
	check_int(sweep_many_calls(100000), SWEPT);
	require_int(swept.n, SWEPT);
	for (unsigned i = 0; i < SWEPT; i++)
		failed[swept.failed[i]] = true;
	for (unsigned i = 1; i <= SWEPT; i++)
		check(failed[i]);
	for (unsigned i = 0; i < sizeof first / sizeof *first; i++)
		check_int(swept.failed[i], first[i]);
}

static int sweep_for_a_moment(void *argument)
{
	(void)argument;
	unsetenv("BEAM_FAULT_SECONDS");
	swept.n = 0;
	swept.ns = stretch(2) * INT64_C(1000000);
	check_int(sweep_many_calls(1), SWEPT);
	check_int(swept.n, 1);
	return 0;
}

static void test_a_sweep_that_has_no_time_still_injects_a_fault(void)
{
	needs_memory_in_children();
	check_int(process_wait(process_spawn(sweep_for_a_moment, NULL)), 0);
}

static void test_a_sweep_finds_lost_memory(void)
{
	if (!fault_finds_leaks())
		skip("nothing here tells what was lost");
	check_fails("sweeps_what_loses_memory", "memory behind");
}

static int end_with(void *argument)
{
	return *(int *)argument;
}

static int fail_a_check(void *argument)
{
	/* Not printed, because this check is meant to fail. */
	if (!freopen("/dev/null", "w", stdout))
		return 2;
	check(argument != NULL);
	return 0;
}

static void test_a_process_tells_its_end(void)
{
	int code = 7;

	check_int(process_wait(process_spawn(end_with, &code)), 7);
	code = 0;
	check_int(process_wait(process_spawn(end_with, &code)), 0);
	check_int(process_wait(process_spawn(fail_a_check, NULL)), 1);
}

static void *set_flag(void *argument)
{
	__atomic_store_n((int *)argument, 1, __ATOMIC_RELEASE);
	return argument;
}

static void test_a_condition_is_waited_for(void)
{
	int flag = 0;
	pthread_t thread;

	annotate_atomic(&flag);
	thread = thread_spawn(set_flag, &flag);
	check_within(20000, __atomic_load_n(&flag, __ATOMIC_ACQUIRE) == 1);
	check(thread_wait(thread) == &flag);
}

static void test_the_same_seed_gives_the_same_numbers(void)
{
	struct rng a = rng_new(1), b = rng_new(1), c = rng_new(2);
	uint64_t first = rng_u64(&a);

	check(first == rng_u64(&b));
	check(first != rng_u64(&c));
	for (int i = 0; i < 1000; i++)
		check(rng_below(&a, 7) < 7);
	check(!rng_chance(&a, 0));
	check(rng_chance(&a, 100));
}

static void test_the_nth_call_fails_once(void)
{
	void *memory;

	fault_at(2, 0, false);
	memory = sys_malloc(1);
	check(memory != NULL);
	free(memory);
	check(!fault_hit());
	errno = 0;
	memory = sys_malloc(1);
	check(memory == NULL);
	check_int(errno, ENOMEM);
	free(memory);
	check(fault_hit());
	memory = sys_malloc(1);
	check(memory != NULL);
	free(memory);
	check_int(fault_calls(), 3);
	fault_off();
}

static void test_all_calls_after_the_nth_fail_if_sticky(void)
{
	fault_only(FAULT(SYS_EVENTFD) | FAULT(SYS_READ));
	fault_at(1, 0, true);
	free(sys_malloc(1));
	check_int(sys_eventfd(0, 0), -1);
	check_int(errno, EMFILE);
	check_int(sys_eventfd(0, 0), -1);
	check_int(fault_calls(), 2);
	check_int(fault_first(), SYS_EVENTFD);
	fault_off();
	check(!sys_fault(SYS_EVENTFD));
}

static void test_the_error_can_be_chosen(void)
{
	struct msghdr message = {0};

	fault_at(1, EINTR, true);
	check_int(sys_recvmsg(STDIN_FILENO, &message, 0), -1);
	check_int(errno, EINTR);
	check_int(sys_recvmsg(STDIN_FILENO, &message, 0), -1);
	check_int(errno, EINTR);
	fault_off();
}

static void test_every_call_of_the_seam_has_a_likely_error(void)
{
	for (int call = 0; call < SYS_CALLS; call++) {
		harness_context("call %d of enum sys_call: add it to fault.c", call);
		check(fault_name((enum sys_call)call) != NULL);
		fault_at(1, 0, false);
		errno = 0;
		check(sys_fault((enum sys_call)call));
		check(errno > 0);
		fault_off();
	}
}

static unsigned runs;

static void three_calls(void)
{
	void *memory = sys_malloc(1);
	int fd = sys_eventfd(0, EFD_CLOEXEC);
	uint64_t value;

	runs++;
	if (fd >= 0) {
		check(sys_read(fd, &value, 0) < 0);
		close(fd);
	}
	free(memory);
}

static void test_a_sweep_fails_every_call_in_turn(void)
{
	runs = 0;
	check_int(fault_sweep(three_calls), 3);
	/* One run without a fault. Then three with one and two beyond, both once and sticky. */
	check_int(runs, 1 + 2 * (3 + 2));
}

static const struct test tests[] = {
    TEST(test_a_descriptor_left_open_fails_the_test),
    TEST(test_a_foreign_descriptor_closed_fails_the_test),
    TEST(test_a_failed_check_tells_the_name_of_the_errno),
    TEST(test_a_failed_check_in_a_thread_fails_the_test),
    TEST(test_a_failed_require_ends_the_test),
    TEST(test_a_hang_ends_with_a_message),
    TEST(test_progress_begins_the_bound_anew),
    TEST(test_a_sweep_is_spread_at_any_time_and_complete_at_its_end),
    TEST(test_a_sweep_that_has_no_time_still_injects_a_fault),
    TEST(test_a_sweep_finds_lost_memory),
    TEST(test_a_process_tells_its_end),
    TEST(test_a_condition_is_waited_for),
    TEST(test_the_same_seed_gives_the_same_numbers),
    TEST(test_the_nth_call_fails_once),
    TEST(test_all_calls_after_the_nth_fail_if_sticky),
    TEST(test_the_error_can_be_chosen),
    TEST(test_every_call_of_the_seam_has_a_likely_error),
    TEST(test_a_sweep_fails_every_call_in_turn),
};

int main(int argc, char **argv)
{
	program_path = argv[0];
	if (argc > 1 && strcmp(argv[1], "--failing") == 0) {
		harness_settle(20);
		return harness_main("failing", failing, sizeof failing / sizeof failing[0], argc - 1, argv + 1);
	}
	return harness_main("harness", tests, sizeof tests / sizeof tests[0], argc, argv);
}
