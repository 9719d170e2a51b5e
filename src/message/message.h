/* SPDX-License-Identifier: MIT */
/*
 * A message from the inside, and the chunks that received messages look into.
 *
 * A message's payload is its own memory, or a view into a chunk that it keeps alive. Messages that
 * are views lie in their chunk too, so that receiving allocates nothing: a chunk is freed, or used
 * again, when its reader and every message in it have let go of it.
 */
#ifndef MESSAGE_MESSAGE_H
#define MESSAGE_MESSAGE_H

#include <beam/message.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct chunk;
struct block;
struct reaper_account;

/* Told when a received call is freed without having been answered. */
struct message_call {
	void (*dropped)(struct message_call *call);
};

struct beam_message {
	/* So that a payload behind it is aligned to 8 bytes also where no member needs that. */
	_Alignas(8) struct beam_message *next;
	const unsigned char *data;
	size_t size;
	/*
	 * The chunk this message lies in; NULL: it was allocated by itself, and its payload, if not
	 * behind it, is `owned`; or the block.
	 */
	struct chunk *chunk;
	struct block *block;
	unsigned char *owned;
	/* Attachments: descriptors, or the negative errno that tells why one is not there. */
	int *fds;
	uint16_t n_fds, capacity_fds;
	/*
	 * Made by beam_message_new(): the caller may write to it. The last reply to a call; a
	 * failure, whose payload begins with its code.
	 */
	bool writable, last, failed;
	int inline_fds[2];
	/* What the session knows about a received message: whose credit it is, and how much. */
	void *origin;
	uint32_t cost, overdraft;
	/*
	 * Whom the attachments that it came with, the first `n_charged`, are charged to until they
	 * have been taken or closed; NULL: nobody.
	 */
	struct reaper_account *account;
	uint16_t n_charged;
	struct message_call *call;
};

/* A queue of messages. */
struct message_queue {
	struct beam_message *first, **last;
	size_t n;
};

void message_queue_init(struct message_queue *queue);
void message_queue_append(struct message_queue *queue, struct beam_message *message);
/* Takes all of `from`, which is empty afterwards. */
void message_queue_splice(struct message_queue *queue, struct message_queue *from);
struct beam_message *message_queue_take(struct message_queue *queue);

enum {
	/* Payload bytes in a chunk: as much as a read takes at once. */
	CHUNK_BYTES = 64 << 10,
	/* Messages in a chunk; when it has no more the next read goes to another. */
	CHUNK_MESSAGES = 832,
	/* Chunks of one pool in use at once; beyond, messages are copied out. */
	CHUNKS_MAX = 32,
	/* Chunks kept for use again, until the pool is trimmed; bytes in blocks that are. */
	CHUNKS_KEPT = 12,
	BLOCKS_KEPT = 8 << 20,
	/*
	 * Payloads from here on get a block: what is smaller malloc() gives without asking
	 * the kernel for fresh pages.
	 */
	BLOCK_MIN = 16 << 10,
};

struct chunk_pool;

struct chunk {
	struct chunk_pool *pool;
	struct chunk *next;
	unsigned n_messages;
	struct beam_message *messages;
	unsigned char *bytes;
	/*
	 * What consumers write lies on a cache line that the reader, who uses
	 * the rest, does not touch.
	 */
	char apart[64];
	/*
	 * One for the reader and one for each message, those not yet made included: making one
	 * costs no atomic operation.
	 */
	atomic_uint references;
};

/*
 * Where the chunks of a channel come from, and the blocks that large messages lie in; lives until
 * the last of these and its owner have let go of it.
 */
struct chunk_pool *chunk_pool_new(void);
void chunk_pool_release(struct chunk_pool *pool);
/* Frees what is kept for use again. */
void chunk_pool_trim(struct chunk_pool *pool);

/* A chunk for a reader, or NULL: no memory. */
struct chunk *chunk_new(struct chunk_pool *pool);

/* The reader lets go of it: no more messages will be made in it. */
void chunk_unref(struct chunk *chunk);

/* A message lets go of it, and is no more. */
void chunk_leave(struct chunk *chunk);

/*
 * True if nobody but the reader holds it. Then it is as new: it has room for CHUNK_MESSAGES again.
 */
bool chunk_alone(struct chunk *chunk);

/* True while messages may pin another chunk. */
bool chunk_pool_open(struct chunk_pool *pool);

/* A message that views bytes of a chunk; NULL if the chunk has no more. */
struct beam_message *message_view(struct chunk *chunk, const unsigned char *data, size_t size);

/* Begins a message whose payload of `size` bytes, not filled in, lies behind it. */
void message_init(struct beam_message *message, size_t size);

/*
 * A message with memory of its own for `size` bytes, not filled in, and room for
 * attachments; NULL: no memory.
 */
struct beam_message *message_allocate(size_t size);

/* The same, in memory that the pool keeps for use again if it is large. */
struct beam_message *message_allocate_in(struct chunk_pool *pool, size_t size);

/* Where the payload of such a message is filled in. */
static inline unsigned char *message_room(struct beam_message *message)
{
	return message->owned ? message->owned : (unsigned char *)(message + 1);
}

/* For the pool's messages: gives back what one of them lies in. */
void block_return(struct block *block);

/* Room for `n` attachments in all, no more than a message may have; 0 or -ENOMEM. */
int message_reserve_fds(struct beam_message *message, size_t n);

/* Adds an attachment, or the reason for its loss; there must be room. */
void message_put_fd(struct beam_message *message, int fd);

/* Its attachments belong to somebody else now, who does not count for whom they were charged to. */
void message_disown_fds(struct beam_message *message);

/* Frees the message without its attachments, which now belong to somebody else. */
void message_free_shell(struct beam_message *message);

#endif
