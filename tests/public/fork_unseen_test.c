/* SPDX-License-Identifier: MIT */
/*
 * Forks that call no fork handler, and children that close all descriptors. The parent is not
 * affected, and the child keeps the files that it opened afterwards.
 */
#include <public/forking.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- The child's own channels ---------------------------------------------------------------- */

/* Forks by the system call alone, so that no fork handler is called. */
static pid_t fork_unseen(void)
{
	fflush(NULL);
	return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

static void test_a_fork_without_handlers_is_noticed_too(void)
{
	beam_message *message = NULL;
	int status = -1;
	pid_t child;

	if (under_valgrind() || under_sanitizer())
		skip("a child made behind the C library's back confuses Valgrind and the sanitizers");
	all_open();
	child = fork_unseen();
	if (child == 0) {
		bool right = beam_topic_send(ends.topic[0], "x", 1, 0, BEAM_FOREVER) == -ECHILD &&
			     beam_topic_receive(ends.topic[0], &message, 0, BEAM_FOREVER) == -ECHILD &&
			     beam_channel_close(ends.channel[0], BEAM_FOREVER) == -ECHILD;

		beam_topic_unref(ends.topic[0]);
		beam_channel_unref(ends.channel[0]);
		_exit(right ? 0 : 1);
	}
	check_int(waitpid(child, &status, 0), child);
	check_int(status, 0);
	goes_on();
	all_close();
}

static void test_a_child_that_no_handler_saw_leaves_address_and_channels_to_its_parent_when_it_ends(void)
{
	struct spot spot;
	beam_listener *listener;
	beam_channel *channels[2];
	int status = -1;
	pid_t child;

	if (under_valgrind() || under_sanitizer())
		skip("a child made behind the C library's back confuses Valgrind and the sanitizers");
	spot_make(&spot);
	listener = listen_at(spot.path, NULL);
	meet(listener, spot.path, channels);
	child = fork_unseen();
	/* Exits as by returning from main(), including all that the library does at exit. */
	if (child == 0)
		exit(0);
	check_int(waitpid(child, &status, 0), child);
	check_int(status, 0);
	check(exists(spot.path) && exists(spot.lock));
	expect_connected(channels);
	part(channels);
	meet(listener, spot.path, channels);
	expect_connected(channels);
	part(channels);
	beam_listener_unref(listener);
	spot_end(&spot);
}

/* ---- The child's own files ------------------------------------------------------------------- */

/* At least as many as there may be descriptors of the parent, so that some get the same numbers. */
enum { FILES = 96 };

static struct {
	char folder[FOLDER_SIZE];
	FILE *files[FILES];
} own;

/* All other objects of the library that have descriptors. */
static struct {
	struct ends loop;
	beam_listener *listener;
	beam_select *select;
	beam_router *router;
	beam_call *call;
} all;

static void needs_own_files(void)
{
	needs_threads_in_children();
	if (under_valgrind() || under_sanitizer())
		skip("Valgrind and the sanitizers have descriptors and ends of processes of their own");
}

static void own_begin(void)
{
	folder_make(own.folder);
}

/*
 * Starts as a daemon does: closes all descriptors, and opens files of its own. What it writes to
 * them is buffered until it exits.
 */
static void own_open(void)
{
	char path[FOLDER_SIZE + 4];

	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	for (int i = 0; i < FILES; i++) {
		snprintf(path, sizeof path, "%s/%d", own.folder, i);
		own.files[i] = fopen(path, "we");
		require(own.files[i] != NULL);
		fprintf(own.files[i], "mine %d", i);
	}
}

/* The files contain what was written at exit, so none of them was closed by the library. */
static void own_end(void)
{
	char path[FOLDER_SIZE + 4], text[32], mine[32];
	size_t n;

	for (int i = 0; i < FILES; i++) {
		FILE *written;

		snprintf(path, sizeof path, "%s/%d", own.folder, i);
		snprintf(mine, sizeof mine, "mine %d", i);
		written = fopen(path, "re");
		require(written != NULL);
		n = fread(text, 1, sizeof text - 1, written);
		text[n] = '\0';
		check_string(text, mine);
		fclose(written);
		unlink(path);
	}
	check_int(rmdir(own.folder), 0);
}

static void all_else_open(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	char name[40];

	options.loop = 1;
	ends_open(&all.loop, &options);
	check(beam_channel_loop_nudge_fd(all.loop.channel[1]) >= 0);
	snprintf(name, sizeof name, "@beam-fork-%d", getpid());
	require_int(beam_listener_new(&all.listener, name, NULL), 0);
	check(beam_listener_accept_fd(all.listener) >= 0);
	require_int(beam_select_new(&all.select), 0);
	require_int(beam_router_new(&all.router), 0);
	require_int(beam_call_begin(&all.call, ends.topic[0], &(struct iovec){"call", 4}, 1, NULL, 0, 0, soon()), 0);
	require_int(beam_select_add_topic(all.select, ends.topic[0], BEAM_SELECT_RECEIVE | BEAM_SELECT_SEND, NULL), 0);
	require_int(beam_select_add_channel(all.select, ends.channel[1], NULL), 0);
	require_int(beam_select_add_call(all.select, all.call, NULL), 0);
}

static void all_else_release(void)
{
	beam_call_unref(all.call);
	beam_router_unref(all.router);
	beam_select_unref(all.select);
	beam_listener_unref(all.listener);
	ends_close(&all.loop);
}

static int child_closes_all_and_opens_its_own(void *argument)
{
	struct ends parents = ends;

	(void)argument;
	own_open();
	all_else_release();
	ends_close(&parents);
	/* The library is used again, including its reaper. */
	child_makes_channels(NULL);
	exit(harness_failures() ? 1 : 0);
}

static void test_a_child_that_closed_all_keeps_the_files_that_it_opened_then(void)
{
	needs_own_files();
	own_begin();
	all_open();
	all_else_open();
	/* The child must not touch descriptors that the reaper has not closed yet, either. */
	beam_message_free(held);
	held = NULL;
	check_int(process_wait(process_spawn(child_closes_all_and_opens_its_own, NULL)), 0);
	own_end();
	all_else_release();
	all_close();
}

static void test_so_does_the_child_of_one_that_no_handler_saw(void)
{
	int status = -1;
	pid_t child;

	needs_own_files();
	own_begin();
	all_open();
	all_else_open();
	child = fork_unseen();
	if (child == 0) {
		own_open();
		/* The child's own child writes the buffered data. The child itself does not. */
		child = fork();
		if (child == 0)
			exit(0);
		process_exit(waitpid(child, &status, 0) == child ? status : 1);
	}
	check_int(waitpid(child, &status, 0), child);
	check_int(status, 0);
	own_end();
	all_else_release();
	all_close();
}

static const struct test tests[] = {
    TEST(test_a_fork_without_handlers_is_noticed_too),
    TEST(test_a_child_that_no_handler_saw_leaves_address_and_channels_to_its_parent_when_it_ends),
    TEST(test_a_child_that_closed_all_keeps_the_files_that_it_opened_then),
    TEST(test_so_does_the_child_of_one_that_no_handler_saw),
};

HARNESS_MAIN("public/fork_unseen", tests)
