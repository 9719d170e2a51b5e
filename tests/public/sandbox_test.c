/* SPDX-License-Identifier: MIT */
/*
 * Programs that put themselves into a sandbox, or that were started without what most programs have. Each is a process of
 * its own, because it cannot leave what it has entered.
 */
#include <beam/beam.h>
#include <harness/harness.h>
#include <public/ends.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { CANNOT = 77 };

/* Runs a sandboxed process. */
static void in_sandbox(int (*run)(void *argument), void *argument)
{
	int status;

	needs_threads_in_children();
	status = process_wait(process_spawn(run, argument));
	if (status == CANNOT)
		skip("this machine cannot do that");
	check_int(status, 0);
}

/* Messages pass both ways. */
static void exchange(struct ends *ends)
{
	for (int from = 0; from < 2; from++) {
		send_text(ends->topic[from], "word");
		expect_text(ends->topic[1 - from], "word");
	}
}

/* ---- System calls that a filter traps -------------------------------------------------------------------------------- */

static atomic_int trapped;

/* The call returns something, and has done nothing. */
static void answer_instead(int sig)
{
	(void)sig;
	atomic_fetch_add(&trapped, 1);
}

static bool trap(int call)
{
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = sizeof code / sizeof code[0], .filter = code};

	signal(SIGSYS, answer_instead);
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/* By prctl() a thread gets its name, so each of the library's threads calls it when it begins. */
static int trap_what_threads_do(void *unused)
{
	struct ends ends;

	(void)unused;
	if (!trap(SYS_prctl))
		return CANNOT;
	ends_open(&ends, NULL);
	check_within(20000, atomic_load(&trapped) >= 2);
	exchange(&ends);
	ends_close(&ends);
	return 0;
}

static void test_a_trapped_system_call_of_a_library_thread_is_answered_by_the_programs_handler(void)
{
	if (under_valgrind())
		skip("Valgrind does not know seccomp");
	in_sandbox(trap_what_threads_do, NULL);
}

/* ---- Memory ---------------------------------------------------------------------------------------------------------- */

enum { PAIRS = 16, ADDRESSES = 48 << 20 };

/* What the process has of addresses, in bytes. */
static rlim_t addresses(void)
{
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	if (file) {
		check_int(fscanf(file, "%lu", &pages), 1);
		fclose(file);
	}
	return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static int open_many_with_few_addresses(void *unused)
{
	struct rlimit limit;
	static struct ends ends[PAIRS];

	(void)unused;
	limit.rlim_cur = limit.rlim_max = addresses() + ADDRESSES;
	require_int(setrlimit(RLIMIT_AS, &limit), 0);
	for (int i = 0; i < PAIRS; i++)
		ends_open(&ends[i], NULL);
	for (int i = 0; i < PAIRS; i++) {
		exchange(&ends[i]);
		ends_close(&ends[i]);
	}
	return 0;
}

static void test_channels_take_few_addresses(void)
{
	if (under_valgrind() || under_sanitizer())
		skip("Valgrind and the sanitizers take addresses of their own");
	in_sandbox(open_many_with_few_addresses, NULL);
}

static const struct test tests[] = {
    TEST(test_a_trapped_system_call_of_a_library_thread_is_answered_by_the_programs_handler),
    TEST(test_channels_take_few_addresses),
};

HARNESS_MAIN("public/sandbox", tests)
