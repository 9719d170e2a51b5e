/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that the kernel refuses to send: a bad one, one to a peer that accepts none, too many
 * in flight. They cost their own message, or delay its sender, and affect nobody else.
 */
#include <fcntl.h>
#include <hostile/attack.h>
#include <linux/io_uring.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* asm/socket.h; the C library's headers may not know it. */
enum { RAW_SO_PASSRIGHTS = 83, CHILD_SKIPS = 77 };

static struct attack attack;

enum { FILLER = 1000 };

/* Sends until the socket is full. The rest is in the buffer, which has room for more. */
static void fill_socket(void)
{
	static const char filler[FILLER];

	while (beam_channel_flush(attack.channel, BEAM_NOWAIT) == 0)
		require_int(beam_topic_send(attack.topic, filler, sizeof filler, 0, BEAM_NOWAIT), 0);
}

/* ---- A descriptor that the kernel refuses ---------------------------------------------------- */

static int send_with_fd(beam_topic *topic, const char *text, int fd, beam_deadline deadline)
{
	struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};

	return beam_topic_sendv(topic, &iov, 1, &fd, 1, 0, deadline);
}

/* The next message that the peer reads that is not filler. */
static struct raw_frame expect_text_at_peer(const char *text, unsigned n_fds)
{
	struct raw_frame frame;

	do
		frame = raw_peer_expect(&attack.peer, RAW_DATA);
	while (frame.size == FILLER);
	if (check_int(frame.size, strlen(text)))
		check_bytes(frame.payload, text, frame.size);
	check_int(frame.claimed, n_fds);
	for (unsigned i = 0; i < n_fds; i++)
		close(raw_peer_take_fd(&attack.peer));
	return frame;
}

static void test_a_refused_descriptor_in_a_batch_loses_its_own_message_and_no_other(void)
{
	struct beam_channel_options options = small_buffers();
	struct io_uring_params parameters = {0};
	struct beam_statistics statistics;
	struct beam_losses losses;
	beam_topic *bad = NULL, *good = NULL;
	int file, ring = (int)syscall(SYS_io_uring_setup, 4, &parameters);

	if (ring < 0)
		skip("io_uring_setup: %s", strerror(errno));
	file = raw_file();
	attack_begin_generous(&attack, &options);
	require_int(beam_topic_open(&bad, attack.channel, "bad"), 0);
	require_int(beam_topic_open(&good, attack.channel, "good"), 0);
	fill_socket();
	check_int(send_with_fd(good, "before", file, BEAM_NOWAIT), 0);
	check_int(send_with_fd(bad, "refused", ring, BEAM_NOWAIT), 0);
	check_int(send_with_fd(good, "after", file, BEAM_NOWAIT), 0);
	expect_text_at_peer("before", 1);
	expect_text_at_peer("after", 1);
	check_int(beam_topic_send(bad, "next", 4, 0, soon()), -EIO);
	check_int(beam_topic_send(bad, "the one after", 13, 0, soon()), 0);
	expect_text_at_peer("the one after", 0);
	check_int(beam_channel_flush(attack.channel, soon()), -EIO);
	check_int(beam_channel_flush(attack.channel, soon()), 0);
	check_int(beam_topic_statistics(bad, &statistics, sizeof statistics), 0);
	check_int(statistics.messages_lost, 1);
	check_int(beam_topic_losses(bad, &losses, sizeof losses), 0);
	check_int(losses.messages, 1);
	check_int(losses.first_error, -EINVAL);
	check_int(losses.last_error, -EINVAL);
	check_int(beam_topic_statistics(good, &statistics, sizeof statistics), 0);
	check_int(statistics.messages_lost, 0);
	beam_topic_unref(bad);
	beam_topic_unref(good);
	attack_end(&attack);
	close(file);
	close(ring);
}

static void test_a_peer_that_takes_no_descriptors_costs_only_the_messages_that_have_some(void)
{
	int file;

	attack_begin_generous(&attack, NULL);
	if (setsockopt(attack.peer.socket, SOL_SOCKET, RAW_SO_PASSRIGHTS, &(int){0}, sizeof(int)) < 0) {
		attack_end(&attack);
		skip("SO_PASSRIGHTS is from Linux 6.16");
	}
	file = raw_file();
	check_int(beam_topic_send(attack.topic, "before", 6, 0, soon()), 0);
	check_int(send_with_fd(attack.topic, "refused", file, soon()), -EPERM);
	check_int(beam_topic_send(attack.topic, "after", 5, 0, soon()), 0);
	expect_text_at_peer("before", 0);
	expect_text_at_peer("after", 0);
	close(file);
	attack_end(&attack);
}

/* ---- Too many descriptors in flight ---------------------------------------------------------- */

enum { IN_FLIGHT_LIMIT = 128, BATCH = 16 };

/*
 * Becomes a user of its own who is bound by the limit, so that no other process's descriptors
 * count.
 */
static bool become_limited(void)
{
	struct rlimit limit = {IN_FLIGHT_LIMIT, IN_FLIGHT_LIMIT};
	uid_t uid = (uid_t)(1000000 + getpid());

	return (geteuid() != 0 || setresuid(uid, uid, uid) == 0) && setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

static int child_with_full_flight(void *argument)
{
	int stuck[2], fds[BATCH], file = raw_file();
	struct raw_group group;
	beam_topic *other = NULL;
	char byte;
	int n = 0;

	(void)argument;
	for (int i = 0; i < BATCH; i++)
		fds[i] = file;
	if (!become_limited())
		return CHILD_SKIPS;
	attack_begin_generous(&attack, NULL);
	require_int(beam_topic_open(&other, attack.channel, "other"), 0);
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stuck), 0);
	while (raw_send(stuck[0], "x", 1, fds, BATCH, MSG_DONTWAIT) == 1)
		n++;
	check(n > 0);

	/*
	 * A message with a descriptor is not sent. Messages without one are, on this channel and on
	 * others.
	 */
	check_int(send_with_fd(attack.topic, "too many", file, beam_in_ms(100)), -ETIMEDOUT);
	check_int(beam_topic_send(other, "plain", 5, 0, soon()), 0);
	expect_text_at_peer("plain", 0);
	check_int(beam_topic_send(attack.topic, "plain too", 9, 0, soon()), 0);
	expect_text_at_peer("plain too", 0);
	check_int(beam_topic_send(attack.honest.topic[0], "word", 4, 0, soon()), 0);
	expect_text(attack.honest.topic[1], "word");

	/* It can be sent when some of the descriptors in flight have been received. */
	for (; n > 0; n--) {
		check_int(raw_receive(stuck[1], &byte, 1, &group, 0), 1);
		raw_group_close(&group);
	}
	check_int(send_with_fd(attack.topic, "at last", file, soon()), 0);
	expect_text_at_peer("at last", 1);
	beam_topic_unref(other);
	attack_end(&attack);
	return 0;
}

static void test_too_many_descriptors_in_flight_cost_their_sender_its_deadline_and_nobody_else_anything(void)
{
	int code;

	needs_threads_in_children();
	if (under_valgrind())
		skip("Valgrind simulates RLIMIT_NOFILE");
	code = process_wait(process_spawn(child_with_full_flight, NULL));
	if (code == CHILD_SKIPS)
		skip("needs a user other than root, and can not become one: setresuid() or setrlimit() fails");
	check_int(code, 0);
}

static const struct test tests[] = {
    TEST(test_a_refused_descriptor_in_a_batch_loses_its_own_message_and_no_other),
    TEST(test_a_peer_that_takes_no_descriptors_costs_only_the_messages_that_have_some),
    TEST(test_too_many_descriptors_in_flight_cost_their_sender_its_deadline_and_nobody_else_anything),
};

HARNESS_MAIN("hostile/refusal", tests)
