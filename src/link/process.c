/* SPDX-License-Identifier: MIT */
/*
 * The list of this process's links. After a fork the child must not hold the parent's sockets open.
 * At the end of the process the links are closed by their owners.
 */
#include <base/process.h>
#include <link/link.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list links = {&links, &links};
/*
 * The thread is started under the lock, so that a fork, or the end of the process, finds either a
 * complete link or none.
 */
int process_add(struct link *link)
{
	int r = 0;

	pthread_mutex_lock(&lock);
	if (!link->options.loop)
		r = thread_start(standby_run, link, "beam");
	if (r == 0)
		list_append(&links, &link->of_process);
	pthread_mutex_unlock(&lock);
	return r;
}

void process_finished(struct link *link)
{
	pthread_mutex_lock(&lock);
	if (!link->held_to_end)
		list_remove(&link->of_process);
	pthread_mutex_unlock(&lock);
}

void process_remove(struct link *link)
{
	pthread_mutex_lock(&lock);
	list_remove(&link->of_process);
	pthread_mutex_unlock(&lock);
}

/*
 * Forgets the links of the parent if this process was made by clone(2), which runs no fork
 * handlers. Their descriptors no longer belong to it: the process may have closed all of them, and
 * have opened others under the same numbers.
 */
static void links_forget_foreign(void)
{
	struct list *next;

	for (struct list *node = links.next; node != &links; node = next) {
		next = node->next;
		if (link_foreign(list_entry(node, struct link, of_process)))
			list_remove(node);
	}
}

static void links_fork_begins(void)
{
	pthread_mutex_lock(&lock);
	links_forget_foreign();
}

static void links_fork_ends_in_parent(void)
{
	pthread_mutex_unlock(&lock);
}

/* The child's copies are useless, and would keep the peer from seeing the parent's end. */
static void links_fork_ends_in_child(void)
{
	struct list *node;

	while ((node = list_take_first(&links))) {
		struct link *link = list_entry(node, struct link, of_process);

		close(transport_fd(&link->transport));
		/* A finished link that its loop has yet to release has only the socket. */
		if (link->writer.finished)
			continue;
		close_fd(link->thread.epoll);
		close_fd(link->thread.nudge);
		close_fd(link->reader.kick);
	}
	pthread_mutex_unlock(&lock);
}

void process_take_all(struct list *ret, bool (*hold)(void *owner))
{
	struct list *node;

	pthread_mutex_lock(&lock);
	while ((node = list_take_first(&links))) {
		struct link *link = list_entry(node, struct link, of_process);

		if (link_foreign(link) || !hold(link->owner))
			continue;
		link->held_to_end = true;
		list_append(ret, node);
	}
	pthread_mutex_unlock(&lock);
}

void process_keep(struct list *list, struct link *link)
{
	pthread_mutex_lock(&lock);
	list_append(list, &link->of_process);
	pthread_mutex_unlock(&lock);
}

static const struct process_events links_process_events = {
    .fork_begins = links_fork_begins,
    .fork_ends_in_parent = links_fork_ends_in_parent,
    .fork_ends_in_child = links_fork_ends_in_child,
};

__attribute__((constructor(102))) static void links_begin(void)
{
	process_heed(PROCESS_LINKS, &links_process_events);
}
