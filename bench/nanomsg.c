/* SPDX-License-Identifier: MIT */
/* nanomsg: a PAIR socket over ipc://. Messages are received without a copy (NN_MSG). */
#include "peer.h"
#include "util.h"
#include <dlfcn.h>
#include <nanomsg/nn.h>
#include <nanomsg/pair.h>
#include <stdio.h>
#include <string.h>

static char address[128];
static int sock;

static int check(int result, const char *what)
{
	if (result < 0)
		die("nanomsg: %s: %s", what, nn_strerror(nn_errno()));
	return result;
}

/* libnng has functions of the same names. */
static void must_be_nanomsg(void)
{
	Dl_info found;

	if (!dladdr((void *)(uintptr_t)nn_send, &found) || !strstr(found.dli_fname, "nanomsg"))
		die("nanomsg: another library has its functions");
}

static void prepare(const struct settings *settings)
{
	must_be_nanomsg();
	snprintf(address, sizeof address, "ipc://%s/nanomsg", settings->folder);
}

static void new_socket(void)
{
	int any = -1;

	sock = check(nn_socket(AF_SP, NN_PAIR), "socket");
	check(nn_setsockopt(sock, NN_SOL_SOCKET, NN_RCVMAXSIZE, &any, sizeof any), "message size");
}

static void listen_b(void)
{
	new_socket();
	check(nn_bind(sock, address), "bind");
}

static void open_side(enum side side)
{
	if (side == SIDE_B)
		return;
	new_socket();
	check(nn_connect(sock, address), "connect");
}

static void close_side(enum side side)
{
	(void)side;
	check(nn_close(sock), "close");
}

static void send_one(unsigned lane, const void *data, size_t size, int fd)
{
	(void)lane;
	(void)fd;
	check(nn_send(sock, data, size, 0), "send");
}

static void receive(unsigned lane, struct received *ret)
{
	void *bytes = NULL;

	(void)lane;
	ret->size = (size_t)check(nn_recv(sock, &bytes, NN_MSG, 0), "receive");
	ret->data = bytes;
	ret->fd = -1;
	ret->owner = bytes;
}

static void release(struct received *received)
{
	nn_freemsg(received->owner);
}

const struct peer peer_nanomsg = {
    .name = "nanomsg",
    .what = "nanomsg, PAIR over ipc://",
    .prepare = prepare,
    .listen = listen_b,
    .open = open_side,
    .close = close_side,
    .send = send_one,
    .receive = receive,
    .release = release,
};
