/* SPDX-License-Identifier: MIT */
/*
 * Waiting on Unix sockets, and connecting them: deadlines, addresses, and who is at the other end.
 */
#include <base/clock.h>
#include <harness/fault.h>
#include <signal.h>
#include <socket/sockets.h>
#include <sys/time.h>

/* Waiting */

static void test_waiting_ends_with_what_is_ready_the_kick_or_the_deadline(void)
{
	int pair[2], kick = eventfd(0, EFD_CLOEXEC);
	beam_deadline deadline = beam_in_ms(20);

	pair_of(SOCK_STREAM, pair);
	check_int(socket_wait(pair[1], POLLIN, -1, BEAM_NOWAIT), -EAGAIN);
	check_int(socket_wait(pair[1], POLLIN, kick, deadline), -ETIMEDOUT);
	check(deadline_passed(deadline));
	check_int(socket_wait(pair[1], POLLOUT, kick, BEAM_FOREVER), 1);
	check_int(write_from(pair[0], "x", 1, NULL, 0), 1);
	check_int(socket_wait(pair[1], POLLIN, kick, BEAM_FOREVER), 1);
	check_int(eventfd_write(kick, 1), 0);
	check_int(socket_wait(pair[1], POLLIN, kick, BEAM_FOREVER), 0);
	check_int(socket_wait(pair[1], POLLIN, kick, BEAM_NOWAIT), 0);
	close_both(pair);
	close(kick);
}

static void test_a_hang_up_ends_any_wait(void)
{
	int pair[2];

	pair_of(SOCK_STREAM, pair);
	close(pair[0]);
	check_int(socket_wait(pair[1], 0, -1, BEAM_FOREVER), 1);
	close(pair[1]);
}

static void *shut_down(void *argument)
{
	/* The main thread waits. */
	check_within(20000, thread_asleep(getpid()));
	socket_shutdown(*(int *)argument);
	return NULL;
}

static void test_a_shutdown_wakes_who_waits(void)
{
	int pair[2];
	pthread_t thread;

	pair_of(SOCK_STREAM, pair);
	thread = thread_spawn(shut_down, &pair[1]);
	check_int(socket_wait(pair[1], POLLIN, -1, BEAM_FOREVER), 1);
	thread_wait(thread);
	close_both(pair);
}

static void no_op(int sig)
{
	(void)sig;
}

/* Signals every millisecond, without SA_RESTART. */
static void rain(bool on)
{
	struct sigaction action = {.sa_handler = no_op};
	struct itimerval every = {.it_interval.tv_usec = on ? 1000 : 0, .it_value.tv_usec = on ? 1000 : 0};

	if (on)
		sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
}

static int wait_in_the_rain(void *unused)
{
	beam_deadline deadline = beam_in_ms(50);
	int pair[2];

	(void)unused;
	pair_of(SOCK_STREAM, pair);
	rain(true);
	check_int(socket_wait(pair[1], POLLIN, -1, deadline), -ETIMEDOUT);
	rain(false);
	check(deadline_passed(deadline));
	return 0;
}

static void test_signals_do_not_end_a_wait(void)
{
	/* In another process, because the harness uses the alarm. */
	check_int(process_wait(process_spawn(wait_in_the_rain, NULL)), 0);
}

/* Connecting */

static void *accept_later(void *argument)
{
	const int *listener = argument;
	int fd;

	/* The main thread waits. */
	check_within(20000, thread_asleep(getpid()));
	do
		fd = accept4(*listener, NULL, NULL, SOCK_CLOEXEC);
	while (fd < 0 && errno == EINTR);
	check(fd >= 0);
	close(fd);
	return NULL;
}

/* Fills the backlog of a listener. Returns how many connections that took. */
static size_t fill(const char *address, int fds[8])
{
	size_t n = 0;

	while (n < 8 && (fds[n] = socket_connect(address, SOCK_STREAM, BEAM_NOWAIT)) >= 0)
		n++;
	check(n < 8);
	check_int(fds[n], -EAGAIN);
	return n;
}

static void wait_until_passed(void *deadline)
{
	check_within(20000, deadline_passed(*(beam_deadline *)deadline));
}

static void test_a_deadline_that_passes_on_the_way_to_the_wait_ends_it(void)
{
	const char *address = address_of("late");
	int listener = listening(SOCK_STREAM, address), fds[8];
	size_t n = fill(address, fds);
	beam_deadline deadline = beam_in_ms(200);

	fault_meanwhile(SYS_SOCKET, 1, wait_until_passed, &deadline);
	check_int(socket_connect(address, SOCK_STREAM, deadline), -ETIMEDOUT);
	fault_meanwhile(SYS_SOCKET, 1, NULL, NULL);
	while (n > 0)
		close(fds[--n]);
	close(listener);
}

static void test_a_wait_for_room_that_ends_before_its_deadline_goes_on(void)
{
	const char *address = address_of("early");
	int listener = listening(SOCK_STREAM, address), fd;

	fault_only(FAULT(SYS_CONNECT));
	fault_at(1, EAGAIN, FAULT_ONCE);
	fd = socket_connect(address, SOCK_STREAM, beam_in_ms(stretch(20000)));
	check(fault_hit());
	check(fd >= 0);
	fault_at(1, EAGAIN, FAULT_ONCE);
	check_int(socket_connect(address, SOCK_STREAM, BEAM_NOWAIT), -EAGAIN);
	fault_off();
	close(fd);
	close(listener);
}

static void test_a_connection_waits_for_room_until_the_deadline(void)
{
	const char *address = address_of("full");
	int listener = listening(SOCK_STREAM, address), fds[8], fd;
	size_t n = fill(address, fds);
	beam_deadline deadline = beam_in_ms(40);
	pthread_t thread;

	check_int(socket_connect(address, SOCK_STREAM, deadline), -ETIMEDOUT);
	check(deadline_passed(deadline));
	check_int(socket_connect(address, SOCK_STREAM, BEAM_DEADLINE(1)), -ETIMEDOUT);

	for (int i = 0; i < 2; i++) {
		thread = thread_spawn(accept_later, &listener);
		fd = socket_connect(address, SOCK_STREAM, i ? BEAM_FOREVER : beam_in_ms(stretch(10000)));
		check(fd >= 0);
		if (!i) {
			struct timeval limit;
			socklen_t size = sizeof limit;

			check_int(getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, &size), 0);
			check(limit.tv_sec == 0 && limit.tv_usec == 0);
			check_int(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
		}
		thread_wait(thread);
		close(fd);
	}
	while (n > 0)
		close(fds[--n]);
	close(listener);
}

static int connect_in_the_rain(void *unused)
{
	const char *address = address_of("rain");
	int listener = listening(SOCK_STREAM, address), fds[8];
	beam_deadline deadline;
	pthread_t thread;

	(void)unused;
	fill(address, fds);
	rain(true);
	deadline = beam_in_ms(50);
	check_int(socket_connect(address, SOCK_STREAM, deadline), -ETIMEDOUT);
	check(deadline_passed(deadline));
	thread = thread_spawn(accept_later, &listener);
	check(socket_connect(address, SOCK_STREAM, BEAM_FOREVER) >= 0);
	rain(false);
	thread_wait(thread);
	return 0;
}

static void test_signals_do_not_end_a_connect(void)
{
	check_int(process_wait(process_spawn(connect_in_the_rain, NULL)), 0);
}

static void test_where_nobody_listens_there_is_no_connection(void)
{
	char path[256], directory[FOLDER_SIZE];
	int fd;

	check_int(socket_connect("", SOCK_STREAM, BEAM_NOWAIT), -EINVAL);
	check_int(socket_connect("/nowhere/at/all", SOCK_STREAM, BEAM_NOWAIT), -ENOENT);
	check_int(socket_connect(address_of("nobody"), SOCK_STREAM, BEAM_FOREVER), -ECONNREFUSED);
	memset(path, 'x', sizeof path);
	path[108] = '\0';
	check_int(socket_connect(path, SOCK_STREAM, BEAM_NOWAIT), -ENAMETOOLONG);
	path[107] = '\0';
	check_int(socket_connect(path, SOCK_STREAM, BEAM_NOWAIT), -ENOENT);
	path[0] = '@';
	check_int(socket_connect(path, SOCK_STREAM, BEAM_NOWAIT), -ECONNREFUSED);

	folder_make(directory);
	snprintf(path, sizeof path, "%s/file", directory);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	check_int(socket_connect(path, SOCK_STREAM, BEAM_NOWAIT), -ECONNREFUSED);
	close(fd);
	unlink(path);
	rmdir(directory);
}

static void test_abstract_names_are_apart_for_each_type(void)
{
	const char *address = address_of("type");
	int listener = listening(SOCK_SEQPACKET, address), fd;

	check_int(socket_connect(address, SOCK_STREAM, BEAM_FOREVER), -ECONNREFUSED);
	fd = socket_connect(address, SOCK_SEQPACKET, BEAM_FOREVER);
	check(fd >= 0);
	check_int(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	close(listener);
}

static void test_a_path_is_an_address_too_of_one_type(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char directory[FOLDER_SIZE];
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;

	folder_make(directory);
	snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", directory);
	require_int(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
	require_int(listen(listener, 1), 0);
	fd = socket_connect(address.sun_path, SOCK_STREAM, BEAM_NOWAIT);
	check(fd >= 0);
	check_int(socket_connect(address.sun_path, SOCK_SEQPACKET, BEAM_NOWAIT), -EPROTOTYPE);
	close(fd);
	close(listener);
	check_int(socket_connect(address.sun_path, SOCK_STREAM, BEAM_NOWAIT), -ECONNREFUSED);
	unlink(address.sun_path);
	rmdir(directory);
}

static void test_each_side_of_a_connection_knows_the_other_and_a_pair_does_not(void)
{
	const char *address = address_of("who");
	int listener = listening(SOCK_STREAM, address), client, server, pair[2];
	struct ucred credentials = {.pid = 77};

	client = socket_connect(address, SOCK_STREAM, BEAM_FOREVER);
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	check_int(socket_credentials(client, &credentials), 0);
	check(credentials.pid == getpid() && credentials.uid == geteuid() && credentials.gid == getegid());
	credentials.pid = 77;
	check_int(socket_credentials(server, &credentials), 0);
	check_int(credentials.pid, getpid());
	close(client);
	close(server);
	close(listener);

	pair_of(SOCK_STREAM, pair);
	credentials.pid = 77;
	check_int(socket_credentials(pair[0], &credentials), -ENODATA);
	check_int(credentials.pid, 77);
	close_both(pair);
}

static const struct test tests[] = {
    TEST(test_waiting_ends_with_what_is_ready_the_kick_or_the_deadline),
    TEST(test_a_hang_up_ends_any_wait),
    TEST(test_a_shutdown_wakes_who_waits),
    TEST(test_signals_do_not_end_a_wait),
    TEST(test_a_wait_for_room_that_ends_before_its_deadline_goes_on),
    TEST(test_a_connection_waits_for_room_until_the_deadline),
    TEST(test_a_deadline_that_passes_on_the_way_to_the_wait_ends_it),
    TEST(test_signals_do_not_end_a_connect),
    TEST(test_where_nobody_listens_there_is_no_connection),
    TEST(test_abstract_names_are_apart_for_each_type),
    TEST(test_a_path_is_an_address_too_of_one_type),
    TEST(test_each_side_of_a_connection_knows_the_other_and_a_pair_does_not),
};
HARNESS_MAIN("connect", tests)
