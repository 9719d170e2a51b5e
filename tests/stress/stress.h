/* SPDX-License-Identifier: MIT */
/*
 * Definitions of the stress test.
 *
 * A round is a channel between two sides, in one process or in two. There are 8 sending and 8
 * receiving threads, either all for one direction or half for each. Each sender numbers its
 * messages on each topic. The contents of a message follow from the round's seed and from its side,
 * sender, topic and number (content.c), so that a receiver knows all bytes and attachments that it
 * must find. The threads record what they do in a journal in shared memory, which survives the
 * death of a process. judge.c checks it against what the library promises.
 *
 * At random moments, somebody closes or resets a topic, closes the channel, or kills a process.
 * Moments are numbers of messages, not times.
 */
#ifndef STRESS_H
#define STRESS_H

#include <beam/beam.h>
#include <harness/harness.h>
#include <stdatomic.h>

enum {
	SIDES = 2,
	THREADS = 8, /* of each kind, at most, on a side */
	TOPICS = 16,
	SOLO_TOPICS = 8, /* of them: one sender, one receiver, messages of any size */
	PAYLOAD_MAX = 1 << 20,
	ATTACHMENTS_MAX = 8,
	STREAM_MAX = 1 << 15, /* messages of one sender on one topic in one round */
	ACTIONS_MAX = 8,
	MANY = 16, /* messages that one call sends or receives */
};

/* What happens to a side when its threads have sent and received a certain number of messages. */
enum action_kind {
	ACTION_NONE,
	ACTION_CLOSE_TOPIC,
	ACTION_RESET_TOPIC,
	ACTION_CLOSE_CHANNEL,
	ACTION_DIE,
	ACTION_KILL_OTHER
};

struct action {
	enum action_kind kind;
	uint64_t at;
	unsigned topic;
};

struct plan {
	uint64_t seed;
	bool two_processes;
	bool small_limits;  /* the least that the options allow, else the defaults */
	bool accept_topics; /* side 1 opens what side 0 opened by beam_channel_accept() */
	bool meet_first;    /* nobody sends before both sides have opened their topics */
	/*
	 * Who reads: the threads that wait, with or without polling; the channel's thread; or a
	 * loop of the side.
	 */
	enum { READ_POLLING, READ_SLEEPING, READ_DEDICATED, READ_LOOP, READ_WAYS } reading[SIDES];
	bool by_fds[SIDES]; /* receivers also poll the topics' descriptors */
	unsigned senders[SIDES], receivers[SIDES];
	uint64_t messages[SIDES]; /* to be sent by each side */
	struct action actions[SIDES][ACTIONS_MAX];
};

/* One sender on one topic. */
struct stream {
	_Atomic uint64_t started;  /* messages below this number may have been sent */
	_Atomic uint64_t accepted; /* messages below this number were accepted */
	_Atomic uint64_t received; /* how many were received */
	_Atomic uint64_t seen[STREAM_MAX / 64];
};

struct side_journal {
	atomic_bool opened;                     /* all its topics are open */
	struct stream streams[THREADS][TOPICS]; /* what this side sends */
	/* Set before the action. */
	atomic_bool topic_closed[TOPICS], topic_reset[TOPICS], channel_closed, killed;
	atomic_bool topic_reset_done[TOPICS];
	_Atomic int64_t left;   /* still to be sent */
	_Atomic uint64_t turns; /* messages sent and received, which trigger actions */
	atomic_uint senders_working;
	_Atomic uint64_t sent, sent_bytes, sent_attachments, received, received_bytes, received_attachments, timeouts,
	    pipes;
	atomic_bool action_closed; /* the close that was an action has returned */
	_Atomic int action_close_result, close_result;
};

struct journal {
	struct plan plan;
	struct side_journal sides[SIDES];
	_Atomic pid_t pids[SIDES];
	atomic_bool broken; /* a check has failed: all threads stop early */
};

/* A side, in the process that it runs in. */
struct side {
	struct journal *journal;
	struct side_journal *mine, *theirs;
	unsigned index;
	beam_channel *channel;
	beam_topic *topics[TOPICS];
};

struct worker {
	struct side *side;
	unsigned index;
	pthread_t thread;
};

/* ---- content.c: what messages are made of ---- */

/*
 * The files that are attached, and the bytes that are sent. They are made before any process is
 * started.
 */
void content_open(void);
void content_close(void);

struct content {
	uint64_t head; /* in topics with several senders the first bytes of a message identify it */
	size_t head_size;
	const unsigned char *body;
	size_t body_size;
	unsigned n_fds;
	int fds[ATTACHMENTS_MAX]; /* belong to this process */
};

/* A topic with one sender and one receiver on each side. */
static inline bool topic_is_solo(unsigned topic)
{
	return topic < SOLO_TOPICS;
}

void content_of(struct content *ret, const struct plan *plan, unsigned side, unsigned sender, unsigned topic,
		uint64_t number);
size_t content_size(const struct content *content);
void content_copy(const struct content *content, void *to);

/* A received message, wherever it is stored. */
struct arrival {
	const unsigned char *data;
	size_t size, n_fds;
	const int *fds;
};

/*
 * Finds out which message of the other side this is, and compares its contents. Returns false if
 * that fails.
 */
bool content_check(const struct side *side, unsigned topic, const struct arrival *arrival, unsigned *ret_sender,
		   uint64_t *ret_number);

/* ---- sender.c, receiver.c: threads ---- */

/* The argument is a struct worker. */
void *sender_run(void *argument);
void *receiver_run(void *argument);
/* Runs the side's channel in a loop until it ends. The argument is the struct side. */
void *loop_run(void *argument);

/* ---- round.c ---- */

struct journal *journal_new(const struct plan *plan);
void journal_free(struct journal *journal);

/* Runs both sides until both have closed, with all checks that a side can make on its own. */
void round_run(struct journal *journal);

/*
 * Called when a thread of a side has sent or received `n` messages. Performs the actions that are
 * due.
 */
void side_turn(struct side *side, uint64_t n);

/*
 * Closes a topic for sending, and records that. Waits until the other side has opened its topics,
 * because otherwise it would not notice a topic that is opened and closed without a message.
 */
void side_close_topic(struct side *side, unsigned topic);

/*
 * A check of a side. The first one that fails is reported and stops the round. Later failures are
 * usually consequences.
 */
#define side_check(side, condition, ...) ((condition) ? true : side_failed(side, __VA_ARGS__))
#define side_failed(side, ...) side_failed_at(side, __FILE__, __LINE__, __VA_ARGS__)
bool side_failed_at(const struct side *side, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- judge.c ---- */

/* Checks the journal against what the library promises. */
void judge(const struct journal *journal);

#endif
