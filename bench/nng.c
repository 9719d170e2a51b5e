/* SPDX-License-Identifier: MIT */
/* nng: a PAIR socket over ipc://. */
#include "peer.h"
#include "util.h"
#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>
#include <stdio.h>

enum { BUFFERED = 128 }; /* messages in each direction: without buffers, nng passes on one at a time */

static char address[128];
static nng_socket sock;

static void check(int error, const char *what)
{
	if (error)
		die("nng: %s: %s", what, nng_strerror(error));
}

static void prepare(const struct settings *settings)
{
	snprintf(address, sizeof address, "ipc://%s/nng", settings->folder);
}

static void new_socket(void)
{
	check(nng_pair0_open(&sock), "socket");
	check(nng_socket_set_size(sock, NNG_OPT_RECVMAXSZ, 0), "message size");
	check(nng_socket_set_int(sock, NNG_OPT_SENDBUF, BUFFERED), "buffer");
	check(nng_socket_set_int(sock, NNG_OPT_RECVBUF, BUFFERED), "buffer");
}

static void listen_b(void)
{
	new_socket();
	check(nng_listen(sock, address, NULL, 0), "listen");
}

static void open_side(enum side side)
{
	if (side == SIDE_B)
		return;
	new_socket();
	check(nng_dial(sock, address, NULL, 0), "dial");
}

static void close_side(enum side side)
{
	(void)side;
	nng_close(sock);
}

static void send_one(unsigned lane, const void *data, size_t size, int fd)
{
	(void)lane;
	(void)fd;
	/* nng_send() has a parameter of type void *, but only reads from it. */
	check(nng_send(sock, (void *)(uintptr_t)data, size, 0), "send");
}

static void receive(unsigned lane, struct received *ret)
{
	nng_msg *message;

	(void)lane;
	check(nng_recvmsg(sock, &message, 0), "receive");
	*ret =
	    (struct received){.data = nng_msg_body(message), .size = nng_msg_len(message), .fd = -1, .owner = message};
}

static void release(struct received *received)
{
	nng_msg_free(received->owner);
}

const struct peer peer_nng = {
    .name = "nng",
    .what = "nng, PAIR over ipc://",
    .prepare = prepare,
    .listen = listen_b,
    .open = open_side,
    .close = close_side,
    .send = send_one,
    .receive = receive,
    .release = release,
};
