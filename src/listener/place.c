/* SPDX-License-Identifier: MIT */
#include <base/sys.h>
#include <errno.h>
#include <listener/place.h>
#include <socket/socket.h>
#include <stdio.h>
#include <string.h>

/* After this many tries, a lock file that somebody removes again and again is given up. */
enum { LOCK_TRIES = 100 };

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/*
 * Removes what has this name, if it is this file. The file must be open, because otherwise another
 * file could have its inode number by now.
 */
static int remove_file(int folder, const char *name, const struct stat *file)
{
	struct stat now;

	if (sys_fstatat(folder, name, &now, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!same_file(&now, file))
		return -EADDRINUSE;
	return sys_unlinkat(folder, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

/*
 * If the file system is served by another process or machine, these two functions can block, and a
 * signal can interrupt them.
 */
static int open_file(int folder, const char *name, int flags)
{
	int fd;

	do
		fd = sys_openat(folder, name, flags | O_CLOEXEC, 0600);
	while (fd < 0 && errno == EINTR);
	return fd;
}

static int lock_file(int fd)
{
	int r;

	do
		r = sys_flock(fd, LOCK_EX | LOCK_NB);
	while (r < 0 && errno == EINTR);
	return r;
}

/* ---- The lock -------------------------------------------------------------------------------- */

/* Returns -ESTALE if the file was locked, but no longer has that name. */
static int lock_hold(int fd, const struct place *place)
{
	struct stat held, named;

	if (lock_file(fd) < 0)
		return errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
	if (sys_fstat(fd, &held) < 0)
		return -errno;
	if (sys_fstatat(place->folder, place->lock_name, &named, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? -ESTALE : -errno;
	return same_file(&held, &named) ? 0 : -ESTALE;
}

static int lock_take(const struct place *place)
{
	int fd, r = 0;

	for (int tries = 0; tries < LOCK_TRIES; tries++) {
		/* Non-blocking, because something else may have been put there, such as a FIFO. */
		fd = open_file(place->folder, place->lock_name, O_RDWR | O_CREAT | O_NONBLOCK | O_NOFOLLOW);
		if (fd < 0)
			return -errno;
		r = lock_hold(fd, place);
		if (r == 0)
			return fd;
		close(fd);
		if (r != -ESTALE)
			return r;
	}
	return -EADDRINUSE;
}

static void lock_release(struct place *place)
{
	struct stat held;

	if (place->lock < 0)
		return;
	/*
	 * The file is removed while it is locked. Whoever has it open already finds that it no
	 * longer has that name.
	 */
	if (sys_fstat(place->lock, &held) == 0)
		remove_file(place->folder, place->lock_name, &held);
	close(place->lock);
	place->lock = -1;
}

/* ---- The socket ------------------------------------------------------------------------------ */

/*
 * A socket on which nobody listens was left behind by a server that died. The lock is held, so no
 * other Beam server is just about to listen on it.
 */
static int remove_if_stale(const struct place *place, const char *path, int file)
{
	struct stat found;
	int fd;

	if (sys_fstat(file, &found) < 0)
		return -errno;
	if (!S_ISSOCK(found.st_mode))
		return -EADDRINUSE;
	fd = socket_connect(path, SOCK_STREAM, BEAM_NOWAIT);
	if (fd >= 0)
		close(fd);
	/* Somebody listens, perhaps with a full backlog, or on a socket of another type. */
	if (fd >= 0 || fd == -EAGAIN || fd == -EPROTOTYPE)
		return -EADDRINUSE;
	return fd == -ECONNREFUSED || fd == -ENOENT ? remove_file(place->folder, place->name, &found) : fd;
}

static int remove_stale(const struct place *place, const char *path)
{
	/* The file is opened so that no other file gets its inode number meanwhile. */
	int r, file = open_file(place->folder, place->name, O_PATH | O_NOFOLLOW);

	if (file < 0)
		return errno == ENOENT ? 0 : -errno;
	r = remove_if_stale(place, path, file);
	close(file);
	return r;
}

/* Changes the mode of a file that is open with O_PATH, for which fchmod() does not work. */
static int change_mode(int fd, mode_t mode)
{
	char by_fd[40];

	snprintf(by_fd, sizeof by_fd, "/proc/self/fd/%d", fd);
	if (sys_chmod(by_fd, mode) == 0)
		return 0;
	/*
	 * There may be no /proc, as in a chroot. fchmodat2() comes second, because a filter of
	 * system calls that is older than it may end the process.
	 */
	if (sys_fchmodat2(fd, "", mode, AT_EMPTY_PATH) == 0)
		return 0;
	return errno == ENOSYS ? -EOPNOTSUPP : -errno;
}

/* Sets the mode of a file that has been opened by name, if it is this one. */
static int set_mode_of(int fd, const struct stat *file, mode_t mode)
{
	struct stat opened;

	if (sys_fstat(fd, &opened) < 0)
		return -errno;
	return same_file(&opened, file) ? change_mode(fd, mode) : -EADDRINUSE;
}

/*
 * When a socket is bound, its file gets the mode of the socket, less the umask. That is never more
 * than was asked for, so only what the umask took away has to be added. This is done to the file
 * itself, and not to what may have its name by then. Nobody can connect yet.
 *
 * The socket is bound under its own name, and not under another name that is changed once it
 * listens. The other name would be the server's address for getpeername() and ss(8), would be left
 * behind by a server that dies meanwhile, and might be too long. Clients that wait for a server
 * keep waiting when they see these intermediate states.
 */
static int set_mode(const struct place *place, const struct stat *file, mode_t mode)
{
	int fd, r;

	if ((file->st_mode & 07777) == mode)
		return 0;
	fd = open_file(place->folder, place->name, O_PATH | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	r = set_mode_of(fd, file, mode);
	close(fd);
	return r;
}

static int bind_name(int fd, const struct sockaddr_un *name, socklen_t size)
{
	return sys_bind(fd, (const struct sockaddr *)name, size) < 0 ? -errno : 0;
}

static int bind_file(struct place *place, int fd, const struct sockaddr_un *name, socklen_t size, mode_t mode)
{
	struct stat file;
	int r;

	if (sys_fchmod(fd, mode) < 0)
		return -errno;
	r = bind_name(fd, name, size);
	if (r < 0)
		return r;
	if (sys_fstatat(place->folder, place->name, &file, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISSOCK(file.st_mode))
		return -EADDRINUSE;
	place->device = file.st_dev;
	place->inode = file.st_ino;
	return set_mode(place, &file, mode);
}

/* ---- Taking and leaving ---------------------------------------------------------------------- */

void place_none(struct place *place)
{
	*place = (struct place){.folder = -1, .lock = -1};
}

/*
 * Opens the folder of a path, whose first `length` bytes end with the slash; or the working
 * directory if `length` is 0.
 */
static int open_folder(const char *path, size_t length)
{
	char folder[sizeof((struct sockaddr_un *)0)->sun_path];
	int fd;

	snprintf(folder, sizeof folder, "%.*s", length ? (int)length : 1, length ? path : ".");
	fd = open_file(AT_FDCWD, folder, O_PATH | O_DIRECTORY);
	return fd < 0 ? -errno : fd;
}

/* The caller has checked that the path fits into an address. */
static int place_take(struct place *place, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t size = strlen(name) + 1;

	/* One allocation for both names. */
	place->name = sys_malloc(2 * size + strlen(".lock"));
	if (!place->name)
		return -ENOMEM;
	place->lock_name = place->name + size;
	memcpy(place->name, name, size);
	snprintf(place->lock_name, size + strlen(".lock"), "%s.lock", name);
	place->folder = open_folder(path, (size_t)(name - path));
	if (place->folder < 0)
		return place->folder;
	place->lock = lock_take(place);
	return place->lock < 0 ? place->lock : remove_stale(place, path);
}

int place_bind(struct place *place, const char *address, mode_t mode)
{
	bool abstract = address[0] == '@';
	struct sockaddr_un name;
	socklen_t size;
	int fd, r;

	place_none(place);
	r = socket_address(address, &name, &size);
	if (r == 0 && !abstract)
		r = place_take(place, address);
	fd = r < 0 ? r : sys_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (r == 0 && fd < 0)
		r = fd = -errno;
	if (r == 0)
		r = abstract ? bind_name(fd, &name, size) : bind_file(place, fd, &name, size, mode);
	if (r == 0)
		return fd;
	place_leave(place);
	if (fd >= 0)
		close(fd);
	return r;
}

void place_leave(struct place *place)
{
	struct stat own = {.st_dev = place->device, .st_ino = place->inode};

	if (place->lock >= 0 && place->inode != 0)
		remove_file(place->folder, place->name, &own);
	lock_release(place);
	close_fd(place->folder);
	free(place->name);
	place_none(place);
}
