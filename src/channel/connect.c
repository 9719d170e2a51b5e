/* SPDX-License-Identifier: MIT */
/*
 * Connecting to a server: to which address, how long to wait for the server, and whose server to
 * accept.
 */
#include <base/options.h>
#include <base/sys.h>
#include <channel/hook.h>
#include <channel/internal.h>

/* The pause between two attempts while a server is not there. */
enum { PAUSE_MIN_MS = 1, PAUSE_MAX_MS = 50 };

static const struct beam_connect_options defaults = BEAM_CONNECT_OPTIONS;

/*
 * True if a server that is starting can be the reason for this error: its path or its folder does
 * not exist yet, nobody listens there yet, or its file or folder does not have all its permissions
 * yet. A full backlog is not handled here, because socket_connect() itself waits for room in it.
 */
static bool may_be_starting(int error)
{
	return error == -ENOENT || error == -ECONNREFUSED || error == -EACCES;
}

/*
 * No event announces that a server listens at an address, whether it is a path or not. So the
 * function tries again and again, at growing intervals.
 */
static int connect_waiting(const char *address, beam_deadline deadline)
{
	int pause = PAUSE_MIN_MS, fd, r;

	for (;;) {
		fd = socket_connect(address, SOCK_STREAM, deadline);
		if (!may_be_starting(fd))
			return fd;
		/*
		 * Permissions that are still missing will probably never be granted, so the caller
		 * gets that error instead of a timeout.
		 */
		if (deadline_passed(deadline))
			return fd == -EACCES ? fd : deadline_error(deadline);
		r = socket_wait(-1, 0, -1, deadline_earlier(deadline, beam_in_ms(pause)));
		if (r != -ETIMEDOUT)
			return r;
		pause = pause * 2 < PAUSE_MAX_MS ? pause * 2 : PAUSE_MAX_MS;
	}
}

/* Checks the server's user, so that not a single byte is sent to anybody else's server. */
static int check_server(int fd, uid_t uid)
{
	struct ucred server;
	int r;

	if (uid == defaults.server_uid)
		return 0;
	r = socket_credentials(fd, &server);
	if (r < 0)
		return r;
	return server.uid == uid ? 0 : -EPERM;
}

int beam_channel_connect(beam_channel **ret, const char *address, const struct beam_connect_options *options,
			 beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	struct beam_connect_options taken = defaults;
	struct beam_channel_options checked;
	int fd, r = 0;

	if (!ret || !address)
		return -EINVAL;
	if (options)
		r = options_take(&taken, sizeof taken, options, offsetof(struct beam_connect_options, wait_for_server));
	if (!r && taken.wait_for_server > 1)
		r = -EINVAL;
	if (!r)
		r = channel_take_options(&checked, taken.channel);
	if (r < 0)
		return r;
	fd =
	    taken.wait_for_server ? connect_waiting(address, deadline) : socket_connect(address, SOCK_STREAM, deadline);
	if (fd < 0)
		return fd;
	r = check_server(fd, taken.server_uid);
	if (!r)
		r = beam_channel_from_fd(ret, fd, taken.channel);
	if (r < 0)
		close(fd);
	return r;
}
