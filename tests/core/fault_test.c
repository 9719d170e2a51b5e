/* SPDX-License-Identifier: MIT */
/*
 * The core, while each call that can fail fails in turn: no descriptor and no memory is lost,
 * nothing hangs, and the results are true.
 */
#include <base/thread.h>
#include <beam/core.h>
#include <harness/fault.h>
#include <harness/harness.h>
#include <socket/reaper.h>

enum { NO_LIMIT = INT32_MAX };

static char data[100 << 10];

static beam_deadline soon(void)
{
	return beam_in_ms(5);
}

/*
 * Valgrind would report a thread that exists at the end of one run and not of another as lost
 * memory.
 */
static void settle(void)
{
	check(reaper_drain(BEAM_FOREVER));
	if (under_valgrind())
		check(thread_end_all(BEAM_FOREVER));
}

static void close_both(const int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

/* Receives a message or an error. If a descriptor was sent, it is attached or lost. */
static bool receives(int socket, size_t size, size_t n_fds)
{
	beam_message *message = NULL;
	int r = beam_receive(socket, &message, NO_LIMIT, soon());

	check(r == 1 || r < 0);
	check((message != NULL) == (r == 1));
	if (r != 1)
		return false;
	check_int(beam_message_size(message), size);
	if (beam_message_size(message) == size)
		check_bytes(beam_message_data(message), data, size);
	check_int(beam_message_attachments(message), n_fds);
	beam_message_free(message);
	return true;
}

static void exchange(void *argument)
{
	/* A packet of the largest size would not fit into the buffer beside the others. */
	static const size_t sizes[] = {5, 0, sizeof data};
	int type = *(int *)argument, pair[2];

	if (beam_socket_pair(type, pair) < 0)
		return;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		if (beam_send(pair[0], data, sizes[i], pair[0], soon()) != 0 || !receives(pair[1], sizes[i], 1))
			break;
	close_both(pair);
	settle();
}

static void sweep_exchange(int type)
{
	check(fault_sweep_with(&(struct fault_sweep){.scenario = exchange, .argument = &type}) > 20);
}

static void test_an_exchange_on_a_stream(void)
{
	sweep_exchange(SOCK_STREAM);
}

static void test_an_exchange_of_packets(void)
{
	sweep_exchange(SOCK_SEQPACKET);
}

/* A message over the limit leaves nothing behind either. */
static void refuse(void *argument)
{
	int type = *(int *)argument, pair[2], r;
	beam_message *message = NULL;

	if (beam_socket_pair(type, pair) < 0)
		return;
	if (beam_send(pair[0], data, 100, pair[0], soon()) == 0) {
		r = beam_receive(pair[1], &message, 99, soon());
		check(r == -EMSGSIZE || (r < 0 && fault_hit()));
		check(message == NULL);
	}
	close_both(pair);
	settle();
}

static void test_what_is_over_the_limit_is_refused(void)
{
	int types[] = {SOCK_STREAM, SOCK_SEQPACKET};

	for (int i = 0; i < 2; i++)
		check(fault_sweep_with(&(struct fault_sweep){.scenario = refuse, .argument = &types[i]}) >= 4);
}

static void exchange_bare(void)
{
	beam_message *message = NULL;
	int pair[2];

	if (beam_socket_pair(SOCK_STREAM, pair) < 0)
		return;
	if (beam_send_bare(pair[0], data, 100, pair[0], soon()) == 0 &&
	    beam_receive_bare(pair[1], &message, NO_LIMIT, soon()) == 1) {
		check_int(beam_message_size(message), 100);
		check_int(beam_message_attachments(message), 1);
		beam_message_free(message);
	}
	close_both(pair);
	settle();
}

static void test_an_exchange_in_the_bare_form(void)
{
	check(fault_sweep(exchange_bare) > 8);
}

static void send_a_pipe(void)
{
	int pair[2], end = -1;

	if (beam_socket_pair(SOCK_STREAM, pair) < 0)
		return;
	check(beam_fd_conn(pair[0]) <= 0);
	if (beam_send_pipe(pair[0], data, 10, &end, soon()) == 0) {
		check(end >= 0);
		close(end);
	} else {
		check_int(end, -1);
	}
	close_both(pair);
	settle();
}

static void test_sending_a_pipe(void)
{
	check(fault_sweep(send_a_pipe) > 5);
}

/* Nothing can be read or written at once, so each call waits. */
static void wait_in_vain(void)
{
	beam_message *message = NULL;
	int pair[2], r;

	if (beam_socket_pair(SOCK_STREAM, pair) < 0)
		return;
	check(beam_receive(pair[1], &message, NO_LIMIT, soon()) < 0);
	do
		r = beam_send(pair[0], data, sizeof data, -1, BEAM_NOWAIT);
	while (r == 0);
	if (r == -EAGAIN || r == -ECONNABORTED)
		check(beam_send(pair[0], data, sizeof data, pair[0], soon()) < 0);
	check(message == NULL);
	close_both(pair);
	settle();
}

static void test_waiting_in_vain(void)
{
	check(fault_sweep(wait_in_vain) > 10);
}

/* After an interrupted call, everything goes on as if nothing had happened. */
static void test_signals_change_nothing(void)
{
	static const enum sys_call calls[] = {SYS_SENDMSG, SYS_RECVMSG, SYS_PPOLL};
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};

	for (size_t i = 0; i < 3; i++)
		for (size_t j = 0; j < 2; j++)
			for (unsigned long n = 1; n < 5; n++) {
				int pair[2];

				require_int(beam_socket_pair(types[j], pair), 0);
				fault_only(FAULT(calls[i]));
				fault_at(n, EINTR, false);
				check_int(beam_send(pair[0], data, 5, pair[0], soon()), 0);
				check(receives(pair[1], 5, 1));
				check(!receives(pair[1], 0, 0));
				fault_off();
				close_both(pair);
				check(reaper_drain(BEAM_FOREVER));
			}
}

/* The kernel reports again and again that there is something when there is nothing. */
static void expect_time_to_hold(enum sys_call call, int type)
{
	beam_message *message = NULL;
	int pair[2];

	require_int(beam_socket_pair(type, pair), 0);
	require_int(beam_send(pair[0], data, 5, -1, BEAM_NOWAIT), 0);
	fault_only(FAULT(call));
	fault_at(1, EAGAIN, true);
	for (int i = 0; i < 2; i++) {
		beam_deadline deadline = i ? soon() : BEAM_NOWAIT;

		check_int(call == SYS_SENDMSG ? beam_send(pair[0], data, 5, -1, deadline)
					      : beam_receive(pair[1], &message, NO_LIMIT, deadline),
			  i ? -ETIMEDOUT : -EAGAIN);
	}
	fault_off();
	close_both(pair);
}

static void test_a_deadline_holds_whatever_the_kernel_says_of_readiness(void)
{
	static const enum sys_call calls[] = {SYS_SENDMSG, SYS_RECVMSG};

	for (size_t i = 0; i < 2; i++) {
		expect_time_to_hold(calls[i], SOCK_STREAM);
		expect_time_to_hold(calls[i], SOCK_SEQPACKET);
	}
}

static void test_a_packet_that_somebody_else_takes_is_not_the_end_of_waiting(void)
{
	int pair[2];

	require_int(beam_socket_pair(SOCK_SEQPACKET, pair), 0);
	require_int(beam_send(pair[0], data, 5, pair[0], BEAM_NOWAIT), 0);
	/* The first call sees the packet. At the second it is gone. */
	fault_only(FAULT(SYS_RECVMSG));
	fault_at(2, EAGAIN, false);
	check(receives(pair[1], 5, 1));
	check(fault_hit());
	fault_off();
	close_both(pair);
	check(reaper_drain(BEAM_FOREVER));
}

static void test_what_fails_often_is_tried_again_before_long(void)
{
	beam_message *message = NULL;
	int fds[2];

	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	fault_only(FAULT(SYS_SENDMSG));
	/* If each pause were twice as long as the one before, the last would take minutes. */
	fault_times(18);
	fault_at(1, ENOBUFS, FAULT_ONCE);
	check_int(beam_send(fds[0], "x", 1, -1, beam_in_ms(stretch(20000))), 0);
	fault_off();
	check_int(beam_receive(fds[1], &message, 1, BEAM_NOWAIT), 1);
	beam_message_free(message);
	close(fds[0]);
	close(fds[1]);
}

static const struct test tests[] = {
    TEST(test_an_exchange_on_a_stream),
    TEST(test_an_exchange_of_packets),
    TEST(test_what_is_over_the_limit_is_refused),
    TEST(test_an_exchange_in_the_bare_form),
    TEST(test_sending_a_pipe),
    TEST(test_waiting_in_vain),
    TEST(test_signals_change_nothing),
    TEST(test_a_deadline_holds_whatever_the_kernel_says_of_readiness),
    TEST(test_a_packet_that_somebody_else_takes_is_not_the_end_of_waiting),
    TEST(test_what_fails_often_is_tried_again_before_long),
};
HARNESS_MAIN("core-fault", tests)
