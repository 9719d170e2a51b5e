/* SPDX-License-Identifier: MIT */
/*
 * Between two steps of one thread, another one takes steps of its own: messages with attachments,
 * whose descriptors must be duplicated if they wait in the buffer.
 */
#include <channel/scene.h>
#include <harness/fault.h>

/*
 * The first end of a connection knows the limits of the other one, and has written everything that
 * it sends of its own accord.
 */
static void ends_open_settled(struct ends *ends, const struct beam_channel_options *options)
{
	ends_open(ends, options);
	check_int(beam_channel_limits(ends->channel[0], &(struct beam_limits){0}, sizeof(struct beam_limits), soon()),
		  0);
	require_int(beam_channel_flush(ends->channel[0], soon()), 0);
	check_within(20000, !is_written_to(ends->channel[0]));
}

/* ---- What the buffer holds ------------------------------------------------------------------- */

static pthread_t sender;

/* Run in the sender's thread: many small messages with descriptors. */
static void append_many(void *argument)
{
	struct ends *ends = argument;
	struct iovec iov = {NULL, 0};
	int r, n = 0;

	if (!pthread_equal(pthread_self(), sender)) {
		fault_meanwhile(SYS_SENDMSG, 1, append_many, ends);
		return;
	}
	while ((r = beam_topic_sendv(ends->topic[0], &iov, 1, (int[]){STDIN_FILENO}, 1, 0, BEAM_NOWAIT)) == 0)
		n++;
	check_int(r, -EAGAIN);
	check_int(n, TX_FDS);
}

static void test_the_buffer_holds_so_many_descriptors_and_no_more(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_message *message = NULL;
	struct ends ends;

	needs_descriptors(512);
	options.attachments = options.topic_window_attachments = 1000;
	ends_open_settled(&ends, &options);
	sender = pthread_self();
	fault_meanwhile(SYS_SENDMSG, 1, append_many, &ends);
	check_int(beam_topic_send(ends.topic[0], "", 0, 0, soon()), 0);
	for (int i = 0; i <= TX_FDS; i++) {
		require_int(beam_topic_receive(ends.topic[1], &message, 0, soon()), 1);
		beam_message_free(message);
	}
	ends_close(&ends);
}

static void test_a_run_ends_where_its_descriptors_would_be_too_many(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	static int fds[TX_FDS / 2]; /* each is standard input */
	struct beam_send_item items[] = {{"", 0, fds, 1}, {"", 0, fds, TX_FDS / 2}, {"", 0, fds, TX_FDS / 2}};
	struct ends ends;

	needs_descriptors(512);
	options.message_attachments = TX_FDS / 2;
	/* One topic may hold a quarter of the channel's attachments. */
	options.topic_window_attachments = 1000;
	options.attachments = 4 * 1000;
	ends_open_settled(&ends, &options);
	check_int(beam_topic_send_many(ends.topic[0], items, 3, 0, soon()), 3);
	for (int i = 0; i < 3; i++)
		expect_text_with_fds(ends.topic[1], "", items[i].n_fds);
	ends_close(&ends);
}

/* ---- If no descriptor can be duplicated ------------------------------------------------------ */

static void append_with_one_free_number(void *unused)
{
	struct iovec iov = {NULL, 0};

	(void)unused;
	fault_only(FAULT(SYS_FCNTL));
	fault_at(2, EMFILE, FAULT_ONCE);
	check_int(beam_topic_sendv(topics[1], &iov, 1, (int[]){STDIN_FILENO, STDIN_FILENO}, 2, 0, BEAM_NOWAIT),
		  -EMFILE);
	check(fault_hit());
	fault_off();
}

static void test_of_descriptors_that_cannot_all_be_duplicated_none_is_left(void)
{
	begin_settled(NULL);
	fault_meanwhile(SYS_SENDMSG, 1, append_with_one_free_number, NULL);
	check_int(send_words(0, "writing", soon()), 0);
	expect_of_peer(0, "writing", 0);
	end();
}

static void no_duplicates(void)
{
	fault_only(FAULT(SYS_FCNTL));
	fault_at(1, EMFILE, FAULT_STICKY);
}

struct sending_thread {
	pthread_t thread;
	bool by_many;
	int result;
};

static void *send_soon(void *argument)
{
	struct sending_thread *sending = argument;
	struct beam_send_item item = {"its own", 7, (int[]){STDIN_FILENO}, 1};

	sending->result = sending->by_many ? (int)beam_topic_send_many(topics[1], &item, 1, 0, soon())
					   : send_stdin(1, "its own", soon());
	return NULL;
}

static void start_beside_a_writer(void *argument)
{
	struct sending_thread *sending = argument;

	no_duplicates();
	check_int(send_stdin(1, "refused", BEAM_NOWAIT), -EMFILE);
	sending->thread = thread_spawn(send_soon, sending);
	check_within(20000, writers() == 1);
}

static void test_who_cannot_be_kept_waits_for_his_turn_to_write(void)
{
	for (int by_many = 0; by_many < 2; by_many++) {
		struct sending_thread sending = {.by_many = by_many};

		begin_settled(NULL);
		fault_meanwhile(SYS_SENDMSG, 1, start_beside_a_writer, &sending);
		check_int(send_words(0, "writing", soon()), 0);
		thread_wait(sending.thread);
		check_int(sending.result, by_many);
		check(fault_hit());
		fault_off();
		expect_of_peer(0, "writing", 0);
		expect_of_peer(1, "its own", 1);
		end();
	}
}

static void take_no_duplicate(void *unused)
{
	(void)unused;
	no_duplicates();
}

static void find_it_full(void *unused)
{
	(void)unused;
	fault_only(FAULT(SYS_SENDMSG));
	fault_at(1, EAGAIN, FAULT_ONCE);
	fault_meanwhile(SYS_FCNTL, 1, take_no_duplicate, NULL);
}

static void test_who_finds_the_socket_full_and_cannot_be_kept_writes_on(void)
{
	begin_settled(NULL);
	fault_meanwhile(SYS_SENDMSG, 1, find_it_full, NULL);
	check_int(send_stdin(1, "its own", soon()), 0);
	check(fault_hit());
	fault_off();
	expect_of_peer(1, "its own", 1);
	end();
}

static bool somebody_has_the_right(void)
{
	bool writing;

	pthread_mutex_lock(&channel->link.writer.lock);
	writing = channel->link.writer.taken;
	pthread_mutex_unlock(&channel->link.writer.lock);
	return writing;
}

static void test_who_cannot_be_kept_waits_for_room_in_the_socket(void)
{
	for (int by_many = 0; by_many < 2; by_many++) {
		struct sending_thread sending = {.by_many = by_many};
		unsigned n;

		begin_narrow(NULL);
		n = fill();
		/*
		 * The buffer has room for a short message, but its descriptor cannot be duplicated.
		 */
		no_duplicates();
		check_int(send_stdin(1, "refused", BEAM_NOWAIT), -EMFILE);
		check_int(send_stdin(1, "too late", beam_in_ms(10)), -ETIMEDOUT);
		sending.thread = thread_spawn(send_soon, &sending);
		check_within(20000, somebody_has_the_right());
		while (n--)
			raw_peer_expect(&peer, RAW_DATA);
		expect_of_peer(1, "its own", 1);
		thread_wait(sending.thread);
		check_int(sending.result, by_many);
		fault_off();
		end();
	}
}

static void in_a_burst(void)
{
	pthread_mutex_lock(&channel->link.writer.lock);
	channel->link.writer.burst = true;
	pthread_mutex_unlock(&channel->link.writer.lock);
}

static void test_in_a_burst_who_cannot_be_kept_writes_for_himself(void)
{
	begin_settled(NULL);
	no_duplicates();
	in_a_burst();
	check_int(send_stdin(1, "waits if need be", soon()), 0);
	check(fault_hit());
	in_a_burst();
	check_int(send_stdin(1, "need not wait", BEAM_NOWAIT), 0);
	fault_off();
	expect_of_peer(1, "waits if need be", 1);
	expect_of_peer(1, "need not wait", 1);
	end();
}

static const struct test tests[] = {
    TEST(test_the_buffer_holds_so_many_descriptors_and_no_more),
    TEST(test_a_run_ends_where_its_descriptors_would_be_too_many),
    TEST(test_of_descriptors_that_cannot_all_be_duplicated_none_is_left),
    TEST(test_who_cannot_be_kept_waits_for_his_turn_to_write),
    TEST(test_who_finds_the_socket_full_and_cannot_be_kept_writes_on),
    TEST(test_who_cannot_be_kept_waits_for_room_in_the_socket),
    TEST(test_in_a_burst_who_cannot_be_kept_writes_for_himself),
};

HARNESS_MAIN("channel/meanwhile_descriptors", tests)
