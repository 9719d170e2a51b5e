/* SPDX-License-Identifier: MIT */
/* Routes: adding, removing, and finding the one for a message. */
#include <base/options.h>
#include <base/sys.h>
#include <base/thread.h>
#include <errno.h>
#include <relay/internal.h>
#include <string.h>

/* ---- Life ------------------------------------------------------------------------------------ */

/*
 * Frees a route that is in no list any more. No lock is held, because this calls the user's code.
 */
static void route_free(struct route *route)
{
	beam_topic_unref(route->to.topic);
	beam_channel_unref(route->to.channel);
	if (route->to.release)
		route->to.release(route->to.argument);
	free(route);
}

static void free_all(struct list *gone)
{
	struct list *next;

	for (struct list *link = gone->next; link != gone; link = next) {
		next = link->next;
		route_free(list_entry(link, struct route, link));
	}
}

/* Moves a removed route that nobody uses to `gone`. The lock is held. */
static void route_let_go(struct route *route, struct list *gone)
{
	if (!route->removed || route->uses)
		return;
	list_remove(&route->link);
	list_append(gone, &route->link);
}

void routes_free(struct beam_router *router)
{
	free_all(&router->routes);
}

/* ---- Adding and removing --------------------------------------------------------------------- */

/* Copies and checks the caller's struct, which may have another size than here. */
static int take_route(struct beam_route *ret, const struct beam_route *given)
{
	const char *text;
	int r;

	*ret = (struct beam_route){.size = sizeof *ret};
	r = given ? options_take(ret, sizeof *ret, given, offsetof(struct beam_route, name)) : -EINVAL;
	if (r < 0)
		return r;
	if ((ret->topic != NULL) + (ret->channel != NULL) + (ret->handle != NULL) != 1 || (ret->name && ret->prefix) ||
	    (ret->name && !*ret->name) || ret->sink > 1)
		return -EINVAL;
	text = ret->name ? ret->name : ret->prefix;
	return text && strnlen(text, BEAM_TOPIC_NAME_MAX + 1) > BEAM_TOPIC_NAME_MAX ? -ENAMETOOLONG : 0;
}

static struct route *route_make(const struct beam_route *to)
{
	const char *text = to->name ? to->name : to->prefix ? to->prefix : "";
	size_t size = strlen(text) + 1;
	struct route *route = sys_calloc(1, sizeof *route + size);

	if (!route)
		return NULL;
	route->to = *to;
	memcpy(route->text, text, size);
	beam_topic_ref(to->topic);
	route->to.channel = beam_channel_ref(to->channel);
	return route;
}

/* Inserts a route after those that are tried before it. The lock is held. */
static void insert(struct beam_router *router, struct route *route)
{
	struct list *before = router->routes.next;

	while (before != &router->routes && list_entry(before, struct route, link)->to.sink <= route->to.sink)
		before = before->next;
	list_append(before, &route->link);
}

int beam_router_add_route(beam_router *router, const struct beam_route *given, uint64_t *ret_id)
{
	WITHOUT_CANCELLATION;
	struct beam_route to;
	struct route *route;
	int r = router_check(router);

	if (r < 0)
		return r;
	r = take_route(&to, given);
	if (r < 0)
		return r;
	route = route_make(&to);
	if (!route)
		return -ENOMEM;
	if (to.channel && !route->to.channel) {
		free(route);
		return -EPIPE;
	}
	pthread_mutex_lock(&router->lock);
	route->id = ++router->last_id;
	insert(router, route);
	if (ret_id)
		*ret_id = route->id;
	pthread_mutex_unlock(&router->lock);
	return 0;
}

/* The lock is held. */
static struct route *find_id(const struct beam_router *router, uint64_t id)
{
	for (struct list *link = router->routes.next; link != &router->routes; link = link->next) {
		struct route *route = list_entry(link, struct route, link);

		if (route->id == id && !route->removed)
			return route;
	}
	return NULL;
}

int beam_router_remove_route(beam_router *router, uint64_t id)
{
	WITHOUT_CANCELLATION;
	struct route *route;
	struct list gone;
	int r = router_check(router);

	if (r < 0)
		return r;
	list_init(&gone);
	pthread_mutex_lock(&router->lock);
	route = find_id(router, id);
	if (route) {
		route->removed = true;
		router->generation++;
		router_reconsider(router);
		route_let_go(route, &gone);
	}
	pthread_mutex_unlock(&router->lock);
	free_all(&gone);
	return route ? 0 : -ENOENT;
}

bool route_stands(const struct beam_router *router, uint64_t id)
{
	return find_id(router, id) != NULL;
}

/* ---- Finding --------------------------------------------------------------------------------- */

static bool name_fits(const struct route *route, const char *topic)
{
	if (route->to.name)
		return strcmp(topic, route->text) == 0;
	return strncmp(topic, route->text, strlen(route->text)) == 0;
}

/*
 * Calls the route's predicate, if there is one. The lock is held before and after, but not during
 * the call.
 */
static bool wants(struct beam_router *router, const struct route *route, const char *topic, const beam_message *message)
{
	bool yes;

	if (!route->to.match)
		return true;
	pthread_mutex_unlock(&router->lock);
	yes = route->to.match(route->to.argument, topic, message);
	pthread_mutex_lock(&router->lock);
	return yes && !route->removed;
}

struct route *route_find(struct beam_router *router, const char *topic, const beam_message *message)
{
	struct route *found = NULL;
	struct list gone, *link;

	list_init(&gone);
	pthread_mutex_lock(&router->lock);
	for (link = router->routes.next; !found && link != &router->routes;) {
		struct route *route = list_entry(link, struct route, link);

		if (route->removed || !name_fits(route, topic)) {
			link = link->next;
			continue;
		}
		route->uses++;
		if (wants(router, route, topic, message)) {
			found = route;
		} else {
			link = link->next;
			route->uses--;
			route_let_go(route, &gone);
		}
	}
	pthread_mutex_unlock(&router->lock);
	free_all(&gone);
	return found;
}

void route_done(struct beam_router *router, struct route *route)
{
	struct list gone;

	list_init(&gone);
	pthread_mutex_lock(&router->lock);
	route->uses--;
	route_let_go(route, &gone);
	pthread_mutex_unlock(&router->lock);
	free_all(&gone);
}
