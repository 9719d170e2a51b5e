/* SPDX-License-Identifier: MIT */
/*
 * Forks: a child cannot use the channels of its parent, is not affected by them, and keeps none of
 * their descriptors open. It can make channels of its own. The parent is not affected.
 */
#include <fcntl.h>
#include <poll.h>
#include <public/forking.h>
#include <spawn.h>
#include <stdatomic.h>

static void in_child(int (*run)(void *argument))
{
	all_open();
	check_int(process_wait(process_spawn(run, NULL)), 0);
	goes_on();
	all_close();
}

/* ---- What the child cannot do ---------------------------------------------------------------- */

static int child_calls_everything(void *argument)
{
	struct beam_send_item item = {"x", 1, NULL, 0};
	struct iovec iov = {(char[]){"x"}, 1};
	struct beam_statistics statistics;
	beam_message *message = NULL, *mine = NULL;
	beam_channel *channel = ends.channel[0];
	beam_topic *topic = ends.topic[0], *other = NULL;
	struct beam_limits limits;
	struct beam_peer peer;
	int64_t begin = now_ns();
	size_t size;

	(void)argument;
	require_int(beam_message_new(&mine, "mine", 4), 0);
	check_int(beam_channel_close(channel, BEAM_FOREVER), -ECHILD);
	check_int(beam_channel_abort(channel), -ECHILD);
	check_int(beam_channel_flush(channel, BEAM_FOREVER), -ECHILD);
	check_int(beam_channel_peer(channel, &peer), -ECHILD);
	check_int(beam_channel_peer_pidfd(channel), -ECHILD);
	check_int(beam_channel_limits(channel, &limits, sizeof limits, BEAM_FOREVER), -ECHILD);
	check_int(beam_channel_accept(channel, &other, BEAM_FOREVER), -ECHILD);
	check_int(beam_channel_statistics(channel, &statistics, sizeof statistics), -ECHILD);
	check_int(beam_channel_losses(channel, &(struct beam_losses){0}, sizeof(struct beam_losses)), -ECHILD);
	check_int(beam_topic_open(&other, channel, "other"), -ECHILD);
	check_int(beam_topic_open(&other, channel, "topic"), -ECHILD);
	check_int(beam_topic_send(topic, "x", 1, 0, BEAM_FOREVER), -ECHILD);
	check_int(beam_topic_sendv(topic, &iov, 1, NULL, 0, 0, BEAM_FOREVER), -ECHILD);
	check_int(beam_topic_send_message(topic, mine, 0, BEAM_FOREVER), -ECHILD);
	check_int(beam_topic_send_many(topic, &item, 1, 0, BEAM_FOREVER), -ECHILD);
	check_int(beam_topic_receive(topic, &message, 0, BEAM_FOREVER), -ECHILD);
	check_int(beam_topic_receive_many(topic, &message, 1, 0, BEAM_FOREVER), -ECHILD);
	check_int(beam_topic_receive_into(topic, NULL, 0, &size, NULL, 0, NULL, 0, BEAM_FOREVER), -ECHILD);
	check_int(beam_topic_close_send(topic), -ECHILD);
	check_int(beam_topic_close_receive(topic), -ECHILD);
	check_int(beam_topic_refuse(topic), -ECHILD);
	check_int(beam_topic_statistics(topic, &statistics, sizeof statistics), -ECHILD);
	check_int(beam_topic_losses(topic, &(struct beam_losses){0}, sizeof(struct beam_losses)), -ECHILD);
	check(beam_channel_breach(channel) == NULL);
	/* None of the calls waits. */
	check(now_ns() - begin < stretch(20000) * INT64_C(1000000));
	check(other == NULL && message == NULL);
	check_bytes(beam_message_data(mine), "mine", 4);
	beam_message_free(mine);
	return 0;
}

static void test_every_call_on_the_parents_channel_gives_echild_at_once(void)
{
	in_child(child_calls_everything);
}

static int child_releases_everything(void *argument)
{
	(void)argument;
	check(beam_channel_ref(ends.channel[0]) == ends.channel[0]);
	check(beam_topic_ref(ends.topic[0]) == ends.topic[0]);
	check(beam_topic_name(ends.topic[0]) != NULL);
	for (int i = 0; i < 2; i++) {
		check(beam_topic_unref(ends.topic[i]) == NULL);
		check(beam_channel_unref(ends.channel[i]) == NULL);
	}
	/* Messages consist of memory and descriptors. The child has copies of both. */
	check_int(raw_inode(beam_message_peek_fd(held, 0)), raw_inode(file));
	check_bytes(beam_message_data(held), "well", 4);
	beam_message_free(held);
	return 0;
}

static void test_releasing_in_the_child_does_nothing_to_the_parent(void)
{
	needs_threads_in_children();
	in_child(child_releases_everything);
}

/* ---- Descriptors ----------------------------------------------------------------------------- */

static int child_looks_at_descriptors(void *argument)
{
	(void)argument;
	beam_message_free(held);
	check_fds(&before);
	return 0;
}

/* Counts the descriptors of the file that the tests send. */
static size_t files_open(void)
{
	struct fd_snapshot now;
	size_t n = 0;

	fd_snapshot_take(&now);
	for (size_t i = 0; i < now.n; i++)
		n += strncmp(now.entries[i].link, "/memfd:", 7) == 0;
	return n;
}

static void test_the_librarys_descriptors_are_closed_in_the_child(void)
{
	needs_threads_in_children();
	if (under_valgrind())
		skip("Valgrind's own descriptors change at a fork");
	all_open();
	/*
	 * This program's, and that of the held message. A duplicate that was sent is closed soon.
	 */
	check_within(20000, files_open() == 2);
	check_int(process_wait(process_spawn(child_looks_at_descriptors, NULL)), 0);
	goes_on();
	all_close();
}

static int child_waits(void *argument)
{
	char byte;

	return (int)read(*(int *)argument, &byte, 1);
}

static void test_a_child_does_not_keep_the_parents_connection_open(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_channel *channel = NULL;
	int fds[2], wait[2];
	struct pollfd ended;
	pid_t child;

	require_int(pipe2(wait, O_CLOEXEC), 0);
	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	/* Stop waiting for the other side's GOODBYE soon. */
	options.linger_ms = 100;
	require_int(beam_channel_from_fd(&channel, fds[0], &options), 0);
	child = process_spawn(child_waits, &wait[0]);
	beam_channel_unref(channel);
	/* The other side sees the end although the child is still running. */
	ended = (struct pollfd){.fd = fds[1], .events = POLLRDHUP};
	check_int(poll(&ended, 1, stretch(20000)), 1);
	check(ended.revents & POLLRDHUP);
	check_int(write(wait[1], "x", 1), 1);
	check_int(process_wait(child), 1);
	close(wait[0]);
	close(wait[1]);
	close(fds[1]);
}

/* The number of descriptors that a program has when it is executed now. */
static int inherited_descriptors(void)
{
	char *const arguments[] = {(char[]){"sh"}, (char[]){"-c"}, (char[]){"set -- /proc/self/fd/*; exit $#"}, NULL};
	pid_t child;

	check_int(posix_spawn(&child, "/bin/sh", NULL, NULL, arguments, environ), 0);
	return process_wait(child);
}

static void test_a_program_that_is_executed_inherits_none(void)
{
	int inherited = inherited_descriptors();

	all_open();
	check_int(inherited_descriptors(), inherited);
	goes_on();
	all_close();
}

/* ---- The child's own channels ---------------------------------------------------------------- */

static void test_the_child_can_make_channels_of_its_own(void)
{
	needs_threads_in_children();
	in_child(child_makes_channels);
}

static int child_forks_again(void *argument)
{
	(void)argument;
	all_open();
	check_int(process_wait(process_spawn(child_calls_everything, NULL)), 0);
	check_int(process_wait(process_spawn(child_makes_channels, NULL)), 0);
	goes_on();
	all_close();
	return 0;
}

static void test_the_childs_child_is_treated_like_a_child(void)
{
	needs_threads_in_children();
	in_child(child_forks_again);
}

/* ---- Storms ---------------------------------------------------------------------------------- */

static atomic_bool forking;

/* Uses the library intensively until there are no more forks. */
static void *use_always(void *argument)
{
	beam_message *message = NULL;

	(void)argument;
	while (atomic_load(&forking)) {
		check_int(beam_topic_send(ends.topic[0], "word", 4, 0, soon()), 0);
		if (!check_int(beam_topic_receive(ends.topic[1], &message, 0, soon()), 1))
			break;
		beam_message_free(message);
	}
	return NULL;
}

static int child_of_the_storm(void *argument)
{
	struct ends parents = ends;

	(void)argument;
	check_int(beam_topic_send(parents.topic[0], "x", 1, 0, BEAM_FOREVER), -ECHILD);
	beam_topic_unref(parents.topic[0]);
	beam_channel_unref(parents.channel[0]);
	/* No lock of the library is held, even if another thread held it at the fork. */
	all_open();
	goes_on();
	all_close();
	return 0;
}

static void test_forks_in_the_midst_of_everything_leave_both_sides_whole(void)
{
	pthread_t thread;

	needs_threads_in_children();
	needs_memory_in_children();
	all_open();
	atomic_store(&forking, true);
	thread = thread_spawn(use_always, NULL);
	for (size_t i = 0; i < scale(100) + 2; i++)
		check_int(process_wait(process_spawn(child_of_the_storm, NULL)), 0);
	atomic_store(&forking, false);
	thread_wait(thread);
	goes_on();
	all_close();
}

static void test_programs_executed_in_the_midst_of_everything_leave_the_parent_whole(void)
{
	char *const arguments[] = {(char[]){"true"}, NULL};
	pthread_t thread;
	pid_t child;

	all_open();
	atomic_store(&forking, true);
	thread = thread_spawn(use_always, NULL);
	for (size_t i = 0; i < scale(100) + 2; i++) {
		check_int(posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ), 0);
		check_int(process_wait(child), 0);
	}
	atomic_store(&forking, false);
	thread_wait(thread);
	goes_on();
	all_close();
}

static const struct test tests[] = {
    TEST(test_every_call_on_the_parents_channel_gives_echild_at_once),
    TEST(test_releasing_in_the_child_does_nothing_to_the_parent),
    TEST(test_the_librarys_descriptors_are_closed_in_the_child),
    TEST(test_a_child_does_not_keep_the_parents_connection_open),
    TEST(test_a_program_that_is_executed_inherits_none),
    TEST(test_the_child_can_make_channels_of_its_own),
    TEST(test_the_childs_child_is_treated_like_a_child),
    TEST(test_forks_in_the_midst_of_everything_leave_both_sides_whole),
    TEST(test_programs_executed_in_the_midst_of_everything_leave_the_parent_whole),
};

HARNESS_MAIN("public/fork", tests)
