/* SPDX-License-Identifier: MIT */
/*
 * Sockets that the service manager opened before it ran this program: descriptors from 3 on, which
 * the environment describes (sd_listen_fds(3)).
 */
#include <listener/internal.h>
#include <socket/socket.h>
#include <string.h>

/* A larger number is a mistake: by default the kernel allows no process that many descriptors. */
enum { FIRST_FD = 3, FDS_MAX = 1 << 20 };

/* Keeps two threads from taking the same socket. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Returns the whole number that a variable contains, or -1. */
static long activation_number(const char *variable)
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

/* Returns how many descriptors were passed to this process. */
static int activation_count(void)
{
	long n = activation_number("LISTEN_FDS");

	if (activation_number("LISTEN_PID") != getpid() || n < 0)
		return 0;
	return n <= FDS_MAX ? (int)n : 0;
}

/* The names are in the order of the descriptors, separated by colons. */
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

/*
 * Services are also passed descriptors that they have stored, sockets of other protocols, and
 * accepted connections.
 */
static bool is_listening_stream(int fd)
{
	int listening = 0;
	socklen_t size = sizeof listening;

	return socket_type(fd) == SOCK_STREAM &&
	       sys_getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening;
}

/* The kernel records who called listen(2) last. */
static bool is_listened_by_another(int fd)
{
	struct ucred listener;
	socklen_t size = sizeof listener;

	return sys_getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &listener, &size) == 0 && listener.pid != getpid();
}

/*
 * Returns the first socket that nobody has taken, and its flags. Descriptors are passed without
 * close-on-exec, and taking one sets it. But if the program has called sd_listen_fds(3), that has
 * set it on all of them. So a socket that has it still counts as free if another process was the
 * last to call listen(2) on it, because beam_listener_from_fd() calls listen(2) too.
 */
static int activation_find(const char *name, int n, int *ret_flags)
{
	for (int i = 0; i < n; i++) {
		int fd = FIRST_FD + i, flags;

		if (name && !has_name(i, name))
			continue;
		flags = sys_fcntl(fd, F_GETFD, 0);
		if (flags < 0 || !is_listening_stream(fd) || ((flags & FD_CLOEXEC) && !is_listened_by_another(fd)))
			continue;
		*ret_flags = flags;
		return fd;
	}
	return -ENOENT;
}

static int activation_take(beam_listener **ret, const char *name, int n, const struct beam_listener_options *options)
{
	int flags, r, fd = activation_find(name, n, &flags);

	if (fd < 0)
		return fd;
	r = beam_listener_from_fd(ret, fd, options);
	if (r < 0)
		sys_fcntl(fd, F_SETFD, flags);
	return r;
}

int beam_listener_from_environment(beam_listener **ret, const char *name, const struct beam_listener_options *options)
{
	WITHOUT_CANCELLATION;
	int n, r;

	if (!ret)
		return -EINVAL;
	/*
	 * In a forked child there are none. This must be known before the lock is taken, because a
	 * thread of the parent may have held it at the fork.
	 */
	n = activation_count();
	if (n == 0)
		return -ENOENT;
	pthread_mutex_lock(&lock);
	r = activation_take(ret, name, n, options);
	pthread_mutex_unlock(&lock);
	return r;
}
