/* SPDX-License-Identifier: MIT */
/*
 * Closes that take long: one that blocks on one channel, and twelve that take a while on another.
 * They cost these two channels credit for attachments. They delay nobody.
 */
#include <beam/listener.h>
#include <hostile/creditor.h>
#include <hostile/lingering.h>
#include <poll.h>
#include <public/listening.h>
#include <public/table.h>
#include <stdatomic.h>

enum { ATTACHMENTS = 16, SLOW = 12, SLOW_MS = 200, CLIENTS = 400, LOOKS = 15, LOOK_MS = 20 };

struct bitten {
	beam_channel *channel;
	beam_topic *topic, *words;
	struct creditor peer;
	size_t n;
	struct lingering lingering[SLOW];
};

/* In `hanging` one close blocks until the test ends it. In `slow` all closes take some time. */
static struct bitten hanging, slow;

static void bitten_begin(struct bitten *bitten, size_t n)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	int fds[2];

	options.message_attachments = options.attachments = ATTACHMENTS;
	for (bitten->n = 0; bitten->n < n; bitten->n++)
		bitten->lingering[bitten->n] = lingering_open();
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	require_int(beam_channel_from_fd(&bitten->channel, fds[0], &options), 0);
	require_int(beam_topic_open(&bitten->topic, bitten->channel, "log"), 0);
	require_int(beam_topic_open(&bitten->words, bitten->channel, "words"), 0);
	creditor_begin(&bitten->peer, fds[1], 0);
	raw_open(&bitten->peer.out, 2, "words");
	creditor_flush(&bitten->peer, NULL, 0);
	check_within(20000, creditor_read(&bitten->peer, 1) && bitten->peer.hello);
}

/*
 * Sends descriptors whose close blocks, and frees their messages. Each frame is completed only
 * after the descriptor has been closed here. Otherwise this close might be the last one.
 */
static void bite(struct bitten *bitten)
{
	enum { PART = 8 };
	struct creditor *peer = &bitten->peer;
	beam_message *message = NULL;

	for (size_t i = 0; i < bitten->n; i++) {
		raw_text_with_fds(&peer->out, 1, "bites", 1);
		check_int(raw_send(peer->peer.socket, peer->out.bytes, PART, &bitten->lingering[i].fd, 1, 0), PART);
		close(bitten->lingering[i].fd);
		memmove(peer->out.bytes, peer->out.bytes + PART, peer->out.size -= PART);
		creditor_flush(peer, NULL, 0);
		peer->channel--;
	}
	for (size_t i = 0; i < bitten->n; i++) {
		require_int(beam_topic_receive(bitten->topic, &message, 0, soon()), 1);
		beam_message_free(message);
	}
}

static void bitten_end(struct bitten *bitten)
{
	beam_topic_unref(bitten->topic);
	beam_topic_unref(bitten->words);
	beam_channel_unref(bitten->channel);
	raw_peer_close(&bitten->peer.peer);
}

/* Lets the closes end one after the other. */
static void *end_slowly(void *unused)
{
	for (size_t i = 0; i < slow.n; i++) {
		poll(NULL, 0, SLOW_MS);
		/* Unread data makes this end reset the connection. */
		close(slow.lingering[i].peer);
	}
	return unused;
}

/* Messages pass in both directions. */
static void expect_words(struct bitten *bitten)
{
	struct raw_frame frame;

	raw_text(&bitten->peer.out, 2, "word");
	creditor_flush(&bitten->peer, NULL, 0);
	expect_text(bitten->words, "word");
	check_int(beam_topic_send(bitten->words, "word", 4, 0, soon()), 0);
	do {
		require_int(raw_peer_next(&bitten->peer.peer, &frame), 1);
		creditor_count(&bitten->peer, &frame);
	} while (frame.kind != RAW_DATA);
}

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* A receive returns at its deadline. The machine may be busy, so the median is checked. */
static void expect_deadlines_are_kept(beam_topic *topic)
{
	beam_message *message = NULL;
	int64_t times[LOOKS], begin;

	for (int i = 0; i < LOOKS; i++) {
		begin = now_ns();
		check_int(beam_topic_receive(topic, &message, 0, beam_in_ms(LOOK_MS)), -ETIMEDOUT);
		times[i] = (now_ns() - begin) / 1000000;
	}
	qsort(times, LOOKS, sizeof *times, by_size);
	if (times[LOOKS / 2] > LOOK_MS + stretch(50) || times[LOOKS - 1] > stretch(5000))
		fail("%lld ms, at most %lld", (long long)times[LOOKS / 2], (long long)times[LOOKS - 1]);
}

static void *take_all(void *topic)
{
	beam_message *message = NULL;
	uintptr_t n = 0;
	int r;

	while ((r = beam_topic_receive(topic, &message, 0, soon())) == 1) {
		for (size_t i = 0; i < beam_message_attachments(message); i++)
			n += beam_message_peek_fd(message, i) >= 0;
		beam_message_free(message);
	}
	check_int(r, 0);
	return (void *)n;
}

/* On other channels attachments get through, and none is lost. */
static void expect_a_flood_passes(void)
{
	struct ends ends;
	size_t n = scale(500);
	pthread_t thread;
	int file = raw_file(), files[16];

	for (int i = 0; i < 16; i++)
		files[i] = file;
	ends_open(&ends, NULL);
	thread = thread_spawn(take_all, ends.topic[1]);
	for (size_t i = 0; i < n; i++)
		check_int(beam_topic_sendv(ends.topic[0], NULL, 0, files, 16, 0, soon()), 0);
	check_int(beam_topic_close_send(ends.topic[0]), 0);
	check_int((uintptr_t)thread_wait(thread), 16 * n);
	ends_close(&ends);
	close(file);
}

/* The descriptors of clients that leave are closed at once, not only after the slow closes. */
static void expect_clients_come_and_go(void)
{
	const char *address = abstract_address();
	beam_listener *listener = listen_at(address, NULL);
	size_t before = open_fds();

	for (size_t i = 0; i < scale(CLIENTS) && !harness_failures(); i++) {
		beam_channel *channels[2];

		meet(listener, address, channels);
		expect_connected(channels);
		part(channels);
		/* The last few may still be open. */
		check_within(20000, open_fds() <= before + 40);
	}
	check_within(20000, open_fds() <= before);
	beam_listener_unref(listener);
}

static void test_closes_that_last_cost_the_credit_of_their_channels_and_nobodys_time(void)
{
	int64_t begin = now_ns();
	pthread_t thread;
	int file;

	needs_descriptors(1024);
	needs_closes_that_last();
	file = raw_file();
	bitten_begin(&hanging, 1);
	bitten_begin(&slow, SLOW);
	bite(&hanging);
	bite(&slow);
	thread = thread_spawn(end_slowly, NULL);
	expect_deadlines_are_kept(hanging.topic);
	expect_deadlines_are_kept(slow.topic);
	expect_words(&hanging);
	expect_words(&slow);
	expect_a_flood_passes();
	expect_clients_come_and_go();
	expect_deadlines_are_kept(hanging.topic);
	expect_words(&hanging);

	/* The slow closes end, and their credit is returned. The channel with the blocked close
	 * gets no credit back, not even for the descriptors that are queued behind it. */
	thread_wait(thread);
	creditor_want(&slow.peer, 1000);
	check_within(20000, creditor_read(&slow.peer, 1) && slow.peer.channel == ATTACHMENTS);
	creditor_want(&hanging.peer, 1000);
	while (hanging.peer.channel > 0)
		check(creditor_send(&hanging.peer, &file, 1));
	for (int i = 1; i < ATTACHMENTS; i++) {
		beam_message *message = NULL;

		require_int(beam_topic_receive(hanging.topic, &message, 0, soon()), 1);
		beam_message_free(message);
	}
	expect_words(&hanging);
	check_int(hanging.peer.channel, 0);
	lingering_end(&hanging.lingering[0], begin);
	check_within(20000, creditor_read(&hanging.peer, 1) && hanging.peer.channel == ATTACHMENTS);
	bitten_end(&hanging);
	bitten_end(&slow);
	close(file);
}

/* ---- The end of the process ------------------------------------------------------------------ */

static int exits_while_closes_hang(void *unused)
{
	(void)unused;
	bitten_begin(&hanging, 2);
	bitten_begin(&slow, SLOW);
	bite(&hanging);
	bite(&slow);
	check_within(20000, thread_named("beam-reaper"));
	bitten_end(&slow);
	fflush(stdout);
	/* Runs the exit handlers, while a channel is open. */
	exit(harness_failures() ? 1 : 0);
}

static void test_closes_that_hang_do_not_hold_up_the_end_of_the_process(void)
{
	struct lingering probe = lingering_open();
	int64_t begin, ms;

	/* Skips the test if there is no loopback. */
	close(probe.peer);
	close(probe.fd);
	begin = now_ns();
	check_int(process_wait(process_spawn(exits_while_closes_hang, NULL)), 0);
	ms = (now_ns() - begin) / 1000000;
	if (ms > stretch(4000))
		fail("it took %lld ms", (long long)ms);
}

static const struct test tests[] = {
    /* First, while this process has no threads: ThreadSanitizer does not support threads in a child
     * whose parent had some. */
    TEST(test_closes_that_hang_do_not_hold_up_the_end_of_the_process),
    TEST(test_closes_that_last_cost_the_credit_of_their_channels_and_nobodys_time),
};

HARNESS_MAIN("hostile/close", tests)
