/* SPDX-License-Identifier: MIT */
/*
 * The test harness: a program is one suite of tests that read as sentences.
 *
 *     static void test_a_slow_topic_does_not_hold_up_a_quick_one(void) { … check(…); … }
 *
 *     static const struct test tests[] = {
 *         TEST(test_a_slow_topic_does_not_hold_up_a_quick_one),
 *     };
 *     HARNESS_MAIN("channel", tests)
 *
 * A program begins with three descriptors, whatever it inherits. Each test must leave the
 * process's descriptors as it found them, else it fails and the ones left are named. Arguments:
 * `[--list] [--times] [--repeat N] [PART-OF-A-NAME]...`. Environment: BEAM_SEED, the seed of
 * every rng; BEAM_TEST_TIMEOUT, the bound in seconds (60), which is stretched under Valgrind (×
 * 20) and sanitizers (× 5).
 *
 * The bound is for hangs: an alarm ends the program if it has made no progress for so long. Each
 * turn of a test is progress, as is each fault of a sweep and each call of harness_progress(). How
 * long a program takes in all is not bounded here: that depends on the machine.
 *
 * Checks may be made in any thread and in processes spawned here; a failed one is told
 * with its place, and the test goes on. A failed require() ends the test, the thread or
 * the process that made it.
 */
#ifndef HARNESS_HARNESS_H
#define HARNESS_HARNESS_H

#include <CUnit/CUnit.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

struct test {
	const char *name;
	void (*run)(void);
};

#define TEST(function)                                                                                                 \
	{                                                                                                              \
#function, function                                                                                    \
	}

#define HARNESS_MAIN(suite, tests)                                                                                     \
	int main(int argc, char **argv)                                                                                \
	{                                                                                                              \
		return harness_main(suite, tests, sizeof(tests) / sizeof(tests)[0], argc, argv);                       \
	}

int harness_main(const char *suite, const struct test *tests, size_t n, int argc, char **argv);

/* Checks. The second of each pair also ends what made it. */
#define check(condition) harness_check((condition), __FILE__, __LINE__, false, "%s", #condition)
#define require(condition)                                                                                             \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			harness_check(false, __FILE__, __LINE__, true, "%s", #condition);                              \
			__builtin_unreachable();                                                                       \
		}                                                                                                      \
	} while (0)

/* Integers of any kind; a failure tells both, and the name of an errno. */
#define check_int(actual, expected)                                                                                    \
	harness_check_int((long long)(actual), (long long)(expected), __FILE__, __LINE__, false, #actual)
#define require_int(actual, expected)                                                                                  \
	do {                                                                                                           \
		if (!harness_check_int((long long)(actual), (long long)(expected), __FILE__, __LINE__, true, #actual)) \
			__builtin_unreachable();                                                                       \
	} while (0)

/*
 * "EPIPE" of EPIPE; what the C library says of it where it has no names; NULL
 * if there is no such errno.
 */
const char *errno_name(int error);

/* Strings; NULL equals NULL. */
#define check_string(actual, expected) harness_check_string(actual, expected, __FILE__, __LINE__, #actual)

/* Memory; a failure tells where it begins to differ. */
#define check_bytes(actual, expected, size) harness_check_bytes(actual, expected, size, __FILE__, __LINE__, #actual)

/* Fails with a message of printf's kind. */
#define fail(...) harness_check(false, __FILE__, __LINE__, false, __VA_ARGS__)

/*
 * Waits for a condition of other threads or processes, at most so long (stretched under
 * Valgrind and sanitizers). It is looked at again and again; no time is lost once it
 * holds. True if it came to hold.
 */
#define check_within(milliseconds, condition)                                                                          \
	__extension__({                                                                                                \
		struct harness_wait wait_ = harness_wait_begin(milliseconds);                                          \
		bool held_;                                                                                            \
		while (!(held_ = (condition)) && harness_wait_more(&wait_))                                            \
			;                                                                                              \
		harness_check(held_, __FILE__, __LINE__, false, "%s within %d ms", #condition, (int)(milliseconds));   \
	})

/*
 * Ends the test as skipped: what it needs is not on this machine. From the test's own thread only.
 */
#define skip(...) harness_skip(__VA_ARGS__)

bool harness_check(bool holds, const char *file, int line, bool fatal, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
bool harness_check_int(long long actual, long long expected, const char *file, int line, bool fatal, const char *what);
bool harness_check_string(const char *actual, const char *expected, const char *file, int line, const char *what);
bool harness_check_bytes(const void *actual, const void *expected, size_t size, const char *file, int line,
			 const char *what);
void harness_skip(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

struct harness_wait {
	int64_t end;
	int step_us;
};
struct harness_wait harness_wait_begin(int milliseconds);
bool harness_wait_more(struct harness_wait *wait);

/*
 * Said with every failure until it is changed; an empty one ends it. For loops: which turn it was.
 */
void harness_context(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The name of the suite. */
const char *harness_suite(void);

/* Failed checks of the running test so far. */
unsigned harness_failures(void);

/*
 * The program has made progress: its bound counts from now. For loops that may take long in all. A
 * loop that only waits does not call it.
 */
void harness_progress(void);
/*
 * Gives the program a bound of its own instead of BEAM_TEST_TIMEOUT's, in seconds,
 * stretched alike. Counts from now.
 */
void harness_timeout(unsigned seconds);

/* True under Valgrind; true in a sanitizer's build. */
bool under_valgrind(void);
bool under_sanitizer(void);

/*
 * A count that is worth its time here: n, or n / 10 in a sanitizer's build, n / 50 under Valgrind;
 * at least 1 of at least 1.
 */
size_t scale(size_t n);

/* A time bound in milliseconds: n, × 5 in a sanitizer's build, × 20 under Valgrind. */
int stretch(int milliseconds);

/* CLOCK_MONOTONIC in nanoseconds. */
int64_t now_ns(void);

/* Open descriptors of this process; whether this one is open. */
size_t open_fds(void);
bool fd_open(int fd);

/*
 * A folder, or an empty open file, that belongs to the test. It is made in $TMPDIR, or in /tmp if
 * that is not set or would make the path longer than the address of a socket may be.
 */
enum { FOLDER_SIZE = 64 };
void folder_make(char folder[FOLDER_SIZE]);
int file_make(char path[FOLDER_SIZE]);

/* The descriptors of this process at some time, to compare with later. */
struct fd_snapshot {
	size_t n;
	struct fd_entry {
		int fd;
		char link[52];
	} entries[1024];
};
void fd_snapshot_take(struct fd_snapshot *snapshot);
/*
 * Waits, bounded, until the descriptors are those of the snapshot; else fails and names the
 * ones left and the ones lost.
 */
bool check_fds(const struct fd_snapshot *before);
/*
 * How long that may take, in milliseconds (5,000), stretched: what is left open
 * takes as long to be found.
 */
void harness_settle(int milliseconds);

/*
 * Memory that the process has in RAM; memory that malloc has handed out (0
 * where it cannot be told).
 */
size_t resident_bytes(void);
size_t allocated_bytes(void);

/*
 * Runs a function in a child process; the child ends with what it returns, or 1 if a check of its
 * own failed, without running exit handlers, and is killed if this process dies.
 */
pid_t process_spawn(int (*run)(void *argument), void *argument);
/* Its exit code, or 128 + the signal that ended it. */
int process_wait(pid_t process);
/* For tests whose children start threads while others run here. */
void needs_threads_in_children(void);
/* For tests that hold or send so many descriptors at once: a user may have fewer. */
void needs_descriptors(size_t n);
/* For tests whose children take memory while threads that never sleep run here. */
void needs_memory_in_children(void);
/* Ends a spawned process from anywhere in it. */
void process_exit(int code) __attribute__((noreturn));

/* Threads. The result of the function is that of thread_wait(). */
pthread_t thread_spawn(void *(*run)(void *argument), void *argument);
void *thread_wait(pthread_t thread);

/* The kernel's number of this thread; the main thread's is the process's. */
pid_t thread_number(void);
/*
 * What the kernel says of a thread of this process (proc(5)): 'R' runs, 'S' sleeps, 'D' sleeps so
 * that no signal wakes it; 0 if there is none, as for number 0.
 */
char thread_state(pid_t thread);
bool thread_asleep(pid_t thread);
/* True while this process has a thread of that name. */
bool thread_named(const char *name);

/* A random sequence: the same for the same BEAM_SEED and salt. Belongs to one thread. */
struct rng {
	uint64_t state;
};
struct rng rng_new(uint64_t salt);
uint64_t rng_u64(struct rng *rng);
/* From 0 to n - 1. */
size_t rng_below(struct rng *rng, size_t n);
bool rng_chance(struct rng *rng, unsigned percent);
void rng_fill(struct rng *rng, void *to, size_t size);

#endif
