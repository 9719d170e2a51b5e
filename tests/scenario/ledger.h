/* SPDX-License-Identifier: MIT */
/*
 * Two connected channels for tests in which system calls fail, and a ledger of what was sent and
 * received. What is received must be a prefix of what was accepted, without gaps, byte for byte and
 * with all attachments. If the receiver has got the end of the topic, it must be everything.
 *
 * There are two kinds of faults. Some must have no visible effect. Then the ledger is strict:
 * deadlines are long, and all results must be those without a fault. For other faults every
 * documented result is right, and deadlines are short.
 */
#ifndef SCENARIO_LEDGER_H
#define SCENARIO_LEDGER_H

#include <beam/beam.h>
#include <harness/fault.h>
#include <harness/harness.h>

/*
 * The fault must have no visible effect. This variable and the next two functions are defined by
 * the program that injects the faults.
 */
extern bool strict;

enum { LINGER_MS = 5, LONG_MS = 20000 };

/*
 * If the ledger is strict, a deadline for what is expected to happen. Otherwise a short deadline,
 * the same for the whole run, so that a sweep does not take too long.
 */
beam_deadline soon(void);

/*
 * True if the result is an error that was injected. Such an error is right even if it is not
 * documented.
 */
bool excused(long long result);

enum { LEDGER_LAST = 1 << 30 };
/*
 * Checks the result of a call: it must be `good`. If the ledger is not strict, it may also be one
 * of the documented results that follow, or excused. Returns true if it is `good`.
 */
#define result_of(call, good, ...) ledger_result(call, good, #call, (const int[]){__VA_ARGS__, LEDGER_LAST})
bool ledger_result(long long result, long long good, const char *call, const int *documented);

/* ---- Numbered messages, which their contents identify ---------------------------------------- */

enum { HEAD = 12, FLOW_MAX = 4096, ATTACHED = 4 };

/*
 * The files to attach, which are told apart by their inodes. They are opened before the sweep and
 * closed after it.
 */
extern int attached[ATTACHED];
void attached_open(void);
void attached_close(void);

/*
 * Makes a message with the first `n_fds` of them, every second one borrowed. Returns 0 or an error.
 */
int ledger_message(beam_message **ret, const unsigned char *bytes, size_t size, size_t n_fds);

/* How a message is sent. GIVEV is SENDV with descriptors that are given. */
enum way { SEND, SENDV, SEND_MESSAGE, SEND_MANY, GIVEV };

/* One direction of a topic. */
struct flow {
	uint32_t next;
	size_t n_accepted, n_received;
	struct ledger_entry {
		uint32_t number, size;
	} accepted[FLOW_MAX], received[FLOW_MAX];
	/* The receiver got the end of the topic. */
	bool over;
};

/*
 * Sends the flow's next message. `size` is 0 or at least HEAD. The first `n_fds` files are
 * attached.
 */
int flow_send_until(struct flow *flow, beam_topic *topic, enum way way, size_t size, size_t n_fds,
		    beam_deadline deadline);
int flow_send(struct flow *flow, beam_topic *topic, enum way way, size_t size, size_t n_fds);
/* Sends `n` messages with beam_topic_send_many(). Returns the number that was sent, or an error. */
ssize_t flow_send_many(struct flow *flow, beam_topic *topic, size_t n, size_t size, size_t n_fds);
/* The same with descriptors that are given. */
ssize_t flow_give_many(struct flow *flow, beam_topic *topic, size_t n, size_t size, size_t n_fds);
/*
 * Makes duplicates of the files, to be given. If giving has failed, given_take_back() checks that
 * they still belong to the caller, and closes them.
 */
void given_make(int *ret_fds, size_t n_fds);
void given_take_back(const int *fds, size_t n_fds);
/*
 * Receive one message, at most `n`, or one into a buffer. They return what the functions of the
 * library return.
 */
int flow_receive_until(struct flow *flow, beam_topic *topic, beam_deadline deadline);
int flow_receive(struct flow *flow, beam_topic *topic);
ssize_t flow_receive_many(struct flow *flow, beam_topic *topic, size_t n);
int flow_receive_into(struct flow *flow, beam_topic *topic, size_t capacity);
/* Notes a message that was received otherwise, and frees it. */
void flow_note(struct flow *flow, beam_message *message);
/* Receives until the end or an error. Returns the last result. */
int flow_drain(struct flow *flow, beam_topic *topic);
/* Checks that what was received is what was accepted. */
void flow_check(const struct flow *flow);

/* ---- Ends ------------------------------------------------------------------------------------ */

struct ends {
	beam_channel *channel[2];
	beam_topic *topic[2];
	/* What side 0 sends on its topic, and what side 1 sends. */
	struct flow flow[2];
};

/* The defaults, with a short linger time unless the ledger is strict. */
struct beam_channel_options ends_options(void);
/* A socket pair that is not made through the seam. */
void ends_sockets(int fds[2]);
/* Makes a channel of `fd`. Returns NULL and closes `fd` if that fails. */
beam_channel *ends_channel(int fd, const struct beam_channel_options *options);
/*
 * Makes both channels, with the topic "topic" open. Returns NULL if that fails, and then nothing is
 * left. The options NULL are ends_options(). Only side 1 refuses unknown topics. It opens its topic
 * first, so that it does not refuse that.
 */
struct ends *ends_make(const struct beam_channel_options *options);
/*
 * Receives what is still under way, while both sides close their topics and then their channels.
 * Compares everything with the ledger, and releases it.
 */
void ends_finish(struct ends *ends);
/*
 * Calls `send` with side 0's topic while another thread receives. Then does what ends_finish()
 * does.
 */
void ends_send_to_reader(struct ends *ends, void (*send)(struct flow *flow, beam_topic *topic));
/* Releases everything as it is, in one of ENDS_ORDERS orders, and checks what was received. */
enum { ENDS_ORDERS = 4 };
void ends_release(struct ends *ends, int order);
/* Calls beam_channel_close(), and checks that the result is documented. */
int ends_close(beam_channel *channel);
/* Checks that neither side broke a rule. */
void ends_check_breach(const struct ends *ends);

#endif
