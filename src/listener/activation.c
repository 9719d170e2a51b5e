/* SPDX-License-Identifier: MIT */
/* Sockets that the service manager opened before it ran this program: descriptors from 3 on, told in the environment (sd_listen_fds(3)). */
#include <limits.h>
#include <listener/internal.h>
#include <string.h>

enum { FIRST_FD = 3 };

/* So that two threads do not take the same one. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* A whole number in the environment, or -1. */
static long number(const char *variable)
{
	const char *text = getenv(variable);
	char *end;
	long n;

	if (!text || *text < '0' || *text > '9')
		return -1;
	errno = 0;
	n = strtol(text, &end, 10);
	return errno || *end ? -1 : n;
}

/* How many descriptors are for this process. */
static int count(void)
{
	long n = number("LISTEN_FDS");

	if (number("LISTEN_PID") != getpid() || n < 0)
		return 0;
	return n < INT_MAX - FIRST_FD ? (int)n : 0;
}

/* The names stand in the order of the descriptors, with colons between. */
static bool has_name(int index, const char *name)
{
	const char *names = getenv("LISTEN_FDNAMES");
	size_t length;

	for (int i = 0; names && i < index; i++) {
		names = strchr(names, ':');
		names += names ? 1 : 0;
	}
	length = names ? strcspn(names, ":") : 0;
	return names && length == strlen(name) && memcmp(names, name, length) == 0;
}

/* The first that nobody has taken. That it is taken is noted in itself: descriptors come without close-on-exec. */
static int take(const char *name)
{
	int n = count();

	for (int i = 0; i < n; i++) {
		int fd = FIRST_FD + i, flags;

		if (name && !has_name(i, name))
			continue;
		flags = sys_fcntl(fd, F_GETFD, 0);
		if (flags < 0 || (flags & FD_CLOEXEC))
			continue;
		return sys_fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0 ? -errno : fd;
	}
	return -ENOENT;
}

int beam_listener_activated(beam_listener **ret, const char *name, const struct beam_listener_options *options)
{
	WITHOUT_CANCELLATION;
	int fd, r;

	if (!ret)
		return -EINVAL;
	pthread_mutex_lock(&lock);
	fd = take(name);
	pthread_mutex_unlock(&lock);
	if (fd < 0)
		return fd;
	r = beam_listener_of_fd(ret, fd, options);
	if (r < 0)
		sys_fcntl(fd, F_SETFD, 0);
	return r;
}
