/* SPDX-License-Identifier: MIT */
/*
 * Attachments: opening those that are sent, describing and saving those that were received. A
 * received descriptor is a file that the peer chose. Nothing is assumed about it, and reading it
 * can take any time.
 */
#include "command.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

int sources_open(int fds[BEAM_MESSAGE_ATTACHMENTS_MAX])
{
	for (size_t i = 0; i < options.n_sources; i++) {
		const struct source *source = &options.sources[i];
		errno = EBADF;
		fds[i] = source->path                        ? open(source->path, O_RDONLY | O_CLOEXEC)
			 : descriptor_was_closed(source->fd) ? -1
							     : fcntl(source->fd, F_DUPFD_CLOEXEC, 0);
		if (fds[i] >= 0)
			continue;
		int error = -errno;
		if (source->path)
			return say(CODE_ERROR, "%s: %s", source->path, strerror(-error));
		return say(CODE_ERROR, "descriptor %d: %s", source->fd, strerror(-error));
	}
	return CODE_DONE;
}

/*
 * A file of a tmpfs has seals, too. A memfd differs from it by the name that the kernel gives it.
 */
static bool is_memfd(int fd)
{
	char link[64], name[16];

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	return fcntl(fd, F_GET_SEALS) >= 0 && readlink(link, name, sizeof name) > 7 && memcmp(name, "/memfd:", 7) == 0;
}

static int describe(int fd, struct attachment *ret)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	switch (status.st_mode & S_IFMT) {
	case S_IFREG: ret->type = is_memfd(fd) ? "memfd" : "file"; break;
	case S_IFDIR: ret->type = "directory"; break;
	case S_IFSOCK: ret->type = "socket"; break;
	case S_IFIFO: ret->type = "pipe"; break;
	case S_IFCHR:
	case S_IFBLK: ret->type = "device"; break;
	default: ret->type = "other";
	}
	ret->sized = S_ISREG(status.st_mode);
	ret->size = status.st_size;
	return 0;
}

/* Where an attachment is saved until it is complete: under a name of its own in the same folder. */
static struct {
	char path[PATH_MAX];
	atomic_bool is_there;
} temporary;

void saving_abandon(void)
{
	if (temporary.is_there)
		unlink(temporary.path);
}

static void end_saving(int number)
{
	saving_abandon();
	raise(number);
	_exit(128 + number);
}

/*
 * Makes signals that end the command first remove the file that is saved in part. Signals that are
 * ignored stay ignored.
 */
static void catch_signals(void)
{
	static const int numbers[] = ENDING_SIGNALS;
	static bool caught;
	struct sigaction action = {.sa_handler = end_saving, .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)}, before;

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; !caught && i < sizeof numbers / sizeof numbers[0]; i++)
		if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
			sigaction(numbers[i], &action, NULL);
	caught = true;
}

/*
 * Copies a file from its beginning, without moving its offset, which the peer shares. From a pipe
 * or socket it copies everything until the end.
 */
static int copy(int from, bool sized, int to)
{
	static char bytes[256 << 10];
	off_t at = 0;
	ssize_t n;

	for (;;) {
		int r = sized ? beam_deadline_poll_ms(options.deadline) ? 0 : -ETIMEDOUT
			      : wait_readable(from, -1, options.deadline);
		if (r < 0)
			return r;
		n = sized ? pread(from, bytes, sizeof bytes, at) : read(from, bytes, sizeof bytes);
		if (n == 0)
			return 0;
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		for (ssize_t put = 0, done = 0; done < n; done += put)
			if ((put = write(to, bytes + done, (size_t)(n - done))) < 0) {
				if (errno != EINTR)
					return -errno;
				put = 0;
			}
		at += n > 0 ? n : 0;
		progress_add(n > 0 ? (size_t)n : 0);
	}
}

/* @return the descriptor of the temporary file, or a negative errno */
static int create(void)
{
	uint64_t random;

	if (mkdir(options.save, 0777) < 0 && errno != EEXIST)
		return -errno;
	if (getrandom(&random, sizeof random, 0) < 0)
		return -errno;
	if (snprintf(temporary.path, PATH_MAX, "%s/.beam-%016" PRIx64, options.save, random) >= PATH_MAX)
		return -ENAMETOOLONG;
	catch_signals();
	/* No other file has that name, so removing it is harmless even before it exists. */
	temporary.is_there = true;
	int fd = open(temporary.path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
	if (fd < 0)
		return -errno;
	return fd;
}

/* Some file systems support only one of these two ways. */
static int rename_if_free(const char *from, const char *to)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	return link(from, to) == 0 && unlink(from) == 0 ? 0 : -errno;
}

/* Gives the temporary file the first name of SAVE/1, SAVE/2, … that is free. */
static int publish(char path[PATH_MAX])
{
	static unsigned number;
	int r;

	do {
		if (snprintf(path, PATH_MAX, "%s/%u", options.save, ++number) >= PATH_MAX)
			return -ENAMETOOLONG;
		r = rename_if_free(temporary.path, path);
	} while (r == -EEXIST);
	return r;
}

static int save(int from, struct attachment *attachment)
{
	char path[PATH_MAX];
	int to = create(), r = to;

	if (to >= 0) {
		progress_begin("saving", attachment->sized && attachment->size > 0 ? (uint64_t)attachment->size : 0);
		r = copy(from, attachment->sized, to);
		progress_end();
		if (close(to) < 0 && r == 0)
			r = -errno;
		if (r == 0)
			r = publish(path);
		if (r < 0)
			unlink(temporary.path);
		else if (!(attachment->saved = strdup(path)))
			r = -ENOMEM;
	}
	temporary.is_there = false;
	return r;
}

static bool has_content(const struct attachment *attachment)
{
	return attachment->sized || strcmp(attachment->type, "pipe") == 0 || strcmp(attachment->type, "socket") == 0;
}

int attachment_take(const beam_message *message, size_t index, struct attachment *ret)
{
	int fd = beam_message_peek_fd(message, index);

	*ret = (struct attachment){.type = "lost", .error = fd < 0 ? fd : 0};
	if (fd < 0)
		return CODE_DONE;
	ret->error = describe(fd, ret);
	if (ret->error == 0 && options.save)
		ret->error = has_content(ret) ? save(fd, ret) : -EOPNOTSUPP;
	return ret->error == -ETIMEDOUT ? CODE_DEADLINE : ret->error < 0 ? CODE_ERROR : CODE_DONE;
}
