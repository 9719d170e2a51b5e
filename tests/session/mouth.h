/* SPDX-License-Identifier: MIT */
/*
 * A sending half whose writes are recorded as a speech, to be examined frame by frame or to be read
 * by an ear.
 */
#ifndef SESSION_MOUTH_H
#define SESSION_MOUTH_H

#include <session/speech.h>
#include <session/tx.h>

enum { MOUTH_BUFFER = 16 << 10 };

struct mouth {
	struct tx tx;
	struct speech said;
	/* The descriptors that were written, in order. The first has the number 1 in the speech. */
	int *fds;
	size_t capacity_fds;
	/* How often tx called the events wake, changed and room, and what it woke and released. */
	unsigned wakes, changes, rooms;
	struct tx_claim *woken[512]; /* the first of them */
	unsigned n_released;
	struct outlet *released[128];
	/* Duplicates that tx no longer needs. */
	int spent[1024];
	unsigned n_spent;
};

/* Begins with HELLO due, or with HELLO already written and forgotten. */
void mouth_init(struct mouth *mouth);
void mouth_init_with(struct mouth *mouth, const struct limits *limits);
void mouth_init_after_hello(struct mouth *mouth);
void mouth_end(struct mouth *mouth);
extern const struct tx_events mouth_events;

/* The other side's HELLO arrives. Returns the result of tx_hello(). */
int mouth_hear_hello(struct mouth *mouth, const struct limits *limits);

/* Opens a topic; writes and forgets what that makes due. */
void mouth_open(struct mouth *mouth, struct outlet *outlet, const char *name);

/*
 * Builds a frame of a message that has been charged. The second function is for the first frame of
 * a message that states its total.
 */
void mouth_frame(struct tx_own *own, struct outlet *outlet, uint8_t flags, const void *payload, size_t size,
		 const int *fds, unsigned n_fds);
void mouth_first_frame(struct tx_own *own, struct outlet *outlet, uint8_t flags, uint32_t total, uint32_t overdraft,
		       const void *payload, size_t size, const int *fds, unsigned n_fds);

/* Makes the frame one of this call's request. */
void mouth_call(struct tx_own *own, struct inlet *call);

/*
 * Charges a message, of one frame or of possibly more. There must be credit. Returns the overdraft.
 */
uint32_t mouth_charge(struct mouth *mouth, struct outlet *outlet, size_t size, size_t n_fds);
uint32_t mouth_charge_large(struct mouth *mouth, struct outlet *outlet, size_t size, size_t n_fds);

/* Charges a message and puts it into the buffer. */
void mouth_append(struct mouth *mouth, struct outlet *outlet, const char *text, const int *fds, unsigned n_fds);

/* Writes once, at most `most` bytes. Returns how many were written. */
size_t mouth_write(struct mouth *mouth, struct tx_own *own, size_t most);
/* Writes everything that is pending. */
void mouth_write_all(struct mouth *mouth, struct tx_own *own);
void mouth_forget(struct mouth *mouth);

/*
 * Describes what was written, one frame a line: "open 1 log", "data 1 hello", "data 1 more 12/0
 * frag claims 2 carries 3", …
 */
const char *mouth_text(const struct mouth *mouth);
/* The same for a batch that was made but not written. */
const char *mouth_batch_text(const struct mouth *mouth);

#endif
