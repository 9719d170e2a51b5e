/* SPDX-License-Identifier: MIT */
/*
 * What the examples of event loops have in common: clients, which are processes of their own and
 * know nothing of loops, and a service that answers each client on a channel that the loop drives.
 * The loops are in the files beside this one.
 */
#ifndef EXAMPLES_LOOPS_SERVICE_H
#define EXAMPLES_LOOPS_SERVICE_H

#include <beam/beam.h>
#include <stdbool.h>

enum { CLIENTS = 3 };

/* One client's channel. */
struct service {
	beam_channel *channel;
	beam_topic *topic;
};

/* Starts the clients, and returns the sockets that lead to them. */
int clients_start(int sockets[CLIENTS]);
/* Waits for the clients to end. Returns 0 if all have got every answer. */
int clients_wait(void);

/* Makes a channel without a thread, and opens its topic. */
int service_open(struct service *service, int socket);
/*
 * Does what is due and answers what has arrived. Never blocks. `events` are the socket's events, as
 * poll(2) names them. Returns false if the client has gone. Then the caller stops watching the
 * socket, and closes the service.
 */
bool service_turn(struct service *service, int events);
void service_close(struct service *service);
/*
 * Returns when service_turn() has to be called, even if the socket has no events; BEAM_FOREVER:
 * never.
 */
beam_deadline service_deadline(struct service *service);
/* The same in milliseconds from now; -1: never. */
int service_milliseconds(struct service *service);

#endif
