/* SPDX-License-Identifier: MIT */
/*
 * A selector with everything that can be waited for. Each member is added and reported, or adding
 * it fails.
 */
#include <beam/listener.h>
#include <beam/select.h>
#include <poll.h>
#include <scenario/ledger.h>
#include <scenario/scenarios.h>
#include <sys/eventfd.h>

/* Returns true if adding a member has succeeded. */
static bool added(int r)
{
	return result_of(r, 0, -EMFILE, -ENFILE, -ENOMEM, -ENOSPC);
}

/* Waits until the selector reports `tag`, alone or with others. */
static void expect(beam_select *select, const void *tag, unsigned what)
{
	beam_deadline deadline = soon();
	struct beam_select_ready ready[8];
	bool told = false;
	ssize_t n;

	do {
		n = beam_select_wait(select, ready, 8, deadline);
		for (ssize_t i = 0; i < n; i++)
			told = told || (ready[i].tag == tag && ready[i].what == what);
	} while (n > 0 && !told && now_ns() < deadline.ns);
	result_of(told ? 1 : n < 0 ? n : -ETIMEDOUT, 1, -ETIMEDOUT, -EAGAIN);
}

/*
 * The listener is ready because it is closed. A waiting client would be reported in the same way.
 */
static void select_a_listener(beam_select *select)
{
	beam_listener *listener = NULL;
	char address[64];

	snprintf(address, sizeof address, "@beam-scenario-select-%d", (int)getpid());
	if (!result_of(beam_listener_new(&listener, address, NULL), 0, -EMFILE, -ENFILE, -ENOMEM, -EADDRINUSE, -EAGAIN))
		return;
	if (added(beam_select_add_listener(select, listener, listener))) {
		check_int(beam_listener_close(listener), 0);
		expect(select, listener, BEAM_SELECT_ACCEPT);
		check_int(beam_select_remove_listener(select, listener), 0);
	}
	beam_listener_unref(listener);
}

static void select_all(beam_select *select, struct ends *ends)
{
	beam_topic *other = NULL;
	beam_call *call = NULL;
	int fd = eventfd(1, EFD_CLOEXEC);

	check(beam_select_fd(select) >= 0);
	if (added(beam_select_add_topic(select, ends->topic[1], BEAM_SELECT_RECEIVE | BEAM_SELECT_SEND, ends))) {
		if (flow_send(&ends->flow[0], ends->topic[0], SEND, 100, 0) == 0)
			expect(select, ends, BEAM_SELECT_RECEIVE);
		flow_receive(&ends->flow[0], ends->topic[1]);
		check_int(beam_select_remove_topic(select, ends->topic[1], BEAM_SELECT_RECEIVE | BEAM_SELECT_SEND), 0);
	}
	if (added(beam_select_add_channel(select, ends->channel[1], &added))) {
		if (result_of(beam_topic_open(&other, ends->channel[0], "other"), 0, -EPIPE, -ECONNRESET, -ENOMEM))
			expect(select, &added, BEAM_SELECT_ACCEPT);
		beam_topic_unref(other);
		check_int(beam_select_remove_channel(select, ends->channel[1]), 0);
	}
	if (result_of(beam_call_begin(&call, ends->topic[1], NULL, 0, NULL, 0, 0, soon()), 0, -EAGAIN, -ETIMEDOUT,
		      -EPIPE, -ECONNRESET, -ENOMEM)) {
		if (added(beam_select_add_call(select, call, &call))) {
			check_int(beam_call_cancel(call), 0);
			expect(select, &call, BEAM_SELECT_REPLY);
			check_int(beam_select_remove_call(select, call), 0);
		}
		beam_call_unref(call);
	}
	if (added(beam_select_add_fd(select, fd, POLLIN, &fd))) {
		expect(select, &fd, BEAM_SELECT_FD);
		check_int(beam_select_remove_fd(select, fd), 0);
	}
	close(fd);
}

/* A call that is cancelled by its caller. */
static void select_request(beam_select *select, struct ends *ends)
{
	beam_message *request = NULL;
	beam_call *call = NULL;

	if (!result_of(beam_call_begin(&call, ends->topic[0], NULL, 0, NULL, 0, 0, soon()), 0, -EAGAIN, -ETIMEDOUT,
		       -EPIPE, -ECONNRESET, -ENOMEM))
		return;
	if (result_of(beam_topic_receive(ends->topic[1], &request, 0, soon()), 1, 0, -EAGAIN, -ETIMEDOUT, -EPIPE,
		      -ECONNRESET, -ENOMEM)) {
		int cancelled = beam_message_cancelled_fd(request), room = beam_message_reply_fd(request);

		added(cancelled < 0 ? cancelled : 0);
		added(room < 0 ? room : 0);
		if (added(
			beam_select_add_message(select, request, BEAM_SELECT_CANCELLED | BEAM_SELECT_SEND, &request))) {
			expect(select, &request, BEAM_SELECT_SEND);
			check_int(beam_select_remove_message(select, request, BEAM_SELECT_SEND), 0);
			check_int(beam_call_cancel(call), 0);
			expect(select, &request, BEAM_SELECT_CANCELLED);
		}
	}
	beam_message_free(request);
	beam_call_unref(call);
}

void selecting_among_everything(void)
{
	struct ends *ends = ends_make(NULL);
	beam_select *select = NULL;

	if (!ends)
		return;
	if (result_of(beam_select_new(&select), 0, -EMFILE, -ENFILE, -ENOMEM)) {
		check(beam_select_ref(select) == select);
		beam_select_unref(select);
		select_all(select, ends);
		select_request(select, ends);
		select_a_listener(select);
	}
	beam_select_unref(select);
	ends_release(ends, 2);
}
