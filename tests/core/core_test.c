/* SPDX-License-Identifier: MIT */
/* The five functions of Go's beam. */
#include <beam/core.h>
#include <harness/fault.h>
#include <harness/harness.h>
#include <kernel/raw.h>
#include <socket/reaper.h>

#include <linux/sockios.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/un.h>

enum { NO_LIMIT = INT32_MAX };

static void pair_of(int type, int pair[2])
{
	require_int(beam_socket_pair(type, pair), 0);
}

static void close_both(const int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

static beam_deadline soon(void)
{
	return beam_in_ms(20);
}

/* Receives one message, which must be this. */
static void check_receives(int socket, const void *data, size_t size, size_t n_fds)
{
	beam_message *message = NULL;

	require_int(beam_receive(socket, &message, NO_LIMIT, beam_in_ms(stretch(5000))), 1);
	check_int(beam_message_size(message), size);
	if (beam_message_size(message) == size)
		check_bytes(beam_message_data(message), data, size);
	check_int(beam_message_attachments(message), n_fds);
	beam_message_free(message);
}

/* Fails to receive, so. */
static void check_refuses(int socket, size_t limit, beam_deadline deadline, int error)
{
	beam_message *message = NULL;

	check_int(beam_receive(socket, &message, limit, deadline), error);
	check(message == NULL);
	check(reaper_drain(BEAM_FOREVER));
}

/* Sends raw bytes, with so many copies of a descriptor at the first. */
static void raw(int socket, const void *bytes, size_t size, size_t n_fds)
{
	int fds[RAW_FDS_MAX];

	for (size_t i = 0; i < n_fds; i++)
		fds[i] = socket;
	require_int(raw_send(socket, bytes, size, fds, n_fds, 0), size);
}

static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};
#define N_TYPES (sizeof types / sizeof *types)

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

/* True if the other side has read all that was sent. */
static bool drained(int socket)
{
	int queued = 1;

	return ioctl(socket, SIOCOUTQ, &queued) == 0 && queued == 0;
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

struct patient {
	int socket;
	_Atomic pid_t thread;
};

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
	/* It has read what came, and waits for more. */
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
		/* Of packets the kernel tells it before that one, and no more. */
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

/* Deadlines */

static void test_receiving_waits_until_the_deadline(void)
{
	for (const int *type = types; type < types + N_TYPES; type++) {
		beam_deadline deadline;
		int pair[2];

		pair_of(*type, pair);
		check_refuses(pair[1], NO_LIMIT, BEAM_NOWAIT, -EAGAIN);
		check_refuses(pair[1], NO_LIMIT, beam_in_ms(-1), -ETIMEDOUT);
		deadline = soon();
		check_refuses(pair[1], NO_LIMIT, deadline, -ETIMEDOUT);
		check(beam_deadline_poll_ms(deadline) == 0);
		check_int(beam_send(pair[0], "x", 1, -1, BEAM_NOWAIT), 0);
		check_receives(pair[1], "x", 1, 0);
		check_int(beam_send(pair[0], "x", 1, -1, beam_in_ms(-1)), 0);
		check_receives(pair[1], "x", 1, 0);
		close_both(pair);
	}
}

static void *receive_what_comes(void *argument)
{
	struct patient *patient = argument;

	atomic_store(&patient->thread, thread_number());
	check_receives(patient->socket, "late", 4, 1);
	return NULL;
}

static void test_a_message_that_comes_late_is_waited_for(void)
{
	for (const int *type = types; type < types + N_TYPES; type++) {
		struct patient patient = {0};
		pthread_t receiver;
		int pair[2];

		pair_of(*type, pair);
		patient.socket = pair[1];
		receiver = thread_spawn(receive_what_comes, &patient);
		check_within(20000, thread_asleep(atomic_load(&patient.thread)));
		check_int(beam_send(pair[0], "late", 4, pair[0], BEAM_FOREVER), 0);
		thread_wait(receiver);
		check(reaper_drain(BEAM_FOREVER));
		close_both(pair);
	}
}

static void test_a_deadline_in_mid_message_aborts_the_stream(void)
{
	static const char message[] = "\x80\0\0\2xy";

	for (size_t size = 1; size < 6; size++) {
		int pair[2];

		pair_of(SOCK_STREAM, pair);
		raw(pair[0], message, size, 1);
		check_refuses(pair[1], NO_LIMIT, size % 2 ? BEAM_NOWAIT : soon(), -ECONNABORTED);
		close_both(pair);
	}
}

static void test_sending_waits_for_room_until_the_deadline_and_sends_nothing(void)
{
	for (const int *type = types; type < types + N_TYPES; type++) {
		static const char data[1000];
		beam_deadline deadline;
		size_t n = 0;
		int pair[2], r;

		pair_of(*type, pair);
		while ((r = beam_send(pair[0], data, sizeof data, -1, BEAM_NOWAIT)) == 0)
			n++;
		/* The last of a stream may have gone in part. */
		check(r == -EAGAIN || (*type == SOCK_STREAM && r == -ECONNABORTED));
		if (r == -EAGAIN) {
			check_int(beam_send(pair[0], "x", 1, pair[0], BEAM_NOWAIT), -EAGAIN);
			deadline = soon();
			check_int(beam_send(pair[0], "x", 1, pair[0], deadline), -ETIMEDOUT);
			check(beam_deadline_poll_ms(deadline) == 0);
		}
		for (; n > 0; n--)
			check_receives(pair[1], data, sizeof data, 0);
		check_refuses(pair[1], NO_LIMIT, BEAM_NOWAIT, r == -EAGAIN ? -EAGAIN : -ECONNABORTED);
		close_both(pair);
	}
}

static void test_a_message_sent_in_part_at_the_deadline_aborts_the_stream(void)
{
	size_t size = 4 << 20;
	char *data = calloc(1, size);
	int pair[2];

	require(data != NULL);
	pair_of(SOCK_STREAM, pair);
	check_int(beam_send(pair[0], data, size, -1, soon()), -ECONNABORTED);
	close_both(pair);
	pair_of(SOCK_STREAM, pair);
	check_int(beam_send(pair[0], data, size, pair[0], BEAM_NOWAIT), -ECONNABORTED);
	close_both(pair);
	free(data);
}

/* What the kernel says when a part has gone: that the other end is closed is told as it is, all else is an abort. */
static void test_a_failure_in_mid_message_is_told_apart_from_a_peer_that_closed(void)
{
	static const struct {
		int error, told;
	} rows[] = {{EPIPE, -EPIPE}, {ECONNRESET, -ECONNRESET}, {EPERM, -ECONNABORTED}};
	size_t size = 4 << 20;
	char *data = calloc(1, size);

	require(data != NULL);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		int pair[2];

		pair_of(SOCK_STREAM, pair);
		fault_only(FAULT(SYS_SENDMSG));
		fault_at(2, rows[i].error, FAULT_ONCE);
		check_int(beam_send(pair[0], data, size, -1, BEAM_FOREVER), rows[i].told);
		check_int(fault_calls(), 2);
		fault_off();
		close_both(pair);
	}
	free(data);
}

static void test_too_many_descriptors_in_flight_are_waited_for(void)
{
	static const int passing[] = {ETOOMANYREFS, ENOBUFS, ENOMEM};

	for (size_t i = 0; i < 3; i++) {
		int pair[2];

		pair_of(SOCK_STREAM, pair);
		fault_only(FAULT(SYS_SENDMSG));
		fault_at(1, passing[i], false);
		check_int(beam_send(pair[0], "x", 1, pair[0], BEAM_FOREVER), 0);
		check(fault_hit());
		fault_off();
		check_receives(pair[1], "x", 1, 1);
		check(reaper_drain(BEAM_FOREVER));

		fault_only(FAULT(SYS_SENDMSG));
		fault_at(1, passing[i], true);
		check_int(beam_send(pair[0], "x", 1, pair[0], BEAM_NOWAIT), -EAGAIN);
		check_int(beam_send(pair[0], "x", 1, pair[0], beam_in_ms(150)), -ETIMEDOUT);
		/* Tried again in ever longer pauses, not as fast as can be. */
		check(fault_calls() > 4 && fault_calls() < 20);
		check_refuses(pair[1], NO_LIMIT, BEAM_NOWAIT, -EAGAIN);
		close(pair[1]);
		check_int(beam_send(pair[0], "x", 1, pair[0], BEAM_FOREVER), -EPIPE);
		fault_off();
		close(pair[0]);
	}
}

static void test_a_descriptor_that_the_kernel_refuses_is_told(void)
{
	for (const int *type = types; type < types + N_TYPES; type++) {
		int pair[2];

		pair_of(*type, pair);
		check_int(beam_send(pair[0], "x", 1, 1 << 20, BEAM_FOREVER), -EBADF);
		fault_only(FAULT(SYS_SENDMSG));
		fault_at(1, EPERM, false);
		check_int(beam_send(pair[0], "x", 1, pair[0], BEAM_FOREVER), -EPERM);
		fault_off();
		check_int(beam_send(pair[0], "y", 1, -1, BEAM_FOREVER), 0);
		check_receives(pair[1], "y", 1, 0);
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
	check_int(beam_send(pair[0], more_than_a_packet_holds, sizeof more_than_a_packet_holds, -1, BEAM_FOREVER), -EMSGSIZE);
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

/* Cancellation */

struct cancelled {
	int socket;
	atomic_bool waiting;
	int result;
};

static void *receive_cancelled(void *argument)
{
	struct cancelled *cancelled = argument;
	beam_message *message;

	atomic_store(&cancelled->waiting, true);
	cancelled->result = beam_receive(cancelled->socket, &message, NO_LIMIT, beam_in_ms(100));
	pause();
	return NULL;
}

static void test_a_thread_is_not_cancelled_in_mid_call(void)
{
	struct cancelled cancelled = {.result = 77};
	pthread_t thread;
	int pair[2];

	pair_of(SOCK_STREAM, pair);
	cancelled.socket = pair[1];
	require_int(pthread_create(&thread, NULL, receive_cancelled, &cancelled), 0);
	check_within(20000, atomic_load(&cancelled.waiting));
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	check_int(cancelled.result, -ETIMEDOUT);
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
    TEST(test_of_several_descriptors_the_first_is_kept_and_the_others_are_closed),
    TEST(test_header_and_descriptors_must_agree),
    TEST(test_memory_is_spent_as_bytes_arrive_and_not_as_announced),
    TEST(test_a_message_over_the_limit_is_refused),
    TEST(test_an_end_in_mid_message_is_a_reset),
    TEST(test_a_peer_that_closes_with_messages_unread_is_told_after_what_it_sent),
    TEST(test_sending_to_nobody_is_an_error_and_no_signal),
    TEST(test_an_attachment_for_which_there_is_no_slot_is_lost_and_its_message_is_not),
    TEST(test_receiving_waits_until_the_deadline),
    TEST(test_a_message_that_comes_late_is_waited_for),
    TEST(test_a_deadline_in_mid_message_aborts_the_stream),
    TEST(test_sending_waits_for_room_until_the_deadline_and_sends_nothing),
    TEST(test_a_message_sent_in_part_at_the_deadline_aborts_the_stream),
    TEST(test_a_failure_in_mid_message_is_told_apart_from_a_peer_that_closed),
    TEST(test_too_many_descriptors_in_flight_are_waited_for),
    TEST(test_a_descriptor_that_the_kernel_refuses_is_told),
    TEST(test_what_is_no_connected_unix_socket_is_refused_each_for_its_reason),
    TEST(test_bad_arguments_are_refused),
    TEST(test_a_pair_is_close_on_exec_and_blocking),
    TEST(test_a_socket_from_elsewhere_is_made_fit),
    TEST(test_a_pipe_joins_the_sender_and_the_receiver),
    TEST(test_a_pipe_that_is_not_sent_leaves_nothing),
    TEST(test_the_bare_form_has_no_boundaries),
    TEST(test_a_bare_descriptor_comes_with_its_byte),
    TEST(test_a_thread_is_not_cancelled_in_mid_call),
};
HARNESS_MAIN("core", tests)
