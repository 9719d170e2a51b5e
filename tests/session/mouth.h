/* SPDX-License-Identifier: MIT */
/*
 * A sending half whose writes are written down as a speech, to be looked at
 * frame by frame or listened to.
 */
#ifndef SESSION_MOUTH_H
#define SESSION_MOUTH_H

#include <session/speech.h>
#include <session/tx.h>

enum { MOUTH_BUFFER = 16 << 10 };

struct mouth {
	struct tx tx;
	struct speech said;
	/* Which descriptors went, in order: the first has number 1 in the speech. */
	int *fds;
	size_t capacity_fds;
	/* What the session told. */
	unsigned wakes, changes, rooms;
	struct tx_claim *woken[512]; /* the first of them */
	unsigned n_released;
	struct outlet *released[128];
	/* Duplicates that the session is done with. */
	int spent[1024];
	unsigned n_spent;
};

/* Ready to speak: with HELLO due, or already gone and forgotten. */
void mouth_init(struct mouth *mouth);
void mouth_init_with(struct mouth *mouth, const struct limits *limits);
void mouth_init_after_hello(struct mouth *mouth);
void mouth_end(struct mouth *mouth);
extern const struct tx_events mouth_events;

/* The other side's HELLO has come: tx_hello()'s result. */
int mouth_hear_hello(struct mouth *mouth, const struct limits *limits);

/* A topic: opened, and what that makes written and forgotten. */
void mouth_open(struct mouth *mouth, struct outlet *outlet, const char *name);

/*
 * A frame of `size` bytes of a text, charged already; `total` is given for the first of a
 * message that needs it, else 0.
 */
void mouth_frame(struct tx_own *own, struct outlet *outlet, uint8_t flags, const void *payload, size_t size,
		 const int *fds, unsigned n_fds);
void mouth_first_frame(struct tx_own *own, struct outlet *outlet, uint8_t flags, uint32_t total, uint32_t overdraft,
		       const void *payload, size_t size, const int *fds, unsigned n_fds);

/* The frame is of this call's request. */
void mouth_call(struct tx_own *own, struct inlet *call);

/*
 * Charges a message of one frame, or one that may take more, which must be possible; the overdraft.
 */
uint32_t mouth_charge(struct mouth *mouth, struct outlet *outlet, size_t size, size_t n_fds);
uint32_t mouth_charge_large(struct mouth *mouth, struct outlet *outlet, size_t size, size_t n_fds);

/* Charges a text as a message, and puts it into the buffer. */
void mouth_append(struct mouth *mouth, struct outlet *outlet, const char *text, const int *fds, unsigned n_fds);

/* One write of at most so many bytes: how many went. */
size_t mouth_write(struct mouth *mouth, struct tx_own *own, size_t most);
/* Writes all that is pending. */
void mouth_write_all(struct mouth *mouth, struct tx_own *own);
void mouth_forget(struct mouth *mouth);

/*
 * What was said, a frame a line: "open 1 log", "data 1 hello", "data 1 more sized 12/0
 * frag claims 2 carries 3", …
 */
const char *mouth_text(const struct mouth *mouth);
/* The same of a batch that was made and not written. */
const char *mouth_batch_text(const struct mouth *mouth);

#endif
