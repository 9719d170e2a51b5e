/* SPDX-License-Identifier: MIT */
/*
 * A crowd: one thread runs many channels in an epoll loop and answers a call on each. Another
 * process makes calls, on one channel after the other, a few at a time. This measures what a call
 * costs with 10, 1,000 and 10,000 channels, and how much memory an idle channel takes. The same is
 * done with plain sockets, with one write for each request and one for each answer. This shows how
 * much of the cost is due to the kernel's own memory, which no longer fits into the caches.
 */
#include "util.h"
#include <beam/beam.h>
#include <errno.h>
#include <poll.h>
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

enum { CROWDS = 3, ROUNDS = 7, AT_ONCE = 10, CALLS = 100000, EVENTS = 64, SIZE = 64, IDLE_US = 30 * 1000 };

struct member {
	/* A socket without a channel, or -1. */
	int plain;
	beam_channel *channel;
	beam_topic *topic;
};

static void open_member(struct member *member, int socket, bool plain)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	member->plain = plain ? socket : -1;
	if (plain)
		return;
	options.loop = 1;
	must(beam_channel_from_fd(&member->channel, socket, &options), "channel");
	must(beam_topic_open(&member->topic, member->channel, "call"), "topic");
}

static struct sockaddr_un address_of(pid_t server)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "beam-crowd-%d", (int)server);
	return address;
}

/* ---- Plain sockets --------------------------------------------------------------------------- */

static void write_plain(int socket, const void *data)
{
	if (send(socket, data, SIZE, MSG_NOSIGNAL) != SIZE)
		die("plain send");
}

/* Tries to read before it waits, as a channel does. */
static void read_plain(int socket, void *data)
{
	ssize_t n;

	while ((n = recv(socket, data, SIZE, MSG_DONTWAIT)) < 0 && errno == EAGAIN)
		must_sys(poll(&(struct pollfd){socket, POLLIN, 0}, 1, -1), "poll");
	if (n != SIZE)
		die("plain receive");
}

static void ask_all_plain(struct member *members, size_t n, size_t calls)
{
	uint64_t payload[SIZE / sizeof(uint64_t)] = {0};

	for (size_t done = 0; done < calls; done += AT_ONCE) {
		for (size_t i = 0; i < AT_ONCE; i++)
			write_plain(members[(done + i) % n].plain, payload);
		for (size_t i = 0; i < AT_ONCE; i++)
			read_plain(members[(done + i) % n].plain, payload);
	}
}

/* ---- The one that asks ----------------------------------------------------------------------- */

static void ask_all(struct member *members, size_t n, size_t calls)
{
	uint64_t payload[SIZE / sizeof(uint64_t)] = {0};
	const struct iovec iov = {payload, sizeof payload};
	beam_call *asked[AT_ONCE];
	beam_message *message;

	if (members->plain >= 0) {
		ask_all_plain(members, n, calls);
		return;
	}
	for (size_t done = 0; done < calls; done += AT_ONCE) {
		for (size_t i = 0; i < AT_ONCE; i++) {
			payload[0] = done + i;
			must(beam_call_begin(&asked[i], members[(done + i) % n].topic, &iov, 1, NULL, 0, 0,
					     BEAM_FOREVER),
			     "ask");
		}
		for (size_t i = 0; i < AT_ONCE; i++) {
			payload[0] = done + i;
			if (must(beam_call_receive(asked[i], &message, 0, BEAM_FOREVER), "answer") != 1)
				die("no answer");
			if (beam_message_size(message) != sizeof payload ||
			    memcmp(beam_message_data(message), payload, sizeof payload) != 0)
				die("the answer to another call came");
			beam_message_free(message);
			beam_call_unref(asked[i]);
		}
	}
}

static void ask(struct member *members, size_t n, bool plain, int start, int result)
{
	struct sockaddr_un address = address_of(getppid());
	uint64_t begun, took;
	char go;

	for (size_t i = 0; i < n; i++) {
		int fd = (int)must_sys(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");

		must_sys(connect(fd, (struct sockaddr *)&address, sizeof address), "connect");
		open_member(&members[i], fd, plain);
	}
	/* Uses each channel once, so that everything exists that the first use creates. */
	ask_all(members, n, n < AT_ONCE ? AT_ONCE : n);
	while (read(start, &go, 1) == 1) {
		begun = now_ns();
		ask_all(members, n, CALLS);
		took = now_ns() - begun;
		must_sys(write(result, &took, sizeof took), "result");
	}
}

/* ---- The one that answers -------------------------------------------------------------------- */

static void answer(struct member *member, uint32_t shown)
{
	beam_message *message;
	uint64_t payload[SIZE / sizeof(uint64_t)];

	if (member->plain >= 0) {
		read_plain(member->plain, payload);
		write_plain(member->plain, payload);
		return;
	}
	(void)!beam_channel_dispatch(member->channel, (int)shown);
	while (beam_topic_receive(member->topic, &message, 0, BEAM_NOWAIT) == 1) {
		must(
		    beam_message_reply(message, beam_message_data(message), beam_message_size(message), 0, BEAM_NOWAIT),
		    "answer");
		beam_message_free(message);
	}
}

static size_t resident(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	char line[128], *second;

	if (!file || !fgets(line, sizeof line, file))
		die("/proc/self/statm");
	fclose(file);
	/* The first two numbers count pages: of the address space, and resident ones. */
	strtoul(line, &second, 10);
	return strtoul(second, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

/*
 * What is kept for reuse is freed when it is not used for a moment. A channel without a thread
 * frees it when it is dispatched after its deadline.
 */
static void settle(struct member *members, size_t n)
{
	for (unsigned times = 0; times < 3 && members->plain < 0; times++) {
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

/* One round: the time of a call, and what memory a channel takes. */
struct figures {
	double ns, bytes;
};

static struct figures serve(struct member *members, size_t n, bool plain, int listener, int start, int result)
{
	int epoll = (int)must_sys(epoll_create1(EPOLL_CLOEXEC), "epoll");
	size_t before = resident();
	uint64_t took;

	for (size_t i = 0; i < n; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = &members[i]};

		int fd = (int)must_sys(accept(listener, NULL, NULL), "accept");

		open_member(&members[i], fd, plain);
		must_sys(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll");
	}
	must_sys(epoll_ctl(epoll, EPOLL_CTL_ADD, result, &(struct epoll_event){.events = EPOLLIN}), "epoll");
	must_sys(write(start, "", 1), "start");
	answer_until(epoll, result, &took, sizeof took);
	settle(members, n);
	return (struct figures){(double)took / CALLS, (double)(resident() - before) / (double)n};
}

/* Runs in a process of its own, and forks another one that asks. */
static void run(size_t n, bool plain, int to)
{
	struct member *members = must_allocate(n * sizeof *members);
	struct sockaddr_un address = address_of(getpid());
	int start[2], result[2], status,
	    listener = (int)must_sys(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	struct figures figures;
	pid_t asking;

	must_sys(bind(listener, (struct sockaddr *)&address, sizeof address), "bind");
	must_sys(listen(listener, 100), "listen");
	must_sys(pipe(start), "pipe");
	must_sys(pipe(result), "pipe");
	asking = (pid_t)must_sys(fork(), "fork");
	if (!asking) {
		close(start[1]);
		ask(members, n, plain, start[0], result[1]);
		_exit(0);
	}
	figures = serve(members, n, plain, listener, start[1], result[0]);
	close(start[1]);
	if (waitpid(asking, &status, 0) != asking || status)
		die("the process that makes the calls died");
	must_sys(write(to, &figures, sizeof figures), "figures");
	_exit(0);
}

static struct figures measure(size_t n, bool plain)
{
	struct figures figures;
	int fds[2], status;
	pid_t pid;

	must_sys(pipe(fds), "pipe");
	pid = (pid_t)must_sys(fork(), "fork");
	if (!pid)
		run(n, plain, fds[1]);
	if (waitpid(pid, &status, 0) != pid || status || read(fds[0], &figures, sizeof figures) != sizeof figures)
		die("a run failed");
	close(fds[0]);
	close(fds[1]);
	return figures;
}

int main(void)
{
	static const size_t crowds[CROWDS] = {10, 1000, 10000};
	double ns[2][CROWDS][ROUNDS], ratio[2][CROWDS][ROUNDS], bytes[CROWDS][ROUNDS];
	struct rlimit files;

	must_sys(getrlimit(RLIMIT_NOFILE, &files), "getrlimit");
	files.rlim_cur = files.rlim_max;
	must_sys(setrlimit(RLIMIT_NOFILE, &files), "setrlimit");
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < CROWDS; i++) {
			for (unsigned plain = 0; plain < 2; plain++) {
				struct figures figures = measure(crowds[i], plain);

				ns[plain][i][round] = figures.ns;
				ratio[plain][i][round] = figures.ns / ns[plain][0][round];
				if (!plain)
					bytes[i][round] = figures.bytes;
			}
		}
	}
	printf(
	    "| channels | ns a call | x that at 10 | plain sockets, ns | x that at 10 | calls/s | bytes a channel |\n"
	    "| --- | --- | --- | --- | --- | --- | --- |\n");
	for (unsigned i = 0; i < CROWDS; i++) {
		printf("| %zu ", crowds[i]);
		for (unsigned plain = 0; plain < 2; plain++) {
			double *of = ns[plain][i], *against = ratio[plain][i];

			samples_sort(of, ROUNDS);
			samples_sort(against, ROUNDS);
			printf("| %.0f (%.0f-%.0f) | %.2f (%.2f-%.2f) ", median(of, ROUNDS), of[0], of[ROUNDS - 1],
			       median(against, ROUNDS), against[0], against[ROUNDS - 1]);
		}
		samples_sort(bytes[i], ROUNDS);
		printf("| %.0f | %.0f |\n", 1e9 / median(ns[0][i], ROUNDS), median(bytes[i], ROUNDS));
	}
	return 0;
}
