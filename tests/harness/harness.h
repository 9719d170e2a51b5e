/* SPDX-License-Identifier: MIT */
/*
 * The test harness. A program is one suite of tests, whose names read as sentences.
 *
 *     static void test_a_slow_topic_does_not_hold_up_a_quick_one(void) { … check(…); … }
 *
 *     static const struct test tests[] = {
 *         TEST(test_a_slow_topic_does_not_hold_up_a_quick_one),
 *     };
 *     HARNESS_MAIN("channel", tests)
 *
 * A program begins with three descriptors, whatever it inherits. Each test must leave the process's
 * descriptors as it found them. Otherwise it fails, and the descriptors are named. Arguments:
 * `[--list] [--times] [--repeat N] [PART-OF-A-NAME]...`. Environment: BEAM_SEED, the seed of every
 * rng; BEAM_TEST_TIMEOUT, the time limit in seconds (60), which is stretched under Valgrind (× 20)
 * and sanitizers (× 5).
 *
 * The time limit is for hangs: an alarm ends the program if it has made no progress for so long.
 * Each run of a test is progress, and so is each fault of a sweep and each call of
 * harness_progress(). The total time of a program is not limited here, because it depends on the
 * machine.
 *
 * Checks can be made in any thread, and in processes that are spawned here. If a check fails, it is
 * reported with its place, and the test goes on. If a require() fails, the test, the thread or the
 * process that made it ends.
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

/* Checks. If one fails, the second of each pair also ends the test, thread or process. */
#define check(condition) harness_check((condition), __FILE__, __LINE__, false, "%s", #condition)
#define require(condition)                                                                                             \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			harness_check(false, __FILE__, __LINE__, true, "%s", #condition);                              \
			__builtin_unreachable();                                                                       \
		}                                                                                                      \
	} while (0)

/* Integers of any kind. A failure prints both, and the name of an errno. */
#define check_int(actual, expected)                                                                                    \
	harness_check_int((long long)(actual), (long long)(expected), __FILE__, __LINE__, false, #actual)
#define require_int(actual, expected)                                                                                  \
	do {                                                                                                           \
		if (!harness_check_int((long long)(actual), (long long)(expected), __FILE__, __LINE__, true, #actual)) \
			__builtin_unreachable();                                                                       \
	} while (0)

/*
 * "EPIPE" for EPIPE. If the C library has no names: its description. NULL if there is no such
 * errno.
 */
const char *errno_name(int error);

/* Strings; NULL equals NULL. */
#define check_string(actual, expected) harness_check_string(actual, expected, __FILE__, __LINE__, #actual)

/* Memory. A failure prints where the difference begins. */
#define check_bytes(actual, expected, size) harness_check_bytes(actual, expected, size, __FILE__, __LINE__, #actual)

/* Fails with a message, which is formatted like printf()'s. */
#define fail(...) harness_check(false, __FILE__, __LINE__, false, __VA_ARGS__)

/*
 * Waits for a condition of other threads or processes, at most this long (stretched under Valgrind
 * and sanitizers). The condition is checked again and again, and no time is lost once it is true.
 * Returns true if it became true.
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
 * Ends the test as skipped, because something that it needs is missing on this machine. To be
 * called from the test's own thread only.
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
 * Printed with every failure until it is changed; an empty text clears it. For loops: which
 * iteration it was.
 */
void harness_context(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The name of the suite. */
const char *harness_suite(void);

/* Failed checks of the running test so far. */
unsigned harness_failures(void);

/*
 * The program has made progress, and its time limit starts again. For loops that may take long in
 * total. A loop that only waits must not call it.
 */
void harness_progress(void);
/*
 * Sets another time limit than that of BEAM_TEST_TIMEOUT, in seconds, which is stretched as well.
 * It starts now.
 */
void harness_timeout(unsigned seconds);

/* True under Valgrind; true in a sanitizer's build. */
bool under_valgrind(void);
bool under_sanitizer(void);

/*
 * How many repetitions are worth their time here: n, or n / 10 in a sanitizer's build, or n / 50
 * under Valgrind; at least 1 if n is.
 */
size_t scale(size_t n);

/* A time in milliseconds: n, × 5 in a sanitizer's build, × 20 under Valgrind. */
int stretch(int milliseconds);

/* CLOCK_MONOTONIC in nanoseconds. */
int64_t now_ns(void);

/* How many descriptors this process has open; whether this one is open. */
size_t open_fds(void);
bool fd_open(int fd);

/*
 * A folder, or an empty open file, that belongs to the test. It is made in $TMPDIR, or in /tmp if
 * that is not set or would make the path longer than the address of a socket may be.
 */
enum { FOLDER_SIZE = 64 };
void folder_make(char folder[FOLDER_SIZE]);
int file_make(char path[FOLDER_SIZE]);

/* The descriptors of this process at one time, for later comparison. */
struct fd_snapshot {
	size_t n;
	struct fd_entry {
		int fd;
		char link[52];
	} entries[1024];
};
void fd_snapshot_take(struct fd_snapshot *snapshot);
/*
 * Waits, for a limited time, until the descriptors are those of the snapshot. Otherwise it fails,
 * and names those that were left open and those that are missing.
 */
bool check_fds(const struct fd_snapshot *before);
/*
 * Sets how long that may take, in milliseconds (5,000), stretched. It takes as long to find a
 * descriptor that was left open.
 */
void harness_settle(int milliseconds);

/*
 * Memory of the process that is in RAM; memory that malloc has allocated (0 if that is not known).
 */
size_t resident_bytes(void);
size_t allocated_bytes(void);

/*
 * Runs a function in a child process. The child exits with the function's result, or with 1 if one
 * of its own checks failed. It runs no exit handlers, and is killed if this process dies.
 */
pid_t process_spawn(int (*run)(void *argument), void *argument);
/* Waits for a child. Returns its exit code, or 128 + the signal that ended it. */
int process_wait(pid_t process);
/* For tests whose children start threads while others run here. */
void needs_threads_in_children(void);
/*
 * For tests that hold or send this many descriptors at once, because a user may be allowed fewer.
 */
void needs_descriptors(size_t n);
/* For tests whose children allocate memory while threads that never sleep run here. */
void needs_memory_in_children(void);
/* Ends a spawned process. It can be called anywhere in that process. */
void process_exit(int code) __attribute__((noreturn));

/* Threads. thread_wait() returns the result of the function. */
pthread_t thread_spawn(void *(*run)(void *argument), void *argument);
void *thread_wait(pthread_t thread);

/* The kernel's id of this thread. The id of the main thread is the process's. */
pid_t thread_number(void);
/*
 * The state of a thread of this process (proc(5)): 'R' is running, 'S' is sleeping, 'D' is
 * sleeping, and no signal wakes it; 0 if there is no such thread, as for id 0.
 */
char thread_state(pid_t thread);
bool thread_asleep(pid_t thread);
/* True while this process has a thread of that name. */
bool thread_named(const char *name);

/*
 * A random sequence, which is the same for the same BEAM_SEED and salt. It belongs to one thread.
 */
struct rng {
	uint64_t state;
};
struct rng rng_new(uint64_t salt);
uint64_t rng_u64(struct rng *rng);
/* A number from 0 to n - 1. */
size_t rng_below(struct rng *rng, size_t n);
bool rng_chance(struct rng *rng, unsigned percent);
void rng_fill(struct rng *rng, void *to, size_t size);

#endif
