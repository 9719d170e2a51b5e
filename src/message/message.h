/* SPDX-License-Identifier: MIT */
/*
 * The inside of a message, and the chunks that received messages point into.
 *
 * A message's payload is in its own memory, or is a view into a chunk that the message keeps alive.
 * A message that is a view is in its chunk itself, so receiving it allocates nothing. A chunk is
 * freed or used again when its reader and every message in it have released it.
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

/* Notified when the message of a received call is freed, whether or not it was answered. */
struct message_call {
	void (*dropped)(struct message_call *call);
};

struct beam_message {
	/* So that a payload behind it is aligned to 8 bytes even where no member needs that. */
	_Alignas(8) struct beam_message *next;
	const unsigned char *data;
	size_t size;
	/*
	 * The chunk or block that this message is in. If both are NULL, it was allocated by itself,
	 * and its payload, if not behind it, is `owned`.
	 */
	struct chunk *chunk;
	struct block *block;
	unsigned char *owned;
	/* Attachments: descriptors, or the negative errno that tells why one is not there. */
	int *fds;
	uint16_t n_fds, capacity_fds;
	/*
	 * `writable`: made by beam_message_new(), so the caller may write to it. `last`: the last
	 * reply to a call. `failed`: a failure, whose payload begins with its code.
	 */
	bool writable, last, failed;
	int inline_fds[2];
	/* What the session knows about a received message: whose credit it is, and how much. */
	void *origin;
	uint32_t cost, overdraft;
	/*
	 * The first `n_charged` attachments came with the message, and are charged to this account
	 * until they have been taken or closed. NULL: no account.
	 */
	struct reaper_account *account;
	uint16_t n_charged;
	struct message_call *call;
};

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
	/* The bytes that a chunk holds: as many as one read takes. */
	CHUNK_BYTES = 64 << 10,
	/*
	 * Messages in a chunk. Further ones are copied out, until the reader goes on to another
	 * chunk.
	 */
	CHUNK_MESSAGES = 832,
	/* Chunks of one pool that are in use at once. Beyond that, messages are copied out. */
	CHUNKS_MAX = 32,
	/*
	 * How many chunks, and how many bytes in blocks, are kept to be used again until the pool
	 * is trimmed.
	 */
	CHUNKS_KEPT = 12,
	BLOCKS_KEPT = 8 << 20,
	/*
	 * Payloads from this size on get a block. For smaller ones malloc() does not ask the kernel
	 * for fresh pages.
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
	/* What consumers write is on another cache line than the rest, which the reader uses. */
	char apart[64];
	/*
	 * One for the reader and one for each message, including those that are not yet made. So
	 * making a message costs no atomic operation.
	 */
	atomic_uint references;
};

/*
 * A pool of the chunks of a channel, and of the blocks that large messages are in. It lives until
 * the last of these and its owner have released it.
 */
struct chunk_pool *chunk_pool_new(void);
void chunk_pool_release(struct chunk_pool *pool);
/* Frees what is kept for use again. */
void chunk_pool_trim(struct chunk_pool *pool);

/* Returns a chunk for a reader, or NULL if there is no memory. */
struct chunk *chunk_new(struct chunk_pool *pool);

/* The reader releases it. No more messages will be made in it. */
void chunk_unref(struct chunk *chunk);

/* A message in the chunk releases it, and must not be used any more. */
void chunk_leave(struct chunk *chunk);

/*
 * Returns true if only the reader holds it. Then it is as new, with room for CHUNK_MESSAGES
 * messages.
 */
bool chunk_alone(struct chunk *chunk);

/* Whether messages may keep another chunk in use. */
bool chunk_pool_open(struct chunk_pool *pool);

/*
 * Makes a message that is a view of bytes of a chunk. Returns NULL if the chunk has no message
 * left.
 */
struct beam_message *message_view(struct chunk *chunk, const unsigned char *data, size_t size);

/* Initialises a message whose payload of `size` bytes, not filled in, is behind it. */
void message_init(struct beam_message *message, size_t size);

/*
 * Allocates a message with memory of its own for `size` bytes, not filled in, and room for
 * attachments. Returns NULL if there is no memory.
 */
struct beam_message *message_allocate(size_t size);

/* The same, but a large message is in a block, which the pool keeps for use again. */
struct beam_message *message_allocate_in(struct chunk_pool *pool, size_t size);

/* Where the payload of such a message is filled in. */
static inline unsigned char *message_room(struct beam_message *message)
{
	return message->owned ? message->owned : (unsigned char *)(message + 1);
}

/* Gives back the block that a message of the pool was in. */
void block_return(struct block *block);

/*
 * Makes room for `n` attachments in total, no more than a message may have. Returns 0 or -ENOMEM.
 */
int message_reserve_fds(struct beam_message *message, size_t n);

/* Adds an attachment, or the reason for its loss; there must be room. */
void message_put_fd(struct beam_message *message, int fd);

/*
 * Removes the attachments from a message, because they belong to somebody else now. They no longer
 * count for the account that they were charged to.
 */
void message_disown_fds(struct beam_message *message);

/* Frees the message without its attachments, which now belong to somebody else. */
void message_free_shell(struct beam_message *message);

#endif
