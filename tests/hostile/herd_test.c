/* SPDX-License-Identifier: MIT */
/*
 * Hundreds of threads wait for credit or for a call's id, and the peer grants it in tiny amounts.
 * Only threads that can continue are woken, so a frame of the peer costs about the same however
 * many threads wait.
 *
 * If BEAM_MEASURE is set, the test prints what a frame costs.
 */
#include <beam/call.h>
#include <beam/topic.h>
#include <hostile/creditor.h>
#include <public/ends.h>
#include <stdatomic.h>
#include <sys/resource.h>

enum { WAITERS = 400, FRAMES = 2000, CALLS = 64, SIZE = 100000, FDS = 16 };

static struct raw_peer peer;
static struct raw_out out;
static beam_channel *channel;
static beam_topic *topics[WAITERS];
static pthread_t threads[WAITERS];
static size_t n_waiters;
static int files[FDS];
/* How many waiting threads have started, and how many are done. */
static atomic_uint begun, done;
static atomic_bool over;
static pthread_t drain;

/* ---- What it costs --------------------------------------------------------------------------- */

struct cost {
	int64_t switches, cpu_us;
};

static struct cost cost_of(const struct rusage *usage)
{
	return (struct cost){
	    .switches = usage->ru_nvcsw,
	    .cpu_us = (usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * INT64_C(1000000) + usage->ru_utime.tv_usec +
		      usage->ru_stime.tv_usec,
	};
}

/* The cost of the process without this thread, which plays the peer. */
static struct cost cost_now(void)
{
	struct rusage process, thread;
	struct cost all, own;

	require_int(getrusage(RUSAGE_SELF, &process), 0);
	require_int(getrusage(RUSAGE_THREAD, &thread), 0);
	all = cost_of(&process);
	own = cost_of(&thread);
	return (struct cost){all.switches - own.switches, all.cpu_us - own.cpu_us};
}

/* At most `most` threads ran for each frame, although hundreds wait. */
static void expect_cost(const char *what, struct cost before, size_t frames, size_t most)
{
	struct cost now = cost_now();
	double switches = (double)(now.switches - before.switches) / (double)frames;

	if (getenv("BEAM_MEASURE"))
		printf("%s: %zu wait, %zu frames: %.2f stops of a thread and %.1f us of CPU a frame\n", what, n_waiters,
		       frames, switches, (double)(now.cpu_us - before.cpu_us) / (double)frames);
	if (now.switches - before.switches > (int64_t)(most * frames))
		fail("%s: a thread stopped %.2f times a frame", what, switches);
}

/* ---- The peer -------------------------------------------------------------------------------- */

/* Reads everything until the end. */
static void *read_all(void *unused)
{
	struct raw_group group;
	static char bytes[1 << 16];

	while (!atomic_load(&over)) {
		ssize_t n = raw_receive(peer.socket, bytes, sizeof bytes, &group, 0);

		raw_group_close(&group);
		if (n <= 0)
			break;
	}
	return unused;
}

static void begin(uint32_t attachments)
{
	int fds[2];
	size_t at;

	n_waiters = scale(WAITERS);
	atomic_store(&begun, 0);
	atomic_store(&done, 0);
	atomic_store(&over, false);
	out.size = 0;
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	raw_peer_init(&peer, fds[1]);
	require_int(beam_channel_from_fd(&channel, fds[0], NULL), 0);
	at = raw_hello(&out) + RAW_HEADER + 12;
	raw_u32_at(&out, at + 4 * RAW_TOPICS, 2 * WAITERS);
	raw_u32_at(&out, at + 4 * RAW_CALLS, CALLS);
	raw_u32_at(&out, at + 4 * RAW_MESSAGE_ATTACHMENTS, FDS);
	raw_u32_at(&out, at + 4 * RAW_TOPIC_ATTACHMENTS, FDS);
	raw_u32_at(&out, at + 4 * RAW_ATTACHMENTS, attachments);
	raw_peer_send(&peer, &out);
	check_int(beam_channel_limits(channel, &(struct beam_limits){0}, sizeof(struct beam_limits), soon()), 0);
}

static void end(void)
{
	for (size_t i = 0; i < n_waiters; i++)
		thread_wait(threads[i]);
	check_int(atomic_load(&done), n_waiters);
	atomic_store(&over, true);
	for (size_t i = 0; i < n_waiters; i++)
		topics[i] = beam_topic_unref(topics[i]);
	channel = beam_channel_unref(channel);
}

static void open_topics(void)
{
	char name[32];

	for (size_t i = 0; i < n_waiters; i++) {
		snprintf(name, sizeof name, "topic %zu", i);
		require_int(beam_topic_open(&topics[i], channel, name), 0);
	}
}

/* All threads have started, and no messages are being sent. */
static bool all_wait(void)
{
	struct beam_statistics statistics;
	static unsigned long sent;
	bool same;

	require_int(beam_channel_statistics(channel, &statistics, sizeof statistics), 0);
	same = sent == statistics.messages_sent;
	sent = statistics.messages_sent;
	return atomic_load(&begun) == n_waiters && same;
}

/* Sends one frame after the other, each when the previous one has been read. */
static void give_crumbs(const char *what, uint32_t bytes, uint32_t attachments)
{
	size_t frames = scale(FRAMES);
	struct cost before;

	check_within(20000, all_wait());
	before = cost_now();
	for (size_t i = 0; i < frames; i++) {
		raw_credit(&out, 0, bytes, attachments);
		raw_peer_send(&peer, &out);
		check_within(20000, raw_peer_drained(&peer));
		harness_progress();
	}
	expect_cost(what, before, frames, 10);
}

/* ---- The pool, and attachments --------------------------------------------------------------- */

static void *send_large(void *topic)
{
	static const char payload[SIZE];

	atomic_fetch_add(&begun, 1);
	check_int(beam_topic_send(topic, payload, sizeof payload, 0, BEAM_FOREVER), 0);
	atomic_fetch_add(&done, 1);
	return NULL;
}

static void test_bytes_of_the_pool_in_crumbs_wake_nobody_who_cannot_go_on(void)
{
	needs_descriptors(1024);
	begin(64);
	open_topics();
	drain = thread_spawn(read_all, NULL);
	for (size_t i = 0; i < n_waiters; i++)
		threads[i] = thread_spawn(send_large, topics[i]);
	give_crumbs("the pool", 1, 0);
	check(n_waiters < 50 || atomic_load(&done) < n_waiters / 2);
	raw_credit(&out, 0, WAITERS * SIZE, 0);
	raw_peer_send(&peer, &out);
	end();
	thread_wait(drain);
	raw_peer_close(&peer);
}

static void *send_attachments(void *topic)
{
	atomic_fetch_add(&begun, 1);
	check_int(beam_topic_sendv(topic, NULL, 0, files, FDS, 0, BEAM_FOREVER), 0);
	atomic_fetch_add(&done, 1);
	return NULL;
}

static void test_attachments_in_crumbs_wake_nobody_who_cannot_go_on(void)
{
	int file;

	needs_descriptors(1024);
	file = raw_file();
	for (int i = 0; i < FDS; i++)
		files[i] = file;
	begin(64);
	open_topics();
	drain = thread_spawn(read_all, NULL);
	for (size_t i = 0; i < n_waiters; i++)
		threads[i] = thread_spawn(send_attachments, topics[i]);
	give_crumbs("attachments", 0, 1);
	raw_credit(&out, 0, 0, 64 * WAITERS * FDS);
	raw_peer_send(&peer, &out);
	end();
	thread_wait(drain);
	raw_peer_close(&peer);
	close(file);
}

/* ---- Calls ----------------------------------------------------------------------------------- */

static void *call(void *topic)
{
	beam_message *reply = NULL;

	atomic_fetch_add(&begun, 1);
	if (check_int(beam_topic_call(topic, "x", 1, &reply, 0, BEAM_FOREVER), 1))
		beam_message_free(reply);
	atomic_fetch_add(&done, 1);
	return NULL;
}

static bool next_call(uint32_t *ret_id)
{
	struct raw_frame frame;

	do {
		if (!check_int(raw_peer_next(&peer, &frame), 1))
			return false;
	} while (frame.kind != RAW_DATA);
	*ret_id = frame.argument;
	return true;
}

static void test_a_call_that_ends_wakes_nobody_who_cannot_go_on(void)
{
	beam_topic *topic;
	struct cost before;
	size_t answered = 0;
	uint32_t id;

	begin(64);
	require_int(beam_topic_open(&topic, channel, "log"), 0);
	for (size_t i = 0; i < n_waiters; i++)
		threads[i] = thread_spawn(call, topic);
	check_within(20000, all_wait());
	before = cost_now();
	while (answered < n_waiters && next_call(&id)) {
		raw_frame(&out, RAW_REPLY, RAW_END, 0, 0, id, "y", 1);
		raw_peer_send(&peer, &out);
		answered++;
	}
	/*
	 * The thread that receives the reply may block once, and so may the one that gets the id.
	 */
	expect_cost("calls", before, answered, 8);
	end();
	beam_topic_unref(topic);
	raw_peer_close(&peer);
}

static const struct test tests[] = {
    TEST(test_bytes_of_the_pool_in_crumbs_wake_nobody_who_cannot_go_on),
    TEST(test_attachments_in_crumbs_wake_nobody_who_cannot_go_on),
    TEST(test_a_call_that_ends_wakes_nobody_who_cannot_go_on),
};

HARNESS_MAIN("hostile/herd", tests)
