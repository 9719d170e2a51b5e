/* SPDX-License-Identifier: MIT */
/*
 * Listening, connecting and accepting: each client gets a channel, or is disconnected and counted.
 * Nothing is left in the file system.
 */
#include <beam/listener.h>
#include <fcntl.h>
#include <scenario/ledger.h>
#include <scenario/scenarios.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Why a listener cannot be made. For a path, injected errors are returned as well. */
#define MAKING -EADDRINUSE, -EMFILE, -ENFILE, -ENOMEM, -EAGAIN
#define CONNECTING MAKING, -ETIMEDOUT, -ECONNREFUSED, -ENOENT, -EACCES, -ECONNRESET

static void ask_for_identity(beam_channel *channel)
{
	struct beam_peer peer = {0};
	gid_t groups[64];
	int fd = beam_channel_peer_pidfd(channel);

	if (result_of(beam_channel_peer(channel, &peer), 0, -ENODATA))
		check_int(peer.uid, geteuid());
	if (fd >= 0)
		close(fd);
	else
		result_of(fd, -ENODATA, -EMFILE, -ENFILE, -ENOMEM);
	if (beam_channel_peer_groups(channel, groups, 64) < 0)
		result_of(beam_channel_peer_groups(channel, groups, 64), 0, -ENODATA);
	/* Not all systems label sockets. */
	fd = beam_channel_peer_label(channel, NULL, 0);
	result_of(fd >= 0 ? -ENODATA : fd, -ENODATA, -ENOMEM);
}

/* The client sends the server a message. */
static void talk(beam_channel *client, beam_channel *server)
{
	struct ends *ends = calloc(1, sizeof *ends);

	require(ends != NULL);
	ends->channel[0] = beam_channel_ref(client);
	ends->channel[1] = beam_channel_ref(server);
	if (result_of(beam_topic_open(&ends->topic[0], client, "topic"), 0, -EPIPE, -ECONNRESET, -ENOMEM) &&
	    result_of(beam_topic_open(&ends->topic[1], server, "topic"), 0, -EPIPE, -ECONNRESET, -ENOMEM)) {
		flow_send(&ends->flow[0], ends->topic[0], SEND, 100, 0);
		flow_receive(&ends->flow[0], ends->topic[1]);
	}
	ends_release(ends, 0);
}

/* A client connects. It is accepted or, with `refused`, refused. */
static void serve_one(beam_listener *listener, const char *address, int refused)
{
	struct beam_channel_options channel = ends_options();
	struct beam_connect_options options = BEAM_CONNECT_OPTIONS;
	beam_channel *client = NULL, *server = NULL;
	struct beam_listener_counters counters = {0};
	int fd = beam_listener_accept_fd(listener);
	bool connected, accepted;

	result_of(fd >= 0 ? 0 : fd, 0, -EMFILE, -ENFILE, -ENOMEM);
	options.channel = &channel;
	options.wait_for_server = 1;
	options.server_uid = geteuid();
	connected = result_of(beam_channel_connect(&client, address, &options, soon()), 0, CONNECTING);
	check(connected == (client != NULL));
	accepted = result_of(beam_listener_accept(listener, &server, !connected || refused ? BEAM_NOWAIT : soon()),
			     connected && !refused ? 1 : -EAGAIN, 1, -EAGAIN, -ETIMEDOUT, -ENOMEM) &&
		   server;
	check_int(beam_listener_statistics(listener, &counters, sizeof counters), 0);
	check_int(counters.accepted, server != NULL);
	check(counters.accepted + counters.refused + counters.failed + counters.over_descriptors <= 1);
	/* With BEAM_NOWAIT and a fault, the client may still be waiting. */
	if (!fault_hit())
		check_int(counters.refused, refused);
	if (accepted && client) {
		ask_for_identity(client);
		ask_for_identity(server);
		talk(client, server);
	}
	beam_channel_unref(client);
	beam_channel_unref(server);
}

static void end(beam_listener *listener)
{
	beam_channel *none = NULL;

	check(beam_listener_ref(listener) == listener);
	beam_listener_unref(listener);
	check_int(beam_listener_close(listener), 0);
	check_int(beam_listener_accept(listener, &none, soon()), 0);
	beam_listener_unref(listener);
}

static void listen_and_serve(const char *address, const struct beam_listener_options *options, int refused)
{
	struct beam_channel_options channel = ends_options();
	struct beam_listener_options all = options ? *options : (struct beam_listener_options)BEAM_LISTENER_OPTIONS;
	beam_listener *listener = NULL;
	bool made;

	all.channel = &channel;
	/* -EOPNOTSUPP: neither /proc nor the kernel can set the permissions of the file. */
	made = result_of(beam_listener_new(&listener, address, &all), 0, MAKING, -EOPNOTSUPP);
	check(made == (listener != NULL));
	if (made) {
		serve_one(listener, address, refused);
		end(listener);
	}
}

static const char *abstract_address(void)
{
	static char name[64];

	snprintf(name, sizeof name, "@beam-scenario-%d", (int)getpid());
	return name;
}

void listening_at_an_abstract_name(void)
{
	listen_and_serve(abstract_address(), NULL, 0);
}

/* ---- In the file system ---------------------------------------------------------------------- */

/* A folder of its own, and the path of a socket in it. */
struct spot {
	char folder[FOLDER_SIZE], path[FOLDER_SIZE + 8], lock[FOLDER_SIZE + 16];
};

static void spot_make(struct spot *spot)
{
	folder_make(spot->folder);
	snprintf(spot->path, sizeof spot->path, "%s/socket", spot->folder);
	snprintf(spot->lock, sizeof spot->lock, "%s.lock", spot->path);
}

/* After a fault, a stale socket or lock may be left, which the next listener would replace. */
static void spot_end(const struct spot *spot)
{
	bool left = unlink(spot->path) == 0;

	left = unlink(spot->lock) == 0 || left;
	check(fault_hit() || !left);
	check_int(rmdir(spot->folder), 0);
}

/* A socket that is bound to the path, and listens if there is a backlog. */
static int bind_at(const struct spot *spot, int backlog)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(name.sun_path, spot->path, sizeof spot->path);
	require_int(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
	if (backlog)
		require_int(listen(fd, backlog), 0);
	return fd;
}

void listening_at_a_path(void)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	struct spot spot;

	spot_make(&spot);
	options.mode = 0622; /* the umask clears some of these */
	options.refuse_fds = 1;
	listen_and_serve(spot.path, &options, 0);
	spot_end(&spot);
}

void a_stale_socket_that_is_replaced(void)
{
	struct spot spot;

	spot_make(&spot);
	close(bind_at(&spot, 0));
	listen_and_serve(spot.path, NULL, 0);
	spot_end(&spot);
}

/* ---- Sockets that are passed in -------------------------------------------------------------- */

/*
 * Serves one client on the caller's socket, from which `make` makes a listener, and unlinks the
 * socket.
 */
static void serve_handed_in(const struct spot *spot, int fd, int (*make)(beam_listener **ret, int fd))
{
	beam_listener *listener = NULL;
	int r = make(&listener, fd);

	check((r == 0) == (listener != NULL));
	/* ENOENT: if the descriptor cannot be examined, it is not taken for one that was passed. */
	if (result_of(r, 0, MAKING, -ENOENT)) {
		serve_one(listener, spot->path, 0);
		end(listener);
		/* The reaper closes it. */
		check_within(10000, !fd_open(fd));
	} else {
		check(fd_open(fd));
		close(fd);
	}
	unlink(spot->path);
	spot_end(spot);
}

static int make_of_fd(beam_listener **ret, int fd)
{
	return beam_listener_from_fd(ret, fd, NULL);
}

void a_socket_that_was_handed_in(void)
{
	struct spot spot;

	spot_make(&spot);
	serve_handed_in(&spot, bind_at(&spot, 1), make_of_fd);
}

static int make_activated(beam_listener **ret, int fd)
{
	(void)fd;
	return beam_listener_from_environment(ret, NULL, NULL);
}

/*
 * The service manager's first descriptor is number 3. If that number is in use here, it is saved
 * and restored.
 */
void a_socket_of_the_service_manager(void)
{
	enum { FIRST = 3 };
	int aside = fcntl(FIRST, F_DUPFD_CLOEXEC, FIRST + 1), fd;
	char pid[16];
	struct spot spot;

	spot_make(&spot);
	fd = bind_at(&spot, 1);
	require_int(dup2(fd, FIRST), FIRST);
	if (fd != FIRST)
		close(fd);
	snprintf(pid, sizeof pid, "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
	serve_handed_in(&spot, FIRST, make_activated);
	if (aside >= 0) {
		dup3(aside, FIRST, O_CLOEXEC);
		close(aside);
	}
}

static int refuse(void *context, const struct beam_identity *identity)
{
	(void)context;
	check_int(identity->uid, geteuid());
	return -EPERM;
}

void a_policy_that_refuses(void)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;

	options.accept = refuse;
	listen_and_serve(abstract_address(), &options, 1);
}
