/* SPDX-License-Identifier: MIT */
/*
 * A source's turn: its messages are received and delivered, or its topics or channels are accepted.
 * No lock is held meanwhile.
 */
#include <base/sys.h>
#include <errno.h>
#include <relay/internal.h>

/* ---- Ways ------------------------------------------------------------------------------------ */

static void way_free(struct way *way)
{
	beam_topic_unref(way->topic);
	free(way);
}

void ways_free(struct source *source)
{
	struct list *next;

	for (struct list *link = source->ways.next; link != &source->ways; link = next) {
		next = link->next;
		way_free(list_entry(link, struct way, link));
	}
}

void ways_forget(struct beam_router *router, struct source *source)
{
	struct list *link = source->ways.next;

	if (source->generation == router->generation)
		return;
	source->generation = router->generation;
	while (link != &source->ways) {
		struct way *way = list_entry(link, struct way, link);

		link = link->next;
		if (route_stands(router, way->route))
			continue;
		list_remove(&way->link);
		way_free(way);
	}
}

/* Finds or opens the topic of the source's name on a route's channel. */
static int find_way(struct source *source, const struct route *route, beam_topic **ret)
{
	struct way *way;
	int r;

	for (struct list *link = source->ways.next; link != &source->ways; link = link->next) {
		way = list_entry(link, struct way, link);
		if (way->route == route->id) {
			*ret = way->topic;
			return 0;
		}
	}
	way = sys_calloc(1, sizeof *way);
	if (!way)
		return -ENOMEM;
	r = beam_topic_open(&way->topic, route->to.channel, beam_topic_name(source->topic));
	if (r < 0) {
		free(way);
		return r;
	}
	way->route = route->id;
	list_append(&source->ways, &way->link);
	*ret = way->topic;
	return 0;
}

/* ---- Delivering ------------------------------------------------------------------------------ */

static int send_now(struct beam_router *router, struct source *source, beam_topic *topic, beam_deadline deadline)
{
	if (beam_message_is_call(source->held))
		return call_send_on(router, source, topic, deadline);
	return beam_topic_send_message(topic, source->held, 0, deadline);
}

/* Sends the message in hand. It waits only if the message is large and there was room. */
static int send_on(struct beam_router *router, struct source *source, beam_topic *topic, beam_deadline deadline)
{
	bool large = beam_message_size(source->held) > LARGE;
	int r = large && !source->by_room ? -EAGAIN : send_now(router, source, topic, large ? deadline : BEAM_NOWAIT);

	if (r != -EAGAIN && r != -ETIMEDOUT)
		return r;
	/*
	 * If there is room, but not enough, waiting for room would end at once, so this waits for
	 * the timer.
	 */
	if (!source->by_room)
		source->target = beam_topic_ref(topic);
	return -EAGAIN;
}

/* Delivers the message in hand. Returns 0, -EAGAIN if it must wait, or an error. */
static int turn_deliver(struct beam_router *router, struct source *source, beam_deadline deadline)
{
	const char *name = beam_topic_name(source->topic);
	struct route *route = route_find(router, name, source->held);
	beam_topic *topic;
	int r = 0;

	if (!route)
		return -EHOSTUNREACH;
	topic = route->to.topic;
	if (route->to.channel)
		r = find_way(source, route, &topic);
	if (r == 0)
		r = route->to.handle ? route->to.handle(route->to.argument, name, source->held)
				     : send_on(router, source, topic, deadline);
	route_done(router, route);
	return r;
}

/* ---- Turns ----------------------------------------------------------------------------------- */

/* Returns true if nothing more may be taken from the source. */
static bool turn_is_over(const struct beam_router *router, const struct source *source)
{
	return router->stopped || source->removed;
}

/*
 * Returns 1 if a message is in hand, 0 if the turn is over, or the error with which the topic
 * ended.
 */
static int turn_take(struct beam_router *router, struct source *source)
{
	int r;

	source->state = SOURCE_IDLE;
	if (source->held)
		return 1;
	if (turn_is_over(router, source))
		return 0;
	r = beam_topic_receive(source->topic, &source->held, 0, BEAM_NOWAIT);
	if (r > 0 || r == -EAGAIN)
		return r > 0;
	source->state = SOURCE_ENDED;
	return source->accepted ? 0 : r;
}

int turn_of_topic(struct beam_router *router, struct source *source, beam_deadline deadline)
{
	for (int i = 0; i < TURN; i++) {
		int r = turn_take(router, source);

		if (r <= 0)
			return r;
		r = turn_deliver(router, source, deadline);
		if (r == -EAGAIN)
			source->state = SOURCE_STALLED;
		if (r < 0)
			return r == -EAGAIN ? 0 : r;
		source->held = NULL;
		source->by_room = false;
	}
	return 0;
}

/* Accepts a topic of a channel, or a channel of a listener. Returns what these functions return. */
static int accept_into(struct source *made, struct source *source)
{
	if (source->listener)
		return beam_listener_accept(source->listener, &made->channel, BEAM_NOWAIT);
	made->accepted = true;
	return beam_channel_accept(source->channel, &made->topic, BEAM_NOWAIT);
}

/*
 * The new source is made before the topic or channel is accepted, so that none is lost if there is
 * no memory.
 */
int turn_accept(struct beam_router *router, struct source *source)
{
	source->state = SOURCE_IDLE;
	for (int i = 0; i < TURN && !turn_is_over(router, source); i++) {
		struct source *made = source_new(source->tag);
		int r = made ? accept_into(made, source) : -ENOMEM;

		if (r <= 0) {
			source->state = !made ? SOURCE_STALLED : r == -EAGAIN ? SOURCE_IDLE : SOURCE_ENDED;
			free(made);
			return source->state == SOURCE_ENDED ? r : 0;
		}
		source_join(router, made, source);
	}
	return 0;
}
