/* SPDX-License-Identifier: MIT */
/*
 * A program that sends a burst and returns from main() without closing anything loses no message.
 * The program is this one, started with arguments. The test is its peer, and counts the messages.
 */
#include <beam/beam.h>
#include <fcntl.h>
#include <harness/harness.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>

static char self[4096]; /* this program's path */

/* What the program does. Its arguments are SOCKET and these fields. */
struct burst {
	unsigned threads;  /* 0: main itself sends */
	unsigned messages; /* of each thread */
	unsigned size;
	unsigned fds; /* one in so many messages has a descriptor; 0: none */
	char ending;  /* 'r'eturn, 'u'nref first, 'c'lose without waiting first, 'e'xit() in another thread */
};

enum { SIZE_MAX_SENT = 8 << 20, THREADS_MAX = 8 };

/* ---- The program ---- */

static struct burst burst;
static beam_topic *topic;
static atomic_uint next_thread;

static void give_up(const char *what, int result)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-result));
	_exit(100);
}

/* A message consists of the thread, its sequence number, and bytes that follow from both. */
static void fill(unsigned char *payload, uint32_t thread, uint32_t number, size_t size)
{
	memset(payload, (int)(thread * 31 + number), size);
	memcpy(payload, &thread, sizeof thread);
	memcpy(payload + sizeof thread, &number, sizeof number);
}

static void *send_burst(void *unused)
{
	uint32_t thread = atomic_fetch_add(&next_thread, 1);
	unsigned char *payload = malloc(burst.size);
	struct iovec iov = {payload, burst.size};
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), r = 0;

	(void)unused;
	for (uint32_t i = 0; i < burst.messages && r == 0; i++) {
		fill(payload, thread, i, burst.size);
		if (burst.fds && i % burst.fds == 0)
			r = beam_topic_sendv(topic, &iov, 1, &fd, 1, 0, BEAM_FOREVER);
		else
			r = beam_topic_send(topic, payload, burst.size, 0, BEAM_FOREVER);
	}
	if (r < 0)
		give_up("send", r);
	close(fd);
	free(payload);
	if (burst.ending == 'e')
		exit(0);
	return NULL;
}

static unsigned number(const char *argument)
{
	return (unsigned)strtoul(argument, NULL, 10);
}

static int program(char **arguments)
{
	beam_channel *channel;
	pthread_t threads[THREADS_MAX] = {0};
	int r;

	burst = (struct burst){number(arguments[1]), number(arguments[2]), number(arguments[3]), number(arguments[4]),
			       arguments[5][0]};
	r = beam_channel_from_fd(&channel, (int)number(arguments[0]), NULL);
	if (!r)
		r = beam_topic_open(&topic, channel, "burst");
	if (r < 0)
		give_up("open", r);
	for (unsigned i = 0; i < burst.threads; i++)
		threads[i] = thread_spawn(send_burst, NULL);
	for (unsigned i = 0; i < burst.threads; i++)
		thread_wait(threads[i]);
	if (burst.threads == 0)
		send_burst(NULL);
	if (burst.ending == 'c')
		beam_channel_close(channel, BEAM_NOWAIT);
	if (burst.ending == 'u') {
		beam_topic_unref(topic);
		beam_channel_unref(channel);
	}
	return 0;
}

/* ---- Its peer ---- */

static pid_t start_program(int socket, const struct burst *b)
{
	char numbers[5][16], ending[2] = {b->ending, '\0'};
	char *arguments[] = {
	    self, (char[]){"--program"}, numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], ending, NULL};
	pid_t pid;
	int inherited = fcntl(socket, F_DUPFD, 10); /* without close-on-exec */

	require(inherited >= 0);
	snprintf(numbers[0], 16, "%d", inherited);
	snprintf(numbers[1], 16, "%u", b->threads);
	snprintf(numbers[2], 16, "%u", b->messages);
	snprintf(numbers[3], 16, "%u", b->size);
	snprintf(numbers[4], 16, "%u", b->fds);
	require_int(posix_spawn(&pid, self, NULL, NULL, arguments, environ), 0);
	close(inherited);
	return pid;
}

static bool is_null_device(int fd)
{
	struct stat status, null;

	return fd >= 0 && fstat(fd, &status) == 0 && stat("/dev/null", &null) == 0 && status.st_rdev == null.st_rdev;
}

static void check_message(const beam_message *message, const struct burst *b, uint32_t *next)
{
	static unsigned char expected[SIZE_MAX_SENT];
	const unsigned char *data = beam_message_data(message);
	uint32_t thread, number;

	require_int(beam_message_size(message), b->size);
	memcpy(&thread, data, sizeof thread);
	memcpy(&number, data + sizeof thread, sizeof number);
	require(thread < THREADS_MAX);
	require_int(number, next[thread]);
	next[thread]++;
	fill(expected, thread, number, b->size);
	check_bytes(data, expected, b->size);
	check_int(beam_message_attachments(message), b->fds && number % b->fds == 0);
	if (beam_message_attachments(message))
		check(is_null_device(beam_message_peek_fd(message, 0)));
}

/* Receives everything, in order, and then the end, with or without GOODBYE. */
static void receive_burst(beam_topic *in, const struct burst *b)
{
	uint32_t next[THREADS_MAX] = {0};
	unsigned senders = b->threads ? b->threads : 1;
	beam_message *message;
	int r;

	while ((r = beam_topic_receive(in, &message, 0, beam_in_ms(stretch(20000)))) > 0) {
		check_message(message, b, next);
		beam_message_free(message);
	}
	check(r == 0 || r == -ECONNRESET);
	if (r < 0 && r != -ECONNRESET)
		fail("receive: %d (%s)", r, errno_name(-r));
	for (unsigned i = 0; i < THREADS_MAX; i++)
		check_int(next[i], i < senders ? b->messages : 0);
}

/*
 * With `wait_first`, nothing is received before the program has exited. So what it sends must fit
 * into the first windows and the socket.
 */
static void loses_nothing(const struct burst *b, bool wait_first)
{
	beam_channel *channel;
	beam_topic *in;
	int pair[2];

	require_int(beam_socket_pair(SOCK_STREAM, pair), 0);
	pid_t pid = start_program(pair[1], b);
	close(pair[1]);
	require_int(beam_channel_from_fd(&channel, pair[0], NULL), 0);
	if (wait_first)
		check_int(process_wait(pid), 0);
	require_int(beam_topic_open(&in, channel, "burst"), 0);
	receive_burst(in, b);
	if (!wait_first)
		check_int(process_wait(pid), 0);
	beam_topic_unref(in);
	beam_channel_unref(channel);
}

/* ---- Tests ---- */

static void test_a_burst_larger_than_the_windows_and_return(void)
{
	struct burst b = {0, (unsigned)scale(100000), 64, 0, 'r'};

	loses_nothing(&b, false);
}

static void test_a_burst_within_the_windows_that_is_taken_after_the_end(void)
{
	for (unsigned messages = 1; messages <= 2048; messages *= 2) {
		struct burst b = {0, messages, 64, 0, 'r'};
		harness_context("%u messages", messages);
		loses_nothing(&b, true);
	}
}

static void test_the_handles_released_and_return(void)
{
	struct burst b = {0, (unsigned)scale(50000), 64, 0, 'u'};

	loses_nothing(&b, false);
	b.messages = 1000;
	loses_nothing(&b, true);
}

static void test_a_close_that_does_not_wait_and_return(void)
{
	struct burst b = {0, (unsigned)scale(50000), 64, 0, 'c'};

	loses_nothing(&b, false);
}

static void test_four_threads_and_return(void)
{
	struct burst b = {4, (unsigned)scale(20000), 200, 0, 'r'};

	loses_nothing(&b, false);
}

static void test_exit_from_a_thread(void)
{
	struct burst b = {1, (unsigned)scale(20000), 64, 0, 'e'};

	loses_nothing(&b, false);
}

static void test_one_large_message_and_return(void)
{
	struct burst b = {0, 1, SIZE_MAX_SENT, 0, 'r'};

	loses_nothing(&b, false);
	b.messages = 5;
	loses_nothing(&b, false);
}

static void test_descriptors_in_a_burst_and_return(void)
{
	struct burst b = {2, (unsigned)scale(5000), 64, 3, 'r'};

	loses_nothing(&b, false);
}

static const struct test tests[] = {
    TEST(test_a_burst_larger_than_the_windows_and_return),
    TEST(test_a_burst_within_the_windows_that_is_taken_after_the_end),
    TEST(test_the_handles_released_and_return),
    TEST(test_a_close_that_does_not_wait_and_return),
    TEST(test_four_threads_and_return),
    TEST(test_exit_from_a_thread),
    TEST(test_one_large_message_and_return),
    TEST(test_descriptors_in_a_burst_and_return),
};

int main(int argc, char **argv)
{
	if (argc == 8 && strcmp(argv[1], "--program") == 0)
		return program(argv + 2);
	if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
		return 1;
	return harness_main("exit", tests, sizeof tests / sizeof tests[0], argc, argv);
}
