/* SPDX-License-Identifier: MIT */
/*
 * Topics that share the credit of one channel, messages that take credit or wait for it, and credit
 * from the other side.
 */
#ifndef SESSION_SHARES_H
#define SESSION_SHARES_H

#include <session/talk.h>

enum {
	TOPICS = 20,
	/*
	 * The channel's attachments in these tests; little, which is 3/64; three quarters; a
	 * quarter.
	 */
	ALL = 640,
	LITTLE = 30,
	KEPT = 480,
	QUARTER = 160,
	/* The same for the pool. */
	POOL = 1 << 20,
	POOL_LITTLE = 3 << 14,
	POOL_KEPT = 3 << 18,
	POOL_QUARTER = 1 << 18,
};

static struct outlet topics[TOPICS];

static inline struct limits limits_of(uint32_t attachments)
{
	struct limits limits = limits_base;

	limits.message_attachments = FRAME_CARRIED_MAX;
	limits.topic_attachments = 10000;
	limits.attachments = attachments;
	return limits;
}

static inline void hear_hello(uint32_t attachments, uint32_t features)
{
	const struct hello hello = {
	    .version = PROTOCOL_VERSION, .features = features, .limits = limits_of(attachments)};

	check_int(tx_hello(&mouth.tx, &hello), 0);
}

static inline void open_topics(void)
{
	static char names[TOPICS][8];

	for (int i = 0; i < TOPICS; i++) {
		sprintf(names[i], "t%d", i);
		mouth_open(&mouth, &topics[i], names[i]);
	}
}

/* All topics are open, and the other side grants ALL attachments. */
static inline void begin(void)
{
	mouth_init_after_hello(&mouth);
	hear_hello(ALL, 0);
	open_topics();
}

static inline void end(void)
{
	check(list_empty(&mouth.tx.claims));
	mouth_end(&mouth);
}

/* Charges a message with `n` attachments. Returns 0 or -EAGAIN. */
static inline int take(struct outlet *topic, size_t n)
{
	uint32_t overdraft;

	return try_charge(topic, 0, n, &overdraft);
}

/*
 * Uses up the topic's window but for MESSAGE_COST. Returns the size of a message that then needs
 * `n` bytes of the pool.
 */
static inline size_t needs_of_pool(struct outlet *topic, size_t n)
{
	topic->used_bytes = topic->limit_bytes - MESSAGE_COST;
	return n;
}

static inline int take_pool(struct outlet *topic, size_t n)
{
	uint32_t overdraft = 0;
	int r = try_charge(topic, needs_of_pool(topic, n), 0, &overdraft);

	check(r || overdraft == n);
	return r;
}

/* Puts a claim into the line. */
static inline void wait_for(struct outlet *topic, struct tx_claim *claim, size_t size, size_t n_fds)
{
	*claim = claim_of(size, n_fds, false);
	list_init(&claim->link);
	check_int(try_claim(topic, claim), -EAGAIN);
	check(list_linked(&claim->link) && !claim->woken);
}

static inline void stop(struct tx_claim *claim)
{
	tx_unclaim(&mouth.tx, claim->outlet, claim);
}

/* Tries the claim again, which must succeed. */
static inline void go_on(struct tx_claim *claim)
{
	struct outlet *topic = claim->outlet;

	check_int(try_claim(topic, claim), 0);
	tx_unclaim(&mouth.tx, topic, claim);
	tx_complete(&mouth.tx, topic, false);
}

static inline const char *credit(uint32_t id, uint32_t bytes, uint32_t attachments)
{
	return tx_credit(&mouth.tx, id, bytes, attachments, false);
}

static inline const char *overdraft_back(uint32_t id, uint32_t bytes)
{
	return tx_credit(&mouth.tx, id, bytes, 0, true);
}

/* Writes everything. Returns the description of what was written. */
static inline const char *said(void)
{
	static char text[65536];

	mouth_write_all(&mouth, NULL);
	snprintf(text, sizeof text, "%s", mouth_text(&mouth));
	mouth_forget(&mouth);
	return text;
}

#endif
