/* SPDX-License-Identifier: MIT */
/*
 * How channels end: the events of a link, most of which report an end; and the end of the process,
 * before which the messages that channels have accepted must be sent.
 */
#include <base/process.h>
#include <channel/internal.h>

/* ---- Events of the link ---------------------------------------------------------------------- */

/* Receives return `end` once everything that arrived has been taken. */
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
	/* For a call that was not answered, even an orderly end is an error. */
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
 * `closing`: the channels that are being closed; it belongs to the thread that ends the process.
 * `ended`: the channels that the program still holds, so that a leak checker can reach them.
 */
static struct list closing = {&closing, &closing}, ended = {&ended, &ended};

/*
 * How long one channel is waited for before the next one. A channel that was driven by an event
 * loop makes progress only during its own turn, because the loop no longer runs.
 */
enum { TURN_MS = 10 };

/*
 * Waits for one turn. Returns false once everything that was accepted has been sent or cannot be
 * sent, and when there is no time left.
 */
static bool goes_on(struct beam_channel *channel)
{
	beam_deadline last = process_end_within(channel->options.linger_ms);
	beam_deadline turn = deadline_earlier(last, beam_in_ms(TURN_MS));

	return beam_channel_close(channel, turn) == -ETIMEDOUT && !deadline_passed(last);
}

/* Nobody is left to receive what the peer may still send. */
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
 * Runs at the end of the process, before base waits for the library's threads. These end when their
 * channels are closed.
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
