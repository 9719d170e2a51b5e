/* SPDX-License-Identifier: MIT */
/*
 * Those who wait for something of a channel, and what brings a leader, who reads instead of sleeping, back from poll: a kick.
 */
#include <base/sys.h>
#include <channel/waiter.h>

void sleepers_init(struct sleepers *sleepers)
{
	list_init(&sleepers->list);
	sleepers->changes = 0;
}

void sleepers_wake(struct beam_channel *channel, struct sleepers *sleepers, size_t n)
{
	struct list *next;

	sleepers->changes++;
	for (struct list *link = sleepers->list.next; n && link != &sleepers->list; link = next, n--) {
		struct waiter *waiter = list_entry(link, struct waiter, link);

		next = link->next;
		if (waiter->leading)
			continue;
		waiter_wake(waiter);
		atomic_store_explicit(&channel->woke, WOKE_SOMEBODY, memory_order_relaxed);
	}
}

static void kick(struct beam_channel *channel)
{
	int fd = atomic_load(&channel->kick);

	if (fd >= 0)
		event_set(fd);
}

void sleepers_wake_all(struct beam_channel *channel, struct sleepers *sleepers)
{
	struct list *next;

	sleepers->changes++;
	for (struct list *link = sleepers->list.next; link != &sleepers->list; link = next) {
		struct waiter *waiter = list_entry(link, struct waiter, link);

		next = link->next;
		if (!waiter->leading)
			waiter_wake(waiter);
		else if (!pthread_equal(waiter->thread, pthread_self()))
			kick(channel);
	}
}

void baton_kick_for_good(struct beam_channel *channel)
{
	atomic_store(&channel->kicked, true);
	kick(channel);
}

int baton_kick(struct beam_channel *channel)
{
	int kick = atomic_load(&channel->kick), fd;

	if (kick >= 0)
		return kick;
	fd = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -1;
	if (!atomic_compare_exchange_strong(&channel->kick, &kick, fd)) {
		close(fd);
		return kick;
	}
	/* Who kicked for good before it was there could not. */
	if (atomic_load(&channel->kicked))
		event_set(fd);
	return fd;
}

void baton_drain_kick(struct beam_channel *channel)
{
	uint64_t count;

	if (atomic_load(&channel->kicked) || sys_read(channel->kick, &count, sizeof count) < 0)
		return;
	if (atomic_load(&channel->kicked))
		event_set(channel->kick);
}
