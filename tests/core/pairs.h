/* SPDX-License-Identifier: MIT */
/* Pairs of sockets of each type, and what tests of the five functions send and receive on them. */
#ifndef CORE_PAIRS_H
#define CORE_PAIRS_H

#include <beam/core.h>
#include <harness/harness.h>
#include <kernel/raw.h>
#include <linux/sockios.h>
#include <socket/reaper.h>
#include <sys/ioctl.h>

enum { NO_LIMIT = INT32_MAX };

static inline void pair_of(int type, int pair[2])
{
	require_int(beam_socket_pair(type, pair), 0);
}

static inline void close_both(const int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

static inline beam_deadline soon(void)
{
	return beam_in_ms(20);
}

/* Receives one message, which must be this one. */
static inline void check_receives(int socket, const void *data, size_t size, size_t n_fds)
{
	beam_message *message = NULL;

	require_int(beam_receive(socket, &message, NO_LIMIT, beam_in_ms(stretch(5000))), 1);
	check_int(beam_message_size(message), size);
	if (beam_message_size(message) == size)
		check_bytes(beam_message_data(message), data, size);
	check_int(beam_message_attachments(message), n_fds);
	beam_message_free(message);
}

/* Tries to receive, which must fail with this error. */
static inline void check_refuses(int socket, size_t limit, beam_deadline deadline, int error)
{
	beam_message *message = NULL;

	check_int(beam_receive(socket, &message, limit, deadline), error);
	check(message == NULL);
	check(reaper_drain(BEAM_FOREVER));
}

/* Sends raw bytes, with `n_fds` copies of a descriptor at the first one. */
static inline void raw(int socket, const void *bytes, size_t size, size_t n_fds)
{
	int fds[RAW_FDS_MAX];

	for (size_t i = 0; i < n_fds; i++)
		fds[i] = socket;
	require_int(raw_send(socket, bytes, size, fds, n_fds, 0), size);
}

static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};
#define N_TYPES (sizeof types / sizeof *types)

/* True if the other side has read everything that was sent. */
static inline bool drained(int socket)
{
	int queued = 1;

	return ioctl(socket, SIOCOUTQ, &queued) == 0 && queued == 0;
}

struct patient {
	int socket;
	_Atomic pid_t thread;
};

#endif
