/* SPDX-License-Identifier: MIT */
/*
 * Calls that are sent on. Their replies are passed back to the caller.
 *
 * A reply says whether it is the last one. So before a reply is passed back, the next one is
 * received. If it has not arrived, and the call has not ended, another reply or a failure will
 * come, because the last reply and the end of a call arrive together. At most two replies of each
 * call are kept here.
 *
 * However a call ends, its source is freed, and with it the call and the request. If the callee has
 * not ended the call, it learns that the call was cancelled. If the caller has not got all of the
 * answer, it learns that the call was dropped.
 */
#include <base/sys.h>
#include <errno.h>
#include <relay/internal.h>

/* ---- Out ------------------------------------------------------------------------------------- */

/* Returns the attachments of a request, to which they still belong, and their number. */
static int borrow_fds(const beam_message *request, int **ret, size_t *ret_n)
{
	size_t n = beam_message_attachments(request);
	int *fds = sys_calloc(n + 1, sizeof *fds);

	if (!fds)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		fds[i] = beam_message_peek_fd(request, i);
		if (fds[i] < 0) {
			free(fds);
			return -ENOENT;
		}
	}
	*ret = fds;
	*ret_n = n;
	return 0;
}

static int begin_on(beam_call **ret, beam_topic *topic, beam_message *request, beam_deadline deadline)
{
	struct iovec iov = {(void *)(uintptr_t)beam_message_data(request), beam_message_size(request)};
	size_t n = 0;
	int *fds = NULL;
	int r = borrow_fds(request, &fds, &n);

	if (r < 0)
		return r;
	r = beam_call_begin(ret, topic, &iov, 1, fds, n, BEAM_SEND_GIVE_FDS, deadline);
	/* The descriptors have been given away, so the request must forget their numbers. */
	for (size_t i = 0; r == 0 && i < n; i++)
		fds[i] = beam_message_take_fd(request, i);
	free(fds);
	return r;
}

int call_send_on(struct beam_router *router, struct source *source, beam_topic *topic, beam_deadline deadline)
{
	struct source *made = source_new(NULL);
	int r = made ? begin_on(&made->call, topic, source->held, deadline) : -ENOMEM;

	if (r < 0) {
		free(made);
		return r;
	}
	made->request = source->held;
	source_join(router, made, NULL);
	return 0;
}

/* ---- Waiting --------------------------------------------------------------------------------- */

/*
 * Waits for a reply or for the end of either side; or for room for a reply, which is also reported
 * when the caller has ended.
 */
int call_watch(struct beam_router *router, struct source *source)
{
	int r;

	/* This also fails if there is no descriptor. */
	if (source->for_room)
		return beam_select_add_fd(router->select, beam_message_reply_fd(source->request), POLLIN, source);
	r = beam_select_add_call(router->select, source->call, source);
	if (r < 0)
		return r;
	r = beam_select_add_message(router->select, source->request, BEAM_SELECT_CANCELLED, source);
	if (r < 0)
		beam_select_remove_call(router->select, source->call);
	return r;
}

void call_unwatch(struct beam_router *router, struct source *source)
{
	if (source->for_room) {
		beam_select_remove_fd(router->select, beam_message_reply_fd(source->request));
		return;
	}
	beam_select_remove_call(router->select, source->call);
	beam_select_remove_message(router->select, source->request, BEAM_SELECT_CANCELLED);
}

/* ---- Back ------------------------------------------------------------------------------------ */

/* Passes on the reply in hand. It waits only if the reply is large and there was room. */
static int pass_reply(struct source *source, unsigned flags, beam_deadline deadline)
{
	bool large = beam_message_size(source->held) > LARGE;

	if (large && !source->by_room)
		return -EAGAIN;
	return beam_message_reply_message(source->request, source->held, flags, large ? deadline : BEAM_NOWAIT);
}

/* Passes on how the call failed, if the callee said how. */
static int pass_failure(struct source *source, beam_deadline deadline)
{
	const void *data = NULL;
	size_t size = 0;
	uint32_t code = 0;
	int r = beam_call_failure(source->call, &code, &data, &size);

	if (code < BEAM_FAILURE_APPLICATION)
		return r;
	if (size > LARGE && !source->by_room)
		return -EAGAIN;
	r = beam_message_reply_failure(source->request, code, data, size, 0, size > LARGE ? deadline : BEAM_NOWAIT);
	if (r == 0 || r == -EAGAIN || r == -ETIMEDOUT)
		return r;
	/* The caller may not accept data of this size. A code alone can always be sent. */
	return beam_message_reply_failure(source->request, code, NULL, 0, 0, BEAM_NOWAIT);
}

/*
 * Called when something could not be passed on. Sets what the call waits for, or that it has ended.
 * Returns what the user is to be told.
 */
static int call_wait_or_end(struct source *source, int r)
{
	if (r == -EAGAIN || r == -ETIMEDOUT) {
		/*
		 * If there is room, but not enough, waiting for room would end at once, so this
		 * waits for the timer.
		 */
		source->for_room = !source->by_room;
		source->state = source->by_room ? SOURCE_STALLED : SOURCE_IDLE;
		return 0;
	}
	source->state = SOURCE_ENDED;
	return !source->held || r == -ECANCELED || r == -EPIPE || r == -ECONNRESET ? 0 : r;
}

/*
 * Passes on one reply, or the end of the call. Sets the next state, which is READY if there may be
 * more.
 */
static int call_step(struct source *source, beam_deadline deadline)
{
	int r = source->held ? 1 : beam_call_receive(source->call, &source->held, 0, BEAM_NOWAIT);
	int after;

	if (r == -EAGAIN) {
		source->state = SOURCE_IDLE;
		return 0;
	}
	/*
	 * Any other end of the call is not a failure of the router. The caller is told that its
	 * call was dropped.
	 */
	if (r != 1)
		return call_wait_or_end(source, r == -EREMOTEIO ? pass_failure(source, deadline) : 0);
	after = source->next ? 1 : beam_call_receive(source->call, &source->next, 0, BEAM_NOWAIT);
	r = pass_reply(source, after ? BEAM_REPLY_MORE : 0, deadline);
	if (r < 0)
		return call_wait_or_end(source, r);
	source->held = source->next;
	source->next = NULL;
	source->by_room = false;
	source->state = after ? SOURCE_READY : SOURCE_ENDED;
	return 0;
}

int turn_of_call(struct source *source, beam_deadline deadline)
{
	int r = 0;

	source->for_room = false;
	source->state = source->cancelled ? SOURCE_ENDED : SOURCE_READY;
	for (int i = 0; i < TURN && source->state == SOURCE_READY; i++)
		r = call_step(source, deadline);
	return r;
}
