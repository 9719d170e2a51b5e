/* SPDX-License-Identifier: MIT */
/* The five functions of Go's beam: messages, Go's framing, pairs, pipes, and the bare form. */
#include <core/pairs.h>
#include <fcntl.h>

/* Messages */

static void test_a_message_travels_with_its_attachment(void)
{
	for (const int *type = types; type < types + N_TYPES; type++) {
		int pair[2], file = raw_file(), fd;
		beam_message *message;

		pair_of(*type, pair);
		check_int(beam_send(pair[0], "hello", 5, file, BEAM_FOREVER), 0);
		check_int(beam_receive(pair[1], &message, NO_LIMIT, BEAM_FOREVER), 1);
		check_bytes(beam_message_data(message), "hello", 5);
		check(beam_message_writable(message) == NULL);
		check_int(beam_message_attachments(message), 1);
		fd = beam_message_take_fd(message, 0);
		check(raw_inode(fd) == raw_inode(file));
		check_int(fcntl(fd, F_GETFD), FD_CLOEXEC);
		beam_message_free(message);
		close(fd);
		close(file);
		close_both(pair);
	}
}

static void test_messages_keep_their_order_their_bounds_and_their_attachments(void)
{
	for (const int *type = types; type < types + N_TYPES; type++) {
		int pair[2];

		pair_of(*type, pair);
		check_int(beam_send(pair[0], "a", 1, -1, BEAM_NOWAIT), 0);
		check_int(beam_send(pair[0], "bc", 2, pair[0], BEAM_NOWAIT), 0);
		check_int(beam_send(pair[0], "def", 3, pair[0], BEAM_NOWAIT), 0);
		check_int(beam_send(pair[0], "g", 1, -1, BEAM_NOWAIT), 0);
		check_receives(pair[1], "a", 1, 0);
		check_receives(pair[1], "bc", 2, 1);
		check_receives(pair[1], "def", 3, 1);
		check_receives(pair[1], "g", 1, 0);
		check(reaper_drain(BEAM_FOREVER));
		close_both(pair);
	}
}

static void test_an_empty_message_is_not_the_end(void)
{
	for (const int *type = types; type < types + N_TYPES; type++) {
		int pair[2];

		pair_of(*type, pair);
		check_int(beam_send(pair[0], NULL, 0, -1, BEAM_FOREVER), 0);
		check_int(beam_send(pair[0], NULL, 0, pair[0], BEAM_FOREVER), 0);
		close(pair[0]);
		check_receives(pair[1], "", 0, 0);
		check_receives(pair[1], "", 0, 1);
		check_refuses(pair[1], NO_LIMIT, BEAM_FOREVER, 0);
		check_refuses(pair[1], NO_LIMIT, BEAM_NOWAIT, 0);
		close(pair[1]);
	}
}

static void test_an_empty_packet_is_not_the_end_of_a_socket_from_elsewhere_either(void)
{
	int pair[2];

	require_int(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	check_int(beam_send(pair[0], NULL, 0, -1, BEAM_FOREVER), 0);
	close(pair[0]);
	check_receives(pair[1], "", 0, 0);
	check_refuses(pair[1], NO_LIMIT, BEAM_FOREVER, 0);
	close(pair[1]);
}

struct transfer {
	int socket;
	unsigned char *data;
	size_t size;
};

static void *send_it(void *argument)
{
	struct transfer *transfer = argument;

	check_int(beam_send(transfer->socket, transfer->data, transfer->size, transfer->socket, BEAM_FOREVER), 0);
	return NULL;
}

static void test_a_large_message_goes_through_a_small_buffer(void)
{
	static const size_t sizes[] = {(64 << 10) - 1, 64 << 10, (64 << 10) + 1, (192 << 10) + 1, 3 << 20};
	struct rng rng = rng_new(1);

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct transfer transfer = {.data = malloc(sizes[i]), .size = sizes[i]};
		pthread_t sender;
		int pair[2];

		require(transfer.data != NULL);
		rng_fill(&rng, transfer.data, sizes[i]);
		pair_of(SOCK_STREAM, pair);
		require_int(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &(int){8192}, sizeof(int)), 0);
		transfer.socket = pair[0];
		sender = thread_spawn(send_it, &transfer);
		check_receives(pair[1], transfer.data, transfer.size, 1);
		thread_wait(sender);
		check(reaper_drain(BEAM_FOREVER));
		free(transfer.data);
		close_both(pair);
	}
}

static void test_it_is_all_the_same_to_a_socket_in_non_blocking_mode(void)
{
	for (const int *type = types; type < types + N_TYPES; type++) {
		int pair[2];

		pair_of(*type, pair);
		fcntl(pair[0], F_SETFL, O_NONBLOCK);
		fcntl(pair[1], F_SETFL, O_NONBLOCK);
		check_refuses(pair[1], NO_LIMIT, soon(), -ETIMEDOUT);
		check_int(beam_send(pair[0], "x", 1, -1, BEAM_FOREVER), 0);
		check_receives(pair[1], "x", 1, 0);
		close_both(pair);
	}
}

/* Go's framing */

static void test_the_framing_is_that_of_go(void)
{
	static const unsigned char plain[] = {0, 0, 0, 5, 'h', 'e', 'l', 'l', 'o'},
				   carrying[] = {0x80, 0, 0, 5, 'h', 'e', 'l', 'l', 'o'};
	struct raw_group group;
	unsigned char bytes[16];
	int pair[2];

	pair_of(SOCK_STREAM, pair);
	check_int(beam_send(pair[0], "hello", 5, -1, BEAM_FOREVER), 0);
	check_int(raw_receive(pair[1], bytes, sizeof bytes, &group, MSG_DONTWAIT), sizeof plain);
	check_bytes(bytes, plain, sizeof plain);
	check_int(group.n_fds, 0);
	check_int(beam_send(pair[0], "hello", 5, pair[0], BEAM_FOREVER), 0);
	check_int(raw_receive(pair[1], bytes, 1, &group, MSG_DONTWAIT), 1);
	check_int(group.n_fds, 1);
	raw_group_close(&group);
	check_int(raw_receive(pair[1], bytes + 1, sizeof bytes - 1, &group, MSG_DONTWAIT), sizeof carrying - 1);
	check_bytes(bytes, carrying, sizeof carrying);
	check_int(group.n_fds, 0);
	close_both(pair);
}

static void test_a_packet_has_no_header(void)
{
	struct raw_group group;
	char bytes[16];
	int pair[2];

	pair_of(SOCK_SEQPACKET, pair);
	check_int(beam_send(pair[0], "hello", 5, pair[0], BEAM_FOREVER), 0);
	check_int(raw_receive(pair[1], bytes, sizeof bytes, &group, MSG_DONTWAIT), 5);
	check_bytes(bytes, "hello", 5);
	check_int(group.n_fds, 1);
	raw_group_close(&group);
	close_both(pair);
}

static void *write_as_go_does(void *argument)
{
	static const unsigned char message[] = {0x80, 0, 0, 5, 'h', 'e', 'l', 'l', 'o'};
	int socket = *(int *)argument;

	raw(socket, message, 1, 1);
	for (size_t i = 1; i < sizeof message; i++) {
		check_within(20000, drained(socket));
		raw(socket, message + i, 1, 0);
	}
	return NULL;
}

static void test_a_message_may_come_in_any_pieces_after_the_byte_with_the_descriptor(void)
{
	pthread_t writer;
	int pair[2];

	pair_of(SOCK_STREAM, pair);
	for (int i = 0; i < 3; i++) {
		writer = thread_spawn(write_as_go_does, &pair[0]);
		check_receives(pair[1], "hello", 5, 1);
		thread_wait(writer);
	}
	check(reaper_drain(BEAM_FOREVER));
	close_both(pair);
}

/* Pairs, pipes, and the bare form */

static void test_a_pair_is_close_on_exec_and_blocking(void)
{
	for (const int *type = types; type < types + N_TYPES; type++) {
		int pair[2];

		pair_of(*type, pair);
		for (int i = 0; i < 2; i++) {
			check_int(fcntl(pair[i], F_GETFD), FD_CLOEXEC);
			check_int(fcntl(pair[i], F_GETFL) & O_NONBLOCK, 0);
			check_int(beam_fd_conn(pair[i]), 0);
		}
		close_both(pair);
	}
}

static void test_a_socket_from_elsewhere_is_made_fit(void)
{
	int pair[2], on = 0;
	socklen_t size = sizeof on;

	require_int(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	check_int(beam_fd_conn(pair[0]), 0);
	check_int(fcntl(pair[0], F_GETFD), FD_CLOEXEC);
	check_int(getsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, &size), 0);
	check_int(on, 1);
	close_both(pair);
}

static void test_a_pipe_joins_the_sender_and_the_receiver(void)
{
	for (const int *type = types; type < types + N_TYPES; type++) {
		int pair[2], here, there;
		beam_message *message;

		pair_of(*type, pair);
		check_int(beam_send_pipe(pair[0], "pipe", 4, &here, BEAM_FOREVER), 0);
		check_int(fcntl(here, F_GETFD), FD_CLOEXEC);
		require_int(beam_receive(pair[1], &message, NO_LIMIT, BEAM_FOREVER), 1);
		check_bytes(beam_message_data(message), "pipe", 4);
		there = beam_message_take_fd(message, 0);
		beam_message_free(message);
		check_int(beam_fd_conn(there), 0);
		check_int(beam_send(here, "there", 5, -1, BEAM_FOREVER), 0);
		check_receives(there, "there", 5, 0);
		check_int(beam_send(there, "and back", 8, -1, BEAM_FOREVER), 0);
		check_receives(here, "and back", 8, 0);
		close(here);
		check_refuses(there, NO_LIMIT, BEAM_FOREVER, 0);
		close(there);
		close_both(pair);
	}
}

static void test_a_pipe_that_is_not_sent_leaves_nothing(void)
{
	int pair[2], end = 77;

	pair_of(SOCK_STREAM, pair);
	close(pair[1]);
	check_int(beam_send_pipe(pair[0], "pipe", 4, &end, BEAM_FOREVER), -EPIPE);
	check_int(end, 77);
	close(pair[0]);
}

static void test_the_bare_form_has_no_boundaries(void)
{
	int pair[2];
	beam_message *message;

	pair_of(SOCK_STREAM, pair);
	check_int(beam_receive_bare(pair[1], &message, 10, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_receive_bare(pair[1], &message, 10, soon()), -ETIMEDOUT);
	check_int(beam_send_bare(pair[0], "hello, ", 7, -1, BEAM_FOREVER), 0);
	check_int(beam_send_bare(pair[0], "world", 5, -1, BEAM_FOREVER), 0);
	require_int(beam_receive_bare(pair[1], &message, 10, BEAM_FOREVER), 1);
	check_int(beam_message_size(message), 10);
	check_bytes(beam_message_data(message), "hello, wor", 10);
	beam_message_free(message);
	require_int(beam_receive_bare(pair[1], &message, SIZE_MAX, BEAM_FOREVER), 1);
	check_int(beam_message_size(message), 2);
	check_bytes(beam_message_data(message), "ld", 2);
	beam_message_free(message);
	close(pair[0]);
	check_int(beam_receive_bare(pair[1], &message, 1, BEAM_FOREVER), 0);
	close(pair[1]);
}

static void test_a_bare_descriptor_comes_with_its_byte(void)
{
	int pair[2];
	beam_message *message;

	pair_of(SOCK_STREAM, pair);
	check_int(beam_send_bare(pair[0], "x", 1, pair[0], BEAM_FOREVER), 0);
	check_int(beam_send_bare(pair[0], "y", 1, -1, BEAM_FOREVER), 0);
	require_int(beam_receive_bare(pair[1], &message, 10, BEAM_FOREVER), 1);
	check_int(beam_message_size(message), 1);
	check_int(beam_message_attachments(message), 1);
	beam_message_free(message);
	raw(pair[0], "z", 1, 5);
	require_int(beam_receive_bare(pair[1], &message, 1, BEAM_FOREVER), 1);
	check_int(beam_message_attachments(message), 0);
	beam_message_free(message);
	require_int(beam_receive_bare(pair[1], &message, 1, BEAM_FOREVER), 1);
	check_int(beam_message_attachments(message), 1);
	beam_message_free(message);
	check(reaper_drain(BEAM_FOREVER));
	close_both(pair);
}

static const struct test tests[] = {
    TEST(test_a_message_travels_with_its_attachment),
    TEST(test_messages_keep_their_order_their_bounds_and_their_attachments),
    TEST(test_an_empty_message_is_not_the_end),
    TEST(test_an_empty_packet_is_not_the_end_of_a_socket_from_elsewhere_either),
    TEST(test_a_large_message_goes_through_a_small_buffer),
    TEST(test_it_is_all_the_same_to_a_socket_in_non_blocking_mode),
    TEST(test_the_framing_is_that_of_go),
    TEST(test_a_packet_has_no_header),
    TEST(test_a_message_may_come_in_any_pieces_after_the_byte_with_the_descriptor),
    TEST(test_a_pair_is_close_on_exec_and_blocking),
    TEST(test_a_socket_from_elsewhere_is_made_fit),
    TEST(test_a_pipe_joins_the_sender_and_the_receiver),
    TEST(test_a_pipe_that_is_not_sent_leaves_nothing),
    TEST(test_the_bare_form_has_no_boundaries),
    TEST(test_a_bare_descriptor_comes_with_its_byte),
};
HARNESS_MAIN("core", tests)
