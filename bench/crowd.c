/* SPDX-License-Identifier: MIT */
/*
 * A crowd: one thread runs many channels by an epoll loop and answers a call on each; another process asks, on one channel after the other, a few at
 * a time. What a call costs with 10, 1,000 and 10,000 channels, and what memory a channel takes that is idle.
 */
#include "util.h"
#include <beam/beam.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AT_ONCE = 10, ROUNDS_DEFAULT = 5, CALLS_DEFAULT = 100000, EVENTS = 64, SIZE = 64, IDLE_US = 30 * 1000 };

struct member {
	beam_channel *channel;
	beam_topic *topic;
};

static size_t n_calls = CALLS_DEFAULT;

static void open_member(struct member *member, int socket)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.loop = 1;
	must(beam_channel_new(&member->channel, socket, &options), "channel");
	must(beam_topic_open(&member->topic, member->channel, "call"), "topic");
}

static struct sockaddr_un address_of(pid_t server)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "beam-crowd-%d", (int)server);
	return address;
}

/* ---- The one that asks ---------------------------------------------------------------------------------------------------- */

static void ask_all(struct member *members, size_t n, size_t calls)
{
	uint64_t payload[SIZE / sizeof(uint64_t)] = {0};
	const struct iovec iov = {payload, sizeof payload};
	beam_call *asked[AT_ONCE];
	beam_message *message;

	for (size_t done = 0; done < calls; done += AT_ONCE) {
		for (size_t i = 0; i < AT_ONCE; i++) {
			payload[0] = done + i;
			must(beam_call_begin(&asked[i], members[(done + i) % n].topic, &iov, 1, NULL, 0, BEAM_FOREVER), "ask");
		}
		for (size_t i = 0; i < AT_ONCE; i++) {
			payload[0] = done + i;
			if (must(beam_call_receive(asked[i], &message, BEAM_FOREVER), "answer") != 1)
				die("no answer");
			if (beam_message_size(message) != sizeof payload ||
			    memcmp(beam_message_data(message), payload, sizeof payload) != 0)
				die("another answer came than was asked for");
			beam_message_free(message);
			beam_call_unref(asked[i]);
		}
	}
}

static void ask(struct member *members, size_t n, int start, int result)
{
	struct sockaddr_un address = address_of(getppid());
	uint64_t begun, took;
	char go;

	for (size_t i = 0; i < n; i++) {
		int fd = (int)must_sys(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");

		must_sys(connect(fd, (struct sockaddr *)&address, sizeof address), "connect");
		open_member(&members[i], fd);
	}
	/* Each channel once, so that everything is there. */
	ask_all(members, n, n < AT_ONCE ? AT_ONCE : n);
	while (read(start, &go, 1) == 1) {
		begun = now_ns();
		ask_all(members, n, n_calls);
		took = now_ns() - begun;
		must_sys(write(result, &took, sizeof took), "result");
	}
}

/* ---- The one that answers ------------------------------------------------------------------------------------------------- */

static void answer(struct member *member, uint32_t shown)
{
	beam_message *message;

	(void)!beam_channel_dispatch(member->channel, (int)shown);
	while (beam_topic_receive(member->topic, &message, BEAM_NOWAIT) == 1) {
		must(beam_message_reply(message, beam_message_data(message), beam_message_size(message), BEAM_NOWAIT),
		     "answer");
		beam_message_free(message);
	}
}

static size_t resident(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	size_t pages = 0;

	if (!file || fscanf(file, "%*u %zu", &pages) != 1)
		die("/proc/self/statm");
	fclose(file);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* What is kept for use again goes when it is not used: a loop dispatches when the deadlines have passed. */
static void settle(struct member *members, size_t n)
{
	for (unsigned times = 0; times < 3; times++) {
		usleep(IDLE_US);
		for (size_t i = 0; i < n; i++)
			(void)!beam_channel_dispatch(members[i].channel, 0);
	}
}

static void answer_until(int epoll, int result, void *ret, size_t size)
{
	struct epoll_event events[EVENTS];

	for (;;) {
		int n = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr)
				answer(events[i].data.ptr, events[i].events);
			else if (must_sys(read(result, ret, size), "result"))
				return;
		}
	}
}

static void serve(struct member *members, size_t n, int listener, int start, int result, unsigned rounds)
{
	int epoll = (int)must_sys(epoll_create1(EPOLL_CLOEXEC), "epoll");
	double *samples = must_allocate(rounds * sizeof *samples);
	size_t before = resident(), after;

	for (size_t i = 0; i < n; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = &members[i]};

		open_member(&members[i], (int)must_sys(accept4(listener, NULL, NULL, SOCK_CLOEXEC), "accept"));
		must_sys(epoll_ctl(epoll, EPOLL_CTL_ADD, beam_channel_loop_fd(members[i].channel), &event), "epoll");
	}
	must_sys(epoll_ctl(epoll, EPOLL_CTL_ADD, result, &(struct epoll_event){.events = EPOLLIN}), "epoll");
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t took;

		must_sys(write(start, "", 1), "start");
		answer_until(epoll, result, &took, sizeof took);
		samples[i] = (double)took / (double)n_calls;
	}
	settle(members, n);
	after = resident();
	samples_sort(samples, rounds);
	printf("%8zu channels  %8.0f ns a call (%.0f-%.0f)  %9.0f calls/s  %8.0f bytes a channel\n", n, median(samples, rounds),
	       samples[0], samples[rounds - 1], 1e9 / median(samples, rounds), (double)(after - before) / (double)n);
	fflush(stdout);
}

static void run(size_t n, unsigned rounds)
{
	struct member *members = must_allocate(n * sizeof *members);
	struct sockaddr_un address = address_of(getpid());
	int start[2], result[2], status, listener = (int)must_sys(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	pid_t asking;

	must_sys(bind(listener, (struct sockaddr *)&address, sizeof address), "bind");
	must_sys(listen(listener, 100), "listen");
	must_sys(pipe(start), "pipe");
	must_sys(pipe(result), "pipe");
	asking = (pid_t)must_sys(fork(), "fork");
	if (!asking) {
		close(start[1]);
		ask(members, n, start[0], result[1]);
		_exit(0);
	}
	serve(members, n, listener, start[1], result[0], rounds);
	close(start[1]);
	if (waitpid(asking, &status, 0) != asking || status)
		die("the one that asks died");
	_exit(0);
}

int main(void)
{
	static const size_t crowds[] = {10, 1000, 10000};
	struct rlimit files;
	int status;

	must_sys(getrlimit(RLIMIT_NOFILE, &files), "getrlimit");
	files.rlim_cur = files.rlim_max;
	must_sys(setrlimit(RLIMIT_NOFILE, &files), "setrlimit");
	for (size_t i = 0; i < sizeof crowds / sizeof *crowds; i++) {
		pid_t pid = (pid_t)must_sys(fork(), "fork");

		if (!pid)
			run(crowds[i], ROUNDS_DEFAULT);
		if (waitpid(pid, &status, 0) != pid || status)
			die("a run failed");
	}
	return 0;
}
