/* SPDX-License-Identifier: MIT */
/*
 * Selectors, while each call that can fail fails in turn. The channels exist before, and have
 * nothing to do.
 */
#include <base/thread.h>
#include <harness/fault.h>
#include <public/ends.h>

static struct ends ends;
static beam_message *request;

static void expect_none_for_it(long r)
{
	check(r == -EMFILE || r == -ENFILE || r == -ENOMEM || r == -ENOSPC);
}

static void select_one_of_all(void *unused)
{
	struct beam_select_ready ready;
	beam_select *select = NULL;
	long r = beam_select_new(&select);

	(void)unused;
	if (r < 0) {
		check(!select);
		expect_none_for_it(r);
		return;
	}
	r = beam_select_add_topic(select, ends.topic[1], BEAM_SELECT_RECEIVE | BEAM_SELECT_SEND, &ends);
	if (r < 0) {
		expect_none_for_it(r);
		/* Neither of the two was added. */
		check_int(beam_select_remove_topic(select, ends.topic[1], BEAM_SELECT_RECEIVE), -ENOENT);
	} else {
		check(beam_select_wait(select, &ready, 1, beam_in_ms(stretch(1))) == 1 || fault_hit());
	}
	r = beam_select_add_channel(select, ends.channel[1], &ends);
	if (r < 0)
		expect_none_for_it(r);
	else
		check_int(beam_select_remove_channel(select, ends.channel[1]), 0);
	r = beam_select_add_message(select, request, BEAM_SELECT_CANCELLED | BEAM_SELECT_SEND, &request);
	if (r < 0) {
		expect_none_for_it(r);
		check_int(beam_select_remove_message(select, request, BEAM_SELECT_CANCELLED), -ENOENT);
	}
	r = beam_select_add_fd(select, 0, 0, NULL);
	if (r < 0 && r != -EPERM)
		expect_none_for_it(r);
	beam_select_unref(select);
}

static void test_selecting(void)
{
	beam_call *call;

	ends_open(&ends, NULL);
	require_int(beam_call_begin(&call, ends.topic[0], NULL, 0, NULL, 0, 0, soon()), 0);
	require_int(beam_topic_receive(ends.topic[1], &request, 0, soon()), 1);
	/* Nothing is on its way any more. */
	for (int i = 0; i < 2; i++) {
		send_text(ends.topic[i], "quiet");
		expect_text(ends.topic[!i], "quiet");
	}
	/* Creates the descriptors of the topics and of the request, which stay. */
	select_one_of_all(NULL);
	/* Calls that the channels' threads make meanwhile, because it is time, must not fail. */
	check(fault_sweep_with(&(struct fault_sweep){
		  .scenario = select_one_of_all,
		  .only = FAULT(SYS_CALLOC) | FAULT(SYS_REALLOC) | FAULT(SYS_EPOLL_CREATE1) | FAULT(SYS_EPOLL_CTL),
	      }) >= 8);
	beam_message_free(request);
	beam_call_unref(call);
	ends_close(&ends);
}

static const struct test tests[] = {
    TEST(test_selecting),
};

HARNESS_MAIN("select/fault", tests)
