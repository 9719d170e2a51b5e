/* SPDX-License-Identifier: MIT */
/**
 * @file listener.h
 * Listeners: addresses that clients connect to.
 *
 * A listener owns a listening Unix socket and, if the listener created it, the socket's file. Every
 * function can be called from any thread at any time, on any handle that has not been released. Any
 * number of threads can accept at once. Thread cancellation is disabled inside the functions. None
 * of them is async-signal-safe.
 *
 * In a forked child every function on a listener of the parent returns -ECHILD, and releasing
 * handles does nothing. The child's copies of the listener's descriptors are closed.
 */
#ifndef BEAM_LISTENER_H
#define BEAM_LISTENER_H

#include <beam/channel.h>
#include <beam/common.h>
#include <beam/deadline.h>

BEAM_BEGIN

typedef struct beam_listener beam_listener;

/**
 * The identity of a client, as the kernel recorded it when the connection was made. It belongs to
 * the library and is valid until the policy returns.
 */
struct beam_identity {
	/** Meaningless unless `has_pid`. The process id can have been reused by now, so decide by
	 *  uid, or by pidfd. */
	pid_t pid;
	uid_t uid;
	gid_t gid;
	/** The supplementary groups. */
	const gid_t *groups;
	size_t n_groups;
	/** A pidfd of the process (pidfd_open(2)); -1 if it is not known. */
	int pidfd;
	/** The label that a security module assigns; NULL if there is none. */
	const char *label;
	/** False if the client has no process id in the pid namespace of this process. */
	bool has_pid;
};

/**
 * The options of a listener. Start from BEAM_LISTENER_OPTIONS and change the fields that you need.
 * The size field lets a newer library accept the options of an older program.
 */
struct beam_listener_options {
	/** sizeof(struct beam_listener_options) */
	size_t size;
	/** The permissions of the socket's file, 0 to 0777, whatever the umask. Whoever may write
	 *  to it may connect. The option has no effect for abstract names and for sockets that were
	 *  passed to the process. */
	uint32_t mode;
	/** How many connections may wait to be accepted, 1 to 2^31 - 1. The kernel limits this to
	 *  net.core.somaxconn. */
	uint32_t backlog;
	/** How many channels that this listener accepted may be open at a time, in total and of one
	 *  user; at least 1. */
	uint32_t connections;
	uint32_t connections_per_uid;
	/** If 1, the channels accept no attachments, and the kernel refuses to send descriptors to
	 *  them (SO_PASSRIGHTS, Linux 6.16). */
	uint32_t refuse_fds;
	/** The options of the channels, which are copied; NULL: the defaults. */
	const struct beam_channel_options *channel;
	/** The policy. It returns 0 to accept a client, or a negative errno to refuse it. It is
	 *  called before any byte is read, by a thread that accepts, with no lock held. If several
	 *  threads accept, it can run in several of them at once. If it is NULL, every client is
	 *  accepted. */
	int (*accept)(void *context, const struct beam_identity *identity);
	void *context;
};

/** The defaults. */
#define BEAM_LISTENER_OPTIONS                                                                                          \
	{                                                                                                              \
		sizeof(struct beam_listener_options), /* size */                                                       \
		    0600,                             /* mode */                                                       \
		    4096,                             /* backlog */                                                    \
		    1024,                             /* connections */                                                \
		    256,                              /* connections_per_uid */                                        \
		    0,                                /* refuse_fds */                                                 \
		    NULL,                             /* channel */                                                    \
		    NULL,                             /* accept */                                                     \
		    NULL,                             /* context */                                                    \
	}

/**
 * Listens at an address.
 *
 * As long as a listener with a path is open, it holds a lock on the file PATH.lock. The lock shows
 * whether a socket is in use or was left behind by a server that died. A socket that was left
 * behind is replaced, and servers that start at the same time never replace each other's socket.
 * The socket's file never has permissions beyond those of `mode`, and nobody can connect before it
 * has all permissions of `mode`. The umask is neither used nor changed.
 *
 * A relative path, and a path through a descriptor (/proc/self/fd/N/name), is resolved during the
 * call. The listener keeps the directory open. When it closes, it removes its own files from that
 * directory, even if the path leads to another one by then.
 *
 * @param ret      receives the listener, as one handle; untouched on failure
 * @param address  a path, or '@' followed by an abstract name, of at most 107 bytes. Anyone in the
 *                 network namespace can connect to an abstract name, and anyone can take the name
 *                 first. See `accept` above, and `server_uid` in beam_channel_connect().
 * @param options  NULL: the defaults
 * @retval 0              The listener was created.
 * @retval -EADDRINUSE    Another server listens there, or the file is not a socket.
 * @retval -EINVAL        `ret` or `address` is NULL, the address is empty, or an option is out of
 *                        its range.
 * @retval -E2BIG         The options come from a newer library, and set an option that this library
 *                        does not know.
 * @retval -ENAMETOOLONG  The address is longer than 107 bytes.
 * @retval -EACCES, -ENOENT, -ENOTDIR, -ELOOP, -EROFS, -ENOSPC, others  The socket or its lock
 *                        cannot be created: see bind(2), open(2) and flock(2).
 * @retval -EOPNOTSUPP    The umask removes permissions that were asked for, and the library cannot
 *                        set them, because there is neither /proc nor fchmodat2(2) (Linux 6.6).
 * @retval -EMFILE, -ENFILE, -ENOMEM  There are no free descriptors or no memory for the listener.
 */
BEAM_API int beam_listener_new(beam_listener **ret, const char *address,
			       const struct beam_listener_options *options) BEAM_CHECKED;

/**
 * Listens on a socket that was passed to the process: a Unix stream socket that is bound, and that
 * may already be listening. It is made non-blocking and close-on-exec. The function calls listen(2)
 * on it, so that the backlog is the one in the options, and so that clients see this process as
 * their peer. The socket's file is never removed.
 *
 * @param ret      receives the listener, as one handle; untouched on failure
 * @param fd       belongs to the listener on success and to the caller on failure
 * @param options  NULL: the defaults
 * @retval 0            The listener was created.
 * @retval -EBADF       `fd` is not open.
 * @retval -ENOTSOCK    `fd` is not a socket.
 * @retval -EPROTOTYPE  `fd` is not a Unix socket, or not SOCK_STREAM.
 * @retval -EINVAL      `ret` is NULL, an option is out of its range, or the socket is not bound or
 *                      is a connection.
 * @retval -E2BIG, -EMFILE, -ENFILE, -ENOMEM  as for beam_listener_new()
 */
BEAM_API int beam_listener_from_fd(beam_listener **ret, int fd,
				   const struct beam_listener_options *options) BEAM_CHECKED;

/**
 * Listens on a socket that the service manager has opened for this process (LISTEN_PID, LISTEN_FDS
 * and LISTEN_FDNAMES; sd_listen_fds(3)). The environment is not changed, and no other thread may
 * change it during the call. Each call takes another socket, until none is left and the call
 * returns -ENOENT. Descriptors that are not listening Unix stream sockets are skipped, and are not
 * changed.
 *
 * The program may have called sd_listen_fds(3) before, on two conditions: the call left the
 * environment as it was (unset_environment is 0), and another process was the last to call
 * listen(2) on the sockets, as with systemd. Otherwise pass the descriptor to
 * beam_listener_from_fd().
 *
 * @param ret      receives the listener, as one handle; untouched on failure
 * @param name     the descriptor's name (FileDescriptorName= in systemd.socket(5)); NULL: any name
 * @param options  NULL: the defaults
 * @retval 0        The listener was created.
 * @retval -ENOENT  There is no such descriptor, or all have been taken.
 * @retval others   as for beam_listener_from_fd(); a later call can take the descriptor
 */
BEAM_API int beam_listener_from_environment(beam_listener **ret, const char *name,
					    const struct beam_listener_options *options) BEAM_CHECKED;

/** Takes another handle. @return `listener` */
BEAM_API beam_listener *beam_listener_ref(beam_listener *listener);

/**
 * Releases a handle. With the last one the listener closes, as by beam_listener_close(). Channels
 * that it accepted stay open.
 *
 * @param listener  NULL is allowed and does nothing
 * @return NULL, which can be assigned to the variable that held the handle
 */
BEAM_API beam_listener *beam_listener_unref(beam_listener *listener);

/**
 * Waits for a client to connect, and creates a channel from the connection. A client can be refused
 * by the policy or by a limit, or because there are no descriptors or no memory for a channel. It
 * is then disconnected and counted, and the call continues to wait. If the descriptor table is
 * full, the listener temporarily closes a descriptor that it keeps in reserve, so that it can
 * disconnect the client.
 *
 * @param ret       receives the channel, as a handle to be released by beam_channel_unref();
 *                  untouched unless the result is 1
 * @param deadline  how long to wait. If no descriptor is free, the call can take 10 ms longer, even
 *                  with BEAM_NOWAIT, so that a program that calls it in a loop does not spin.
 * @retval 1        A channel was created.
 * @retval 0        The listener was closed.
 * @retval -EAGAIN, -ETIMEDOUT  No client was accepted, with BEAM_NOWAIT or before the deadline. A
 *                  client may have been refused.
 * @retval -EINVAL  `listener` or `ret` is NULL, or a process that shares the socket has shut it
 *                  down.
 * @retval -ENOMEM  There is no memory to wait.
 * @retval -ECHILD  This is a forked child.
 */
BEAM_API int beam_listener_accept(beam_listener *listener, beam_channel **ret, beam_deadline deadline) BEAM_CHECKED;

/**
 * Returns a descriptor for event loops. It is readable (level-triggered) while a client is waiting
 * to be accepted, and permanently once the listener is closed. When it is readable, accept with
 * BEAM_NOWAIT, since another thread may accept the client first. The first call creates the
 * descriptor. It belongs to the listener until its last handle is released: poll it, but do not
 * read or close it.
 *
 * @return the descriptor
 * @retval -EMFILE, -ENFILE, -ENOMEM  There is no free descriptor or no memory for it.
 * @retval -EINVAL  `listener` is NULL.
 * @retval -ECHILD  This is a forked child.
 */
BEAM_API int beam_listener_accept_fd(beam_listener *listener) BEAM_CHECKED;

/**
 * Stops listening. All threads in beam_listener_accept() are woken, and their calls return 0.
 * Clients that are waiting to be accepted are disconnected, unless another process shares the
 * socket. The socket's file is removed if it is still the listener's own, and so is the lock.
 * Channels that were accepted stay open. When the first call returns, the address can be used
 * again. An abstract name may become free later than that, if a waiting client has sent a
 * descriptor whose close blocks.
 *
 * The function can be called any number of times, from any thread, and from the policy. The handle
 * must still be released.
 *
 * @retval 0        The listener is closed.
 * @retval -EINVAL  `listener` is NULL.
 * @retval -ECHILD  This is a forked child.
 */
BEAM_API int beam_listener_close(beam_listener *listener);

/**
 * The counters of a listener since its creation. Each client that connects is counted in one of the
 * first five.
 */
struct beam_listener_counters {
	/** Channels that were created. */
	uint64_t accepted;
	/** Clients that the policy refused. */
	uint64_t refused;
	/** Clients that were refused because `connections` or `connections_per_uid` was reached. */
	uint64_t over_limit;
	/** Clients that were disconnected with the help of the descriptor in reserve, because no
	 *  other was free. */
	uint64_t over_descriptors;
	/** Clients that were disconnected because there were no descriptors, memory or thread for a
	 *  channel. */
	uint64_t failed;
	/** Accepted channels that have not ended. */
	uint64_t connections;
};

/**
 * Returns the counters of a listener.
 *
 * @param ret   receives as many counters as fit
 * @param size  sizeof(struct beam_listener_counters)
 * @retval 0        The counters were stored.
 * @retval -EINVAL  `listener` or `ret` is NULL.
 * @retval -ECHILD  This is a forked child.
 */
BEAM_API int beam_listener_statistics(beam_listener *listener, struct beam_listener_counters *ret,
				      size_t size) BEAM_CHECKED;

BEAM_END

#endif
