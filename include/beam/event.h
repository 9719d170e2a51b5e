/* SPDX-License-Identifier: MIT */
/**
 * @file event.h
 * Channels in event loops: descriptors that show what can be done without waiting, and
 * channels that a loop runs.
 *
 * The descriptors are level-triggered: readable for as long as it holds, whoever made it so and
 * whatever was read in between; messages that were queued before the descriptor was asked for
 * show too. They are made when they are first asked for and cost nothing before. They belong to
 * the library: wait for them (POLLIN) with poll(2), epoll(7) or anything that does, never read,
 * write or close them, and take them out of the loop before the last handle of their topic, call
 * or channel is released, which closes them. In a forked child they stay open, and of no use,
 * until it runs another program.
 *
 * Threads, fork and the shared errors are those of channel.h.
 */
#ifndef BEAM_EVENT_H
#define BEAM_EVENT_H

#include <beam/call.h>
#include <beam/channel.h>
#include <beam/common.h>
#include <beam/deadline.h>

BEAM_BEGIN

/**
 * The descriptor that is readable while beam_topic_receive() would not wait: there is a message, or
 * there will be none any more.
 *
 * @return a descriptor of the library's, the same each time; or
 * @retval -EINVAL  `topic` is NULL
 * @retval -ECHILD  in a forked child
 * @retval -EMFILE, -ENFILE, -ENOMEM  no descriptor for it
 */
BEAM_API int beam_topic_receive_fd(beam_topic *topic) BEAM_CHECKED;

/**
 * The descriptor that is readable while beam_call_receive() would not wait: there is a reply, or
 * there will be none any more.
 *
 * @return as beam_topic_receive_fd()
 */
BEAM_API int beam_call_receive_fd(beam_call *call) BEAM_CHECKED;

/**
 * The descriptor that is readable (not: writable) while a message of up to 4 KiB without
 * attachments could be sent without waiting, or would fail at once. Another thread may be
 * quicker: send with BEAM_NOWAIT.
 *
 * @return as beam_topic_receive_fd()
 */
BEAM_API int beam_topic_send_fd(beam_topic *topic) BEAM_CHECKED;

/**
 * The descriptor that is readable while beam_channel_accept() would not wait: there is a topic, or
 * there will be none any more.
 *
 * @return as beam_topic_receive_fd(), and
 * @retval -EPIPE  the channel has no handle any more
 */
BEAM_API int beam_channel_accept_fd(beam_channel *channel) BEAM_CHECKED;

/**
 * The socket of a channel that has no thread of its own, because it was made with the option
 * `loop`. The loop that waits for it runs the channel: when beam_channel_loop_events() show on the
 * socket, or beam_channel_loop_deadline() has passed, it calls beam_channel_dispatch(). Events and
 * deadline are asked for again before each wait: they change with every function that is called on
 * the channel and its topics. If other threads call some, while the loop waits, it waits for
 * beam_channel_loop_nudge_fd() too.
 *
 * All other functions may be called from any thread as ever; those that wait read and write for
 * themselves, so the loop is needed only for what comes while nobody waits.
 *
 * @return the socket, the library's until the last handle is released: wait for it and nothing
 *         else; or
 * @retval -EINVAL  `channel` is NULL, or has a thread of its own
 * @retval -ECHILD  in a forked child
 */
BEAM_API int beam_channel_loop_fd(beam_channel *channel) BEAM_CHECKED;

/**
 * What to wait for on the socket, as poll(2) names it: POLLIN, POLLOUT, both, or 0.
 *
 * @return events, or the errors of beam_channel_loop_fd()
 */
BEAM_API int beam_channel_loop_events(beam_channel *channel) BEAM_CHECKED;

/**
 * Until when to wait at most.
 *
 * @param ret  takes an absolute time of CLOCK_MONOTONIC in nanoseconds, BEAM_FOREVER if there is
 *             none, BEAM_NOWAIT if there is something to do
 * @retval 0  done
 * @retval -EINVAL, -ECHILD  as beam_channel_loop_fd(), or `ret` is NULL
 */
BEAM_API int beam_channel_loop_deadline(beam_channel *channel, beam_deadline *ret) BEAM_CHECKED;

/**
 * The descriptor that is readable when another thread has left something for the loop to do, or
 * has read what the loop may receive: then call beam_channel_dispatch(), receive, and ask for
 * events and deadline again. Made when it is first asked for; a loop that is the only one to
 * use its channels needs none.
 *
 * @return a descriptor of the library's, the same each time, until
 *         beam_channel_dispatch() gives 0; or
 * @retval -EPIPE   the channel is over
 * @retval -EMFILE, -ENFILE, -ENOMEM  no descriptor for it
 * @retval -EINVAL, -ECHILD  as beam_channel_loop_fd()
 */
BEAM_API int beam_channel_loop_nudge_fd(beam_channel *channel) BEAM_CHECKED;

/**
 * Does what is to be done: reads a bounded amount if the socket has input, writes what waits to be
 * written, sees to what happens by time. Never waits. Calls for nothing do no harm; of two threads
 * at once one does it and the other returns.
 *
 * @param events  what shows on the socket, as poll(2) names it; 0: nothing does, it was
 *                the deadline or the nudge
 * @retval 1  the channel goes on
 * @retval 0  it is over, and what arrived can still be received: take the socket out of the loop
 * @retval -EINVAL, -ECHILD  as beam_channel_loop_fd()
 */
BEAM_API int beam_channel_dispatch(beam_channel *channel, int events) BEAM_CHECKED;

BEAM_END

#endif
