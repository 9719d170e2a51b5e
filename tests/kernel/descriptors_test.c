/* SPDX-License-Identifier: MIT */
/*
 * What the kernel promises: the bytes of a stream with which descriptors arrive. The protocol's
 * rule about carriers depends on it (docs/protocol.md). These tests use no code of Beam. If they
 * fail, the kernel behaves differently.
 */
#include <fcntl.h>
#include <harness/harness.h>
#include <kernel/raw.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

static char bytes[1 << 19];

/* A pair of sockets that never block, and a descriptor to send. */
struct pair {
	int from, to, fd;
};

static struct pair pair_open(int type)
{
	int ends[2];
	struct pair pair = {-1, -1, -1};

	if (socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0)
		pair = (struct pair){ends[0], ends[1], eventfd(0, EFD_CLOEXEC)};
	require(pair.fd >= 0);
	return pair;
}

static void pair_close(struct pair *pair)
{
	close(pair->from);
	close(pair->to);
	close(pair->fd);
}

/* Sends `size` bytes, with the pair's descriptor `n_fds` times. */
static ssize_t pair_send(const struct pair *pair, size_t size, size_t n_fds)
{
	int fds[RAW_FDS_MAX + 1];

	for (size_t i = 0; i < n_fds; i++)
		fds[i] = pair->fd;
	return raw_send(pair->from, bytes, size, fds, n_fds, MSG_DONTWAIT);
}

/* Reads at most `size` bytes, and stores the number of descriptors that came with them. */
static ssize_t pair_receive(const struct pair *pair, size_t size, int *ret_n_fds)
{
	struct raw_group group;
	ssize_t n = raw_receive(pair->to, bytes, size, &group, MSG_DONTWAIT);

	*ret_n_fds = group.n_fds;
	raw_group_close(&group);
	return n;
}

static void expect_read(const struct pair *pair, size_t room, ssize_t size, int n_fds)
{
	int n;

	check_int(pair_receive(pair, room, &n), size);
	check_int(n, n_fds);
}

static void test_a_read_stops_after_a_segment_with_descriptors(void)
{
	struct pair pair = pair_open(SOCK_STREAM);

	check_int(pair_send(&pair, 10, 1), 10);
	check_int(pair_send(&pair, 5, 0), 5);
	expect_read(&pair, 100, 10, 1);
	expect_read(&pair, 100, 5, 0);
	pair_close(&pair);
}

static void test_a_read_may_merge_plain_bytes_with_a_segment_with_descriptors_behind_them(void)
{
	struct pair pair = pair_open(SOCK_STREAM);

	check_int(pair_send(&pair, 5, 0), 5);
	check_int(pair_send(&pair, 10, 2), 10);
	check_int(pair_send(&pair, 7, 0), 7);
	expect_read(&pair, 100, 15, 2);
	expect_read(&pair, 100, 7, 0);
	pair_close(&pair);
}

static void test_two_segments_with_descriptors_never_share_a_read(void)
{
	struct pair pair = pair_open(SOCK_STREAM);

	check_int(pair_send(&pair, 10, 1), 10);
	check_int(pair_send(&pair, 10, 3), 10);
	expect_read(&pair, 100, 10, 1);
	expect_read(&pair, 100, 10, 3);
	pair_close(&pair);
}

static void test_descriptors_come_with_the_first_byte_of_their_send(void)
{
	struct pair pair = pair_open(SOCK_STREAM);

	check_int(pair_send(&pair, 10, 2), 10);
	check_int(pair_send(&pair, 10, 0), 10);
	expect_read(&pair, 1, 1, 2);
	expect_read(&pair, 100, 19, 0);
	pair_close(&pair);
}

static void test_a_segment_with_a_number_of_descriptors_keeps_their_order(void)
{
	struct pair pair = pair_open(SOCK_STREAM);
	struct raw_group group;
	int fds[5];

	for (int i = 0; i < 5; i++)
		fds[i] = raw_file();
	check_int(raw_send(pair.from, "x", 1, fds, 5, 0), 1);
	check_int(raw_receive(pair.to, bytes, 1, &group, 0), 1);
	check_int(group.n_fds, 5);
	for (int i = 0; i < group.n_fds; i++)
		check_int(raw_inode(group.fds[i]), raw_inode(fds[i]));
	raw_group_close(&group);
	for (int i = 0; i < 5; i++)
		close(fds[i]);
	pair_close(&pair);
}

static void test_a_large_send_arrives_in_several_segments_of_which_the_first_has_all_descriptors(void)
{
	struct pair pair = pair_open(SOCK_STREAM);
	ssize_t written, total = 0, n;
	int reads = 0, n_fds;

	written = pair_send(&pair, sizeof bytes, 7);
	check(written > 1 << 16);
	while ((n = pair_receive(&pair, sizeof bytes, &n_fds)) > 0) {
		check_int(n_fds, reads == 0 ? 7 : 0);
		total += n;
		reads++;
	}
	check_int(n, -EAGAIN);
	check_int(total, written);
	check(reads > 1);
	pair_close(&pair);
}

static void test_a_short_write_has_sent_its_descriptors(void)
{
	struct pair pair = pair_open(SOCK_STREAM);
	int small = 1;
	ssize_t written;

	setsockopt(pair.from, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
	written = pair_send(&pair, sizeof bytes, 3);
	check(written > 0 && written < (ssize_t)sizeof bytes);
	expect_read(&pair, 1, 1, 3);
	expect_read(&pair, sizeof bytes, written - 1, 0);
	pair_close(&pair);
}

static void test_a_send_that_would_block_has_not_sent_its_descriptors(void)
{
	struct pair pair = pair_open(SOCK_STREAM);
	ssize_t n;
	int n_fds;

	while ((n = pair_send(&pair, 1 << 14, 0)) > 0)
		;
	check_int(n, -EAGAIN);
	check_int(pair_send(&pair, 1 << 14, 2), -EAGAIN);
	while ((n = pair_receive(&pair, sizeof bytes, &n_fds)) > 0)
		check_int(n_fds, 0);
	check_int(n, -EAGAIN);
	pair_close(&pair);
}

static void test_a_stream_send_of_no_bytes_drops_its_descriptor_without_a_word(void)
{
	struct pair pair = pair_open(SOCK_STREAM);

	check_int(pair_send(&pair, 0, 1), 0);
	check_int(pair_send(&pair, 1, 0), 1);
	expect_read(&pair, 100, 1, 0);
	pair_close(&pair);
}

static void test_a_send_takes_253_descriptors_and_not_254(void)
{
	struct pair pair = pair_open(SOCK_STREAM);

	check_int(pair_send(&pair, 1, 254), -EINVAL);
	check_int(pair_send(&pair, 1, 253), 1);
	expect_read(&pair, 100, 1, 253);
	expect_read(&pair, 100, -EAGAIN, 0);
	pair_close(&pair);
}

static void test_cmsg_cloexec_holds_for_every_descriptor_of_a_group(void)
{
	struct pair pair = pair_open(SOCK_STREAM);
	int fds[3] = {pair.fd, pair.from, pair.to};
	struct raw_group group;

	check_int(raw_send(pair.from, "x", 1, fds, 3, 0), 1);
	check_int(raw_receive(pair.to, bytes, 1, &group, 0), 1);
	check_int(group.n_fds, 3);
	for (int i = 0; i < group.n_fds; i++)
		check_int(fcntl(group.fds[i], F_GETFD), FD_CLOEXEC);
	raw_group_close(&group);
	pair_close(&pair);
}

static void test_too_few_free_descriptors_cut_a_group_short_and_say_so(void)
{
	struct rlimit before, few;
	struct raw_group group;
	struct pair pair;

	if (under_valgrind())
		skip("Valgrind simulates RLIMIT_NOFILE");
	pair = pair_open(SOCK_STREAM);
	check_int(pair_send(&pair, 20, 20), 20);
	getrlimit(RLIMIT_NOFILE, &before);
	few = before;
	int first_free = dup(pair.fd);
	close(first_free);
	few.rlim_cur = (rlim_t)first_free + 4;
	check_int(setrlimit(RLIMIT_NOFILE, &few), 0);
	check_int(raw_receive(pair.to, bytes, 100, &group, 0), 20);
	setrlimit(RLIMIT_NOFILE, &before);
	check_int(group.n_fds, 4);
	check(group.truncated);
	raw_group_close(&group);
	pair_close(&pair);
}

/* The sends with descriptors that have not been read yet. */
struct carriers {
	struct {
		int64_t offset;
		int n_fds;
	} at[1 << 12];
	unsigned head, tail;
	int64_t sent, received;
};

static void fuzz_send(const struct pair *pair, struct carriers *carriers, struct rng *rng)
{
	size_t size = 1 + (rng_below(rng, 10) ? rng_below(rng, 200) : rng_below(rng, 100000));
	int n_fds = rng_below(rng, 3) ? 0 : 1 + (int)rng_below(rng, 20);
	ssize_t n;

	if (carriers->head - carriers->tail >= 1 << 12)
		n_fds = 0;
	n = pair_send(pair, size, (size_t)n_fds);
	if (n < 0) {
		check(n == -EAGAIN || n == -ETOOMANYREFS);
		return;
	}
	if (n_fds > 0) {
		carriers->at[carriers->head % (1 << 12)].offset = carriers->sent;
		carriers->at[carriers->head++ % (1 << 12)].n_fds = n_fds;
	}
	carriers->sent += n;
}

/*
 * A read returns the descriptors of the sends that begin in it, and at most one such send begins in
 * it.
 */
static void fuzz_receive(const struct pair *pair, struct carriers *carriers, struct rng *rng)
{
	struct iovec iov[2] = {{bytes, 1 + (rng_below(rng, 4) ? rng_below(rng, 300) : rng_below(rng, 70000))},
			       {bytes + (1 << 18), 1 + rng_below(rng, 70000)}};
	struct raw_group group;
	int begun = 0, expected = 0;
	ssize_t n = raw_receivev(pair->to, iov, 1 + rng_below(rng, 2), &group, MSG_DONTWAIT);

	if (n < 0) {
		check_int(n, -EAGAIN);
		return;
	}
	for (; carriers->tail != carriers->head; carriers->tail++, begun++) {
		if (carriers->at[carriers->tail % (1 << 12)].offset >= carriers->received + n)
			break;
		expected += carriers->at[carriers->tail % (1 << 12)].n_fds;
	}
	check(begun <= 1);
	check(group.n_cmsgs <= 1);
	check_int(group.n_fds, expected);
	check(!group.truncated);
	carriers->received += n;
	raw_group_close(&group);
}

static void test_over_random_sends_and_reads_each_group_belongs_to_the_send_that_begins_in_its_read(void)
{
	static struct carriers carriers;
	struct pair pair = pair_open(SOCK_STREAM);
	struct rng rng = rng_new(1);
	int large = 1 << 20;

	memset(&carriers, 0, sizeof carriers);
	setsockopt(pair.from, SOL_SOCKET, SO_SNDBUF, &large, sizeof large);
	for (int round = 0; round < 20000; round++) {
		if (rng_chance(&rng, 50))
			fuzz_send(&pair, &carriers, &rng);
		else
			fuzz_receive(&pair, &carriers, &rng);
	}
	check(carriers.tail > 100);
	pair_close(&pair);
}

static const struct test tests[] = {
    TEST(test_a_read_stops_after_a_segment_with_descriptors),
    TEST(test_a_read_may_merge_plain_bytes_with_a_segment_with_descriptors_behind_them),
    TEST(test_two_segments_with_descriptors_never_share_a_read),
    TEST(test_descriptors_come_with_the_first_byte_of_their_send),
    TEST(test_a_segment_with_a_number_of_descriptors_keeps_their_order),
    TEST(test_a_large_send_arrives_in_several_segments_of_which_the_first_has_all_descriptors),
    TEST(test_a_short_write_has_sent_its_descriptors),
    TEST(test_a_send_that_would_block_has_not_sent_its_descriptors),
    TEST(test_a_stream_send_of_no_bytes_drops_its_descriptor_without_a_word),
    TEST(test_a_send_takes_253_descriptors_and_not_254),
    TEST(test_cmsg_cloexec_holds_for_every_descriptor_of_a_group),
    TEST(test_too_few_free_descriptors_cut_a_group_short_and_say_so),
    TEST(test_over_random_sends_and_reads_each_group_belongs_to_the_send_that_begins_in_its_read),
};

HARNESS_MAIN("kernel/descriptors", tests)
