/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that are given away and have to wait in the buffer. They are not duplicated, and they
 * are closed once, whatever happens to the message, unless the send fails. The channel has no
 * thread, so the test decides when the buffer is written.
 */
#include <base/thread.h>
#include <beam/call.h>
#include <beam/event.h>
#include <channel/scene.h>
#include <fcntl.h>
#include <harness/fault.h>
#include <sys/eventfd.h>

/*
 * The descriptors that are sent have high numbers, because those that are received get the lowest.
 */
enum { HIGH = 200, ITEMS = 10, ITEM = 3000 };

static void begin_looped(void)
{
	struct beam_channel_options options = looped();

	begin_settled(&options);
}

static void set_full(bool full)
{
	pthread_mutex_lock(&channel->link.writer.lock);
	channel->link.writer.full = full;
	pthread_mutex_unlock(&channel->link.writer.lock);
}

static int make_fd(void)
{
	int low = eventfd(1, 0), fd = fcntl(low, F_DUPFD, HIGH);

	require(fd >= HIGH);
	close(low);
	return fd;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static int give(unsigned topic, const int *fds, size_t n)
{
	struct iovec iov = {(char[]){"given"}, 5};

	return beam_topic_sendv(topics[topic], &iov, 1, fds, n, BEAM_SEND_GIVE_FDS, BEAM_NOWAIT);
}

static void write_what_waits(void)
{
	while (is_written_to(channel))
		check_int(beam_channel_dispatch(channel, POLLOUT), 1);
}

static void test_they_wait_themselves_and_are_close_on_exec(void)
{
	int fd;

	begin_looped();
	fd = make_fd();
	set_full(true);
	/* No descriptor can be duplicated. */
	fault_only(FAULT(SYS_FCNTL));
	fault_at(3, EMFILE, FAULT_STICKY);
	check_int(give(1, &fd, 1), 0);
	fault_off();
	/* It is not closed before it has been sent. */
	check(reaper_drain(soon()));
	check_int(fcntl(fd, F_GETFD), FD_CLOEXEC);
	write_what_waits();
	check_within(20000, !is_open(fd));
	expect_of_peer(1, "given", 1);
	end();
}

static void test_one_that_is_not_open_does_not_wait(void)
{
	int fds[2];

	begin_looped();
	fds[0] = make_fd();
	fds[1] = make_fd();
	close(fds[1]);
	set_full(true);
	check_int(give(1, fds, 2), -EBADF);
	check(is_open(fds[0]));
	close(fds[0]);
	/* Nothing stays charged. */
	check_int(topics[1]->outbox.outlet.used_attachments, 0);
	end();
}

static void test_those_that_the_kernel_refuses_later_are_closed(void)
{
	struct beam_losses losses;
	int fd;

	begin_looped();
	fd = make_fd();
	set_full(true);
	check_int(give(1, &fd, 1), 0);
	fault_only(FAULT(SYS_SENDMSG));
	fault_times(2);
	fault_at(1, EPERM, FAULT_ONCE);
	write_what_waits();
	fault_off();
	check_within(20000, !is_open(fd));
	check_int(beam_topic_losses(topics[1], &losses, sizeof losses), 0);
	check_int(losses.messages, 1);
	end();
}

static void test_those_that_the_end_of_the_channel_finds_are_closed(void)
{
	int fd;

	begin_looped();
	fd = make_fd();
	set_full(true);
	check_int(give(1, &fd, 1), 0);
	check_int(beam_channel_abort(channel), 0);
	check_within(20000, !is_open(fd));
	end();
}

/* A message that was received can have any descriptor, also one whose close blocks. */
static void test_those_of_a_message_that_is_sent_on_are_closed_by_the_reaper(void)
{
	for (int full = 0; full < 2; full++) {
		beam_message *message = NULL;
		int fd;

		begin_looped();
		fd = make_fd();
		require_int(beam_message_new(&message, "given", 5), 0);
		require_int(beam_message_add_fd(message, fd), 0);
		close(fd);
		set_full(full);
		check(thread_end_all(BEAM_FOREVER));
		fault_only(FAULT(SYS_PTHREAD_CREATE));
		fault_at(100, 0, FAULT_ONCE);
		check_int(beam_topic_send_message(topics[1], message, 0, soon()), 0);
		check_int(fault_calls_of(SYS_PTHREAD_CREATE), !full);
		write_what_waits();
		check_int(fault_calls_of(SYS_PTHREAD_CREATE), 1);
		fault_off();
		expect_of_peer(1, "given", 1);
		end();
	}
}

static void test_of_many_those_in_the_buffer_are_not_closed_twice(void)
{
	struct beam_send_item items[2];
	int fds[2];

	begin_looped();
	for (int i = 0; i < 2; i++) {
		fds[i] = make_fd();
		items[i] = (struct beam_send_item){"item", 4, &fds[i], 1};
	}
	set_full(true);
	check_int(beam_topic_send_many(topics[1], items, 2, BEAM_SEND_GIVE_FDS, BEAM_NOWAIT), 2);
	for (int i = 0; i < 2; i++)
		check_within(20000, !is_open(fds[i]));
	for (int i = 0; i < 2; i++)
		expect_of_peer(1, "item", 1);
	end();
}

struct giving {
	int fds[ITEMS];
	ssize_t result;
};

static void *give_items(void *argument)
{
	static const char bulk[ITEM];
	struct giving *giving = argument;
	struct beam_send_item items[ITEMS];

	for (unsigned i = 0; i < ITEMS; i++)
		items[i] = (struct beam_send_item){bulk, ITEM, &giving->fds[i], 1};
	giving->result = beam_topic_send_many(topics[0], items, ITEMS, BEAM_SEND_GIVE_FDS, soon());
	return NULL;
}

static bool is_full(void)
{
	bool full;

	pthread_mutex_lock(&channel->link.writer.lock);
	full = channel->link.writer.full;
	pthread_mutex_unlock(&channel->link.writer.lock);
	return full;
}

/* The connection breaks in the middle of a run, after all descriptors of the run have been sent. */
static void test_of_a_run_that_breaks_off_those_of_whole_messages_are_taken(void)
{
	struct giving giving = {.result = -1};
	pthread_t thread;
	ssize_t sent;

	begin_narrow(NULL);
	for (unsigned i = 0; i < TOPICS; i++)
		raw_peer_expect(&peer, RAW_OPEN);
	check_within(20000, !is_written_to(channel));
	for (unsigned i = 0; i < ITEMS; i++)
		giving.fds[i] = make_fd();
	thread = thread_spawn(give_items, &giving);
	check_within(20000, is_full());
	raw_peer_close(&peer);
	thread_wait(thread);
	sent = giving.result > 0 ? giving.result : 0;
	check(sent < ITEMS);
	for (ssize_t i = 0; i < ITEMS; i++) {
		if (i < sent) {
			check_within(20000, !is_open(giving.fds[i]));
		} else {
			check(is_open(giving.fds[i]));
			close(giving.fds[i]);
		}
	}
	end();
}

static void test_without_memory_to_compare_them_none_is_taken(void)
{
	int fd;

	begin_looped();
	fd = make_fd();
	const struct beam_send_item item = {"item", 4, &fd, 1};
	fault_only(FAULT(SYS_MALLOC));
	fault_at(1, 0, FAULT_ONCE);
	check_int(beam_topic_send_many(topics[1], &item, 1, BEAM_SEND_GIVE_FDS, soon()), -ENOMEM);
	fault_off();
	check(is_open(fd));
	close(fd);
	end();
}

static const struct test tests[] = {
    TEST(test_they_wait_themselves_and_are_close_on_exec),
    TEST(test_one_that_is_not_open_does_not_wait),
    TEST(test_those_that_the_kernel_refuses_later_are_closed),
    TEST(test_those_that_the_end_of_the_channel_finds_are_closed),
    TEST(test_those_of_a_message_that_is_sent_on_are_closed_by_the_reaper),
    TEST(test_of_many_those_in_the_buffer_are_not_closed_twice),
    TEST(test_of_a_run_that_breaks_off_those_of_whole_messages_are_taken),
    TEST(test_without_memory_to_compare_them_none_is_taken),
};

HARNESS_MAIN("channel/given", tests)
