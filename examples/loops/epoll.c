/* SPDX-License-Identifier: MIT */
/* Channels in a loop of plain epoll. */
#include "service.h"
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

/* The earliest of the times at which a turn is due; -1: none. */
static int earliest(struct service *services)
{
	int least = -1;

	for (int i = 0; i < CLIENTS; i++) {
		int due = services[i].channel ? service_milliseconds(&services[i]) : -1;

		if (due >= 0 && (least < 0 || due < least))
			least = due;
	}
	return least;
}

static int run(int epoll, struct service *services)
{
	struct epoll_event events[CLIENTS];
	int left = CLIENTS;

	while (left > 0) {
		int n = epoll_wait(epoll, events, CLIENTS, earliest(services));

		for (int i = 0; i < n; i++) {
			struct service *service = events[i].data.ptr;

			/* The descriptor of a service that is over is closed with it, and so leaves the epoll. */
			if (!service_turn(service))
				left--;
		}
		for (int i = 0; i < CLIENTS; i++) {
			if (services[i].channel && service_milliseconds(&services[i]) == 0 && !service_turn(&services[i]))
				left--;
		}
	}
	return clients_wait();
}

int main(void)
{
	struct service services[CLIENTS];
	int sockets[CLIENTS], epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll < 0 || clients_start(sockets) < 0)
		return 1;
	for (int i = 0; i < CLIENTS; i++) {
		struct epoll_event event = {.data.ptr = &services[i]};

		if (service_open(&services[i], sockets[i]) < 0)
			return 1;
		/* poll's events have epoll's numbers. */
		event.events = (uint32_t)beam_channel_loop_events(services[i].channel);
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, beam_channel_loop_fd(services[i].channel), &event) < 0)
			return 1;
	}
	return run(epoll, services);
}
