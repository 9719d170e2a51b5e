/* SPDX-License-Identifier: MIT */
/*
 * A reader reads into chunks, and received messages point into them. A large message is in a block
 * by itself. Both are used again rather than freed, because fresh pages cost more than filling
 * them. What has not been used for a while is trimmed by the owner.
 *
 * One allocation holds the chunk, its messages and, last, its bytes, so that a memory checker sees
 * a write past their end. The pool is freed by whoever releases it last: its owner, a chunk or a
 * block. All of these are counted under its lock, so whoever finds none left may free it.
 *
 * A forked child leaves pools and chunks of its parent alone, because a thread that does not exist
 * in the child may have held the lock.
 */
#include <base/annotate.h>
#include <base/sys.h>
#include <base/thread.h>
#include <message/message.h>

struct chunk_pool {
	uint32_t process;
	pthread_mutex_t lock;
	/* Chunks in use. Changed under the lock, read without it. */
	atomic_uint n_live;
	unsigned n_blocks; /* in use */
	bool owned;
	struct chunk *kept;
	unsigned n_kept;
	struct block *blocks; /* kept, the last used first */
	size_t blocks_kept;
};

/* The message follows, and then its payload. */
struct block {
	struct chunk_pool *pool;
	struct block *next;
	size_t capacity; /* of all that follows */
};

struct chunk_pool *chunk_pool_new(void)
{
	struct chunk_pool *pool;

	if (process_prepare() < 0)
		return NULL;
	pool = sys_malloc(sizeof *pool);
	if (!pool)
		return NULL;
	*pool = (struct chunk_pool){.process = process_id(), .owned = true};
	pthread_mutex_init(&pool->lock, NULL);
	annotate_atomic(&pool->n_live);
	return pool;
}

static void pool_free(struct chunk_pool *pool)
{
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

/* True if nobody needs the pool any more. Its lock is held. */
static bool is_last(struct chunk_pool *pool)
{
	return !pool->owned && !pool->n_blocks && atomic_load(&pool->n_live) == 0;
}

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/*
 * Frees a chunk, and returns its pages to the kernel, because the C library would keep them. A
 * failure to return them is harmless.
 */
static void chunk_free(struct chunk *chunk)
{
	size_t size = (size_t)(chunk->bytes + CHUNK_BYTES - (unsigned char *)chunk);

	sys_madvise(chunk, size - size % page_size(), MADV_DONTNEED);
	free(chunk);
}

/* Frees all that is kept, and releases the lock. */
static void trim(struct chunk_pool *pool)
{
	struct chunk *chunk = pool->kept;
	struct block *block = pool->blocks;

	pool->kept = NULL;
	pool->blocks = NULL;
	pool->n_kept = 0;
	pool->blocks_kept = 0;
	pthread_mutex_unlock(&pool->lock);
	while (chunk) {
		struct chunk *next = chunk->next;

		chunk_free(chunk);
		chunk = next;
	}
	while (block) {
		struct block *next = block->next;

		free(block);
		block = next;
	}
}

void chunk_pool_trim(struct chunk_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	trim(pool);
}

void chunk_pool_release(struct chunk_pool *pool)
{
	bool last;

	if (pool->process != process_id())
		return;
	pthread_mutex_lock(&pool->lock);
	pool->owned = false;
	last = is_last(pool);
	trim(pool);
	if (last)
		pool_free(pool);
}

/* Sets the number of references: the reader's and those of all messages not yet made. */
static void chunk_reset(struct chunk *chunk)
{
	chunk->n_messages = 0;
	atomic_store_explicit(&chunk->references, 1 + CHUNK_MESSAGES, memory_order_relaxed);
}

static struct chunk *chunk_allocate(struct chunk_pool *pool)
{
	struct chunk *chunk =
	    sys_aligned_alloc(page_size(), sizeof *chunk + CHUNK_MESSAGES * sizeof *chunk->messages + CHUNK_BYTES);

	if (!chunk)
		return NULL;
	chunk->pool = pool;
	chunk->messages = (struct beam_message *)(chunk + 1);
	chunk->bytes = (unsigned char *)(chunk->messages + CHUNK_MESSAGES);
	annotate_atomic(&chunk->references);
	return chunk;
}

struct chunk *chunk_new(struct chunk_pool *pool)
{
	struct chunk *chunk;

	pthread_mutex_lock(&pool->lock);
	chunk = pool->kept;
	if (chunk) {
		pool->kept = chunk->next;
		pool->n_kept--;
	} else {
		chunk = chunk_allocate(pool);
	}
	if (chunk)
		atomic_fetch_add(&pool->n_live, 1);
	pthread_mutex_unlock(&pool->lock);
	if (chunk)
		chunk_reset(chunk);
	return chunk;
}

/* Keeps a chunk to be used again, or frees it. Frees the pool too if nobody else needs it. */
static void chunk_return(struct chunk *chunk)
{
	struct chunk_pool *pool = chunk->pool;
	bool keep, last;

	pthread_mutex_lock(&pool->lock);
	keep = pool->owned && pool->n_kept < CHUNKS_KEPT;
	if (keep) {
		chunk->next = pool->kept;
		pool->kept = chunk;
		pool->n_kept++;
	}
	atomic_fetch_sub(&pool->n_live, 1);
	last = is_last(pool);
	pthread_mutex_unlock(&pool->lock);

	if (!keep)
		free(chunk);
	if (last)
		pool_free(pool);
}

static void chunk_drop(struct chunk *chunk, unsigned n)
{
	if (chunk->pool->process != process_id())
		return;
	annotate_release(&chunk->references);
	if (atomic_fetch_sub_explicit(&chunk->references, n, memory_order_acq_rel) != n)
		return;
	annotate_acquire(&chunk->references);
	chunk_return(chunk);
}

void chunk_unref(struct chunk *chunk)
{
	chunk_drop(chunk, 1 + CHUNK_MESSAGES - chunk->n_messages);
}

void chunk_leave(struct chunk *chunk)
{
	chunk_drop(chunk, 1);
}

bool chunk_alone(struct chunk *chunk)
{
	if (atomic_load_explicit(&chunk->references, memory_order_acquire) != 1 + CHUNK_MESSAGES - chunk->n_messages)
		return false;
	annotate_acquire(&chunk->references);
	chunk_reset(chunk);
	return true;
}

bool chunk_pool_open(struct chunk_pool *pool)
{
	return atomic_load_explicit(&pool->n_live, memory_order_relaxed) < CHUNKS_MAX;
}

struct beam_message *message_view(struct chunk *chunk, const unsigned char *data, size_t size)
{
	struct beam_message *message;

#ifdef BEAM_NO_VIEWS
	/* A message that is copied out has bounds that a memory checker knows. */
	return NULL;
#endif
	if (chunk->n_messages == CHUNK_MESSAGES)
		return NULL;
	message = &chunk->messages[chunk->n_messages++];
	*message = (struct beam_message){
	    .data = data,
	    .size = size,
	    .chunk = chunk,
	    .fds = message->inline_fds,
	    .capacity_fds = sizeof message->inline_fds / sizeof *message->inline_fds,
	};
	return message;
}

/* ---- Blocks ---------------------------------------------------------------------------------- */

#ifndef BEAM_NO_VIEWS
/* Takes a kept block that is large enough, but not so large that most of it would be wasted. */
static struct block *take_kept(struct chunk_pool *pool, size_t size)
{
	for (struct block **at = &pool->blocks; *at; at = &(*at)->next) {
		struct block *block = *at;

		if (block->capacity >= size && block->capacity / 2 <= size) {
			*at = block->next;
			pool->blocks_kept -= block->capacity;
			return block;
		}
	}
	return NULL;
}

static struct block *block_new(struct chunk_pool *pool, size_t size)
{
	struct block *block;

	pthread_mutex_lock(&pool->lock);
	block = take_kept(pool, size);
	if (!block) {
		block = sys_malloc(sizeof *block + size);
		if (block)
			*block = (struct block){.pool = pool, .capacity = size};
	}
	if (block)
		pool->n_blocks++;
	pthread_mutex_unlock(&pool->lock);
	return block;
}
#endif

void block_return(struct block *block)
{
	struct chunk_pool *pool = block->pool;
	bool keep, last;

	/* A forked child leaves its parent's blocks alone. */
	if (pool->process != process_id())
		return;
	pthread_mutex_lock(&pool->lock);
	keep = pool->owned && pool->blocks_kept + block->capacity <= BLOCKS_KEPT;
	if (keep) {
		block->next = pool->blocks;
		pool->blocks = block;
		pool->blocks_kept += block->capacity;
	}
	pool->n_blocks--;
	last = is_last(pool);
	pthread_mutex_unlock(&pool->lock);

	if (!keep)
		free(block);
	if (last)
		pool_free(pool);
}

struct beam_message *message_allocate_in(struct chunk_pool *pool, size_t size)
{
#ifdef BEAM_NO_VIEWS
	(void)pool;
	return message_allocate(size);
#else
	struct block *block;

	if (size < BLOCK_MIN)
		return message_allocate(size);
	block = size <= SIZE_MAX / 2 ? block_new(pool, sizeof(struct beam_message) + size) : NULL;
	if (!block)
		return NULL;
	message_init((struct beam_message *)(block + 1), size);
	((struct beam_message *)(block + 1))->block = block;
	return (struct beam_message *)(block + 1);
#endif
}
