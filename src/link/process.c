/* SPDX-License-Identifier: MIT */
/*
 * The links of this process, for a fork, after which the child must not hold the parent's sockets
 * open. At the end of the process their owners close them.
 */
#include <base/process.h>
#include <link/link.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list links = {&links, &links};
/*
 * The thread is started under the lock: a fork and the end of the process find a
 * link that stands, or none.
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
 * Forgets those of a parent that this process was made from by a clone(2), which no handler sees:
 * their descriptors are not its own any more. It may have closed all of them, and have opened
 * others under the same numbers.
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

/*
 * The child's copies are of no use to it, and would keep the other side from seeing the parent's
 * end.
 */
static void links_fork_ends_in_child(void)
{
	struct list *node;

	while ((node = list_take_first(&links))) {
		struct link *link = list_entry(node, struct link, of_process);

		close(transport_fd(&link->transport));
		/* What a loop is still to let go has no more than the socket. */
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
