/* SPDX-License-Identifier: MIT */
/*
 * Calls that are answered by means of selectors, and messages that are freed while somebody waits
 * for their descriptors.
 */
#include <public/callee.h>
#include <semaphore.h>
#include <sys/eventfd.h>

enum { BOTH = BEAM_SELECT_CANCELLED | BEAM_SELECT_SEND };

/* ---- In selectors ---------------------------------------------------------------------------- */

static beam_select *selector;

static void test_both_are_told_apart_by_a_selector(void)
{
	struct beam_select_ready ready[4];
	beam_message *request;
	beam_call *call;

	ends_open(&ends, NULL);
	require_int(beam_select_new(&selector), 0);
	call = begin_call();
	request = take_request_of(ends.topic[1]);
	check_int(beam_select_add_message(selector, request, BOTH, &ends), 0);
	check_int(beam_select_add_message(selector, request, BEAM_SELECT_CANCELLED, NULL), -EEXIST);
	check_int(beam_select_add_message(selector, request, BEAM_SELECT_SEND, NULL), -EEXIST);
	check_int(beam_select_wait(selector, ready, 4, soon()), 1);
	check_int(ready[0].what, BEAM_SELECT_SEND);
	check(ready[0].tag == &ends);
	check_int(beam_select_remove_message(selector, request, BEAM_SELECT_SEND), 0);
	check_int(beam_select_remove_message(selector, request, BEAM_SELECT_SEND), -ENOENT);
	check_int(beam_select_wait(selector, ready, 4, BEAM_NOWAIT), -EAGAIN);
	/* Adding for both fails if one of them is a member already, and adds neither. Removing both
	 * fails if one is not a member, but removes the other. */
	check_int(beam_select_add_message(selector, request, BOTH, NULL), -EEXIST);
	beam_call_unref(call);
	check_int(beam_select_wait(selector, ready, 4, soon()), 1);
	check_int(ready[0].what, BEAM_SELECT_CANCELLED);
	check(ready[0].tag == &ends);
	check_int(beam_select_remove_message(selector, request, BOTH), -ENOENT);
	check_int(beam_select_wait(selector, ready, 4, BEAM_NOWAIT), -EAGAIN);
	/* What is already ready when it is added is reported. */
	check_int(beam_select_add_message(selector, request, BEAM_SELECT_CANCELLED, NULL), 0);
	check_int(beam_select_wait(selector, ready, 4, BEAM_NOWAIT), 1);
	beam_select_unref(selector);
	beam_message_free(request);
	ends_close(&ends);
}

enum { CALLEES = 64, REPLIES = 40, REPLY_BYTES = 4096 };

/* Receives the replies of all calls until all calls have ended. */
static void *take_all_replies(void *argument)
{
	beam_call **calls = argument;

	for (int left = CALLEES; left;) {
		bool took = false;

		harness_progress();
		for (int i = 0; i < CALLEES; i++) {
			beam_message *one = NULL;
			int r = calls[i] ? beam_call_receive(calls[i], &one, 0, beam_in_ms(took ? 0 : 1)) : -EAGAIN;

			beam_message_free(one);
			took = took || r == 1;
			if (r == 1 || r == -EAGAIN || r == -ETIMEDOUT)
				continue;
			check_int(r, 0);
			calls[i] = beam_call_unref(calls[i]);
			left--;
		}
	}
	return NULL;
}

struct callee {
	beam_message *request;
	size_t sent;
};

/* Sends one reply. Returns false if there was no room. */
static bool serve_one(struct callee *callee)
{
	bool is_last = callee->sent + 1 == REPLIES;
	int r = reply(callee->request, REPLY_BYTES, is_last ? 0 : BEAM_REPLY_MORE);

	if (r == -EAGAIN)
		return false;
	check_int(r, 0);
	if (++callee->sent == REPLIES) {
		beam_message_free(callee->request);
		callee->request = NULL;
	}
	return true;
}

static void test_many_callees_wait_for_room_in_one_selector_and_none_spins(void)
{
	static struct callee callees[CALLEES];
	static beam_call *calls[CALLEES];
	struct beam_select_ready ready[CALLEES];
	size_t sent = 0, waits = 0, in_vain = 0;
	pthread_t thread;

	ends_open(&ends, NULL);
	require_int(beam_select_new(&selector), 0);
	for (int i = 0; i < CALLEES; i++) {
		calls[i] = begin_call();
		callees[i] = (struct callee){.request = take_request_of(ends.topic[1])};
		require_int(beam_select_add_message(selector, callees[i].request, BEAM_SELECT_SEND, &callees[i]), 0);
	}
	/* Send until there is no room for any reply, because nobody receives them. */
	for (bool went = true; went;) {
		went = false;
		for (int i = 0; i < CALLEES; i++) {
			while (callees[i].sent + 1 < REPLIES && serve_one(&callees[i])) {
				went = true;
				sent++;
			}
		}
	}
	check_int(beam_select_wait(selector, ready, CALLEES, BEAM_NOWAIT), -EAGAIN);
	thread = thread_spawn(take_all_replies, calls);
	while (sent < CALLEES * REPLIES) {
		ssize_t n = beam_select_wait(selector, ready, CALLEES, soon());
		bool went = false;

		if (!check(n > 0))
			break;
		waits++;
		for (ssize_t i = 0; i < n; i++) {
			if (serve_one(ready[i].tag)) {
				went = true;
				sent++;
			}
		}
		in_vain += !went;
	}
	printf("%zu replies, %zu waits, %zu in vain\n", sent, waits, in_vain);
	/* A callee that was reported as ready usually finds room. */
	check(in_vain * 10 <= sent);
	thread_wait(thread);
	check_int(beam_select_wait(selector, ready, CALLEES, BEAM_NOWAIT), -EAGAIN);
	beam_select_unref(selector);
	ends_close(&ends);
}

/* ---- Freeing a message ----------------------------------------------------------------------- */

static int stop;
static _Atomic pid_t sleepers[2];

/* Polls until `stop` is readable. The other descriptor must not become readable. */
static void *poll_until_stopped(void *fd)
{
	struct pollfd items[2] = {{.fd = *(int *)fd, .events = POLLIN}, {.fd = stop, .events = POLLIN}};

	sleepers[0] = thread_number();
	check_int(poll(items, 2, stretch(20000)), 1);
	check_int(items[1].revents, POLLIN);
	return NULL;
}

static void *select_until_stopped(void *unused)
{
	struct beam_select_ready ready;

	(void)unused;
	sleepers[1] = thread_number();
	check_int(beam_select_wait(selector, &ready, 1, soon()), 1);
	check_int(ready.what, BEAM_SELECT_FD);
	check(ready.tag == &stop);
	return NULL;
}

static void *free_message(void *message)
{
	beam_message_free(message);
	return NULL;
}

static void test_a_message_that_another_thread_frees_leaves_those_who_wait_for_it(void)
{
	pthread_t polling, selecting;
	beam_message *request;
	beam_call *call;
	int fds[2];

	ends_open(&ends, NULL);
	require_int(beam_select_new(&selector), 0);
	stop = eventfd(0, EFD_CLOEXEC);
	check_int(beam_select_add_fd(selector, stop, POLLIN, &stop), 0);
	call = begin_call();
	request = take_request_of(ends.topic[1]);
	while (reply(request, 4096, BEAM_REPLY_MORE) == 0)
		;
	check_int(beam_select_add_message(selector, request, BOTH, NULL), 0);
	fds[0] = beam_message_cancelled_fd(request);
	fds[1] = beam_message_reply_fd(request);
	sleepers[0] = sleepers[1] = 0;
	polling = thread_spawn(poll_until_stopped, &fds[0]);
	selecting = thread_spawn(select_until_stopped, NULL);
	for (int i = 0; i < 2; i++)
		check_within(20000, thread_asleep(sleepers[i]));
	thread_wait(thread_spawn(free_message, request));
	beam_call_unref(call);
	/*
	 * The descriptor numbers are reused by the next call, which is not a member of the
	 * selector.
	 */
	call = begin_call();
	request = take_request_of(ends.topic[1]);
	check_int(beam_message_cancelled_fd(request), fds[0] < fds[1] ? fds[0] : fds[1]);
	check_int(beam_select_remove_message(selector, request, BEAM_SELECT_CANCELLED), -ENOENT);
	check_int(beam_select_add_message(selector, request, BEAM_SELECT_CANCELLED, NULL), 0);
	check_int(write(stop, &(uint64_t){1}, sizeof(uint64_t)), sizeof(uint64_t));
	thread_wait(polling);
	thread_wait(selecting);
	close(stop);
	beam_message_free(request);
	beam_call_unref(call);
	beam_select_unref(selector);
	ends_close(&ends);
}

static int proceed;

static int look_at_parents(void *request)
{
	check_int(beam_message_cancelled_fd(request), -ECHILD);
	check_int(beam_message_reply_fd(request), -ECHILD);
	check_int(beam_select_add_message(selector, request, BOTH, NULL), -ECHILD);
	check_int(beam_select_remove_message(selector, request, BOTH), -ECHILD);
	beam_message_free(request);
	check_int(write(stop, &(uint64_t){1}, sizeof(uint64_t)), sizeof(uint64_t));
	check(polls(proceed, stretch(20000)));
	return 0;
}

/* The child has the descriptors too, so they stay open in the kernel. */
static void test_a_freed_message_shows_no_more_though_a_forked_child_has_its_descriptors(void)
{
	struct beam_select_ready ready[2];
	beam_message *request;
	beam_call *call;
	pid_t child;

	ends_open(&ends, NULL);
	require_int(beam_select_new(&selector), 0);
	stop = eventfd(0, EFD_CLOEXEC);
	call = begin_call();
	request = take_request_of(ends.topic[1]);
	check_int(beam_select_add_message(selector, request, BOTH, NULL), 0);
	beam_call_unref(call);
	check_within(20000, beam_select_wait(selector, ready, 2, soon()) == 2);
	proceed = eventfd(0, EFD_CLOEXEC);
	child = process_spawn(look_at_parents, request);
	check(polls(stop, stretch(20000)));
	check_int(beam_select_wait(selector, ready, 2, BEAM_NOWAIT), 2);
	beam_message_free(request);
	check(!shows(beam_select_fd(selector)));
	check_int(beam_select_wait(selector, ready, 2, BEAM_NOWAIT), -EAGAIN);
	check_int(write(proceed, &(uint64_t){1}, sizeof(uint64_t)), sizeof(uint64_t));
	check_int(process_wait(child), 0);
	close(proceed);
	close(stop);
	beam_select_unref(selector);
	ends_close(&ends);
}

/* Passes one message at a time from one thread to the other. */
static struct {
	sem_t is_empty, is_full;
	beam_message *message;
} hand;

static void *free_each(void *unused)
{
	size_t n = scale(1000);

	(void)unused;
	for (size_t i = 0; i < n; i++) {
		sem_wait(&hand.is_full);
		/* For every other message, the new owner asks for the descriptor, too. */
		if (i % 2)
			check(beam_message_cancelled_fd(hand.message) >= 0);
		beam_message_free(hand.message);
		sem_post(&hand.is_empty);
	}
	return NULL;
}

static void *select_all_the_time(void *unused)
{
	struct beam_select_ready ready[4];
	bool stopped = false;

	(void)unused;
	while (!stopped) {
		ssize_t n = beam_select_wait(selector, ready, 4, soon());

		check(n > 0);
		for (ssize_t i = 0; i < n; i++)
			stopped = stopped || ready[i].what == BEAM_SELECT_FD;
	}
	return NULL;
}

static void test_messages_are_handed_over_and_freed_while_their_callers_cancel(void)
{
	pthread_t freeing, selecting;
	size_t n = scale(1000);

	ends_open(&ends, NULL);
	require_int(beam_select_new(&selector), 0);
	stop = eventfd(0, EFD_CLOEXEC);
	check_int(beam_select_add_fd(selector, stop, POLLIN, &stop), 0);
	sem_init(&hand.is_empty, 0, 1);
	sem_init(&hand.is_full, 0, 0);
	freeing = thread_spawn(free_each, NULL);
	selecting = thread_spawn(select_all_the_time, NULL);
	for (size_t i = 0; i < n; i++) {
		beam_call *call = begin_call();
		beam_message *request = take_request_of(ends.topic[1]);

		check_int(beam_select_add_message(selector, request, i % 8 ? BEAM_SELECT_CANCELLED : BOTH, NULL), 0);
		sem_wait(&hand.is_empty);
		hand.message = request;
		sem_post(&hand.is_full);
		beam_call_unref(call);
	}
	thread_wait(freeing);
	check_int(write(stop, &(uint64_t){1}, sizeof(uint64_t)), sizeof(uint64_t));
	thread_wait(selecting);
	check_int(beam_select_remove_fd(selector, stop), 0);
	check(!shows(beam_select_fd(selector)));
	close(stop);
	beam_select_unref(selector);
	ends_close(&ends);
}

static void test_what_is_no_call_has_none(void)
{
	beam_message *message = NULL;

	ends_open(&ends, NULL);
	require_int(beam_select_new(&selector), 0);
	send_text(ends.topic[0], "plain");
	require_int(beam_topic_receive(ends.topic[1], &message, 0, soon()), 1);
	check_int(beam_message_cancelled_fd(message), -EINVAL);
	check_int(beam_message_reply_fd(message), -EINVAL);
	check_int(beam_message_cancelled_fd(NULL), -EINVAL);
	check_int(beam_message_reply_fd(NULL), -EINVAL);
	check_int(beam_select_add_message(selector, message, BOTH, NULL), -EINVAL);
	check_int(beam_select_add_message(selector, NULL, BEAM_SELECT_SEND, NULL), -EINVAL);
	check_int(beam_select_remove_message(selector, message, BEAM_SELECT_CANCELLED), -EINVAL);
	check_int(beam_select_add_message(NULL, message, BOTH, NULL), -EINVAL);
	check_int(beam_select_remove_message(NULL, message, BOTH), -EINVAL);
	beam_message_free(message);
	beam_call_unref(begin_call());
	message = take_request_of(ends.topic[1]);
	for (int i = 0; i < 2; i++) {
		unsigned what = i ? BEAM_SELECT_RECEIVE | BEAM_SELECT_SEND : 0;

		check_int(beam_select_add_message(selector, message, what, NULL), -EINVAL);
		check_int(beam_select_remove_message(selector, message, what), -EINVAL);
	}
	beam_message_free(message);
	beam_select_unref(selector);
	ends_close(&ends);
}

static const struct test tests[] = {
    TEST(test_both_are_told_apart_by_a_selector),
    TEST(test_many_callees_wait_for_room_in_one_selector_and_none_spins),
    TEST(test_a_message_that_another_thread_frees_leaves_those_who_wait_for_it),
    TEST(test_a_freed_message_shows_no_more_though_a_forked_child_has_its_descriptors),
    TEST(test_messages_are_handed_over_and_freed_while_their_callers_cancel),
    TEST(test_what_is_no_call_has_none),
};

HARNESS_MAIN("public/callee_select", tests)
