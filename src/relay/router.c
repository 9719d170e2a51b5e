/* SPDX-License-Identifier: MIT */
/* The router: its life, and the threads that run it. */
#include <base/annotate.h>
#include <base/clock.h>
#include <base/sys.h>
#include <base/thread.h>
#include <errno.h>
#include <relay/internal.h>

/* The most members that are taken from the selector at once. */
enum { READY_MAX = 16 };

int router_check(const struct beam_router *router)
{
	return !router ? -EINVAL : router->process != process_id() ? -ECHILD : 0;
}

/* ---- Life ------------------------------------------------------------------------------------ */

static int router_open_fds(struct beam_router *router)
{
	int r = beam_select_new(&router->select);

	if (r < 0)
		return r;
	router->timer = sys_timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (router->timer < 0)
		return -errno;
	return beam_select_add_fd(router->select, router->timer, POLLIN, NULL);
}

static void router_free(struct beam_router *router)
{
	struct list *next;

	beam_select_unref(router->select);
	if (router->timer >= 0)
		close(router->timer);
	for (struct list *link = router->sources.next; link != &router->sources; link = next) {
		next = link->next;
		source_free(list_entry(link, struct source, of_router));
	}
	routes_free(router);
	condition_end(&router->changed);
	pthread_mutex_destroy(&router->lock);
	free(router);
}

int beam_router_new(beam_router **ret)
{
	WITHOUT_CANCELLATION;
	struct beam_router *router;
	int r;

	if (!ret)
		return -EINVAL;
	r = process_prepare();
	if (r < 0)
		return r;
	router = sys_calloc(1, sizeof *router);
	if (!router)
		return -ENOMEM;
	router->process = process_id();
	router->handles = 1;
	router->timer = -1;
	pthread_mutex_init(&router->lock, NULL);
	condition_init(&router->changed);
	list_init(&router->routes);
	list_init(&router->sources);
	list_init(&router->ready);
	list_init(&router->stalled);
	list_init(&router->gone);
	annotate_atomic(&router->stopped);
	r = router_open_fds(router);
	if (r < 0) {
		router_free(router);
		return r;
	}
	*ret = router;
	return 0;
}

beam_router *beam_router_ref(beam_router *router)
{
	if (router_check(router) == 0) {
		pthread_mutex_lock(&router->lock);
		router->handles++;
		pthread_mutex_unlock(&router->lock);
	}
	return router;
}

beam_router *beam_router_unref(beam_router *router)
{
	WITHOUT_CANCELLATION;
	bool last;

	if (router_check(router) < 0)
		return NULL;
	pthread_mutex_lock(&router->lock);
	last = --router->handles == 0;
	pthread_mutex_unlock(&router->lock);
	if (last)
		router_free(router);
	return NULL;
}

/* ---- Waiting --------------------------------------------------------------------------------- */

void router_set_timer(struct beam_router *router, long ms)
{
	struct itimerspec time = {.it_value = {.tv_nsec = ms * 1000 * 1000}};

	router->timed = true;
	/* With this timer and this time it cannot fail. */
	timerfd_settime(router->timer, 0, &time, NULL);
}

/* The lock is held. If the read fails, the descriptor stays readable, and this is done again. */
static void clear_timer(struct beam_router *router)
{
	uint64_t times;

	if (sys_read(router->timer, &times, sizeof times) > 0)
		router->timed = false;
}

void router_changed(struct beam_router *router)
{
	router_set_timer(router, 1);
	pthread_cond_broadcast(&router->changed);
}

/* The lock is held. */
static void make_ready(struct beam_router *router, struct source *source)
{
	list_remove(&source->link);
	source->state = SOURCE_READY;
	list_append(&router->ready, &source->link);
}

/*
 * The sources that wait for room at `target`, or for the timer if it is NULL, try again. The lock
 * is held.
 */
static void wake_stalled(struct beam_router *router, beam_topic *target)
{
	struct list *link = router->stalled.next;

	while (link != &router->stalled) {
		struct source *source = list_entry(link, struct source, link);

		link = link->next;
		if (source->target != target)
			continue;
		source->by_room = target != NULL;
		source->target = beam_topic_unref(source->target);
		make_ready(router, source);
	}
}

void router_reconsider(struct beam_router *router)
{
	/*
	 * The targets stay members of the selector, which has handles of its own, until they are
	 * reported. Another thread may have got such a report already.
	 */
	for (struct list *link = router->stalled.next; link != &router->stalled; link = link->next) {
		struct source *source = list_entry(link, struct source, link);

		source->target = beam_topic_unref(source->target);
	}
	router_set_timer(router, 1);
}

/* The lock is held. */
static void router_wake(struct beam_router *router, const struct beam_select_ready *ready)
{
	struct source *source = ready->tag;

	if (!source) {
		clear_timer(router);
		wake_stalled(router, NULL);
	} else if (ready->what == BEAM_SELECT_SEND) {
		beam_select_remove_topic(router->select, ready->tag, BEAM_SELECT_SEND);
		wake_stalled(router, ready->tag);
	} else if (source->state == SOURCE_IDLE) {
		/* A source in another state was removed meanwhile, or reported twice. */
		source_unwatch(router, source);
		source->by_room = ready->what == BEAM_SELECT_FD;
		source->cancelled = ready->what == BEAM_SELECT_CANCELLED;
		make_ready(router, source);
	}
}

/*
 * Waits on the selector for all threads. Returns 0 or an error. The lock is held before and after.
 */
static int router_lead(struct beam_router *router, beam_deadline deadline)
{
	struct beam_select_ready ready[READY_MAX];
	ssize_t n;

	router->leading = true;
	pthread_mutex_unlock(&router->lock);
	n = beam_select_wait(router->select, ready, READY_MAX, deadline);
	pthread_mutex_lock(&router->lock);
	router->leading = false;
	for (ssize_t i = 0; i < n; i++)
		router_wake(router, &ready[i]);
	sources_free_gone(router);
	pthread_cond_broadcast(&router->changed);
	return n < 0 ? (int)n : 0;
}

/* Returns true if there is no reason to go on. The lock is held. */
static bool router_is_over(const struct beam_router *router, unsigned flags)
{
	return router->stopped || ((flags & BEAM_ROUTER_UNTIL_ENDED) && list_empty(&router->sources));
}

/*
 * Returns 1 and a source whose turn it is, 0 if there is no reason to go on, or an error. The lock
 * is held.
 */
static int next_source(struct beam_router *router, struct source **ret, unsigned flags, beam_deadline deadline)
{
	int r = 0;

	for (;;) {
		struct list *link;

		if (router_is_over(router, flags))
			return 0;
		link = list_take_first(&router->ready);
		if (link) {
			*ret = list_entry(link, struct source, link);
			(*ret)->running = true;
			ways_forget(router, *ret);
			return 1;
		}
		if (r < 0)
			return r;
		r = router->leading ? condition_wait(&router->changed, &router->lock, deadline)
				    : router_lead(router, deadline);
	}
}

/* ---- Running --------------------------------------------------------------------------------- */

static void router_tell(struct source *source, struct beam_router_failure *ret)
{
	ret->message = source->held;
	source->held = NULL;
	ret->request = source->request;
	source->request = NULL;
	ret->topic = beam_topic_ref(source->topic);
	ret->channel = beam_channel_ref(source->channel);
	ret->tag = source->tag;
}

/* Runs a source's turn. Returns 0, or what failed. The lock is held before and after. */
static int router_take_turn(struct beam_router *router, struct source *source, struct beam_router_failure *ret,
			    beam_deadline deadline)
{
	int r;

	pthread_mutex_unlock(&router->lock);
	r = source->call    ? turn_of_call(source, deadline)
	    : source->topic ? turn_of_topic(router, source, deadline)
			    : turn_accept(router, source);
	if (r < 0)
		router_tell(source, ret);
	pthread_mutex_lock(&router->lock);
	if (source_settle(router, source)) {
		pthread_mutex_unlock(&router->lock);
		source_free(source);
		pthread_mutex_lock(&router->lock);
	}
	return r;
}

int beam_router_run(beam_router *router, struct beam_router_failure *ret, unsigned flags, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	struct source *source;
	int r = router_check(router);

	if (r < 0 || !ret || (flags & ~(unsigned)BEAM_ROUTER_UNTIL_ENDED))
		return r < 0 ? r : -EINVAL;
	*ret = (struct beam_router_failure){0};
	pthread_mutex_lock(&router->lock);
	do {
		r = next_source(router, &source, flags, deadline);
		if (r <= 0)
			break;
		r = router_take_turn(router, source, ret, deadline);
		/* Even if the sources always have messages, the function ends at its deadline. */
		if (r == 0 && deadline_passed(deadline) && !router_is_over(router, flags))
			r = deadline_error(deadline);
	} while (r == 0);
	pthread_mutex_unlock(&router->lock);
	return r;
}

int beam_router_stop(beam_router *router)
{
	WITHOUT_CANCELLATION;
	int r = router_check(router);

	if (r < 0)
		return r;
	pthread_mutex_lock(&router->lock);
	router->stopped = true;
	router_changed(router);
	pthread_mutex_unlock(&router->lock);
	return 0;
}
