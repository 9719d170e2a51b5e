/* SPDX-License-Identifier: MIT */
/**
 * @file listener.h
 * Listeners: addresses that channels are connected to.
 *
 * A listener owns a listening unix socket and, if it made it, the socket's file. Every function may be called from any thread at any
 * time, but for using a handle that was released; any number of threads may accept at once. Thread cancellation is disabled inside them; none
 * is async-signal-safe.
 *
 * In a forked child every function on a listener of the parent gives -ECHILD, and releasing handles does nothing; the child's copies
 * of its descriptors are closed.
 */
#ifndef BEAM_LISTENER_H
#define BEAM_LISTENER_H

#include <beam/channel.h>
#include <beam/common.h>
#include <beam/deadline.h>

BEAM_BEGIN

typedef struct beam_listener beam_listener;

/** Who connects, as the kernel noted it when the connection was made. All of it is the library's, and gone when the policy returns. */
struct beam_identity {
	/** May be another process's by now: decide by uid, or by pidfd. Of no meaning unless `has_pid` (struct beam_peer). */
	pid_t pid;
	uid_t uid;
	gid_t gid;
	/** The supplementary groups. */
	const gid_t *groups;
	size_t n_groups;
	/** A pidfd of the process (pidfd_open(2)); -1: not known. */
	int pidfd;
	/** The security module's label; NULL: there is none. */
	const char *label;
	/** False if the process has no number in the pid namespace of this one. */
	bool has_pid;
};

/**
 * Options of a listener. Begin with BEAM_LISTENER_OPTIONS and change what you need: the size field lets a newer library take
 * an older program's options.
 */
struct beam_listener_options {
	/** sizeof(struct beam_listener_options) */
	size_t size;
	/** Permissions of the socket's file, 0 to 0777, whatever the umask: who may write may connect. Of no meaning for abstract names
	 *  and sockets that were handed in. */
	uint32_t mode;
	/** Connections that wait to be accepted: 1 to 2^31 - 1. The kernel takes no more than net.core.somaxconn. */
	uint32_t backlog;
	/** Channels that this listener accepted and that have not ended, in all and of one user: at least 1. */
	uint32_t connections;
	uint32_t connections_per_uid;
	/** 1: the channels take no attachments, and the kernel refuses to send them any descriptor (SO_PASSRIGHTS, Linux 6.16). */
	uint32_t refuse_fds;
	/** Of the channels; NULL: the defaults. Copied. */
	const struct beam_channel_options *channel;
	/** The policy: 0 takes who connects, a negative errno refuses. Called by a thread that accepts, before a byte is read, with no
	 *  lock held; by several threads at once if several accept. NULL: everybody is taken. */
	int (*accept)(void *context, const struct beam_identity *identity);
	void *context;
};

/** The defaults. */
#define BEAM_LISTENER_OPTIONS                                                                                                  \
	{                                                                                                                      \
		sizeof(struct beam_listener_options), /* size */                                                               \
		    0600,                             /* mode */                                                               \
		    4096,                             /* backlog */                                                            \
		    1024,                             /* connections */                                                        \
		    256,                              /* connections_per_uid */                                                \
		    0,                                /* refuse_fds */                                                         \
		    NULL,                             /* channel */                                                            \
		    NULL,                             /* accept */                                                             \
		    NULL,                             /* context */                                                            \
	}

/**
 * Listens at an address.
 *
 * For a path a lock is held on the file PATH.lock as long as the listener is open. So a socket that a server which died has left
 * is told from one that is in use, and is replaced; two servers never replace each other's. The socket never has other permissions than
 * asked for, and nobody can connect before it has all of them. The umask is neither used nor changed.
 *
 * A relative path, and one through a descriptor (/proc/self/fd/N/name), is looked up during the call. The
 * listener keeps its folder open, so it removes its own files whatever the path means by then.
 *
 * @param ret      takes the listener, one handle; untouched on failure
 * @param address  a path, or '@' and an abstract name; at most 107 bytes. Of abstract names anyone in the network namespace
 *                 can connect to one, and anyone can take one first: see `accept` above, and `server_uid` in beam_channel_connect().
 * @param options  NULL: the defaults
 * @retval 0              done
 * @retval -EADDRINUSE    another server listens there, or something that is no socket has that name
 * @retval -EINVAL        `ret` or `address` is NULL, the address is empty, or an option is out of its range
 * @retval -E2BIG         the options are from a newer library and set what this one does not know
 * @retval -ENAMETOOLONG  the address does not fit
 * @retval -EACCES, -ENOENT, -ENOTDIR, -ELOOP, -EROFS, -ENOSPC, others  the socket or its lock cannot be made there, as bind(2), open(2) say
 * @retval -EOPNOTSUPP    the umask takes permissions that were asked for, and they cannot be given: there is
 *                        neither /proc nor fchmodat2(2) (Linux 6.6)
 * @retval -EMFILE, -ENFILE, -ENOMEM  no descriptors or memory for it
 */
BEAM_API int beam_listener_new(beam_listener **ret, const char *address,
			       const struct beam_listener_options *options) BEAM_CHECKED;

/**
 * Listens on a socket that was handed in: a unix stream socket that is bound, and may be listening. It is made non-blocking and
 * close-on-exec, and listen(2) is called on it, so that the backlog is the one of the options, and this process is the one that clients
 * see as their peer. It is never unlinked.
 *
 * @param ret      as above
 * @param fd       the listener's on success, still the caller's on failure
 * @param options  NULL: the defaults
 * @retval 0            done
 * @retval -EBADF       `fd` is not open
 * @retval -ENOTSOCK    `fd` is not a socket
 * @retval -EPROTOTYPE  not a unix socket, or not SOCK_STREAM
 * @retval -EINVAL      as above; or it is not bound, or is a connection
 * @retval -E2BIG, -EMFILE, -ENFILE, -ENOMEM  as above
 */
BEAM_API int beam_listener_from_fd(beam_listener **ret, int fd, const struct beam_listener_options *options) BEAM_CHECKED;

/**
 * Listens on a socket that the service manager has opened for this process (LISTEN_PID, LISTEN_FDS and
 * LISTEN_FDNAMES; sd_listen_fds(3)). The environment is left as it is. Each call returns another socket,
 * until -ENOENT. Descriptors that are no listening unix stream sockets are passed over and stay as they
 * are. sd_listen_fds(3) may have been called before, if it was told to leave the environment (0) and
 * another process called listen(2) on the sockets, as systemd does. Otherwise pass the descriptor to
 * beam_listener_from_fd().
 *
 * @param ret      as above
 * @param name     the descriptor's name (FileDescriptorName= in systemd.socket(5)); NULL: whatever it is called
 * @param options  NULL: the defaults
 * @retval 0        done
 * @retval -ENOENT  there is none, or none left
 * @retval others   as by beam_listener_from_fd(); another call can take the descriptor
 */
BEAM_API int beam_listener_from_environment(beam_listener **ret, const char *name,
					    const struct beam_listener_options *options) BEAM_CHECKED;

/** Takes another handle. @return `listener` */
BEAM_API beam_listener *beam_listener_ref(beam_listener *listener);

/**
 * Releases a handle. With the last one the listener closes as by beam_listener_close(). Channels that it accepted go on.
 *
 * @param listener  NULL is allowed and does nothing
 * @return NULL, to be assigned to the variable that held the handle
 */
BEAM_API beam_listener *beam_listener_unref(beam_listener *listener);

/**
 * Waits for somebody to connect, and makes a channel of the connection. Whoever is refused, by the policy, by a limit or because there are
 * no descriptors or memory for a channel, is disconnected and counted, and waiting goes on. With the process's table of descriptors full a
 * descriptor kept in reserve serves to do that.
 *
 * @param ret       takes the channel, a handle to be released by beam_channel_unref(); untouched unless the result is 1
 * @param deadline  until when to wait. Without a free descriptor it may be exceeded by 10 ms, with BEAM_NOWAIT too, so that nobody is kept busy.
 * @retval 1            a channel
 * @retval 0            there will be no more: the listener was closed
 * @retval -EAGAIN, -ETIMEDOUT  nobody has connected, or whoever did was refused, with BEAM_NOWAIT or until the deadline
 * @retval -EINVAL      a NULL where none may be; or somebody who shares a socket that was handed in has shut it down
 * @retval -ENOMEM      no memory to wait
 * @retval -ECHILD      in a forked child
 */
BEAM_API int beam_listener_accept(beam_listener *listener, beam_channel **ret, beam_deadline deadline) BEAM_CHECKED;

/**
 * A descriptor for event loops: readable (level-triggered) as long as somebody waits to be accepted, and for good once the listener is
 * closed. Made on first request; the listener's, until its last handle is released: to be watched, not to be read or closed. Accept with
 * BEAM_NOWAIT: somebody may have been quicker.
 *
 * @return the descriptor
 * @retval -EMFILE, -ENFILE, -ENOMEM  no descriptor or memory for it
 * @retval -EINVAL  `listener` is NULL
 * @retval -ECHILD  in a forked child
 */
BEAM_API int beam_listener_accept_fd(beam_listener *listener) BEAM_CHECKED;

/**
 * Stops listening: everyone who accepts is woken and gets 0, whoever waited to be accepted is disconnected, the socket's file is removed if it is
 * still the listener's own, and the lock with it. Channels that were accepted go on. Any number of times, from any thread, also from the
 * policy. When the first call returns the address is free again; an abstract name perhaps only later, if somebody who waited has sent a descriptor
 * whose close waits. The handle stays to be released.
 *
 * @retval 0        done
 * @retval -EINVAL  `listener` is NULL
 * @retval -ECHILD  in a forked child
 */
BEAM_API int beam_listener_close(beam_listener *listener);

/** Counters of a listener, since it was made. Who connected is counted once, in one of the first five. */
struct beam_listener_counters {
	/** Channels that were made. */
	uint64_t accepted;
	/** Refused by the policy. */
	uint64_t refused;
	/** Refused because there were as many as may be, in all or of that user. */
	uint64_t over_limit;
	/** Disconnected by means of the reserve, because no descriptor was free. */
	uint64_t over_descriptors;
	/** Disconnected for another reason: no descriptors, memory or thread for a channel. */
	uint64_t failed;
	/** Channels that have not ended. */
	uint64_t connections;
};

/**
 * The counters of a listener.
 *
 * @param ret   takes as many counters as fit
 * @param size  sizeof(struct beam_listener_counters), so that the struct may grow
 * @retval 0        done
 * @retval -EINVAL  a NULL where none may be
 * @retval -ECHILD  in a forked child
 */
BEAM_API int beam_listener_statistics(beam_listener *listener, struct beam_listener_counters *ret, size_t size) BEAM_CHECKED;

BEAM_END

#endif
