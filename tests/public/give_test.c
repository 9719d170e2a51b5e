/* SPDX-License-Identifier: MIT */
/*
 * BEAM_SEND_GIVE_FDS: on success the library owns the descriptors and closes them. On any error the
 * caller still owns all of them.
 */
#include <fcntl.h>
#include <public/ends.h>
#include <sys/eventfd.h>

/*
 * Received descriptors get the lowest numbers. Those that are given have high ones, so that they
 * are not mixed up.
 */
enum { FEW = 4, LARGE = 200 << 10, HIGH = 200 };

static void make_fds(int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		int low = eventfd(1 + i, 0);

		fds[i] = fcntl(low, F_DUPFD, HIGH);
		require(fds[i] >= HIGH);
		close(low);
	}
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* The library closes the descriptors soon. */
static void expect_taken(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		check_within(20000, !is_open(fds[i]));
}

static void expect_ours(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		check(is_open(fds[i]));
		close(fds[i]);
	}
}

static int give(beam_topic *topic, const int *fds, size_t n, size_t size, beam_deadline deadline)
{
	static char bytes[LARGE];
	struct iovec iov = {bytes, size};

	return beam_topic_sendv(topic, &iov, 1, fds, n, BEAM_SEND_GIVE_FDS, deadline);
}

/* The counters that the eventfds were made with show that they are those from `first` on. */
static void expect_received(beam_topic *topic, unsigned first, size_t n)
{
	beam_message *message = NULL;

	require_int(beam_topic_receive(topic, &message, 0, soon()), 1);
	check_int(beam_message_attachments(message), n);
	for (unsigned i = 0; i < n; i++) {
		uint64_t number = 0;

		check_int(read(beam_message_peek_fd(message, i), &number, sizeof number), sizeof number);
		check_int(number, 1 + first + i);
	}
	beam_message_free(message);
}

static void test_what_was_sent_is_taken_and_closed(void)
{
	static const size_t sizes[] = {0, 100, LARGE};
	struct ends ends;

	ends_open(&ends, NULL);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		int fds[FEW];

		make_fds(fds, FEW);
		check_int(give(ends.topic[0], fds + 1, FEW - 1, sizes[i], soon()), 0);
		expect_taken(fds + 1, FEW - 1);
		expect_ours(fds, 1);
		expect_received(ends.topic[1], 1, FEW - 1);
	}
	/* There can be no descriptors at all. */
	check_int(give(ends.topic[0], NULL, 0, 3, soon()), 0);
	expect_received(ends.topic[1], 0, 0);
	ends_close(&ends);
}

static void test_what_was_not_sent_is_still_the_callers(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	struct ends ends;
	int fds[FEW];

	options.message_attachments = 3;
	ends_open(&ends, &options);
	make_fds(fds, FEW);
	check_int(give(ends.topic[0], fds, FEW, 1, soon()), -E2BIG);
	check_int(give(ends.topic[0], (int[]){fds[0], -1}, 2, 1, soon()), -EBADF);
	check_int(give(ends.topic[0], (int[]){fds[0], fds[1], fds[0]}, 3, 1, soon()), -EINVAL);
	check_int(beam_topic_sendv(ends.topic[0], NULL, 0, fds, 2, BEAM_SEND_GIVE_FDS | 1, soon()), -EINVAL);
	check_int(beam_topic_close_send(ends.topic[0]), 0);
	check_int(give(ends.topic[0], fds, 2, 1, soon()), -EPIPE);
	expect_ours(fds, FEW);
	ends_close(&ends);
}

static void test_one_that_is_not_open_leaves_the_others(void)
{
	struct ends ends;
	int fds[2];

	ends_open(&ends, NULL);
	make_fds(fds, 2);
	close(fds[1]);
	check_int(give(ends.topic[0], fds, 2, 1, soon()), -EBADF);
	expect_ours(fds, 1);
	ends_close(&ends);
}

static void test_a_large_message_that_is_given_up_leaves_them(void)
{
	struct ends ends;
	int fd;

	make_fds(&fd, 1);
	ends_open(&ends, NULL);
	/* Nobody receives, so the deadline passes between two frames, or before the first. */
	require_int(beam_channel_limits(ends.channel[0], &(struct beam_limits){0}, sizeof(struct beam_limits), soon()),
		    0);
	while (beam_topic_send(ends.topic[0], (char[LARGE]){0}, LARGE, 0, beam_in_ms(20)) == 0)
		;
	check_int(give(ends.topic[0], &fd, 1, LARGE, beam_in_ms(1)), -ETIMEDOUT);
	expect_ours(&fd, 1);
	ends_close(&ends);
}

static void test_of_many_those_that_were_sent_are_taken(void)
{
	struct beam_send_item items[FEW];
	struct ends ends;
	int fds[FEW];

	ends_open(&ends, NULL);
	for (int bad = 0; bad <= FEW; bad++) {
		harness_context("bad %d", bad);
		make_fds(fds, FEW);
		for (int i = 0; i < FEW; i++)
			items[i] = (struct beam_send_item){"item", 4, &fds[i], 1};
		if (bad < FEW)
			items[bad].data = NULL;
		check_int(beam_topic_send_many(ends.topic[0], items, FEW, BEAM_SEND_GIVE_FDS, soon()),
			  bad ? bad : -EINVAL);
		expect_taken(fds, (unsigned)bad);
		expect_ours(fds + bad, (unsigned)(FEW - bad));
		for (int i = 0; i < bad; i++)
			expect_received(ends.topic[1], (unsigned)i, 1);
	}
	ends_close(&ends);
}

static void test_of_many_in_several_forms(void)
{
	static const char large[LARGE];
	struct ends ends;
	int fds[6];

	ends_open(&ends, NULL);
	make_fds(fds, 6);
	const struct beam_send_item items[] = {{"plain", 5, NULL, 0},
					       {"one", 3, fds, 1},
					       {large, LARGE, fds + 1, 2},
					       {"none", 4, NULL, 0},
					       {"rest", 4, fds + 3, 3}};
	check_int(beam_topic_send_many(ends.topic[0], items, 5, BEAM_SEND_GIVE_FDS, soon()), 5);
	expect_taken(fds, 6);
	expect_received(ends.topic[1], 0, 0);
	expect_received(ends.topic[1], 0, 1);
	expect_received(ends.topic[1], 1, 2);
	expect_received(ends.topic[1], 0, 0);
	expect_received(ends.topic[1], 3, 3);
	ends_close(&ends);
}

static void test_many_with_one_twice_send_nothing(void)
{
	struct ends ends;
	int fds[3];

	ends_open(&ends, NULL);
	make_fds(fds, 3);
	struct beam_send_item items[] = {{"a", 1, fds, 1}, {"b", 1, (int[]){fds[1], fds[0]}, 2}, {"c", 1, fds + 2, 1}};
	check_int(beam_topic_send_many(ends.topic[0], items, 3, BEAM_SEND_GIVE_FDS, soon()), -EINVAL);
	check_int(beam_topic_send_many(ends.topic[0], items, 3, 1, soon()), -EINVAL);
	/* Nothing is sent after an item that cannot be sent. */
	items[0] = (struct beam_send_item){"too many", 8, fds, 1000};
	check_int(beam_topic_send_many(ends.topic[0], items, 3, BEAM_SEND_GIVE_FDS, soon()), -E2BIG);
	items[0] = (struct beam_send_item){"not there", 9, NULL, 1};
	check_int(beam_topic_send_many(ends.topic[0], items, 3, BEAM_SEND_GIVE_FDS, soon()), -EINVAL);
	expect_ours(fds, 3);
	check_int(receive_nothing(ends.topic[1], BEAM_NOWAIT), -EAGAIN);
	ends_close(&ends);
}

static void test_calls_and_replies_take_theirs(void)
{
	beam_message *request = NULL, *reply = NULL;
	beam_call *call = NULL;
	struct ends ends;
	int fds[FEW];

	ends_open(&ends, NULL);
	make_fds(fds, FEW);
	check_int(
	    beam_call_begin(&call, ends.topic[0], NULL, 0, (int[]){fds[0], fds[0]}, 2, BEAM_SEND_GIVE_FDS, soon()),
	    -EINVAL);
	check_int(beam_call_begin(&call, ends.topic[0], NULL, 0, fds, 2, BEAM_SEND_GIVE_FDS | 1, soon()), -EINVAL);
	require_int(beam_call_begin(&call, ends.topic[0], NULL, 0, fds, 2, BEAM_SEND_GIVE_FDS, soon()), 0);
	expect_taken(fds, 2);
	require_int(beam_topic_receive(ends.topic[1], &request, 0, soon()), 1);
	check_int(beam_message_attachments(request), 2);
	check_int(beam_message_replyv(request, NULL, 0, (int[]){fds[2], fds[2]}, 2, BEAM_SEND_GIVE_FDS, soon()),
		  -EINVAL);
	check_int(beam_message_reply(request, NULL, 0, BEAM_SEND_GIVE_FDS, soon()), -EINVAL);
	check_int(beam_message_replyv(request, NULL, 0, fds + 2, 1, BEAM_REPLY_MORE | BEAM_SEND_GIVE_FDS, soon()), 0);
	expect_taken(fds + 2, 1);
	check_int(beam_message_replyv(request, NULL, 0, NULL, 0, 0, soon()), 0);
	check_int(beam_message_replyv(request, NULL, 0, fds + 3, 1, BEAM_SEND_GIVE_FDS, soon()), -EALREADY);
	expect_ours(fds + 3, 1);
	check_int(beam_call_receive(call, &reply, 0, soon()), 1);
	check_int(beam_message_attachments(reply), 1);
	beam_message_free(reply);
	beam_message_free(request);
	beam_call_unref(call);
	ends_close(&ends);
}

static void test_where_there_is_nothing_to_give_the_flag_is_refused(void)
{
	beam_message *message = NULL;
	struct ends ends;

	ends_open(&ends, NULL);
	require_int(beam_message_new(&message, "mine", 4), 0);
	check_int(beam_topic_send(ends.topic[0], "x", 1, BEAM_SEND_GIVE_FDS, soon()), -EINVAL);
	check_int(beam_topic_send_message(ends.topic[0], message, BEAM_SEND_GIVE_FDS, soon()), -EINVAL);
	check_int(beam_topic_call(ends.topic[0], "x", 1, &message, BEAM_SEND_GIVE_FDS, soon()), -EINVAL);
	beam_message_free(message);
	ends_close(&ends);
}

static int give_in_child(void *argument)
{
	beam_topic *topic = argument;
	int fd = eventfd(1, 0);
	struct beam_send_item item = {"x", 1, &fd, 1};

	check_int(give(topic, &fd, 1, 1, soon()), -ECHILD);
	check_int(beam_topic_send_many(topic, &item, 1, BEAM_SEND_GIVE_FDS, soon()), -ECHILD);
	expect_ours(&fd, 1);
	return 0;
}

static void test_a_forked_child_keeps_its_own(void)
{
	struct ends ends;

	ends_open(&ends, NULL);
	check_int(process_wait(process_spawn(give_in_child, ends.topic[0])), 0);
	ends_close(&ends);
}

/* The descriptors 0 to 2 can be given, too. */
static int give_standard(void *unused)
{
	struct ends ends;

	(void)unused;
	ends_open(&ends, NULL);
	require_int(dup2(eventfd(1, EFD_CLOEXEC), STDIN_FILENO), STDIN_FILENO);
	check_int(give(ends.topic[0], (int[]){STDIN_FILENO}, 1, 1, soon()), 0);
	/* The number may belong to another file by now. */
	expect_received(ends.topic[1], 0, 1);
	check_within(20000, !is_open(STDIN_FILENO));
	ends_close(&ends);
	return 0;
}

static void test_standard_input_can_be_given(void)
{
	needs_threads_in_children();
	check_int(process_wait(process_spawn(give_standard, NULL)), 0);
}

static const struct test tests[] = {
    TEST(test_what_was_sent_is_taken_and_closed),
    TEST(test_what_was_not_sent_is_still_the_callers),
    TEST(test_one_that_is_not_open_leaves_the_others),
    TEST(test_a_large_message_that_is_given_up_leaves_them),
    TEST(test_of_many_those_that_were_sent_are_taken),
    TEST(test_of_many_in_several_forms),
    TEST(test_many_with_one_twice_send_nothing),
    TEST(test_calls_and_replies_take_theirs),
    TEST(test_where_there_is_nothing_to_give_the_flag_is_refused),
    TEST(test_a_forked_child_keeps_its_own),
    TEST(test_standard_input_can_be_given),
};

HARNESS_MAIN("public/give", tests)
