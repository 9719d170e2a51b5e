/* SPDX-License-Identifier: MIT */
/* Single messages without a channel: what is received is what was sent. */
#include <beam/core.h>
#include <scenario/ledger.h>
#include <scenario/scenarios.h>

enum { LIMIT = INT32_MAX };

static char bytes[100 << 10];

/* The errors that sends and receives may return on a new socket. */
#define TOLD -EAGAIN, -ETIMEDOUT, -ECONNABORTED, -EPIPE, -ECONNRESET, -ENOMEM

static bool pair_make(int type, int pair[2])
{
	if (!result_of(beam_socket_pair(type, pair), 0, -EMFILE, -ENFILE, -ENOMEM))
		return false;
	for (int i = 0; i < 2; i++)
		result_of(beam_fd_conn(pair[i]), 0, -ENOTCONN);
	return true;
}

static void pair_close(const int pair[2])
{
	close(pair[0]);
	close(pair[1]);
}

/* The message has an attachment, which may be lost for want of a descriptor. */
static bool receives(int socket, size_t size)
{
	beam_message *message = NULL;
	int r = beam_receive(socket, &message, LIMIT, soon());

	check((r == 1) == (message != NULL));
	if (!result_of(r, 1, TOLD))
		return false;
	check_int(beam_message_size(message), size);
	check_bytes(beam_message_data(message), bytes, size);
	check_int(beam_message_attachments(message), 1);
	check(beam_message_peek_fd(message, 0) >= 0 || !strict);
	beam_message_free(message);
	return true;
}

/* Bare data has no boundaries, so it may arrive in pieces. */
static bool receives_bare(int socket, size_t size)
{
	size_t attachments = 0;

	for (size_t n = 0; n < size;) {
		beam_message *message = NULL;

		if (!result_of(beam_receive_bare(socket, &message, size - n, soon()), 1, TOLD))
			return false;
		check_bytes(beam_message_data(message), bytes + n, beam_message_size(message));
		n += beam_message_size(message);
		attachments += beam_message_attachments(message);
		beam_message_free(message);
	}
	return check_int(attachments, 1);
}

static void exchange(int type)
{
	/* A packet of the largest size would not fit into the buffer together with the others. */
	static const size_t sizes[] = {5, 0, sizeof bytes};
	int pair[2];

	if (!pair_make(type, pair))
		return;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		int r = beam_send(pair[0], bytes, sizes[i], attached[0], soon());

		/* -EINVAL: it could not be determined whether the socket takes empty messages. */
		if (!result_of(r, 0, TOLD, -EINVAL) || !receives(pair[1], sizes[i]))
			break;
	}
	pair_close(pair);
}

void messages_on_a_stream(void)
{
	exchange(SOCK_STREAM);
}

void messages_in_packets(void)
{
	exchange(SOCK_SEQPACKET);
}

void messages_in_the_bare_form(void)
{
	int pair[2];

	if (!pair_make(SOCK_STREAM, pair))
		return;
	for (int i = 0; i < 3; i++) {
		int r = beam_send_bare(pair[0], bytes, 100, attached[0], soon());

		if (!result_of(r, 0, TOLD) || !receives_bare(pair[1], 100))
			break;
	}
	pair_close(pair);
}

/* The end that was kept can send to whoever receives the other one. */
void a_pipe_that_is_sent(void)
{
	beam_message *message = NULL;
	int pair[2], kept = -1, sent;

	if (!pair_make(SOCK_STREAM, pair))
		return;
	if (!result_of(beam_send_pipe(pair[0], bytes, 10, &kept, soon()), 0, TOLD, -EMFILE, -ENFILE)) {
		check_int(kept, -1);
	} else if (result_of(beam_receive(pair[1], &message, LIMIT, soon()), 1, TOLD)) {
		sent = beam_message_take_fd(message, 0);
		if (result_of(sent >= 0 ? 0 : sent, 0, -EMFILE) &&
		    result_of(beam_send(kept, bytes, 7, attached[0], soon()), 0, TOLD))
			receives(sent, 7);
		if (sent >= 0)
			close(sent);
		beam_message_free(message);
	}
	if (kept >= 0)
		close(kept);
	pair_close(pair);
}

/* There is nothing to receive, and then no room to send. */
void waiting_in_vain(void)
{
	beam_message *message = NULL;
	int pair[2], r;

	if (!pair_make(SOCK_STREAM, pair))
		return;
	result_of(beam_receive(pair[1], &message, LIMIT, beam_in_ms(1)), -ETIMEDOUT, TOLD);
	do
		r = beam_send(pair[0], bytes, sizeof bytes, -1, BEAM_NOWAIT);
	while (r == 0);
	/*
	 * -ECONNABORTED: the socket was full in the middle of a message. After a fault, it may not
	 * be full.
	 */
	if (r != -ECONNABORTED && result_of(r, -EAGAIN, TOLD) && !fault_hit()) {
		r = beam_send(pair[0], bytes, sizeof bytes, attached[0], beam_in_ms(1));
		result_of(r, -ETIMEDOUT, TOLD);
	}
	check(message == NULL);
	pair_close(pair);
}
