/* SPDX-License-Identifier: MIT */
/*
 * A receiving half whose owner records the events, one a line in the format of
 * tests/golden/README.md, and counts every descriptor.
 */
#ifndef SESSION_EAR_H
#define SESSION_EAR_H

#include <session/rx.h>
#include <session/speech.h>
#include <session/tx.h>

enum { EAR_CALLS = 64 };

/* A call of the other side that has not been answered with END. */
struct ear_call {
	struct message_call handle;
	struct ear *ear;
	uint32_t id;
	struct outlet outlet;
};

struct ear {
	struct limits limits;
	struct rx rx;
	_Atomic uint64_t granted_pool, granted_attachments;
	/* Returned for CREDIT and RESET if there is no tx to judge them: NULL, or a rule. */
	const char *answer;
	/*
	 * The sending half, or NULL. It gets the events, and keeps the counters of what was
	 * granted.
	 */
	struct tx *tx;
	/* Messages are kept in `taken` instead of being dropped at once. */
	bool keep;
	struct message_queue taken;

	/*
	 * By call id: the other side's calls that are not over, and (without a sending half) the
	 * inlets for replies to this side's calls.
	 */
	struct ear_call *calls[EAR_CALLS + 1];
	struct inlet *asked[EAR_CALLS + 1];

	char *text;
	size_t size, capacity;
	/*
	 * How many descriptors arrived, and how many the kernel dropped. `seen_fds` counts how
	 * often each was delivered or discarded.
	 */
	size_t came, lost;
	/* How many descriptors were charged and are not settled yet. */
	size_t charged;
	/* The arguments of the last WANT and RETURN, and the number of PINGs that asked. */
	uint32_t wanted, returned;
	unsigned asked_whether_there;
	unsigned char *seen_fds;
	size_t capacity_fds;
	bool goodbye;
};

/* Both return 0 or -ENOMEM. */
int ear_init(struct ear *ear, const struct limits *limits);
int ear_init_with(struct ear *ear, const struct limits *limits, struct tx *tx);
/* Ends it, and checks that each descriptor that arrived was delivered or discarded exactly once. */
void ear_end(struct ear *ear);

/* Reads once. Returns the result of rx_offer() or rx_took(), or 1 if nothing is left. */
int ear_read(struct ear *ear, struct hearing *hearing, size_t most);
/* Reads all of a speech, at most `most` bytes at a time. Returns 0, or the error that ended it. */
int ear_listen(struct ear *ear, const struct speech *speech, size_t most);

/* The events since the last ear_forget(). */
const char *ear_text(const struct ear *ear);
void ear_forget(struct ear *ear);
/*
 * Sorts the events of such a text by topic, call or kind. Only within these does their order not
 * depend on the reads. The result is in static memory, which holds two at a time.
 */
const char *events_sorted(const char *text);

/* The name of the rule that was broken, or "". */
const char *ear_rule(const struct ear *ear);

/* The inlet of an id that has been opened. */
struct inlet *ear_inlet(struct ear *ear, uint32_t id);

/* From now on messages on this topic are discarded, as after a RESET. */
void ear_discard(struct ear *ear, uint32_t id);

/* Forgets a call of the other side, as if its END had been sent. */
void ear_forget_call(struct ear *ear, uint32_t id);

/* Sets the inlet for the replies to a call. */
void ear_ask(struct ear *ear, struct inlet *inlet, uint32_t id);

/* Drops a message that was kept. */
void ear_drop(struct ear *ear, struct beam_message *message);

/* Formats a payload as in the golden transcripts. */
void payload_text(char to[80], const void *payload, size_t size);

#endif
