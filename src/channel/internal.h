/* SPDX-License-Identifier: MIT */
/*
 * The channel from the inside: a session, a transport, a thread, locks and waiting.
 *
 * Locks, in the order in which they are taken: the reading right's (cold but for waiting), a channel's `lock` (names, handles: cold), an
 * inbox's `lock` (the queue of a topic), a channel's `tx_lock` (everything that is sent). None is held over a read or write of the socket, a poll, a close of what a peer chose, or code of the user's.
 *
 * Two rights, each held by one thread at a time: to read (`baton`; rx belongs to its holder) and to write (`writing`). Who gives the
 * writing right back while something is pending passes it on to a sender that waits for it, or wakes the channel's thread, or, if the
 * socket is full, has that thread watch for room. So pending output never waits for nobody.
 *
 * Memory is counted apart from handles: handles keep the connection, the memory count keeps the struct.
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
#include <channel/transport.h>
#include <errno.h>
#include <session/rx.h>
#include <session/tx.h>
#include <socket/reaper.h>

/* Reading has not ended: a value that no result has. */
enum { NOT_ENDED = 1 };

/* Memory has been let go of; nothing has come since the last look; something has. */
enum activity { ACTIVITY_NONE, ACTIVITY_PAST, ACTIVITY_NOW };

/* Whom the input of the last look woke: nobody; somebody, who is not waiting again yet; who is. */
enum woke { WOKE_NOBODY, WOKE_SOMEBODY, WOKE_AND_BACK };

/* Those who wait for something, under its lock; how often it has changed so that they may want to look. */
struct sleepers {
	struct list list;
	uint64_t changes;
};

/* What the channel's thread does about input (baton.c). */
enum standby { STANDBY_WATCH, STANDBY_TICK, STANDBY_REST };

/* The reading right. */
struct baton {
	pthread_mutex_t lock;
	pthread_cond_t left;
	/* Somebody has it; nobody will have it again. */
	bool taken, over;
	struct list waiters;
	enum standby mode;
	/* Those who must hear of input though no thread waits: with them there are no ticks. */
	unsigned dependents;
	/* How often a thread began to lead: ever, at the last tick, and lately from WATCH. */
	uint64_t led, led_at_tick;
	unsigned counted;
	int64_t counted_since;
	beam_deadline tick_at;
	/* When a thread last stopped waiting; how often running one was back soon after that, and how often it must be to be relied on. */
	int64_t left_at;
	unsigned returns, relied_from;
};

/* Polling before sleeping: fails running; waits until the next trial, and after it; the same after a yield that took long, and how often
 * polling has been worth it since; how many more waits yield before they look. */
struct busy_poll {
	unsigned fails, skip, interval, penalty, worth, patient;
};

struct beam_channel {
	uint32_t process;
	/* Under the lock of process.c: the end of the process has it in a list of its own. */
	bool held_to_end;
	struct transport transport;
	/* What the channel's thread waits by, and what wakes it; what wakes who leads. Without a thread they are made when they are needed: the
	 * loop is woken by the nudge if it asked for it. */
	int epoll, nudge;
	atomic_int kick;
	struct beam_channel_options options;
	atomic_uint memory;
	struct list of_process;
	struct channel_hook hook;
	_Atomic(void *) user_data;
	/* Whom attachments that came are charged to until they have been taken or closed, each of which keeps the channel's
	 * memory; how many there are; how many the channel may have at most. */
	struct reaper_account account;
	atomic_uint charged;
	uint32_t most_attachments;

	pthread_mutex_t lock;
	struct sleepers changed;
	unsigned handles;
	void *names;
	struct list topics, unclaimed;
	/* Readable while beam_channel_accept() would not wait. */
	struct level acceptable;
	int read_end;
	bool hello;
	const char *breach;
	/* Noted when the channel was made, or why they are not known. */
	struct ucred credentials;
	int credentials_error;
	struct beam_statistics past;

	pthread_mutex_t tx_lock;
	struct tx tx;
	/* The writing right is taken; those who wait for it or for room. */
	bool writing;
	struct list writers;
	/* The kernel took no more: the channel's thread watches for room. */
	bool full;
	/* Sends that followed each other closely, and when the last one was done. Many make a burst: then senders leave the writing to the
	 * channel's thread, which does not sleep until the burst is over. */
	unsigned in_a_row;
	int64_t sent_at;
	bool burst;
	/* The channel's thread watches for input; has seen that the other side has closed. */
	bool armed, hung_up;
	/* The channel's thread is awake, or has been woken: it looks at what is pending before it sleeps again. */
	bool awake;
	/* Why nothing is accepted any more; why nothing can be written any more. 0: it can. */
	int send_error, broken;
	/* Reading is over, which the reading right's holder sets: the other side said goodbye, or it will not. */
	bool read_over, peer_goodbye;
	/* The connection broke with messages on their way that had been accepted. */
	bool truncated;
	/* Callers have given descriptors that stood in the buffer: their last close may be the library's. */
	bool was_given;
	/* Outboxes with a descriptor that shows whether there is room; senders of all outboxes that wait for room. */
	struct list rooms;
	unsigned waiting_for_room;
	/* When the thread is to try again what failed for want of memory or descriptors in flight; how long it waits then. */
	beam_deadline retry_at;
	int64_t retry_after;
	/* The same for what the other side wants to borrow and the process does not have. */
	beam_deadline lend_at;
	int64_t lend_after;
	/* When the other side was asked whether it is there, and had last been heard by then. */
	int64_t asked_at, asked_since;
	beam_deadline linger_until;
	bool finished;
	/* The caller's loop is at it, or a thread is that has taken over from it. */
	bool dispatching;
	uint64_t discarded;

	struct baton baton;
	atomic_bool kicked;
	/* When something last came, if anybody asks. */
	_Atomic int64_t heard_at;
	/* An enum activity; an enum woke. */
	atomic_uint activity, woke;
	/* Replies that this side has sent, and lost; under the tx_lock. */
	struct beam_statistics replies;
	/* The channel's thread's own: since when a burst is dry, when to look whether the channel is idle. */
	int64_t dry_since;
	beam_deadline idle_at;

	/* The reading right's. */
	struct rx rx;
	bool reset_seen;
	struct busy_poll busy_poll;
	uint64_t stalled_frame;
	beam_deadline stalled_until;
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
	/* Nothing more comes as things are; nothing more is wanted, or ever was; what receivers are told when there is nothing, or NOT_ENDED. */
	bool ended, reset, refused;
	int end;
	uint64_t messages, bytes, attachments, discarded;
};

/* Where messages leave; under the channel's tx_lock. */
struct outbox {
	struct outlet outlet;
	/* Readable while a small message would not wait; among the channel's rooms if it has a descriptor. */
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
	/* Under the inbox's lock: ids of the other side that bear this name and have not been answered with RESET; how many are open. */
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

/* A thread that waits for the writing right, or only for room in the buffer. */
struct writer {
	struct list link;
	pthread_cond_t wake;
	bool for_room, granted, woken;
};

/* True in a process that was forked from the channel's. */
static inline bool channel_foreign(const struct beam_channel *channel)
{
	return channel->process != process_id();
}

/* ---- channel.c: life and state. */
void channel_memory_ref(struct beam_channel *channel);
/* False: it is being freed. */
bool channel_memory_ref_if_held(struct beam_channel *channel);
void channel_memory_unref(struct beam_channel *channel);
void channel_memory_unref_many(struct beam_channel *channel, unsigned n);
/* Reading has ended so: every receiver is told, once what arrived has been taken. */
void channel_end_reading(struct beam_channel *channel, int end);
/* Closes without waiting. */
void channel_mark_closed(struct beam_channel *channel);

/* ---- write.c: the writing right. tx_lock is held by the caller, and given up only around the writing itself. */
/* The right is the caller's: makes and writes one batch. `ret_error` is set with WRITTEN_REFUSED: the descriptor of `own` is to blame. */
enum written write_batch(struct beam_channel *channel, struct tx_own *own, int *ret_error);
/* Gives the right back, or on; on a broken channel, after dropping what is pending. */
void write_release(struct beam_channel *channel);
/* Waits for the right: 1, or 0 when there is room or the state has changed, or deadline_error(). */
int write_wait(struct beam_channel *channel, bool for_room, beam_deadline deadline);
/* Waits for the socket to have room, with the right, for KICKLESS_NS at most: as socket_wait(), and 0 when it is time to look whether the
 * topic or the channel has been closed meanwhile. */
int write_poll(struct beam_channel *channel, int kick, beam_deadline deadline);
/* Writes what is pending if nobody else does, without waiting. */
void write_pending(struct beam_channel *channel);
/* Writes until `done`, or the connection breaks (then its error), or the deadline. */
int write_until(struct beam_channel *channel, bool (*done)(struct beam_channel *, const void *), const void *argument,
		beam_deadline deadline);
/* Nothing can be sent any more: everybody who waits is woken, what was accepted is counted as lost. */
void write_break(struct beam_channel *channel, int error);
/* Everything has gone that can: -EIO if something of it was dropped, which is told once. */
static inline int write_tell_losses(struct beam_channel *channel)
{
	bool untold = channel->tx.losses.untold;

	channel->tx.losses.untold = false;
	return untold ? -EIO : 0;
}
/* Goodbye has been said: nothing is ever written again. */
static inline bool write_over(const struct beam_channel *channel)
{
	return channel->tx.goodbye_sent && !channel->tx.batch.active;
}
/* The socket took no more, and something is left for whoever watches for room: no writer waits for it himself. When writing breaks it is full
 * no more. */
static inline bool write_wants_room(const struct beam_channel *channel)
{
	return channel->full && !channel->writing;
}
/* Nothing more is to go by an outlet: who waits for the right, or for room in the buffer, looks again. */
void write_wake_waiting(struct beam_channel *channel);
/* Wakes those who wait for room in the buffer. */
void write_wake_for_room(struct beam_channel *channel);
/* Wakes everybody who waits to send. */
void write_wake_all(struct beam_channel *channel);
/* Something failed, or waits, for a reason that passes without an event: the channel's thread tries again after a while. */
void write_retry(struct beam_channel *channel);
/* What failed for a while is tried again, if it is time. */
void write_try_again(struct beam_channel *channel);
/* Wakes the channel's thread, if it is not awake. */
void write_nudge(struct beam_channel *channel);

/* ---- read.c: by the holder of the reading right. */
/* Reads what there is, up to a bound. True if something came, be it the end. */
bool read_some(struct beam_channel *channel);
/* The channel has failed: reading is over and nothing more is sent. No lock is held. */
void read_fail(struct beam_channel *channel, int error, const char *breach);
/* Nothing has come for a while: lets go of memory. */
void read_trim(struct beam_channel *channel);

/* ---- poll.c: by the holder of the reading right. */
/* Looks again and again for a little longer than it takes to be woken, and lets others run meanwhile. True: something came. */
bool poll_busily(struct beam_channel *channel);

/* ---- baton.c: the reading right. */
void baton_init(struct baton *baton);
void baton_end(struct baton *baton);
/* Waits, or leads, until something has changed: 0, or deadline_error(). With a deadline that has passed it still looks once. `lock`, which
 * guards the sleepers, is held before and after; nobody can miss a change between. */
int baton_wait(struct beam_channel *channel, pthread_mutex_t *lock, struct sleepers *sleepers, beam_deadline deadline);
/* For the channel's thread: false if somebody leads. */
bool baton_take(struct beam_channel *channel);
void baton_leave(struct beam_channel *channel);
void baton_tick(struct beam_channel *channel);
/* Input must be read at once though no thread waits, from now on: there is one more who hears of it otherwise. One fewer. */
void baton_depend(struct beam_channel *channel);
void baton_independ(struct beam_channel *channel);
/* Whoever leads is to look whether the channel is closed, from now on. */
void baton_kick_for_good(struct beam_channel *channel);
/* The kick, to be waited for. -1: there is none, and whoever waits looks again after KICKLESS_NS. */
int baton_kick(struct beam_channel *channel);
/* Sees to it that input is read though no thread waits: now, not at the next tick. */
void baton_attend(struct beam_channel *channel);
/* The last of all: nobody reads any more when it returns. */
void baton_close(struct beam_channel *channel);

void sleepers_init(struct sleepers *sleepers);
/* By the holder of the reading right: something came that `n` of them may take. */
void sleepers_wake(struct beam_channel *channel, struct sleepers *sleepers, size_t n);
/* By anyone: all are to look. */
void sleepers_wake_all(struct beam_channel *channel, struct sleepers *sleepers);

/* ---- standby.c: the channel's thread. */
void standby_run(void *argument);
/* What is to be slept for, and until when; when a frame that nobody reads takes too long. */
struct rest {
	beam_deadline until, stalled;
	bool over;
};
/* Looks whether there is something to do. Who `sleeps` then is nudged by whoever finds something from now on. */
struct rest standby_look(struct beam_channel *channel, bool sleeps);
/* Does it. */
void standby_work(struct beam_channel *channel, bool input, beam_deadline stalled);
/* Whoever has been silent for half of the time is asked whether it is there, and has died if it does not answer in the other
 * half. Returns when to look again. No lock is held; whoever reads has the reading right. */
beam_deadline standby_end_silence(struct beam_channel *channel, bool reads);
/* It is over. */
void standby_finish(struct beam_channel *channel);
/* What it is to be woken for, from now on. The tx_lock is held. 0 or -errno. */
int standby_watch(struct beam_channel *channel);

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
/* The first message of the queue, counted; its credit is withheld until there is enough of it. Its lock is held. */
struct beam_message *inbox_take(struct inbox *inbox, struct owed *owed);
/* Sends the credit that is due. No lock is held. */
void inbox_settle(struct beam_channel *channel, const struct owed *owed);
/* Reading has ended so: receivers are told, once what arrived has been taken. */
void inbox_end_reading(struct inbox *inbox, int end);
/* Messages thrown away: attachments closed, shared credit returned. The tx_lock is not held. Returns how many. */
size_t inbox_discard(struct beam_channel *channel, struct message_queue *queue);
/* Everything that was in the queue from this inlet has been taken, and it brings no more. The inbox's lock is held. */
void inbox_inlet_done(struct beam_channel *channel, struct inlet *inlet);

void outbox_init(struct outbox *outbox);

/* ---- call.c: calls of this side's. */
/* The last reply to one has come: it ends the queue. By the holder of the reading right. */
void call_ended(struct beam_channel *channel, struct inlet *inlet, struct message_queue *queue);
/* Those requests were refused after they had been accepted. No lock is held, but perhaps the channel's. */
void calls_unasked(struct list *unasked);
/* Reading has ended so: all are told. No lock is held. */
void calls_end_reading(struct beam_channel *channel, int end);
/* Nobody reads or writes any more: the session forgets them. */
void calls_forget(struct beam_channel *channel);

/* ---- reply.c: calls of the other side's. */
int request_begin(struct beam_channel *channel, uint32_t id, struct message_call **ret);
/* Its message is whole, and keeps the channel's memory from now on. The tx_lock is held. */
void request_deliver(struct message_call *handle);
/* Its message is thrown away because its topic was closed. */
void request_refuse(struct message_call *handle);
/* The session needs its outlet no more. The tx_lock is held. */
void request_released(struct outlet *outlet);

/* ---- attachments.c: what is charged, settled and lent. */
/* Begins with what may be lent at once, which goes into `own`; ends, which the tx_lock is held for. */
void attachments_begin(struct beam_channel *channel, struct limits *own, int fd);
void attachments_end(struct beam_channel *channel);
/* Lends what the other side wants, if there is any. The tx_lock is held. */
void attachments_lend(struct beam_channel *channel);
/* Nothing goes on: attachments that the other side lends and nobody here needs are of use elsewhere. No lock is held. */
void attachments_give_back(struct beam_channel *channel);
/* Tries again, if it is time. The tx_lock is held. */
void attachments_lend_again(struct beam_channel *channel);

/* ---- topic.c */
void topic_memory_ref(struct beam_topic *topic);
void topic_memory_unref(struct beam_topic *topic);
/* The topic of a name, made if need be, without a handle. The channel's lock is held. NULL: no memory. */
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
/* With the last handle. */
void inbox_close_fd(struct inbox *inbox);
void topic_close_fds(struct beam_topic *topic);
void channel_close_fds(struct beam_channel *channel);
/* The tx_lock is held. */
void rooms_show_all(struct beam_channel *channel);
static inline void rooms_show(struct beam_channel *channel)
{
	if (!list_empty(&channel->rooms))
		rooms_show_all(channel);
}

/* ---- loop.c: channels without a thread, which the caller's loop runs. */
/* Waits, and does a turn of what only the loop would do; the tx_lock is held before and after. 0 or deadline_error(). */
int loop_help(struct beam_channel *channel, beam_deadline deadline);
/* No loop has it any more: the last handle is gone. */
void loop_let_go(struct beam_channel *channel);

/* ---- process.c: the channels of this process, for fork and exit. */
/* The channel stands: 0, or why it has no thread. */
int process_add(struct beam_channel *channel);
/* Its descriptors are about to be closed. */
void process_finished(struct beam_channel *channel);
void process_remove(struct beam_channel *channel);

#endif
