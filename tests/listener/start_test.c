/* SPDX-License-Identifier: MIT */
/*
 * A client waits for a server to start. It keeps waiting through everything that happens to the
 * address until the server listens.
 */
#include <fcntl.h>
#include <harness/fault.h>
#include <public/listening.h>
#include <stdatomic.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>

/* How often the connect() calls of this program have ended with each errno. */
static atomic_uint ended[256];
static atomic_uint begun;

int connect(int fd, const struct sockaddr *name, socklen_t size)
{
	int r;

	atomic_fetch_add(&begun, 1);
	r = (int)syscall(SYS_connect, fd, name, size);
	atomic_fetch_add(&ended[r < 0 ? errno & 255 : 0], 1);
	return r;
}

/* Waits until the client has got this error. */
static void expect_seen(int error)
{
	unsigned before = atomic_load(&ended[error]);

	check_within(20000, atomic_load(&ended[error]) > before);
}

struct client {
	const char *address;
	beam_channel *channel;
	int result;
};

static void *wait_for_server(void *argument)
{
	struct beam_connect_options options = BEAM_CONNECT_OPTIONS;
	struct client *client = argument;

	/* Changes only this thread. Permissions do not apply to root. */
	if (geteuid() == 0)
		setfsuid(65534);
	options.wait_for_server = 1;
	client->result = beam_channel_connect(&client->channel, client->address, &options, soon());
	return NULL;
}

static void test_who_waits_for_a_server_waits_through_all_it_does_to_start(void)
{
	struct spot spot;
	char folder[FOLDER_SIZE + 8], address[80];
	struct client client = {.address = address, .result = -1};
	pthread_t thread;
	unsigned before;
	int fd, waiting[2];

	spot_make(&spot);
	chmod(spot.folder, 0755);
	snprintf(folder, sizeof folder, "%s/folder", spot.folder);
	snprintf(address, sizeof address, "%s/socket", folder);
	thread = thread_spawn(wait_for_server, &client);
	expect_seen(ENOENT);
	require_int(mkdir(folder, 0), 0);
	expect_seen(EACCES);
	require_int(chmod(folder, 0755), 0);
	expect_seen(ENOENT);
	/* A file that is not a socket, and then a stale socket. */
	close(open(address, O_CREAT | O_WRONLY | O_CLOEXEC, 0666));
	require_int(chmod(address, 0666), 0);
	expect_seen(ECONNREFUSED);
	unlink(address);
	close(raw_listen(address, 1));
	require_int(chmod(address, 0666), 0);
	expect_seen(ECONNREFUSED);
	unlink(address);
	expect_seen(ENOENT);
	/*
	 * The server's socket is bound, gets its permissions, and listens. Another client connects
	 * first.
	 */
	fd = raw_listen(address, 0);
	require_int(chmod(address, 0), 0);
	expect_seen(EACCES);
	require_int(chmod(address, 0666), 0);
	expect_seen(ECONNREFUSED);
	require_int(rename(address, spot.path), 0);
	expect_seen(ENOENT);
	require_int(listen(fd, 0), 0);
	waiting[0] = raw_connect(spot.path);
	require(waiting[0] >= 0);
	before = atomic_load(&begun);
	require_int(rename(spot.path, address), 0);
	/* The backlog is full, so this connect() blocks until there is room. */
	check_within(20000, atomic_load(&begun) > before);
	waiting[1] = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	check(waiting[1] >= 0);
	thread_wait(thread);
	check_int(client.result, 0);
	beam_channel_unref(client.channel);
	close(waiting[0]);
	close(waiting[1]);
	close(fd);
	unlink(address);
	rmdir(folder);
	spot_end(&spot);
}

static void test_permissions_that_never_come_are_reported_at_the_deadline(void)
{
	struct beam_connect_options options = BEAM_CONNECT_OPTIONS;
	beam_listener *listener = listen_at(abstract_address(), NULL);
	beam_channel *channel = NULL;
	int64_t begin;

	fault_only(FAULT(SYS_CONNECT));
	fault_at(1, EACCES, FAULT_STICKY);
	check_int(beam_channel_connect(&channel, abstract_address(), &options, BEAM_FOREVER), -EACCES);
	options.wait_for_server = 1;
	check_int(beam_channel_connect(&channel, abstract_address(), &options, BEAM_NOWAIT), -EACCES);
	begin = now_ns();
	check_int(beam_channel_connect(&channel, abstract_address(), &options, beam_in_ms(50)), -EACCES);
	check(now_ns() - begin >= 50 * 1000000);
	check(fault_calls_of(SYS_CONNECT) > 3);
	fault_off();
	check(channel == NULL);
	check_int(beam_channel_connect(&channel, abstract_address(), &options, soon()), 0);
	beam_channel_unref(channel);
	beam_listener_unref(listener);
}

static const struct test tests[] = {
    TEST(test_who_waits_for_a_server_waits_through_all_it_does_to_start),
    TEST(test_permissions_that_never_come_are_reported_at_the_deadline),
};

HARNESS_MAIN("listener/start", tests)
