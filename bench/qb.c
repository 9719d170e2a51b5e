/* SPDX-License-Identifier: MIT */
/*
 * libqb: its IPC over shared memory. B is the service, with libqb's main loop, and A is the client.
 * If the ring is full, the client tries again, as libqb's own benchmark does (tests/bmc.c), but
 * lets other threads run in between.
 */
#include "peer.h"
#include "util.h"
#include <errno.h>
#include <pthread.h>
#include <qb/qbipcc.h>
#include <qb/qbipcs.h>
#include <qb/qbloop.h>
#include <sched.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

enum { REQUEST_ID = QB_IPC_MSG_USER_START + 1, SMALLEST_RING = 1 << 20 };

static char name[64];
static size_t ring;
static enum side self;
static pthread_mutex_t sending = PTHREAD_MUTEX_INITIALIZER;

static qb_ipcc_connection_t *client;
static unsigned char *buffer;

static qb_loop_t *loop;
static qb_ipcs_service_t *service;
static qb_ipcs_connection_t *connection;
static uint64_t left; /* messages to come */
static take_function *take_it;
static void *take_context;

static void prepare(const struct settings *settings)
{
	ring = (settings->size + sizeof(struct qb_ipc_request_header)) * 4;
	if (ring < SMALLEST_RING)
		ring = SMALLEST_RING;
	snprintf(name, sizeof name, "beam-bench-%d", (int)getpid());
}

/* ---- The service ---- */

static int32_t on_accept(qb_ipcs_connection_t *c, uid_t uid, gid_t gid)
{
	(void)c;
	(void)uid;
	(void)gid;
	return 0;
}

static void on_created(qb_ipcs_connection_t *c)
{
	connection = c;
	qb_loop_stop(loop);
}

static int32_t on_message(qb_ipcs_connection_t *c, void *data, size_t size)
{
	const struct qb_ipc_request_header *header = data;
	struct received received = {
	    .data = (unsigned char *)data + sizeof *header, .size = size - sizeof *header, .fd = -1};

	(void)c;
	if (header->id != REQUEST_ID || (size_t)header->size != size)
		die("libqb: another message");
	if (left-- == 0)
		die("libqb: more messages than were sent");
	take_it(take_context, &received);
	if (left == 0)
		qb_loop_stop(loop);
	return 0;
}

static int32_t add_job(enum qb_loop_priority priority, void *data, qb_loop_job_dispatch_fn function)
{
	return qb_loop_job_add(loop, priority, data, function);
}

static int32_t add_fd(enum qb_loop_priority priority, int32_t fd, int32_t events, void *data,
		      qb_ipcs_dispatch_fn_t function)
{
	return qb_loop_poll_add(loop, priority, fd, events, data, function);
}

static int32_t change_fd(enum qb_loop_priority priority, int32_t fd, int32_t events, void *data,
			 qb_ipcs_dispatch_fn_t function)
{
	return qb_loop_poll_mod(loop, priority, fd, events, data, function);
}

static int32_t delete_fd(int32_t fd)
{
	return qb_loop_poll_del(loop, fd);
}

static void listen_b(void)
{
	static struct qb_ipcs_service_handlers handlers = {
	    .connection_accept = on_accept, .connection_created = on_created, .msg_process = on_message};
	static struct qb_ipcs_poll_handlers poll_handlers = {
	    .job_add = add_job, .dispatch_add = add_fd, .dispatch_mod = change_fd, .dispatch_del = delete_fd};

	loop = qb_loop_create();
	service = qb_ipcs_create(name, 0, QB_IPC_SHM, &handlers);
	must_sys(loop && service ? 0 : -1, "libqb");
	qb_ipcs_poll_handlers_set(service, &poll_handlers);
	qb_ipcs_enforce_buffer_size(service, (uint32_t)ring);
	must(qb_ipcs_run(service), "qb_ipcs_run");
}

/* ---- The peer ---- */

static void open_side(enum side side)
{
	self = side;
	if (side == SIDE_B) {
		qb_loop_run(loop);
		return;
	}
	client = qb_ipcc_connect(name, ring);
	must_sys(client ? 0 : -1, "qb_ipcc_connect");
	buffer = must_allocate(ring);
}

static void close_side(enum side side)
{
	if (side == SIDE_A) {
		qb_ipcc_disconnect(client);
		return;
	}
	qb_ipcs_destroy(service);
	qb_loop_destroy(loop);
}

static void send_one(unsigned lane, const void *data, size_t size, int fd)
{
	struct qb_ipc_request_header request = {.id = REQUEST_ID, .size = (int32_t)(sizeof request + size)};
	struct qb_ipc_response_header response = {.id = REQUEST_ID, .size = (int32_t)(sizeof response + size)};
	struct iovec iov[2] = {
	    {self == SIDE_A ? (void *)&request : &response, self == SIDE_A ? sizeof request : sizeof response},
	    {(void *)(uintptr_t)data, size}};
	ssize_t n;

	(void)lane;
	(void)fd;
	pthread_mutex_lock(&sending);
	while ((n = self == SIDE_A ? qb_ipcc_sendv(client, iov, 2) : qb_ipcs_response_sendv(connection, iov, 2)) ==
	       -EAGAIN)
		sched_yield();
	pthread_mutex_unlock(&sending);
	must(n, "libqb: send");
}

static void receive_response(struct received *ret)
{
	const struct qb_ipc_response_header *header = (void *)buffer;
	size_t size = (size_t)must(qb_ipcc_recv(client, buffer, ring, -1), "qb_ipcc_recv");

	if (header->id != REQUEST_ID || (size_t)header->size != size)
		die("libqb: another message");
	*ret = (struct received){.data = buffer + sizeof *header, .size = size - sizeof *header, .fd = -1};
}

static void dispatch(uint64_t n, take_function *take, void *context)
{
	struct received received;

	if (self == SIDE_A) {
		for (; n > 0; n--) {
			receive_response(&received);
			take(context, &received);
		}
		return;
	}
	left = n;
	take_it = take;
	take_context = context;
	while (left > 0)
		qb_loop_run(loop);
}

const struct peer peer_qb = {
    .name = "libqb",
    .what = "libqb, its IPC over shared memory",
    .prepare = prepare,
    .listen = listen_b,
    .open = open_side,
    .close = close_side,
    .send = send_one,
    .dispatch = dispatch,
};
