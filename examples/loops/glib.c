/* SPDX-License-Identifier: MIT */
/* Channels in GLib's main loop, with one source for each. */
#include "service.h"
#include <glib.h>

struct source {
	GSource source;
	struct service service;
	gpointer tag;
	int *left;
	GMainLoop *loop;
};

/* GLib uses microseconds of the same clock; -1 means never. */
static gint64 ready_time(struct service *service)
{
	beam_deadline deadline = service_deadline(service);

	return deadline.ns == BEAM_FOREVER.ns ? -1 : deadline.ns / 1000;
}

static gboolean dispatch(GSource *base, GSourceFunc unused, gpointer unused_too)
{
	struct source *source = (struct source *)base;

	(void)unused;
	(void)unused_too;
	/* GLib's conditions have the values of poll's events. */
	if (!service_turn(&source->service, (int)g_source_query_unix_fd(base, source->tag))) {
		g_source_remove_unix_fd(base, source->tag);
		service_close(&source->service);
		if (--*source->left == 0)
			g_main_loop_quit(source->loop);
		return G_SOURCE_REMOVE;
	}
	g_source_modify_unix_fd(base, source->tag, (GIOCondition)beam_channel_loop_events(source->service.channel));
	g_source_set_ready_time(base, ready_time(&source->service));
	return G_SOURCE_CONTINUE;
}

int main(void)
{
	static GSourceFuncs functions = {.dispatch = dispatch};
	GMainLoop *loop = g_main_loop_new(NULL, FALSE);
	int sockets[CLIENTS], left = CLIENTS;

	if (clients_start(sockets) < 0)
		return 1;
	for (int i = 0; i < CLIENTS; i++) {
		GSource *base = g_source_new(&functions, sizeof(struct source));
		struct source *source = (struct source *)base;

		source->left = &left;
		source->loop = loop;
		if (service_open(&source->service, sockets[i]) < 0)
			return 1;
		source->tag = g_source_add_unix_fd(base, beam_channel_loop_fd(source->service.channel),
						   (GIOCondition)beam_channel_loop_events(source->service.channel));
		g_source_set_ready_time(base, ready_time(&source->service));
		g_source_attach(base, NULL);
		g_source_unref(base);
	}
	g_main_loop_run(loop);
	g_main_loop_unref(loop);
	return clients_wait();
}
