/* SPDX-License-Identifier: MIT */
/*
 * Limits and a well-behaved sender: it can send what the other side accepts, to the last byte and
 * descriptor. Anything more is refused or waits. Senders that exceed the limits are tested in
 * tests/hostile.
 */
#include <beam/beam.h>
#include <harness/harness.h>
#include <public/ends.h>

static struct ends ends;

/* The deadline of sends that must not succeed. */
static beam_deadline briefly(void)
{
	return beam_in_ms(20);
}

/* Opens the ends. The first channel knows the limits of the second one. */
static void open_limited(const struct beam_channel_options *options)
{
	ends_open(&ends, options);
	check_int(beam_channel_limits(ends.channel[0], &(struct beam_limits){0}, sizeof(struct beam_limits), soon()),
		  0);
}

/* The next message has this size and `n_fds` attachments. */
static void expect(beam_topic *topic, size_t size, size_t n_fds)
{
	beam_message *message = NULL;

	if (!check_int(beam_topic_receive(topic, &message, 0, soon()), 1))
		return;
	check_int(beam_message_size(message), size);
	check_int(beam_message_attachments(message), n_fds);
	beam_message_free(message);
}

/* ---- One message ----------------------------------------------------------------------------- */

/*
 * Sends borrowed data with every function that can. Returns 0, or the error that all of them
 * return.
 */
static int send_in_every_way(const void *data, size_t size, const int *fds, size_t n_fds)
{
	struct iovec iov[2] = {{(void *)(uintptr_t)data, size - 1}, {(void *)(uintptr_t)data, 1}};
	struct beam_send_item items[2] = {{"", 0, NULL, 0}, {data, size, fds, n_fds}};
	beam_message *message = NULL;
	int r = beam_topic_sendv(ends.topic[0], iov, 2, fds, n_fds, 0, soon());

	if (n_fds == 0)
		check_int(beam_topic_send(ends.topic[0], data, size, 0, soon()), r);
	check_int(beam_topic_send_many(ends.topic[0], &items[1], 1, 0, soon()), r ? r : 1);
	check_int(beam_topic_send_many(ends.topic[0], items, 2, 0, soon()), r ? 1 : 2);
	require_int(beam_message_new(&message, data, size), 0);
	for (size_t i = 0; i < n_fds; i++)
		check_int(beam_message_add_fd(message, fds[i]), 0);
	check_int(beam_topic_send_message(ends.topic[0], message, 0, soon()), r);
	if (r < 0) {
		check_int(beam_message_attachments(message), n_fds);
		beam_message_free(message);
	}
	return r;
}

/* Receives what was sent with each function. */
static void expect_in_every_way(int r, size_t size, size_t n_fds)
{
	for (int i = 0; r == 0 && i < (n_fds ? 2 : 3); i++)
		expect(ends.topic[1], size, n_fds);
	expect(ends.topic[1], 0, 0);
	for (int i = 0; r == 0 && i < 2; i++)
		expect(ends.topic[1], size, n_fds);
	check_int(beam_topic_receive(ends.topic[1], &(beam_message *){NULL}, 0, BEAM_NOWAIT), -EAGAIN);
}

static void test_a_message_as_large_as_the_other_side_accepts_goes_and_one_byte_more_does_not(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	size_t most = (1 << 20) + 4321;
	char *data = calloc(1, most + 1);

	require(data != NULL);
	options.message_bytes = (uint32_t)most;
	options.topic_window_bytes = 8 << 20;
	open_limited(&options);
	check_int(send_in_every_way(data, most, NULL, 0), 0);
	expect_in_every_way(0, most, 0);
	check_int(send_in_every_way(data, most + 1, NULL, 0), -EMSGSIZE);
	expect_in_every_way(-EMSGSIZE, 0, 0);
	ends_close(&ends);
	free(data);
}

static void test_as_many_attachments_as_the_other_side_accepts_go_and_one_more_does_not(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	int file = raw_file(), fds[18];

	for (size_t i = 0; i < 18; i++)
		fds[i] = file;
	options.message_attachments = 17;
	options.attachments = 500;
	open_limited(&options);
	check_int(send_in_every_way("x", 1, fds, 17), 0);
	expect_in_every_way(0, 1, 17);
	check_int(send_in_every_way("x", 1, fds, 18), -E2BIG);
	expect_in_every_way(-E2BIG, 0, 0);
	ends_close(&ends);
	close(file);
}

static void test_where_no_attachments_are_accepted_not_one_goes(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	int file = raw_file();

	options.message_attachments = 0;
	open_limited(&options);
	check_int(send_in_every_way("x", 1, &file, 1), -E2BIG);
	expect_in_every_way(-E2BIG, 0, 0);
	send_text(ends.topic[0], "without");
	expect_text(ends.topic[1], "without");
	ends_close(&ends);
	close(file);
}

/* ---- What may be queued on one topic --------------------------------------------------------- */

/* A message costs 64 bytes besides its payload. */
enum { COST = 1000, PAYLOAD = COST - 64 };

/*
 * Sends until the credit is used up, and checks that one more message does not fit, with and
 * without waiting. Returns the number of messages.
 */
static size_t send_until_full(beam_topic *topic, size_t size, const int *fds, size_t n_fds)
{
	static const char payload[PAYLOAD];
	struct iovec iov = {(void *)(uintptr_t)payload, size};
	size_t n = 0;
	int r;

	while ((r = beam_topic_sendv(topic, &iov, 1, fds, n_fds, 0, briefly())) == 0)
		n++;
	check_int(r, -ETIMEDOUT);
	check_int(beam_topic_sendv(topic, &iov, 1, fds, n_fds, 0, BEAM_NOWAIT), -EAGAIN);
	return n;
}

static void test_a_topics_window_is_used_to_the_last_byte_and_no_further(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_topic *other = NULL;
	const size_t windows[] = {100 * COST, 100 * COST + 1, 101 * COST - 1, 101 * COST};

	for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
		/*
		 * A window with one byte left takes a whole message. The rest of its cost is
		 * charged to the pool.
		 */
		size_t fit = i == 0 ? 100 : 101;

		harness_context("a window of %zu bytes", windows[i]);
		options.topic_window_bytes = (uint32_t)windows[i];
		open_limited(&options);
		check_int(send_until_full(ends.topic[0], PAYLOAD, NULL, 0), fit);
		require_int(beam_topic_open(&other, ends.channel[0], "other"), 0);
		send_text(other, "goes");
		for (size_t n = 0; n < fit; n++)
			expect(ends.topic[1], PAYLOAD, 0);
		send_text(ends.topic[0], "goes again");
		expect_text(ends.topic[1], "goes again");
		beam_topic_unref(other);
		ends_close(&ends);
	}
}

static void test_a_topics_attachments_are_used_to_the_last_and_no_further(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	int file = raw_file();

	options.message_attachments = 16;
	options.topic_window_attachments = 21;
	options.attachments = 100;
	open_limited(&options);
	check_int(send_until_full(ends.topic[0], 1, &file, 1), 21);
	send_text(ends.topic[0], "goes without");
	for (size_t n = 0; n < 21; n++)
		expect(ends.topic[1], 1, 1);
	expect_text(ends.topic[1], "goes without");
	check_int(beam_topic_sendv(ends.topic[0], NULL, 0, &file, 1, 0, soon()), 0);
	expect(ends.topic[1], 0, 1);
	ends_close(&ends);
	close(file);
}

/* ---- What may be queued on the channel ------------------------------------------------------- */

static void test_the_channels_attachments_are_used_to_the_last_and_no_further(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_topic *other[2] = {NULL, NULL};
	int file = raw_file(), fds[64];

	for (size_t i = 0; i < 64; i++)
		fds[i] = file;
	options.message_attachments = 64;
	options.topic_window_attachments = 64;
	options.attachments = 64;
	open_limited(&options);
	for (int i = 0; i < 2; i++)
		require_int(beam_topic_open(&other[i], ends.channel[i], "other"), 0);
	/* A single message may use all attachments, if no others are held. */
	check_int(beam_topic_sendv(ends.topic[0], NULL, 0, fds, 64, 0, soon()), 0);
	send_text(other[0], "goes without");
	check_int(beam_topic_sendv(other[0], NULL, 0, &file, 1, 0, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_topic_sendv(other[0], NULL, 0, &file, 1, 0, briefly()), -ETIMEDOUT);
	expect(ends.topic[1], 0, 64);
	/* A topic that nobody drains can use a quarter, and a second one a small share, 3 of 64. */
	check_int(send_until_full(other[0], 1, &file, 1), 16);
	check_int(send_until_full(ends.topic[0], 1, &file, 1), 3);
	for (int i = 0; i < 3; i++)
		expect(ends.topic[1], 1, 1);
	for (int i = 0; i < 2; i++)
		beam_topic_unref(other[i]);
	ends_close(&ends);
	close(file);
}

static void test_the_pool_is_used_to_the_last_byte_that_a_topic_may_have(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	const size_t window = 64 << 10, pool = 1 << 20, first = pool - 100;
	/*
	 * The first topic can use nearly all of the pool, because no other topic uses it. The
	 * second one can still use a small share, 3 of 64.
	 */
	const size_t second = window + pool * 3 / 64 - 64;
	char *data = calloc(1, pool);
	beam_topic *other = NULL, *taker = NULL;

	require(data != NULL);
	options.topic_window_bytes = (uint32_t)window;
	options.message_bytes = options.pool_bytes = (uint32_t)pool;
	open_limited(&options);
	require_int(beam_topic_open(&other, ends.channel[0], "other"), 0);
	check_int(beam_topic_send(ends.topic[0], data, first, 0, soon()), 0);
	check_int(beam_topic_send(other, data, second + 1, 0, briefly()), -ETIMEDOUT);
	check_int(beam_topic_send(other, data, second + 1, 0, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_topic_send(other, data, second, 0, soon()), 0);
	/* All credit is returned. */
	expect(ends.topic[1], first, 0);
	require_int(beam_topic_open(&taker, ends.channel[1], "other"), 0);
	expect(taker, second, 0);
	beam_topic_unref(taker);
	check_int(beam_topic_send(ends.topic[0], data, first, 0, soon()), 0);
	expect(ends.topic[1], first, 0);
	beam_topic_unref(other);
	ends_close(&ends);
	free(data);
}

/* ---- Topics ---------------------------------------------------------------------------------- */

static void test_as_many_topics_as_the_other_side_accepts_go_and_one_more_waits_for_its_turn(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	enum { TOPICS = 70 };
	beam_topic *topics[TOPICS + 1], *last = NULL;
	char name[16];

	options.topics = TOPICS;
	open_limited(&options);
	topics[0] = ends.topic[0];
	for (int i = 1; i <= TOPICS; i++) {
		snprintf(name, sizeof name, "%d", i);
		require_int(beam_topic_open(&topics[i], ends.channel[0], name), 0);
	}
	send_text(topics[TOPICS - 1], "the last that is accepted");
	check_int(beam_topic_send(topics[TOPICS], "x", 1, 0, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_topic_send(topics[TOPICS], "x", 1, 0, briefly()), -ETIMEDOUT);
	snprintf(name, sizeof name, "%d", TOPICS - 1);
	require_int(beam_topic_open(&last, ends.channel[1], name), 0);
	expect_text(last, "the last that is accepted");
	last = beam_topic_unref(last);

	beam_topic_unref(topics[1]);
	send_text(topics[TOPICS], "its turn");
	snprintf(name, sizeof name, "%d", TOPICS);
	require_int(beam_topic_open(&last, ends.channel[1], name), 0);
	expect_text(last, "its turn");
	beam_topic_unref(last);
	for (int i = 2; i <= TOPICS; i++)
		beam_topic_unref(topics[i]);
	ends_close(&ends);
}

static void test_a_topic_that_is_refused_costs_its_own_sender_only(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_topic *refused = NULL, *known[2] = {NULL, NULL};
	int file = raw_file(), r;
	struct beam_statistics statistics;

	options.unknown_topics = BEAM_TOPICS_REFUSE;
	open_limited(&options);
	require_int(beam_topic_open(&known[1], ends.channel[1], "opened in time"), 0);
	require_int(beam_topic_open(&refused, ends.channel[0], "unknown"), 0);
	/*
	 * What is sent before the refusal arrives is dropped there, and its attachments are closed.
	 */
	while ((r = beam_topic_sendv(refused, NULL, 0, &file, 1, 0, soon())) == 0)
		;
	check_int(r, -ECONNREFUSED);
	check_int(beam_topic_send(refused, "", 0, 0, BEAM_NOWAIT), -ECONNREFUSED);
	require_int(beam_topic_open(&known[0], ends.channel[0], "opened in time"), 0);
	for (int i = 0; i < 2; i++) {
		send_text(i ? known[0] : ends.topic[0], "known");
		expect_text(i ? known[1] : ends.topic[1], "known");
	}
	check_int(beam_channel_statistics(ends.channel[1], &statistics, sizeof statistics), 0);
	check_int(statistics.attachments_queued, 0);
	beam_topic_unref(refused);
	for (int i = 0; i < 2; i++)
		beam_topic_unref(known[i]);
	ends_close(&ends);
	close(file);
}

static void test_what_a_message_borrowed_from_the_pool_comes_back_to_the_pool_alone(void)
{
	static const char large[60000];
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	size_t n;

	options.topic_window_bytes = 64 << 10;
	open_limited(&options);
	n = send_until_full(ends.topic[0], PAYLOAD, NULL, 0);
	ends_close(&ends);

	open_limited(&options);
	for (int i = 0; i < 2; i++)
		check_int(beam_topic_send(ends.topic[0], large, sizeof large, 0, soon()), 0);
	for (int i = 0; i < 2; i++)
		expect(ends.topic[1], sizeof large, 0);
	/* The credit was sent before this message. */
	send_text(ends.topic[1], "taken");
	expect_text(ends.topic[0], "taken");
	check_int(send_until_full(ends.topic[0], PAYLOAD, NULL, 0), n);
	ends_close(&ends);
}

static const struct test tests[] = {
    TEST(test_a_message_as_large_as_the_other_side_accepts_goes_and_one_byte_more_does_not),
    TEST(test_as_many_attachments_as_the_other_side_accepts_go_and_one_more_does_not),
    TEST(test_where_no_attachments_are_accepted_not_one_goes),
    TEST(test_a_topics_window_is_used_to_the_last_byte_and_no_further),
    TEST(test_a_topics_attachments_are_used_to_the_last_and_no_further),
    TEST(test_the_channels_attachments_are_used_to_the_last_and_no_further),
    TEST(test_the_pool_is_used_to_the_last_byte_that_a_topic_may_have),
    TEST(test_what_a_message_borrowed_from_the_pool_comes_back_to_the_pool_alone),
    TEST(test_as_many_topics_as_the_other_side_accepts_go_and_one_more_waits_for_its_turn),
    TEST(test_a_topic_that_is_refused_costs_its_own_sender_only),
};

HARNESS_MAIN("public/limits", tests)
