/* SPDX-License-Identifier: MIT */
/* The harness itself: checks, waiting, time limits, random numbers, and the program. */
#include <harness/internal.h>

#include <CUnit/TestDB.h>
#include <CUnit/TestRun.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <time.h>

enum {
	TIMEOUT_SECONDS = 60,
	FAILURES_TOLD = 20,
	EXIT_SKIPPED = 77,
};

#define DEFAULT_SEED 0x6265616d2d303031ull

/* The program: written before any test runs. */
static struct {
	const char *suite;
	const struct test *tests;
	size_t n_tests;
	unsigned repeat;
	uint64_t seed;
	bool times;
	int64_t begin;
	unsigned passed, failed, skipped;
} program = {.repeat = 1, .seed = DEFAULT_SEED};

/* The running test. */
static struct {
	const char *volatile name;
	pthread_t thread;
	jmp_buf end;
	bool skipped;
	struct fd_snapshot fds;
	struct fd_snapshot fds_now;
} running;

/* Protects what the checks of all threads share. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned failures;
static char context[128];

/* What the program runs under */

bool under_valgrind(void)
{
	return RUNNING_ON_VALGRIND != 0;
}

bool under_sanitizer(void)
{
	return ADDRESS_SANITIZER || THREAD_SANITIZER;
}

size_t scale(size_t n)
{
	size_t divisor = under_valgrind() ? 50 : under_sanitizer() ? 10 : 1;

	return n == 0 ? 0 : n < divisor ? 1 : n / divisor;
}

int stretch(int milliseconds)
{
	return milliseconds * (under_valgrind() ? 20 : under_sanitizer() ? 5 : 1);
}

int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Checks */

__attribute__((noreturn)) static void end_here(void)
{
	if (process_spawned())
		process_exit(1);
	if (pthread_equal(pthread_self(), running.thread))
		longjmp(running.end, 1);
	pthread_exit(NULL);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void tell_failure(const char *file, int line, const char *text)
{
	unsigned n;

	pthread_mutex_lock(&lock);
	n = ++failures;
	if (n == 1 && running.name)
		printf("FAIL %s/%s\n", program.suite, running.name);
	if (n <= FAILURES_TOLD)
		printf("  %s:%d: %s%s%s%s\n", base_name(file), line, text, context[0] ? " [" : "", context,
		       context[0] ? "]" : "");
	else if (n == FAILURES_TOLD + 1)
		printf("  and more\n");
	fflush(stdout);
	if (!process_spawned() && CU_is_test_running())
		CU_assertImplementation(CU_FALSE, (unsigned)line, text, file, "", CU_FALSE);
	pthread_mutex_unlock(&lock);
}

bool harness_check(bool holds, const char *file, int line, bool fatal, const char *format, ...)
{
	char text[512];
	va_list arguments;

	if (holds)
		return true;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	tell_failure(file, line, text);
	if (fatal)
		end_here();
	return false;
}

const char *errno_name(int error)
{
#ifdef __GLIBC__
	return strerrorname_np(error);
#else
	return strerror(error);
#endif
}

/* " (-EPIPE)" for -EPIPE, else nothing. */
static const char *error_name(long long value, char text[48])
{
	const char *name = value < 0 && value > -4096 ? errno_name((int)-value) : NULL;

	text[0] = '\0';
	if (name)
		snprintf(text, 48, " (-%s)", name);
	return text;
}

bool harness_check_int(long long actual, long long expected, const char *file, int line, bool fatal, const char *what)
{
	char a[48], e[48];

	return harness_check(actual == expected, file, line, fatal, "%s is %lld%s, not %lld%s", what, actual,
			     error_name(actual, a), expected, error_name(expected, e));
}

bool harness_check_string(const char *actual, const char *expected, const char *file, int line, const char *what)
{
	bool same = actual && expected ? strcmp(actual, expected) == 0 : actual == expected;

	return harness_check(same, file, line, false, "%s is \"%s\", not \"%s\"", what, actual ? actual : "(NULL)",
			     expected ? expected : "(NULL)");
}

bool harness_check_bytes(const void *actual, const void *expected, size_t size, const char *file, int line,
			 const char *what)
{
	const unsigned char *a = actual, *e = expected;

	if (size && (!a || !e))
		return harness_check(false, file, line, false, "%s is NULL", a ? "what is expected" : what);
	for (size_t i = 0; i < size; i++)
		if (a[i] != e[i])
			return harness_check(false, file, line, false, "%s: byte %zu of %zu is 0x%02x, not 0x%02x",
					     what, i, size, a[i], e[i]);
	return true;
}

void harness_skip(const char *format, ...)
{
	char text[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	printf("skip %s/%s: %s\n", program.suite, running.name, text);
	running.skipped = true;
	longjmp(running.end, 1);
}

void harness_context(const char *format, ...)
{
	va_list arguments;

	pthread_mutex_lock(&lock);
	va_start(arguments, format);
	vsnprintf(context, sizeof context, format, arguments);
	va_end(arguments);
	pthread_mutex_unlock(&lock);
}

const char *harness_suite(void)
{
	return program.suite;
}

unsigned harness_failures(void)
{
	unsigned n;

	pthread_mutex_lock(&lock);
	n = failures;
	pthread_mutex_unlock(&lock);
	return n;
}

bool harness_failed(void)
{
	return failures > 0;
}

void harness_begin_in_child(void)
{
	/* Another thread may have held the lock at the fork. */
	pthread_mutex_init(&lock, NULL);
	failures = 0;
	running.thread = pthread_self();
}

/* Waiting */

struct harness_wait harness_wait_begin(int milliseconds)
{
	return (struct harness_wait){.end = now_ns() + stretch(milliseconds) * INT64_C(1000000), .step_us = 20};
}

bool harness_wait_more(struct harness_wait *wait)
{
	struct timespec step = {.tv_nsec = wait->step_us * 1000L};

	if (now_ns() >= wait->end)
		return false;
	ppoll(NULL, 0, &step, NULL);
	if (wait->step_us < 5000)
		wait->step_us *= 2;
	return true;
}

/* Time limits */

static unsigned timeout_seconds = TIMEOUT_SECONDS;

static void on_alarm(int signal)
{
	static const char head[] = "TIMEOUT in ", tail[] = ": no progress\n";
	const char *name = running.name ? running.name : "no test";
	size_t length = 0;

	while (name[length])
		length++;
	if (write(STDOUT_FILENO, head, sizeof head - 1) < 0 || write(STDOUT_FILENO, name, length) < 0 ||
	    write(STDOUT_FILENO, tail, sizeof tail - 1) < 0)
		_exit(3);
	(void)signal;
	/* SIGABRT, so that a debugger or a core file shows which thread waits for which. */
	abort();
}

void harness_progress(void)
{
	alarm((unsigned)stretch((int)timeout_seconds));
}

void harness_timeout(unsigned seconds)
{
	timeout_seconds = seconds;
	harness_progress();
}

/* Random numbers: splitmix64. */

uint64_t rng_u64(struct rng *rng)
{
	uint64_t z = rng->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

struct rng rng_new(uint64_t salt)
{
	struct rng rng = {.state = program.seed ^ salt * 0xd1342543de82ef95ull};

	rng_u64(&rng);
	return rng;
}

size_t rng_below(struct rng *rng, size_t n)
{
	return n ? (size_t)(rng_u64(rng) % n) : 0;
}

bool rng_chance(struct rng *rng, unsigned percent)
{
	return rng_below(rng, 100) < percent;
}

void rng_fill(struct rng *rng, void *to, size_t size)
{
	unsigned char *at = to;

	for (size_t i = 0; i < size; i++)
		at[i] = (unsigned char)rng_u64(rng);
}

/* The program */

/* In fault.c, where that is linked in. A test may end while a fault is armed. */
extern void fault_off(void) __attribute__((weak));

static void run_once(const struct test *test)
{
	harness_progress();
	fd_snapshot_take(&running.fds);
	if (setjmp(running.end) == 0)
		test->run();
	if (fault_off)
		fault_off();
	harness_context("%s", "");
	check_fds(&running.fds);
}

/* What CUnit runs for every test. */
static void run_current(void)
{
	const char *name = CU_get_current_test()->pName;
	const struct test *test = program.tests;
	int64_t begin;

	while (strcmp(test->name, name) != 0)
		test++;
	running.name = test->name;
	running.thread = pthread_self();
	running.skipped = false;
	failures = 0;
	begin = now_ns();
	for (unsigned i = 0; i < program.repeat && !failures && !running.skipped; i++)
		run_once(test);
	if (program.times)
		printf("%8.3f s  %s\n", (double)(now_ns() - begin) / 1e9, name);
}

static void on_test_complete(CU_pTest test, CU_pSuite suite, CU_pFailureRecord records)
{
	(void)suite;
	if (records && !failures) /* by CUnit's own macros */
		for (const CU_FailureRecord *record = records; record; record = record->pNext)
			printf("FAIL %s/%s\n  %s:%u: %s\n", program.suite, test->pName, record->strFileName,
			       record->uiLineNumber, record->strCondition);
	if (records || failures)
		program.failed++;
	else if (running.skipped)
		program.skipped++;
	else
		program.passed++;
	running.name = NULL;
}

static bool wanted(const char *name, int n_filters, char **filters)
{
	for (int i = 0; i < n_filters; i++)
		if (strstr(name, filters[i]))
			return true;
	return n_filters == 0;
}

static uint64_t number_from(const char *text, uint64_t otherwise)
{
	return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

static int add_tests(int n_filters, char **filters)
{
	CU_pSuite suite;

	if (CU_initialize_registry() != CUE_SUCCESS || !(suite = CU_add_suite(program.suite, NULL, NULL)))
		return -1;
	for (size_t i = 0; i < program.n_tests; i++)
		if (wanted(program.tests[i].name, n_filters, filters) &&
		    !CU_add_test(suite, program.tests[i].name, run_current))
			return -1;
	return 0;
}

static void summary(void)
{
	double seconds = (double)(now_ns() - program.begin) / 1e9;

	if (program.failed)
		printf("seed: BEAM_SEED=0x%llx\n", (unsigned long long)program.seed);
	printf("suite %s: %u tests run, %u asserts failed, %.2f s\n", program.suite, CU_get_number_of_tests_run(),
	       CU_get_number_of_failures(), seconds);
	printf("%u passed, %u failed", program.passed, program.failed);
	if (program.skipped)
		printf(", %u skipped", program.skipped);
	printf("\n");
	fflush(stdout);
}

/* Closes what the program inherited, because tests that count descriptors begin with three. */
static void close_inherited(void)
{
	struct rlimit limit;

	fd_snapshot_take(&running.fds);
	/* Those above the limit belong to Valgrind. */
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	for (size_t i = 0; i < running.fds.n; i++)
		if (running.fds.entries[i].fd > STDERR_FILENO && (rlim_t)running.fds.entries[i].fd < limit.rlim_cur)
			close(running.fds.entries[i].fd);
}

static void list(void)
{
	for (size_t i = 0; i < program.n_tests; i++)
		puts(program.tests[i].name);
}

/*
 * Reads the options. Returns where the filters begin, or -1 if nothing is to be run. Then `code` is
 * the exit code of the program.
 */
static int read_options(int argc, char **argv, int *code)
{
	int at = 1;

	for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++) {
		if (strcmp(argv[at], "--times") == 0) {
			program.times = true;
		} else if (strcmp(argv[at], "--repeat") == 0 && at + 1 < argc) {
			program.repeat = (unsigned)number_from(argv[++at], 1);
		} else if (strcmp(argv[at], "--list") == 0) {
			list();
			*code = 0;
			return -1;
		} else {
			fprintf(stderr, "usage: %s [--list] [--times] [--repeat N] [PART-OF-A-NAME]...\n", argv[0]);
			*code = 2;
			return -1;
		}
	}
	return at;
}

int harness_main(const char *suite, const struct test *tests, size_t n, int argc, char **argv)
{
	int at, code;

	program.suite = suite;
	program.tests = tests;
	program.n_tests = n;
	program.seed = number_from(getenv("BEAM_SEED"), DEFAULT_SEED);
	program.begin = now_ns();
	at = read_options(argc, argv, &code);
	if (at < 0)
		return code;
	if (add_tests(argc - at, argv + at) < 0) {
		fprintf(stderr, "%s: %s\n", suite, CU_get_error_msg());
		return 2;
	}
	close_inherited();
	signal(SIGALRM, on_alarm);
	harness_timeout((unsigned)number_from(getenv("BEAM_TEST_TIMEOUT"), TIMEOUT_SECONDS));
	CU_set_test_complete_handler(on_test_complete);
	CU_run_all_tests();
	summary();
	CU_cleanup_registry();
	if (program.failed || program.passed + program.skipped == 0)
		return 1;
	return program.passed ? 0 : EXIT_SKIPPED;
}
