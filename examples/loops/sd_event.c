/* SPDX-License-Identifier: MIT */
/* Channels in systemd's event loop, with an I/O source and a time source for each. */
#include "service.h"
#include <systemd/sd-event.h>

struct watched {
	struct service service;
	sd_event_source *io, *time;
};

static int left = CLIENTS;

static int turn(struct watched *watched, uint32_t events)
{
	beam_deadline deadline;
	int r;

	/* The events of epoll(7) have the same values as those of poll(2). */
	if (!service_turn(&watched->service, (int)events)) {
		watched->io = sd_event_source_disable_unref(watched->io);
		watched->time = sd_event_source_disable_unref(watched->time);
		service_close(&watched->service);
		return 0;
	}
	r = sd_event_source_set_io_events(watched->io, (uint32_t)beam_channel_loop_events(watched->service.channel));
	if (r < 0)
		return r;
	deadline = service_deadline(&watched->service);
	if (deadline.ns == BEAM_FOREVER.ns)
		return sd_event_source_set_enabled(watched->time, SD_EVENT_OFF);
	/* sd-event uses microseconds of the same clock. */
	r = sd_event_source_set_time(watched->time, (uint64_t)deadline.ns / 1000);
	return r < 0 ? r : sd_event_source_set_enabled(watched->time, SD_EVENT_ONESHOT);
}

static int turn_or_exit(struct watched *watched, uint32_t events)
{
	sd_event *event = sd_event_source_get_event(watched->io);
	int r = turn(watched, events);

	if (r == 0 && !watched->service.channel && --left == 0)
		return sd_event_exit(event, 0);
	return r;
}

static int on_ready(sd_event_source *source, int fd, uint32_t events, void *watched)
{
	(void)source;
	(void)fd;
	return turn_or_exit(watched, events);
}

static int on_time(sd_event_source *source, uint64_t when, void *watched)
{
	(void)source;
	(void)when;
	return turn_or_exit(watched, 0);
}

static int watch(sd_event *event, struct watched *watched)
{
	beam_channel *channel = watched->service.channel;
	int r = sd_event_add_io(event, &watched->io, beam_channel_loop_fd(channel),
				(uint32_t)beam_channel_loop_events(channel), on_ready, watched);

	if (r >= 0)
		r = sd_event_add_time(event, &watched->time, CLOCK_MONOTONIC, 0, 1000, on_time, watched);
	return r;
}

int main(void)
{
	static struct watched watched[CLIENTS];
	int sockets[CLIENTS];
	sd_event *event;

	if (sd_event_default(&event) < 0 || clients_start(sockets) < 0)
		return 1;
	for (int i = 0; i < CLIENTS; i++) {
		if (service_open(&watched[i].service, sockets[i]) < 0 || watch(event, &watched[i]) < 0)
			return 1;
	}
	if (sd_event_loop(event) < 0)
		return 1;
	sd_event_unref(event);
	return clients_wait();
}
