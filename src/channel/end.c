/* SPDX-License-Identifier: MIT */
/*
 * Ends: what a link tells its channel, which is mostly of an end; and the end of the process,
 * before which what channels have accepted must be sent.
 */
#include <base/process.h>
#include <channel/internal.h>

/* ---- What the link tells --------------------------------------------------------------------- */

/* Every receiver is told, once what arrived has been taken. */
static void on_reading_ended(void *owner, int end)
{
	struct beam_channel *channel = owner;

	pthread_mutex_lock(&channel->lock);
	if (channel->read_end == NOT_ENDED)
		channel->read_end = end;
	for (struct list *link = channel->topics.next; link != &channel->topics; link = link->next) {
		struct beam_topic *topic = list_entry(link, struct beam_topic, of_channel);

		inbox_end_reading(&topic->inbox, channel->read_end);
	}
	channel_show(channel);
	end = channel->read_end;
	sleepers_wake_all(&channel->link, &channel->changed);
	pthread_mutex_unlock(&channel->lock);
	/* A call that was not answered has not ended in order. */
	calls_end_reading(channel, end ? end : -EPIPE);
}

static void on_writing_changed(void *owner)
{
	rooms_show_all(owner);
}

static void forget_topics(struct beam_channel *channel)
{
	struct rx *rx = &channel->link.reader.rx;

	for (uint32_t id = 1; id <= rx->capacity_inlets; id++) {
		struct inbox *inbox = rx->inlets[id] ? rx->inlets[id]->owner : NULL;

		if (inbox) {
			rx->inlets[id]->owner = NULL;
			topic_memory_unref(list_entry(inbox, struct beam_topic, inbox));
		}
	}
	pthread_mutex_lock(&channel->link.writer.lock);
	tx_release_all(&channel->link.writer.tx);
	pthread_mutex_unlock(&channel->link.writer.lock);
}

static void on_finished(void *owner)
{
	struct beam_channel *channel = owner;

	forget_topics(channel);
	rx_finish(&channel->link.reader.rx);
	calls_forget(channel);
	if (channel->hook.ended)
		channel->hook.ended(channel->hook.argument);
}

static void on_unref(void *owner, unsigned n)
{
	channel_memory_unref_many(owner, n);
}

const struct link_events channel_link_events = {
    .reading_ended = on_reading_ended,
    .writing_changed = on_writing_changed,
    .finished = on_finished,
    .unref = on_unref,
};

/* ---- The end of the process ------------------------------------------------------------------ */

/*
 * Those that are being closed, and those that the program still holds, so that a checker of memory
 * finds them held. The first list belongs to the thread that ends the process.
 */
static struct list closing = {&closing, &closing}, ended = {&ended, &ended};

/* Each channel in turn is waited for so long. One whose loop runs no more goes on only then. */
enum { TURN_MS = 10 };

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
	link_hurry(&channel->link);
	process_keep(&ended, &channel->link);
	channel_memory_unref(channel);
}

static bool hold_channel(void *owner)
{
	return channel_memory_ref_if_held(owner);
}

/*
 * At the end of the process, before base waits for the threads: they end when
 * their channels are closed.
 */
static void channels_end(void)
{
	struct list *link;

	process_take_all(&closing, hold_channel);
	/* All begin to close at the same time. */
	for (link = closing.next; link != &closing; link = link->next)
		link_close(list_entry(link, struct link, of_process));
	while ((link = list_take_first(&closing))) {
		struct beam_channel *channel = list_entry(link, struct beam_channel, link.of_process);

		if (goes_on(channel))
			list_append(&closing, link);
		else
			channels_let_go(channel);
	}
}

static const struct process_events channels_process_events = {.ends = channels_end};

__attribute__((constructor(102))) static void channels_begin(void)
{
	process_heed(PROCESS_CHANNELS, &channels_process_events);
}
