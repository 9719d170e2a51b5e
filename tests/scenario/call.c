/* SPDX-License-Identifier: MIT */
/*
 * Calls over a channel, while everything that can fail does so in turn. Every error is documented,
 * what arrives is what was sent, and every call ends.
 */
#include <beam/call.h>
#include <scenario/ledger.h>
#include <scenario/scenarios.h>

enum { CODE = BEAM_FAILURE_APPLICATION, CANCELLED = 100 };

static unsigned char bulk[200000];

/*
 * The errors that calls and replies may return. A caller that got no reply in time has cancelled.
 */
#define SENDING -EIO, -ECANCELED, -EAGAIN, -ETIMEDOUT, -EPIPE, -ECONNRESET, -ENOMEM, -EMFILE, -EBADF, -EPERM, -EINVAL
#define RECEIVING -EAGAIN, -ETIMEDOUT, -EPIPE, -ECONNRESET, -ENOMEM, -EREMOTEIO, -EMFILE, -EBADF, -EPERM, -EINVAL

static beam_call *begin(struct ends *ends, size_t size, size_t n_fds)
{
	struct iovec iov = {bulk, size};
	beam_call *call = NULL;
	int r = beam_call_begin(&call, ends->topic[0], &iov, 1, attached, n_fds, 0, soon());

	check((r == 0) == (call != NULL));
	result_of(r, 0, SENDING);
	return call;
}

static beam_message *take(struct ends *ends, size_t size, size_t n_fds)
{
	beam_message *request = NULL;
	int r = beam_topic_receive(ends->topic[1], &request, 0, soon());

	if (!result_of(r, 1, 0, RECEIVING))
		return NULL;
	check(beam_message_is_call(request));
	/* After a fault it may be an earlier request. */
	if (strict || beam_message_size(request) == size) {
		check_int(beam_message_size(request), size);
		check_bytes(beam_message_data(request), bulk, size);
		check_int(beam_message_attachments(request), n_fds);
	}
	return request;
}

static void answer(beam_message *request, size_t size, size_t n_fds, unsigned flags)
{
	struct iovec iov = {bulk, size};
	int r = beam_message_replyv(request, &iov, 1, attached, n_fds, flags, soon());

	result_of(r, 0, SENDING);
}

/* Receives a reply. Returns false if there is none. */
static bool receive(beam_call *call, size_t size, size_t n_fds)
{
	beam_message *reply = NULL;
	int r = beam_call_receive(call, &reply, 0, soon());

	check((r == 1) == (reply != NULL));
	if (!result_of(r, 1, 0, RECEIVING))
		return false;
	/* After a fault it may be a later reply. */
	if (strict || beam_message_size(reply) == size) {
		check_int(beam_message_size(reply), size);
		check_bytes(beam_message_data(reply), bulk, size);
		check_int(beam_message_attachments(reply), n_fds);
	}
	beam_message_free(reply);
	return true;
}

static void end(beam_call *call, int good)
{
	beam_message *reply = NULL;
	int r;

	while ((r = beam_call_receive(call, &reply, 0, soon())) == 1) {
		check(!strict);
		beam_message_free(reply);
	}
	result_of(r, good, 0, RECEIVING);
	beam_call_unref(call);
}

/* ---- One by one ------------------------------------------------------------------------------ */

/* Replies to the first request, and fails all others. */
static void *answer_and_fail(void *argument)
{
	struct ends *ends = argument;
	beam_message *request;

	for (int i = 0; beam_topic_receive(ends->topic[1], &request, 0, soon()) == 1; i++) {
		check(beam_message_is_call(request));
		result_of(i ? beam_message_reply_failure(request, CODE, "why", 3, 0, soon())
			    : beam_message_reply(request, "pong", 4, 0, soon()),
			  0, SENDING);
		beam_message_free(request);
	}
	return NULL;
}

static void expect_failure(beam_call *call)
{
	uint32_t code = 0;
	const void *data = NULL;
	size_t size = 0;

	check_int(beam_call_failure(call, &code, &data, &size), 0);
	/* Without memory for the failure, the call was dropped. */
	if (strict || code != BEAM_FAILURE_DROPPED) {
		check_int(code, CODE);
		check_int(size, 3);
		check_bytes(data, "why", 3);
	}
}

void a_call_and_its_reply(void)
{
	struct ends *ends = ends_make(NULL);
	beam_message *reply = NULL;
	beam_call *call;
	pthread_t thread;
	int fd;

	if (!ends)
		return;
	thread = thread_spawn(answer_and_fail, ends);
	if (result_of(beam_topic_call(ends->topic[0], "ping", 4, &reply, 0, soon()), 1, RECEIVING, -ECANCELED))
		check_bytes(beam_message_data(reply), "pong", beam_message_size(reply));
	beam_message_free(reply);
	call = begin(ends, 4, 0);
	if (call) {
		check(beam_call_ref(call) == call);
		beam_call_unref(call);
		fd = beam_call_receive_fd(call);
		result_of(fd >= 0 ? 0 : fd, 0, -EMFILE, -ENFILE, -ENOMEM);
		reply = NULL;
		if (result_of(beam_call_receive(call, &reply, 0, soon()), -EREMOTEIO, 1, RECEIVING))
			expect_failure(call);
		beam_message_free(reply);
		check_int(beam_call_cancel(call), 0);
		beam_call_unref(call);
	}
	beam_topic_close_send(ends->topic[0]);
	ends_close(ends->channel[0]);
	thread_wait(thread);
	ends_release(ends, 1);
}

/* ---- Answers of every kind ------------------------------------------------------------------- */

void answers_of_every_kind(void)
{
	struct ends *ends = ends_make(NULL);
	beam_message *request;
	beam_call *call;

	if (!ends)
		return;
	call = begin(ends, 100, 1);
	request = call ? take(ends, 100, 1) : NULL;
	if (request) {
		answer(request, 50, 2, BEAM_REPLY_MORE);
		answer(request, 0, 0, 0);
		receive(call, 50, 2);
		receive(call, 0, 0);
	}
	beam_message_free(request);
	if (call)
		end(call, 0);

	call = begin(ends, 0, 0);
	request = call ? take(ends, 0, 0) : NULL;
	if (request)
		result_of(beam_message_reply_failure(request, CODE, "why", 3, 0, soon()), 0, SENDING);
	beam_message_free(request);
	if (call)
		end(call, -EREMOTEIO);

	call = begin(ends, 10, 0);
	if (call)
		beam_message_free(take(ends, 10, 0));
	if (call)
		end(call, -EREMOTEIO);
	ends_release(ends, 1);
}

/* ---- Large ones, and many at once ------------------------------------------------------------ */

static void *serve(void *argument)
{
	struct ends *ends = argument;
	beam_message *request;

	while (beam_topic_receive(ends->topic[1], &request, 0, soon()) == 1) {
		size_t size = beam_message_size(request);

		if (size == CANCELLED) {
			int r = beam_message_reply(request, bulk, size, 0, soon());

			if (r != -ECANCELED)
				result_of(r, 0, SENDING);
		} else {
			answer(request, size, beam_message_attachments(request), BEAM_REPLY_MORE);
			answer(request, 20, 0, 0);
		}
		beam_message_free(request);
	}
	return NULL;
}

void large_calls_and_many_at_once(void)
{
	static const size_t sizes[] = {10, sizeof bulk, 0, 70000, CANCELLED, 33000};
	struct ends *ends = ends_make(NULL);
	beam_call *calls[6] = {NULL};
	pthread_t thread;

	if (!ends)
		return;
	thread = thread_spawn(serve, ends);
	for (int i = 0; i < 6; i++)
		calls[i] = begin(ends, sizes[i], (size_t)i % 3);
	for (int i = 0; i < 6; i++) {
		if (calls[i] && sizes[i] == CANCELLED) {
			check_int(beam_call_cancel(calls[i]), 0);
			beam_call_unref(calls[i]);
		} else if (calls[i]) {
			if (receive(calls[i], sizes[i], (size_t)i % 3))
				receive(calls[i], 20, 0);
			end(calls[i], 0);
		}
	}
	beam_topic_close_send(ends->topic[0]);
	ends_close(ends->channel[0]);
	thread_wait(thread);
	ends_release(ends, 2);
}

/* ---- Refused descriptors --------------------------------------------------------------------- */

/*
 * The kernel refuses descriptors that are buffered: of a request, of a last reply, and of a reply
 * that is not the last.
 */
void calls_that_wait_in_the_buffer(void)
{
	struct ends *ends = ends_make(NULL);
	beam_call *calls[3] = {NULL};

	if (!ends)
		return;
	for (int i = 0; i < 3; i++)
		calls[i] = begin(ends, 30, 1);
	for (int i = 0; i < 3; i++) {
		beam_message *request = calls[i] ? take(ends, 30, 1) : NULL;

		if (request) {
			answer(request, 40, 1, i == 1 ? 0 : BEAM_REPLY_MORE);
			if (i != 1)
				answer(request, 50, 1, 0);
		}
		beam_message_free(request);
	}
	for (int i = 0; i < 3; i++) {
		beam_message *reply = NULL;

		if (!calls[i])
			continue;
		while (beam_call_receive(calls[i], &reply, 0, soon()) == 1)
			beam_message_free(reply);
		end(calls[i], 0);
	}
	ends_release(ends, 0);
}

/* ---- Messages -------------------------------------------------------------------------------- */

/* A message that was not sent is unchanged. */
static void keep(beam_message *message, size_t size, size_t n_fds)
{
	check_int(beam_message_size(message), size);
	check_int(beam_message_attachments(message), n_fds);
	for (size_t i = 0; i < n_fds; i++)
		check(fd_open(beam_message_peek_fd(message, i)));
	beam_message_free(message);
}

static beam_call *begin_message(struct ends *ends, size_t size, size_t n_fds)
{
	beam_message *message = NULL;
	beam_call *call = NULL;

	if (ledger_message(&message, bulk, size, n_fds) == 0 &&
	    !result_of(beam_call_begin_message(&call, ends->topic[0], message, 0, soon()), 0, SENDING))
		keep(message, size, n_fds);
	return call;
}

static void answer_message(beam_message *request, size_t size, size_t n_fds, unsigned flags)
{
	beam_message *message = NULL;

	if (ledger_message(&message, bulk, size, n_fds) == 0 &&
	    !result_of(beam_message_reply_message(request, message, flags, soon()), 0, SENDING))
		keep(message, size, n_fds);
}

void requests_and_replies_that_are_messages(void)
{
	struct ends *ends = ends_make(NULL);
	beam_message *request, *message = NULL, *reply = NULL;
	beam_call *call;
	pthread_t thread;
	uint32_t code = 0;
	int r;

	if (!ends)
		return;
	call = begin_message(ends, 30, 2);
	request = call ? take(ends, 30, 2) : NULL;
	if (request) {
		answer_message(request, 40, 1, BEAM_REPLY_MORE);
		answer_message(request, 50000, 2, 0);
		receive(call, 40, 1);
		receive(call, 50000, 2);
	}
	beam_message_free(request);
	if (call)
		end(call, 0);

	/* The first call gets a reply, the second one a failure. */
	thread = thread_spawn(answer_and_fail, ends);
	r = beam_topic_callv(ends->topic[0], NULL, 0, attached, 1, &reply, NULL, 0, soon());
	check((r == 1 || r == -EREMOTEIO) == (reply != NULL));
	result_of(r, 1, RECEIVING, -ECANCELED);
	beam_message_free(reply);
	reply = NULL;
	if (ledger_message(&message, bulk, 20, 1) == 0) {
		r = beam_topic_call_message(ends->topic[0], &message, &reply, &code, 0, soon());
		check((r == 1 || r == -EREMOTEIO) == (reply != NULL));
		check(!reply || !message);
		if (result_of(r, -EREMOTEIO, 1, RECEIVING, -ECANCELED) && code == CODE)
			check_bytes(beam_message_data(reply), "why", 3);
		if (message)
			keep(message, 20, 1);
		beam_message_free(reply);
	}
	beam_topic_close_send(ends->topic[0]);
	ends_close(ends->channel[0]);
	thread_wait(thread);
	ends_release(ends, 1);
}
