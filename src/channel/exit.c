/* SPDX-License-Identifier: MIT */
/*
 * The end of the process: before it, what channels have accepted must be sent.
 */
#include <base/process.h>
#include <channel/internal.h>

/* Those that are being closed, and those that the program still holds, so that a checker of memory finds them held. The first list
 * belongs to the thread that ends the process. */
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

/* At the end of the process, before base waits for the threads: they end when their channels are closed. */
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
