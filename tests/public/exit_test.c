/* SPDX-License-Identifier: MIT */
/*
 * A process exits although peers do not read, or descriptors block when they are closed. It waits
 * for all of them together, not for one after the other, and peers that do read receive everything.
 */
#include <beam/beam.h>
#include <harness/harness.h>
#include <hostile/lingering.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>

enum {
	/* Channels whose peers do not read, and how long each lingers. */
	STALLED = 20,
	LINGER_MS = 1000,
	/* What each channel has accepted. It does not fit into the socket. */
	MESSAGES = 2,
	SIZE = 15000,
	/* Listeners, and how long each would wait for a slow close. */
	LISTENERS = 60,
	LISTENER_MS = 100,
};

static void needs_an_exit_of_a_child(void)
{
	needs_threads_in_children();
	if (under_valgrind())
		skip("the child's exit would be judged by its parent's memory");
}

/* Makes a channel that has more to send than fits into its socket. */
static void fill(int fd, struct beam_channel_options *options)
{
	static const char payload[SIZE];
	beam_channel *channel = NULL;
	beam_topic *topic = NULL;

	options->socket_buffer_bytes = 4096;
	require_int(beam_channel_from_fd(&channel, fd, options), 0);
	require_int(beam_topic_open(&topic, channel, "topic"), 0);
	for (int i = 0; i < MESSAGES; i++)
		check_int(beam_topic_send(topic, payload, sizeof payload, 0, BEAM_NOWAIT), 0);
}

/* ---- Peers that do not read ------------------------------------------------------------------ */

static int leave_stalled_peers(void *unused)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	int fds[2];

	(void)unused;
	options.linger_ms = LINGER_MS;
	for (int i = 0; i < STALLED; i++) {
		require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
		options.loop = i % 4 != 0;
		fill(fds[0], &options);
	}
	exit(harness_failures() ? 1 : 0);
}

static void test_peers_that_do_not_read_are_waited_for_together(void)
{
	int64_t begin = now_ns(), took;

	needs_an_exit_of_a_child();
	check_int(process_wait(process_spawn(leave_stalled_peers, NULL)), 0);
	took = (now_ns() - begin) / 1000000;
	check(took >= LINGER_MS);
	check(took < STALLED * LINGER_MS / 2);
}

/*
 * Connections between the parent and channels of the child. The parent reads from the last one
 * only.
 */
struct peers {
	int theirs[STALLED + 1], ours[STALLED + 1];
};

static int leave_one_that_reads(void *argument)
{
	struct peers *peers = argument;

	for (int i = 0; i <= STALLED; i++) {
		struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

		close(peers->ours[i]);
		options.linger_ms = (uint32_t)stretch(20000);
		/*
		 * A channel in loop mode, whose loop nobody runs any more. The library must write
		 * for it at the exit.
		 */
		options.loop = i == STALLED;
		fill(peers->theirs[i], &options);
	}
	exit(harness_failures() ? 1 : 0);
}

static void test_one_that_reads_gets_everything_though_others_do_not_read(void)
{
	static char bytes[4096];
	struct pollfd readable;
	struct peers peers;
	size_t got = 0;
	ssize_t n = 1;
	pid_t child;

	needs_an_exit_of_a_child();
	for (int i = 0; i <= STALLED; i++) {
		int fds[2];

		require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
		peers.theirs[i] = fds[0];
		peers.ours[i] = fds[1];
	}
	child = process_spawn(leave_one_that_reads, &peers);
	for (int i = 0; i <= STALLED; i++)
		close(peers.theirs[i]);
	/* It arrives long before the others time out. */
	readable = (struct pollfd){.fd = peers.ours[STALLED], .events = POLLIN};
	while (n > 0 && got < MESSAGES * SIZE && poll(&readable, 1, stretch(10000)) == 1) {
		n = read(readable.fd, bytes, sizeof bytes);
		got += n > 0 ? (size_t)n : 0;
	}
	check(got >= MESSAGES * SIZE);
	/* The child is still waiting for the others. */
	check_int(waitpid(child, NULL, WNOHANG), 0);
	for (int i = 0; i <= STALLED; i++)
		close(peers.ours[i]);
	check_int(process_wait(child), 0);
}

/* ---- A close that blocks --------------------------------------------------------------------- */

struct hung {
	int fd, go;
};

static int leave_listeners_and_a_close_that_lasts(void *argument)
{
	const struct hung *hung = argument;
	beam_listener *listener;
	beam_message *message;
	char name[40];

	check_int(read(hung->go, &(char){0}, 1), 1);
	require_int(beam_message_new(&message, "", 0), 0);
	require_int(beam_message_give_fd(message, hung->fd), 0);
	beam_message_free(message);
	check_within(20000, !fd_open(hung->fd));
	for (int i = 0; i < LISTENERS; i++) {
		snprintf(name, sizeof name, "@beam-exit-%d-%d", getpid(), i);
		require_int(beam_listener_new(&listener, name, NULL), 0);
	}
	exit(harness_failures() ? 1 : 0);
}

static void test_listeners_do_not_wait_one_after_the_other_for_a_close_that_lasts(void)
{
	struct lingering lingering;
	int64_t begin;
	int pipe_fds[2];
	pid_t child;

	needs_an_exit_of_a_child();
	lingering = lingering_open();
	require_int(pipe2(pipe_fds, O_CLOEXEC), 0);
	child = process_spawn(leave_listeners_and_a_close_that_lasts, &(struct hung){lingering.fd, pipe_fds[0]});
	/* The last close is that of the child. */
	close(lingering.fd);
	begin = now_ns();
	check_int(write(pipe_fds[1], "x", 1), 1);
	check_int(process_wait(child), 0);
	check(now_ns() - begin < (int64_t)LISTENERS * LISTENER_MS / 2 * 1000000);
	lingering_end(&lingering, begin);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static const struct test tests[] = {
    TEST(test_peers_that_do_not_read_are_waited_for_together),
    TEST(test_one_that_reads_gets_everything_though_others_do_not_read),
    TEST(test_listeners_do_not_wait_one_after_the_other_for_a_close_that_lasts),
};

HARNESS_MAIN("public/exit", tests)
