/* SPDX-License-Identifier: MIT */
/*
 * The stress test's inside.
 *
 * A round is a channel between two sides, in one process or in two, with 8 sending and 8 receiving
 * threads that are all on one direction or shared by both. Each sender numbers its messages on each
 * topic. What a message is, follows from the round's seed, its side, sender, topic and number alone
 * (content.c), so that a receiver knows each byte and each attachment that it must find. What the
 * threads do is written into a journal in shared memory, which outlives a killed process; judge.c
 * holds it against the contract.
 *
 * At random moments, which are counts of messages and never times, somebody closes or resets a
 * topic, closes the channel, or kills a process.
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

/* What happens to a side when so many messages went through its threads. */
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
	 * Who reads: those who wait, with polling or without; the channel's
	 * thread; a loop of the side's.
	 */
	enum { READ_POLLING, READ_SLEEPING, READ_DEDICATED, READ_LOOP, READ_WAYS } reading[SIDES];
	bool by_fds[SIDES]; /* receivers wait for the topics' descriptors, too */
	unsigned senders[SIDES], receivers[SIDES];
	uint64_t messages[SIDES]; /* that each side sends */
	struct action actions[SIDES][ACTIONS_MAX];
};

/* One sender on one topic. */
struct stream {
	_Atomic uint64_t started;  /* numbers below may have gone */
	_Atomic uint64_t accepted; /* numbers below were said to be sent */
	_Atomic uint64_t received; /* how many came */
	_Atomic uint64_t seen[STREAM_MAX / 64];
};

struct side_journal {
	atomic_bool opened;                     /* all its topics */
	struct stream streams[THREADS][TOPICS]; /* what this side sends */
	/* Set before it is done. */
	atomic_bool topic_closed[TOPICS], topic_reset[TOPICS], channel_closed, killed;
	atomic_bool topic_reset_done[TOPICS];
	_Atomic int64_t left;   /* to be sent */
	_Atomic uint64_t turns; /* messages sent and received, for the actions */
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
	atomic_bool broken; /* something was wrong: all stop early */
};

/* A side, in the process that it lives in. */
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

/* The files that are attached, and the bytes that are sent; made before any process is. */
void content_open(void);
void content_close(void);

struct content {
	uint64_t head; /* the first bytes of a message of a topic with several senders tell whose it is */
	size_t head_size;
	const unsigned char *body;
	size_t body_size;
	unsigned n_fds;
	int fds[ATTACHMENTS_MAX]; /* this process's own, borrowed */
};

/* A topic with one sender a side, and one receiver. */
static inline bool topic_is_solo(unsigned topic)
{
	return topic < SOLO_TOPICS;
}

void content_of(struct content *ret, const struct plan *plan, unsigned side, unsigned sender, unsigned topic,
		uint64_t number);
size_t content_size(const struct content *content);
void content_copy(const struct content *content, void *to);

/* What came, wherever it is kept. */
struct arrival {
	const unsigned char *data;
	size_t size, n_fds;
	const int *fds;
};

/*
 * Finds out which message of the other side this is, and compares. False if it is
 * none, after a failed check.
 */
bool content_check(const struct side *side, unsigned topic, const struct arrival *arrival, unsigned *ret_sender,
		   uint64_t *ret_number);

/* ---- sender.c, receiver.c: threads ---- */

/* The argument is a struct worker. */
void *sender_run(void *argument);
void *receiver_run(void *argument);
/* Runs the side's channel until it is over. The argument is the struct side. */
void *loop_run(void *argument);

/* ---- round.c ---- */

struct journal *journal_new(const struct plan *plan);
void journal_free(struct journal *journal);

/* Both sides, until both have closed; all checks that a side can make of itself are made. */
void round_run(struct journal *journal);

/* A thread of a side has sent or received `n` messages: does what is due. */
void side_turn(struct side *side, uint64_t n);

/*
 * A side's part of a topic's end, also said in the journal. Waits until the other side
 * has opened its topics: of one that was opened and closed before that, without a
 * message, it would never hear.
 */
void side_close_topic(struct side *side, unsigned topic);

/*
 * A check of a side: the first that fails is told and stops the round; what fails then is
 * most often its consequence.
 */
#define side_check(side, condition, ...) ((condition) ? true : side_failed(side, __VA_ARGS__))
#define side_failed(side, ...) side_failed_at(side, __FILE__, __LINE__, __VA_ARGS__)
bool side_failed_at(const struct side *side, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- judge.c ---- */

/* Holds the journal against the contract. */
void judge(const struct journal *journal);

#endif
