/* SPDX-License-Identifier: MIT */
/*
 * For tests of listeners: addresses that no other test uses, and both sides of a connection to
 * them.
 */
#ifndef PUBLIC_LISTENING_H
#define PUBLIC_LISTENING_H

#include <public/ends.h>
#include <sys/stat.h>
#include <sys/un.h>

/* A folder of its own, and the path of a socket in it. */
struct spot {
	char folder[FOLDER_SIZE], path[FOLDER_SIZE + 8], lock[FOLDER_SIZE + 16];
};

static inline void spot_make(struct spot *spot)
{
	folder_make(spot->folder);
	snprintf(spot->path, sizeof spot->path, "%s/socket", spot->folder);
	snprintf(spot->lock, sizeof spot->lock, "%s.lock", spot->path);
}

/* The folder must be empty. */
static inline void spot_end(const struct spot *spot)
{
	check_int(rmdir(spot->folder), 0);
}

static inline const char *abstract_address(void)
{
	static _Thread_local char name[64];

	snprintf(name, sizeof name, "@beam-test-listener-%d", (int)getpid());
	return name;
}

static inline beam_listener *listen_at(const char *address, const struct beam_listener_options *options)
{
	beam_listener *listener = NULL;

	require_int(beam_listener_new(&listener, address, options), 0);
	return listener;
}

/* Makes a connection through the listener, and stores both sides. */
static inline void meet(beam_listener *listener, const char *address, beam_channel *ret[2])
{
	require_int(beam_channel_connect(&ret[0], address, NULL, soon()), 0);
	require_int(beam_listener_accept(listener, &ret[1], soon()), 1);
}

static inline void part(beam_channel *channels[2])
{
	for (int i = 0; i < 2; i++)
		channels[i] = beam_channel_unref(channels[i]);
}

/* Sends a message in each direction. */
static inline void expect_connected(beam_channel *channels[2])
{
	beam_topic *topics[2];

	for (int i = 0; i < 2; i++)
		require_int(beam_topic_open(&topics[i], channels[i], "topic"), 0);
	for (int i = 0; i < 2; i++) {
		send_text(topics[i], "a word");
		expect_text(topics[!i], "a word");
	}
	for (int i = 0; i < 2; i++)
		beam_topic_unref(topics[i]);
}

static inline struct beam_listener_counters counts(beam_listener *listener)
{
	struct beam_listener_counters counts = {0};

	check_int(beam_listener_statistics(listener, &counts, sizeof counts), 0);
	return counts;
}

static inline mode_t mode_of(const char *path)
{
	struct stat status = {0};

	check_int(lstat(path, &status), 0);
	return status.st_mode & 07777;
}

static inline bool exists(const char *path)
{
	struct stat status;

	return lstat(path, &status) == 0;
}

/* Connects without Beam. Returns the socket, or a negative errno. */
static inline int raw_connect(const char *address)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	size_t length = strlen(address);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	require(fd >= 0 && length < sizeof name.sun_path);
	memcpy(name.sun_path, address, length);
	if (address[0] == '@')
		name.sun_path[0] = '\0';
	if (connect(fd, (struct sockaddr *)&name,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (address[0] != '@'))) == 0)
		return fd;
	close(fd);
	return -errno;
}

/* A socket that is bound to a path, and listens if there is a backlog. */
static inline int raw_listen(const char *path, int backlog)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
	require_int(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
	if (backlog)
		require_int(listen(fd, backlog), 0);
	return fd;
}

/* The other side has closed the socket, so nothing more arrives, whatever error reports that. */
static inline void expect_disconnected(int fd)
{
	char bytes[256];
	struct raw_group group;
	ssize_t n;

	do {
		n = raw_receive(fd, bytes, sizeof bytes, &group, 0);
		raw_group_close(&group);
	} while (n > 0);
	check(n == 0 || n == -ECONNRESET);
}

#endif
