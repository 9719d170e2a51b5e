/* SPDX-License-Identifier: MIT */
/**
 * @file spawn.h
 * Starting programs with a channel to them.
 *
 * A program that is started in this way inherits one end of a new socket pair. The environment
 * variable BEAM_CHANNEL names it, as `NUMBER:INODE`: the number of the descriptor, and the inode
 * number of the socket (st_ino of fstat(2)), both decimal. The inode number shows whether the
 * descriptor with this number is that socket. A program that does not use the library can set or
 * read the variable in the same way.
 *
 * If the program ends, for whatever reason, the channel to it ends too. It ends with -ECONNRESET,
 * unless the program had closed it. The program's own channel ends in the same way if the process
 * that started the program ends.
 *
 * The rules about threads and fork and the common errors are those of channel.h. If another thread
 * forks while beam_spawn() is running, the forked child can hold a copy of the started program's
 * socket until the child executes another program or exits. Until then, the channel does not end
 * when the started program exits.
 */
#ifndef BEAM_SPAWN_H
#define BEAM_SPAWN_H

#include <beam/channel.h>
#include <beam/common.h>
#include <sys/types.h>

BEAM_BEGIN

/**
 * Starts a program with a channel to it, with posix_spawn(3).
 *
 * In the started program no signal is blocked or ignored, whatever the caller does. The program
 * inherits everything else that posix_spawn(3) passes on: the descriptors that are not
 * close-on-exec, the user, the working directory, the process group, and the limits. Of the
 * library's descriptors it gets only its end of the channel, whose number is greater than 2.
 *
 * @param ret      receives the channel, as one handle; untouched on failure
 * @param ret_pid  receives the process id; untouched on failure. The caller waits for the process
 *                 with waitpid(2), or kills it. Releasing the channel neither ends the process nor
 *                 waits for it.
 * @param path     contains a slash, or is a name that is looked up in the directories of the
 *                 caller's PATH
 * @param argv     the arguments, beginning with the program's name and ending with NULL
 * @param envp     the program's environment, ending with NULL; NULL: the caller's. BEAM_CHANNEL is
 *                 set in both cases. No other thread may change the caller's environment during the
 *                 call.
 * @param options  of the channel in this process; NULL: the defaults
 * @retval 0        The program was started.
 * @retval -EINVAL  `ret`, `ret_pid`, `path` or `argv` is NULL, or an option is out of its range.
 * @retval -ENOENT, -EACCES, -ENOEXEC, -ENOTDIR, -ELOOP, -ETXTBSY, -EPERM, others  The program
 *                  cannot be executed: see execve(2).
 * @retval -E2BIG   The arguments and the environment are too long, or as for
 *                  beam_channel_from_fd().
 * @retval -EAGAIN  There are too many processes or threads.
 * @retval -EMFILE, -ENFILE, -ENOMEM  There are no free descriptors or no memory.
 */
BEAM_API int beam_spawn(beam_channel **ret, pid_t *ret_pid, const char *path, char *const argv[], char *const envp[],
			const struct beam_channel_options *options) BEAM_CHECKED;

/**
 * Creates a channel from the socket that this program was started with. It succeeds once.
 *
 * The call makes the descriptor close-on-exec. If this program then starts others without
 * beam_spawn(), they inherit the variable but not the descriptor. The environment is not changed,
 * and no other thread may change it during the call. The variable is ignored in a program that was
 * started with more privileges than its caller has (secure_getenv(3)).
 *
 * @param ret      receives the channel, as one handle; untouched on failure
 * @param options  NULL: the defaults
 * @retval 0        The channel was created.
 * @retval -ENOENT  There is no channel: BEAM_CHANNEL is not set or does not name a descriptor of
 *                  this process, or the channel has been taken before.
 * @retval -EINVAL  `ret` is NULL, or an option is out of its range.
 * @retval -ENOTSOCK, -EPROTOTYPE, -ENOTCONN  BEAM_CHANNEL does not name a connected Unix stream
 *                  socket.
 * @retval -E2BIG, -EMFILE, -ENFILE, -ENOMEM, -EAGAIN  as for beam_channel_from_fd(); a later call
 *                  can take the descriptor
 */
BEAM_API int beam_channel_from_environment(beam_channel **ret, const struct beam_channel_options *options) BEAM_CHECKED;

BEAM_END

#endif
