/* SPDX-License-Identifier: MIT */
/*
 * The channel from the inside: topics, calls, replies, and their queues, over a link.
 *
 * Locks, in the order in which they are taken: the reading right's (the link's, cold but for
 * waiting), a channel's `lock` (names, handles: cold), an inbox's `lock` (the queue of a topic or
 * call), the writer's (the link's: everything that is sent, and outboxes). None is held over a read
 * or write of the socket, a poll, a close of what a peer chose, or code of the user's.
 *
 * Memory is counted apart from handles: handles keep the connection, the memory count keeps the
 * struct.
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

/* Reading has not ended: a value that no result has. */
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
	/* Readable while beam_channel_accept() would not wait. */
	struct level acceptable;
	int read_end;
	bool hello;
	/* Noted when the channel was made, or why they are not known. */
	struct ucred credentials;
	int credentials_error;
	struct beam_statistics past;

	/* Under the writer's lock of the link. */
	/*
	 * Requests with a descriptor that shows that they were cancelled; senders of all
	 * outboxes that wait for room.
	 */
	struct list cancellable;
	unsigned waiting_for_room;
	uint64_t discarded;
	/* Replies that this side has sent, and lost. */
	struct beam_statistics replies;

	atomic_ullong attachments_lost;
	/* Replies that were taken. */
	atomic_ullong replies_taken, reply_bytes_taken, reply_attachments_taken;
};

/* Where messages arrive, from one inlet or several, and wait for receivers. */
struct inbox {
	struct beam_channel *channel;
	pthread_mutex_t lock;
	struct sleepers arrived;
	struct message_queue queue;
	/* Readable while a receive would not wait. */
	struct level receivable;
	/*
	 * Nothing more comes as things are; nothing more is wanted, or ever was; what receivers are
	 * told when there is nothing, or NOT_ENDED.
	 */
	bool ended, reset, refused;
	int end;
	uint64_t messages, bytes, attachments, discarded;
};

/* Where messages leave; under the writer's lock. */
struct outbox {
	struct outlet outlet;
	/*
	 * Readable while a small message would not wait; among the link's
	 * watchers if it has a descriptor.
	 */
	struct level room;
	struct list of_rooms;
	/* Senders that have credit and wait for room, or for another that writes. */
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
	 * Under the inbox's lock: ids of the other side that bear this name and have not been
	 * answered with RESET; how many are open.
	 */
	struct list inlets;
	unsigned n_open;

	struct outbox outbox;
	_Atomic(void *) user_data;
	size_t name_size;
	char name[];
};

/* A call of this side's (call.c). */
struct beam_call {
	struct inlet inlet;
	struct inbox inbox;
	atomic_uint memory;
	/* Under the inbox's lock. */
	unsigned handles;
	struct beam_message *failure;
};

/* True in a process that was forked from the channel's. */
static inline bool channel_foreign(const struct beam_channel *channel)
{
	return link_foreign(&channel->link);
}

/* ---- channel.c: life and state. */
void channel_memory_ref(struct beam_channel *channel);
/* False: it is being freed. */
bool channel_memory_ref_if_held(struct beam_channel *channel);
void channel_memory_unref(struct beam_channel *channel);
void channel_memory_unref_many(struct beam_channel *channel, unsigned n);
/* What the link tells. */
extern const struct link_events channel_link_events;

/* ---- events.c: what the session tells. */
extern const struct rx_events channel_rx_events;
extern const struct tx_events channel_tx_events;

static inline struct outbox *outbox_of(struct outlet *outlet)
{
	return list_entry(outlet, struct outbox, outlet);
}

/* ---- inbox.c: what both topics and calls receive by. */
void inbox_init(struct inbox *inbox, struct beam_channel *channel, int end);
void inbox_destroy(struct inbox *inbox);
/* Why there is nothing to receive; NOT_ENDED: there may be. Its lock is held. */
static inline int inbox_state(const struct inbox *inbox)
{
	return inbox->ended || inbox->reset ? 0 : inbox->end;
}
/* Waits until the queue has a message: 1, or why there will be none. Its lock is held. */
int inbox_wait(struct inbox *inbox, beam_deadline deadline);
/* What is owed for messages that were taken. */
struct owed {
	bool write;
};
/*
 * The first message of the queue, counted; its credit is withheld until there is
 * enough of it. Its lock is held.
 */
struct beam_message *inbox_take(struct inbox *inbox, struct owed *owed);
/* Sends the credit that is due. No lock is held. */
void inbox_settle(struct beam_channel *channel, const struct owed *owed);
/* Reading has ended so: receivers are told, once what arrived has been taken. */
void inbox_end_reading(struct inbox *inbox, int end);
/*
 * Messages thrown away: attachments closed, shared credit returned. The writer's lock is
 * not held. Returns how many.
 */
size_t inbox_discard(struct beam_channel *channel, struct message_queue *queue);
/*
 * Everything that was in the queue from this inlet has been taken, and it brings no more.
 * The inbox's lock is held.
 */
void inbox_inlet_done(struct beam_channel *channel, struct inlet *inlet);

void outbox_init(struct outbox *outbox);

/* ---- call.c: calls of this side's. */
/* The last reply to one has come: it ends the queue. By the holder of the reading right. */
void call_ended(struct beam_channel *channel, struct inlet *inlet, struct message_queue *queue);
/*
 * Those requests were refused after they had been accepted. No lock is held,
 * but perhaps the channel's.
 */
void calls_unasked(struct list *unasked);
/* Reading has ended so: all are told. No lock is held. */
void calls_end_reading(struct beam_channel *channel, int end);
/* Nobody reads or writes any more: the session forgets them. */
void calls_forget(struct beam_channel *channel);

/* ---- reply.c: calls of the other side's. */
int request_begin(struct beam_channel *channel, uint32_t id, struct message_call **ret);
/* Its message is whole, and keeps the channel's memory from now on. The writer's lock is held. */
void request_deliver(struct message_call *handle);
/* Its message is thrown away because its topic was closed. */
void request_refuse(struct message_call *handle);
/* The session needs its outlet no more. The writer's lock is held. */
void request_released(struct outlet *outlet);
/* The caller may have cancelled it, or, whatever the outlet, the channel may have ended, which
 * cancels all. The writer's lock is held. */
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
 * The topic of a name, made if need be, without a handle. The channel's lock is held. NULL: no
 * memory.
 */
struct beam_topic *topic_find(struct beam_channel *channel, const char *name);
struct beam_topic *topic_make(struct beam_channel *channel, const char *name);
/* Takes a topic out of the names. The channel's lock is held. */
void topic_forget(struct beam_topic *topic);
/* The first handle of a topic: the other side is told. The channel's lock is held. */
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
/* A descriptor that was asked for, or -errno. If it was made just now somebody depends on the
 * channel. No lock is held. */
int fd_opened(struct beam_channel *channel, int fd, bool is_new);
/* The one that shows whether there is room. */
int outbox_fd(struct beam_channel *channel, struct outbox *outbox);
/* True if it had one, on which nobody depends any more. The writer's lock is held. */
bool outbox_close_fd(struct outbox *outbox);
/* With the last handle. */
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
