/* SPDX-License-Identifier: MIT */
/*
 * Programs that are started with a channel. The program is this one, with an argument that says
 * what to do (see main()). It exits with 0, or with a number that says what was wrong.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <public/ends.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char program[PATH_MAX];

/* Starts this program with an argument. */
static int start(const char *what, const char *more, beam_channel **ret, pid_t *ret_pid)
{
	char *const argv[] = {program, (char *)(uintptr_t)what, (char *)(uintptr_t)more, NULL};

	return beam_spawn(ret, ret_pid, program, argv, NULL, NULL);
}

static beam_topic *open_topic(beam_channel *channel)
{
	beam_topic *topic = NULL;

	require_int(beam_topic_open(&topic, channel, "topic"), 0);
	return topic;
}

/* ---- The programs that are started ----------------------------------------------------------- */

static int child_topic(beam_channel **ret, beam_topic **ret_topic)
{
	int r = beam_channel_from_environment(ret, NULL);

	return r < 0 ? r : beam_topic_open(ret_topic, *ret, "topic");
}

/* Sends back all messages until the topic ends. */
static int child_echo(void)
{
	beam_channel *channel = NULL;
	beam_topic *topic = NULL;
	beam_message *message = NULL;
	int r = child_topic(&channel, &topic);

	while (!r && (r = beam_topic_receive(topic, &message, 0, soon())) == 1)
		r = beam_topic_send_message(topic, message, 0, soon());
	beam_topic_unref(topic);
	beam_channel_unref(channel);
	/* The parent may have closed the channel before the topic was open. */
	return r && r != -EPIPE ? 10 : 0;
}

/* The number of open descriptors, without the one that is used for counting. */
static int count_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int n = -3; /* itself, and two dots */

	while (folder && readdir(folder))
		n++;
	closedir(folder);
	return n;
}

/* Checks that it has the standard descriptors and the channel's, and sends `word`. */
static int child_look(const char *word)
{
	int number = atoi(getenv("BEAM_CHANNEL") ? getenv("BEAM_CHANNEL") : "0"), r;
	beam_channel *channel = NULL;
	beam_topic *topic = NULL;

	if (count_descriptors() != 4)
		return 20;
	if (number < 3 || fcntl(number, F_GETFD) != 0)
		return 21;
	r = child_topic(&channel, &topic);
	if (!r && fcntl(number, F_GETFD) != FD_CLOEXEC)
		return 22;
	if (!r)
		r = beam_topic_send(topic, word, strlen(word), 0, soon());
	beam_topic_unref(topic);
	beam_channel_unref(channel);
	return r ? 23 : 0;
}

/* The bit mask in a line of /proc/self/status. */
static uint64_t status_bits(const char *name)
{
	FILE *file = fopen("/proc/self/status", "re");
	uint64_t bits = UINT64_MAX;
	char line[256];

	while (file && fgets(line, sizeof line, file)) {
		if (strncmp(line, name, strlen(name)) == 0)
			bits = strtoull(line + strlen(name), NULL, 16);
	}
	if (file)
		fclose(file);
	return bits;
}

/*
 * No signal is blocked or ignored, except 32 to 34, which belong to the C library: glibc has the
 * program ignore them.
 */
static int child_signals(void)
{
	const uint64_t own = UINT64_C(7) << 31;

	if (status_bits("SigBlk:") & ~own)
		return 30;
	return status_bits("SigIgn:") & ~own ? 31 : 0;
}

static int child_does(const char *what, const char *more)
{
	if (strcmp(what, "--echo") == 0)
		return child_echo();
	if (strcmp(what, "--look") == 0)
		return child_look(more);
	if (strcmp(what, "--signals") == 0)
		return child_signals();
	return -1;
}

/* ---- One program ----------------------------------------------------------------------------- */

static void test_a_program_talks_with_the_one_that_started_it(void)
{
	beam_channel *channel = NULL;
	beam_topic *topic;
	pid_t pid = 0;

	require_int(start("--echo", NULL, &channel, &pid), 0);
	topic = open_topic(channel);
	for (int i = 0; i < 100; i++) {
		send_number(topic, (uint64_t)i);
		expect_number(topic, (uint64_t)i);
	}
	/* Attachments work, too. */
	check_int(beam_topic_sendv(topic, NULL, 0, (int[]){STDERR_FILENO}, 1, 0, soon()), 0);
	expect_text_with_fds(topic, "", 1);
	beam_topic_close_send(topic);
	check_int(receive_nothing(topic, soon()), 0);
	check_int(process_wait(pid), 0);
	beam_topic_unref(topic);
	beam_channel_unref(channel);
}

static void test_a_program_hears_of_the_end_of_the_one_that_started_it(void)
{
	beam_channel *channel = NULL;
	pid_t pid = 0;

	/* After an orderly end, the program's topic ends normally. */
	require_int(start("--echo", NULL, &channel, &pid), 0);
	beam_channel_unref(channel);
	check_int(process_wait(pid), 0);
	/* As if this process had died. */
	require_int(start("--echo", NULL, &channel, &pid), 0);
	check_int(beam_channel_abort(channel), 0);
	beam_channel_unref(channel);
	check_int(process_wait(pid), 10);
}

static void test_the_end_of_a_program_ends_its_channel(void)
{
	beam_channel *channel = NULL;
	beam_topic *topic;
	pid_t pid = 0;

	require_int(start("--echo", NULL, &channel, &pid), 0);
	topic = open_topic(channel);
	send_text(topic, "are you there?");
	expect_text(topic, "are you there?");
	check_int(kill(pid, SIGKILL), 0);
	check_int(receive_nothing(topic, soon()), -ECONNRESET);
	check_int(beam_topic_send(topic, "x", 1, 0, soon()), -ECONNRESET);
	check_int(process_wait(pid), 128 + SIGKILL);
	beam_topic_unref(topic);
	beam_channel_unref(channel);
}

static void test_a_program_that_ends_at_once_ends_its_channel(void)
{
	char *const argv[] = {(char[]){"false"}, NULL};
	beam_channel *channel = NULL;
	beam_topic *topic = NULL;
	pid_t pid = 0;

	require_int(beam_spawn(&channel, &pid, "false", argv, NULL, NULL), 0);
	check_int(beam_channel_accept(channel, &topic, soon()), -ECONNRESET);
	check_int(beam_topic_open(&topic, channel, "topic"), -ECONNRESET);
	check_int(process_wait(pid), 1);
	beam_channel_unref(channel);
}

static void test_a_channel_to_a_program_can_be_run_by_a_loop(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	char *const argv[] = {program, (char[]){"--look"}, (char[]){"in a loop"}, NULL};
	beam_channel *channel = NULL;
	beam_topic *topic;
	pid_t pid = 0;

	options.loop = 1;
	require_int(beam_spawn(&channel, &pid, program, argv, NULL, &options), 0);
	check(beam_channel_loop_fd(channel) >= 0);
	topic = open_topic(channel);
	expect_text(topic, "in a loop");
	check_int(process_wait(pid), 0);
	beam_topic_unref(topic);
	beam_channel_unref(channel);
}

/* ---- Failures -------------------------------------------------------------------------------- */

static void expect_no_start(const char *path, int expected)
{
	char *const argv[] = {(char *)(uintptr_t)path, NULL};
	beam_channel *channel = NULL;
	pid_t pid = -7;

	check_int(beam_spawn(&channel, &pid, path, argv, NULL, NULL), expected);
	check(channel == NULL && pid == -7);
	/* No child process remains. */
	check(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
}

/*
 * The child writes the reason to memory that it shares with its parent until it runs the program.
 */
static void needs_spawn_errors(void)
{
	if (under_valgrind())
		skip("Valgrind makes a fork of vfork, so posix_spawn does not learn why a program cannot be run");
}

static void test_a_program_that_cannot_be_run_is_told_and_leaves_nothing(void)
{
	char path[FOLDER_SIZE], inside[sizeof path + 8];

	needs_spawn_errors();
	close(file_make(path));
	snprintf(inside, sizeof inside, "%s/x", path);
	expect_no_start("/nonexistent/beam-program", -ENOENT);
	expect_no_start("beam-program-that-nobody-has", -ENOENT);
	expect_no_start(inside, -ENOTDIR);
	expect_no_start(path, -EACCES);
	/* The file is empty. */
	require_int(chmod(path, 0700), 0);
	expect_no_start(path, -ENOEXEC);
	unlink(path);
}

static void test_null_and_bad_options_are_refused(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	char *const argv[] = {(char[]){"true"}, NULL};
	beam_channel *channel = NULL;
	pid_t pid = -7;

	options.topics = 1;
	check_int(beam_spawn(NULL, &pid, "true", argv, NULL, NULL), -EINVAL);
	check_int(beam_spawn(&channel, NULL, "true", argv, NULL, NULL), -EINVAL);
	check_int(beam_spawn(&channel, &pid, NULL, argv, NULL, NULL), -EINVAL);
	check_int(beam_spawn(&channel, &pid, "true", NULL, NULL, NULL), -EINVAL);
	check_int(beam_spawn(&channel, &pid, "true", argv, NULL, &options), -EINVAL);
	check(channel == NULL && pid == -7);
	check(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
}

/*
 * Starts a program while only `more` further descriptors may be opened. Returns false if they were
 * too few.
 */
static bool start_with_room_for(size_t more)
{
	char *const argv[] = {(char[]){"true"}, NULL};
	struct rlimit limit = {open_fds() + more, open_fds() + more};
	struct rlimit before;
	beam_channel *channel = NULL;
	size_t open = open_fds();
	pid_t pid = 0;
	int r;

	getrlimit(RLIMIT_NOFILE, &before);
	limit.rlim_max = before.rlim_max;
	require_int(setrlimit(RLIMIT_NOFILE, &limit), 0);
	r = beam_spawn(&channel, &pid, "true", argv, NULL, NULL);
	require_int(setrlimit(RLIMIT_NOFILE, &before), 0);
	if (r == 0) {
		check_int(process_wait(pid), 0);
		beam_channel_unref(channel);
	} else {
		check_int(r, -EMFILE);
		check(channel == NULL && pid == 0);
	}
	check_within(20000, open_fds() == open);
	return r == 0;
}

static int spawn_under_limits(void *unused)
{
	size_t more = 0;

	(void)unused;
	while (more < 64 && !start_with_room_for(more))
		more++;
	/* Two for the pair, and three for the channel. */
	check(more >= 2 && more < 16);
	return 0;
}

static void test_without_descriptors_no_program_is_started_and_nothing_is_left(void)
{
	needs_threads_in_children();
	needs_spawn_errors();
	check_int(process_wait(process_spawn(spawn_under_limits, NULL)), 0);
}

static int spawn_without_standard_descriptors(void *unused)
{
	beam_channel *channel = NULL;
	beam_topic *topic;
	pid_t pid = 0;

	(void)unused;
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	if (start("--echo", NULL, &channel, &pid) < 0)
		return 1;
	topic = open_topic(channel);
	send_text(topic, "quiet");
	expect_text(topic, "quiet");
	beam_topic_unref(topic);
	beam_channel_unref(channel);
	return process_wait(pid);
}

static void test_the_channel_of_a_program_is_no_standard_descriptor(void)
{
	needs_threads_in_children();
	check_int(process_wait(process_spawn(spawn_without_standard_descriptors, NULL)), 0);
}

/* ---- Signals --------------------------------------------------------------------------------- */

static void *spawn_blocking_signals(void *unused)
{
	beam_channel *channel = NULL;
	sigset_t all, before, after;
	pid_t pid = 0;

	(void)unused;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	require_int(start("--signals", NULL, &channel, &pid), 0);
	/* Signals that this thread had blocked stay blocked. */
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	check(sigismember(&after, SIGTERM) && sigismember(&after, SIGINT));
	check_int(process_wait(pid), 0);
	beam_channel_unref(channel);
	return NULL;
}

static void test_a_program_has_no_signal_blocked_or_ignored(void)
{
	static const int ignored[] = {SIGPIPE, SIGHUP, SIGINT, SIGTERM};
	struct sigaction ignore = {.sa_handler = SIG_IGN}, before[4];

	for (int i = 0; i < 4; i++)
		require_int(sigaction(ignored[i], &ignore, &before[i]), 0);
	thread_wait(thread_spawn(spawn_blocking_signals, NULL));
	for (int i = 0; i < 4; i++)
		require_int(sigaction(ignored[i], &before[i], NULL), 0);
}

/* ---- Many ------------------------------------------------------------------------------------ */

enum { SPAWNERS = 4 };

static void *spawn_many(void *number)
{
	size_t n = scale(250);

	for (size_t i = 0; i < n; i++) {
		beam_channel *channel = NULL;
		beam_topic *topic;
		char word[32];
		pid_t pid = 0;

		snprintf(word, sizeof word, "%d of %d", (int)i, (int)(intptr_t)number);
		if (!check_int(start("--look", word, &channel, &pid), 0))
			break;
		topic = open_topic(channel);
		expect_text(topic, word);
		check_int(receive_nothing(topic, soon()), 0);
		check_int(process_wait(pid), 0);
		beam_topic_unref(topic);
		beam_channel_unref(channel);
		harness_progress();
	}
	return NULL;
}

/*
 * Each program checks which descriptors it has. This process has those of a channel, of a message,
 * and of the other programs that are being started.
 */
static void test_programs_that_are_started_at_once_have_nothing_of_each_other(void)
{
	pthread_t threads[SPAWNERS];
	beam_message *message = NULL;
	static struct ends ends;

	ends_open(&ends, NULL);
	require_int(beam_message_new(&message, NULL, 0), 0);
	check_int(beam_message_add_fd(message, STDERR_FILENO), 0);
	for (int i = 0; i < SPAWNERS; i++)
		threads[i] = thread_spawn(spawn_many, (void *)(intptr_t)i);
	for (int i = 0; i < SPAWNERS; i++)
		thread_wait(threads[i]);
	beam_message_free(message);
	ends_close(&ends);
}

static const struct test tests[] = {
    TEST(test_a_program_talks_with_the_one_that_started_it),
    TEST(test_a_program_hears_of_the_end_of_the_one_that_started_it),
    TEST(test_the_end_of_a_program_ends_its_channel),
    TEST(test_a_program_that_ends_at_once_ends_its_channel),
    TEST(test_a_channel_to_a_program_can_be_run_by_a_loop),
    TEST(test_a_program_that_cannot_be_run_is_told_and_leaves_nothing),
    TEST(test_null_and_bad_options_are_refused),
    TEST(test_without_descriptors_no_program_is_started_and_nothing_is_left),
    TEST(test_the_channel_of_a_program_is_no_standard_descriptor),
    TEST(test_a_program_has_no_signal_blocked_or_ignored),
    TEST(test_programs_that_are_started_at_once_have_nothing_of_each_other),
};

int main(int argc, char **argv)
{
	int done;

	if (readlink("/proc/self/exe", program, sizeof program - 1) < 0)
		return 1;
	done = argc > 1 ? child_does(argv[1], argc > 2 ? argv[2] : NULL) : -1;
	if (done >= 0)
		return done;
	return harness_main("public/spawn", tests, sizeof tests / sizeof *tests, argc, argv);
}
