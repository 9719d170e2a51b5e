/* SPDX-License-Identifier: MIT */
/*
 * A channel that is examined from the inside. The other end is a raw peer, so the test decides when
 * something arrives.
 */
#ifndef CHANNEL_SCENE_H
#define CHANNEL_SCENE_H

#include <channel/internal.h>
#include <harness/harness.h>
#include <hostile/raw_peer.h>
#include <public/ends.h>
#include <stdatomic.h>

enum { TOPICS = 4 };

extern struct raw_peer peer;
extern struct raw_out out;
extern beam_channel *channel;
/* Of both sides: "a", "b", and so on; the peer's ids are 1, 2, and so on. */
extern beam_topic *topics[TOPICS];

/* The default options, without a thread. */
struct beam_channel_options looped(void);

void begin(const struct beam_channel_options *options);
/*
 * The same, and everything that the channel sends of its own accord has been written. So the next
 * thread to write writes itself, and is the first.
 */
void begin_settled(const struct beam_channel_options *options);
/*
 * The same with little room in the socket and in the buffer, until the peer reads. NULL: the
 * default options.
 */
void begin_narrow(const struct beam_channel_options *options);
void end(void);
/* The peer sends a message, which is in the socket when this returns. */
void say(unsigned topic, const char *text);
/* The channel sends a message. The second function attaches standard input. */
int send_words(unsigned topic, const char *text, beam_deadline deadline);
int send_stdin(unsigned topic, const char *text, beam_deadline deadline);
/* The peer reads a message, which must be this one. */
void expect_of_peer(unsigned topic, const char *text, unsigned n_fds);
/* Sends messages of 3,000 bytes until there is no room for another. Returns how many. */
unsigned fill(void);

/* The state of the reading right. */
struct view {
	enum standby mode;
	bool taken;
	unsigned waiters;
	uint64_t led;
};

struct view view(void);
bool is(enum standby mode, bool taken);
/*
 * Sets how many quick returns there were, and from how many on a thread that leaves is expected
 * back. Both stay as they are for the rest of the test.
 */
void rely(unsigned returns, unsigned relied_from);
unsigned relied_from(void);
/* True if no thread of the library wakes within ten ticks. */
bool is_silent(void);

uint64_t queued(beam_topic *topic);
void expect_nothing(beam_topic *topic);
bool is_readable(int fd);

/*
 * How many threads wait for the writing right or for room in the buffer; whether somebody is
 * writing, or something is left to write.
 */
unsigned writers(void);
bool is_written_to(beam_channel *of);

/* A thread that receives one message. */
struct receiver {
	unsigned topic;
	beam_deadline deadline;
	pthread_t thread;
	int result;
	atomic_bool done;
};

void start(struct receiver *receiver, unsigned topic, beam_deadline deadline);
void finish(struct receiver *receiver, int result);

/* Takes the right so often that the channel's thread only ticks. */
void make_it_tick(void);

#endif
