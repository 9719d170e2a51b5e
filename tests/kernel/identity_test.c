/* SPDX-License-Identifier: MIT */
/*
 * What the kernel promises: what it says about the process at the other end of a socket, and about
 * this process after a fork.
 */
#include <fcntl.h>
#include <harness/harness.h>
#include <kernel/raw.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <sys/wait.h>

/* asm/socket.h; the C library's headers may not know it. */
enum { RAW_SO_PASSPIDFD = 76 };

static struct ucred credentials(int socket)
{
	struct ucred peer = {0};
	socklen_t size = sizeof peer;

	check_int(getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size), 0);
	return peer;
}

/* Runs in another process and holds one end of a socket until the parent closes the other. */
static int child_holds(void *argument)
{
	int *ends = argument;
	char byte;

	close(ends[0]);
	if (geteuid() == 0)
		check_int(setuid(65534), 0);
	check_int(send(ends[1], "x", 1, MSG_NOSIGNAL), 1);
	return (int)recv(ends[1], &byte, 1, 0);
}

static void test_peercred_of_a_pair_is_its_creator_whoever_holds_the_other_end(void)
{
	struct ucred peer;
	int ends[2];
	pid_t child;
	char byte;

	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	child = process_spawn(child_holds, ends);
	close(ends[1]);
	check_int(recv(ends[0], &byte, 1, 0), 1);
	peer = credentials(ends[0]);
	check_int(peer.pid, getpid());
	check_int(peer.uid, geteuid());
	close(ends[0]);
	check_int(process_wait(child), 0);
}

static int child_connects(void *argument)
{
	const struct sockaddr_un *address = argument;
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char byte;

	require_int(connect(client, (const struct sockaddr *)address, sizeof *address), 0);
	return (int)recv(client, &byte, 1, 0);
}

/* A listening socket with a unique name. */
static int listen_abstract(struct sockaddr_un *address)
{
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "beam-kernel-test-%d", (int)getpid());
	require_int(bind(listener, (struct sockaddr *)address, sizeof *address), 0);
	require_int(listen(listener, 1), 0);
	return listener;
}

static void test_peercred_of_a_connection_is_who_connected(void)
{
	struct sockaddr_un address;
	int accepted, listener = listen_abstract(&address);
	pid_t child = process_spawn(child_connects, &address);

	accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	check_int(credentials(accepted).pid, child);
	close(accepted);
	check_int(process_wait(child), 0);
	close(listener);
}

enum { CANNOT = 77 };

/* Runs in a new pid namespace. Returns the process id that it sees of the other end. */
static int child_asks_from_a_namespace(void *socket)
{
	pid_t child;
	int status = -1;

	if (unshare(CLONE_NEWPID) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0)
		return CANNOT;
	child = fork();
	if (child == 0)
		process_exit(credentials(*(int *)socket).pid);
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static void test_who_is_outside_of_the_pid_namespace_has_the_pid_0(void)
{
	struct sockaddr_un address;
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), accepted, result,
	    listener = listen_abstract(&address);

	require_int(connect(client, (struct sockaddr *)&address, sizeof address), 0);
	accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	result = process_wait(process_spawn(child_asks_from_a_namespace, &accepted));
	close(accepted);
	close(client);
	close(listener);
	if (result == CANNOT)
		skip("no pid namespaces");
	check_int(result, 0);
}

static void test_a_pair_has_no_address_and_a_connection_has_its_listeners(void)
{
	struct sockaddr_un address, found;
	int ends[2], client, listener = listen_abstract(&address);
	socklen_t size = sizeof found;

	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	check_int(getpeername(ends[0], (struct sockaddr *)&found, &size), 0);
	check_int(size, sizeof found.sun_family);
	size = sizeof found;
	check_int(getsockname(ends[0], (struct sockaddr *)&found, &size), 0);
	check_int(size, sizeof found.sun_family);

	client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	require_int(connect(client, (struct sockaddr *)&address, sizeof address), 0);
	size = sizeof found;
	check_int(getpeername(client, (struct sockaddr *)&found, &size), 0);
	check_int(size, sizeof address);
	close(client);
	close(listener);
	close(ends[0]);
	close(ends[1]);
}

static void test_a_pidfd_can_arrive_unasked_on_a_socket_that_came_from_elsewhere(void)
{
	struct raw_group group;
	int ends[2], file;
	char byte;

	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	/* A previous holder of the socket can have set this. */
	if (setsockopt(ends[1], SOL_SOCKET, RAW_SO_PASSPIDFD, &(int){1}, sizeof(int)) < 0) {
		close(ends[0]);
		close(ends[1]);
		skip("SO_PASSPIDFD is from Linux 6.5");
	}
	file = raw_file();
	check_int(raw_send(ends[0], "x", 1, &file, 1, 0), 1);
	check_int(raw_receive(ends[1], &byte, 1, &group, 0), 1);
	check_int(group.n_cmsgs, 2);
	check_int(group.n_fds, 1);
	check(group.pidfd >= 0);
	raw_group_close(&group);
	close(file);
	close(ends[0]);
	close(ends[1]);
}

static int child_looks_at_page(void *argument)
{
	return *(int *)argument;
}

static void test_a_page_wiped_on_fork_is_zero_in_the_child_and_as_it_was_here(void)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	int *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	require(page != MAP_FAILED);
	require_int(madvise(page, size, MADV_WIPEONFORK), 0);
	*page = 7;
	check_int(process_wait(process_spawn(child_looks_at_page, page)), 0);
	check_int(*page, 7);
	munmap(page, size);
}

static const struct test tests[] = {
    TEST(test_peercred_of_a_pair_is_its_creator_whoever_holds_the_other_end),
    TEST(test_peercred_of_a_connection_is_who_connected),
    TEST(test_who_is_outside_of_the_pid_namespace_has_the_pid_0),
    TEST(test_a_pair_has_no_address_and_a_connection_has_its_listeners),
    TEST(test_a_pidfd_can_arrive_unasked_on_a_socket_that_came_from_elsewhere),
    TEST(test_a_page_wiped_on_fork_is_zero_in_the_child_and_as_it_was_here),
};

HARNESS_MAIN("kernel/identity", tests)
