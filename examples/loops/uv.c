/* SPDX-License-Identifier: MIT */
/* Channels in libuv's event loop. */
#include "service.h"
#include <poll.h>
#include <uv.h>

struct watched {
	struct service service;
	uv_poll_t poll;
	uv_timer_t timer;
};

/* libuv has its own values for events. */
static int to_uv(int events)
{
	return (events & POLLIN ? UV_READABLE : 0) | (events & POLLOUT ? UV_WRITABLE : 0);
}

static int from_uv(int events)
{
	return (events & UV_READABLE ? POLLIN : 0) | (events & UV_WRITABLE ? POLLOUT : 0);
}

static void on_ready(uv_poll_t *poll, int status, int events);
static void on_time(uv_timer_t *timer);

static void watch(struct watched *watched)
{
	int due = service_milliseconds(&watched->service);

	uv_poll_start(&watched->poll, to_uv(beam_channel_loop_events(watched->service.channel)), on_ready);
	if (due < 0)
		uv_timer_stop(&watched->timer);
	else
		uv_timer_start(&watched->timer, on_time, (uint64_t)due, 0);
}

static void turn(struct watched *watched, int events)
{
	if (service_turn(&watched->service, events)) {
		watch(watched);
		return;
	}
	uv_close((uv_handle_t *)&watched->poll, NULL);
	uv_close((uv_handle_t *)&watched->timer, NULL);
	service_close(&watched->service);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	/* If the socket has an error, the channel finds it when it reads. */
	turn(poll->data, status < 0 ? POLLIN : from_uv(events));
}

static void on_time(uv_timer_t *timer)
{
	turn(timer->data, 0);
}

int main(void)
{
	static struct watched watched[CLIENTS];
	uv_loop_t *loop = uv_default_loop();
	int sockets[CLIENTS];

	if (clients_start(sockets) < 0)
		return 1;
	for (int i = 0; i < CLIENTS; i++) {
		if (service_open(&watched[i].service, sockets[i]) < 0 ||
		    uv_poll_init(loop, &watched[i].poll, beam_channel_loop_fd(watched[i].service.channel)) < 0 ||
		    uv_timer_init(loop, &watched[i].timer) < 0)
			return 1;
		watched[i].poll.data = watched[i].timer.data = &watched[i];
		watch(&watched[i]);
	}
	uv_run(loop, UV_RUN_DEFAULT);
	uv_loop_close(loop);
	return clients_wait();
}
