/* SPDX-License-Identifier: MIT */
/*
 * One of sixteen topics is never drained while the others are busy. The others lose nothing and do
 * not wait. The senders of the slow topic wait, and what is queued on it stays within its window.
 * The receiver is a process of its own, so that its memory can be measured.
 */
#include "leave.h"
#include <beam/beam.h>
#include <fcntl.h>
#include <harness/harness.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { TOPICS = 16, SLOW = 0, SLOW_MAX = 20000, PAYLOAD_MAX = 1 << 20, FDS_MAX = 16, COST = 64 };

static struct situation {
	size_t slow_size;
	unsigned slow_fds;
	size_t quick_size;
	unsigned quick_fds;
	unsigned quick_messages; /* on each of the other topics */
} now;

/* Memory that both processes share. */
static struct shared {
	atomic_uint accepted;   /* on the slow topic */
	atomic_bool quick_done; /* the receiver has received everything on the other topics */
} * shared;

static beam_topic *topics[TOPICS];

static void open_all(beam_channel **ret, int socket)
{
	char name[16];

	require_int(beam_channel_from_fd(ret, socket, NULL), 0);
	for (unsigned i = 0; i < TOPICS; i++) {
		snprintf(name, sizeof name, "topic %u", i);
		require_int(beam_topic_open(&topics[i], *ret, name), 0);
	}
}

static void close_all(beam_channel *channel)
{
	for (unsigned i = 0; i < TOPICS; i++)
		beam_topic_unref(topics[i]);
	beam_channel_unref(channel);
}

/* ---- The sending process ---- */

static unsigned char payload[PAYLOAD_MAX];
static int fds[FDS_MAX];
static sem_t full; /* posted when the slow topic is full, once for each other topic */

static int send_numbered(beam_topic *topic, size_t size, unsigned n_fds, uint32_t number, beam_deadline deadline)
{
	struct iovec iov[2] = {{&number, sizeof number}, {payload, size - sizeof number}};

	return beam_topic_sendv(topic, iov, 2, fds, n_fds, 0, deadline);
}

/*
 * Sends as much as possible. Then the other topics start, and while they send, it continues to try.
 */
static void *send_slow(void *unused)
{
	bool was_full = false;

	while (atomic_load(&shared->accepted) < SLOW_MAX && !atomic_load(&shared->quick_done)) {
		int r = send_numbered(topics[SLOW], now.slow_size, now.slow_fds, atomic_load(&shared->accepted),
				      beam_in_ms(20));
		if (r == 0) {
			atomic_fetch_add(&shared->accepted, 1);
			continue;
		}
		require_int(r, -ETIMEDOUT);
		for (unsigned i = 1; i < TOPICS && !was_full; i++)
			sem_post(&full);
		was_full = true;
	}
	check(was_full);
	beam_topic_close_send(topics[SLOW]);
	return unused;
}

static void *send_quick(void *argument)
{
	unsigned i = (unsigned)(uintptr_t)argument;

	sem_wait(&full);
	for (uint32_t k = 0; k < now.quick_messages; k++)
		require_int(send_numbered(topics[i], now.quick_size, now.quick_fds, k, BEAM_FOREVER), 0);
	beam_topic_close_send(topics[i]);
	return NULL;
}

static int sending_process(void *socket)
{
	beam_channel *channel;
	struct beam_limits limits;
	pthread_t threads[TOPICS];

	close(((int *)socket)[0]);
	for (unsigned i = 0; i < FDS_MAX; i++)
		require((fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0);
	require_int(sem_init(&full, 0, 0), 0);
	open_all(&channel, ((int *)socket)[1]);
	/*
	 * Without the real limits, the first message could exceed the small initial window, and the
	 * second one what is left of the real window.
	 */
	require_int(beam_channel_limits(channel, &limits, sizeof limits, beam_in_ms(stretch(10000))), 0);
	for (unsigned i = 0; i < TOPICS; i++)
		threads[i] = thread_spawn(i == SLOW ? send_slow : send_quick, (void *)(uintptr_t)i);
	for (unsigned i = 0; i < TOPICS; i++)
		thread_wait(threads[i]);
	check_int(beam_channel_close(channel, beam_in_ms(stretch(10000))), 0);
	close_all(channel);
	leave_process();
}

/* ---- The receiving process ---- */

static void check_message(beam_message *message, size_t size, unsigned n_fds, uint32_t number)
{
	uint32_t found;

	require_int(beam_message_size(message), size);
	memcpy(&found, beam_message_data(message), sizeof found);
	require_int(found, number);
	check_int(beam_message_attachments(message), n_fds);
	for (unsigned i = 0; i < n_fds; i++)
		check(beam_message_peek_fd(message, i) >= 0);
	beam_message_free(message);
}

/* Returns how many messages were received before the end. */
static uint32_t receive_all(beam_topic *topic, size_t size, unsigned n_fds)
{
	beam_message *message;
	uint32_t n = 0;
	int r;

	while ((r = beam_topic_receive(topic, &message, 0, BEAM_FOREVER)) > 0)
		check_message(message, size, n_fds, n++);
	check_int(r, 0);
	return n;
}

static void *receive_quick(void *argument)
{
	unsigned i = (unsigned)(uintptr_t)argument;

	check_int(receive_all(topics[i], now.quick_size, now.quick_fds), now.quick_messages);
	return NULL;
}

static struct beam_statistics statistics(void)
{
	struct beam_statistics s;

	require_int(beam_topic_statistics(topics[SLOW], &s, sizeof s), 0);
	return s;
}

/* The accepted messages are queued, and without the last one they fit into the window. */
static void check_window(const struct beam_channel_options *options)
{
	size_t cost = now.slow_size + COST;

	check_within(10000, statistics().messages_queued == atomic_load(&shared->accepted));
	struct beam_statistics s = statistics();
	check(s.messages_queued >= 1);
	check((s.messages_queued - 1) * cost < options->topic_window_bytes);
	check(s.attachments_queued <= options->topic_window_attachments);
	check_int(s.bytes_queued, s.messages_queued * now.slow_size);
}

/* The peak of the resident memory in bytes. */
static size_t peak_bytes(void)
{
	char line[128];
	size_t kib = 0;
	FILE *file = fopen("/proc/self/status", "re");

	require(file != NULL);
	while (fgets(line, sizeof line, file))
		if (strncmp(line, "VmHWM:", 6) == 0)
			kib = strtoul(line + 6, NULL, 10);
	fclose(file);
	return kib * 1024;
}

/*
 * The bound includes windows, pool, pinned chunks, the stacks of the threads, and the message that
 * each quick receiver is handling, whose credit has already been returned.
 */
static void check_memory(size_t before, const struct beam_channel_options *options)
{
	size_t bound = (size_t)TOPICS * options->topic_window_bytes + options->pool_bytes + 32 * 65536 +
		       (TOPICS - 1) * now.quick_size + ((size_t)4 << 20);

	if (under_sanitizer() || under_valgrind())
		return;
	/* glibc 2.36 leaves gaps behind aligned blocks, and more of them in smaller heaps. */
	if (sizeof(void *) == 4)
		bound *= 2;
	check(peak_bytes() - before <= bound);
}

static int receiving_process(void *socket)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_channel *channel;
	pthread_t threads[TOPICS];
	size_t before = peak_bytes();

	close(((int *)socket)[1]);
	open_all(&channel, ((int *)socket)[0]);
	for (unsigned i = 1; i < TOPICS; i++)
		threads[i] = thread_spawn(receive_quick, (void *)(uintptr_t)i);
	for (unsigned i = 1; i < TOPICS; i++)
		thread_wait(threads[i]);
	check_window(&options);
	check_memory(before, &options);
	atomic_store(&shared->quick_done, true);
	uint32_t received = receive_all(topics[SLOW], now.slow_size, now.slow_fds);
	check_int(received, atomic_load(&shared->accepted));
	close_all(channel);
	leave_process();
}

static void run(struct situation situation)
{
	int pair[2];

	now = situation;
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	require(shared != MAP_FAILED);
	require_int(beam_socket_pair(SOCK_STREAM, pair), 0);
	pid_t sender = process_spawn(sending_process, pair), receiver = process_spawn(receiving_process, pair);
	close(pair[0]);
	close(pair[1]);
	check_int(process_wait(sender), 0);
	check_int(process_wait(receiver), 0);
	munmap(shared, sizeof *shared);
}

/* ---- Tests ---- */

static void test_a_topic_full_of_small_messages_holds_up_nobody(void)
{
	run((struct situation){.slow_size = 64, .quick_size = 100, .quick_messages = (unsigned)scale(20000)});
}

static void test_a_topic_full_of_large_messages_holds_up_nobody(void)
{
	run((struct situation){.slow_size = PAYLOAD_MAX, .quick_size = 20000, .quick_messages = (unsigned)scale(2000)});
}

static void test_a_topic_full_of_attachments_holds_up_nobody(void)
{
	run((struct situation){
	    .slow_size = 64, .slow_fds = 4, .quick_size = 64, .quick_fds = 1, .quick_messages = (unsigned)scale(2000)});
}

static void test_large_messages_beside_a_full_topic_share_the_pool(void)
{
	run((struct situation){.slow_size = 600000, .quick_size = PAYLOAD_MAX, .quick_messages = (unsigned)scale(100)});
}

static const struct test tests[] = {
    TEST(test_a_topic_full_of_small_messages_holds_up_nobody),
    TEST(test_a_topic_full_of_large_messages_holds_up_nobody),
    TEST(test_a_topic_full_of_attachments_holds_up_nobody),
    TEST(test_large_messages_beside_a_full_topic_share_the_pool),
};

HARNESS_MAIN("slow topic", tests)
