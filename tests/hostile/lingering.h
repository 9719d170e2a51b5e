/* SPDX-License-Identifier: MIT */
/* A descriptor whose last close blocks. */
#ifndef HOSTILE_LINGERING_H
#define HOSTILE_LINGERING_H

#include <arpa/inet.h>
#include <harness/harness.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* A TCP connection whose close blocks for a minute, or until its peer resets the connection. */
enum { LINGER_SECONDS = 60, AT_ONCE_MS = 20000 };

struct lingering {
	int fd, peer;
};

static inline void needs_closes_that_last(void)
{
	if (under_valgrind())
		skip("Valgrind lets no thread run while another is in close()");
}

static inline struct lingering lingering_open(void)
{
	static const char bytes[1 << 16];
	/* Small buffers, so that many such connections cost little. */
	const int buffer = 4096;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct linger linger = {.l_onoff = 1, .l_linger = LINGER_SECONDS};
	socklen_t size = sizeof address;
	struct lingering lingering = {.fd = -1};
	int listener;

	needs_closes_that_last();
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	lingering.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
	setsockopt(lingering.fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
	if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &size) < 0 ||
	    connect(lingering.fd, (struct sockaddr *)&address, sizeof address) < 0) {
		close(listener);
		close(lingering.fd);
		skip("no TCP over the loopback: %s", strerror(errno));
	}
	lingering.peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
	require_int(setsockopt(lingering.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
	while (send(lingering.fd, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		;
	return lingering;
}

/* Unblocks the close: unread data makes the closing peer reset the connection. */
static inline void lingering_end(struct lingering *lingering, int64_t begin)
{
	int ms = (int)((now_ns() - begin) / 1000000);

	if (ms >= AT_ONCE_MS)
		fail("it took %d ms", ms);
	close(lingering->peer);
}

#endif
