/* SPDX-License-Identifier: MIT */
/**
 * @file channel.h
 * Channels: a Unix socket that many topics and many threads share.
 *
 * A channel owns its socket and a thread, which reads the socket while no caller does. Every
 * function can be called from any thread at any time, on any handle that has not been released.
 * A call that waits does not block other calls on its channel, with the exceptions in FLOW CONTROL
 * and PAYLOADS in beam(7). Thread cancellation is disabled inside the functions. None of them is
 * async-signal-safe.
 *
 * Handles are counted. When the last handle of a channel is released, the channel closes. Topics
 * and messages that are still held remain valid, and can be used and freed afterwards.
 *
 * In a forked child every function on a channel or topic of the parent returns -ECHILD, and
 * releasing handles does nothing. The child's copies of the channels' sockets are closed. The child
 * can create channels of its own (FORK in beam(7)).
 *
 * The errors that several functions share:
 *
 *     -EINVAL      a required parameter is NULL, or an option is out of its range
 *     -EAGAIN      the call would have to wait, and the deadline is BEAM_NOWAIT
 *     -ETIMEDOUT   the deadline passed
 *     -EPIPE       the channel was closed, here or by the peer
 *     -ECONNRESET  the peer died (its socket was closed, but it had not closed the channel) or did
 *                  not answer (idle_timeout_ms), or the channel was aborted
 *     -EPROTO      the peer violated the protocol; beam_channel_breach() names the rule
 *     -ENOMEM      there is no memory
 *     -ECHILD      the channel belongs to the parent of this forked process
 */
#ifndef BEAM_CHANNEL_H
#define BEAM_CHANNEL_H

#include <beam/common.h>
#include <beam/deadline.h>
#include <stdbool.h>

BEAM_BEGIN

typedef struct beam_channel beam_channel;
typedef struct beam_topic beam_topic;

/** What to do when the peer sends on a topic that is not open here. */
enum beam_unknown_topics {
	/** The messages wait, within the credit that the topic starts with, until the topic is
	 *  opened or accepted here. */
	BEAM_TOPICS_ACCEPT = 0,
	/** The topic is refused, and the peer's sends on it return -ECONNREFUSED. */
	BEAM_TOPICS_REFUSE = 1,
};

/**
 * The options of a channel. Start from BEAM_CHANNEL_OPTIONS and change the fields that you need.
 * The size field lets a newer library accept the options of an older program. The manual page
 * beam_channel_from_fd(3) describes each option in detail.
 *
 * The fields from `topics` to `attachments` limit what this side accepts. They bound its memory and
 * the descriptors that the peer can open here. If message_bytes is at most a quarter of pool_bytes,
 * and message_attachments at most a quarter of the attachments, each topic can always get a share
 * of both, as FLOW CONTROL in beam(7) says.
 */
struct beam_channel_options {
	/** sizeof(struct beam_channel_options) */
	size_t size;
	/** How many topics the peer may have open at a time: 64 to 65,535. */
	uint32_t topics;
	/** How many calls the peer may have in flight at a time: 64 to 65,535. */
	uint32_t calls;
	/** The size of the largest message to accept, in bytes: 1 MiB to 1 GiB. */
	uint32_t message_bytes;
	/** How many attachments a message may have: 0 to 253. If `attachments` is 0, the value is
	 *  lowered, if necessary, to half of the attachments that a single channel of this process
	 *  could have. */
	uint32_t message_attachments;
	/** How many bytes may wait on a topic before senders on it have to wait: 64 KiB to 1 GiB.
	 *  Each message counts 64 bytes in addition to its payload. */
	uint32_t topic_window_bytes;
	/** The same for attachments: message_attachments to 65,535. The default is raised to
	 *  message_attachments if necessary. */
	uint32_t topic_window_attachments;
	/** How many bytes the large messages of all topics may take in addition to their windows: 1
	 *  MiB to 1 GiB, and at least message_bytes. The default is raised to message_bytes if
	 *  necessary. */
	uint32_t pool_bytes;
	/** How many attachments of the whole channel may be in this process at a time:
	 *  message_attachments to 65,535. An attachment counts until the program has taken it or
	 *  the library has closed it. If 0, the channel shares a fifth of RLIMIT_NOFILE with the
	 *  other channels of the process, and can have at most 512. */
	uint32_t attachments;
	/** The size of the outgoing buffer, in bytes: 16 KiB to 64 MiB. */
	uint32_t buffer_bytes;
	/** The size to request with SO_SNDBUF, in bytes: 0 to 2^31 - 1. 0 keeps the size that the
	 *  socket has, or raises it to 128 KiB if it is smaller. The kernel may grant less
	 *  (net.core.wmem_max). With less than 72,128 bytes, a payload that the kernel cannot read
	 *  (-EFAULT) can break the channel (-ECONNRESET). */
	uint32_t socket_buffer_bytes;
	/** How long this side waits for the rest of a frame, in milliseconds; 0: no limit. The time
	 *  begins when part of a frame has arrived and nothing more can be read from the socket.
	 *  When it is over, the channel fails with -EPROTO. If descriptors have arrived for a
	 *  message that is incomplete, this side waits in the same way for the next frame, but for
	 *  at most 5,000 ms, unless there is no limit. */
	uint32_t frame_timeout_ms;
	/** How long the channel continues to send accepted messages after it was closed, by
	 *  beam_channel_close() or with its last handle, in milliseconds. */
	uint32_t linger_ms;
	/** An enum beam_unknown_topics. */
	uint32_t unknown_topics;
	/** How long a waiting thread polls the socket before it sleeps, in microseconds: at most
	 *  10,000; 0: never. If polling does not pay off, the library stops it. */
	uint32_t busy_poll_us;
	/** If 0, a thread that waits reads the socket for itself and for the other threads, and the
	 *  channel's own thread reads when no thread waits. If 1, only the channel's own thread
	 *  reads. This is for programs whose threads can be held up while they wait, by a low
	 *  priority or by signal handlers. */
	uint32_t dedicated_reader;
	/** If 0, the channel has a thread of its own. If 1, it has none, and is driven by the
	 *  caller's event loop (event.h). */
	uint32_t loop;
	/** How long the peer may be silent, in milliseconds; 0: no limit. When half of this time
	 *  has passed, the peer is asked whether it is alive. If it does not answer within the
	 *  other half, the channel ends with -ECONNRESET. This detects a peer that is gone although
	 *  its socket is open. */
	uint32_t idle_timeout_ms;
};

/** The defaults. */
#define BEAM_CHANNEL_OPTIONS                                                                                           \
	{                                                                                                              \
		sizeof(struct beam_channel_options), /* size */                                                        \
		    256,                             /* topics */                                                      \
		    256,                             /* calls */                                                       \
		    16 << 20,                        /* message_bytes */                                               \
		    64,                              /* message_attachments */                                         \
		    512 << 10,                       /* topic_window_bytes */                                          \
		    128,                             /* topic_window_attachments */                                    \
		    64 << 20,                        /* pool_bytes */                                                  \
		    0,                               /* attachments */                                                 \
		    256 << 10,                       /* buffer_bytes */                                                \
		    1 << 20,                         /* socket_buffer_bytes */                                         \
		    30000,                           /* frame_timeout_ms */                                            \
		    5000,                            /* linger_ms */                                                   \
		    BEAM_TOPICS_ACCEPT,              /* unknown_topics */                                              \
		    60,                              /* busy_poll_us */                                                \
		    0,                               /* dedicated_reader */                                            \
		    0,                               /* loop */                                                        \
		    0,                               /* idle_timeout_ms */                                             \
	}

/**
 * Finds the first option that is out of its range. (The functions that create a channel return
 * -EINVAL, but do not say which option it is.) Works in a forked child.
 *
 * @param ret_name  receives the name of the option, a constant string; otherwise untouched
 * @retval 0        A channel can be created with the options.
 * @retval -EINVAL  An option is out of its range, or does not fit another option. `ret_name`
 *                  receives its name. If the size was never set, the name is "size". This error is
 *                  also returned if a parameter is NULL.
 * @retval -E2BIG   The options come from a newer library, and set an option that this library does
 *                  not know. The name is "size".
 */
BEAM_API int beam_channel_options_check(const struct beam_channel_options *options, const char **ret_name) BEAM_CHECKED;

/**
 * Creates a channel from a connected Unix stream socket. The two sides are equal, and creating a
 * channel does not wait for the peer.
 *
 * @param ret      receives the channel, as one handle; untouched on failure
 * @param fd       belongs to the channel on success and to the caller on failure. It must be fresh:
 *                 nothing may have been read from it or written to it before, and nothing else may
 *                 use it from now on.
 * @param options  NULL: the defaults
 * @retval 0            The channel was created.
 * @retval -EINVAL      `ret` is NULL, or an option is out of its range.
 * @retval -E2BIG       as for beam_channel_options_check()
 * @retval -EBADF       `fd` is not open.
 * @retval -ENOTSOCK    `fd` is not a socket.
 * @retval -EPROTOTYPE  `fd` is not a Unix socket, or not SOCK_STREAM.
 * @retval -ENOTCONN    `fd` is not connected.
 * @retval -EMFILE, -ENFILE, -ENOMEM  There are no free descriptors or no memory for the channel.
 * @retval -EAGAIN      A thread for the channel cannot be created.
 */
BEAM_API int beam_channel_from_fd(beam_channel **ret, int fd, const struct beam_channel_options *options) BEAM_CHECKED;

/**
 * The options of a connection. Start from BEAM_CONNECT_OPTIONS and change the fields that you need.
 */
struct beam_connect_options {
	/** sizeof(struct beam_connect_options) */
	size_t size;
	/** The options of the channel; NULL: the defaults. */
	const struct beam_channel_options *channel;
	/** If 1, the call tries again until the deadline as long as the error is -ENOENT,
	 *  -ECONNREFUSED or -EACCES, which occur while a server is starting. If 0, it fails at
	 *  once. */
	uint32_t wait_for_server;
	/** The user that the server must run as; (uid_t)-1: any. The server's user is the user of
	 *  the process that called listen(2) last. */
	uid_t server_uid;
};

/** The defaults. */
#define BEAM_CONNECT_OPTIONS                                                                                           \
	{                                                                                                              \
		sizeof(struct beam_connect_options), /* size */                                                        \
		    NULL,                            /* channel */                                                     \
		    0,                               /* wait_for_server */                                             \
		    (uid_t)-1,                       /* server_uid */                                                  \
	}

/**
 * Connects to a listening Unix stream socket, and creates a channel from the connection.
 *
 * @param ret       receives the channel, as one handle; untouched on failure
 * @param address   a path, or '@' followed by an abstract name, of at most 107 bytes
 * @param options   NULL: the defaults
 * @param deadline  how long to wait for room in the listener's backlog and, if wait_for_server is
 *                  1, for the listener
 * @retval 0              The channel was created.
 * @retval -EINVAL        `ret` or `address` is NULL, the address is empty, or an option is out of
 *                        its range.
 * @retval -ENAMETOOLONG  The address is longer than 107 bytes.
 * @retval -ENOENT, -ECONNREFUSED, -EACCES, -ENOTDIR, -ELOOP  There is no server, or this process
 *                        may not connect to it. With wait_for_server the call waits instead of
 *                        returning the first two, and returns -EACCES only at the deadline.
 * @retval -EPERM         The server runs as a user other than server_uid. Nothing was sent to it.
 * @retval -EPROTOTYPE    The server's socket is not SOCK_STREAM.
 * @retval -EAGAIN, -ETIMEDOUT  There was no room or no server, with BEAM_NOWAIT or before the
 *                        deadline.
 * @retval -E2BIG, -EMFILE, -ENFILE, -ENOMEM, -EAGAIN  as for beam_channel_from_fd()
 */
BEAM_API int beam_channel_connect(beam_channel **ret, const char *address, const struct beam_connect_options *options,
				  beam_deadline deadline) BEAM_CHECKED;

/**
 * Takes another handle. NULL is allowed.
 *
 * @return `channel`; NULL if it has no handle any more, which is possible for a channel from
 *         beam_topic_channel()
 */
BEAM_API beam_channel *beam_channel_ref(beam_channel *channel);

/**
 * Releases a handle. With the last one the channel closes, as by beam_channel_close(), and accepted
 * messages are sent in the background for at most linger_ms. Never waits.
 *
 * @param channel  NULL is allowed and does nothing
 * @return NULL, which can be assigned to the variable that held the handle
 */
BEAM_API beam_channel *beam_channel_unref(beam_channel *channel);

/**
 * Stores a pointer in a channel, for the program's own use. All holders of the channel share the
 * pointer.
 *
 * @param channel  NULL is allowed and does nothing
 * @param data     belongs to the caller
 */
BEAM_API void beam_channel_set_user_data(beam_channel *channel, void *data);

/** @return the pointer that was set last, or NULL. Works in a forked child. */
BEAM_API void *beam_channel_user_data(const beam_channel *channel);

/**
 * Closes a channel. All threads that wait on it are woken, sends return -EPIPE from now on, and
 * accepted messages are still sent. Then the peer is told that the channel is closed. Messages that
 * arrived whole can still be received. The function can be called any number of times. The handle
 * must still be released.
 *
 * @param deadline  how long to wait for accepted messages to be sent. After that the library
 *                  continues in the background. It stops when linger_ms have passed since the
 *                  channel was closed, even if the function is still waiting.
 * @retval 0        The kernel has everything, and also the notice to the peer. Or the peer had
 *                  closed the channel and ended the connection, and no message remained to be sent.
 * @retval -EAGAIN, -ETIMEDOUT  Not everything has been sent yet. The library continues to send.
 * @retval -EPIPE   linger_ms passed before everything was sent. Accepted messages may be lost.
 * @retval -ECONNRESET, -EPROTO, -ENOMEM  as listed at the top of this file (-ECONNRESET also: the
 *                  peer ended the connection after it had closed the channel). Accepted messages
 *                  may be lost.
 * @retval -EIO     as for beam_channel_flush(); the notice to the peer has been sent nevertheless
 * @retval -EINVAL, -ECHILD  as listed at the top of this file
 */
BEAM_API int beam_channel_close(beam_channel *channel, beam_deadline deadline);

/**
 * Ends a channel at once, as the death of this process would. Messages that were accepted and not
 * yet sent are lost. The peer receives what was sent, and then -ECONNRESET. All threads that wait
 * here are woken with -ECONNRESET. Sends return this error from now on, and so do receives once the
 * messages that arrived whole have been received. A relay uses this function to pass on a crash.
 *
 * The function never waits, and can be called any number of times. After beam_channel_close() it
 * stops the sending in the background, and sends and receives continue to return the results of a
 * closed channel. If the peer has already been told of the close, it sees an orderly end. The
 * handle must still be released.
 *
 * @retval 0        The channel has ended.
 * @retval -EINVAL, -ECHILD  as listed at the top of this file
 */
BEAM_API int beam_channel_abort(beam_channel *channel);

/**
 * Waits until the kernel has everything that any thread had sent before this call.
 *
 * @retval 0        The kernel has everything.
 * @retval -EAGAIN, -ETIMEDOUT  Not everything has been sent yet. The library continues to send.
 * @retval -EPIPE   The channel was closed here, and linger_ms passed before everything was sent.
 *                  Accepted messages may be lost.
 * @retval -ECONNRESET, -EPROTO, -ENOMEM  as for beam_channel_close()
 * @retval -EIO     The kernel has everything except messages that were dropped because it refused
 *                  one of their descriptors (beam_channel_losses()). Each loss is reported once,
 *                  here or by beam_channel_close(), whether or not it was reported to a sender.
 * @retval -EINVAL, -ECHILD  as listed at the top of this file
 */
BEAM_API int beam_channel_flush(beam_channel *channel, beam_deadline deadline) BEAM_CHECKED;

/** The identity of the peer. */
struct beam_peer {
	/** If `has_pid` is false, a positive number that no process has: kill(2) fails (ESRCH). */
	pid_t pid;
	uid_t uid;
	gid_t gid;
	/** False if the peer has no process id in the pid namespace of this process. */
	bool has_pid;
};

/**
 * Returns the credentials of the peer, as the kernel recorded them when the connection was made
 * (SO_PEERCRED, unix(7)). The process id can have been reused by now, or can be unknown, so decide
 * by uid.
 *
 * @param ret  untouched on failure
 * @retval 0                 The credentials were stored.
 * @retval -ENODATA          The channel was created from a socket pair. For a socket pair, the
 *                           kernel knows only the process that created it, whoever holds the other
 *                           end.
 * @retval -EINVAL, -ECHILD  as listed at the top of this file
 */
BEAM_API int beam_channel_peer(beam_channel *channel, struct beam_peer *ret) BEAM_CHECKED;

/**
 * Returns the supplementary groups of the peer's process, as they were when the connection was made
 * (SO_PEERGROUPS).
 *
 * @param ret   receives at most `size` groups
 * @param size  how many groups fit; with 0 the function only returns their number
 * @return the number of groups
 * @retval -ERANGE   There are more than `size`.
 * @retval -ENODATA  as for beam_channel_peer(), or the channel has ended, or the kernel is too old
 * @retval -EINVAL   `channel` is NULL, or `ret` is NULL and `size` is not 0.
 * @retval -ECHILD   as listed at the top of this file
 */
BEAM_API int beam_channel_peer_groups(beam_channel *channel, gid_t *ret, size_t size) BEAM_CHECKED;

/**
 * Returns a pidfd of the process that connected or, on the client's side, that called listen(2)
 * last (SO_PEERPIDFD, Linux 6.5; pidfd_open(2)). Unlike a process id, it never refers to another
 * process.
 *
 * @return a descriptor, close-on-exec, which the caller closes
 * @retval -ENODATA          as for beam_channel_peer_groups(), or the process has ended
 * @retval -EMFILE, -ENFILE, -ENOMEM  There is no free descriptor or no memory for it.
 * @retval -EINVAL, -ECHILD  as listed at the top of this file
 */
BEAM_API int beam_channel_peer_pidfd(beam_channel *channel) BEAM_CHECKED;

/**
 * Returns the label that a security module assigns to the peer (SO_PEERSEC; SELinux, Smack,
 * AppArmor).
 *
 * @param ret   receives the label with a final NUL
 * @param size  how many bytes fit; with 0 the function only returns the length that the kernel
 *              reports, in which some security modules include the NUL and others do not
 * @return the length of the label without its NUL, unless `size` is 0
 * @retval -ERANGE   The label does not fit with its NUL.
 * @retval -ENODATA  as for beam_channel_peer_groups(), or no security module labels sockets
 * @retval -EINVAL, -ECHILD  as for beam_channel_peer_groups()
 */
BEAM_API int beam_channel_peer_label(beam_channel *channel, char *ret, size_t size) BEAM_CHECKED;

/**
 * What a side accepts. The fields are those of struct beam_channel_options. `attachments` is what
 * the peer granted at first. It may grant more later, up to a limit of its own.
 */
struct beam_limits {
	uint32_t topics;
	uint32_t calls;
	uint32_t message_bytes;
	uint32_t message_attachments;
	uint32_t topic_window_bytes;
	uint32_t topic_window_attachments;
	uint32_t pool_bytes;
	uint32_t attachments;
};

/**
 * Waits until the peer has sent HELLO, the first frame of each side, and returns the peer's limits.
 * A program does not need this function before sending. Every peer accepts messages of up to 1 MiB
 * without attachments, which can be sent at once. For any other message, the send itself waits for
 * HELLO, until its deadline.
 *
 * @param ret   receives as many limits as fit; untouched on failure
 * @param size  sizeof(struct beam_limits)
 * @retval 0  The limits were stored.
 * @retval -EAGAIN, -ETIMEDOUT  HELLO has not arrived, with BEAM_NOWAIT or before the deadline.
 * @retval -EPIPE, -ECONNRESET, -EPROTO, -ENOMEM, -EINVAL, -ECHILD  as listed at the top
 */
BEAM_API int beam_channel_limits(beam_channel *channel, struct beam_limits *ret, size_t size,
				 beam_deadline deadline) BEAM_CHECKED;

/**
 * Waits for a topic that the peer has opened and nobody has opened here, and opens it. A topic that
 * the peer has closed again without having sent anything is not returned.
 *
 * @param ret  receives the topic, as a handle to be released by beam_topic_unref(); untouched
 *             unless the result is 1
 * @retval 1  A topic was opened. Topics are returned in the order in which their names arrived.
 * @retval 0  There will be no more topics, because the channel was closed by either side.
 * @retval -EAGAIN, -ETIMEDOUT, -ECONNRESET, -EPROTO, -ENOMEM, -EINVAL, -ECHILD  as at the top
 */
BEAM_API int beam_channel_accept(beam_channel *channel, beam_topic **ret, beam_deadline deadline) BEAM_CHECKED;

/**
 * Returns the rule of the protocol that the peer violated. docs/protocol.md explains every rule.
 * Never fails.
 *
 * @return a string that is never freed; NULL if no rule was violated
 */
BEAM_API const char *beam_channel_breach(beam_channel *channel);

/** The counters of a channel or of a topic since its creation, and what is waiting now. */
struct beam_statistics {
	/** Messages, payload bytes and attachments that were accepted for sending. */
	uint64_t messages_sent;
	uint64_t bytes_sent;
	uint64_t attachments_sent;
	/** The same, received by the program. */
	uint64_t messages_received;
	uint64_t bytes_received;
	uint64_t attachments_received;
	/** Messages that were accepted for sending and then lost: the kernel did not take the whole
	 *  message, or it is not known whether it did. */
	uint64_t messages_lost;
	/** Attachments that the kernel could not install on arrival; always 0 for a topic. */
	uint64_t attachments_lost;
	/** Messages that arrived and were discarded because their topic was closed here. */
	uint64_t messages_discarded;
	/** What is currently waiting to be received. */
	uint64_t messages_queued;
	uint64_t bytes_queued;
	uint64_t attachments_queued;
	/** Senders that currently wait for credit, or for other senders on the same topic. Each
	 *  sender is counted in only one of these three counters. */
	uint64_t waiting_for_credit;
	/** Senders that currently wait for a free call id, because as many calls are in flight as
	 *  the peer accepts. They may need credit, too. */
	uint64_t waiting_for_call;
	/** Senders that currently wait for room in the socket or in the outgoing buffer, or for
	 *  another thread that is writing. */
	uint64_t waiting_for_room;
};

/**
 * Returns the counters of a channel.
 *
 * @param ret   receives as many counters as fit
 * @param size  sizeof(struct beam_statistics)
 * @retval 0                 The counters were stored.
 * @retval -EINVAL, -ECHILD  as listed at the top of this file
 */
BEAM_API int beam_channel_statistics(beam_channel *channel, struct beam_statistics *ret, size_t size) BEAM_CHECKED;

/** What was accepted for sending and then lost, since the channel or the topic was created. */
struct beam_losses {
	/** How many messages were lost: `messages_lost` above. */
	uint64_t messages;
	/** Why the first and the last of them were lost: the kernel's error for a descriptor
	 *  (-EBADF, -EINVAL, -EPERM), or the error with which the channel ended (-EPIPE,
	 *  -ECONNRESET, -EPROTO, -ENOMEM); 0 if nothing was lost. */
	int first_error;
	int last_error;
};

/**
 * Returns what was lost on a channel: messages of all its topics, including those that were
 * released, and replies. It can be called any number of times, and also when the channel has ended.
 *
 * @param ret   receives as many fields as fit
 * @param size  sizeof(struct beam_losses)
 * @retval 0                 The losses were stored.
 * @retval -EINVAL, -ECHILD  as listed at the top of this file
 */
BEAM_API int beam_channel_losses(beam_channel *channel, struct beam_losses *ret, size_t size) BEAM_CHECKED;

BEAM_END

#endif
