/* SPDX-License-Identifier: MIT */
/*
 * The memory that an idle channel takes. Two processes make one channel, and then many more, and
 * wait for each other's HELLO. If the work has messages, they also open a topic on each channel,
 * and send one message in each direction. The first process reads /proc/self/smaps after the first
 * channel, and again after all channels have been idle for a moment. The stack of a thread is
 * recognized as a private mapping next to its guard. It includes the thread's own data, which the C
 * library keeps at the upper end.
 */
#include "idle.h"
#include "util.h"
#include <beam/beam.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHANNELS = 200, SIZE_MOST = 64, GUARD_MOST = 64 * 1024, IDLE_US = 300 * 1000 };

struct link {
	int pair[2];
	beam_channel *channel;
	beam_topic *topic;
};

static size_t size;                     /* of the messages; 0: none */
static struct link links[1 + CHANNELS]; /* the first one includes what is made once */

struct resident {
	uint64_t stacks, rest; /* bytes */
};

/* "from-to rights ..." begins a mapping, and lines of "Name: number kB" describe it. */
static struct resident look(void)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	struct resident sum = {0};
	uint64_t last_to = 0;
	bool stack = false, guard = false;
	char line[512], *rest;

	if (!file)
		die("/proc/self/smaps: %s", strerror(errno));
	while (fgets(line, sizeof line, file)) {
		uint64_t from = strtoul(line, &rest, 16);
		if (rest > line && *rest == '-') {
			uint64_t to = strtoul(rest + 1, &rest, 16);
			stack = guard && from == last_to && strncmp(rest, " rw-p", 5) == 0;
			guard = strncmp(rest, " ---p", 5) == 0 && to - from <= GUARD_MOST;
			last_to = to;
		} else if (strncmp(line, "Rss:", 4) == 0) {
			*(stack ? &sum.stacks : &sum.rest) += strtoul(line + 4, NULL, 10) * 1024;
		}
	}
	fclose(file);
	return sum;
}

static void send_one(struct link *link)
{
	unsigned char payload[SIZE_MOST] = {0};

	must(beam_topic_send(link->topic, payload, size, 0, BEAM_FOREVER), "send");
}

static void receive_one(struct link *link)
{
	beam_message *message;

	if (must(beam_topic_receive(link->topic, &message, 0, BEAM_FOREVER), "receive") != 1 ||
	    beam_message_size(message) != size)
		die("a message arrived that was not sent");
	beam_message_free(message);
}

static void use(struct link *link, enum side side)
{
	struct beam_limits limits;

	must(beam_channel_from_fd(&link->channel, link->pair[side], NULL), "channel");
	must(beam_channel_limits(link->channel, &limits, sizeof limits, BEAM_FOREVER), "HELLO");
	if (size == 0)
		return;
	must(beam_topic_open(&link->topic, link->channel, "idle"), "topic");
	if (side == SIDE_A)
		send_one(link);
	receive_one(link);
	if (side == SIDE_B)
		send_one(link);
}

static void use_all(enum side side, struct outcome *ret)
{
	struct resident before, after;

	for (unsigned i = 0; i < 1 + CHANNELS; i++)
		close(links[i].pair[side == SIDE_A ? SIDE_B : SIDE_A]);
	use(&links[0], side);
	before = look();
	for (unsigned i = 1; i < 1 + CHANNELS; i++)
		use(&links[i], side);
	/* What is kept for reuse is freed when it is not used for a moment. */
	usleep(IDLE_US);
	after = look();
	if (side == SIDE_A) {
		ret->channel = ((double)after.rest - (double)before.rest) / CHANNELS;
		ret->stack = ((double)after.stacks - (double)before.stacks) / CHANNELS;
	}
}

void memory_run(const struct work *work, struct outcome *ret)
{
	struct rlimit files;
	int status;

	size = work->size;
	must_sys(getrlimit(RLIMIT_NOFILE, &files), "getrlimit");
	files.rlim_cur = files.rlim_max;
	must_sys(setrlimit(RLIMIT_NOFILE, &files), "setrlimit");
	for (unsigned i = 0; i < 1 + CHANNELS; i++)
		must(beam_socket_pair(SOCK_STREAM, links[i].pair), "socket pair");
	pid_t b = (pid_t)must_sys(fork(), "fork");
	use_all(b ? SIDE_A : SIDE_B, ret);
	/* When a process ends, the channels of the other one end too. */
	if (b && (waitpid(b, &status, 0) != b || !WIFEXITED(status) || WEXITSTATUS(status) != 0))
		die("the other process died");
	_exit(0);
}
