/* SPDX-License-Identifier: MIT */
/*
 * sd-bus, without a bus: signals between the ends of a socket pair, one of which is the server, as
 * sd_bus_set_server(3) describes. If the socket is full, a message is queued. The queue is flushed
 * before the next message, so it stays short.
 */
#include "peer.h"
#include "util.h"
#include <sys/socket.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

static struct settings with;
static int pair[2];
static sd_bus *bus;

static void prepare(const struct settings *settings)
{
	with = *settings;
	must_sys(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), "socketpair");
}

static void open_side(enum side side)
{
	sd_id128_t id;

	close(pair[side == SIDE_A ? SIDE_B : SIDE_A]);
	must(sd_bus_new(&bus), "sd_bus_new");
	must(sd_bus_set_fd(bus, pair[side], pair[side]), "sd_bus_set_fd");
	must(sd_bus_set_anonymous(bus, true), "sd_bus_set_anonymous");
	must(sd_bus_negotiate_fds(bus, with.fds), "sd_bus_negotiate_fds");
	if (side == SIDE_B) {
		must(sd_id128_randomize(&id), "sd_id128_randomize");
		must(sd_bus_set_server(bus, true, id), "sd_bus_set_server");
	}
	must(sd_bus_start(bus), "sd_bus_start");
	/* Returns when both have authenticated. */
	must(sd_bus_flush(bus), "sd_bus_flush");
}

static void close_side(enum side side)
{
	(void)side;
	sd_bus_close(bus);
	sd_bus_unref(bus);
}

static void send_one(unsigned lane, const void *data, size_t size, int fd)
{
	sd_bus_message *message;
	uint64_t queued;

	(void)lane;
	must(sd_bus_message_new_signal(bus, &message, "/bench", "org.example.Bench", "Message"), "new signal");
	must(sd_bus_message_append_array(message, 'y', data, size), "append");
	if (fd >= 0)
		must(sd_bus_message_append_basic(message, 'h', &fd), "append");
	must(sd_bus_send(bus, message, NULL), "sd_bus_send");
	sd_bus_message_unref(message);
	must(sd_bus_get_n_queued_write(bus, &queued), "queue");
	if (queued > 0)
		must(sd_bus_flush(bus), "sd_bus_flush");
}

static void receive(unsigned lane, struct received *ret)
{
	sd_bus_message *message = NULL;
	const void *data;

	(void)lane;
	while (!message)
		if (must(sd_bus_process(bus, &message), "sd_bus_process") == 0)
			must(sd_bus_wait(bus, UINT64_MAX), "sd_bus_wait");
	if (!sd_bus_message_is_signal(message, "org.example.Bench", "Message"))
		die("sd-bus: another message");
	must(sd_bus_message_read_array(message, 'y', &data, &ret->size), "read");
	ret->data = data;
	ret->fd = -1;
	if (with.fds)
		must(sd_bus_message_read_basic(message, 'h', &ret->fd), "read");
	ret->owner = message;
}

/* The descriptor belongs to the message. */
static void release(struct received *received)
{
	sd_bus_message_unref(received->owner);
}

const struct peer peer_sdbus = {
    .name = "sd-bus",
    .what = "sd-bus, signals over a socket pair without a bus",
    .passes_fds = true,
    .one_thread = true,
    .prepare = prepare,
    .open = open_side,
    .close = close_side,
    .send = send_one,
    .receive = receive,
    .release = release,
};
