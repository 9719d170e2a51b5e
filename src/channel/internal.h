/* SPDX-License-Identifier: MIT */
/*
 * The internals of a channel: topics, calls, replies and their queues, on top of a link.
 *
 * Locks, in the order in which they are taken:
 *
 * - the reading right's lock (the link's; taken rarely, except to wait),
 * - a channel's `lock` (names and handles; taken rarely),
 * - an inbox's `lock` (the queue of a topic or call),
 * - the writer's lock (the link's; everything that is sent, and outboxes).
 *
 * No lock is held during a read or write of the socket, during a poll, while a descriptor that a
 * peer chose is closed, or while the user's code runs.
 *
 * Memory is counted separately from handles: handles keep the connection, the memory count keeps
 * the struct.
 */
#ifndef CHANNEL_INTERNAL_H
#define CHANNEL_INTERNAL_H

#include <base/annotate.h>
#include <base/clock.h>
#include <base/level.h>
#include <base/list.h>
#include <base/sys.h>
#include <base/thread.h>
#include <beam/topic.h>
#include <channel/hook.h>
#include <errno.h>
#include <link/link.h>

/* Reading has not ended. Reading never ends with this value. */
enum { NOT_ENDED = 1 };

struct beam_channel {
	struct link link;
	struct beam_channel_options options;
	atomic_uint memory;
	struct channel_hook hook;
	_Atomic(void *) user_data;

	pthread_mutex_t lock;
	struct sleepers changed;
	unsigned handles;
	void *names;
	struct list topics, unclaimed;
	/* Readable while beam_channel_accept() would not block. */
	struct level acceptable;
	int read_end;
	bool hello;
	/* The peer's credentials when the channel was made, or the error why they are not known. */
	struct ucred credentials;
	int credentials_error;
	struct beam_statistics past;

	/* The rest of this group is under the link's writer's lock. */
	/*
	 * Requests that have a cancellation descriptor. How many senders of all outboxes wait for
	 * room.
	 */
	struct list cancellable;
	unsigned waiting_for_room;
	uint64_t discarded;
	/* The replies that this side sent to calls that have ended. */
	struct beam_statistics replies;

	atomic_ullong attachments_lost;
	/* The replies that the program has received. */
	atomic_ullong replies_taken, reply_bytes_taken, reply_attachments_taken;
};

/* Messages that arrived, from one or more inlets, wait here for receivers. */
struct inbox {
	struct beam_channel *channel;
	pthread_mutex_t lock;
	struct sleepers arrived;
	struct message_queue queue;
	/* Readable while a receive would not block. */
	struct level receivable;
	/*
	 * `ended`: the peer has closed every inlet, or has sent the last reply. `reset`: closed
	 * here for receiving. `refused`: by beam_topic_refuse(). `end`: what receives return once
	 * the queue is empty, or NOT_ENDED.
	 */
	bool ended, reset, refused;
	int end;
	uint64_t messages, bytes, attachments, discarded;
};

/* The sending side of a topic, or of the replies to a call. Under the writer's lock. */
struct outbox {
	struct outlet outlet;
	/*
	 * Readable while sending a small message would not block. The outbox is in the link's list
	 * of watchers while there is such a descriptor.
	 */
	struct level room;
	struct list of_rooms;
	/* How many senders have credit, and wait for room or for another thread that writes. */
	unsigned waiting_for_room;
};

struct beam_topic {
	struct beam_channel *channel;
	atomic_uint memory;

	/* Under the channel's lock. */
	unsigned handles;
	struct list of_channel, unclaimed;

	struct inbox inbox;
	/*
	 * Under the inbox's lock: the inlets of this name that have not been answered with RESET,
	 * and how many inlets are open.
	 */
	struct list inlets;
	unsigned n_open;

	struct outbox outbox;
	_Atomic(void *) user_data;
	size_t name_size;
	char name[];
};

/* A call that this side makes (call.c). */
struct beam_call {
	struct inlet inlet;
	struct inbox inbox;
	atomic_uint memory;
	/* Under the inbox's lock. */
	unsigned handles;
	struct beam_message *failure;
};

/* True in a forked child of the process that made the channel. */
static inline bool channel_foreign(const struct beam_channel *channel)
{
	return link_foreign(&channel->link);
}

/* ---- channel.c: life and state. */
void channel_memory_ref(struct beam_channel *channel);
/* Returns false if the channel is being freed. */
bool channel_memory_ref_if_held(struct beam_channel *channel);
void channel_memory_unref(struct beam_channel *channel);
void channel_memory_unref_many(struct beam_channel *channel, unsigned n);
/* The handlers of the link's events. */
extern const struct link_events channel_link_events;

/* ---- events.c: the handlers of the session's events. */
extern const struct rx_events channel_rx_events;
extern const struct tx_events channel_tx_events;

static inline struct outbox *outbox_of(struct outlet *outlet)
{
	return list_entry(outlet, struct outbox, outlet);
}

/* ---- inbox.c: receiving, the same for topics and calls. */
void inbox_init(struct inbox *inbox, struct beam_channel *channel, int end);
void inbox_destroy(struct inbox *inbox);
/*
 * What a receive returns if the queue is empty; NOT_ENDED if messages may still arrive. The inbox's
 * lock is held.
 */
static inline int inbox_state(const struct inbox *inbox)
{
	return inbox->ended || inbox->reset ? 0 : inbox->end;
}
/*
 * Waits until the queue has a message. Returns 1; what inbox_state() returns if there will be none;
 * or the error with which waiting ended. The inbox's lock is held.
 */
int inbox_wait(struct inbox *inbox, beam_deadline deadline);
/* What is to be done after messages were taken: `write` means that credit should be written now. */
struct owed {
	bool write;
};
/*
 * Takes the first message from the queue and counts it. Its credit is withheld until there is
 * enough to return. The inbox's lock is held.
 */
struct beam_message *inbox_take(struct inbox *inbox, struct owed *owed);
/* Sends the credit that is due. No lock is held. */
void inbox_settle(struct beam_channel *channel, const struct owed *owed);
/* Reading has ended. Receives return `end` once everything that arrived has been taken. */
void inbox_end_reading(struct inbox *inbox, int end);
/*
 * Discards messages: closes their attachments and returns their shared credit. Returns how many
 * messages there were. The writer's lock is not held.
 */
size_t inbox_discard(struct beam_channel *channel, struct message_queue *queue);
/* The inlet is closed, and all its messages have been taken. The inbox's lock is held. */
void inbox_inlet_done(struct beam_channel *channel, struct inlet *inlet);

void outbox_init(struct outbox *outbox);

/* ---- call.c: calls that this side makes. */
/*
 * The last reply to a call has arrived, and is the last message of the queue. Called by the holder
 * of the reading right.
 */
void call_ended(struct beam_channel *channel, struct inlet *inlet, struct message_queue *queue);
/*
 * The kernel refused these requests after they had been accepted. No lock is held, except perhaps
 * the channel's.
 */
void calls_unasked(struct list *unasked);
/* Reading has ended. Receives from all calls return `end`. No lock is held. */
void calls_end_reading(struct beam_channel *channel, int end);
/* Makes the session forget all calls. No thread reads or writes any more. */
void calls_forget(struct beam_channel *channel);

/* ---- reply.c: calls that the peer makes. */
int request_begin(struct beam_channel *channel, uint32_t id, struct message_call **ret);
/*
 * The request has arrived completely. From now on its message holds a reference to the channel's
 * memory. The writer's lock is held.
 */
void request_deliver(struct message_call *handle);
/* The request's message is about to be discarded because its topic was closed. */
void request_refuse(struct message_call *handle);
/* The session no longer needs the request's outlet. The writer's lock is held. */
void request_released(struct outlet *outlet);
/*
 * Updates the cancellation descriptor of the outlet's request. If nothing can be sent on the
 * channel any more, which cancels all requests, it updates the descriptors of all. `outlet` may be
 * NULL, or a topic's. The writer's lock is held.
 */
void requests_show_cancelled(struct beam_channel *channel, struct outlet *outlet);
static inline void requests_show(struct beam_channel *channel, struct outlet *outlet)
{
	if (!list_empty(&channel->cancellable))
		requests_show_cancelled(channel, outlet);
}

/* ---- topic.c */
void topic_memory_ref(struct beam_topic *topic);
void topic_memory_unref(struct beam_topic *topic);
/*
 * topic_find() returns the topic of this name, or NULL. topic_make() makes it, without a handle,
 * and returns NULL if there is no memory. The channel's lock is held.
 */
struct beam_topic *topic_find(struct beam_channel *channel, const char *name);
struct beam_topic *topic_make(struct beam_channel *channel, const char *name);
/* Removes a topic from the names. The channel's lock is held. */
void topic_forget(struct beam_topic *topic);
/*
 * Adds a handle to a topic. The first one opens the topic for the peer. The channel's lock is held.
 */
void topic_claim(struct beam_topic *topic);

/* ---- fds.c: descriptors for event loops, which show what has changed. */
/* The inbox's lock is held. */
static inline void inbox_show(struct inbox *inbox)
{
	level_put(&inbox->receivable, inbox->queue.n || inbox_state(inbox) != NOT_ENDED);
}
/* The channel's lock is held. */
static inline void channel_show(struct beam_channel *channel)
{
	level_put(&channel->acceptable, !list_empty(&channel->unclaimed) || channel->read_end != NOT_ENDED);
}
/*
 * Returns `fd`, which is a descriptor for an event loop or -errno. If it is new, input must be read
 * from now on even if no thread waits. No lock is held.
 */
int fd_opened(struct beam_channel *channel, int fd, bool is_new);
/* Returns the descriptor that shows whether there is room. */
int outbox_fd(struct beam_channel *channel, struct outbox *outbox);
/*
 * Closes that descriptor. Returns true if there was one. Then the caller must call
 * baton_independ(). The writer's lock is held.
 */
bool outbox_close_fd(struct outbox *outbox);
/* Called when the last handle is released. */
void inbox_close_fd(struct inbox *inbox);
void topic_close_fds(struct beam_topic *topic);
void channel_close_fds(struct beam_channel *channel);
/* The writer's lock is held. */
void rooms_show_all(struct beam_channel *channel);
static inline void rooms_show(struct beam_channel *channel)
{
	if (!list_empty(&channel->link.writer.watchers))
		rooms_show_all(channel);
}

#endif
