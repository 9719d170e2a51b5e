/* SPDX-License-Identifier: MIT */
/*
 * The listeners of this process, for the two events that concern all of them: a fork, after which
 * the child must hold neither the parent's sockets nor its locks, and the end of the process, when
 * the addresses are released.
 */
#include <base/process.h>
#include <listener/internal.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list listeners = {&listeners, &listeners};
/*
 * At the end of the process: the listeners that the program still holds, so that a leak checker can
 * reach them.
 */
static struct list ended = {&ended, &ended};

void listener_process_add(struct beam_listener *listener)
{
	pthread_mutex_lock(&lock);
	list_append(&listeners, &listener->of_process);
	pthread_mutex_unlock(&lock);
}

void listener_process_remove(struct beam_listener *listener)
{
	pthread_mutex_lock(&lock);
	list_remove(&listener->of_process);
	pthread_mutex_unlock(&lock);
}

/*
 * Forgets the listeners of the parent if this process was made by clone(2), which runs no fork
 * handler. Their descriptors do not belong to this process any more, and their locks may be held by
 * threads that do not exist here.
 */
static void listeners_forget_foreign(void)
{
	struct list *next;

	for (struct list *link = listeners.next; link != &listeners; link = next) {
		next = link->next;
		if (listener_foreign(list_entry(link, struct beam_listener, of_process)))
			list_remove(link);
	}
}

static void listeners_fork_begins(void)
{
	pthread_mutex_lock(&lock);
	listeners_forget_foreign();
	/* With their locks held, no descriptor is just being opened or closed. */
	for (struct list *link = listeners.next; link != &listeners; link = link->next)
		pthread_mutex_lock(&list_entry(link, struct beam_listener, of_process)->lock);
}

static void listeners_fork_ends_in_parent(void)
{
	for (struct list *link = listeners.next; link != &listeners; link = link->next)
		pthread_mutex_unlock(&list_entry(link, struct beam_listener, of_process)->lock);
	pthread_mutex_unlock(&lock);
}

/*
 * If the child kept its copies, the address would stay in use after the parent's end: by the lock,
 * by the abstract name, or by a socket on which nobody accepts.
 */
static void listeners_fork_ends_in_child(void)
{
	struct list *link;

	while ((link = list_take_first(&listeners))) {
		struct beam_listener *listener = list_entry(link, struct beam_listener, of_process);

		close_fd(listener->fd);
		close_fd(listener->place.lock);
		close_fd(listener->place.folder);
		close_fd(listener->kick);
		close_fd(listener->epoll);
		close_fd(listener->reserve);
		pthread_mutex_unlock(&listener->lock);
	}
	pthread_mutex_unlock(&lock);
}

/* Runs at the end of the process, before the channels end. */
static void listeners_end(void)
{
	struct list *link;

	pthread_mutex_lock(&lock);
	while ((link = list_take_first(&listeners))) {
		struct beam_listener *listener = list_entry(link, struct beam_listener, of_process);

		if (listener_foreign(listener))
			continue;
		list_append(&ended, link);
		pthread_mutex_lock(&listener->lock);
		listener->memory++;
		pthread_mutex_unlock(&listener->lock);
		pthread_mutex_unlock(&lock);
		listener_close(listener, process_end_within(CLOSE_MS));
		listener_memory_unref(listener);
		pthread_mutex_lock(&lock);
	}
	pthread_mutex_unlock(&lock);
}

static const struct process_events listeners_process_events = {
    .fork_begins = listeners_fork_begins,
    .fork_ends_in_parent = listeners_fork_ends_in_parent,
    .fork_ends_in_child = listeners_fork_ends_in_child,
    .ends = listeners_end,
};

/*
 * Listeners end before channels, so that what is accepted at the end is closed with the channels.
 */
__attribute__((constructor(102))) static void listeners_begin(void)
{
	process_heed(PROCESS_LISTENERS, &listeners_process_events);
}
