/* SPDX-License-Identifier: MIT */
/* The five functions of Go's beam with unfriendly peers, and with arguments that are refused. */
#include <core/pairs.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/un.h>

/* Unfriendly peers */

static void test_of_several_descriptors_the_first_is_kept_and_the_others_are_closed(void)
{
	for (const int *type = types; type < types + N_TYPES; type++) {
		int pair[2], files[3] = {raw_file(), raw_file(), raw_file()}, fd;
		beam_message *message;

		pair_of(*type, pair);
		check_int(raw_send(pair[0], "\x80\0\0\1x", 5, files, 3, 0), 5);
		require_int(beam_receive(pair[1], &message, NO_LIMIT, BEAM_FOREVER), 1);
		check_int(beam_message_attachments(message), 1);
		fd = beam_message_take_fd(message, 0);
		check(raw_inode(fd) == raw_inode(files[0]));
		close(fd);
		beam_message_free(message);
		check(reaper_drain(BEAM_FOREVER));
		for (int i = 0; i < 3; i++)
			close(files[i]);
		close_both(pair);
	}
}

static void test_header_and_descriptors_must_agree(void)
{
	/* What is sent in two pieces, and how many descriptors come with each. */
	static const struct {
		const char *first;
		size_t size;
		size_t first_fds;
		const char *second;
		size_t second_size;
		size_t second_fds;
	} cases[] = {
	    {"\0\0\0\1x", 5, 1, "", 0, 0},           /* a descriptor that is not announced */
	    {"\0\0\0\1x", 5, RAW_FDS_MAX, "", 0, 0}, /* many of them */
	    {"\x80\0\0\1x", 5, 0, "", 0, 0},         /* none though announced */
	    {"\x80\0", 2, 1, "\0\1x", 3, 1},         /* one more with the rest of the header */
	    {"\x80\0\0\1", 4, 1, "x", 1, 2},         /* more with the payload */
	    {"\0\0\0\1", 4, 0, "x", 1, 1},           /* with the payload only */
	    {"\0", 1, 0, "\0\0\1x", 4, 1},           /* with the header's second byte */
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct raw_group group;
		int pair[2];

		harness_context("case %zu", i);
		pair_of(SOCK_STREAM, pair);
		raw(pair[0], cases[i].first, cases[i].size, cases[i].first_fds);
		if (cases[i].second_size)
			raw(pair[0], cases[i].second, cases[i].second_size, cases[i].second_fds);
		check_refuses(pair[1], NO_LIMIT, BEAM_NOWAIT, -EPROTO);
		while (raw_receive(pair[1], &(char[64]){0}, 64, &group, MSG_DONTWAIT) > 0)
			raw_group_close(&group);
		close_both(pair);
	}
	harness_context("%s", "");
}

static void *receive_patiently(void *argument)
{
	struct patient *patient = argument;

	atomic_store(&patient->thread, thread_number());
	check_refuses(patient->socket, NO_LIMIT, BEAM_FOREVER, -ECONNRESET);
	return NULL;
}

static void test_memory_is_spent_as_bytes_arrive_and_not_as_announced(void)
{
	struct patient patient = {0};
	pthread_t receiver;
	size_t before;
	int pair[2];

	pair_of(SOCK_STREAM, pair);
	before = allocated_bytes();
	patient.socket = pair[1];
	receiver = thread_spawn(receive_patiently, &patient);
	raw(pair[0], "\x7f\xff\xff\xff some", 9, 0);
	/* The receiver has read what arrived, and waits for more. */
	check_within(20000, drained(pair[0]) && thread_asleep(atomic_load(&patient.thread)));
	check(allocated_bytes() < before + (512 << 10));
	close(pair[0]);
	thread_wait(receiver);
	close(pair[1]);
}

static void test_a_message_over_the_limit_is_refused(void)
{
	int pair[2];

	pair_of(SOCK_STREAM, pair);
	check_int(beam_send(pair[0], "hello", 5, pair[0], BEAM_FOREVER), 0);
	check_refuses(pair[1], 4, BEAM_FOREVER, -EMSGSIZE);
	close_both(pair);

	pair_of(SOCK_SEQPACKET, pair);
	check_int(beam_send(pair[0], "hello", 5, pair[0], BEAM_FOREVER), 0);
	check_int(beam_send(pair[0], "four", 4, -1, BEAM_FOREVER), 0);
	check_int(beam_send(pair[0], "x", 1, -1, BEAM_FOREVER), 0);
	check_int(beam_send(pair[0], "", 0, -1, BEAM_FOREVER), 0);
	check_refuses(pair[1], 4, BEAM_FOREVER, -EMSGSIZE);
	check_receives(pair[1], "four", 4, 0);
	check_refuses(pair[1], 0, BEAM_FOREVER, -EMSGSIZE);
	check_receives(pair[1], "", 0, 0);
	close_both(pair);
}

static void test_an_end_in_mid_message_is_a_reset(void)
{
	static const char message[] = "\0\0\0\2xy";

	for (size_t size = 1; size < 6; size++) {
		int pair[2];

		pair_of(SOCK_STREAM, pair);
		raw(pair[0], message, size, 0);
		close(pair[0]);
		check_refuses(pair[1], NO_LIMIT, BEAM_FOREVER, -ECONNRESET);
		close(pair[1]);
	}
}

static void test_a_peer_that_closes_with_messages_unread_is_told_after_what_it_sent(void)
{
	for (const int *type = types; type < types + N_TYPES; type++) {
		int pair[2];

		pair_of(*type, pair);
		check_int(beam_send(pair[0], "out", 3, -1, BEAM_FOREVER), 0);
		check_int(beam_send(pair[1], "unread", 6, -1, BEAM_FOREVER), 0);
		close(pair[0]);
		check_receives(pair[1], "out", 3, 0);
		/* With packets, the kernel reports this before that packet, and not again. */
		if (*type == SOCK_STREAM)
			check_refuses(pair[1], NO_LIMIT, BEAM_FOREVER, -ECONNRESET);
		check_refuses(pair[1], NO_LIMIT, BEAM_FOREVER, 0);
		close(pair[1]);

		pair_of(*type, pair);
		check_int(beam_send(pair[1], "unread", 6, -1, BEAM_FOREVER), 0);
		close(pair[0]);
		check_refuses(pair[1], NO_LIMIT, BEAM_FOREVER, -ECONNRESET);
		check_refuses(pair[1], NO_LIMIT, BEAM_FOREVER, 0);
		close(pair[1]);
	}
}

static void test_sending_to_nobody_is_an_error_and_no_signal(void)
{
	signal(SIGPIPE, SIG_DFL);
	for (const int *type = types; type < types + N_TYPES; type++) {
		int pair[2];

		pair_of(*type, pair);
		close(pair[0]);
		check_int(beam_send(pair[1], "x", 1, -1, BEAM_FOREVER), -EPIPE);
		check_int(beam_send(pair[1], "x", 1, pair[1], BEAM_FOREVER), -EPIPE);
		close(pair[1]);
	}
}

static void test_an_attachment_for_which_there_is_no_slot_is_lost_and_its_message_is_not(void)
{
	if (under_valgrind())
		skip("Valgrind keeps the limit to itself");
	for (const int *type = types; type < types + N_TYPES; type++) {
		struct rlimit old, low;
		beam_message *message;
		int pair[2], lowest;

		pair_of(*type, pair);
		check_int(beam_send(pair[0], "hello", 5, pair[0], BEAM_FOREVER), 0);
		check(reaper_drain(BEAM_FOREVER));
		lowest = dup(pair[0]);
		close(lowest);
		getrlimit(RLIMIT_NOFILE, &old);
		low = old;
		low.rlim_cur = (rlim_t)lowest;
		setrlimit(RLIMIT_NOFILE, &low);
		check_int(beam_receive(pair[1], &message, NO_LIMIT, BEAM_FOREVER), 1);
		setrlimit(RLIMIT_NOFILE, &old);
		check_bytes(beam_message_data(message), "hello", 5);
		check_int(beam_message_attachments(message), 1);
		check_int(beam_message_peek_fd(message, 0), -EMFILE);
		check_int(beam_message_take_fd(message, 0), -EMFILE);
		beam_message_free(message);
		close_both(pair);
	}
}

/* Arguments */

static void check_no_socket(int fd, int error)
{
	beam_message *message;
	int end = 77;

	check_int(beam_send(fd, "x", 1, -1, BEAM_FOREVER), error);
	check_int(beam_receive(fd, &message, NO_LIMIT, BEAM_FOREVER), error);
	check_int(beam_send_bare(fd, "x", 1, -1, BEAM_FOREVER), error);
	check_int(beam_receive_bare(fd, &message, NO_LIMIT, BEAM_FOREVER), error);
	check_int(beam_send_pipe(fd, "x", 1, &end, BEAM_FOREVER), error);
	check_int(end, 77);
	check_int(beam_fd_conn(fd), error);
	if (fd >= 0)
		close(fd);
}

static void test_what_is_no_connected_unix_socket_is_refused_each_for_its_reason(void)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int pair[2], listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	check_no_socket(-1, -EBADF);
	check_no_socket(raw_file(), -ENOTSOCK);
	check_no_socket(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), -EPROTOTYPE);
	require_int(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
	check_no_socket(pair[0], -EPROTOTYPE);
	close(pair[1]);
	check_no_socket(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), -ENOTCONN);
	require_int(bind(listener, (struct sockaddr *)&name, sizeof name.sun_family), 0);
	require_int(listen(listener, 1), 0);
	check_no_socket(listener, -ENOTCONN);
}

static void test_bad_arguments_are_refused(void)
{
	static const char more_than_a_packet_holds[8 << 20];
	int pair[2], fds[2], end;
	beam_message *message;

	pair_of(SOCK_STREAM, pair);
	check_int(beam_send(pair[0], NULL, 1, -1, BEAM_FOREVER), -EINVAL);
	check_int(beam_send(pair[0], "x", 1, -2, BEAM_FOREVER), -EINVAL);
	check_int(beam_send(pair[0], "x", (size_t)1 << 31, -1, BEAM_FOREVER), -EMSGSIZE);
	check_int(beam_receive(pair[0], NULL, NO_LIMIT, BEAM_FOREVER), -EINVAL);
	check_int(beam_send_bare(pair[0], NULL, 1, -1, BEAM_FOREVER), -EINVAL);
	check_int(beam_send_bare(pair[0], "x", 0, -1, BEAM_FOREVER), -EINVAL);
	check_int(beam_send_bare(pair[0], "x", 1, -2, BEAM_FOREVER), -EINVAL);
	check_int(beam_receive_bare(pair[0], NULL, NO_LIMIT, BEAM_FOREVER), -EINVAL);
	check_int(beam_receive_bare(pair[0], &message, 0, BEAM_FOREVER), -EINVAL);
	check_int(beam_send_pipe(pair[0], "x", 1, NULL, BEAM_FOREVER), -EINVAL);
	check_int(beam_send_pipe(pair[0], NULL, 1, &end, BEAM_FOREVER), -EINVAL);
	check_int(beam_socket_pair(SOCK_STREAM, NULL), -EINVAL);
	check_int(beam_socket_pair(SOCK_DGRAM, fds), -EINVAL);
	check_int(beam_socket_pair(SOCK_STREAM | SOCK_NONBLOCK, fds), -EINVAL);
	close_both(pair);

	pair_of(SOCK_SEQPACKET, pair);
	check_int(beam_send_bare(pair[0], "x", 1, -1, BEAM_FOREVER), -EPROTOTYPE);
	check_int(beam_receive_bare(pair[0], &message, 1, BEAM_FOREVER), -EPROTOTYPE);
	check_int(beam_send(pair[0], more_than_a_packet_holds, sizeof more_than_a_packet_holds, -1, BEAM_FOREVER),
		  -EMSGSIZE);
	close_both(pair);
}

static const struct test tests[] = {
    TEST(test_of_several_descriptors_the_first_is_kept_and_the_others_are_closed),
    TEST(test_header_and_descriptors_must_agree),
    TEST(test_memory_is_spent_as_bytes_arrive_and_not_as_announced),
    TEST(test_a_message_over_the_limit_is_refused),
    TEST(test_an_end_in_mid_message_is_a_reset),
    TEST(test_a_peer_that_closes_with_messages_unread_is_told_after_what_it_sent),
    TEST(test_sending_to_nobody_is_an_error_and_no_signal),
    TEST(test_an_attachment_for_which_there_is_no_slot_is_lost_and_its_message_is_not),
    TEST(test_what_is_no_connected_unix_socket_is_refused_each_for_its_reason),
    TEST(test_bad_arguments_are_refused),
};
HARNESS_MAIN("peer", tests)
