/* SPDX-License-Identifier: MIT */
/*
 * What the kernel promises: listening sockets, the files that they are bound to, and what their
 * clients see.
 */
#include <fcntl.h>
#include <harness/harness.h>
#include <kernel/raw.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/un.h>

static char folder[FOLDER_SIZE];
static struct sockaddr_un address;

static void make_folder(void)
{
	folder_make(folder);
	address = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", folder);
}

static void remove_folder(void)
{
	unlink(address.sun_path);
	check_int(rmdir(folder), 0);
}

static int make_bound(mode_t mode)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	require(fd >= 0);
	if (mode)
		require_int(fchmod(fd, mode), 0);
	require_int(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

static int try_connect(int *ret)
{
	*ret = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return connect(*ret, (struct sockaddr *)&address, sizeof address) < 0 ? -errno : 0;
}

static void test_a_bound_socket_has_the_mode_of_its_socket_less_the_umask(void)
{
	static const struct {
		mode_t mode, umask, file;
	} rows[] = {{0600, 0, 0600}, {0666, 0, 0666}, {0666, 022, 0644}, {0600, 0177, 0600}, {0640, 0777, 0}};
	mode_t before = umask(0);

	make_folder();
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct stat status = {0};
		int fd;

		umask(rows[i].umask);
		fd = make_bound(rows[i].mode);
		check_int(lstat(address.sun_path, &status), 0);
		check_int(status.st_mode & 07777, rows[i].file);
		close(fd);
		unlink(address.sun_path);
	}
	umask(before);
	remove_folder();
}

static void test_a_bound_socket_can_be_connected_to_only_once_it_listens(void)
{
	int fd, client;

	make_folder();
	fd = make_bound(0);
	check_int(try_connect(&client), -ECONNREFUSED);
	close(client);
	require_int(listen(fd, 1), 0);
	check_int(try_connect(&client), 0);
	close(client);
	close(fd);
	/* And not after it has been closed, although its file exists. */
	check_int(try_connect(&client), -ECONNREFUSED);
	close(client);
	remove_folder();
}

static void test_the_inode_of_a_bound_socket_is_not_given_away_while_it_is_open(void)
{
	struct stat first, other;
	int fd, file;

	make_folder();
	fd = make_bound(0);
	require_int(lstat(address.sun_path, &first), 0);
	require_int(unlink(address.sun_path), 0);
	for (int i = 0; i < 100; i++) {
		file = open(address.sun_path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
		require(file >= 0);
		require_int(fstat(file, &other), 0);
		check(other.st_ino != first.st_ino);
		close(file);
		unlink(address.sun_path);
	}
	close(fd);
	remove_folder();
}

static int child_listens_again(void *argument)
{
	int fd = *(int *)argument, client;
	struct ucred peer = {0};
	socklen_t size = sizeof peer;

	require_int(listen(fd, 5), 0);
	require_int(try_connect(&client), 0);
	check_int(getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &size), 0);
	check_int(peer.pid, getpid());
	close(client);
	return 0;
}

static void test_a_client_sees_the_process_that_called_listen_last(void)
{
	int fd;

	make_folder();
	fd = make_bound(0);
	require_int(listen(fd, 1), 0);
	check_int(process_wait(process_spawn(child_listens_again, &fd)), 0);
	close(fd);
	remove_folder();
}

static void test_with_a_full_table_accept_says_so_whether_or_not_somebody_waits(void)
{
	struct rlimit old, low;
	int fd, client;

	if (under_valgrind())
		skip("Valgrind keeps the limit to itself");
	make_folder();
	fd = make_bound(0);
	require_int(listen(fd, 1), 0);
	check_int(accept4(fd, NULL, NULL, SOCK_CLOEXEC), -1);
	check_int(errno, EAGAIN);
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	low.rlim_cur = (rlim_t)fd + 1;
	setrlimit(RLIMIT_NOFILE, &low);
	check_int(accept4(fd, NULL, NULL, SOCK_CLOEXEC), -1);
	check_int(errno, EMFILE);
	setrlimit(RLIMIT_NOFILE, &old);
	require_int(try_connect(&client), 0);
	setrlimit(RLIMIT_NOFILE, &low);
	/* The client that is waiting is not lost. */
	for (int i = 0; i < 2; i++) {
		check_int(accept4(fd, NULL, NULL, SOCK_CLOEXEC), -1);
		check_int(errno, EMFILE);
	}
	low.rlim_cur = (rlim_t)client + 2;
	setrlimit(RLIMIT_NOFILE, &low);
	check_int(accept4(fd, NULL, NULL, SOCK_CLOEXEC), client + 1);
	setrlimit(RLIMIT_NOFILE, &old);
	close(client + 1);
	close(client);
	close(fd);
	remove_folder();
}

static void test_a_listening_socket_is_readable_as_long_as_somebody_waits(void)
{
	struct pollfd poller = {.events = POLLIN};
	int client;

	make_folder();
	poller.fd = make_bound(0);
	require_int(listen(poller.fd, 1), 0);
	check_int(poll(&poller, 1, 0), 0);
	require_int(try_connect(&client), 0);
	/* The client has already left. */
	close(client);
	for (int i = 0; i < 2; i++)
		check_int(poll(&poller, 1, 0), 1);
	close(accept4(poller.fd, NULL, NULL, SOCK_CLOEXEC));
	check_int(poll(&poller, 1, 0), 0);
	close(poller.fd);
	remove_folder();
}

static const struct test tests[] = {
    TEST(test_a_bound_socket_has_the_mode_of_its_socket_less_the_umask),
    TEST(test_a_bound_socket_can_be_connected_to_only_once_it_listens),
    TEST(test_the_inode_of_a_bound_socket_is_not_given_away_while_it_is_open),
    TEST(test_a_client_sees_the_process_that_called_listen_last),
    TEST(test_with_a_full_table_accept_says_so_whether_or_not_somebody_waits),
    TEST(test_a_listening_socket_is_readable_as_long_as_somebody_waits),
};

HARNESS_MAIN("kernel/listening", tests)
