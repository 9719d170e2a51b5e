/* SPDX-License-Identifier: MIT */
/* Sources: how they are added, how they wait for something to do, and how they are removed. */
#include <base/annotate.h>
#include <base/clock.h>
#include <base/sys.h>
#include <base/thread.h>
#include <errno.h>
#include <relay/internal.h>

/* How long until something that no event announces is tried again. */
enum { RETRY_MS = 5 };

/* ---- Life ------------------------------------------------------------------------------------ */

struct source *source_new(void *tag)
{
	struct source *source = sys_calloc(1, sizeof *source);

	if (!source)
		return NULL;
	annotate_atomic(&source->removed);
	source->tag = tag;
	list_init(&source->of_router);
	list_init(&source->link);
	list_init(&source->ways);
	return source;
}

/* Releases what a source holds. Afterwards only its memory is left. No lock is held. */
static void source_release(struct source *source)
{
	ways_free(source);
	beam_message_free(source->held);
	beam_message_free(source->next);
	/*
	 * The callee is told that nobody wants its replies, and the caller that its call was
	 * dropped.
	 */
	beam_call_unref(source->call);
	beam_message_free(source->request);
	beam_topic_unref(source->target);
	beam_topic_unref(source->topic);
	beam_channel_unref(source->channel);
	beam_listener_unref(source->listener);
}

void source_free(struct source *source)
{
	source_release(source);
	free(source);
}

void sources_free_gone(struct beam_router *router)
{
	struct list *link, *next;

	for (link = router->gone.next; link != &router->gone; link = next) {
		next = link->next;
		free(list_entry(link, struct source, of_router));
	}
	list_init(&router->gone);
}

/* ---- Waiting --------------------------------------------------------------------------------- */

/* Begins to wait for a source. The lock is held. */
static int source_watch(struct beam_router *router, struct source *source)
{
	if (source->call)
		return call_watch(router, source);
	if (source->listener)
		return beam_select_add_listener(router->select, source->listener, source);
	if (source->channel)
		return beam_select_add_channel(router->select, source->channel, source);
	return beam_select_add_topic(router->select, source->topic, BEAM_SELECT_RECEIVE, source);
}

void source_unwatch(struct beam_router *router, struct source *source)
{
	if (source->call)
		call_unwatch(router, source);
	else if (source->listener)
		beam_select_remove_listener(router->select, source->listener);
	else if (source->channel)
		beam_select_remove_channel(router->select, source->channel);
	else
		beam_select_remove_topic(router->select, source->topic, BEAM_SELECT_RECEIVE);
}

/*
 * Makes a source wait for room at its `target`, or for the timer if it has none. The lock is held.
 */
static void source_stall(struct beam_router *router, struct source *source)
{
	int r;

	source->state = SOURCE_STALLED;
	list_append(&router->stalled, &source->link);
	if (source->target) {
		r = beam_select_add_topic(router->select, source->target, BEAM_SELECT_SEND, source->target);
		/* -EEXIST: another source waits for the same room. */
		if (r == 0 || r == -EEXIST)
			return;
		source->target = beam_topic_unref(source->target);
	}
	if (!router->timed)
		router_set_timer(router, RETRY_MS);
}

bool source_settle(struct beam_router *router, struct source *source)
{
	source->running = false;
	/* It was removed, and keeps no message any more. */
	if (source->removed && !source->held)
		source->state = SOURCE_ENDED;
	if (source->state == SOURCE_ENDED) {
		list_remove(&source->of_router);
		if (source->removed || list_empty(&router->sources))
			router_changed(router);
		return true;
	}
	/* It has more to do, and any thread may do it. */
	if (source->state == SOURCE_READY) {
		list_append(&router->ready, &source->link);
		router_changed(router);
		return false;
	}
	/* A source that cannot be watched is looked at again after a while. */
	if (source->state == SOURCE_STALLED || source_watch(router, source) < 0)
		source_stall(router, source);
	return false;
}

void source_join(struct beam_router *router, struct source *made, const struct source *of)
{
	bool ended;

	pthread_mutex_lock(&router->lock);
	made->removed = of && of->removed;
	list_append(&router->sources, &made->of_router);
	ended = source_settle(router, made);
	pthread_mutex_unlock(&router->lock);
	if (ended)
		source_free(made);
}

/* ---- Adding ---------------------------------------------------------------------------------- */

static bool is_same(const struct source *source, const struct source *other)
{
	return source->channel == other->channel && source->topic == other->topic &&
	       source->listener == other->listener;
}

/*
 * Returns true if there is a source like this. The selector cannot tell, because a source in its
 * turn is not a member of it. The lock is held.
 */
static bool is_source(const struct beam_router *router, const struct source *like)
{
	for (struct list *link = router->sources.next; link != &router->sources; link = link->next) {
		if (is_same(list_entry(link, struct source, of_router), like))
			return true;
	}
	return false;
}

static int router_add_source(struct beam_router *router, struct source *source)
{
	int r;

	pthread_mutex_lock(&router->lock);
	r = is_source(router, source) ? -EEXIST : source_watch(router, source);
	if (r == 0)
		list_append(&router->sources, &source->of_router);
	pthread_mutex_unlock(&router->lock);
	return r;
}

/* Adds one of the three as a source. */
static int router_add(struct beam_router *router, beam_channel *channel, beam_topic *topic, beam_listener *listener,
		      void *tag)
{
	int r = router_check(router);
	struct source *source;

	if (!r && !channel && !topic && !listener)
		r = -EINVAL;
	if (r < 0)
		return r;
	source = source_new(tag);
	if (!source)
		return -ENOMEM;
	source->channel = beam_channel_ref(channel);
	source->topic = beam_topic_ref(topic);
	source->listener = beam_listener_ref(listener);
	/* beam_channel_ref() returns NULL if the channel has no handle any more. */
	r = channel && !source->channel ? -EPIPE : router_add_source(router, source);
	if (r < 0)
		source_free(source);
	return r;
}

int beam_router_add_topic(beam_router *router, beam_topic *topic, void *tag)
{
	WITHOUT_CANCELLATION;

	return router_add(router, NULL, topic, NULL, tag);
}

int beam_router_add_channel(beam_router *router, beam_channel *channel, void *tag)
{
	WITHOUT_CANCELLATION;

	return router_add(router, channel, NULL, NULL, tag);
}

int beam_router_add_listener(beam_router *router, beam_listener *listener, void *tag)
{
	WITHOUT_CANCELLATION;

	return router_add(router, NULL, NULL, listener, tag);
}

/* ---- Removing -------------------------------------------------------------------------------- */

/*
 * Returns true if a source is removed together with `removed`: it is that source, or a topic that
 * was accepted from that channel.
 */
static bool goes_with(const struct source *source, const struct source *removed)
{
	return is_same(source, removed) || (source->accepted && beam_topic_channel(source->topic) == removed->channel);
}

/*
 * Returns true if some of the removed sources still exist, because their messages are on their way.
 * The lock is held.
 */
static bool lingers(const struct beam_router *router, const struct source *removed)
{
	for (struct list *link = router->sources.next; link != &router->sources; link = link->next) {
		const struct source *source = list_entry(link, struct source, of_router);

		if (source->removed && goes_with(source, removed))
			return true;
	}
	return false;
}

/*
 * Marks the sources that are removed together with `removed`, and moves them to `gone`, except
 * those whose message is on its way. Returns false if there are none. The lock is held.
 */
static bool mark_removed(struct beam_router *router, const struct source *removed, struct list *gone)
{
	struct list *link = router->sources.next;
	bool found = false;

	while (link != &router->sources) {
		struct source *source = list_entry(link, struct source, of_router);

		link = link->next;
		if (!goes_with(source, removed))
			continue;
		found = true;
		source->removed = true;
		if (source->running || source->held)
			continue;
		if (source->state == SOURCE_IDLE)
			source_unwatch(router, source);
		/*
		 * The thread on the selector may have been told of it, and will find that it has
		 * ended.
		 */
		source->state = SOURCE_ENDED;
		list_remove(&source->link);
		list_remove(&source->of_router);
		list_append(gone, &source->of_router);
	}
	return found;
}

/*
 * Releases sources that are in none of the router's lists any more. The lock is held before and
 * after, but not meanwhile.
 */
static void let_go(struct beam_router *router, struct list *gone)
{
	pthread_mutex_unlock(&router->lock);
	for (struct list *link = gone->next; link != gone; link = link->next)
		source_release(list_entry(link, struct source, of_router));
	pthread_mutex_lock(&router->lock);
	list_splice(&router->gone, gone);
	/* Their memory is kept while a thread may return from the selector with their addresses. */
	if (!router->leading)
		sources_free_gone(router);
	router_changed(router);
}

static int router_remove(struct beam_router *router, const struct source *removed, beam_deadline deadline)
{
	int r = router_check(router);
	bool found, left;
	struct list gone;

	if (!r && !removed->channel && !removed->topic && !removed->listener)
		r = -EINVAL;
	if (r < 0)
		return r;
	list_init(&gone);
	pthread_mutex_lock(&router->lock);
	found = mark_removed(router, removed, &gone);
	let_go(router, &gone);
	while ((left = lingers(router, removed)) && r == 0)
		r = condition_wait(&router->changed, &router->lock, deadline);
	pthread_mutex_unlock(&router->lock);
	return !found ? -ENOENT : left ? r : 0;
}

int beam_router_remove_topic(beam_router *router, beam_topic *topic, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;

	return router_remove(router, &(struct source){.topic = topic}, deadline);
}

int beam_router_remove_channel(beam_router *router, beam_channel *channel, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;

	return router_remove(router, &(struct source){.channel = channel}, deadline);
}

int beam_router_remove_listener(beam_router *router, beam_listener *listener, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;

	return router_remove(router, &(struct source){.listener = listener}, deadline);
}
