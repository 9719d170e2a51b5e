/* SPDX-License-Identifier: MIT */
/*
 * The channels of this process, for a fork, after which the child must not hold the parent's sockets open. Its end is exit.c's.
 */
#include <base/process.h>
#include <channel/internal.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list links = {&links, &links};
/* The thread is started under the lock: a fork and the end of the process find a channel that stands, or none. */
int process_add(struct beam_channel *channel)
{
	int r = 0;

	pthread_mutex_lock(&lock);
	if (!channel->options.loop)
		r = thread_start(standby_run, channel, "beam");
	if (r == 0)
		list_append(&links, &channel->of_process);
	pthread_mutex_unlock(&lock);
	return r;
}

void process_finished(struct beam_channel *channel)
{
	pthread_mutex_lock(&lock);
	if (!channel->held_to_end)
		list_remove(&channel->of_process);
	pthread_mutex_unlock(&lock);
}

void process_remove(struct beam_channel *channel)
{
	pthread_mutex_lock(&lock);
	list_remove(&channel->of_process);
	pthread_mutex_unlock(&lock);
}

/* Forgets those of a parent that this process was made from by a clone(2), which no handler sees: their descriptors are
 * not its own any more. It may have closed all of them, and have opened others under the same numbers. */
static void links_forget_foreign(void)
{
	struct list *next;

	for (struct list *link = links.next; link != &links; link = next) {
		next = link->next;
		if (channel_foreign(list_entry(link, struct beam_channel, of_process)))
			list_remove(link);
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

/* The child's copies are of no use to it, and would keep the other side from seeing the parent's end. */
static void links_fork_ends_in_child(void)
{
	struct list *link;

	while ((link = list_take_first(&links))) {
		struct beam_channel *channel = list_entry(link, struct beam_channel, of_process);

		close(transport_fd(&channel->transport));
		/* What a loop is still to let go has no more than the socket. */
		if (channel->finished)
			continue;
		close_fd(channel->epoll);
		close_fd(channel->nudge);
		close_fd(channel->kick);
	}
	pthread_mutex_unlock(&lock);
}

void process_take_all(struct list *ret, bool (*hold)(struct beam_channel *))
{
	struct list *node;

	pthread_mutex_lock(&lock);
	while ((node = list_take_first(&links))) {
		struct beam_channel *channel = list_entry(node, struct beam_channel, of_process);

		if (channel_foreign(channel) || !hold(channel))
			continue;
		channel->held_to_end = true;
		list_append(ret, node);
	}
	pthread_mutex_unlock(&lock);
}

void process_keep(struct list *list, struct beam_channel *channel)
{
	pthread_mutex_lock(&lock);
	list_append(list, &channel->of_process);
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
