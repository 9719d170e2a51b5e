/* SPDX-License-Identifier: MIT */
/**
 * @file spawn.h
 * Programs that are started with a channel to them.
 *
 * The program that is started inherits one end of a new socket pair and is told of it by the
 * environment variable BEAM_CHANNEL. It is `NUMBER:INODE`: the number of the descriptor, and the
 * inode number of the socket (st_ino of fstat(2)), both decimal, by which a stray number is known.
 * A program in another language can do the same on either side.
 *
 * If the program ends, for whatever reason, the channel to it ends, too: with -ECONNRESET, unless
 * the program has closed it in order. The channel of the program ends in the same way if the one
 * that started it ends.
 *
 * Threads, fork and the shared errors are those of channel.h. If another thread forks during
 * beam_spawn(), the forked child can hold a copy of the program's end until it runs another program
 * or ends, and the end of the program shows only then.
 */
#ifndef BEAM_SPAWN_H
#define BEAM_SPAWN_H

#include <beam/channel.h>
#include <beam/common.h>
#include <sys/types.h>

BEAM_BEGIN

/**
 * Starts a program with a channel to it, by posix_spawn(3).
 *
 * No signal is blocked or ignored in the program, whatever the caller does. The program inherits
 * all else that exec(3) leaves: the descriptors that are not close-on-exec, so none of the
 * library's but its end of the channel, which is never one of 0 to 2; the user, the working
 * directory, the process group and the limits.
 *
 * @param ret      takes the channel, one handle; untouched on failure
 * @param ret_pid  takes the number of the process, which the caller waits for by waitpid(2), or
 *                 kills; untouched on failure. To release the channel neither ends the process nor
 *                 waits for it.
 * @param path     a path with a slash, or a name that is looked for in the folders of the caller's
 *                 PATH
 * @param argv     the arguments from the name of the program on, and a NULL
 * @param envp     its environment, and a NULL; NULL: the caller's. BEAM_CHANNEL is set in either.
 *                 No other thread may change the caller's environment meanwhile.
 * @param options  of the channel here; NULL: the defaults
 * @retval 0        the program runs
 * @retval -EINVAL  `ret`, `ret_pid`, `path` or `argv` is NULL, or an option is out of its range
 * @retval -ENOENT, -EACCES, -ENOEXEC, -ENOTDIR, -ELOOP, -ETXTBSY, -EPERM, others  the program
 *          cannot be run, as execve(2) says
 * @retval -E2BIG   arguments and environment are too long; or as for beam_channel_from_fd()
 * @retval -EAGAIN  there are too many processes, or threads
 * @retval -EMFILE, -ENFILE, -ENOMEM  no descriptors or memory for it
 */
BEAM_API int beam_spawn(beam_channel **ret, pid_t *ret_pid, const char *path, char *const argv[], char *const envp[],
			const struct beam_channel_options *options) BEAM_CHECKED;

/**
 * Makes a channel of the socket that this program was started with.
 *
 * The descriptor is close-on-exec from then on, so that programs which this one starts do not take
 * it, though they inherit the variable. The environment is left as it is. A program that was
 * started with more privileges than its caller has (secure_getenv(3)) has no such channel.
 *
 * @param ret      takes the channel, one handle; untouched on failure
 * @param options  NULL: the defaults
 * @retval 0        done
 * @retval -ENOENT  there is none: BEAM_CHANNEL is not set or does not name a descriptor of this
 *                  process, or the channel was taken before
 * @retval -EINVAL  `ret` is NULL, or an option is out of its range
 * @retval -ENOTSOCK, -EPROTOTYPE, -ENOTCONN  what it names is no connected unix stream socket
 * @retval -E2BIG, -EMFILE, -ENFILE, -ENOMEM, -EAGAIN  as for beam_channel_from_fd(); another call
 *          can take the descriptor
 */
BEAM_API int beam_channel_from_environment(beam_channel **ret, const struct beam_channel_options *options) BEAM_CHECKED;

BEAM_END

#endif
