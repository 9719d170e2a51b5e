/* SPDX-License-Identifier: MIT */
/*
 * What the kernel promises: a descriptor that a peer chose can make close, recvmsg and fstat block
 * for as long as the peer likes. The tests use a TCP socket with SO_LINGER and unsent data, and a
 * file on a FUSE file system whose server is the peer.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <harness/harness.h>
#include <kernel/raw.h>
#include <linux/fuse.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* ---- SO_LINGER ------------------------------------------------------------------------------- */

/* SO_LINGER counts in seconds. A close that took at least this long has blocked. */
enum { LINGER_SECONDS = 1, WAITED_MS = 900 };

/* A TCP connection over the loopback. The peer reads nothing. */
struct lingering {
	int fd, peer;
};

static bool lingering_connect(struct lingering *ret)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool connected;

	ret->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ret->peer = -1;
	connected = bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 1) == 0 &&
		    getsockname(listener, (struct sockaddr *)&address, &size) == 0 &&
		    connect(ret->fd, (struct sockaddr *)&address, sizeof address) == 0 &&
		    (ret->peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0;
	close(listener);
	return connected;
}

/* Makes such a descriptor and sends it from ends[0], so that only the socket pair holds it. */
static struct lingering send_lingering(int ends[2])
{
	static const char bytes[1 << 16];
	struct linger linger = {.l_onoff = 1, .l_linger = LINGER_SECONDS};
	struct lingering lingering;

	if (!lingering_connect(&lingering)) {
		close(lingering.fd);
		skip("no TCP over the loopback: %s", strerror(errno));
	}
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	require_int(setsockopt(lingering.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
	while (send(lingering.fd, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		;
	require_int(raw_send(ends[0], "x", 1, &lingering.fd, 1, 0), 1);
	close(lingering.fd);
	return lingering;
}

static void expect_waited_since(int64_t begin)
{
	int64_t ms = (now_ns() - begin) / 1000000;

	if (ms < WAITED_MS)
		fail("%d ms is not waiting", (int)ms);
}

static void test_closing_a_received_descriptor_can_wait(void)
{
	struct raw_group group;
	int64_t begin;
	int ends[2];
	struct lingering lingering = send_lingering(ends);
	char byte;

	require_int(raw_receive(ends[1], &byte, 1, &group, 0), 1);
	begin = now_ns();
	raw_group_close(&group);
	expect_waited_since(begin);
	close(lingering.peer);
	close(ends[0]);
	close(ends[1]);
}

static void test_closing_a_socket_can_wait_for_a_descriptor_that_lies_unread_in_it(void)
{
	int ends[2];
	struct lingering lingering = send_lingering(ends);
	int64_t begin = now_ns();

	close(ends[1]);
	expect_waited_since(begin);
	close(lingering.peer);
	close(ends[0]);
}

static void test_a_receive_that_drops_a_descriptor_can_wait_in_spite_of_dontwait(void)
{
	int ends[2];
	struct lingering lingering = send_lingering(ends);
	int64_t begin = now_ns();
	char byte;

	check_int(recv(ends[1], &byte, 1, MSG_DONTWAIT), 1);
	expect_waited_since(begin);
	close(lingering.peer);
	close(ends[0]);
	close(ends[1]);
}

/* ---- FUSE ------------------------------------------------------------------------------------ */

enum { CHILD_SKIPS = 77 };

/* A file system with a single file. The test is its server. */
struct fuse {
	int device;
	char path[FOLDER_SIZE];
	/* The victim reports here how far it has got. */
	int progress[2];
	_Alignas(struct fuse_in_header) char request[FUSE_MIN_READ_BUFFER];
};

static bool fuse_mount(struct fuse *fuse)
{
	char options[96];

	fuse->device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fuse->device < 0 || unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, "") < 0)
		return false;
	snprintf(options, sizeof options, "fd=%d,rootmode=100600,user_id=0,group_id=0", fuse->device);
	close(file_make(fuse->path));
	if (mount("beam-test", fuse->path, "fuse", MS_NOSUID | MS_NODEV, options) == 0)
		return true;
	unlink(fuse->path);
	return false;
}

static void fuse_reply(struct fuse *fuse, int error, const void *body, size_t size)
{
	const struct fuse_in_header *request = (const void *)fuse->request;
	struct fuse_out_header header = {
	    .len = (uint32_t)(sizeof header + size), .error = error, .unique = request->unique};
	struct iovec iov[2] = {{&header, sizeof header}, {(void *)(uintptr_t)body, size}};

	check_int(writev(fuse->device, iov, body ? 2 : 1), header.len);
}

/* Replies to all requests until `opcode` arrives, which is left unanswered. */
static void fuse_serve_until(struct fuse *fuse, uint32_t opcode)
{
	const struct fuse_in_header *request = (const void *)fuse->request;
	struct fuse_init_out init = {.major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096};
	struct fuse_open_out opened = {.fh = 1};

	for (;;) {
		require(read(fuse->device, fuse->request, sizeof fuse->request) > 0);
		if (request->opcode == opcode)
			return;
		if (request->opcode == FUSE_INIT)
			fuse_reply(fuse, 0, &init, sizeof init);
		else if (request->opcode == FUSE_OPEN)
			fuse_reply(fuse, 0, &opened, sizeof opened);
		else if (request->opcode != FUSE_FORGET && request->opcode != FUSE_INTERRUPT)
			fuse_reply(fuse, -ENOSYS, NULL, 0);
	}
}

static void tell(const struct fuse *fuse, char step)
{
	check_int(write(fuse->progress[1], &step, 1), 1);
}

static int victim(void *argument)
{
	struct fuse *fuse = argument;
	struct stat status;
	int fd = open(fuse->path, O_RDONLY | O_CLOEXEC);

	close(fuse->device);
	require(fd >= 0);
	check_int(fcntl(fd, F_GET_SEALS), -1);
	check_int(errno, EINVAL);
	tell(fuse, 'S');
	check_int(fstat(fd, &status), 0);
	tell(fuse, 'F');
	close(fd);
	tell(fuse, 'C');
	return 0;
}

/* The victim has reached `step`, and waits there. */
static void expect_progress(const struct fuse *fuse, char step)
{
	struct pollfd more = {.fd = fuse->progress[0], .events = POLLIN};
	char told = 0;

	check_int(read(fuse->progress[0], &told, 1), 1);
	check_int(told, step);
	check_int(poll(&more, 1, 0), 0);
}

static int child_serves(void *argument)
{
	struct fuse_attr_out attributes = {.attr = {.ino = FUSE_ROOT_ID, .mode = S_IFREG | 0600, .nlink = 1}};
	static struct fuse fuse;
	pid_t child;

	(void)argument;
	if (!fuse_mount(&fuse))
		return CHILD_SKIPS;
	require_int(pipe2(fuse.progress, O_CLOEXEC), 0);
	child = process_spawn(victim, &fuse);

	/* F_GET_SEALS needed no reply from the server, fstat() waits for one. */
	fuse_serve_until(&fuse, FUSE_GETATTR);
	expect_progress(&fuse, 'S');
	fuse_reply(&fuse, 0, &attributes, sizeof attributes);

	/* close() waits for one, too. */
	fuse_serve_until(&fuse, FUSE_FLUSH);
	expect_progress(&fuse, 'F');
	fuse_reply(&fuse, 0, NULL, 0);
	check_int(process_wait(child), 0);
	expect_progress(&fuse, 'C');
	umount2(fuse.path, MNT_DETACH);
	unlink(fuse.path);
	return 0;
}

static void test_fstat_and_close_can_wait_for_the_server_of_a_file_but_get_seals_does_not(void)
{
	int code = process_wait(process_spawn(child_serves, NULL));

	if (code == CHILD_SKIPS)
		skip("no FUSE file system can be mounted here: needs /dev/fuse and CAP_SYS_ADMIN");
	check_int(code, 0);
}

static const struct test tests[] = {
    TEST(test_closing_a_received_descriptor_can_wait),
    TEST(test_closing_a_socket_can_wait_for_a_descriptor_that_lies_unread_in_it),
    TEST(test_a_receive_that_drops_a_descriptor_can_wait_in_spite_of_dontwait),
    TEST(test_fstat_and_close_can_wait_for_the_server_of_a_file_but_get_seals_does_not),
};

HARNESS_MAIN("kernel/blocking", tests)
