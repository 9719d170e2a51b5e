/* SPDX-License-Identifier: MIT */
/*
 * Between two steps of one thread, another one takes steps of its own, which are run at a system
 * call of the first: at the end of a channel and of the process, in the turns of a loop, and where
 * closing takes long.
 */
#include <beam/event.h>
#include <channel/scene.h>
#include <dlfcn.h>
#include <harness/fault.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- The end --------------------------------------------------------------------------------- */

static void *close_soon(void *ret)
{
	*(int *)ret = beam_channel_close(channel, soon());
	return NULL;
}

static void *dispatch(void *unused)
{
	(void)unused;
	check_int(beam_channel_dispatch(channel, POLLIN), 0);
	return NULL;
}

struct closing {
	pthread_t thread, loop;
	int result;
};

static void break_and_close(void *argument)
{
	struct closing *closing = argument;

	raw_peer_close(&peer);
	if (channel->options.loop)
		closing->loop = thread_spawn(dispatch, NULL);
	check_within(20000, beam_topic_send(topics[1], "", 0, 0, BEAM_NOWAIT) == -ECONNRESET);
	closing->thread = thread_spawn(close_soon, &closing->result);
	check_within(20000, writers() > 0);
}

/* The channel is not over, because reading has not ended yet. */
static void only_break_and_close(void *argument)
{
	struct closing *closing = argument;

	raw_peer_close(&peer);
	pthread_mutex_lock(&channel->link.writer.lock);
	write_break(&channel->link, -ECONNRESET);
	pthread_mutex_unlock(&channel->link.writer.lock);
	closing->thread = thread_spawn(close_soon, &closing->result);
	check_within(20000, writers() > 0);
}

static void test_who_closes_what_is_broken_waits_for_who_writes(void)
{
	struct beam_channel_options options = looped();
	struct closing closing;

	for (int i = 0; i < 2; i++) {
		begin_settled(i ? &options : NULL);
		fault_meanwhile(SYS_SENDMSG, 1, break_and_close, &closing);
		check_int(send_words(0, "nobody is there", soon()), -ECONNRESET);
		thread_wait(closing.thread);
		if (i)
			thread_wait(closing.loop);
		check_int(closing.result, -ECONNRESET);
		end();
	}
}

static void test_who_closes_what_is_broken_gives_back_the_writing_right(void)
{
	struct beam_channel_options options = looped();
	struct closing closing;

	begin_settled(&options);
	fault_meanwhile(SYS_SENDMSG, 1, only_break_and_close, &closing);
	check_int(send_words(0, "nobody is there", soon()), -ECONNRESET);
	thread_wait(closing.thread);
	check_int(closing.result, -ECONNRESET);
	end();
}

static void finish_and_wake(void *unused)
{
	(void)unused;
	check(beam_channel_close(channel, BEAM_NOWAIT) < 0);
	check_within(20000, writers() > 0);
	pthread_mutex_lock(&channel->link.writer.lock);
	write_wake_all(&channel->link);
	pthread_mutex_unlock(&channel->link.writer.lock);
	check_within(20000, writers() > 0);
	check(!channel->link.writer.finished);
}

static void test_the_end_waits_for_who_writes_whoever_else_is_woken(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.linger_ms = 0;
	begin_settled(&options);
	fault_meanwhile(SYS_SENDMSG, 1, finish_and_wake, NULL);
	send_words(0, "the last", soon());
	end();
}

struct releaser {
	pthread_t thread;
	int result;
};

/* Run in the thread that releases the topic, just when the topic is closed. */
static void look_at_names(void *argument)
{
	struct releaser *releaser = argument;

	if (!pthread_equal(pthread_self(), releaser->thread)) {
		fault_meanwhile(SYS_WRITE, 1, look_at_names, releaser);
		return;
	}
	releaser->result = pthread_mutex_trylock(&channel->lock);
	if (releaser->result == 0)
		pthread_mutex_unlock(&channel->lock);
}

/* Otherwise, whoever opens the name again could announce it before the old topic is closed. */
static void test_a_name_is_not_free_before_its_topic_is_known_to_be_closing(void)
{
	static const char bulk[1000];
	struct releaser releaser = {.thread = pthread_self(), .result = -1};
	int fd, r;

	begin_settled(NULL);
	fd = beam_topic_send_fd(topics[0]);
	while ((r = beam_topic_send(topics[0], bulk, sizeof bulk, 0, BEAM_NOWAIT)) == 0)
		;
	check_int(r, -EAGAIN);
	check_within(20000, !is_written_to(channel));
	require(!is_readable(fd));
	/* A closed topic shows room, because a send fails at once. */
	fault_meanwhile(SYS_WRITE, 1, look_at_names, &releaser);
	topics[0] = beam_topic_unref(topics[0]);
	fault_meanwhile(SYS_WRITE, 1, NULL, NULL);
	check_int(releaser.result, EBUSY);
	end();
}

/* ---- A fork ---------------------------------------------------------------------------------- */

static atomic_int awaited = -1;
static atomic_bool forks;

/*
 * Another file has got the number that the channel has just closed, and the process forks. The
 * child must not close that file.
 */
static void fork_with_number(int number)
{
	int other = eventfd(0, EFD_CLOEXEC), status = -1;
	pid_t child;

	if (other != number) {
		check_int(dup2(other, number), number);
		syscall(SYS_close, other);
	}
	child = fork();
	/*
	 * If all is well, the child is killed. If it ended normally, a memory checker would report
	 * the blocks of the other threads.
	 */
	if (child == 0) {
		if (fcntl(number, F_GETFD) >= 0)
			raise(SIGKILL);
		_exit(1);
	}
	check_int(waitpid(child, &status, 0), child);
	check_int(status, SIGKILL);
	syscall(SYS_close, number);
	atomic_store(&forks, false);
	atomic_store(&awaited, -1);
}

static int (*next_close)(int);

__attribute__((constructor)) static void find_close(void)
{
	*(void **)&next_close = dlsym(RTLD_NEXT, "close");
}

/* Comes before the C library's close(), or a checker's, which must be called as well. */
int close(int fd)
{
	/*
	 * This is looked up before the close. Afterwards another thread may get the number, and
	 * await it.
	 */
	bool is_awaited = fd == atomic_load(&awaited);
	int r = next_close ? next_close(fd) : (int)syscall(SYS_close, fd);

	/* Without this flag the child would fork again. */
	if (r == 0 && is_awaited && !atomic_exchange(&forks, true))
		fork_with_number(fd);
	return r;
}

static void test_a_child_keeps_what_has_got_the_number_of_a_descriptor_that_the_channel_has_closed(void)
{
	for (int i = 0; i < 4; i++) {
		const struct beam_channel *c;

		begin_settled(NULL);
		c = channel;
		atomic_store(&awaited, i == 0   ? c->link.transport.fd
				       : i == 1 ? c->link.thread.epoll
				       : i == 2 ? c->link.thread.nudge
						: c->link.reader.kick);
		raw_peer_close(&peer);
		check_within(20000, atomic_load(&awaited) < 0);
		end();
	}
}

/* ---- Without a thread ------------------------------------------------------------------------ */

/* The other side no longer reads, but may still send something. */
static void begin_deaf(void)
{
	struct beam_channel_options options = looped();

	begin_settled(&options);
	shutdown(peer.socket, SHUT_RD);
}

static void test_a_goodbye_that_lies_unread_is_found_by_who_closes(void)
{
	begin_deaf();
	raw_goodbye(&out);
	raw_peer_send(&peer, &out);
	check_int(beam_channel_close(channel, soon()), 0);
	end();
}

static void test_who_closes_without_goodbye_waits_until_his_deadline(void)
{
	begin_deaf();
	check_int(beam_channel_close(channel, BEAM_NOWAIT), -ECONNRESET);
	check_int(beam_channel_close(channel, beam_in_ms(20)), -ECONNRESET);
	end();
}

static void close_meanwhile(void *argument)
{
	struct closing *closing = argument;

	/* A second dispatch does nothing. */
	check_int(beam_channel_dispatch(channel, POLLIN), 1);
	closing->thread = thread_spawn(close_soon, &closing->result);
	check_within(20000, writers() > 0);
}

static void test_who_closes_waits_for_the_turn_of_another_thread(void)
{
	struct closing closing;

	begin_deaf();
	raw_goodbye(&out);
	raw_peer_send(&peer, &out);
	fault_meanwhile(SYS_RECVMSG, 1, close_meanwhile, &closing);
	check_int(beam_channel_dispatch(channel, POLLIN), 0);
	thread_wait(closing.thread);
	check_int(closing.result, 0);
	check_int(beam_channel_loop_nudge_fd(channel), -EPIPE);
	end();
}

static void test_a_nudge_that_cannot_be_made_is_told(void)
{
	struct beam_channel_options options = looped();

	begin_settled(&options);
	fault_only(FAULT(SYS_EVENTFD));
	fault_at(1, EMFILE, FAULT_ONCE);
	check_int(beam_channel_loop_nudge_fd(channel), -EMFILE);
	fault_off();
	check(beam_channel_loop_nudge_fd(channel) >= 0);
	check_int(beam_channel_loop_deadline(channel, NULL), -EINVAL);
	end();
}

static int child_has_no(void *fd)
{
	check(!fd_open(*(int *)fd));
	return 0;
}

static void test_a_child_has_no_socket_of_a_channel_that_is_over_while_a_loop_has_it(void)
{
	struct beam_channel_options options = looped();
	int socket;

	begin_settled(&options);
	socket = beam_channel_loop_fd(channel);
	raw_peer_close(&peer);
	check_int(beam_channel_dispatch(channel, POLLIN), 0);
	check(fd_open(socket));
	check_int(process_wait(process_spawn(child_has_no, &socket)), 0);
	end();
}

/* ---- The end of the process ------------------------------------------------------------------ */

static int leave_what_another_thread_is_about_to_free(void *fd)
{
	struct beam_channel_options options = looped();

	require_int(beam_channel_from_fd(&channel, *(int *)fd, &options), 0);
	/* Such a thread finds this when it waits to remove the channel from the process's list. */
	atomic_store(&channel->memory, 0);
	exit(harness_failures() ? 1 : 0);
}

static void test_the_end_leaves_a_channel_to_the_thread_that_frees_it(void)
{
	struct raw_frame frame;
	int fds[2];
	pid_t child;

	if (under_valgrind())
		skip("the child's exit would be judged by its parent's memory");
	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	raw_peer_init(&peer, fds[1]);
	child = process_spawn(leave_what_another_thread_is_about_to_free, &fds[0]);
	close(fds[0]);
	raw_peer_expect(&peer, RAW_HELLO);
	/* Not even GOODBYE is sent. */
	check_int(raw_peer_next(&peer, &frame), 0);
	check_int(process_wait(child), 0);
	raw_peer_close(&peer);
}

/* ---- Topics without an id -------------------------------------------------------------------- */

enum { NAMED = 64, BEYOND = 2 };

static bool is_finished(void)
{
	bool finished;

	pthread_mutex_lock(&channel->link.writer.lock);
	finished = channel->link.writer.finished;
	pthread_mutex_unlock(&channel->link.writer.lock);
	return finished;
}

static void test_topics_beyond_the_peers_limit_can_be_closed_and_left(void)
{
	beam_topic *many[NAMED + BEYOND];
	struct raw_frame frame;
	char name[8];

	begin_settled(NULL); /* opens TOPICS of the 64 topics that the peer allows */
	for (unsigned i = 0; i < NAMED - TOPICS + BEYOND; i++) {
		snprintf(name, sizeof name, "t%u", i);
		require_int(beam_topic_open(&many[i], channel, name), 0);
	}
	/* Closes the first topic without an id. The other one waits for an id until the end. */
	check_int(beam_topic_close_send(many[NAMED - TOPICS]), 0);
	check_int(beam_channel_flush(channel, soon()), 0);
	check_int(beam_topic_send(many[NAMED - TOPICS + 1], "", 0, 0, BEAM_NOWAIT), -EAGAIN);
	for (unsigned i = 0; i < NAMED; i++)
		check(raw_peer_expect(&peer, RAW_OPEN).id != 0);
	check_int(raw_peer_next_within(&peer, &frame, 0), -ETIMEDOUT);
	for (unsigned i = 0; i < NAMED - TOPICS + BEYOND; i++)
		if (i != NAMED - TOPICS + 1)
			beam_topic_unref(many[i]);
	raw_peer_close(&peer);
	check_within(20000, is_finished());
	beam_topic_unref(many[NAMED - TOPICS + 1]);
	end();
}

static const struct test tests[] = {
    TEST(test_who_closes_what_is_broken_waits_for_who_writes),
    TEST(test_who_closes_what_is_broken_gives_back_the_writing_right),
    TEST(test_the_end_waits_for_who_writes_whoever_else_is_woken),
    TEST(test_a_name_is_not_free_before_its_topic_is_known_to_be_closing),
    TEST(test_a_child_keeps_what_has_got_the_number_of_a_descriptor_that_the_channel_has_closed),
    TEST(test_a_goodbye_that_lies_unread_is_found_by_who_closes),
    TEST(test_who_closes_without_goodbye_waits_until_his_deadline),
    TEST(test_who_closes_waits_for_the_turn_of_another_thread),
    TEST(test_a_nudge_that_cannot_be_made_is_told),
    TEST(test_a_child_has_no_socket_of_a_channel_that_is_over_while_a_loop_has_it),
    TEST(test_the_end_leaves_a_channel_to_the_thread_that_frees_it),
    TEST(test_topics_beyond_the_peers_limit_can_be_closed_and_left),
};

HARNESS_MAIN("channel/meanwhile_ending", tests)
