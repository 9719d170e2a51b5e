/* SPDX-License-Identifier: MIT */
/*
 * What a program would do by hand: a SOCK_STREAM socket pair, four bytes of length before each
 * message, one sendmsg for each message, and a buffered reader of 64 KiB. All others are compared
 * with it. "raw-batched" collects what is sent, and sends 64 KiB with each sendmsg.
 */
#include "peer.h"
#include "util.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { BUFFER = 64 * 1024, FDS_MAX = 253 }; /* the kernel's SCM_MAX_FD */

static const uint32_t has_fd = 0x80000000u;

static int pair[2], sock;
static bool with_fds;
static pthread_mutex_t sending = PTHREAD_MUTEX_INITIALIZER;

static struct {
	unsigned char *bytes; /* BUFFER */
	size_t from, to;      /* what is unread in it */
	unsigned char *large; /* a message that does not fit */
	size_t large_capacity;
	int fds[2 * FDS_MAX];
	unsigned fd_from, fd_to;
} in;

static void prepare(const struct settings *settings)
{
	with_fds = settings->fds;
	must_sys(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), "socketpair");
}

static void open_side(enum side side)
{
	sock = pair[side];
	close(pair[side == SIDE_A ? SIDE_B : SIDE_A]);
	in.bytes = must_allocate(BUFFER);
}

static void close_side(enum side side)
{
	(void)side;
	close(sock);
}

/* ---- Sending ---- */

static void write_all(struct msghdr *message)
{
	while (message->msg_iovlen > 0) {
		ssize_t n = sendmsg(sock, message, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		/*
		 * An unprivileged user may have as many descriptors in flight as a process may have
		 * open.
		 */
		if (n < 0 && errno == ETOOMANYREFS) {
			sched_yield();
			continue;
		}
		size_t done = (size_t)must_sys(n, "sendmsg");
		while (message->msg_iovlen > 0 && done >= message->msg_iov->iov_len) {
			done -= message->msg_iov->iov_len;
			message->msg_iov++;
			message->msg_iovlen--;
		}
		if (message->msg_iovlen > 0) {
			message->msg_iov->iov_base = (char *)message->msg_iov->iov_base + done;
			message->msg_iov->iov_len -= done;
		}
		message->msg_control = NULL;
		message->msg_controllen = 0;
	}
}

static void write_with_fds(struct iovec *iov, size_t n_iov, const int *fds, size_t n_fds)
{
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = n_iov};
	union {
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
		struct cmsghdr header;
	} control;

	if (n_fds > 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(n_fds * sizeof *fds);
		control.header = (struct cmsghdr){
		    .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(n_fds * sizeof *fds)};
		memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof *fds);
	}
	write_all(&message);
}

static void send_one(unsigned lane, const void *data, size_t size, int fd)
{
	uint32_t header = (uint32_t)size | (fd >= 0 ? has_fd : 0);
	struct iovec iov[2] = {{&header, sizeof header}, {(void *)(uintptr_t)data, size}};

	(void)lane;
	pthread_mutex_lock(&sending);
	write_with_fds(iov, 2, &fd, fd >= 0);
	pthread_mutex_unlock(&sending);
}

static struct {
	unsigned char bytes[BUFFER];
	size_t size;
	int fds[FDS_MAX];
	size_t n_fds;
} out;

static void write_batch(void)
{
	struct iovec iov = {out.bytes, out.size};

	if (out.size > 0)
		write_with_fds(&iov, 1, out.fds, out.n_fds);
	out.size = out.n_fds = 0;
}

static void send_batched(unsigned lane, const void *data, size_t size, int fd)
{
	uint32_t header = (uint32_t)size | (fd >= 0 ? has_fd : 0);

	if (size > BUFFER - sizeof header) {
		pthread_mutex_lock(&sending);
		write_batch();
		pthread_mutex_unlock(&sending);
		send_one(lane, data, size, fd);
		return;
	}
	pthread_mutex_lock(&sending);
	if (out.size + sizeof header + size > BUFFER || out.n_fds == FDS_MAX)
		write_batch();
	memcpy(out.bytes + out.size, &header, sizeof header);
	memcpy(out.bytes + out.size + sizeof header, data, size);
	out.size += sizeof header + size;
	if (fd >= 0)
		out.fds[out.n_fds++] = fd;
	pthread_mutex_unlock(&sending);
}

static void flush_batch(unsigned lane)
{
	(void)lane;
	pthread_mutex_lock(&sending);
	write_batch();
	pthread_mutex_unlock(&sending);
}

/* ---- Receiving ---- */

static void keep_fds(struct msghdr *message)
{
	struct cmsghdr *control = CMSG_FIRSTHDR(message);

	if (message->msg_flags & MSG_CTRUNC)
		die("descriptors lost");
	if (!control)
		return;
	unsigned n = (unsigned)((control->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	memmove(in.fds, in.fds + in.fd_from, (in.fd_to - in.fd_from) * sizeof(int));
	in.fd_to -= in.fd_from;
	in.fd_from = 0;
	if (in.fd_to + n > sizeof in.fds / sizeof in.fds[0])
		die("more descriptors than messages");
	memcpy(in.fds + in.fd_to, CMSG_DATA(control), n * sizeof(int));
	in.fd_to += n;
}

static size_t read_some(void *buffer, size_t size, int flags)
{
	union {
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
		struct cmsghdr header;
	} control;
	struct iovec iov = {buffer, size};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	do {
		if (with_fds) {
			message.msg_control = control.bytes;
			message.msg_controllen = sizeof control.bytes;
			n = recvmsg(sock, &message, flags | MSG_CMSG_CLOEXEC);
		} else {
			n = recv(sock, buffer, size, flags);
		}
	} while (n < 0 && errno == EINTR);
	if (must_sys(n, "recvmsg") == 0)
		die("the other process ended");
	if (with_fds)
		keep_fds(&message);
	return (size_t)n;
}

/* Reads until `size` bytes are in the buffer. */
static void fill(size_t size)
{
	if (in.from == in.to || in.from + size > BUFFER) {
		memmove(in.bytes, in.bytes + in.from, in.to - in.from);
		in.to -= in.from;
		in.from = 0;
	}
	while (in.to - in.from < size)
		in.to += read_some(in.bytes + in.to, BUFFER - in.to, 0);
}

static const unsigned char *take_large(size_t size)
{
	size_t have = in.to - in.from;

	if (size > in.large_capacity) {
		in.large = must_allocate(size);
		in.large_capacity = size;
	}
	memcpy(in.large, in.bytes + in.from, have);
	in.from = in.to = 0;
	while (have < size)
		have += read_some(in.large + have, size - have, MSG_WAITALL);
	return in.large;
}

static void receive(unsigned lane, struct received *ret)
{
	uint32_t header;

	(void)lane;
	fill(sizeof header);
	memcpy(&header, in.bytes + in.from, sizeof header);
	in.from += sizeof header;
	ret->size = header & ~has_fd;
	if (ret->size > BUFFER) {
		ret->data = take_large(ret->size);
	} else {
		fill(ret->size);
		ret->data = in.bytes + in.from;
		in.from += ret->size;
	}
	ret->fd = header & has_fd ? in.fds[in.fd_from++] : -1;
}

static void release(struct received *received)
{
	if (received->fd >= 0)
		close(received->fd);
}

const struct peer peer_raw = {
    .name = "raw",
    .what = "SOCK_STREAM by hand: one sendmsg a message, a buffered reader",
    .passes_fds = true,
    .prepare = prepare,
    .open = open_side,
    .close = close_side,
    .send = send_one,
    .receive = receive,
    .release = release,
};

const struct peer peer_raw_batched = {
    .name = "raw-batched",
    .what = "the same, what is sent gathered into 64 KiB a sendmsg",
    .passes_fds = true,
    .one_way = true,
    .prepare = prepare,
    .open = open_side,
    .close = close_side,
    .send = send_batched,
    .flush = flush_batch,
    .receive = receive,
    .release = release,
};
