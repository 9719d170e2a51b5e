/* SPDX-License-Identifier: MIT */
/* Selectors report ready members in turn, while members are added and removed. */
#include <fcntl.h>
#include <poll.h>
#include <public/ends.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

enum { MEMBERS = 5 };

static struct ends ends[MEMBERS];
static beam_select *selector;

static void open_all(void)
{
	require_int(beam_select_new(&selector), 0);
	for (int i = 0; i < MEMBERS; i++)
		ends_open(&ends[i], NULL);
}

static void close_all(void)
{
	selector = beam_select_unref(selector);
	for (int i = 0; i < MEMBERS; i++)
		ends_close(&ends[i]);
}

static void add(int i)
{
	check_int(beam_select_add_topic(selector, ends[i].topic[1], BEAM_SELECT_RECEIVE, &ends[i]), 0);
}

/* Returns the index of the member that is ready, or -1. */
static int wait_for_one(beam_deadline deadline)
{
	struct beam_select_ready ready;

	if (beam_select_wait(selector, &ready, 1, deadline) != 1)
		return -1;
	check_int(ready.what, BEAM_SELECT_RECEIVE);
	return (int)((struct ends *)ready.tag - ends);
}

static bool shows(void)
{
	struct pollfd item = {.fd = beam_select_fd(selector), .events = POLLIN};

	return poll(&item, 1, 0) == 1;
}

static void expect_error(beam_select *select, beam_channel *channel, beam_topic *topic, int error)
{
	struct beam_select_ready ready;

	check_int(beam_select_add_topic(select, topic, BEAM_SELECT_RECEIVE, NULL), error);
	check_int(beam_select_add_channel(select, channel, NULL), error);
	check_int(beam_select_remove_topic(select, topic, BEAM_SELECT_RECEIVE), error);
	check_int(beam_select_remove_channel(select, channel), error);
	check_int(beam_select_add_call(select, NULL, NULL), error);
	check_int(beam_select_remove_call(select, NULL), error);
	if (select && error == -EINVAL)
		return;
	check_int(beam_select_add_fd(select, 0, POLLIN, NULL), error);
	check_int(beam_select_remove_fd(select, 0), error);
	check_int(beam_select_wait(select, &ready, 1, BEAM_FOREVER), error);
	check_int(beam_select_fd(select), error);
}

static int ask_in_child(void *unused)
{
	(void)unused;
	expect_error(selector, ends[0].channel[0], ends[0].topic[0], -ECHILD);
	check(beam_select_unref(beam_select_ref(selector)) == NULL);
	return 0;
}

static void test_bad_input_gives_an_error(void)
{
	struct beam_select_ready ready;
	char folder[] = "/tmp";
	int directory;

	check_int(beam_select_new(NULL), -EINVAL);
	check(beam_select_unref(NULL) == NULL);
	check(beam_select_ref(NULL) == NULL);
	open_all();
	expect_error(NULL, ends[0].channel[0], ends[0].topic[0], -EINVAL);
	expect_error(selector, NULL, NULL, -EINVAL);
	check_int(beam_select_add_topic(selector, ends[0].topic[0], 0, NULL), -EINVAL);
	check_int(beam_select_add_topic(selector, ends[0].topic[0], BEAM_SELECT_ACCEPT, NULL), -EINVAL);
	check_int(beam_select_remove_topic(selector, ends[0].topic[0], BEAM_SELECT_FD), -EINVAL);
	check_int(beam_select_wait(selector, NULL, 1, BEAM_NOWAIT), -EINVAL);
	check_int(beam_select_wait(selector, &ready, 0, BEAM_NOWAIT), -EINVAL);
	check_int(beam_select_add_fd(selector, -1, POLLIN, NULL), -EBADF);
	check_int(beam_select_add_fd(selector, 1000, POLLIN, NULL), -EBADF);
	check_int(beam_select_remove_fd(selector, -1), -EINVAL);
	check_int(beam_select_remove_fd(selector, 100000), -ENOENT);
	directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	check_int(beam_select_add_fd(selector, directory, POLLIN, NULL), -EPERM);
	close(directory);
	check_int(process_wait(process_spawn(ask_in_child, NULL)), 0);
	close_all();
}

static void test_a_selector_lasts_until_its_last_handle_is_released(void)
{
	open_all();
	add(0);
	check(beam_select_ref(selector) == selector);
	check(beam_select_unref(selector) == NULL);
	send_text(ends[0].topic[0], "one");
	check_int(wait_for_one(soon()), 0);
	close_all();
}

static void test_without_members_or_with_none_ready_it_waits_until_the_deadline(void)
{
	struct beam_select_ready ready;

	open_all();
	check_int(beam_select_wait(selector, &ready, 1, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_select_wait(selector, &ready, 1, beam_in_ms(1)), -ETIMEDOUT);
	add(0);
	check_int(beam_select_wait(selector, &ready, 1, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_select_wait(selector, &ready, 1, beam_in_ms(1)), -ETIMEDOUT);
	check(!shows());
	close_all();
}

static void test_a_member_is_told_until_its_messages_are_taken(void)
{
	open_all();
	for (int i = 0; i < MEMBERS; i++)
		add(i);
	send_text(ends[3].topic[0], "one");
	check_int(wait_for_one(soon()), 3);
	check_int(wait_for_one(BEAM_NOWAIT), 3);
	check(shows());
	expect_text(ends[3].topic[1], "one");
	check_int(wait_for_one(BEAM_NOWAIT), -1);
	check(!shows());
	close_all();
}

static void test_what_is_ready_when_it_is_added_shows(void)
{
	open_all();
	send_text(ends[0].topic[0], "one");
	send_text(ends[0].topic[0], "two");
	expect_text(ends[0].topic[1], "one");
	add(0);
	check_int(wait_for_one(soon()), 0);
	close_all();
}

static void test_a_member_is_added_once_and_no_more_told_when_it_is_removed(void)
{
	beam_topic *topic;

	open_all();
	topic = ends[0].topic[1];
	add(0);
	check_int(beam_select_add_topic(selector, topic, BEAM_SELECT_RECEIVE, NULL), -EEXIST);
	/* If one of the two cannot be added, neither is. */
	check_int(beam_select_add_topic(selector, topic, BEAM_SELECT_RECEIVE | BEAM_SELECT_SEND, NULL), -EEXIST);
	check_int(beam_select_remove_topic(selector, topic, BEAM_SELECT_SEND), -ENOENT);
	send_text(ends[0].topic[0], "one");
	check_int(wait_for_one(soon()), 0);
	check_int(beam_select_remove_topic(selector, topic, BEAM_SELECT_RECEIVE), 0);
	check_int(beam_select_remove_topic(selector, topic, BEAM_SELECT_RECEIVE), -ENOENT);
	check_int(wait_for_one(BEAM_NOWAIT), -1);
	add(0);
	check_int(wait_for_one(BEAM_NOWAIT), 0);
	close_all();
}

static void test_room_to_send_is_told_apart_from_messages(void)
{
	struct beam_select_ready ready[4];
	unsigned seen = 0;

	open_all();
	check_int(beam_select_add_topic(selector, ends[0].topic[1], BEAM_SELECT_RECEIVE | BEAM_SELECT_SEND, &ends[0]),
		  0);
	check_int(beam_select_wait(selector, ready, 4, soon()), 1);
	check_int(ready[0].what, BEAM_SELECT_SEND);
	send_text(ends[0].topic[0], "one");
	check_within(20000, beam_select_wait(selector, ready, 4, BEAM_NOWAIT) == 2);
	for (int i = 0; i < 2; i++) {
		check(ready[i].tag == &ends[0]);
		seen |= ready[i].what;
	}
	check_int(seen, BEAM_SELECT_RECEIVE | BEAM_SELECT_SEND);
	check_int(beam_select_remove_topic(selector, ends[0].topic[1], BEAM_SELECT_RECEIVE | BEAM_SELECT_SEND), 0);
	check(!shows());
	close_all();
}

static void test_a_channel_is_ready_for_the_topics_that_the_other_side_opens(void)
{
	beam_topic *opened, *accepted;
	struct beam_select_ready ready;

	open_all();
	check_int(beam_select_add_channel(selector, ends[0].channel[1], &ends[0]), 0);
	check_int(beam_select_add_channel(selector, ends[0].channel[1], &ends[0]), -EEXIST);
	require_int(beam_topic_open(&opened, ends[0].channel[0], "opened"), 0);
	check_int(beam_select_wait(selector, &ready, 1, soon()), 1);
	check_int(ready.what, BEAM_SELECT_ACCEPT);
	check(ready.tag == &ends[0]);
	check_int(beam_channel_accept(ends[0].channel[1], &accepted, BEAM_NOWAIT), 1);
	check(!shows());
	beam_topic_unref(accepted);
	beam_topic_unref(opened);
	check_int(beam_select_remove_channel(selector, ends[0].channel[1]), 0);
	check_int(beam_select_remove_channel(selector, ends[0].channel[1]), -ENOENT);
	close_all();
}

static void test_a_call_is_ready_when_its_reply_has_come(void)
{
	beam_message *request, *reply;
	struct beam_select_ready ready;
	beam_call *call;

	open_all();
	require_int(beam_call_begin(&call, ends[0].topic[0], NULL, 0, NULL, 0, 0, soon()), 0);
	check_int(beam_select_add_call(selector, call, &ends[0]), 0);
	check_int(beam_select_add_call(selector, call, &ends[0]), -EEXIST);
	check_int(beam_select_wait(selector, &ready, 1, BEAM_NOWAIT), -EAGAIN);
	require_int(beam_topic_receive(ends[0].topic[1], &request, 0, soon()), 1);
	check_int(beam_message_reply(request, "reply", 5, 0, soon()), 0);
	beam_message_free(request);
	check_int(beam_select_wait(selector, &ready, 1, soon()), 1);
	check_int(ready.what, BEAM_SELECT_REPLY);
	check(ready.tag == &ends[0]);
	require_int(beam_call_receive(call, &reply, 0, BEAM_NOWAIT), 1);
	beam_message_free(reply);
	check_int(beam_select_remove_call(selector, call), 0);
	check_int(beam_select_remove_call(selector, call), -ENOENT);
	/* Releasing the selector releases the call, too. */
	check_int(beam_select_add_call(selector, call, NULL), 0);
	beam_call_unref(call);
	close_all();
}

static void test_plain_descriptors_and_other_selectors_are_members_too(void)
{
	struct beam_select_ready ready;
	beam_select *outer;
	int pipe_fds[2];

	open_all();
	require_int(beam_select_new(&outer), 0);
	require_int(pipe(pipe_fds), 0);
	check_int(beam_select_add_fd(outer, beam_select_fd(selector), POLLIN, selector), 0);
	check_int(beam_select_add_fd(selector, beam_select_fd(outer), POLLIN, NULL), -ELOOP);
	check_int(beam_select_add_fd(selector, pipe_fds[0], POLLIN, pipe_fds), 0);
	check_int(beam_select_add_fd(selector, pipe_fds[0], POLLIN, pipe_fds), -EEXIST);
	check_int(beam_select_wait(outer, &ready, 1, BEAM_NOWAIT), -EAGAIN);
	close(pipe_fds[1]);
	check_int(beam_select_wait(outer, &ready, 1, soon()), 1);
	check(ready.tag == selector);
	check_int(beam_select_wait(selector, &ready, 1, BEAM_NOWAIT), 1);
	check(ready.tag == pipe_fds);
	check_int(ready.what, BEAM_SELECT_FD);
	check_int(ready.events, POLLHUP);
	check_int(beam_select_remove_fd(selector, pipe_fds[0]), 0);
	check_int(beam_select_remove_fd(selector, pipe_fds[0]), -ENOENT);
	/* A descriptor that was closed before it is removed is removed nevertheless. */
	check_int(beam_select_add_fd(selector, pipe_fds[0], POLLIN, pipe_fds), 0);
	close(pipe_fds[0]);
	check_int(beam_select_remove_fd(selector, pipe_fds[0]), 0);
	beam_select_unref(outer);
	close_all();
}

/*
 * However large the array is, a wait reports only so many members that the others are soon
 * reported, too.
 */
static void test_more_than_can_be_told_at_once_are_told_in_turn(void)
{
	enum { MANY = 100 };
	struct beam_select_ready ready[MANY];
	unsigned told[MANY] = {0};
	int fds[MANY];

	require_int(beam_select_new(&selector), 0);
	for (int i = 0; i < MANY; i++) {
		fds[i] = eventfd(1, EFD_CLOEXEC);
		require_int(beam_select_add_fd(selector, fds[i], POLLIN, &told[i]), 0);
	}
	for (int sum = 0; sum < 2 * MANY;) {
		ssize_t n = beam_select_wait(selector, ready, MANY, BEAM_NOWAIT);

		require(n > 0 && n <= MANY);
		for (ssize_t i = 0; i < n; i++) {
			/* No member is reported twice before all have been reported. */
			check_int(*(unsigned *)ready[i].tag, sum++ / MANY);
			++*(unsigned *)ready[i].tag;
		}
	}
	selector = beam_select_unref(selector);
	for (int i = 0; i < MANY; i++)
		close(fds[i]);
}

/* All members are always ready. None is reported twice before all have been reported. */
static void test_members_that_stay_ready_are_told_in_turn(void)
{
	open_all();
	for (int i = 0; i < MEMBERS; i++) {
		add(i);
		send_text(ends[i].topic[0], "stays");
	}
	for (int i = 0; i < MEMBERS; i++) {
		struct pollfd item = {.fd = beam_topic_receive_fd(ends[i].topic[1]), .events = POLLIN};

		check_int(poll(&item, 1, stretch(20000)), 1);
	}
	for (int turn = 0; turn < 100; turn++) {
		unsigned told = 0;

		for (int i = 0; i < MEMBERS; i++)
			told |= 1u << wait_for_one(BEAM_NOWAIT);
		if (!check_int(told, (1u << MEMBERS) - 1))
			break;
	}
	close_all();
}

static atomic_bool enough;

static void *flood(void *topic)
{
	while (!enough && beam_topic_send(topic, "flood", 5, 0, soon()) == 0)
		;
	return NULL;
}

static void test_a_quiet_member_is_not_starved_by_busy_ones(void)
{
	pthread_t floods[MEMBERS - 1];
	size_t quiet = 0;

	open_all();
	enough = false;
	for (int i = 0; i < MEMBERS; i++)
		add(i);
	for (int i = 1; i < MEMBERS; i++)
		floods[i - 1] = thread_spawn(flood, ends[i].topic[0]);
	for (size_t round = 0; round < scale(1000); round++) {
		struct pollfd item = {.fd = beam_topic_receive_fd(ends[0].topic[1]), .events = POLLIN};
		int waits = 0, told = -1;
		beam_message *message;

		send_text(ends[0].topic[0], "quiet");
		check_int(poll(&item, 1, stretch(20000)), 1);
		/*
		 * The quiet member is ready. From now on each of the others may be reported at most
		 * once before it.
		 */
		while (told != 0 && waits++ < 2 * MEMBERS) {
			told = wait_for_one(soon());
			if (told >= 0 && beam_topic_receive(ends[told].topic[1], &message, 0, BEAM_NOWAIT) == 1)
				beam_message_free(message);
		}
		if (!check_int(told, 0) || !check(waits <= MEMBERS))
			break;
		quiet++;
	}
	check_int(quiet, scale(1000));
	enough = true;
	for (int i = 1; i < MEMBERS; i++)
		beam_topic_close_receive(ends[i].topic[1]);
	for (int i = 1; i < MEMBERS; i++)
		thread_wait(floods[i - 1]);
	close_all();
}

static void *wait_in_thread(void *unused)
{
	(void)unused;
	return (void *)(intptr_t)wait_for_one(soon());
}

static void test_a_member_that_is_added_wakes_a_thread_that_waits(void)
{
	pthread_t thread;

	open_all();
	add(0);
	thread = thread_spawn(wait_in_thread, NULL);
	send_text(ends[1].topic[0], "one");
	add(1);
	check_int((intptr_t)thread_wait(thread), 1);
	close_all();
}

static void *come_and_go(void *unused)
{
	struct rng rng = rng_new(7);

	(void)unused;
	while (!enough) {
		int i = (int)rng_below(&rng, MEMBERS);

		if (beam_select_remove_topic(selector, ends[i].topic[1], BEAM_SELECT_RECEIVE) < 0)
			add(i);
	}
	for (int i = 0; i < MEMBERS; i++)
		require(beam_select_add_topic(selector, ends[i].topic[1], BEAM_SELECT_RECEIVE, &ends[i]) != -ENOMEM);
	return NULL;
}

static atomic_ullong received;

static void *receive_what_is_ready(void *unused)
{
	beam_message *message;
	int i;

	(void)unused;
	while (received < MEMBERS * scale(2000)) {
		i = wait_for_one(beam_in_ms(20));
		while (i >= 0 && beam_topic_receive(ends[i].topic[1], &message, 0, BEAM_NOWAIT) == 1) {
			beam_message_free(message);
			received++;
		}
	}
	return NULL;
}

static void test_members_come_and_go_while_threads_wait_and_no_message_is_missed(void)
{
	pthread_t waiting[2], moving;

	open_all();
	enough = false;
	received = 0;
	for (int i = 0; i < 2; i++)
		waiting[i] = thread_spawn(receive_what_is_ready, NULL);
	moving = thread_spawn(come_and_go, NULL);
	for (uint64_t n = 0; n < scale(2000); n++)
		for (int i = 0; i < MEMBERS; i++)
			send_number(ends[i].topic[0], n);
	enough = true;
	thread_wait(moving);
	for (int i = 0; i < 2; i++)
		thread_wait(waiting[i]);
	check_int(received, MEMBERS * scale(2000));
	close_all();
}

static void test_a_member_keeps_its_topic_and_channel_open_until_it_is_removed(void)
{
	beam_topic *topic;

	open_all();
	add(0);
	topic = ends[0].topic[1];
	beam_topic_unref(topic);
	send_text(ends[0].topic[0], "still open");
	check_int(wait_for_one(soon()), 0);
	beam_topic_ref(topic);
	expect_text(topic, "still open");
	close_all();
}

static const struct test tests[] = {
    TEST(test_bad_input_gives_an_error),
    TEST(test_a_selector_lasts_until_its_last_handle_is_released),
    TEST(test_without_members_or_with_none_ready_it_waits_until_the_deadline),
    TEST(test_a_member_is_told_until_its_messages_are_taken),
    TEST(test_what_is_ready_when_it_is_added_shows),
    TEST(test_a_member_is_added_once_and_no_more_told_when_it_is_removed),
    TEST(test_room_to_send_is_told_apart_from_messages),
    TEST(test_a_channel_is_ready_for_the_topics_that_the_other_side_opens),
    TEST(test_a_call_is_ready_when_its_reply_has_come),
    TEST(test_plain_descriptors_and_other_selectors_are_members_too),
    TEST(test_members_that_stay_ready_are_told_in_turn),
    TEST(test_more_than_can_be_told_at_once_are_told_in_turn),
    TEST(test_a_quiet_member_is_not_starved_by_busy_ones),
    TEST(test_a_member_that_is_added_wakes_a_thread_that_waits),
    TEST(test_members_come_and_go_while_threads_wait_and_no_message_is_missed),
    TEST(test_a_member_keeps_its_topic_and_channel_open_until_it_is_removed),
};

HARNESS_MAIN("public/select", tests)
