/* SPDX-License-Identifier: MIT */
/*
 * Payloads in memory that is missing, such as a file that somebody truncates while it is being
 * sent. The sender's channel has no thread, so that only the kernel reads payloads. If the library
 * copied a payload itself, the access would raise a signal, as any other does.
 */
#include <channel/scene.h>
#include <fcntl.h>
#include <harness/fault.h>
#include <sys/eventfd.h>

enum { MANY = 1200 << 10 };

/* The channels, and a second topic besides "topic". */
static struct ends ends;
static beam_topic *others[2];
/* A file of MANY bytes in memory. */
static int file;
static char *payload;

static void map_file(void)
{
	file = memfd_create("payload", MFD_CLOEXEC);
	require_int(ftruncate(file, MANY), 0);
	payload = mmap(NULL, MANY, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	require(payload != MAP_FAILED);
	memset(payload, 'p', MANY);
}

static void unmap_file(void)
{
	munmap(payload, MANY);
	close(file);
}

static void open_both(void)
{
	int fds[2];

	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	for (int i = 1; i >= 0; i--) {
		struct beam_channel_options options = looped();

		require_int(beam_channel_from_fd(&ends.channel[i], fds[i], i ? NULL : &options), 0);
		require_int(beam_topic_open(&ends.topic[i], ends.channel[i], "topic"), 0);
		require_int(beam_topic_open(&others[i], ends.channel[i], "other"), 0);
	}
	map_file();
}

static void close_both(void)
{
	for (int i = 0; i < 2; i++)
		others[i] = beam_topic_unref(others[i]);
	ends_close(&ends);
	unmap_file();
}

/*
 * The next messages of both topics are these. Nothing of another message arrives, and the channel
 * works in both directions.
 */
static void expect_to_go_on(void)
{
	check_int(beam_channel_dispatch(ends.channel[0], POLLIN | POLLOUT), 1);
	send_text(ends.topic[0], "next");
	send_text(others[0], "beside");
	expect_text(others[1], "beside");
	expect_text(ends.topic[1], "next");
	send_text(ends.topic[1], "back");
	expect_text(ends.topic[0], "back");
}

/* Sizes of payloads, of which nothing, half, or all but the last byte can be read. */
static const size_t sizes[] = {1, 100, 5000, TX_WHOLE - 1, TX_WHOLE, TX_WHOLE + 1, 65000, 65536, 70000, 140000, 500000};

/* A payload that extends beyond the end of the file. Only `readable` bytes of it can be read. */
static const char *cut(size_t size, size_t readable)
{
	require_int(ftruncate(file, MANY), 0);
	require_int(ftruncate(file, MANY / 2), 0);
	return payload + MANY / 2 - (readable < size ? readable : size - 1);
}

static void send_cut(size_t size, size_t readable)
{
	check_int(beam_topic_send(ends.topic[0], cut(size, readable), size, 0, soon()), -EFAULT);
	expect_to_go_on();
}

static void test_a_message_whose_payload_is_not_there_fails_alone(void)
{
	open_both();
	/* After this the limits of the other side are known, and nobody else writes. */
	expect_to_go_on();
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		send_cut(sizes[i], 0);
		send_cut(sizes[i], sizes[i] / 2);
		send_cut(sizes[i], sizes[i] - 1);
	}
	close_both();
}

static void test_one_missing_part_of_many_fails_the_message(void)
{
	open_both();
	expect_to_go_on();
	for (size_t missing = 0; missing < 100; missing += 9) {
		struct iovec iov[100];
		const char *bad = cut(3000, 0);

		for (size_t i = 0; i < 100; i++)
			iov[i] = (struct iovec){(void *)(uintptr_t)(i == missing ? bad : payload), 3000};
		check_int(beam_topic_sendv(ends.topic[0], iov, 100, NULL, 0, 0, soon()), -EFAULT);
		expect_to_go_on();
	}
	close_both();
}

static void test_its_attachments_stay_the_senders_and_their_credit_comes_back(void)
{
	enum { TIMES = 300 };
	int fds[2] = {eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC)};

	open_both();
	expect_to_go_on();
	for (int i = 0; i < TIMES; i++) {
		size_t size = i % 3 ? 100 : 150000;
		struct iovec iov = {(void *)(uintptr_t)cut(size, size / 2), size};

		check_int(beam_topic_sendv(ends.topic[0], &iov, 1, fds, 2, 0, soon()), -EFAULT);
		check_int(beam_channel_dispatch(ends.channel[0], POLLIN | POLLOUT), 1);
		check(fcntl(fds[0], F_GETFD) >= 0 && fcntl(fds[1], F_GETFD) >= 0);
	}
	expect_to_go_on();
	check_int(beam_topic_sendv(ends.topic[0], &(struct iovec){payload, 4}, 1, fds, 2, 0, soon()), 0);
	expect_text_with_fds(ends.topic[1], "pppp", 2);
	close(fds[0]);
	close(fds[1]);
	close_both();
}

static void test_a_call_whose_payload_is_not_there_fails_and_the_next_one_is_answered(void)
{
	open_both();
	expect_to_go_on();
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct iovec iov = {(void *)(uintptr_t)cut(sizes[i], sizes[i] / 2), sizes[i]};
		beam_message *request = NULL, *reply = NULL;
		beam_call *call = NULL;

		check_int(beam_call_begin(&call, ends.topic[0], &iov, 1, NULL, 0, 0, soon()), -EFAULT);
		require_int(beam_call_begin(&call, ends.topic[0], &(struct iovec){payload, 3}, 1, NULL, 0, 0, soon()),
			    0);
		require_int(beam_topic_receive(ends.topic[1], &request, 0, soon()), 1);
		check_int(beam_message_size(request), 3);
		check_int(beam_message_reply(request, "yes", 3, 0, soon()), 0);
		check_int(beam_call_receive(call, &reply, 0, soon()), 1);
		beam_message_free(reply);
		beam_message_free(request);
		beam_call_unref(call);
	}
	close_both();
}

static void test_after_a_reply_whose_payload_is_not_there_another_one_can_be_given(void)
{
	open_both();
	expect_to_go_on();
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		beam_message *request = NULL, *reply = NULL;
		beam_call *call = NULL;

		require_int(beam_call_begin(&call, ends.topic[1], &(struct iovec){payload, 3}, 1, NULL, 0, 0, soon()),
			    0);
		require_int(beam_topic_receive(ends.topic[0], &request, 0, soon()), 1);
		check_int(beam_message_reply(request, cut(sizes[i], sizes[i] / 2), sizes[i], 0, soon()), -EFAULT);
		check_int(beam_message_reply(request, "sorry", 5, 0, soon()), 0);
		check_int(beam_call_receive(call, &reply, 0, soon()), 1);
		check_int(beam_message_size(reply), 5);
		beam_message_free(reply);
		beam_message_free(request);
		beam_call_unref(call);
	}
	expect_to_go_on();
	close_both();
}

/* ---- With something in the buffer ------------------------------------------------------------ */

/* What others have put into the buffer is sent in the same write, or before it. */
static void test_what_stands_in_the_buffer_goes_all_the_same(void)
{
	static const size_t buffered[] = {10, 4000, 20000, 60000};

	open_both();
	expect_to_go_on();
	for (size_t i = 0; i < sizeof buffered / sizeof *buffered; i++) {
		/* The last size is too large to go in one write with most of these. */
		for (size_t size = 100; size <= TX_WHOLE; size *= 17) {
			beam_message *message = NULL;

			/* As if somebody were writing. */
			pthread_mutex_lock(&ends.channel[0]->link.writer.lock);
			require(!ends.channel[0]->link.writer.taken);
			ends.channel[0]->link.writer.taken = true;
			pthread_mutex_unlock(&ends.channel[0]->link.writer.lock);
			check_int(beam_topic_send(others[0], payload, buffered[i], 0, BEAM_NOWAIT), 0);
			pthread_mutex_lock(&ends.channel[0]->link.writer.lock);
			ends.channel[0]->link.writer.taken = false;
			pthread_mutex_unlock(&ends.channel[0]->link.writer.lock);
			check_int(beam_topic_send(ends.topic[0], cut(size, size / 2), size, 0, soon()), -EFAULT);
			if (check_int(beam_topic_receive(others[1], &message, 0, soon()), 1))
				check_int(beam_message_size(message), buffered[i]);
			beam_message_free(message);
			expect_to_go_on();
			require_int(ftruncate(file, MANY), 0);
		}
	}
	close_both();
}

/* ---- A message that has begun ---------------------------------------------------------------- */

struct sender {
	pthread_t thread;
	beam_deadline deadline;
	int result;
};

static void *send_all(void *argument)
{
	struct sender *sender = argument;

	sender->result = beam_topic_send(ends.topic[0], payload, MANY / 2, 0, sender->deadline);
	return NULL;
}

/*
 * A thread sends the whole file, and the socket is full before it is done, because nobody reads.
 * Returns the other end.
 */
static int begin_to_send(struct sender *sender, beam_deadline deadline)
{
	struct beam_channel_options options = looped();
	int fds[2];

	options.socket_buffer_bytes = 100000;
	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	require_int(beam_channel_from_fd(&ends.channel[0], fds[0], &options), 0);
	require_int(beam_topic_open(&ends.topic[0], ends.channel[0], "topic"), 0);
	require_int(beam_topic_open(&others[0], ends.channel[0], "other"), 0);
	map_file();
	*sender = (struct sender){.deadline = deadline};
	require_int(pthread_create(&sender->thread, NULL, send_all, sender), 0);
	return fds[1];
}

static bool is_stuck(void)
{
	bool stuck;

	pthread_mutex_lock(&ends.channel[0]->link.writer.lock);
	stuck = ends.channel[0]->link.writer.taken && ends.channel[0]->link.writer.full &&
		ends.channel[0]->link.writer.tx.batch.active;
	pthread_mutex_unlock(&ends.channel[0]->link.writer.lock);
	return stuck;
}

static void begin_to_receive(int fd)
{
	require_int(beam_channel_from_fd(&ends.channel[1], fd, NULL), 0);
	require_int(beam_topic_open(&ends.topic[1], ends.channel[1], "topic"), 0);
	require_int(beam_topic_open(&others[1], ends.channel[1], "other"), 0);
}

static void test_a_message_that_has_begun_is_taken_back_when_its_file_is_truncated(void)
{
	struct sender sender;
	int fd = begin_to_send(&sender, soon());

	check_within(20000, is_stuck());
	require_int(ftruncate(file, 0), 0);
	begin_to_receive(fd);
	pthread_join(sender.thread, NULL);
	check_int(sender.result, -EFAULT);
	expect_to_go_on();
	close_both();
}

static void test_a_deadline_in_the_middle_of_a_message_reads_no_more_of_it(void)
{
	struct sender sender;
	int fd = begin_to_send(&sender, beam_in_ms(stretch(2000)));

	/* From here on, an access by the library would raise a signal. */
	check_within(20000, is_stuck());
	require_int(ftruncate(file, 0), 0);
	pthread_join(sender.thread, NULL);
	check_int(sender.result, -ETIMEDOUT);
	begin_to_receive(fd);
	expect_to_go_on();
	close_both();
}

/* ---- If the message cannot be completed ------------------------------------------------------ */

/*
 * The program has asked for such a small socket buffer that the last frame of a message has to be
 * divided.
 */
static void test_of_a_narrow_socket_the_channel_breaks(void)
{
	struct beam_channel_options narrow = looped();
	int fds[2];

	narrow.socket_buffer_bytes = 1;
	narrow.linger_ms = 1;
	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	require_int(beam_channel_from_fd(&ends.channel[0], fds[0], &narrow), 0);
	require_int(beam_topic_open(&ends.topic[0], ends.channel[0], "topic"), 0);
	require_int(beam_topic_open(&others[0], ends.channel[0], "other"), 0);
	begin_to_receive(fds[1]);
	map_file();
	check_int(beam_topic_send(ends.topic[0], cut(30000, 29000), 30000, 0, soon()), -ECONNRESET);
	/* A part of a message is not delivered. */
	ends.topic[0] = beam_topic_unref(ends.topic[0]);
	others[0] = beam_topic_unref(others[0]);
	ends.channel[0] = beam_channel_unref(ends.channel[0]);
	check_int(beam_topic_receive(ends.topic[1], &(beam_message *){NULL}, 0, soon()), -ECONNRESET);
	close_both();
}

/*
 * EFAULT without a payload: the kernel has no reason to report this for the library's own memory.
 */
static void test_without_a_payload_it_is_an_error_like_others(void)
{
	for (int beside = 0; beside < 2; beside++) {
		open_both();
		expect_to_go_on();
		pthread_mutex_lock(&ends.channel[0]->link.writer.lock);
		ends.channel[0]->link.writer.taken = true;
		pthread_mutex_unlock(&ends.channel[0]->link.writer.lock);
		check_int(beam_topic_send(others[0], payload, 60000 / 2, 0, BEAM_NOWAIT), 0);
		pthread_mutex_lock(&ends.channel[0]->link.writer.lock);
		ends.channel[0]->link.writer.taken = false;
		pthread_mutex_unlock(&ends.channel[0]->link.writer.lock);
		fault_only(FAULT(SYS_SENDMSG));
		fault_at(1, EFAULT, FAULT_ONCE);
		if (beside)
			check_int(beam_topic_send(ends.topic[0], payload, 30000, 0, soon()), -ECONNRESET);
		else
			check_int(beam_channel_flush(ends.channel[0], soon()), -ECONNRESET);
		fault_off();
		close_both();
	}
}

static const struct test tests[] = {
    TEST(test_a_message_whose_payload_is_not_there_fails_alone),
    TEST(test_one_missing_part_of_many_fails_the_message),
    TEST(test_its_attachments_stay_the_senders_and_their_credit_comes_back),
    TEST(test_a_call_whose_payload_is_not_there_fails_and_the_next_one_is_answered),
    TEST(test_after_a_reply_whose_payload_is_not_there_another_one_can_be_given),
    TEST(test_what_stands_in_the_buffer_goes_all_the_same),
    TEST(test_a_message_that_has_begun_is_taken_back_when_its_file_is_truncated),
    TEST(test_a_deadline_in_the_middle_of_a_message_reads_no_more_of_it),
    TEST(test_of_a_narrow_socket_the_channel_breaks),
    TEST(test_without_a_payload_it_is_an_error_like_others),
};

HARNESS_MAIN("payload", tests)
