/* SPDX-License-Identifier: MIT */
/* The five functions of Go's beam where they wait: deadlines, and threads that are cancelled. */
#include <core/pairs.h>
#include <harness/fault.h>
#include <stdatomic.h>

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
		/* A part of a stream's last message may have been sent. */
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

/*
 * Errors after a part has been sent. If the other end is closed, the error is reported as it is.
 * Any other error is reported as an abort.
 */
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
		/* Tried again after ever longer pauses, and not as fast as possible. */
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
    TEST(test_receiving_waits_until_the_deadline),
    TEST(test_a_message_that_comes_late_is_waited_for),
    TEST(test_a_deadline_in_mid_message_aborts_the_stream),
    TEST(test_sending_waits_for_room_until_the_deadline_and_sends_nothing),
    TEST(test_a_message_sent_in_part_at_the_deadline_aborts_the_stream),
    TEST(test_a_failure_in_mid_message_is_told_apart_from_a_peer_that_closed),
    TEST(test_too_many_descriptors_in_flight_are_waited_for),
    TEST(test_a_descriptor_that_the_kernel_refuses_is_told),
    TEST(test_a_thread_is_not_cancelled_in_mid_call),
};
HARNESS_MAIN("deadline", tests)
