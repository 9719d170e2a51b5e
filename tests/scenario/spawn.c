/* SPDX-License-Identifier: MIT */
/*
 * Programs that are started with a channel, and channels from the environment. If a program cannot
 * be started, nothing is left.
 */
#include <beam/spawn.h>
#include <inttypes.h>
#include <scenario/ledger.h>
#include <scenario/scenarios.h>
#include <sys/stat.h>

void a_program_that_is_started(void)
{
	struct beam_channel_options options = ends_options();
	char *const argv[] = {(char[]){"true"}, NULL};
	beam_channel *channel = NULL;
	beam_topic *topic = NULL;
	pid_t pid = 0;
	int r = beam_spawn(&channel, &pid, "true", argv, NULL, &options);

	check((r == 0) == (channel != NULL) && (r == 0) == (pid > 0));
	if (!result_of(r, 0, -EMFILE, -ENFILE, -ENOMEM, -EAGAIN, -ENOENT, -EACCES, -ENOEXEC, -ETXTBSY, -EPERM))
		return;
	/* The program exits without using the channel. */
	r = beam_channel_accept(channel, &topic, soon());
	result_of(r, -ECONNRESET, -EAGAIN, -ETIMEDOUT, -ENOMEM);
	check_int(process_wait(pid), 0);
	beam_channel_unref(channel);
}

void a_channel_of_the_environment(void)
{
	/*
	 * Memory that stays with the environment. setenv() would allocate memory that is never
	 * freed.
	 */
	static char variable[64];
	struct beam_channel_options options = ends_options();
	struct ends *ends = calloc(1, sizeof *ends);
	struct stat status = {0};
	int fds[2], r;

	require(ends != NULL);
	ends_sockets(fds);
	check_int(fstat(fds[0], &status), 0);
	snprintf(variable, sizeof variable, "BEAM_CHANNEL=%d:%" PRIu64, fds[0], (uint64_t)status.st_ino);
	check_int(putenv(variable), 0);
	r = beam_channel_from_environment(&ends->channel[0], &options);
	check((r == 0) == (ends->channel[0] != NULL));
	/* ENOENT: if the descriptor cannot be examined, it is not taken for one that was passed. */
	if (!result_of(r, 0, -ENOENT, -EMFILE, -ENFILE, -ENOMEM, -EAGAIN))
		close(fds[0]);
	unsetenv("BEAM_CHANNEL");
	ends->channel[1] = ends_channel(fds[1], &options);
	if (ends->channel[0] && ends->channel[1] &&
	    result_of(beam_topic_open(&ends->topic[0], ends->channel[0], "topic"), 0, -EPIPE, -ECONNRESET, -ENOMEM) &&
	    result_of(beam_topic_open(&ends->topic[1], ends->channel[1], "topic"), 0, -EPIPE, -ECONNRESET, -ENOMEM)) {
		flow_send(&ends->flow[0], ends->topic[0], SEND, 100, 0);
		flow_receive(&ends->flow[0], ends->topic[1]);
	}
	ends_release(ends, 0);
}
