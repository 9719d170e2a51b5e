/* SPDX-License-Identifier: MIT */
/*
 * A receiving half with an owner that writes down what it is told, one event a line in the words of
 * tests/golden/README.md, and keeps count of every descriptor.
 */
#ifndef SESSION_EAR_H
#define SESSION_EAR_H

#include <session/rx.h>
#include <session/speech.h>
#include <session/tx.h>

enum { EAR_CALLS = 64 };

/* A call of the other side's that has not been answered with END. */
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
	/* What it says to CREDIT and RESET when no tx judges them: NULL, or a rule. */
	const char *answer;
	/* With a sending half the events go on to it, and it keeps what was granted. */
	struct tx *tx;
	/* Messages are kept in `taken` instead of being thrown away at once. */
	bool keep;
	struct message_queue taken;

	/*
	 * Calls by id: the other side's that are not over; and where, without a sending half,
	 * replies to its own arrive.
	 */
	struct ear_call *calls[EAR_CALLS + 1];
	struct inlet *asked[EAR_CALLS + 1];

	char *text;
	size_t size, capacity;
	/*
	 * Descriptors: those that came and those that the kernel dropped; how
	 * often each was seen again.
	 */
	size_t came, lost;
	/* Of those that were charged, how many are not settled. */
	size_t charged;
	/*
	 * What the other side asked for and gave back last; how often it asked
	 * whether anybody is there.
	 */
	uint32_t wanted, returned;
	unsigned asked_whether_there;
	unsigned char *seen_fds;
	size_t capacity_fds;
	bool goodbye;
};

/* 0 or -ENOMEM. */
int ear_init(struct ear *ear, const struct limits *limits);
int ear_init_with(struct ear *ear, const struct limits *limits, struct tx *tx);
/*
 * Ends it, and checks that each descriptor that came has come out again, once: delivered or
 * discarded.
 */
void ear_end(struct ear *ear);

/* One read of what was said: rx_took()'s result, or 1 if there was nothing left. */
int ear_read(struct ear *ear, struct hearing *hearing, size_t most);
/* All that was said in reads of at most so much: 0, or the error that ended it. */
int ear_listen(struct ear *ear, const struct speech *speech, size_t most);

/* What was written down since the last time. */
const char *ear_text(const struct ear *ear);
void ear_forget(struct ear *ear);
/*
 * Such a text with the events that have no order among each other, those of different topics,
 * sorted apart: how they were read shows in their order. Static memory, two texts at a time.
 */
const char *events_sorted(const char *text);

/* The rule that was broken, without its explanation; "" if none was. */
const char *ear_rule(const struct ear *ear);

/* The inlet of an id that was opened once. */
struct inlet *ear_inlet(struct ear *ear, uint32_t id);

/* What comes on this topic from now on is thrown away, as after a RESET. */
void ear_discard(struct ear *ear, uint32_t id);

/* A call of the other side's is over, as if its END had gone. */
void ear_forget_call(struct ear *ear, uint32_t id);

/* Where replies to a call arrive, from now on. */
void ear_ask(struct ear *ear, struct inlet *inlet, uint32_t id);

/* Gives up a message that was kept. */
void ear_drop(struct ear *ear, struct beam_message *message);

/* A text of payload as the golden transcripts have it. */
void payload_text(char to[80], const void *payload, size_t size);

#endif
