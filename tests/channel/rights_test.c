/* SPDX-License-Identifier: MIT */
/*
 * Later kernels can pass -errno where a descriptor could not be installed (SO_RIGHTS_NOTRUNC), as
 * they already do for a pidfd. This program's own recvmsg() answers as they would.
 */
#include <beam/core.h>
#include <public/ends.h>
#include <stdatomic.h>
#include <sys/syscall.h>

enum { EVERY = 3, ATTACHMENTS = 8, TIMES = 200, REASON = -EMFILE };

/* Every third descriptor that arrives is lost. */
static atomic_bool loses;

static void lose_some(struct cmsghdr *control)
{
	size_t n = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	for (size_t i = EVERY - 1; i < n; i += EVERY) {
		int fd, lost = REASON;

		memcpy(&fd, CMSG_DATA(control) + i * sizeof fd, sizeof fd);
		close(fd);
		memcpy(CMSG_DATA(control) + i * sizeof fd, &lost, sizeof lost);
	}
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	ssize_t n = (ssize_t)syscall(SYS_recvmsg, fd, message, flags);

	for (struct cmsghdr *control = CMSG_FIRSTHDR(message); n >= 0 && control;
	     control = CMSG_NXTHDR(message, control)) {
		if (atomic_load(&loses) && control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS)
			lose_some(control);
	}
	return n;
}

static bool is_lost(size_t i)
{
	return i % EVERY == EVERY - 1;
}

static void expect_some_lost(const beam_message *message)
{
	check_int(beam_message_attachments(message), ATTACHMENTS);
	for (size_t i = 0; i < ATTACHMENTS; i++) {
		if (is_lost(i))
			check_int(beam_message_peek_fd(message, i), REASON);
		else
			check(beam_message_peek_fd(message, i) >= 0);
	}
}

/* More than there is credit for, so the credit must come back. */
static void test_a_descriptor_that_is_an_error_is_a_lost_attachment(void)
{
	struct beam_statistics statistics;
	struct ends ends;
	int fds[ATTACHMENTS] = {0};

	ends_open(&ends, NULL);
	atomic_store(&loses, true);
	for (int i = 0; i < TIMES; i++) {
		beam_message *message = NULL;

		check_int(beam_topic_sendv(ends.topic[0], &(struct iovec){(void *)(uintptr_t) "x", 1}, 1, fds,
					   ATTACHMENTS, 0, soon()),
			  0);
		require_int(beam_topic_receive(ends.topic[1], &message, 0, soon()), 1);
		expect_some_lost(message);
		/* The attachment is taken, or closed with the message. */
		if (i % 2)
			close(beam_message_take_fd(message, 0));
		beam_message_free(message);
	}
	check_int(beam_channel_statistics(ends.channel[1], &statistics, sizeof statistics), 0);
	check_int(statistics.attachments_lost, TIMES * 2);
	atomic_store(&loses, false);
	ends_close(&ends);
}

static void test_of_a_single_message_too(void)
{
	for (int i = 0; i < 2; i++) {
		int pair[2], fds[EVERY] = {0};
		beam_message *message = NULL;

		require_int(beam_socket_pair(i ? SOCK_SEQPACKET : SOCK_STREAM, pair), 0);
		atomic_store(&loses, true);
		/* The first descriptor belongs to the message. The others are closed. */
		check_int(raw_send(pair[0], i ? "x" : "\x80\0\0\1x", i ? 1 : 5, fds, EVERY, 0), i ? 1 : 5);
		check_int(beam_receive(pair[1], &message, 10, soon()), 1);
		check(beam_message_peek_fd(message, 0) >= 0);
		beam_message_free(message);
		atomic_store(&loses, false);
		close(pair[0]);
		close(pair[1]);
	}
}

static const struct test tests[] = {
    TEST(test_a_descriptor_that_is_an_error_is_a_lost_attachment),
    TEST(test_of_a_single_message_too),
};

HARNESS_MAIN("channel/rights", tests)
