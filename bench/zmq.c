/* SPDX-License-Identifier: MIT */
/*
 * ZeroMQ: PUSH to PULL over ipc://, one pair for each direction. A socket may be used by one thread
 * at a time (zmq_socket(3)), so each thread that sends has one of its own, with its own connection.
 * Sockets of threads that have ended are used by new threads, because a socket that is closed soon
 * after its connection was made can lose what was sent on it.
 */
#include "peer.h"
#include "util.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

enum { SENDERS_MAX = 8 };

static char forth[128], back[128]; /* from A to B, from B to A */
static enum side self;
static void *context;
static void *in;

/*
 * Each socket has its own connection, and at most one thread. The first `unused` in the list have
 * no thread.
 */
static struct {
	void *sockets[SENDERS_MAX];
	unsigned unused, n;
} senders;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_key_t own_sender;

static void prepare(const struct settings *settings)
{
	snprintf(forth, sizeof forth, "ipc://%s/forth", settings->folder);
	snprintf(back, sizeof back, "ipc://%s/back", settings->folder);
}

static void *new_socket(int type)
{
	void *socket = zmq_socket(context, type);

	must_sys(socket ? 0 : -1, "zmq_socket");
	return socket;
}

/* A thread has ended. */
static void leave_sender(void *socket)
{
	pthread_mutex_lock(&lock);
	senders.sockets[senders.unused++] = socket;
	pthread_mutex_unlock(&lock);
}

static void *take_sender(void)
{
	void *socket = NULL;

	pthread_mutex_lock(&lock);
	if (senders.unused > 0)
		socket = senders.sockets[--senders.unused];
	else if (senders.n++ == SENDERS_MAX)
		die("zmq: more threads than expected");
	pthread_mutex_unlock(&lock);
	if (!socket) {
		socket = new_socket(ZMQ_PUSH);
		if (self == SIDE_A)
			must_sys(zmq_connect(socket, forth), "zmq_connect");
		else
			must_sys(zmq_bind(socket, back), "zmq_bind");
	}
	pthread_setspecific(own_sender, socket);
	return socket;
}

static void new_context(enum side side)
{
	self = side;
	context = zmq_ctx_new();
	must_sys(context ? 0 : -1, "zmq_ctx_new");
	must(-pthread_key_create(&own_sender, leave_sender), "key");
	in = new_socket(ZMQ_PULL);
}

/* B answers in one thread. */
static void listen_b(void)
{
	new_context(SIDE_B);
	must_sys(zmq_bind(in, forth), "zmq_bind");
	take_sender();
}

static void open_side(enum side side)
{
	if (side == SIDE_B)
		return;
	new_context(SIDE_A);
	must_sys(zmq_connect(in, back), "zmq_connect");
}

static void close_side(enum side side)
{
	void *own = pthread_getspecific(own_sender);

	(void)side;
	if (own)
		leave_sender(own);
	pthread_setspecific(own_sender, NULL);
	while (senders.unused > 0)
		zmq_close(senders.sockets[--senders.unused]);
	zmq_close(in);
	zmq_ctx_term(context);
}

static void send_one(unsigned lane, const void *data, size_t size, int fd)
{
	void *socket = pthread_getspecific(own_sender);

	(void)lane;
	(void)fd;
	if (!socket)
		socket = take_sender();
	must_sys(zmq_send(socket, data, size, 0), "zmq_send");
}

static _Thread_local zmq_msg_t message;

static void receive(unsigned lane, struct received *ret)
{
	(void)lane;
	zmq_msg_init(&message);
	must_sys(zmq_msg_recv(&message, in, 0), "zmq_msg_recv");
	*ret = (struct received){.data = zmq_msg_data(&message), .size = zmq_msg_size(&message), .fd = -1};
}

static void release(struct received *received)
{
	(void)received;
	zmq_msg_close(&message);
}

const struct peer peer_zmq = {
    .name = "zmq",
    .what = "ZeroMQ, PUSH and PULL over ipc://",
    .prepare = prepare,
    .listen = listen_b,
    .open = open_side,
    .close = close_side,
    .send = send_one,
    .receive = receive,
    .release = release,
};
