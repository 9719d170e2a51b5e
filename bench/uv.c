/* SPDX-License-Identifier: MIT */
/*
 * libuv: a uv_pipe_t over a socket pair, four bytes of length before each message. A write is tried
 * at once, and queued if the socket is full. Then the loop runs until it has been sent, so the
 * queue stays short.
 */
#include "peer.h"
#include "util.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

enum { ROOM = 64 * 1024 };

static const uint32_t has_fd = 0x80000000u;

static struct settings with;
static int pair[2];
static uv_loop_t loop;
static uv_pipe_t pipe_, attached; /* the connection, and the attachment of a message */
static bool attached_open;

static struct {
	char *bytes;
	size_t from, to, capacity;
	uint64_t left; /* messages */
	take_function *take;
	void *context;
} in;

static int check(int result, const char *what)
{
	if (result < 0)
		die("libuv: %s: %s", what, uv_strerror(result));
	return result;
}

static void prepare(const struct settings *settings)
{
	with = *settings;
	must_sys(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), "socketpair");
}

static void open_side(enum side side)
{
	close(pair[side == SIDE_A ? SIDE_B : SIDE_A]);
	check(uv_loop_init(&loop), "loop");
	check(uv_pipe_init(&loop, &pipe_, with.fds), "pipe");
	check(uv_pipe_open(&pipe_, pair[side]), "pipe");
	in.capacity = ROOM + sizeof(uint32_t) + with.size;
	in.bytes = must_allocate(in.capacity);
}

static void close_side(enum side side)
{
	(void)side;
	uv_close((uv_handle_t *)&pipe_, NULL);
	if (attached_open)
		uv_close((uv_handle_t *)&attached, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	check(uv_loop_close(&loop), "loop");
	free(in.bytes);
}

/* ---- Sending ---- */

struct pending {
	uv_write_t request;
	bool done;
};

static void written(uv_write_t *request, int status)
{
	check(status, "write");
	((struct pending *)request->data)->done = true;
}

/*
 * Lets libuv wait for room in the socket. The caller's bytes stay valid meanwhile, because the
 * function returns only when they have been sent.
 */
static void write_rest(uv_buf_t *buffers, unsigned n, uv_stream_t *handle)
{
	struct pending pending = {.done = false};

	pending.request.data = &pending;
	check(handle ? uv_write2(&pending.request, (uv_stream_t *)&pipe_, buffers, n, handle, written)
		     : uv_write(&pending.request, (uv_stream_t *)&pipe_, buffers, n, written),
	      "write");
	while (!pending.done)
		uv_run(&loop, UV_RUN_ONCE);
}

static void send_one(unsigned lane, const void *data, size_t size, int fd)
{
	uint32_t header = (uint32_t)size | (fd >= 0 ? has_fd : 0);
	uv_buf_t buffers[2] = {{(char *)&header, sizeof header}, {(char *)(uintptr_t)data, size}};
	uv_stream_t *handle = fd >= 0 ? (uv_stream_t *)&attached : NULL;

	(void)lane;
	if (handle && !attached_open) {
		check(uv_pipe_init(&loop, &attached, 0), "attachment");
		check(uv_pipe_open(&attached, (int)must_sys(dup(fd), "dup")), "attachment");
		attached_open = true;
	}
	int n = handle ? uv_try_write2((uv_stream_t *)&pipe_, buffers, 2, handle)
		       : uv_try_write((uv_stream_t *)&pipe_, buffers, 2);
	if (n == UV_EAGAIN) {
		write_rest(buffers, 2, handle);
		return;
	}
	size_t went = (size_t)check(n, "write");
	if (went == sizeof header + size)
		return;
	/* The descriptor was sent with the first byte. */
	size_t of_header = went < sizeof header ? went : sizeof header;
	buffers[0] = (uv_buf_t){(char *)&header + of_header, sizeof header - of_header};
	buffers[1] = (uv_buf_t){(char *)(uintptr_t)data + (went - of_header), size - (went - of_header)};
	write_rest(of_header < sizeof header ? buffers : buffers + 1, of_header < sizeof header ? 2 : 1, NULL);
}

/* ---- Receiving ---- */

static void make_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
	(void)handle;
	(void)suggested;
	if (in.from > 0) {
		memmove(in.bytes, in.bytes + in.from, in.to - in.from);
		in.to -= in.from;
		in.from = 0;
	}
	*ret = (uv_buf_t){in.bytes + in.to, in.capacity - in.to};
}

static void free_handle(uv_handle_t *handle)
{
	free(handle);
}

static uv_pipe_t *take_handle(void)
{
	uv_pipe_t *handle = must_allocate(sizeof *handle);

	if (uv_pipe_pending_count(&pipe_) == 0)
		die("libuv: a descriptor is missing");
	check(uv_pipe_init(&loop, handle, 0), "attachment");
	check(uv_accept((uv_stream_t *)&pipe_, (uv_stream_t *)handle), "attachment");
	return handle;
}

/* True if there was a whole message. */
static bool take_message(void)
{
	uint32_t header;
	uv_pipe_t *handle = NULL;

	if (in.to - in.from < sizeof header)
		return false;
	memcpy(&header, in.bytes + in.from, sizeof header);
	struct received received = {
	    .data = (unsigned char *)in.bytes + in.from + sizeof header, .size = header & ~has_fd, .fd = -1};
	if (in.to - in.from < sizeof header + received.size)
		return false;
	in.from += sizeof header + received.size;
	if (header & has_fd) {
		handle = take_handle();
		check(uv_fileno((uv_handle_t *)handle, &received.fd), "attachment");
	}
	if (in.left-- == 0)
		die("libuv: more messages than were sent");
	in.take(in.context, &received);
	if (handle)
		uv_close((uv_handle_t *)handle, free_handle);
	return true;
}

static void has_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
	(void)stream;
	(void)buffer;
	in.to += (size_t)check((int)n, "read");
	while (take_message())
		;
}

static void dispatch(uint64_t n, take_function *take, void *context)
{
	in.left = n;
	in.take = take;
	in.context = context;
	check(uv_read_start((uv_stream_t *)&pipe_, make_room, has_read), "read");
	while (in.left > 0)
		uv_run(&loop, UV_RUN_ONCE);
	check(uv_read_stop((uv_stream_t *)&pipe_), "read");
}

const struct peer peer_uv = {
    .name = "libuv",
    .what = "libuv, a uv_pipe_t over a socket pair",
    .passes_fds = true,
    .one_thread = true,
    .prepare = prepare,
    .open = open_side,
    .close = close_side,
    .send = send_one,
    .dispatch = dispatch,
};
