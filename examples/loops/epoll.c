/* SPDX-License-Identifier: MIT */
/* Channels in a plain epoll loop. */
#include "service.h"
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Returns in how many milliseconds service_turn() has to be called; -1: never. */
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

/*
 * Calls service_turn(), and sets which events to wait for from now on. Returns false if the client
 * has gone. The events of epoll(7) have the same values as those of poll(2).
 */
static bool turn(int epoll, struct service *service, uint32_t events)
{
	int socket = beam_channel_loop_fd(service->channel);
	struct epoll_event event = {.data.ptr = service};

	if (!service_turn(service, (int)events)) {
		epoll_ctl(epoll, EPOLL_CTL_DEL, socket, NULL);
		service_close(service);
		return false;
	}
	event.events = (uint32_t)beam_channel_loop_events(service->channel);
	epoll_ctl(epoll, EPOLL_CTL_MOD, socket, &event);
	return true;
}

static int run(int epoll, struct service *services)
{
	struct epoll_event events[CLIENTS];
	int left = CLIENTS;

	while (left > 0) {
		int n = epoll_wait(epoll, events, CLIENTS, earliest(services));

		for (int i = 0; i < n; i++) {
			if (!turn(epoll, events[i].data.ptr, events[i].events))
				left--;
		}
		for (int i = 0; i < CLIENTS; i++) {
			if (services[i].channel && service_milliseconds(&services[i]) == 0 &&
			    !turn(epoll, &services[i], 0))
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
		event.events = (uint32_t)beam_channel_loop_events(services[i].channel);
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, beam_channel_loop_fd(services[i].channel), &event) < 0)
			return 1;
	}
	return run(epoll, services);
}
