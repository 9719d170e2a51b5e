/* SPDX-License-Identifier: MIT */
/**
 * @file router.h
 * Messages moved on: from one topic to another.
 *
 * A message that is moved on goes as it came, with its attachments: its bytes are written to the other socket from where they were read to,
 * and its descriptors are passed on without a duplicate. Only where a channel gathers small messages, to write them together, are their bytes
 * copied, once, into its buffer.
 *
 * Threads, fork and the shared errors are those of channel.h.
 */
#ifndef BEAM_ROUTER_H
#define BEAM_ROUTER_H

#include <beam/common.h>
#include <beam/deadline.h>
#include <beam/message.h>
#include <beam/topic.h>

BEAM_BEGIN

/**
 * Moves messages from one topic to another, of any channel, in order (Go's Copy). When the other side does not take them, nothing more is
 * received: its sender waits in turn. A topic may be forwarded to itself, which makes an echo.
 *
 * At most one message is in hand between the two. If it cannot be sent it is in `held` when the call returns, and if the next call finds it there
 * it sends it first: whoever calls again with the same `held` loses nothing and keeps the order.
 *
 * @param from      where to receive
 * @param to        where to send
 * @param held      a message that is sent first, or NULL in it; takes the one that could not be sent, the caller's to send or free, else NULL
 * @param n         at most so many messages, at least 1; SIZE_MAX: any number
 * @param ret_n     takes how many were sent, whatever the result; may be NULL
 * @param deadline  until when to wait, for messages and for room, and to go on
 * @retval 1  `n` were sent; there may be more
 * @retval 0  there will be no more, and all were sent; beam_topic_close() tells it on
 * @retval -EINVAL      `from`, `to` or `held` is NULL, or `n` is 0
 * @retval -EAGAIN      no message or no room, with BEAM_NOWAIT
 * @retval -ETIMEDOUT   the deadline passed
 *
 * With `held` set the error is that of beam_topic_send_message(), of which
 * @retval -ENOENT      the message had lost an attachment when it arrived
 * @retval -EMSGSIZE, -E2BIG  the target accepts no such message
 * @retval -EOPNOTSUPP  it is a call, whose replies would find no way back
 *
 * Otherwise it is that of beam_topic_receive(). A target that ends is noticed with the next message.
 */
BEAM_API int beam_topic_forward(beam_topic *from, beam_topic *to, beam_message **held, size_t n, size_t *ret_n,
				beam_deadline deadline) BEAM_CHECKED;

BEAM_END

#endif
