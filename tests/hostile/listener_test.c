/* SPDX-License-Identifier: MIT */
/*
 * Hostile clients of a listener, and servers that are not who they should be. Attacks on paths are
 * tested in listener/place.
 */
#include <fcntl.h>
#include <harness/fault.h>
#include <hostile/lingering.h>
#include <hostile/raw_peer.h>
#include <linux/sched.h>
#include <poll.h>
#include <public/listening.h>
#include <signal.h>
#include <socket/reaper.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* asm/socket.h; the C library's headers may not know it. */
enum { RAW_SO_PASSRIGHTS = 83 };

static char address[64];

static void name_address(void)
{
	snprintf(address, sizeof address, "%s", abstract_address());
}

/* ---- A flood with a full descriptor table ---------------------------------------------------- */

enum { FLOOD = 200, FREE_SLOTS = 24 };

struct server {
	beam_listener *listener;
	pthread_t thread;
	int result;
	size_t n;
	beam_channel *channels[FLOOD + 1];
};

static void *serve(void *argument)
{
	struct server *server = argument;

	while (server->n <= FLOOD && (server->result = beam_listener_accept(
					  server->listener, &server->channels[server->n], BEAM_FOREVER)) == 1)
		server->n++;
	return NULL;
}

/* Keeps all connections open until the other end of its socket is closed. */
static int child_floods(void *argument)
{
	const int *ends = argument;
	int fds[FLOOD];
	char byte;

	close(ends[0]);
	for (int i = 0; i < FLOOD; i++) {
		fds[i] = raw_connect(address);
		check(fds[i] >= 0);
	}
	check_int(write(ends[1], "f", 1), 1);
	return (int)read(ends[1], &byte, 1);
}

static uint64_t judged(beam_listener *listener)
{
	struct beam_listener_counters n = counts(listener);

	return n.accepted + n.over_descriptors + n.failed;
}

/* Leaves `n` free descriptors to this process. */
static struct rlimit leave_free(int n)
{
	int lowest = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
	struct rlimit old, low;

	close(lowest);
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	low.rlim_cur = (rlim_t)(lowest + n);
	setrlimit(RLIMIT_NOFILE, &low);
	return old;
}

/* False if a thread tries to accept within a time in which one that retries every 10 ms would. */
static bool nobody_looks(void)
{
	unsigned long calls = fault_calls();

	poll(NULL, 0, stretch(50));
	return fault_calls() == calls;
}

static void test_with_nobody_to_be_shed_the_reserve_keeps_its_place(void)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	beam_channel *channel = NULL;
	beam_listener *listener;
	struct rlimit old;

	if (under_valgrind())
		skip("Valgrind keeps the limit to itself");
	name_address();
	listener = listen_at(address, &options);
	old = leave_free(0);
	check_int(beam_listener_accept(listener, &channel, BEAM_NOWAIT), -EAGAIN);
	/* Nobody else can get the reserved descriptor. */
	check_int(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0), -1);
	setrlimit(RLIMIT_NOFILE, &old);
	beam_listener_unref(listener);
}

static void test_a_flood_with_the_table_full_is_shed_and_the_server_goes_on(void)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	static struct server server;
	struct ends honest;
	beam_channel *client;
	struct rlimit old;
	int ends[2], waits;
	int64_t begin;
	pid_t child;
	char byte;

	if (under_valgrind())
		skip("Valgrind keeps the limit to itself");
	name_address();
	server = (struct server){.listener = NULL};
	server.listener = listen_at(address, &options);
	ends_open(&honest, NULL);
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	child = process_spawn(child_floods, ends);
	close(ends[1]);
	old = leave_free(FREE_SLOTS);
	begin = now_ns();
	fault_only(FAULT(SYS_ACCEPT4));
	fault_at(0, 0, false);
	server.thread = thread_spawn(serve, &server);

	check_int(read(ends[0], &byte, 1), 1);
	check_within(20000, judged(server.listener) == FLOOD);
	check(counts(server.listener).accepted > 0);
	/*
	 * They were disconnected with the reserve, or accepted and dropped, because one descriptor
	 * was free and a channel needs more.
	 */
	check(counts(server.listener).over_descriptors + counts(server.listener).failed > FLOOD / 2);
	/*
	 * No thread spins: it tries to accept a few times for a connection, and once in 10 ms while
	 * nothing can be done.
	 */
	waits = (int)((now_ns() - begin) / 10000000);
	check(fault_calls() <= 4UL * FLOOD + 4UL * (unsigned)(waits + 1));
	send_text(honest.topic[0], "goes on");
	expect_text(honest.topic[1], "goes on");
	/* When no client is left to disconnect, and the table is still full, it sleeps. */
	check_within(20000, nobody_looks());

	/* The flood ends and its connections are closed, so descriptors are free. */
	close(ends[0]);
	check_int(process_wait(child), 0);
	check_within(20000, counts(server.listener).connections == 0);
	setrlimit(RLIMIT_NOFILE, &old);
	require_int(beam_channel_connect(&client, address, NULL, soon()), 0);
	check_within(20000, judged(server.listener) == FLOOD + 1);
	beam_listener_close(server.listener);
	thread_wait(server.thread);
	fault_off();
	check_int(server.result, 0);
	if (check(server.n > 0))
		expect_connected((beam_channel *[]){client, server.channels[server.n - 1]});
	beam_channel_unref(client);
	for (size_t i = 0; i < server.n; i++)
		beam_channel_unref(server.channels[i]);
	ends_close(&honest);
	beam_listener_unref(server.listener);
}

static void test_an_event_loop_is_not_kept_busy_by_a_full_table(void)
{
	beam_listener *listener;
	beam_channel *channel;
	struct rlimit old;
	int fds[5];

	if (under_valgrind())
		skip("Valgrind keeps the limit to itself");
	name_address();
	listener = listen_at(address, NULL);
	for (int i = 0; i < 5; i++)
		fds[i] = raw_connect(address);
	old = leave_free(0);
	/* Each call disconnects one client. The others remain visible. */
	for (int i = 0; i < 5; i++) {
		check_int(beam_listener_accept(listener, &channel, BEAM_NOWAIT), -EAGAIN);
		check_int(counts(listener).over_descriptors, i + 1);
		/* The reaper closes it. The listener does not wait long for that. */
		check(reaper_drain(soon()));
	}
	check_int(beam_listener_accept(listener, &channel, BEAM_NOWAIT), -EAGAIN);
	check_int(counts(listener).over_descriptors, 5);
	setrlimit(RLIMIT_NOFILE, &old);
	for (int i = 0; i < 5; i++) {
		expect_disconnected(fds[i]);
		close(fds[i]);
	}
	beam_listener_unref(listener);
}

/* ---- Descriptors in data that nobody reads --------------------------------------------------- */

static int refuse_everybody(void *context, const struct beam_identity *identity)
{
	(void)context;
	(void)identity;
	return -EACCES;
}

/* A connection whose queue holds the last copy of a descriptor whose close blocks. */
static int connect_biting(struct lingering *lingering)
{
	int fd = raw_connect(address);

	require(fd >= 0);
	check_int(raw_send(fd, "x", 1, &lingering->fd, 1, 0), 1);
	close(lingering->fd);
	return fd;
}

static void test_refusing_does_not_wait_for_a_descriptor_whose_close_waits(void)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	struct lingering lingering = lingering_open();
	int64_t begin = now_ns();
	beam_listener *listener;
	beam_channel *channel;
	int fd;

	name_address();
	options.accept = refuse_everybody;
	listener = listen_at(address, &options);
	fd = connect_biting(&lingering);
	check_int(beam_listener_accept(listener, &channel, BEAM_NOWAIT), -EAGAIN);
	check_int(counts(listener).refused, 1);
	lingering_end(&lingering, begin);
	close(fd);
	beam_listener_unref(listener);
}

static void test_closing_does_not_wait_for_a_descriptor_in_the_backlog_whose_close_waits(void)
{
	struct lingering lingering = lingering_open();
	int64_t begin = now_ns();
	beam_listener *listener;
	int fd;

	name_address();
	listener = listen_at(address, NULL);
	fd = connect_biting(&lingering);
	beam_listener_unref(listener);
	lingering_end(&lingering, begin);
	close(fd);
}

static void needs_passrights(void)
{
	int value, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;
	socklen_t size = sizeof value;

	r = getsockopt(fd, SOL_SOCKET, RAW_SO_PASSRIGHTS, &value, &size);
	close(fd);
	if (r < 0)
		skip("SO_PASSRIGHTS is from Linux 6.16");
}

static void test_where_no_descriptors_are_wanted_the_kernel_refuses_them(void)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	beam_listener *listener;
	beam_channel *channel;
	beam_topic *topic;
	struct raw_out *out = calloc(1, sizeof *out);
	int fd, file;

	needs_passrights();
	require(out != NULL);
	name_address();
	options.refuse_fds = 1;
	listener = listen_at(address, &options);
	fd = raw_connect(address);
	file = raw_file();
	/* Before the client is accepted and after. Bytes get through. */
	raw_hello(out);
	raw_open(out, 1, "log");
	raw_text(out, 1, "bytes");
	check_int(raw_send(fd, out->bytes, out->size, &file, 1, 0), -EPERM);
	check_int(beam_listener_accept(listener, &channel, BEAM_NOWAIT), 1);
	check_int(raw_send(fd, out->bytes, out->size, &file, 1, 0), -EPERM);
	check_int(raw_send(fd, out->bytes, out->size, NULL, 0, 0), out->size);
	require_int(beam_topic_open(&topic, channel, "log"), 0);
	expect_text(topic, "bytes");
	close(file);
	close(fd);
	free(out);
	beam_topic_unref(topic);
	beam_channel_unref(channel);
	beam_listener_unref(listener);
}

static void test_where_no_descriptors_are_wanted_a_sender_is_told(void)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	struct iovec iov = {(char[]){"word"}, 4};
	beam_channel *channels[2];
	struct beam_limits limits;
	beam_listener *listener;
	beam_topic *topic;
	int file = raw_file();

	name_address();
	options.refuse_fds = 1;
	listener = listen_at(address, &options);
	meet(listener, address, channels);
	check_int(beam_channel_limits(channels[0], &limits, sizeof limits, soon()), 0);
	check_int(limits.message_attachments, 0);
	require_int(beam_topic_open(&topic, channels[0], "other"), 0);
	check(beam_topic_sendv(topic, &iov, 1, &file, 1, 0, soon()) < 0);
	beam_topic_unref(topic);
	expect_connected(channels);
	part(channels);
	close(file);
	beam_listener_unref(listener);
}

/* ---- Pids ------------------------------------------------------------------------------------ */

/*
 * Connects and exits. Its own child keeps the connection open until the other end of the socket is
 * closed.
 */
static int child_leaves_its_connection(void *argument)
{
	const int *ends = argument;
	char byte;
	int fd;

	close(ends[0]);
	fd = raw_connect(address);
	require(fd >= 0);
	/* Wait until the connection has been accepted. */
	check_int(read(ends[1], &byte, 1), 1);
	if (fork() == 0) {
		check_int(write(ends[1], "h", 1), 1);
		_exit((int)read(ends[1], &byte, 1));
	}
	return 0;
}

/*
 * Starts a process with a pid that another process had. It runs until it is killed. Returns -1 if
 * that is not possible here.
 */
static pid_t take_pid(pid_t pid)
{
	struct clone_args arguments = {
	    .exit_signal = SIGCHLD, .set_tid = (uint64_t)(uintptr_t)&pid, .set_tid_size = 1, .flags = 0};
	pid_t child = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);

	if (child == 0) {
		for (;;)
			pause();
	}
	return child;
}

static void expect_dead(int pidfd)
{
	check_int(poll(&(struct pollfd){.fd = pidfd, .events = POLLIN}, 1, 0), 1);
	if (!under_valgrind()) {
		check_int(syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0), -1);
		check_int(errno, ESRCH);
	}
	close(pidfd);
}

static void test_a_pid_that_is_given_to_another_process_deceives_nobody_who_has_a_pidfd(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	struct beam_listener_options with = BEAM_LISTENER_OPTIONS;
	struct beam_peer peer = {0};
	beam_listener *listener;
	beam_channel *channel;
	int ends[2], early, late;
	pid_t child, impostor;
	char byte;

	name_address();
	options.linger_ms = 0;
	with.channel = &options;
	listener = listen_at(address, &with);
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	child = process_spawn(child_leaves_its_connection, ends);
	close(ends[1]);
	require_int(beam_listener_accept(listener, &channel, soon()), 1);
	early = beam_channel_peer_pidfd(channel);
	check_int(write(ends[0], "a", 1), 1);
	require_int(read(ends[0], &byte, 1), 1);
	check_int(process_wait(child), 0);
	impostor = take_pid(child);
	late = beam_channel_peer_pidfd(channel);

	check_int(beam_channel_peer(channel, &peer), 0);
	check_int(peer.pid, child);
	check(early >= 0 || early == -ENODATA);
	if (early >= 0)
		expect_dead(early);
	check(late >= 0 || late == -ENODATA);
	if (late >= 0)
		expect_dead(late);
	if (impostor > 0) {
		check_int(impostor, child);
		check_int(kill(impostor, 0), 0);
		kill(impostor, SIGKILL);
		check_int(waitpid(impostor, NULL, 0), impostor);
	}
	close(ends[0]);
	beam_channel_unref(channel);
	beam_listener_unref(listener);
	if (impostor < 0)
		skip("needs the right to choose a pid (clone3 with set_tid): %s", strerror(errno));
	if (early < 0)
		skip("SO_PEERPIDFD is from Linux 6.5");
}

/* ---- Squatters ------------------------------------------------------------------------------- */

/* Takes the name first. The client must disconnect without sending a byte. */
static int child_squats(void *argument)
{
	const int *ends = argument;
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int accepted, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char bytes[64];

	if (geteuid() == 0)
		require_int(setuid(65534), 0);
	memcpy(name.sun_path, address, strlen(address));
	name.sun_path[0] = '\0';
	require_int(
	    bind(fd, (struct sockaddr *)&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(address))),
	    0);
	require_int(listen(fd, 1), 0);
	check_int(write(ends[1], "l", 1), 1);
	accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	require(accepted >= 0);
	check_int(read(accepted, bytes, sizeof bytes), 0);
	return 0;
}

static void test_a_client_that_demands_its_servers_user_tells_a_squatter_nothing(void)
{
	struct beam_connect_options options = BEAM_CONNECT_OPTIONS;
	beam_listener *listener = NULL;
	beam_channel *channel = NULL;
	int ends[2];
	pid_t child;
	char byte;

	name_address();
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	child = process_spawn(child_squats, ends);
	require_int(read(ends[0], &byte, 1), 1);
	check_int(beam_listener_new(&listener, address, NULL), -EADDRINUSE);
	options.server_uid = geteuid() == 0 ? 0 : geteuid() + 1;
	options.wait_for_server = 1;
	check_int(beam_channel_connect(&channel, address, &options, soon()), -EPERM);
	check(channel == NULL);
	check_int(process_wait(child), 0);
	close(ends[0]);
	close(ends[1]);
}

static const struct test tests[] = {
    TEST(test_with_nobody_to_be_shed_the_reserve_keeps_its_place),
    TEST(test_a_flood_with_the_table_full_is_shed_and_the_server_goes_on),
    TEST(test_an_event_loop_is_not_kept_busy_by_a_full_table),
    TEST(test_refusing_does_not_wait_for_a_descriptor_whose_close_waits),
    TEST(test_closing_does_not_wait_for_a_descriptor_in_the_backlog_whose_close_waits),
    TEST(test_where_no_descriptors_are_wanted_the_kernel_refuses_them),
    TEST(test_where_no_descriptors_are_wanted_a_sender_is_told),
    TEST(test_a_pid_that_is_given_to_another_process_deceives_nobody_who_has_a_pidfd),
    TEST(test_a_client_that_demands_its_servers_user_tells_a_squatter_nothing),
};

HARNESS_MAIN("hostile/listener", tests)
