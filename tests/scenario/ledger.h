/* SPDX-License-Identifier: MIT */
/*
 * Two channels, the ends of one connection, while calls fail; and the ledger: what each sender was
 * told, what came at the other side, and whether the two agree. What comes is a gap-free beginning
 * of what was accepted, byte for byte and with its attachments; it is all of it if the receiver was
 * told that there is no more.
 *
 * A fault may be of two kinds. Some pass by themselves, and nobody may notice: the ledger is
 * strict, waits are long, every result is the one of a machine without faults. After the others
 * every documented result will do, and waits are short.
 */
#ifndef SCENARIO_LEDGER_H
#define SCENARIO_LEDGER_H

#include <beam/beam.h>
#include <harness/fault.h>
#include <harness/harness.h>

/* Nobody may notice the fault. It, and the next two, are of those who make the faults. */
extern bool strict;

enum { LINGER_MS = 5, LONG_MS = 20000 };

/*
 * Long enough for what ought to happen, if the ledger is strict; else so short, for a whole run,
 * that a sweep can afford it.
 */
beam_deadline soon(void);

/*
 * True if a result is right though no documentation names it: the error itself that was injected.
 */
bool excused(long long result);

enum { LEDGER_LAST = 1 << 30 };
/*
 * A result of this function that its documentation names, or is excused, or if the ledger is strict
 * the good one. True if it is `good`.
 */
#define result_of(call, good, ...) ledger_result(call, good, #call, (const int[]){__VA_ARGS__, LEDGER_LAST})
bool ledger_result(long long result, long long good, const char *call, const int *documented);

/* ---- Messages: numbered, and known by their bytes. ------------------------------------------- */

enum { HEAD = 12, FLOW_MAX = 4096, ATTACHED = 4 };

/*
 * What may be attached, to be told apart by their inodes. Opened before the
 * sweep and closed after it.
 */
extern int attached[ATTACHED];
void attached_open(void);
void attached_close(void);

/* A message object with the first `n_fds` of them in it, every second one given: 0, or an error. */
int ledger_message(beam_message **ret, const unsigned char *bytes, size_t size, size_t n_fds);

/* How a message is sent; GIVEV: as by SENDV, with descriptors that are given away. */
enum way { SEND, SENDV, SEND_MESSAGE, SEND_MANY, GIVEV };

/* One direction of a topic. */
struct flow {
	uint32_t next;
	size_t n_accepted, n_received;
	struct ledger_entry {
		uint32_t number, size;
	} accepted[FLOW_MAX], received[FLOW_MAX];
	/* Its receiver was told, in order, that there is no more. */
	bool over;
};

/*
 * Sends the flow's next message, of `size` bytes, 0 or at least HEAD, with the first
 * `n_fds` of what may be attached.
 */
int flow_send_until(struct flow *flow, beam_topic *topic, enum way way, size_t size, size_t n_fds,
		    beam_deadline deadline);
int flow_send(struct flow *flow, beam_topic *topic, enum way way, size_t size, size_t n_fds);
/* Sends `n` messages at once by beam_topic_send_many(): how many went, or an error. */
ssize_t flow_send_many(struct flow *flow, beam_topic *topic, size_t n, size_t size, size_t n_fds);
/* The same, with descriptors that are given away. */
ssize_t flow_give_many(struct flow *flow, beam_topic *topic, size_t n, size_t size, size_t n_fds);
/*
 * Duplicates of what may be attached, to be given away; still ours, since it failed: closes them.
 */
void given_make(int *ret_fds, size_t n_fds);
void given_take_back(const int *fds, size_t n_fds);
/* Receives one, at most `n`, or one into a buffer; as the functions of the interface. */
int flow_receive_until(struct flow *flow, beam_topic *topic, beam_deadline deadline);
int flow_receive(struct flow *flow, beam_topic *topic);
ssize_t flow_receive_many(struct flow *flow, beam_topic *topic, size_t n);
int flow_receive_into(struct flow *flow, beam_topic *topic, size_t capacity);
/* A message that was received by other means; frees it. */
void flow_note(struct flow *flow, beam_message *message);
/* Receives until there is no more, or it fails: the last result. */
int flow_drain(struct flow *flow, beam_topic *topic);
/* What came is what was accepted. */
void flow_check(const struct flow *flow);

/* ---- Ends ------------------------------------------------------------------------------------ */

struct ends {
	beam_channel *channel[2];
	beam_topic *topic[2];
	/* What side 0 sends on its topic, what side 1 does. */
	struct flow flow[2];
};

/* The defaults, with a short linger where it may come to that. */
struct beam_channel_options ends_options(void);
/* A socket pair of the kernel's, not through the seam. */
void ends_sockets(int fds[2]);
/* A channel of `fd`, which is closed if it cannot be made: then NULL. */
beam_channel *ends_channel(int fd, const struct beam_channel_options *options);
/*
 * Both channels with the topic "topic" open; NULL: it failed, and nothing is left.
 * NULL: ends_options(). Only side 1 may refuse topics, and opens its own first, so
 * that it does not refuse that.
 */
struct ends *ends_make(const struct beam_channel_options *options);
/*
 * Takes what is still on its way, both sides closing their topic, then their channel; compares all
 * with the ledger; lets go of everything.
 */
void ends_finish(struct ends *ends);
/* Sends by `send` on side 0's topic while another thread receives; then as ends_finish(). */
void ends_send_to_reader(struct ends *ends, void (*send)(struct flow *flow, beam_topic *topic));
/* Lets go of everything as it is, in one of ENDS_ORDERS orders; compares what came. */
enum { ENDS_ORDERS = 4 };
void ends_release(struct ends *ends, int order);
/* beam_channel_close() within its documentation. */
int ends_close(beam_channel *channel);
/* Neither side broke a rule. */
void ends_check_breach(const struct ends *ends);

#endif
