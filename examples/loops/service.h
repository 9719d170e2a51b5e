/* SPDX-License-Identifier: MIT */
/*
 * What the examples of event loops have in common: clients, which are processes of their own and
 * know nothing of loops, and a service that answers each on a channel that the loop runs. The loops
 * themselves are in the files beside this one.
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

/* Starts the clients; takes the sockets that lead to them. */
int clients_start(int sockets[CLIENTS]);
/* Waits for their ends: 0 if all have got every answer. */
int clients_wait(void);

/* A channel without a thread, with its topic. */
int service_open(struct service *service, int socket);
/*
 * Does what is to be done and answers what has come; never waits. `events` is what shows
 * on the socket, as poll names it. False: the client has gone: the loop lets go of the
 * socket and closes the service.
 */
bool service_turn(struct service *service, int events);
void service_close(struct service *service);
/*
 * When the next turn is due at the latest; BEAM_FOREVER: only when the descriptor shows something.
 */
beam_deadline service_deadline(struct service *service);
/* The same in milliseconds from now; -1: never. */
int service_milliseconds(struct service *service);

#endif
