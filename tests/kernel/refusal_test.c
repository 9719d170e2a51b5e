/* SPDX-License-Identifier: MIT */
/*
 * What the kernel promises: a send with descriptors is done completely or not at all, and why it
 * may be refused.
 */
#include <fcntl.h>
#include <harness/harness.h>
#include <kernel/raw.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/un.h>

/* asm/socket.h; the C library's headers may not know it. */
enum { RAW_SO_PASSRIGHTS = 83 };

/* The exit status of a child that cannot test here. */
enum { CHILD_SKIPS = 77 };

static void open_pair(int ends[2])
{
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
}

static void close_pair(const int ends[2])
{
	close(ends[0]);
	close(ends[1]);
}

/*
 * The send must return `expected`, and send nothing: the next read returns what the next send has
 * sent.
 */
static void expect_refusal(const int ends[2], const int *fds, size_t n_fds, int expected)
{
	struct raw_group group;
	char byte = 0;

	check_int(raw_send(ends[0], "lost", 4, fds, n_fds, 0), expected);
	check_int(raw_send(ends[0], "!", 1, NULL, 0, 0), 1);
	check_int(raw_receive(ends[1], &byte, 1, &group, 0), 1);
	check_int(byte, '!');
	check_int(group.n_fds, 0);
	raw_group_close(&group);
	check_int(raw_receive(ends[1], &byte, 1, &group, 0), -EAGAIN);
}

static void test_one_bad_descriptor_refuses_its_whole_batch(void)
{
	int ends[2], good = eventfd(0, EFD_CLOEXEC), bad;

	open_pair(ends);
	bad = dup(good);
	close(bad);
	expect_refusal(ends, (int[]){good, bad}, 2, -EBADF);
	expect_refusal(ends, (int[]){bad, good}, 2, -EBADF);
	close_pair(ends);
	close(good);
}

static void test_one_io_uring_refuses_its_whole_batch(void)
{
	struct io_uring_params parameters = {0};
	int ends[2], good, ring = (int)syscall(SYS_io_uring_setup, 4, &parameters);

	if (ring < 0)
		skip("io_uring_setup: %s", strerror(errno));
	good = eventfd(0, EFD_CLOEXEC);
	open_pair(ends);
	expect_refusal(ends, (int[]){good, ring}, 2, -EINVAL);
	close_pair(ends);
	close(good);
	close(ring);
}

/* Makes a socket accept no descriptors. Returns false before Linux 6.16. */
static bool refuse_descriptors(int socket)
{
	return setsockopt(socket, SOL_SOCKET, RAW_SO_PASSRIGHTS, &(int){0}, sizeof(int)) == 0;
}

static void test_a_socket_without_passrights_refuses_descriptors_and_takes_plain_bytes(void)
{
	int ends[2], good;

	open_pair(ends);
	if (!refuse_descriptors(ends[1])) {
		close_pair(ends);
		skip("SO_PASSRIGHTS is from Linux 6.16");
	}
	good = eventfd(0, EFD_CLOEXEC);
	expect_refusal(ends, &good, 1, -EPERM);
	close_pair(ends);
	close(good);
}

static void test_a_listener_without_passrights_hands_that_on_before_accept(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int value = 1, good, accepted, client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof address;

	if (!refuse_descriptors(listener)) {
		close(listener);
		close(client);
		skip("SO_PASSRIGHTS is from Linux 6.16");
	}
	good = eventfd(0, EFD_CLOEXEC);
	/* The kernel chooses a name. */
	require_int(bind(listener, (struct sockaddr *)&address, sizeof address.sun_family), 0);
	require_int(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	require_int(listen(listener, 1), 0);
	require_int(connect(client, (struct sockaddr *)&address, size), 0);
	check_int(raw_send(client, "x", 1, &good, 1, 0), -EPERM);
	accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	size = sizeof value;
	check_int(getsockopt(accepted, SOL_SOCKET, RAW_SO_PASSRIGHTS, &value, &size), 0);
	check_int(value, 0);
	check_int(raw_send(client, "x", 1, &good, 1, 0), -EPERM);
	close(accepted);
	close(client);
	close(listener);
	close(good);
}

/* ---- Payloads that are not in memory --------------------------------------------------------- */

/* Twice `size` bytes, of which only the first half can be read, because the file ends there. */
static char *half_a_file(size_t size)
{
	int file = memfd_create("half", MFD_CLOEXEC);
	char *at;

	require_int(ftruncate(file, (off_t)size), 0);
	at = mmap(NULL, 2 * size, PROT_READ, MAP_SHARED, file, 0);
	require(at != MAP_FAILED);
	close(file);
	return at;
}

/* TX_UNDIVIDED in src/session/tx.h depends on this. */
static void test_of_its_first_36000_bytes_a_send_takes_all_or_none(void)
{
	enum { ONE_PIECE = 36000, HALF = 128 << 10 };
	char *half = half_a_file(HALF);

	for (size_t before = 1; before <= ONE_PIECE;
	     before = before * 2 < ONE_PIECE || before == ONE_PIECE ? before * 2 : ONE_PIECE) {
		/* Only the last byte cannot be read. */
		struct iovec iov[2] = {{half, before - 1}, {half + HALF, 1}};
		int ends[2], good = eventfd(0, EFD_CLOEXEC);
		struct raw_group group;
		char byte;

		open_pair(ends);
		check_int(raw_sendv(ends[0], iov, 2, &good, 1, 0), -EFAULT);
		check_int(raw_receive(ends[1], &byte, 1, &group, 0), -EAGAIN);
		close_pair(ends);
		close(good);
	}
	munmap(half, 2 * HALF);
}

static void test_a_longer_send_takes_what_comes_before_the_piece_that_cannot_be_read(void)
{
	enum { HALF = 128 << 10 };
	char *half = half_a_file(HALF);
	int ends[2];
	ssize_t n;

	open_pair(ends);
	n = raw_send(ends[0], half, 2 * HALF, NULL, 0, 0);
	check(n > 0 && n <= HALF);
	check_int(raw_send(ends[0], half + HALF, HALF, NULL, 0, 0), -EFAULT);
	close_pair(ends);
	munmap(half, 2 * HALF);
}

/* ---- Descriptors in flight: counted per user, limited by RLIMIT_NOFILE ----------------------- */

enum { IN_FLIGHT_LIMIT = 64, BATCH = 16 };

/*
 * Becomes a user of its own who is bound by the limit, so that no other process's descriptors
 * count.
 */
static bool become_limited(void)
{
	struct rlimit limit = {IN_FLIGHT_LIMIT, IN_FLIGHT_LIMIT};

	if (geteuid() == 0 &&
	    setresuid((uid_t)(1000000 + getpid()), (uid_t)(1000000 + getpid()), (uid_t)(1000000 + getpid())) < 0)
		return false;
	return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

static ssize_t send_batch(int socket, int fd)
{
	int fds[BATCH];

	for (int i = 0; i < BATCH; i++)
		fds[i] = fd;
	return raw_send(socket, "x", 1, fds, BATCH, 0);
}

/* Sends descriptors until the kernel reports too many. Returns the number of sends. */
static int fill_flight(int socket, int fd)
{
	int n = 0;
	ssize_t r;

	while ((r = send_batch(socket, fd)) > 0)
		n++;
	check_int(r, -ETOOMANYREFS);
	return n;
}

/* Runs a function in a child, as a limited user. */
static void in_limited_child(int (*run)(void *argument))
{
	int code = process_wait(process_spawn(run, NULL));

	if (code == CHILD_SKIPS)
		skip("needs a user other than root, and can not become one: setresuid() or setrlimit() fails");
	check_int(code, 0);
}

static int child_fills_flight(void *argument)
{
	int full[2], other[2], good = eventfd(0, EFD_CLOEXEC);
	struct raw_group group;
	struct pollfd room;
	char byte;
	int n;

	(void)argument;
	open_pair(full);
	open_pair(other);
	if (!become_limited())
		return CHILD_SKIPS;
	n = fill_flight(full[0], good);
	check(n > 0);

	/* The limit applies to all sockets, poll() reports room, and bytes can be sent. */
	check_int(send_batch(other[0], good), -ETOOMANYREFS);
	room = (struct pollfd){.fd = other[0], .events = POLLOUT};
	check_int(poll(&room, 1, 0), 1);
	check_int(raw_send(other[0], "x", 1, NULL, 0, 0), 1);

	/* The refused send has sent nothing. */
	check_int(raw_receive(other[1], &byte, 1, &group, 0), 1);
	check_int(group.n_fds, 0);
	check_int(raw_receive(other[1], &byte, 1, &group, 0), -EAGAIN);

	/* Sends succeed again when some of the descriptors have been received. */
	for (int i = 0; i < n; i++) {
		check_int(raw_receive(full[1], &byte, 1, &group, 0), 1);
		raw_group_close(&group);
	}
	check_int(send_batch(other[0], good), 1);
	return 0;
}

static void test_too_many_descriptors_in_flight_refuse_a_send_and_poll_does_not_know(void)
{
	in_limited_child(child_fills_flight);
}

static int child_of_the_same_user(void *argument)
{
	int ends[2];

	open_pair(ends);
	check_int(send_batch(ends[0], *(int *)argument), -ETOOMANYREFS);
	return 0;
}

static int child_with_a_child(void *argument)
{
	int full[2], good = eventfd(0, EFD_CLOEXEC);

	(void)argument;
	open_pair(full);
	if (!become_limited())
		return CHILD_SKIPS;
	fill_flight(full[0], good);
	return process_wait(process_spawn(child_of_the_same_user, &good));
}

static void test_descriptors_in_flight_are_counted_over_all_processes_of_a_user(void)
{
	in_limited_child(child_with_a_child);
}

static const struct test tests[] = {
    TEST(test_one_bad_descriptor_refuses_its_whole_batch),
    TEST(test_one_io_uring_refuses_its_whole_batch),
    TEST(test_a_socket_without_passrights_refuses_descriptors_and_takes_plain_bytes),
    TEST(test_a_listener_without_passrights_hands_that_on_before_accept),
    TEST(test_of_its_first_36000_bytes_a_send_takes_all_or_none),
    TEST(test_a_longer_send_takes_what_comes_before_the_piece_that_cannot_be_read),
    TEST(test_too_many_descriptors_in_flight_refuse_a_send_and_poll_does_not_know),
    TEST(test_descriptors_in_flight_are_counted_over_all_processes_of_a_user),
};

HARNESS_MAIN("kernel/refusal", tests)
