/* SPDX-License-Identifier: MIT */
/*
 * The descriptors that show a callee that its call was cancelled, and that there is room to reply.
 * While a test waits for a descriptor, nothing else of the library is called on that side.
 */
#include <public/callee.h>
#include <signal.h>
#include <stdatomic.h>

/* ---- Cancelled ------------------------------------------------------------------------------- */

static void by_cancelling(beam_call *call)
{
	check_int(beam_call_cancel(call), 0);
	beam_call_unref(call);
}

static void by_releasing(beam_call *call)
{
	beam_call_unref(call);
}

static void by_closing(beam_call *call)
{
	check_int(beam_channel_close(ends.channel[0], soon()), 0);
	beam_call_unref(call);
}

static void by_aborting(beam_call *call)
{
	check_int(beam_channel_abort(ends.channel[0]), 0);
	beam_call_unref(call);
}

/* The callee's own end. */
static void by_closing_here(beam_call *call)
{
	check_int(beam_channel_close(ends.channel[1], soon()), 0);
	beam_call_unref(call);
}

static void (*const ends_of_calls[])(beam_call *) = {by_cancelling, by_releasing, by_closing, by_aborting,
						     by_closing_here};
enum { ENDS_OF_CALLS = sizeof ends_of_calls / sizeof *ends_of_calls };

static _Atomic int64_t began;

struct waiting {
	int fd;
	int64_t noticed;
};

static void *wait_for_it(void *argument)
{
	struct waiting *waiting = argument;

	check(polls(waiting->fd, stretch(20000)));
	waiting->noticed = now_ns();
	return NULL;
}

static void test_a_callee_that_only_polls_notices_that_its_call_was_cancelled(void)
{
	for (int i = 0; i < ENDS_OF_CALLS; i++) {
		struct waiting waiting = {0};
		beam_message *request;
		pthread_t thread;
		beam_call *call;

		harness_context("end %d", i);
		ends_open(&ends, NULL);
		call = begin_call();
		request = take_request_of(ends.topic[1]);
		waiting.fd = beam_message_cancelled_fd(request);
		check(waiting.fd >= 0);
		check(!shows(waiting.fd));
		thread = thread_spawn(wait_for_it, &waiting);
		began = now_ns();
		ends_of_calls[i](call);
		thread_wait(thread);
		printf("end %d noticed after %lld us\n", i, (long long)(waiting.noticed - began) / 1000);
		/* It stays readable, and it stays the same descriptor. */
		check(shows(waiting.fd));
		check_int(beam_message_cancelled_fd(request), waiting.fd);
		check(reply(request, 1, BEAM_REPLY_MORE) < 0);
		check(shows(waiting.fd));
		beam_message_free(request);
		check(!fd_open(waiting.fd));
		ends_close(&ends);
	}
	harness_context("%s", "");
}

static void test_what_was_cancelled_before_the_descriptor_was_asked_for_shows(void)
{
	for (int i = 0; i < ENDS_OF_CALLS; i++) {
		beam_message *request;
		beam_call *call;

		ends_open(&ends, NULL);
		call = begin_call();
		request = take_request_of(ends.topic[1]);
		ends_of_calls[i](call);
		check_within(20000, beam_message_replyv(request, NULL, 0, NULL, 0, BEAM_REPLY_MORE, soon()) < 0);
		check(shows(beam_message_cancelled_fd(request)));
		check(shows(beam_message_reply_fd(request)));
		beam_message_free(request);
		ends_close(&ends);
	}
}

static void test_the_other_calls_go_on(void)
{
	beam_message *requests[3], *one = NULL;
	beam_call *calls[3];

	ends_open(&ends, NULL);
	for (int i = 0; i < 3; i++) {
		calls[i] = begin_call();
		requests[i] = take_request_of(ends.topic[1]);
		check(!shows(beam_message_cancelled_fd(requests[i])));
	}
	/* The end of their topic does not end calls either. */
	check_int(beam_topic_close_send(ends.topic[1]), 0);
	beam_call_cancel(calls[1]);
	check(polls(beam_message_cancelled_fd(requests[1]), stretch(20000)));
	for (int i = 0; i < 3; i += 2) {
		check(!shows(beam_message_cancelled_fd(requests[i])));
		check_int(reply(requests[i], 5, 0), 0);
		check_int(beam_call_receive(calls[i], &one, 0, soon()), 1);
		beam_message_free(one);
	}
	for (int i = 0; i < 3; i++) {
		beam_message_free(requests[i]);
		beam_call_unref(calls[i]);
	}
	ends_close(&ends);
}

/* The other end of a channel, in another process. It makes a call and is killed. */
static int call_and_be_killed(void *fd)
{
	beam_channel *channel;
	beam_topic *topic;
	beam_call *call;

	if (beam_channel_from_fd(&channel, *(int *)fd, NULL) < 0 || beam_topic_open(&topic, channel, "topic") < 0 ||
	    beam_call_begin(&call, topic, NULL, 0, NULL, 0, 0, soon()) < 0 || beam_channel_flush(channel, soon()) < 0)
		return 1;
	pause();
	return 0;
}

static void test_the_death_of_a_caller_shows(void)
{
	beam_message *request;
	beam_channel *channel;
	beam_topic *topic;
	int fds[2], fd;
	pid_t child;

	needs_threads_in_children();
	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	child = process_spawn(call_and_be_killed, &fds[1]);
	close(fds[1]);
	require_int(beam_channel_from_fd(&channel, fds[0], NULL), 0);
	require_int(beam_topic_open(&topic, channel, "topic"), 0);
	request = take_request_of(topic);
	fd = beam_message_cancelled_fd(request);
	check(!shows(fd));
	kill(child, SIGKILL);
	check(polls(fd, stretch(20000)));
	check_int(beam_message_reply(request, "x", 1, 0, soon()), -ECONNRESET);
	beam_message_free(request);
	beam_topic_unref(topic);
	beam_channel_unref(channel);
	check_int(process_wait(child), 128 + SIGKILL);
}

static void test_a_channel_that_a_loop_runs_shows_it_when_it_is_dispatched(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_message *request;
	beam_call *call;
	int fd;

	options.loop = 1;
	ends_open(&ends, &options);
	call = begin_call();
	request = take_request_of(ends.topic[1]);
	fd = beam_message_cancelled_fd(request);
	check(fd >= 0);
	beam_call_unref(call);
	check_within(20000, beam_channel_dispatch(ends.channel[1], POLLIN) == 1 && shows(fd));
	beam_message_free(request);
	ends_close(&ends);
}

/* ---- Room to reply --------------------------------------------------------------------------- */

static void test_room_to_reply_shows_exactly_while_there_is_some(void)
{
	beam_message *request, *one = NULL;
	beam_call *call;
	int fd, r;

	ends_open(&ends, NULL);
	call = begin_call();
	request = take_request_of(ends.topic[1]);
	fd = beam_message_reply_fd(request);
	check_int(beam_message_reply_fd(request), fd);
	check(shows(fd));
	for (int round = 0; round < 3; round++) {
		int n = 0;

		while ((r = reply(request, 32000, BEAM_REPLY_MORE)) == 0)
			n++;
		while ((r = reply(request, 1, BEAM_REPLY_MORE)) == 0)
			n++;
		check_int(r, -EAGAIN);
		check(n > 1);
		check(!shows(fd));
		while (n--) {
			check_int(beam_call_receive(call, &one, 0, soon()), 1);
			beam_message_free(one);
		}
		check(polls(fd, stretch(20000)));
		check_int(reply(request, 4096, BEAM_REPLY_MORE), 0);
		check_int(beam_call_receive(call, &one, 0, soon()), 1);
		beam_message_free(one);
	}
	/* The descriptor is readable if a reply would fail at once. */
	while ((r = reply(request, 4096, BEAM_REPLY_MORE)) == 0)
		;
	check(!shows(fd));
	beam_call_unref(call);
	check(polls(fd, stretch(20000)));
	check_int(reply(request, 1, BEAM_REPLY_MORE), -ECANCELED);
	beam_message_free(request);
	check(!fd_open(fd));
	ends_close(&ends);
}

static void test_a_call_that_has_been_answered_is_not_cancelled_and_a_further_reply_fails_at_once(void)
{
	beam_message *request, *one = NULL;
	int cancelled, room;
	beam_call *call;

	ends_open(&ends, NULL);
	call = begin_call();
	request = take_request_of(ends.topic[1]);
	cancelled = beam_message_cancelled_fd(request);
	room = beam_message_reply_fd(request);
	check_int(reply(request, 5, 0), 0);
	check_int(beam_call_receive(call, &one, 0, soon()), 1);
	beam_message_free(one);
	beam_call_unref(call);
	/* Another call with the same id arrives and is cancelled. */
	call = begin_call();
	one = take_request_of(ends.topic[1]);
	beam_call_unref(call);
	check(polls(beam_message_cancelled_fd(one), stretch(20000)));
	beam_message_free(one);
	check(!shows(cancelled));
	check(shows(room));
	check_int(reply(request, 5, 0), -EALREADY);
	/* The end of the channel is shown nevertheless. */
	check_int(beam_channel_close(ends.channel[0], soon()), 0);
	check(polls(cancelled, stretch(20000)));
	beam_message_free(request);
	ends_close(&ends);
}

static const struct test tests[] = {
    TEST(test_a_callee_that_only_polls_notices_that_its_call_was_cancelled),
    TEST(test_what_was_cancelled_before_the_descriptor_was_asked_for_shows),
    TEST(test_the_other_calls_go_on),
    TEST(test_the_death_of_a_caller_shows),
    TEST(test_a_channel_that_a_loop_runs_shows_it_when_it_is_dispatched),
    TEST(test_room_to_reply_shows_exactly_while_there_is_some),
    TEST(test_a_call_that_has_been_answered_is_not_cancelled_and_a_further_reply_fails_at_once),
};

HARNESS_MAIN("public/callee", tests)
