/* SPDX-License-Identifier: MIT */
/*
 * The threads that wait for something of a link, and the kick. The kick wakes a leading thread,
 * which waits in poll for the socket.
 */
#include <base/sys.h>
#include <link/waiter.h>

void sleepers_init(struct sleepers *sleepers)
{
	list_init(&sleepers->list);
	sleepers->changes = 0;
}

void sleepers_wake(struct link *link, struct sleepers *sleepers, size_t n)
{
	struct list *next;

	sleepers->changes++;
	for (struct list *node = sleepers->list.next; n && node != &sleepers->list; node = next, n--) {
		struct waiter *waiter = list_entry(node, struct waiter, link);

		next = node->next;
		if (waiter->leading)
			continue;
		waiter_wake(waiter);
		atomic_store_explicit(&link->reader.woke, WOKE_SOMEBODY, memory_order_relaxed);
	}
}

static void kick(struct link *link)
{
	int fd = atomic_load(&link->reader.kick);

	if (fd >= 0)
		event_set(fd);
}

void sleepers_wake_all(struct link *link, struct sleepers *sleepers)
{
	struct list *next;

	sleepers->changes++;
	for (struct list *node = sleepers->list.next; node != &sleepers->list; node = next) {
		struct waiter *waiter = list_entry(node, struct waiter, link);

		next = node->next;
		if (!waiter->leading)
			waiter_wake(waiter);
		else if (!pthread_equal(waiter->thread, pthread_self()))
			kick(link);
	}
}

void baton_kick_for_good(struct link *link)
{
	atomic_store(&link->reader.kicked, true);
	kick(link);
}

int baton_kick(struct link *link)
{
	int kick = atomic_load(&link->reader.kick), fd;

	if (kick >= 0)
		return kick;
	fd = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -1;
	if (!atomic_compare_exchange_strong(&link->reader.kick, &kick, fd)) {
		close(fd);
		return kick;
	}
	/* A kick for good that came before the descriptor was there could not set it. */
	if (atomic_load(&link->reader.kicked))
		event_set(fd);
	return fd;
}

void baton_drain_kick(struct link *link)
{
	uint64_t count;

	if (atomic_load(&link->reader.kicked) || sys_read(link->reader.kick, &count, sizeof count) < 0)
		return;
	if (atomic_load(&link->reader.kicked))
		event_set(link->reader.kick);
}
