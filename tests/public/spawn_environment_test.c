/* SPDX-License-Identifier: MIT */
/* How a program finds the channel that it was started with, and when it finds none. */
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <public/ends.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static char program[PATH_MAX];

static beam_channel *open_environment(int expected)
{
	beam_channel *channel = NULL;

	check_int(beam_channel_from_environment(&channel, NULL), expected);
	check((channel != NULL) == (expected == 0));
	return channel;
}

/* Sets BEAM_CHANNEL as if this process had been started with a descriptor. */
static void name_descriptor(int fd)
{
	struct stat status = {0};
	char text[64];

	check_int(fstat(fd, &status), 0);
	snprintf(text, sizeof text, "%d:%" PRIu64, fd, (uint64_t)status.st_ino);
	require_int(setenv("BEAM_CHANNEL", text, 1), 0);
}

/* ---- The programs that are started ----------------------------------------------------------- */

static bool has(const char *variable, const char *value)
{
	const char *text = getenv(variable);

	return value ? text && strcmp(text, value) == 0 : !text;
}

/* Checks that it has this environment, and one channel in it. */
static int child_variables(const char *value)
{
	beam_channel *channel = NULL;
	int r, n = 0;

	if (!has("BEAM_SPAWN_TEST", *value ? value : NULL))
		return 10;
	for (char **variable = environ; *variable; variable++)
		n += strncmp(*variable, "BEAM_CHANNEL=", 13) == 0;
	if (n != 1)
		return 11;
	r = beam_channel_from_environment(&channel, NULL);
	beam_channel_unref(channel);
	return r ? 12 : 0;
}

/* Checks that it has inherited the variable, but finds no channel. */
static int child_none(void)
{
	beam_channel *channel = NULL;

	if (!getenv("BEAM_CHANNEL"))
		return 20;
	return beam_channel_from_environment(&channel, NULL) == -ENOENT ? 0 : 21;
}

static int run_none(void *unused)
{
	(void)unused;
	execl(program, program, "--none", (char *)NULL);
	return 127;
}

/*
 * Programs that it starts without Beam inherit the variable. They find no channel, neither while
 * this program has the channel open nor after it has closed it.
 */
static int child_starts_another(void)
{
	beam_channel *channel = NULL;
	int r = beam_channel_from_environment(&channel, NULL);

	if (r == 0)
		r = process_wait(process_spawn(run_none, NULL));
	beam_channel_unref(channel);
	return r ? r : process_wait(process_spawn(run_none, NULL));
}

static int child_does(const char *what, const char *more)
{
	if (strcmp(what, "--variables") == 0)
		return child_variables(more);
	if (strcmp(what, "--none") == 0)
		return child_none();
	if (strcmp(what, "--starts-another") == 0)
		return child_starts_another();
	return -1;
}

/* Starts this program with an argument, and waits for it. */
static int run(const char *what, const char *more, char *const envp[])
{
	char *const argv[] = {program, (char *)(uintptr_t)what, (char *)(uintptr_t)more, NULL};
	beam_channel *channel = NULL;
	int result;
	pid_t pid;

	require_int(beam_spawn(&channel, &pid, program, argv, envp, NULL), 0);
	result = process_wait(pid);
	beam_channel_unref(channel);
	return result;
}

/* ---- The environment ------------------------------------------------------------------------- */

static void test_a_program_has_the_callers_environment_or_the_one_that_is_given(void)
{
	char *const given[] = {(char[]){"BEAM_SPAWN_TEST=given"}, NULL}, *const empty[] = {NULL};
	/* Entries with the same name are replaced, entries with similar names are kept. */
	char *const stray[] = {(char[]){"BEAM_CHANNEL=1:2"}, (char[]){"BEAM_CHANNELS=x"},
			       (char[]){"BEAM_SPAWN_TEST=stray"}, (char[]){"BEAM_CHANNEL=3:4"}, NULL};

	setenv("BEAM_SPAWN_TEST", "caller's", 1);
	check_int(run("--variables", "caller's", NULL), 0);
	check_int(run("--variables", "given", given), 0);
	check_int(run("--variables", "", empty), 0);
	check_int(run("--variables", "stray", stray), 0);
	setenv("BEAM_CHANNEL", "3:4", 1);
	check_int(run("--variables", "caller's", NULL), 0);
	check(has("BEAM_CHANNEL", "3:4"));
	unsetenv("BEAM_CHANNEL");
	unsetenv("BEAM_SPAWN_TEST");
}

static void test_programs_that_are_started_by_other_means_do_not_take_the_channel(void)
{
	check_int(run("--starts-another", NULL, NULL), 0);
}

/* ---- The channel in the environment ---------------------------------------------------------- */

static int has_none(void *unused)
{
	(void)unused;
	open_environment(-ENOENT);
	return 0;
}

static void test_a_channel_is_taken_from_the_environment_once(void)
{
	beam_channel *channel, *other;
	beam_topic *topic = NULL;
	int fds[2];

	for (int i = 0; i < 3; i++) {
		require_int(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
		name_descriptor(fds[0]);
		channel = open_environment(0);
		check_int(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
		open_environment(-ENOENT);
		check_int(process_wait(process_spawn(has_none, NULL)), 0);
		require_int(beam_channel_from_fd(&other, fds[1], NULL), 0);
		require_int(beam_topic_open(&topic, channel, "topic"), 0);
		send_text(topic, "from the environment");
		beam_topic_unref(topic);
		require_int(beam_channel_accept(other, &topic, soon()), 1);
		expect_text(topic, "from the environment");
		beam_topic_unref(topic);
		beam_channel_unref(channel);
		open_environment(-ENOENT);
		beam_channel_unref(other);
	}
	unsetenv("BEAM_CHANNEL");
	open_environment(-ENOENT);
}

static void *take(void *unused)
{
	beam_channel *channel = NULL;
	int r = beam_channel_from_environment(&channel, NULL);

	(void)unused;
	beam_channel_unref(channel);
	return (void *)(intptr_t)(r == 0 || check_int(r, -ENOENT) ? r == 0 : 0);
}

static void test_of_several_threads_one_takes_the_channel(void)
{
	enum { THREADS = 4 };
	pthread_t threads[THREADS];

	for (size_t i = 0; i < scale(100); i++) {
		int fds[2], n = 0;

		require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		name_descriptor(fds[0]);
		for (int at = 0; at < THREADS; at++)
			threads[at] = thread_spawn(take, NULL);
		for (int at = 0; at < THREADS; at++)
			n += (int)(intptr_t)thread_wait(threads[at]);
		check_int(n, 1);
		close(fds[1]);
	}
	unsetenv("BEAM_CHANNEL");
}

static void test_a_stray_number_is_no_channel(void)
{
	static const char *const stray[] = {
	    "", "3", ":", "3:", "3:1", "abc", "-1:1", "0:0", "99999999:1", "4294967299:1", "1:99999999999999999999"};
	char text[96], exact[64];
	beam_channel *channel;
	int fds[2];

	open_environment(-ENOENT);
	check_int(beam_channel_from_environment(NULL, NULL), -EINVAL);
	for (size_t i = 0; i < sizeof stray / sizeof *stray; i++) {
		harness_context("\"%s\"", stray[i]);
		setenv("BEAM_CHANNEL", stray[i], 1);
		open_environment(-ENOENT);
	}
	harness_context("%s", "");
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	/* The text names only one socket, and nothing may precede or follow it. */
	name_descriptor(fds[0]);
	snprintf(exact, sizeof exact, "%s", getenv("BEAM_CHANNEL"));
	snprintf(text, sizeof text, "%d:%s", fds[1], strchr(exact, ':') + 1);
	setenv("BEAM_CHANNEL", text, 1);
	open_environment(-ENOENT);
	for (int i = 0; i < 3; i++) {
		snprintf(text, sizeof text, i == 0 ? "%s1" : i == 1 ? "0%s" : " %s", exact);
		setenv("BEAM_CHANNEL", text, 1);
		open_environment(-ENOENT);
	}
	check(fd_open(fds[0]) && fd_open(fds[1]));
	setenv("BEAM_CHANNEL", exact, 1);
	channel = open_environment(0);
	beam_channel_unref(channel);
	close(fds[1]);
	unsetenv("BEAM_CHANNEL");
}

static void expect_refused(int fd, int expected)
{
	name_descriptor(fd);
	/* The descriptor can be tried again, because it stays open. */
	open_environment(expected);
	open_environment(expected);
	check(fd_open(fd));
	close(fd);
}

static void test_what_is_no_connected_stream_socket_is_refused_and_stays(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	int pair[2], file = raw_file();
	beam_channel *channel = NULL;

	expect_refused(file, -ENOTSOCK);
	expect_refused(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), -ENOTCONN);
	require_int(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	expect_refused(pair[0], -EPROTOTYPE);
	close(pair[1]);
	/* Invalid options are refused, and the descriptor can be used afterwards. */
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	name_descriptor(pair[0]);
	options.topics = 1;
	check_int(beam_channel_from_environment(&channel, &options), -EINVAL);
	check(channel == NULL);
	channel = open_environment(0);
	beam_channel_unref(channel);
	close(pair[1]);
	unsetenv("BEAM_CHANNEL");
}

static const struct test tests[] = {
    TEST(test_a_program_has_the_callers_environment_or_the_one_that_is_given),
    TEST(test_programs_that_are_started_by_other_means_do_not_take_the_channel),
    TEST(test_a_channel_is_taken_from_the_environment_once),
    TEST(test_of_several_threads_one_takes_the_channel),
    TEST(test_a_stray_number_is_no_channel),
    TEST(test_what_is_no_connected_stream_socket_is_refused_and_stays),
};

int main(int argc, char **argv)
{
	int done;

	if (readlink("/proc/self/exe", program, sizeof program - 1) < 0)
		return 1;
	done = argc > 1 ? child_does(argv[1], argc > 2 ? argv[2] : NULL) : -1;
	if (done >= 0)
		return done;
	return harness_main("public/spawn-environment", tests, sizeof tests / sizeof *tests, argc, argv);
}
