/* SPDX-License-Identifier: MIT */
/*
 * Processes that serve requests. The payload is a file on the process's standard input, and the
 * attachments are its descriptors from 3 on. Apart from standard output and standard error, no
 * other descriptor of ours is open in it. Each process has a process group of its own, so that the
 * processes that it started are killed with it.
 */
#include "command.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

/* How a shell reports that a program could not be run, and that a signal ended it. */
enum { STATUS_NOT_RUN = 127, STATUS_SIGNAL = 128 };

/* How long a reply may wait for its caller. Meanwhile it occupies room that other requests need. */
enum { REPLY_MS = 30000 };

enum { ROOM_FREE = 0, ROOM_TAKEN = -1 };

static struct {
	pthread_mutex_t lock;
	pthread_cond_t freed;
	/* For each room, a process or one of the above. */
	pid_t *rooms;
	size_t most;
	bool over;
} processes = {.lock = PTHREAD_MUTEX_INITIALIZER, .freed = PTHREAD_COND_INITIALIZER};

/* The variables that describe a request to its process. */
static const char *const told[] = {"BEAM_TOPIC", "BEAM_ATTACHMENTS", "BEAM_PEER_UID", "BEAM_PEER_PID"};

int processes_begin(unsigned most)
{
	processes.most = most;
	processes.rooms = calloc(most, sizeof *processes.rooms);
	/* If SIGCHLD were ignored, processes could not be waited for. */
	signal(SIGCHLD, SIG_DFL);
	/* They may describe a request that this command itself serves. */
	for (size_t i = 0; i < sizeof told / sizeof told[0]; i++)
		unsetenv(told[i]);
	return processes.rooms ? 0 : -ENOMEM;
}

size_t processes_wait(void)
{
	size_t i = 0;

	pthread_mutex_lock(&processes.lock);
	while (processes.rooms[i] != ROOM_FREE)
		if (++i == processes.most) {
			pthread_cond_wait(&processes.freed, &processes.lock);
			i = 0;
		}
	processes.rooms[i] = ROOM_TAKEN;
	pthread_mutex_unlock(&processes.lock);
	return i;
}

static void process_leave(size_t room)
{
	pthread_mutex_lock(&processes.lock);
	processes.rooms[room] = ROOM_FREE;
	pthread_cond_signal(&processes.freed);
	pthread_mutex_unlock(&processes.lock);
}

/*
 * Takes the lock. After a signal this process is about to end, and that is what clients who wait
 * for a reply are to see. So then no thread goes on.
 */
static void processes_enter(void)
{
	pthread_mutex_lock(&processes.lock);
	while (processes.over) {
		pthread_mutex_unlock(&processes.lock);
		pause();
		pthread_mutex_lock(&processes.lock);
	}
}

void processes_end(void)
{
	pthread_mutex_lock(&processes.lock);
	processes.over = true;
	for (size_t i = 0; i < processes.most; i++)
		if (processes.rooms[i] > 0)
			kill(-processes.rooms[i], SIGTERM);
	pthread_mutex_unlock(&processes.lock);
}

/* ---- Beginning ------------------------------------------------------------------------------- */

/* What a process starts with. */
struct start {
	int input, output;                             /* output -1: that of the command */
	int attachments[BEAM_MESSAGE_ATTACHMENTS_MAX]; /* numbers above those that they get; -1: lost */
	size_t n_attachments;
	char topic[sizeof "BEAM_TOPIC=" + BEAM_TOPIC_NAME_MAX], count[32], uid[32], pid[32];
};

static int write_payload(int fd, const beam_message *message)
{
	const char *data = beam_message_data(message);
	size_t size = beam_message_size(message);

	for (size_t done = 0; done < size;) {
		ssize_t n = pwrite(fd, data + done, size - done, (off_t)done);
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

static int prepare(struct start *start, const struct request *request)
{
	struct beam_peer peer;

	start->input = memfd_create("request", MFD_CLOEXEC);
	if (start->input < 0)
		return -errno;
	size_t n = beam_message_attachments(request->message);
	for (; start->n_attachments < n; start->n_attachments++) {
		int fd = beam_message_peek_fd(request->message, start->n_attachments);
		int above = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3 + (int)n);
		if (fd >= 0 && above < 0)
			return -errno;
		start->attachments[start->n_attachments] = above;
	}
	snprintf(start->topic, sizeof start->topic, "BEAM_TOPIC=%s", request->topic);
	snprintf(start->count, sizeof start->count, "BEAM_ATTACHMENTS=%zu", start->n_attachments);
	if (beam_channel_peer(request->channel, &peer) == 0) {
		snprintf(start->uid, sizeof start->uid, "BEAM_PEER_UID=%u", peer.uid);
		if (peer.has_pid)
			snprintf(start->pid, sizeof start->pid, "BEAM_PEER_PID=%d", peer.pid);
	}
	return write_payload(start->input, request->message);
}

static void process_close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void start_free(struct start *start)
{
	process_close_fd(start->input);
	process_close_fd(start->output);
	for (size_t i = 0; i < start->n_attachments; i++)
		process_close_fd(start->attachments[i]);
}

/* Returns our environment, with a few more variables. */
static char **environment(struct start *start)
{
	size_t n = 0, size = 5;

	while (environ[n])
		n++;
	char **all = calloc(n + size, sizeof *all);
	if (!all)
		return NULL;
	memcpy(all, environ, n * sizeof *all);
	all[n++] = start->topic;
	all[n++] = start->count;
	if (*start->uid)
		all[n++] = start->uid;
	if (*start->pid)
		all[n++] = start->pid;
	return all;
}

/* @return 0 or an errno, as posix_spawn() does */
static int describe_fds(posix_spawn_file_actions_t *actions, const struct start *start)
{
	int first = 3, r = posix_spawn_file_actions_adddup2(actions, start->input, STDIN_FILENO);

	if (r == 0 && start->output >= 0)
		r = posix_spawn_file_actions_adddup2(actions, start->output, STDOUT_FILENO);
	for (size_t i = 0; r == 0 && i < start->n_attachments; i++)
		r = start->attachments[i] < 0
			? posix_spawn_file_actions_addclose(actions, first + (int)i)
			: posix_spawn_file_actions_adddup2(actions, start->attachments[i], first + (int)i);
	if (r == 0)
		r = posix_spawn_file_actions_addclosefrom_np(actions, first + (int)start->n_attachments);
	return r;
}

static int spawn(pid_t *ret, struct start *start)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, all_signals;
	char **all = environment(start);

	if (!all)
		return ENOMEM;
	sigemptyset(&none);
	sigfillset(&all_signals);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	/*
	 * Blocked and ignored signals are not inherited from the command, because a shell cannot
	 * undo that SIGPIPE is ignored.
	 */
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all_signals);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	int r = describe_fds(&actions, start);
	if (r == 0)
		r = posix_spawnp(ret, options.arguments[1], &actions, &attributes, options.arguments + 1, all);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	free(all);
	return r;
}

/* Starts a process with the lock held, so that processes_end() does not miss it. */
static int process_begin(size_t room, struct start *start)
{
	pid_t pid = 0;

	processes_enter();
	int r = -spawn(&pid, start);
	if (r == 0)
		processes.rooms[room] = pid;
	pthread_mutex_unlock(&processes.lock);
	return r;
}

/* ---- Ending ---------------------------------------------------------------------------------- */

/* Waits until the process has ended. Before Linux 5.3 the deadline applies only to its output. */
static int process_wait_for_end(pid_t pid, int stop, beam_deadline deadline)
{
	int ended = pidfd_open(pid, 0);
	int r = ended >= 0 ? wait_readable(ended, stop, deadline) : errno == ENOSYS ? 0 : -errno;

	process_close_fd(ended);
	return r;
}

/*
 * Waits for the process, or kills it if something went wrong or the deadline passes. If nobody
 * wants its reply any more, it gets SIGTERM, its output is closed, and it has the rest of its time
 * to end. @return its status, as a shell reports it
 */
static int end(size_t room, int error, struct input *output)
{
	pid_t pid = processes.rooms[room];
	int status = 0;

	if (error == 0)
		error = process_wait_for_end(pid, output->stop, output->deadline);
	if (error == -ECANCELED) {
		process_close_fd(output->fd);
		output->fd = -1;
		kill(-pid, SIGTERM);
		error = process_wait_for_end(pid, -1, output->deadline);
	}
	if (error < 0)
		kill(-pid, SIGKILL);
	/*
	 * WNOWAIT leaves the process in place, so that its number is not used again before the lock
	 * is held.
	 */
	while (waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED | WNOWAIT) < 0 && errno == EINTR)
		;
	processes_enter();
	waitpid(pid, &status, 0);
	processes.rooms[room] = ROOM_TAKEN;
	pthread_mutex_unlock(&processes.lock);
	if (error < 0)
		say_error(error, options.arguments[1]);
	return WIFEXITED(status) ? WEXITSTATUS(status) : STATUS_SIGNAL + WTERMSIG(status);
}

/* @return the status */
static int process_run(size_t room, const struct request *request, struct input *output)
{
	struct start start = {.input = -1, .output = -1};
	const char *text;
	size_t size;
	int ends[2], r = prepare(&start, request);

	if (r == 0 && beam_message_is_call(request->message)) {
		r = pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0;
		if (r == 0) {
			output->fd = ends[0];
			start.output = ends[1];
		}
	}
	if (r == 0)
		r = process_begin(room, &start);
	start_free(&start);
	if (r < 0) {
		say_error(r, options.arguments[1]);
		return STATUS_NOT_RUN;
	}
	if (output->fd >= 0)
		r = input_whole(output, &text, &size);
	if (r == -EMSGSIZE)
		output->end = 0; /* too large to be sent with the failure, too */
	return end(room, r < 0 ? r : 0, output);
}

/* Sends the reply. It is not an error if the caller is gone, or does not want it any more. */
static void process_reply(beam_message *request, int status, const struct input *output)
{
	beam_deadline deadline = beam_in_ms(REPLY_MS);
	int r = status == 0 ? beam_message_reply(request, output->data, output->end, 0, deadline)
			    : beam_message_reply_failure(request, BEAM_FAILURE_APPLICATION + (uint32_t)status,
							 output->data, output->end, 0, deadline);

	if (r < 0 && r != -EPIPE && r != -ECONNRESET && r != -ECANCELED)
		say_unsent(output->channel, r, options.arguments[0]);
}

void processes_serve(size_t room, const struct request *request)
{
	/*
	 * Negative, and so never readable, if the message is not a call or no descriptor is free.
	 */
	int cancelled = beam_message_cancelled_fd(request->message);
	struct input output = {.channel = request->channel, .fd = -1, .stop = cancelled};

	output.deadline = options.patience < 0 ? BEAM_FOREVER : beam_in_ms(options.patience);
	int status = process_run(room, request, &output);
	process_close_fd(output.fd);
	if (beam_message_is_call(request->message))
		process_reply(request->message, status, &output);
	input_free(&output);
	process_leave(room);
}
