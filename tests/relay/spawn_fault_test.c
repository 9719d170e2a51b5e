/* SPDX-License-Identifier: MIT */
/*
 * Programs that are started, and the channel of the environment, while each call that can fail
 * fails in turn: nothing is left over.
 */
#include <beam/spawn.h>
#include <inttypes.h>
#include <relay/sweep.h>
#include <sys/wait.h>

static void start_a_program(void)
{
	struct beam_channel_options options = options_of_sweeps();
	char *const argv[] = {(char[]){"true"}, NULL}, *const envp[] = {(char[]){"BEAM_CHANNEL=1"}, (char[]){"A=B"},
									NULL};
	beam_channel *channel = NULL;
	pid_t pid = 0;
	int r = beam_spawn(&channel, &pid, "true", argv, envp, &options);

	check(r <= 0);
	check_int(channel != NULL, r == 0);
	check_int(pid > 0, r == 0);
	if (r == 0)
		check_int(process_wait(pid), 0);
	beam_channel_unref(channel);
	/* No child process is left. */
	check(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
}

static void test_a_program_is_started_with_its_channel_or_not_at_all(void)
{
	check(sweep(start_a_program) >= at_least(20));
}

/* Put into the environment itself, because setenv() keeps its copies for ever. */
static char variable[64];

static void take_the_channel_of_the_environment(void)
{
	struct beam_channel_options options = options_of_sweeps();
	beam_channel *channel = NULL;
	struct stat status = {0};
	int fds[2], r;

	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	check_int(fstat(fds[0], &status), 0);
	snprintf(variable, sizeof variable, "BEAM_CHANNEL=%d:%" PRIu64, fds[0], (uint64_t)status.st_ino);
	r = beam_channel_from_environment(&channel, &options);
	check(r <= 0);
	check_int(channel != NULL, r == 0);
	/* A channel that could not be taken can be taken at the next try. */
	if (r < 0 && beam_channel_from_environment(&channel, &options) < 0)
		close(fds[0]);
	close(fds[1]);
	beam_channel_unref(channel);
}

static void test_the_channel_of_the_environment_is_taken_or_can_be_taken_again(void)
{
	snprintf(variable, sizeof variable, "BEAM_CHANNEL=");
	check_int(putenv(variable), 0);
	check(sweep(take_the_channel_of_the_environment) >= at_least(20));
	unsetenv("BEAM_CHANNEL");
}

static const struct test tests[] = {
    TEST(test_a_program_is_started_with_its_channel_or_not_at_all),
    TEST(test_the_channel_of_the_environment_is_taken_or_can_be_taken_again),
};
HARNESS_MAIN("relay-spawn-fault", tests)
