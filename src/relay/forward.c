/* SPDX-License-Identifier: MIT */
/*
 * Forwarding from topic to topic. While something can fail, the message in hand is never only in a
 * local variable. At every return it belongs to the caller.
 */
#include <base/clock.h>
#include <base/thread.h>
#include <beam/router.h>
#include <errno.h>

/* Returns 1 if a message was moved, 0 if there will be no more, or an error. */
static int move_one(beam_topic *from, beam_topic *to, beam_message **held, beam_deadline deadline)
{
	int r = *held ? 1 : beam_topic_receive(from, held, 0, deadline);

	if (r <= 0)
		return r;
	r = beam_topic_send_message(to, *held, 0, deadline);
	if (r < 0)
		return r;
	*held = NULL;
	return 1;
}

int beam_topic_forward(beam_topic *from, beam_topic *to, beam_message **held, size_t n, size_t *ret_n, unsigned flags,
		       beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	size_t moved = 0;
	int r;

	if (ret_n)
		*ret_n = 0;
	if (!from || !to || !held || !n || flags)
		return -EINVAL;
	do {
		r = move_one(from, to, held, deadline);
		if (r > 0)
			moved++;
		/* Even if the source always has messages, the function ends at its deadline. */
		if (r > 0 && moved < n && deadline_waits(deadline) && deadline_passed(deadline))
			r = -ETIMEDOUT;
	} while (r > 0 && moved < n);
	if (ret_n)
		*ret_n = moved;
	return r;
}
