/* SPDX-License-Identifier: MIT */
/* Chunks, and the messages that are views of them. */
#include <harness/fault.h>
#include <harness/harness.h>
#include <message/message.h>
#include <socket/reaper.h>

#ifdef BEAM_NO_VIEWS
#define NEEDS_VIEWS() skip("built without views")
#else
#define NEEDS_VIEWS() ((void)0)
#endif

static struct chunk_pool *new_pool(void)
{
	struct chunk_pool *pool = chunk_pool_new();

	require(pool != NULL);
	return pool;
}

static struct chunk *new_chunk(struct chunk_pool *pool)
{
	struct chunk *chunk = chunk_new(pool);

	require(chunk != NULL);
	return chunk;
}

static struct beam_message *new_view(struct chunk *chunk, size_t offset, size_t size)
{
	struct beam_message *message = message_view(chunk, chunk->bytes + offset, size);

	require(message != NULL);
	return message;
}

static void test_a_new_chunk_is_the_readers_alone(void)
{
	struct chunk_pool *pool = new_pool();
	struct chunk *chunk = new_chunk(pool);

	check(chunk_alone(chunk));
	memset(chunk->bytes, 'x', CHUNK_BYTES);
	check_int((uintptr_t)chunk->bytes % 8, 0);
	chunk_unref(chunk);
	chunk_pool_release(pool);
}

static void test_a_view_looks_into_its_chunk_and_outlives_reader_and_pool(void)
{
	NEEDS_VIEWS();
	struct chunk_pool *pool = new_pool();
	struct chunk *chunk = new_chunk(pool);
	struct beam_message *message, *empty;

	memcpy(chunk->bytes, "hello, world", 12);
	message = new_view(chunk, 7, 5);
	empty = new_view(chunk, 12, 0);
	check(!chunk_alone(chunk));
	chunk_unref(chunk);
	chunk_pool_release(pool);
	check_int(beam_message_size(message), 5);
	check_bytes(beam_message_data(message), "world", 5);
	check(beam_message_data(empty) != NULL);
	check(beam_message_writable(message) == NULL);
	beam_message_free(message);
	beam_message_free(empty);
}

static void test_a_chunk_has_so_many_messages_and_all_again_when_they_are_gone(void)
{
	NEEDS_VIEWS();
	struct chunk_pool *pool = new_pool();
	struct chunk *chunk = new_chunk(pool);
	struct beam_message *messages[CHUNK_MESSAGES];

	for (int turn = 0; turn < 2; turn++) {
		for (size_t i = 0; i < CHUNK_MESSAGES; i++)
			messages[i] = new_view(chunk, i, 1);
		check(message_view(chunk, chunk->bytes, 1) == NULL);
		for (size_t i = 0; i < CHUNK_MESSAGES; i++) {
			check(!chunk_alone(chunk));
			beam_message_free(messages[i]);
		}
		check(chunk_alone(chunk));
	}
	for (size_t i = 0; i < 10; i++)
		messages[i] = new_view(chunk, i, 1);
	chunk_unref(chunk);
	for (size_t i = 0; i < 10; i++)
		beam_message_free(messages[i]);
	chunk_pool_release(pool);
}

static void test_a_view_has_attachments_like_any_other(void)
{
	NEEDS_VIEWS();
	struct chunk_pool *pool = new_pool();
	struct chunk *chunk = new_chunk(pool);
	struct beam_message *message;

	message = new_view(chunk, 0, 1);
	check_int(message_reserve_fds(message, 5), 0);
	for (int i = 0; i < 5; i++)
		message_put_fd(message, fcntl(0, F_DUPFD_CLOEXEC, 0));
	chunk_unref(chunk);
	beam_message_free(message);
	chunk_pool_release(pool);
	check(reaper_drain(BEAM_FOREVER));
}

static void test_a_pool_is_open_until_so_many_chunks_are_in_use(void)
{
	struct chunk_pool *pool = new_pool();
	struct chunk *chunks[CHUNKS_MAX + 1];

	for (size_t i = 0; i < CHUNKS_MAX; i++) {
		check(chunk_pool_open(pool));
		chunks[i] = new_chunk(pool);
	}
	check(!chunk_pool_open(pool));
	chunks[CHUNKS_MAX] = new_chunk(pool);
	check(!chunk_pool_open(pool));
	chunk_unref(chunks[0]);
	check(!chunk_pool_open(pool));
	chunk_unref(chunks[1]);
	check(chunk_pool_open(pool));
	for (size_t i = 2; i <= CHUNKS_MAX; i++)
		chunk_unref(chunks[i]);
	chunk_pool_release(pool);
}

static void test_a_chunk_that_outlives_its_pool_goes_with_its_last_message(void)
{
	NEEDS_VIEWS();
	long before = allocated_blocks();

	for (int i = 0; i < 100; i++) {
		struct chunk_pool *pool = new_pool();
		struct chunk *chunk = new_chunk(pool);
		struct beam_message *message = new_view(chunk, 0, 1);

		chunk_unref(chunk);
		chunk_pool_release(pool);
		beam_message_free(message);
	}
	/* Other code may have a few blocks more or fewer. */
	check(before < 0 || allocated_blocks() < before + 100);
}

static void test_chunks_are_used_again(void)
{
	struct chunk_pool *pool = new_pool();
	struct chunk *first = new_chunk(pool), *second = new_chunk(pool), *third = new_chunk(pool), *again;

	chunk_unref(first);
	chunk_unref(second);
	chunk_unref(third);
	again = new_chunk(pool);
	check(again == third);
	check(chunk_alone(again));
	chunk_unref(again);
	chunk_pool_release(pool);
}

#ifndef BEAM_NO_VIEWS
static struct beam_message *new_large(struct chunk_pool *pool, size_t size)
{
	struct beam_message *message = message_allocate_in(pool, size);

	require(message != NULL);
	check_int(beam_message_size(message), size);
	memset(message_room(message), 'x', size);
	return message;
}

static void test_blocks_of_large_messages_are_used_again_until_they_are_trimmed(void)
{
	struct chunk_pool *pool = new_pool();
	struct beam_message *first = new_large(pool, 300000), *second;
	size_t before, after;

	beam_message_free(first);
	/* The block is used for a slightly smaller message. A much smaller one would waste it. */
	second = new_large(pool, 299000);
	check(second == first);
	beam_message_free(second);
	second = new_large(pool, 100000);
	check(second != first);
	beam_message_free(second);
	check(message_allocate_in(pool, SIZE_MAX) == NULL);
	fault_at(1, 0, false);
	check(message_allocate_in(pool, 1000000) == NULL);
	fault_off();
	/* What is kept is limited. */
	for (size_t i = 0; i < 2; i++) {
		first = new_large(pool, BLOCKS_KEPT / 2 + 1);
		second = new_large(pool, BLOCKS_KEPT / 2 + 1);
		beam_message_free(first);
		beam_message_free(second);
	}
	before = allocated_bytes();
	chunk_pool_trim(pool);
	after = allocated_bytes();
	check(after == 0 || (after + BLOCKS_KEPT / 2 <= before && after + 2 * (size_t)BLOCKS_KEPT > before));
	/* What has been trimmed takes up no room. */
	beam_message_free(new_large(pool, BLOCKS_KEPT / 2 + 1));
	fault_at(1, 0, false);
	beam_message_free(new_large(pool, BLOCKS_KEPT / 2 + 1));
	fault_off();
	chunk_pool_release(pool);
}

static void test_large_messages_outlive_their_pool(void)
{
	struct chunk_pool *pool = new_pool();
	struct beam_message *first = new_large(pool, 100000), *second = new_large(pool, 100000);

	beam_message_free(second);
	chunk_pool_release(pool);
	check_int(message_room(first)[99999], 'x');
	beam_message_free(first);
}
#endif

/* A reader that makes messages and a consumer that frees them, as in a channel. */
struct shared {
	pthread_mutex_t lock;
	struct message_queue queue;
	bool end;
};

static void *consume(void *argument)
{
	struct shared *shared = argument;
	struct beam_message *message;
	bool end = false;

	while (!end) {
		struct message_queue mine;

		message_queue_init(&mine);
		pthread_mutex_lock(&shared->lock);
		message_queue_splice(&mine, &shared->queue);
		end = shared->end;
		pthread_mutex_unlock(&shared->lock);
		while ((message = message_queue_take(&mine))) {
			check(beam_message_data(message) != NULL && *(const char *)beam_message_data(message) == 'x');
			beam_message_free(message);
		}
	}
	return NULL;
}

static void test_messages_are_freed_in_other_threads_while_the_reader_goes_on(void)
{
	NEEDS_VIEWS();
	struct shared shared = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct chunk_pool *pool = new_pool();
	struct chunk *chunk = new_chunk(pool);
	pthread_t consumers[2];

	message_queue_init(&shared.queue);
	for (size_t i = 0; i < 2; i++)
		consumers[i] = thread_spawn(consume, &shared);
	for (size_t i = 0; i < scale(100000); i++) {
		size_t at = i % 64;
		struct beam_message *message;

		if (at == 0 && !chunk_alone(chunk)) {
			chunk_unref(chunk);
			chunk = new_chunk(pool);
		}
		chunk->bytes[at] = 'x';
		message = new_view(chunk, at, 1);
		pthread_mutex_lock(&shared.lock);
		message_queue_append(&shared.queue, message);
		pthread_mutex_unlock(&shared.lock);
	}
	chunk_unref(chunk);
	chunk_pool_release(pool);
	pthread_mutex_lock(&shared.lock);
	shared.end = true;
	pthread_mutex_unlock(&shared.lock);
	for (size_t i = 0; i < 2; i++)
		thread_wait(consumers[i]);
}

struct inherited {
	struct chunk_pool *pool;
	struct chunk *chunk;
	struct beam_message *message;
};

static int let_go(void *argument)
{
	struct inherited *inherited = argument;

	beam_message_free(inherited->message);
	chunk_unref(inherited->chunk);
	chunk_pool_release(inherited->pool);
	/* The memory is still there, because it belongs to the parent. */
	check_bytes(inherited->chunk->bytes, "hello", 5);
	return 0;
}

static void test_a_forked_child_leaves_the_parents_chunks_alone(void)
{
	NEEDS_VIEWS();
	struct inherited inherited;

	inherited.pool = new_pool();
	inherited.chunk = new_chunk(inherited.pool);
	memcpy(inherited.chunk->bytes, "hello", 5);
	inherited.message = new_view(inherited.chunk, 0, 5);
	check_int(process_wait(process_spawn(let_go, &inherited)), 0);
	check_bytes(beam_message_data(inherited.message), "hello", 5);
	beam_message_free(inherited.message);
	chunk_unref(inherited.chunk);
	chunk_pool_release(inherited.pool);
}

#ifndef BEAM_NO_VIEWS
static int free_large(void *message)
{
	size_t before = allocated_bytes();

	beam_message_free(message);
	check_int(allocated_bytes(), before);
	check_int(message_room(message)[99999], 'x');
	return 0;
}

static void test_a_forked_child_leaves_the_parents_blocks_alone(void)
{
	struct chunk_pool *pool = new_pool();
	struct beam_message *message = new_large(pool, 100000);

	check_int(process_wait(process_spawn(free_large, message)), 0);
	/* If the pool is gone, freeing the message would free its memory. */
	chunk_pool_release(pool);
	check_int(process_wait(process_spawn(free_large, message)), 0);
	beam_message_free(message);
}
#endif

static void use_chunks(void)
{
	struct chunk_pool *pool = chunk_pool_new();
	struct chunk *chunks[3];

	if (!pool)
		return;
	for (size_t i = 0; i < 3; i++)
		chunks[i] = chunk_new(pool);
	for (size_t i = 0; i < 3; i++)
		if (chunks[i])
			chunk_unref(chunks[i]);
	chunk_pool_release(pool);
}

static void test_no_fault_leaves_memory(void)
{
	/* The pool, three chunks, and releasing the pages of each. */
	check_int(fault_sweep(use_chunks), 7);
}

static const struct test tests[] = {
    TEST(test_a_new_chunk_is_the_readers_alone),
    TEST(test_a_view_looks_into_its_chunk_and_outlives_reader_and_pool),
    TEST(test_a_chunk_has_so_many_messages_and_all_again_when_they_are_gone),
    TEST(test_a_view_has_attachments_like_any_other),
    TEST(test_a_pool_is_open_until_so_many_chunks_are_in_use),
    TEST(test_a_chunk_that_outlives_its_pool_goes_with_its_last_message),
    TEST(test_chunks_are_used_again),
#ifndef BEAM_NO_VIEWS
    TEST(test_blocks_of_large_messages_are_used_again_until_they_are_trimmed),
    TEST(test_large_messages_outlive_their_pool),
#endif
    TEST(test_messages_are_freed_in_other_threads_while_the_reader_goes_on),
    TEST(test_a_forked_child_leaves_the_parents_chunks_alone),
#ifndef BEAM_NO_VIEWS
    TEST(test_a_forked_child_leaves_the_parents_blocks_alone),
#endif
    TEST(test_no_fault_leaves_memory),
};
HARNESS_MAIN("chunk", tests)
