/* SPDX-License-Identifier: MIT */
/**
 * @file channel.h
 * Channels: a unix socket shared by many topics and many threads.
 *
 * A channel owns its socket and a thread that reads it. Every function may be called from any thread at any time, but for
 * using a handle that was released. Blocking calls on one channel do not block each other. Thread cancellation is disabled inside
 * them; none is async-signal-safe.
 *
 * Handles are counted. When the last channel handle is released the channel closes; topics and messages that are still held keep
 * their memory and may be used and freed afterwards.
 *
 * In a forked child every function on a channel or topic of the parent gives -ECHILD, and releasing handles does nothing; the
 * child's copies of the channels' sockets are closed. Copies of attachments that are on their way or wait to be received stay in
 * the child until it runs another program or ends, as do sockets that another thread was just connecting, accepting or closing. The child may make channels of its own.
 *
 * The errors that several functions share:
 *
 *     -EINVAL      a NULL where none may be, or an option out of its range
 *     -EAGAIN      it would wait, and the deadline is BEAM_NOWAIT
 *     -ETIMEDOUT   the deadline passed first
 *     -EPIPE       the channel was closed, here or by the other side's goodbye
 *     -ECONNRESET  the other side died: its socket closed without goodbye, or it did not answer (idle_timeout_ms)
 *     -EPROTO      the other side broke the protocol; beam_channel_breach() says how
 *     -ENOMEM      no memory
 *     -ECHILD      the channel belongs to the process that this one was forked from
 */
#ifndef BEAM_CHANNEL_H
#define BEAM_CHANNEL_H

#include <beam/common.h>
#include <beam/deadline.h>
#include <stdbool.h>

BEAM_BEGIN

typedef struct beam_channel beam_channel;
typedef struct beam_topic beam_topic;

/** What becomes of a topic that the other side opens and nobody here has opened. */
enum beam_unknown_topics {
	/** Its messages wait in its first window until somebody opens or accepts it. */
	BEAM_TOPICS_ACCEPT = 0,
	/** It is refused: the other side's sends on it give -ECONNREFUSED. */
	BEAM_TOPICS_REFUSE = 1,
};

/**
 * Options of a channel. Begin with BEAM_CHANNEL_OPTIONS and change what you need: the size field lets a newer library take
 * an older program's options.
 *
 * What this side accepts bounds its memory. Messages that wait are charged at most topics × topic_window_bytes + pool_bytes.
 * They take up to 1.8 times what they are charged if all are empty, 1.4 times with 64 bytes each, and 1.1 times from 1,000
 * bytes on. Reading takes up to 5 MiB more, and up to 8 MiB that large messages lay in are kept for the next ones until the
 * channel has been idle for a moment.
 *
 * It also bounds the descriptors that the other side can open here. An attachment counts from the moment it is read until the
 * program has taken it (beam_message_take_fd() and others) or the library has closed it. So a message that is held with its
 * attachments keeps others from coming, and so does a descriptor whose close lasts; but only on this channel.
 *
 * Topics that are not drained leave others their share. As long as at most sixteen other topics, or calls with replies that
 * nobody receives, hold attachments or bytes of the pool, a topic can always have 3/64 of this side's attachments and 3/64
 * of its pool. A message needs of the pool what does not fit into half of its topic's window. One that needs more
 * than 3/64 goes while less than a quarter is held. One that needs more than a quarter goes when nobody holds anything, and
 * until it has been received the promise does not hold. So let message_bytes be at most a quarter of pool_bytes, and
 * message_attachments at most a quarter of the attachments, as far as the promise is needed.
 */
struct beam_channel_options {
	/** sizeof(struct beam_channel_options) */
	size_t size;
	/** Topics that the other side may have open at once: 64 to 65,535. */
	uint32_t topics;
	/** Calls that the other side may have in flight at once: 64 to 65,535. */
	uint32_t calls;
	/** The largest message accepted, in bytes: 1 MiB to 1 GiB. */
	uint32_t message_bytes;
	/** The most attachments of one message accepted: at most 253; 0: none at all. With `attachments` 0 it is lowered to half
	 *  of what a channel of this process can have at most. */
	uint32_t message_attachments;
	/** Bytes (64 a message besides its payload) that wait on one topic before its senders wait: 64 KiB to 1 GiB. */
	uint32_t topic_window_bytes;
	/** Attachments that wait on one topic before its senders wait: at most 65,535, and not below message_attachments. The default
	 *  is raised to them. */
	uint32_t topic_window_attachments;
	/** Bytes that large messages of all topics may take beyond their windows: 1 MiB to 1 GiB, and not below message_bytes. The
	 *  default is raised to them. */
	uint32_t pool_bytes;
	/** Attachments of the whole channel that are here at once: at most 65,535, and not below message_attachments. 0: it shares
	 *  with the other channels of the process, which together borrow a fifth of RLIMIT_NOFILE, as long as so much is free. A
	 *  channel has at most three times what is left for the others, and at most 512: with 1,024 descriptors one channel has
	 *  up to 153, and begins with half of that. What a peer does not use for a moment is borrowed by others. */
	uint32_t attachments;
	/** The outgoing buffer, in bytes: 16 KiB to 64 MiB. */
	uint32_t buffer_bytes;
	/** SO_SNDBUF asked for, in bytes; 0 leaves the socket's own, unless it is below 128 KiB. The kernel may grant less
	 *  (net.core.wmem_max). With less than 72,128 a payload that is not in memory can break the channel (-ECONNRESET). */
	uint32_t socket_buffer_bytes;
	/** How long a frame that has begun to arrive may take, once the socket ran dry, in milliseconds; 0: for ever. Descriptors
	 *  that came for a message that is not whole yet are kept for so long, and for 5,000 ms at most, while nothing else comes. */
	uint32_t frame_timeout_ms;
	/** How long the release of the last handle goes on sending what was accepted, in the background, in milliseconds. */
	uint32_t linger_ms;
	/** An enum beam_unknown_topics. */
	uint32_t unknown_topics;
	/** How long a thread that waits looks at the socket again and again before it sleeps, in microseconds, while that pays: at most
	 *  10,000; 0: never. */
	uint32_t busy_poll_us;
	/** 0: a thread that waits reads for itself and the others, which spares a change of threads; the channel's own thread reads
	 *  when none waits. 1: only the channel's own thread reads, for programs whose threads may be held up while they wait, by a
	 *  low priority or by handlers of signals. */
	uint32_t dedicated_reader;
	/** 0: the channel has a thread of its own. 1: it has none, and is run by the caller's event loop (event.h). */
	uint32_t loop;
	/** 0: the other side may be silent for ever. Else, in milliseconds: when it has been silent for half of this time it is asked
	 *  whether it is there, and when it does not answer within the other half the channel ends with -ECONNRESET. This finds
	 *  a peer that is gone though its socket is open, for instance because it was sent to this process and lies in a queue
	 *  here. A peer that cannot answer, which no peer of this library is, ends so too. */
	uint32_t idle_timeout_ms;
};

/** The defaults. */
#define BEAM_CHANNEL_OPTIONS                                                                                                   \
	{                                                                                                                      \
		sizeof(struct beam_channel_options), /* size */                                                                \
		    256,                             /* topics */                                                              \
		    256,                             /* calls */                                                               \
		    16 << 20,                        /* message_bytes */                                                       \
		    64,                              /* message_attachments */                                                 \
		    512 << 10,                       /* topic_window_bytes */                                                  \
		    128,                             /* topic_window_attachments */                                            \
		    64 << 20,                        /* pool_bytes */                                                          \
		    0,                               /* attachments */                                                         \
		    256 << 10,                       /* buffer_bytes */                                                        \
		    1 << 20,                         /* socket_buffer_bytes */                                                 \
		    30000,                           /* frame_timeout_ms */                                                    \
		    5000,                            /* linger_ms */                                                           \
		    BEAM_TOPICS_ACCEPT,              /* unknown_topics */                                                      \
		    60,                              /* busy_poll_us */                                                        \
		    0,                               /* dedicated_reader */                                                    \
		    0,                               /* loop */                                                                \
		    0,                               /* idle_timeout_ms */                                                     \
	}

/**
 * Tells which option is out of its range, for those that make a channel say -EINVAL only.
 *
 * @param ret_name  takes the name of the first one, a constant string; untouched if there is none
 * @retval 0        a channel can be made with them
 * @retval -EINVAL  `ret_name` is out of its range, or does not fit another option; "size": it was
 *                  never set. Or a NULL, and then `ret_name` is untouched
 * @retval -E2BIG   the options are from a newer library and set what this one does not know
 *
 * Safe from any thread, and in a forked child.
 */
BEAM_API int beam_channel_options_check(const struct beam_channel_options *options, const char **ret_name) BEAM_CHECKED;

/**
 * Makes a channel of a connected unix stream socket. Both sides are equals; neither waits for the other here.
 *
 * @param ret      takes the channel, one handle; untouched on failure
 * @param fd       the channel's on success, still the caller's on failure. It must be fresh: nothing else may read or write it.
 * @param options  NULL: the defaults
 * @retval 0            done
 * @retval -EINVAL      `ret` is NULL, or an option is out of its range
 * @retval -E2BIG       the options are from a newer library and set what this one does not know
 * @retval -EBADF       `fd` is not open
 * @retval -ENOTSOCK    `fd` is not a socket
 * @retval -EPROTOTYPE  not a unix socket, or not SOCK_STREAM
 * @retval -ENOTCONN    not connected
 * @retval -EMFILE, -ENFILE, -ENOMEM, -EAGAIN  no descriptors, memory or thread for it
 */
BEAM_API int beam_channel_from_fd(beam_channel **ret, int fd, const struct beam_channel_options *options) BEAM_CHECKED;

/**
 * Options of a connection. Begin with BEAM_CONNECT_OPTIONS and change what you need.
 */
struct beam_connect_options {
	/** sizeof(struct beam_connect_options) */
	size_t size;
	/** Of the channel; NULL: the defaults. */
	const struct beam_channel_options *channel;
	/** 0: without a server connecting fails at once. 1: it tries again until the deadline when it
	 * gets -ENOENT, -ECONNREFUSED or -EACCES, as from a server that is starting. */
	uint32_t wait_for_server;
	/** The user that the server must run as; (uid_t)-1: any. The kernel names the one who called listen(2) last. */
	uid_t server_uid;
};

/** The defaults. */
#define BEAM_CONNECT_OPTIONS                                                                                                   \
	{                                                                                                                      \
		sizeof(struct beam_connect_options), /* size */                                                                \
		    NULL,                            /* channel */                                                             \
		    0,                               /* wait_for_server */                                                     \
		    (uid_t)-1,                       /* server_uid */                                                          \
	}

/**
 * Connects to a listening unix stream socket and makes a channel of the connection.
 *
 * @param ret       as above
 * @param address   a path, or '@' and an abstract name; at most 107 bytes
 * @param options   NULL: the defaults
 * @param deadline  until when to wait for room in the listener's backlog and, if asked for, for the
 *                  listener
 * @retval 0              done
 * @retval -EINVAL        `ret` or `address` is NULL, the address is empty, or an option is out of
 *                        its range
 * @retval -ENAMETOOLONG  the address does not fit
 * @retval -ENOENT, -ECONNREFUSED, -EACCES, -ENOTDIR, -ELOOP  there is no server there, or not for
 *                        us. With wait_for_server the first two are waited out, and -EACCES is told
 *                        at the deadline, if permissions are still missing
 * @retval -EPERM         the server runs as another user than server_uid. It was not sent a byte
 * @retval -EPROTOTYPE    the server's socket is not SOCK_STREAM
 * @retval -EAGAIN, -ETIMEDOUT  there was no room or no server, with BEAM_NOWAIT or until the
 *                        deadline
 * @retval -E2BIG, -EMFILE, -ENFILE, -ENOMEM  as above
 */
BEAM_API int beam_channel_connect(beam_channel **ret, const char *address, const struct beam_connect_options *options,
				  beam_deadline deadline) BEAM_CHECKED;

/**
 * Takes another handle.
 *
 * @param channel  NULL is allowed
 * @return `channel`; NULL if it has no handle any more, as one may find it by beam_topic_channel()
 */
BEAM_API beam_channel *beam_channel_ref(beam_channel *channel);

/**
 * Releases a handle. With the last one the channel closes as by beam_channel_close(), and what was accepted is sent in the
 * background for at most linger_ms. Never waits.
 *
 * @param channel  NULL is allowed and does nothing
 * @return NULL, to be assigned to the variable that held the handle
 */
BEAM_API beam_channel *beam_channel_unref(beam_channel *channel);

/**
 * Keeps a pointer of the program's with a channel, for all who hold it, until another one is set.
 * The library does nothing with it. Safe from any thread.
 *
 * @param channel  NULL is allowed and does nothing
 * @param data     the caller's: it is neither followed nor freed
 */
BEAM_API void beam_channel_set_user_data(beam_channel *channel, void *data);

/** @return the pointer that was set last; NULL if none was, and for NULL. Also in a forked child */
BEAM_API void *beam_channel_user_data(const beam_channel *channel);

/**
 * Closes a channel: everyone who waits on it is woken, sends give -EPIPE, what was accepted is sent, then goodbye is said. What
 * arrived whole can still be received. Any number of times, from any thread, also while others use the channel. The handle stays to be released.
 *
 * @param deadline  until when to wait for what was accepted; past it the library goes on in the background for at most linger_ms
 * @retval 0            the kernel has everything and the goodbye; or everything, and the other side had said goodbye and left
 * @retval -EAGAIN, -ETIMEDOUT  not yet: it goes on
 * @retval -ECONNRESET, -EPROTO, -ENOMEM  the connection had ended so: what was accepted may be lost
 * @retval -EPIPE       what was accepted may be lost: the other side had closed
 * @retval -EIO         as of beam_channel_flush(). The goodbye has been said all the same
 * @retval -EINVAL      `channel` is NULL
 * @retval -ECHILD      in a forked child
 */
BEAM_API int beam_channel_close(beam_channel *channel, beam_deadline deadline);

/**
 * Ends a channel at once, as the death of this process would: the other side gets what has been
 * sent, and then -ECONNRESET. What was accepted and has not been sent is lost. Everyone who waits
 * here is woken with -ECONNRESET, which is also what everything gives from now on, once what
 * arrived whole has been received. A relay passes a crash on by it.
 *
 * Never waits. Any number of times, from any thread, also while others use the channel. After
 * beam_channel_close() it ends what still goes on in the background, and the errors stay those of
 * the close; a goodbye that has been said stays said. The handle stays to be released.
 *
 * @retval 0        done
 * @retval -EINVAL  `channel` is NULL
 * @retval -ECHILD  in a forked child
 */
BEAM_API int beam_channel_abort(beam_channel *channel);

/**
 * Waits until the kernel has everything that was accepted from any thread before this call.
 *
 * @retval 0  it has
 * @retval -EAGAIN, -ETIMEDOUT  not yet: it goes on
 * @retval -EPIPE, -ECONNRESET, -EPROTO, -ENOMEM  the connection has ended: what was accepted may be lost
 * @retval -EIO    it has everything but messages that were dropped, because the kernel refused a
 *                 descriptor of theirs. beam_channel_losses() tells how many and why. Each loss is
 *                 reported once, by this or by beam_channel_close(), whether or not a sender has
 *                 been told of it (topic.h)
 * @retval -EINVAL  `channel` is NULL
 * @retval -ECHILD  in a forked child
 */
BEAM_API int beam_channel_flush(beam_channel *channel, beam_deadline deadline) BEAM_CHECKED;

/** Who is at the other end. */
struct beam_peer {
	/** Of no meaning unless `has_pid`. It is then the number of no process, and never 0 or negative: kill(2) fails with ESRCH. */
	pid_t pid;
	uid_t uid;
	gid_t gid;
	/** False if the process has no number in the pid namespace of this one: it runs outside of the container, for instance. */
	bool has_pid;
};

/**
 * The credentials of the other end, as the kernel noted them when the connection was made (SO_PEERCRED, unix(7)). The pid may be
 * another process's by now, or unknown: decide by uid.
 *
 * @param ret  untouched on failure
 * @retval 0         done
 * @retval -ENODATA  the channel is made of a socket pair, of which the kernel would name the creator, whoever holds the other end
 * @retval -EINVAL, -ECHILD  as above
 */
BEAM_API int beam_channel_peer(beam_channel *channel, struct beam_peer *ret) BEAM_CHECKED;

/**
 * The supplementary groups of the other end's process, as they were when the connection was made (SO_PEERGROUPS).
 *
 * @param ret   takes them, `size` at most
 * @param size  how many fit; 0: only how many there are is asked
 * @return how many there are
 * @retval -ERANGE   more than `size`
 * @retval -ENODATA  as by beam_channel_peer(), or the channel has ended
 * @retval -EINVAL, -ECHILD  as above; or `ret` is NULL and `size` is not 0
 */
BEAM_API int beam_channel_peer_groups(beam_channel *channel, gid_t *ret, size_t size) BEAM_CHECKED;

/**
 * A pidfd of the process that connected or, on the client's side, that listened (SO_PEERPIDFD, Linux 6.5; pidfd_open(2)). Unlike the
 * pid it never comes to mean another process.
 *
 * @return a descriptor, close-on-exec, the caller's to be closed
 * @retval -ENODATA  as above; or the kernel does not know: it is older, or the process has ended
 * @retval -EMFILE, -ENFILE, -ENOMEM  no descriptor or memory for it
 * @retval -EINVAL, -ECHILD  as above
 */
BEAM_API int beam_channel_peer_pidfd(beam_channel *channel) BEAM_CHECKED;

/**
 * The label that the security module gives the other end (SO_PEERSEC; SELinux, Smack, AppArmor).
 *
 * @param ret   takes it, ended by a NUL
 * @param size  bytes that fit; 0: only its length is asked, which may be told as one more
 * @return its length, without the NUL
 * @retval -ERANGE   it does not fit with its NUL
 * @retval -ENODATA  as above; or there is no module that labels sockets
 * @retval -EINVAL, -ECHILD  as above; or `ret` is NULL and `size` is not 0
 */
BEAM_API int beam_channel_peer_label(beam_channel *channel, char *ret, size_t size) BEAM_CHECKED;

/** What a side accepts; the fields are those of struct beam_channel_options. `attachments` is what it granted at first: it may
 *  lend more, up to a limit of its own. */
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
 * Waits for the other side's HELLO and tells its limits. Sending does not need this: it begins with limits that hold for everyone, and a message
 * that needs more (over 1 MiB, or with attachments) waits for HELLO by itself, until its deadline.
 *
 * @param ret   takes as many limits as fit; untouched on failure
 * @param size  sizeof(struct beam_limits), so that the struct may grow
 * @retval 0  done
 * @retval -EAGAIN, -ETIMEDOUT  it has not come, with BEAM_NOWAIT or before the deadline
 * @retval -EPIPE, -ECONNRESET, -EPROTO, -ENOMEM, -EINVAL, -ECHILD  as above
 */
BEAM_API int beam_channel_limits(beam_channel *channel, struct beam_limits *ret, size_t size,
				 beam_deadline deadline) BEAM_CHECKED;

/**
 * Waits for a topic that the other side opened and nobody here has opened yet, and opens it. One that the other side closed again without
 * having sent anything is not told.
 *
 * @param ret  takes the topic, a handle to be released by beam_topic_unref(); untouched unless the result is 1
 * @retval 1  a topic, in the order in which they came
 * @retval 0  there will be no more: the channel was closed in order, by either side
 * @retval -EAGAIN, -ETIMEDOUT, -ECONNRESET, -EPROTO, -ENOMEM, -EINVAL, -ECHILD  as above
 */
BEAM_API int beam_channel_accept(beam_channel *channel, beam_topic **ret, beam_deadline deadline) BEAM_CHECKED;

/**
 * The rule of the protocol that the other side broke.
 *
 * @return a text that is never freed, or NULL if none was broken
 *
 * Never fails. Source: docs/protocol.md names every rule.
 */
BEAM_API const char *beam_channel_breach(beam_channel *channel);

/** Counters of a channel or of a topic, since it was made; and what waits now. */
struct beam_statistics {
	/** Messages, payload bytes and attachments accepted for sending. */
	uint64_t messages_sent;
	uint64_t bytes_sent;
	uint64_t attachments_sent;
	/** The same, taken by receivers. */
	uint64_t messages_received;
	uint64_t bytes_received;
	uint64_t attachments_received;
	/** Messages accepted here of which the kernel did not take everything. */
	uint64_t messages_lost;
	/** Attachments that the kernel could not install on arrival; counted for the channel, 0 for a topic. */
	uint64_t attachments_lost;
	/** Messages that arrived and were thrown away because their topic was closed here. */
	uint64_t messages_discarded;
	/** What waits to be received now. */
	uint64_t messages_queued;
	uint64_t bytes_queued;
	uint64_t attachments_queued;
	/** Senders that wait now: for credit, which receivers give, or for their turn on the topic; for the id of a call, of which the
	 *  other side takes only so many at once; for room in the socket or the outgoing buffer. Each is counted once: who needs
	 *  an id and credit waits for the id. */
	uint64_t waiting_for_credit;
	uint64_t waiting_for_call;
	uint64_t waiting_for_room;
};

/**
 * The counters of a channel.
 *
 * @param ret   takes as many counters as fit
 * @param size  sizeof(struct beam_statistics), so that the struct may grow
 * @retval 0  done
 * @retval -EINVAL, -ECHILD  as above
 */
BEAM_API int beam_channel_statistics(beam_channel *channel, struct beam_statistics *ret, size_t size) BEAM_CHECKED;

/** What was accepted for sending and then lost, since the channel or the topic was made. */
struct beam_losses {
	/** Messages of which the kernel did not take everything: `messages_lost` of struct beam_statistics. */
	uint64_t messages;
	/** Why the first of them was lost, and why the last: what the kernel said of a descriptor (-EBADF, -EINVAL, -EPERM), or
	 *  how the channel ended (-EPIPE, -ECONNRESET, -EPROTO, -ENOMEM). 0: none was. */
	int first_error;
	int last_error;
};

/**
 * What was lost of a channel: of all topics, those included that were released, and of replies.
 * Asking changes nothing: any number of times, from any thread, also when the channel has ended.
 *
 * @param ret   takes as many fields as fit
 * @param size  sizeof(struct beam_losses), so that the struct may grow
 * @retval 0  done
 * @retval -EINVAL, -ECHILD  as above
 */
BEAM_API int beam_channel_losses(beam_channel *channel, struct beam_losses *ret, size_t size) BEAM_CHECKED;

BEAM_END

#endif
