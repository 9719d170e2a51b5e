/* SPDX-License-Identifier: MIT */
/*
 * Programs that are started with a channel, and the channel that this program was started with.
 *
 * BEAM_CHANNEL=NUMBER:INODE names the socket that a program was given. The number alone is not
 * enough: a process that inherits the variable but not the descriptor would take whatever has that
 * number. No two sockets have the same inode number at the same time. So the variable need not be
 * unset, which no program with several threads can do safely.
 */
#include <base/sys.h>
#include <base/thread.h>
#include <beam/spawn.h>
#include <inttypes.h>
#include <relay/pair.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define VARIABLE "BEAM_CHANNEL="

enum { ENTRY_SIZE = sizeof VARIABLE + sizeof "-2147483648:18446744073709551615" };

static int entry_of_fd(char ret[ENTRY_SIZE], int fd)
{
	struct stat status;

	if (sys_fstat(fd, &status) < 0)
		return -errno;
	snprintf(ret, ENTRY_SIZE, VARIABLE "%d:%" PRIu64, fd, (uint64_t)status.st_ino);
	return 0;
}

/* ---- In the program that starts another ------------------------------------------------------ */

/* Returns an environment with this entry, and without others of its name. */
static char **environment_with(char *const *variables, char *entry)
{
	size_t n = 0, kept = 0;
	char **all;

	while (variables[n])
		n++;
	all = sys_malloc((n + 2) * sizeof *all);
	if (!all)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		if (strncmp(variables[i], VARIABLE, strlen(VARIABLE)) != 0)
			all[kept++] = variables[i];
	}
	all[kept++] = entry;
	all[kept] = NULL;
	return all;
}

/*
 * Starts a program in which no signal is blocked or ignored, whatever the calling thread does.
 * Returns an errno, as posix_spawn(3) does.
 */
static int start_program(pid_t *ret, const char *path, char *const argv[], char *const variables[], int fd)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	int r;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawn_file_actions_init(&actions);
	/*
	 * If a descriptor is duplicated onto itself, this clears close-on-exec, and only in the
	 * child (glibc 2.29, musl 1.1.22). So no other program that is started meanwhile inherits
	 * it, and it takes no number that the caller may want the child to have.
	 */
	r = sys_posix_spawn_file_actions_adddup2(&actions, fd, fd);
	if (!r)
		r = sys_posix_spawnp(ret, path, &actions, &attributes, argv, variables);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return r;
}

static int start_with_fd(pid_t *ret, const char *path, char *const argv[], char *const envp[], int fd)
{
	char entry[ENTRY_SIZE];
	char **variables;
	int r = entry_of_fd(entry, fd);

	if (r < 0)
		return r;
	variables = environment_with(envp ? envp : environ, entry);
	if (!variables)
		return -ENOMEM;
	r = -start_program(ret, path, argv, variables, fd);
	free(variables);
	return r;
}

int beam_spawn(beam_channel **ret, pid_t *ret_pid, const char *path, char *const argv[], char *const envp[],
	       const struct beam_channel_options *options)
{
	WITHOUT_CANCELLATION;
	beam_channel *channel;
	pid_t pid = -1;
	int fd, r;

	if (!ret || !ret_pid || !path || !argv)
		return -EINVAL;
	r = pair_make(&channel, &fd, options);
	if (r < 0)
		return r;
	r = start_with_fd(&pid, path, argv, envp, fd);
	if (r < 0)
		return pair_give_up(channel, fd, r);
	close(fd);
	*ret = channel;
	*ret_pid = pid;
	return 0;
}

/* ---- In the program that was started --------------------------------------------------------- */

/* The inode number of the socket that was taken. */
static _Atomic uint64_t taken;

static int take_socket_named(const char *text, int fd, beam_channel **ret, const struct beam_channel_options *options)
{
	char entry[ENTRY_SIZE];

	if (entry_of_fd(entry, fd) < 0 || strcmp(entry + strlen(VARIABLE), text) != 0)
		return -ENOENT;
	return beam_channel_from_fd(ret, fd, options);
}

int beam_channel_from_environment(beam_channel **ret, const struct beam_channel_options *options)
{
	WITHOUT_CANCELLATION;
	const char *text = secure_getenv("BEAM_CHANNEL");
	uint64_t inode, before;
	char *end;
	int fd, r;

	if (!ret)
		return -EINVAL;
	if (!text)
		return -ENOENT;
	/*
	 * Text that is not a number is found below, where the whole text is compared with what the
	 * entry of this descriptor would be.
	 */
	fd = (int)strtol(text, &end, 10);
	inode = strtoull(*end ? end + 1 : end, NULL, 10);
	/*
	 * If two threads try, one of them gets the channel. A forked child sees that its parent has
	 * it. Once a channel was taken, nobody looks at its descriptor, which may be closed at any
	 * time.
	 */
	before = atomic_exchange(&taken, inode);
	if (before == inode)
		return -ENOENT;
	r = take_socket_named(text, fd, ret, options);
	if (r < 0)
		atomic_store(&taken, before);
	return r;
}
