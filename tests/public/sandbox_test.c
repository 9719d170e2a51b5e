/* SPDX-License-Identifier: MIT */
/*
 * Programs that enter a sandbox, or that are started without something that most programs have.
 * Each runs in a process of its own, because it cannot leave the sandbox.
 */
#include <beam/beam.h>
#include <harness/harness.h>
#include <public/ends.h>
#include <public/listening.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { CANNOT = 77 };

/* Runs a function in a process of its own. */
static void in_sandbox(int (*run)(void *argument), void *argument)
{
	int status;

	needs_threads_in_children();
	status = process_wait(process_spawn(run, argument));
	if (status == CANNOT)
		skip("this machine cannot do that");
	check_int(status, 0);
}

/* Messages pass in both directions. */
static void exchange(struct ends *ends)
{
	for (int from = 0; from < 2; from++) {
		send_text(ends->topic[from], "word");
		expect_text(ends->topic[1 - from], "word");
	}
}

/* ---- System calls that a filter traps -------------------------------------------------------- */

static atomic_int trapped;

/* The system call returns without having done anything. */
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

/* All threads of the library call prctl() when they start, to set their names. */
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

/* ---- Address space --------------------------------------------------------------------------- */

enum { PAIRS = 16, ADDRESSES = 48 << 20 };

/* The size of the process's address space in bytes. */
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

/* ---- A limit of descriptors below those that are open ---------------------------------------- */

enum { WAIT_MS = 200, SIZE = 15000 };

static int64_t processor_ms(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return used.tv_sec * INT64_C(1000) + used.tv_nsec / 1000000;
}

/* Makes a channel whose socket has a small buffer. */
static void open_narrow(struct ends *ends, int fd, bool loop)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.socket_buffer_bytes = 4096;
	options.linger_ms = 0;
	options.loop = loop;
	require_int(beam_channel_from_fd(&ends->channel[0], fd, &options), 0);
	require_int(beam_topic_open(&ends->topic[0], ends->channel[0], "topic"), 0);
}

/* Sends to a peer that does not read, until a send times out. */
static void send_until_full(beam_topic *topic)
{
	static const char payload[SIZE];
	int r;

	do
		r = beam_topic_send(topic, payload, sizeof payload, 0, beam_in_ms(WAIT_MS));
	while (r == 0);
	check_int(r, -ETIMEDOUT);
}

static void close_narrow(struct ends *ends)
{
	beam_topic_unref(ends->topic[0]);
	beam_channel_unref(ends->channel[0]);
}

static int wait_without_descriptors(void *argument)
{
	struct rlimit before, limit;
	struct ends ends, narrow[2];
	int plain[2], narrow_fds[2][2];
	beam_listener *listener = NULL;
	beam_message *message = NULL;
	struct beam_select_ready ready;
	beam_select *select = NULL;
	int64_t used;

	ends_open(&ends, NULL);
	require_int(beam_socket_pair(SOCK_STREAM, plain), 0);
	for (int i = 0; i < 2; i++) {
		require_int(beam_socket_pair(SOCK_STREAM, narrow_fds[i]), 0);
		open_narrow(&narrow[i], narrow_fds[i][0], i);
	}
	require_int(beam_listener_new(&listener, "@beam-sandbox", NULL), 0);
	require_int(beam_select_new(&select), 0);
	require_int(beam_select_add_topic(select, ends.topic[0], BEAM_SELECT_RECEIVE, NULL), 0);
	exchange(&ends);
	require_int(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit = (struct rlimit){.rlim_cur = *(const rlim_t *)argument, .rlim_max = before.rlim_max};
	require_int(setrlimit(RLIMIT_NOFILE, &limit), 0);

	used = processor_ms();
	check_int(beam_topic_receive(ends.topic[0], &message, 0, beam_in_ms(WAIT_MS)), -ETIMEDOUT);
	check_int(beam_receive(plain[0], &message, 1, beam_in_ms(WAIT_MS)), -ETIMEDOUT);
	check_int(beam_listener_accept(listener, &(beam_channel *){NULL}, beam_in_ms(WAIT_MS)), -ETIMEDOUT);
	check_int(beam_select_wait(select, &ready, 1, beam_in_ms(WAIT_MS)), -ETIMEDOUT);
	send_until_full(narrow[0].topic[0]);
	send_until_full(narrow[1].topic[0]);
	/* A thread that polls instead of waiting would use the CPU all the time. */
	check(processor_ms() - used < stretch(WAIT_MS / 2));
	exchange(&ends);

	beam_select_unref(select);
	beam_listener_unref(listener);
	ends_close(&ends);
	close_narrow(&narrow[0]);
	close_narrow(&narrow[1]);
	/* At exit, tools that measure coverage write to files. */
	require_int(setrlimit(RLIMIT_NOFILE, &before), 0);
	return 0;
}

static void test_what_is_open_is_waited_for_though_nothing_more_may_be_opened(void)
{
	if (under_valgrind())
		skip("Valgrind does not lower the kernel's limit of descriptors");
	for (rlim_t most = 0; most < 2; most++)
		in_sandbox(wait_without_descriptors, &most);
}

/* ---- Closed standard descriptors ------------------------------------------------------------- */

/* Writing to the standard descriptors fails, so no other file has got their numbers. */
static void expect_no_standard_descriptors(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++) {
		errno = 0;
		if (write(fd, "printed", 7) >= 0 || errno != EBADF)
			process_exit(1);
	}
}

static void use_a_listener(void)
{
	beam_listener *listener = NULL;
	beam_channel *channels[2];
	struct spot spot;

	spot_make(&spot);
	listener = listen_at(spot.path, NULL);
	check(beam_listener_accept_fd(listener) > STDERR_FILENO);
	expect_no_standard_descriptors();
	meet(listener, spot.path, channels);
	expect_connected(channels);
	expect_no_standard_descriptors();
	part(channels);
	beam_listener_unref(listener);
	spot_end(&spot);
}

static void use_a_router_and_a_buffer(void)
{
	beam_router *router = NULL;
	beam_buffer *buffer = NULL;

	check_int(beam_router_new(&router), 0);
	check_int(beam_buffer_new(&buffer, 4096), 0);
	expect_no_standard_descriptors();
	beam_router_unref(router);
	beam_buffer_free(buffer);
}

static int live_without_standard_descriptors(void *unused)
{
	struct ends ends;
	int plain[2];

	(void)unused;
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		close(fd);
	ends_open(&ends, NULL);
	expect_no_standard_descriptors();
	check(beam_topic_receive_fd(ends.topic[0]) > STDERR_FILENO);
	check(beam_topic_send_fd(ends.topic[0]) > STDERR_FILENO);
	check(beam_channel_accept_fd(ends.channel[0]) > STDERR_FILENO);
	require_int(beam_socket_pair(SOCK_SEQPACKET, plain), 0);
	exchange(&ends);
	expect_no_standard_descriptors();
	use_a_listener();
	use_a_router_and_a_buffer();
	exchange(&ends);
	ends_close(&ends);
	expect_no_standard_descriptors();
	return 0;
}

static void test_nothing_of_the_librarys_takes_the_place_of_a_standard_descriptor(void)
{
	if (under_valgrind())
		skip("Valgrind ends a program without standard descriptors in a shell, which opens them");
	in_sandbox(live_without_standard_descriptors, NULL);
}

static const struct test tests[] = {
    TEST(test_a_trapped_system_call_of_a_library_thread_is_answered_by_the_programs_handler),
    TEST(test_channels_take_few_addresses),
    TEST(test_nothing_of_the_librarys_takes_the_place_of_a_standard_descriptor),
    TEST(test_what_is_open_is_waited_for_though_nothing_more_may_be_opened),
};

HARNESS_MAIN("public/sandbox", tests)
