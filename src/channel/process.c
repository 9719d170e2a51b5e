/* SPDX-License-Identifier: MIT */
/*
 * The channels of this process, for the two moments when all of them matter: a fork, after which the child must not hold the parent's
 * sockets open, and the end of the process, before which what was accepted must be sent.
 */
#include <base/process.h>
#include <channel/internal.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list channels = {&channels, &channels};
/* At the end of the process: those that are being closed, and those that the program still holds, so that a checker of
 * memory finds them held. The first list belongs to the thread that ends the process. */
static struct list closing = {&closing, &closing}, ended = {&ended, &ended};

/* At the end of the process each channel in turn is waited for so long. One whose loop runs no more goes on only then. */
enum { TURN_MS = 10 };

/* The thread is started under the lock: a fork and the end of the process find a channel that stands, or none. */
int process_add(struct beam_channel *channel)
{
	int r = 0;

	pthread_mutex_lock(&lock);
	if (!channel->options.loop)
		r = thread_start(standby_run, channel, "beam");
	if (r == 0)
		list_append(&channels, &channel->of_process);
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
static void channels_forget_foreign(void)
{
	struct list *next;

	for (struct list *link = channels.next; link != &channels; link = next) {
		next = link->next;
		if (channel_foreign(list_entry(link, struct beam_channel, of_process)))
			list_remove(link);
	}
}

static void channels_fork_begins(void)
{
	pthread_mutex_lock(&lock);
	channels_forget_foreign();
}

static void channels_fork_ends_in_parent(void)
{
	pthread_mutex_unlock(&lock);
}

/* The child's copies are of no use to it, and would keep the other side from seeing the parent's end. */
static void channels_fork_ends_in_child(void)
{
	struct list *link;

	while ((link = list_take_first(&channels))) {
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

/* All but those that other threads are about to free, which wait for the lock to take them out of the list. */
static void channels_hold(void)
{
	struct list *link;

	pthread_mutex_lock(&lock);
	while ((link = list_take_first(&channels))) {
		struct beam_channel *channel = list_entry(link, struct beam_channel, of_process);

		if (channel_foreign(channel) || !channel_memory_ref_if_held(channel))
			continue;
		channel->held_to_end = true;
		list_append(&closing, link);
	}
	pthread_mutex_unlock(&lock);
}

/* False once what was accepted has been sent, or there is no time left. */
static bool goes_on(struct beam_channel *channel)
{
	beam_deadline last = process_end_within(channel->options.linger_ms);
	beam_deadline turn = deadline_earlier(last, beam_in_ms(TURN_MS));

	return beam_channel_close(channel, turn) == -ETIMEDOUT && !deadline_passed(last);
}

/* Nobody is left to receive what the other side may still say. */
static void channels_let_go(struct beam_channel *channel)
{
	pthread_mutex_lock(&channel->tx_lock);
	channel->linger_until = beam_in_ms(0);
	write_nudge(channel);
	pthread_mutex_unlock(&channel->tx_lock);
	pthread_mutex_lock(&lock);
	list_append(&ended, &channel->of_process);
	pthread_mutex_unlock(&lock);
	channel_memory_unref(channel);
}

/* At the end of the process, before base waits for the threads: they end when their channels are closed. */
static void channels_end(void)
{
	struct list *link;

	channels_hold();
	/* All begin to close at the same time. */
	for (link = closing.next; link != &closing; link = link->next)
		channel_mark_closed(list_entry(link, struct beam_channel, of_process));
	while ((link = list_take_first(&closing))) {
		struct beam_channel *channel = list_entry(link, struct beam_channel, of_process);

		if (goes_on(channel))
			list_append(&closing, link);
		else
			channels_let_go(channel);
	}
}

static const struct process_events channels_process_events = {
    .fork_begins = channels_fork_begins,
    .fork_ends_in_parent = channels_fork_ends_in_parent,
    .fork_ends_in_child = channels_fork_ends_in_child,
    .ends = channels_end,
};

__attribute__((constructor(102))) static void channels_begin(void)
{
	process_heed(PROCESS_CHANNELS, &channels_process_events);
}
