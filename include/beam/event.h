/* SPDX-License-Identifier: MIT */
/**
 * @file event.h
 * Event loops: descriptors that show whether a call would wait, and channels without a thread.
 *
 * The descriptors of the first four functions are level-triggered. Each is readable as long as its
 * condition holds, even if the condition held before the descriptor was created. Another thread may
 * be faster, so receive, send or accept with BEAM_NOWAIT. A descriptor is created by the first
 * call, and costs nothing before that. As long as one of them exists, the channel's own thread
 * reads input as soon as it arrives, even if no thread waits.
 *
 * The descriptors belong to the library. Poll them (POLLIN) with poll(2), epoll(7) or an event
 * loop, but do not read, write or close them. They are closed when the last handle of their topic,
 * call or channel is released, so remove them from the loop before that. In a forked child they
 * stay open until the child executes another program or exits, but are of no use.
 *
 * The rules about threads and fork and the common errors are those of channel.h.
 */
#ifndef BEAM_EVENT_H
#define BEAM_EVENT_H

#include <beam/call.h>
#include <beam/channel.h>
#include <beam/common.h>
#include <beam/deadline.h>

BEAM_BEGIN

/**
 * Returns a descriptor that is readable while beam_topic_receive() would not wait: there is a
 * message, or no more will come.
 *
 * @return the descriptor, which belongs to the library and is the same each time
 * @retval -EINVAL  `topic` is NULL.
 * @retval -ECHILD  This is a forked child.
 * @retval -EMFILE, -ENFILE, -ENOMEM  There is no free descriptor or no memory for it.
 */
BEAM_API int beam_topic_receive_fd(beam_topic *topic) BEAM_CHECKED;

/**
 * Returns a descriptor that is readable while beam_call_receive() would not wait: there is a reply,
 * or no more will come.
 *
 * @return as for beam_topic_receive_fd()
 */
BEAM_API int beam_call_receive_fd(beam_call *call) BEAM_CHECKED;

/**
 * Returns a descriptor that is readable, not writable, while a message of up to 4 KiB without
 * attachments would be sent without waiting, or its send would fail at once.
 *
 * @return as for beam_topic_receive_fd()
 */
BEAM_API int beam_topic_send_fd(beam_topic *topic) BEAM_CHECKED;

/**
 * Returns a descriptor that is readable while beam_channel_accept() would not wait: there is a
 * topic, or no more will come.
 *
 * @return as for beam_topic_receive_fd(), and also:
 * @retval -EPIPE  The channel has no handle any more.
 */
BEAM_API int beam_channel_accept_fd(beam_channel *channel) BEAM_CHECKED;

/**
 * Returns the socket of a channel that has no thread of its own, because it was created with the
 * option `loop`. The caller's event loop drives the channel: the loop waits for the events of
 * beam_channel_loop_events() on the socket, until beam_channel_loop_deadline() at most, and then
 * calls beam_channel_dispatch(). Every function that is called on the channel and its topics can
 * change events and deadline, so the loop asks for them before each wait. If other threads call
 * functions on the channel while the loop waits, the loop also waits for
 * beam_channel_loop_nudge_fd().
 *
 * All other functions can be called from any thread, as on any channel. Those that wait do not need
 * the loop, because they read and write for themselves. The loop is needed only for what arrives or
 * becomes due while no function waits.
 *
 * @return the socket, which belongs to the channel until its last handle is released: poll it, but
 *         do nothing else with it
 * @retval -EINVAL  `channel` is NULL, or the channel has a thread of its own.
 * @retval -ECHILD  This is a forked child.
 */
BEAM_API int beam_channel_loop_fd(beam_channel *channel) BEAM_CHECKED;

/**
 * Returns the events to wait for on the socket, as in poll(2): POLLIN, POLLOUT, both, or 0.
 *
 * @return the events, or an error of beam_channel_loop_fd()
 */
BEAM_API int beam_channel_loop_events(beam_channel *channel) BEAM_CHECKED;

/**
 * Stores the time until which the loop may wait.
 *
 * @param ret  receives a time of CLOCK_MONOTONIC, or BEAM_FOREVER if nothing is scheduled, or
 *             BEAM_NOWAIT if there is work to do; untouched on failure
 * @retval 0        The time was stored.
 * @retval -EINVAL  as for beam_channel_loop_fd(), or `ret` is NULL
 * @retval -ECHILD  This is a forked child.
 */
BEAM_API int beam_channel_loop_deadline(beam_channel *channel, beam_deadline *ret) BEAM_CHECKED;

/**
 * Returns a descriptor that is readable when another thread has left work for the loop, or has read
 * something that the loop may receive. Then call beam_channel_dispatch(), receive, and ask for
 * events and deadline again. The first call creates the descriptor. A loop that is the only user of
 * its channels does not need it.
 *
 * @return the descriptor, which is the same each time. It belongs to the channel until
 *         beam_channel_dispatch() returns 0 or the last handle is released: poll it, but do not
 *         read, write or close it.
 * @retval -EPIPE   The channel has ended.
 * @retval -EMFILE, -ENFILE, -ENOMEM  There is no free descriptor or no memory for it.
 * @retval -EINVAL, -ECHILD  as for beam_channel_loop_fd()
 */
BEAM_API int beam_channel_loop_nudge_fd(beam_channel *channel) BEAM_CHECKED;

/**
 * Does the work of the channel's thread: reads a bounded amount if the socket has input, writes
 * pending output, and does what is due at this time. Never waits. Spurious calls are harmless. If
 * two threads call it on a channel at once, one of them does the work and the other returns.
 *
 * @param events  the events that have occurred on the socket, as in poll(2); 0 if the deadline has
 *                passed or the nudge is readable
 * @retval 1  The channel continues.
 * @retval 0  The channel has ended. Remove its descriptors from the loop. What arrived can still be
 *            received.
 * @retval -EINVAL, -ECHILD  as for beam_channel_loop_fd()
 */
BEAM_API int beam_channel_dispatch(beam_channel *channel, int events) BEAM_CHECKED;

BEAM_END

#endif
