/* SPDX-License-Identifier: MIT */
/*
 * Bad input to the functions of channels and topics: they return the documented error, write
 * nothing to the results, lose nothing and leave nothing open. Descriptors, messages and the core
 * functions are tested in bad_input_core_test.c, options and addresses in bad_input_options_test.c.
 */
#include <beam/beam.h>
#include <harness/harness.h>
#include <limits.h>
#include <public/ends.h>

/* Results are initialized to this before a call that must not write to them. */
#define UNTOUCHED(type) ((type)(uintptr_t)0xbea3)

/* ---- Channels -------------------------------------------------------------------------------- */

/* Opens both ends. The first one knows the other side's limits. */
static void ends_open_known(struct ends *ends)
{
	ends_open(ends, NULL);
	check_int(beam_channel_limits(ends->channel[0], &(struct beam_limits){0}, sizeof(struct beam_limits), soon()),
		  0);
}

/* After all the bad input, a good message is the next one that arrives. */
static void expect_well(struct ends *ends)
{
	beam_message *message = NULL;

	check_int(beam_topic_send(ends->topic[0], "well", 4, 0, soon()), 0);
	if (check_int(beam_topic_receive(ends->topic[1], &message, 0, soon()), 1))
		check_bytes(beam_message_data(message), "well", 4);
	check_int(beam_message_size(message), 4);
	beam_message_free(message);
}

static void test_null_channels_and_results(void)
{
	beam_topic *topic = UNTOUCHED(beam_topic *);
	struct beam_statistics statistics;
	struct beam_limits limits;
	struct beam_peer peer;
	struct ends ends;

	ends_open_known(&ends);
	check_int(beam_channel_from_fd(NULL, 0, NULL), -EINVAL);
	check(beam_channel_ref(NULL) == NULL);
	check(beam_channel_unref(NULL) == NULL);
	check(beam_channel_breach(NULL) == NULL);
	check_int(beam_channel_close(NULL, soon()), -EINVAL);
	check_int(beam_channel_abort(NULL), -EINVAL);
	check_int(beam_channel_flush(NULL, soon()), -EINVAL);
	check_int(beam_channel_peer(NULL, &peer), -EINVAL);
	check_int(beam_channel_peer(ends.channel[0], NULL), -EINVAL);
	check_int(beam_channel_limits(NULL, &limits, sizeof limits, soon()), -EINVAL);
	check_int(beam_channel_limits(ends.channel[0], NULL, 0, soon()), -EINVAL);
	check_int(beam_channel_accept(NULL, &topic, soon()), -EINVAL);
	check_int(beam_channel_accept(ends.channel[0], NULL, soon()), -EINVAL);
	check_int(beam_channel_statistics(NULL, &statistics, sizeof statistics), -EINVAL);
	check_int(beam_channel_statistics(ends.channel[0], NULL, sizeof statistics), -EINVAL);
	check_int(beam_channel_losses(NULL, &(struct beam_losses){0}, sizeof(struct beam_losses)), -EINVAL);
	check_int(beam_channel_losses(ends.channel[0], NULL, sizeof(struct beam_losses)), -EINVAL);
	check(topic == UNTOUCHED(beam_topic *));
	expect_well(&ends);
	ends_close(&ends);
}

static void test_statistics_fill_as_much_as_there_is_room_for(void)
{
	struct beam_statistics statistics;
	uint64_t more[32];
	struct ends ends;

	ends_open_known(&ends);
	memset(&statistics, 0xff, sizeof statistics);
	check_int(beam_channel_statistics(ends.channel[0], &statistics, sizeof statistics.messages_sent), 0);
	check_int(statistics.messages_sent, 0);
	check_int((int64_t)statistics.bytes_sent, -1);
	check_int(beam_topic_statistics(ends.topic[0], &statistics, 0), 0);
	check_int((int64_t)statistics.bytes_sent, -1);
	memset(more, 0xff, sizeof more);
	check_int(beam_topic_statistics(ends.topic[0], (struct beam_statistics *)(void *)more, sizeof more), 0);
	for (size_t i = 0; i < 32; i++)
		check_int(more[i], 0);
	ends_close(&ends);
}

static void test_bad_names_of_topics(void)
{
	beam_topic *topic = UNTOUCHED(beam_topic *);
	struct ends ends;
	char name[300];

	ends_open_known(&ends);
	memset(name, 'n', sizeof name);
	name[256] = 0;
	check_int(beam_topic_open(NULL, ends.channel[0], "x"), -EINVAL);
	check_int(beam_topic_open(&topic, NULL, "x"), -EINVAL);
	check_int(beam_topic_open(&topic, ends.channel[0], NULL), -EINVAL);
	check_int(beam_topic_open(&topic, ends.channel[0], ""), -EINVAL);
	check_int(beam_topic_open(&topic, ends.channel[0], name), -ENAMETOOLONG);
	check(topic == UNTOUCHED(beam_topic *));
	name[255] = 0;
	check_int(beam_topic_open(&topic, ends.channel[0], name), 0);
	check_string(beam_topic_name(topic), name);
	check(beam_topic_unref(topic) == NULL);
	check(beam_topic_name(NULL) == NULL);
	check(beam_topic_ref(NULL) == NULL);
	check(beam_topic_unref(NULL) == NULL);
	expect_well(&ends);
	ends_close(&ends);
}

/* ---- Sending --------------------------------------------------------------------------------- */

static void test_bad_payloads_are_not_sent(void)
{
	static struct iovec many[IOV_MAX + 1];
	struct iovec bad = {NULL, 1}, huge[2] = {{(char[]){"x"}, SIZE_MAX}, {(char[]){"x"}, SIZE_MAX}},
		     good = {(char[]){"x"}, 1};
	struct beam_send_item item = {.data = NULL, .size = 1};
	beam_message *message = NULL;
	struct ends ends;

	ends_open_known(&ends);
	check_int(beam_topic_send(NULL, "x", 1, 0, soon()), -EINVAL);
	check_int(beam_topic_send(ends.topic[0], NULL, 1, 0, soon()), -EINVAL);
	check_int(beam_topic_send(ends.topic[0], "x", (16 << 20) + 1, 0, soon()), -EMSGSIZE);
	check_int(beam_topic_send(ends.topic[0], "x", SIZE_MAX, 0, soon()), -EMSGSIZE);
	check_int(beam_topic_sendv(NULL, &good, 1, NULL, 0, 0, soon()), -EINVAL);
	check_int(beam_topic_sendv(ends.topic[0], NULL, 1, NULL, 0, 0, soon()), -EINVAL);
	check_int(beam_topic_sendv(ends.topic[0], &bad, 1, NULL, 0, 0, soon()), -EINVAL);
	check_int(beam_topic_sendv(ends.topic[0], huge, 1, NULL, 0, 0, soon()), -EMSGSIZE);
	check_int(beam_topic_sendv(ends.topic[0], huge, 2, NULL, 0, 0, soon()), -EMSGSIZE);
	check_int(beam_topic_sendv(ends.topic[0], many, IOV_MAX + 1, NULL, 0, 0, soon()), -EINVAL);
	check_int(beam_topic_sendv(ends.topic[0], many, SIZE_MAX, NULL, 0, 0, soon()), -EINVAL);
	require_int(beam_message_new(&message, "mine", 4), 0);
	check_int(beam_topic_send_message(NULL, message, 0, soon()), -EINVAL);
	check_int(beam_topic_send_message(ends.topic[0], NULL, 0, soon()), -EINVAL);
	check_int(beam_message_size(message), 4);
	beam_message_free(message);
	check_int(beam_topic_send_many(NULL, &item, 1, 0, soon()), -EINVAL);
	check_int(beam_topic_send_many(ends.topic[0], NULL, 1, 0, soon()), -EINVAL);
	check_int(beam_topic_send_many(ends.topic[0], &item, 1, 0, soon()), -EINVAL);
	check_int(beam_topic_send_many(ends.topic[0], NULL, 0, 0, soon()), 0);
	expect_well(&ends);
	ends_close(&ends);
}

static void test_bad_attachments_are_not_sent_and_stay_the_callers(void)
{
	struct iovec iov = {(char[]){"x"}, 1};
	/* A number that is no descriptor, and that no other thread can open meanwhile. */
	const int closed = 1000000;
	int fds[254], file = raw_file();
	struct ends ends;

	ends_open_known(&ends);
	for (int i = 0; i < 254; i++)
		fds[i] = file;
	check_int(beam_topic_sendv(ends.topic[0], &iov, 1, NULL, 1, 0, soon()), -EINVAL);
	check_int(beam_topic_sendv(ends.topic[0], &iov, 1, (int[]){-1}, 1, 0, soon()), -EBADF);
	check_int(beam_topic_sendv(ends.topic[0], &iov, 1, (int[]){closed}, 1, 0, soon()), -EBADF);
	check_int(beam_topic_sendv(ends.topic[0], &iov, 1, (int[]){file, closed}, 2, 0, soon()), -EBADF);
	check_int(beam_topic_sendv(ends.topic[0], &iov, 1, (int[]){INT_MAX}, 1, 0, soon()), -EBADF);
	check_int(beam_topic_sendv(ends.topic[0], &iov, 1, fds, 65, 0, soon()), -E2BIG);
	check_int(beam_topic_sendv(ends.topic[0], &iov, 1, fds, 254, 0, soon()), -E2BIG);
	check_int(beam_topic_sendv(ends.topic[0], &iov, 1, fds, SIZE_MAX, 0, soon()), -E2BIG);
	check(fd_open(file));
	expect_well(&ends);
	ends_close(&ends);
	close(file);
}

static void test_a_message_that_can_not_be_sent_stays_the_callers_untouched(void)
{
	beam_message *message = NULL;
	int file = raw_file();
	struct ends ends;

	ends_open_known(&ends);
	require_int(beam_message_new(&message, "mine", 4), 0);
	require_int(beam_message_add_fd(message, file), 0);
	require_int(beam_message_add_fd(message, file), 0);
	close(beam_message_take_fd(message, 0));
	check_int(beam_topic_send_message(ends.topic[0], message, 0, soon()), -ENOENT);
	check_bytes(beam_message_data(message), "mine", 4);
	check_int(raw_inode(beam_message_peek_fd(message, 1)), raw_inode(file));
	beam_message_free(message);

	require_int(beam_message_new(&message, "mine", 4), 0);
	for (int i = 0; i < 65; i++)
		require_int(beam_message_add_fd(message, file), 0);
	check_int(beam_topic_send_message(ends.topic[0], message, 0, soon()), -E2BIG);
	check_int(raw_inode(beam_message_peek_fd(message, 64)), raw_inode(file));
	beam_message_free(message);
	require_int(beam_message_new(&message, NULL, (16 << 20) + 1), 0);
	check_int(beam_topic_send_message(ends.topic[0], message, 0, soon()), -EMSGSIZE);
	check_int(beam_message_size(message), (16 << 20) + 1);
	beam_message_free(message);
	expect_well(&ends);
	ends_close(&ends);
	close(file);
}

static void test_a_bad_descriptor_among_many_stops_there_and_nothing_before_it_is_lost(void)
{
	int good = raw_file(), closed = 1000000, negative = -1;
	const struct beam_send_item none[] = {{"no", 2, &negative, 1}, {"one", 3, &good, 1}};
	const struct beam_send_item items[] = {
	    {"one", 3, &good, 1}, {"two", 3, &good, 1}, {"bad", 3, &closed, 1}, {"three", 5, &good, 1}};
	beam_message *message = NULL;
	struct ends ends;

	ends_open_known(&ends);
	check_int(beam_topic_send_many(ends.topic[0], items, 4, 0, soon()), 2);
	check_int(beam_topic_send_many(ends.topic[0], items + 2, 2, 0, soon()), -EBADF);
	check_int(beam_topic_send_many(ends.topic[0], items + 3, 1, 0, soon()), 1);
	check_int(beam_topic_send_many(ends.topic[0], none, 2, 0, soon()), -EBADF);
	close(good);
	for (int i = 0; i < 4; i += i == 1 ? 2 : 1) {
		if (check_int(beam_topic_receive(ends.topic[1], &message, 0, soon()), 1)) {
			check_bytes(beam_message_data(message), items[i].data, items[i].size);
			check(beam_message_peek_fd(message, 0) >= 0);
		}
		beam_message_free(message);
	}
	expect_well(&ends);
	ends_close(&ends);
}

static void test_more_descriptors_than_go_in_one_write_go_in_several(void)
{
	enum { PER_MESSAGE = 150, MESSAGES = 3 };
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	struct beam_send_item items[MESSAGES];
	int file, fds[PER_MESSAGE];
	struct ends ends;

	needs_descriptors(1024);
	file = raw_file();
	options.message_attachments = PER_MESSAGE;
	options.topic_window_attachments = MESSAGES * PER_MESSAGE;
	/* One topic may hold a quarter of the attachments. */
	options.attachments = 4 * MESSAGES * PER_MESSAGE;
	ends_open(&ends, &options);
	check_int(beam_channel_limits(ends.channel[0], &(struct beam_limits){0}, sizeof(struct beam_limits), soon()),
		  0);
	for (int i = 0; i < PER_MESSAGE; i++)
		fds[i] = file;
	for (int i = 0; i < MESSAGES; i++)
		items[i] = (struct beam_send_item){"many", 4, fds, PER_MESSAGE};
	check_int(beam_topic_send_many(ends.topic[0], items, MESSAGES, 0, soon()), MESSAGES);
	close(file);
	for (int i = 0; i < MESSAGES; i++)
		expect_text_with_fds(ends.topic[1], "many", PER_MESSAGE);
	ends_close(&ends);
}

static void test_what_goes_beyond_the_topics_window_goes_with_credit_of_the_pool(void)
{
	enum { MESSAGES = 22, SIZE = 3000 };
	static const char data[SIZE];
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	struct beam_send_item items[MESSAGES];
	int file;
	struct ends ends;

	needs_descriptors(1024);
	file = raw_file();
	options.topic_window_bytes = 64 << 10;
	ends_open(&ends, &options);
	check_int(beam_channel_limits(ends.channel[0], &(struct beam_limits){0}, sizeof(struct beam_limits), soon()),
		  0);
	for (int i = 0; i < MESSAGES; i++)
		items[i] = (struct beam_send_item){data, SIZE, &file, 1};
	check_int(beam_topic_send_many(ends.topic[0], items, MESSAGES, 0, soon()), MESSAGES);
	close(file);
	for (int i = 0; i < MESSAGES; i++) {
		beam_message *message = NULL;

		if (check_int(beam_topic_receive(ends.topic[1], &message, 0, soon()), 1))
			check_int(beam_message_size(message), SIZE);
		beam_message_free(message);
	}
	ends_close(&ends);
}

static void test_nothing_of_many_goes_to_a_topic_that_is_reset(void)
{
	int file = raw_file();
	const struct beam_send_item items[] = {{"one", 3, &file, 1}, {"two", 3, &file, 1}};
	struct ends ends;

	ends_open_known(&ends);
	check_int(beam_topic_close_receive(ends.topic[1]), 0);
	check_within(20000, beam_topic_send(ends.topic[0], "", 0, 0, soon()) == -EPIPE);
	for (int i = 0; i < 20; i++)
		check_int(beam_topic_send_many(ends.topic[0], items, 2, 0, soon()), -EPIPE);
	close(file);
	ends_close(&ends);
}

static void test_send_many_tells_how_many_went_before_the_bad_one(void)
{
	int closed = raw_file();
	const struct beam_send_item items[] = {
	    {"one", 3, NULL, 0}, {"two", 3, NULL, 0}, {"bad", 3, &closed, 1}, {"three", 5, NULL, 0}};
	beam_message *message = NULL;
	struct ends ends;

	close(closed);
	closed = 1000000;
	ends_open_known(&ends);
	check_int(beam_topic_send_many(ends.topic[0], items, 4, 0, soon()), 2);
	check_int(beam_topic_send_many(ends.topic[0], items + 2, 2, 0, soon()), -EBADF);
	for (int i = 0; i < 2; i++) {
		if (check_int(beam_topic_receive(ends.topic[1], &message, 0, soon()), 1))
			check_bytes(beam_message_data(message), items[i].data, items[i].size);
		beam_message_free(message);
	}
	expect_well(&ends);
	ends_close(&ends);
}

/* ---- Receiving ------------------------------------------------------------------------------- */

static void test_bad_arguments_to_the_receiving_functions(void)
{
	beam_message *message = UNTOUCHED(beam_message *);
	size_t size = 77, n_fds = 78;
	struct ends ends;
	char buffer[8];
	int fds[2];

	ends_open_known(&ends);
	check_int(beam_topic_receive(NULL, &message, 0, soon()), -EINVAL);
	check_int(beam_topic_receive(ends.topic[1], NULL, 0, soon()), -EINVAL);
	check_int(beam_topic_receive_many(NULL, &message, 1, 0, soon()), -EINVAL);
	check_int(beam_topic_receive_many(ends.topic[1], NULL, 1, 0, soon()), -EINVAL);
	check_int(beam_topic_receive_many(ends.topic[1], &message, 0, 0, soon()), -EINVAL);
	check_int(beam_topic_receive_into(NULL, buffer, 8, &size, NULL, 0, NULL, 0, soon()), -EINVAL);
	check_int(beam_topic_receive_into(ends.topic[1], NULL, 8, &size, NULL, 0, NULL, 0, soon()), -EINVAL);
	check_int(beam_topic_receive_into(ends.topic[1], buffer, 8, NULL, NULL, 0, NULL, 0, soon()), -EINVAL);
	check_int(beam_topic_receive_into(ends.topic[1], buffer, 8, &size, NULL, 2, &n_fds, 0, soon()), -EINVAL);
	check_int(beam_topic_receive_into(ends.topic[1], buffer, 8, &size, fds, 2, NULL, 0, soon()), -EINVAL);
	check_int(beam_topic_close_send(NULL), -EINVAL);
	check_int(beam_topic_close_receive(NULL), -EINVAL);
	check_int(beam_topic_statistics(NULL, &(struct beam_statistics){0}, sizeof(struct beam_statistics)), -EINVAL);
	check_int(beam_topic_statistics(ends.topic[0], NULL, sizeof(struct beam_statistics)), -EINVAL);
	check_int(beam_topic_losses(NULL, &(struct beam_losses){0}, sizeof(struct beam_losses)), -EINVAL);
	check_int(beam_topic_losses(ends.topic[0], NULL, sizeof(struct beam_losses)), -EINVAL);
	check(message == UNTOUCHED(beam_message *));
	check_int(size, 77);
	check_int(n_fds, 78);
	expect_well(&ends);
	ends_close(&ends);
}

static void test_deadlines_that_have_passed_look_once(void)
{
	const beam_deadline past[] = {beam_in_ms(0),     beam_in_ms(-1),           beam_in_ms(INT64_MIN),
				      BEAM_DEADLINE(-1), BEAM_DEADLINE(INT64_MIN), BEAM_DEADLINE(1)};
	beam_message *message = UNTOUCHED(beam_message *);
	beam_topic *topic = UNTOUCHED(beam_topic *);
	size_t size = 77;
	struct ends ends;

	ends_open_known(&ends);
	for (size_t i = 0; i < sizeof past / sizeof past[0]; i++) {
		harness_context("deadline %zu", i);
		check_int(beam_topic_receive(ends.topic[1], &message, 0, past[i]), -ETIMEDOUT);
		check_int(beam_topic_receive_many(ends.topic[1], &message, 1, 0, past[i]), -ETIMEDOUT);
		check_int(beam_topic_receive_into(ends.topic[1], NULL, 0, &size, NULL, 0, NULL, 0, past[i]),
			  -ETIMEDOUT);
		check_int(beam_channel_accept(ends.channel[1], &topic, past[i]), -ETIMEDOUT);
		/* What needs no waiting is done. */
		check_int(beam_channel_flush(ends.channel[0], soon()), 0);
		check_int(beam_channel_flush(ends.channel[0], past[i]), 0);
		check_int(
		    beam_channel_limits(ends.channel[0], &(struct beam_limits){0}, sizeof(struct beam_limits), past[i]),
		    0);
		check_int(beam_topic_send(ends.topic[0], "x", 1, 0, past[i]), 0);
		check_within(20000, beam_topic_receive(ends.topic[1], &message, 0, past[i]) == 1);
		beam_message_free(message);
		message = UNTOUCHED(beam_message *);
	}
	check_int(beam_topic_receive(ends.topic[1], &message, 0, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_topic_receive_many(ends.topic[1], &message, 1, 0, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_topic_receive_into(ends.topic[1], NULL, 0, &size, NULL, 0, NULL, 0, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_channel_accept(ends.channel[1], &topic, BEAM_NOWAIT), -EAGAIN);
	check(message == UNTOUCHED(beam_message *) && topic == UNTOUCHED(beam_topic *));
	check_int(size, 77);
	ends_close(&ends);
}

static void test_deadlines_are_absolute_and_do_not_overflow(void)
{
	int64_t before = now_ns(), in_a_second = beam_in_ms(1000).ns;

	check(in_a_second >= before + 1000 * INT64_C(1000000) && in_a_second <= now_ns() + 1000 * INT64_C(1000000));
	check_int(beam_in_ms(INT64_MAX).ns, BEAM_FOREVER.ns);
	check_int(beam_in_ms(INT64_MAX / 1000000).ns, BEAM_FOREVER.ns);
	check(beam_in_ms(INT64_MIN).ns != BEAM_NOWAIT.ns);
	check(beam_in_ms(0).ns != BEAM_NOWAIT.ns);
	check(beam_in_ms(-before / 1000000).ns != BEAM_NOWAIT.ns);
}

/* ---- After the end --------------------------------------------------------------------------- */

static void test_every_function_after_close_says_what_the_header_says(void)
{
	struct beam_send_item item = {"x", 1, NULL, 0};
	beam_topic *topic = UNTOUCHED(beam_topic *);
	beam_message *message = NULL;
	struct iovec iov = {(char[]){"x"}, 1};
	struct beam_statistics statistics;
	struct beam_losses losses;
	struct beam_limits limits;
	size_t size;
	struct ends ends;

	ends_open_known(&ends);
	require_int(beam_message_new(&message, "mine", 4), 0);
	check_int(beam_channel_close(ends.channel[0], soon()), 0);
	check_int(beam_channel_close(ends.channel[0], BEAM_NOWAIT), 0);
	check_int(beam_topic_send(ends.topic[0], "x", 1, 0, soon()), -EPIPE);
	check_int(beam_topic_sendv(ends.topic[0], &iov, 1, NULL, 0, 0, soon()), -EPIPE);
	check_int(beam_topic_send_message(ends.topic[0], message, 0, soon()), -EPIPE);
	check_int(beam_topic_send_many(ends.topic[0], &item, 1, 0, soon()), -EPIPE);
	check_int(beam_topic_open(&topic, ends.channel[0], "new"), -EPIPE);
	check_int(beam_channel_accept(ends.channel[0], &topic, soon()), 0);
	check(topic == UNTOUCHED(beam_topic *));
	check_int(beam_topic_receive(ends.topic[0], &(beam_message *){NULL}, 0, soon()), 0);
	check_int(beam_topic_receive_many(ends.topic[0], &(beam_message *){NULL}, 1, 0, soon()), 0);
	check_int(beam_topic_receive_into(ends.topic[0], NULL, 0, &size, NULL, 0, NULL, 0, soon()), 0);
	check_int(beam_topic_close_send(ends.topic[0]), 0);
	check_int(beam_topic_close_send(ends.topic[0]), 0);
	check_int(beam_topic_close_receive(ends.topic[0]), 0);
	check_int(beam_topic_close_receive(ends.topic[0]), 0);
	check_string(beam_topic_name(ends.topic[0]), "topic");
	check_int(beam_channel_peer(ends.channel[0], &(struct beam_peer){0}), -ENODATA);
	check_int(beam_channel_limits(ends.channel[0], &limits, sizeof limits, soon()), 0);
	check_int(beam_channel_statistics(ends.channel[0], &statistics, sizeof statistics), 0);
	check_int(beam_topic_statistics(ends.topic[0], &statistics, sizeof statistics), 0);
	check_int(beam_channel_losses(ends.channel[0], &losses, sizeof losses), 0);
	check_int(losses.messages, 0);
	check_int(beam_topic_losses(ends.topic[0], &losses, sizeof losses), 0);
	check_int(losses.messages, 0);
	check_int(losses.last_error, 0);
	check(beam_channel_breach(ends.channel[0]) == NULL);
	check_bytes(beam_message_data(message), "mine", 4);
	beam_message_free(message);
	ends_close(&ends);
}

static void test_a_topic_closed_or_reset_says_so_and_leaves_the_others_alone(void)
{
	beam_topic *other = NULL;
	struct ends ends;

	ends_open_known(&ends);
	require_int(beam_topic_open(&other, ends.channel[0], "other"), 0);
	check_int(beam_topic_close_send(other), 0);
	check_int(beam_topic_send(other, "x", 1, 0, soon()), -EPIPE);
	check_int(beam_topic_close_receive(other), 0);
	check_int(beam_topic_receive(other, &(beam_message *){NULL}, 0, soon()), 0);
	expect_well(&ends);
	beam_topic_unref(other);
	ends_close(&ends);
}

static void test_the_version_is_that_of_the_headers(void)
{
	check_int(beam_version(), BEAM_VERSION);
	check(strchr(beam_version_string(), '.') != NULL);
}

static const struct test tests[] = {
    TEST(test_null_channels_and_results),
    TEST(test_statistics_fill_as_much_as_there_is_room_for),
    TEST(test_bad_names_of_topics),
    TEST(test_bad_payloads_are_not_sent),
    TEST(test_bad_attachments_are_not_sent_and_stay_the_callers),
    TEST(test_a_message_that_can_not_be_sent_stays_the_callers_untouched),
    TEST(test_a_bad_descriptor_among_many_stops_there_and_nothing_before_it_is_lost),
    TEST(test_more_descriptors_than_go_in_one_write_go_in_several),
    TEST(test_what_goes_beyond_the_topics_window_goes_with_credit_of_the_pool),
    TEST(test_nothing_of_many_goes_to_a_topic_that_is_reset),
    TEST(test_send_many_tells_how_many_went_before_the_bad_one),
    TEST(test_bad_arguments_to_the_receiving_functions),
    TEST(test_deadlines_that_have_passed_look_once),
    TEST(test_deadlines_are_absolute_and_do_not_overflow),
    TEST(test_every_function_after_close_says_what_the_header_says),
    TEST(test_a_topic_closed_or_reset_says_so_and_leaves_the_others_alone),
    TEST(test_the_version_is_that_of_the_headers),
};

HARNESS_MAIN("public/bad-input", tests)
