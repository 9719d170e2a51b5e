/* SPDX-License-Identifier: MIT */
/* Channels in a loop of libuv. */
#include "service.h"
#include <uv.h>

struct watched {
	struct service service;
	uv_poll_t poll;
	uv_timer_t timer;
};

static void on_time(uv_timer_t *timer);

/* A turn, and when the next one is due. */
static void turn(struct watched *watched)
{
	int due;

	/* The service closes its descriptor with it: libuv must have let go of it before. */
	uv_poll_stop(&watched->poll);
	if (!service_turn(&watched->service)) {
		uv_close((uv_handle_t *)&watched->poll, NULL);
		uv_close((uv_handle_t *)&watched->timer, NULL);
		return;
	}
	due = service_milliseconds(&watched->service);
	if (due < 0)
		uv_timer_stop(&watched->timer);
	else
		uv_timer_start(&watched->timer, on_time, (uint64_t)due, 0);
}

static void watch(struct watched *watched);

static void on_ready(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	turn(poll->data);
	watch(poll->data);
}

static void on_time(uv_timer_t *timer)
{
	turn(timer->data);
	watch(timer->data);
}

static void watch(struct watched *watched)
{
	/* libuv's UV_READABLE is poll's POLLIN. */
	if (watched->service.channel)
		uv_poll_start(&watched->poll, beam_channel_loop_events(watched->service.channel), on_ready);
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
