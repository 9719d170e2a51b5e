/* SPDX-License-Identifier: MIT */
/*
 * Wayland's connection, by its public interface. A is a client and sends requests. B is the
 * compositor and answers with events. The Wayland interface is defined in this file. Its messages
 * have an array and, if needed, a descriptor. What is sent stays in the library's buffer of 4 KiB
 * until it is flushed. The library cannot wait for room in the buffer, so it is flushed before it
 * is full. If the socket is full, the client waits until there is room, as the documentation of
 * wl_display_flush() recommends.
 */
#include "peer.h"
#include "util.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <wayland-client.h>
#include <wayland-server.h>

enum { BUFFER = 4096, FDS = 28 }; /* the library's limits for what it holds between flushes */
enum { MESSAGE, MESSAGE_WITH_FD, OPCODES };
enum { OVERHEAD = 16 }; /* object, opcode, size; the array's size; padding */

static struct settings with;
static int pair[2];
static uint64_t left; /* messages to come */
static take_function *take_it;
static void *take_context;

/* ---- The interface ---- */

static const struct wl_interface *no_types[] = {NULL, NULL};
static const struct wl_message messages[OPCODES] = {
    [MESSAGE] = {"message", "a", no_types},
    [MESSAGE_WITH_FD] = {"message_with_fd", "ah", no_types},
};
static const struct wl_interface interface = {"beam_bench", 1, OPCODES, messages, OPCODES, messages};

static void take(const struct wl_array *array, int fd)
{
	struct received received = {.data = array->data, .size = array->size, .fd = fd};

	if (left-- == 0)
		die("wayland: more messages than were sent");
	take_it(take_context, &received);
	if (fd >= 0)
		close(fd);
}

/* ---- The client ---- */

static struct wl_display *display;
static struct wl_registry *registry;
static struct wl_proxy *proxy;
static pthread_mutex_t sending = PTHREAD_MUTEX_INITIALIZER;
static size_t bytes, fds; /* not flushed yet, at most so many */

static void on_event(void *data, struct wl_proxy *object, struct wl_array *array)
{
	(void)data;
	(void)object;
	take(array, -1);
}

static void on_event_with_fd(void *data, struct wl_proxy *object, struct wl_array *array, int32_t fd)
{
	(void)data;
	(void)object;
	take(array, fd);
}

static void on_global(void *data, struct wl_registry *object, uint32_t name, const char *offered, uint32_t version)
{
	(void)data;
	(void)version;
	if (strcmp(offered, interface.name) == 0)
		proxy = wl_registry_bind(object, name, &interface, 1);
}

static void on_global_remove(void *data, struct wl_registry *object, uint32_t name)
{
	(void)data;
	(void)object;
	(void)name;
}

static void open_client(void)
{
	static const struct wl_registry_listener listener = {on_global, on_global_remove};
	static void (*events[OPCODES])(void) = {(void (*)(void))on_event, (void (*)(void))on_event_with_fd};

	display = wl_display_connect_to_fd(pair[SIDE_A]);
	must_sys(display ? 0 : -1, "wl_display_connect_to_fd");
	registry = wl_display_get_registry(display);
	wl_registry_add_listener(registry, &listener, NULL);
	must_sys(wl_display_roundtrip(display), "wl_display_roundtrip");
	if (!proxy)
		die("wayland: no interface");
	must_sys(wl_proxy_add_listener(proxy, events, NULL), "wl_proxy_add_listener");
	must_sys(wl_display_roundtrip(display), "wl_display_roundtrip");
}

static void flush_client(void)
{
	struct pollfd room = {.fd = pair[SIDE_A], .events = POLLOUT};

	while (wl_display_flush(display) < 0) {
		must_sys(errno == EAGAIN ? 0 : -1, "wl_display_flush");
		must_sys(poll(&room, 1, -1), "poll");
	}
	bytes = fds = 0;
}

static void send_request(union wl_argument *arguments, size_t size, bool with_fd)
{
	pthread_mutex_lock(&sending);
	if (bytes + size > BUFFER || fds + with_fd > FDS)
		flush_client();
	wl_proxy_marshal_array_flags(proxy, with_fd ? MESSAGE_WITH_FD : MESSAGE, NULL, 1, 0, arguments);
	bytes += size;
	fds += with_fd;
	pthread_mutex_unlock(&sending);
}

/* ---- The compositor ---- */

static struct wl_display *compositor;
static struct wl_resource *resource;

static void on_request(struct wl_client *client, struct wl_resource *object, struct wl_array *array)
{
	(void)client;
	(void)object;
	take(array, -1);
}

static void on_request_with_fd(struct wl_client *client, struct wl_resource *object, struct wl_array *array, int32_t fd)
{
	(void)client;
	(void)object;
	take(array, fd);
}

static void on_bind(struct wl_client *client, void *data, uint32_t version, uint32_t id)
{
	static void (*const requests[OPCODES])(void) = {(void (*)(void))on_request, (void (*)(void))on_request_with_fd};

	(void)data;
	resource = wl_resource_create(client, &interface, (int)version, id);
	must_sys(resource ? 0 : -1, "wl_resource_create");
	wl_resource_set_implementation(resource, requests, NULL, NULL);
}

static void serve(void)
{
	must_sys(wl_event_loop_dispatch(wl_display_get_event_loop(compositor), -1), "wl_event_loop_dispatch");
	wl_display_flush_clients(compositor);
}

static void open_compositor(void)
{
	compositor = wl_display_create();
	must_sys(compositor ? 0 : -1, "wl_display_create");
	must_sys(wl_global_create(compositor, &interface, 1, NULL, on_bind) ? 0 : -1, "wl_global_create");
	must_sys(wl_client_create(compositor, pair[SIDE_B]) ? 0 : -1, "wl_client_create");
	while (!resource)
		serve();
}

/* ---- The peer ---- */

static enum side self;

static void prepare(const struct settings *settings)
{
	with = *settings;
	must_sys(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), "socketpair");
}

static void open_side(enum side side)
{
	self = side;
	close(pair[side == SIDE_A ? SIDE_B : SIDE_A]);
	if (side == SIDE_A)
		open_client();
	else
		open_compositor();
}

static void close_side(enum side side)
{
	if (side == SIDE_A) {
		wl_proxy_destroy(proxy);
		wl_registry_destroy(registry);
		wl_display_disconnect(display);
	} else {
		wl_display_destroy_clients(compositor);
		wl_display_destroy(compositor);
	}
}

static void send_one(unsigned lane, const void *data, size_t size, int fd)
{
	struct wl_array array = {.size = size, .alloc = size, .data = (void *)(uintptr_t)data};
	union wl_argument arguments[2] = {{.a = &array}, {.h = fd}};

	(void)lane;
	if (self == SIDE_A)
		send_request(arguments, size + OVERHEAD, fd >= 0);
	else
		wl_resource_post_event_array(resource, fd >= 0 ? MESSAGE_WITH_FD : MESSAGE, arguments);
}

static void flush(unsigned lane)
{
	(void)lane;
	if (self == SIDE_B) {
		wl_display_flush_clients(compositor);
		return;
	}
	pthread_mutex_lock(&sending);
	flush_client();
	pthread_mutex_unlock(&sending);
}

static void dispatch(uint64_t n, take_function *function, void *context)
{
	left = n;
	take_it = function;
	take_context = context;
	while (left > 0) {
		if (self == SIDE_A)
			must_sys(wl_display_dispatch(display), "wl_display_dispatch");
		else
			serve();
	}
}

const struct peer peer_wayland = {
    .name = "wayland",
    .what = "Wayland's connection, requests and events of an interface of ours",
    .passes_fds = true,
    .size_max = 2048,
    .in_flight = 2000,
    .prepare = prepare,
    .open = open_side,
    .close = close_side,
    .send = send_one,
    .flush = flush,
    .dispatch = dispatch,
};
