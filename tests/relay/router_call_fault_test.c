/* SPDX-License-Identifier: MIT */
/* Calls that a router forwards while something fails: each is answered, handed back or dropped. */
#include <kernel/raw.h>
#include <poll.h>
#include <relay/scene.h>
#include <sys/resource.h>

enum { CALLS = 4 };

static void begin_calls(struct scene *scene)
{
	begin(scene);
	add(scene->router, (struct beam_route){.topic = scene->out.topic[0]});
	require_int(beam_router_add_topic(scene->router, scene->in.topic[1], &tag), 0);
}

static beam_call *call_with(struct scene *scene, const int *fds, size_t n)
{
	struct iovec iov = {"question", 8};
	beam_call *call = NULL;

	require_int(beam_call_begin(&call, scene->in.topic[0], &iov, 1, fds, n, 0, soon()), 0);
	return call;
}

static beam_message *take(struct scene *scene)
{
	beam_message *request = NULL;

	run_until(scene, scene->out.topic[1]);
	require_int(beam_topic_receive(scene->out.topic[1], &request, 0, soon()), 1);
	check(beam_message_is_call(request));
	return request;
}

static int receive_now(beam_call *call)
{
	beam_message *reply = NULL;
	int r = beam_call_receive(call, &reply, 0, BEAM_NOWAIT);

	if (r == 1)
		beam_message_free(reply);
	return r;
}

/* The call's next result, whenever it comes, is this. */
static void expect_from(struct scene *scene, beam_call *call, int result)
{
	int r = -EAGAIN;

	check_within(20000, (r = receive_now(call)) != -EAGAIN || !run_for_a_moment(scene));
	check_int(r, result);
}

/*
 * Waits until everything that was sent has arrived, in both directions, so that the calls of the
 * channels' threads do not fail.
 */
static void settle(struct ends *ends)
{
	for (int i = 0; i < 2; i++) {
		send_text(ends->topic[i], "settled");
		expect_text(ends->topic[!i], "settled");
	}
}

static void test_a_call_for_which_there_is_no_memory_is_handed_back(void)
{
	/* Memory for the router's record of the call, then for the attachments. */
	for (unsigned long n = 1; n <= 2; n++) {
		struct beam_router_failure failure;
		struct scene scene;
		beam_call *call;

		begin_calls(&scene);
		settle(&scene.in);
		settle(&scene.out);
		call = call_with(&scene, NULL, 0);
		check_within(20000, queued(scene.in.topic[1]) == 1);
		fault_only(FAULT(SYS_CALLOC));
		fault_at(n, ENOMEM, FAULT_ONCE);
		check_int(beam_router_run(scene.router, &failure, 0, soon()), -ENOMEM);
		fault_off();
		require(failure.message && failure.topic);
		check(failure.tag == &tag && !failure.request);
		check(beam_message_is_call(failure.message));
		check_int(beam_message_reply(failure.message, "no", 2, 0, soon()), 0);
		beam_message_free(failure.message);
		beam_topic_unref(failure.topic);
		expect_from(&scene, call, 1);
		beam_call_unref(call);
		end(&scene);
	}
}

/* The router watches for the replies, for the end of the caller, and for room for a reply. */
static void test_calls_that_can_not_be_watched_for_a_moment_are_not_forgotten(void)
{
	static const char bulk[4000];

	for (unsigned long n = 1; n < 8; n++) {
		struct scene scene;
		beam_message *request;
		beam_call *call;
		int sent = 0, idle = 0;

		begin_calls(&scene);
		call = call_with(&scene, NULL, 0);
		fault_only(FAULT(SYS_EPOLL_CTL) | FAULT(SYS_EVENTFD));
		fault_at(n, ENOMEM, FAULT_ONCE);
		request = take(&scene);
		while (idle < 10 && !harness_failures()) {
			int r = beam_message_reply(request, bulk, sizeof bulk, BEAM_REPLY_MORE, BEAM_NOWAIT);

			sent += r == 0;
			idle = r == 0 ? 0 : idle + 1;
			if (r < 0)
				run_for_a_moment(&scene);
		}
		/* Whatever the router waits for, it waits only for that. */
		check_within(20000, turns_while_running(&scene, 200) < 20);
		for (int i = 0; i < sent; i++)
			expect_from(&scene, call, 1);
		check_within(20000, turns_while_running(&scene, 200) < 20);
		check_int(beam_message_reply(request, "end", 3, 0, soon()), 0);
		expect_from(&scene, call, 1);
		expect_from(&scene, call, 0);
		beam_message_free(request);
		beam_call_unref(call);
		end(&scene);
	}
}

static void test_calls_that_can_never_be_watched_are_looked_at_in_a_while(void)
{
	struct scene scene;
	beam_message *request;
	beam_call *call;

	begin_calls(&scene);
	call = call_with(&scene, NULL, 0);
	check_within(20000, queued(scene.in.topic[1]) == 1);
	run_for_a_moment(&scene);
	request = take(&scene);
	fault_only(FAULT(SYS_EPOLL_CTL));
	fault_at(1, ENOMEM, FAULT_STICKY);
	for (int i = 0; i < CALLS; i++) {
		check_int(beam_message_reply(request, "part", 4, BEAM_REPLY_MORE, soon()), 0);
		expect_from(&scene, call, 1);
	}
	check(fault_hit());
	fault_off();
	beam_message_free(request);
	expect_from(&scene, call, -EREMOTEIO);
	beam_call_unref(call);
	end(&scene);
}

/* All numbers below the next free one are in use, so no descriptor is free. */
static struct rlimit leave_no_descriptors(int file)
{
	struct rlimit before, few;
	int last = fcntl(file, F_DUPFD_CLOEXEC, 0);

	close(last);
	require_int(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = (rlim_t)last;
	require_int(setrlimit(RLIMIT_NOFILE, &few), 0);
	return before;
}

static void test_a_call_that_lost_an_attachment_is_handed_back(void)
{
	struct rlimit before;
	struct scene scene;
	beam_call *call;
	int file;

	if (under_valgrind())
		skip("Valgrind simulates RLIMIT_NOFILE");
	begin_calls(&scene);
	/* The caller has credit for the attachment. */
	for (int i = 0; i < 2; i++)
		settle(&scene.in);
	/* After this, everything that is opened only once is open. */
	send_text(scene.in.topic[0], "first");
	expect_routed(&scene, scene.out.topic[1], "first");
	file = raw_file();
	before = leave_no_descriptors(file);
	call = call_with(&scene, &file, 1);
	expect_failure(&scene, -ENOENT, "topic", "question");
	require_int(setrlimit(RLIMIT_NOFILE, &before), 0);
	expect_from(&scene, call, -EREMOTEIO);
	beam_call_unref(call);
	close(file);
	end(&scene);
}

static void test_a_reply_that_lost_an_attachment_is_handed_out_with_the_call(void)
{
	struct beam_router_failure failure;
	struct rlimit before;
	struct scene scene;
	beam_message *request;
	beam_call *call;
	int file;

	if (under_valgrind())
		skip("Valgrind simulates RLIMIT_NOFILE");
	begin_calls(&scene);
	/* The callee has credit for the attachment: it is granted for descriptors that are free. */
	for (int i = 0; i < 2; i++)
		settle(&scene.out);
	call = call_with(&scene, NULL, 0);
	request = take(&scene);
	file = raw_file();
	/* The router now waits for the reply. */
	run_for_a_moment(&scene);
	before = leave_no_descriptors(file);
	check_int(beam_message_replyv(request, NULL, 0, &file, 1, 0, soon()), 0);
	check_int(beam_router_run(scene.router, &failure, 0, soon()), -ENOENT);
	require_int(setrlimit(RLIMIT_NOFILE, &before), 0);
	require(failure.message && failure.request);
	check(!failure.topic && !failure.channel && !failure.tag);
	check_int(beam_message_attachments(failure.message), 1);
	beam_message_free(failure.message);
	beam_message_free(failure.request);
	expect_from(&scene, call, -EREMOTEIO);
	beam_message_free(request);
	beam_call_unref(call);
	close(file);
	end(&scene);
}

static const struct test tests[] = {
    TEST(test_a_call_for_which_there_is_no_memory_is_handed_back),
    TEST(test_calls_that_can_not_be_watched_for_a_moment_are_not_forgotten),
    TEST(test_calls_that_can_never_be_watched_are_looked_at_in_a_while),
    TEST(test_a_call_that_lost_an_attachment_is_handed_back),
    TEST(test_a_reply_that_lost_an_attachment_is_handed_out_with_the_call),
};
HARNESS_MAIN("relay-router_call_fault", tests)
