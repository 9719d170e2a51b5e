/* SPDX-License-Identifier: MIT */
/* Sockets that a service manager passes to the process. */
#include <fcntl.h>
#include <harness/fault.h>
#include <public/listening.h>

static struct spot spot;

enum { FIRST = 3, SOCKETS = 3 };

static void path_of(int i, char path[80])
{
	snprintf(path, 80, "%s%d", spot.path, i);
}

static void set_listen_pid(void)
{
	char pid[20];

	snprintf(pid, sizeof pid, "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
}

/* Passes sockets as systemd does: from descriptor 3 on, and not close-on-exec. */
static void hand_over(const char *names)
{
	char path[80];

	for (int i = 0; i < SOCKETS; i++) {
		path_of(i, path);
		require_int(raw_listen(path, 1), FIRST + i);
		fcntl(FIRST + i, F_SETFD, 0);
	}
	set_listen_pid();
	setenv("LISTEN_FDS", "3", 1);
	if (names)
		setenv("LISTEN_FDNAMES", names, 1);
	else
		unsetenv("LISTEN_FDNAMES");
}

static void clear_away(void)
{
	char path[80];

	for (int i = 0; i < SOCKETS; i++) {
		path_of(i, path);
		unlink(path);
	}
}

/* Makes a listener. Returns the index of its socket, or an error. */
static int take_one(const char *name, beam_listener **ret)
{
	int r = beam_listener_from_environment(ret, name, NULL);

	if (r < 0)
		return r;
	for (int i = 0; i < SOCKETS; i++) {
		beam_channel *channels[2];
		char path[80];

		path_of(i, path);
		require_int(beam_channel_connect(&channels[0], path, NULL, soon()), 0);
		if (beam_listener_accept(*ret, &channels[1], BEAM_NOWAIT) == 1) {
			part(channels);
			return i;
		}
		beam_channel_unref(channels[0]);
	}
	return -ENODATA;
}

static int child_takes_all(void *argument)
{
	beam_listener *listeners[SOCKETS] = {NULL}, *none = NULL;

	hand_over(argument);
	for (int i = 0; i < SOCKETS; i++) {
		check_int(take_one(NULL, &listeners[i]), i);
		check_int(fcntl(FIRST + i, F_GETFD), FD_CLOEXEC);
	}
	check_int(beam_listener_from_environment(&none, NULL, NULL), -ENOENT);
	check(none == NULL);
	check_string(getenv("LISTEN_FDS"), "3");
	for (int i = 0; i < SOCKETS; i++)
		beam_listener_unref(listeners[i]);
	/* The descriptors are closed, or their numbers belong to other files. */
	check_int(beam_listener_from_environment(&none, NULL, NULL), -ENOENT);
	return 0;
}

static int child_takes_by_name(void *argument)
{
	beam_listener *a = NULL, *b[2] = {NULL, NULL}, *none = NULL;

	(void)argument;
	hand_over("bb:a:bb");
	check_int(beam_listener_from_environment(&none, "b", NULL), -ENOENT);
	check_int(beam_listener_from_environment(&none, "", NULL), -ENOENT);
	check_int(beam_listener_from_environment(&none, "bb:a", NULL), -ENOENT);
	check_int(take_one("a", &a), 1);
	check_int(beam_listener_from_environment(&none, "a", NULL), -ENOENT);
	check_int(take_one("bb", &b[0]), 0);
	check_int(take_one("bb", &b[1]), 2);
	check_int(beam_listener_from_environment(&none, "bb", NULL), -ENOENT);
	check(none == NULL);
	beam_listener_unref(a);
	beam_listener_unref(b[0]);
	beam_listener_unref(b[1]);
	return 0;
}

static int child_finds_nothing(void *argument)
{
	static const struct {
		const char *pid, *fds;
	} rows[] = {{"1", "3"},
		    {"", "3"},
		    {NULL, "3"},
		    {"self", ""},
		    {"self", NULL},
		    {"self", "0"},
		    {"self", "-3"},
		    {"self", "3x"},
		    {"self", " 3"},
		    {"self", "99999999999999999999"},
		    {"self", "all"},
		    {"self", "2147483647"},
		    {"self", "2000000000"},
		    {"self", "1048577"}};
	beam_listener *none = NULL;
	char self[20];

	(void)argument;
	hand_over(NULL);
	snprintf(self, sizeof self, "%d", (int)getpid());
	check_int(beam_listener_from_environment(&none, "name", NULL), -ENOENT);
	/* If there are fewer names than sockets, the last sockets have none. */
	setenv("LISTEN_FDNAMES", "other", 1);
	check_int(beam_listener_from_environment(&none, "name", NULL), -ENOENT);
	check_int(beam_listener_from_environment(&none, "", NULL), -ENOENT);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		unsetenv("LISTEN_PID");
		unsetenv("LISTEN_FDS");
		if (rows[i].pid)
			setenv("LISTEN_PID", strcmp(rows[i].pid, "self") == 0 ? self : rows[i].pid, 1);
		if (rows[i].fds)
			setenv("LISTEN_FDS", rows[i].fds, 1);
		harness_context("row %zu", i);
		check_int(beam_listener_from_environment(&none, NULL, NULL), -ENOENT);
	}
	harness_context("%s", "");
	check(none == NULL);
	/* No socket has been changed. */
	for (int i = 0; i < SOCKETS; i++)
		check_int(fcntl(FIRST + i, F_GETFD), 0);
	return 0;
}

/* Descriptors of all other kinds. */
static size_t make_others(int ret[], const char *path)
{
	size_t n = 0;
	int fd;

	ret[n++] = memfd_create("stored", MFD_CLOEXEC);
	ret[n++] = epoll_create1(EPOLL_CLOEXEC);
	ret[n++] = eventfd(0, EFD_CLOEXEC);
	ret[n++] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	ret[n++] = open("/", O_PATH | O_CLOEXEC);
	ret[n++] = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ret[n++] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	check_int(bind(fd, (struct sockaddr *)&(struct sockaddr_un){.sun_family = AF_UNIX}, sizeof(sa_family_t)), 0);
	check_int(listen(fd, 1), 0);
	ret[n++] = fd;
	ret[n++] = raw_connect(path);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0) {
		check_int(listen(fd, 1), 0);
		ret[n++] = fd;
	}
	return n;
}

static int child_is_given_something_else(void *argument)
{
	int others[16];
	char path[80];
	size_t n;

	(void)argument;
	hand_over("a:b:c");
	path_of(0, path);
	n = make_others(others, path);
	for (size_t i = 0; i < n; i++) {
		beam_listener *listener = NULL;

		harness_context("kind %zu", i);
		/* Replaces the first socket. */
		require(others[i] >= 0);
		require_int(dup2(others[i], FIRST), FIRST);
		check_int(beam_listener_from_environment(&listener, "a", NULL), -ENOENT);
		require_int(beam_listener_from_environment(&listener, NULL, NULL), 0);
		check_int(fcntl(FIRST, F_GETFD), 0);
		check_int(fcntl(FIRST + 1, F_GETFD), FD_CLOEXEC);
		check_int(fcntl(FIRST + 2, F_GETFD), 0);
		listener = beam_listener_unref(listener);
		/* Restores the second socket for the next round. */
		path_of(1, path);
		unlink(path);
		require_int(raw_listen(path, 1), FIRST + 1);
		fcntl(FIRST + 1, F_SETFD, 0);
	}
	harness_context("%s", "");
	for (size_t i = 0; i < n; i++)
		close(others[i]);
	return 0;
}

static int child_fails_to_take(void *argument)
{
	struct beam_listener_options bad = BEAM_LISTENER_OPTIONS;
	beam_listener *listener = NULL;

	(void)argument;
	hand_over("a:b:c");
	bad.backlog = 0;
	check_int(beam_listener_from_environment(&listener, "a", &bad), -EINVAL);
	check_int(fcntl(FIRST, F_GETFD), 0);
	check_int(take_one("a", &listener), 0);
	beam_listener_unref(listener);
	return 0;
}

/* The sockets were made by another process, and this process calls sd_listen_fds(0). */
static int child_calls_sd_listen_fds(void *argument)
{
	struct beam_listener_options bad = BEAM_LISTENER_OPTIONS;
	beam_listener *listeners[SOCKETS] = {NULL}, *none = NULL;
	char path[80];

	(void)argument;
	set_listen_pid();
	for (int i = 0; i < SOCKETS; i++)
		fcntl(FIRST + i, F_SETFD, FD_CLOEXEC);
	bad.backlog = 0;
	check_int(beam_listener_from_environment(&none, "b", &bad), -EINVAL);
	check_int(fcntl(FIRST + 1, F_GETFD), FD_CLOEXEC);
	/*
	 * If the kernel does not report a socket's domain or type, whether it listens, or who
	 * listens, it is not taken.
	 */
	for (unsigned long n = 1; n <= 4; n++) {
		fault_only(FAULT(SYS_GETSOCKOPT));
		fault_at(n, ENOBUFS, FAULT_STICKY);
		check_int(beam_listener_from_environment(&none, "b", NULL), -ENOENT);
		fault_off();
	}
	check_int(fcntl(FIRST + 1, F_GETFD), FD_CLOEXEC);
	check_int(take_one("b", &listeners[1]), 1);
	check_int(beam_listener_from_environment(&none, "b", NULL), -ENOENT);
	check_int(take_one(NULL, &listeners[0]), 0);
	check_int(take_one(NULL, &listeners[2]), 2);
	check_int(beam_listener_from_environment(&none, NULL, NULL), -ENOENT);
	for (int i = 0; i < SOCKETS; i++)
		beam_listener_unref(listeners[i]);
	/* A socket on which the process itself listens does not come from the service manager. */
	path_of(0, path);
	unlink(path);
	require_int(raw_listen(path, 1), FIRST);
	check_int(beam_listener_from_environment(&none, NULL, NULL), -ENOENT);
	check(none == NULL);
	close(FIRST);
	/* As after sd_listen_fds(1). */
	unsetenv("LISTEN_PID");
	check_int(beam_listener_from_environment(&none, NULL, NULL), -ENOENT);
	return 0;
}

/* First F_GETFD fails, and then F_SETFD. */
static int child_cannot_take(void *argument)
{
	beam_listener *listener = NULL;

	(void)argument;
	hand_over(NULL);
	for (unsigned long n = 1; n <= 2; n++) {
		fault_only(FAULT(SYS_FCNTL));
		fault_at(n, ENOMEM, FAULT_STICKY);
		check_int(beam_listener_from_environment(&listener, NULL, NULL), n == 1 ? -ENOENT : -ENOMEM);
		check(fault_hit());
		fault_off();
		check(listener == NULL);
		check_int(fcntl(FIRST, F_GETFD), 0);
	}
	check_int(take_one(NULL, &listener), 0);
	beam_listener_unref(listener);
	return 0;
}

static void in_a_service(int (*run)(void *argument), void *argument)
{
	needs_threads_in_children();
	spot_make(&spot);
	check_int(process_wait(process_spawn(run, argument)), 0);
	clear_away();
	spot_end(&spot);
}

static void test_each_socket_of_the_service_manager_is_taken_once(void)
{
	in_a_service(child_takes_all, NULL);
	in_a_service(child_takes_all, "a:b:c");
}

static void test_sockets_of_the_service_manager_are_taken_by_name(void)
{
	in_a_service(child_takes_by_name, NULL);
}

static void test_what_is_not_for_this_process_or_makes_no_sense_is_not_taken(void)
{
	in_a_service(child_finds_nothing, NULL);
}

static void test_descriptors_of_other_kinds_from_the_service_manager_are_passed_over(void)
{
	in_a_service(child_is_given_something_else, NULL);
}

static void test_a_socket_that_could_not_be_taken_can_be_taken_by_another_call(void)
{
	in_a_service(child_fails_to_take, NULL);
}

static void test_sockets_are_taken_after_sd_listen_fds_was_called(void)
{
	needs_threads_in_children();
	spot_make(&spot);
	hand_over("a:b:c");
	check_int(process_wait(process_spawn(child_calls_sd_listen_fds, NULL)), 0);
	for (int i = 0; i < SOCKETS; i++)
		close(FIRST + i);
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	unsetenv("LISTEN_PID");
	clear_away();
	spot_end(&spot);
}

static void test_a_socket_that_cannot_be_marked_as_taken_is_not_taken(void)
{
	in_a_service(child_cannot_take, NULL);
}

static const struct test tests[] = {
    TEST(test_each_socket_of_the_service_manager_is_taken_once),
    TEST(test_sockets_of_the_service_manager_are_taken_by_name),
    TEST(test_what_is_not_for_this_process_or_makes_no_sense_is_not_taken),
    TEST(test_descriptors_of_other_kinds_from_the_service_manager_are_passed_over),
    TEST(test_a_socket_that_could_not_be_taken_can_be_taken_by_another_call),
    TEST(test_sockets_are_taken_after_sd_listen_fds_was_called),
    TEST(test_a_socket_that_cannot_be_marked_as_taken_is_not_taken),
};

HARNESS_MAIN("listener/activation", tests)
